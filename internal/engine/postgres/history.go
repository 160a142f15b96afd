package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

// chunksAtOnce is how many rows of table history are read at once.
const chunksAtOnce = 32

// errStored says that a stored value is not what this package writes.
var errStored = errors.New("stored value is malformed")

// historyWalk reads what a user has done, newest first.
type historyWalk struct {
	c      *conn
	bucket int32
	user   domain.UserID
	// number is that of the last of entries, which are in the order in which they
	// were accepted.
	number  int64
	entries []int32
}

// walkHistory begins a walk at an entry, or at the newest one when there is none
// with that number. The walk must be in one snapshot.
func (s *Store) walkHistory(ctx context.Context, c *conn, user domain.UserID, from int64) (*historyWalk, error) {
	w := &historyWalk{c: c, bucket: s.bucket(user), user: user}
	err := c.row(ctx, `/* newest_history */ SELECT version, recent FROM user_state WHERE bucket = $1 AND user_id = $2`,
		[]any{w.bucket, int64(user)}, &w.number, &w.entries)
	if errors.Is(err, pgx.ErrNoRows) {
		return w, nil // the user is erased or unknown
	}
	if err != nil {
		return nil, err
	}
	if int64(len(w.entries)) != min(w.number, chunkSize) {
		return nil, fmt.Errorf("recent history of user %d: %w", user, errStored)
	}
	if from <= 0 || from >= w.number {
		return w, nil
	}
	// What is newer is left out.
	w.entries = w.entries[:max(0, int64(len(w.entries))-(w.number-from))]
	w.number = from
	return w, nil
}

// next returns the next older entry, and its number; 0 when there is none.
func (w *historyWalk) next(ctx context.Context) (number int64, p domain.Position, skip bool, err error) {
	if len(w.entries) == 0 && w.number > 0 {
		if err := w.older(ctx); err != nil {
			return 0, 0, false, err
		}
	}
	if w.number == 0 {
		return 0, 0, false, nil
	}
	last := len(w.entries) - 1
	p, skip = readEntry(w.entries[last])
	number = w.number
	w.entries, w.number = w.entries[:last], w.number-1
	return number, p, skip, nil
}

// older reads the entries up to the number of the walk.
func (w *historyWalk) older(ctx context.Context) error {
	chunk := (w.number + chunkSize - 1) / chunkSize
	var chunks [][]int32 // newest first
	err := w.c.rows(ctx, `/* older_history */ SELECT chunk, entries FROM history
		WHERE bucket = $1 AND user_id = $2 AND chunk <= $3 ORDER BY chunk DESC LIMIT $4`,
		func(r pgx.Rows) error {
			var n int64
			var entries []int32
			err := r.Scan(&n, &entries)
			if err == nil && (n != chunk-int64(len(chunks)) || len(entries) != chunkSize) {
				err = fmt.Errorf("chunk %d of the history of user %d: %w", n, w.user, errStored)
			}
			chunks = append(chunks, entries)
			return err
		}, w.bucket, int64(w.user), chunk, chunksAtOnce)
	if err != nil {
		return err
	}
	if len(chunks) == 0 {
		return fmt.Errorf("chunk %d of the history of user %d is missing: %w", chunk, w.user, errStored)
	}
	slices.Reverse(chunks)
	w.entries = slices.Concat(chunks...)
	w.entries = w.entries[:int64(len(w.entries))-(chunk*chunkSize-w.number)]
	return nil
}

