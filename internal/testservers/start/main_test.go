//go:build integration && linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vote/internal/testservers"
)

// actAs makes the test binary the command itself.
const actAs = "VOTE_TEST_ACT_AS_START"

func TestMain(m *testing.M) {
	if os.Getenv(actAs) != "" {
		main()
	}
	os.Exit(m.Run())
}

// start returns the command, with the environment of the test but for what is
// set.
func start(t *testing.T, set map[string]string, args ...string) *exec.Cmd {
	t.Helper()
	temporary, err := os.MkdirTemp("", "vote-start-") //nolint:usetesting // the test's own folder does not let the servers' accounts in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(temporary) })
	if err := os.Chmod(temporary, 0o711); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), actAs+"=1", "TMPDIR="+temporary)
	for name, value := range set {
		c.Env = append(c.Env, name+"="+value)
	}
	c.WaitDelay = time.Minute
	return c
}

func TestAddressesInTheEnvironmentAreUsed(t *testing.T) {
	t.Parallel()
	out, err := start(t, nil, "--", "sh", "-c", "env; exit 7").Output()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("the exit code of the command is lost: %v", err)
	}
	for _, one := range all {
		for _, v := range one.variables {
			if want := v + "=" + os.Getenv(v) + "\n"; !strings.Contains(string(out), want) {
				t.Errorf("no %s in the command's environment", want)
			}
		}
	}
}

func TestAnAddressThatIsDeadIsReplaced(t *testing.T) {
	t.Parallel()
	c := start(t, map[string]string{testservers.RedisAddress: "127.0.0.1:1"}, "--", "sh", "-c", "echo $"+testservers.RedisAddress)
	out, err := c.Output()
	if err != nil || strings.TrimSpace(string(out)) == "127.0.0.1:1" || !strings.HasPrefix(string(out), "127.0.0.1:") {
		t.Errorf("Redis at %q, %v", out, err)
	}
}

func TestAMissingProgramIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set  map[string]string
		args []string
		want []string
	}{
		"Redis":                        {map[string]string{testservers.RedisAddress: ""}, nil, []string{"apt-get install redis-server", testservers.RedisAddress}},
		"a browser":                    {map[string]string{testservers.Chromium: ""}, []string{"-browser"}, []string{"apt-get install chromium nodejs npm", testservers.Chromium}},
		"Node.js, with a browser told": {map[string]string{testservers.Chromium: "/opt/chromium"}, []string{"-browser"}, []string{"apt-get install nodejs npm"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			for _, there := range []string{"haproxy", "epmd", "gcc", "curl"} {
				if err := os.WriteFile(filepath.Join(folder, there), nil, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			c.set["PATH"] = folder
			text, err := start(t, c.set, append(c.args, "--", "true")...).CombinedOutput()
			if err == nil {
				t.Error("it went well without it")
			}
			for _, want := range c.want {
				if !strings.Contains(string(text), want) {
					t.Errorf("it does not speak of %s: %s", want, text)
				}
			}
		})
	}
}

// A Docker of the test's own says what the shared servers' addresses are.
func TestDockerIsUsedWhenItAnswers(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]bool{"an engine": true, "none": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			if err := os.WriteFile(filepath.Join(folder, "go.mod"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, "docker-compose.yml"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(filepath.Join(folder, "deploy"), os.DirFS("../../../deploy")); err != nil {
				t.Fatal(err)
			}
			script := fmt.Sprintf("#!/bin/sh\necho \"$@\" >> %s/calls\ncase \"$*\" in\ninfo) exit %d ;;\n*' port redis 6379') echo %s ;;\nesac\n",
				folder, map[bool]int{true: 0, false: 1}[answers], os.Getenv(testservers.RedisAddress))
			if err := os.WriteFile(filepath.Join(folder, "docker"), []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			c := start(t, map[string]string{testservers.RedisAddress: "", "PATH": folder + ":" + os.Getenv("PATH")}, "--", "sh", "-c", "echo $"+testservers.RedisAddress)
			c.Dir = folder
			out, err := c.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got := strings.TrimSpace(string(out)); (got == os.Getenv(testservers.RedisAddress)) != answers {
				t.Errorf("Redis at %s", got)
			}
			calls, err := os.ReadFile(filepath.Join(folder, "calls"))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{" up --detach --wait --no-deps redis\n", " down --volumes"} {
				if strings.Contains(string(calls), want) != answers {
					t.Errorf("calls of docker: %s", calls)
				}
			}
		})
	}
}

// Without a command it prints the variables, ends when it is told to, and leaves
// nothing.
func TestServersUntilInterrupted(t *testing.T) {
	t.Parallel()
	c := start(t, map[string]string{testservers.RedisAddress: ""})
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	found := false
	for range 7 {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		found = found || strings.HasPrefix(line, "export "+testservers.RedisAddress+"='127.0.0.1:")
	}
	if !found {
		t.Error("no Redis among what is exported")
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, lines)
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	left(t, c)
}

// left checks that nothing is left in the command's temporary folder.
func left(t *testing.T, c *exec.Cmd) {
	t.Helper()
	entries, err := os.ReadDir(temporary(c))
	if err != nil || len(entries) > 0 {
		t.Errorf("left in the temporary folder: %v, %v", entries, err)
	}
}

// temporary returns where the command makes its folders: what was set last
// counts.
func temporary(c *exec.Cmd) string {
	folder := ""
	for _, v := range c.Env {
		if value, ok := strings.CutPrefix(v, "TMPDIR="); ok {
			folder = value
		}
	}
	return folder
}

// All of them, started here, go with the process that started them, and the next
// one removes their folders.
func TestKilledItLeavesNoProcess(t *testing.T) {
	t.Parallel()
	unset := map[string]string{}
	for _, one := range all {
		for _, v := range one.variables {
			unset[v] = ""
		}
	}
	c := start(t, unset, "--", "sh", "-c", "echo ready; exec sleep 600")
	var complaints bytes.Buffer
	c.Stderr = &complaints
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		_ = c.Wait()
		t.Fatalf("%q, %v: %s", line, err, complaints.String())
	}
	children := offspring(t, c.Process.Pid)
	for _, want := range []string{"postgres", "pgbouncer", "redis-server", "epmd", "beam.smp", "sleep"} {
		if !slices.ContainsFunc(children, func(p process) bool { return strings.HasPrefix(p.name, want) }) {
			t.Errorf("no %s among %v", want, children)
		}
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	for _, p := range children {
		for begun := time.Now(); p.lives(); time.Sleep(10 * time.Millisecond) {
			if time.Since(begun) > time.Minute {
				t.Fatalf("%v lives on", p)
			}
		}
	}
	// All but Redis are found in the environment.
	next := start(t, map[string]string{testservers.RedisAddress: "", "TMPDIR": temporary(c)}, "--", "true")
	if text, err := next.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	left(t, c)
}

type process struct {
	pid  int
	name string
}

// lives reports whether the process is there, under its name.
func (p process) lives() bool {
	_, name, state := stat(p.pid)
	return name == p.name && state != "Z"
}

func stat(pid int) (parent int, name, state string) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, "", ""
	}
	before, after, _ := strings.Cut(string(text), ") ")
	_, name, _ = strings.Cut(before, "(")
	fields := strings.Fields(after)
	parent, _ = strconv.Atoi(fields[1])
	return parent, name, fields[0]
}

func offspring(t *testing.T, of int) []process {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if parent, name, _ := stat(pid); parent == of {
			found = append(append(found, process{pid, name}), offspring(t, pid)...)
		}
	}
	return found
}
