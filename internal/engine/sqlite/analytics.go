package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

// pollHour names a row of table poll_hourly.
type pollHour struct {
	hour domain.Hour
	poll domain.PollID
}

// inOrder returns the rows to change in the order of their key.
func inOrder[V any](changes map[pollHour]V) []pollHour {
	return slices.SortedFunc(maps.Keys(changes), func(a, b pollHour) int {
		return cmp.Or(cmp.Compare(a.hour, b.hour), cmp.Compare(a.poll, b.poll))
	})
}

// hourly is what a row of table poll_hourly holds, or what is to be added to it.
type hourly struct {
	shown, skips int64
	votes        [domain.MaxOptions]int64
}

// hourlyStatements are the prepared statements of the hourly totals, held apart
// as those of a batch of votes are.
type hourlyStatements struct{ get, set, counted, count *sqlite.Stmt }

func (w *writer) prepareHourly() error {
	if err := w.prepareInteract(); err != nil || w.hourly.count != nil {
		return err
	}
	var h hourlyStatements
	for query, stmt := range map[string]**sqlite.Stmt{
		`SELECT shown, skips, votes FROM poll_hourly WHERE hour = ? AND poll_id = ?`: &h.get,
		`INSERT INTO poll_hourly (hour, poll_id, shown, skips, votes) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET shown = excluded.shown, skips = excluded.skips, votes = excluded.votes`: &h.set,
		`SELECT first, last FROM counted_events WHERE row_id = ? ORDER BY first`:           &h.counted,
		`INSERT INTO counted_events (row_id, first, last, counted_at) VALUES (?, ?, ?, ?)`: &h.count,
	} {
		var err error
		if *stmt, err = w.Prepare(query); err != nil {
			return err
		}
	}
	w.hourly = h
	return nil
}

// CountHourly implements [domain.Store].
func (s *Store) CountHourly(ctx context.Context, processed []domain.Processed) error {
	if len(processed) == 0 {
		return s.usable(ctx)
	}
	// Before the writer is taken: others may have it meanwhile.
	sorted := slices.SortedFunc(slices.Values(processed), func(a, b domain.Processed) int {
		return cmp.Or(cmp.Compare(a.ID.Row, b.ID.Row), cmp.Compare(a.ID.Number, b.ID.Number))
	})
	return s.write(ctx, opCountHourly, func(w *writer) error {
		if err := w.prepareHourly(); err != nil {
			return err
		}
		w.polls.trim()
		at := millis(s.now())
		add := make(map[pollHour]*hourly)
		for len(sorted) > 0 {
			row := sorted[0].ID.Row
			n := slices.IndexFunc(sorted, func(p domain.Processed) bool { return p.ID.Row != row })
			if n < 0 {
				n = len(sorted)
			}
			fresh, err := w.markCounted(sorted[:n], at)
			if err != nil {
				return err
			}
			for _, p := range fresh {
				key := pollHour{domain.HourOf(p.At), p.Poll}
				h := add[key]
				if h == nil {
					h = &hourly{}
					add[key] = h
				}
				switch poll, err := w.poll(p.Poll); {
				case err != nil:
					return err
				case !poll.exists:
					return fmt.Errorf("event %s is of a poll that does not exist", p.ID)
				case p.Skip:
					h.skips++
				case p.Option < 0 || p.Option >= len(poll.votes):
					return fmt.Errorf("event %s is of an option that the poll does not have", p.ID)
				default:
					h.votes[p.Option]++
				}
			}
			sorted = sorted[n:]
		}
		return w.addHourly(add)
	})
}

// markCounted notes events of one outbox row, sorted, as counted, and returns
// those that were not before.
func (w *writer) markCounted(events []domain.Processed, at int64) ([]domain.Processed, error) {
	type span struct{ first, last int }
	var counted []span
	stmt := w.hourly.counted
	row := events[0].ID.Row
	stmt.BindInt64(1, row)
	if err := each(stmt, func(r *sqlite.Stmt) error {
		counted = append(counted, span{r.ColumnInt(0), r.ColumnInt(1)})
		return nil
	}); err != nil {
		return nil, err
	}
	fresh := make([]domain.Processed, 0, len(events))
	var added []span
	for i, e := range events {
		n := e.ID.Number
		known := i > 0 && events[i-1].ID == e.ID ||
			slices.ContainsFunc(counted, func(s span) bool { return s.first <= n && n <= s.last })
		if known {
			continue
		}
		fresh = append(fresh, e)
		if k := len(added) - 1; k >= 0 && added[k].last == n-1 {
			added[k].last = n
		} else {
			added = append(added, span{n, n})
		}
	}
	for _, a := range added {
		stmt := w.hourly.count
		stmt.BindInt64(1, row)
		stmt.BindInt64(2, int64(a.first))
		stmt.BindInt64(3, int64(a.last))
		stmt.BindInt64(4, at)
		if err := step(stmt); err != nil {
			return nil, err
		}
	}
	return fresh, nil
}

