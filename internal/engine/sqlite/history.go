package sqlite

import (
	"context"
	"errors"
	"fmt"

	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

// lastEntries are the ids in table history of a user's last vote and last skip,
// 0 when there is none.
type lastEntries struct{ vote, skip int64 }

// addHistory adds a vote or skip to the user's history.
func (w *writer) addHistory(u *userFacts, poll domain.PollID, skip bool) error {
	last := &u.last.vote
	if skip {
		last = &u.last.skip
	}
	stmt := w.interact.addHistory
	stmt.BindInt64(1, int64(u.id))
	stmt.BindInt64(2, int64(poll))
	stmt.BindBool(3, skip)
	stmt.BindInt64(4, *last)
	if err := step(stmt); err != nil {
		return err
	}
	*last = w.LastInsertRowID()
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
	err := s.readLong(ctx, opHistory, func(c *conn) error {
		return c.snapshot(func() error {
			next, err := c.entryBefore(user, skips, before)
			for err == nil && next != 0 && len(past) < limit {
				past, next, err = c.appendPast(past, user, skips, next)
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return past, nil
}

// entryBefore returns the id of the vote or skip of a user that comes before
// another, or of the last one; 0 when there is none.
func (c *conn) entryBefore(user domain.UserID, skip bool, id int64) (before int64, err error) {
	query, args := `SELECT previous FROM history WHERE id = ? AND user_id = ? AND skip = ?`, []any{id, int64(user), skip}
	if id <= 0 {
		query, args = `SELECT CASE WHEN ?2 THEN last_skip ELSE last_vote END FROM user_state WHERE user_id = ?1`, []any{int64(user), skip}
	}
	err = c.row(query, func(r *sqlite.Stmt) error {
		before = r.ColumnInt64(0)
		return nil
	}, args...)
	if errors.Is(err, errNoRow) {
		err = nil
	}
	return before, err
}

// appendPast appends a vote or skip, unless it was moved into an archive, and
// returns the id of the one before it.
func (c *conn) appendPast(
	past []domain.PastInteraction, user domain.UserID, skip bool, id int64,
) (_ []domain.PastInteraction, previous int64, err error) {
	query := `SELECT h.previous, p.id, p.state, p.title, v.created_at, v.option_index, p.options ->> v.option_index
		FROM history h LEFT JOIN polls q ON q.id = h.poll_id LEFT JOIN votes v ON v.id = h.user_id << 32 | q.position
		LEFT JOIN polls p ON p.id = v.poll_id
		WHERE h.id = ? AND h.user_id = ? AND h.skip = ?`
	if skip {
		query = `SELECT h.previous, p.id, p.state, p.title, s.created_at, 0, ''
			FROM history h LEFT JOIN polls q ON q.id = h.poll_id LEFT JOIN skips s ON s.id = h.user_id << 32 | q.position
			LEFT JOIN polls p ON p.id = s.poll_id
			WHERE h.id = ? AND h.user_id = ? AND h.skip = ?`
	}
	err = c.row(query, func(r *sqlite.Stmt) error {
		previous = r.ColumnInt64(0)
		if r.ColumnIsNull(1) {
			return nil
		}
		p := domain.PastInteraction{
			Number: id, Poll: domain.PollID(r.ColumnInt64(1)), State: domain.PollState(r.ColumnInt64(2)), //nolint:gosec // 0 to 3
			At: fromMillis(r.ColumnInt64(4)), Option: r.ColumnInt(5),
		}
		if p.State < domain.PollHidden {
			p.Title, p.Text = r.ColumnText(3), r.ColumnText(6)
		}
		past = append(past, p)
		return nil
	}, id, int64(user), skip)
	if err != nil {
		return nil, 0, fmt.Errorf("entry %d of the history of user %d: %w", id, user, err)
	}
	if previous >= id {
		return nil, 0, fmt.Errorf("entry %d of the history of user %d: %w", id, user, errStored)
	}
	return past, previous, nil
}

// PollsBy implements [domain.Store].
func (s *Store) PollsBy(ctx context.Context, by domain.UserID, before domain.PollID, limit int) ([]domain.OwnPoll, error) {
	if before <= 0 {
		before = domain.MaxID
	}
	var polls []domain.OwnPoll
	err := s.read(ctx, opPolls, func(c *conn) error {
		return c.rows(`SELECT `+pollColumns+` WHERE p.author_id = ? AND p.id < ? AND p.deleted_at IS NULL
			ORDER BY p.id DESC LIMIT ?`,
			func(r *sqlite.Stmt) error {
				p, e, err := scanPoll(r)
				polls = append(polls, domain.OwnPoll{Poll: p, Votes: e.Votes})
				return err
			}, int64(by), int64(before), max(limit, 0))
	})
	if err != nil {
		return nil, err
	}
	return polls, nil
}
