package analytics_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"vote/internal/analytics"
	"vote/internal/domain"
	"vote/internal/engine/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock stands until it is moved.
type clock struct{ now atomic.Int64 }

func (c *clock) Now() time.Time { return time.UnixMilli(c.now.Load()).UTC() }

func (c *clock) set(t time.Time) { c.now.Store(t.UnixMilli()) }

// faulty is a store whose writes of shown polls fail when told.
type faulty struct {
	domain.Store
	fail   atomic.Pointer[error]
	writes atomic.Int64
	prunes atomic.Int64
}

func (f *faulty) AddShown(ctx context.Context, shown []domain.Shown) error {
	f.writes.Add(1)
	if err := f.fail.Load(); err != nil {
		return *err
	}
	return f.Store.AddShown(ctx, shown)
}

func (f *faulty) PruneCounted(ctx context.Context, before time.Time) (int64, error) {
	defer f.prunes.Add(1)
	return f.Store.PruneCounted(ctx, before)
}

var morning = time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)

type world struct {
	t        *testing.T
	clock    *clock
	store    *faulty
	polls    []domain.PollID
	registry *prometheus.Registry
}

func newWorld(t *testing.T, polls int) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{}, registry: prometheus.NewRegistry()}
	w.clock.set(morning)
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "vote.db"), AutoMigrate: true, Clock: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w.store = &faulty{Store: store}
	u, err := store.CreateUser(t.Context(), domain.NewUser{Username: "a", UsernameKey: "a", Email: "a", EmailKey: "a", PasswordHash: "-"},
		domain.Session{ID: "s", ExpiresAt: morning.Add(time.Hour)}, domain.TokenHash{})
	if err != nil {
		t.Fatal(err)
	}
	batch := make([]domain.NewPoll, polls)
	for i := range batch {
		batch[i] = domain.NewPoll{Author: u.ID, Title: fmt.Sprint("Tea ", i), Options: []string{"yes", "no"}, Tags: []string{"tea"}}
	}
	published, err := store.Publish(t.Context(), batch, func(f []domain.PublicationFact) []domain.PublicationVerdict {
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

func (w *world) analytics(every time.Duration) *analytics.Analytics {
	return analytics.New(analytics.Config{Store: w.store, Clock: w.clock, Registerer: w.registry, FlushEvery: every, PruneEvery: every})
}

// start runs something until stop is called.
func (w *world) start(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

func (w *world) shown(poll domain.PollID) map[domain.Hour]int64 {
	w.t.Helper()
	hours, err := w.store.Hourly(context.Background(), poll, 0, 1<<30)
	if err != nil {
		w.t.Fatal(err)
	}
	shown := map[domain.Hour]int64{}
	for _, h := range hours {
		shown[h.Hour] = h.Shown
	}
	return shown
}

func (w *world) metric(name string) float64 {
	w.t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	w.t.Fatalf("no metric %s", name)
	return 0
}

func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("not so in time: %s", what)
		}
	}
}

func TestShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2500)
	a := w.analytics(time.Millisecond)
	stop := w.start(a.Run)
	hour := domain.HourOf(morning)
	a.Shown(w.polls)
	w.eventually("the first are written", func() bool { return w.shown(w.polls[2499])[hour] == 1 })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				a.Shown(w.polls[:3])
			}
		})
	}
	wg.Wait()
	w.clock.set(morning.Add(time.Hour))
	a.Shown(w.polls[:1])
	stop()
	if diff := cmp.Diff(map[domain.Hour]int64{hour: 401, hour + 1: 1}, w.shown(w.polls[0])); diff != "" {
		t.Errorf("shown (-want +got):\n%s", diff)
	}
}

// What is shown last is written when the server drains, without waiting.
func TestShownIsWrittenAtTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a := w.analytics(time.Hour)
	stop := w.start(a.Run)
	a.Shown(w.polls)
	stop()
	if n := w.shown(w.polls[0])[domain.HourOf(morning)]; n != 1 {
		t.Errorf("shown %d times, want 1", n)
	}
}

func TestShownWhileTheStoreFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want int64 // of two showings, of which one meets the fault
	}{
		{domain.E(domain.CodeUnavailable, ""), 2},
		{errors.New("no"), 2},
		{domain.E(domain.CodeOutcomeUnknown, ""), 1},
	} {
		t.Run(fmt.Sprint(c.err), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			w.store.fail.Store(&c.err)
			a := w.analytics(time.Millisecond)
			stop := w.start(a.Run)
			a.Shown(w.polls)
			w.eventually("a write failed", func() bool { return w.store.writes.Load() > 0 })
			// The fault is over only when what met it was put back or dropped.
			w.eventually("the failure is counted", func() bool {
				return w.metric("vote_polls_shown_write_failures_total") > 0
			})
			stop()
			w.store.fail.Store(nil)
			stop = w.start(a.Run)
			a.Shown(w.polls)
			stop()
			if n := w.shown(w.polls[0])[domain.HourOf(morning)]; n != c.want {
				t.Errorf("shown %d times, want %d", n, c.want)
			}
		})
	}
}

func TestShownIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a := w.analytics(time.Hour)
	many := make([]domain.PollID, 100_000)
	for i := range many {
		many[i] = domain.PollID(i + 1)
	}
	a.Shown(many)
	a.Shown(w.polls) // no room
	a.Shown(many[:7])
	if n, dropped := w.metric("vote_polls_shown_total"), w.metric("vote_polls_shown_dropped_total"); n != 100_008 || dropped != 1 {
		t.Errorf("%v shown, %v dropped", n, dropped)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a := w.analytics(time.Millisecond)
	stop := w.start(a.Prune)
	w.eventually("it prunes again and again", func() bool { return w.store.prunes.Load() > 3 })
	stop()
}

func TestRange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a := w.analytics(time.Hour)
	at := func(s string) time.Time {
		if s == "" {
			return time.Time{}
		}
		parsed, err := time.Parse("2006-01-02 15:04:05", s)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	for _, c := range []struct {
		bucket           analytics.Bucket
		from, to         string
		wantFrom, wantTo string
		fault            string
		firstStart       string
		buckets          int
	}{
		{bucket: analytics.Hourly, wantFrom: "2026-02-28 10:00:00", wantTo: "2026-03-01 10:00:00", firstStart: "2026-02-28 10:00:00", buckets: 24},
		{bucket: analytics.Daily, wantFrom: "2026-01-31 00:00:00", wantTo: "2026-03-02 00:00:00", firstStart: "2026-01-31 00:00:00", buckets: 30},
		{bucket: analytics.Hourly, to: "2026-02-01 00:30:00", wantFrom: "2026-01-31 01:00:00", wantTo: "2026-02-01 00:30:00", firstStart: "2026-01-31 01:00:00", buckets: 24},
		{bucket: analytics.Hourly, from: "2026-03-01 09:59:59", wantFrom: "2026-03-01 09:00:00", wantTo: "2026-03-01 10:00:00", firstStart: "2026-03-01 09:00:00", buckets: 1},
		{bucket: analytics.Daily, from: "2026-03-01 09:59:59", to: "2026-03-01 10:00:00", wantFrom: "2026-03-01 00:00:00", wantTo: "2026-03-01 10:00:00", firstStart: "2026-03-01 00:00:00", buckets: 1},
		{bucket: analytics.Hourly, from: "2026-03-01 10:00:00", fault: "from"},
		{bucket: analytics.Hourly, from: "2026-03-01 08:00:00", to: "2026-03-01 08:00:00", fault: "to"},
		{bucket: analytics.Hourly, from: "2026-03-01 08:00:01", to: "2026-03-01 08:00:00", fault: "to"},
		{bucket: analytics.Hourly, from: "2026-01-01 00:00:00", to: "2026-02-01 00:00:00", wantFrom: "2026-01-01 00:00:00", wantTo: "2026-02-01 00:00:00", firstStart: "2026-01-01 00:00:00", buckets: 744},
		{bucket: analytics.Hourly, from: "2026-01-01 00:00:00", to: "2026-02-01 00:00:01", fault: "to"},
		{bucket: analytics.Daily, from: "2024-01-01 00:00:00", to: "2025-01-01 00:00:00", wantFrom: "2024-01-01 00:00:00", wantTo: "2025-01-01 00:00:00", firstStart: "2024-01-01 00:00:00", buckets: 366},
		{bucket: analytics.Daily, from: "2024-01-01 00:00:00", to: "2025-01-01 00:00:01", fault: "to"},
	} {
		from, to, faults := a.Range(c.bucket, at(c.from), at(c.to))
		if c.fault != "" {
			if len(faults) != 1 || faults[0].Field != c.fault {
				t.Errorf("%+v: %v", c, faults)
			}
			continue
		}
		if len(faults) > 0 || !from.Equal(at(c.wantFrom)) || !to.Equal(at(c.wantTo)) {
			t.Errorf("%+v: %v to %v, %v", c, from, to, faults)
			continue
		}
		series, err := a.Series(t.Context(), w.polls[0], 2, c.bucket, from, to)
		if err != nil || len(series) != c.buckets || !series[0].Start.Equal(at(c.firstStart)) {
			t.Errorf("%+v: %d buckets from %v, %v", c, len(series), series[0].Start, err)
		}
	}
}
