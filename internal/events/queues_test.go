package events_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vote/internal/domain"
	"vote/internal/engine/memory"
	"vote/internal/events"
)

// hinted gives a bus's events to a listener.
func hinted(bus domain.Bus, types []string, listen func([]domain.Event)) {
	bus.Subscribe("hints", types, func(_ context.Context, events []domain.Event) error {
		listen(events)
		return nil
	})
}

func TestFeedHints(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bus := memory.NewBus(memory.BusOptions{DeadLetter: w.store.AddDeadLetter})
	var told atomic.Int64
	types, listen := events.FeedHints(func() { told.Add(1) })
	hinted(bus, types, listen)
	start(t, bus.Run)
	start(t, events.NewRelay(w.quick(bus)).Run)
	w.votes(10)
	w.waitEmpty()
	if n := told.Load(); n < 1 || n > 10 {
		t.Errorf("told %d times of 10 publications", n)
	}
}

func TestVoteHints(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bus := memory.NewBus(memory.BusOptions{DeadLetter: w.store.AddDeadLetter})
	newest := map[domain.PollID]int64{}
	types, listen := events.VoteHints(func(versions map[domain.PollID]int64) {
		for id, v := range versions {
			newest[id] = max(newest[id], v)
		}
	})
	hinted(bus, types, listen)
	stop := start(t, bus.Run)
	start(t, events.NewRelay(w.quick(bus)).Run)
	w.votes(10)
	w.waitEmpty()
	stop()
	listen([]domain.Event{{ID: "1-0", Type: domain.EventVoteCast, Data: []byte(`{"pollId":"x"}`)}})
	for _, p := range w.polls {
		counts, err := w.store.Counts(t.Context(), []domain.PollID{p.ID})
		if err != nil {
			t.Fatal(err)
		}
		if newest[p.ID] != counts[0].Version() || counts[0].Version() == 0 {
			t.Errorf("poll %d: told of version %d, the counts have %d", p.ID, newest[p.ID], counts[0].Version())
		}
	}
}

// What changes feeds reaches those who cache them: every user and every poll,
// each once a call.
func TestFeedInvalidation(t *testing.T) {
	t.Parallel()
	for _, users := range []bool{false, true} {
		t.Run(fmt.Sprint("users ", users), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			bus := memory.NewBus(memory.BusOptions{DeadLetter: w.store.AddDeadLetter})
			gone := map[domain.UserID]bool{}
			news := map[domain.PollID]bool{}
			events.SubscribeFeedUpdates(bus, users)
			events.SubscribeFeedInvalidation(bus, func(_ context.Context, users []domain.UserID, polls []domain.PollID) error {
				for i, u := range users {
					if gone[u] = true; i > 0 && users[i-1] >= u {
						t.Errorf("users %v", users)
					}
				}
				for _, p := range polls {
					news[p] = true
				}
				return nil
			})
			stop := start(t, bus.Run)
			start(t, events.NewRelay(w.quick(bus)).Run)
			w.votes(10)
			w.waitEmpty()
			stop()
			for _, p := range w.polls {
				if !news[p.ID] {
					t.Errorf("nothing said of poll %d", p.ID)
				}
			}
			for _, u := range w.users {
				if gone[u] != users {
					t.Errorf("user %d: told %t, want %t", u, gone[u], users)
				}
			}
			if dead, err := w.store.DeadLetters(t.Context(), "", 0, 10); err != nil || len(dead) > 0 {
				t.Errorf("dead letters %+v, %v", dead, err)
			}
		})
	}
}

func TestFeedEventsWithDataTheyCannotRead(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	dead := map[string]string{}
	bus := memory.NewBus(memory.BusOptions{
		DeadLetter: func(_ context.Context, d domain.DeadLetter) error {
			mu.Lock()
			defer mu.Unlock()
			dead[d.Event.ID] = d.Queue
			return nil
		},
		Delay: func(int) time.Duration { return time.Millisecond },
	})
	told := 0
	events.SubscribeFeedUpdates(bus, true)
	events.SubscribeFeedInvalidation(bus, func(_ context.Context, users []domain.UserID, polls []domain.PollID) error {
		told += len(users) + len(polls)
		return nil
	})
	stop := start(t, bus.Run)
	if err := bus.Publish(t.Context(), []domain.Event{
		{ID: "1-0", Type: domain.EventUserSeen, Data: []byte(`{"userId":"x"}`)},
		{ID: "1-1", Type: domain.EventPollPublished, Data: []byte(`{"userId":1}`)},
		{ID: "1-2", Type: domain.EventUserSeen, Data: []byte(`{"userId":1,"version":1,"positions":[1]}`)},
		{ID: "1-3", Type: domain.EventPollPublished, Data: []byte(`{"pollId":2,"position":1}`)},
		{ID: "1-4", Type: domain.EventFeedChanged, Data: []byte(`{}`)},
	}); err != nil {
		t.Fatal(err)
	}
	stop()
	want := map[string]string{"1-0": events.QueueFeedUpdates, "1-1": events.QueueFeedUpdates, "1-4": events.QueueFeedInvalidation}
	if diff := cmp.Diff(want, dead); diff != "" || told != 2 {
		t.Errorf("told of %d, dead letters (-want +got):\n%s", told, diff)
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
