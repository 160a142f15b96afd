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
type Postgres struct{ *daemon }

// StartPostgres starts a PostgreSQL by the project's configuration and settings
// of the form name=value, which win. Without "fsync=on" nothing is forced to
// disk: the data survives the death of every process, which is all that a test
// can see, and speeds measured are too good.
func StartPostgres(ctx context.Context, settings ...string) (*Postgres, error) {
	p, err := newPostgres(settings)
	if err != nil {
		return nil, err
	}
	err = p.fill(ctx, initdb, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
	if err == nil {
		err = p.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func newPostgres(settings []string) (*Postgres, error) {
	text, err := shipped("postgres/postgresql.conf")
	if err != nil {
		return nil, err
	}
	d, err := newDaemon("postgres", postgres, "postgres", 1)
	if err != nil {
		return nil, err
	}
	p := &Postgres{d}
	p.ready = func(ctx context.Context) error { return Answers(ctx, p.URL()) }
	file, err := p.folder.write("postgresql.conf", text)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.command.args = []string{"-D", p.data()}
	for _, s := range append([]string{
		"config_file=" + file, "listen_addresses=127.0.0.1", "port=" + p.ports[0].String(), "unix_socket_directories=",
		"shared_buffers=128MB", "effective_cache_size=512MB", "maintenance_work_mem=64MB",
		"min_wal_size=80MB", "max_wal_size=1GB", "wal_keep_size=0", "fsync=off",
	}, settings...) {
		p.command.args = append(p.command.args, "-c", s)
	}
	return p, nil
}

// fill runs a program that makes the data.
func (p *Postgres) fill(ctx context.Context, by program, args ...string) error {
	path, err := by.find()
	if err != nil {
		return err
	}
	c := p.command
	c.name, c.path, c.args = by.name, path, append([]string{"-D", p.data()}, args...)
	return c.run(ctx)
}

func (p *Postgres) data() string { return p.folder.path + "/data" }

// URL returns where its database postgres is, for the superuser.
func (p *Postgres) URL() string {
	return "postgres://postgres@" + p.ports[0].address() + "/postgres?sslmode=disable"
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

// StopImmediate ends it as pg_ctl -m immediate does: connections break, and the
// next start recovers from the log.
func (p *Postgres) StopImmediate(ctx context.Context) error { return p.end(ctx, syscall.SIGQUIT) }

// StartStandby starts a copy that follows, and makes the server wait for it at
// each commit.
func (p *Postgres) StartStandby(ctx context.Context, settings ...string) (*Postgres, error) {
	s, err := newPostgres(settings)
	if err != nil {
		return nil, err
	}
	err = s.fill(ctx, pgBasebackup, "-h", "127.0.0.1", "-p", p.ports[0].String(), "-U", "postgres", "--checkpoint=fast", "--write-recovery-conf", "--no-sync")
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

// PgBouncer is a PgBouncer in transaction mode.
type PgBouncer struct{ *daemon }

// StartPgBouncer starts a PgBouncer by the project's configuration before every
// database of the server at the URL.
func StartPgBouncer(ctx context.Context, url string) (*PgBouncer, error) {
	server, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	text, err := shipped("pgbouncer/pgbouncer.ini")
	if err != nil {
		return nil, err
	}
	d, err := newDaemon("pgbouncer", pgbouncer, "postgres", 1)
	if err != nil {
		return nil, err
	}
	b := &PgBouncer{d}
	b.ready = func(ctx context.Context) error { return Answers(ctx, b.URL()) }
	if err = b.configure(text, server); err == nil {
		err = b.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *PgBouncer) configure(text string, server *pgx.ConnConfig) error {
	included, err := b.folder.write("shipped.ini", text)
	if err != nil {
		return err
	}
	// Whoever comes is the user of the URL.
	account := "user=" + quote(server.User)
	if server.Password != "" {
		account += " password=" + quote(server.Password)
	}
	// The included file ends in the section [pgbouncer], which goes on: to begin
	// it again would bring back the defaults of all that the file says.
	file, err := b.folder.write("pgbouncer.ini", fmt.Sprintf(`%%include %s
listen_addr = 127.0.0.1
listen_port = %s
auth_type = any
auth_file =
default_pool_size = 20
[databases]
* = host=%s port=%d %s
`, included, b.ports[0], server.Host, server.Port, account))
	b.command.args = []string{file}
	return err
}

// quote makes one value of a connection string.
func quote(value string) string { return "'" + strings.ReplaceAll(value, "'", "''") + "'" }

// URL returns where the database postgres is through it.
func (b *PgBouncer) URL() string {
	return "postgres://postgres@" + b.ports[0].address() + "/postgres?sslmode=disable"
}
