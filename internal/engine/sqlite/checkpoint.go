package sqlite

import (
	"context"
	"time"

	"zombiezen.com/go/sqlite"
)

const (
	checkpointEvery = 50 * time.Millisecond
	// checkpointPages is how many pages the log may gather before it is copied
	// back: enough that a busy page is copied once for many commits, few enough
	// to be read in a moment after a crash.
	checkpointPages = 131072
	// Once a pass copied fewer pages than checkpointRest, or after
	// checkpointPasses, the rest is copied while the writer waits.
	checkpointRest   = 2048
	checkpointPasses = 4
	// Estimates of the pages that a change writes.
	pagesPerCommit      = 5
	pagesPerInteraction = 2
	pagesPerPoll        = 2
	pagesPerHourly      = 1
	// logBytes is what is left of a log that has once grown larger. A log is
	// written over, not cut, when it was copied: syncing new bytes in the place
	// of old ones takes half the time of syncing a file that grows.
	logBytes = 288 << 20
)

// checkpoints copies the log into the database file whenever it is long, and
// wipes when something was taken away, until ctx ends.
func (s *Store) checkpoints(ctx context.Context, c *conn) {
	defer close(s.done)
	defer func() {
		if err := c.Close(); err != nil {
			s.log.Error("close", "error", err)
		}
	}()
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	wipe := time.NewTicker(wipeEvery)
	defer wipe.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wipe.C:
			if s.traces.Load() == 0 {
				continue
			}
			start := time.Now()
			if err := s.wipeBeside(ctx, c); err != nil && ctx.Err() == nil {
				s.log.Error("wipe", "error", err)
			}
			s.metrics.observe(opWipe, start)
			continue
		case <-tick.C:
		}
		if s.written.Load() < checkpointPages {
			continue
		}
		start := time.Now()
		if err := s.checkpoint(ctx, c); err != nil && ctx.Err() == nil {
			s.log.Error("checkpoint", "error", err)
		}
		s.metrics.observe(opCheckpoint, start)
	}
}

// checkpoint copies the log beside the writer, again as long as what was
// committed meanwhile is much, and last, while the writer is held, what little
// is left. So the log is copied whole and the next commit starts it anew, without
// which a log under constant load would grow for ever, and nobody waits long.
func (s *Store) checkpoint(ctx context.Context, c *conn) error {
	const passive = `PRAGMA wal_checkpoint(PASSIVE)`
	copied := int64(0)
	for range checkpointPasses {
		before := copied
		if err := c.row(passive, func(r *sqlite.Stmt) error {
			copied = r.ColumnInt64(2)
			return nil
		}); err != nil {
			return err
		}
		if copied-before < checkpointRest {
			break // what came meanwhile is less still
		}
	}
	select {
	case w := <-s.writer:
		defer func() { s.writer <- w }()
	case <-ctx.Done():
		return nil
	}
	// Readers of an older state keep a part of the log from being copied;
	// then the estimate goes on from what is left.
	return c.row(passive, func(r *sqlite.Stmt) error {
		s.written.Store(r.ColumnInt64(1) - r.ColumnInt64(2))
		return nil
	})
}
