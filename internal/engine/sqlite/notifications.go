package sqlite

import (
	"context"
	"errors"

	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

// AddMilestones implements [domain.Store].
func (s *Store) AddMilestones(ctx context.Context, reached []domain.Milestone) error {
	if len(reached) == 0 {
		return s.usable(ctx)
	}
	return s.write(ctx, opAddMilestones, func(w *writer) error {
		at := millis(s.now())
		told := make(map[int64]bool)
		for _, m := range reached {
			if err := w.addMilestone(m, at, told); err != nil {
				return err
			}
		}
		for user := range told {
			if err := w.run(`DELETE FROM notifications WHERE user_id = ?1 AND id <=
				(SELECT id FROM notifications WHERE user_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)`,
				user, domain.MaxNotifications); err != nil {
				return err
			}
		}
		return nil
	})
}

// addMilestone tells the author of a poll of its milestones, and adds whoever was
// told something to told.
func (w *writer) addMilestone(m domain.Milestone, at int64, told map[int64]bool) error {
	var author, before int64
	err := w.row(`SELECT p.author_id, coalesce(m.votes, 0) FROM polls p LEFT JOIN poll_milestones m ON m.poll_id = p.id
		WHERE p.id = ? AND p.author_id IS NOT NULL AND p.state < 2`, func(r *sqlite.Stmt) error {
		author, before = r.ColumnInt64(0), r.ColumnInt64(1)
		return nil
	}, int64(m.Poll))
	if errors.Is(err, errNoRow) {
		return nil
	}
	if err != nil {
		return err
	}
	milestones := domain.Milestones(before, m.Votes)
	if len(milestones) == 0 {
		return nil
	}
	for _, votes := range milestones {
		if err := w.run(`INSERT INTO notifications (user_id, type, poll_id, votes, created_at) VALUES (?, ?, ?, ?, ?)`,
			author, domain.NotificationMilestone, int64(m.Poll), votes, at); err != nil {
			return err
		}
	}
	told[author] = true
	return w.run(`INSERT INTO poll_milestones (poll_id, votes) VALUES (?, ?)
		ON CONFLICT DO UPDATE SET votes = excluded.votes`, int64(m.Poll), milestones[len(milestones)-1])
}

// Notifications implements [domain.Store].
func (s *Store) Notifications(ctx context.Context, user domain.UserID, before int64, limit int) ([]domain.Notification, error) {
	if before <= 0 {
		before = 1 << 62
	}
	var list []domain.Notification
	err := s.read(ctx, opNotifications, func(c *conn) error {
		return c.rows(`SELECT n.id, n.type, n.poll_id, CASE WHEN p.state < 2 THEN p.title ELSE '' END, n.votes, n.created_at
			FROM notifications n JOIN polls p ON p.id = n.poll_id
			WHERE n.user_id = ? AND n.id < ? ORDER BY n.id DESC LIMIT ?`,
			func(r *sqlite.Stmt) error {
				list = append(list, domain.Notification{
					ID: r.ColumnInt64(0), Type: r.ColumnText(1), Poll: domain.PollID(r.ColumnInt64(2)), Title: r.ColumnText(3),
					Votes: r.ColumnInt64(4), At: fromMillis(r.ColumnInt64(5)),
				})
				return nil
			}, int64(user), before, max(limit, 0))
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}
