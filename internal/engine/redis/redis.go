package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"
)

const (
	// commandLimit bounds every command. A healthy Redis answers in less than a
	// millisecond, and a feed must not wait the seconds that redis.read_timeout
	// allows by default for what it can do without; a quarter of a second lets
	// the pause of a fork or of a busy machine pass. A shorter read_timeout
	// counts instead.
	commandLimit = 250 * time.Millisecond
	// maxInFlight is how many commands are under way at most. The queue of one
	// connection takes 1024.
	maxInFlight = 1000
	// maxMultiplex is the binary logarithm of the most connections to one
	// server that rueidis spreads commands over.
	maxMultiplex = 8
	// connBuffer is the size of a connection's two buffers.
	connBuffer = 64 << 10
	// pingEvery is how often an idle connection is tried.
	pingEvery = 5 * time.Second
	// topologyEvery is how often Sentinels, or nodes of a Cluster, are asked who
	// is who, besides when they tell.
	topologyEvery = 5 * time.Second
	// How long to wait after a probe that failed: at first, and at most.
	retryFirst, retryMost = 100 * time.Millisecond, 5 * time.Second
	// calm is how long a link must have held for the next outage to begin with
	// the shortest wait.
	calm = 10 * time.Second
	// infoEvery is how often the servers' own numbers are read.
	infoEvery = 10 * time.Second
)

// Options are what a [Redis] needs. Which server is used: Sentinels go before
// Cluster before Address.
type Options struct {
	// Address is the host:port of a single server.
	Address string
	// SentinelMaster is the name of the master that the Sentinels at
	// SentinelAddresses watch.
	SentinelMaster    string
	SentinelAddresses []string
	// ClusterAddresses are some of the nodes of a Cluster.
	ClusterAddresses []string
	Password         string // of the servers; "" is none
	DB               int    // must be 0 in a Cluster

	// PoolSize is how many connections to one server there are at most, and
	// MinIdleConns how many at least, once they were used: commands are spread
	// over a power of two of connections, each of which carries many at once.
	// So it is the least power of two that reaches MinIdleConns, as far as
	// PoolSize and 256 allow.
	PoolSize, MinIdleConns int
	// MaxRetries is how often a command that only reads is tried again after a
	// connection broke, all within the time of one command.
	MaxRetries int
	// DialTimeout bounds connecting, to each of the addresses.
	DialTimeout time.Duration
	// ReadTimeout is after how long without an answer an idle connection, which
	// is tried regularly, counts as broken; a command counts as failed after
	// a quarter of a second, or after ReadTimeout when that is less.
	ReadTimeout time.Duration
	// WriteTimeout is how long a connection may refuse to take more.
	WriteTimeout time.Duration

	// OnState is told each time Redis is given up (false) and is back (true), in
	// order, by Run; nil: nobody. It must not block.
	OnState    func(reachable bool)
	Logger     *slog.Logger          // nil: none
	Registerer prometheus.Registerer // nil: metrics are not exported
}

// Redis is a connection to Redis and the breaker before it. Safe for concurrent
// use. Make it by [Open].
type Redis struct {
	options rueidis.ClientOption
	limit   time.Duration // of a command
	log     *slog.Logger
	onState func(bool)
	metrics *metrics

	current  atomic.Pointer[link] // nil: the breaker is open
	made     *link                // the last one, until it is closed; of Open, Run and Close
	inFlight atomic.Int64
	tripped  chan tripped   // of room one: there is one link to lose
	closing  sync.WaitGroup // clients that are being closed
}

// link is a client in use. Its context ends when it is given up.
type link struct {
	client rueidis.Client
	ctx    context.Context //nolint:containedctx // it is the life of the link
	end    context.CancelFunc
}

// tripped tells which key's command took a link away, and why.
type tripped struct {
	key string
	err error
}

