package feed

import (
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"vote/internal/domain"
)

// stateUnknown marks a position whose poll is not known here: not tailed yet,
// or a hole that the store itself has.
const stateUnknown domain.PollState = math.MaxUint8

// index knows every poll by position: its id, its state, its tags and its
// number of votes, and which polls are open, in all and by tag. About 20 bytes
// a poll, 8 per tag of a poll and 150 per tag.
//
// Writers hold mu for a few entries at a time, readers for one walk. The
// elements of totals and counted are atomic and written under the read lock.
type index struct {
	mu sync.RWMutex

	open   wordSet
	ids    []domain.PollID // ascending; an unknown position repeats the id below it
	states []domain.PollState
	totals []uint32 // votes, never falling
	// counted is the tick at which the total was true, for processes that do
	// not see every vote; nil in a process that does.
	counted []uint32

	// refs holds the tags of every poll, written once: where start[p] points
	// their number, behind it the tags. start is 0 for a poll whose tags are
	// unknown.
	refs  chunked[uint32]
	start []uint32

	tags   chunked[tag]
	byName map[string]uint32
	dirty  []uint32 // tags whose number of polls changed since takeDirty, each once

	// tailed is the revision up to which everything is known; early has the
	// revision of polls that were announced beyond it.
	tailed int64
	early  map[domain.Position]int64
	// While polls below a known one are unknown, because this process announced
	// its own or another has changed since: the revision at which they will be
	// known, and the first of them, from which on nothing is shown. Otherwise
	// horizon is maxPosition.
	gap       int64
	horizon   domain.Position
	unsettled atomic.Bool
}

type tag struct {
	name  string
	set   tagSet
	dirty bool // in index.dirty
}

// chunked is a list that grows without moving what it holds, which for millions
// of elements would double the time of loading them. It has less than 1<<32
// elements.
type chunked[T any] struct{ chunks [][]T }

const chunkBits = 10 // a chunk has 1<<chunkBits elements

func (c *chunked[T]) len() int {
	k := len(c.chunks) - 1
	if k < 0 {
		return 0
	}
	return k<<chunkBits + len(c.chunks[k])
}

func (c *chunked[T]) at(i uint32) *T { return &c.chunks[i>>chunkBits][i&(1<<chunkBits-1)] }

// append returns where the element is.
func (c *chunked[T]) append(x T) uint32 {
	if c.len()&(1<<chunkBits-1) == 0 {
		c.chunks = append(c.chunks, make([]T, 0, 1<<chunkBits))
	}
	k := len(c.chunks) - 1
	c.chunks[k] = append(c.chunks[k], x)
	return uint32(c.len() - 1) //nolint:gosec // see the type
}

// reserve makes the next n elements lie in one chunk.
func (c *chunked[T]) reserve(n int) {
	var zero T
	for c.len()>>chunkBits != (c.len()+n-1)>>chunkBits {
		c.append(zero)
	}
}

// run returns n elements that were reserved together.
func (c *chunked[T]) run(i uint32, n int) []T {
	i, k := i&(1<<chunkBits-1), i>>chunkBits
	return c.chunks[k][i : int(i)+n]
}

func newIndex(everyVote bool) *index {
	ix := &index{
		ids:    make([]domain.PollID, 1),
		states: []domain.PollState{stateUnknown},
		totals: make([]uint32, 1),
		start:  make([]uint32, 1),
		byName: make(map[string]uint32),
		early:  make(map[domain.Position]int64),

		horizon: maxPosition,
	}
	ix.refs.append(0) // so that no poll's tags start at 0
	if !everyVote {
		ix.counted = make([]uint32, 1)
	}
	return ix
}

// newest returns the highest known position. The caller holds mu.
func (ix *index) newest() domain.Position {
	return domain.Position(len(ix.ids) - 1) //nolint:gosec // positions are 32 bits
}

// announce applies an entry that this process caused or was told of, possibly
// out of order. It reports whether positions below it are still unknown.
func (ix *index) announce(e domain.Entry) (gap bool) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if e.Position == 0 || e.Revision <= max(ix.tailed, ix.early[e.Position]) {
		return false
	}
	ix.early[e.Position] = e.Revision
	ix.put(e)
	return ix.horizon != maxPosition
}

