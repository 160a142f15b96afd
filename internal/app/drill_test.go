//go:build integration && linux

package app_test

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"vote/internal/app"
	"vote/internal/domain"
	"vote/internal/events"
	"vote/internal/testservers"
)

var drillTime = flag.Duration("app.drill", 3*time.Second, "how long each drill of TestDrill uses the fleet, at least")

// long says whether faults that take long may.
func long() bool { return *drillTime >= 30*time.Second }

// TestDrill disturbs three instances, and the servers they run over, while people
// use them, and holds what people were told against what is stored.
func TestDrill(t *testing.T) {
	const row = "%-44v %9v %13v %7v %8v %8v %5v %5v %8v\n"
	var table strings.Builder
	fmt.Fprintf(&table, row, "drill", "requests", "acknowledged", "errors", "window", "slowest", "> 1 s", "lost", "doubled")
	for _, d := range drills {
		t.Run(d.name, func(t *testing.T) {
			f := d.start(t)
			f.use(*drillTime, func() { d.disturb(f) })
			diff := f.settle()
			s := f.seen()
			if d.spotless && s.errors() > 0 {
				t.Errorf("%d requests failed", s.errors())
			}
			fmt.Fprintf(&table, row, d.name, s.requests, s.acknowledged, s.errors(), s.window().Round(100*time.Millisecond),
				s.slowest.Round(100*time.Millisecond), s.slow, diff.lost, diff.doubled)
		})
	}
	t.Logf("\n%s", table.String())
}

// drill is one way to disturb a fleet.
type drill struct {
	name    string
	start   func(t *testing.T) *fleet
	disturb func(f *fleet)
	// spotless says that nobody may notice.
	spotless bool
}

// pause lets a fault last so long, or less where there is no time for it.
func (f *fleet) pause(d time.Duration) {
	f.injected++
	if !long() {
		d = min(d, 3*time.Second)
	}
	time.Sleep(d)
}

// goesOn fails the test unless requests are acknowledged meanwhile.
func (f *fleet) goesOn(meanwhile func()) {
	f.t.Helper()
	before := f.seen().acknowledged
	meanwhile()
	if n := f.seen().acknowledged - before; n < enough {
		f.t.Errorf("%d requests were acknowledged meanwhile: too few", n)
	}
}

// enough is how many requests show that others go on.
const enough = 100

// through returns the URL of what is at another address.
func through(t *testing.T, at, address string) string {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = address
	return u.String()
}

func host(t *testing.T, at string) string {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
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
		name:  "an instance is frozen for 5 s at least",
		start: func(t *testing.T) *fleet { return startFleet(t, sharedBackends(t), 3) },
		disturb: func(f *fleet) {
			// PostgreSQL ends the transaction that would hold the others up.
			f.allowed = []string{"idle-in-transaction timeout"}
			f.freeze(f.instances[0])
			f.goesOn(func() {
				before := f.seen().acknowledged
				time.Sleep(5 * time.Second)
				// When all clients wait at the frozen one, it stays so until they
				// have given it up and gone on elsewhere.
				f.await(f.t.Context(), "traffic past the frozen one", func() bool { return f.seen().acknowledged >= before+enough })
			})
			f.thaw(f.instances[0])
		},
	},
	{
		name: "all instances are restarted in turn",
		start: func(t *testing.T) *fleet {
			return startFleet(t, sharedBackends(t), 3, "SERVER_DRAIN_DELAY="+(20*balanceEvery).String())
		},
		disturb: func(f *fleet) {
			for _, i := range f.instances {
				f.restart(i)
			}
		},
		spotless: true,
	},
	postgresRestarts(),
	postgresFailsOver(),
	commitsAreCut(),
	redisFails("Redis is killed and restarted", func(f *fleet, r *testservers.RedisServer) {
		r.Kill()
		f.pause(3 * time.Second)
		r.Restart()
	}),
	redisFails("Redis is flushed ten times", func(f *fleet, r *testservers.RedisServer) {
		for range 10 {
			r.Flush()
			f.pause(200 * time.Millisecond)
		}
	}),
	redisFails("Redis is frozen for 3 s", func(f *fleet, r *testservers.RedisServer) {
		r.Stop()
		f.pause(3 * time.Second)
		r.Continue()
	}),
	redisFails("Redis is frozen for 10 s", func(f *fleet, r *testservers.RedisServer) {
		r.Stop()
		f.pause(10 * time.Second)
		r.Continue()
	}),
	redisFailsOver(),
	rabbitStops(),
	anEventIsPoison(),
	{
		name: "of split roles, each has a loss",
		start: func(t *testing.T) *fleet {
			f := newFleet(t, sharedBackends(t))
			for _, roles := range []string{"api", "api", "relay", "relay", "worker", "worker", "scheduler"} {
				f.add(roles)
			}
			for _, i := range f.instances {
				i.process.awaitReady(f.t)
			}
			return f
		},
		disturb: func(f *fleet) {
			relay, worker, scheduler := f.instances[2], f.instances[4], f.instances[6]
			f.goesOn(func() {
				f.freeze(relay) // holds on to what it has claimed
				f.kill(worker)
				f.kill(scheduler)
				f.pause(5 * time.Second)
			})
			f.thaw(relay)
			for _, i := range []*instance{worker, scheduler} {
				f.start(i)
				i.process.awaitReady(f.t)
			}
		},
		spotless: true,
	},
}

