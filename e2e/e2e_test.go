//go:build browser && linux

// Package e2e_test runs the scripts beside it: they start servers of their own,
// use them in a real Chromium as people do, and check the types of all that runs
// in the browser. README.md says how to write one.
package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vote/internal/testservers"
)

var only = flag.String("only", "", "of the browser's tests, run those whose name matches this JavaScript expression")

// A script that hangs is ended after this, or before the deadline of all tests.
const patience = 15 * time.Minute

// alone are the scripts that measure, and so run before the others.
var alone = []string{"speed"}

func TestBrowser(t *testing.T) {
	readInputs(t)
	s := newSite(t)
	environment := append(os.Environ(), "VOTE_CHROMIUM="+chromium(t), "VOTE_E2E_OUT="+artefacts(t))
	for _, command := range []string{"server", "votectl"} {
		environment = append(environment, "VOTE_"+strings.ToUpper(command)+"="+build(t, command, "-race"))
	}
	scripts, err := filepath.Glob(filepath.Join(s.folder, "*.test.mjs"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts in %s: %v", s.folder, err)
	}
	ran := make([]int, len(scripts))
	run := func(t *testing.T, i int, environment []string) {
		t.Helper()
		ran[i] = s.run(t, scripts[i], environment)
		if ran[i] == 0 && *only == "" {
			t.Errorf("no test ran in %s", scripts[i])
		}
	}
	t.Run("alone", func(t *testing.T) {
		// What is measured runs as it is used. Of two variables the last counts.
		measured := append(slices.Clone(environment), "VOTE_SERVER="+build(t, "server"))
		for i, script := range scripts {
			if name := nameOf(script); slices.Contains(alone, name) {
				t.Run(name, func(t *testing.T) { run(t, i, measured) })
			}
		}
	})
	t.Run("together", func(t *testing.T) {
		for i, script := range scripts {
			if name := nameOf(script); !slices.Contains(alone, name) {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					run(t, i, environment)
				})
			}
		}
	})
	total := 0
	for _, n := range ran {
		total += n
	}
	if total == 0 {
		t.Error("no test ran")
	}
}

func nameOf(script string) string { return strings.TrimSuffix(filepath.Base(script), ".test.mjs") }

// outcome is a line of reporter.mjs.
type outcome struct {
	Name    string  `json:"vote-e2e"`
	OK      bool    `json:"ok"`
	Skipped bool    `json:"skipped"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error"`
}

// run runs one script, makes each of its tests one of Go, and returns how many
// there were.
func (s *site) run(t *testing.T, script string, environment []string) int {
	t.Helper()
	words := []string{"--test-reporter=" + filepath.Join(s.folder, "reporter.mjs")}
	if *only != "" {
		words = append(words, "--test-name-pattern="+*only)
	}
	p := start(t, bounded(t), s.folder, environment, s.node, append(words, script)...)
	ran, failed := report(t, p.out)
	if err := p.wait(); err != nil && !failed {
		t.Errorf("%s: %v", filepath.Base(script), err)
	}
	return ran
}

// report reads what a script printed, and returns how many tests there were and
// whether one failed.
func report(t *testing.T, out io.Reader) (ran int, failed bool) {
	t.Helper()
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if o, ok := read(line); ok {
			ran++
			good := t.Run(o.Name, func(t *testing.T) {
				t.Logf("%.1f s", o.Seconds)
				if why := o.fault(); why != "" {
					t.Error(why)
				}
			})
			failed = failed || !good
		} else if line = strings.TrimSpace(line); line != "" {
			t.Log(line)
		}
		if err != nil {
			return ran, failed
		}
	}
}

// read reads an outcome; other lines are what a script printed.
func read(line string) (o outcome, ok bool) {
	return o, json.Unmarshal([]byte(line), &o) == nil && o.Name != ""
}

// fault returns what is wrong with an outcome, empty when nothing is.
func (o outcome) fault() string {
	switch {
	case o.Skipped:
		return "it was skipped"
	case !o.OK && o.Error == "":
		return "it failed without a word"
	case !o.OK:
		return o.Error
	}
	return ""
}

