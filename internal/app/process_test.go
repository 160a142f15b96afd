package app_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// built is the server as it is shipped, built once for all tests.
var built struct {
	once   sync.Once
	folder string
	err    error
}

// serverBinary returns the path of the built server.
func serverBinary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		built.folder, built.err = os.MkdirTemp("", "vote-server") //nolint:usetesting // for the tests that follow, too
		if built.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", filepath.Join(built.folder, "server"), "vote/cmd/server").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.folder, "server")
}

// unlimited is the environment of a server on a free port without limits on use.
func unlimited() []string {
	return []string{
		"SERVER_HOST=127.0.0.1", "SERVER_PORT=0", "LOGGING_LEVEL=warn",
		"LIMITS_DAILY_VOTES=0", "LIMITS_REQUESTS_PER_MINUTE=0", "LIMITS_VOTES_PER_MINUTE=0", "LIMITS_BURST_PER_SECOND=0",
		"LIMITS_LOGIN_PER_ACCOUNT_PER_MINUTE=0", "LIMITS_LOGIN_PER_ADDRESS_PER_MINUTE=0", "LIMITS_SIGN_INS_PER_ADDRESS=0",
		"LIMITS_REGISTRATIONS_PER_ADDRESS_PER_HOUR=0", "LIMITS_POLLS_PER_DAY=0",
	}
}

// process is the built server while it runs.
type process struct {
	cmd   *exec.Cmd
	url   string
	ended bool
}

// startProcess starts the server in a folder without a configuration file, and
// waits until it listens.
func startProcess(t *testing.T, folder string, log io.Writer, environment []string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(serverBinary(t))}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stderr = folder, environment, log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, url, ok := strings.Cut(lines.Text(), "http://"); ok {
			p.url = "http://" + strings.TrimSpace(url)
			return p
		}
	}
	t.Fatalf("the server ended at once: %v", p.cmd.Wait())
	return nil
}

// awaitReady waits until the server takes requests.
func (p *process) awaitReady(t *testing.T) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for limit := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if ready(&client, p.url) {
			return
		}
		if time.Now().After(limit) {
			t.Fatal("not ready within 30 s")
		}
	}
}

func ready(client *http.Client, url string) bool {
	answer, err := client.Get(url + "/readyz")
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// kill ends it by SIGKILL. It may have ended before.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if p.ended {
		return
	}
	p.ended = true
	p.signal(t, syscall.SIGKILL)
	_ = p.cmd.Wait() // says "killed", which is what was wanted
}

// stop ends it in order.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	p.ended = true
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the server did not end in order: %v", err)
	}
}
