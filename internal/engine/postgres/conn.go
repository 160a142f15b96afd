package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

// conn is a connection with the few ways in which this package uses one.
type conn struct {
	*pgx.Conn
	clock domain.Clock
}

// exec runs a statement and returns how many rows it changed.
func (c *conn) exec(ctx context.Context, query string, args ...any) (int64, error) {
	tag, err := c.Exec(ctx, query, args...)
	return tag.RowsAffected(), err
}

// rows calls visit for each row of the query.
func (c *conn) rows(ctx context.Context, query string, visit func(pgx.Rows) error, args ...any) error {
	rows, err := c.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	return each(rows, visit)
}

// each calls visit for each row and closes them.
func each(rows pgx.Rows, visit func(pgx.Rows) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := visit(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// row scans the only row of the query. Errors: [pgx.ErrNoRows].
func (c *conn) row(ctx context.Context, query string, args []any, into ...any) error {
	return c.QueryRow(ctx, query, args...).Scan(into...)
}

// exists reports whether the query returns a row.
func (c *conn) exists(ctx context.Context, query string, args ...any) (bool, error) {
	var found bool
	err := c.row(ctx, `SELECT EXISTS (`+query+`)`, args, &found)
	return found, err
}

const nowQuery = `/* now */ SELECT date_trunc('milliseconds', clock_timestamp())`

// now returns the time as precise as it is stored.
func (c *conn) now(ctx context.Context) (at time.Time, err error) {
	if c.clock != nil {
		return handed(c.clock), nil
	}
	err = c.row(ctx, nowQuery, nil, &at)
	return at, err
}

// handed returns the time of a clock that the Store was given.
func handed(clock domain.Clock) time.Time { return clock.Now().UTC().Truncate(time.Millisecond) }

// snapshot runs f so that all its statements read the same state.
func (c *conn) snapshot(ctx context.Context, f func() error) error {
	if _, err := c.Exec(ctx, `/* snapshot */ BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`); err != nil {
		return err
	}
	defer c.rollback()
	return f()
}

// rollbackTimeout bounds a rollback. A connection on which it does not succeed is
// closed, which ends the transaction as well.
const rollbackTimeout = 2 * time.Second

// rollback ends the open transaction, if any, without its changes, also when the
// caller's context has ended.
func (c *conn) rollback() {
	if c.IsClosed() || c.PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	if _, err := c.Exec(ctx, `/* rollback */ ROLLBACK`); err != nil {
		_ = c.Close(ctx)
	}
}

// notFound turns the absence of a row into the domain's error.
func notFound(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return domain.E(domain.CodeNotFound, "")
	}
	return err
}
