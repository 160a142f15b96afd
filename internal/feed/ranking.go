package feed

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
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
	cache domain.Cache // nil: none
	clock domain.Clock
	ix    *index

	mu     sync.RWMutex
	newest *ranking // nil while there is none
	byID   map[int64]*ranking

	loading sync.Mutex // one look-up of an old ranking at a time
}

func newRankings(cfg Config, ix *index) *rankings {
	return &rankings{store: cfg.Store, cache: cfg.Cache, clock: cfg.Clock, ix: ix, byID: make(map[int64]*ranking)}
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

const (
	// hotKey is where the cache keeps the newest ranking.
	hotKey  = "poll:stats:hot"
	hotLife = time.Hour
)

// share gives a ranking that was made to those who only read them.
func (rs *rankings) share(ctx context.Context, r domain.Ranking) {
	if rs.cache == nil || len(r.Positions) == 0 {
		return
	}
	if hottest := rs.ix.idAt(r.Positions[0]); hottest != 0 {
		rs.cache.SetNewer(ctx, hotKey, encodeRanking(r, hottest), hotLife)
	}
}

// shared returns the ranking in the cache while no newer one can be due: a value
// that was not replaced, because its successor did not reach the cache, is
// passed over once it is as old as a ranking becomes. Its hottest poll tells a
// ranking of another database apart.
func (rs *rankings) shared(ctx context.Context) (domain.Ranking, bool) {
	if rs.cache == nil {
		return domain.Ranking{}, false
	}
	b, ok := rs.cache.Get(ctx, hotKey)
	if !ok {
		return domain.Ranking{}, false
	}
	r, hottest, err := decodeRanking(b)
	age := rs.clock.Now().Sub(r.At)
	ok = err == nil && age >= 0 && age < rankEvery && rs.ix.idAt(r.Positions[0]) == hottest
	return r, ok
}

// The value of hotKey: the ranking's id in 8 bytes, big-endian, as
// [domain.Cache.SetNewer] wants it; when it was made, in microseconds since
// 1970, likewise; the id of the hottest poll and the positions, hottest first,
// as unsigned varints; CRC-32 (IEEE) of everything before, 4 bytes, big-endian.
func encodeRanking(r domain.Ranking, hottest domain.PollID) []byte {
	b := make([]byte, 0, 32+4*len(r.Positions))
	b = binary.BigEndian.AppendUint64(b, uint64(r.ID)) //nolint:gosec // positive
	b = binary.BigEndian.AppendUint64(b, uint64(r.At.UnixMicro()))
	b = binary.AppendUvarint(b, uint64(hottest)) //nolint:gosec // positive
	for _, p := range r.Positions {
		b = binary.AppendUvarint(b, uint64(p))
	}
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

var errRankingFormat = errors.New("malformed ranking")

// decodeRanking reads what encodeRanking wrote and refuses anything else.
func decodeRanking(b []byte) (r domain.Ranking, hottest domain.PollID, err error) {
	if len(b) < 22 {
		return r, 0, errRankingFormat
	}
	b, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(b) != sum {
		return r, 0, errRankingFormat
	}
	r.ID = int64(binary.BigEndian.Uint64(b))                           //nolint:gosec // as it was written
	r.At = time.UnixMicro(int64(binary.BigEndian.Uint64(b[8:]))).UTC() //nolint:gosec // as it was written
	for b = b[16:]; len(b) > 0; {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			return domain.Ranking{}, 0, errRankingFormat
		}
		b = b[size:]
		switch {
		case hottest == 0:
			hottest = domain.PollID(n) //nolint:gosec // as it was written
		case n == 0 || n > uint64(maxPosition):
			return domain.Ranking{}, 0, errRankingFormat
		default:
			r.Positions = append(r.Positions, domain.Position(n))
		}
	}
	if len(r.Positions) == 0 {
		return domain.Ranking{}, 0, errRankingFormat
	}
	return r, hottest, nil
}
