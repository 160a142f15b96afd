//go:build integration

package redis_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// server is a redis-server, or a Sentinel, of one test.
type server struct {
	address string
	folder  string
	args    []string
	process *exec.Cmd
}

// startRedis starts a server that ends with the test.
func startRedis(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{address: freeAddress(t), folder: t.TempDir()}
	_, port, _ := net.SplitHostPort(s.address)
	s.args = append([]string{
		"--port", port, "--bind", "127.0.0.1", "--dir", s.folder, "--save", "", "--appendonly", "no",
	}, args...)
	t.Cleanup(func() { s.Kill() })
	s.Restart(t)
	return s
}

// startSentinel starts a Sentinel that watches a master under the name main.
func startSentinel(t *testing.T, master string, quorum int) *server {
	t.Helper()
	s := &server{address: freeAddress(t), folder: t.TempDir()}
	_, port, _ := net.SplitHostPort(s.address)
	host, masterPort, _ := net.SplitHostPort(master)
	file := filepath.Join(s.folder, "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor main %s %s %d\n"+
		"sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n", port, s.folder, host, masterPort, quorum)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.args = []string{file, "--sentinel"}
	t.Cleanup(func() { s.Kill() })
	s.Restart(t)
	return s
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

// Restart starts it, again when it was killed, empty.
func (s *server) Restart(t *testing.T) {
	t.Helper()
	s.process = exec.Command("redis-server", s.args...)
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server answers", func() bool {
		return strings.Contains(s.command("PING"), "PONG")
	})
}

// command sends one command by hand and returns the beginning of the answer.
func (s *server) command(words ...string) string {
	c, err := net.DialTimeout("tcp", s.address, time.Second)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	text := "*" + strconv.Itoa(len(words)) + "\r\n"
	for _, w := range words {
		text += "$" + strconv.Itoa(len(w)) + "\r\n" + w + "\r\n"
	}
	if _, err := c.Write([]byte(text)); err != nil {
		return err.Error()
	}
	b := make([]byte, 1<<16)
	n, _ := c.Read(b)
	return string(b[:n])
}

// Stop freezes it as SIGSTOP does; Continue lets it go on.
func (s *server) Stop()     { _ = s.process.Process.Signal(syscall.SIGSTOP) }
func (s *server) Continue() { _ = s.process.Process.Signal(syscall.SIGCONT) }

// Kill ends it without a word.
func (s *server) Kill() {
	if s.process != nil {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
		s.process = nil
	}
}

// slowProxy passes connections on to an address, each piece of an answer after
// a delay that can be set at any time.
type slowProxy struct {
	address string
	delay   func() time.Duration
}

func startProxy(t *testing.T, to string, delay func() time.Duration) *slowProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			context.AfterFunc(ctx, func() { in.Close(); out.Close() })
			pass := func(from, to net.Conn, delay func() time.Duration) {
				defer from.Close()
				defer to.Close()
				b := make([]byte, 32<<10)
				for {
					n, err := from.Read(b)
					if err != nil {
						return
					}
					time.Sleep(delay())
					if _, err := to.Write(b[:n]); err != nil {
						return
					}
				}
			}
			go pass(in, out, func() time.Duration { return 0 })
			go pass(out, in, delay)
		}
	}()
	return &slowProxy{address: l.Addr().String(), delay: delay}
}

// eventually waits for a condition, half a minute at most.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in half a minute: %s", what)
		}
	}
}
