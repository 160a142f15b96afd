package enginetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vote/internal/domain"
)

// LimiterDifferences are what a limiter may do otherwise than the one in memory.
type LimiterDifferences struct {
	// OwnTime says that windows are measured by a server and not by the clock
	// it was opened with. Times are then compared roughly.
	OwnTime bool
}

// TestLimiter holds a limiter to what [domain.Limiter] promises. open returns
// an empty one that is closed with the test. The test becomes a parallel one.
func TestLimiter(t *testing.T, open func(t *testing.T, clock domain.Clock) domain.Limiter, d LimiterDifferences) {
	t.Parallel()
	ctx := t.Context()
	const window = time.Minute
	// want compares a grant whose window was charged last at this moment.
	want := func(t *testing.T, g domain.Grant, clock *handClock, allowed, limit, remaining int) {
		t.Helper()
		if g.Allowed != allowed || g.Limit != limit || g.Remaining != remaining {
			t.Fatalf("grant %+v, want allowed %d, limit %d, remaining %d", g, allowed, limit, remaining)
		}
		if (g.RetryAfter > 0) != (remaining == 0) || g.RetryAfter > window {
			t.Fatalf("retry after %v with %d remaining", g.RetryAfter, remaining)
		}
		now, slack := clock.Now(), time.Duration(0)
		if d.OwnTime {
			now, slack = time.Now(), 30*time.Second
		}
		if off := g.Reset.Sub(now.Add(window)); remaining < limit && off.Abs() > slack {
			t.Fatalf("reset %v after now, want %v", g.Reset.Sub(now), window)
		}
	}

	t.Run("grants up to the limit", func(t *testing.T) {
		t.Parallel()
		clock := newHandClock()
		l := open(t, clock)
		for i := range 5 {
			want(t, l.Take(ctx, "k", 5, window, 1), clock, 1, 5, 4-i)
		}
		want(t, l.Take(ctx, "k", 5, window, 1), clock, 0, 5, 0)
		want(t, l.Take(ctx, "k", 5, window, 3), clock, 0, 5, 0)
		want(t, l.Take(ctx, "other", 5, window, 1), clock, 1, 5, 4)
	})
	t.Run("grants a part", func(t *testing.T) {
		t.Parallel()
		clock := newHandClock()
		l := open(t, clock)
		want(t, l.Take(ctx, "k", 10, window, 7), clock, 7, 10, 3)
		want(t, l.Take(ctx, "k", 10, window, 7), clock, 3, 10, 0)
		want(t, l.Take(ctx, "k", 10, window, 7), clock, 0, 10, 0)
		want(t, l.Take(ctx, "big", 10, window, 1000), clock, 10, 10, 0)
	})
	t.Run("asking for nothing only looks", func(t *testing.T) {
		t.Parallel()
		clock := newHandClock()
		l := open(t, clock)
		want(t, l.Take(ctx, "k", 3, window, 0), clock, 0, 3, 3)
		want(t, l.Take(ctx, "k", 3, window, 2), clock, 2, 3, 1)
		want(t, l.Take(ctx, "k", 3, window, 0), clock, 0, 3, 1)
		want(t, l.Take(ctx, "k", 3, window, -1), clock, 0, 3, 1)
	})
	t.Run("refund", func(t *testing.T) {
		t.Parallel()
		clock := newHandClock()
		l := open(t, clock)
		l.Refund(ctx, "k", 1)
		want(t, l.Take(ctx, "k", 5, window, 5), clock, 5, 5, 0)
		l.Refund(ctx, "k", 2)
		want(t, l.Take(ctx, "k", 5, window, 0), clock, 0, 5, 2)
		want(t, l.Take(ctx, "k", 5, window, 3), clock, 2, 5, 0)
		l.Refund(ctx, "k", 0)
		l.Refund(ctx, "k", -1)
		want(t, l.Take(ctx, "k", 5, window, 1), clock, 0, 5, 0)
		l.Refund(ctx, "k", 100)
		want(t, l.Take(ctx, "k", 5, window, 0), clock, 0, 5, 5)
		want(t, l.Take(ctx, "k", 5, window, 9), clock, 5, 5, 0)
	})
	t.Run("limit 0 is no limit", func(t *testing.T) {
		t.Parallel()
		clock := newHandClock()
		l := open(t, clock)
		for range 3 {
			if g := l.Take(ctx, "k", 0, window, 1000); g.Allowed != 1000 || g.Limit != 0 || g.RetryAfter != 0 {
				t.Fatalf("grant %+v", g)
			}
		}
		want(t, l.Take(ctx, "k", 2, window, 1), clock, 1, 2, 1)
	})
	t.Run("another limit holds at once", func(t *testing.T) {
		t.Parallel()
		clock := newHandClock()
		l := open(t, clock)
		want(t, l.Take(ctx, "k", 4, window, 4), clock, 4, 4, 0)
		want(t, l.Take(ctx, "k", 2, window, 1), clock, 0, 2, 0)
		want(t, l.Take(ctx, "k", 6, window, 1), clock, 1, 6, 1)
	})
	t.Run("ended context never refuses", func(t *testing.T) {
		t.Parallel()
		l := open(t, newHandClock())
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if g := l.Take(ended, "k", 3, window, 2); g.Allowed != 2 || g.Limit != 3 {
			t.Fatalf("grant %+v", g)
		}
		l.Refund(ended, "k", 1)
	})
	t.Run("concurrent calls are granted exactly the limit", func(t *testing.T) {
		t.Parallel()
		l := open(t, newHandClock())
		const keys, limit, workers = 7, 100, 16
		var granted [keys]atomic.Int64
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range 50 {
					for k := range keys {
						n := 1 + (i+w+k)%3
						g := l.Take(ctx, fmt.Sprintf("k%d", k), limit, time.Hour, n)
						granted[k].Add(int64(g.Allowed))
						if g.Allowed == n && i%10 == 0 {
							l.Refund(ctx, fmt.Sprintf("k%d", k), 1)
							granted[k].Add(-1)
						}
					}
				}
			})
		}
		wg.Wait()
		for k := range keys {
			// What a refund gave back late may not have been asked for again.
			last := l.Take(ctx, fmt.Sprintf("k%d", k), limit, time.Hour, limit)
			if n := granted[k].Load() + int64(last.Allowed); n != limit {
				t.Errorf("key %d was granted %d units, want %d", k, n, limit)
			}
		}
	})

	if d.OwnTime {
		t.Run("the window slides", func(t *testing.T) {
			t.Parallel()
			l := open(t, newHandClock())
			const window, limit = time.Second, 5
			type unit struct{ before, after time.Time }
			var units []unit
			for len(units) < 4*limit {
				before := time.Now()
				g := l.Take(ctx, "k", limit, window, 1)
				if g.Allowed == 1 {
					units = append(units, unit{before, time.Now()})
				} else {
					time.Sleep(min(g.RetryAfter, window) / 2)
				}
			}
			for i := limit; i < len(units); i++ {
				if gap := units[i].after.Sub(units[i-limit].before); gap < window {
					t.Fatalf("units %d and %d were granted within %v", i-limit, i, gap)
				}
			}
		})
		return
	}
	t.Run("the window slides", func(t *testing.T) {
		t.Parallel()
		clock := newHandClock()
		l := open(t, clock)
		for range 3 { // units at 0, 10 and 20 seconds
			l.Take(ctx, "k", 3, window, 1)
			clock.advance(10 * time.Second)
		}
		g := l.Take(ctx, "k", 3, window, 1)
		if g.Allowed != 0 || g.RetryAfter != 30*time.Second || !g.Reset.Equal(clock.Now().Add(50*time.Second)) {
			t.Fatalf("grant %+v at %v", g, clock.Now())
		}
		clock.advance(30*time.Second - 1)
		if g := l.Take(ctx, "k", 3, window, 1); g.Allowed != 0 || g.RetryAfter != 1 {
			t.Fatalf("grant %+v just before the first unit leaves", g)
		}
		clock.advance(1)
		if g := l.Take(ctx, "k", 3, window, 2); g.Allowed != 1 || g.Remaining != 0 || g.RetryAfter != 10*time.Second {
			t.Fatalf("grant %+v when the first unit has left", g)
		}
		clock.advance(window)
		want(t, l.Take(ctx, "k", 3, window, 3), clock, 3, 3, 0)
	})
	t.Run("random histories", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(rt *rapid.T) {
			clock := newHandClock()
			compareWithModel(rt, open(t, clock), clock)
		})
	})
}

