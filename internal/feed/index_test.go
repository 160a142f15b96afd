package feed

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vote/internal/domain"
)

// stepClock is a clock that stands until it is moved.
type stepClock struct{ now time.Time }

func (c *stepClock) Now() time.Time { return c.now }

// TestIndexAgainstMap announces and tails the same changes of a catalogue in
// every order: what is known in the end, and at each step about what was
// announced, must be the truth.
func TestIndexAgainstMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		clock := &stepClock{time.Unix(0, 0)}
		ix := newIndex(true)
		list := &tagList{ix: ix, clock: clock}
		var truth []domain.Entry // by position - 1, as the store has them
		var own []domain.Entry   // changes of this process, some not announced yet
		revision := int64(0)
		anyTags := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "aa", "ab", "b", "ba", "c"}), 1, 4, rapid.ID)
		states := rapid.SampledFrom([]domain.PollState{domain.PollOpen, domain.PollClosed, domain.PollHidden, domain.PollDeleted})
		tail := func() {
			entries := slices.DeleteFunc(slices.Clone(truth), func(e domain.Entry) bool { return e.Revision <= ix.revision() })
			slices.SortFunc(entries, func(a, b domain.Entry) int { return cmp.Compare(a.Revision, b.Revision) })
			if len(entries) > 0 {
				n := rapid.IntRange(1, len(entries)).Draw(t, "entries")
				ix.tail(entries[:n])
				entries = entries[n:]
			}
			if len(entries) == 0 {
				ix.complete()
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				revision++
				e := domain.Entry{
					Position: domain.Position(len(truth) + 1), Poll: domain.PollID(10*len(truth) + 10),
					Revision: revision, Tags: anyTags.Draw(t, "tags"),
				}
				truth = append(truth, e)
				if rapid.Bool().Draw(t, "own") {
					own = append(own, e)
				}
			},
			"change": func(t *rapid.T) {
				if len(truth) == 0 {
					t.Skip("no polls")
				}
				e := &truth[rapid.IntRange(0, len(truth)-1).Draw(t, "poll")]
				if e.State == domain.PollDeleted {
					t.Skip("deleted")
				}
				revision++
				e.Revision, e.State = revision, states.Draw(t, "state")
				if e.State == domain.PollDeleted {
					e.Tags = nil // its content is gone
				}
				if rapid.Bool().Draw(t, "own") {
					own = append(own, *e)
				}
			},
			"vote": func(t *rapid.T) {
				if len(truth) == 0 {
					t.Skip("no polls")
				}
				e := &truth[rapid.IntRange(0, len(truth)-1).Draw(t, "poll")]
				e.Votes++
				ix.count([]domain.Counts{{Poll: e.Poll, Votes: []int64{0, e.Votes}}}, 0)
			},
			"announce": func(t *rapid.T) {
				if len(own) == 0 {
					t.Skip("nothing to announce")
				}
				i := rapid.IntRange(0, len(own)-1).Draw(t, "which")
				e := own[i]
				if rapid.Bool().Draw(t, "once") {
					own = slices.Delete(own, i, i+1)
				}
				before := ix.revision()
				ix.announce(e)
				// Unless something newer is known, it is as announced.
				if now := truth[e.Position-1]; now.Revision == e.Revision || before < e.Revision && ix.early[e.Position] == e.Revision {
					if ix.states[e.Position] != e.State || ix.open.contains(e.Position) != (e.State == domain.PollOpen) {
						t.Fatalf("announced %+v, state %d", e, ix.states[e.Position])
					}
				}
			},
			"tail": func(*rapid.T) { tail() },
			"": func(t *rapid.T) {
				if !slices.IsSorted(ix.ids) {
					t.Fatalf("ids %v", ix.ids)
				}
				// Nothing is shown above an unknown position that may be a poll.
				page, _ := ix.page(nil, nil, nil, maxPosition, 0, 1)
				if len(page) == 1 {
					for p := range page[0] {
						if p > 0 && ix.states[p] == stateUnknown {
							t.Fatalf("shows %d while %d is unknown", page[0], p)
						}
					}
				}
			},
		})
		for ix.revision() < revision {
			tail()
		}
		if ix.unsettled.Load() || ix.horizon != maxPosition {
			t.Fatal("not settled at the end")
		}
		checkIndex(t, ix, list, truth)
	})
}

