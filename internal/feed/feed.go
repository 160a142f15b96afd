package feed

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vote/internal/domain"
)

// Config is what [New] needs. Zero numbers stand for the defaults.
type Config struct {
	Store domain.Store
	// Cache keeps large seen sets and the newest ranking for all instances; nil:
	// none.
	Cache      domain.Cache
	Clock      domain.Clock
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are not exported
	// SeenBytes bounds the memory of seen sets; default 64 MiB.
	SeenBytes int64
	// BodyBytes bounds the memory of polls' JSON; default 64 MiB.
	BodyBytes int64
	// Exclusive says that every vote, skip and poll is made by this process and
	// announced to the feed, so that pages need no look into the store.
	Exclusive bool
	// Ranker says that this process makes the hot ranking. Several may.
	Ranker bool
	// OnShown is told the polls of every page that was made. It must be quick,
	// and must not keep the slice; nil: nobody.
	OnShown func([]domain.PollID)
}

const (
	defaultBytes = 64 << 20
	// How often the index looks for changes without being woken.
	tailEvery          = 500 * time.Millisecond
	tailEveryExclusive = 5 * time.Second
	// wakeDelay lets hints gather before they cause a look.
	wakeDelay = 20 * time.Millisecond
	tailLimit = 1000 // entries in one query
	// How long to wait after a failed load: at first, and at most.
	retryFirst, retryMost = 100 * time.Millisecond, 5 * time.Second
)

var errStarting = &domain.Error{Code: domain.CodeStarting, Detail: "The feed is loading.", RetryAfter: time.Second}

// Feed is safe for concurrent use. It serves while [Feed.Run] runs.
type Feed struct {
	store     domain.Store
	clock     domain.Clock
	log       *slog.Logger
	exclusive bool
	ranker    bool
	onShown   func([]domain.PollID)
	started   time.Time
	metrics   *metrics

	ix       *index
	tagList  *tagList
	seen     *seenCache
	bodies   *bodies
	rankings *rankings
	popular  popularPages

	counts *shared[domain.PollID, struct{}]
	tails  *shared[struct{}, struct{}]
	wake   chan struct{}

	// accepting: announced polls go into the index, since tailing will find
	// those that were announced before. ready: pages are made.
	accepting, ready atomic.Bool
	tailedAt         atomic.Pointer[time.Time]

	// Counts announced while the index loads, which may not have the polls yet.
	loading struct {
		mu     sync.Mutex
		done   atomic.Bool
		counts map[domain.PollID]domain.Counts
	}
}

// New returns a feed that serves once [Feed.Run] has loaded it.
func New(cfg Config) *Feed {
	if cfg.SeenBytes <= 0 {
		cfg.SeenBytes = defaultBytes
	}
	if cfg.BodyBytes <= 0 {
		cfg.BodyBytes = defaultBytes
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m := newMetrics(cfg.Registerer)
	ix := newIndex(cfg.Exclusive)
	f := &Feed{
		store: cfg.Store, clock: cfg.Clock, log: cfg.Logger, exclusive: cfg.Exclusive, ranker: cfg.Ranker, onShown: cfg.OnShown,
		started: cfg.Clock.Now(), metrics: m,
		ix:       ix,
		tagList:  &tagList{ix: ix, clock: cfg.Clock},
		seen:     newSeenCache(cfg, ix, m),
		bodies:   newBodies(cfg, m),
		rankings: newRankings(cfg, ix),
		wake:     make(chan struct{}, 1),
	}
	f.popular.turn = make(chan struct{}, 1)
	f.loading.counts = make(map[domain.PollID]domain.Counts)
	f.counts = newShared(f.count)
	f.tails = newShared(f.tail)
	f.observe(cfg.Registerer)
	return f
}

// Run loads the index, retrying until it succeeds, then follows the store's
// changes and keeps the hot rankings, until ctx ends. It returns nil.
func (f *Feed) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { f.seen.states.run(ctx) })
	wg.Go(func() { f.counts.run(ctx) })
	wg.Go(func() { f.tails.run(ctx) })
	for wait := retryFirst; !f.Ready(); wait = min(2*wait, retryMost) {
		if err := f.load(ctx); err != nil {
			if ctx.Err() != nil {
				break
			}
			f.log.WarnContext(ctx, "feed index not loaded, trying again", "error", err, "in", wait)
			sleep(ctx, wait)
		}
	}
	if f.Ready() {
		wg.Go(func() { f.follow(ctx) })
		wg.Go(func() { f.rank(ctx) })
	}
	wg.Wait()
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Ready reports whether the index is loaded.
func (f *Feed) Ready() bool { return f.ready.Load() }

