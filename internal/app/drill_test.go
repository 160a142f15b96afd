//go:build integration && linux

package app_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"
)

var drillTime = flag.Duration("app.drill", 3*time.Second, "how long each drill of TestDrill uses the fleet")

// TestDrill disturbs three instances, and the servers they run over, while people
// use them, and holds what people were told against what is stored.
func TestDrill(t *testing.T) {
	var table strings.Builder
	for _, d := range drills {
		t.Run(d.name, func(t *testing.T) {
			f := d.start(t)
			f.use(*drillTime, func() { d.disturb(f) })
			diff := f.settle()
			s := f.seen()
			if d.spotless && s.errors() > 0 {
				t.Errorf("%d requests failed", s.errors())
			}
			fmt.Fprintf(&table, "%-40s %9d %12d %7d %8.1fs %8.1fs %5d %7d\n", d.name, s.requests, s.acknowledged, s.errors(),
				s.window().Seconds(), s.slowest.Seconds(), diff.lost, diff.doubled)
		})
	}
	t.Logf("\n%-40s %9s %12s %7s %9s %9s %5s %7s\n%s", "drill", "requests", "acknowledged", "errors", "window", "slowest", "lost", "doubled", table.String())
}

// drill is one way to disturb a fleet.
type drill struct {
	name    string
	start   func(t *testing.T) *fleet
	disturb func(f *fleet)
	// spotless says that nobody may notice.
	spotless bool
}

var drills = []drill{
	{
		name:  "an instance is killed and restarted",
		start: func(t *testing.T) *fleet { return startFleet(t, sharedBackends(t), 3) },
		disturb: func(f *fleet) {
			f.kill(f.instances[0])
			f.start(f.instances[0])
			f.instances[0].process.awaitReady(f.t)
		},
	},
	{
		name:  "an instance is frozen for 5 s",
		start: func(t *testing.T) *fleet { return startFleet(t, sharedBackends(t), 3) },
		disturb: func(f *fleet) {
			f.freeze(f.instances[0])
			time.Sleep(5 * time.Second)
			f.thaw(f.instances[0])
		},
	},
	{
		name: "all instances are restarted in turn",
		start: func(t *testing.T) *fleet {
			return startFleet(t, sharedBackends(t), 3, "SERVER_DRAIN_DELAY="+(10*balanceEvery).String())
		},
		disturb: func(f *fleet) {
			for _, i := range f.instances {
				f.restart(i)
			}
		},
		spotless: true,
	},
}