// limiterModel keeps the time of every unit for ever.
type limiterModel struct {
	units  map[string][]time.Time
	window map[string]time.Duration
}

func (m *limiterModel) take(now time.Time, key string, limit, n int) domain.Grant {
	if limit == 0 {
		return domain.Grant{Allowed: n}
	}
	window := m.window[key]
	inside := func() (units []time.Time) {
		for _, at := range m.units[key] {
			if at.Add(window).After(now) {
				units = append(units, at)
			}
		}
		return units
	}
	g := domain.Grant{Limit: limit, Allowed: max(0, min(n, limit-len(inside()))), Reset: now}
	for range g.Allowed {
		m.units[key] = append(m.units[key], now)
	}
	units := inside()
	g.Remaining = max(0, limit-len(units))
	if len(units) > 0 {
		g.Reset = units[len(units)-1].Add(window)
	}
	if g.Remaining == 0 {
		g.RetryAfter = units[len(units)-limit].Add(window).Sub(now)
	}
	return g
}

func (m *limiterModel) refund(now time.Time, key string, n int) {
	for ; n > 0 && len(m.units[key]) > 0; n-- {
		last := len(m.units[key]) - 1
		if !m.units[key][last].Add(m.window[key]).After(now) {
			return
		}
		m.units[key] = m.units[key][:last]
	}
}