// Open returns a Redis that is used as soon as it can be reached: Open tries
// once, Run goes on. Errors: options that contradict each other, by the names of
// their configuration keys.
func Open(ctx context.Context, o Options) (*Redis, error) {
	options, err := clientOptions(o)
	if err != nil {
		return nil, err
	}
	r := &Redis{
		limit: commandLimit, log: o.Logger, onState: o.OnState,
		metrics: newMetrics(o.Registerer), tripped: make(chan tripped, 1),
	}
	if o.ReadTimeout > 0 {
		r.limit = min(r.limit, o.ReadTimeout)
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.onState == nil {
		r.onState = func(bool) {}
	}
	dialer := &dialer{write: o.WriteTimeout, open: r.metrics.connections}
	options.DialCtxFn = dialer.dial
	r.options = options
	if err := r.connect(ctx, ""); err != nil {
		r.tripped <- tripped{err: err}
	}
	return r, nil
}

// clientOptions translates the options. Errors: contradictions.
func clientOptions(o Options) (rueidis.ClientOption, error) {
	var errs []error
	refuse := func(wrong bool, text string) {
		if wrong {
			errs = append(errs, errors.New(text))
		}
	}
	sentinel, cluster := len(o.SentinelAddresses) > 0, len(o.ClusterAddresses) > 0
	refuse(sentinel && cluster, "redis.cluster_addresses: must not be given together with redis.sentinel_addresses")
	refuse(sentinel != (o.SentinelMaster != ""), "redis.sentinel_master: must be given together with redis.sentinel_addresses")
	refuse(cluster && o.DB != 0, "redis.db: must be 0 with redis.cluster_addresses")
	refuse(o.PoolSize < 0, "redis.pool_size: must not be negative")
	refuse(o.PoolSize > 0 && o.MinIdleConns > o.PoolSize, "redis.min_idle_conns: must be at most redis.pool_size")
	refuse(o.Address == "" && !sentinel && !cluster, "redis.host: must be given, or redis.sentinel_addresses, or redis.cluster_addresses")
	if err := errors.Join(errs...); err != nil {
		return rueidis.ClientOption{}, err
	}
	c := rueidis.ClientOption{
		InitAddress: []string{o.Address}, Password: o.Password, SelectDB: o.DB, ClientName: "vote",
		Dialer:             net.Dialer{Timeout: o.DialTimeout, KeepAlive: pingEvery},
		ConnWriteTimeout:   o.ReadTimeout,
		ReadBufferEachConn: connBuffer, WriteBufferEachConn: connBuffer,
		PipelineMultiplex: multiplex(o),
		DisableCache:      true,
		// Then it is never a caller who writes and reads, so a caller leaves when
		// its time is over whatever the connection does.
		AlwaysPipelining:  true,
		ForceSingleClient: !cluster && !sentinel,
		DisableRetry:      o.MaxRetries <= 0,
		RetryDelay: func(attempts int, _ rueidis.Completed, _ error) time.Duration {
			if attempts > o.MaxRetries {
				return -1
			}
			return time.Duration(attempts) * time.Millisecond
		},
	}
	switch {
	case sentinel:
		c.InitAddress = o.SentinelAddresses
		c.Sentinel = rueidis.SentinelOption{
			MasterSet: o.SentinelMaster, Dialer: c.Dialer, TopologyRefreshInterval: topologyEvery,
		}
	case cluster:
		c.InitAddress = o.ClusterAddresses
		c.ClusterOption = rueidis.ClusterOption{ShardsRefreshInterval: topologyEvery}
	}
	return c, nil
}

// multiplex returns the binary logarithm of the number of connections to one
// server, in the way that rueidis takes it: there, 0 stands for its default.
func multiplex(o Options) int {
	n := min(bits.Len(uint(max(o.MinIdleConns, 1)-1)), maxMultiplex)
	if o.PoolSize > 0 {
		n = min(n, bits.Len(uint(o.PoolSize))-1)
	}
	if n == 0 {
		return -1
	}
	return n
}

// Reachable reports whether Redis is used at this moment.
func (r *Redis) Reachable() bool { return r.current.Load() != nil }

// Run keeps the link: when it is lost it connects anew, with growing pauses,
// and it reads the servers' own numbers. It returns nil when ctx has ended, after
// which Redis is used no longer.
func (r *Redis) Run(ctx context.Context) error {
	defer r.Close()
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() { r.observe(ctx) })
	wait := retryFirst
	since := time.Now() // when the link was made
	for {
		select {
		case <-ctx.Done():
			return nil
		case t := <-r.tripped:
			r.onState(false)
			r.log.WarnContext(ctx, "Redis is left alone", "error", t.err)
			r.drop()
			if time.Since(since) > calm {
				wait = retryFirst
			} else {
				sleep(ctx, wait)
			}
			for err := r.connect(ctx, t.key); err != nil && ctx.Err() == nil; err = r.connect(ctx, t.key) {
				r.log.DebugContext(ctx, "Redis cannot be used yet", "error", err, "again_in", wait)
				sleep(ctx, wait)
				wait = min(2*wait, retryMost)
			}
			if ctx.Err() == nil {
				since = time.Now()
				r.onState(true)
				r.log.InfoContext(ctx, "Redis is used again")
			}
		}
	}
}

