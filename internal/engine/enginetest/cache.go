package enginetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"vote/internal/domain"
)

// CacheDifferences are what a cache may do otherwise than the one in memory.
type CacheDifferences struct {
	// OwnTime says that the life of entries is measured by a server and not by
	// the clock it was opened with.
	OwnTime bool
}

// TestCache holds a cache to what [domain.Cache] promises. open returns an
// empty one that has room for all the suite keeps (about 4 MB) and is closed
// with the test. The test becomes a parallel one.
func TestCache(t *testing.T, open func(t *testing.T, clock domain.Clock) domain.Cache, d CacheDifferences) {
	t.Parallel()
	ctx := t.Context()
	get := func(t *testing.T, c domain.Cache, key, want string) {
		t.Helper()
		if got, ok := c.Get(ctx, key); !ok || string(got) != want {
			t.Fatalf("Get(%q) = %q, %v; want %q", key, got, ok, want)
		}
	}
	miss := func(t *testing.T, c domain.Cache, key string) {
		t.Helper()
		if got, ok := c.Get(ctx, key); ok {
			t.Fatalf("Get(%q) = %q, want nothing", key, got)
		}
	}

	t.Run("set, replace, delete", func(t *testing.T) {
		t.Parallel()
		c := open(t, newHandClock())
		miss(t, c, "a")
		c.Set(ctx, "a", []byte("1"), time.Hour)
		c.Set(ctx, "b", []byte("2"), time.Hour)
		c.Set(ctx, "c", []byte("3"), time.Hour)
		get(t, c, "a", "1")
		c.Set(ctx, "a", []byte("one"), time.Hour)
		get(t, c, "a", "one")
		get(t, c, "b", "2")
		c.Delete(ctx, "a", "unknown", "b")
		miss(t, c, "a")
		miss(t, c, "b")
		get(t, c, "c", "3")
		c.Delete(ctx)
		get(t, c, "c", "3")
	})
	t.Run("any bytes", func(t *testing.T) {
		t.Parallel()
		c := open(t, newHandClock())
		values := map[string]string{
			"poll:stats:1": "\x00\xff\r\n", "poll:stats:11": "", "poll:stats:": " ",
			"schlüssel:投票\x00\n": "wert", strings.Repeat("k", 1000): strings.Repeat("v", 1<<20),
		}
		for k, v := range values {
			c.Set(ctx, k, []byte(v), time.Hour)
		}
		for k, v := range values {
			get(t, c, k, v)
		}
		c.Set(ctx, "nil", nil, time.Hour)
		get(t, c, "nil", "")
	})
	t.Run("only newer values", func(t *testing.T) {
		t.Parallel()
		c := open(t, newHandClock())
		value := func(version uint64, text string) []byte {
			return append(binary.BigEndian.AppendUint64(nil, version), text...)
		}
		set := func(version uint64, text string) { c.SetNewer(ctx, "k", value(version, text), time.Hour) }
		set(3, "three")
		get(t, c, "k", string(value(3, "three")))
		set(2, "two")
		get(t, c, "k", string(value(3, "three")))
		set(3, "again")
		get(t, c, "k", string(value(3, "again")))
		set(1<<53-2, "next to last")
		set(1<<53-1, "last")
		set(1<<53-2, "next to last")
		get(t, c, "k", string(value(1<<53-1, "last")))
		c.SetNewer(ctx, "k", value(1<<53-1, "no life"), 0)
		get(t, c, "k", string(value(1<<53-1, "last")))
		c.Delete(ctx, "k")
		set(0, "")
		get(t, c, "k", string(value(0, "")))
		c.Set(ctx, "k", []byte("short"), time.Hour)
		c.SetNewer(ctx, "k", []byte("shorter"), time.Hour)
		get(t, c, "k", "short")
		set(1, "long")
		get(t, c, "k", string(value(1, "long")))
	})
	t.Run("the newest of concurrent values stays", func(t *testing.T) {
		t.Parallel()
		c := open(t, newHandClock())
		const writers, versions = 8, 50
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for v := range versions {
					c.SetNewer(ctx, "k", binary.BigEndian.AppendUint64(nil, uint64(v*writers+w)), time.Hour)
				}
			})
		}
		wg.Wait()
		get(t, c, "k", string(binary.BigEndian.AppendUint64(nil, writers*versions-1)))
	})
	t.Run("no life keeps nothing", func(t *testing.T) {
		t.Parallel()
		c := open(t, newHandClock())
		c.Set(ctx, "a", []byte("1"), time.Hour)
		c.Set(ctx, "a", []byte("2"), 0)
		miss(t, c, "a")
		c.Set(ctx, "b", []byte("1"), -time.Second)
		miss(t, c, "b")
	})
	t.Run("ended context is a miss at worst", func(t *testing.T) {
		t.Parallel()
		c := open(t, newHandClock())
		ended, cancel := context.WithCancel(ctx)
		cancel()
		c.Set(ended, "a", []byte("1"), time.Hour)
		if got, ok := c.Get(ended, "a"); ok && string(got) != "1" {
			t.Fatalf("Get = %q", got)
		}
		c.Delete(ended, "a")
		c.Set(ctx, "a", []byte("2"), time.Hour)
		get(t, c, "a", "2")
	})
	t.Run("concurrent use never mixes values", func(t *testing.T) {
		t.Parallel()
		c := open(t, newHandClock())
		const workers, rounds, keys = 8, 300, 40
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for r := range rounds {
					n := (r*7 + w*13) % keys
					key := fmt.Sprintf("key:%d", n)
					value := []byte(strings.Repeat(key, n+1))
					switch r % 5 {
					case 0:
						c.Set(ctx, key, value, time.Hour)
					case 1:
						c.Delete(ctx, key)
					default:
						if got, ok := c.Get(ctx, key); ok && !bytes.Equal(got, value) {
							t.Errorf("Get(%q) = %q", key, got)
						}
					}
				}
			})
		}
		wg.Wait()
	})

	if d.OwnTime {
		t.Run("life", func(t *testing.T) {
			t.Parallel()
			c := open(t, newHandClock())
			c.Set(ctx, "long", []byte("1"), time.Hour)
			c.Set(ctx, "longer", []byte("1"), 300*time.Millisecond)
			c.Set(ctx, "longer", []byte("2"), time.Hour)
			c.Set(ctx, "shorter", []byte("1"), time.Hour)
			c.Set(ctx, "shorter", []byte("2"), 300*time.Millisecond)
			begun := time.Now()
			c.Set(ctx, "short", []byte("1"), 300*time.Millisecond)
			if _, ok := c.Get(ctx, "short"); !ok && time.Since(begun) < 200*time.Millisecond {
				t.Error("a value was gone before its life was over")
			}
			waitUntil(t, func() bool {
				_, one := c.Get(ctx, "short")
				_, two := c.Get(ctx, "shorter")
				return !one && !two
			})
			get(t, c, "long", "1")
			get(t, c, "longer", "2")
		})
		return
	}
	t.Run("life", func(t *testing.T) {
		t.Parallel()
		clock := newHandClock()
		c := open(t, clock)
		c.Set(ctx, "minute", []byte("1"), time.Minute)
		c.Set(ctx, "day", []byte("1"), 24*time.Hour)
		c.Set(ctx, "longer", []byte("1"), time.Second)
		c.Set(ctx, "longer", []byte("2"), time.Hour)
		c.Set(ctx, "shorter", []byte("1"), time.Hour)
		c.Set(ctx, "shorter", []byte("2"), time.Minute)
		clock.advance(time.Minute - time.Millisecond)
		get(t, c, "minute", "1")
		get(t, c, "shorter", "2")
		c.Set(ctx, "late", []byte("1"), time.Minute)
		clock.advance(time.Millisecond)
		miss(t, c, "minute")
		miss(t, c, "shorter")
		get(t, c, "longer", "2")
		get(t, c, "late", "1")
		clock.advance(time.Hour)
		miss(t, c, "longer")
		miss(t, c, "late")
		get(t, c, "day", "1")
		clock.advance(23 * time.Hour)
		miss(t, c, "day")
		c.Set(ctx, "minute", []byte("again"), time.Minute)
		get(t, c, "minute", "again")
	})
}
