package feed

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vote/internal/domain"
)

const (
	seenShards = 64
	// entryBytes is what an entry costs besides its set.
	entryBytes = 240
	// largeSet is the number of interactions from which loading a set from the
	// store costs more than reading it from the cache.
	largeSet = 512
	// saveEvery is how far the cached value may lag behind: less than the
	// positions that come with a user's version, so that it stays usable.
	saveEvery = domain.RecentPositions * 3 / 4
	seenLife  = 24 * time.Hour
	// recheck is how often a process that makes every change itself verifies a
	// user's version nevertheless: a batch whose outcome stayed unknown, so
	// that nobody was told of it, shows up in the feed no longer than that.
	recheck = 30 * time.Second
)

// seenCache holds what recently active users have seen, bounded in bytes.
type seenCache struct {
	store     domain.Store
	cache     domain.Cache // nil: none
	clock     domain.Clock
	ix        *index
	exclusive bool
	states    *shared[domain.UserID, domain.UserState]

	hits, misses prometheus.Counter
	shards       [seenShards]seenShard
}

// seenShard is the least-recently-used list of some users.
type seenShard struct {
	mu      sync.Mutex
	limit   int64
	bytes   int64
	entries map[domain.UserID]*seenEntry
	lru     seenEntry // head of the ring: next is the latest used
	_       [64]byte  // shards on cache lines of their own
}

// seenEntry is what one user has seen. It is complete up to its version at any
// time, an empty one at version 0 included, and may hold more.
type seenEntry struct {
	user domain.UserID
	size atomic.Int64 // bytes

	// Guarded by the shard's lock.
	prev, next *seenEntry
	accounted  int64
	evicted    bool

	mu       sync.Mutex
	set      wordSet
	version  int64
	verified time.Time
	saved    int64 // the version of the value in the cache
	load     *seenLoad
}

// seenLoad is a load under way; done is closed when it ended.
type seenLoad struct{ done chan struct{} }

func newSeenCache(cfg Config, ix *index, m *metrics) *seenCache {
	c := &seenCache{
		store: cfg.Store, cache: cfg.Cache, clock: cfg.Clock, ix: ix, exclusive: cfg.Exclusive,
		hits: m.seenHits, misses: m.seenMisses,
	}
	c.states = newShared(func(ctx context.Context, users []domain.UserID) (map[domain.UserID]domain.UserState, error) {
		states, err := cfg.Store.UserStates(ctx, users)
		if err != nil {
			return nil, err
		}
		found := make(map[domain.UserID]domain.UserState, len(states))
		for i, s := range states {
			found[users[i]] = s
		}
		return found, nil
	})
	for i := range c.shards {
		s := &c.shards[i]
		s.limit = cfg.SeenBytes / seenShards
		s.entries = make(map[domain.UserID]*seenEntry)
		s.lru.prev, s.lru.next = &s.lru, &s.lru
	}
	return c
}

func (c *seenCache) shard(user domain.UserID) *seenShard {
	// Fibonacci hashing: consecutive ids spread over the shards.
	return &c.shards[uint64(user)*0x9E3779B97F4A7C15>>58] //nolint:gosec // any bits will do
}

