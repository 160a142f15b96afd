package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"vote/internal/ops/check"
	"vote/internal/ops/command"
	"vote/internal/ops/replay"
)

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	c := root()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(args)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

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
		{fmt.Errorf("%w: in use", command.ErrUnfinished), 3},
	} {
		if code := command.ExitCode(c.err); code != c.code {
			t.Errorf("%v: exit code %d, want %d", c.err, code, c.code)
		}
	}
	out, err := run(t, "--help")
	if err != nil || !strings.Contains(out, command.ExitCodes) {
		t.Errorf("the help does not tell the exit codes: %v\n%s", err, out)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	for shell, want := range map[string]string{
		"bash": "__start_votectl", "zsh": "#compdef votectl", "fish": "complete -c votectl", "powershell": "Register-ArgumentCompleter",
	} {
		out, err := run(t, "completion", shell)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v, without %q", shell, err, want)
		}
	}
	out, err := run(t, "__complete", "poll", "")
	for _, want := range []string{"hide\t", "unhide\t", "close\t", "open\t", "show\t"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("poll is not completed by %q: %v\n%s", want, err, out)
		}
	}
}

// TestEveryCommand asks of each that it has help, answers programs, and calls
// what it does not know wrong use.
func TestEveryCommand(t *testing.T) {
	t.Parallel()
	seen := 0
	var walk func(c *cobra.Command, path []string)
	walk = func(c *cobra.Command, path []string) {
		for _, sub := range c.Commands() {
			if sub.Name() == "help" || sub.Name() == "completion" {
				continue
			}
			walk(sub, append(slices.Clip(path), sub.Name()))
		}
		if c.HasSubCommands() {
			return
		}
		seen++
		name := strings.Join(path, " ")
		if c.Short == "" || c.Flag("json") == nil && c.InheritedFlags().Lookup("json") == nil {
			t.Errorf("%s has no short help or no --json", name)
		}
		if _, err := run(t, append(slices.Clip(path), "--nonsense")...); command.ExitCode(err) != command.ExitWrongUse {
			t.Errorf("%s --nonsense: %v", name, err)
		}
	}
	walk(root(), nil)
	if seen < 12 {
		t.Errorf("only %d commands", seen)
	}
	if out, err := run(t, "version"); err != nil || !strings.HasPrefix(out, "vote ") {
		t.Errorf("version: %v, %q", err, out)
	}
}
