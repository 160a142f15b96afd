package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

const readStates = `/* user_states */ SELECT user_id, version, recent FROM user_state WHERE bucket = ANY($1) AND user_id = ANY($2)`

// UserStates implements [domain.Store].
func (s *Store) UserStates(ctx context.Context, users []domain.UserID) ([]domain.UserState, error) {
	states := make([]domain.UserState, len(users))
	known := make(map[domain.UserID]domain.UserState, len(users))
	buckets := s.bucketsOf(users)
	slices.Sort(buckets)
	err := s.read(ctx, opUserStates, func(ctx context.Context, c *conn) error {
		return c.rows(ctx, readStates, func(r pgx.Rows) error {
			var id int64
			var state domain.UserState
			var recent []int32
			if err := r.Scan(&id, &state.Version, &recent); err != nil {
				return err
			}
			state.User = domain.UserID(id)
			state.Recent = appendPositions(nil, recent)
			known[state.User] = state
			return nil
		}, slices.Compact(buckets), int64s(users))
	})
	if err != nil {
		return nil, err
	}
	for i, id := range users {
		states[i] = known[id]
		states[i].User = id
	}
	return states, nil
}

// appendPositions appends the positions of entries.
func appendPositions(positions []domain.Position, entries []int32) []domain.Position {
	for _, e := range entries {
		p, _ := readEntry(e)
		positions = append(positions, p)
	}
	return positions
}

const readSeen = `/* seen */ SELECT s.version, s.recent, h.entries FROM user_state s
	LEFT JOIN history h ON h.bucket = s.bucket AND h.user_id = s.user_id
	WHERE s.bucket = $1 AND s.user_id = $2`

const readArchived = `/* archived_positions */ SELECT first_position, end_position FROM archived_months
	WHERE moved_at IS NOT NULL AND end_position > first_position`

// Seen implements [domain.Store].
func (s *Store) Seen(ctx context.Context, user domain.UserID) (domain.SeenSet, error) {
	var seen domain.SeenSet
	var archived [][2]int64
	err := s.read(ctx, opSeen, func(ctx context.Context, c *conn) error {
		// Not of the same moment: what is archived is in no feed for long.
		var first, end int64
		rows, err := c.Query(ctx, readArchived)
		if err != nil {
			return err
		}
		_, err = pgx.ForEachRow(rows, []any{&first, &end}, func() error {
			archived = append(archived, [2]int64{first, end})
			return nil
		})
		if err != nil {
			return err
		}
		begun := false
		return c.rows(ctx, readSeen, func(r pgx.Rows) error {
			var recent, chunk []int32
			if err := r.Scan(&seen.Version, &recent, &chunk); err != nil {
				return err
			}
			if !begun {
				begun = true
				seen.Positions = make([]domain.Position, 0, seen.Version)
				// The entries that are in no chunk yet.
				open := int(seen.Version % chunkSize)
				seen.Positions = appendPositions(seen.Positions, recent[len(recent)-open:])
			}
			seen.Positions = appendPositions(seen.Positions, chunk)
			return nil
		}, s.bucket(user), int64(user))
	})
	if err != nil {
		return domain.SeenSet{}, err
	}
	// A poll that was skipped and then voted on is there twice.
	slices.Sort(seen.Positions)
	seen.Positions = slices.Compact(seen.Positions)
	for _, month := range archived {
		seen.Positions = slices.DeleteFunc(seen.Positions, func(p domain.Position) bool {
			return int64(p) >= month[0] && int64(p) < month[1]
		})
	}
	return seen, nil
}

const readPrior = `/* prior */ SELECT
	(SELECT option_index FROM votes WHERE bucket = $1 AND user_id = $2 AND poll_id = $3),
	(SELECT true FROM skips WHERE bucket = $1 AND user_id = $2 AND poll_id = $3)`

// Prior implements [domain.Store].
func (s *Store) Prior(ctx context.Context, user domain.UserID, poll domain.PollID) (domain.Prior, error) {
	var p domain.Prior
	err := s.read(ctx, opPrior, func(ctx context.Context, c *conn) (err error) {
		p, err = scanPrior(c.QueryRow(ctx, readPrior, s.bucket(user), int64(user), int64(poll)))
		return err
	})
	return p, err
}
