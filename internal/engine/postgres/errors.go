package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"vote/internal/domain"
)

// Codes of the server that mean something to this package.
const (
	codeReadOnly      = "25006"
	codeUndefined     = "42P01" // table
	codeUnique        = "23505"
	codeLockTimeout   = "55P03"
	codeCanceled      = "57014" // by a time-out or on request
	codeDeadlock      = "40P01"
	codeSerialization = "40001"
)

// errRolledBack says that the server answered a COMMIT with a rollback.
var errRolledBack = errors.New("rolled back instead of committed")

// serverCode returns the code of an error that the server has sent, or "".
func serverCode(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// constraint returns the name of the constraint that a unique value broke, or "".
func constraint(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == codeUnique {
		return e.ConstraintName
	}
	return ""
}

// transient reports whether others were in the way of a transaction that did not
// happen, so that it may be repeated.
func transient(err error) bool {
	switch serverCode(err) {
	case codeDeadlock, codeSerialization, codeLockTimeout:
		return domain.CodeOf(err) == domain.CodeInternal
	}
	return false
}

// commitFault is for an error of a COMMIT. What the server refuses has not
// happened; when its answer is lost, nobody knows. An error that ends the
// connection may come after the commit as well as before it.
func commitFault(err error) error {
	e, refused := errors.AsType[*pgconn.PgError](err)
	if refused && e.SeverityUnlocalized == "ERROR" && e.Code != codeCanceled {
		return err
	}
	// That the connection is closed, the driver also says when it finds it so
	// while it reads the answer, and calls it safe to repeat all the same.
	if pgconn.SafeToRetry(err) && !errors.Is(err, pgconn.ErrConnClosed) {
		return domain.Fault(domain.CodeUnavailable, fmt.Errorf("postgres: commit: %w", err))
	}
	return domain.Fault(domain.CodeOutcomeUnknown, fmt.Errorf("postgres: commit: %w", err))
}

// fault is the one place that turns an error of the driver into one of the domain.
// A domain error passes.
func (s *Store) fault(op operation, err error) error {
	if err == nil {
		return nil
	}
	if _, known := errors.AsType[*domain.Error](err); known {
		if serverCode(err) == codeReadOnly {
			s.pool.Reset()
		}
		return err
	}
	code, known := codeOf(serverCode(err), err)
	if !known && s.closed.Load() {
		code, known = domain.CodeUnavailable, true
	}
	err = fmt.Errorf("postgres: %s: %w", op, err)
	if !known {
		return err
	}
	if serverCode(err) == codeReadOnly {
		// The primary has moved: these connections lead to what was it.
		s.pool.Reset()
	}
	if code == domain.CodeConflict {
		s.metrics.conflicts.Inc()
		if op != opInteract && op != opPublish {
			code = domain.CodeUnavailable // repeated often enough
		}
	}
	return domain.Fault(code, err)
}

// codeOf returns the domain's code for an error, given the server's code of it.
func codeOf(server string, err error) (domain.Code, bool) {
	switch {
	case server == codeDeadlock, server == codeSerialization, server == codeLockTimeout, server == codeCanceled,
		errors.Is(err, errRolledBack):
		return domain.CodeConflict, true
	case server == codeReadOnly, server == "25P03", server == "57P05", // a time-out that ended the connection
		strings.HasPrefix(server, "08"), strings.HasPrefix(server, "57P"),
		strings.HasPrefix(server, "53"), strings.HasPrefix(server, "58"):
		return domain.CodeUnavailable, true
	case server != "":
		return "", false
	}
	var network net.Error
	var connecting *pgconn.ConnectError
	lost := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &network) || errors.As(err, &connecting) || pgconn.Timeout(err) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		strings.Contains(err.Error(), "conn closed")
	return domain.CodeUnavailable, lost
}
