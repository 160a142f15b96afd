//go:build integration

package deploy_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// instance is a server of its own, as a process.
type instance struct {
	program, folder, port string
	process               *exec.Cmd
	ended                 chan error
}

func (i *instance) start(t *testing.T) {
	t.Helper()
	i.process = exec.Command(i.program)
	i.process.Dir = i.folder
	i.process.Env = append(os.Environ(), "SERVER_HOST=127.0.0.1", "SERVER_PORT="+i.port, "SERVER_DRAIN_DELAY=5s", "SERVER_TRUSTED_PROXIES=127.0.0.1",
		"LIMITS_REQUESTS_PER_MINUTE=0", "LIMITS_BURST_PER_SECOND=0", "LIMITS_LOGIN_PER_ADDRESS_PER_MINUTE=0", "LOGGING_LEVEL=error")
	if err := i.process.Start(); err != nil {
		t.Fatal(err)
	}
	process, ended := i.process, make(chan error, 1)
	i.ended = ended
	go func() { ended <- process.Wait() }()
}

// ready waits until the instance takes requests.
func (i *instance) ready(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get("http://127.0.0.1:" + i.port + "/readyz")
		if err != nil {
			continue
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return
		}
	}
	t.Fatalf("the instance on port %s is not ready", i.port)
}

func (i *instance) stop(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := i.process.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if err := <-i.ended; err != nil && signal != os.Kill {
		t.Errorf("an ordered end: %v", err)
	}
	i.process = nil
}

// balanced starts three instances behind HAProxy with the file that is deployed,
// and returns them with the addresses of the balancer's public and operators' door.
func balanced(t *testing.T) (instances []*instance, public, operators string) {
	t.Helper()
	folder := t.TempDir()
	program := filepath.Join(folder, "server")
	if out, err := exec.Command("go", "build", "-o", program, "vote/cmd/server").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	public, operators = freeAddress(t), freeAddress(t)
	environment := append(os.Environ(), "BIND_PUBLIC="+public, "BIND_OPERATORS="+operators)
	for n := 1; n <= 3; n++ {
		address := freeAddress(t)
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		i := &instance{program: program, folder: filepath.Join(folder, fmt.Sprint(n)), port: port}
		if err := os.Mkdir(i.folder, 0o700); err != nil {
			t.Fatal(err)
		}
		i.start(t)
		t.Cleanup(func() {
			if i.process != nil {
				i.stop(t, os.Kill)
			}
		})
		instances = append(instances, i)
		environment = append(environment, fmt.Sprintf("APP%d=%s", n, address))
	}
	// A balancer takes whom it has not asked yet for healthy.
	for _, i := range instances {
		i.ready(t)
	}
	balancer := exec.Command("haproxy", "-db", "-f", "haproxy/haproxy.cfg")
	balancer.Env = environment
	var log bytes.Buffer
	balancer.Stdout, balancer.Stderr = &log, &log
	if err := balancer.Start(); err != nil {
		t.Fatalf("haproxy (Debian package haproxy): %v", err)
	}
	t.Cleanup(func() {
		_ = balancer.Process.Kill()
		_ = balancer.Wait()
		if t.Failed() {
			t.Logf("haproxy: %s", &log)
		}
	})
	up(t, operators, 3)
	return instances, public, operators
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// up waits until the balancer sends requests to so many instances.
func up(t *testing.T, operators string, want int) {
	t.Helper()
	have := -1
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		answer, err := http.Get("http://" + operators + "/;csv")
		if err != nil {
			continue
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			continue
		}
		have = 0
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "instances,app") && strings.Contains(line, ",UP,") {
				have++
			}
		}
		if have == want {
			return
		}
	}
	t.Fatalf("%d instances are up, want %d", have, want)
}

// pressure sends reads and writes through the balancer until its end is called, which
// returns how many were answered and what went wrong.
func pressure(t *testing.T, public string) func() (answered int64, faults []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var answered atomic.Int64
	var mu sync.Mutex
	var faults []string
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
			defer client.CloseIdleConnections()
			for n := 0; ctx.Err() == nil; n++ {
				var answer *http.Response
				var err error
				what := "GET"
				if (n+w)%2 == 0 {
					answer, err = client.Get("http://" + public + "/api/polls/popular")
				} else {
					// Refused, but by an instance: that is an answer.
					what = "POST"
					answer, err = client.Post("http://"+public+"/api/auth/refresh", "application/json", strings.NewReader(`{"refreshToken":"none"}`))
				}
				if err == nil {
					_, err = io.Copy(io.Discard, answer.Body)
					answer.Body.Close()
					if err == nil && answer.StatusCode >= 500 {
						err = fmt.Errorf("%s", answer.Status)
					}
				}
				if err == nil {
					answered.Add(1)
					continue
				}
				mu.Lock()
				faults = append(faults, what+": "+err.Error())
				mu.Unlock()
			}
		})
	}
	end := sync.OnceFunc(func() { cancel(); workers.Wait() })
	t.Cleanup(end)
	return func() (int64, []string) {
		end()
		return answered.Load(), faults
	}
}

// TestRollingRestart restarts every instance in turn under load: no request fails.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	instances, public, operators := balanced(t)
	end := pressure(t, public)
	for _, i := range instances {
		i.stop(t, syscall.SIGTERM)
		up(t, operators, 2)
		i.start(t)
		up(t, operators, 3)
	}
	answered, faults := end()
	t.Logf("%d requests answered", answered)
	if answered < 1000 {
		t.Errorf("only %d requests were answered", answered)
	}
	if len(faults) > 0 {
		t.Errorf("%d of %d failed, the first: %s", len(faults), answered, faults[0])
	}
}

// TestKilledInstance kills one under load: at most what it was working on fails,
// and nothing does once the balancer has noticed.
func TestKilledInstance(t *testing.T) {
	t.Parallel()
	instances, public, operators := balanced(t)
	end := pressure(t, public)
	instances[1].stop(t, os.Kill)
	up(t, operators, 2)
	answered, faults := end()
	t.Logf("%d requests answered, %d cut off by the kill", answered, len(faults))
	// One a client: a connection that cannot be made is tried elsewhere.
	if len(faults) > 8 {
		t.Errorf("%d requests failed, more than were under way; the last: %s", len(faults), faults[len(faults)-1])
	}
	end = pressure(t, public)
	instances[1].start(t)
	up(t, operators, 3)
	if answered, faults := end(); len(faults) > 0 || answered < 100 {
		t.Errorf("with one away %d were answered and %d failed: %v", answered, len(faults), faults)
	}
}
