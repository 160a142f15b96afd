package testservers_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"vote/internal/testservers"
)

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for start := time.Now(); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// echo is a server that sends back what it gets, and keeps it.
type echo struct {
	address string

	mu   sync.Mutex
	got  []byte
	ends int
}

func startEcho(t *testing.T) *echo {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	e := &echo{address: listener.Addr().String()}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, io.TeeReader(conn, e))
				_ = conn.Close()
				e.mu.Lock()
				e.ends++
				e.mu.Unlock()
			}()
		}
	}()
	return e
}

func (e *echo) Write(text []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.got = append(e.got, text...)
	return len(text), nil
}

// all returns all that came, once so many connections have ended.
func (e *echo) all(t *testing.T, ends int) string {
	t.Helper()
	text := ""
	eventually(t, "the end of the connection at the server", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		text = string(e.got)
		return e.ends >= ends
	})
	return text
}

func dial(t *testing.T, p *testservers.Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn
}

// say sends the text and returns what comes back, and why no more did.
func say(conn net.Conn, text string) (string, error) {
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	back := make([]byte, len(text))
	n, err := io.ReadFull(conn, back)
	return string(back[:n]), err
}

func mustEcho(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if back, err := say(conn, text); err != nil || back != text {
		t.Fatalf("%q came back, %v; want %q", back, err, text)
	}
}

// broken reports whether a connection was cut, and did not only run out of time.
func broken(err error) bool { return err != nil && !errors.Is(err, os.ErrDeadlineExceeded) }

func TestProxyHandsOn(t *testing.T) {
	t.Parallel()
	p := testservers.StartProxy(t, startEcho(t).address)
	conn := dial(t, p)
	mustEcho(t, conn, string(bytes.Repeat([]byte("0123456789"), 20_000)))
	if n := p.Cuts(); n != 0 {
		t.Errorf("%d cuts", n)
	}
}

func TestProxyHandsOnTheEnd(t *testing.T) {
	t.Parallel()
	e := startEcho(t)
	conn := dial(t, testservers.StartProxy(t, e.address))
	if _, err := io.WriteString(conn, "all of it"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if back, err := io.ReadAll(conn); err != nil || string(back) != "all of it" {
		t.Errorf("%q came back, %v", back, err)
	}
}

func TestProxyCuts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rule      func(*testservers.Proxy)
		say       string
		back, got string // what client and server may still see
	}{
		"after bytes to the server":      {func(p *testservers.Proxy) { p.CutAfter(testservers.ToServer, 3) }, "abcdef", "abc", "abc"},
		"before the first byte":          {func(p *testservers.Proxy) { p.CutAfter(testservers.ToServer, 0) }, "abcdef", "", ""},
		"after bytes to the client":      {func(p *testservers.Proxy) { p.CutAfter(testservers.ToClient, 3) }, "abcdef", "abc", "abcdef"},
		"after the commit":               {func(p *testservers.Proxy) { p.CutOn(testservers.ToServer, []byte("commit"), 1) }, "x;commit;", "x;commit;", "x;commit;"},
		"after the answer to the commit": {func(p *testservers.Proxy) { p.CutOn(testservers.ToClient, []byte("commit"), 1) }, "x;commit;", "x;commit;", "x;commit;"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := startEcho(t)
			p := testservers.StartProxy(t, e.address)
			conn := dial(t, p)
			mustEcho(t, conn, "1")
			c.rule(p)
			back, err := say(conn, c.say)
			// What is on its way to the client may be lost by the reset.
			if len(back) > len(c.back) || back != c.back[:len(back)] {
				t.Errorf("%q came back, more than %q", back, c.back)
			}
			if err == nil {
				_, err = conn.Read(make([]byte, 1))
			}
			if !broken(err) {
				t.Errorf("the client sees %v", err)
			}
			if got := e.all(t, 1); got != "1"+c.got {
				t.Errorf("the server got %q, want %q", got, "1"+c.got)
			}
			if n := p.Cuts(); n != 1 {
				t.Errorf("%d cuts, want 1", n)
			}
		})
	}
}

