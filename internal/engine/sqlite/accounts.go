package sqlite

import (
	"context"
	"errors"
	"math"
	"time"

	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

// CreateUser implements [domain.Store].
func (s *Store) CreateUser(ctx context.Context, u domain.NewUser, session domain.Session, refresh domain.TokenHash) (domain.User, error) {
	var made domain.User
	err := s.write(ctx, opCreateUser, func(w *writer) error {
		now := s.now()
		id, err := w.addUser(u, now)
		if err != nil {
			return err
		}
		made = domain.User{
			ID: id, Username: u.Username, Email: u.Email, PasswordHash: u.PasswordHash, CreatedAt: now,
		}
		session.User = made.ID
		return w.addSession(session, refresh, now)
	})
	if err != nil {
		return domain.User{}, err
	}
	return made, nil
}

// addUser stores an account that is as old as told.
func (w *writer) addUser(u domain.NewUser, created time.Time) (domain.UserID, error) {
	if ok, err := w.exists(`SELECT 1 FROM users WHERE email_key = ?`, u.EmailKey); err != nil {
		return 0, err
	} else if ok {
		return 0, domain.E(domain.CodeEmailTaken, "There is an account with this e-mail address.")
	}
	if ok, err := w.exists(`SELECT 1 FROM users WHERE username_key = ?`, u.UsernameKey); err != nil {
		return 0, err
	} else if ok {
		return 0, domain.E(domain.CodeUsernameTaken, "This username is taken.")
	}
	if err := w.run(`INSERT INTO users
		(username, username_key, email, email_key, password_hash, created_at, updated_at)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)`,
		u.Username, u.UsernameKey, u.Email, u.EmailKey, u.PasswordHash, millis(created)); err != nil {
		return 0, err
	}
	id := w.LastInsertRowID()
	return domain.UserID(id), w.run(`INSERT INTO user_state (user_id) VALUES (?)`, id)
}

// exists reports whether the query returns a row.
func (c *conn) exists(query string, args ...any) (bool, error) {
	err := c.row(query, func(*sqlite.Stmt) error { return nil }, args...)
	if errors.Is(err, errNoRow) {
		return false, nil
	}
	return err == nil, err
}

// addSession stores a session with its first token. A session without a time
// begins now.
func (c *conn) addSession(session domain.Session, refresh domain.TokenHash, now time.Time) error {
	created := session.CreatedAt
	if created.IsZero() {
		created = now
	}
	if err := c.run(`INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES (?, ?, ?, ?)`,
		session.ID, int64(session.User), millis(created), millis(session.ExpiresAt)); err != nil {
		return err
	}
	return c.addToken(session.ID, refresh, now)
}

func (c *conn) addToken(session string, token domain.TokenHash, now time.Time) error {
	return c.run(`INSERT INTO refresh_tokens (token_hash, session_id, created_at) VALUES (?, ?, ?)`,
		token[:], session, millis(now))
}

// userColumns are those that scanUser reads.
const userColumns = `id, username, email, password_hash, created_at, banned_at FROM users`

func scanUser(r *sqlite.Stmt) domain.User {
	u := domain.User{
		ID: domain.UserID(r.ColumnInt64(0)), Username: r.ColumnText(1), Email: r.ColumnText(2),
		PasswordHash: r.ColumnText(3), CreatedAt: fromMillis(r.ColumnInt64(4)),
	}
	if !r.ColumnIsNull(5) {
		u.BannedAt = fromMillis(r.ColumnInt64(5))
	}
	return u
}

// UserByID implements [domain.Store].
func (s *Store) UserByID(ctx context.Context, id domain.UserID) (domain.User, error) {
	return s.user(ctx, `SELECT `+userColumns+` WHERE id = ? AND erased_at IS NULL`, int64(id))
}

// UserByEmail implements [domain.Store].
func (s *Store) UserByEmail(ctx context.Context, emailKey string) (domain.User, error) {
	return s.user(ctx, `SELECT `+userColumns+` WHERE email_key = ? AND erased_at IS NULL`, emailKey)
}

// UserByUsername implements [domain.Store].
func (s *Store) UserByUsername(ctx context.Context, usernameKey string) (domain.User, error) {
	return s.user(ctx, `SELECT `+userColumns+` WHERE username_key = ? AND erased_at IS NULL`, usernameKey)
}

func (s *Store) user(ctx context.Context, query string, arg any) (domain.User, error) {
	var u domain.User
	err := s.read(ctx, opUser, func(c *conn) error {
		return notFound(c.row(query, func(r *sqlite.Stmt) error {
			u = scanUser(r)
			return nil
		}, arg))
	})
	return u, err
}

// Users implements [domain.Store].
func (s *Store) Users(ctx context.Context, after domain.UserID, limit int) ([]domain.User, error) {
	var users []domain.User
	err := s.read(ctx, opUsers, func(c *conn) error {
		return c.rows(`SELECT `+userColumns+` WHERE id > ? AND erased_at IS NULL ORDER BY id LIMIT ?`,
			func(r *sqlite.Stmt) error {
				users = append(users, scanUser(r))
				return nil
			}, int64(after), max(limit, 0))
	})
	return users, err
}

// notFound turns the absence of a row into the domain's error.
func notFound(err error) error {
	if errors.Is(err, errNoRow) {
		return domain.E(domain.CodeNotFound, "")
	}
	return err
}

// UserTotals implements [domain.Store].
func (s *Store) UserTotals(ctx context.Context, id domain.UserID) (domain.UserTotals, error) {
	var t domain.UserTotals
	first, last := seenKeys(id)
	err := s.read(ctx, opUserTotals, func(c *conn) error {
		return notFound(c.row(`SELECT
			coalesce((SELECT vote_count FROM user_state WHERE user_id = ?1 AND vote_date = ?2),
				(SELECT vote_count FROM daily_votes WHERE user_id = ?1 AND vote_date = ?2), 0),
			(SELECT count(*) FROM votes WHERE id BETWEEN ?3 AND ?4) +
				coalesce((SELECT votes FROM archived_users WHERE user_id = ?1), 0),
			(SELECT count(*) FROM skips WHERE id BETWEEN ?3 AND ?4) +
				coalesce((SELECT skips FROM archived_users WHERE user_id = ?1), 0),
			(SELECT count(*) FROM polls WHERE author_id = ?1 AND deleted_at IS NULL)
			FROM users WHERE id = ?1 AND erased_at IS NULL`,
			func(r *sqlite.Stmt) error {
				t = domain.UserTotals{
					VotesToday: r.ColumnInt(0), Votes: r.ColumnInt64(1), Skips: r.ColumnInt64(2), Polls: r.ColumnInt64(3),
				}
				return nil
			}, int64(id), int64(domain.DayOf(s.now())), first, last))
	})
	return t, err
}

// CreateSession implements [domain.Store].
func (s *Store) CreateSession(
	ctx context.Context, session domain.Session, refresh domain.TokenHash, passwordHash string,
) error {
	return s.write(ctx, opCreateSession, func(w *writer) error {
		var same, banned bool
		err := notFound(w.row(`SELECT password_hash = ?2, banned_at IS NOT NULL FROM users
			WHERE id = ?1 AND erased_at IS NULL`,
			func(r *sqlite.Stmt) error {
				same, banned = r.ColumnBool(0), r.ColumnBool(1)
				return nil
			}, int64(session.User), passwordHash))
		switch {
		case err != nil:
			return err
		case !same:
			return domain.E(domain.CodeWrongPassword, "")
		case banned:
			return domain.E(domain.CodeBanned, "")
		}
		return w.addSession(session, refresh, s.now())
	})
}

// Sessions implements [domain.Store].
func (s *Store) Sessions(
	ctx context.Context, user domain.UserID, behind domain.SessionMark, limit int,
) ([]domain.Session, error) {
	before := int64(math.MaxInt64)
	if behind != (domain.SessionMark{}) {
		before = millis(behind.CreatedAt)
	}
	var sessions []domain.Session
	err := s.read(ctx, opSessions, func(c *conn) error {
		return c.rows(`SELECT id, created_at, expires_at FROM sessions
			WHERE user_id = ?1 AND (created_at, id) < (?2, ?3) AND ended_at IS NULL AND expires_at > ?4
			ORDER BY created_at DESC, id DESC LIMIT ?5`,
			func(r *sqlite.Stmt) error {
				sessions = append(sessions, domain.Session{
					ID: r.ColumnText(0), User: user,
					CreatedAt: fromMillis(r.ColumnInt64(1)), ExpiresAt: fromMillis(r.ColumnInt64(2)),
				})
				return nil
			}, int64(user), before, behind.ID, millis(s.now()), max(limit, 0))
	})
	return sessions, err
}

// tokenState is what is stored about a refresh token.
type tokenState struct {
	session domain.Session
	used    bool
	ended   bool
	banned  bool // its user is
}

func (c *conn) token(refresh domain.TokenHash) (tokenState, error) {
	var t tokenState
	err := c.row(`SELECT s.id, s.user_id, s.created_at, s.expires_at, t.used_at IS NOT NULL, s.ended_at IS NOT NULL,
		u.banned_at IS NOT NULL
		FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id
		WHERE t.token_hash = ?`,
		func(r *sqlite.Stmt) error {
			t = tokenState{
				session: domain.Session{
					ID: r.ColumnText(0), User: domain.UserID(r.ColumnInt64(1)),
					CreatedAt: fromMillis(r.ColumnInt64(2)), ExpiresAt: fromMillis(r.ColumnInt64(3)),
				},
				used: r.ColumnBool(4), ended: r.ColumnBool(5), banned: r.ColumnBool(6),
			}
			return nil
		}, refresh[:])
	if errors.Is(err, errNoRow) {
		return t, invalidToken()
	}
	return t, err
}

func invalidToken() error {
	return domain.E(domain.CodeInvalidRefreshToken, "The refresh token is not valid.")
}

// RotateRefresh implements [domain.Store]. A rotated token of a live session
// ends the session also when its newest token expired.
func (s *Store) RotateRefresh(ctx context.Context, old, next domain.TokenHash, expires time.Time) (domain.Session, error) {
	var session domain.Session
	var reused bool
	err := s.write(ctx, opRotateRefresh, func(w *writer) error {
		t, err := w.token(old)
		if err != nil {
			return err
		}
		now := s.now()
		switch {
		case t.banned:
			return domain.E(domain.CodeBanned, "")
		case t.ended:
			return invalidToken()
		case t.used:
			reused = true
			return w.run(`UPDATE sessions SET ended_at = ? WHERE id = ?`, millis(now), t.session.ID)
		case !now.Before(t.session.ExpiresAt):
			return invalidToken()
		}
		session = t.session
		session.ExpiresAt = fromMillis(millis(expires))
		if err := w.run(`UPDATE refresh_tokens SET used_at = ? WHERE token_hash = ?`, millis(now), old[:]); err != nil {
			return err
		}
		if err := w.run(`UPDATE sessions SET expires_at = ? WHERE id = ?`, millis(expires), session.ID); err != nil {
			return err
		}
		return w.addToken(session.ID, next, now)
	})
	if err == nil && reused {
		err = domain.E(domain.CodeRefreshReused, "The refresh token was used before; the session was ended.")
	}
	if err != nil {
		return domain.Session{}, err
	}
	return session, nil
}

// SessionByRefresh implements [domain.Store].
func (s *Store) SessionByRefresh(ctx context.Context, refresh domain.TokenHash) (domain.Session, error) {
	var session domain.Session
	err := s.read(ctx, opSession, func(c *conn) error {
		t, err := c.token(refresh)
		if err != nil {
			return err
		}
		if t.used || t.ended || !s.now().Before(t.session.ExpiresAt) {
			return invalidToken()
		}
		session = t.session
		return nil
	})
	return session, err
}

// EndSession implements [domain.Store].
func (s *Store) EndSession(ctx context.Context, user domain.UserID, id string) error {
	return s.write(ctx, opEndSession, func(w *writer) error {
		err := w.run(`UPDATE sessions SET ended_at = coalesce(ended_at, ?) WHERE id = ? AND user_id = ?`,
			millis(s.now()), id, int64(user))
		if err == nil && w.Changes() == 0 {
			return domain.E(domain.CodeNotFound, "")
		}
		return err
	})
}

// EndedSessions implements [domain.Store].
func (s *Store) EndedSessions(ctx context.Context, since time.Time) ([]domain.EndedSession, error) {
	var ended []domain.EndedSession
	err := s.read(ctx, opEndedSessions, func(c *conn) error {
		return c.rows(`SELECT id, ended_at FROM sessions WHERE ended_at >= ?1
			UNION ALL SELECT id, ended_at FROM erased_sessions WHERE ended_at >= ?1 ORDER BY ended_at, id`,
			func(r *sqlite.Stmt) error {
				ended = append(ended, domain.EndedSession{ID: r.ColumnText(0), EndedAt: fromMillis(r.ColumnInt64(1))})
				return nil
			}, millis(since))
	})
	return ended, err
}

// PruneSessions implements [domain.Store].
func (s *Store) PruneSessions(ctx context.Context, before time.Time) (int64, error) {
	var n int64
	err := s.write(ctx, opPruneSessions, func(w *writer) error {
		for _, query := range []string{
			`DELETE FROM sessions WHERE ended_at < ?1 OR expires_at < ?1`,
			`DELETE FROM erased_sessions WHERE ended_at < ?1`,
		} {
			if err := w.run(query, millis(before)); err != nil {
				return err
			}
			n += int64(w.Changes())
		}
		return nil
	})
	return n, err
}
