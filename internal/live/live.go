// Package live keeps the results of polls fresh for readers.
//
// Invariants:
//   - What [Stats.Get] returns never exceeds the truth and, for one poll, does
//     not go back in version, also when answers of the store overtake each
//     other or batches are announced out of order: an entry is only replaced by
//     one of at least its version.
//   - It was read from the store, or announced by [Stats.Apply], at most
//     Config.Fresh before the call. Only while the store cannot be asked it is
//     the newest that this process, or the cache that all share, still knows,
//     at most an hour old.
//   - One query to the store is under way at a time. Readers that find nothing
//     fresh meanwhile share the next one, so neither a hot poll nor a flushed
//     cache can stampede.
//   - Memory is bounded by Config.Bytes, and readers waiting by maxAsked.
//   - A [Stream] is given absolute states whose versions rise, the newest at the
//     time it takes them; see hub.
package live

import (
	"context"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"vote/internal/domain"
)

// Config is what [New] needs. Zero numbers stand for the defaults.
type Config struct {
	Store domain.Store
	// Cache keeps counts for the time in which the store cannot be asked; nil:
	// none.
	Cache      domain.Cache
	Clock      domain.Clock
	Registerer prometheus.Registerer // nil: metrics are not exported
	// Bytes bounds the cache; default 64 MiB.
	Bytes int64
	// Fresh is how old counts may be; default half a second, which leaves room
	// for the query within the second that readers are promised.
	Fresh time.Duration
	// Streams bounds how many are open at once; default 100,000.
	Streams int
}

const (
	queryLimit = 5 * time.Second // of one query to the store
	maxAsked   = 50_000          // polls in the next query
)

// Stats is safe for concurrent use.
type Stats struct {
	store domain.Store
	clock domain.Clock
	fresh time.Duration
	cache *otter.Cache[domain.PollID, entry]
	kept  kept
	hub   *hub

	hits, misses prometheus.Counter

	mu   sync.Mutex
	next *query // what the next query will ask; nil when nobody waits
	wake chan struct{}
}

type entry struct {
	counts domain.Counts
	at     time.Time // when the counts were true, or later
	saved  time.Time // when they were given to be kept
}

type query struct {
	ids  map[domain.PollID]struct{}
	done chan struct{}
	// Set before done is closed.
	found map[domain.PollID]domain.Counts
	err   error
}

// New returns a Stats whose [Stats.Run] must be running for the store to be asked.
func New(c Config) *Stats {
	if c.Bytes == 0 {
		c.Bytes = 64 << 20
	}
	if c.Fresh == 0 {
		c.Fresh = 500 * time.Millisecond
	}
	if c.Streams == 0 {
		c.Streams = 100_000
	}
	requests := promauto.With(c.Registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "vote_stats_cache_requests_total", Help: "Look-ups of a poll's counts, by result (hit, miss).",
	}, []string{"result"})
	s := &Stats{
		store: c.Store, clock: c.Clock, fresh: c.Fresh, wake: make(chan struct{}, 1),
		kept: kept{cache: c.Cache},
		hits: requests.WithLabelValues("hit"), misses: requests.WithLabelValues("miss"),
		cache: otter.Must(&otter.Options[domain.PollID, entry]{
			MaximumWeight: uint64(max(c.Bytes, 0)),
			Weigher: func(_ domain.PollID, e entry) uint32 {
				return uint32(184 + 8*len(e.counts.Votes)) //nolint:gosec // at most domain.MaxOptions
			},
		}),
	}
	s.hub = newHub(c.Streams, c.Registerer, s.fetch)
	return s
}

// Get returns a poll's counts. Errors: not_found for a poll that is unknown,
// hidden or deleted; unavailable; overloaded.
func (s *Stats) Get(ctx context.Context, id domain.PollID) (domain.Counts, error) {
	if e, ok := s.cached(id); ok {
		return e, nil
	}
	found, err := s.ask(ctx, id)
	if c, ok := found[id]; ok {
		return c, nil
	}
	if err != nil {
		return domain.Counts{}, err
	}
	return domain.Counts{}, domain.E(domain.CodeNotFound, "There is no such poll.")
}

// Newer says that the counts of polls have at least these versions by now: who
// asks next is told those, instead of what is up to half a second older.
func (s *Stats) Newer(versions map[domain.PollID]int64) {
	for id, version := range versions {
		s.cache.ComputeIfPresent(id, func(e entry) (entry, otter.ComputeOp) {
			if e.counts.Version() >= version {
				return e, otter.CancelOp
			}
			e.at = time.Time{}
			return e, otter.WriteOp
		})
	}
	s.hub.newer(versions)
}

// GetMany returns the counts of the polls that exist, in the order asked.
// Errors: unavailable, overloaded.
func (s *Stats) GetMany(ctx context.Context, ids []domain.PollID) ([]domain.Counts, error) {
	have := make(map[domain.PollID]domain.Counts, len(ids))
	var stale []domain.PollID
	for _, id := range ids {
		if c, ok := s.cached(id); ok {
			have[id] = c
		} else {
			stale = append(stale, id)
		}
	}
	if len(stale) > 0 {
		found, err := s.ask(ctx, stale...)
		for _, id := range stale {
			c, ok := found[id]
			switch {
			case ok:
				have[id] = c
			case err != nil:
				return nil, err // whether there is such a poll is not known
			}
		}
	}
	list := make([]domain.Counts, 0, len(ids))
	for _, id := range ids {
		if c, ok := have[id]; ok {
			list = append(list, c)
		}
	}
	return list, nil
}

