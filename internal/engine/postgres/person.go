package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

// changeAccount runs change on an account that exists and, unless passwordHash
// is empty, still has that one. It locks the user's row of user_state, so that
// what is under way in the user's name ends before, and then that of users.
func (s *Store) changeAccount(
	ctx context.Context, op operation, id domain.UserID, passwordHash string,
	change func(ctx context.Context, c *conn, now time.Time, a *domain.AccountChange) error,
) (domain.AccountChange, error) {
	var a domain.AccountChange
	err := s.write(ctx, op, func(ctx context.Context, c *conn) error {
		a = domain.AccountChange{}
		var locked int64
		err := notFound(c.row(ctx, `/* lock_state */ SELECT user_id FROM user_state WHERE bucket = $1 AND user_id = $2 FOR UPDATE`,
			[]any{s.bucket(id), int64(id)}, &locked))
		if err != nil {
			return err
		}
		a.User, err = scanUser(c.QueryRow(ctx, `/* lock_user */ SELECT `+userColumns+` WHERE id = $1 AND erased_at IS NULL FOR UPDATE`, int64(id)))
		if err := notFound(err); err != nil {
			return err
		}
		if passwordHash != "" && passwordHash != a.User.PasswordHash {
			return domain.E(domain.CodeWrongPassword, "")
		}
		now, err := c.now(ctx)
		if err != nil {
			return err
		}
		return change(ctx, c, now, &a)
	})
	if err != nil {
		return domain.AccountChange{}, err
	}
	return a, nil
}

const updateUserQuery = `/* update_user */ UPDATE users SET
	username = coalesce(nullif($2, ''), username), username_key = coalesce(nullif($3, ''), username_key),
	email = coalesce(nullif($4, ''), email), email_key = coalesce(nullif($5, ''), email_key),
	password_hash = coalesce(nullif($6, ''), password_hash), updated_at = $7 WHERE id = $1`

// UpdateUser implements [domain.Store].
func (s *Store) UpdateUser(ctx context.Context, id domain.UserID, u domain.UserUpdate) (domain.AccountChange, error) {
	changed, err := s.changeAccount(ctx, opUpdateUser, id, u.IfPasswordHash,
		func(ctx context.Context, c *conn, now time.Time, a *domain.AccountChange) error {
			if err := c.wantFree(ctx, id, u.EmailKey, u.UsernameKey); err != nil {
				return err
			}
			renamed := u.Username != "" && u.Username != a.User.Username
			if _, err := c.exec(ctx, updateUserQuery,
				int64(id), u.Username, u.UsernameKey, u.Email, u.EmailKey, u.PasswordHash, now); err != nil {
				return taken(err) // by who was quicker
			}
			set := func(field *string, value string) {
				if value != "" {
					*field = value
				}
			}
			set(&a.User.Username, u.Username)
			set(&a.User.Email, u.Email)
			set(&a.User.PasswordHash, u.PasswordHash)
			var err error
			if u.PasswordHash != "" {
				if a.Ended, err = c.endSessions(ctx, id, u.Keep, now); err != nil {
					return err
				}
			}
			if renamed {
				a.Authored, err = c.renewAuthored(ctx, id, false)
			}
			return err
		})
	if err == nil && (u.Username != "" || u.Email != "") {
		s.clearTraces()
	}
	return changed, err
}

// endSessions ends the sessions of a user but one, and returns those that were
// live. Nobody adds one meanwhile: that takes a share of the user's row.
func (c *conn) endSessions(ctx context.Context, id domain.UserID, keep string, now time.Time) ([]string, error) {
	var ended []string
	err := c.rows(ctx, `/* end_sessions */ UPDATE sessions SET ended_at = $3
		WHERE user_id = $1 AND id <> $2 AND ended_at IS NULL RETURNING id`, func(r pgx.Rows) error {
		var session string
		err := r.Scan(&session)
		ended = append(ended, session)
		return err
	}, int64(id), keep, now)
	return ended, err
}

