package memory

import (
	"context"
	"hash/maphash"
	"math"
	"math/bits"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"vote/internal/domain"
)

const (
	maxShards = 64
	// minShard is how many keys a shard has at least, so that an uneven
	// spread of keys over shards does not fill one long before the others.
	minShard = 1024
	// sweepEvery is after how many calls a shard looks at some of its keys for
	// idle ones, and sweepSize at how many.
	sweepEvery = 8
	sweepSize  = 2
	// evictionSample is among how many keys a full shard chooses the one to
	// forget.
	evictionSample = 16
	minRing        = 4
)

// Limiter is a [domain.Limiter] in memory, exact for one process: it keeps the
// time of every unit granted in the last window, so between a unit and the one
// that comes limit units later there is always at least a window. A unit granted
// at t is in the windows that begin after t-window, up to and including t.
//
// A key costs about 150 bytes and 8 for each unit in its window, up to the limit. Idle
// keys are removed as others are used. When there are more busy keys than the
// limiter may hold, it forgets the one of a sample that has the fewest units in
// its window. That key may then be granted as many units too many as were
// forgotten, and only there is the limiter inexact: a flood of new keys pushes
// itself out, one unit each, while a key near its limit stays. Forgotten keys
// are counted in vote_limiter_forgotten_keys_total, which should stay at 0:
// else raise the number of keys.
//
// Refund takes the newest units of a key. When another call for the same key
// comes between a Take and its Refund, that call's unit stays with the time of
// the refunded one, which is earlier by less than the time between the two calls.
//
// When the clock is set back, time stands still for the limiter for an instant and
// then goes on at the clock's pace, so windows may last longer but never less.
//
// Safe for concurrent use. A Take of a known key allocates nothing unless its
// ring must grow.
type Limiter struct {
	clock     domain.Clock
	start     time.Time
	seed      maphash.Seed
	shards    []limiterShard // a power of two
	forgotten prometheus.Counter
}

type limiterShard struct {
	mu      sync.Mutex
	byKey   map[string]*keyWindow
	all     []*keyWindow // in no order, for the sweep
	maxKeys int
	hand    int      // where the sweep goes on in all
	calls   uint8    // counts up to sweepEvery
	last    int64    // time of the latest call; never falls
	ahead   int64    // what the clock was set back by, all together
	_       [48]byte // shards in different cache lines
}

// keyWindow holds the times of a key's units, oldest first, in a ring whose
// size is a power of two.
type keyWindow struct {
	key    string
	window int64
	ring   []int64
	head   int
	n      int
	index  int // in limiterShard.all
}

// LimiterOptions are what a [Limiter] needs.
type LimiterOptions struct {
	// MaxKeys is about how many keys are held at most; 0 is a million.
	MaxKeys int
	// Clock tells the time; nil is the system's.
	Clock domain.Clock
	// Registerer takes the metrics; nil registers none.
	Registerer prometheus.Registerer
}

// NewLimiter returns a limiter without keys.
func NewLimiter(o LimiterOptions) *Limiter {
	if o.Clock == nil {
		o.Clock = domain.SystemClock{}
	}
	if o.MaxKeys <= 0 {
		o.MaxKeys = 1_000_000
	}
	shards := min(maxShards, 1<<(bits.Len(uint(max(o.MaxKeys/minShard, 1)))-1))
	f := promauto.With(o.Registerer)
	l := &Limiter{
		clock: o.Clock, start: o.Clock.Now(), seed: maphash.MakeSeed(),
		shards: make([]limiterShard, shards),
		forgotten: f.NewCounter(prometheus.CounterOpts{
			Name: "vote_limiter_forgotten_keys_total",
			Help: "Keys with units in their window that the limiter forgot because it was full.",
		}),
	}
	for i := range l.shards {
		l.shards[i].byKey = make(map[string]*keyWindow)
		l.shards[i].maxKeys = (o.MaxKeys + shards - 1) / shards
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "vote_limiter_keys", Help: "Keys that the limiter holds, idle ones that were not yet removed included.",
	}, func() float64 { return float64(l.Keys()) })
	return l
}

// Keys returns how many keys the limiter holds.
func (l *Limiter) Keys() int {
	n := 0
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		n += len(s.all)
		s.mu.Unlock()
	}
	return n
}