// storageAway are what an instance says when PostgreSQL is not there, or breaks off.
var storageAway = []string{`"error":"unavailable: postgres`, `"error":"outcome_unknown: postgres`}

func postgresRestarts() drill {
	var p *testservers.PostgresServer
	return drill{
		name: "PostgreSQL is restarted, -m immediate",
		start: func(t *testing.T) *fleet {
			b := sharedBackends(t)
			p = testservers.StartPostgres(t)
			b.postgres = testservers.DatabaseAt(t, p.URL())
			return startFleet(t, b, 3)
		},
		disturb: func(f *fleet) {
			f.allowed = storageAway
			p.StopImmediate()
			f.pause(time.Second)
			p.Restart()
		},
	}
}

// postgresFailsOver kills a primary and promotes the standby, which each commit
// has waited for. Servers find it where the primary was, as by a balancer.
func postgresFailsOver() drill {
	var primary, standby *testservers.PostgresServer
	var proxy *testservers.Proxy
	return drill{
		name: "the primary is killed, the standby promoted",
		start: func(t *testing.T) *fleet {
			b := sharedBackends(t)
			primary = testservers.StartPostgres(t)
			standby = primary.StartStandby()
			b.direct = testservers.DatabaseAt(t, primary.URL())
			proxy = testservers.StartProxy(t, host(t, primary.URL()))
			b.postgres = through(t, b.direct, proxy.Address())
			return startFleet(t, b, 3)
		},
		disturb: func(f *fleet) {
			f.allowed = storageAway
			primary.Kill()
			f.pause(time.Second)
			standby.Promote()
			proxy.Turn(host(f.t, standby.URL()))
			f.backends.direct = through(f.t, f.backends.direct, host(f.t, standby.URL()))
		},
	}
}

// commitsAreCut loses the answers to commits that PostgreSQL carries out.
func commitsAreCut() drill {
	var proxy *testservers.Proxy
	return drill{
		name: "connections are cut after COMMIT was sent",
		start: func(t *testing.T) *fleet {
			b := sharedBackends(t)
			b.direct = b.postgres
			proxy = testservers.StartProxy(t, host(t, b.postgres))
			b.postgres = through(t, b.direct, proxy.Address())
			// What was prepared goes by another name than its text.
			return startFleet(t, b, 3, "POSTGRES_STATEMENTS=unprepared")
		},
		disturb: func(f *fleet) {
			f.allowed = storageAway
			for over := time.Now().Add(*drillTime); time.Now().Before(over); time.Sleep(100 * time.Millisecond) {
				proxy.CutOn(testservers.ToServer, []byte("/* commit */ COMMIT"), 3)
			}
			proxy.CutOn(testservers.ToServer, nil, 0)
			f.injected += proxy.Cuts()
			if s := f.seen(); s.open == 0 {
				f.t.Error("nobody was told that the outcome is unknown")
			}
		},
	}
}

// redisFails is a drill of Redis, of which nobody may notice anything but that
// some wait for it a moment.
func redisFails(name string, fail func(f *fleet, r *testservers.RedisServer)) drill {
	var r *testservers.RedisServer
	return drill{
		name: name,
		start: func(t *testing.T) *fleet {
			r = testservers.StartRedis(t)
			b := backends{
				postgres: testservers.Database(t), redis: r.Address(), rabbitmq: testservers.RabbitMQ(t), api: testservers.RabbitMQAPI(t),
			}
			return startFleet(t, b, 3)
		},
		disturb:  func(f *fleet) { f.goesOn(func() { fail(f, r) }) },
		spotless: true,
	}
}

