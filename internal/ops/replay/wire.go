package replay

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"
)

// maxBody bounds an answer's body; a feed page of 100 polls is far below.
const maxBody = 8 << 20

// wire speaks HTTP/1.1 to one server over kept connections. It stands in for
// http.Transport because that hands each request through two more goroutines,
// which on a small machine takes from the server what is to be measured.
type wire struct {
	host    string // of the Host header
	address string // to dial
	tls     *tls.Config
	prefix  string // path of the base URL
	sources []netip.Addr
	timeout time.Duration

	mu   sync.Mutex
	idle [][]*connection // by source
}

// connection is a kept connection; one request uses it at a time.
type connection struct {
	net.Conn
	r       *bufio.Reader
	request []byte
	used    bool
}

// request is one call of the API. Source numbers the address that it comes
// from, modulo the number of addresses.
type request struct {
	method, path string
	token        string
	key          string // of idempotency
	body         []byte // JSON
	source       int
}

// reply is what the server answered.
type reply struct {
	status     int
	body       []byte
	retryAfter time.Duration
	date       time.Time
	repeated   bool // an earlier try may have been handled, too
}

// newWire prepares connections to a server. With sources, connections are
// bound to these addresses, which must be of this machine.
func newWire(server string, sources []netip.Addr, timeout time.Duration) (*wire, error) {
	u, err := url.Parse(server)
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("%q is not the address of a server, like http://localhost:8080", server)
	}
	w := &wire{host: u.Host, prefix: trimSlash(u.EscapedPath()), sources: sources, timeout: timeout}
	port := u.Port()
	if u.Scheme == "https" {
		w.tls = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
		if port == "" {
			port = "443"
		}
	} else if port == "" {
		port = "80"
	}
	host := u.Hostname()
	if len(sources) > 0 && host == "localhost" {
		host = "127.0.0.1" // the sources are of this family
	}
	w.address = net.JoinHostPort(host, port)
	w.idle = make([][]*connection, max(len(sources), 1))
	return w, nil
}

func trimSlash(path string) string {
	for path != "" && path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	return path
}

// do sends one request and reads its answer. After an error it is unknown
// whether the server handled the request. A kept connection that turns out to
// be closed is replaced and the request sent again.
func (w *wire) do(ctx context.Context, q request) (reply, error) {
	for repeated := false; ; repeated = true {
		c, err := w.take(ctx, q.source)
		if err != nil {
			return reply{}, err
		}
		a, keep, err := w.exchange(ctx, c, q)
		if err == nil {
			if keep {
				w.put(q.source, c)
			} else {
				_ = c.Close()
			}
			a.repeated = repeated
			return a, nil
		}
		_ = c.Close()
		if !c.used || ctx.Err() != nil || !errors.Is(err, errStale) {
			return reply{}, err
		}
	}
}

// errStale says that a kept connection ended before a byte of the answer came.
var errStale = errors.New("the connection was closed")

func (w *wire) exchange(ctx context.Context, c *connection, q request) (_ reply, keep bool, err error) {
	if err := c.SetDeadline(deadline(w.timeout)); err != nil {
		return reply{}, false, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer func() {
		if !stop() {
			keep = false
		}
	}()
	b := c.request[:0]
	b = append(b, q.method...)
	b = append(b, ' ')
	b = append(b, w.prefix...)
	b = append(b, q.path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, w.host...)
	if q.token != "" {
		b = append(b, "\r\nAuthorization: Bearer "...)
		b = append(b, q.token...)
	}
	if q.key != "" {
		b = append(b, "\r\nIdempotency-Key: "...)
		b = append(b, q.key...)
	}
	if len(q.body) > 0 {
		b = append(b, "\r\nContent-Type: application/json"...)
	}
	if q.method != http.MethodGet {
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(q.body)), 10)
	}
	b = append(b, "\r\n\r\n"...)
	b = append(b, q.body...)
	c.request = b
	if _, err := c.Write(b); err != nil {
		return reply{}, false, fmt.Errorf("%w: %w", errStale, err)
	}
	if _, err := c.r.Peek(1); err != nil {
		return reply{}, false, fmt.Errorf("%w: %w", errStale, err)
	}
	h, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return reply{}, false, err
	}
	body, err := io.ReadAll(io.LimitReader(h.Body, maxBody+1))
	err = errors.Join(err, h.Body.Close())
	if err == nil && len(body) > maxBody {
		err = errors.New("the answer is too long")
	}
	if err != nil {
		return reply{}, false, err
	}
	a := reply{status: h.StatusCode, body: body}
	a.date, _ = http.ParseTime(h.Header.Get("Date")) // zero without one
	if s, err := strconv.Atoi(h.Header.Get("Retry-After")); err == nil && s > 0 {
		a.retryAfter = time.Duration(s) * time.Second
	}
	return a, !h.Close, nil
}

// deadline is when a socket's operation that begins now has to end.
func deadline(timeout time.Duration) time.Time { return time.Now().Add(timeout) }

// take returns a kept connection of the source, or a new one.
func (w *wire) take(ctx context.Context, source int) (*connection, error) {
	source %= len(w.idle)
	w.mu.Lock()
	if n := len(w.idle[source]); n > 0 {
		c := w.idle[source][n-1]
		w.idle[source] = w.idle[source][:n-1]
		w.mu.Unlock()
		c.used = true
		return c, nil
	}
	w.mu.Unlock()
	d := net.Dialer{Timeout: w.timeout}
	if len(w.sources) > 0 {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(w.sources[source], 0))
	}
	plain, err := d.DialContext(ctx, "tcp", w.address)
	if err != nil {
		return nil, err
	}
	if w.tls != nil {
		secure := tls.Client(plain, w.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, plain.Close())
		}
		plain = secure
	}
	return &connection{Conn: plain, r: bufio.NewReaderSize(plain, 16<<10)}, nil
}

// put keeps a connection for the next request of its source.
func (w *wire) put(source int, c *connection) {
	source %= len(w.idle)
	w.mu.Lock()
	w.idle[source] = append(w.idle[source], c)
	w.mu.Unlock()
}

// close ends all kept connections.
func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, all := range w.idle {
		for _, c := range all {
			_ = c.Close()
		}
		w.idle[i] = nil
	}
}

// maxSources bounds how many addresses people come from.
const maxSources = 4096

// Sources returns the addresses that connections come from. "none" leaves the
// choice to the system. A network like 127.0.1.0/24 gives each of its addresses
// but the first. "auto" is 127.0.1.0/24 when all servers are on this machine and
// the system is Linux, where every address of the loopback network can be used,
// and else none.
func Sources(spec string, servers []string) ([]netip.Addr, error) {
	switch spec {
	case "none":
		return nil, nil
	case "auto":
		if runtime.GOOS != "linux" || slices.ContainsFunc(servers, elsewhere) {
			return nil, nil
		}
		spec = "127.0.1.0/24"
	}
	network, err := netip.ParsePrefix(spec)
	if err != nil {
		return nil, fmt.Errorf("source addresses are auto, none or a network like 127.0.1.0/24, not %q", spec)
	}
	var all []netip.Addr
	for ip := network.Masked().Addr().Next(); ip.IsValid() && network.Contains(ip) && len(all) < maxSources; ip = ip.Next() {
		all = append(all, ip)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has too few addresses", spec)
	}
	return all, nil
}

// elsewhere reports whether a server is not known to be on this machine. An
// address that is none is told of when it is dialled.
func elsewhere(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() != "localhost" && (err != nil || !ip.Is4() || !ip.IsLoopback())
}
