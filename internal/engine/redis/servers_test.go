//go:build integration

package redis_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"vote/internal/testservers"
)

// patience bounds each step with a server.
const patience = time.Minute

// server is a Redis of one test.
type server struct{ *testservers.RedisServer }

// startRedis starts a server that ends with the test.
func startRedis(t *testing.T, settings ...string) server {
	t.Helper()
	return server{testservers.StartRedis(t, settings...)}
}

// do sends a command by hand and returns the answer's strings as one text.
func (s server) do(words ...string) string { return strings.Join(s.Do(words...), " ") }

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

// eventually waits for a condition, half a minute at most.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in half a minute: %s", what)
		}
	}
}
