//go:build integration

package redis_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"

	"vote/internal/domain"
	"vote/internal/engine/enginetest"
	"vote/internal/engine/memory"
	"vote/internal/engine/redis"
	"vote/internal/testservers"
	"vote/internal/testservers/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options(address string) redis.Options {
	return redis.Options{
		Address: address, PoolSize: 100, MinIdleConns: 4, MaxRetries: 3,
		DialTimeout: time.Second, ReadTimeout: 3 * time.Second, WriteTimeout: 3 * time.Second,
	}
}

// open returns a Redis that runs until the test ends.
func open(t *testing.T, o redis.Options) *redis.Redis {
	t.Helper()
	r, err := redis.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return r
}

func newLimiter(r *redis.Redis) *redis.Limiter {
	return redis.NewLimiter(r, memory.NewLimiter(memory.LimiterOptions{}))
}

// ownKeys gives each user of a shared server keys of its own.
type ownKeys struct {
	domain.Cache
	prefix string
}

func (c ownKeys) Get(ctx context.Context, key string) ([]byte, bool) {
	return c.Cache.Get(ctx, c.prefix+key)
}

func (c ownKeys) Set(ctx context.Context, key string, value []byte, life time.Duration) {
	c.Cache.Set(ctx, c.prefix+key, value, life)
}

func (c ownKeys) SetNewer(ctx context.Context, key string, value []byte, life time.Duration) {
	c.Cache.SetNewer(ctx, c.prefix+key, value, life)
}

func (c ownKeys) Delete(ctx context.Context, keys ...string) {
	var own []string
	for _, k := range keys {
		own = append(own, c.prefix+k)
	}
	c.Cache.Delete(ctx, own...)
}

type ownWindows struct {
	domain.Limiter
	prefix string
}

func (l ownWindows) Take(ctx context.Context, key string, limit int, window time.Duration, n int) domain.Grant {
	return l.Limiter.Take(ctx, l.prefix+key, limit, window, n)
}

func (l ownWindows) Refund(ctx context.Context, key string, n int) {
	l.Limiter.Refund(ctx, l.prefix+key, n)
}

var opened atomic.Int64

func TestCache(t *testing.T) {
	r := open(t, options(startRedis(t).Address()))
	enginetest.TestCache(t, func(*testing.T, domain.Clock) domain.Cache {
		return ownKeys{redis.NewCache(r), fmt.Sprint("test:", opened.Add(1), ":")}
	}, enginetest.CacheDifferences{OwnTime: true})
}

func TestLimiter(t *testing.T) {
	r := open(t, options(startRedis(t).Address()))
	enginetest.TestLimiter(t, func(*testing.T, domain.Clock) domain.Limiter {
		return ownWindows{newLimiter(r), fmt.Sprint("test:", opened.Add(1), ":")}
	}, enginetest.LimiterDifferences{OwnTime: true})
}

func TestLimiterOfSeveralInstances(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	var instances []*redis.Limiter
	for range 3 {
		instances = append(instances, newLimiter(open(t, options(s.Address()))))
	}
	const limit, rounds = 100, 20
	for round := range rounds {
		key := fmt.Sprintf("rate:user:%d:votes", round)
		var granted atomic.Int64
		var wg sync.WaitGroup
		for i := range 2 * limit {
			wg.Go(func() {
				l := instances[i%len(instances)]
				if l.Take(t.Context(), key, limit, time.Minute, 1).Allowed == 1 {
					if i%10 == 0 {
						l.Refund(t.Context(), key, 1)
						if l.Take(t.Context(), key, limit, time.Minute, 1).Allowed == 0 {
							return // somebody else has it
						}
					}
					granted.Add(1)
				}
			})
		}
		wg.Wait()
		if n := granted.Load(); n != limit {
			t.Fatalf("round %d: %d units granted, want %d", round, n, limit)
		}
	}
}

