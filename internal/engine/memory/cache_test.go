package memory_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vote/internal/domain"
	"vote/internal/engine/enginetest"
	"vote/internal/engine/memory"
)

func TestCache(t *testing.T) {
	enginetest.TestCache(t, func(_ *testing.T, clock domain.Clock) domain.Cache {
		return memory.NewCache(memory.CacheOptions{Bytes: 8 << 20, Clock: clock})
	}, enginetest.CacheDifferences{})
}

// Not parallel: it measures the heap.
func TestCacheStaysWithinItsBytes(t *testing.T) {
	const bound = 2 << 20
	for _, size := range []int{0, 20, 100, 700, 5000, 70_000, 1 << 20} {
		heap := func() int64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := heap()
		c := memory.NewCache(memory.CacheOptions{Bytes: bound})
		for i := range 3*bound/2/(size+200) + 10 {
			c.Set(t.Context(), fmt.Sprintf("poll:stats:%d", 1_000_000+i), make([]byte, size), time.Hour)
			if i%50 != 0 {
				continue
			}
			if n := c.Bytes(); n > bound {
				t.Fatalf("values of %d bytes: %d bytes after Set returned, bound %d", size, n, bound)
			}
		}
		if used := heap() - before; used > bound*21/20 || used < bound/3 {
			t.Errorf("values of %d bytes: the heap grew by %d bytes, bound %d", size, used, bound)
		}
		runtime.KeepAlive(c)
	}
}

func TestCacheConcurrentWritersLeaveItWithinItsBytes(t *testing.T) {
	t.Parallel()
	const bound = 1 << 20
	c := memory.NewCache(memory.CacheOptions{Bytes: bound})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 500 {
				c.Set(t.Context(), fmt.Sprintf("%d:%d", w, i), make([]byte, 20_000), time.Hour)
			}
		})
	}
	wg.Wait()
	if n := c.Bytes(); n > bound || n < bound/2 {
		t.Errorf("%d bytes at rest, bound %d", n, bound)
	}
}

func TestCacheTooBigAValueLeavesTheOthers(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := memory.NewCache(memory.CacheOptions{Bytes: 10_000})
	c.Set(ctx, "small", []byte("1"), time.Hour)
	c.Set(ctx, "big", []byte("old"), time.Hour)
	c.Set(ctx, "big", make([]byte, 10_000), time.Hour)
	if v, ok := c.Get(ctx, "big"); ok {
		t.Errorf("a value bigger than the cache left %d bytes", len(v))
	}
	if _, ok := c.Get(ctx, "small"); !ok {
		t.Error("a value bigger than the cache pushed out another")
	}
	none := memory.NewCache(memory.CacheOptions{Bytes: 0})
	none.Set(ctx, "a", nil, time.Hour)
	if _, ok := none.Get(ctx, "a"); ok {
		t.Error("a cache of 0 bytes kept a value")
	}
}

func TestCacheMetrics(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := prometheus.NewRegistry()
	clock := newHandClock()
	c := memory.NewCache(memory.CacheOptions{Bytes: 1 << 20, Clock: clock, Name: "bodies", Registerer: r})
	memory.NewCache(memory.CacheOptions{Bytes: 1 << 20, Clock: clock, Name: "pages", Registerer: r})
	c.Set(ctx, "a", []byte("1"), time.Minute)
	c.Get(ctx, "a")
	c.Get(ctx, "a")
	c.Get(ctx, "b")
	clock.advance(time.Hour)
	c.Get(ctx, "a")
	for name, want := range map[string]float64{
		"vote_cache_hits_total": 2, "vote_cache_misses_total": 2, "vote_cache_evictions_total": 1, "vote_cache_bytes": 0,
	} {
		if got := metric(t, r, name, "cache", "bodies"); got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
		if got := metric(t, r, name, "cache", "pages"); got != 0 {
			t.Errorf("%s of the other cache = %v", name, got)
		}
	}
	lint(t, r)
}

func BenchmarkCacheGet(b *testing.B) {
	ctx := b.Context()
	c := memory.NewCache(memory.CacheOptions{Bytes: 64 << 20})
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("poll:stats:%d", 1_000_000+i)
		c.Set(ctx, keys[i], make([]byte, 300), time.Hour)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, ok := c.Get(ctx, keys[i%len(keys)]); !ok {
				b.Error("lost a value")
			}
		}
	})
}

func BenchmarkCacheSet(b *testing.B) {
	ctx := b.Context()
	c := memory.NewCache(memory.CacheOptions{Bytes: 8 << 20})
	keys := make([]string, 100_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("poll:stats:%d", 1_000_000+i)
	}
	value := make([]byte, 300)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.Set(ctx, keys[i%len(keys)], value, time.Hour)
	}
}
