package feed

import (
	"context"
	"slices"
	"sync"
	"time"

	"vote/internal/domain"
)

const (
	rankSize  = 10_000           // polls in a ranking
	rankEvery = time.Minute      // how often one is made
	rankKeep  = time.Hour        // how long its cursors are good
	rankRead  = 5 * time.Second  // how often the newest is looked for where none is made
	rankLimit = 30 * time.Second // bounds making one
	// rankCached bounds the rankings in memory: those of an hour, and some more.
	rankCached = 80
)

// ranking is a stored ranking as it is walked.
type ranking struct {
	id        int64
	at        time.Time
	positions []domain.Position
	lowest    domain.Position // the oldest poll in it
}

// rankings keeps the stored rankings whose cursors may still come.
type rankings struct {
	store domain.Store
	clock domain.Clock

	mu     sync.RWMutex
	newest *ranking // nil while there is none
	byID   map[int64]*ranking

	loading sync.Mutex // one look-up of an old ranking at a time
}

func newRankings(cfg Config) *rankings {
	return &rankings{store: cfg.Store, clock: cfg.Clock, byID: make(map[int64]*ranking)}
}

// add takes in a stored ranking.
func (rs *rankings) add(r domain.Ranking) *ranking {
	x := &ranking{id: r.ID, at: r.At, positions: r.Positions}
	if len(r.Positions) > 0 {
		x.lowest = slices.Min(r.Positions)
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.byID[x.id] = x
	if rs.newest == nil || x.id > rs.newest.id {
		rs.newest = x
	}
	for len(rs.byID) > rankCached {
		oldest := x.id
		for id := range rs.byID {
			oldest = min(oldest, id)
		}
		delete(rs.byID, oldest)
	}
	return x
}

// latest returns the newest ranking, nil when there is none.
func (rs *rankings) latest() *ranking {
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	return rs.newest
}

// get returns the ranking that a cursor names. Errors: cursor_expired,
// unavailable.
func (rs *rankings) get(ctx context.Context, id int64) (*ranking, error) {
	find := func() *ranking {
		rs.mu.RLock()
		defer rs.mu.RUnlock()
		return rs.byID[id]
	}
	r := find()
	if r == nil {
		rs.loading.Lock()
		defer rs.loading.Unlock()
		if r = find(); r == nil {
			stored, err := rs.store.RankingByID(ctx, id)
			if err != nil {
				return nil, fault(err)
			}
			r = rs.add(stored)
		}
	}
	if rs.clock.Now().Sub(r.at) > rankKeep {
		return nil, domain.E(domain.CodeCursorExpired, "The ranking that this cursor walks is no longer kept. Begin a new walk.")
	}
	return r, nil
}

// due reports whether a ranking is to be made now, and how old the stored one
// may be for another to be needed. A first ranking without any poll is replaced
// as soon as there are polls.
func (rs *rankings) due(polls int) (every time.Duration, due bool) {
	r := rs.latest()
	switch {
	case r == nil:
		return rankEvery, true
	case len(r.positions) == 0 && polls > 0:
		return time.Second, rs.clock.Now().Sub(r.at) >= time.Second
	default:
		return rankEvery, rs.clock.Now().Sub(r.at) >= rankEvery
	}
}
