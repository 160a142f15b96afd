package feed

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vote/internal/domain"
)

// anyPosition draws from a few dense and a few far-away neighbourhoods, so that
// words are shared, adjacent and far apart.
func anyPosition() *rapid.Generator[domain.Position] {
	return rapid.OneOf(
		rapid.Map(rapid.Uint32Range(1, 400), toPosition),
		rapid.Map(rapid.Uint32Range(63_000, 64_500), toPosition),
		rapid.Map(rapid.Uint32Range(1, 1<<32-1), toPosition),
	)
}

func toPosition(n uint32) domain.Position { return domain.Position(n) }

type naiveSet map[domain.Position]bool

func (s naiveSet) sorted() []domain.Position { return slices.Sorted(maps.Keys(s)) }

func checkWords(t rapid.TB, s *wordSet, want naiveSet) {
	t.Helper()
	if s.n != len(want) || len(s.words) != len(s.masks) || !slices.IsSorted(s.words) || slices.Contains(s.masks, 0) {
		t.Fatalf("n = %d, want %d; words %v, masks %x", s.n, len(want), s.words, s.masks)
	}
	page, more := walk(nil, []source{wordSource(s, maxPosition)}, nil, 0, len(want)+1)
	slices.Reverse(page)
	if want[maxPosition] { // a walk goes strictly below
		page = append(page, maxPosition)
	}
	if diff := cmp.Diff(want.sorted(), page); more || (diff != "" && len(want) > 0) {
		t.Fatal(diff)
	}
	var top domain.Position
	for p := range want {
		top = max(top, p)
	}
	if s.max() != top {
		t.Fatalf("max = %d, want %d", s.max(), top)
	}
}

func TestSetsAgainstMaps(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var words wordSet
		var tag tagSet
		want, wantTag := naiveSet{}, naiveSet{}
		next := domain.Position(500)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				p := anyPosition().Draw(t, "p")
				if got := words.add(p); got == want[p] {
					t.Fatalf("add(%d) = %v", p, got)
				}
				if got := tag.add(p); got == wantTag[p] {
					t.Fatalf("tag add(%d) = %v", p, got)
				}
				want[p], wantTag[p] = true, true
			},
			"append": func(t *rapid.T) {
				for range rapid.IntRange(1, 200).Draw(t, "many") {
					next += domain.Position(rapid.IntRange(1, 3).Draw(t, "gap"))
					words.add(next)
					tag.add(next)
					want[next], wantTag[next] = true, true
				}
			},
			"addAll": func(t *rapid.T) {
				many := rapid.SliceOfN(anyPosition(), 0, 300).Draw(t, "many")
				for _, p := range many {
					want[p] = true
				}
				words.addAll(many)
			},
			"remove": func(t *rapid.T) {
				p := anyPosition().Draw(t, "p")
				if len(want) > 0 && rapid.Bool().Draw(t, "member") {
					p = rapid.SampledFrom(want.sorted()).Draw(t, "p")
				}
				if got := words.remove(p); got != want[p] {
					t.Fatalf("remove(%d) = %v", p, got)
				}
				if got := tag.remove(p); got != wantTag[p] {
					t.Fatalf("tag remove(%d) = %v", p, got)
				}
				delete(want, p)
				delete(wantTag, p)
			},
			"contains": func(t *rapid.T) {
				p := anyPosition().Draw(t, "p")
				if words.contains(p) != want[p] || tag.contains(p) != wantTag[p] {
					t.Fatalf("contains(%d)", p)
				}
			},
			"": func(t *rapid.T) {
				checkWords(t, &words, want)
				if tag.len() != len(wantTag) {
					t.Fatalf("tag has %d, want %d", tag.len(), len(wantTag))
				}
				if tag.words != nil {
					checkWords(t, tag.words, wantTag)
				} else if !slices.Equal(tag.list, wantTag.sorted()) {
					t.Fatalf("list %v, want %v", tag.list, wantTag.sorted())
				}
			},
		})
	})
}

func TestWalkAgainstMaps(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		positions := rapid.SliceOfN(anyPosition(), 0, 300)
		below := rapid.OneOf(anyPosition(), rapid.Just(maxPosition)).Draw(t, "below")
		union := naiveSet{}
		var sources []source
		for range rapid.IntRange(0, 4).Draw(t, "sources") {
			many := positions.Draw(t, "members")
			for _, p := range many {
				union[p] = true
			}
			var words wordSet
			words.addAll(many)
			switch rapid.IntRange(0, 2).Draw(t, "form") {
			case 0:
				sources = append(sources, wordSource(&words, below))
			case 1:
				sources = append(sources, listSource(slices.Compact(slices.Clone(many)), below))
			default:
				var tag tagSet
				for _, p := range many {
					tag.add(p)
				}
				sources = append(sources, tag.source(below))
			}
		}
		var seen *wordSet
		hidden := naiveSet{}
		if rapid.Bool().Draw(t, "any seen") {
			seen = &wordSet{}
			many := positions.Draw(t, "seen")
			if len(union) > 0 {
				many = append(many, rapid.SliceOf(rapid.SampledFrom(union.sorted())).Draw(t, "seen members")...)
			}
			for _, p := range many {
				hidden[p] = true
			}
			seen.addAll(many)
		}
		var want []domain.Position
		for _, p := range slices.Backward(union.sorted()) {
			if p < below && !hidden[p] {
				want = append(want, p)
			}
		}
		skip := rapid.IntRange(0, len(want)+2).Draw(t, "skip")
		limit := rapid.IntRange(1, 100).Draw(t, "limit")
		want = want[min(skip, len(want)):]
		wantMore := len(want) > limit
		want = want[:min(limit, len(want))]
		got, more := walk(nil, sources, seen, int64(skip), limit)
		if !slices.Equal(got, want) || more != wantMore {
			t.Fatalf("got %v, more %v; want %v, more %v", got, more, want, wantMore)
		}
	})
}

func TestProbeAgainstMaps(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var set wordSet
		set.addAll(rapid.SliceOfN(anyPosition(), 0, 300).Draw(t, "members"))
		want := map[uint32]uint64{}
		for i, w := range set.words {
			want[w] = set.masks[i]
		}
		word := rapid.OneOf(rapid.Uint32Range(0, 10), rapid.Uint32Range(980, 1010), rapid.Uint32Range(0, 1<<26-1))
		asked := rapid.SliceOfN(word, 0, 50).Draw(t, "asked")
		slices.Sort(asked)
		c := probe{words: set.words, masks: set.masks}
		for _, w := range slices.Backward(asked) {
			if got := c.at(w); got != want[w] {
				t.Fatalf("at(%d) = %x, want %x", w, got, want[w])
			}
		}
	})
}

func TestTagSetTakesTheSmallerForm(t *testing.T) {
	t.Parallel()
	var dense, sparse tagSet
	for i := range domain.Position(1000) {
		dense.add(i + 1)
		sparse.add(1 + 64*i)
	}
	if dense.words == nil || sparse.words != nil {
		t.Errorf("dense in words: %v, sparse in words: %v", dense.words != nil, sparse.words != nil)
	}
}
