package memory_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"vote/internal/domain"
	"vote/internal/engine/enginetest"
	"vote/internal/engine/memory"
)

func TestLimiter(t *testing.T) {
	enginetest.TestLimiter(t, func(_ *testing.T, clock domain.Clock) domain.Limiter {
		return memory.NewLimiter(memory.LimiterOptions{Clock: clock})
	}, enginetest.LimiterDifferences{})
}

// However the clock jumps, limit+1 units are never granted while the time that
// really passed is less than a window, as long as the clock is not set forward.
func TestLimiterClockSetBack(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		clock := newHandClock()
		l := memory.NewLimiter(memory.LimiterOptions{MaxKeys: 100, Clock: clock})
		var elapsed time.Duration
		var units []time.Duration // when units were granted, in time that passed
		const limit = 3
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			passed := time.Duration(rapid.Int64Range(0, int64(30*time.Second)).Draw(t, "passed"))
			elapsed += passed
			clock.advance(passed)
			if rapid.IntRange(0, 4).Draw(t, "set back") == 0 {
				clock.advance(-time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(t, "by")))
			}
			if g := l.Take(ctx, "k", limit, time.Minute, 1); g.Allowed == 1 {
				units = append(units, elapsed)
			} else if g.RetryAfter > time.Minute {
				t.Fatalf("retry after %v", g.RetryAfter)
			}
		}
		for i := limit; i < len(units); i++ {
			if gap := units[i] - units[i-limit]; gap < time.Minute {
				t.Fatalf("%d units within %v", limit+1, gap)
			}
		}
	})
}

func TestLimiterClockSetBackDoesNotStopIt(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	clock := newHandClock()
	l := memory.NewLimiter(memory.LimiterOptions{MaxKeys: 100, Clock: clock})
	l.Take(ctx, "k", 2, time.Minute, 2)
	clock.advance(-24 * time.Hour)
	if g := l.Take(ctx, "k", 2, time.Minute, 1); g.Allowed != 0 || !g.Reset.Equal(clock.Now().Add(time.Minute)) {
		t.Fatalf("grant %+v just after the clock was set back to %v", g, clock.Now())
	}
	clock.advance(time.Minute)
	if g := l.Take(ctx, "k", 2, time.Minute, 2); g.Allowed != 2 {
		t.Fatalf("grant %+v a minute later", g)
	}
}

func TestLimiterForgetsIdleKeys(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	clock := newHandClock()
	l := memory.NewLimiter(memory.LimiterOptions{Clock: clock})
	for i := range 3000 {
		l.Take(ctx, fmt.Sprintf("address:%d", i), 100, time.Minute, 1)
	}
	if n := l.Keys(); n != 3000 {
		t.Fatalf("%d keys, want 3000", n)
	}
	clock.advance(time.Minute)
	// The same keys again and again: the idle ones must go without new ones coming.
	for i := range 200 * 1000 {
		l.Take(ctx, fmt.Sprintf("user:%d", i%1000), 1_000_000, time.Minute, 1)
	}
	if n := l.Keys(); n != 1000 {
		t.Errorf("%d keys, of which 1000 are in use", n)
	}
}

func TestLimiterFull(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const maxKeys = 1000
	clock := newHandClock()
	r := prometheus.NewRegistry()
	l := memory.NewLimiter(memory.LimiterOptions{MaxKeys: maxKeys, Clock: clock, Registerer: r})
	for range 8 {
		l.Take(ctx, "busy", 10, time.Hour, 1)
	}
	for i := range 20 * maxKeys {
		clock.advance(time.Millisecond)
		l.Take(ctx, fmt.Sprintf("flood:%d", i), 10, time.Hour, 1)
		if n := l.Keys(); n > maxKeys {
			t.Fatalf("%d keys, at most %d", n, maxKeys)
		}
	}
	if g := l.Take(ctx, "busy", 10, time.Hour, 10); g.Allowed != 2 {
		t.Errorf("a flood of keys with one unit each made the limiter forget a busy key: %+v", g)
	}
	if n := metric(t, r, "vote_limiter_forgotten_keys_total", "", ""); n != 19*maxKeys+1 {
		t.Errorf("%v keys counted as forgotten, want %d", n, 19*maxKeys+1)
	}
	if n := metric(t, r, "vote_limiter_keys", "", ""); n != maxKeys {
		t.Errorf("vote_limiter_keys = %v, want %d", n, maxKeys)
	}
	lint(t, r)
}

func TestLimiterIdleKeysAreNotCountedAsForgotten(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	clock := newHandClock()
	r := prometheus.NewRegistry()
	l := memory.NewLimiter(memory.LimiterOptions{MaxKeys: 10, Clock: clock, Registerer: r})
	for i := range 1000 {
		l.Take(ctx, fmt.Sprint(i), 10, time.Second, 1)
		clock.advance(200 * time.Millisecond)
	}
	if n := metric(t, r, "vote_limiter_forgotten_keys_total", "", ""); n != 0 {
		t.Errorf("%v keys were forgotten though at most 5 were busy", n)
	}
}

// Not parallel: it measures the heap.
func TestLimiterMemoryFollowsUse(t *testing.T) {
	ctx := t.Context()
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	clock := newHandClock()
	l := memory.NewLimiter(memory.LimiterOptions{Clock: clock})
	keys := make([]string, 500)
	for i := range keys {
		keys[i] = fmt.Sprintf("rate:user:%d:votes", i)
	}
	before := heap()
	for _, k := range keys {
		l.Take(ctx, k, 1024, time.Minute, 1024)
	}
	full := heap() - before
	if want := int64(len(keys) * 1024 * 8); full < want || full > want*6/5 {
		t.Errorf("%d keys of 1024 units take %d bytes, want about %d", len(keys), full, want)
	}
	// The users go on, with few votes each: what their rings had is given back.
	for range 100 {
		clock.advance(20 * time.Second)
		for _, k := range keys {
			l.Take(ctx, k, 1024, time.Minute, 1)
		}
	}
	if after := heap() - before; after > int64(len(keys)*400) {
		t.Errorf("%d nearly idle keys take %d bytes", len(keys), after)
	}
	runtime.KeepAlive(l)
}

func TestLimiterTakeOfAKnownKeyAllocatesNothing(t *testing.T) {
	ctx := t.Context()
	l := memory.NewLimiter(memory.LimiterOptions{MaxKeys: 1 << 20})
	key := "rate:user:1:votes"
	for range 200 {
		l.Take(ctx, key, 100, time.Minute, 1)
	}
	if n := testing.AllocsPerRun(1000, func() {
		l.Take(ctx, key, 100, time.Minute, 1)
		l.Refund(ctx, key, 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLimiterTake(b *testing.B) {
	ctx := b.Context()
	for _, bb := range []struct {
		name   string
		keys   int
		limit  int
		window time.Duration
	}{
		{"granted", 100, 100, time.Millisecond},
		{"refused", 10_000, 100, time.Hour},
		{"one key", 1, 100, time.Millisecond},
		{"million keys", 1_000_000, 100, time.Minute},
	} {
		b.Run(bb.name, func(b *testing.B) {
			l := memory.NewLimiter(memory.LimiterOptions{MaxKeys: 1 << 20})
			keys := make([]string, bb.keys)
			for i := range keys {
				keys[i] = fmt.Sprintf("rate:user:%d:votes", i)
				l.Take(ctx, keys[i], bb.limit, bb.window, bb.limit/10)
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					l.Take(ctx, keys[i%len(keys)], bb.limit, bb.window, 1)
				}
			})
		})
	}
}
