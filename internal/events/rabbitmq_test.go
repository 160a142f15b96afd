//go:build integration

package events_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"vote/internal/domain"
	"vote/internal/engine/rabbitmq"
	"vote/internal/events"
	"vote/internal/testservers"
)

// rabbit returns a bus of one process with every consumer.
func (w *world) rabbit(broker string) *rabbitmq.Bus {
	w.t.Helper()
	bus, err := rabbitmq.NewBus(rabbitmq.Options{
		URL: broker, Queues: events.Topology(), DeadLetter: w.store.AddDeadLetter, ReconnectInterval: 50 * time.Millisecond,
		Delay: func(int) time.Duration { return time.Millisecond }, MessageEvents: 20,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	events.SubscribeProcessing(bus)
	events.SubscribeAnalytics(bus, w.store)
	events.SubscribeNotifications(bus, w.store)
	events.SubscribeFeedUpdates(bus, true)
	events.SubscribeFeedInvalidation(bus, func(context.Context, []domain.UserID, []domain.PollID) error { return nil })
	return bus
}

// Over a broker the queue of feed updates takes what users have seen, too: without
// users it goes no further.
func TestFeedUpdatesWithoutUsersThroughRabbitMQ(t *testing.T) {
	t.Parallel()
	bus, err := rabbitmq.NewBus(rabbitmq.Options{URL: testservers.RabbitMQ(t), Queues: events.Topology(), ReconnectInterval: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	const last = domain.PollID(9)
	told, ended := make(chan domain.UserID, 100), make(chan struct{})
	events.SubscribeFeedUpdates(bus, false)
	events.SubscribeFeedInvalidation(bus, func(_ context.Context, users []domain.UserID, polls []domain.PollID) error {
		for _, u := range users {
			told <- u
		}
		if slices.Contains(polls, last) {
			close(ended)
		}
		return nil
	})
	start(t, bus.Run)
	list := domain.Changes{
		Seen:      []domain.UserSeen{{UserID: 1, Version: 1, Positions: []domain.Position{1}}, {UserID: 2, Version: 1, Positions: []domain.Position{1}}},
		Published: []domain.PollPublished{{PollID: last, Position: 2}},
	}.Events(1)
	// The queues keep the order, so what comes last has let the others go first.
	slices.SortStableFunc(list, func(a, b domain.Event) int { return strings.Compare(b.Type, a.Type) })
	if list[len(list)-1].Type != domain.EventPollPublished {
		t.Fatalf("the last event is %s", list[len(list)-1].Type)
	}
	if err := bus.Publish(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	<-ended
	if len(told) > 0 {
		t.Errorf("%d users were told of", len(told))
	}
}

// Two relays and two workers over one store: each vote is counted once, though
// rows are published twice (a relay was held up beyond its lease, deleting
// failed) and processes go away in the middle.
func TestVotesCountOnceThroughRabbitMQ(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	broker := testservers.RabbitMQ(t)
	fault := func([]int64) error { return domain.E(domain.CodeUnavailable, "") }
	for round := range 4 {
		w.votes(10)
		w.store.delete.Store(&fault) // what is published now comes again
		before := w.store.claims.Load()
		var stops []func()
		for range 2 {
			bus := w.rabbit(broker)
			stops = append(stops, start(t, bus.Run), start(t, events.NewRelay(w.quick(bus)).Run))
		}
		waitUntil(t, func() bool {
			hours, err := w.store.Hourly(t.Context(), w.polls[len(w.polls)-1].ID, 0, 1<<30)
			return err == nil && len(hours) > 0 && w.store.claims.Load() > before
		})
		for _, stop := range stops {
			stop()
		}
		if round == 3 && w.rows() == 0 {
			t.Fatal("nothing was left to come again")
		}
		w.store.delete.Store(nil)
		w.clock.advance(time.Hour) // leases end
	}
	for range 2 {
		bus := w.rabbit(broker)
		start(t, bus.Run)
		start(t, events.NewRelay(w.quick(bus)).Run)
	}
	w.votes(10)
	w.waitEmpty()
	waitUntil(t, w.counted)
	w.wantCounted()
	if dead, err := w.store.DeadLetters(t.Context(), "", 0, 10); err != nil || len(dead) > 0 {
		t.Errorf("dead letters %+v, %v", dead, err)
	}
}

// counted reports whether as many votes and skips are in the hourly totals as in
// the counts.
func (w *world) counted() bool {
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
		n := int64(0)
		for _, h := range hours {
			n += h.Skips
			for _, v := range h.Votes {
				n += v
			}
		}
		if n < counts[0].Version() {
			return false
		}
	}
	return true
}

// A dead letter of a queue of the broker is where those of the other bus are,
// and is replayed the same way.
func TestDeadLettersOfRabbitMQAreReplayed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish()
	broker := testservers.RabbitMQ(t)
	poisoned, err := rabbitmq.NewBus(rabbitmq.Options{
		URL: broker, Queues: events.Topology(), DeadLetter: w.store.AddDeadLetter,
		Delay: func(int) time.Duration { return time.Millisecond },
	})
	if err != nil {
		t.Fatal(err)
	}
	poisoned.Subscribe(events.QueueProcessing, []string{domain.EventVoteCast, domain.EventVoteSkipped},
		func(context.Context, []domain.Event) error { panic("lost my head") })
	stop, stopRelay := start(t, poisoned.Run), start(t, events.NewRelay(w.quick(poisoned)).Run)
	w.interact(domain.Interaction{User: w.users[0], Poll: w.polls[0].ID, Option: 1})
	var dead []domain.DeadLetter
	waitUntil(t, func() bool {
		dead, err = w.store.DeadLetters(t.Context(), events.QueueProcessing, 0, 10)
		return err == nil && len(dead) == 1
	})
	stopRelay()
	stop()
	if n, err := w.store.ReplayDeadLetters(t.Context(), []int64{dead[0].ID}); err != nil || n != 1 {
		t.Fatalf("replayed %d, %v", n, err)
	}
	bus := w.rabbit(broker)
	start(t, bus.Run)
	start(t, events.NewRelay(w.quick(bus)).Run)
	w.waitEmpty()
	waitUntil(t, w.counted)
	w.wantCounted()
}
