package events_test

import (
	"context"
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
