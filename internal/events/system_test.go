package events_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"vote/internal/domain"
	"vote/internal/engine/memory"
	"vote/internal/events"
)

// outage is a bus that takes nothing while it is away.
type outage struct {
	domain.Bus
	away  atomic.Bool
	tried atomic.Int64
}

func (o *outage) Publish(ctx context.Context, list []domain.Event) error {
	o.tried.Add(1)
	if o.away.Load() {
		return domain.E(domain.CodeUnavailable, "")
	}
	return o.Bus.Publish(ctx, list)
}

// logged is a text that may be written and read at once.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestSystemReports(t *testing.T) {
	t.Parallel()
	bus := &outage{Bus: memory.NewBus(memory.BusOptions{})}
	text := &logged{}
	logger := slog.New(slog.NewTextHandler(text, &slog.HandlerOptions{Level: slog.LevelDebug}))
	registry := prometheus.NewRegistry()
	events.SubscribeSystemMetrics(bus, logger)
	events.SubscribeSystemAlerts(bus, logger, registry)
	r := events.NewReporter(events.ReporterConfig{
		Bus: bus, Registerer: registry, Instance: "one", Every: 5 * time.Millisecond,
		Numbers: func() map[string]float64 { return map[string]float64{"goroutines": 7} },
	})
	bus.away.Store(true)
	start(t, bus.Run)
	start(t, r.Run)
	r.HealthChanged("cache", false, "it does not answer")
	r.BreakerTripped("redis", "5 faults in a row")
	waitUntil(t, func() bool { return bus.tried.Load() > 1 })
	bus.away.Store(false)
	for _, want := range []string{
		"level=WARN msg=\"health changed\" instance=one component=cache healthy=false reason=\"it does not answer\"",
		"level=WARN msg=\"circuit breaker tripped\" instance=one breaker=redis reason=\"5 faults in a row\"",
		"instance=one",
		"goroutines:7",
	} {
		waitUntil(t, func() bool { return strings.Contains(text.String(), want) })
	}
	r.HealthChanged("cache", true, "")
	waitUntil(t, func() bool { return strings.Contains(text.String(), "level=INFO msg=\"health changed\"") })
	if n := metric(t, registry, "vote_system_alerts_total", domain.EventHealthChanged); n != 2 {
		t.Errorf("%v changes of health counted, want 2", n)
	}
}

// A bus that is away for long costs no memory and holds nobody up.
func TestSystemReportsAreBounded(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	r := events.NewReporter(events.ReporterConfig{Bus: memory.NewBus(memory.BusOptions{}), Registerer: registry, Instance: "one"})
	for range 100 {
		r.BreakerTripped("redis", "")
	}
	if n := metric(t, registry, "vote_system_reports_dropped_total", ""); n != 36 {
		t.Errorf("%v reports dropped, want 36 of 100", n)
	}
}

// The ids of reports are far from those of outbox rows, so that a dead letter of
// one does not hold up what is counted of the other.
func TestSystemReportIDs(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus(memory.BusOptions{})
	got := make(chan domain.Event, 1)
	bus.Subscribe(events.QueueSystemAlerts, []string{domain.EventBreakerTripped}, func(_ context.Context, list []domain.Event) error {
		got <- list[0]
		return nil
	})
	r := events.NewReporter(events.ReporterConfig{Bus: bus, Instance: "one"})
	start(t, bus.Run)
	start(t, r.Run)
	r.BreakerTripped("redis", "")
	e := <-got
	if id, ok := domain.ParseEventID(e.ID); !ok || id.Row < 1e18 {
		t.Errorf("id %q", e.ID)
	}
}

func TestSystemAlertsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var dead []string
	bus := memory.NewBus(memory.BusOptions{
		DeadLetter: func(_ context.Context, d domain.DeadLetter) error {
			mu.Lock()
			defer mu.Unlock()
			dead = append(dead, d.Event.ID)
			return nil
		},
		Delay: func(int) time.Duration { return time.Millisecond },
	})
	text := &logged{}
	logger := slog.New(slog.NewTextHandler(text, nil))
	events.SubscribeSystemMetrics(bus, logger)
	events.SubscribeSystemAlerts(bus, logger, nil)
	start(t, bus.Run)
	if err := bus.Publish(t.Context(), []domain.Event{
		{ID: "1-0", Type: domain.EventHealthChanged, Data: []byte(`{"healthy":"x"}`)},
		{ID: "1-1", Type: domain.EventBreakerTripped, Data: []byte(`[]`)},
		{ID: "1-2", Type: domain.EventMetricsReported, Data: []byte(`[]`)},
		{ID: "1-3", Type: domain.EventBreakerTripped, Data: []byte(`{"breaker":"b"}`)},
	}); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(dead) != 3 || strings.Count(text.String(), "tripped") != 1 {
		t.Errorf("dead letters %v, log:\n%s", dead, text)
	}
}

func TestTopologyIsACopy(t *testing.T) {
	t.Parallel()
	changed := events.Topology()
	changed[events.QueueProcessing][0] = "x"
	delete(changed, events.QueueAnalytics)
	again := events.Topology()
	if diff := cmp.Diff([]string{domain.EventVoteCast, domain.EventVoteSkipped}, again[events.QueueProcessing]); diff != "" || len(again) != 7 {
		t.Errorf("topology %v", again)
	}
}
