package sqlite

import (
	"errors"
	"fmt"
	"strings"

	"zombiezen.com/go/sqlite"
)

// conn is a connection with the few ways in which this package uses one. It
// keeps every statement it prepared.
type conn struct{ *sqlite.Conn }

// errNoRow says that a statement that must return a row returned none.
var errNoRow = errors.New("no row")

// prepare returns the statement of the query with the arguments bound: int64,
// int, bool, string, []byte, float64 or nil.
func (c *conn) prepare(query string, args []any) (*sqlite.Stmt, error) {
	stmt, err := c.Prepare(query)
	if err != nil {
		return nil, err
	}
	for i, arg := range args {
		switch v := arg.(type) {
		case int64:
			stmt.BindInt64(i+1, v)
		case int:
			stmt.BindInt64(i+1, int64(v))
		case bool:
			stmt.BindBool(i+1, v)
		case string:
			stmt.BindText(i+1, v)
		case []byte:
			stmt.BindBytes(i+1, v)
		case float64:
			stmt.BindFloat(i+1, v)
		case nil:
			stmt.BindNull(i + 1)
		default:
			return nil, fmt.Errorf("argument %d is a %T", i+1, arg)
		}
	}
	return stmt, nil
}

// rows calls visit for each row of the query.
func (c *conn) rows(query string, visit func(*sqlite.Stmt) error, args ...any) error {
	stmt, err := c.prepare(query, args)
	if err != nil {
		return err
	}
	return each(stmt, visit)
}

// each calls visit for each row of a bound statement and resets it.
func each(stmt *sqlite.Stmt, visit func(*sqlite.Stmt) error) (err error) {
	defer func() { err = errors.Join(err, reset(stmt, err)) }()
	for {
		ok, err := stmt.Step()
		if err != nil || !ok {
			return err
		}
		if err := visit(stmt); err != nil {
			return err
		}
	}
}

// reset resets a statement. After a failed step it repeats that error, which is
// known already.
func reset(stmt *sqlite.Stmt, known error) error {
	if err := stmt.Reset(); err != nil && known == nil {
		return err
	}
	return nil
}

// row calls visit for the first row of the query, or returns errNoRow.
func (c *conn) row(query string, visit func(*sqlite.Stmt) error, args ...any) error {
	stmt, err := c.prepare(query, args)
	if err != nil {
		return err
	}
	return first(stmt, visit)
}

// first calls visit for the first row of a bound statement and resets it.
func first(stmt *sqlite.Stmt, visit func(*sqlite.Stmt) error) error {
	ok, err := stmt.Step()
	switch {
	case err != nil:
	case !ok:
		err = errNoRow
	default:
		err = visit(stmt)
	}
	return errors.Join(err, reset(stmt, err))
}

// run runs a statement that returns nothing.
func (c *conn) run(query string, args ...any) error {
	stmt, err := c.prepare(query, args)
	if err != nil {
		return err
	}
	return step(stmt)
}

// step runs a bound statement that returns nothing.
func step(stmt *sqlite.Stmt) error {
	if _, err := stmt.Step(); err != nil {
		return errors.Join(err, reset(stmt, err))
	}
	return stmt.Reset()
}

// snapshot runs f so that all its statements read the same state.
func (c *conn) snapshot(f func() error) error {
	if err := c.run(`BEGIN`); err != nil {
		return err
	}
	defer c.endSnapshot()
	return f()
}

// endSnapshot ends a read transaction, which cannot fail in a way that matters:
// there is nothing to lose, and SQLite ends it by itself on the errors that
// would make ROLLBACK fail.
func (c *conn) endSnapshot() {
	c.SetInterrupt(nil) // a context that ended must not keep the snapshot open
	_ = c.rollback()
}

// rollback ends the open transaction, if any, without its changes.
func (c *conn) rollback() error {
	if c.AutocommitEnabled() {
		return nil
	}
	return c.run(`ROLLBACK`)
}

// pragma sets a pragma.
func (c *conn) pragma(name, value string) error {
	stmt, _, err := c.PrepareTransient("PRAGMA " + name + " = " + value)
	if err != nil {
		return err
	}
	_, err = stmt.Step()
	return errors.Join(err, stmt.Finalize())
}

// assert sets a pragma and reads it back: SQLite keeps silent about values that
// it does not take.
func (c *conn) assert(name, value, want string) error {
	if err := c.pragma(name, value); err != nil {
		return err
	}
	stmt, _, err := c.PrepareTransient("PRAGMA " + name)
	if err != nil {
		return err
	}
	ok, err := stmt.Step()
	got := ""
	if ok {
		got = stmt.ColumnText(0)
	}
	if err = errors.Join(err, stmt.Finalize()); err != nil {
		return err
	}
	if !strings.EqualFold(got, want) {
		return fmt.Errorf("pragma %s is %q, want %q", name, got, want)
	}
	return nil
}

// blob returns a copy of a column's bytes.
func blob(stmt *sqlite.Stmt, col int) []byte {
	b := make([]byte, stmt.ColumnLen(col))
	stmt.ColumnBytes(col, b)
	return b
}

// appendColumn returns a column's bytes in buf, which it grows as needed.
func appendColumn(stmt *sqlite.Stmt, col int, buf []byte) []byte {
	n := stmt.ColumnLen(col)
	if cap(buf) < n {
		buf = make([]byte, n, 2*n)
	}
	buf = buf[:n]
	stmt.ColumnBytes(col, buf)
	return buf
}
