package testservers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// Direction is the way that bytes take through a Proxy.
type Direction int

// The two ways.
const (
	ToServer Direction = iota
	ToClient
)

// Proxy stands between clients and a server and disturbs their connections.
//
// How a connection is cut: the client sees a reset. The server gets what was
// handed on, complete, and then the end of the stream, so that a commit that was
// sent is carried out although its answer reaches nobody.
//
// Invariants: mu guards everything that changes. changed is closed, and made
// anew, with each change of a rule, which wakes what waits by it. A link is in
// links from its dial to its end.
type Proxy struct {
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	target  string
	changed chan struct{}
	closed  bool
	refuse  bool
	hold    bool
	rules   [2]rule // by direction
	links   map[*link]struct{}
	cuts    int
}

// rule is what is done in one direction.
type rule struct {
	delay   time.Duration
	rate    int    // bytes a second; 0: no limit
	limited bool   // most counts
	most    int64  // bytes, after which a connection is cut
	pattern []byte // after which a connection is cut
	times   int    // how many more
}

// link is one connection of a client and its counterpart at the server.
type link struct {
	client, server *net.TCPConn
	passed         [2]int64 // bytes since the rule was made
	tail           [2][]byte
	last           bool          // what is being handed on is the last, either way
	cut            chan struct{} // closed when it is cut
	once           sync.Once
}

// StartProxy starts a proxy before the server at host:port, which ends with the
// test.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	var listen net.ListenConfig
	listener, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: target, listener: listener, changed: make(chan struct{}), links: map[*link]struct{}{}}
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Address returns the proxy's host:port.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Cut cuts all connections there are.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutAll()
}

func (p *Proxy) cutAll() {
	for l := range p.links {
		p.end(l)
	}
}

// Cuts returns how many connections were cut or refused so far.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// Refuse says whether new connections are reset at once. Those there are go on.
func (p *Proxy) Refuse(refuse bool) { p.change(func() { p.refuse = refuse }) }

// Turn leads new connections to another server. Those there are go on.
func (p *Proxy) Turn(target string) { p.change(func() { p.target = target }) }

// Hold says whether nothing is handed on, either way, as when a cable is
// unplugged. What comes meanwhile is handed on later.
func (p *Proxy) Hold(hold bool) { p.change(func() { p.hold = hold }) }

// Delay says how much later than it came everything is handed on.
func (p *Proxy) Delay(d Direction, delay time.Duration) {
	p.change(func() { p.rules[d].delay = delay })
}

// Limit says how many bytes a second each connection hands on; 0 for any number.
func (p *Proxy) Limit(d Direction, bytesPerSecond int) {
	p.change(func() { p.rules[d].rate = bytesPerSecond })
}

// CutAfter cuts each connection once it has handed on so many bytes from now on;
// a negative number ends that.
func (p *Proxy) CutAfter(d Direction, count int64) {
	p.change(func() {
		p.rules[d].limited, p.rules[d].most = count >= 0, count
		for l := range p.links {
			l.passed[d] = 0
		}
	})
}

// CutOn cuts each of the next connections, so many times, in which the bytes
// were handed on, with what came in one piece with them.
func (p *Proxy) CutOn(d Direction, pattern []byte, times int) {
	p.change(func() {
		p.rules[d].pattern, p.rules[d].times = slices.Clone(pattern), times
		for l := range p.links {
			l.tail[d] = nil
		}
	})
}

func (p *Proxy) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) close() {
	p.change(func() {
		p.closed = true
		p.cutAll()
		for l := range p.links {
			_ = l.server.SetReadDeadline(time.Now())
		}
	})
	_ = p.listener.Close()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.running.Go(func() { p.serve(conn.(*net.TCPConn)) })
	}
}

