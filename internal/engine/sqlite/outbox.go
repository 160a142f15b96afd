package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

// leases says which outbox rows somebody holds, and until when. Memory is enough:
// the process is alone with the file, so a holder that is gone took the leases
// with it.
type leases struct {
	mu    sync.Mutex
	until map[int64]time.Time
}

// ClaimOutbox implements [domain.Store].
func (s *Store) ClaimOutbox(ctx context.Context, limit int, lease time.Duration) ([]domain.OutboxRow, error) {
	// Held while reading, so that two callers cannot find the same row free.
	s.leases.mu.Lock()
	defer s.leases.mu.Unlock()
	now := s.now()
	for id, until := range s.leases.until {
		if !now.Before(until) {
			delete(s.leases.until, id)
		}
	}
	if limit <= 0 {
		return nil, s.usable(ctx)
	}
	var claimed []domain.OutboxRow
	err := s.read(ctx, opClaimOutbox, func(c *conn) error {
		stmt, err := c.prepare(`SELECT id, created_at, changes FROM outbox ORDER BY id`, nil)
		if err != nil {
			return err
		}
		defer func() { _ = reset(stmt, nil) }() // a failed step is returned below
		for len(claimed) < limit {
			ok, err := stmt.Step()
			if err != nil || !ok {
				return err
			}
			id := stmt.ColumnInt64(0)
			if _, held := s.leases.until[id]; held {
				continue
			}
			claimed = append(claimed, domain.OutboxRow{
				ID: id, At: fromMillis(stmt.ColumnInt64(1)), Changes: blob(stmt, 2),
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, row := range claimed {
		s.leases.until[row.ID] = now.Add(lease)
	}
	return claimed, nil
}

// DeleteOutbox implements [domain.Store]. Rows that are gone already are no
// error.
func (s *Store) DeleteOutbox(ctx context.Context, ids []int64) error {
	if len(ids) == 0 {
		return s.usable(ctx)
	}
	err := s.write(ctx, opDeleteOutbox, func(w *writer) error {
		// Rows are published in order, so most ids follow one another.
		sorted := slices.Sorted(slices.Values(ids))
		for len(sorted) > 0 {
			n := 1
			for n < len(sorted) && sorted[n]-sorted[n-1] <= 1 {
				n++
			}
			if err := w.run(`DELETE FROM outbox WHERE id BETWEEN ? AND ?`, sorted[0], sorted[n-1]); err != nil {
				return err
			}
			sorted = sorted[n:]
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.leases.mu.Lock()
	defer s.leases.mu.Unlock()
	for _, id := range ids {
		delete(s.leases.until, id)
	}
	return nil
}

// OutboxLag implements [domain.Store].
func (s *Store) OutboxLag(ctx context.Context) (int64, time.Time, error) {
	var rows int64
	var oldest time.Time
	err := s.read(ctx, opOutboxLag, func(c *conn) error {
		return c.row(`SELECT count(*), (SELECT created_at FROM outbox ORDER BY id LIMIT 1) FROM outbox`,
			func(r *sqlite.Stmt) error {
				if rows = r.ColumnInt64(0); rows > 0 {
					oldest = fromMillis(r.ColumnInt64(1))
				}
				return nil
			})
	})
	return rows, oldest, err
}

// AddDeadLetter implements [domain.Store]. A dead letter without a time is of now.
func (s *Store) AddDeadLetter(ctx context.Context, d domain.DeadLetter) error {
	event, err := encodeJSON(d.Event)
	if err != nil {
		return err
	}
	return s.write(ctx, opAddDeadLetter, func(w *writer) error {
		at := d.At
		if at.IsZero() {
			at = s.now()
		}
		return w.run(`INSERT INTO dead_letters (queue, event_id, event, reason, created_at)
			VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			d.Queue, d.Event.ID, event, d.Reason, millis(at))
	})
}

// DeadLetters implements [domain.Store].
func (s *Store) DeadLetters(ctx context.Context, queue string, after int64, limit int) ([]domain.DeadLetter, error) {
	var letters []domain.DeadLetter
	err := s.read(ctx, opDeadLetters, func(c *conn) error {
		return c.rows(`SELECT id, queue, event, reason, created_at FROM dead_letters
			WHERE id > ?1 AND (?2 = '' OR queue = ?2) ORDER BY id LIMIT ?3`,
			func(r *sqlite.Stmt) error {
				d := domain.DeadLetter{
					ID: r.ColumnInt64(0), Queue: r.ColumnText(1), Reason: r.ColumnText(3), At: fromMillis(r.ColumnInt64(4)),
				}
				err := json.Unmarshal([]byte(r.ColumnText(2)), &d.Event)
				letters = append(letters, d)
				return err
			}, after, queue, max(limit, 0))
	})
	if err != nil {
		return nil, err
	}
	return letters, nil
}

// replayedPerRow is how many events a row of the outbox replays at most.
const replayedPerRow = 100

// ReplayDeadLetters implements [domain.Store].
func (s *Store) ReplayDeadLetters(ctx context.Context, ids []int64) (int64, error) {
	var n int64
	err := s.write(ctx, opReplayDeadLetters, func(w *writer) error {
		if err := w.prepareInteract(); err != nil { // for the outbox
			return err
		}
		n = 0
		again := domain.Changes{At: s.now()}
		have := make(map[string]bool) // an event that several queues could not handle is published once
		for _, id := range ids {
			var e domain.Event
			err := w.row(`SELECT event FROM dead_letters WHERE id = ?`, func(r *sqlite.Stmt) error {
				return json.Unmarshal([]byte(r.ColumnText(0)), &e)
			}, id)
			if errors.Is(err, errNoRow) {
				continue
			}
			if err != nil {
				return err
			}
			if e.Type == domain.EventMalformedRow {
				return domain.E(domain.CodeInvalid, fmt.Sprintf("Dead letter %d is a row that could not be read, which no queue takes.", id))
			}
			if err := w.run(`DELETE FROM dead_letters WHERE id = ?`, id); err != nil {
				return err
			}
			n++
			if have[e.ID] {
				continue
			}
			have[e.ID] = true
			if again.Replayed = append(again.Replayed, e); len(again.Replayed) == replayedPerRow {
				if err := w.writeOutbox(again); err != nil {
					return err
				}
				again.Replayed = nil
			}
		}
		return w.writeOutbox(again)
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// DropDeadLetters implements [domain.Store].
func (s *Store) DropDeadLetters(ctx context.Context, ids []int64) (int64, error) {
	var n int64
	err := s.write(ctx, opDropDeadLetters, func(w *writer) error {
		n = 0
		for _, id := range ids {
			if err := w.run(`DELETE FROM dead_letters WHERE id = ?`, id); err != nil {
				return err
			}
			n += int64(w.Changes())
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