// PastInteractions implements [domain.Store].
func (s *Store) PastInteractions(
	ctx context.Context, user domain.UserID, skips bool, before int64, limit int,
) ([]domain.PastInteraction, error) {
	if limit <= 0 {
		return nil, s.usable(ctx)
	}
	var past []domain.PastInteraction
	err := s.read(ctx, opHistory, func(ctx context.Context, c *conn) error {
		return c.snapshot(ctx, func() error {
			numbers, positions, err := s.entriesBefore(ctx, c, user, skips, before, limit)
			if err != nil || len(numbers) == 0 {
				return err
			}
			past, err = s.pastAt(ctx, c, user, skips, numbers, positions)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return past, nil
}

// entriesBefore returns the numbers and positions of a user's votes, or skips,
// before the one with a number, or from the newest on. Those that were archived
// are left out.
func (s *Store) entriesBefore(
	ctx context.Context, c *conn, user domain.UserID, skips bool, before int64, limit int,
) (numbers []int64, positions []int32, err error) {
	moved, err := c.movedPositions(ctx)
	if err != nil {
		return nil, nil, err
	}
	walk, err := s.walkHistory(ctx, c, user, before)
	if err != nil {
		return nil, nil, err
	}
	if before > 0 {
		// Nothing comes before what is not there.
		number, _, skip, err := walk.next(ctx)
		if err != nil || number != before || skip != skips {
			return nil, nil, err
		}
	}
	for len(numbers) < limit {
		number, position, skip, err := walk.next(ctx)
		if err != nil || number == 0 {
			return numbers, positions, err
		}
		if skip == skips && !moved.has(position) {
			numbers, positions = append(numbers, number), append(positions, entry(position, false))
		}
	}
	return numbers, positions, nil
}

// positionRanges are ranges of positions: from the first to before the second.
type positionRanges [][2]domain.Position

func (ranges positionRanges) has(p domain.Position) bool {
	return slices.ContainsFunc(ranges, func(r [2]domain.Position) bool { return r[0] <= p && p < r[1] })
}

// movedPositions returns the positions of the polls whose votes and skips were
// moved into an archive.
func (c *conn) movedPositions(ctx context.Context) (moved positionRanges, err error) {
	err = c.rows(ctx, `/* moved_months */ SELECT first_position, end_position FROM archived_months WHERE moved_at IS NOT NULL`,
		func(r pgx.Rows) error {
			var of [2]domain.Position
			err := r.Scan(&of[0], &of[1])
			moved = append(moved, of)
			return err
		})
	return moved, err
}

const (
	pastVotesQuery = `/* past_votes */ SELECT a.number, p.id, p.state, v.created_at, v.option_index,
			CASE WHEN p.state < 2 THEN p.title ELSE '' END, CASE WHEN p.state < 2 THEN p.options ->> v.option_index ELSE '' END
		FROM unnest($3::bigint[], $4::integer[]) AS a (number, position) JOIN polls p ON p.position = a.position
		JOIN votes v ON v.bucket = $1 AND v.user_id = $2 AND v.poll_id = p.id ORDER BY a.number DESC`
	pastSkipsQuery = `/* past_skips */ SELECT a.number, p.id, p.state, s.created_at, 0,
			CASE WHEN p.state < 2 THEN p.title ELSE '' END, ''
		FROM unnest($3::bigint[], $4::integer[]) AS a (number, position) JOIN polls p ON p.position = a.position
		JOIN skips s ON s.bucket = $1 AND s.user_id = $2 AND s.poll_id = p.id ORDER BY a.number DESC`
)

// pastAt returns the votes, or skips, of a user at positions.
func (s *Store) pastAt(
	ctx context.Context, c *conn, user domain.UserID, skips bool, numbers []int64, positions []int32,
) ([]domain.PastInteraction, error) {
	query := pastVotesQuery
	if skips {
		query = pastSkipsQuery
	}
	past := make([]domain.PastInteraction, 0, len(numbers))
	err := c.rows(ctx, query, func(r pgx.Rows) error {
		var p domain.PastInteraction
		err := r.Scan(&p.Number, &p.Poll, &p.State, &p.At, &p.Option, &p.Title, &p.Text)
		past = append(past, p)
		return err
	}, s.bucket(user), int64(user), numbers, positions)
	if err == nil && len(past) != len(numbers) {
		err = fmt.Errorf("history of user %d: %d of %d entries are left: %w", user, len(past), len(numbers), errStored)
	}
	return past, err
}
