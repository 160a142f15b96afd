package events_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vote/internal/domain"
	"vote/internal/engine/memory"
	"vote/internal/events"
)

func TestFeedUpdates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bus := memory.NewBus(memory.BusOptions{DeadLetter: w.store.AddDeadLetter})
	var mu sync.Mutex
	polls := 0
	seen := map[domain.UserID][]domain.Position{}
	version := map[domain.UserID]int64{}
	events.SubscribeFeedUpdates(bus, func() {
		mu.Lock()
		defer mu.Unlock()
		polls++
	}, func(u domain.UserSeen) {
		mu.Lock()
		defer mu.Unlock()
		seen[u.UserID] = append(seen[u.UserID], u.Positions...)
		version[u.UserID] = max(version[u.UserID], u.Version)
	})
	start(t, bus.Run)
	start(t, events.NewRelay(w.quick(bus)).Run)
	w.votes(10)
	w.waitEmpty()
	mu.Lock()
	defer mu.Unlock()
	if polls < 1 || polls > 10 {
		t.Errorf("told %d times of 10 publications", polls)
	}
	for _, u := range w.users {
		want, err := w.store.Seen(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(want.Positions)
		slices.Sort(seen[u])
		if len(want.Positions) == 0 || version[u] != want.Version {
			t.Errorf("user %d: version %d, want %d", u, version[u], want.Version)
		}
		if diff := cmp.Diff(want.Positions, seen[u]); diff != "" {
			t.Errorf("user %d has seen (-), but the events said (+):\n%s", u, diff)
		}
	}
}

func TestFeedUpdatesWithDataItCannotRead(t *testing.T) {
	t.Parallel()
	var dead []domain.DeadLetter
	bus := memory.NewBus(memory.BusOptions{
		DeadLetter: func(_ context.Context, d domain.DeadLetter) error { dead = append(dead, d); return nil },
		Delay:      func(int) time.Duration { return time.Millisecond },
	})
	called := 0
	events.SubscribeFeedUpdates(bus, nil, func(domain.UserSeen) { called++ })
	stop := start(t, bus.Run)
	if err := bus.Publish(t.Context(), []domain.Event{
		{ID: "1-0", Type: domain.EventUserSeen, Data: []byte(`{"userId":"x"}`)},
		{ID: "1-1", Type: domain.EventPollPublished, Data: []byte(`{}`)},
		{ID: "1-2", Type: domain.EventUserSeen, Data: []byte(`{"userId":1,"version":1,"positions":[1]}`)},
	}); err != nil {
		t.Fatal(err)
	}
	stop()
	if called != 1 || len(dead) != 1 || dead[0].Event.ID != "1-0" || dead[0].Queue != events.QueueFeedUpdates {
		t.Errorf("called %d times, dead letters %+v", called, dead)
	}
}

// consumers runs a bus with every consumer of votes until the test ends.
func consumers(t *testing.T, store domain.Store) *memory.Bus {
	t.Helper()
	bus := memory.NewBus(memory.BusOptions{
		DeadLetter: store.AddDeadLetter,
		Delay:      func(int) time.Duration { return time.Millisecond },
	})
	events.SubscribeProcessing(bus)
	events.SubscribeAnalytics(bus, store)
	events.SubscribeNotifications(bus, store)
	start(t, bus.Run)
	return bus
}

