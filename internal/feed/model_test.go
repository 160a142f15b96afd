package feed

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vote/internal/domain"
	"vote/internal/engine/memory"
)

// modelPoll is a poll as the naive model knows it.
type modelPoll struct {
	id    domain.PollID
	tags  []string
	words []string
	state domain.PollState
	votes int64
}

// model is the truth that a feed is compared with.
type model struct {
	polls []*modelPoll
	seen  map[domain.UserID]map[domain.PollID]bool
}

// feed returns what a walk must give.
func (m *model) feed(q Query) []*modelPoll {
	var want []*modelPoll
	for _, p := range slices.Backward(m.polls) {
		if p.matches(q) && !m.seen[q.User][p.id] {
			want = append(want, p)
		}
	}
	return want
}

func (p *modelPoll) matches(q Query) bool {
	if p.state != domain.PollOpen {
		return false
	}
	if len(q.Tags) > 0 && !slices.ContainsFunc(q.Tags, func(tag string) bool { return slices.Contains(p.tags, tag) }) {
		return false
	}
	return q.Text == "" || slices.ContainsFunc(p.words, func(w string) bool { return strings.HasPrefix(w, q.Text) })
}

// TestFeedAgainstModel runs random histories on one process that makes every
// change, or on two that share a store.
func TestFeedAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { runHistory(t, rapid.Bool().Draw(t, "exclusive")) })
}