// addHourly adds to rows of table poll_hourly. The polls exist.
func (w *writer) addHourly(add map[pollHour]*hourly) error {
	w.pages += int64(len(add)) * pagesPerHourly
	for _, key := range inOrder(add) {
		poll, err := w.poll(key.poll)
		if err != nil {
			return err
		}
		h := add[key]
		stmt := w.hourly.get
		stmt.BindInt64(1, int64(key.hour))
		stmt.BindInt64(2, int64(key.poll))
		err = first(stmt, func(r *sqlite.Stmt) error {
			h.shown += r.ColumnInt64(0)
			h.skips += r.ColumnInt64(1)
			votes, err := parseCounts(r.ColumnText(2))
			for i, n := range votes {
				h.votes[i] += n
			}
			return err
		})
		if err != nil && !errors.Is(err, errNoRow) {
			return err
		}
		b := &w.scratch
		b.bytes = appendCounts(b.bytes[:0], h.votes[:len(poll.votes)])
		stmt = w.hourly.set
		stmt.BindInt64(1, int64(key.hour))
		stmt.BindInt64(2, int64(key.poll))
		stmt.BindInt64(3, h.shown)
		stmt.BindInt64(4, h.skips)
		stmt.BindText(5, string(b.bytes))
		if err := step(stmt); err != nil {
			return err
		}
	}
	return nil
}

// prunedAtOnce bounds one transaction that forgets event ids, so that votes need
// not wait for it.
const prunedAtOnce = 5000

// PruneCounted implements [domain.Store]. Ids of rows grow with time, nearly, so
// it looks at the lowest and stops at the first that is young enough.
func (s *Store) PruneCounted(ctx context.Context, before time.Time) (int64, error) {
	var n int64
	err := s.write(ctx, opPruneCounted, func(w *writer) error {
		var end int64
		n = 0
		young := false
		// An event id begins with the number of its row.
		err := w.rows(`SELECT row_id, counted_at FROM counted_events
			WHERE row_id < (SELECT coalesce(min(CAST(event_id AS INTEGER)), 9223372036854775807) FROM dead_letters
				WHERE event ->> 'type' <> ?1)
			ORDER BY row_id LIMIT ?2`,
			func(r *sqlite.Stmt) error {
				if young = young || r.ColumnInt64(1) >= millis(before); !young {
					end = r.ColumnInt64(0)
					n++
				}
				return nil
			}, domain.EventMalformedRow, prunedAtOnce)
		if err != nil || n == 0 {
			return err
		}
		return w.run(`DELETE FROM counted_events WHERE row_id <= ?1 AND counted_at < ?2`, end, millis(before))
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// AddShown implements [domain.Store].
func (s *Store) AddShown(ctx context.Context, shown []domain.Shown) error {
	if len(shown) == 0 {
		return s.usable(ctx)
	}
	return s.write(ctx, opAddShown, func(w *writer) error {
		if err := w.prepareHourly(); err != nil {
			return err
		}
		w.polls.trim()
		add := make(map[pollHour]*hourly, len(shown))
		for _, n := range shown {
			poll, err := w.poll(n.Poll)
			if err != nil {
				return err
			}
			if !poll.exists || len(poll.votes) == 0 {
				continue // a deleted one that nobody had skipped has no options left
			}
			key := pollHour{n.Hour, n.Poll}
			if add[key] == nil {
				add[key] = &hourly{}
			}
			add[key].shown += n.Times
		}
		return w.addHourly(add)
	})
}

// Hourly implements [domain.Store].
func (s *Store) Hourly(ctx context.Context, poll domain.PollID, from, to domain.Hour) ([]domain.HourlyCounts, error) {
	var counts []domain.HourlyCounts
	err := s.readLong(ctx, opHourly, func(c *conn) error {
		return c.snapshot(func() error {
			p, _, err := c.pollAndEntry(poll)
			if err != nil {
				return err
			}
			if p.State >= domain.PollHidden {
				return domain.E(domain.CodeNotFound, "")
			}
			// Nothing happened before it was published, nor is there a row of
			// the future.
			from = max(from, domain.HourOf(poll.Time()), domain.HourOf(p.CreatedAt))
			last := from
			if err := c.row(`SELECT coalesce(max(hour), 0) FROM poll_hourly`, func(r *sqlite.Stmt) error {
				last = domain.Hour(r.ColumnInt64(0)) //nolint:gosec // 32 bits wide
				return nil
			}); err != nil {
				return err
			}
			for hour := from; hour < to && hour <= last; hour++ {
				err := c.rows(`SELECT shown, skips, votes FROM poll_hourly WHERE hour = ? AND poll_id = ?`,
					func(r *sqlite.Stmt) error {
						h := domain.HourlyCounts{Hour: hour, Shown: r.ColumnInt64(0), Skips: r.ColumnInt64(1)}
						var err error
						h.Votes, err = parseCounts(r.ColumnText(2))
						counts = append(counts, h)
						return err
					}, int64(hour), int64(poll))
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}
