package feed

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"vote/internal/domain"
)

// Query asks for one page of a feed.
type Query struct {
	User   domain.UserID // whose seen polls are left out; 0: nobody's
	Tags   []string      // any of them, as stored; none: every poll
	Text   string        // search; empty: no search
	Sort   Sort
	Limit  int    // 1 to 100; default 10
	Cursor string // where to go on; empty: at the beginning
	Page   int    // from 1; 0: not given. Not together with Cursor
}

const (
	defaultLimit = 10
	maxLimit     = 100
	// maxHits bounds the search hits that one page looks at.
	maxHits = 10_000
	// hitsAtOnce bounds one query for search hits.
	hitsAtOnce = 1000
)

// scratch is what making a page needs and the next one can use again.
type scratch struct {
	positions []domain.Position
	totals    []uint32
	bodies    []body
	shown     []domain.PollID
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func getScratch() *scratch {
	s := scratches.Get().(*scratch) //nolint:forcetypeassert // the pool holds nothing else
	s.positions, s.totals, s.bodies = s.positions[:0], s.totals[:0], s.bodies[:0]
	return s
}

func (s *scratch) release() {
	clear(s.bodies) // they are not to be kept from collection
	scratches.Put(s)
}

// AppendPage appends a page of the feed as JSON:
//
//	{"polls":[...],"nextCursor":"..." or null,"page":n,"limit":n}
//
// Polls are open ones that the user has not seen. nextCursor is null when none
// follows. page is the number asked for, or how many pages the walk has come.
//
// A page by number counts pages of what is unseen at that moment. A search looks
// at no more than 10,000 hits for a page: then it may be short, or empty, and yet
// have a nextCursor. With SortHot a text finds only among its 10,000 newest hits
// that are not older than the whole ranking. A text without a word finds nothing.
//
// Errors: malformed (Cursor and Page), invalid_cursor, cursor_expired, starting,
// overloaded, unavailable. dst is returned as it was then.
func (f *Feed) AppendPage(ctx context.Context, dst []byte, q Query) ([]byte, error) {
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	q.Limit = min(q.Limit, maxLimit)
	at := cursor{sort: q.Sort, page: max(1, q.Page), below: maxPosition}
	if q.Cursor != "" {
		if q.Page != 0 {
			return dst, domain.E(domain.CodeMalformed, "Give either a cursor or a page.")
		}
		var err error
		if at, err = parseCursor(q.Cursor, q.Sort); err != nil {
			return dst, err
		}
	}
	if err := f.settle(ctx); err != nil {
		return dst, err
	}
	var user *seenEntry
	if q.User != 0 {
		var err error
		if user, err = f.seen.acquire(ctx, q.User); err != nil {
			return dst, err
		}
	}
	s := getScratch()
	defer s.release()
	next, more, err := f.page(ctx, s, q, at, user)
	if err != nil {
		return dst, err
	}
	if err := f.freshen(ctx, s.positions); err != nil {
		return dst, err
	}
	base := len(dst)
	dst = append(dst, `{"polls":[`...)
	if dst, err = f.appendPolls(ctx, dst, s); err != nil {
		return dst[:base], err
	}
	if f.onShown != nil && len(s.positions) > 0 {
		s.shown = f.ix.idsOf(s.shown[:0], s.positions)
		f.onShown(s.shown)
	}
	dst = append(dst, `],"nextCursor":`...)
	if more {
		next.page = at.page + 1
		dst = append(dst, '"')
		dst = next.append(dst)
		dst = append(dst, '"')
	} else {
		dst = append(dst, `null`...)
	}
	dst = append(dst, `,"page":`...)
	dst = strconv.AppendInt(dst, int64(at.page), 10)
	dst = append(dst, `,"limit":`...)
	dst = strconv.AppendInt(dst, int64(q.Limit), 10)
	return append(dst, '}'), nil
}

// page computes the positions of a page into s, and where the walk goes on.
func (f *Feed) page(ctx context.Context, s *scratch, q Query, at cursor, user *seenEntry) (next cursor, more bool, err error) {
	start := time.Now()
	skip := int64(0)
	if q.Page > 1 {
		skip = int64(min(q.Page-1, maxPage)) * int64(q.Limit)
	}
	by := f.metrics.byNew
	switch {
	case q.Sort == SortHot:
		by = f.metrics.byRank
		next, more, err = f.hot(ctx, s, q, at, user, skip)
	case q.Text != "":
		by = f.metrics.byText
		next, more, err = f.search(ctx, s, q, at.below, user, skip)
	default:
		if len(q.Tags) > 0 {
			by = f.metrics.byTags
		}
		var seen *wordSet
		if user != nil {
			user.mu.Lock()
			seen = &user.set
		}
		s.positions, more = f.ix.page(s.positions, q.Tags, seen, at.below, skip, q.Limit)
		if user != nil {
			user.mu.Unlock()
		}
		if more {
			next = cursor{sort: SortNew, below: s.positions[len(s.positions)-1]}
		}
	}
	by.Observe(time.Since(start).Seconds())
	return next, more, err
}

// choose runs visit under the locks that are needed to judge single positions,
// with a function that does.
func (f *Feed) choose(tags []string, user *seenEntry, visit func(eligible func(domain.Position) bool)) {
	var seen *wordSet
	if user != nil {
		user.mu.Lock()
		defer user.mu.Unlock()
		seen = &user.set
	}
	f.ix.mu.RLock()
	defer f.ix.mu.RUnlock()
	tagged := f.ix.filter(tags)
	visit(func(p domain.Position) bool {
		return (seen == nil || !seen.contains(p)) && f.ix.matches(tagged, p)
	})
}

// search walks the hits of a text from the newest downward.
func (f *Feed) search(ctx context.Context, s *scratch, q Query, below domain.Position, user *seenEntry, skip int64) (next cursor, more bool, err error) {
	terms := domain.SearchTerms(q.Text)
	if len(terms) == 0 {
		return next, false, nil
	}
	looked := 0
	for size := max(64, 2*q.Limit); ; size = min(2*size, hitsAtOnce) {
		hits, err := f.store.Search(ctx, terms, below, size)
		if err != nil {
			return next, false, fault(err)
		}
		f.choose(q.Tags, user, func(eligible func(domain.Position) bool) {
			for _, p := range hits {
				switch {
				case !eligible(p):
				case skip > 0:
					skip--
				case len(s.positions) == q.Limit:
					more = true
					return
				default:
					s.positions = append(s.positions, p)
				}
			}
		})
		if more {
			return cursor{sort: SortNew, below: s.positions[q.Limit-1]}, true, nil
		}
		if len(hits) < size {
			return next, false, nil
		}
		below = hits[len(hits)-1]
		if looked += len(hits); looked >= maxHits {
			return cursor{sort: SortNew, below: below}, true, nil
		}
	}
}

// hot walks a stored ranking.
func (f *Feed) hot(ctx context.Context, s *scratch, q Query, at cursor, user *seenEntry, skip int64) (next cursor, more bool, err error) {
	r := f.rankings.latest()
	if q.Cursor != "" {
		if r, err = f.rankings.get(ctx, at.ranking); err != nil {
			return next, false, err
		}
	}
	if r == nil {
		return next, false, nil
	}
	var hits *wordSet
	if q.Text != "" {
		if hits, err = f.hits(ctx, q.Text, r.lowest); err != nil {
			return next, false, err
		}
	}
	f.choose(q.Tags, user, func(eligible func(domain.Position) bool) {
		for rank := at.rank; rank < len(r.positions); rank++ {
			p := r.positions[rank]
			switch {
			case hits != nil && !hits.contains(p) || !eligible(p):
			case skip > 0:
				skip--
			case len(s.positions) == q.Limit:
				next, more = cursor{sort: SortHot, ranking: r.id, rank: rank}, true
				return
			default:
				s.positions = append(s.positions, p)
			}
		}
	})
	return next, more, nil
}

// hits returns the newest maxHits hits of a text that are not older than lowest.
func (f *Feed) hits(ctx context.Context, text string, lowest domain.Position) (*wordSet, error) {
	found := &wordSet{}
	terms := domain.SearchTerms(text)
	if len(terms) == 0 || lowest == 0 {
		return found, nil
	}
	for below := maxPosition; found.n < maxHits; {
		hits, err := f.store.Search(ctx, terms, below, hitsAtOnce)
		if err != nil {
			return nil, fault(err)
		}
		if len(hits) > 0 {
			below = hits[len(hits)-1]
		}
		more := len(hits) == hitsAtOnce && below > lowest
		found.addAll(hits)
		if !more {
			break
		}
	}
	return found, nil
}

// Totals are counted anew when they are older than staleTicks; a tick is a
// sixteenth of a second, so that the answer stays within the promised second.
const (
	tickLength = time.Second / 16
	staleTicks = 12
)

func (f *Feed) tick() uint32 {
	return uint32(max(0, f.clock.Now().Sub(f.started)/tickLength)) + 2*staleTicks //nolint:gosec // years
}

// freshen brings totals up to date where this process does not see every vote.
func (f *Feed) freshen(ctx context.Context, positions []domain.Position) error {
	if f.exclusive {
		return nil
	}
	stale := f.ix.stale(nil, positions, f.tick()-staleTicks)
	if len(stale) == 0 {
		return nil
	}
	_, err := f.counts.get(ctx, stale...)
	return err
}

// appendPolls appends the polls of s, separated by commas; polls that were
// deleted meanwhile are left out.
func (f *Feed) appendPolls(ctx context.Context, dst []byte, s *scratch) ([]byte, error) {
	var err error
	if s.bodies, err = f.bodies.get(ctx, s.bodies, s.positions); err != nil {
		return dst, err
	}
	s.totals = f.ix.totalsOf(s.totals, s.positions)
	first := true
	for i, b := range s.bodies {
		if b.json == nil {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = b.append(dst, s.totals[i])
	}
	return dst, nil
}

// popular is the cached answer for one limit.
type popular struct {
	at   time.Time
	json []byte
	// forgotten is that of the bodies when it was made: a poll that was deleted
	// or whose author changed since may be in it as it was.
	forgotten int64
}

// popularLife is how long an answer is given again.
const popularLife = time.Second

// popularPages are the cached answers by limit.
type popularPages struct {
	pages [maxLimit + 1]atomic.Pointer[popular]
	turn  chan struct{} // whoever makes an answer holds it
}

// AppendPopular appends {"polls":[...]}: the hottest open polls by the newest
// ranking, which may be a minute old, then the newest of the others. limit is 1
// to 100, default 10. Errors: starting, and unavailable when there is no earlier
// answer to give instead.
func (f *Feed) AppendPopular(ctx context.Context, dst []byte, limit int) ([]byte, error) {
	if limit <= 0 {
		limit = defaultLimit
	}
	limit = min(limit, maxLimit)
	if !f.Ready() {
		return dst, errStarting
	}
	slot := &f.popular.pages[limit]
	usable := func() *popular {
		if p := slot.Load(); p != nil && p.forgotten == f.bodies.forgotten.Load() {
			return p
		}
		return nil
	}
	fresh := func() *popular {
		if p := usable(); p != nil && f.clock.Now().Sub(p.at) < popularLife {
			return p
		}
		return nil
	}
	p := fresh()
	if p == nil {
		select {
		case f.popular.turn <- struct{}{}:
		case <-ctx.Done():
			return dst, domain.Fault(domain.CodeUnavailable, ctx.Err())
		}
		defer func() { <-f.popular.turn }()
		if p = fresh(); p == nil {
			made, err := f.makePopular(ctx, limit)
			if err == nil {
				p = made
				slot.Store(made)
			} else if p = usable(); p == nil {
				return dst, err
			}
		}
	}
	return append(dst, p.json...), nil
}

func (f *Feed) makePopular(ctx context.Context, limit int) (*popular, error) {
	p := &popular{at: f.clock.Now(), forgotten: f.bodies.forgotten.Load()}
	s := getScratch()
	defer s.release()
	var ranked wordSet
	if r := f.rankings.latest(); r != nil {
		f.choose(nil, nil, func(eligible func(domain.Position) bool) {
			for _, p := range r.positions {
				if len(s.positions) == limit {
					break
				}
				if eligible(p) && ranked.add(p) {
					s.positions = append(s.positions, p)
				}
			}
		})
	}
	if len(s.positions) < limit {
		s.positions, _ = f.ix.page(s.positions, nil, &ranked, maxPosition, 0, limit-len(s.positions))
	}
	if err := f.freshen(ctx, s.positions); err != nil {
		f.log.WarnContext(ctx, "totals of popular polls may be outdated", "error", err)
	}
	var err error
	p.json = append(p.json, `{"polls":[`...)
	if p.json, err = f.appendPolls(ctx, p.json, s); err != nil {
		return nil, err
	}
	p.json = append(p.json, `]}`...)
	return p, nil
}
