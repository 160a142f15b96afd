package feed

import (
	"math/bits"
	"slices"

	"vote/internal/domain"
)

// wordSet is a set of positions as a sorted list of those 64-bit words that
// have a bit set. Against a roaring bitmap it costs a little more memory for
// scattered members and makes walks downward a loop over two slices. The zero
// value is empty. It is not safe for concurrent use.
type wordSet struct {
	words []uint32 // ascending; word w holds positions 64w to 64w+63
	masks []uint64 // never 0
	n     int
}

const wordBits = 6 // a word holds 1<<wordBits positions

func split(p domain.Position) (word uint32, mask uint64) {
	return uint32(p) >> wordBits, 1 << (p & (1<<wordBits - 1))
}

// find returns where word w is, or where it would be inserted. Words are
// distinct and ascending, so the distance of w to either end bounds the search:
// in a set without holes there is nothing left to search.
func (s *wordSet) find(w uint32) (int, bool) {
	n := len(s.words)
	if n == 0 || w > s.words[n-1] {
		return n, false
	}
	first, last := s.words[0], s.words[n-1]
	if w <= first {
		return 0, w == first
	}
	lo := max(0, n-1-int(last-w))
	hi := min(n-1, int(w-first))
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if s.words[mid] < w {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, s.words[lo] == w
}

func (s *wordSet) contains(p domain.Position) bool {
	w, mask := split(p)
	i, ok := s.find(w)
	return ok && s.masks[i]&mask != 0
}

// add reports whether the position was new. At the end it costs amortised O(1),
// elsewhere it may move the words above.
func (s *wordSet) add(p domain.Position) bool {
	w, mask := split(p)
	i, ok := s.find(w)
	if !ok {
		s.words = slices.Insert(s.words, i, w)
		s.masks = slices.Insert(s.masks, i, mask)
		s.n++
		return true
	}
	if s.masks[i]&mask != 0 {
		return false
	}
	s.masks[i] |= mask
	s.n++
	return true
}

// addWord adds all members of a word.
func (s *wordSet) addWord(w uint32, mask uint64) {
	i, ok := s.find(w)
	if !ok {
		s.words = slices.Insert(s.words, i, w)
		s.masks = slices.Insert(s.masks, i, 0)
	}
	s.n += bits.OnesCount64(mask &^ s.masks[i])
	s.masks[i] |= mask
}

// remove reports whether the position was there.
func (s *wordSet) remove(p domain.Position) bool {
	w, mask := split(p)
	i, ok := s.find(w)
	if !ok || s.masks[i]&mask == 0 {
		return false
	}
	s.n--
	if s.masks[i] &^= mask; s.masks[i] == 0 {
		s.words = slices.Delete(s.words, i, i+1)
		s.masks = slices.Delete(s.masks, i, i+1)
	}
	return true
}

// addAll adds positions in any order. It sorts them in place.
func (s *wordSet) addAll(positions []domain.Position) {
	if len(positions) == 0 {
		return
	}
	slices.Sort(positions)
	distinct, last := 0, int64(-1)
	for _, p := range positions {
		if w, _ := split(p); int64(w) != last {
			distinct, last = distinct+1, int64(w)
		}
	}
	merged := wordSet{
		words: make([]uint32, 0, len(s.words)+distinct),
		masks: make([]uint64, 0, len(s.words)+distinct),
	}
	push := func(w uint32, mask uint64) {
		if k := len(merged.words) - 1; k >= 0 && merged.words[k] == w {
			merged.masks[k] |= mask
			return
		}
		merged.words, merged.masks = append(merged.words, w), append(merged.masks, mask)
	}
	i := 0
	for _, p := range positions {
		w, mask := split(p)
		for ; i < len(s.words) && s.words[i] <= w; i++ {
			push(s.words[i], s.masks[i])
		}
		push(w, mask)
	}
	for ; i < len(s.words); i++ {
		push(s.words[i], s.masks[i])
	}
	for _, m := range merged.masks {
		merged.n += bits.OnesCount64(m)
	}
	*s = merged
}

// bytes returns the memory that the set holds.
func (s *wordSet) bytes() int { return 4*cap(s.words) + 8*cap(s.masks) }

// max returns the newest position, 0 when the set is empty.
func (s *wordSet) max() domain.Position {
	k := len(s.words) - 1
	if k < 0 {
		return 0
	}
	return position(s.words[k], bits.Len64(s.masks[k])-1)
}

func position(word uint32, bit int) domain.Position {
	return domain.Position(word<<wordBits | uint32(bit)) //nolint:gosec // bit is 0 to 63
}

// tagSet is the set of the polls of one tag: a sorted array until words are the
// smaller form, which they are from three polls a word on.
type tagSet struct {
	list  []domain.Position // ascending; unused when words is set
	words *wordSet
}

// minWords is the size from which a tag may be kept as words.
const minWords = 64

func (t *tagSet) len() int {
	if t.words != nil {
		return t.words.n
	}
	return len(t.list)
}

func (t *tagSet) contains(p domain.Position) bool {
	if t.words != nil {
		return t.words.contains(p)
	}
	_, ok := slices.BinarySearch(t.list, p)
	return ok
}

func (t *tagSet) add(p domain.Position) bool {
	if t.words != nil {
		return t.words.add(p)
	}
	if k := len(t.list); k == 0 || t.list[k-1] < p {
		t.list = append(t.list, p)
	} else {
		i, ok := slices.BinarySearch(t.list, p)
		if ok {
			return false
		}
		t.list = slices.Insert(t.list, i, p)
	}
	// Looking at every power of two costs amortised O(1) per poll.
	if k := len(t.list); k >= minWords && k&(k-1) == 0 {
		t.convert()
	}
	return true
}

func (t *tagSet) convert() {
	distinct, last := 0, int64(-1)
	for _, p := range t.list {
		if w, _ := split(p); int64(w) != last {
			distinct, last = distinct+1, int64(w)
		}
	}
	if 3*distinct > len(t.list) {
		return
	}
	s := &wordSet{}
	s.addAll(t.list)
	t.list, t.words = nil, s
}

func (t *tagSet) remove(p domain.Position) bool {
	if t.words != nil {
		return t.words.remove(p)
	}
	i, ok := slices.BinarySearch(t.list, p)
	if ok {
		t.list = slices.Delete(t.list, i, i+1)
	}
	return ok
}

func (t *tagSet) bytes() int {
	if t.words != nil {
		return t.words.bytes() + wordSetBytes
	}
	return 4 * cap(t.list)
}

const wordSetBytes = 56 // the struct itself

// source walks a set downward, word by word. word is the current word, -1 when
// there is none; mask has its members.
type source struct {
	word  int64
	mask  uint64
	words []uint32
	masks []uint64
	list  []domain.Position // instead of words
}

// wordSource walks the members below the given position.
func wordSource(s *wordSet, below domain.Position) source {
	w, mask := split(below)
	i, ok := s.find(w)
	if !ok {
		c := source{words: s.words[:i], masks: s.masks[:i]}
		c.next()
		return c
	}
	c := source{words: s.words[:i+1], masks: s.masks[:i+1]}
	c.next()
	c.mask &= mask - 1
	return c
}

// listSource walks the members of an ascending list below the given position.
func listSource(list []domain.Position, below domain.Position) source {
	i := len(list)
	if i > 0 && list[i-1] >= below {
		i, _ = slices.BinarySearch(list, below)
	}
	c := source{list: list[:i]}
	c.next()
	return c
}

func (t *tagSet) source(below domain.Position) source {
	if t.words != nil {
		return wordSource(t.words, below)
	}
	return listSource(t.list, below)
}

func (c *source) next() {
	if k := len(c.words) - 1; k >= 0 {
		c.word, c.mask = int64(c.words[k]), c.masks[k]
		c.words, c.masks = c.words[:k], c.masks[:k]
		return
	}
	k := len(c.list) - 1
	if k < 0 {
		c.word, c.mask = -1, 0
		return
	}
	w, mask := split(c.list[k])
	for k--; k >= 0; k-- {
		v, m := split(c.list[k])
		if v != w {
			break
		}
		mask |= m
	}
	c.word, c.mask, c.list = int64(w), mask, c.list[:k+1]
}

// probe answers which members of a set a word has, for words asked in
// descending order.
type probe struct {
	words []uint32
	masks []uint64
}

// at finds the next lower words at once and far ones in a logarithmic number
// of steps, so that neither many seen polls in a row nor many between two polls
// of a rare tag cost much.
func (c *probe) at(w uint32) uint64 {
	hi := len(c.words) - 1
	if hi >= 0 && c.words[hi] > w {
		lo := hi - 1
		for step := 1; lo >= 0 && c.words[lo] > w; step <<= 1 {
			hi, lo = lo, lo-step
		}
		lo = max(lo, -1)
		for hi-lo > 1 { // words[lo] <= w < words[hi]
			mid := int(uint(lo+hi) >> 1)
			if c.words[mid] > w {
				hi = mid
			} else {
				lo = mid
			}
		}
		c.words, c.masks = c.words[:lo+1], c.masks[:lo+1]
		hi = lo
	}
	if hi >= 0 && c.words[hi] == w {
		return c.masks[hi]
	}
	return 0
}

// pass goes on to the first word that may hold a member that is not in seen:
// the tight loop for users who have seen thousands of polls in a row.
func (c *source) pass(seen *probe) {
	if c.word < 0 || c.mask&^seen.at(uint32(c.word)) != 0 { //nolint:gosec // a word's number fits
		return
	}
	words, masks, seenWords, seenMasks := c.words, c.masks, seen.words, seen.masks
	i, j := len(words)-1, len(seenWords)-1
	if j >= 0 && int64(seenWords[j]) == c.word {
		j--
	}
	for i >= 0 && j >= 0 && words[i] == seenWords[j] && masks[i]&^seenMasks[j] == 0 {
		i, j = i-1, j-1
	}
	c.words, c.masks = words[:i+1], masks[:i+1]
	seen.words, seen.masks = seenWords[:j+1], seenMasks[:j+1]
	c.next()
}

// walk appends to page, newest first, at most limit positions that are in one
// of the sources and not in seen, after leaving out the first skip of them, and
// reports whether another follows. Skipping counts words, not positions. seen
// may be nil.
func walk(page []domain.Position, sources []source, seen *wordSet, skip int64, limit int) ([]domain.Position, bool) {
	var not probe
	if seen != nil {
		not = probe{words: seen.words, masks: seen.masks}
	}
	for {
		word := int64(-1)
		for i := range sources {
			word = max(word, sources[i].word)
		}
		if word < 0 {
			return page, false
		}
		var mask uint64
		for i := range sources {
			if c := &sources[i]; c.word == word {
				mask |= c.mask
				c.next()
			}
		}
		mask &^= not.at(uint32(word))
		if mask == 0 {
			if len(sources) == 1 {
				sources[0].pass(&not)
			}
			continue
		}
		if skip > 0 {
			if n := int64(bits.OnesCount64(mask)); n <= skip {
				skip -= n
				continue
			}
			for ; skip > 0; skip-- {
				mask &^= 1 << (bits.Len64(mask) - 1)
			}
		}
		for mask != 0 {
			if limit == 0 {
				return page, true
			}
			bit := bits.Len64(mask) - 1
			mask &^= 1 << bit
			page = append(page, position(uint32(word), bit))
			limit--
		}
	}
}

// maxPosition is above every position, as the bound where a walk begins.
const maxPosition = ^domain.Position(0)
