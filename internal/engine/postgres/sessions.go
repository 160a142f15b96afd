package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

// A session's row is locked by whoever uses, ends or deletes it, and its
// refresh tokens are read under that lock. Whoever ends all sessions of a user
// holds the lock of the user, which a new session needs to share: so none can
// come to be unseen.

// addSession stores a session with its first token. A session without a time
// begins now.
func (c *conn) addSession(ctx context.Context, session domain.Session, refresh domain.TokenHash, now time.Time) error {
	created := session.CreatedAt
	if created.IsZero() {
		created = now
	}
	if _, err := c.exec(ctx, `/* add_session */ INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)`,
		session.ID, int64(session.User), created, session.ExpiresAt); err != nil {
		return err
	}
	return c.addToken(ctx, session.ID, refresh, now)
}

func (c *conn) addToken(ctx context.Context, session string, token domain.TokenHash, now time.Time) error {
	_, err := c.exec(ctx, `/* add_token */ INSERT INTO refresh_tokens (token_hash, session_id, created_at) VALUES ($1, $2, $3)`,
		token[:], session, now)
	return err
}

// CreateSession implements [domain.Store].
func (s *Store) CreateSession(
	ctx context.Context, session domain.Session, refresh domain.TokenHash, passwordHash string,
) error {
	return s.write(ctx, opCreateSession, func(ctx context.Context, c *conn) error {
		var same, banned bool
		err := notFound(c.row(ctx, `/* share_user */ SELECT password_hash = $2, banned_at IS NOT NULL FROM users
			WHERE id = $1 AND erased_at IS NULL FOR SHARE`, []any{int64(session.User), passwordHash}, &same, &banned))
		switch {
		case err != nil:
			return err
		case !same:
			return domain.E(domain.CodeWrongPassword, "")
		case banned:
			return domain.E(domain.CodeBanned, "")
		}
		now, err := c.now(ctx)
		if err != nil {
			return err
		}
		return c.addSession(ctx, session, refresh, now)
	})
}

