package feed

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"vote/internal/domain"
)

const million = 1_000_000

// seenCases are the users of the page benchmarks, of a million polls.
var seenCases = []struct {
	name string
	seen func() []domain.Position
}{
	{"none", func() []domain.Position { return nil }},
	{"newest100", func() []domain.Position { return newest(100) }},
	{"newest10000", func() []domain.Position { return newest(10_000) }},
	{"scattered10000", func() []domain.Position { return scattered(10_000) }},
	{"newest10000of64", func() []domain.Position {
		// All but every 64th of the newest: no word can be passed over.
		var all []domain.Position
		for _, p := range newest(10_000) {
			if p%64 != 0 {
				all = append(all, p)
			}
		}
		return all
	}},
}

func newest(n int) []domain.Position {
	all := make([]domain.Position, n)
	for i := range all {
		all[i] = domain.Position(million - i)
	}
	return all
}

func scattered(n int) []domain.Position {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]domain.Position, n)
	for i, k := range r.Perm(million)[:n] {
		all[i] = domain.Position(k + 1)
	}
	return all
}

func fullSet() *wordSet {
	s := &wordSet{}
	for p := range domain.Position(million) {
		s.add(p + 1)
	}
	return s
}

func BenchmarkWalk(b *testing.B) {
	all := fullSet()
	for _, c := range seenCases {
		b.Run(c.name, func(b *testing.B) {
			var seen wordSet
			seen.addAll(c.seen())
			page := make([]domain.Position, 0, 10)
			b.ReportAllocs()
			for b.Loop() {
				page, _ = walk(page[:0], []source{wordSource(all, maxPosition)}, &seen, 0, 10)
			}
			b.ReportMetric(float64(seen.bytes()), "seen-B")
			if len(page) != 10 {
				b.Fatal(len(page))
			}
		})
	}
}

// BenchmarkWalkRoaring is the same with roaring bitmaps, in the two ways in
// which they can do it: leaving out what is seen while walking the reverse
// iterator, and an AndNot of everything.
func BenchmarkWalkRoaring(b *testing.B) {
	all := roaring.New()
	all.AddRange(1, million+1)
	for _, c := range seenCases {
		seen := roaring.New()
		for _, p := range c.seen() {
			seen.Add(uint32(p))
		}
		seen.RunOptimize()
		b.Run("iterate/"+c.name, func(b *testing.B) {
			page := make([]uint32, 0, 10)
			b.ReportAllocs()
			for b.Loop() {
				page = page[:0]
				for it := all.ReverseIterator(); it.HasNext() && len(page) < 10; {
					if p := it.Next(); !seen.Contains(p) {
						page = append(page, p)
					}
				}
			}
			b.ReportMetric(float64(seen.GetSizeInBytes()), "seen-B")
		})
		b.Run("andnot/"+c.name, func(b *testing.B) {
			page := make([]uint32, 0, 10)
			b.ReportAllocs()
			for b.Loop() {
				page = page[:0]
				left := roaring.AndNot(all, seen)
				for it := left.ReverseIterator(); it.HasNext() && len(page) < 10; {
					page = append(page, it.Next())
				}
			}
		})
	}
}

// entries calls put for a million polls; tags gives the tags of each.
func entries(put func(domain.Entry), tags func(i int, into []string) []string) {
	var buffer []string
	for i := range million {
		buffer = tags(i, buffer[:0])
		put(domain.Entry{
			Position: domain.Position(i + 1), Poll: domain.PollID(i+1) << 12, Revision: int64(i + 1),
			Tags: buffer, Votes: int64(i % 1000),
		})
	}
}

// twoTags gives one of 20 common tags and one of 5000 rarer ones.
func twoTags(i int, into []string) []string {
	return append(into, "topic"+strconv.Itoa(i%20), "place"+strconv.Itoa(i*7919%5000))
}

// tenTags gives ten of a million tags.
func tenTags(i int, into []string) []string {
	for k := range 10 {
		into = append(into, "tag"+strconv.Itoa((i*10+k)*7919%million))
	}
	return into
}

func newTestIndex(tags func(int, []string) []string) *index {
	ix := newIndex(true)
	entries(func(e domain.Entry) {
		ix.mu.Lock()
		ix.put(e)
		ix.mu.Unlock()
	}, tags)
	ix.begin(million)
	return ix
}

