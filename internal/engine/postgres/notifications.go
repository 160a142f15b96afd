package postgres

import (
	"context"
	"maps"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

// reachedPoll is a poll whose author is to be told of milestones.
type reachedPoll struct {
	poll   domain.PollID
	author domain.UserID
	told   int64 // the highest milestone the author was told of
}

// AddMilestones implements [domain.Store]. What an author is told of is decided
// under the lock of the author's state, so two callers tell once, an erasure
// finds all, and no more are kept than may be.
func (s *Store) AddMilestones(ctx context.Context, reached []domain.Milestone) error {
	if len(reached) == 0 {
		return s.usable(ctx)
	}
	votes := make(map[domain.PollID]int64, len(reached))
	for _, m := range reached {
		votes[m.Poll] = max(votes[m.Poll], m.Votes)
	}
	return s.write(ctx, opAddMilestones, func(ctx context.Context, c *conn) error {
		// Most polls have reached nothing new: their authors are not locked.
		polls, err := c.reached(ctx, votes)
		if err != nil || len(polls) == 0 {
			return err
		}
		authors := make(map[domain.UserID]bool)
		for _, p := range polls {
			authors[p.author] = true
		}
		if err := s.lockStates(ctx, c, slices.Sorted(maps.Keys(authors))); err != nil {
			return err
		}
		if polls, err = c.reached(ctx, votes); err != nil {
			return err
		}
		polls = slices.DeleteFunc(polls, func(p reachedPoll) bool { return !authors[p.author] })
		if len(polls) == 0 {
			return nil
		}
		return c.tell(ctx, polls, votes)
	})
}

// lockStates locks the states of users, which exist unless they are erased.
func (s *Store) lockStates(ctx context.Context, c *conn, users []domain.UserID) error {
	_, err := c.exec(ctx, `/* lock_states */ SELECT FROM user_state WHERE bucket = ANY($1) AND user_id = ANY($2)
		ORDER BY bucket, user_id FOR NO KEY UPDATE`, s.bucketsOf(users), int64s(users))
	return err
}

// reached returns those polls, by id, whose authors were not yet told of a
// milestone that their votes have reached.
func (c *conn) reached(ctx context.Context, votes map[domain.PollID]int64) ([]reachedPoll, error) {
	var polls []reachedPoll
	err := c.rows(ctx, `/* reached_polls */ SELECT p.id, p.author_id, coalesce(m.votes, 0)
		FROM polls p LEFT JOIN poll_milestones m ON m.poll_id = p.id
		WHERE p.id = ANY($1) AND p.author_id IS NOT NULL AND p.state < 2 ORDER BY p.id`,
		func(r pgx.Rows) error {
			var p reachedPoll
			err := r.Scan(&p.poll, &p.author, &p.told)
			if len(domain.Milestones(p.told, votes[p.poll])) > 0 {
				polls = append(polls, p)
			}
			return err
		}, int64s(slices.Collect(maps.Keys(votes))))
	return polls, err
}

const (
	addMilestones = `/* add_milestones */ INSERT INTO poll_milestones (poll_id, votes)
		SELECT * FROM unnest($1::bigint[], $2::bigint[])
		ON CONFLICT (poll_id) DO UPDATE SET votes = excluded.votes`
	addNotifications = `/* add_notifications */ INSERT INTO notifications (user_id, type, poll_id, votes, created_at)
		SELECT user_id, $4, poll_id, votes, $5
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS n (user_id, poll_id, votes, number)
		ORDER BY number`
	trimNotifications = `/* trim_notifications */ DELETE FROM notifications n USING (SELECT DISTINCT unnest($1::bigint[]) AS user_id) t
		WHERE n.user_id = t.user_id AND n.id <= (SELECT id FROM notifications
			WHERE user_id = t.user_id ORDER BY id DESC OFFSET $2 LIMIT 1)`
)

// tell adds the notifications, and forgets the oldest beyond those that are kept.
func (c *conn) tell(ctx context.Context, polls []reachedPoll, votes map[domain.PollID]int64) error {
	now, err := c.now(ctx)
	if err != nil {
		return err
	}
	var authors, of, milestones []int64 // of each notification
	var ids, highest []int64            // of each poll
	for _, p := range polls {
		reached := domain.Milestones(p.told, votes[p.poll])
		for _, m := range reached {
			authors, of, milestones = append(authors, int64(p.author)), append(of, int64(p.poll)), append(milestones, m)
		}
		ids, highest = append(ids, int64(p.poll)), append(highest, reached[len(reached)-1])
	}
	b := &pgx.Batch{}
	b.Queue(addMilestones, ids, highest)
	b.Queue(addNotifications, authors, of, milestones, domain.NotificationMilestone, now)
	b.Queue(trimNotifications, authors, domain.MaxNotifications)
	return c.SendBatch(ctx, b).Close()
}

// Notifications implements [domain.Store].
func (s *Store) Notifications(ctx context.Context, user domain.UserID, before int64, limit int) ([]domain.Notification, error) {
	if before <= 0 {
		before = math.MaxInt64
	}
	var told []domain.Notification
	err := s.read(ctx, opNotifications, func(ctx context.Context, c *conn) error {
		return c.rows(ctx, `/* notifications */ SELECT n.id, n.type, n.poll_id, CASE WHEN p.state < 2 THEN p.title ELSE '' END, n.votes, n.created_at
			FROM notifications n JOIN polls p ON p.id = n.poll_id
			WHERE n.user_id = $1 AND n.id < $2 ORDER BY n.id DESC LIMIT $3`,
			func(r pgx.Rows) error {
				var n domain.Notification
				err := r.Scan(&n.ID, &n.Type, &n.Poll, &n.Title, &n.Votes, &n.At)
				told = append(told, n)
				return err
			}, int64(user), before, max(limit, 0))
	})
	if err != nil {
		return nil, err
	}
	return told, nil
}
