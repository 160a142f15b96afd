package app

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"vote/internal/domain"
	"vote/internal/events"
)

const (
	// healthEvery is how often it is looked whether what the process depends on
	// is there; healthLimit bounds a look.
	healthEvery = 2 * time.Second
	healthLimit = 2 * time.Second
)

var errAway = errors.New("it cannot be reached")

// health looks regularly at what the process depends on, and reports changes.
// Checks and reporter are set before it runs.
type health struct {
	checks   map[string]func(context.Context) error
	reporter *events.Reporter
	up       *prometheus.GaugeVec
}

func newHealth(r prometheus.Registerer) *health {
	return &health{up: promauto.With(r).NewGaugeVec(prometheus.GaugeOpts{
		Name: "vote_dependency_up", Help: "Whether what the process depends on can be reached.",
	}, []string{"dependency"})}
}

// reachable is told by an engine with a circuit breaker that it gave something up,
// or uses it again.
func (h *health) reachable(component string, reachable bool) {
	if !reachable && h.reporter != nil {
		h.reporter.BreakerTripped(component, errAway.Error())
	}
}

// Run looks until ctx ends. What it finds at first is not reported: connections
// are being made.
func (h *health) Run(ctx context.Context) error {
	ticker := time.NewTicker(healthEvery)
	defer ticker.Stop()
	ill := make(map[string]bool)
	for first := true; ; first = false {
		for name, check := range h.checks {
			bounded, cancel := context.WithTimeout(ctx, healthLimit)
			err := check(bounded)
			cancel()
			if ctx.Err() != nil {
				return nil
			}
			if err == nil {
				h.up.WithLabelValues(name).Set(1)
			} else {
				h.up.WithLabelValues(name).Set(0)
			}
			changed := !first && ill[name] != (err != nil)
			ill[name] = err != nil
			if changed {
				h.reporter.HealthChanged(name, err == nil, reason(err))
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// reason tells of a fault what holds nothing that may not be told.
func reason(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, errAway):
		return errAway.Error()
	default:
		return string(domain.CodeOf(err))
	}
}

// instance names the process.
func instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + ":" + strconv.Itoa(os.Getpid())
}

// numbers are what the process reports of itself.
func numbers() map[string]float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return map[string]float64{"goroutines": float64(runtime.NumGoroutine()), "heapBytes": float64(m.HeapAlloc)}
}