// BenchmarkIndexBuild puts a million polls into an index and lists its tags:
// heap-B is what the process holds afterwards, index-B what the index says.
func BenchmarkIndexBuild(b *testing.B) {
	for _, c := range []struct {
		name string
		tags func(int, []string) []string
	}{{"2tags", twoTags}, {"10tags1M", tenTags}} {
		b.Run(c.name, func(b *testing.B) {
			var ix *index
			var list *tagList
			heap := func() uint64 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			before := heap()
			for b.Loop() {
				ix = newTestIndex(c.tags)
				list = &tagList{ix: ix, clock: domain.SystemClock{}}
				list.top("", 10)
			}
			b.ReportMetric(float64(heap()-before), "heap-B")
			b.ReportMetric(float64(ix.bytes()), "index-B")
			runtime.KeepAlive(list)
		})
	}
}

func BenchmarkTagListFirst(b *testing.B) {
	ix := newTestIndex(tenTags)
	for b.Loop() {
		list := &tagList{ix: ix, clock: domain.SystemClock{}}
		list.top("", 10)
	}
}

// BenchmarkTags asks for the most used of a million tags while numbers change.
func BenchmarkTags(b *testing.B) {
	ix := newTestIndex(tenTags)
	list := &tagList{ix: ix, clock: domain.SystemClock{}}
	list.top("", 10)
	for _, prefix := range []string{"", "tag", "tag12", "tag12345"} {
		b.Run("prefix="+prefix, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				state := domain.PollClosed
				if i&1 == 1 {
					state = domain.PollOpen
				}
				ix.announce(domain.Entry{Position: 5, Poll: 5 << 12, Revision: int64(million + i + 1), State: state})
				list.top(prefix, 10)
			}
		})
		ix.begin(ix.early[5])
	}
}

// benchFeed is a feed over a million polls without a store.
func benchFeed() *Feed {
	f := New(Config{Clock: domain.SystemClock{}, Exclusive: true, SeenBytes: 1 << 30, BodyBytes: 64 << 20})
	f.ix = newTestIndex(twoTags)
	f.seen.ix = f.ix
	f.ready.Store(true)
	return f
}

func (f *Feed) pretendSeen(user domain.UserID, seen []domain.Position) {
	e := f.seen.entry(user)
	e.set.addAll(seen)
	e.verified = time.Now().Add(time.Hour)
	e.measure()
	f.seen.resize(e)
}

// BenchmarkPage computes a page of ten for a user, from finding what the user
// has seen to the positions, without the polls' JSON.
func BenchmarkPage(b *testing.B) {
	f := benchFeed()
	for i, c := range seenCases {
		f.pretendSeen(domain.UserID(i+1), c.seen())
	}
	run := func(name string, q Query, want int) {
		b.Run(name, func(b *testing.B) {
			ctx := context.Background()
			q.Limit = 10
			s := getScratch()
			b.ReportAllocs()
			for b.Loop() {
				s.positions = s.positions[:0]
				user, err := f.seen.acquire(ctx, q.User)
				if err != nil {
					b.Fatal(err)
				}
				at := cursor{sort: q.Sort, page: max(1, q.Page), below: maxPosition}
				if _, _, err = f.page(ctx, s, q, at, user); err != nil {
					b.Fatal(err)
				}
			}
			if len(s.positions) != want {
				b.Fatal(len(s.positions))
			}
		})
	}
	for i, c := range seenCases {
		run("seen="+c.name, Query{User: domain.UserID(i + 1)}, 10)
	}
	newest10000, scattered10000 := domain.UserID(3), domain.UserID(4)
	run("page1000/seen=newest10000", Query{User: newest10000, Page: 1000}, 10)
	run("page1000/seen=scattered10000", Query{User: scattered10000, Page: 1000}, 10)
	run("page90000/seen=scattered10000", Query{User: scattered10000, Page: 90_000}, 10)
	run("tag=common/seen=newest10000", Query{User: newest10000, Tags: []string{"topic3"}}, 10)
	run("tag=rare/seen=newest10000", Query{User: newest10000, Tags: []string{"place3"}}, 10)
	run("tag=rare/seen=scattered10000", Query{User: scattered10000, Tags: []string{"place3"}}, 10)
	four := []string{"topic3", "topic4", "place3", "place5"}
	run("tags=4/seen=newest10000", Query{User: newest10000, Tags: four}, 10)
	run("tags=4/seen=scattered10000", Query{User: scattered10000, Tags: four}, 10)
	positions := make([]domain.Position, rankSize)
	for i, k := range rand.New(rand.NewPCG(3, 4)).Perm(20_000)[:rankSize] {
		positions[i] = domain.Position(million - k)
	}
	f.rankings.add(domain.Ranking{ID: 1, At: time.Now(), Positions: positions})
	run("hot/seen=newest10000", Query{User: newest10000, Sort: SortHot}, 10)
	run("hot/seen=scattered10000", Query{User: scattered10000, Sort: SortHot}, 10)
	run("hot/tag=rare/seen=newest10000", Query{User: newest10000, Sort: SortHot, Tags: []string{"place3"}}, 0)
}

