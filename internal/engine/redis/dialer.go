package redis

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// dialer makes connections that give up writing after a while, and counts them.
type dialer struct {
	write time.Duration // 0: no bound
	open  prometheus.Gauge
}

func (d *dialer) dial(ctx context.Context, address string, n *net.Dialer, _ *tls.Config) (net.Conn, error) {
	c, err := n.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	d.open.Inc()
	return &conn{Conn: c, write: d.write, closed: sync.OnceFunc(d.open.Dec)}, nil
}

type conn struct {
	net.Conn
	write  time.Duration
	closed func()
}

func (c *conn) Write(b []byte) (int, error) {
	if c.write > 0 {
		if err := c.SetWriteDeadline(deadline(c.write)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(b)
}

func (c *conn) Close() error {
	c.closed()
	return c.Conn.Close()
}

func deadline(after time.Duration) time.Time { return time.Now().Add(after) }