const renewAuthoredQuery = `/* renew_authored */ WITH authored AS (
		SELECT id, row_number() OVER (ORDER BY id) AS number FROM polls WHERE author_id = $1)
	UPDATE polls p SET revision = $2 + a.number, author_id = CASE WHEN $3 THEN NULL ELSE author_id END
	FROM authored a WHERE p.id = a.id RETURNING p.position, p.deleted_at IS NOT NULL`

// renewAuthored gives the polls of an author new revisions, in order of
// publication, and takes the author off when told to. It returns the positions
// of those that are not deleted.
func (c *conn) renewAuthored(ctx context.Context, id domain.UserID, orphan bool) ([]domain.Position, error) {
	// Whoever publishes for this author waits for this transaction.
	if has, err := c.exists(ctx, `SELECT 1 FROM polls WHERE author_id = $1`, int64(id)); err != nil || !has {
		return nil, err
	}
	last, err := c.issued(ctx)
	if err != nil {
		return nil, err
	}
	var positions []domain.Position
	err = c.rows(ctx, renewAuthoredQuery, func(r pgx.Rows) error {
		last.revision++
		var position domain.Position
		var deleted bool
		err := r.Scan(&position, &deleted)
		if !deleted {
			positions = append(positions, position)
		}
		return err
	}, int64(id), last.revision, orphan)
	if err != nil {
		return nil, err
	}
	return positions, c.setIssued(ctx, last)
}

// EraseUser implements [domain.Store].
func (s *Store) EraseUser(ctx context.Context, id domain.UserID, passwordHash string) (domain.AccountChange, error) {
	erased, err := s.changeAccount(ctx, opEraseUser, id, passwordHash,
		func(ctx context.Context, c *conn, now time.Time, a *domain.AccountChange) error {
			var err error
			if a.Ended, err = c.endSessions(ctx, id, "", now); err != nil {
				return err
			}
			b := &pgx.Batch{}
			for _, query := range personal {
				b.Queue(query, int64(id))
			}
			b.Queue(`/* erase_history */ DELETE FROM history WHERE bucket = $1 AND user_id = $2`, s.bucket(id), int64(id))
			b.Queue(`/* erase_state */ DELETE FROM user_state WHERE bucket = $1 AND user_id = $2`, s.bucket(id), int64(id))
			b.Queue(`/* erase_user */ UPDATE users SET username = NULL, username_key = NULL, email = NULL, email_key = NULL,
				password_hash = NULL, banned_at = NULL, updated_at = $2, erased_at = $2 WHERE id = $1`, int64(id), now)
			if err := c.SendBatch(ctx, b).Close(); err != nil {
				return err
			}
			a.Authored, err = c.renewAuthored(ctx, id, true)
			return err
		})
	if err == nil || domain.CodeOf(err) == domain.CodeOutcomeUnknown {
		s.clearTraces()
	}
	return erased, err
}

// personal takes away what goes with a user, whose sessions were ended. Refresh
// tokens go with their sessions. A table that holds something of a user has its
// line here or in EraseUser, or is a vote or skip.
var personal = []string{
	`/* erase_sessions */ WITH gone AS (DELETE FROM sessions WHERE user_id = $1 RETURNING id, ended_at)
		INSERT INTO erased_sessions (id, ended_at) SELECT id, ended_at FROM gone`,
	`/* erase_keys */ DELETE FROM idempotency_keys WHERE user_id = $1`,
	`/* erase_daily_polls */ DELETE FROM daily_polls WHERE user_id = $1`,
	`/* erase_notifications */ DELETE FROM notifications WHERE user_id = $1`,
}

// SetBanned implements [domain.Store].
func (s *Store) SetBanned(ctx context.Context, id domain.UserID, banned bool) (domain.AccountChange, error) {
	return s.changeAccount(ctx, opSetBanned, id, "",
		func(ctx context.Context, c *conn, now time.Time, a *domain.AccountChange) error {
			if banned != a.User.BannedAt.IsZero() {
				return nil // it is so already
			}
			a.User.BannedAt = time.Time{}
			if banned {
				a.User.BannedAt = now
				var err error
				if a.Ended, err = c.endSessions(ctx, id, "", now); err != nil {
					return err
				}
			}
			b := &pgx.Batch{}
			b.Queue(`/* ban_user */ UPDATE users SET banned_at = $2, updated_at = $3 WHERE id = $1`,
				int64(id), optional(a.User.BannedAt), now)
			b.Queue(`/* ban_state */ UPDATE user_state SET banned = $3 WHERE bucket = $1 AND user_id = $2`,
				s.bucket(id), int64(id), banned)
			return c.SendBatch(ctx, b).Close()
		})
}