func TestLimiterWindowIsExactAcrossInstances(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	const limit, window, workers, enough = 40, 500 * time.Millisecond, 12, 200
	var mu sync.Mutex
	var before, after []time.Time
	done := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(before) >= enough
	}
	var wg sync.WaitGroup
	for w := range 3 {
		l := newLimiter(open(t, options(s.Address())))
		for range workers / 3 {
			wg.Go(func() {
				for i := w; !done(); i++ {
					b := time.Now()
					n := l.Take(t.Context(), "rate:addr:::1:burst", limit, window, 1+i%3).Allowed
					a := time.Now()
					mu.Lock()
					for range n {
						before, after = append(before, b), append(after, a)
					}
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	// The i-th unit was granted at or after the i-th of the earliest, and at or
	// before the i-th of the latest possible times.
	slices.SortFunc(before, time.Time.Compare)
	slices.SortFunc(after, time.Time.Compare)
	for i := range len(before) - limit {
		if gap := after[i+limit].Sub(before[i]); gap < window {
			t.Fatalf("units %d and %d of %d were granted within %v", i, i+limit, len(before), gap)
		}
	}
}

func TestLimiterBoundsAKey(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	l := newLimiter(open(t, options(s.Address())))
	const limit = 5000
	granted := 0
	for granted < limit {
		g := l.Take(t.Context(), "k", limit, 10*time.Second, 1)
		if g.Allowed == 0 {
			break
		}
		granted += g.Allowed
		if g.Remaining != limit-granted {
			t.Fatalf("%d remain after %d of %d", g.Remaining, granted, limit)
		}
	}
	if g := l.Take(t.Context(), "k", limit, 10*time.Second, 1); granted != limit || g.Allowed != 0 || g.RetryAfter <= 0 {
		t.Fatalf("granted %d of %d, then %+v", granted, limit, g)
	}
	var size int
	if _, err := fmt.Sscan(s.do("STRLEN", "k"), &size); err != nil || size < 36 || size > 13_000 {
		t.Errorf("the value has %d bytes (%v)", size, err)
	}
	l.Refund(t.Context(), "k", limit-1)
	if g := l.Take(t.Context(), "k", limit, 10*time.Second, 0); g.Remaining != limit-1 {
		t.Errorf("after the refund %+v", g)
	}
}

func TestLimiterValuesEnd(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	l := newLimiter(open(t, options(s.Address())))
	l.Take(t.Context(), "k", 10, 50*time.Millisecond, 3)
	if s.do("EXISTS", "k") != "1" {
		t.Fatal("nothing was kept")
	}
	eventually(t, "the key is gone", func() bool { return s.do("EXISTS", "k") == "0" })
	// A value that is none of ours is replaced.
	s.do("SET", "other", "something else")
	for range 3 {
		if g := l.Take(t.Context(), "other", 10, time.Minute, 3); g.Allowed != 3 {
			t.Fatalf("grant %+v", g)
		}
	}
	if g := l.Take(t.Context(), "other", 10, time.Minute, 3); g.Allowed != 1 {
		t.Fatalf("grant %+v", g)
	}
}

// Redis forgets what a process knows it has granted: the process does not.
func TestLimiterSurvivesAFlush(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	l := newLimiter(open(t, options(s.Address())))
	if g := l.Take(t.Context(), "k", 5, time.Minute, 4); g.Allowed != 4 {
		t.Fatalf("grant %+v", g)
	}
	s.do("FLUSHALL")
	s.do("SCRIPT", "FLUSH")
	if g := l.Take(t.Context(), "k", 5, time.Minute, 4); g.Allowed != 1 || g.Remaining != 0 || g.RetryAfter <= 0 {
		t.Fatalf("grant after a flush %+v", g)
	}
	if g := l.Take(t.Context(), "k", 5, time.Minute, 1); g.Allowed != 0 {
		t.Fatalf("grant beyond the limit %+v", g)
	}
}

// states records what a hook is told.
type states struct {
	mu   sync.Mutex
	told []bool
}

func (s *states) add(reachable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, reachable)
}

func (s *states) all() []bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.told)
}

// outage breaks Redis, and checks that everything goes on without it, at the
// cost of one command's time, and with it after heal.
func outage(t *testing.T, o redis.Options, fault, heal func()) {
	t.Helper()
	var told states
	o.OnState = told.add
	registry := prometheus.NewRegistry()
	o.Registerer = registry
	r := open(t, o)
	cache, limiter := redis.NewCache(r), newLimiter(r)
	ctx := t.Context()
	cache.Set(ctx, "before", []byte("1"), time.Hour)
	if _, ok := cache.Get(ctx, "before"); !ok || !r.Reachable() {
		t.Fatal("it does not work even without a fault")
	}
	const limit = 100
	limiter.Take(ctx, "k", limit, time.Hour, 40)

	fault()
	// Everybody at once, then one after the other: were each to wait for
	// itself, this would take minutes.
	began := time.Now()
	var granted atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			cache.Get(ctx, "before")
			granted.Add(int64(limiter.Take(ctx, "k", limit, time.Hour, 1).Allowed))
			cache.Set(ctx, "during", []byte("1"), time.Hour)
		})
	}
	wg.Wait()
	eventually(t, "Redis is given up", func() bool { cache.Get(ctx, "before"); return len(told.all()) > 0 })
	for range 1000 {
		cache.Get(ctx, "before")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("going on without Redis took %v", took)
	}
	if n := granted.Load(); n != limit-40 {
		t.Errorf("%d units were granted during the outage, want the %d that were left", n, limit-40)
	}
	if g := limiter.Take(ctx, "another", 3, time.Hour, 3); g.Allowed != 3 {
		t.Errorf("another key was granted %+v", g)
	}

	heal()
	eventually(t, "Redis is used again", func() bool {
		cache.Set(ctx, "after", []byte("2"), time.Hour)
		v, ok := cache.Get(ctx, "after")
		return ok && string(v) == "2"
	})
	if g := limiter.Take(ctx, "k", limit, time.Hour, 1); g.Allowed != 0 {
		t.Errorf("after the outage %+v was granted beyond the limit", g)
	}
	eventually(t, "the hook was told", func() bool { a := told.all(); return len(a) >= 2 && !a[0] && a[len(a)-1] })
}