// load fills the index. It may be repeated after an error: entries replace what
// an earlier attempt read.
func (f *Feed) load(ctx context.Context) error {
	began := time.Now()
	if !f.accepting.Load() {
		revision, err := f.store.LoadCatalogue(ctx, func(e domain.Entry) error {
			f.ix.mu.Lock()
			f.ix.put(e)
			f.ix.mu.Unlock()
			return nil
		})
		if err != nil {
			return err
		}
		f.ix.begin(revision)
		f.accepting.Store(true)
		f.loading.mu.Lock()
		for _, c := range f.loading.counts {
			f.ix.count([]domain.Counts{c}, 0)
		}
		f.loading.counts = nil
		f.loading.done.Store(true)
		f.loading.mu.Unlock()
	}
	if _, err := f.tails.get(ctx, struct{}{}); err != nil {
		return err
	}
	f.tagList.top("", 1)
	// A fault here is no reason not to serve: rank tries again.
	err := f.readRanking(ctx)
	if err == nil && f.ranker && f.rankings.latest() == nil {
		err = f.makeRanking(ctx, rankEvery)
	}
	if err != nil {
		f.log.WarnContext(ctx, "no hot ranking yet", "error", err)
	}
	f.ready.Store(true)
	polls, tags := f.ix.size()
	f.log.InfoContext(ctx, "feed index loaded", "polls", polls, "tags", tags, "bytes", f.ix.bytes(), "took", time.Since(began))
	return nil
}

// tail applies what changed in the catalogue: the query behind f.tails.
func (f *Feed) tail(ctx context.Context, _ []struct{}) (map[struct{}]struct{}, error) {
	at := f.clock.Now()
	for {
		entries, err := f.store.CatalogueSince(ctx, f.ix.revision(), tailLimit)
		if err != nil {
			return nil, err
		}
		if len(entries) > 0 {
			// After the change was committed, so a body made later is right.
			if changed := f.ix.tail(entries); len(changed) > 0 {
				f.bodies.forget(changed...)
			}
		}
		if len(entries) < tailLimit {
			f.ix.complete()
			f.tailedAt.Store(&at)
			return nil, nil
		}
	}
}

// follow tails whenever it is woken, and regularly.
func (f *Feed) follow(ctx context.Context) {
	every := tailEvery
	if f.exclusive {
		every = tailEveryExclusive
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ticker.C:
		case <-f.wake:
			sleep(ctx, wakeDelay)
		case <-ctx.Done():
			return
		}
		_, err := f.tails.get(ctx, struct{}{})
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil && !failing:
			f.log.WarnContext(ctx, "cannot follow the store's changes", "error", err)
		case err == nil && failing:
			f.log.InfoContext(ctx, "follows the store's changes again")
		}
		failing = err != nil
	}
}

// rank makes the hot rankings, or reads those that others make.
func (f *Feed) rank(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	read := f.clock.Now()
	failing := false
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		var err error
		if f.ranker {
			polls, _ := f.ix.size()
			every, due := f.rankings.due(polls)
			if !due {
				continue
			}
			err = f.makeRanking(ctx, every)
		} else {
			now := f.clock.Now()
			if now.Sub(read) < rankRead {
				continue
			}
			read = now
			err = f.readRanking(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			f.log.WarnContext(ctx, "no new hot ranking", "error", err)
		}
		failing = err != nil
	}
}

func (f *Feed) makeRanking(ctx context.Context, every time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, rankLimit)
	defer cancel()
	began := time.Now()
	r, err := f.store.Rank(ctx, rankSize, every, rankKeep)
	if err != nil {
		return err
	}
	f.metrics.rank.Observe(time.Since(began).Seconds())
	f.rankings.add(r)
	f.rankings.share(ctx, r)
	return nil
}

func (f *Feed) readRanking(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	if r, ok := f.rankings.shared(ctx); ok {
		f.rankings.add(r)
		return nil
	}
	r, err := f.store.RankingByID(ctx, 0)
	if domain.CodeOf(err) == domain.CodeCursorExpired {
		return nil // nobody has made one yet
	}
	if err != nil {
		return err
	}
	f.rankings.add(r)
	return nil
}

// settle returns when the index can be walked without missing a poll. Errors:
// starting, unavailable.
func (f *Feed) settle(ctx context.Context) error {
	if !f.Ready() {
		return errStarting
	}
	if !f.ix.unsettled.Load() {
		return nil
	}
	_, err := f.tails.get(ctx, struct{}{})
	return err
}

// count sets the totals of polls from the store: the query behind f.counts.
func (f *Feed) count(ctx context.Context, ids []domain.PollID) (map[domain.PollID]struct{}, error) {
	tick := f.tick()
	counts, err := f.store.Counts(ctx, ids)
	if err != nil {
		return nil, err
	}
	f.ix.count(counts, tick)
	return nil, nil
}

