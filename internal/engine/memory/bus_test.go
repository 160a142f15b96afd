package memory_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vote/internal/domain"
	"vote/internal/engine/enginetest"
	"vote/internal/engine/memory"
)

// graveyard keeps dead letters as a store does: the same one once.
type graveyard struct {
	mu   sync.Mutex
	dead []domain.DeadLetter
	err  error
}

func (g *graveyard) bury(_ context.Context, d domain.DeadLetter) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return g.err
	}
	for _, have := range g.dead {
		if have.Queue == d.Queue && have.Event.ID == d.Event.ID {
			return nil
		}
	}
	g.dead = append(g.dead, d)
	return nil
}

func (g *graveyard) all() []domain.DeadLetter {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]domain.DeadLetter(nil), g.dead...)
}

func (g *graveyard) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
}

func TestBus(t *testing.T) {
	enginetest.TestBus(t, func(*testing.T) enginetest.OpenedBus {
		g := &graveyard{}
		b := memory.NewBus(memory.BusOptions{
			DeadLetter: g.bury, Queue: 64,
			Delay: func(try int) time.Duration { return time.Duration(try) * time.Millisecond },
		})
		return enginetest.OpenedBus{Bus: b, DeadLetters: func(*testing.T) []domain.DeadLetter { return g.all() }}
	})
}

func event(id, kind string) domain.Event {
	return domain.Event{SpecVersion: "1.0", ID: id, Source: domain.EventSource, Type: kind, Data: []byte(`{}`)}
}

// alone makes a handler of single events into one that takes nothing else, so
// that the bus must hand out each alone.
func alone(h func(context.Context, domain.Event) error) domain.Handler {
	return func(ctx context.Context, events []domain.Event) error {
		if len(events) != 1 {
			return errors.New("one at a time")
		}
		return h(ctx, events[0])
	}
}

func at(try int) time.Duration { return time.Duration(try) * time.Millisecond }

// start runs the bus until the test ends or stop is called.
func start(t *testing.T, b *memory.Bus) (stop func()) {
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

func TestBusHasHandledEverythingWhenPublishReturns(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	g := &graveyard{}
	b := memory.NewBus(memory.BusOptions{DeadLetter: g.bury, Delay: at})
	var handled atomic.Int64
	tries := map[string]int{}
	b.Subscribe("slow", []string{"a"}, alone(func(_ context.Context, e domain.Event) error {
		tries[e.ID]++
		if strings.HasPrefix(e.ID, "poison") || tries[e.ID] < 3 {
			return errors.New("no")
		}
		handled.Add(1)
		return nil
	}))
	start(t, b)
	for i := range 20 {
		events := []domain.Event{event(fmt.Sprint(i, "-0"), "a"), event(fmt.Sprint("poison-", i), "a"), event(fmt.Sprint(i, "-1"), "a")}
		if err := b.Publish(ctx, events); err != nil {
			t.Fatal(err)
		}
		if h, d := handled.Load(), len(g.all()); h != int64(2*(i+1)) || d != i+1 {
			t.Fatalf("when Publish %d returned, %d events were handled and %d dead letters kept", i, h, d)
		}
	}
}

func TestBusPublishFailsWhileADeadLetterCannotBeKept(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	g := &graveyard{err: errors.New("disk full")}
	b := memory.NewBus(memory.BusOptions{DeadLetter: g.bury, Delay: at})
	var good atomic.Int64
	b.Subscribe("q", []string{"good", "poison"}, alone(func(_ context.Context, e domain.Event) error {
		if e.Type == "poison" {
			return errors.New("no")
		}
		good.Add(1)
		return nil
	}))
	start(t, b)
	events := []domain.Event{event("1-0", "poison"), event("1-1", "good")}
	if err := b.Publish(ctx, events); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Fatalf("Publish = %v, want the error of the dead letters", err)
	}
	g.fail(nil)
	if err := b.Publish(ctx, events); err != nil {
		t.Fatal(err)
	}
	if n := good.Load(); n != 1 {
		t.Errorf("the good event was handled %d times, want once: it was known when it came again", n)
	}
	if dead := g.all(); len(dead) != 1 || dead[0].Event.ID != "1-0" {
		t.Errorf("dead letters %+v", dead)
	}

	without := memory.NewBus(memory.BusOptions{Delay: at})
	without.Subscribe("q", []string{"a"}, func(context.Context, []domain.Event) error { return errors.New("no") })
	start(t, without)
	if err := without.Publish(ctx, []domain.Event{event("1", "a")}); err == nil {
		t.Error("Publish lost an event: nobody keeps dead letters")
	}
}

