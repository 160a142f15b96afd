package memory

import (
	"cmp"
	"context"
	"encoding/binary"
	"math"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/maypok86/otter/v2/stats"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"vote/internal/domain"
)

// entryOverhead is what an entry costs besides the bytes of its key and value:
// otter's node, its slots in the hash table and in the frequency sketch. The
// allocator rounds a value up by at most an eighth. A test measures both.
const (
	entryOverhead = 200
	rounding      = 8
)

// Cache is a [domain.Cache] bounded in bytes. Which entries stay is decided by
// how often and how recently they were used, so a new entry may be dropped at
// once in favour of older ones that are used more. Safe for concurrent use.
type Cache struct {
	entries *otter.Cache[string, cached]
	stats   *stats.Counter
	bytes   uint64
}

type cached struct {
	value []byte
	life  time.Duration
}

// CacheOptions are what a [Cache] needs.
type CacheOptions struct {
	// Bytes is how much memory the entries, keys and overhead included, take
	// at most. 0 or less keeps nothing.
	Bytes int64
	// Clock measures the life of entries; nil is the system's.
	Clock domain.Clock
	// Name tells the cache's metrics from those of other caches; "" is "memory".
	Name string
	// Registerer takes the metrics; nil registers none.
	Registerer prometheus.Registerer
}

// NewCache returns an empty cache.
func NewCache(o CacheOptions) *Cache {
	if o.Clock == nil {
		o.Clock = domain.SystemClock{}
	}
	c := &Cache{stats: stats.NewCounter(), bytes: uint64(max(o.Bytes, 0))}
	c.entries = otter.Must(&otter.Options[string, cached]{
		MaximumWeight: max(c.bytes, 1),
		Weigher:       func(key string, e cached) uint32 { return uint32(min(weight(key, e.value), math.MaxUint32)) },
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[string, cached]) time.Duration {
			return e.Value.life
		}),
		Clock:         &sinceStart{clock: o.Clock, start: o.Clock.Now()},
		StatsRecorder: c.stats,
		// Eviction runs on the goroutine that wrote, so that memory is bounded
		// when Set returns, and nothing outlives the cache.
		Executor: func(task func()) { task() },
	})
	c.register(cmp.Or(o.Name, "memory"), o.Registerer)
	return c
}

func weight(key string, value []byte) uint64 {
	return uint64(len(key)) + uint64(cap(value)+cap(value)/rounding) + entryOverhead
}

// Get returns the value of a key, while it lives.
func (c *Cache) Get(_ context.Context, key string) ([]byte, bool) {
	e, ok := c.entries.GetIfPresent(key)
	return e.value, ok
}

// Set keeps a value for at most life. A value that is bigger than the whole
// cache, or has no life, only replaces what the key had by nothing.
func (c *Cache) Set(_ context.Context, key string, value []byte, life time.Duration) {
	if w := weight(key, value); life <= 0 || w > c.bytes || w > math.MaxUint32 {
		c.entries.Invalidate(key)
		return
	}
	c.entries.Set(key, cached{value: value, life: life})
	// A write that finds another one evicting leaves its own eviction to the
	// next call; with an idle cache that may never come.
	c.entries.CleanUp()
}

// SetNewer is Set, unless the key has a value of a higher version.
func (c *Cache) SetNewer(_ context.Context, key string, value []byte, life time.Duration) {
	if w := weight(key, value); life <= 0 || len(value) < 8 || w > c.bytes || w > math.MaxUint32 {
		return
	}
	c.entries.Compute(key, func(old cached, found bool) (cached, otter.ComputeOp) {
		if found && len(old.value) >= 8 && binary.BigEndian.Uint64(old.value) > binary.BigEndian.Uint64(value) {
			return old, otter.CancelOp
		}
		return cached{value: value, life: life}, otter.WriteOp
	})
	c.entries.CleanUp()
}

// Delete forgets keys.
func (c *Cache) Delete(_ context.Context, keys ...string) {
	for _, key := range keys {
		c.entries.Invalidate(key)
	}
}

// Bytes returns what the entries take at this moment, overhead included.
func (c *Cache) Bytes() int64 { return int64(min(c.entries.WeightedSize(), math.MaxInt64)) }

func (c *Cache) register(name string, r prometheus.Registerer) {
	f, labels := promauto.With(r), prometheus.Labels{"cache": name}
	counter := func(name, help string, value func(stats.Stats) uint64) {
		f.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(value(c.stats.Snapshot())) })
	}
	counter("vote_cache_hits_total", "Look-ups that found a value, by cache.",
		func(s stats.Stats) uint64 { return s.Hits })
	counter("vote_cache_misses_total", "Look-ups that found nothing, by cache.",
		func(s stats.Stats) uint64 { return s.Misses })
	counter("vote_cache_evictions_total", "Entries dropped because the cache was full or their life over, by cache.",
		func(s stats.Stats) uint64 { return s.Evictions })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "vote_cache_bytes", Help: "Memory taken by the entries, by cache.", ConstLabels: labels,
	}, func() float64 { return float64(c.Bytes()) })
}

// sinceStart gives otter the time since the cache was made. The difference of
// two readings of the system's clock ignores steps of the wall clock.
type sinceStart struct {
	clock domain.Clock
	start time.Time
}

func (c *sinceStart) NowNano() int64 { return int64(c.clock.Now().Sub(c.start)) }

// Tick returns no ticks: expired entries are removed by later calls, and no
// goroutine waits for the clock.
func (c *sinceStart) Tick(time.Duration) <-chan time.Time { return nil }
