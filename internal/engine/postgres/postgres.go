package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"vote/internal/domain"
)

// applicationName is by what the server knows the sessions of a Store.
const applicationName = "vote"

// Statements says how statements reach the server.
type Statements int

const (
	// Prepared statements are planned once on each connection. A pooler in
	// transaction mode must know of them, as PgBouncer does from 1.21 on.
	Prepared Statements = iota
	// Unprepared statements are planned each time, and leave nothing behind on
	// a connection.
	Unprepared
)

// Options say what to open.
type Options struct {
	// DSN is the database, as a postgres:// URL or as keywords and values.
	DSN string
	// DirectDSN is the same without a pooler in between, for migrations; empty
	// is DSN.
	DirectDSN string
	// Replicas are read-only copies for reads that may be a second old.
	Replicas []string
	// MaxConns is how many connections there are at most, to each server; 0 is
	// 100.
	MaxConns int
	// IdleConns is how many are kept open while there is nothing to do.
	IdleConns int
	// ConnLifetime is after how long a connection is replaced; 0 is an hour.
	ConnLifetime time.Duration
	// IdleTimeout is after how long an unused connection is closed; 0 is ten
	// minutes.
	IdleTimeout time.Duration
	// ConnectTimeout bounds connecting; 0 is 30 seconds.
	ConnectTimeout time.Duration
	// Statements is how statements reach the server.
	Statements Statements
	// Buckets is how many shards the users are put into; 0 is 1. It must be what
	// the database was made with.
	Buckets int
	// Clock is where days and times come from; nil is the database's clock.
	Clock domain.Clock
	// Logger takes faults of background work; nil discards them.
	Logger *slog.Logger
	// Registerer takes the metrics; nil registers none.
	Registerer prometheus.Registerer
	// AutoMigrate applies missing migrations. Without it a Store with missing
	// ones opens, but serves nothing: see [Store.Ready].
	AutoMigrate bool
}

func (o *Options) setDefaults() {
	if o.DirectDSN == "" {
		o.DirectDSN = o.DSN
	}
	if o.MaxConns <= 0 {
		o.MaxConns = 100
	}
	if o.ConnLifetime <= 0 {
		o.ConnLifetime = time.Hour
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = 10 * time.Minute
	}
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = 30 * time.Second
	}
	if o.Buckets <= 0 {
		o.Buckets = 1
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Store is a [domain.Store] on one PostgreSQL database. It is safe for concurrent
// use.
type Store struct {
	pool       *pgxpool.Pool
	clock      domain.Clock // nil: the database's
	log        *slog.Logger
	metrics    *metrics
	buckets    int
	allBuckets []int32
	outdated   atomic.Bool // migrations are missing
	closed     atomic.Bool
	months     partitioned
	replicas   []*replica
	turn       atomic.Uint64 // to choose a replica
	opened     time.Time     // what moments are measured from
	traces     traces
}

// Open connects, migrates when asked to and opens the Store. The caller closes
// it. Errors: [domain.CodeUnavailable] when the database cannot be reached; a
// database that a newer version of the program made; another number of buckets
// than it was made with.
func Open(ctx context.Context, o Options) (_ *Store, err error) {
	o.setDefaults()
	if o.AutoMigrate {
		if err := migrateUp(ctx, o.DirectDSN); err != nil {
			return nil, err
		}
	}
	s := &Store{clock: o.Clock, log: o.Logger, buckets: o.Buckets, opened: time.Now(), traces: traces{closing: make(chan struct{})}}
	for b := range o.Buckets {
		s.allBuckets = append(s.allBuckets, int32(b))
	}
	s.metrics = newMetrics(o.Registerer)
	if s.pool, err = connect(ctx, o, o.DSN, s.metrics); err != nil {
		return nil, err
	}
	for _, dsn := range o.Replicas {
		pool, err := connect(ctx, o, dsn, s.metrics)
		if err != nil {
			s.closePools()
			return nil, err
		}
		s.replicas = append(s.replicas, &replica{pool: pool})
	}
	err = s.checkSchema(ctx)
	if err == nil && !s.outdated.Load() {
		err = s.checkBuckets(ctx)
	}
	if err == nil {
		err = s.metrics.register(s.pool)
	}
	if err != nil {
		s.closePools()
		return nil, err
	}
	return s, nil
}

func (s *Store) closePools() {
	for _, r := range s.replicas {
		r.pool.Close()
	}
	s.pool.Close()
}

// connect makes a pool of connections and sees that one can be made.
func connect(ctx context.Context, o Options, dsn string, m *metrics) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	c.MaxConns = int32(min(o.MaxConns, math.MaxInt32))                             //nolint:gosec // bounded
	c.MinIdleConns = int32(min(o.IdleConns, o.MaxConns, math.MaxInt32))            //nolint:gosec // bounded
	c.MaxConnLifetime, c.MaxConnLifetimeJitter = o.ConnLifetime, o.ConnLifetime/10 // so that not all are replaced at once
	c.MaxConnIdleTime = o.IdleTimeout
	c.ConnConfig.ConnectTimeout = o.ConnectTimeout
	c.ConnConfig.Tracer = m
	c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	if o.Statements == Unprepared {
		c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	if c.ConnConfig.RuntimeParams["application_name"] == "" {
		c.ConnConfig.RuntimeParams["application_name"] = applicationName
	}
	c.ConnConfig.BuildContextWatcherHandler = cancelling
	c.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		conn.TypeMap().RegisterType(&pgtype.Type{
			Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
		})
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, domain.Fault(domain.CodeUnavailable, fmt.Errorf("postgres: connect: %w", err))
	}
	return pool, nil
}

