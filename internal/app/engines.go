package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"vote/config"
	"vote/internal/account"
	"vote/internal/domain"
	"vote/internal/engine/memory"
	"vote/internal/engine/postgres"
	"vote/internal/engine/rabbitmq"
	"vote/internal/engine/redis"
	"vote/internal/engine/sqlite"
	"vote/internal/events"
)

const (
	cacheBytes  = 64 << 20
	limiterKeys = 1 << 20
	// postgresShards is how many batches of votes one process has under way on
	// PostgreSQL at least: while one is committed the next is judged. More would be
	// smaller and wait for each other's rows of poll_counts: with 4 or 8 fewer votes
	// were counted, see docs/performance.md.
	postgresShards = 2
)

// engines are the ports with something behind them.
type engines struct {
	store   domain.Store
	cache   domain.Cache
	limiter domain.Limiter
	bus     domain.Bus
	// exclusive says that no other process changes the store.
	exclusive bool
	// shards is how many batches of votes the store takes at once.
	shards int
	// hint subscribes to what other processes publish, each process to all of
	// it; nil when there are none.
	hint func(types []string, h func([]domain.Event))
	// services are what the engines do by themselves.
	services []service
	// optional tells of what the server can do without whether it is there.
	optional map[string]func() bool
	// closers release what is not the store, for an app that is not run.
	closers []func() error
}

// openEngines opens what the configuration names. tell is told that something
// which the server can do without was given up or is used again; it must not block.
func openEngines(ctx context.Context, c config.Config, o Options, r prometheus.Registerer, tell func(component string, reachable bool)) (_ *engines, err error) {
	if err := available(c); err != nil {
		return nil, err
	}
	e := &engines{optional: make(map[string]func() bool)}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if err := e.openStore(ctx, c, o, r); err != nil {
		return nil, err
	}
	if err := e.openBus(c, o, r); err != nil {
		return nil, err
	}
	return e, e.openCache(ctx, c, o, r, tell)
}

// close releases everything, what was opened last first.
func (e *engines) close() error {
	var errs []error
	for _, f := range slices.Backward(e.closers) {
		errs = append(errs, f())
	}
	e.closers = nil
	return errors.Join(errs...)
}

// available refuses what the configuration knows and this program does not
// have, so that no key is silently without effect.
func available(c config.Config) error {
	if c.Tracing.Endpoint != "" {
		return errors.New("tracing.endpoint: tracing is not available in this version")
	}
	return nil
}

func (e *engines) openStore(ctx context.Context, c config.Config, o Options, r prometheus.Registerer) error {
	store, err := openStore(ctx, c, o, r)
	if err != nil {
		return err
	}
	e.store = store
	e.closers = append(e.closers, store.Close)
	e.exclusive, e.shards = true, 1
	if p, ok := store.(*postgres.Store); ok {
		e.exclusive, e.shards = false, shards(c.Storage.Buckets)
		e.services = append(e.services, service{"store", p.Run})
	}
	return nil
}

// shards returns how many batches of votes one process has under way on PostgreSQL
// with that many buckets. It is a multiple of them: shards and buckets both go by
// the user's id, so the users of a shard are then all of one bucket, and no batch
// spans two.
func shards(buckets int) int {
	return (postgresShards + buckets - 1) / buckets * buckets
}

func (e *engines) openBus(c config.Config, o Options, r prometheus.Registerer) error {
	deadLetter := e.store.AddDeadLetter
	if c.Events.Engine == config.Memory {
		e.bus = memory.NewBus(memory.BusOptions{DeadLetter: deadLetter, Clock: o.Clock, Logger: o.Logger, Registerer: r})
		return nil
	}
	if !c.HasRole(config.RoleWorker) {
		deadLetter = nil // workers empty the error queues
	}
	q := c.RabbitMQ
	bus, err := rabbitmq.NewBus(rabbitmq.Options{
		URL:    rabbitmq.URL(q.Host, q.Port, q.User, string(q.Password), q.VHost),
		Queues: events.Topology(), DeadLetter: deadLetter, Clock: o.Clock, Logger: o.Logger, Registerer: r,
		Prefetch: q.PrefetchCount, ReconnectInterval: q.ReconnectInterval, Tries: max(1, q.MaxRetries),
	})
	if err != nil {
		return err
	}
	e.bus, e.hint = bus, bus.Hint
	e.optional["rabbitmq"] = bus.Reachable
	return nil
}

func (e *engines) openCache(ctx context.Context, c config.Config, o Options, r prometheus.Registerer, tell func(component string, reachable bool)) error {
	local := memory.NewLimiter(memory.LimiterOptions{MaxKeys: limiterKeys, Clock: o.Clock, Registerer: r})
	if c.Cache.Engine == config.Memory {
		e.cache = memory.NewCache(memory.CacheOptions{Bytes: cacheBytes, Clock: o.Clock, Registerer: r})
		e.limiter = local
		return nil
	}
	q := c.Redis
	client, err := redis.Open(ctx, redis.Options{
		Address:        net.JoinHostPort(q.Host, strconv.Itoa(q.Port)),
		SentinelMaster: q.SentinelMaster, SentinelAddresses: q.SentinelAddresses, ClusterAddresses: q.ClusterAddresses,
		Password: string(q.Password), DB: q.DB, PoolSize: q.PoolSize, MinIdleConns: q.MinIdleConns, MaxRetries: q.MaxRetries,
		DialTimeout: q.DialTimeout, ReadTimeout: q.ReadTimeout, WriteTimeout: q.WriteTimeout,
		OnState: func(reachable bool) { tell("redis", reachable) }, Logger: o.Logger, Registerer: r,
	})
	if err != nil {
		return err
	}
	e.closers = append(e.closers, func() error { client.Close(); return nil })
	e.services = append(e.services, service{"redis", client.Run})
	e.optional["redis"] = client.Reachable
	e.cache, e.limiter = redis.NewCache(client), redis.NewLimiter(client, local)
	return nil
}

