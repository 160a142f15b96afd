package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
	"vote/internal/engine/memory"
	"vote/internal/engine/postgres"
	"vote/internal/engine/rabbitmq"
	"vote/internal/engine/sqlite"
	"vote/internal/events"
)

// ground is what is measured: the engines, and where the stores of the sections
// are, each under a name of its own.
type ground interface {
	title() string
	// open opens the store of that name, which is made when there is none.
	open(ctx context.Context, name string) (domain.Store, error)
	// settings let a server use the store of that name.
	settings(name string) []string
	// bus returns a bus beside the store of that name; nobody runs it yet.
	bus(name string, store domain.Store) (runningBus, error)
	// shards is how many batches of votes a process has under way.
	shards() int
	// servers is how many run over one store; those with several do not have it
	// for themselves.
	servers() int
	// singles are the numbers of clients with which one transaction a vote is
	// tried where there are so many callers; the best counts.
	singles(callers int) []int
	close() error
}

type runningBus interface {
	domain.Bus
	Run(ctx context.Context) error
}

// embedded is one process over SQLite.
type embedded struct{ folder string }

func (e embedded) title() string { return "SQLite" }

func (e embedded) path(name string) string { return filepath.Join(e.folder, name, "vote.db") }

func (e embedded) open(ctx context.Context, name string) (domain.Store, error) {
	return sqlite.Open(ctx, sqlite.Options{Path: e.path(name), Clock: domain.SystemClock{}, AutoMigrate: true})
}

func (e embedded) settings(name string) []string { return []string{"STORAGE_PATH=" + e.path(name)} }

func (e embedded) bus(_ string, store domain.Store) (runningBus, error) {
	return memory.NewBus(memory.BusOptions{DeadLetter: store.AddDeadLetter}), nil
}

func (e embedded) shards() int               { return 1 }
func (e embedded) servers() int              { return 1 }
func (e embedded) singles(callers int) []int { return []int{callers} }
func (e embedded) close() error              { return nil }

// production is three processes over PostgreSQL, Redis and RabbitMQ. Each store
// is a database and a virtual host of its own, which go at the end; what is in
// Redis lives for minutes.
type production struct {
	addresses
	postgres, amqp *url.URL
	unique         string
	made           map[string]bool
}

// addresses say where servers are.
type addresses struct {
	dsn, redis, amqp, api string
	lanes                 int
}

func newProduction(a addresses) (*production, error) {
	p := &production{addresses: a, unique: "vote_bench_" + strconv.FormatInt(time.Now().UnixNano(), 36), made: make(map[string]bool)}
	var err error
	if p.postgres, err = url.Parse(a.dsn); err != nil || p.postgres.Host == "" {
		return nil, errors.New("-dsn has to be a postgres:// URL with a host")
	}
	if p.amqp, err = url.Parse(a.amqp); err != nil || p.amqp.Host == "" {
		return nil, errors.New("-amqp has to be an amqp:// URL with a host")
	}
	return p, nil
}

func (p *production) title() string { return "PostgreSQL" }

func (p *production) own(name string) string { return p.unique + "_" + name }

// execute runs a statement in the database that the flag names.
func (p *production) execute(ctx context.Context, statement string) error {
	c, err := pgx.Connect(ctx, p.postgres.String())
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, statement)
	return errors.Join(err, c.Close(ctx))
}

// manage sends a request to RabbitMQ's management.
func (p *production) manage(ctx context.Context, method, path, body string) error {
	r, err := send(ctx, method, strings.TrimSuffix(p.api, "/")+path, "", body)
	if err == nil && r.status >= http.StatusMultipleChoices {
		err = fmt.Errorf("RabbitMQ's management answers %d", r.status)
	}
	return err
}

func (p *production) open(ctx context.Context, name string) (domain.Store, error) {
	if !p.made[name] {
		p.made[name] = true
		if err := errors.Join(
			p.execute(ctx, "CREATE DATABASE "+p.own(name)),
			p.manage(ctx, http.MethodPut, "/api/vhosts/"+p.own(name), ""),
			p.manage(ctx, http.MethodPut, "/api/permissions/"+p.own(name)+"/"+url.PathEscape(p.amqp.User.Username()),
				`{"configure": ".*", "write": ".*", "read": ".*"}`),
		); err != nil {
			return nil, err
		}
	}
	u := *p.postgres
	u.Path = "/" + p.own(name)
	return postgres.Open(ctx, postgres.Options{DSN: u.String(), AutoMigrate: true})
}

func (p *production) settings(name string) []string {
	password := func(u *url.URL) string { text, _ := u.User.Password(); return text }
	all := []string{
		"STORAGE_ENGINE=postgres", "POSTGRES_HOST=" + p.postgres.Hostname(), "POSTGRES_PORT=" + p.postgres.Port(),
		"POSTGRES_USER=" + p.postgres.User.Username(), "POSTGRES_PASSWORD=" + password(p.postgres),
		"POSTGRES_DBNAME=" + p.own(name), "POSTGRES_SSLMODE=" + p.postgres.Query().Get("sslmode"),
		"EVENTS_ENGINE=rabbitmq", "RABBITMQ_HOST=" + p.amqp.Hostname(), "RABBITMQ_PORT=" + p.amqp.Port(),
		"RABBITMQ_USER=" + p.amqp.User.Username(), "RABBITMQ_PASSWORD=" + password(p.amqp),
		"RABBITMQ_VHOST=" + p.own(name), "SERVER_ROLES=api",
	}
	if p.redis == "" {
		return all
	}
	host, port, _ := net.SplitHostPort(p.redis)
	return append(all, "CACHE_ENGINE=redis", "REDIS_HOST="+host, "REDIS_PORT="+port)
}

func (p *production) bus(name string, store domain.Store) (runningBus, error) {
	u := *p.amqp
	u.Path = "/" + p.own(name)
	return rabbitmq.NewBus(rabbitmq.Options{URL: u.String(), Queues: events.Topology(), DeadLetter: store.AddDeadLetter})
}

func (p *production) shards() int  { return p.lanes }
func (p *production) servers() int { return 3 }

func (p *production) singles(callers int) []int {
	if callers == 1 {
		return []int{1}
	}
	return []int{8, 16, 32, 64, 256}
}

func (p *production) close() error {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	var errs []error
	for name := range p.made {
		errs = append(errs, p.execute(ctx, "DROP DATABASE "+p.own(name)+" WITH (FORCE)"),
			p.manage(ctx, http.MethodDelete, "/api/vhosts/"+p.own(name), ""))
	}
	return errors.Join(errs...)
}