func TestFault(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`{"vote-e2e":"a","ok":true,"seconds":0.1}`:             "",
		`{"vote-e2e":"a","ok":true,"skipped":true}`:            "it was skipped",
		`{"vote-e2e":"a","ok":false,"error":"1 is not 2"}`:     "1 is not 2",
		`{"vote-e2e":"a"}`:                                     "it failed without a word",
		`{"vote-e2e":"a","ok":true,"skipped":true,"error":""}`: "it was skipped",
	} {
		if o, ok := read(line); !ok || o.fault() != want {
			t.Errorf("%s: %q, %t", line, o.fault(), ok)
		}
	}
	for _, line := range []string{"", "first card: 0.4 s", "{}", "{"} {
		if o, ok := read(line); ok {
			t.Errorf("%q is taken for the outcome %v", line, o)
		}
	}
}

// readInputs opens the folders of all that the scripts run: the go command takes
// an old result again as long as nothing has changed that the test itself opened.
func readInputs(t *testing.T) {
	t.Helper()
	for _, folder := range []string{".", "../cmd", "../config", "../internal"} {
		err := filepath.WalkDir(folder, func(_ string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == "artefacts") {
				return fs.SkipDir
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// artefacts returns the folder in which scripts leave what they saw.
func artefacts(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("VOTE_E2E_OUT")
	if folder == "" {
		folder = "artefacts"
	}
	folder, err := filepath.Abs(folder)
	if err == nil {
		err = os.MkdirAll(folder, 0o755)
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		folder, err = t.TempDir(), nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// chromium returns the path of the browser.
func chromium(t *testing.T) string {
	t.Helper()
	name := os.Getenv(testservers.Chromium)
	if name == "" {
		name = "chromium"
	}
	return find(t, name, `"make test" installs it as root; or install the Debian package chromium, or let `+testservers.Chromium+` say where one is`)
}

// find returns the path of a program.
func find(t *testing.T, name, remedy string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: this test needs it. %s", err, remedy)
	}
	return path
}

// build builds a command and returns its path.
func build(t *testing.T, command string, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), command)
	out, err := exec.CommandContext(bounded(t), "go", append(append([]string{"build"}, flags...), "-o", path, "vote/cmd/"+command)...).CombinedOutput()
	if err != nil {
		t.Fatalf("build %s: %v\n%s", command, err, out)
	}
	return path
}

// bounded returns a context that ends early enough for the test to tell why.
func bounded(t *testing.T) context.Context {
	t.Helper()
	limit := time.Now().Add(patience)
	if deadline, ok := t.Deadline(); ok && deadline.Add(-30*time.Second).Before(limit) {
		limit = deadline.Add(-30 * time.Second)
	}
	ctx, stop := context.WithDeadline(t.Context(), limit)
	t.Cleanup(stop)
	return ctx
}

// process is a program with all that it starts.
type process struct {
	cmd *exec.Cmd
	out io.Reader // what it and they print
	end func()
	ctx context.Context
}

// start starts a program in a process group of its own, which ends with it.
func start(t *testing.T, ctx context.Context, folder string, environment []string, path string, words ...string) *process { //nolint:revive // the test comes first
	t.Helper()
	p := &process{cmd: exec.Command(path, words...), ctx: ctx}
	p.cmd.Dir, p.cmd.Env = folder, environment
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr, p.out = p.cmd.Stdout, out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	group := -p.cmd.Process.Pid
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(group, syscall.SIGKILL) })
	p.end = func() {
		stop()
		_ = syscall.Kill(group, syscall.SIGKILL) // a good one has nobody left
	}
	t.Cleanup(p.end)
	return p
}

// wait waits for the end of the program, after its output was read, and ends
// what it has left.
func (p *process) wait() error {
	err := p.cmd.Wait()
	p.end()
	if p.ctx.Err() != nil {
		return fmt.Errorf("it did not end in time: %w", p.ctx.Err())
	}
	return err
}