// wantCounted fails unless the hourly totals of every poll are its counts, and
// the store is free of contradictions.
func (w *world) wantCounted() {
	w.t.Helper()
	for _, p := range w.polls {
		counts, err := w.store.Counts(w.t.Context(), []domain.PollID{p.ID})
		if err != nil {
			w.t.Fatal(err)
		}
		hours, err := w.store.Hourly(w.t.Context(), p.ID, 0, 1<<30)
		if err != nil {
			w.t.Fatal(err)
		}
		votes, skips := make([]int64, len(p.Options)), int64(0)
		for _, h := range hours {
			skips += h.Skips
			for i, n := range h.Votes {
				votes[i] += n
			}
		}
		if !slices.Equal(votes, counts[0].Votes) || skips != counts[0].Skips {
			w.t.Errorf("poll %d: hourly votes %v, skips %d, counts %+v", p.ID, votes, skips, counts[0])
		}
	}
	report, err := w.store.Check(w.t.Context(), domain.Rules{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, v := range report.Violations {
		w.t.Errorf("%s: %v", v.Rule, v.Examples)
	}
}

func TestVotesAreCountedByTheHour(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	start(t, events.NewRelay(w.quick(consumers(t, w.store))).Run)
	w.votes(20)
	w.clock.advance(2 * time.Hour)
	w.votes(20)
	w.waitEmpty()
	w.wantCounted()
}

// A process that dies between applying and confirming applies again: so does a
// relay that cannot delete what it has published, over buses that know nothing
// of one another.
func TestVotesCountOnceThroughCrashes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	away := func([]int64) error { return domain.E(domain.CodeUnavailable, "") }
	for range 3 {
		w.votes(10)
		w.store.delete.Store(&away)
		before := w.store.claims.Load()
		stop := start(t, events.NewRelay(w.quick(consumers(t, w.store))).Run)
		waitUntil(t, func() bool {
			hours, err := w.store.Hourly(t.Context(), w.polls[len(w.polls)-1].ID, 0, 1<<30)
			return err == nil && len(hours) > 0 && w.store.claims.Load() > before
		})
		stop()
		w.clock.advance(time.Hour) // leases end
	}
	w.store.delete.Store(nil)
	if w.rows() == 0 {
		t.Fatal("nothing was left to come again")
	}
	start(t, events.NewRelay(w.quick(consumers(t, w.store))).Run)
	w.waitEmpty()
	w.wantCounted()
}

func TestMilestones(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 120 {
		u, err := w.store.CreateUser(t.Context(), domain.NewUser{
			Username: "voter", UsernameKey: fmt.Sprint("voter", i), Email: "voter", EmailKey: fmt.Sprint("voter", i), PasswordHash: "-",
		}, domain.Session{ID: fmt.Sprint("voter", i), ExpiresAt: time.Now().Add(time.Hour)}, domain.TokenHash{byte(i), 1})
		if err != nil {
			t.Fatal(err)
		}
		w.users = append(w.users, u.ID)
	}
	w.publish()
	w.publish()
	told := func() (votes []int64) {
		t.Helper()
		list, err := w.store.Notifications(t.Context(), w.users[0], 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range list {
			votes = append(votes, n.Votes)
		}
		return votes
	}
	start(t, events.NewRelay(w.quick(consumers(t, w.store))).Run)
	for i, u := range w.users[:15] {
		w.interact(domain.Interaction{User: u, Poll: w.polls[0].ID, Skip: i < 6})
		w.waitEmpty()
		if n := len(told()); n > 0 {
			t.Fatalf("told after %d skips and %d votes", min(i+1, 6), max(i-5, 0))
		}
	}
	w.interact(domain.Interaction{User: w.users[15], Poll: w.polls[0].ID})
	w.waitEmpty()
	if diff := cmp.Diff([]int64{10}, told()); diff != "" {
		t.Fatalf("told (-want +got):\n%s", diff)
	}
	var batch []domain.Interaction
	for _, u := range w.users {
		batch = append(batch, domain.Interaction{User: u, Poll: w.polls[0].ID, Option: 1}, domain.Interaction{User: u, Poll: w.polls[1].ID})
	}
	w.interact(batch...)
	w.waitEmpty()
	got := told()
	slices.Sort(got)
	if diff := cmp.Diff([]int64{10, 10, 100, 100}, got); diff != "" {
		t.Fatalf("told (-want +got):\n%s", diff)
	}
	w.wantCounted()
}

func TestVotesThatConsumersCannotRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish()
	bus := consumers(t, w.store)
	poll := fmt.Sprint(w.polls[0].ID)
	var list []domain.Event
	for i, c := range []struct{ kind, data string }{
		{domain.EventVoteCast, `{"pollId":` + poll + `,"optionIndex":1,"version":1}`},
		{domain.EventVoteSkipped, ` {"version":1, "pollId":` + poll + `} `},
		{domain.EventVoteCast, `{"pollId":` + poll + `,"version":1}`},
		{domain.EventVoteSkipped, `{"pollId":` + poll + `,"optionIndex":1,"version":1}`},
		{domain.EventVoteCast, `{"pollId":"x","optionIndex":1,"version":1}`},
		{domain.EventVoteCast, `{"optionIndex":1,"version":1}`},
		{domain.EventVoteCast, `{"pollId":` + poll + `,"optionIndex":9,"version":1}`},
		{domain.EventVoteCast, `{"pollId":77,"optionIndex":0,"version":1}`},
	} {
		list = append(list, domain.Event{ID: fmt.Sprint("900-", i), Type: c.kind, Time: time.Now(), Data: []byte(c.data)})
	}
	list = append(list, domain.Event{ID: "odd", Type: domain.EventVoteSkipped, Time: time.Now(), Data: []byte(`{"pollId":` + poll + `,"version":1}`)})
	if err := bus.Publish(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	for queue, want := range map[string][]string{
		events.QueueProcessing:    {"900-2", "900-3", "900-4", "900-5"},
		events.QueueAnalytics:     {"900-6", "900-7", "odd"},
		events.QueueNotifications: nil,
	} {
		var got []string
		for _, d := range w.deadLetters(queue) {
			got = append(got, d.Event.ID)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("dead letters of %s (-want +got):\n%s", queue, diff)
		}
	}
	hours, err := w.store.Hourly(t.Context(), w.polls[0].ID, 0, 1<<30)
	if err != nil || len(hours) != 1 || hours[0].Votes[1] != 1 || hours[0].Skips != 1 {
		t.Errorf("hours %+v, %v", hours, err)
	}
}
