//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// RabbitMQ is a RabbitMQ server with its data, and the name service that Erlang
// needs.
type RabbitMQ struct {
	*daemon
	names *daemon
}

// Its ports, in their order.
const (
	amqp = iota
	management
	prometheus
	distribution
	rabbitPorts
)

// StartRabbitMQ starts a RabbitMQ by the project's configuration.
func StartRabbitMQ(ctx context.Context) (*RabbitMQ, error) {
	d, err := newDaemon("rabbitmq", rabbitmq, "rabbitmq", rabbitPorts)
	if err != nil {
		return nil, err
	}
	r := &RabbitMQ{daemon: d}
	r.ready = func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return Greets(ctx, r.URL()) })
		group.Go(func() error { return Manages(ctx, r.API()) })
		return group.Wait()
	}
	// RabbitMQ would leave behind a name service that it started itself.
	if r.names, err = startNames(ctx); err == nil {
		err = r.configure()
	}
	if err == nil {
		err = r.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func startNames(ctx context.Context) (*daemon, error) {
	d, err := newDaemon("epmd", epmd, "rabbitmq", 1)
	if err != nil {
		return nil, err
	}
	d.command.args = []string{"-port", d.ports[0].String(), "-address", "127.0.0.1"}
	d.ready = func(ctx context.Context) error { return accepts(ctx, d.ports[0].address()) }
	if err := d.Start(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// configure writes its files and sets its environment.
func (r *RabbitMQ) configure() error {
	text, err := shipped("rabbitmq/rabbitmq.conf")
	if err != nil {
		return err
	}
	plugins, err := shipped("rabbitmq/enabled_plugins")
	if err != nil {
		return err
	}
	if err := r.folder.mkdir("conf.d"); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"conf.d/10-shipped.conf": text,
		"conf.d/20-local.conf": fmt.Sprintf(`listeners.tcp.default = %s
management.tcp.ip = 127.0.0.1
management.tcp.port = %s
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = %s
disk_free_limit.absolute = 50MB
`, r.ports[amqp].address(), r.ports[management], r.ports[prometheus]),
		"enabled_plugins": plugins,
	} {
		if _, err := r.folder.write(name, text); err != nil {
			return err
		}
	}
	r.command.env = []string{
		"RABBITMQ_NODENAME=vote@localhost",
		"RABBITMQ_CONF_ENV_FILE=/dev/null",
		"RABBITMQ_CONFIG_FILE=" + r.folder.path + "/none",
		"RABBITMQ_CONFIG_FILES=" + r.folder.path + "/conf.d/*.conf",
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + r.folder.path + "/none.config",
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + r.folder.path + "/enabled_plugins",
		"RABBITMQ_MNESIA_BASE=" + r.folder.path + "/data",
		"RABBITMQ_LOG_BASE=" + r.folder.path + "/log",
		"RABBITMQ_DIST_PORT=" + r.ports[distribution].String(),
		"ERL_EPMD_PORT=" + r.names.ports[0].String(),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		// The script then becomes the server instead of its parent.
		"RUNNING_UNDER_SYSTEMD=true",
		// No spinning of idle schedulers: the processors are wanted elsewhere.
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-start_epmd false +sbwt none +sbwtdcpu none +sbwtdio none",
	}
	return nil
}

// URL returns where its virtual host / is, for guest.
func (r *RabbitMQ) URL() string { return "amqp://guest:guest@" + r.ports[amqp].address() + "/" }

// API returns where its management is, for guest.
func (r *RabbitMQ) API() string { return "http://guest:guest@" + r.ports[management].address() }

// Stop ends it in order.
func (r *RabbitMQ) Stop(ctx context.Context) error { return r.end(ctx, syscall.SIGTERM) }

// Close ends it for good.
func (r *RabbitMQ) Close() error {
	err := r.daemon.Close()
	if r.names != nil {
		err = errors.Join(err, r.names.Close())
	}
	return err
}

func accepts(ctx context.Context, address string) error {
	var dial net.Dialer
	conn, err := dial.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// Greets asks whether a server of AMQP 0-9-1 is at the URL: it answers the
// header of the protocol by the method Connection.Start.
func Greets(ctx context.Context, at string) error {
	server, err := url.Parse(at)
	if err != nil {
		return err
	}
	var dial net.Dialer
	conn, err := dial.DialContext(ctx, "tcp", server.Host)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := io.WriteString(conn, "AMQP\x00\x00\x09\x01"); err != nil {
		return err
	}
	var frame [11]byte // type, channel, size, class, method
	if _, err := io.ReadFull(conn, frame[:]); err != nil {
		return err
	}
	if frame[0] != 1 || string(frame[7:]) != "\x00\x0a\x00\x0a" {
		return fmt.Errorf("not AMQP 0-9-1: %x", frame)
	}
	return nil
}

// Manages asks whether the management of a RabbitMQ is at the URL.
func Manages(ctx context.Context, at string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(at, "/")+"/api/overview", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("management answers %s", answer.Status)
	}
	return nil
}
