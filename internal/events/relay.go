package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"vote/internal/domain"
)

const (
	minBackoff = 100 * time.Millisecond
	// maxFailures is after how many rows that failed on their own a cycle
	// believes that the bus is at fault, and stops.
	maxFailures = 3
	// settleTimeout bounds writes that must not be lost when the relay ends.
	settleTimeout = 5 * time.Second
)

// Config is what a [Relay] needs. Zero values of the last group mean the
// defaults.
type Config struct {
	Store      domain.Store
	Bus        domain.Bus
	Clock      domain.Clock          // nil is the system's
	Logger     *slog.Logger          // nil is silence
	Registerer prometheus.Registerer // nil registers no metrics

	// Rows is how many outbox rows are held at most: 8192.
	Rows int
	// Events is after how many events a call of Publish takes no further row: 20,000.
	// Consumers handle at once what is published at once.
	Events int
	// Lease is how long claimed rows are held: 15 s. It should be longer than
	// it takes to publish them; else they are published again.
	Lease time.Duration
	// Every is how often the relay looks at the outbox without being woken: 1 s.
	Every time.Duration
	// Spacing is the least time between the beginnings of two cycles that
	// found rows: 500 ms. Each such cycle costs the store a write, which
	// competes with votes; with few cycles each deletes many rows.
	Spacing time.Duration
	// MaxBackoff is the longest wait after failures: 5 s. The first is 100 ms.
	MaxBackoff time.Duration
}

// Relay moves what was committed from the outbox to the bus.
type Relay struct {
	c       Config
	metrics relayMetrics
	wake    chan struct{}

	// What follows belongs to Run.

	held      []heldRow // claimed, not yet published
	published []int64   // published or buried, not yet deleted
	failures  int       // cycles in a row that failed and got nothing done
}

// heldRow is a claimed row, and until when it is ours.
type heldRow struct {
	domain.OutboxRow
	until  time.Time
	events []domain.Event // while it is being published
}

