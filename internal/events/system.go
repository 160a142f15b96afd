package events

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"vote/internal/domain"
)

// maxReports is how many reports may wait to be published.
const maxReports = 64

// ReporterConfig is what a [Reporter] needs.
type ReporterConfig struct {
	Bus        domain.Bus
	Clock      domain.Clock          // nil is the system's
	Logger     *slog.Logger          // nil is silence
	Registerer prometheus.Registerer // nil registers no metrics
	// Instance names the process.
	Instance string
	// Numbers returns what is reported of it regularly; nil reports nothing.
	Numbers func() map[string]float64
	// Every is how often: 1 minute.
	Every time.Duration
}

// Reporter publishes what an instance tells of itself. Its methods are safe for
// concurrent use and never wait: when the bus takes nothing for long, what is
// new is dropped, which is counted and logged.
type Reporter struct {
	c       ReporterConfig
	reports chan domain.Event
	dropped prometheus.Counter
}

// NewReporter returns a reporter. It publishes while Run runs.
func NewReporter(c ReporterConfig) *Reporter {
	if c.Clock == nil {
		c.Clock = domain.SystemClock{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Every <= 0 {
		c.Every = time.Minute
	}
	return &Reporter{
		c: c, reports: make(chan domain.Event, maxReports),
		dropped: promauto.With(c.Registerer).NewCounter(prometheus.CounterOpts{
			Name: "vote_system_reports_dropped_total", Help: "Reports of this process about itself that could not be published.",
		}),
	}
}

// HealthChanged reports that something the process depends on works, or does
// not. The reason must hold no personal data.
func (r *Reporter) HealthChanged(component string, healthy bool, reason string) {
	r.report(domain.EventHealthChanged, component, domain.HealthChanged{
		Instance: r.c.Instance, Component: component, Healthy: healthy, Reason: reason,
	})
}

// BreakerTripped reports that a circuit breaker has opened. The reason must hold
// no personal data.
func (r *Reporter) BreakerTripped(breaker, reason string) {
	r.report(domain.EventBreakerTripped, breaker, domain.BreakerTripped{Instance: r.c.Instance, Breaker: breaker, Reason: reason})
}

func (r *Reporter) report(kind, subject string, data any) {
	e, err := r.event(kind, subject, data)
	if err != nil {
		r.drop(kind, err)
		return
	}
	select {
	case r.reports <- e:
	default:
		r.drop(kind, fmt.Errorf("%d reports wait", maxReports))
	}
}

func (r *Reporter) drop(kind string, cause error) {
	r.dropped.Inc()
	r.c.Logger.Warn("a report was dropped", "type", kind, "error", cause)
}

// event makes an event that is of no outbox row. Its id is one that no row has:
// the nanosecond, far beyond their numbers.
func (r *Reporter) event(kind, subject string, data any) (domain.Event, error) {
	encoded, err := json.Marshal(data)
	now := r.c.Clock.Now().UTC()
	return domain.Event{
		SpecVersion: "1.0", ID: domain.EventID{Row: now.UnixNano(), Number: int(rand.Int32())}.String(), //nolint:gosec // only unlike others
		Source: domain.EventSource, Type: kind, Time: now, Subject: subject, DataContentType: "application/json", Data: encoded,
	}, err
}

// Run publishes until ctx ends, and returns nil.
func (r *Reporter) Run(ctx context.Context) error {
	tick := time.NewTicker(r.c.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-r.reports:
			r.publish(ctx, e)
		case <-tick.C:
			if r.c.Numbers == nil {
				continue
			}
			// Only the newest numbers are of interest, so they are published once.
			e, err := r.event(domain.EventMetricsReported, r.c.Instance, domain.MetricsReported{Instance: r.c.Instance, Numbers: r.c.Numbers()})
			if err == nil {
				err = r.c.Bus.Publish(ctx, []domain.Event{e})
			}
			if err != nil && ctx.Err() == nil {
				r.drop(domain.EventMetricsReported, err)
			}
		}
	}
}

// publish publishes a report, as soon as the bus takes it.
func (r *Reporter) publish(ctx context.Context, e domain.Event) {
	for wait := minBackoff; ctx.Err() == nil; wait = min(2*wait, 5*time.Second) {
		err := r.c.Bus.Publish(ctx, []domain.Event{e})
		if err == nil {
			return
		}
		r.c.Logger.Debug("a report could not be published, will be tried again", "type", e.Type, "wait", wait, "error", err)
		sleep(ctx, wait)
	}
}

// SubscribeSystemMetrics subscribes the consumer that logs what instances report
// of themselves regularly.
func SubscribeSystemMetrics(bus domain.Bus, logger *slog.Logger) {
	bus.Subscribe(QueueSystemMetrics, topology[QueueSystemMetrics], func(ctx context.Context, events []domain.Event) error {
		for _, e := range events {
			var data domain.MetricsReported
			if err := json.Unmarshal(e.Data, &data); err != nil {
				return fmt.Errorf("data of %s: %w", e.Type, err)
			}
			logger.DebugContext(ctx, "instance reported", "instance", data.Instance, "at", e.Time, "numbers", data.Numbers)
		}
		return nil
	})
}

// SubscribeSystemAlerts subscribes the consumer that logs and counts what the
// operator should know of.
func SubscribeSystemAlerts(bus domain.Bus, logger *slog.Logger, registerer prometheus.Registerer) {
	alerts := promauto.With(registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "vote_system_alerts_total", Help: "What instances reported that an operator should know of, by type of event.",
	}, []string{"type"})
	for _, kind := range topology[QueueSystemAlerts] {
		alerts.WithLabelValues(kind)
	}
	bus.Subscribe(QueueSystemAlerts, topology[QueueSystemAlerts], func(ctx context.Context, events []domain.Event) error {
		logs := make([]func(), len(events))
		for i, e := range events {
			switch e.Type {
			case domain.EventHealthChanged:
				var data domain.HealthChanged
				if err := json.Unmarshal(e.Data, &data); err != nil {
					return fmt.Errorf("data of %s: %w", e.Type, err)
				}
				level := slog.LevelWarn
				if data.Healthy {
					level = slog.LevelInfo
				}
				logs[i] = func() {
					logger.Log(ctx, level, "health changed", "instance", data.Instance, "component", data.Component,
						"healthy", data.Healthy, "reason", data.Reason, "at", e.Time)
				}
			case domain.EventBreakerTripped:
				var data domain.BreakerTripped
				if err := json.Unmarshal(e.Data, &data); err != nil {
					return fmt.Errorf("data of %s: %w", e.Type, err)
				}
				logs[i] = func() {
					logger.WarnContext(ctx, "circuit breaker tripped", "instance", data.Instance, "breaker", data.Breaker,
						"reason", data.Reason, "at", e.Time)
				}
			default:
				return fmt.Errorf("an event of type %s is no alert", e.Type)
			}
		}
		// All can be read: now none is told twice because of another.
		for i, e := range events {
			logs[i]()
			alerts.WithLabelValues(e.Type).Inc()
		}
		return nil
	})
}
