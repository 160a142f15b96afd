package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vote/internal/api"
)

// dialFrom opens a connection from an address of the loopback network.
func dialFrom(t *testing.T, source, target string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: 10 * time.Second}
	c, err := d.Dial("tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// refusedAtOnce reports whether the server closed the connection without a word.
func refusedAtOnce(t *testing.T, c net.Conn) bool {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// works reports whether a request on the connection is answered.
func works(t *testing.T, c net.Conn) bool {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		return false
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return err == nil && r.StatusCode == http.StatusOK
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	registry := prometheus.NewRegistry()
	address := s.listenWithin(20*time.Second, api.Connections{Total: 6, PerAddress: 3, Proxies: []string{"127.0.3.0/24"}, Registerer: registry})
	var own []net.Conn
	for range 3 {
		c := dialFrom(t, "127.0.1.1", address)
		if !works(t, c) {
			t.Fatal("a connection within the bounds does not work")
		}
		own = append(own, c)
	}
	if c := dialFrom(t, "127.0.1.1", address); !refusedAtOnce(t, c) {
		t.Error("a fourth connection of an address is kept")
	}
	// Others are not concerned, and a trusted proxy is many people.
	for _, source := range []string{"127.0.1.2", "127.0.3.1", "127.0.3.1"} {
		if c := dialFrom(t, source, address); !works(t, c) {
			t.Errorf("a connection from %s is refused", source)
		}
	}
	if c := dialFrom(t, "127.0.3.1", address); !refusedAtOnce(t, c) {
		t.Error("a seventh connection in all is kept")
	}
	if got := gathered(t, registry, "vote_http_connections"); got != 6 {
		t.Errorf("%v connections are counted, want 6", got)
	}
	if err := own[0].Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a closed connection makes room", func() bool { return gathered(t, registry, "vote_http_connections") == 5 })
	if c := dialFrom(t, "127.0.1.1", address); !works(t, c) {
		t.Error("there is room, and a connection is refused")
	}
	for _, bound := range []string{"total", "address"} {
		if got := gathered(t, registry, "vote_http_connections_refused_total", bound); got != 1 {
			t.Errorf("%v connections were refused by the bound %s, want 1", got, bound)
		}
	}
}

// gathered returns a metric's value, of the series whose one label has the value.
func gathered(t *testing.T, r *prometheus.Registry, name string, label ...string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (len(label) == 0 || m.GetLabel()[0].GetValue() == label[0]) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// TestSlowHeads holds what sends its head byte by byte, or nothing at all, to
// the time that heads have.
func TestSlowHeads(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	address := s.listen(300 * time.Millisecond)
	for _, begin := range []string{"", "G", "GET /healthz HTTP/1.1\r\nHost: a\r\n", "GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "} {
		c := dialFrom(t, "127.0.0.1", address)
		if _, err := io.WriteString(c, begin); err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: the connection is kept", begin)
		}
	}
}

// TestHashingForOneAddressLeavesRoomForOthers floods the calls that hash a
// password with more than there are places, from one address: a few are worked
// on, the others are refused at once, and somebody else gets in.
func TestHashingForOneAddressLeavesRoomForOthers(t *testing.T) {
	t.Parallel()
	const login, me = "POST /api/auth/login", "PATCH /api/users/me"
	const credentials = `{"email":"mira@example.org","password":"correct horse"}`
	for _, c := range []struct{ as, call, body, worked string }{
		{"", login, credentials, "200 "},
		{"mira", me, `{"username":"mira.k","currentPassword":"wrong horse"}`, "403 wrong_password"},
		{"mira", me, `{"password":"battery staple","currentPassword":"wrong horse"}`, "403 wrong_password"},
		{"mira", "DELETE /api/users/me", `{"password":"wrong horse"}`, "403 wrong_password"},
	} {
		t.Run(c.call+" "+c.body, func(t *testing.T) {
			t.Parallel()
			const flood, limit = 100, 1000
			s := newSite(t, func(c *api.Config) {
				c.Limits.SignInsPerAddress, c.Limits.RequestsPerMinute = 8, limit
			})
			s.join("mira")
			send := func(source, as, call, body string) reply {
				method, target, _ := strings.Cut(call, " ")
				r := s.request(as, method, target, body)
				r.RemoteAddr = source + ":1234"
				return s.send(r)
			}
			statuses := make(map[string]int)
			var mu sync.Mutex
			var sending sync.WaitGroup
			for range flood {
				sending.Go(func() {
					got := send("192.0.2.1", c.as, c.call, c.body)
					mu.Lock()
					defer mu.Unlock()
					statuses[fmt.Sprint(got.status, " ", got.code())]++
				})
			}
			if got := send("192.0.2.2", "", login, credentials); got.status != http.StatusOK {
				t.Errorf("somebody else: %d %s", got.status, got.body)
			}
			// What hashes nothing needs no place.
			if got := send("192.0.2.1", "mira", me, `{"username":"mira.x"}`); got.status != http.StatusOK {
				t.Errorf("another name: %d %s", got.status, got.body)
			}
			sending.Wait()
			if statuses[c.worked] < 1 || statuses[c.worked]+statuses["429 rate_limited"] != flood || statuses["429 rate_limited"] == 0 {
				t.Errorf("the flood got %v", statuses)
			}
			// Every place was given back, and who was refused was not charged.
			counted := statuses[c.worked] + 1 // another name, or the registration
			for range 9 {
				counted++
				got := send("192.0.2.1", c.as, c.call, c.body)
				if left := got.header.Get("X-RateLimit-Remaining"); left != strconv.Itoa(limit-counted) {
					t.Errorf("%s left after %d that were counted", left, counted)
				}
				if fmt.Sprint(got.status, " ", got.code()) != c.worked {
					t.Errorf("after the flood: %d %s", got.status, got.body)
				}
			}
		})
	}
}

// TestLargeBodiesAreBounded sends more large bodies at once than there is memory
// for: those beyond are refused, small ones are not, and afterwards all is well.
func TestLargeBodiesAreBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	ctx, give := context.WithCancel(context.Background())
	const most = 1024
	large := strings.Repeat(" ", 8<<10) + `{"title":"x","options":["a","b"],"tags":["c"]}`
	var sending sync.WaitGroup
	started := make(chan struct{}, most)
	for range most {
		sending.Go(func() {
			r := s.request("mira", "POST", "/api/polls", large)
			r.Body = io.NopCloser(&stalling{Reader: strings.NewReader(large), at: 6 << 10, started: started, until: ctx.Done()})
			s.send(r)
		})
	}
	for range most {
		<-started
	}
	got := s.do("mira", "POST", "/api/polls", large)
	if got.status != http.StatusServiceUnavailable || got.code() != "overloaded" || got.header.Get("Retry-After") == "" {
		t.Errorf("one large body more: %d %s", got.status, got.body)
	}
	if got := s.do("mira", "POST", "/api/polls", strings.TrimLeft(large, " ")); got.status != http.StatusCreated {
		t.Errorf("a small body: %d %s", got.status, got.body)
	}
	give()
	sending.Wait()
	if got := s.do("mira", "POST", "/api/polls", large); got.status != http.StatusCreated {
		t.Errorf("a large body afterwards: %d %s", got.status, got.body)
	}
}

// stalling is a body that stops at a byte until it is told to go on, and then
// ends.
type stalling struct {
	io.Reader
	at      int
	read    int
	started chan<- struct{}
	until   <-chan struct{}
}

func (s *stalling) Read(b []byte) (int, error) {
	if s.read >= s.at {
		select {
		case s.started <- struct{}{}:
		default:
		}
		<-s.until
		return 0, io.ErrUnexpectedEOF
	}
	n, err := s.Reader.Read(b[:min(len(b), s.at-s.read)])
	s.read += n
	return n, err
}
