package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// A name or address that was taken away stays in the files as long as the version
// of the row that held it. A vacuum clears such versions once no transaction can
// see them, and takes their entries out of the indexes. What it frees within a
// page it does not overwrite, nor does it reach into the server's log or into
// backups: docs/operations.md says what to do about those.
//
// One vacuum runs at a time, and another one for those who asked while it ran.
// When the process dies before, the server's own vacuum takes its place, as
// migration 11 has set up the table.
type traces struct {
	mu      sync.Mutex
	asked   bool
	running bool
	closed  bool
	closing chan struct{} // closed with the Store
	done    sync.WaitGroup
}

const (
	// vacuumPause is the least time between two vacuums, unless the Store is
	// closed.
	vacuumPause = 5 * time.Second
	// vacuumTimeout bounds a vacuum, and so the closing of the Store.
	vacuumTimeout = time.Minute
)

// clearTraces asks for a vacuum.
func (s *Store) clearTraces() {
	t := &s.traces
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked = true
	if !t.running && !t.closed {
		t.running = true
		t.done.Go(s.vacuums)
	}
}

// finish waits for the last vacuum.
func (t *traces) finish() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	close(t.closing)
	t.done.Wait()
}

// vacuums runs as long as somebody asked.
func (s *Store) vacuums() {
	t := &s.traces
	for {
		t.mu.Lock()
		if t.running = t.asked; !t.running {
			t.mu.Unlock()
			return
		}
		t.asked = false
		t.mu.Unlock()
		if err := s.vacuum(); err != nil {
			s.log.Warn("names and addresses that were taken away are not cleared yet", "error", err)
		}
		select {
		case <-time.After(vacuumPause):
		case <-t.closing:
		}
	}
}

func (s *Store) vacuum() error {
	ctx, cancel := context.WithTimeout(context.Background(), vacuumTimeout)
	defer cancel()
	start := time.Now()
	// Not in a transaction, and with nothing prepared: it is a command of its own.
	_, err := s.pool.Exec(ctx, `/* vacuum */ VACUUM (INDEX_CLEANUP ON) users`, pgx.QueryExecModeSimpleProtocol)
	s.metrics.observe(opMaintain, time.Since(start))
	if err != nil {
		return fmt.Errorf("postgres: vacuum: %w", err)
	}
	return nil
}