// Close ends a Redis that is not run, as Run does with one that is. Calling it
// again is harmless.
func (r *Redis) Close() {
	r.drop()
	r.closing.Wait()
}

// drop closes the last link, whoever has given it up.
func (r *Redis) drop() {
	if l := r.made; l != nil {
		r.current.CompareAndSwap(l, nil)
		l.end()
		r.close(l.client)
		r.made = nil
	}
}

// close closes a client, which takes up to a second per connection when the
// server does not answer.
func (r *Redis) close(c rueidis.Client) { r.closing.Go(c.Close) }

// connect makes a new link once a probe has succeeded: a write that changes
// nothing, to the shard that holds the key. It tells apart who can be connected
// to and who serves: a demoted master, one that loads its data, and one that is
// too slow.
func (r *Redis) connect(ctx context.Context, key string) error {
	client, err := rueidis.NewClient(r.options)
	if err == nil {
		probing, cancel := context.WithTimeout(ctx, r.limit)
		defer cancel()
		err = client.Do(probing, client.B().Unlink().Key("vote:probe:{"+key+"}").Build()).Error()
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		r.metrics.errors.WithLabelValues("probe").Inc()
		if client != nil {
			r.close(client)
		}
		return err
	}
	l := &link{client: client}
	l.ctx, l.end = context.WithCancel(context.Background())
	r.made = l
	r.current.Store(l)
	r.metrics.open.Set(0)
	return nil
}

// trip gives a link up, unless somebody has done so before.
func (r *Redis) trip(l *link, key string, err error) {
	if !r.current.CompareAndSwap(l, nil) {
		return
	}
	l.end()
	r.metrics.open.Set(1)
	r.metrics.trips.Inc()
	r.tripped <- tripped{key: key, err: err}
}

// command is one of the commands that are measured apart.
type command int

const (
	commandGet command = iota
	commandSet
	commandSetNewer
	commandDelete
	commandTake
	commandRefund
	commands
)

var commandNames = [commands]string{"get", "set", "set_newer", "delete", "take", "refund"}

// do runs one command for a key, and reports whether Redis answered it.
func (r *Redis) do(
	c command, key string, run func(ctx context.Context, client rueidis.Client) rueidis.RedisResult,
) (rueidis.RedisResult, bool) {
	l := r.current.Load()
	if l == nil {
		return rueidis.RedisResult{}, false
	}
	defer r.inFlight.Add(-1)
	if r.inFlight.Add(1) > maxInFlight {
		r.metrics.errors.WithLabelValues("crowded").Inc()
		return rueidis.RedisResult{}, false
	}
	ctx, cancel := context.WithTimeout(l.ctx, r.limit)
	defer cancel()
	began := time.Now()
	answer := run(ctx, l.client)
	r.metrics.duration[c].Observe(time.Since(began).Seconds())
	err := answer.Error()
	if err == nil || rueidis.IsRedisNil(err) {
		return answer, true
	}
	kind := "connection"
	if refusal, ok := rueidis.IsRedisErr(err); ok {
		kind = "refused"
		// Memory is short for this value, or it is a script that is wrong: the
		// server itself is well.
		if text := refusal.Error(); strings.HasPrefix(text, "OOM") || strings.HasPrefix(text, "WRONGTYPE") || strings.Contains(text, "user_script") {
			r.metrics.errors.WithLabelValues(kind).Inc()
			r.log.Debug("a command was refused", "command", commandNames[c], "error", err)
			return answer, false
		}
	} else if errors.Is(err, context.DeadlineExceeded) {
		kind = "timeout"
	}
	if l.ctx.Err() == nil {
		r.metrics.errors.WithLabelValues(kind).Inc()
	}
	r.trip(l, key, fmt.Errorf("%s: %w", commandNames[c], err))
	return answer, false
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
