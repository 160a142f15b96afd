package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

// maxRanked is how many polls the view of popular polls has.
const maxRanked = 10_000

// Rank implements [domain.Store]. At most 10,000 polls are ranked.
func (s *Store) Rank(ctx context.Context, n int, every, keep time.Duration) (domain.Ranking, error) {
	newest, err := s.RankingByID(ctx, 0)
	if err != nil && domain.CodeOf(err) != domain.CodeCursorExpired {
		return domain.Ranking{}, err
	}
	now, errNow := s.now(ctx, opRank)
	if errNow != nil {
		return domain.Ranking{}, errNow
	}
	if err == nil && now.Sub(newest.At) < every {
		return newest, nil
	}
	var made domain.Ranking
	err = s.writeLong(ctx, opRank, func(ctx context.Context, c *conn) error {
		// So that two processes do not both make one: whoever waited finds it.
		if err := c.lock(ctx, lockRanking); err != nil {
			return err
		}
		now, err := c.now(ctx)
		if err != nil {
			return err
		}
		newest, err := c.ranking(ctx, 0)
		if err == nil && now.Sub(newest.At) < every {
			made = newest
			return nil
		}
		if err != nil && domain.CodeOf(err) != domain.CodeCursorExpired {
			return err
		}
		if _, err := c.exec(ctx, `/* refresh_popular */ REFRESH MATERIALIZED VIEW CONCURRENTLY popular_polls`); err != nil {
			return err
		}
		var id int64
		var positions []int64
		err = c.row(ctx, `/* add_ranking */ INSERT INTO rankings (created_at, positions)
			SELECT $1, coalesce(array_agg(position ORDER BY place), '{}') FROM popular_polls WHERE place <= $2
			RETURNING id, positions`, []any{now, min(max(n, 0), maxRanked)}, &id, &positions)
		if err != nil {
			return err
		}
		made = ranking(id, now, positions)
		_, err = c.exec(ctx, `/* prune_rankings */ DELETE FROM rankings WHERE created_at < $1 AND id <> $2`, now.Add(-keep), id)
		return err
	})
	if err != nil {
		return domain.Ranking{}, err
	}
	return made, nil
}

func ranking(id int64, at time.Time, positions []int64) domain.Ranking {
	r := domain.Ranking{ID: id, At: at, Positions: make([]domain.Position, len(positions))}
	for i, p := range positions {
		r.Positions[i] = domain.Position(p) //nolint:gosec // as it was written
	}
	return r
}

// RankingByID implements [domain.Store].
func (s *Store) RankingByID(ctx context.Context, id int64) (domain.Ranking, error) {
	var found domain.Ranking
	err := s.read(ctx, opRanking, func(ctx context.Context, c *conn) (err error) {
		found, err = c.ranking(ctx, id)
		return err
	})
	return found, err
}

// ranking returns a stored ranking; 0 is the newest. Errors: CodeCursorExpired.
func (c *conn) ranking(ctx context.Context, id int64) (domain.Ranking, error) {
	query, args := `/* ranking */ SELECT id, created_at, positions FROM rankings WHERE id = $1`, []any{id}
	if id == 0 {
		query, args = `/* newest_ranking */ SELECT id, created_at, positions FROM rankings ORDER BY id DESC LIMIT 1`, nil
	}
	var at time.Time
	var positions []int64
	err := c.row(ctx, query, args, &id, &at, &positions)
	if errors.Is(err, pgx.ErrNoRows) {
		return domain.Ranking{}, domain.E(domain.CodeCursorExpired, "This ranking is no longer kept.")
	}
	return ranking(id, at, positions), err
}