func redisFailsOver() drill {
	var s *testservers.SentinelServers
	return drill{
		name: "a Sentinel fails over",
		start: func(t *testing.T) *fleet {
			s = testservers.StartSentinels(t)
			b := backends{
				postgres: testservers.Database(t), rabbitmq: testservers.RabbitMQ(t), api: testservers.RabbitMQAPI(t),
				extra: []string{"REDIS_SENTINEL_MASTER=" + s.Master(), "REDIS_SENTINEL_ADDRESSES=" + strings.Join(s.Addresses(), ",")},
			}
			return startFleet(t, b, 3)
		},
		disturb: func(f *fleet) {
			f.injected++
			before := s.MasterAddress()
			f.goesOn(func() {
				s.KillMaster()
				f.await(f.t.Context(), "another master", func() bool { return s.MasterAddress() != before })
			})
			s.Restart()
		},
		spotless: true,
	}
}

// rabbitStops stops the broker in order: a single node of RabbitMQ 3.10 that is
// killed soon after its queues were made can leave one of them without a leader
// for good, which three nodes do not.
func rabbitStops() drill {
	var r *testservers.RabbitMQServer
	return drill{
		name: "RabbitMQ is stopped for 60 s",
		start: func(t *testing.T) *fleet {
			r = testservers.StartRabbitMQ(t)
			return startFleet(t, backends{
				postgres: testservers.Database(t), redis: testservers.StartRedis(t).Address(), rabbitmq: r.URL(), api: r.API(),
			}, 3)
		},
		disturb: func(f *fleet) {
			f.goesOn(func() {
				r.Stop()
				f.pause(60 * time.Second)
			})
			r.Start()
		},
		spotless: true,
	}
}

// anEventIsPoison puts an event into the outbox that no consumer can count, as it
// is of a poll that there is not. It becomes a dead letter with the reason, again
// when it is replayed, and is dropped.
func anEventIsPoison() drill {
	return drill{
		name: "an event is poison",
		start: func(t *testing.T) *fleet {
			f := startFleet(t, sharedBackends(t), 3)
			f.allowed = []string{"event goes to the error queue", "event became a dead letter"}
			return f
		},
		disturb: func(f *fleet) {
			t, ctx := f.t, f.t.Context()
			store, err := app.OpenStore(ctx, load(t, postgresEnvironment(t, f.backends.direct)...), app.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			}()
			// Replaying puts it into the outbox, whatever is said of it here.
			err = store.AddDeadLetter(ctx, domain.DeadLetter{Queue: events.QueueAnalytics, Reason: "planted", At: time.Now(), Event: domain.Event{
				SpecVersion: "1.0", ID: "1-1000", Source: domain.EventSource, Type: domain.EventVoteCast, Time: time.Now().UTC(),
				DataContentType: "application/json", Data: []byte(`{"pollId":9007199254740991,"optionIndex":0,"version":1}`),
			}})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				f.injected++
				letter := f.deadLetter(ctx, store)
				if _, err := store.ReplayDeadLetters(ctx, []int64{letter.ID}); err != nil {
					t.Fatal(err)
				}
				f.await(ctx, "a dead letter", func() bool {
					letters, err := store.DeadLetters(ctx, "", letter.ID, 1)
					return err == nil && len(letters) == 1
				})
			}
			letter := f.deadLetter(ctx, store)
			if letter.Queue != events.QueueAnalytics || letter.Event.ID != "1-1000" || letter.Reason == "" || letter.Reason == "planted" {
				t.Errorf("dead letter %+v; want the event of %s with the reason", letter, events.QueueAnalytics)
			}
			if n, err := store.DropDeadLetters(ctx, []int64{letter.ID}); n != 1 || err != nil {
				t.Errorf("%d dead letters dropped, %v", n, err)
			}
		},
		spotless: true,
	}
}

// deadLetter returns the only dead letter.
func (f *fleet) deadLetter(ctx context.Context, store domain.Store) domain.DeadLetter {
	f.t.Helper()
	letters, err := store.DeadLetters(ctx, "", 0, 10)
	if err != nil || len(letters) != 1 {
		f.t.Fatalf("dead letters: %+v, %v; want one", letters, err)
	}
	return letters[0]
}
