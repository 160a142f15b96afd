//go:build integration && linux

package app_test

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestCrashOfInstances is TestCrash of three instances over real servers: one of
// them at a time is killed at random moments, while people use all.
func TestCrashOfInstances(t *testing.T) {
	f := startFleet(t, sharedBackends(t), 3)
	f.use(0, func() {
		for range *crashRounds {
			f.ledger.await(t, 150+rand.IntN(400))
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
			i := f.instances[rand.IntN(len(f.instances))]
			f.kill(i)
			f.start(i)
			i.process.awaitReady(t)
		}
	})
	diff := f.settle()
	seen := f.seen()
	votes, skips, polls, users := f.acknowledged()
	t.Logf("%d kills: %d votes, %d skips, %d polls, %d accounts acknowledged, %d answers lost to a kill; lost %d, doubled %d",
		*crashRounds, votes, skips, polls, users, seen.open, diff.lost, diff.doubled)
	if votes < 20**crashRounds || skips < 5**crashRounds || seen.open == 0 {
		t.Error("too little happened for this test to have shown anything")
	}
}