// serve hands on what one client and the server say to each other.
func (p *Proxy) serve(client *net.TCPConn) {
	server := p.dial(client)
	if server == nil {
		return
	}
	l := &link{client: client, server: server, cut: make(chan struct{})}
	p.mu.Lock()
	p.links[l] = struct{}{}
	if p.closed {
		p.end(l)
		_ = server.Close()
	}
	p.mu.Unlock()

	var both sync.WaitGroup
	both.Go(func() { p.pass(l, ToServer, client, server) })
	both.Go(func() { p.pass(l, ToClient, server, client) })
	both.Wait()
	_ = client.Close()
	_ = server.Close()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// dial connects to the server, or resets the client.
func (p *Proxy) dial(client *net.TCPConn) *net.TCPConn {
	p.mu.Lock()
	refuse, target := p.refuse || p.closed, p.target
	if refuse {
		p.cuts++
	}
	p.mu.Unlock()
	if !refuse {
		ctx, stop := context.WithTimeout(context.Background(), patience)
		defer stop()
		var dial net.Dialer
		if server, err := dial.DialContext(ctx, "tcp", target); err == nil {
			return server.(*net.TCPConn)
		}
	}
	reset(client)
	return nil
}

// reset closes a connection so that the other end sees it break.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

// end cuts a connection. The caller holds mu.
func (p *Proxy) end(l *link) {
	l.once.Do(func() {
		p.cuts++
		close(l.cut)
		reset(l.client)
		_ = l.server.CloseWrite()
		// What the server still says is read, and lost, so that it need not
		// break off what it is doing.
		_ = l.server.SetReadDeadline(time.Now().Add(5 * time.Second))
	})
}

// piece is what was read at once.
type piece struct {
	text []byte
	at   time.Time
}

// pass hands on what comes from one side to the other until that ends.
func (p *Proxy) pass(l *link, d Direction, from, to *net.TCPConn) {
	pieces := make(chan piece, 64)
	p.running.Go(func() {
		defer close(pieces)
		for {
			buffer := make([]byte, 16<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				select {
				case pieces <- piece{buffer[:n], time.Now()}:
				case <-l.cut: // read and lost
				}
			}
			if err != nil {
				return
			}
		}
	})
	for one := range pieces {
		if !p.wait(l, d, one.at) {
			continue
		}
		text, last := p.judge(l, d, one.text)
		if err := p.write(l, d, to, text); err != nil {
			last = true
		}
		if last {
			p.mu.Lock()
			p.end(l)
			p.mu.Unlock()
		}
	}
	select {
	case <-l.cut:
	default:
		_ = to.CloseWrite()
	}
}

// wait waits until what came at the time is to be handed on, and reports false
// when the connection is cut.
func (p *Proxy) wait(l *link, d Direction, at time.Time) bool {
	for {
		p.mu.Lock()
		hold, due, changed, last := p.hold, at.Add(p.rules[d].delay), p.changed, l.last
		p.mu.Unlock()
		if last {
			return false // an answer to the last piece must not be quicker than the cut
		}
		left := time.Until(due)
		if left <= 0 && !hold {
			break
		}
		if hold {
			left = time.Hour // until a change
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-changed:
		case <-l.cut:
		}
		timer.Stop()
		if ended(l) {
			return false
		}
	}
	return !ended(l)
}

func ended(l *link) bool {
	select {
	case <-l.cut:
		return true
	default:
		return false
	}
}

// judge returns what of the text is handed on and whether the connection is cut
// behind it.
func (p *Proxy) judge(l *link, d Direction, text []byte) (handed []byte, last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &p.rules[d]
	if r.limited && l.passed[d]+int64(len(text)) >= r.most {
		text, last = text[:max(0, r.most-l.passed[d])], true
	}
	l.passed[d] += int64(len(text))
	if r.times > 0 {
		seen := slices.Concat(l.tail[d], text)
		if bytes.Contains(seen, r.pattern) {
			r.times--
			last = true
		}
		l.tail[d] = seen[max(0, len(seen)-len(r.pattern)+1):]
	}
	l.last = l.last || last
	return text, last
}

// write hands on a text no faster than the rule says.
func (p *Proxy) write(l *link, d Direction, to io.Writer, text []byte) error {
	for len(text) > 0 {
		p.mu.Lock()
		rate := p.rules[d].rate
		p.mu.Unlock()
		n := len(text)
		if rate > 0 {
			n = min(n, max(1, rate/20))
		}
		if _, err := to.Write(text[:n]); err != nil {
			return err
		}
		text = text[n:]
		if rate == 0 {
			continue
		}
		timer := time.NewTimer(time.Duration(n) * time.Second / time.Duration(rate))
		select {
		case <-timer.C:
		case <-l.cut:
			timer.Stop()
			return errors.New("cut")
		}
	}
	return nil
}
