package feed

import (
	"context"
	"encoding/json"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"

	"vote/internal/domain"
)

// body is a poll as JSON, everything up to the value of totalVotes. A poll's
// content never changes, but its author may be renamed or erased, and it may be
// deleted: then it is forgotten.
type body struct {
	json    []byte   // nil: there is no such poll
	options []string // their texts, which every vote's answer needs
}

const bodyOverhead = 120 // bytes that the cache spends on an entry

// bodies keeps polls' JSON, bounded in bytes. A poll that is missing is fetched
// once, however many pages want it at the same time.
//
// Once forget has returned, nobody who asks later gets what was read before: the
// cache holds it no longer, no query under way will put it back, and none is
// joined.
type bodies struct {
	store        domain.Store
	cache        *otter.Cache[domain.Position, body]
	hits, misses prometheus.Counter

	mu      sync.Mutex
	flights map[domain.Position]*bodyFlight
	// forgotten counts the calls of forget. It is raised under mu.
	forgotten atomic.Int64
}

// bodyFlight is a query under way for some bodies.
type bodyFlight struct {
	done chan struct{}
	// Set before done is closed.
	found map[domain.Position]body
	err   error
}

func newBodies(cfg Config, m *metrics) *bodies {
	return &bodies{
		store: cfg.Store, hits: m.bodyHits, misses: m.bodyMisses,
		flights: make(map[domain.Position]*bodyFlight),
		cache: otter.Must(&otter.Options[domain.Position, body]{
			MaximumWeight: uint64(cfg.BodyBytes), //nolint:gosec // positive
			Weigher: func(_ domain.Position, b body) uint32 {
				n := len(b.json) + bodyOverhead
				for _, o := range b.options {
					n += 16 + len(o)
				}
				return uint32(n) //nolint:gosec // a few kilobytes
			},
			// Upkeep of the cache is short; doing it in place leaves no
			// goroutine without an owner.
			Executor: func(fn func()) { fn() },
		}),
	}
}

// get appends the bodies of the polls, in order; empty ones for polls that are
// gone. Errors: those of [domain.Store.PollsAt].
func (b *bodies) get(ctx context.Context, found []body, positions []domain.Position) ([]body, error) {
	base := len(found)
	missing := 0
	for _, p := range positions {
		x, ok := b.cache.GetIfPresent(p)
		if !ok {
			missing++
		}
		found = append(found, x)
	}
	b.hits.Add(float64(len(positions) - missing))
	if missing == 0 {
		return found, nil
	}
	b.misses.Add(float64(missing))
	want := make([]domain.Position, 0, missing)
	for i, p := range positions {
		if found[base+i].json == nil {
			want = append(want, p)
		}
	}
	fetched, err := b.fetch(ctx, want)
	if err != nil {
		return found, err
	}
	for i, p := range positions {
		if found[base+i].json == nil {
			found[base+i] = fetched[p]
		}
	}
	return found, nil
}

func (b *bodies) fetch(ctx context.Context, want []domain.Position) (map[domain.Position]body, error) {
	own := &bodyFlight{done: make(chan struct{})}
	others := make(map[*bodyFlight][]domain.Position)
	found := make(map[domain.Position]body, len(want))
	var mine []domain.Position
	b.mu.Lock()
	for _, p := range want {
		f, flying := b.flights[p]
		// A query fills the cache before it is no longer under way, so what is
		// in neither is to be asked for.
		x, cached := b.cache.GetIfPresent(p)
		switch {
		case cached:
			found[p] = x
		case !flying:
			b.flights[p] = own
			mine = append(mine, p)
		case f != own:
			others[f] = append(others[f], p)
		}
	}
	b.mu.Unlock()
	if len(mine) > 0 {
		own.found, own.err = b.query(ctx, mine)
		b.mu.Lock()
		for _, p := range mine {
			if b.flights[p] == own {
				delete(b.flights, p)
			}
		}
		b.mu.Unlock()
		close(own.done)
		if own.err != nil {
			return nil, own.err
		}
		maps.Copy(found, own.found)
	}
	for f, positions := range others {
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, domain.Fault(domain.CodeUnavailable, ctx.Err())
		}
		from := f.found
		if f.err != nil {
			// It may have ended with its caller's context: ask oneself.
			var err error
			if from, err = b.query(ctx, positions); err != nil {
				return nil, err
			}
		}
		for _, p := range positions {
			found[p] = from[p]
		}
	}
	return found, nil
}

func (b *bodies) query(ctx context.Context, positions []domain.Position) (map[domain.Position]body, error) {
	forgotten := b.forgotten.Load()
	polls, err := b.store.PollsAt(ctx, positions)
	if err != nil {
		return nil, fault(err)
	}
	found := make(map[domain.Position]body, len(polls))
	for i := range polls {
		x, err := encodePoll(&polls[i])
		if err != nil {
			return nil, domain.Fault(domain.CodeInternal, err)
		}
		found[polls[i].Position] = x
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.forgotten.Load() == forgotten { // else any of them may be outdated
		for p, x := range found {
			b.cache.Set(p, x)
		}
	}
	return found, nil
}

// forget drops the bodies of polls that were deleted or whose author changed.
func (b *bodies) forget(positions ...domain.Position) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgotten.Add(1)
	for _, p := range positions {
		b.cache.Invalidate(p)
		delete(b.flights, p)
	}
}

// encodePoll returns {"id":..,"title":..,"options":[..],"tags":[..],
// "createdAt":..,"author":{"id":..,"username":..} or null,"totalVotes": without
// the number.
func encodePoll(p *domain.Poll) (body, error) {
	var err error
	b := make([]byte, 0, 512)
	value := func(v any) {
		raw, e := json.Marshal(v)
		if e != nil {
			err = e
		}
		b = append(b, raw...)
	}
	b = append(b, `{"id":`...)
	b = strconv.AppendInt(b, int64(p.ID), 10)
	b = append(b, `,"title":`...)
	value(p.Title)
	b = append(b, `,"options":`...)
	value(p.Options)
	b = append(b, `,"tags":`...)
	value(p.Tags)
	b = append(b, `,"createdAt":"`...)
	b = p.CreatedAt.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","author":`...)
	if p.Author == 0 {
		b = append(b, `null`...)
	} else {
		b = append(b, `{"id":`...)
		b = strconv.AppendInt(b, int64(p.Author), 10)
		b = append(b, `,"username":`...)
		value(p.AuthorName)
		b = append(b, '}')
	}
	b = append(b, `,"totalVotes":`...)
	return body{json: append(make([]byte, 0, len(b)), b...), options: p.Options}, err
}

// append writes the whole poll.
func (b body) append(dst []byte, total uint32) []byte {
	dst = append(dst, b.json...)
	dst = strconv.AppendUint(dst, uint64(total), 10)
	return append(dst, '}')
}