// A queue that cannot work for a while makes no dead letters, however often its
// events are published meanwhile.
func TestBusLeavesWhatSaysNothingAboutTheEvents(t *testing.T) {
	t.Parallel()
	for _, code := range []domain.Code{domain.CodeUnavailable, domain.CodeConflict, domain.CodeOutcomeUnknown} {
		t.Run(string(code), func(t *testing.T) {
			t.Parallel()
			g := &graveyard{}
			b := memory.NewBus(memory.BusOptions{DeadLetter: g.bury, Delay: at})
			calls, away := 0, true
			b.Subscribe("q", []string{"a"}, func(_ context.Context, events []domain.Event) error {
				if calls++; away || len(events) != 3 {
					return fmt.Errorf("store: %w", domain.E(code, ""))
				}
				return nil
			})
			stop := start(t, b)
			events := []domain.Event{event("1", "a"), event("2", "a"), event("3", "a")}
			for range 2 * domain.MaxDeliveries {
				if err := b.Publish(t.Context(), events); domain.CodeOf(err) != code {
					t.Fatalf("Publish = %v, want %s", err, code)
				}
			}
			away = false
			if err := b.Publish(t.Context(), events); err != nil {
				t.Fatal(err)
			}
			stop()
			if calls != 2*domain.MaxDeliveries+1 || len(g.all()) != 0 {
				t.Errorf("%d calls, dead letters %+v", calls, g.all())
			}
		})
	}
}