// cancelling lets a context that ends also end what the server is doing for it.
func cancelling(p *pgconn.PgConn) ctxwatch.Handler {
	return &pgconn.CancelRequestContextWatcherHandler{Conn: p, DeadlineDelay: time.Second}
}

// checkBuckets compares the number of buckets with that of the database. As long
// as there is nobody in it, it takes any.
func (s *Store) checkBuckets(ctx context.Context) error {
	var made int
	err := s.pool.QueryRow(ctx, `UPDATE storage SET buckets = $1
		WHERE buckets <> $1 AND NOT EXISTS (SELECT 1 FROM users) RETURNING buckets`, s.buckets).Scan(&made)
	if errors.Is(err, pgx.ErrNoRows) {
		err = s.pool.QueryRow(ctx, `SELECT buckets FROM storage`).Scan(&made)
	}
	if err != nil {
		return s.fault(opReady, err)
	}
	return s.compareBuckets(made)
}

func (s *Store) compareBuckets(made int) error {
	if made != s.buckets {
		return fmt.Errorf("postgres: the database has %d buckets, storage.buckets says %d", made, s.buckets)
	}
	return nil
}

// Ready implements [domain.Store]. Migrations may be applied while the Store is
// open; it then begins to serve.
func (s *Store) Ready(ctx context.Context) error {
	if s.outdated.Load() {
		if err := s.checkSchema(ctx); err != nil {
			return err
		}
		if s.outdated.Load() {
			return errOutdated
		}
		if err := s.checkBuckets(ctx); err != nil {
			s.outdated.Store(true)
			return err
		}
	}
	return s.read(ctx, opReady, func(ctx context.Context, c *conn) error {
		var made int
		if err := c.row(ctx, `SELECT buckets FROM storage`, nil, &made); err != nil {
			return err
		}
		if err := s.compareBuckets(made); err != nil {
			return domain.Fault(domain.CodeUnavailable, err)
		}
		return nil
	})
}

// Close waits for running calls and closes the connections. Calls that begin
// later end with CodeUnavailable.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.traces.finish()
	s.closePools()
	s.metrics.unregister()
	return nil
}

var (
	errClosed   = errors.New("the store is closed")
	errOutdated = domain.E(domain.CodeSchemaOutdated, "The database schema is outdated: run migrate up.")
)

// usable returns why no call can be served.
func (s *Store) usable(ctx context.Context) error {
	switch {
	case s.closed.Load():
		return domain.Fault(domain.CodeUnavailable, errClosed)
	case s.outdated.Load():
		return domain.Fault(domain.CodeUnavailable, errOutdated)
	case ctx.Err() != nil:
		return domain.Fault(domain.CodeUnavailable, ctx.Err())
	}
	return nil
}

