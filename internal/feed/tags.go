package feed

import (
	"cmp"
	"container/heap"
	"math/bits"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"vote/internal/domain"
)

// TagCount is a tag and the number of open polls that have it.
type TagCount struct {
	Tag   string
	Polls int
}

// tagList lists tags by use. It keeps the tags sorted by name and, over their
// numbers of polls, a tree of maxima: the most used tags of any prefix are found
// in O((log tags + limit) log limit), a changed number costs O(log tags), and
// only tags never seen before make it sort and merge: at once while that is
// cheap, else once a second.
type tagList struct {
	ix    *index
	clock domain.Clock

	mu     sync.Mutex
	merged time.Time
	byName []uint32 // tags by name
	names  []string // the same
	rank   []int32  // by tag: where it is in byName
	// tree is a complete binary tree in an array: the leaves, from size on,
	// are the numbers of polls by name; node i is the maximum of 2i and 2i+1.
	tree []uint32
	size int
}

// cheapMerge is how many tags are merged without waiting for the next second.
const cheapMerge = 20_000

// top returns the limit most used tags that begin with a prefix, ties by name.
func (l *tagList) top(prefix string, limit int) []TagCount {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refresh()
	lo := sort.SearchStrings(l.names, prefix)
	hi := lo + sort.Search(len(l.names)-lo, func(i int) bool { return !strings.HasPrefix(l.names[lo+i], prefix) })
	var found []TagCount
	// The cover of [lo, hi) by whole subtrees, then the best subtree first.
	var best treeHeap
	push := func(node int) {
		if l.tree[node] > 0 {
			depth := bits.Len(uint(l.size)) - bits.Len(uint(node))
			heap.Push(&best, subtree{node: node, first: node << depth, most: l.tree[node]})
		}
	}
	for a, b := lo+l.size, hi+l.size; a < b; a, b = a>>1, b>>1 {
		if a&1 == 1 {
			push(a)
			a++
		}
		if b&1 == 1 {
			b--
			push(b)
		}
	}
	for len(best) > 0 && len(found) < limit {
		s := heap.Pop(&best).(subtree) //nolint:forcetypeassert // it holds nothing else
		if s.node >= l.size {
			found = append(found, TagCount{Tag: l.names[s.node-l.size], Polls: int(s.most)})
			continue
		}
		push(2 * s.node)
		push(2*s.node + 1)
	}
	return found
}

type subtree struct {
	node, first int // first is the leftmost leaf below
	most        uint32
}

// treeHeap has the subtree with the greatest maximum on top, the leftmost first
// among equals: so leaves come out in order.
type treeHeap []subtree

func (h treeHeap) Len() int { return len(h) }
func (h treeHeap) Less(i, j int) bool {
	return h[i].most > h[j].most || h[i].most == h[j].most && h[i].first < h[j].first
}
func (h treeHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *treeHeap) Push(x any)   { *h = append(*h, x.(subtree)) } //nolint:forcetypeassert // as above
func (h *treeHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// refresh takes over what changed in the index. The caller holds mu.
func (l *tagList) refresh() {
	tags := 0
	for more := true; more; {
		var dirty, counts []uint32
		dirty, counts, more, tags = l.ix.takeDirty()
		for i, t := range dirty {
			if int(t) < len(l.rank) {
				l.set(int(l.rank[t]), counts[i])
			}
		}
	}
	if tags == len(l.rank) {
		return
	}
	if now := l.clock.Now(); tags <= cheapMerge || now.Sub(l.merged) >= time.Second {
		l.merge()
		l.merged = now
	}
}

func (l *tagList) set(at int, count uint32) {
	node := at + l.size
	l.tree[node] = count
	for node >>= 1; node > 0; node >>= 1 {
		m := max(l.tree[2*node], l.tree[2*node+1])
		if l.tree[node] == m {
			return
		}
		l.tree[node] = m
	}
}

// merge takes in new tags. Names never change, so they are read without the
// index's lock; numbers are read under it.
func (l *tagList) merge() {
	l.ix.mu.RLock()
	tags := chunked[tag]{slices.Clone(l.ix.tags.chunks)}
	l.ix.mu.RUnlock()
	name := func(t uint32) string { return tags.at(t).name }
	added := make([]uint32, 0, tags.len()-len(l.rank))
	for t := len(l.rank); t < tags.len(); t++ {
		added = append(added, uint32(t)) //nolint:gosec // fewer than 4 billion tags
	}
	slices.SortFunc(added, func(a, b uint32) int { return cmp.Compare(name(a), name(b)) })
	byName := make([]uint32, 0, tags.len())
	i := 0
	for _, t := range l.byName {
		for ; i < len(added) && name(added[i]) < name(t); i++ {
			byName = append(byName, added[i])
		}
		byName = append(byName, t)
	}
	byName = append(byName, added[i:]...)
	l.byName = byName
	l.names = make([]string, len(byName))
	l.rank = make([]int32, len(byName))
	for i, t := range byName {
		l.names[i] = name(t)
		l.rank[t] = int32(i)
	}
	l.size = 1 << bits.Len(uint(len(byName)))
	l.tree = make([]uint32, 2*l.size)
	l.ix.counts(l.tree[l.size:], byName)
	for node := l.size - 1; node > 0; node-- {
		l.tree[node] = max(l.tree[2*node], l.tree[2*node+1])
	}
}

// tagsAtOnce is how many tags are looked at under one lock.
const tagsAtOnce = 4096

// takeDirty returns some of the tags whose number of polls changed since they
// were returned last, with these numbers, whether there are more, and how many
// tags there are in all.
func (ix *index) takeDirty() (dirty, counts []uint32, more bool, tags int) {
	ix.mu.RLock()
	tags, n := ix.tags.len(), len(ix.dirty)
	ix.mu.RUnlock()
	if n == 0 {
		return nil, nil, false, tags
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	n = max(0, len(ix.dirty)-tagsAtOnce)
	dirty = slices.Clone(ix.dirty[n:])
	if ix.dirty = ix.dirty[:n]; n == 0 {
		ix.dirty = nil
	}
	counts = make([]uint32, len(dirty))
	for i, t := range dirty {
		tag := ix.tags.at(t)
		tag.dirty = false
		counts[i] = uint32(tag.set.len()) //nolint:gosec // positions are 32 bits
	}
	return dirty, counts, n > 0, ix.tags.len()
}

// counts sets the numbers of polls of the tags, a few thousand under one lock.
func (ix *index) counts(counts, tags []uint32) {
	for lo := 0; lo < len(tags); lo += tagsAtOnce {
		ix.mu.RLock()
		for i, t := range tags[lo:min(lo+tagsAtOnce, len(tags))] {
			counts[lo+i] = uint32(ix.tags.at(t).set.len()) //nolint:gosec // positions are 32 bits
		}
		ix.mu.RUnlock()
	}
}
