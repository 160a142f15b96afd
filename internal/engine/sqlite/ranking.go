package sqlite

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

// Rank implements [domain.Store]. Hotness is compared by its logarithm, which
// orders alike and does not vanish for old polls.
func (s *Store) Rank(ctx context.Context, n int, every, keep time.Duration) (domain.Ranking, error) {
	s.ranking.Lock() // so that two callers do not both make one
	defer s.ranking.Unlock()
	newest, err := s.RankingByID(ctx, 0)
	if err != nil && domain.CodeOf(err) != domain.CodeCursorExpired {
		return domain.Ranking{}, err
	}
	now := s.now()
	if err == nil && now.Sub(newest.At) < every {
		return newest, nil
	}
	made := domain.Ranking{At: now}
	err = s.readLong(ctx, opRank, func(c *conn) error {
		return c.snapshot(func() error {
			var err error
			made.Positions, err = c.hottest(max(n, 0), now)
			return err
		})
	})
	if err != nil {
		return domain.Ranking{}, err
	}
	err = s.write(ctx, opRank, func(w *writer) error {
		if err := w.run(`INSERT INTO rankings (created_at, positions) VALUES (?, ?)`,
			millis(now), appendPositions(nil, made.Positions)); err != nil {
			return err
		}
		made.ID = w.LastInsertRowID()
		return w.run(`DELETE FROM rankings WHERE created_at < ? AND id <> ?`, millis(now.Add(-keep)), made.ID)
	})
	if err != nil {
		return domain.Ranking{}, err
	}
	return made, nil
}

// RankingByID implements [domain.Store].
func (s *Store) RankingByID(ctx context.Context, id int64) (domain.Ranking, error) {
	var found domain.Ranking
	err := s.read(ctx, opRanking, func(c *conn) error {
		query := `SELECT id, created_at, positions FROM rankings WHERE id = ?`
		if id == 0 {
			query = `SELECT id, created_at, positions FROM rankings WHERE ? = 0 ORDER BY id DESC LIMIT 1`
		}
		err := c.row(query, func(r *sqlite.Stmt) error {
			found = domain.Ranking{
				ID: r.ColumnInt64(0), At: fromMillis(r.ColumnInt64(1)), Positions: decodePositions(blob(r, 2)),
			}
			return nil
		}, id)
		if errors.Is(err, errNoRow) {
			return domain.E(domain.CodeCursorExpired, "This ranking is no longer kept.")
		}
		return err
	})
	return found, err
}

// hot is a poll with its hotness: log2 of votes + 0.2 skips, less its age in days.
type hot struct {
	heat     float64
	position domain.Position
}

func (h hot) less(o hot) bool {
	if h.heat != o.heat {
		return h.heat < o.heat
	}
	return h.position < o.position
}

// heat is the logarithm of the hotness of a poll with some activity.
func heat(votes, skips int64, age time.Duration) float64 {
	return math.Log2(float64(votes)+0.2*float64(skips)) - age.Hours()/24
}

// hotHeap holds the hottest polls so far, the coldest of them on top.
type hotHeap []hot

func (h hotHeap) Len() int           { return len(h) }
func (h hotHeap) Less(i, j int) bool { return h[i].less(h[j]) }
func (h hotHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements [heap.Interface].
func (h *hotHeap) Push(x any) { *h = append(*h, x.(hot)) } //nolint:forcetypeassert // only add calls it

// Pop implements [heap.Interface].
func (h *hotHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// hottest returns the n hottest open polls. Polls without votes and skips are
// the coldest and are ordered by position alone, so only polls with some are
// scored.
func (c *conn) hottest(n int, now time.Time) ([]domain.Position, error) {
	top := make(hotHeap, 0, n)
	full := func() bool { return len(top) == n }
	poll, err := c.Prepare(`SELECT position, created_at FROM polls WHERE id = ? AND state = 0`)
	if err != nil || n == 0 {
		return nil, err
	}
	// The newest polls come first: they are the likeliest to be hot, so that
	// most others need no look at their row.
	err = c.rows(`SELECT poll_id, total, skips FROM poll_counts ORDER BY poll_id DESC`, func(r *sqlite.Stmt) error {
		id, votes, skips := r.ColumnInt64(0), r.ColumnInt64(1), r.ColumnInt64(2)
		// The time in the id is never before the creation, so this is never
		// less than the poll's heat.
		if full() && heat(votes, skips, now.Sub(domain.PollID(id).Time())) < top[0].heat {
			return nil
		}
		poll.BindInt64(1, id)
		err := first(poll, func(p *sqlite.Stmt) error {
			h := hot{
				heat:     heat(votes, skips, now.Sub(fromMillis(p.ColumnInt64(1)))),
				position: domain.Position(p.ColumnInt64(0)), //nolint:gosec // 32 bits wide
			}
			if !full() {
				heap.Push(&top, h)
			} else if top[0].less(h) {
				top[0] = h
				heap.Fix(&top, 0)
			}
			return nil
		})
		if errors.Is(err, errNoRow) {
			return nil // closed, hidden or deleted
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(top, func(a, b hot) int {
		if c := cmp.Compare(b.heat, a.heat); c != 0 {
			return c
		}
		return cmp.Compare(b.position, a.position)
	})
	positions := make([]domain.Position, 0, n)
	for _, h := range top {
		positions = append(positions, h.position)
	}
	if full() {
		return positions, nil
	}
	err = c.rows(`SELECT position FROM polls p WHERE state = 0
		AND NOT EXISTS (SELECT 1 FROM poll_counts WHERE poll_id = p.id) ORDER BY id DESC LIMIT ?`,
		func(r *sqlite.Stmt) error {
			positions = append(positions, domain.Position(r.ColumnInt64(0))) //nolint:gosec // 32 bits wide
			return nil
		}, n-len(top))
	return positions, err
}
