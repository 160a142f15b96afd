package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"vote/config"
	"vote/internal/app"
	"vote/internal/domain"
)

func TestExitCode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{fmt.Errorf("check: %w", ErrNo), 1},
		{errors.New("unknown flag"), 2},
		{fmt.Errorf("%w: too many", ErrWrongUse), 2},
		{fmt.Errorf("%w: in use", ErrUnfinished), 3},
		{errors.Join(ErrNo, ErrUnfinished), 3},
	} {
		if code := ExitCode(c.err); code != c.code {
			t.Errorf("%v: exit code %d, want %d", c.err, code, c.code)
		}
		if line := fmt.Sprintf("%d  ", c.code); !strings.Contains(ExitCodes, line) {
			t.Errorf("%d is not in the table", c.code)
		}
	}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]error{"y\n": nil, "YES\n": nil, " yes": nil, "n\n": ErrNo, "\n": ErrNo, "": ErrNo, "yesterday\n": ErrNo} {
		var out strings.Builder
		if err := ask(&out, strings.NewReader(answer), "Sure?"); !errors.Is(err, want) || out.String() != "Sure? [y/N] " {
			t.Errorf("%q: %v, asked %q", answer, err, out.String())
		}
	}
	// Who is not at a terminal is not asked.
	c := &cobra.Command{}
	c.SetIn(strings.NewReader(""))
	if err := (&Flags{}).Confirm(c, "Sure?"); err != nil {
		t.Error(err)
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path, settings := filepath.Join(folder, "vote.db"), filepath.Join(folder, "config.yaml")
	if err := os.WriteFile(settings, fmt.Appendf(nil, "storage:\n  path: %q\n", path), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := Flags{path: settings}
	run := func(do func() error) error {
		return flags.Store(t.Context(), func(domain.Store, config.Config) error { return do() })
	}
	fine := func() error { return nil }
	if err := run(fine); ExitCode(err) != ExitUnfinished || !strings.Contains(fmt.Sprint(err), "no database") {
		t.Errorf("without a database: %v", err)
	}
	if err := flags.NewStore(t.Context(), func(domain.Store, config.Config) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, ExitDone}, {domain.E(domain.CodeNotFound, ""), ExitNo}, {domain.Fault(domain.CodeUnavailable, io.EOF), ExitUnfinished},
		{ErrNo, ExitNo}, {ErrWrongUse, ExitWrongUse}, {io.EOF, ExitUnfinished},
	} {
		if err := run(func() error { return c.err }); ExitCode(err) != c.code {
			t.Errorf("%v became %v", c.err, err)
		}
	}

	conf := config.Default()
	conf.Storage.Path = path
	running, err := app.OpenStore(t.Context(), conf, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := run(fine); ExitCode(err) != ExitUnfinished || !strings.Contains(fmt.Sprint(err), "stop the server first") {
		t.Errorf("while a server runs: %v", err)
	}
	if err := running.Close(); err != nil {
		t.Fatal(err)
	}

	m, err := app.OpenMigrator(conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.Down(t.Context()), m.Close()); err != nil {
		t.Fatal(err)
	}
	if err := run(fine); ExitCode(err) != ExitUnfinished || !strings.Contains(fmt.Sprint(err), "migrate up") {
		t.Errorf("with an old schema: %v", err)
	}
	if err := (&Flags{path: filepath.Join(folder, "none.yaml")}).Store(t.Context(), nil); ExitCode(err) != ExitWrongUse {
		t.Errorf("without a configuration: %v", err)
	}
}