// NewRelay returns a relay. It works while Run runs.
func NewRelay(c Config) *Relay {
	if c.Clock == nil {
		c.Clock = domain.SystemClock{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	number := func(n *int, standard int) {
		if *n <= 0 {
			*n = standard
		}
	}
	duration := func(d *time.Duration, standard time.Duration) {
		if *d <= 0 {
			*d = standard
		}
	}
	number(&c.Rows, 8192)
	number(&c.Events, 20_000)
	duration(&c.Lease, 15*time.Second)
	duration(&c.Every, time.Second)
	duration(&c.Spacing, 500*time.Millisecond)
	duration(&c.MaxBackoff, 5*time.Second)
	return &Relay{c: c, metrics: newRelayMetrics(c.Registerer), wake: make(chan struct{}, 1)}
}

// Wake tells the relay that there may be rows. It never blocks and may be
// called from any goroutine, also when the relay does not run.
func (r *Relay) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run relays until ctx ends, and returns nil. What is in the outbox then stays
// there for whoever runs next.
func (r *Relay) Run(ctx context.Context) error {
	tick := time.NewTicker(r.c.Every)
	defer tick.Stop()
	r.Wake() // for what is left from before
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if rows, err := r.observe(ctx); err == nil && rows == 0 {
				continue
			}
		case <-r.wake:
		}
		begun := time.Now()
		rows, err := r.cycle(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			wait := r.backoff()
			r.c.Logger.Warn("relaying events failed, will be tried again", "wait", wait, "held", len(r.held), "error", err)
			r.Wake()
			sleep(ctx, wait)
		case rows > 0:
			if rows >= r.c.Rows {
				r.Wake() // there may be more
			}
			sleep(ctx, r.c.Spacing-time.Since(begun))
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// backoff returns how long to wait after a failure: doubled with each in a row,
// less a random part of up to a half, so that relays do not return together.
func (r *Relay) backoff() time.Duration {
	wait := min(minBackoff<<min(max(r.failures-1, 0), 20), r.c.MaxBackoff)
	return wait - time.Duration(rand.Int64N(int64(wait)/2+1)) //nolint:gosec // only spreads load
}

// observe updates the metrics of the outbox and returns how many rows it has.
func (r *Relay) observe(ctx context.Context) (int64, error) {
	rows, oldest, err := r.c.Store.OutboxLag(ctx)
	if err != nil {
		r.metrics.failed("lag")
		return 0, err
	}
	r.metrics.rows.Set(float64(rows))
	age := 0.0
	if rows > 0 {
		age = max(r.c.Clock.Now().Sub(oldest).Seconds(), 0)
	}
	r.metrics.age.Set(age)
	return rows, nil
}

// cycle claims, publishes and deletes rows, and returns how many it worked on.
// What fails is kept for the next cycle while its lease lasts.
func (r *Relay) cycle(ctx context.Context) (rows int, err error) {
	// Rows must be deleted before others are claimed: theirs might be among them.
	if err := r.settle(ctx); err != nil {
		r.failures++
		return 0, err
	}
	now := r.c.Clock.Now()
	var work []heldRow
	for _, h := range r.held {
		if now.Before(h.until) {
			work = append(work, h)
		}
	}
	r.held = nil
	claimed, claimErr := r.c.Store.ClaimOutbox(ctx, r.c.Rows-len(work), r.c.Lease)
	if claimErr != nil {
		r.metrics.failed("claim")
	}
	// What failed before goes last.
	fresh := make([]heldRow, 0, len(claimed))
	for _, row := range claimed {
		fresh = append(fresh, heldRow{OutboxRow: row, until: now.Add(r.c.Lease)})
	}
	work = slices.Concat(fresh, work)

	publishErr := r.publish(ctx, work)
	done := len(r.published)
	err = errors.Join(claimErr, publishErr, r.settle(ctx))
	switch {
	case err == nil:
		r.failures = 0
	case done > 0:
		r.failures = 1
	default:
		r.failures++
	}
	return len(work), err
}

// settle deletes the rows that were published. It goes on when ctx ends: a row
// that stays is published again.
func (r *Relay) settle(ctx context.Context) error {
	if len(r.published) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := r.c.Store.DeleteOutbox(ctx, r.published); err != nil {
		r.metrics.failed("delete")
		return fmt.Errorf("delete published rows: %w", err)
	}
	r.published = nil
	return nil
}

// publish publishes rows, several in one call of the bus. Those that were not
// published are in held afterwards, those that failed on their own last.
func (r *Relay) publish(ctx context.Context, rows []heldRow) error {
	// A bus that hangs must not hold rows that are no longer ours.
	ctx, cancel := context.WithTimeout(ctx, r.c.Lease)
	defer cancel()
	a := attempt{r: r}
	for len(rows) > 0 && !a.over(ctx) {
		n, events := 0, 0
		for n < len(rows) && events < r.c.Events {
			var c domain.Changes
			if err := c.UnmarshalBinary(rows[n].Changes); err != nil {
				if n > 0 {
					break // first publish those before it
				}
				a.bury(ctx, rows[0], err)
				rows = rows[1:]
				continue
			}
			rows[n].events = c.Events(rows[n].ID)
			events += len(rows[n].events)
			n++
		}
		a.publish(ctx, rows[:n])
		for i := range n {
			rows[i].events = nil // many times as big as the row
		}
		rows = rows[n:]
	}
	r.held = slices.Concat(a.untried, rows, a.failed)
	for i := range r.held {
		r.held[i].events = nil
	}
	return a.err
}

// attempt is one cycle's publishing.
type attempt struct {
	r       *Relay
	untried []heldRow // since it was over
	failed  []heldRow // on their own
	err     error     // the first
}

// over reports whether going on makes no sense.
func (a *attempt) over(ctx context.Context) bool {
	return len(a.failed) >= maxFailures || ctx.Err() != nil
}

// publish publishes rows in one call, and by halves when it fails, so that a
// row which cannot be published does not hold up the others.
func (a *attempt) publish(ctx context.Context, rows []heldRow) {
	if len(rows) == 0 {
		return
	}
	if a.over(ctx) {
		a.untried = append(a.untried, rows...)
		return
	}
	var events []domain.Event
	for _, row := range rows {
		events = append(events, row.events...)
	}
	var err error
	if len(events) > 0 {
		err = a.r.c.Bus.Publish(ctx, events)
	}
	if err == nil {
		for _, row := range rows {
			a.r.published = append(a.r.published, row.ID)
		}
		a.r.metrics.publishedEvents(events)
		return
	}
	a.r.metrics.failed("publish")
	if a.err == nil {
		a.err = fmt.Errorf("publish: %w", err)
	}
	if len(rows) == 1 {
		a.failed = append(a.failed, rows[0])
		return
	}
	half := len(rows) / 2
	a.publish(ctx, rows[:half])
	a.publish(ctx, rows[half:])
}

// bury keeps a row that cannot be read as a dead letter.
func (a *attempt) bury(ctx context.Context, row heldRow, cause error) {
	data, err := json.Marshal(struct {
		Row     int64  `json:"row"`
		Changes []byte `json:"changes"` // base64
	}{row.ID, row.Changes})
	if err == nil {
		err = a.r.c.Store.AddDeadLetter(ctx, domain.DeadLetter{
			Queue: QueueOutbox, Reason: cause.Error(), At: a.r.c.Clock.Now(),
			Event: domain.Event{
				SpecVersion: "1.0", ID: fmt.Sprintf("%d-malformed", row.ID), Source: domain.EventSource,
				Type: domain.EventMalformedRow, Time: row.At, DataContentType: "application/json", Data: data,
			},
		})
	}
	if err != nil {
		a.r.metrics.failed("dead_letter")
		a.failed = append(a.failed, row)
		if a.err == nil {
			a.err = fmt.Errorf("keep malformed row %d: %w", row.ID, err)
		}
		return
	}
	a.r.c.Logger.Error("outbox row is malformed and became a dead letter", "row", row.ID, "error", cause)
	a.r.metrics.dead.Inc()
	a.r.published = append(a.r.published, row.ID)
}

type relayMetrics struct {
	rows, age prometheus.Gauge
	events    *prometheus.CounterVec
	failures  *prometheus.CounterVec
	dead      prometheus.Counter
}

func newRelayMetrics(reg prometheus.Registerer) relayMetrics {
	f := promauto.With(reg)
	m := relayMetrics{
		rows: f.NewGauge(prometheus.GaugeOpts{
			Name: "vote_outbox_rows", Help: "Outbox rows that wait for the relay, when it looked last.",
		}),
		age: f.NewGauge(prometheus.GaugeOpts{
			Name: "vote_outbox_oldest_seconds", Help: "Age of the oldest waiting outbox row, when the relay looked last; 0 when none waits.",
		}),
		events: f.NewCounterVec(prometheus.CounterOpts{
			Name: "vote_events_published_total", Help: "Events that the bus took responsibility for, by type.",
		}, []string{"type"}),
		failures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "vote_relay_failures_total", Help: "What the relay could not do and tried again, by step (claim, publish, delete, dead_letter, lag).",
		}, []string{"step"}),
		dead: f.NewCounter(prometheus.CounterOpts{
			Name: "vote_outbox_malformed_rows_total", Help: "Outbox rows that could not be read and became dead letters.",
		}),
	}
	// A series that only begins with its first failure has no increase then.
	for _, step := range []string{"claim", "publish", "delete", "dead_letter", "lag"} {
		m.failures.WithLabelValues(step)
	}
	return m
}

func (m relayMetrics) failed(step string) { m.failures.WithLabelValues(step).Inc() }

func (m relayMetrics) publishedEvents(events []domain.Event) {
	counts := make(map[string]int, 4)
	for _, e := range events {
		counts[e.Type]++
	}
	for kind, n := range counts {
		m.events.WithLabelValues(kind).Add(float64(n))
	}
}