// ExportVotes implements [domain.Store].
func (s *Store) ExportVotes(
	ctx context.Context, user domain.UserID, after domain.PollID, limit int,
) ([]domain.PastVote, error) {
	var votes []domain.PastVote
	err := s.read(ctx, opExport, func(ctx context.Context, c *conn) error {
		return c.rows(ctx, `/* export_votes */ SELECT v.poll_id, v.option_index, v.created_at,
			CASE WHEN p.state < 2 THEN p.title ELSE '' END, CASE WHEN p.state < 2 THEN p.options END
			FROM votes v JOIN polls p ON p.id = v.poll_id JOIN users u ON u.id = v.user_id AND u.erased_at IS NULL
			WHERE v.bucket = $1 AND v.user_id = $2 AND v.poll_id > $3 ORDER BY v.poll_id LIMIT $4`,
			func(r pgx.Rows) error {
				var v domain.PastVote
				err := r.Scan(&v.Poll, &v.Option, &v.CreatedAt, &v.Title, &v.Options)
				votes = append(votes, v)
				return err
			}, s.bucket(user), int64(user), int64(after), max(limit, 0))
	})
	return votes, err
}

// ExportSkips implements [domain.Store].
func (s *Store) ExportSkips(
	ctx context.Context, user domain.UserID, after domain.PollID, limit int,
) ([]domain.PastSkip, error) {
	var skips []domain.PastSkip
	err := s.read(ctx, opExport, func(ctx context.Context, c *conn) error {
		return c.rows(ctx, `/* export_skips */ SELECT s.poll_id, s.created_at, CASE WHEN p.state < 2 THEN p.title ELSE '' END
			FROM skips s JOIN polls p ON p.id = s.poll_id JOIN users u ON u.id = s.user_id AND u.erased_at IS NULL
			WHERE s.bucket = $1 AND s.user_id = $2 AND s.poll_id > $3 ORDER BY s.poll_id LIMIT $4`,
			func(r pgx.Rows) error {
				var p domain.PastSkip
				err := r.Scan(&p.Poll, &p.CreatedAt, &p.Title)
				skips = append(skips, p)
				return err
			}, s.bucket(user), int64(user), int64(after), max(limit, 0))
	})
	return skips, err
}

const exportPolls = `/* export_polls */ SELECT ` + pollColumns + ` WHERE p.author_id = $2 AND p.id > $3 AND p.state < 3
	ORDER BY p.id LIMIT $4`

// ExportPolls implements [domain.Store].
func (s *Store) ExportPolls(
	ctx context.Context, user domain.UserID, after domain.PollID, limit int,
) ([]domain.CountedPoll, error) {
	var polls []domain.CountedPoll
	err := s.read(ctx, opExport, func(ctx context.Context, c *conn) error {
		return c.snapshot(ctx, func() error {
			at := make(map[domain.PollID]int) // in polls
			var ids []domain.PollID
			err := c.rows(ctx, exportPolls, func(r pgx.Rows) error {
				p, _, err := scanPoll(r)
				at[p.ID] = len(polls)
				ids = append(ids, p.ID)
				polls = append(polls, domain.CountedPoll{Poll: p, Counts: domain.Counts{
					Poll: p.ID, Votes: make([]int64, len(p.Options)), UpdatedAt: p.CreatedAt,
				}})
				return err
			}, s.allBuckets, int64(user), int64(after), max(limit, 0))
			if err != nil {
				return err
			}
			rows, err := c.Query(ctx, sumCounts, int64s(ids), s.allBuckets)
			if err != nil {
				return err
			}
			counted, err := addUp(rows)
			for _, n := range counted {
				polls[at[n.Poll]].Counts = n
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return polls, nil
}