// BenchmarkAppendPage makes whole answers of ten polls whose JSON is cached.
func BenchmarkAppendPage(b *testing.B) {
	f := benchFeed()
	for i, c := range seenCases {
		user := domain.UserID(i + 1)
		f.pretendSeen(user, c.seen())
		b.Run("seen="+c.name, func(b *testing.B) {
			ctx := context.Background()
			page, _ := f.ix.page(nil, nil, &f.seen.entry(user).set, maxPosition, 0, 10)
			for _, p := range page {
				x, err := encodePoll(&domain.Poll{
					ID: f.ix.ids[p], Author: 1, AuthorName: "someone", Title: "Which of these is the best of all?",
					Options: []string{"The first", "The second", "The third", "Neither of them"},
					Tags:    []string{"topic1", "place1"}, CreatedAt: f.ix.ids[p].Time(),
				})
				if err != nil {
					b.Fatal(err)
				}
				f.bodies.cache.Set(p, x)
			}
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if dst, err = f.AppendPage(ctx, dst[:0], Query{User: user, Limit: 10}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(dst)), "answer-B")
		})
	}
}

// BenchmarkStart loads a feed over a store with a million polls, which it takes
// minutes to make. RSS is that of the whole process, the store's caches, the
// making of the polls and the garbage of loading included.
func BenchmarkStart(b *testing.B) {
	for _, c := range []struct {
		name string
		tags func(int, []string) []string
	}{{"2tags", twoTags}, {"10tags1M", tenTags}} {
		b.Run(c.name, func(b *testing.B) {
			dir := b.TempDir()
			w, done := openWorld(b, dir, 1)
			defer done()
			const atOnce = 2000
			for i := 0; i < million; i += atOnce {
				var batch []domain.NewPoll
				for k := range atOnce {
					batch = append(batch, w.poll("Which of these is the best of all?", c.tags(i+k, nil)...))
				}
				w.publish(batch...)
			}
			debug.FreeOSMemory()
			b.ResetTimer()
			for b.Loop() {
				f, stop := w.start(Config{Exclusive: true, Ranker: true})
				b.StopTimer()
				if polls, _ := f.ix.size(); polls != million {
					b.Fatal(polls)
				}
				b.ReportMetric(rss(b), "RSS-loaded-B")
				debug.FreeOSMemory()
				b.ReportMetric(rss(b), "RSS-settled-B")
				stop()
				b.StartTimer()
			}
		})
	}
}

// rss returns the memory that the process holds.
func rss(b *testing.B) float64 {
	b.Helper()
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(raw))[1])
	if err != nil {
		b.Fatal(err)
	}
	return float64(pages * os.Getpagesize())
}

// BenchmarkVersionCheck makes pages in a process that is not the only one, so
// that each needs the user's version from the store: 64 requests at a time.
func BenchmarkVersionCheck(b *testing.B) {
	w, done := openWorld(b, b.TempDir(), 64)
	defer done()
	w.publishMany(10_000, "a")
	for _, exclusive := range []bool{true, false} {
		b.Run(fmt.Sprintf("exclusive=%v", exclusive), func(b *testing.B) {
			f, stop := w.start(Config{Exclusive: exclusive})
			defer stop()
			var next atomic.Int64
			b.SetParallelism(64 / runtime.GOMAXPROCS(0))
			b.RunParallel(func(pb *testing.PB) {
				user := w.users[next.Add(1)%64]
				var dst []byte
				for pb.Next() {
					var err error
					if dst, err = f.AppendPage(context.Background(), dst[:0], Query{User: user}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
