package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// configured returns what runs the command with a configuration.
func configured(t *testing.T, settings string) func(args ...string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(args ...string) (string, error) {
		c := command()
		var out bytes.Buffer
		c.SetOut(&out)
		c.SetErr(io.Discard)
		c.SetArgs(append([]string{"--config", file}, args...))
		err := c.ExecuteContext(t.Context())
		return out.String(), err
	}
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	run := configured(t, fmt.Sprintf("storage:\n  path: %q\n", filepath.Join(t.TempDir(), "vote.db")))
	missing := func(args ...string) int {
		t.Helper()
		out, err := run(args...)
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return strings.Count(out, " missing\n")
	}
	all := missing("status")
	if all == 0 {
		t.Fatal("a new database misses no migration")
	}
	for _, step := range []struct {
		args    []string
		missing int
	}{
		{nil, 0}, {[]string{"up"}, 0}, {[]string{"down"}, 1}, {[]string{"status"}, 1}, {[]string{"to", "1"}, all - 1}, {[]string{"to", "0"}, all}, {[]string{"up"}, 0},
	} {
		if n := missing(step.args...); n != step.missing {
			t.Errorf("after %v %d migrations are missing, want %d", step.args, n, step.missing)
		}
	}
	for _, args := range [][]string{{"to"}, {"to", "x"}, {"to", "-1"}, {"to", "999"}, {"sideways"}, {"up", "now"}} {
		if out, err := run(args...); err == nil {
			t.Errorf("%v was carried out: %s", args, out)
		}
	}
}

// The embedded store has no buckets, and is not even made.
func TestEmbeddedBuckets(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vote.db")
	run := configured(t, fmt.Sprintf("storage:\n  path: %q\n", path))
	for _, args := range [][]string{{"rebucket", "2"}, {"rebucket", "1"}, {"distribute"}} {
		if out, err := run(args...); err == nil || !strings.Contains(err.Error(), "no buckets") {
			t.Errorf("%v: %q, %v", args, out, err)
		}
	}
	for _, n := range []string{"0", "-1", "1025", "x", "1.5", ""} {
		if out, err := run("rebucket", "--", n); err == nil || !strings.Contains(err.Error(), "there can be 1 to 1024") {
			t.Errorf("rebucket %q: %q, %v", n, out, err)
		}
	}
	for _, args := range [][]string{{"rebucket"}, {"rebucket", "1", "2"}, {"distribute", "now"}} {
		if out, err := run(args...); err == nil {
			t.Errorf("%v was carried out: %s", args, out)
		}
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the database file: %v", err)
	}
}