func TestKilled(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	outage(t, options(s.Address()), s.Kill, s.Restart)
}

func TestStopped(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	outage(t, options(s.Address()), s.Stop, s.Continue)
}

func TestSlow(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	p := testservers.StartProxy(t, s.Address())
	outage(t, options(p.Address()),
		func() { p.Delay(testservers.ToClient, 2*time.Second) }, func() { p.Delay(testservers.ToClient, 0) })
}

func TestDemoted(t *testing.T) {
	t.Parallel()
	s, other := startRedis(t), startRedis(t)
	host, port, _ := strings.Cut(other.Address(), ":")
	outage(t, options(s.Address()),
		func() { s.do("REPLICAOF", host, port) }, func() { s.do("REPLICAOF", "NO", "ONE") })
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*local.Redis) error{"killed": (*local.Redis).Kill, "stopped": (*local.Redis).Suspend} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			s, err := local.StartSentinels(ctx)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			master, err := s.Master(ctx)
			if err != nil {
				t.Fatal(err)
			}
			o := options("")
			o.SentinelMaster, o.SentinelAddresses = local.MasterName, s.Addresses()
			outage(t, o, func() {
				if err := fault(master); err != nil {
					t.Fatal(err)
				}
			}, func() {})
			if now, err := s.Master(ctx); err != nil || now == master {
				t.Errorf("no other Redis was made the master: %v", err)
			}
		})
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	// The port that nodes talk through is the other one plus 10000 unless it is
	// set, which somebody else may have.
	ports := [2]string{freePort(t), freePort(t)}
	one := startRedis(t, "cluster-enabled yes", "cluster-port "+ports[0])
	two := startRedis(t, "cluster-enabled yes", "cluster-port "+ports[1])
	one.do("CLUSTER", "ADDSLOTSRANGE", "0", "8191")
	two.do("CLUSTER", "ADDSLOTSRANGE", "8192", "16383")
	two.do("CLUSTER", "SET-CONFIG-EPOCH", "2")
	host, port, _ := strings.Cut(two.Address(), ":")
	one.do("CLUSTER", "MEET", host, port, ports[1])
	eventually(t, "the cluster is whole", func() bool {
		for _, s := range []server{one, two} {
			if info := s.do("CLUSTER", "INFO"); !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:2") {
				return false
			}
		}
		return true
	})
	o := options("")
	o.ClusterAddresses = []string{one.Address()}
	r := open(t, o)
	cache, limiter := redis.NewCache(r), newLimiter(r)
	ctx := t.Context()
	var keys []string
	for i := range 50 {
		key := fmt.Sprintf("poll:stats:%d", i)
		keys = append(keys, key)
		cache.Set(ctx, key, []byte(key), time.Hour)
		if v, ok := cache.Get(ctx, key); !ok || string(v) != key {
			t.Fatalf("Get(%s) = %q, %v", key, v, ok)
		}
		window := fmt.Sprintf("rate:user:%d:api", i)
		if g := limiter.Take(ctx, window, 3, time.Minute, 5); g.Allowed != 3 {
			t.Fatalf("grant %+v", g)
		}
		limiter.Refund(ctx, window, 1)
		if g := limiter.Take(ctx, window, 3, time.Minute, 0); g.Remaining != 1 {
			t.Fatalf("after a refund %+v", g)
		}
	}
	cache.Delete(ctx, keys...)
	for _, key := range keys {
		if _, ok := cache.Get(ctx, key); ok {
			t.Fatalf("%s is still there", key)
		}
	}
	if one.do("DBSIZE") == "0" || two.do("DBSIZE") == "0" {
		t.Error("a node has no keys")
	}
}