// tail applies entries that follow the tailed revision, by revision. It returns
// the known polls that have changed otherwise than this process announced.
func (ix *index) tail(entries []domain.Entry) (changed []domain.Position) {
	const atOnce = 64
	for chunk := range slices.Chunk(entries, atOnce) {
		ix.mu.Lock()
		for _, e := range chunk {
			early := ix.early[e.Position]
			if e.Position > 0 && e.Revision > max(ix.tailed, early) {
				if e.Position <= ix.newest() && ix.states[e.Position] != stateUnknown {
					changed = append(changed, e.Position)
				}
				ix.put(e)
			} else if early > 0 {
				ix.raise(e.Position, e.Votes) // which the announced entry lacked
			}
			// A poll is listed at its newest revision, so every announced
			// one comes by here.
			if early > 0 && early <= e.Revision {
				delete(ix.early, e.Position)
			}
		}
		ix.tailed = max(ix.tailed, chunk[len(chunk)-1].Revision)
		ix.mu.Unlock()
	}
	return changed
}

// complete says that nothing followed the tailed revision when the store was
// asked last: what is still unknown below it are holes of the store.
func (ix *index) complete() {
	if !ix.unsettled.Load() {
		return
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if ix.gap <= ix.tailed {
		ix.horizon = maxPosition
		ix.unsettled.Store(false)
	}
}

// begin sets the revision of everything that was put until now.
func (ix *index) begin(revision int64) {
	ix.mu.Lock()
	ix.tailed = revision
	ix.mu.Unlock()
}

// revision returns the revision up to which everything is known.
func (ix *index) revision() int64 {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	return ix.tailed
}

// put sets what is known of a poll. The caller holds mu.
func (ix *index) put(e domain.Entry) {
	p := e.Position
	if p > ix.newest()+1 {
		ix.gap = max(ix.gap, e.Revision)
		ix.horizon = min(ix.horizon, ix.newest()+1)
		ix.unsettled.Store(true)
	}
	for ix.newest() < p {
		ix.ids = append(ix.ids, ix.ids[len(ix.ids)-1])
		ix.states = append(ix.states, stateUnknown)
		ix.totals = append(ix.totals, 0)
		ix.start = append(ix.start, 0)
		if ix.counted != nil {
			ix.counted = append(ix.counted, 0)
		}
	}
	if ix.states[p] == stateUnknown {
		ix.ids[p] = e.Poll
		for q := p + 1; q <= ix.newest() && ix.states[q] == stateUnknown; q++ {
			ix.ids[q] = e.Poll
		}
	}
	ix.states[p] = e.State
	for ix.horizon <= ix.newest() && ix.states[ix.horizon] != stateUnknown {
		ix.horizon++
	}
	if ix.start[p] == 0 && len(e.Tags) > 0 {
		ix.refs.reserve(1 + len(e.Tags))
		ix.start[p] = ix.refs.append(uint32(len(e.Tags))) //nolint:gosec // at most domain.MaxTags
		for _, name := range e.Tags {
			ix.refs.append(ix.intern(name))
		}
	}
	ix.raise(p, e.Votes)
	if e.State == domain.PollOpen {
		if !ix.open.add(p) {
			return
		}
		for _, t := range ix.tagsOf(p) {
			ix.tags.at(t).set.add(p)
			ix.touch(t)
		}
	} else if ix.open.remove(p) {
		for _, t := range ix.tagsOf(p) {
			ix.tags.at(t).set.remove(p)
			ix.touch(t)
		}
	}
}

func (ix *index) touch(t uint32) {
	if tag := ix.tags.at(t); !tag.dirty {
		tag.dirty = true
		ix.dirty = append(ix.dirty, t)
	}
}

func (ix *index) tagsOf(p domain.Position) []uint32 {
	s := ix.start[p]
	if s == 0 {
		return nil
	}
	return ix.refs.run(s+1, int(*ix.refs.at(s)))
}

// intern returns the number of a tag. The name may be reused by the caller.
func (ix *index) intern(name string) uint32 {
	if t, ok := ix.byName[name]; ok {
		return t
	}
	name = strings.Clone(name)
	t := ix.tags.append(tag{name: name})
	ix.byName[name] = t
	return t
}

// raise lifts a total, which never falls. The caller holds mu, at least for
// reading.
func (ix *index) raise(p domain.Position, votes int64) {
	n := uint32(min(votes, math.MaxUint32)) //nolint:gosec // bounded
	for {
		old := atomic.LoadUint32(&ix.totals[p])
		if n <= old || atomic.CompareAndSwapUint32(&ix.totals[p], old, n) {
			return
		}
	}
}

// count takes the totals of polls that were true at a tick; 0 says nothing
// about when.
func (ix *index) count(counts []domain.Counts, tick uint32) {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	for i := range counts {
		if p, ok := ix.find(counts[i].Poll); ok {
			ix.raise(p, counts[i].TotalVotes())
			if tick > 0 && ix.counted != nil {
				atomic.StoreUint32(&ix.counted[p], tick)
			}
		}
	}
}

// stale appends the ids of those polls whose totals are older than a tick.
func (ix *index) stale(ids []domain.PollID, positions []domain.Position, tick uint32) []domain.PollID {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	for _, p := range positions {
		if atomic.LoadUint32(&ix.counted[p]) < tick {
			ids = append(ids, ix.ids[p])
		}
	}
	return ids
}

// totalsOf appends the totals of the polls.
func (ix *index) totalsOf(totals []uint32, positions []domain.Position) []uint32 {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	for _, p := range positions {
		totals = append(totals, atomic.LoadUint32(&ix.totals[p]))
	}
	return totals
}

// idsOf appends the ids of polls at known positions.
func (ix *index) idsOf(ids []domain.PollID, positions []domain.Position) []domain.PollID {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	for _, p := range positions {
		ids = append(ids, ix.ids[p])
	}
	return ids
}

// find returns where a known poll is. The caller holds mu.
func (ix *index) find(id domain.PollID) (domain.Position, bool) {
	p, ok := slices.BinarySearch(ix.ids, id)
	if !ok || p == 0 || ix.states[p] == stateUnknown {
		return 0, false
	}
	return domain.Position(p), true //nolint:gosec // positions are 32 bits
}

// lookup returns where a known poll is and its state.
func (ix *index) lookup(id domain.PollID) (domain.Position, domain.PollState, bool) {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	p, ok := ix.find(id)
	return p, ix.states[p], ok
}

// idAt returns the id of a known position, else 0.
func (ix *index) idAt(p domain.Position) domain.PollID {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	if p > ix.newest() || ix.states[p] == stateUnknown {
		return 0
	}
	return ix.ids[p]
}

// beyond reports whether an id is newer than every known poll.
func (ix *index) beyond(id domain.PollID) bool {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	return id > ix.ids[len(ix.ids)-1]
}

// filter is what a page is restricted to, besides being open and not seen.
type filter struct {
	any  bool      // no tag was asked for
	tags []*tagSet // else one of these; empty when none of them exists
}

// filter resolves tags. The caller holds mu for as long as it uses the result.
func (ix *index) filter(names []string) filter {
	f := filter{any: len(names) == 0}
	for _, name := range names {
		if t, ok := ix.byName[name]; ok {
			f.tags = append(f.tags, &ix.tags.at(t).set)
		}
	}
	return f
}

func (ix *index) matches(f filter, p domain.Position) bool {
	if p >= ix.horizon || !ix.open.contains(p) {
		return false
	}
	if f.any {
		return true
	}
	for _, t := range f.tags {
		if t.contains(p) {
			return true
		}
	}
	return false
}

// page appends the newest open polls below a position that have one of the
// tags, if any are given, and are not in seen, after the first skip of them,
// and reports whether another follows. seen may be nil; its owner's lock is
// held by the caller.
func (ix *index) page(page []domain.Position, tags []string, seen *wordSet, below domain.Position, skip int64, limit int) ([]domain.Position, bool) {
	var buffer [4]source
	sources := buffer[:0]
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	below = min(below, ix.horizon)
	if len(tags) == 0 {
		sources = append(sources, wordSource(&ix.open, below))
	}
	for i, name := range tags {
		if t, ok := ix.byName[name]; ok && !slices.Contains(tags[:i], name) {
			sources = append(sources, ix.tags.at(t).set.source(below))
		}
	}
	return walk(page, sources, seen, skip, limit)
}

// size returns the number of open polls and of tags.
func (ix *index) size() (polls, tags int) {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	return ix.open.n, ix.tags.len()
}

// bytes returns about how much memory the index holds.
func (ix *index) bytes() int {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	const perTag = 56 + 40 + 24 // the struct, its share of the map, the name
	n := ix.open.bytes() + 8*cap(ix.ids) + cap(ix.states) + 4*(cap(ix.totals)+cap(ix.counted)+ix.refs.len()+cap(ix.start)) + perTag*ix.tags.len()
	for i := range ix.tags.len() {
		n += ix.tags.at(uint32(i)).set.bytes()
	}
	return n
}
