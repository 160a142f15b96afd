//go:build integration

package redis_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"vote/internal/testservers/local"
)

// patience bounds each step with a server.
const patience = time.Minute

// server is a Redis of one test.
type server struct {
	*local.Redis
	t *testing.T
}

// startRedis starts a server that ends with the test.
func startRedis(t *testing.T, settings ...string) server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := local.StartRedis(ctx, settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return server{Redis: r, t: t}
}

// do sends a command by hand and returns the answer's strings as one text.
func (s server) do(words ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	answer, err := s.Do(ctx, words...)
	if err != nil {
		s.t.Fatalf("%v: %v", words, err)
	}
	return strings.Join(answer, " ")
}

func (s server) kill() {
	s.t.Helper()
	s.must(s.Kill())
}

// restart starts it again, empty.
func (s server) restart() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	s.must(s.Start(ctx))
}

func (s server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// freePort returns a port that nobody has at this moment.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return port
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