// What one publisher sends is handled by one call, and the event at fault is
// found by halving.
func TestBusHandsOutSlices(t *testing.T) {
	t.Parallel()
	g := &graveyard{}
	b := memory.NewBus(memory.BusOptions{DeadLetter: g.bury, Delay: at})
	var sizes []int
	handled := map[string]int{}
	b.Subscribe("q", []string{"a"}, func(_ context.Context, events []domain.Event) error {
		sizes = append(sizes, len(events))
		for _, e := range events {
			if e.ID == "poison" {
				return errors.New("no")
			}
		}
		for _, e := range events {
			handled[e.ID]++
		}
		return nil
	})
	stop := start(t, b)
	var events []domain.Event
	for i := range 1023 {
		events = append(events, event(fmt.Sprint(i), "a"))
	}
	if err := b.Publish(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	if len(sizes) != 1 || sizes[0] != len(events) {
		t.Fatalf("slices of %v events, want one of %d", sizes, len(events))
	}
	sizes = nil
	for i := range events {
		events[i].ID = "again-" + events[i].ID
	}
	if err := b.Publish(t.Context(), append(events, event("poison", "a"))); err != nil {
		t.Fatal(err)
	}
	stop()
	if len(sizes) != 1+2*10+domain.MaxDeliveries-1 {
		t.Errorf("slices of %v events", sizes)
	}
	if dead := g.all(); len(dead) != 1 || dead[0].Event.ID != "poison" || len(handled) != 2*1023 {
		t.Errorf("%d events handled, dead letters %+v", len(handled), dead)
	}
	for id, n := range handled {
		if n != 1 {
			t.Errorf("event %s was handled %d times", id, n)
		}
	}
}

func TestBusHandlersPublish(t *testing.T) {
	t.Parallel()
	g := &graveyard{}
	b := memory.NewBus(memory.BusOptions{DeadLetter: g.bury, Delay: at})
	var last atomic.Int64
	b.Subscribe("first", []string{"a"}, func(ctx context.Context, events []domain.Event) error {
		for i := range events {
			events[i].Type = "b"
		}
		return b.Publish(ctx, events)
	})
	b.Subscribe("second", []string{"b"}, func(_ context.Context, events []domain.Event) error {
		last.Add(int64(len(events)))
		return nil
	})
	start(t, b)
	if err := b.Publish(t.Context(), []domain.Event{event("1", "a"), event("2", "a")}); err != nil {
		t.Fatal(err)
	}
	if n := last.Load(); n != 2 {
		t.Errorf("when Publish returned, %d events had come through both queues, want 2", n)
	}
}

func TestBusDropsDuplicates(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := prometheus.NewRegistry()
	b := memory.NewBus(memory.BusOptions{Remember: 10, Delay: at, Registerer: r})
	var handled []string
	b.Subscribe("q", []string{"a"}, alone(func(_ context.Context, e domain.Event) error {
		handled = append(handled, e.ID)
		return nil
	}))
	start(t, b)
	publish := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if err := b.Publish(ctx, []domain.Event{event(fmt.Sprint(i), "a"), event(fmt.Sprint(i), "a")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(0, 100)
	publish(90, 100) // all still known
	if len(handled) != 100 {
		t.Fatalf("%d events handled, want 100", len(handled))
	}
	publish(0, 1) // long forgotten: the set is bounded
	if len(handled) != 101 {
		t.Fatalf("%d events handled, want 101", len(handled))
	}
	if n := metric(t, r, "vote_bus_deliveries_total", "result", "duplicate"); n != 100+20+1 {
		t.Errorf("%v duplicates counted, want 121", n)
	}
}

func TestBusJoinsADuplicateToTheTryThatWaits(t *testing.T) {
	t.Parallel()
	b := memory.NewBus(memory.BusOptions{Delay: func(int) time.Duration { return 50 * time.Millisecond }})
	failed := make(chan struct{})
	tries := map[string]int{}
	b.Subscribe("q", []string{"a"}, alone(func(_ context.Context, e domain.Event) error {
		if tries[e.ID]++; tries[e.ID] > 1 {
			return nil
		}
		if e.ID == "1" {
			close(failed)
		}
		return errors.New("not yet")
	}))
	stop := start(t, b)
	impatient, cancel := context.WithCancel(t.Context())
	go func() { <-failed; cancel() }()
	if err := b.Publish(impatient, []domain.Event{event("1", "a")}); err == nil {
		t.Fatal("Publish returned nil before the event was handled")
	}
	// The second event's next try comes after the first's.
	if err := b.Publish(t.Context(), []domain.Event{event("1", "a"), event("2", "a")}); err != nil {
		t.Fatal(err)
	}
	stop()
	if tries["1"] != 2 || tries["2"] != 2 {
		t.Errorf("tries %v, want 2 each", tries)
	}
}

func TestBusPanicIsLoggedWithItsStack(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	g := &graveyard{}
	b := memory.NewBus(memory.BusOptions{DeadLetter: g.bury, Delay: at, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	b.Subscribe("q", []string{"a"}, func(context.Context, []domain.Event) error { panicHere(); return nil })
	stop := start(t, b)
	if err := b.Publish(t.Context(), []domain.Event{event("1", "a")}); err != nil {
		t.Fatal(err)
	}
	stop()
	if s := log.String(); !strings.Contains(s, "panicHere") || !strings.Contains(s, "lost my head") {
		t.Errorf("log: %s", s)
	}
	if dead := g.all(); len(dead) != 1 || !strings.Contains(dead[0].Reason, "lost my head") {
		t.Errorf("dead letters %+v", dead)
	}
}

func panicHere() { panic("lost my head") }

func TestBusReasonCanBeStored(t *testing.T) {
	t.Parallel()
	g := &graveyard{}
	b := memory.NewBus(memory.BusOptions{DeadLetter: g.bury, Delay: at})
	b.Subscribe("q", []string{"a"}, func(context.Context, []domain.Event) error {
		return errors.New("\x00\xff" + strings.Repeat("ü", 10_000))
	})
	start(t, b)
	if err := b.Publish(t.Context(), []domain.Event{event("1", "a")}); err != nil {
		t.Fatal(err)
	}
	s := g.all()[0].Reason
	if len(s) > 2000 || strings.ToValidUTF8(s, "") != s || strings.ContainsRune(s, 0) || !strings.HasPrefix(s, "??ü") {
		t.Errorf("reason of %d bytes: %.40q", len(s), s)
	}
}

func TestBusEnd(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	g := &graveyard{}
	b := memory.NewBus(memory.BusOptions{DeadLetter: g.bury, Delay: at})
	begun := make(chan struct{})
	tries := 0
	b.Subscribe("q", []string{"a"}, alone(func(ctx context.Context, _ domain.Event) error {
		if tries++; tries < domain.MaxDeliveries {
			return errors.New("no")
		}
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}))
	published := make(chan error, 1)
	go func() { published <- b.Publish(ctx, []domain.Event{event("1", "a")}) }() // waits for Run
	stop := start(t, b)
	<-begun
	stop()
	if err := <-published; !errors.Is(err, domain.E(domain.CodeUnavailable, "")) {
		t.Errorf("Publish under way at the end = %v, want unavailable", err)
	}
	if err := b.Publish(ctx, []domain.Event{event("2", "a")}); !errors.Is(err, domain.E(domain.CodeUnavailable, "")) {
		t.Errorf("Publish after the end = %v, want unavailable", err)
	}
	if dead := g.all(); len(dead) != 0 {
		t.Errorf("an event that the end interrupted became a dead letter: %+v", dead)
	}
	if err := b.Run(ctx); err == nil {
		t.Error("a second Run did not fail")
	}
}

func TestBusRefusesEventsWithoutID(t *testing.T) {
	t.Parallel()
	b := memory.NewBus(memory.BusOptions{})
	if err := b.Publish(t.Context(), []domain.Event{event("", "a")}); domain.CodeOf(err) != domain.CodeInvalid {
		t.Errorf("Publish = %v, want invalid", err)
	}
}

func TestBusWiringMistakesPanic(t *testing.T) {
	t.Parallel()
	none := func(context.Context, []domain.Event) error { return nil }
	mustPanic := func(name string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s did not panic", name)
			}
		}()
		f()
	}
	b := memory.NewBus(memory.BusOptions{})
	b.Subscribe("q", []string{"a"}, none)
	mustPanic("a second handler", func() { b.Subscribe("q", []string{"b"}, none) })
	start(t, b)
	if err := b.Publish(t.Context(), []domain.Event{event("1", "a")}); err != nil { // now it surely runs
		t.Fatal(err)
	}
	mustPanic("Subscribe after Run", func() { b.Subscribe("late", []string{"a"}, none) })
}

func TestBusMetrics(t *testing.T) {
	t.Parallel()
	g := &graveyard{}
	r := prometheus.NewRegistry()
	b := memory.NewBus(memory.BusOptions{DeadLetter: g.bury, Delay: at, Registerer: r})
	b.Subscribe("q", []string{"good", "poison"}, alone(func(_ context.Context, e domain.Event) error {
		if e.Type == "poison" {
			return errors.New("no")
		}
		return nil
	}))
	start(t, b)
	if err := b.Publish(t.Context(), []domain.Event{event("1", "good"), event("2", "poison")}); err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		name, label, value string
		want               float64
	}{
		{"vote_bus_deliveries_total", "result", "handled", 1},
		{"vote_bus_deliveries_total", "result", "failed", domain.MaxDeliveries},
		{"vote_bus_dead_letters_total", "queue", "q", 1},
		{"vote_bus_waiting_events", "queue", "q", 0},
	} {
		if got := metric(t, r, m.name, m.label, m.value); got != m.want {
			t.Errorf("%s{%s=%q} = %v, want %v", m.name, m.label, m.value, got, m.want)
		}
	}
	lint(t, r)
}
