package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"vote/internal/domain"
)

func TestCodes(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]domain.Code{
		"40P01": domain.CodeConflict, "40001": domain.CodeConflict, "55P03": domain.CodeConflict, "57014": domain.CodeConflict,
		"25006": domain.CodeUnavailable, "25P03": domain.CodeUnavailable, "57P01": domain.CodeUnavailable,
		"08006": domain.CodeUnavailable, "53100": domain.CodeUnavailable, "53300": domain.CodeUnavailable, "58030": domain.CodeUnavailable,
		"23505": "", "42601": "", "XX001": "",
	} {
		if got, known := codeOf(code, &pgconn.PgError{Code: code}); got != want || known != (want != "") {
			t.Errorf("%s: %q, want %q", code, got, want)
		}
	}
	for _, lost := range []error{io.EOF, io.ErrUnexpectedEOF, context.DeadlineExceeded, fmt.Errorf("x: %w", context.Canceled)} {
		if got, _ := codeOf("", lost); got != domain.CodeUnavailable {
			t.Errorf("%v: %q", lost, got)
		}
	}
	if _, known := codeOf("", errors.New("a fault of ours")); known {
		t.Error("a fault of ours is taken for one of the network")
	}
}

// What the server refused has not happened; when the answer is lost, nobody knows.
func TestCommitFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want domain.Code
	}{
		{io.ErrUnexpectedEOF, domain.CodeOutcomeUnknown},
		{&pgconn.PgError{SeverityUnlocalized: "FATAL", Code: "57P01"}, domain.CodeOutcomeUnknown},
		{&pgconn.PgError{SeverityUnlocalized: "ERROR", Code: "57014"}, domain.CodeOutcomeUnknown},
		{&pgconn.PgError{SeverityUnlocalized: "ERROR", Code: "40001"}, domain.CodeInternal}, // fault tells it
	} {
		if got := domain.CodeOf(commitFault(c.err)); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}
