package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// flood is one way of taking from others what one can.
type flood struct {
	name string
	// environment is of the server, where a limit stands in the way of what is
	// to be shown.
	environment []string
	// connections is how many one address keeps busy; 0 takes the setting for
	// floods of connections.
	connections int
	// attack uses a new connection until it is of no more use. It counts what it
	// sent and what was refused.
	attack func(a *attack, c net.Conn) error
}

// floods are all of them.
var floods = []flood{
	{name: "logins", connections: 50, attack: requests(login)},
	{name: "logins-unlimited", connections: 50, attack: requests(login), environment: []string{
		"LIMITS_LOGIN_PER_ADDRESS_PER_MINUTE=0", "LIMITS_LOGIN_PER_ACCOUNT_PER_MINUTE=0", "LIMITS_REQUESTS_PER_MINUTE=0", "LIMITS_BURST_PER_SECOND=0",
	}},
	{name: "registrations", connections: 50, attack: requests(registration)},
	{name: "oversized-bodies", connections: 50, attack: requests(oversized)},
	{name: "endless-bodies", connections: 50, attack: endless},
	{name: "slow-bodies", attack: slowBody},
	{name: "slow-heads", attack: slowHead},
	{name: "silence", attack: silence},
	{name: "deep-json", connections: 50, attack: requests(deep)},
	{name: "many-headers", connections: 50, attack: requests(headers)},
	{name: "garbage", connections: 50, attack: garbage},
}

// attack is a flood under way.
type attack struct {
	ctx           context.Context
	sent, refused atomic.Int64
	number        atomic.Int64
	attacking     sync.WaitGroup
}

// begin attacks from every address until ctx ends.
func begin(ctx context.Context, s settings, target string, f flood) *attack {
	a := &attack{ctx: ctx}
	n := f.connections
	if n == 0 {
		n = s.connections
	}
	for i := range s.addresses {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(fmt.Sprintf("127.0.2.%d", i+1))}, Timeout: patience}
		for range n {
			a.attacking.Go(func() {
				for ctx.Err() == nil {
					c, err := d.DialContext(ctx, "tcp", target)
					if err == nil {
						stop := context.AfterFunc(ctx, func() { _ = c.Close() })
						err = f.attack(a, c)
						stop()
						_ = c.Close()
					}
					if err != nil && ctx.Err() == nil {
						a.refused.Add(1)
						sleep(ctx, 50*time.Millisecond)
					}
				}
			})
		}
	}
	return a
}

func (a *attack) wait() (sent, refused int64) {
	a.attacking.Wait()
	return a.sent.Load(), a.refused.Load()
}

// requests sends one request after the other and reads the answers.
func requests(next func(n int64) string) func(*attack, net.Conn) error {
	return func(a *attack, c net.Conn) error {
		r := bufio.NewReader(c)
		for a.ctx.Err() == nil {
			if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
				return err
			}
			if _, err := io.WriteString(c, next(a.number.Add(1))); err != nil {
				return err
			}
			a.sent.Add(1)
			got, err := http.ReadResponse(r, nil)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, got.Body)
			_ = got.Body.Close()
			if got.StatusCode >= http.StatusBadRequest {
				a.refused.Add(1)
			}
			if err != nil || got.Close {
				return err
			}
		}
		return nil
	}
}

func post(path, body string, more ...string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: flood\r\nContent-Type: application/json\r\n" + strings.Join(more, "") +
		fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
}

func login(n int64) string {
	return post("/api/auth/login", fmt.Sprintf(`{"email":"nobody%d@example.org","password":"wrong horse"}`, n))
}

func registration(n int64) string {
	return post("/api/auth/register", fmt.Sprintf(`{"username":"flood%d.%d","email":"flood%d.%d@example.org","password":"wrong horse"}`, n, time.Now().UnixNano(), n, time.Now().UnixNano()))
}

var tooMuch = strings.Repeat("x", 256<<10)

func oversized(int64) string { return post("/api/polls", tooMuch) }

var nested = strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000)

func deep(int64) string { return post("/api/auth/login", nested) }

var someHeaders = func() (all []string) {
	for i := range 2000 {
		all = append(all, fmt.Sprintf("X-Flood-%d: %s\r\n", i, strings.Repeat("v", 40)))
	}
	return all
}()

func headers(int64) string { return post("/api/auth/login", "{}", someHeaders...) }

// endless sends a body in chunks that never ends.
func endless(a *attack, c net.Conn) error {
	if _, err := io.WriteString(c, "POST /api/polls HTTP/1.1\r\nHost: flood\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"); err != nil {
		return err
	}
	a.sent.Add(1)
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 16<<10, tooMuch[:16<<10])
	for a.ctx.Err() == nil {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := io.WriteString(c, chunk); err != nil {
			return err
		}
	}
	return nil
}

// slowly sends a beginning at once and then byte by byte.
func slowly(a *attack, c net.Conn, start string) error {
	if _, err := io.WriteString(c, start); err != nil {
		return err
	}
	a.sent.Add(1)
	for a.ctx.Err() == nil {
		// The server may answer and close at any time.
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		if _, err := c.Read(make([]byte, 512)); err != nil && !isTimeout(err) {
			return err
		}
		if _, err := io.WriteString(c, "x"); err != nil {
			return err
		}
	}
	return nil
}

func isTimeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

func slowBody(a *attack, c net.Conn) error {
	return slowly(a, c, "POST /api/polls HTTP/1.1\r\nHost: flood\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n"+strings.Repeat(" ", 40_000))
}

func slowHead(a *attack, c net.Conn) error {
	return slowly(a, c, "GET /api/tags HTTP/1.1\r\nHost: flood\r\nX-Slow: "+strings.Repeat("x", 12_000))
}

// silence opens a connection and says nothing.
func silence(a *attack, c net.Conn) error {
	a.sent.Add(1)
	_, err := c.Read(make([]byte, 1))
	return err
}

// garbage sends many requests at once that are none, behind one that is.
func garbage(a *attack, c net.Conn) error {
	bad := "GET /api/tags HTTP/1.1\r\nHost: flood\r\n\r\n" + strings.Repeat("\x00\xff GARBAGE \r\n\r\n", 500)
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, bad); err != nil {
		return err
	}
	a.sent.Add(1)
	_, err := io.Copy(io.Discard, c)
	return err
}