// checkIndex compares an index that has tailed everything with the catalogue.
func checkIndex(t *rapid.T, ix *index, list *tagList, truth []domain.Entry) {
	t.Helper()
	open := naiveSet{}
	byTag := map[string]naiveSet{}
	for _, e := range truth {
		p, state, ok := ix.lookup(e.Poll)
		if !ok || p != e.Position || state != e.State {
			t.Fatalf("poll %d: found %v at %d in state %d; want %+v", e.Poll, ok, p, state, e)
		}
		if _, _, ok := ix.lookup(e.Poll + 1); ok {
			t.Fatalf("found a poll that does not exist")
		}
		if e.State != domain.PollOpen {
			continue
		}
		open[e.Position] = true
		if got := ix.totalsOf(nil, []domain.Position{e.Position})[0]; int64(got) != e.Votes {
			t.Fatalf("total of %d is %d, want %d", e.Poll, got, e.Votes)
		}
		for _, name := range e.Tags {
			if byTag[name] == nil {
				byTag[name] = naiveSet{}
			}
			byTag[name][e.Position] = true
		}
	}
	walkAll := func(tags ...string) []domain.Position {
		page, _ := ix.page(nil, tags, nil, maxPosition, 0, len(truth)+1)
		slices.Reverse(page)
		return page
	}
	if diff := gocmp.Diff(open.sorted(), walkAll()); diff != "" && len(open) > 0 {
		t.Fatal(diff)
	}
	for name, want := range byTag {
		if diff := gocmp.Diff(want.sorted(), walkAll(name)); diff != "" {
			t.Fatalf("%s: %s", name, diff)
		}
	}
	if got := walkAll("a", "b", "none", "a"); !slices.Equal(got, unite(byTag["a"], byTag["b"]).sorted()) {
		t.Fatalf("a or b: %v", got)
	}
	checkTags(t, list, byTag)
}

func unite(a, b naiveSet) naiveSet {
	u := maps.Clone(a)
	if u == nil {
		u = naiveSet{}
	}
	maps.Copy(u, b)
	return u
}

func checkTags(t *rapid.T, list *tagList, byTag map[string]naiveSet) {
	t.Helper()
	for _, prefix := range []string{"", "a", "ab", "b", "x"} {
		var want []TagCount
		for name, polls := range byTag {
			if strings.HasPrefix(name, prefix) {
				want = append(want, TagCount{name, len(polls)})
			}
		}
		slices.SortFunc(want, func(a, b TagCount) int {
			return cmp.Or(cmp.Compare(b.Polls, a.Polls), cmp.Compare(a.Tag, b.Tag))
		})
		want = want[:min(3, len(want))]
		if got := list.top(prefix, 3); !slices.Equal(got, want) {
			t.Fatalf("tags %q: %v, want %v", prefix, got, want)
		}
	}
}

func TestTagListAgainstMap(t *testing.T) {
	t.Parallel()
	clock := &stepClock{time.Unix(0, 0)}
	ix := newIndex(true)
	list := &tagList{ix: ix, clock: clock}
	r := rand.New(rand.NewPCG(5, 6))
	counts := map[string]int{}
	publish := func(n, names int) {
		for range n {
			tag := fmt.Sprintf("%x", r.IntN(names))
			counts[tag]++
			p := ix.newest() + 1
			ix.announce(domain.Entry{Position: p, Poll: domain.PollID(p), Revision: int64(p), Tags: []string{tag}})
		}
	}
	check := func() {
		t.Helper()
		for _, prefix := range []string{"", "1", "a", "7f", "abc"} {
			var want []TagCount
			for name, n := range counts {
				if strings.HasPrefix(name, prefix) {
					want = append(want, TagCount{name, n})
				}
			}
			slices.SortFunc(want, func(a, b TagCount) int {
				return cmp.Or(cmp.Compare(b.Polls, a.Polls), cmp.Compare(a.Tag, b.Tag))
			})
			want = want[:min(50, len(want))]
			if diff := gocmp.Diff(want, list.top(prefix, 50)); diff != "" {
				t.Fatalf("prefix %q: %s", prefix, diff)
			}
		}
	}
	for range 5 {
		publish(2000, 3000)
		check()
	}
	// Many tags: a new one may be missing for a second, numbers never lag.
	publish(3*cheapMerge, 10*cheapMerge)
	clock.now = clock.now.Add(time.Second)
	check()
	publish(1, 1)
	check()
	fresh := ix.newest() + 1
	ix.announce(domain.Entry{Position: fresh, Poll: domain.PollID(fresh), Revision: int64(fresh), Tags: []string{"fresh"}})
	counts["fresh"]++
	if got := list.top("fresh", 1); got != nil {
		t.Fatalf("a merge of many tags was not put off: %v", got)
	}
	clock.now = clock.now.Add(time.Second)
	if got := list.top("fresh", 1); len(got) != 1 {
		t.Fatal("a tag is missing after a second")
	}
	check()
}

func TestChunkedRuns(t *testing.T) {
	t.Parallel()
	var c chunked[uint32]
	c.append(0)
	starts := map[uint32]int{}
	for i := range 5000 {
		n := i % 11
		c.reserve(1 + n)
		starts[c.append(uint32(n))] = n
		for k := range n {
			c.append(uint32(1000*n + k))
		}
	}
	for start, n := range starts {
		if got := *c.at(start); got != uint32(n) {
			t.Fatalf("at %d: %d, want %d", start, got, n)
		}
		for k, got := range c.run(start+1, n) {
			if got != uint32(1000*n+k) {
				t.Fatalf("run at %d: %d", start, got)
			}
		}
	}
}