// entry returns the user's entry as the latest used, a new one when there is
// none.
func (c *seenCache) entry(user domain.UserID) *seenEntry {
	s := c.shard(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[user]
	if !ok {
		e = &seenEntry{user: user}
		e.size.Store(entryBytes)
		s.entries[user] = e
		s.link(e)
		s.account(e)
		return e
	}
	if s.lru.next != e {
		s.unlink(e)
		s.link(e)
	}
	return e
}

func (s *seenShard) link(e *seenEntry) {
	e.prev, e.next = &s.lru, s.lru.next
	e.prev.next, e.next.prev = e, e
}

func (s *seenShard) unlink(e *seenEntry) {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
}

// account takes an entry's size into account and evicts the least recently
// used until the shard is within its limit. The caller holds the shard's lock.
func (s *seenShard) account(e *seenEntry) {
	if e.evicted {
		return
	}
	size := e.size.Load()
	s.bytes += size - e.accounted
	e.accounted = size
	for s.bytes > s.limit && s.lru.prev != &s.lru {
		s.drop(s.lru.prev)
	}
}

// forget drops a user.
func (c *seenCache) forget(ctx context.Context, user domain.UserID) {
	s := c.shard(user)
	s.mu.Lock()
	if e, ok := s.entries[user]; ok {
		s.drop(e)
	}
	s.mu.Unlock()
	if c.cache != nil {
		c.cache.Delete(ctx, seenKey(user))
	}
}

// drop takes an entry out. The caller holds the shard's lock.
func (s *seenShard) drop(e *seenEntry) {
	s.unlink(e)
	delete(s.entries, e.user)
	e.evicted = true
	s.bytes -= e.accounted
}

// resize tells the shard that an entry's set has changed.
func (c *seenCache) resize(e *seenEntry) {
	s := c.shard(e.user)
	s.mu.Lock()
	s.account(e)
	s.mu.Unlock()
}

// measure sets the entry's size and reports whether it changed. The caller
// holds the entry's lock.
func (e *seenEntry) measure() bool {
	size := int64(entryBytes + e.set.bytes())
	return e.size.Swap(size) != size
}

// apply adds what a committed batch changed. Users without an entry need
// nothing: theirs will be loaded after the commit.
func (c *seenCache) apply(changes []domain.UserChange) {
	for _, u := range changes {
		s := c.shard(u.User)
		s.mu.Lock()
		e, ok := s.entries[u.User]
		s.mu.Unlock()
		if !ok {
			continue
		}
		e.mu.Lock()
		for _, p := range u.Positions {
			e.set.add(p)
		}
		// Changes of other processes may lie between; then the version stays
		// and the next verification fills in.
		if u.Version-int64(len(u.Positions)) == e.version {
			e.version = u.Version
		}
		changed := e.measure()
		e.mu.Unlock()
		if changed {
			c.resize(e)
		}
	}
}

// acquire returns an entry that holds everything the user had seen when acquire
// was called. Its set is read under its lock. Errors: unavailable, overloaded.
func (c *seenCache) acquire(ctx context.Context, user domain.UserID) (*seenEntry, error) {
	e := c.entry(user)
	now := c.clock.Now()
	if c.exclusive {
		e.mu.Lock()
		fresh := !e.verified.IsZero() && now.Sub(e.verified) < recheck
		e.mu.Unlock()
		if fresh {
			c.hits.Inc()
			return e, nil
		}
	}
	states, err := c.states.get(ctx, user)
	if err != nil {
		return nil, err
	}
	state := states[user]
	filled, missed := false, false
	for {
		e.mu.Lock()
		missed = missed || e.verified.IsZero()
		if e.reach(state) {
			if now.After(e.verified) {
				e.verified = now
			}
			value := c.value(e)
			changed := e.measure()
			e.mu.Unlock()
			if changed {
				c.resize(e)
			}
			if value != nil {
				c.cache.Set(ctx, seenKey(user), value, seenLife)
			}
			if missed {
				c.misses.Inc()
			} else {
				c.hits.Inc()
			}
			return e, nil
		}
		if filled {
			// Read after the version was, and yet older: not to be trusted.
			e.mu.Unlock()
			return nil, domain.E(domain.CodeUnavailable, "Storage gave an outdated answer.")
		}
		missed = true
		if l := e.load; l != nil {
			e.mu.Unlock()
			// What it brings may be older than state: then the loop loads anew.
			select {
			case <-l.done:
				continue
			case <-ctx.Done():
				return nil, domain.Fault(domain.CodeUnavailable, ctx.Err())
			}
		}
		l := &seenLoad{done: make(chan struct{})}
		e.load = l
		e.mu.Unlock()
		err := c.fill(ctx, e, state)
		e.mu.Lock()
		e.load = nil
		e.mu.Unlock()
		close(l.done)
		if err != nil {
			return nil, err
		}
		filled = true
	}
}

// reach brings the entry to a state by the positions that came with it, and
// reports whether it is there. The caller holds the entry's lock.
func (e *seenEntry) reach(state domain.UserState) bool {
	lack := state.Version - e.version
	if lack <= 0 {
		return true
	}
	if lack > int64(len(state.Recent)) {
		return false
	}
	for _, p := range state.Recent[int64(len(state.Recent))-lack:] {
		e.set.add(p)
	}
	e.version = state.Version
	return true
}

// fill loads a set that is too old to be brought up by a state: from the cache
// when the state bridges what is missing there, else from the store.
func (c *seenCache) fill(ctx context.Context, e *seenEntry, state domain.UserState) error {
	if c.cache != nil && state.Version >= largeSet {
		if b, ok := c.cache.Get(ctx, seenKey(e.user)); ok {
			set, version, newestID, err := decodeSeen(b)
			lack := state.Version - version
			if err == nil && lack >= 0 && lack <= int64(len(state.Recent)) && c.ix.idAt(set.max()) == newestID {
				e.mu.Lock()
				e.saved = version
				e.take(set, version)
				e.mu.Unlock()
				return nil
			}
		}
	}
	seen, err := c.store.Seen(ctx, e.user)
	if err != nil {
		return fault(err)
	}
	var set wordSet
	set.addAll(seen.Positions)
	e.mu.Lock()
	e.take(set, seen.Version)
	e.mu.Unlock()
	return nil
}

// take adds a set that is complete up to a version. What was applied while it
// was loaded stays. The caller holds the entry's lock.
func (e *seenEntry) take(set wordSet, version int64) {
	for i, w := range e.set.words {
		set.addWord(w, e.set.masks[i])
	}
	e.set = set
	e.version = max(e.version, version)
}

// value returns what is to be put into the cache, nil when what is there will
// do. The caller holds the entry's lock.
func (c *seenCache) value(e *seenEntry) []byte {
	if c.cache == nil || e.version < largeSet || e.version < e.saved+saveEvery {
		return nil
	}
	newestID := c.ix.idAt(e.set.max())
	if newestID == 0 {
		return nil
	}
	e.saved = e.version
	return encodeSeen(&e.set, e.version, newestID)
}

// bytes returns the memory of all entries.
func (c *seenCache) bytes() int64 {
	var n int64
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += s.bytes
		s.mu.Unlock()
	}
	return n
}
