package api

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Connections bounds how many connections are open at once. Zero switches a
// bound off.
type Connections struct {
	// Total is for everybody. It must leave descriptors for storage.
	Total int
	// PerAddress is for one address, IPv6 by /64. Proxies are exempt.
	PerAddress int
	// Proxies are addresses and networks as in [Config].TrustedProxies.
	Proxies    []string
	Registerer prometheus.Registerer // nil: metrics are not registered
}

// Bound returns a listener that closes a new connection at once, without an
// answer, when its address or all together have too many: whoever opens
// connections without end takes neither descriptors nor memory from others.
//
// Shared memory: open and byAddress change under mu only. A connection counts
// from Accept until its first Close.
func Bound(l net.Listener, c Connections) net.Listener {
	b := &bounded{Listener: l, bounds: c, byAddress: make(map[string]int), proxies: newNetworks(c.Proxies)}
	refused := promauto.With(c.Registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "vote_http_connections_refused_total", Help: "Connections closed at once, by the bound that was reached (total, address).",
	}, []string{"bound"})
	b.refusedTotal, b.refusedAddress = refused.WithLabelValues("total"), refused.WithLabelValues("address")
	promauto.With(c.Registerer).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "vote_http_connections", Help: "Connections open at this moment.",
	}, func() float64 {
		b.mu.Lock()
		defer b.mu.Unlock()
		return float64(b.open)
	})
	return b
}

type bounded struct {
	net.Listener
	bounds                       Connections
	proxies                      networks
	refusedTotal, refusedAddress prometheus.Counter

	mu        sync.Mutex
	open      int
	byAddress map[string]int
}

func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		address := b.addressOf(c)
		if b.enter(address) {
			return &counted{Conn: c, leave: sync.OnceFunc(func() { b.leave(address) })}, nil
		}
		_ = c.Close() // it was never anybody's
	}
}

// addressOf returns the address that a connection is counted under; empty for a
// trusted proxy's.
func (b *bounded) addressOf(c net.Conn) string {
	remote := c.RemoteAddr().String()
	if b.proxies.hold(remote) {
		return ""
	}
	return hostAddress(remote)
}

// networks are where trusted proxies are.
type networks []netip.Prefix

// newNetworks reads addresses and networks; what is neither is left out.
func newNetworks(list []string) (n networks) {
	for _, p := range list {
		if a, err := netip.ParseAddr(p); err == nil {
			n = append(n, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		} else if p, err := netip.ParsePrefix(p); err == nil {
			n = append(n, p)
		}
	}
	return n
}

// hold reports whether a remote host:port is in one of them.
func (n networks) hold(remote string) bool {
	p, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	a := p.Addr().Unmap()
	return slices.ContainsFunc(n, func(n netip.Prefix) bool { return n.Contains(a) })
}

func (b *bounded) enter(address string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.bounds.Total > 0 && b.open >= b.bounds.Total:
		b.refusedTotal.Inc()
		return false
	case address != "" && b.bounds.PerAddress > 0 && b.byAddress[address] >= b.bounds.PerAddress:
		b.refusedAddress.Inc()
		return false
	}
	b.open++
	if address != "" {
		b.byAddress[address]++
	}
	return true
}

func (b *bounded) leave(address string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open--
	if address == "" {
		return
	}
	if b.byAddress[address]--; b.byAddress[address] == 0 {
		delete(b.byAddress, address)
	}
}

// counted is a connection that says when it is closed.
type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// SetWriteBuffer bounds what the socket holds of what is written.
func (c *counted) SetWriteBuffer(bytes int) error {
	if sized, ok := c.Conn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		return sized.SetWriteBuffer(bytes)
	}
	return errors.ErrUnsupported
}

// CloseWrite lets the server end an answer before it closes the connection.
func (c *counted) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