// A server that is away at the start is found when it comes.
func TestStartsWithout(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	s.Kill()
	r := open(t, options(s.Address()))
	if g := newLimiter(r).Take(t.Context(), "k", 3, time.Minute, 2); g.Allowed != 2 || r.Reachable() {
		t.Errorf("without a server %+v, reachable %v", g, r.Reachable())
	}
	s.Restart()
	eventually(t, "it is found", r.Reachable)
}

// What is opened and never run leaves nothing behind, which goleak sees to.
func TestClose(t *testing.T) {
	t.Parallel()
	r, err := redis.Open(t.Context(), options(startRedis(t).Address()))
	if err != nil || !r.Reachable() {
		t.Fatalf("reachable %v, %v", r.Reachable(), err)
	}
	r.Close()
	r.Close()
	if g := newLimiter(r).Take(t.Context(), "k", 3, time.Minute, 2); g.Allowed != 2 || r.Reachable() {
		t.Errorf("after the end %+v, reachable %v", g, r.Reachable())
	}
}

func TestPasswordAndDatabase(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	s.do("CONFIG", "SET", "requirepass", "secret")
	o := options(s.Address())
	o.Password, o.DB = "secret", 3
	r := open(t, o)
	redis.NewCache(r).Set(t.Context(), "k", []byte("v"), time.Hour)
	if _, ok := redis.NewCache(r).Get(t.Context(), "k"); !ok {
		t.Error("nothing was kept")
	}
	o.DB = 0
	if _, ok := redis.NewCache(open(t, o)).Get(t.Context(), "k"); ok {
		t.Error("the value is in database 0")
	}
	o.Password = "wrong"
	wrong := open(t, o)
	if wrong.Reachable() {
		t.Error("reachable with the wrong password")
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := startRedis(t, "maxmemory 100mb")
	registry := prometheus.NewRegistry()
	o := options(s.Address())
	o.Registerer = registry
	r := open(t, o)
	c := redis.NewCache(r)
	c.Set(t.Context(), "k", []byte("v"), time.Hour)
	c.Get(t.Context(), "k")
	c.Get(t.Context(), "none")
	value := func(name string) float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		sum := -1.0
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == name {
					sum = max(sum, 0) + m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
		return sum
	}
	for name, want := range map[string]float64{
		"vote_cache_hits_total": 1, "vote_cache_misses_total": 1, "vote_redis_breaker_open": 0, "vote_redis_breaker_trips_total": 0,
		"vote_redis_command_duration_seconds": 3,
	} {
		if got := value(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	eventually(t, "the server's numbers", func() bool {
		return value("vote_redis_memory_max_bytes") == 100<<20 && value("vote_redis_memory_bytes") > 0 && value("vote_redis_evicted_keys") == 0
	})
	if n := value("vote_redis_connections"); n < 1 || n > 4 {
		t.Errorf("%v connections are open", n)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
}
