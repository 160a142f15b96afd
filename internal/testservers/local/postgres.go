//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// Postgres is a PostgreSQL server with its data.
type Postgres struct {
	folder  *folder
	port    *port
	command command
	process *process
}

// StartPostgres starts a PostgreSQL by the project's configuration and settings
// of the form name=value, which win. Without "fsync=on" nothing is forced to
// disk: the data survives the death of every process, which is all that a test
// can see, and speeds measured are too good.
func StartPostgres(ctx context.Context, settings ...string) (*Postgres, error) {
	p, err := newPostgres(settings)
	if err != nil {
		return nil, err
	}
	fill := command{name: "initdb", folder: p.folder.path, account: "postgres", args: []string{
		"-D", p.data(), "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8",
	}}
	if fill.path, err = initdb.find(); err == nil {
		err = fill.run(ctx)
	}
	if err == nil {
		err = p.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func newPostgres(settings []string) (_ *Postgres, err error) {
	path, err := postgres.find()
	if err != nil {
		return nil, err
	}
	text, err := shipped("postgres/postgresql.conf")
	if err != nil {
		return nil, err
	}
	p := &Postgres{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if p.folder, err = newFolder("postgres"); err != nil {
		return nil, err
	}
	if p.port, err = takePort(); err != nil {
		return nil, err
	}
	file, err := p.folder.write("postgresql.conf", text)
	if err != nil {
		return nil, err
	}
	p.command = command{name: "postgres", path: path, folder: p.folder.path, account: "postgres", args: []string{"-D", p.data()}}
	for _, s := range append([]string{
		"config_file=" + file, "listen_addresses=127.0.0.1", "port=" + p.port.String(), "unix_socket_directories=",
		"shared_buffers=128MB", "effective_cache_size=512MB", "maintenance_work_mem=64MB",
		"min_wal_size=80MB", "max_wal_size=1GB", "wal_keep_size=0", "fsync=off",
	}, settings...) {
		p.command.args = append(p.command.args, "-c", s)
	}
	return p, nil
}

func (p *Postgres) data() string { return p.folder.path + "/data" }

// URL returns where its database postgres is, for the superuser.
func (p *Postgres) URL() string {
	return "postgres://postgres@" + p.port.address() + "/postgres?sslmode=disable"
}

// Start starts it again after Kill and StopImmediate.
func (p *Postgres) Start(ctx context.Context) error {
	if p.process.running() {
		return errors.New("postgres is running")
	}
	var err error
	if p.process, err = p.command.start(); err != nil {
		return err
	}
	return p.process.ready(ctx, func(ctx context.Context) error { return Answers(ctx, p.URL()) })
}

// Answers asks whether a PostgreSQL, or a PgBouncer before one, is at the URL.
func Answers(ctx context.Context, url string) error {
	return query(ctx, url, "select 1", new(int))
}

// Same asks whether both URLs lead to the same PostgreSQL.
func Same(ctx context.Context, direct, through string) error {
	const statement = "select system_identifier from pg_control_system()"
	var a, b int64
	if err := query(ctx, direct, statement, &a); err != nil {
		return err
	}
	if err := query(ctx, through, statement, &b); err != nil {
		return err
	}
	if a != b {
		return errors.New("it stands before another PostgreSQL")
	}
	return nil
}

// query returns the one value of the one row that a statement yields.
func query(ctx context.Context, url, statement string, to any) error {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol // PgBouncer knows it in every version
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return conn.QueryRow(ctx, statement).Scan(to)
}

// Kill ends all its processes by SIGKILL. Port and data stay its own.
func (p *Postgres) Kill() error { return p.process.kill() }

// StopImmediate ends it as pg_ctl -m immediate does: connections break, and the
// next start recovers from the log.
func (p *Postgres) StopImmediate(ctx context.Context) error {
	if err := p.process.signal(syscall.SIGQUIT); err != nil {
		return err
	}
	return p.process.wait(ctx)
}

// StartStandby starts a copy that follows, and makes the server wait for it at
// each commit.
func (p *Postgres) StartStandby(ctx context.Context, settings ...string) (*Postgres, error) {
	s, err := newPostgres(settings)
	if err != nil {
		return nil, err
	}
	fill := command{name: "pg_basebackup", folder: s.folder.path, account: "postgres", args: []string{
		"-D", s.data(), "-h", "127.0.0.1", "-p", p.port.String(), "-U", "postgres", "--checkpoint=fast", "--write-recovery-conf", "--no-sync",
	}}
	if fill.path, err = pgBasebackup.find(); err == nil {
		err = fill.run(ctx)
	}
	if err == nil {
		err = s.Start(ctx)
	}
	if err == nil {
		err = p.follow(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// follow makes the server wait for its standbys, and waits until it does.
func (p *Postgres) follow(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.URL())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, "alter system set synchronous_standby_names = '*'"); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "select pg_reload_conf()"); err != nil {
		return err
	}
	return p.process.ready(ctx, func(ctx context.Context) error {
		var ready bool
		err := query(ctx, p.URL(), "select count(*) > 0 from pg_stat_replication where state = 'streaming' and sync_state = 'sync'", &ready)
		if err == nil && !ready {
			err = errors.New("no synchronous standby yet")
		}
		return err
	})
}

// Promote makes a standby a server of its own that takes writes.
func (p *Postgres) Promote(ctx context.Context) error {
	var promoted bool
	if err := query(ctx, p.URL(), fmt.Sprintf("select pg_promote(true, %d)", int(patience.Seconds())), &promoted); err != nil {
		return err
	}
	if !promoted {
		return errors.New("the standby is not promoted" + p.process.tail())
	}
	return nil
}

// Close ends it for good.
func (p *Postgres) Close() error {
	err := p.process.kill()
	if p.port != nil {
		p.port.release()
	}
	if p.folder != nil {
		err = errors.Join(err, p.folder.remove())
	}
	return err
}

// PgBouncer is a PgBouncer in transaction mode.
type PgBouncer struct {
	folder  *folder
	port    *port
	process *process
}

// StartPgBouncer starts a PgBouncer by the project's configuration before every
// database of the server at the URL.
func StartPgBouncer(ctx context.Context, url string) (_ *PgBouncer, err error) {
	server, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	path, err := pgbouncer.find()
	if err != nil {
		return nil, err
	}
	text, err := shipped("pgbouncer/pgbouncer.ini")
	if err != nil {
		return nil, err
	}
	b := &PgBouncer{}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if b.folder, err = newFolder("postgres"); err != nil {
		return nil, err
	}
	if b.port, err = takePort(); err != nil {
		return nil, err
	}
	included, err := b.folder.write("shipped.ini", text)
	if err != nil {
		return nil, err
	}
	// Whoever comes is the user of the URL.
	account := "user=" + quote(server.User)
	if server.Password != "" {
		account += " password=" + quote(server.Password)
	}
	file, err := b.folder.write("pgbouncer.ini", fmt.Sprintf(`%%include %s
[databases]
* = host=%s port=%d %s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
auth_type = any
auth_file =
default_pool_size = 20
`, included, server.Host, server.Port, account, b.port))
	if err != nil {
		return nil, err
	}
	b.process, err = command{name: "pgbouncer", path: path, args: []string{file}, folder: b.folder.path, account: "postgres"}.start()
	if err != nil {
		return nil, err
	}
	return b, b.process.ready(ctx, func(ctx context.Context) error { return Answers(ctx, b.URL()) })
}

// quote makes one value of a connection string.
func quote(value string) string { return "'" + strings.ReplaceAll(value, "'", "''") + "'" }

// URL returns where the database postgres is through it.
func (b *PgBouncer) URL() string {
	return "postgres://postgres@" + b.port.address() + "/postgres?sslmode=disable"
}

// Close ends it for good.
func (b *PgBouncer) Close() error {
	err := b.process.kill()
	if b.port != nil {
		b.port.release()
	}
	if b.folder != nil {
		err = errors.Join(err, b.folder.remove())
	}
	return err
}