// Sessions implements [domain.Store].
func (s *Store) Sessions(
	ctx context.Context, user domain.UserID, behind domain.SessionMark, limit int,
) ([]domain.Session, error) {
	var before *time.Time // nil: from the first
	if behind != (domain.SessionMark{}) {
		before = &behind.CreatedAt
	}
	var sessions []domain.Session
	err := s.read(ctx, opSessions, func(ctx context.Context, c *conn) error {
		now, err := c.now(ctx)
		if err != nil {
			return err
		}
		return c.rows(ctx, `/* sessions */ SELECT id, created_at, expires_at FROM sessions
			WHERE user_id = $1 AND (created_at, id) < (coalesce($2::timestamptz, 'infinity'), $3) AND ended_at IS NULL AND expires_at > $4
			ORDER BY created_at DESC, id DESC LIMIT $5`,
			func(r pgx.Rows) error {
				session := domain.Session{User: user}
				err := r.Scan(&session.ID, &session.CreatedAt, &session.ExpiresAt)
				sessions = append(sessions, session)
				return err
			}, int64(user), before, storable(behind.ID), now, max(limit, 0))
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

func (c *conn) readToken(ctx context.Context, refresh domain.TokenHash) (tokenState, error) {
	var t tokenState
	err := c.row(ctx, `/* token */ SELECT s.id, s.user_id, s.created_at, s.expires_at, t.used_at IS NOT NULL,
		s.ended_at IS NOT NULL, u.banned_at IS NOT NULL
		FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id
		WHERE t.token_hash = $1`, []any{refresh[:]},
		&t.session.ID, &t.session.User, &t.session.CreatedAt, &t.session.ExpiresAt, &t.used, &t.ended, &t.banned)
	if errors.Is(err, pgx.ErrNoRows) {
		err = invalidToken()
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
	err := s.write(ctx, opRotateRefresh, func(ctx context.Context, c *conn) error {
		reused = false
		// What is read afterwards is younger than the lock.
		if _, err := c.exec(ctx, `/* lock_session */ SELECT FROM sessions
			WHERE id = (SELECT session_id FROM refresh_tokens WHERE token_hash = $1) FOR NO KEY UPDATE`, old[:]); err != nil {
			return err
		}
		t, err := c.readToken(ctx, old)
		if err != nil {
			return err
		}
		now, err := c.now(ctx)
		if err != nil {
			return err
		}
		switch {
		case t.banned:
			return domain.E(domain.CodeBanned, "")
		case t.ended:
			return invalidToken()
		case t.used:
			reused = true
			_, err := c.exec(ctx, `/* end_reused */ UPDATE sessions SET ended_at = $2 WHERE id = $1`, t.session.ID, now)
			return err
		case !now.Before(t.session.ExpiresAt):
			return invalidToken()
		}
		session = t.session
		session.ExpiresAt = expires.UTC().Truncate(time.Millisecond)
		if _, err := c.exec(ctx, `/* use_token */ UPDATE refresh_tokens SET used_at = $2 WHERE token_hash = $1`, old[:], now); err != nil {
			return err
		}
		if _, err := c.exec(ctx, `/* prolong_session */ UPDATE sessions SET expires_at = $2 WHERE id = $1`, session.ID, session.ExpiresAt); err != nil {
			return err
		}
		return c.addToken(ctx, session.ID, next, now)
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
	err := s.read(ctx, opSession, func(ctx context.Context, c *conn) error {
		t, err := c.readToken(ctx, refresh)
		if err != nil {
			return err
		}
		now, err := c.now(ctx)
		if err != nil {
			return err
		}
		if t.used || t.ended || !now.Before(t.session.ExpiresAt) {
			return invalidToken()
		}
		session = t.session
		return nil
	})
	return session, err
}

// EndSession implements [domain.Store].
func (s *Store) EndSession(ctx context.Context, user domain.UserID, id string) error {
	return s.write(ctx, opEndSession, func(ctx context.Context, c *conn) error {
		now, err := c.now(ctx)
		if err != nil {
			return err
		}
		n, err := c.exec(ctx, `/* end_session */ UPDATE sessions SET ended_at = coalesce(ended_at, $3)
			WHERE id = $1 AND user_id = $2`, storable(id), int64(user), now)
		if err == nil && n == 0 {
			return domain.E(domain.CodeNotFound, "")
		}
		return err
	})
}

// EndedSessions implements [domain.Store].
func (s *Store) EndedSessions(ctx context.Context, since time.Time) ([]domain.EndedSession, error) {
	var ended []domain.EndedSession
	err := s.read(ctx, opEndedSessions, func(ctx context.Context, c *conn) error {
		return c.rows(ctx, `/* ended_sessions */ SELECT id, ended_at FROM sessions WHERE ended_at >= $1
			UNION ALL SELECT id, ended_at FROM erased_sessions WHERE ended_at >= $1 ORDER BY ended_at, id`,
			func(r pgx.Rows) error {
				var e domain.EndedSession
				err := r.Scan(&e.ID, &e.EndedAt)
				ended = append(ended, e)
				return err
			}, since)
	})
	return ended, err
}

// PruneSessions implements [domain.Store].
func (s *Store) PruneSessions(ctx context.Context, before time.Time) (int64, error) {
	var n int64
	err := s.write(ctx, opPruneSessions, func(ctx context.Context, c *conn) error {
		n = 0
		for _, query := range []string{
			`/* prune_sessions */ DELETE FROM sessions WHERE ended_at < $1 OR expires_at < $1`,
			`/* prune_erased_sessions */ DELETE FROM erased_sessions WHERE ended_at < $1`,
		} {
			gone, err := c.exec(ctx, query, before)
			if err != nil {
				return err
			}
			n += gone
		}
		return nil
	})
	return n, err
}
