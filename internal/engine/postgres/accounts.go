package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

// CreateUser implements [domain.Store].
func (s *Store) CreateUser(ctx context.Context, u domain.NewUser, session domain.Session, refresh domain.TokenHash) (domain.User, error) {
	var made domain.User
	err := s.write(ctx, opCreateUser, func(ctx context.Context, c *conn) error {
		now, err := c.now(ctx)
		if err != nil {
			return err
		}
		id, err := s.addUser(ctx, c, u, now)
		if err != nil {
			return err
		}
		made = domain.User{
			ID: id, Username: u.Username, Email: u.Email, PasswordHash: u.PasswordHash, CreatedAt: now,
		}
		session.User = id
		return c.addSession(ctx, session, refresh, now)
	})
	if err != nil {
		return domain.User{}, err
	}
	return made, nil
}

// The bucket is what the database says, also to a process that was cut off while
// the buckets were changed: such a one finds nobody whose bucket is another now.
const addUserQuery = `/* add_user */ WITH added AS (
		INSERT INTO users (username, username_key, email, email_key, password_hash, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT DO NOTHING RETURNING id)
	INSERT INTO user_state (bucket, user_id) SELECT id % (SELECT buckets FROM storage), id FROM added RETURNING user_id`

// addTries is how often an account is tried to be added: when a key seemed taken
// and is free when looked at, whoever had it gave it up in between.
const addTries = 5

// addUser stores a new account. Two who want one key meet in its index, where the
// later one waits for the end of the other.
func (s *Store) addUser(ctx context.Context, c *conn, u domain.NewUser, now time.Time) (domain.UserID, error) {
	for range addTries {
		var id domain.UserID
		err := c.row(ctx, addUserQuery, []any{
			u.Username, u.UsernameKey, u.Email, u.EmailKey, u.PasswordHash, now,
		}, &id)
		if !errors.Is(err, pgx.ErrNoRows) {
			return id, err
		}
		if err := c.wantFree(ctx, 0, u.EmailKey, u.UsernameKey); err != nil {
			return 0, err
		}
	}
	return 0, domain.E(domain.CodeUnavailable, "")
}

// wantFree refuses keys that another user has. An empty key is nobody's.
func (c *conn) wantFree(ctx context.Context, id domain.UserID, emailKey, usernameKey string) error {
	var email, username bool
	err := c.row(ctx, `/* keys_taken */ SELECT
		EXISTS (SELECT 1 FROM users WHERE email_key = $2 AND id <> $1),
		EXISTS (SELECT 1 FROM users WHERE username_key = $3 AND id <> $1)`,
		[]any{int64(id), emailKey, usernameKey}, &email, &username)
	switch {
	case err != nil:
		return err
	case email:
		return emailTaken()
	case username:
		return usernameTaken()
	}
	return nil
}

func emailTaken() error {
	return domain.E(domain.CodeEmailTaken, "There is an account with this e-mail address.")
}

func usernameTaken() error {
	return domain.E(domain.CodeUsernameTaken, "This username is taken.")
}

// taken turns the refusal of a key that another user has into the domain's error.
func taken(err error) error {
	switch constraint(err) {
	case "users_email_key":
		return emailTaken()
	case "users_username_key":
		return usernameTaken()
	}
	return err
}

// userColumns are those that scanUser reads.
const userColumns = `id, username, email, password_hash, created_at, banned_at FROM users`

func scanUser(r pgx.Row) (domain.User, error) {
	var u domain.User
	var banned *time.Time
	err := r.Scan(&u.ID, &u.Username, &u.Email, &u.PasswordHash, &u.CreatedAt, &banned)
	if banned != nil {
		u.BannedAt = *banned
	}
	return u, err
}

// UserByID implements [domain.Store].
func (s *Store) UserByID(ctx context.Context, id domain.UserID) (domain.User, error) {
	return s.user(ctx, `/* user_by_id */ SELECT `+userColumns+` WHERE id = $1 AND erased_at IS NULL`, int64(id))
}

// UserByEmail implements [domain.Store].
func (s *Store) UserByEmail(ctx context.Context, emailKey string) (domain.User, error) {
	return s.user(ctx, `/* user_by_email */ SELECT `+userColumns+` WHERE email_key = $1`, storable(emailKey))
}

// UserByUsername implements [domain.Store].
func (s *Store) UserByUsername(ctx context.Context, usernameKey string) (domain.User, error) {
	return s.user(ctx, `/* user_by_username */ SELECT `+userColumns+` WHERE username_key = $1`, storable(usernameKey))
}

func (s *Store) user(ctx context.Context, query string, arg any) (domain.User, error) {
	var u domain.User
	err := s.read(ctx, opUser, func(ctx context.Context, c *conn) (err error) {
		u, err = scanUser(c.QueryRow(ctx, query, arg))
		return notFound(err)
	})
	return u, err
}

// Users implements [domain.Store].
func (s *Store) Users(ctx context.Context, after domain.UserID, limit int) ([]domain.User, error) {
	var users []domain.User
	err := s.read(ctx, opUsers, func(ctx context.Context, c *conn) error {
		return c.rows(ctx, `/* users */ SELECT `+userColumns+` WHERE id > $1 AND erased_at IS NULL ORDER BY id LIMIT $2`,
			func(r pgx.Rows) error {
				u, err := scanUser(r)
				users = append(users, u)
				return err
			}, int64(after), max(limit, 0))
	})
	return users, err
}

// UserTotals implements [domain.Store].
func (s *Store) UserTotals(ctx context.Context, id domain.UserID) (domain.UserTotals, error) {
	var t domain.UserTotals
	err := s.read(ctx, opUserTotals, func(ctx context.Context, c *conn) error {
		now, err := c.now(ctx)
		if err != nil {
			return err
		}
		return notFound(c.row(ctx, `/* user_totals */ SELECT
			coalesce((SELECT vote_count FROM daily_votes WHERE bucket = $2 AND user_id = $1 AND vote_date = $3), 0),
			(SELECT count(*) FROM votes WHERE bucket = $2 AND user_id = $1) +
				coalesce((SELECT votes FROM archived_users WHERE user_id = $1), 0),
			(SELECT count(*) FROM skips WHERE bucket = $2 AND user_id = $1) +
				coalesce((SELECT skips FROM archived_users WHERE user_id = $1), 0),
			(SELECT count(*) FROM polls WHERE author_id = $1 AND deleted_at IS NULL)
			FROM users WHERE id = $1 AND erased_at IS NULL`,
			[]any{int64(id), s.bucket(id), date(domain.DayOf(now))}, &t.VotesToday, &t.Votes, &t.Skips, &t.Polls))
	})
	return t, err
}