func runHistory(t *rapid.T, exclusive bool) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "feed")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	w, done := openWorld(t, dir, 3)
	defer done()
	if rapid.Bool().Draw(t, "cache") {
		w.cache = memory.NewCache(memory.CacheOptions{Bytes: 1 << 20, Clock: w.clock})
	}
	feeds := make([]*Feed, 2)
	stops := make([]func(), 2)
	if exclusive {
		feeds, stops = feeds[:1], stops[:1]
	}
	start := func(i int) {
		if stops[i] != nil {
			stops[i]()
		}
		feeds[i], stops[i] = w.start(Config{
			Exclusive: exclusive, Ranker: i == 0,
			SeenBytes: rapid.SampledFrom([]int64{1, seenShards * 300, seenShards * 700, 1 << 20}).Draw(t, "seen bytes"),
			BodyBytes: rapid.SampledFrom([]int64{1, 2000, 1 << 20}).Draw(t, "body bytes"),
		})
	}
	for i := range feeds {
		start(i)
		defer func() { stops[i]() }()
	}
	m := &model{seen: map[domain.UserID]map[domain.PollID]bool{}}
	for _, u := range w.users {
		m.seen[u] = map[domain.PollID]bool{}
	}
	anyFeed := func(t *rapid.T) int { return rapid.IntRange(0, len(feeds)-1).Draw(t, "feed") }
	anyPoll := func(t *rapid.T) *modelPoll {
		if len(m.polls) == 0 {
			t.Skip("no polls")
		}
		return rapid.SampledFrom(m.polls).Draw(t, "poll")
	}
	anyUser := rapid.SampledFrom(append([]domain.UserID{0}, w.users...))
	tags := []string{"a", "b", "c", "d"}
	anyQuery := func(t *rapid.T) Query {
		q := Query{User: anyUser.Draw(t, "user"), Limit: rapid.IntRange(1, 12).Draw(t, "limit")}
		if rapid.Bool().Draw(t, "with tags") {
			q.Tags = rapid.SliceOfNDistinct(rapid.SampledFrom(append(tags, "none")), 1, 3, rapid.ID).Draw(t, "tags")
		}
		if rapid.IntRange(0, 3).Draw(t, "with text") == 0 {
			q.Text = rapid.SampledFrom([]string{"tea", "te", "coffee", "c", "milk"}).Draw(t, "text")
		}
		return q
	}
	// sync lets a feed learn what others changed, which takes it up to half a
	// second by itself, and makes every total older than allowed.
	sync := func(t *rapid.T, f *Feed) {
		if exclusive {
			return
		}
		if err := f.tailNow(); err != nil {
			t.Fatal(err)
		}
		w.clock.advance(time.Second)
	}
	compare := func(t *rapid.T, q Query, got []pollJSON, want []*modelPoll) {
		t.Helper()
		ok := len(got) == len(want)
		for i := 0; ok && i < len(got); i++ {
			ok = got[i].ID == want[i].id && got[i].TotalVotes == want[i].votes && slices.Equal(got[i].Tags, want[i].tags)
		}
		if !ok {
			var expected []string
			for _, p := range want {
				expected = append(expected, fmt.Sprintf("%d (%d votes)", p.id, p.votes))
			}
			t.Fatalf("%+v: got %+v, want %v", q, got, expected)
		}
	}
	publish := func(t *rapid.T, n int) {
		var batch []domain.NewPoll
		for range n {
			words := rapid.SliceOfN(rapid.SampledFrom([]string{"tea", "coffee", "cocoa", "water"}), 1, 3).Draw(t, "words")
			batch = append(batch, w.poll(strings.Join(words, " "), rapid.SliceOfNDistinct(rapid.SampledFrom(tags), 1, 3, rapid.ID).Draw(t, "tags")...))
		}
		published := w.publish(batch...)
		for i, p := range published {
			words := slices.Concat(strings.Fields(batch[i].Title), batch[i].Options, batch[i].Tags)
			m.polls = append(m.polls, &modelPoll{id: p.Poll.ID, tags: batch[i].Tags, words: words})
		}
		feeds[anyFeed(t)].Published(published)
	}
	t.Repeat(map[string]func(*rapid.T){
		"publish one":  func(t *rapid.T) { publish(t, 1) },
		"publish many": func(t *rapid.T) { publish(t, rapid.IntRange(2, 30).Draw(t, "many")) },
		"interact": func(t *rapid.T) {
			var batch []domain.Interaction
			for range rapid.IntRange(1, 12).Draw(t, "batch") {
				batch = append(batch, domain.Interaction{
					User: rapid.SampledFrom(w.users).Draw(t, "user"), Poll: anyPoll(t).id,
					Option: rapid.IntRange(0, 1).Draw(t, "option"), Skip: rapid.Bool().Draw(t, "skip"),
				})
			}
			o := w.interact(batch...)
			for i, v := range o.Verdicts {
				if v.Code != "" {
					continue
				}
				in := batch[i]
				m.seen[in.User][in.Poll] = true
				if !in.Skip {
					m.polls[slices.IndexFunc(m.polls, func(p *modelPoll) bool { return p.id == in.Poll })].votes++
				}
			}
			feeds[anyFeed(t)].Apply(o)
			// Acknowledged: on no feed, from now on, without any waiting.
			for _, f := range feeds {
				for i, in := range batch {
					q := Query{User: in.User, Limit: maxLimit}
					if o.Verdicts[i].Code == "" && slices.Contains(getPage(t, f, q).ids(), in.Poll) {
						t.Fatalf("poll %d came back to user %d", in.Poll, in.User)
					}
				}
			}
		},
		"change state": func(t *rapid.T) {
			p := anyPoll(t)
			if p.state == domain.PollDeleted {
				t.Skip("deleted")
			}
			state := rapid.SampledFrom([]domain.PollState{domain.PollOpen, domain.PollClosed, domain.PollHidden}).Draw(t, "state")
			e, err := w.store.SetPollState(ctx, p.id, state)
			if err != nil {
				t.Fatal(err)
			}
			p.state = state
			feeds[anyFeed(t)].Changed(e)
		},
		"delete": func(t *rapid.T) {
			p := anyPoll(t)
			e, err := w.store.DeletePoll(ctx, w.users[0], p.id)
			switch code := domain.CodeOf(err); {
			case code == "":
				p.state = domain.PollDeleted
				feeds[anyFeed(t)].Changed(e)
			case code == domain.CodeHasVotes && p.votes > 0, code == domain.CodeNotFound && p.state >= domain.PollHidden:
			default:
				t.Fatal(err)
			}
		},
		"restart": func(t *rapid.T) { start(anyFeed(t)) },
		"rank": func(t *rapid.T) {
			w.clock.advance(rankEvery + time.Second)
			if err := feeds[0].makeRanking(ctx, rankEvery); err != nil {
				t.Fatal(err)
			}
			for _, f := range feeds[1:] {
				if err := f.readRanking(ctx); err != nil {
					t.Fatal(err)
				}
			}
		},
		"walk": func(t *rapid.T) {
			f, q := feeds[anyFeed(t)], anyQuery(t)
			sync(t, f)
			compare(t, q, walkFeed(t, f, q), m.feed(q))
		},
		"page": func(t *rapid.T) {
			f, q := feeds[anyFeed(t)], anyQuery(t)
			sync(t, f)
			want := m.feed(q)
			q.Page = rapid.IntRange(1, 6).Draw(t, "page")
			from := min((q.Page-1)*q.Limit, len(want))
			to := min(from+q.Limit, len(want))
			p := getPage(t, f, q)
			compare(t, q, p.Polls, want[from:to])
			if (p.NextCursor != nil) != (to < len(want)) {
				t.Fatalf("%+v: cursor %v after %d of %d", q, p.NextCursor, to, len(want))
			}
		},
		"hot": func(t *rapid.T) {
			f, q := feeds[anyFeed(t)], anyQuery(t)
			sync(t, f)
			q.Sort = SortHot
			r := f.rankings.latest()
			got := walkFeed(t, f, q)
			if r != f.rankings.latest() {
				t.Skip("another ranking was made meanwhile")
			}
			var want []*modelPoll
			if r != nil {
				for _, at := range r.positions {
					if p := m.polls[at-1]; p.matches(q) && !m.seen[q.User][p.id] {
						want = append(want, p)
					}
				}
			}
			compare(t, q, got, want)
		},
		"popular": func(t *rapid.T) {
			f := feeds[anyFeed(t)]
			sync(t, f)
			w.clock.advance(popularLife)
			raw, err := f.AppendPopular(ctx, nil, 100)
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				Polls []pollJSON `json:"polls"`
			}
			strict(t, raw, &got)
			ids := idsOf(got.Polls)
			slices.Sort(ids)
			want := m.feed(Query{})
			if len(want) <= 100 && (len(slices.Compact(ids)) != len(want) || len(got.Polls) != len(want)) {
				t.Fatalf("%v, want %d polls", ids, len(want))
			}
		},
		"one poll": func(t *rapid.T) {
			f, p := feeds[anyFeed(t)], anyPoll(t)
			sync(t, f)
			raw, err := f.AppendPoll(ctx, nil, p.id, nil)
			if p.state >= domain.PollHidden {
				if domain.CodeOf(err) != domain.CodeNotFound {
					t.Fatalf("poll in state %d: %s, %v", p.state, raw, err)
				}
				return
			}
			var got pollJSON
			if err != nil {
				t.Fatal(err)
			}
			strict(t, raw, &got)
			if got.Closed != (p.state == domain.PollClosed) {
				t.Fatalf("poll in state %d: %s", p.state, raw)
			}
			compare(t, Query{}, []pollJSON{got}, []*modelPoll{p})
		},
		"tags": func(t *rapid.T) {
			f := feeds[anyFeed(t)]
			sync(t, f)
			byTag := map[string]naiveSet{}
			for i, p := range m.polls {
				for _, tag := range p.tags {
					if byTag[tag] == nil {
						byTag[tag] = naiveSet{}
					}
					if p.state == domain.PollOpen {
						byTag[tag][domain.Position(i)] = true
					}
				}
			}
			for tag, polls := range byTag {
				if len(polls) == 0 {
					delete(byTag, tag)
				}
			}
			checkTags(t, f.tagList, byTag)
		},
	})
}