// The bytes may come in pieces, and the rule is for so many connections.
func TestProxyCutsOnTwice(t *testing.T) {
	t.Parallel()
	e := startEcho(t)
	p := testservers.StartProxy(t, e.address)
	p.CutOn(testservers.ToServer, []byte("commit"), 2)
	for range 2 {
		conn := dial(t, p)
		mustEcho(t, conn, "com")
		mustEcho(t, conn, "mit"[:2])
		if _, err := say(conn, "t"); err == nil {
			if _, err := conn.Read(make([]byte, 1)); !broken(err) {
				t.Errorf("the client sees %v", err)
			}
		}
	}
	mustEcho(t, dial(t, p), "commit")
	if n := p.Cuts(); n != 2 {
		t.Errorf("%d cuts, want 2", n)
	}
}

func TestProxyCutsAllAndRefuses(t *testing.T) {
	t.Parallel()
	p := testservers.StartProxy(t, startEcho(t).address)
	conns := []net.Conn{dial(t, p), dial(t, p)}
	for _, conn := range conns {
		mustEcho(t, conn, "a")
	}
	p.Refuse(true)
	if refused, err := net.Dial("tcp", p.Address()); err == nil { // it may be reset before it is made
		_ = refused.SetDeadline(time.Now().Add(time.Minute))
		if _, err := refused.Read(make([]byte, 1)); !broken(err) {
			t.Errorf("one that was refused sees %v", err)
		}
		_ = refused.Close()
	}
	mustEcho(t, conns[0], "those there go on")
	p.Cut()
	for _, conn := range conns {
		if _, err := conn.Read(make([]byte, 1)); !broken(err) {
			t.Errorf("one that was cut sees %v", err)
		}
	}
	eventually(t, "three cuts", func() bool { return p.Cuts() == 3 })
	p.Refuse(false)
	mustEcho(t, dial(t, p), "again")
}

func TestProxyTurns(t *testing.T) {
	t.Parallel()
	first, second := startEcho(t), startEcho(t)
	p := testservers.StartProxy(t, first.address)
	before := dial(t, p)
	mustEcho(t, before, "a")
	p.Turn(second.address)
	mustEcho(t, dial(t, p), "b")
	mustEcho(t, before, "c")
	if a, b := first.all(t, 0), second.all(t, 0); a != "ac" || b != "b" {
		t.Errorf("the servers got %q and %q, want ac and b", a, b)
	}
}

func TestProxyHolds(t *testing.T) {
	t.Parallel()
	e := startEcho(t)
	p := testservers.StartProxy(t, e.address)
	conn := dial(t, p)
	mustEcho(t, conn, "a")
	p.Hold(true)
	if _, err := io.WriteString(conn, "b"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("while held: %v", err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	p.Hold(false)
	back := make([]byte, 1)
	if _, err := io.ReadFull(conn, back); err != nil || string(back) != "b" {
		t.Errorf("after that: %q, %v", back, err)
	}
}

// A lower bound of a time is no matter of the machine's speed.
func TestProxyDelaysAndLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rule func(*testservers.Proxy)
		say  string
	}{
		"delay": {func(p *testservers.Proxy) {
			p.Delay(testservers.ToServer, 60*time.Millisecond)
			p.Delay(testservers.ToClient, 60*time.Millisecond)
		}, "a"},
		"limit": {func(p *testservers.Proxy) { p.Limit(testservers.ToClient, 10_000) }, string(make([]byte, 1500))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := testservers.StartProxy(t, startEcho(t).address)
			conn := dial(t, p)
			mustEcho(t, conn, "a")
			c.rule(p)
			start := time.Now()
			mustEcho(t, conn, c.say)
			if took := time.Since(start); took < 100*time.Millisecond {
				t.Errorf("it took only %v", took)
			}
		})
	}
}
