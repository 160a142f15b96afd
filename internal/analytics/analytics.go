package analytics

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"vote/internal/domain"
)

// Config is what [New] needs. Zero values of the last group mean the defaults.
type Config struct {
	Store      domain.Store
	Clock      domain.Clock
	Logger     *slog.Logger          // nil is silence
	Registerer prometheus.Registerer // nil: metrics are not exported

	// FlushEvery is how often what was shown is written: 5 s.
	FlushEvery time.Duration
	// PruneEvery is how often old event ids are forgotten: 1 h.
	PruneEvery time.Duration
}

const (
	// maxPending bounds the memory of what was shown: some 60 bytes each.
	maxPending = 100_000
	// written bounds one transaction of shown polls, so that votes need not wait
	// long for it.
	writtenAtOnce = 1000
	// flushLimit bounds one flush.
	flushLimit = 4 * time.Second
	// KeepCounted is for how long an event that comes again is known.
	KeepCounted = 7 * 24 * time.Hour
)

// Analytics is safe for concurrent use.
type Analytics struct {
	c       Config
	metrics metrics

	mu      sync.Mutex
	pending map[pollHour]int64
}

type pollHour struct {
	poll domain.PollID
	hour domain.Hour
}

type metrics struct{ shown, dropped, failures prometheus.Counter }

// New returns an Analytics that writes while [Analytics.Run] runs.
func New(c Config) *Analytics {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.FlushEvery <= 0 {
		c.FlushEvery = 5 * time.Second
	}
	if c.PruneEvery <= 0 {
		c.PruneEvery = time.Hour
	}
	f := promauto.With(c.Registerer)
	return &Analytics{c: c, pending: make(map[pollHour]int64), metrics: metrics{
		shown: f.NewCounter(prometheus.CounterOpts{
			Name: "vote_polls_shown_total", Help: "Polls contained in answers of the feed.",
		}),
		dropped: f.NewCounter(prometheus.CounterOpts{
			Name: "vote_polls_shown_dropped_total", Help: "Shown polls that were not counted, since too many waited or a write may have happened.",
		}),
		failures: f.NewCounter(prometheus.CounterOpts{
			Name: "vote_polls_shown_write_failures_total", Help: "Writes of shown polls that failed.",
		}),
	}}
}

// Shown counts one showing of each of the polls.
func (a *Analytics) Shown(polls []domain.PollID) {
	hour := domain.HourOf(a.c.Clock.Now())
	a.mu.Lock()
	for _, id := range polls {
		a.add(pollHour{id, hour}, 1)
	}
	a.mu.Unlock()
	a.metrics.shown.Add(float64(len(polls)))
}

// add counts while there is room. The caller holds mu.
func (a *Analytics) add(key pollHour, times int64) {
	n, ok := a.pending[key]
	if !ok && len(a.pending) >= maxPending {
		a.metrics.dropped.Add(float64(times))
		return
	}
	a.pending[key] = n + times
}

// Run writes what was shown until ctx ends, then what is left, and returns nil.
func (a *Analytics) Run(ctx context.Context) error {
	tick := time.NewTicker(a.c.FlushEvery)
	defer tick.Stop()
	failing := false
	for {
		var ended bool
		select {
		case <-tick.C:
		case <-ctx.Done():
			ended = true
		}
		err := a.flush(context.WithoutCancel(ctx))
		if err != nil && (!failing || ended) {
			a.c.Logger.Warn("shown polls could not be counted", "error", err)
		}
		failing = err != nil
		if ended {
			return nil
		}
	}
}

// flush writes everything that waits. What it cannot write waits again.
func (a *Analytics) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushLimit)
	defer cancel()
	a.mu.Lock()
	taken := a.pending
	a.pending = make(map[pollHour]int64, len(taken))
	a.mu.Unlock()
	batch := make([]domain.Shown, 0, min(len(taken), writtenAtOnce))
	write := func() error {
		err := a.c.Store.AddShown(ctx, batch)
		if err == nil || domain.CodeOf(err) == domain.CodeOutcomeUnknown {
			for _, s := range batch {
				delete(taken, pollHour{s.Poll, s.Hour})
				if err != nil {
					a.metrics.dropped.Add(float64(s.Times))
				}
			}
		}
		batch = batch[:0]
		return err
	}
	var err error
	for key, times := range taken {
		batch = append(batch, domain.Shown{Poll: key.poll, Hour: key.hour, Times: times})
		if len(batch) == writtenAtOnce {
			if err = write(); err != nil {
				break
			}
		}
	}
	if err == nil && len(batch) > 0 {
		err = write()
	}
	if err != nil {
		a.metrics.failures.Inc()
		a.mu.Lock()
		defer a.mu.Unlock()
		for key, times := range taken {
			a.add(key, times)
		}
	}
	return err
}

// Prune forgets, until ctx ends, the ids of events that were counted long ago,
// and returns nil.
func (a *Analytics) Prune(ctx context.Context) error {
	tick := time.NewTicker(a.c.PruneEvery)
	defer tick.Stop()
	for {
		for ctx.Err() == nil {
			n, err := a.c.Store.PruneCounted(ctx, a.c.Clock.Now().Add(-KeepCounted))
			if err != nil && ctx.Err() == nil {
				a.c.Logger.Warn("ids of counted events could not be pruned", "error", err)
			}
			if err != nil || n == 0 {
				break
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
