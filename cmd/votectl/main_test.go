package main

import (
	"errors"
	"fmt"
	"testing"

	"vote/internal/ops/check"
	"vote/internal/ops/replay"
)

func TestExitCode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{replay.ErrDifferent, 1},
		{check.ErrBroken, 1},
		{errors.New("unknown flag"), 2},
		{fmt.Errorf("%w: no answer", replay.ErrUnfinished), 3},
		{fmt.Errorf("%w: in use", check.ErrUnfinished), 3},
	} {
		if code := exitCode(c.err); code != c.code {
			t.Errorf("%v: exit code %d, want %d", c.err, code, c.code)
		}
	}
}
