package sqlite

import (
	"context"
	"time"

	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

// changeAccount runs change on an account that exists and, unless passwordHash
// is empty, still has that one.
func (s *Store) changeAccount(
	ctx context.Context, op operation, id domain.UserID, passwordHash string,
	change func(w *writer, now time.Time, c *domain.AccountChange) error,
) (domain.AccountChange, error) {
	var c domain.AccountChange
	err := s.write(ctx, op, func(w *writer) error {
		c = domain.AccountChange{}
		err := notFound(w.row(`SELECT `+userColumns+` WHERE id = ? AND erased_at IS NULL`, func(r *sqlite.Stmt) error {
			c.User = scanUser(r)
			return nil
		}, int64(id)))
		if err != nil {
			return err
		}
		if passwordHash != "" && passwordHash != c.User.PasswordHash {
			return domain.E(domain.CodeWrongPassword, "")
		}
		return change(w, s.now(), &c)
	})
	if err != nil {
		return domain.AccountChange{}, err
	}
	return c, nil
}

// UpdateUser implements [domain.Store].
func (s *Store) UpdateUser(ctx context.Context, id domain.UserID, u domain.UserUpdate) (domain.AccountChange, error) {
	takesAway := u.Username != "" || u.Email != ""
	return s.changeAccount(ctx, opUpdateUser, id, u.IfPasswordHash,
		func(w *writer, now time.Time, c *domain.AccountChange) error {
			if err := w.wantFree(`SELECT 1 FROM users WHERE email_key = ? AND id <> ?`, u.EmailKey, id, domain.CodeEmailTaken); err != nil {
				return err
			}
			if err := w.wantFree(`SELECT 1 FROM users WHERE username_key = ? AND id <> ?`, u.UsernameKey, id, domain.CodeUsernameTaken); err != nil {
				return err
			}
			renamed := u.Username != "" && u.Username != c.User.Username
			write := func() error {
				return w.run(`UPDATE users SET username = coalesce(?2, username), username_key = coalesce(?3, username_key),
					email = coalesce(?4, email), email_key = coalesce(?5, email_key),
					password_hash = coalesce(?6, password_hash), updated_at = ?7 WHERE id = ?1`,
					int64(id), orNull(u.Username), orNull(u.UsernameKey), orNull(u.Email), orNull(u.EmailKey),
					orNull(u.PasswordHash), millis(now))
			}
			var err error
			if takesAway {
				s.traces.Add(1)
				err = w.takeAway(write)
			} else {
				err = write()
			}
			if err != nil {
				return err
			}
			set := func(field *string, value string) {
				if value != "" {
					*field = value
				}
			}
			set(&c.User.Username, u.Username)
			set(&c.User.Email, u.Email)
			set(&c.User.PasswordHash, u.PasswordHash)
			if u.PasswordHash != "" {
				if c.Ended, err = w.endSessions(id, u.Keep, now); err != nil {
					return err
				}
			}
			if renamed {
				c.Authored, err = w.renewAuthored(id, false)
			}
			return err
		})
}

// wantFree refuses with a code when the query finds the key with another user.
// An empty key is nobody's.
func (w *writer) wantFree(query, key string, id domain.UserID, taken domain.Code) error {
	if key == "" {
		return nil
	}
	if ok, err := w.exists(query, key, int64(id)); err != nil {
		return err
	} else if ok {
		return domain.E(taken, "")
	}
	return nil
}

// orNull returns what to bind for a text that may be missing.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// endSessions ends the sessions of a user but one, and returns those that were
// live.
func (w *writer) endSessions(id domain.UserID, keep string, now time.Time) ([]string, error) {
	var ended []string
	err := w.rows(`SELECT id FROM sessions WHERE user_id = ? AND id <> ? AND ended_at IS NULL`, func(r *sqlite.Stmt) error {
		ended = append(ended, r.ColumnText(0))
		return nil
	}, int64(id), keep)
	if err != nil {
		return nil, err
	}
	return ended, w.run(`UPDATE sessions SET ended_at = ? WHERE user_id = ? AND id <> ? AND ended_at IS NULL`,
		millis(now), int64(id), keep)
}

// renewAuthored gives the polls of an author new revisions, in order of
// publication, and takes the author off when told to. It returns the positions
// of those that are not deleted.
func (w *writer) renewAuthored(id domain.UserID, orphan bool) ([]domain.Position, error) {
	type authored struct {
		id       int64
		position domain.Position
		deleted  bool
	}
	var polls []authored
	err := w.rows(`SELECT id, position, deleted_at IS NOT NULL FROM polls WHERE author_id = ? ORDER BY id`,
		func(r *sqlite.Stmt) error {
			polls = append(polls, authored{r.ColumnInt64(0), domain.Position(r.ColumnInt64(1)), r.ColumnBool(2)}) //nolint:gosec // 32 bits wide
			return nil
		}, int64(id))
	if err != nil || len(polls) == 0 {
		return nil, err
	}
	last, err := w.issued()
	if err != nil {
		return nil, err
	}
	w.pages = int64(len(polls)) * pagesPerPoll
	var positions []domain.Position
	for _, p := range polls {
		last.revision++
		if err := w.run(`UPDATE polls SET revision = ?2, author_id = CASE WHEN ?3 THEN NULL ELSE author_id END WHERE id = ?1`,
			p.id, last.revision, orphan); err != nil {
			return nil, err
		}
		if !p.deleted {
			positions = append(positions, p.position)
		}
	}
	return positions, w.setIssued(last)
}

// EraseUser implements [domain.Store].
func (s *Store) EraseUser(ctx context.Context, id domain.UserID, passwordHash string) (domain.AccountChange, error) {
	return s.changeAccount(ctx, opEraseUser, id, passwordHash,
		func(w *writer, now time.Time, c *domain.AccountChange) error {
			s.traces.Add(1)
			return w.takeAway(func() error {
				w.users.forget(id)
				var err error
				if c.Ended, err = w.endSessions(id, "", now); err != nil {
					return err
				}
				for _, query := range personal {
					if err := w.run(query, int64(id)); err != nil {
						return err
					}
				}
				if c.Authored, err = w.renewAuthored(id, true); err != nil {
					return err
				}
				w.pages = checkpointPages // the history may have been long
				return w.run(`UPDATE users SET username = NULL, username_key = NULL, email = NULL, email_key = NULL,
					password_hash = NULL, banned_at = NULL, updated_at = ?2, erased_at = ?2 WHERE id = ?1`,
					int64(id), millis(now))
			})
		})
}

// personal takes away what goes with a user, whose sessions were ended. Refresh
// tokens go with their sessions. A table that holds something of a user has its
// line here, or is a vote or skip.
var personal = []string{
	`INSERT INTO erased_sessions (id, ended_at) SELECT id, ended_at FROM sessions WHERE user_id = ?`,
	`DELETE FROM sessions WHERE user_id = ?`,
	`DELETE FROM idempotency_keys WHERE user_id = ?`,
	`DELETE FROM daily_polls WHERE user_id = ?1
		AND poll_date IN (SELECT published_at / 86400000 FROM polls WHERE author_id = ?1)`,
	`DELETE FROM notifications WHERE user_id = ?`,
	`WITH RECURSIVE entries (id) AS (
		SELECT last_vote FROM user_state WHERE user_id = ?1 UNION ALL SELECT last_skip FROM user_state WHERE user_id = ?1
		UNION ALL SELECT h.previous FROM entries e JOIN history h ON h.id = e.id)
		DELETE FROM history WHERE id IN (SELECT id FROM entries)`,
	`INSERT INTO daily_votes (user_id, vote_date, vote_count)
		SELECT user_id, vote_date, vote_count FROM user_state WHERE user_id = ? AND vote_count > 0`,
	`DELETE FROM user_state WHERE user_id = ?`,
}

// SetBanned implements [domain.Store].
func (s *Store) SetBanned(ctx context.Context, id domain.UserID, banned bool) (domain.AccountChange, error) {
	return s.changeAccount(ctx, opSetBanned, id, "",
		func(w *writer, now time.Time, c *domain.AccountChange) error {
			if banned != c.User.BannedAt.IsZero() {
				return nil // it is so already
			}
			w.users.forget(id)
			var at any
			c.User.BannedAt = time.Time{}
			if banned {
				at, c.User.BannedAt = millis(now), now
				var err error
				if c.Ended, err = w.endSessions(id, "", now); err != nil {
					return err
				}
			}
			return w.run(`UPDATE users SET banned_at = ?2, updated_at = ?3 WHERE id = ?1`, int64(id), at, millis(now))
		})
}

// positionOf is the position of the newest poll with an id up to ?3: positions
// rise with ids, so what comes after that poll comes after that position.
const positionOf = `coalesce((SELECT position FROM polls WHERE id <= ?3 ORDER BY id DESC LIMIT 1), 0)`

// ExportVotes implements [domain.Store].
func (s *Store) ExportVotes(
	ctx context.Context, user domain.UserID, after domain.PollID, limit int,
) ([]domain.PastVote, error) {
	var votes []domain.PastVote
	first, last := seenKeys(user)
	err := s.read(ctx, opExport, func(c *conn) error {
		return c.rows(`SELECT v.poll_id, v.option_index, v.created_at, p.title, p.options, p.state
			FROM votes v JOIN polls p ON p.id = v.poll_id JOIN users u ON u.id = v.user_id AND u.erased_at IS NULL
			WHERE v.id > ?1 + `+positionOf+` AND v.id <= ?2 ORDER BY v.id LIMIT ?4`,
			func(r *sqlite.Stmt) error {
				v := domain.PastVote{
					Poll: domain.PollID(r.ColumnInt64(0)), Option: r.ColumnInt(1), CreatedAt: fromMillis(r.ColumnInt64(2)),
				}
				var err error
				if domain.PollState(r.ColumnInt64(5)) < domain.PollHidden { //nolint:gosec // 0 to 3
					v.Title = r.ColumnText(3)
					v.Options, err = decodeTexts(r.ColumnText(4))
				}
				votes = append(votes, v)
				return err
			}, first, last, int64(after), max(limit, 0))
	})
	return votes, err
}

// ExportSkips implements [domain.Store].
func (s *Store) ExportSkips(
	ctx context.Context, user domain.UserID, after domain.PollID, limit int,
) ([]domain.PastSkip, error) {
	var skips []domain.PastSkip
	first, last := seenKeys(user)
	err := s.read(ctx, opExport, func(c *conn) error {
		return c.rows(`SELECT s.poll_id, s.created_at, CASE WHEN p.state < 2 THEN p.title ELSE '' END
			FROM skips s JOIN polls p ON p.id = s.poll_id JOIN users u ON u.id = s.user_id AND u.erased_at IS NULL
			WHERE s.id > ?1 + `+positionOf+` AND s.id <= ?2 ORDER BY s.id LIMIT ?4`,
			func(r *sqlite.Stmt) error {
				skips = append(skips, domain.PastSkip{
					Poll: domain.PollID(r.ColumnInt64(0)), CreatedAt: fromMillis(r.ColumnInt64(1)), Title: r.ColumnText(2),
				})
				return nil
			}, first, last, int64(after), max(limit, 0))
	})
	return skips, err
}

// ExportPolls implements [domain.Store].
func (s *Store) ExportPolls(
	ctx context.Context, user domain.UserID, after domain.PollID, limit int,
) ([]domain.CountedPoll, error) {
	var polls []domain.CountedPoll
	err := s.read(ctx, opExport, func(c *conn) error {
		return c.snapshot(func() error {
			err := c.rows(`SELECT `+pollColumns+` WHERE p.author_id = ? AND p.id > ? AND p.deleted_at IS NULL ORDER BY p.id LIMIT ?`,
				func(r *sqlite.Stmt) error {
					p, _, err := scanPoll(r)
					polls = append(polls, domain.CountedPoll{Poll: p})
					return err
				}, int64(user), int64(after), max(limit, 0))
			if err != nil {
				return err
			}
			for i := range polls {
				err := c.countsOf(polls[i].Poll.ID, domain.PollDeleted, func(n domain.Counts) { polls[i].Counts = n })
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
	return polls, err
}
