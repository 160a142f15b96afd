// Package commandtest is what the tests of the operator's commands have in
// common: a place for a database, a way into it, and a call of a command.
package commandtest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"

	"vote/config"
	"vote/internal/app"
	"vote/internal/domain"
)

// Place returns the path of a database that is not there yet, in a folder of the
// test's, and the configuration file that names it, which ends with more.
func Place(t *testing.T, more string) (path, settings string) {
	t.Helper()
	folder := t.TempDir()
	path, settings = filepath.Join(folder, "vote.db"), filepath.Join(folder, "config.yaml")
	if err := os.WriteFile(settings, fmt.Appendf(nil, "storage:\n  path: %q\n%s", path, more), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, settings
}

// Open opens the database, making it when it is missing. It is closed with the
// test, if not before.
func Open(t *testing.T, path string) domain.Store {
	t.Helper()
	c := config.Default()
	c.Storage.Path = path
	store, err := app.OpenStore(t.Context(), c, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() }) // the second time does nothing
	return store
}

// Run runs a command and returns what it answered.
func Run(t *testing.T, c *cobra.Command, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(io.Discard)
	c.SetArgs(args)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}
