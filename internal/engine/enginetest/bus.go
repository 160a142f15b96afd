package enginetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"vote/internal/domain"
)

// OpenedBus is a bus under test.
type OpenedBus struct {
	domain.Bus
	// DeadLetters returns what has been kept so far.
	DeadLetters func(t *testing.T) []domain.DeadLetter
}

// TestBus holds a bus to what [domain.Bus] promises. open returns one that
// shares no queue with another, waits at most some milliseconds between tries,
// holds fewer than 1000 events a queue in memory, and is closed with the test.
// The test becomes a parallel one.
func TestBus(t *testing.T, open func(t *testing.T) OpenedBus) {
	t.Parallel()
	ctx := t.Context()

	t.Run("each queue gets each event it takes", func(t *testing.T) {
		t.Parallel()
		b := open(t)
		cast, feed, both := newConsumer(), newConsumer(), newConsumer()
		b.Subscribe("vote.processing", []string{domain.EventVoteCast, domain.EventVoteSkipped}, cast.handle)
		b.Subscribe("feed.updates", []string{domain.EventPollPublished, domain.EventUserSeen}, feed.handle)
		b.Subscribe("everything", []string{domain.EventUserSeen, domain.EventVoteCast}, both.handle)
		runBus(t, b)
		var all []domain.Event
		for i := range 50 {
			events := busEvents(i, domain.EventVoteCast, domain.EventVoteSkipped, domain.EventPollPublished,
				domain.EventUserSeen, "of.no.interest")
			publish(t, b, events)
			all = append(all, events...)
		}
		cast.wantExactly(t, all, domain.EventVoteCast, domain.EventVoteSkipped)
		feed.wantExactly(t, all, domain.EventPollPublished, domain.EventUserSeen)
		both.wantExactly(t, all, domain.EventUserSeen, domain.EventVoteCast)
		wantDead(t, b)
	})
	t.Run("events arrive as they were", func(t *testing.T) {
		t.Parallel()
		b := open(t)
		c := newConsumer()
		b.Subscribe("feed.updates", []string{domain.EventUserSeen}, c.handle)
		runBus(t, b)
		e := domain.Changes{
			At:   time.Date(2026, 3, 1, 12, 0, 0, 5e6, time.UTC),
			Seen: []domain.UserSeen{{UserID: 1<<53 - 1, Version: 7, Positions: []domain.Position{1, 4294967295}}},
		}.Events(42)[0]
		publish(t, b, []domain.Event{e})
		waitUntil(t, func() bool { return c.count(e.ID) == 1 })
		got := c.get(e.ID)
		if got.Time.Equal(e.Time) {
			got.Time = e.Time
		}
		if one, two := mustJSON(t, got), mustJSON(t, e); one != two {
			t.Fatalf("got %s, published %s", one, two)
		}
	})
	t.Run("nobody takes it", func(t *testing.T) {
		t.Parallel()
		b := open(t)
		runBus(t, b)
		publish(t, b, busEvents(1, "of.no.interest", domain.EventVoteCast))
		publish(t, b, nil)
		wantDead(t, b)
	})
	t.Run("a failure is tried again", func(t *testing.T) {
		t.Parallel()
		b := open(t)
		c := newConsumer()
		c.fail = func(_ domain.Event, try int) error {
			if try < domain.MaxDeliveries {
				return errors.New("not now")
			}
			return nil
		}
		b.Subscribe("q", []string{"a"}, c.handle)
		runBus(t, b)
		events := busEvents(1, "a", "a", "a")
		publish(t, b, events)
		c.wantExactly(t, events, "a")
		for _, e := range events {
			if n := c.tried(e.ID); n != domain.MaxDeliveries {
				t.Errorf("event %s was tried %d times, want %d", e.ID, n, domain.MaxDeliveries)
			}
		}
		wantDead(t, b)
	})
	t.Run("poison becomes a dead letter and the others go on", func(t *testing.T) {
		t.Parallel()
		b := open(t)
		c, other := newConsumer(), newConsumer()
		events := busEvents(1, "a", "a", "a", "a", "a")
		c.fail = func(e domain.Event, _ int) error {
			switch e.ID {
			case events[0].ID:
				return errors.New("cannot read the moon")
			case events[2].ID:
				panic("lost my head")
			}
			return nil
		}
		b.Subscribe("poisoned", []string{"a"}, c.handle)
		b.Subscribe("sound", []string{"a"}, other.handle)
		runBus(t, b)
		publish(t, b, events)
		c.wantExactly(t, []domain.Event{events[1], events[3], events[4]}, "a")
		other.wantExactly(t, events, "a")
		dead := wantDead(t, b, events[0].ID, events[2].ID)
		for _, d := range dead {
			reason := map[string]string{events[0].ID: "cannot read the moon", events[2].ID: "lost my head"}[d.Event.ID]
			if d.Queue != "poisoned" || !strings.Contains(d.Reason, reason) || d.At.IsZero() {
				t.Errorf("dead letter %+v, want queue poisoned and reason %q", d, reason)
			}
			if d.Event.Type != "a" || string(d.Event.Data) != string(events[0].Data) {
				t.Errorf("dead letter holds event %+v", d.Event)
			}
			if n := c.tried(d.Event.ID); n != domain.MaxDeliveries {
				t.Errorf("event %s was tried %d times, want %d", d.Event.ID, n, domain.MaxDeliveries)
			}
		}
		more := busEvents(2, "a", "a")
		publish(t, b, more)
		c.wantExactly(t, []domain.Event{events[1], events[3], events[4], more[0], more[1]}, "a")
	})
	t.Run("more poison than a queue holds", func(t *testing.T) {
		t.Parallel()
		b := open(t)
		c := newConsumer()
		c.fail = func(e domain.Event, _ int) error {
			if e.Type == "poison" {
				return errors.New("no")
			}
			return nil
		}
		b.Subscribe("q", []string{"poison", "good"}, c.handle)
		runBus(t, b)
		types := make([]string, 1000)
		for i := range types {
			types[i] = "poison"
		}
		poison, good := busEvents(1, types...), busEvents(2, "good", "good")
		publish(t, b, append(poison, good...))
		c.wantExactly(t, good, "good")
		ids := make([]string, len(poison))
		for i, e := range poison {
			ids[i] = e.ID
		}
		wantDead(t, b, ids...)
	})
	t.Run("publishing while the context ends", func(t *testing.T) {
		t.Parallel()
		b := open(t)
		c := newConsumer()
		b.Subscribe("q", []string{"a"}, c.handle)
		runBus(t, b)
		var all []domain.Event
		for i := range 40 {
			events := busEvents(i, "a", "a", "a")
			all = append(all, events...)
			short, cancel := context.WithTimeout(ctx, time.Duration(i)*20*time.Microsecond)
			err := b.Publish(short, events)
			cancel()
			if err != nil {
				publish(t, b, events) // as the relay does
			}
		}
		c.wantAll(t, all, "a")
		ended, cancel := context.WithCancel(ctx)
		cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = b.Publish(ended, busEvents(99, "a")) // either answer is right; it must come
		}()
		waitUntil(t, func() bool {
			select {
			case <-done:
				return true
			default:
				return false
			}
		})
	})
	t.Run("concurrent publishers", func(t *testing.T) {
		t.Parallel()
		b := open(t)
		c, flaky := newConsumer(), newConsumer()
		flaky.fail = func(_ domain.Event, try int) error {
			if try == 1 {
				return errors.New("not the first time alone")
			}
			return nil
		}
		b.Subscribe("steady", []string{"a", "b"}, c.handle)
		b.Subscribe("flaky", []string{"b"}, flaky.handle)
		runBus(t, b)
		const publishers, rounds = 8, 25
		var mu sync.Mutex
		var all []domain.Event
		var wg sync.WaitGroup
		for p := range publishers {
			wg.Go(func() {
				for r := range rounds {
					events := busEvents(p*rounds+r, "a", "b", "a", "of.no.interest")
					if err := b.Publish(ctx, events); err != nil {
						t.Errorf("Publish: %v", err)
					}
					mu.Lock()
					all = append(all, events...)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		c.wantExactly(t, all, "a", "b")
		flaky.wantExactly(t, all, "b")
		wantDead(t, b)
	})
	t.Run("what says nothing about the events makes no dead letters", func(t *testing.T) {
		t.Parallel()
		b := open(t)
		c := newConsumer()
		var mu sync.Mutex
		away := 3 * domain.MaxDeliveries
		c.fail = func(domain.Event, int) error {
			mu.Lock()
			defer mu.Unlock()
			if away--; away >= 0 {
				return domain.E(domain.CodeUnavailable, "")
			}
			return nil
		}
		b.Subscribe("q", []string{"a"}, c.handle)
		runBus(t, b)
		events := busEvents(1, "a", "a", "a")
		// A bus may take responsibility at once, or leave it where it was.
		waitUntil(t, func() bool { return b.Publish(ctx, events) == nil })
		c.wantExactly(t, events, "a")
		wantDead(t, b)
	})
	t.Run("a handler publishes", func(t *testing.T) {
		t.Parallel()
		b := open(t)
		c := newConsumer()
		b.Subscribe("first", []string{"a"}, func(ctx context.Context, events []domain.Event) error {
			next := make([]domain.Event, len(events))
			for i, e := range events {
				next[i] = e
				next[i].Type = "b"
			}
			return b.Publish(ctx, next)
		})
		b.Subscribe("second", []string{"b"}, c.handle)
		runBus(t, b)
		events := busEvents(1, "a", "a", "a")
		publish(t, b, events)
		for i := range events {
			events[i].Type = "b"
		}
		c.wantExactly(t, events, "b")
		wantDead(t, b)
	})
	t.Run("run ends with its context", func(t *testing.T) {
		t.Parallel()
		b := open(t)
		c := newConsumer()
		b.Subscribe("q", []string{"a"}, c.handle)
		stop := runBus(t, b)
		publish(t, b, busEvents(1, "a"))
		stop()
	})
}

// busEvents makes one event of each type, with ids that row makes unique.
func busEvents(row int, types ...string) []domain.Event {
	events := make([]domain.Event, len(types))
	for i, kind := range types {
		events[i] = domain.Event{
			SpecVersion: "1.0", ID: fmt.Sprintf("%d-%d", row, i), Source: domain.EventSource, Type: kind,
			Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Subject: "poll/1",
			DataContentType: "application/json", Data: json.RawMessage(`{"pollId":1}`),
		}
	}
	return events
}

// runBus runs the bus until stop is called or the test ends.
func runBus(t *testing.T, b domain.Bus) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func publish(t *testing.T, b domain.Bus, events []domain.Event) {
	t.Helper()
	if err := b.Publish(t.Context(), events); err != nil {
		t.Fatalf("Publish: %v", err)
	}
}

// wantDead waits until exactly these events are dead letters and returns them.
func wantDead(t *testing.T, b OpenedBus, ids ...string) []domain.DeadLetter {
	t.Helper()
	want := make(map[string]bool)
	for _, id := range ids {
		want[id] = true
	}
	var dead []domain.DeadLetter
	waitUntil(t, func() bool { dead = b.DeadLetters(t); return len(dead) >= len(ids) })
	for _, d := range dead {
		if !want[d.Event.ID] {
			t.Fatalf("event %s is a dead letter: %s", d.Event.ID, d.Reason)
		}
	}
	if len(dead) != len(ids) {
		t.Fatalf("%d dead letters, want %d", len(dead), len(ids))
	}
	return dead
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// consumer is a handler that notes what it was given.
type consumer struct {
	mu      sync.Mutex
	tries   map[string]int // of an event alone
	handled map[string]int
	events  map[string]domain.Event
	fail    func(e domain.Event, try int) error
}

func newConsumer() *consumer {
	return &consumer{tries: map[string]int{}, handled: map[string]int{}, events: map[string]domain.Event{}}
}

func (c *consumer) handle(_ context.Context, events []domain.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range events {
		if len(events) == 1 {
			c.tries[e.ID]++
		}
		if c.fail != nil {
			if err := c.fail(e, c.tries[e.ID]); err != nil {
				return err
			}
		}
	}
	for _, e := range events {
		c.handled[e.ID]++
		c.events[e.ID] = e
	}
	return nil
}

func (c *consumer) count(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handled[id]
}

func (c *consumer) tried(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tries[id]
}

func (c *consumer) get(id string) domain.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events[id]
}

// wantAll waits until all the published events of the types were handled, and
// fails when others were.
func (c *consumer) wantAll(t *testing.T, published []domain.Event, types ...string) {
	t.Helper()
	want := make(map[string]bool)
	for _, e := range published {
		for _, kind := range types {
			if e.Type == kind {
				want[e.ID] = true
			}
		}
	}
	if len(want) == 0 {
		t.Fatal("the test published nothing")
	}
	waitUntil(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for id := range want {
			if c.handled[id] == 0 {
				return false
			}
		}
		return true
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, e := range c.events {
		if !want[id] {
			t.Errorf("was given event %s of type %s", id, e.Type)
		}
	}
}

// wantExactly is wantAll, and no event was handled twice.
func (c *consumer) wantExactly(t *testing.T, published []domain.Event, types ...string) {
	t.Helper()
	c.wantAll(t, published, types...)
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, n := range c.handled {
		if n != 1 {
			t.Errorf("event %s was handled %d times", id, n)
		}
	}
}
