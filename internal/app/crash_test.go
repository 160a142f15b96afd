package app_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"vote/internal/app"
)

var crashRounds = flag.Int("crash.rounds", 5, "how often TestCrash kills the server")

// TestCrash kills the built server with SIGKILL under load at random moments
// and holds what it had acknowledged against what the database then says.
func TestCrash(t *testing.T) {
	t.Parallel()
	c := newCrash(t)
	var slowest time.Duration
	for round := range *crashRounds {
		took := c.start(t)
		slowest = max(slowest, took)
		c.converge(t)
		c.loadAndKill(t, round)
		c.verify(t)
		if t.Failed() {
			t.Fatalf("after round %d", round)
		}
	}
	c.start(t)
	c.converge(t)
	c.kill(t)
	c.verify(t)
	votes, skips, polls, users := c.acknowledged()
	t.Logf("%d kills: %d votes, %d skips, %d polls, %d accounts acknowledged, %d answers lost to a kill; ready again within %v",
		*crashRounds, votes, skips, polls, users, c.tally.open, slowest.Round(time.Millisecond))
	if votes < 20**crashRounds || skips < 5**crashRounds || c.tally.open == 0 {
		t.Error("too little happened for this test to have shown anything")
	}
	if c.tally.undone > 0 {
		t.Errorf("%d requests were refused by a server that lacked nothing", c.tally.undone)
	}
}

type crash struct {
	*ledger
	folder  string
	process *process
}

func newCrash(t *testing.T) *crash {
	t.Helper()
	c := &crash{folder: t.TempDir()}
	c.ledger = newLedger(16, func() string { return c.process.url })
	t.Cleanup(func() {
		if c.process != nil {
			c.kill(t)
		}
		c.client.CloseIdleConnections()
	})
	return c
}

// start runs the server and returns how long it took to be ready.
func (c *crash) start(t *testing.T) time.Duration {
	t.Helper()
	serverBinary(t)
	began := time.Now()
	c.process = startProcess(t, c.folder, os.Stderr, append(unlimited(), "STORAGE_PATH="+filepath.Join(c.folder, "vote.db")))
	c.process.awaitReady(t)
	return time.Since(began)
}

func (c *crash) kill(t *testing.T) {
	t.Helper()
	c.process.kill(t)
	c.client.CloseIdleConnections()
}

// loadAndKill lets several people use the product and kills the server in the
// middle.
func (c *crash) loadAndKill(t *testing.T, round int) {
	t.Helper()
	if round == 0 {
		c.prepare(t, 3, 20)
	}
	var workers sync.WaitGroup
	for range 4 { // accounts made while others vote
		workers.Go(func() { c.register(t) })
	}
	for w := range c.workers {
		rnd := rand.New(rand.NewPCG(uint64(round), uint64(w)))
		workers.Go(func() {
			for c.act(t, rnd, w) == answered {
				continue
			}
		})
	}
	c.await(t, 150+rand.IntN(400))
	time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
	c.kill(t)
	workers.Wait()
}

// verify looks at a copy of what the killed server left on disk.
func (c *crash) verify(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	left := t.TempDir()
	files, err := filepath.Glob(filepath.Join(c.folder, "vote.db*"))
	if err != nil || len(files) == 0 {
		t.Fatal("no database left", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(left, filepath.Base(f)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := load(t)
	cfg.Storage.Path = filepath.Join(left, "vote.db")
	store, err := app.OpenStore(ctx, cfg, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	c.compare(ctx, t, store)
}