func compareWithModel(t *rapid.T, l domain.Limiter, clock *handClock) {
	ctx := t.Context()
	m := &limiterModel{units: map[string][]time.Time{}, window: map[string]time.Duration{
		"a": time.Second, "b": time.Minute, "c": time.Minute, "d": time.Hour,
	}}
	key := rapid.SampledFrom([]string{"a", "b", "c", "d"})
	limit := rapid.SampledFrom([]int{0, 1, 2, 5, 5, 5, 100})
	step := rapid.OneOf(
		rapid.Int64Range(0, int64(2*time.Second)), rapid.Int64Range(0, int64(time.Minute)),
		rapid.SampledFrom([]int64{0, 1, int64(time.Second), int64(time.Second) - 1, int64(time.Minute), int64(time.Hour)}))
	t.Repeat(map[string]func(*rapid.T){
		"take": func(t *rapid.T) {
			k, n, units := key.Draw(t, "key"), limit.Draw(t, "limit"), rapid.IntRange(0, 12).Draw(t, "units")
			got, want := l.Take(ctx, k, n, m.window[k], units), m.take(clock.Now(), k, n, units)
			if n == 0 {
				got.Remaining, got.Reset = 0, time.Time{}
			}
			if !got.Reset.Equal(want.Reset) {
				t.Fatalf("reset %v, want %v", got.Reset, want.Reset)
			}
			got.Reset = want.Reset
			if got != want {
				t.Fatalf("Take(%s, %d, %d) = %+v, want %+v", k, n, units, got, want)
			}
		},
		"refund": func(t *rapid.T) {
			k, n := key.Draw(t, "key"), rapid.IntRange(0, 6).Draw(t, "units")
			l.Refund(ctx, k, n)
			m.refund(clock.Now(), k, n)
		},
		"wait": func(t *rapid.T) { clock.advance(time.Duration(step.Draw(t, "time"))) },
	})
}

// handClock is a [domain.Clock] that moves only when told.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func newHandClock() *handClock {
	return &handClock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// waitUntil polls until cond holds and fails the test when it does not within
// half a minute.
func waitUntil(t *testing.T, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what was waited for did not happen")
		}
	}
}