func openStore(ctx context.Context, c config.Config, o Options, r prometheus.Registerer) (domain.Store, error) {
	if c.Storage.Engine == config.SQLite {
		return sqlite.Open(ctx, sqlite.Options{
			Path: c.Storage.Path, Clock: o.Clock, Logger: o.Logger, Registerer: r, AutoMigrate: c.Storage.AutoMigrate,
		})
	}
	q := c.Postgres
	statements := postgres.Prepared
	if q.Statements == config.Unprepared {
		statements = postgres.Unprepared
	}
	options := postgres.Options{
		DSN: postgresURL(q), DirectDSN: string(q.DirectDSN), MaxConns: q.MaxConnections, IdleConns: q.IdleConnections,
		ConnLifetime: q.ConnectionLifetime, IdleTimeout: q.IdleTimeout, ConnectTimeout: q.ConnectionTimeout,
		Statements: statements, Buckets: c.Storage.Buckets,
		Logger: o.Logger, Registerer: r, AutoMigrate: c.Storage.AutoMigrate,
	}
	for _, replica := range q.Replicas {
		options.Replicas = append(options.Replicas, string(replica))
	}
	// Several processes share the database, so its clock is the one that counts.
	if _, machine := o.Clock.(domain.SystemClock); !machine {
		options.Clock = o.Clock
	}
	return postgres.Open(ctx, options)
}

// postgresURL returns where the database is, as a URL.
func postgresURL(q config.PostgresConfig) string {
	query := url.Values{"sslmode": {q.SSLMode}}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(q.User, string(q.Password)), Path: "/" + q.DBName}
	if path.IsAbs(q.Host) { // the folder of a Unix socket
		query.Set("host", q.Host)
		query.Set("port", strconv.Itoa(q.Port))
	} else {
		u.Host = net.JoinHostPort(q.Host, strconv.Itoa(q.Port))
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// ErrInUse says that another process has the data folder open.
var ErrInUse = sqlite.ErrLocked

// OpenStore opens the configured storage alone, for tools. The caller closes it.
func OpenStore(ctx context.Context, c config.Config, o Options) (domain.Store, error) {
	if err := available(c); err != nil {
		return nil, err
	}
	if o.Clock == nil {
		o.Clock = domain.SystemClock{}
	}
	return openStore(ctx, c, o, nil)
}

// signingSecret returns the key of access tokens. In development on embedded
// storage an unset one is made once and kept beside the data, so that tokens
// survive a restart without anybody having to set anything.
func signingSecret(c config.Config) ([]byte, error) {
	if !c.HasDefaultSecret() {
		return []byte(c.JWT.SecretKey), nil
	}
	file := filepath.Join(filepath.Dir(c.Storage.Path), "jwt.secret")
	switch b, err := os.ReadFile(file); { //nolint:gosec // the operator's own data folder
	case err == nil && len(b) >= config.MinProductionSecret:
		return b, nil
	case err == nil:
		return nil, fmt.Errorf("%s is damaged: remove it to have another made; everybody has to log in again", file)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	raw := make([]byte, 48)
	if _, err := rand.Read(raw); err != nil {
		return nil, err
	}
	secret := []byte(base64.StdEncoding.EncodeToString(raw))
	return secret, writeDurably(file, secret)
}

// writeDurably makes a file that is either whole or not there after a crash.
func writeDurably(path string, content []byte) (err error) {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".jwt-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = temporary.Write(content)
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}

// Migrator changes the schema of the configured storage.
type Migrator = domain.Migrator

// OpenMigrator returns the migrator of the configured storage. The caller closes
// it. On SQLite, no server may run over it meanwhile.
func OpenMigrator(c config.Config) (Migrator, error) {
	if err := available(c); err != nil {
		return nil, err
	}
	if c.Storage.Engine == config.SQLite {
		return sqlite.NewMigrator(c.Storage.Path)
	}
	return postgres.NewMigrator(directURL(c.Postgres))
}

// Sharder changes how the configured storage spreads its users.
type Sharder = domain.Sharder

// MaxBuckets is how many buckets a storage may have at most.
const MaxBuckets = domain.MaxBuckets

// ErrNoBuckets says that the configured storage has no buckets.
var ErrNoBuckets = errors.New("storage.engine sqlite is one file: it has no buckets, and nothing to distribute")

// OpenSharder returns the sharder of the configured storage. The caller closes it.
// Errors: [ErrNoBuckets].
func OpenSharder(c config.Config) (Sharder, error) {
	if err := available(c); err != nil {
		return nil, err
	}
	if c.Storage.Engine == config.SQLite {
		return nil, ErrNoBuckets
	}
	return postgres.NewMigrator(directURL(c.Postgres))
}

// directURL returns where the database is without a pooler in between.
func directURL(q config.PostgresConfig) string {
	return cmp.Or(string(q.DirectDSN), postgresURL(q))
}

// HashPassword returns the hash under which a password can be stored, for tools
// that make accounts.
func HashPassword(password string) (string, error) { return account.HashPassword(password) }