// Apply takes in a committed batch of votes and skips. When it has returned, no
// page asked for later shows any of its polls to their users. It is to be called
// before anyone in the batch is answered.
func (f *Feed) Apply(o domain.Outcome) {
	f.seen.apply(o.Users)
	if !f.loading.done.Load() {
		f.loading.mu.Lock()
		if !f.loading.done.Load() {
			for _, c := range o.Counts {
				if old, ok := f.loading.counts[c.Poll]; !ok || c.Version() > old.Version() {
					f.loading.counts[c.Poll] = c
				}
			}
		}
		f.loading.mu.Unlock()
	}
	f.ix.count(o.Counts, 0)
}

// Published takes in a committed batch of publications: when it has returned,
// their polls are in the feed. It is to be called before anyone in the batch is
// answered.
func (f *Feed) Published(published []domain.Publication) {
	for i := range published {
		if published[i].Verdict.Code == "" {
			f.Changed(published[i].Entry)
		}
	}
}

// Changed takes in the entry of a poll that this process closed, hid, opened or
// deleted.
func (f *Feed) Changed(e domain.Entry) {
	if !f.accepting.Load() {
		return
	}
	if e.State == domain.PollDeleted {
		f.bodies.forget(e.Position)
	}
	if f.ix.announce(e) {
		f.Wake()
	}
}

// AuthorChanged says that the polls at the positions name their author otherwise
// than before: the author was renamed or erased. When it has returned, no answer
// asked for later holds the former name. Other processes learn it by tailing.
func (f *Feed) AuthorChanged(positions []domain.Position) {
	if len(positions) > 0 {
		f.bodies.forget(positions...)
		f.Wake()
	}
}

// ForgetUser drops what is remembered of a user that was erased.
func (f *Feed) ForgetUser(ctx context.Context, user domain.UserID) { f.seen.forget(ctx, user) }

// Wake says that the store has changes. It never blocks.
func (f *Feed) Wake() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Tags returns the tags that begin with a prefix (folded as stored tags are)
// with their numbers of open polls: at most limit, most used first, ties by
// name. Beyond 20,000 tags a tag never used before may be missing for a second.
func (f *Feed) Tags(prefix string, limit int) []TagCount { return f.tagList.top(prefix, limit) }

// AppendPoll appends one poll, open or closed, as JSON: with "closed":true when
// it is closed, with v also "viewer":{"voted":..,"optionIndex":n or
// null,"skipped":..}. Errors: not_found (unknown, hidden or deleted), starting,
// unavailable.
func (f *Feed) AppendPoll(ctx context.Context, dst []byte, id domain.PollID, v *domain.Prior) ([]byte, error) {
	p, b, err := f.readable(ctx, id)
	if err != nil {
		return dst, err
	}
	at := [1]domain.Position{p}
	if err := f.freshen(ctx, at[:]); err != nil {
		f.log.WarnContext(ctx, "total of a poll may be outdated", "poll", id, "error", err)
	}
	var total [1]uint32
	dst = b.append(dst, f.ix.totalsOf(total[:0], at[:])[0])
	if _, state, known := f.ix.lookup(id); known && state == domain.PollClosed {
		dst = append(dst[:len(dst)-1], `,"closed":true}`...)
	}
	if v == nil {
		return dst, nil
	}
	dst = append(dst[:len(dst)-1], `,"viewer":{"voted":`...)
	dst = strconv.AppendBool(dst, v.Voted)
	dst = append(dst, `,"optionIndex":`...)
	if v.Voted {
		dst = strconv.AppendInt(dst, int64(v.Option), 10)
	} else {
		dst = append(dst, `null`...)
	}
	dst = append(dst, `,"skipped":`...)
	dst = strconv.AppendBool(dst, v.Skipped)
	return append(dst, `}}`...), nil
}

// Options returns the texts of a poll's options, which the caller must not
// change. Errors: as for [Feed.AppendPoll].
func (f *Feed) Options(ctx context.Context, id domain.PollID) ([]string, error) {
	_, b, err := f.readable(ctx, id)
	if err != nil {
		return nil, err
	}
	return b.options, nil
}

var errNoPoll = domain.E(domain.CodeNotFound, "There is no such poll.")

// readable returns a poll that may be read: open or closed.
func (f *Feed) readable(ctx context.Context, id domain.PollID) (domain.Position, body, error) {
	if !f.Ready() {
		return 0, body{}, errStarting
	}
	p, state, ok := f.ix.lookup(id)
	if !ok && (f.ix.unsettled.Load() || !f.exclusive && f.ix.beyond(id)) {
		// Another process may have published it just now.
		if _, err := f.tails.get(ctx, struct{}{}); err != nil {
			return 0, body{}, err
		}
		p, state, ok = f.ix.lookup(id)
	}
	if !ok || state != domain.PollOpen && state != domain.PollClosed {
		return 0, body{}, errNoPoll
	}
	var found [1]body
	bodies, err := f.bodies.get(ctx, found[:0], []domain.Position{p})
	if err != nil {
		return 0, body{}, err
	}
	if bodies[0].json == nil {
		return 0, body{}, errNoPoll
	}
	return p, bodies[0], nil
}
