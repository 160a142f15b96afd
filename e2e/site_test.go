//go:build browser && linux

package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// site is where the scripts run: a folder with what npm fetched for them.
type site struct {
	folder string
	node   string
}

// In a folder that cannot be written the scripts run as a copy.
var copied = struct {
	sync.Mutex
	folder string
}{}

// newSite fetches what the lock file names, unless it is there, and returns where
// the scripts can run.
func newSite(t *testing.T) *site {
	t.Helper()
	const remedy = `"make test" installs it as root; or install the Debian packages nodejs and npm (Node.js 18.19 or newer)`
	s := &site{folder: here(t), node: find(t, "node", remedy)}
	npm := find(t, "npm", remedy)
	if !writable(s.folder) {
		s.folder = copyScripts(t, s.folder)
	}
	lock, err := os.ReadFile(filepath.Join(s.folder, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(lock)
	want := []byte(hex.EncodeToString(sum[:]) + "\n")
	done := filepath.Join(s.folder, "node_modules", ".vote-lock")

	defer lockFolder(t, s.folder)()
	if got, err := os.ReadFile(done); err == nil && bytes.Equal(got, want) {
		return s
	}
	// Scripts that packages would run at their installation are not wanted.
	c := exec.CommandContext(bounded(t), npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	c.Dir = s.folder
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	if err := os.WriteFile(done, want, 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

func here(t *testing.T) string {
	t.Helper()
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

func writable(folder string) bool {
	f, err := os.CreateTemp(folder, ".writable-*")
	if err != nil {
		return false
	}
	return errors.Join(f.Close(), os.Remove(f.Name())) == nil
}

// lockFolder waits until no other process has the folder locked, locks it, and
// returns what unlocks it.
func lockFolder(t *testing.T, folder string) (unlock func()) {
	t.Helper()
	f, err := os.Open(folder)
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() { _ = f.Close() }
}

// copyScripts copies the folder into a temporary one, beside which lies what the
// scripts look at.
func copyScripts(t *testing.T, folder string) string {
	t.Helper()
	copied.Lock()
	defer copied.Unlock()
	if copied.folder != "" {
		return copied.folder
	}
	root, err := os.MkdirTemp("", "vote-e2e-") //nolint:usetesting // for the tests that follow, too
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(root, "e2e")
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(folder, "..", "internal"), filepath.Join(root, "internal")); err != nil {
		t.Fatal(err)
	}
	copied.folder = to
	return to
}

func TestMain(m *testing.M) {
	code := m.Run()
	if copied.folder != "" {
		_ = os.RemoveAll(filepath.Dir(copied.folder))
	}
	os.Exit(code)
}

// tsc checks a project and returns what is wrong with it.
func (s *site) tsc(t *testing.T, project string) (complaints string, ok bool) {
	t.Helper()
	p := start(t, bounded(t), s.folder, os.Environ(), s.node, filepath.Join("node_modules", "typescript", "bin", "tsc"), "--noEmit", "--pretty", "false", "--project", project)
	out, err := io.ReadAll(p.out)
	if err != nil {
		t.Fatal(err)
	}
	err = p.wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out), err == nil
}

// projects are the parts of the scripts, by what they run in.
var projects = []string{"tsconfig.json", "tsconfig.app.json", "tsconfig.worker.json"}

func TestTypes(t *testing.T) {
	t.Parallel()
	readInputs(t)
	s := newSite(t)
	for _, project := range projects {
		t.Run(project, func(t *testing.T) {
			t.Parallel()
			if complaints, ok := s.tsc(t, project); !ok {
				t.Errorf("\n%s", complaints)
			}
		})
	}
}

// The check must be able to fail, for each kind of script.
func TestTypesCatches(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, project := range projects {
		t.Run(project, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			files := map[string]string{
				"planted.js":    "/** @param {string} text */\nexport function shout(text) { return text.toUpper() }\n",
				"unknown.js":    "export function twice(number) { return 2 * number }\n",
				"tsconfig.json": `{"extends": "` + filepath.Join(s.folder, project) + `", "files": ["planted.js", "unknown.js"], "include": []}`,
			}
			for name, text := range files {
				if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			complaints, ok := s.tsc(t, filepath.Join(folder, "tsconfig.json"))
			lines := strings.Split(complaints, "\n")
			for _, want := range []string{"toUpper", "implicitly has an 'any' type"} {
				if ok || !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, want) }) {
					t.Errorf("nothing is said of %s: %s", want, complaints)
				}
			}
		})
	}
}