// Take grants as many of n units of key as fit into the window that ends now.
// With n of 0 or less it only looks.
func (l *Limiter) Take(_ context.Context, key string, limit int, window time.Duration, n int) domain.Grant {
	n = max(n, 0)
	if limit <= 0 || window <= 0 {
		return domain.Grant{Allowed: n, Remaining: math.MaxInt, Reset: l.clock.Now()}
	}
	s := l.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	wall, now := s.tick(l)

	k := s.byKey[key]
	switch {
	case k != nil:
		k.window = int64(window)
		k.expire(now)
	case n == 0:
		return domain.Grant{Limit: limit, Remaining: limit, Reset: wall}
	default:
		k = s.add(l, key, int64(window), now)
	}
	g := domain.Grant{Limit: limit, Allowed: max(min(n, limit-k.n), 0), Reset: wall}
	for range g.Allowed {
		k.push(now)
	}
	g.Remaining = max(limit-k.n, 0)
	if k.n > 0 {
		g.Reset = wall.Add(time.Duration(k.at(k.n-1) + k.window - now))
	}
	if g.Remaining == 0 {
		// When the limit was lowered there are more units than it allows.
		g.RetryAfter = time.Duration(k.at(k.n-limit) + k.window - now)
	}
	return g
}

// Refund gives back the n newest units of key, as far as it has any.
func (l *Limiter) Refund(_ context.Context, key string, n int) {
	s := l.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.byKey[key]; k != nil {
		k.n -= min(max(n, 0), k.n)
	}
}

func (l *Limiter) shard(key string) *limiterShard {
	return &l.shards[maphash.String(l.seed, key)&(uint64(len(l.shards))-1)]
}

// tick returns the time by the clock and the shard's own, which never falls,
// and sweeps a little every few calls. The clock is read under the lock: the
// readings of a shard are then in the order of its calls, and a lower one means
// that the clock was set back.
func (s *limiterShard) tick(l *Limiter) (wall time.Time, now int64) {
	wall = l.clock.Now()
	now = int64(wall.Sub(l.start)) + s.ahead
	if now < s.last {
		s.ahead += s.last - now
		now = s.last
	}
	s.last = now
	if s.calls++; s.calls >= sweepEvery {
		s.calls = 0
		s.sweep(now)
	}
	return wall, now
}

// sweep removes the next few keys that are idle, and gives back what their
// rings do not need from the others.
func (s *limiterShard) sweep(now int64) {
	for i := 0; i < sweepSize && len(s.all) > 0; i++ {
		k := s.next()
		k.expire(now)
		switch {
		case k.n == 0:
			s.remove(k)
		case len(k.ring) > minRing && k.n < len(k.ring)/4:
			k.resize(len(k.ring) / 2)
		}
	}
}

// next returns each key in turn. There must be one.
func (s *limiterShard) next() *keyWindow {
	s.hand++
	if s.hand >= len(s.all) {
		s.hand = 0
	}
	return s.all[s.hand]
}

func (s *limiterShard) add(l *Limiter, key string, window, now int64) *keyWindow {
	s.sweep(now)
	if len(s.all) >= s.maxKeys {
		s.makeRoom(l, now)
	}
	// The key may be a part of a request, which it must not keep in memory.
	k := &keyWindow{key: strings.Clone(key), window: window, index: len(s.all)}
	s.all = append(s.all, k)
	s.byKey[k.key] = k
	return k
}

// makeRoom removes the key of a sample that has the fewest units in its window,
// the one that was idle longest among equals.
func (s *limiterShard) makeRoom(l *Limiter, now int64) {
	var least *keyWindow
	for range min(evictionSample, len(s.all)) {
		k := s.next()
		k.expire(now)
		if least == nil || k.n < least.n || (k.n == least.n && k.n > 0 && k.at(k.n-1) < least.at(k.n-1)) {
			least = k
		}
	}
	if least.n > 0 {
		l.forgotten.Inc()
	}
	s.remove(least)
}

func (s *limiterShard) remove(k *keyWindow) {
	last := len(s.all) - 1
	moved := s.all[last]
	s.all[k.index], moved.index = moved, k.index
	s.all[last] = nil
	s.all = s.all[:last]
	delete(s.byKey, k.key)
}

// at returns the time of the i-th unit, from the oldest.
func (k *keyWindow) at(i int) int64 { return k.ring[(k.head+i)&(len(k.ring)-1)] }

// expire drops the units that are no longer in the window.
func (k *keyWindow) expire(now int64) {
	for k.n > 0 && now-k.ring[k.head] >= k.window {
		k.head = (k.head + 1) & (len(k.ring) - 1)
		k.n--
	}
}

func (k *keyWindow) push(now int64) {
	if k.n == len(k.ring) {
		k.resize(max(2*k.n, minRing))
	}
	k.ring[(k.head+k.n)&(len(k.ring)-1)] = now
	k.n++
}

func (k *keyWindow) resize(size int) {
	ring := make([]int64, size)
	for i := range k.n {
		ring[i] = k.at(i)
	}
	k.ring, k.head = ring, 0
}