// TestSeenNeverComesBack votes and skips from many goroutines, with so little
// memory for seen sets that they are evicted and loaded all the time, while
// others read the same users' feeds.
func TestSeenNeverComesBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		exclusive bool
		feeds     int
		seenBytes int64
	}{
		{"exclusive", true, 1, 1 << 20},
		{"exclusive, evicting", true, 1, seenShards * 600},
		{"exclusive, keeping nothing", true, 1, 1},
		{"shared", false, 2, 1 << 20},
		{"shared, evicting", false, 2, seenShards * 600},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const users, polls, rounds = 9, 400, 25
			w := newWorld(t, users)
			w.cache = memory.NewCache(memory.CacheOptions{Bytes: 1 << 20, Clock: w.clock})
			ids := w.publishMany(polls, "a", "b")
			// Some have seen so much that Recent does not cover it.
			for i, u := range w.users {
				w.skipAll(u, ids[:i%3*80])
			}
			var feeds []*Feed
			for range c.feeds {
				feeds = append(feeds, w.startFor(t, Config{Exclusive: c.exclusive, SeenBytes: c.seenBytes}))
			}
			var running atomic.Int64
			running.Store(users)
			var wg sync.WaitGroup
			for i, u := range w.users {
				wg.Go(func() {
					defer running.Add(-1)
					r := rand.New(rand.NewPCG(uint64(i), 7))
					seen := map[domain.PollID]bool{}
					for range rounds {
						page := getPage(t, feeds[r.IntN(len(feeds))], Query{User: u, Limit: 100})
						for _, id := range page.ids() {
							if seen[id] {
								t.Errorf("user %d: poll %d came back", u, id)
								return
							}
						}
						if len(page.Polls) == 0 {
							t.Errorf("user %d: nothing left", u)
							return
						}
						var batch []domain.Interaction
						for range 1 + r.IntN(4) {
							batch = append(batch, domain.Interaction{User: u, Poll: page.Polls[r.IntN(len(page.Polls))].ID, Skip: r.IntN(2) == 0})
						}
						feeds[r.IntN(len(feeds))].Apply(w.interact(batch...))
						for _, in := range batch {
							seen[in.Poll] = true
						}
					}
				})
			}
			for i := range 4 { // the same users' feeds, read by others
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(i), 8))
					for running.Load() > 0 {
						getPage(t, feeds[r.IntN(len(feeds))], Query{User: w.users[r.IntN(users)], Limit: 3, Tags: []string{"a", "b"}})
					}
				})
			}
			wg.Wait()
		})
	}
}