func (s *Stats) cached(id domain.PollID) (domain.Counts, bool) {
	e, ok := s.cache.GetIfPresent(id)
	if !ok || s.clock.Now().Sub(e.at) >= s.fresh {
		s.misses.Inc()
		return domain.Counts{}, false
	}
	s.hits.Inc()
	return e.counts, true
}

// ask joins the next query and waits for its answer, which is shared: callers
// only read it. With an error, there may be something for some polls.
func (s *Stats) ask(ctx context.Context, ids ...domain.PollID) (map[domain.PollID]domain.Counts, error) {
	s.mu.Lock()
	if s.next == nil {
		s.next = &query{ids: make(map[domain.PollID]struct{}), done: make(chan struct{})}
	}
	q := s.next
	if len(q.ids)+len(ids) > maxAsked {
		s.mu.Unlock()
		return nil, &domain.Error{Code: domain.CodeOverloaded, Detail: "Too many requests are waiting.", RetryAfter: time.Second}
	}
	for _, id := range ids {
		q.ids[id] = struct{}{}
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	select {
	case <-q.done:
		return q.found, q.err
	case <-ctx.Done():
		return nil, domain.Fault(domain.CodeUnavailable, ctx.Err())
	}
}

// Run asks the store for what readers lack and what streams watch, and keeps what
// has changed in the cache, until ctx ends.
func (s *Stats) Run(ctx context.Context) error {
	var watching sync.WaitGroup
	watching.Go(func() { s.hub.run(ctx) })
	defer watching.Wait()
	if s.kept.cache != nil {
		var saving sync.WaitGroup
		saving.Go(func() { s.kept.run(ctx) })
		defer saving.Wait()
	}
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil
		}
		s.mu.Lock()
		q := s.next
		s.next = nil
		s.mu.Unlock()
		if q != nil {
			s.answer(ctx, q)
		}
	}
}

func (s *Stats) answer(ctx context.Context, q *query) {
	defer close(q.done)
	ids := make([]domain.PollID, 0, len(q.ids))
	for id := range q.ids {
		ids = append(ids, id)
	}
	if q.found, q.err = s.fetch(ctx, ids); domain.CodeOf(q.err) == domain.CodeUnavailable {
		q.found = s.recall(ctx, ids)
	}
}

// fetch asks the store for counts and keeps them.
func (s *Stats) fetch(ctx context.Context, ids []domain.PollID) (map[domain.PollID]domain.Counts, error) {
	asking, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	at := s.clock.Now()
	counts, err := s.store.Counts(asking, ids)
	if err != nil {
		return nil, err
	}
	found := make(map[domain.PollID]domain.Counts, len(counts))
	for _, c := range counts {
		found[c.Poll] = s.keep(c, at)
	}
	for _, id := range ids {
		if _, ok := found[id]; !ok {
			s.lost(id)
		}
	}
	return found, nil
}

// recall returns the newest that is still known of polls.
func (s *Stats) recall(ctx context.Context, ids []domain.PollID) map[domain.PollID]domain.Counts {
	found := make(map[domain.PollID]domain.Counts)
	for _, id := range ids {
		c, ok := s.kept.get(ctx, id)
		if e, here := s.cache.GetIfPresent(id); here && s.clock.Now().Sub(e.at) < keptLife && (!ok || e.counts.Version() > c.Version()) {
			c, ok = e.counts, true
		}
		if ok {
			found[id] = c
		}
	}
	return found
}

// lost takes note of a poll that is no longer to be seen.
func (s *Stats) lost(id domain.PollID) {
	if _, known := s.cache.Invalidate(id); known {
		s.kept.later(id, nil)
	}
}

// keep makes c the poll's cached counts unless newer ones are there, and
// returns the newest.
func (s *Stats) keep(c domain.Counts, at time.Time) domain.Counts {
	save, now := false, s.clock.Now()
	e, _ := s.cache.Compute(c.Poll, func(old entry, found bool) (entry, otter.ComputeOp) {
		if found && old.counts.Version() > c.Version() {
			return old, otter.CancelOp
		}
		saved := old.saved
		if save = old.counts.Version() < c.Version() || now.Sub(saved) > keptLife/2; save {
			saved = now
		}
		// Counts never fall, so counts of the same or a higher version are also
		// at least as fresh as what they replace.
		if found && old.at.After(at) {
			at = old.at
		}
		return entry{counts: c, at: at, saved: saved}, otter.WriteOp
	})
	if save {
		s.kept.later(c.Poll, &c)
	}
	return e.counts
}

// Apply takes the counts of a batch that this process committed.
func (s *Stats) Apply(o domain.Outcome) {
	now := s.clock.Now()
	for _, c := range o.Counts {
		s.keep(c, now)
		s.hub.take(c)
	}
}

// EndStreams ends all streams and refuses new ones, because the process ends.
func (s *Stats) EndStreams() { s.hub.drain() }

// Forget drops a poll that was hidden or deleted.
func (s *Stats) Forget(id domain.PollID) {
	s.cache.Invalidate(id)
	s.kept.later(id, nil)
	s.hub.forget(id)
}
