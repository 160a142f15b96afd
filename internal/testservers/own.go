//go:build linux

package testservers

import (
	"context"
	"net/url"
	"testing"

	"vote/internal/testservers/local"
)

// The servers below belong to the test that starts them and end with it. Their
// methods wait for what they say, fail the test when it does not come, and are
// called by its goroutine.

// own ends a server with the test.
func own[S interface{ Close() error }](t testing.TB, server S, err error) S {
	t.Helper()
	must(t, err)
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lasting returns a context that the end of the test does not end: servers bound
// their waits themselves.
func lasting(t testing.TB) context.Context { return context.WithoutCancel(t.Context()) }

// PostgresServer is a PostgreSQL with data of its own.
type PostgresServer struct {
	t      testing.TB
	server *local.Postgres
}

// StartPostgres starts a PostgreSQL. Settings are of the form name=value; without
// "fsync=on" it does not force commits to disk, which no killing shows.
func StartPostgres(t testing.TB, settings ...string) *PostgresServer {
	t.Helper()
	p, err := local.StartPostgres(lasting(t), settings...)
	return &PostgresServer{t, own(t, p, err)}
}

// URL returns where its database postgres is, for the superuser. DatabaseAt
// makes more.
func (p *PostgresServer) URL() string { return p.server.URL() }

// StartStandby starts a copy that follows the server, which from then on waits
// for the copy at each commit. URL of the copy is read-only until Promote.
func (p *PostgresServer) StartStandby(settings ...string) *PostgresServer {
	p.t.Helper()
	s, err := p.server.StartStandby(lasting(p.t), settings...)
	return &PostgresServer{p.t, own(p.t, s, err)}
}

// Promote makes a standby take writes.
func (p *PostgresServer) Promote() {
	p.t.Helper()
	must(p.t, p.server.Promote(lasting(p.t)))
}

// Stop freezes all its processes by SIGSTOP.
func (p *PostgresServer) Stop() {
	p.t.Helper()
	must(p.t, p.server.Suspend())
}

// Continue ends what Stop began.
func (p *PostgresServer) Continue() {
	p.t.Helper()
	must(p.t, p.server.Resume())
}

// Kill ends all its processes by SIGKILL.
func (p *PostgresServer) Kill() {
	p.t.Helper()
	must(p.t, p.server.Kill())
}

// StopImmediate ends it as pg_ctl -m immediate does.
func (p *PostgresServer) StopImmediate() {
	p.t.Helper()
	must(p.t, p.server.StopImmediate(lasting(p.t)))
}

// Restart starts it again, with its data and its address, after Kill or
// StopImmediate.
func (p *PostgresServer) Restart() {
	p.t.Helper()
	must(p.t, p.server.Start(lasting(p.t)))
}

// PgBouncerServer is a PgBouncer in transaction mode.
type PgBouncerServer struct {
	t        testing.TB
	server   *local.PgBouncer
	database string
}

// StartPgBouncer starts a PgBouncer before the database.
func StartPgBouncer(t testing.TB, database string) *PgBouncerServer {
	t.Helper()
	b, err := local.StartPgBouncer(lasting(t), database)
	return &PgBouncerServer{t, own(t, b, err), database}
}

// URL returns where the database is through it.
func (b *PgBouncerServer) URL() string {
	b.t.Helper()
	direct, err := url.Parse(b.database)
	must(b.t, err)
	through, err := url.Parse(b.server.URL())
	must(b.t, err)
	through.Path = direct.Path
	return through.String()
}

// Kill ends it by SIGKILL.
func (b *PgBouncerServer) Kill() {
	b.t.Helper()
	must(b.t, b.server.Kill())
}

// Restart starts it again, at its address, after Kill.
func (b *PgBouncerServer) Restart() {
	b.t.Helper()
	must(b.t, b.server.Start(lasting(b.t)))
}

// RedisServer is a Redis.
type RedisServer struct {
	t      testing.TB
	server *local.Redis
}

// StartRedis starts a Redis. Settings are lines of its configuration.
func StartRedis(t testing.TB, settings ...string) *RedisServer {
	t.Helper()
	r, err := local.StartRedis(lasting(t), settings...)
	return &RedisServer{t, own(t, r, err)}
}

// Address returns its host:port.
func (r *RedisServer) Address() string { return r.server.Address() }

// Stop freezes it by SIGSTOP: connections stay, nothing is answered.
func (r *RedisServer) Stop() {
	r.t.Helper()
	must(r.t, r.server.Suspend())
}

// Continue ends what Stop began.
func (r *RedisServer) Continue() {
	r.t.Helper()
	must(r.t, r.server.Resume())
}

// Kill ends it by SIGKILL.
func (r *RedisServer) Kill() {
	r.t.Helper()
	must(r.t, r.server.Kill())
}

// Restart starts it again, empty and at its address, after Kill.
func (r *RedisServer) Restart() {
	r.t.Helper()
	must(r.t, r.server.Start(lasting(r.t)))
}

// Flush empties it.
func (r *RedisServer) Flush() {
	r.t.Helper()
	r.Do("FLUSHALL")
}

// Do sends one command on a connection of its own and returns the strings of the
// answer.
func (r *RedisServer) Do(words ...string) []string {
	r.t.Helper()
	answer, err := r.server.Do(bounded(r.t), words...)
	must(r.t, err)
	return answer
}

// SentinelServers are a Redis with two replicas, and three Sentinels, which take
// the master for gone after a second.
type SentinelServers struct {
	t      testing.TB
	server *local.Sentinels
}

// StartSentinels starts all six.
func StartSentinels(t testing.TB) *SentinelServers {
	t.Helper()
	s, err := local.StartSentinels(lasting(t))
	return &SentinelServers{t, own(t, s, err)}
}

// Addresses returns host:port of each Sentinel.
func (s *SentinelServers) Addresses() []string { return s.server.Addresses() }

// Master returns the name by which the Sentinels know the master.
func (s *SentinelServers) Master() string { return local.MasterName }

// MasterAddress returns host:port of the Redis that the Sentinels call master.
func (s *SentinelServers) MasterAddress() string {
	s.t.Helper()
	master, err := s.server.Master(bounded(s.t))
	must(s.t, err)
	return master.Address()
}

// KillMaster ends the master by SIGKILL and does not wait for the next.
func (s *SentinelServers) KillMaster() {
	s.t.Helper()
	master, err := s.server.Master(bounded(s.t))
	must(s.t, err)
	must(s.t, master.Kill())
}

// Restart starts those again that were killed. The Sentinels make a former
// master a replica.
func (s *SentinelServers) Restart() {
	s.t.Helper()
	must(s.t, s.server.Revive(lasting(s.t)))
}

// RabbitMQServer is a RabbitMQ with data of its own.
type RabbitMQServer struct {
	t      testing.TB
	server *local.RabbitMQ
}

// StartRabbitMQ starts a RabbitMQ, which takes some seconds.
func StartRabbitMQ(t testing.TB) *RabbitMQServer {
	t.Helper()
	r, err := local.StartRabbitMQ(lasting(t))
	return &RabbitMQServer{t, own(t, r, err)}
}

// URL returns where its virtual host / is, for an administrator.
func (r *RabbitMQServer) URL() string { return r.server.URL() }

// API returns where its management is, with user and password.
func (r *RabbitMQServer) API() string { return r.server.API() }

// Stop ends it in order.
func (r *RabbitMQServer) Stop() {
	r.t.Helper()
	must(r.t, r.server.Stop(lasting(r.t)))
}

// Start starts it again, with its data and its addresses, after Stop or Kill.
func (r *RabbitMQServer) Start() {
	r.t.Helper()
	must(r.t, r.server.Start(lasting(r.t)))
}

// Kill ends it by SIGKILL.
func (r *RabbitMQServer) Kill() {
	r.t.Helper()
	must(r.t, r.server.Kill())
}
