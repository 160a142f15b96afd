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

func TestMigrate(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	settings := filepath.Join(folder, "config.yaml")
	if err := os.WriteFile(settings, []byte(fmt.Sprintf("storage:\n  path: %q\n", filepath.Join(folder, "vote.db"))), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		c := command()
		var out bytes.Buffer
		c.SetOut(&out)
		c.SetErr(io.Discard)
		c.SetArgs(append([]string{"--config", settings}, args...))
		err := c.ExecuteContext(t.Context())
		return out.String(), err
	}
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