// limits bound a transaction. The server enforces them, so that they hold
// whatever becomes of this process; total bounds how long this process waits.
type limits struct {
	lock, statement, idle string
	total                 time.Duration
}

var (
	brief = limits{lock: "1s", statement: "5s", idle: "2s", total: 15 * time.Second}
	long  = limits{lock: "5s", statement: "30min", idle: "1min", total: time.Hour}
)

const beginQuery = `/* begin */ BEGIN`

const limitsQuery = `/* limits */ SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', $2, true),
	set_config('idle_in_transaction_session_timeout', $3, true)`

// maxTries is how often a transaction that met others is tried.
const maxTries = 5

// write runs f in a transaction, again when others were in the way. f must not
// keep anything of a run that failed.
func (s *Store) write(ctx context.Context, op operation, f func(context.Context, *conn) error) error {
	return s.writeWithin(ctx, op, brief, f)
}

// writeLong is write for what may take minutes.
func (s *Store) writeLong(ctx context.Context, op operation, f func(context.Context, *conn) error) error {
	return s.writeWithin(ctx, op, long, f)
}

func (s *Store) writeWithin(ctx context.Context, op operation, l limits, f func(context.Context, *conn) error) error {
	start := time.Now()
	defer func() { s.metrics.observe(op, time.Since(start)) }()
	for try := 1; ; try++ {
		err := s.transaction(ctx, l, f)
		if transient(err) && try < maxTries && ctx.Err() == nil && pause(ctx, try) {
			s.metrics.repeated.Inc()
			continue
		}
		return s.fault(op, err)
	}
}

// pause waits before the next try and reports whether there is to be one.
func pause(ctx context.Context, try int) bool {
	timer := time.NewTimer(time.Duration(try) * time.Duration(5+rand.IntN(20)) * time.Millisecond) //nolint:gosec // spreads callers
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// transaction runs f once.
func (s *Store) transaction(ctx context.Context, l limits, f func(context.Context, *conn) error) (err error) {
	if err := s.usable(ctx); err != nil {
		return err
	}
	held, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	// A change that has begun is not ended by its caller.
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.total)
	defer cancel()
	c := &conn{Conn: held.Conn(), clock: s.clock}
	defer func() {
		c.rollback()
		held.Release()
	}()
	var b pgx.Batch
	b.Queue(beginQuery)
	b.Queue(limitsQuery, l.lock, l.statement, l.idle)
	if err := c.SendBatch(work, &b).Close(); err != nil {
		return err
	}
	if err := f(work, c); err != nil {
		return err
	}
	tag, err := c.Exec(work, commitQuery)
	if err != nil {
		return commitFault(err)
	}
	if tag.String() != "COMMIT" {
		return errRolledBack
	}
	return nil
}

// read runs f on a connection to the primary. Everything f reads is one snapshot
// only if f uses one statement or [conn.snapshot].
func (s *Store) read(ctx context.Context, op operation, f func(context.Context, *conn) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	return s.readFrom(ctx, s.pool, op, f)
}

func (s *Store) readFrom(ctx context.Context, pool *pgxpool.Pool, op operation, f func(context.Context, *conn) error) error {
	start := time.Now()
	defer func() { s.metrics.observe(op, time.Since(start)) }()
	held, err := pool.Acquire(ctx)
	if err != nil {
		return s.fault(op, err)
	}
	c := &conn{Conn: held.Conn(), clock: s.clock}
	defer func() {
		c.rollback()
		held.Release()
	}()
	if err := f(ctx, c); err != nil {
		if ctx.Err() != nil && domain.CodeOf(err) == domain.CodeInternal {
			return domain.Fault(domain.CodeUnavailable, ctx.Err())
		}
		return s.fault(op, err)
	}
	return nil
}

// now returns the time as precise as it is stored, for methods that need it
// outside of a transaction.
func (s *Store) now(ctx context.Context, op operation) (at time.Time, err error) {
	err = s.read(ctx, op, func(ctx context.Context, c *conn) (err error) {
		at, err = c.now(ctx)
		return err
	})
	return at, err
}
