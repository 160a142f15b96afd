package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Purposes of connections. They are apart because a broker that is short of
// memory stops reading from those that publish, and acknowledgements must pass.
const (
	connPublish = "publish"
	connConsume = "consume"
)

const (
	// dialTimeout bounds connecting, the handshake included.
	dialTimeout = 5 * time.Second
	// writeTimeout bounds one write to the socket: a broker that stops reading
	// must not hold up whoever publishes.
	writeTimeout = 5 * time.Second
	closeTimeout = 2 * time.Second
	heartbeat    = 10 * time.Second
)

var errConnectionLost = errors.New("the connection was closed")

// keep has work done over a connection with the topology declared, over a new
// one whenever it fails, until ctx ends.
func (b *Bus) keep(ctx context.Context, purpose string, work func(context.Context, *amqp.Connection) error) {
	for ctx.Err() == nil {
		begun := time.Now()
		err := b.session(ctx, purpose, work)
		if ctx.Err() != nil {
			return
		}
		b.metrics.ended.WithLabelValues(purpose).Inc()
		var wait time.Duration
		// Who has just been connected returns at once, but never more often
		// than that. Part of the pause is random: all lost it together.
		if pause := b.o.ReconnectInterval; time.Since(begun) < pause {
			wait = pause/2 + rand.N(pause/2+1) //nolint:gosec // only spreads load
		}
		b.o.Logger.Warn("the connection to RabbitMQ failed", "connection", purpose, "wait", wait, "error", err)
		sleep(ctx, wait)
	}
}

// session is one connection's life.
func (b *Bus) session(ctx context.Context, purpose string, work func(context.Context, *amqp.Connection) error) (err error) {
	if purpose == connPublish {
		defer func() { b.publisher.lost(err) }()
	}
	c, release, err := b.dial(ctx, purpose)
	if err != nil {
		return err
	}
	defer release()
	defer disconnect(c)
	closed := c.NotifyClose(make(chan *amqp.Error, 1))
	if err := b.declare(c); err != nil {
		return fmt.Errorf("declare: %w", err)
	}
	up := b.metrics.up.WithLabelValues(purpose)
	up.Set(1)
	defer up.Set(0)
	if purpose == connPublish {
		b.reachable.Store(true)
		defer b.reachable.Store(false)
	}
	b.o.Logger.Info("connected to RabbitMQ", "connection", purpose)
	if err := work(ctx, c); err != nil {
		// A lost connection shows in many places: here is the cause.
		select {
		case cause := <-closed:
			if cause != nil {
				return cause
			}
		default:
		}
		return err
	}
	return nil
}

// dial connects. When ctx ends, the connection fails soon, also while it is
// silent: much waits for answers of the broker without knowing a context.
func (b *Bus) dial(ctx context.Context, purpose string) (_ *amqp.Connection, release func(), err error) {
	release = func() {}
	config := amqp.Config{
		Heartbeat:  heartbeat,
		Properties: amqp.Table{"product": "vote", "connection_name": "vote " + purpose},
		Dial: func(network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			if err := c.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
				return nil, errors.Join(err, c.Close())
			}
			stop := context.AfterFunc(ctx, func() {
				_ = c.SetDeadline(time.Now().Add(closeTimeout)) // it fails for a closed one only
			})
			release = func() { stop() }
			return boundedConn{c}, nil
		},
	}
	c, err := amqp.DialConfig(b.o.URL, config)
	if err != nil {
		release()
		return nil, nil, err
	}
	return c, release, nil
}

// disconnect closes a connection. What may be wrong with it is why it is closed.
func disconnect(c *amqp.Connection) { _ = c.CloseDeadline(time.Now().Add(closeTimeout)) }

// boundedConn is a connection on which no write takes for ever.
type boundedConn struct{ net.Conn }

func (c boundedConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