// TestWalksWhilePublishing walks while polls are added by this process and by
// others, and seen: every poll older than the walk comes exactly once.
func TestWalksWhilePublishing(t *testing.T) {
	t.Parallel()
	for _, exclusive := range []bool{true, false} {
		t.Run(fmt.Sprintf("exclusive=%v", exclusive), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 5)
			w.publishMany(300, "a")
			feeds := []*Feed{w.startFor(t, Config{Exclusive: exclusive})}
			if !exclusive {
				feeds = append(feeds, w.startFor(t, Config{}))
			}
			var mu sync.Mutex // orders publications, as the store does
			var published []domain.PollID
			for _, p := range walkFeed(t, feeds[0], Query{Limit: 100}) {
				published = append(published, p.ID)
			}
			slices.Sort(published)
			var walking atomic.Int64
			walking.Store(int64(len(w.users)))
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := 0; walking.Load() > 0; i++ {
					batch := w.publish(w.poll("new", "a"), w.poll("new", "b"))
					feeds[i%len(feeds)].Published(batch)
					mu.Lock()
					published = append(published, batch[0].Poll.ID, batch[1].Poll.ID)
					mu.Unlock()
				}
			})
			for i, u := range w.users {
				wg.Go(func() {
					defer walking.Add(-1)
					f := feeds[i%len(feeds)]
					for range 3 {
						// What was published before a walk began and is not newer
						// than its first poll is what it has to give.
						mu.Lock()
						before := slices.Clone(published)
						mu.Unlock()
						q := Query{Limit: 7 + i}
						if i%2 == 0 {
							q.User = u
						}
						if i == 3 {
							q.Tags = []string{"a", "b"}
						}
						p := getPage(t, f, q)
						if len(p.Polls) == 0 {
							t.Errorf("an empty page")
							return
						}
						first := p.Polls[0].ID
						got := p.ids()
						skipped := map[domain.PollID]bool{}
						for p.NextCursor != nil {
							if q.User != 0 && len(skipped) < 50 {
								// Seen before or behind the cursor: the walk does
								// not shift.
								id := before[(len(skipped)*37)%len(before)]
								if skipped[id] {
									id = p.Polls[0].ID
								}
								f.Apply(w.interact(domain.Interaction{User: u, Poll: id, Skip: true}))
								skipped[id] = true
							}
							q.Cursor = *p.NextCursor
							p = getPage(t, f, q)
							got = append(got, p.ids()...)
						}
						have := map[domain.PollID]bool{}
						for k, id := range got {
							if k > 0 && id >= got[k-1] {
								t.Errorf("poll %d after %d", id, got[k-1])
							}
							have[id] = true
						}
						for _, id := range before {
							if id <= first && !have[id] && !skipped[id] && q.User == 0 {
								t.Errorf("poll %d is missing in a walk from %d", id, first)
							}
						}
					}
				})
			}
			wg.Wait()
		})
	}
}
