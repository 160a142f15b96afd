package live_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"vote/internal/domain"
	"vote/internal/engine/memory"
	"vote/internal/engine/sqlite"
	"vote/internal/live"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is set by hand.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ms.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMilli())
	return c
}
func (c *clock) Now() time.Time          { return time.UnixMilli(c.ms.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// counting counts the queries that reach a real store, and can be made slow or
// to fail.
type counting struct {
	domain.Store
	queries atomic.Int64
	before  func()
	err     atomic.Pointer[error]
}

func (c *counting) Counts(ctx context.Context, ids []domain.PollID) ([]domain.Counts, error) {
	c.queries.Add(1)
	if c.before != nil {
		c.before()
	}
	if err := c.err.Load(); err != nil {
		return nil, *err
	}
	return c.Store.Counts(ctx, ids)
}

type world struct {
	clock  *clock
	store  *counting
	cache  domain.Cache
	stats  *live.Stats
	user   domain.UserID
	voters []domain.UserID // who have not voted yet
	crowd  int             // how often voters were made
	polls  []domain.PollID
}

func newWorld(t *testing.T, before func()) *world {
	t.Helper()
	ctx := context.Background()
	w := &world{clock: newClock()}
	store, err := sqlite.Open(ctx, sqlite.Options{Path: t.TempDir() + "/vote.db", Clock: w.clock, AutoMigrate: true})
	if err != nil {
		t.Fatal(err)
	}
	w.store = &counting{Store: store, before: before}
	w.cache = memory.NewCache(memory.CacheOptions{Bytes: 1 << 20, Clock: w.clock})
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w.stats = w.instance(t)
	u, err := store.CreateUser(ctx, domain.NewUser{Username: "ada", UsernameKey: "ada", Email: "a@b.cd", EmailKey: "a@b.cd", PasswordHash: "x"},
		domain.Session{ID: "s", CreatedAt: w.clock.Now(), ExpiresAt: w.clock.Now().Add(time.Hour)}, domain.TokenHash{1})
	if err != nil {
		t.Fatal(err)
	}
	w.user = u.ID
	batch := make([]domain.NewPoll, 3)
	for i := range batch {
		batch[i] = domain.NewPoll{Author: u.ID, Title: "t", Options: []string{"a", "b"}, Tags: []string{"x"}}
	}
	published, err := store.Publish(ctx, batch, func(f []domain.PublicationFact) []domain.PublicationVerdict {
		return domain.Rules{}.JudgePublications(batch, f)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range published {
		w.polls = append(w.polls, p.Poll.ID)
	}
	return w
}

// instance returns another Stats over the same store and cache.
func (w *world) instance(t *testing.T) *live.Stats {
	t.Helper()
	stats := live.New(live.Config{Store: w.store, Cache: w.cache, Clock: w.clock})
	running, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- stats.Run(running) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return stats
}

func (w *world) interact(t *testing.T, in domain.Interaction) domain.Outcome {
	t.Helper()
	in.User = w.user
	batch := []domain.Interaction{in}
	out, err := w.store.Interact(context.Background(), batch, func(f []domain.Fact) []domain.Verdict {
		return domain.Rules{}.Judge(batch, f)
	})
	if err != nil || out.Verdicts[0].Code != "" {
		t.Fatal(out, err)
	}
	return out
}

func (w *world) version(t *testing.T, poll domain.PollID) int64 {
	t.Helper()
	c, err := w.stats.Get(context.Background(), poll)
	if err != nil {
		t.Fatal(err)
	}
	return c.Version()
}

// Another process tells of newer counts: who asks next is told those at once.
func TestNewerCountsAreAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	poll := w.polls[0]
	if v := w.version(t, poll); v != 0 {
		t.Fatalf("version %d", v)
	}
	w.interact(t, domain.Interaction{Poll: poll}) // by another process: without Apply
	w.stats.Newer(map[domain.PollID]int64{poll: 0, w.polls[1]: 7})
	if v := w.version(t, poll); v != 0 {
		t.Errorf("version %d, want the cached 0", v)
	}
	w.stats.Newer(map[domain.PollID]int64{poll: 1})
	if v := w.version(t, poll); v != 1 {
		t.Errorf("version %d, want 1", v)
	}
	asked := w.store.queries.Load()
	w.stats.Newer(map[domain.PollID]int64{poll: 1})
	if w.version(t, poll); w.store.queries.Load() != asked {
		t.Error("asked again for what is known")
	}
}

func TestCountsAreCachedAndRefreshed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	poll := w.polls[0]
	if v := w.version(t, poll); v != 0 {
		t.Fatalf("version %d before any vote", v)
	}
	w.interact(t, domain.Interaction{Poll: poll, Option: 1}) // as another instance would: not announced
	if v := w.version(t, poll); v != 0 || w.store.queries.Load() != 1 {
		t.Fatalf("version %d after %d queries; want the cached 0 after 1", v, w.store.queries.Load())
	}
	w.clock.advance(time.Second)
	if v := w.version(t, poll); v != 1 {
		t.Fatalf("version %d a second later, want 1", v)
	}
}

func TestAnnouncedCountsAreSeenAtOnceAndNeverFall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	poll := w.polls[0]
	first := w.interact(t, domain.Interaction{Poll: poll, Skip: true})
	second := w.interact(t, domain.Interaction{Poll: poll, Option: 0})
	w.stats.Apply(second)
	if v := w.version(t, poll); v != 2 {
		t.Fatalf("version %d after the announcement, want 2", v)
	}
	w.stats.Apply(first) // overtaken
	if v := w.version(t, poll); v != 2 {
		t.Fatalf("version fell to %d", v)
	}
	if n := w.store.queries.Load(); n != 0 {
		t.Fatalf("%d queries for announced counts", n)
	}
}

func TestUnknownHiddenAndDeletedPollsAreNotFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ctx := context.Background()
	if _, err := w.store.SetPollState(ctx, w.polls[0], domain.PollHidden); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.DeletePoll(ctx, w.user, w.polls[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.SetPollState(ctx, w.polls[2], domain.PollClosed); err != nil {
		t.Fatal(err)
	}
	for _, id := range []domain.PollID{w.polls[0], w.polls[1], 12345} {
		if _, err := w.stats.Get(ctx, id); domain.CodeOf(err) != domain.CodeNotFound {
			t.Errorf("poll %d: %v, want not_found", id, err)
		}
	}
	list, err := w.stats.GetMany(ctx, []domain.PollID{12345, w.polls[2], w.polls[0]})
	if err != nil || len(list) != 1 || list[0].Poll != w.polls[2] {
		t.Fatalf("got %v, %v; want the closed poll alone", list, err)
	}
}

func TestForgottenPollIsReadAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.version(t, w.polls[0])
	if _, err := w.store.SetPollState(context.Background(), w.polls[0], domain.PollHidden); err != nil {
		t.Fatal(err)
	}
	w.stats.Forget(w.polls[0])
	if _, err := w.stats.Get(context.Background(), w.polls[0]); domain.CodeOf(err) != domain.CodeNotFound {
		t.Fatalf("%v, want not_found", err)
	}
}

func TestReadersShareTheNextQuery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const readers = 200
		release := make(chan struct{})
		w := newWorld(t, func() { <-release })
		var wg sync.WaitGroup
		read := func() {
			wg.Go(func() {
				if _, err := w.stats.Get(context.Background(), w.polls[0]); err != nil {
					t.Error(err)
				}
			})
		}
		read()
		synctest.Wait() // the first query is under way; all others can only join the second
		for range readers {
			read()
		}
		synctest.Wait()
		close(release)
		wg.Wait()
		if n := w.store.queries.Load(); n != 2 {
			t.Fatalf("%d queries for %d readers of one poll", n, readers+1)
		}
	})
}

func TestFaultsReachTheReaderAndAreNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	fault := error(domain.Fault(domain.CodeUnavailable, errors.New("away")))
	w.store.err.Store(&fault)
	if _, err := w.stats.Get(context.Background(), w.polls[0]); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Fatalf("%v, want unavailable", err)
	}
	w.store.err.Store(nil)
	if v := w.version(t, w.polls[0]); v != 0 {
		t.Fatalf("version %d", v)
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.stats.Get(gone, w.polls[1]); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Fatalf("%v for a caller that left, want unavailable", err)
	}
}

// While the store is away the newest counts that anybody kept are answered, and
// nothing is said of a poll that nobody knows.
func TestCountsWithoutTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ctx := context.Background()
	other := w.instance(t)
	w.version(t, w.polls[1])
	if _, err := other.Get(ctx, w.polls[0]); err != nil { // it knows an old version
		t.Fatal(err)
	}
	w.stats.Apply(w.interact(t, domain.Interaction{Poll: w.polls[0], Option: 1}))
	kept := func(poll domain.PollID, version byte) func() bool {
		return func() bool {
			b, ok := w.cache.Get(ctx, fmt.Sprintf("poll:stats:%d", poll))
			return ok && b[7] == version
		}
	}
	eventually(t, "the vote is kept", kept(w.polls[0], 1))
	eventually(t, "what was read is kept", kept(w.polls[1], 0))

	away := error(domain.E(domain.CodeUnavailable, "away"))
	w.store.err.Store(&away)
	w.clock.advance(10 * time.Minute)
	c, err := other.Get(ctx, w.polls[0])
	if err != nil || c.Poll != w.polls[0] || c.Version() != 1 || c.Votes[1] != 1 {
		t.Errorf("%+v, %v; want the vote that another instance kept", c, err)
	}
	if list, err := other.GetMany(ctx, w.polls[:2]); err != nil || len(list) != 2 {
		t.Errorf("%+v, %v; want both", list, err)
	}
	if _, err := other.Get(ctx, w.polls[2]); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Errorf("of a poll that nobody knows: %v, want unavailable", err)
	}
	if _, err := other.GetMany(ctx, w.polls); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Errorf("of three, one unknown: %v, want unavailable", err)
	}
	// Without the cache too, what the instance itself knows.
	w.cache.Delete(ctx, fmt.Sprintf("poll:stats:%d", w.polls[0]))
	if c, err := w.stats.Get(ctx, w.polls[0]); err != nil || c.Version() != 1 {
		t.Errorf("%+v, %v; want what is remembered", c, err)
	}
	// Not for ever, and never before the store that is back.
	w.clock.advance(time.Hour)
	if _, err := w.stats.Get(ctx, w.polls[0]); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Errorf("after an hour: %v, want unavailable", err)
	}
	w.store.err.Store(nil)
	if c, err := other.Get(ctx, w.polls[0]); err != nil || c.Version() != 1 {
		t.Errorf("%+v, %v; want what the store says", c, err)
	}
}

// A poll that was hidden is forgotten by the cache when anybody learns of it.
func TestHiddenPollLeavesTheCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ctx := context.Background()
	key := fmt.Sprintf("poll:stats:%d", w.polls[0])
	gone := func() bool { _, ok := w.cache.Get(ctx, key); return !ok }
	w.version(t, w.polls[0])
	eventually(t, "kept", func() bool { return !gone() })
	if _, err := w.store.SetPollState(ctx, w.polls[0], domain.PollHidden); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(time.Second)
	if _, err := w.stats.Get(ctx, w.polls[0]); domain.CodeOf(err) != domain.CodeNotFound {
		t.Fatalf("%v, want not_found", err)
	}
	eventually(t, "forgotten", gone)
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
