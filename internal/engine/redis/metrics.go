package redis

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	duration                 [commands]prometheus.Observer
	errors                   *prometheus.CounterVec
	hits, misses, unanswered prometheus.Counter
	open                     prometheus.Gauge
	trips, local             prometheus.Counter
	connections              prometheus.Gauge

	memory, memoryMost, keys, clients *prometheus.GaugeVec
	evictions, expirations            *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f, cache := promauto.With(r), prometheus.Labels{"cache": "redis"}
	ofServer := func(name, help string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"server"})
	}
	m := &metrics{
		errors: f.NewCounterVec(prometheus.CounterOpts{
			Name: "vote_redis_errors_total",
			Help: "Commands that failed, by kind: timeout, connection, refused (Redis said no), crowded (too many under way), probe.",
		}, []string{"kind"}),
		hits: f.NewCounter(prometheus.CounterOpts{
			Name: "vote_cache_hits_total", Help: "Look-ups that found a value, by cache.", ConstLabels: cache,
		}),
		misses: f.NewCounter(prometheus.CounterOpts{
			Name: "vote_cache_misses_total", Help: "Look-ups that found nothing, by cache.", ConstLabels: cache,
		}),
		unanswered: f.NewCounter(prometheus.CounterOpts{
			Name: "vote_redis_unanswered_gets_total", Help: "Look-ups that missed because Redis was not there to be asked.",
		}),
		open: f.NewGauge(prometheus.GaugeOpts{
			Name: "vote_redis_breaker_open", Help: "Whether Redis is left alone (1) or used (0).",
		}),
		trips: f.NewCounter(prometheus.CounterOpts{
			Name: "vote_redis_breaker_trips_total", Help: "How often Redis was given up.",
		}),
		local: f.NewCounter(prometheus.CounterOpts{
			Name: "vote_limiter_local_total", Help: "Answers of the rate limiter that this process gave by its own windows because Redis was away.",
		}),
		connections: f.NewGauge(prometheus.GaugeOpts{Name: "vote_redis_connections", Help: "Open connections to Redis and its Sentinels."}),
		memory:      ofServer("vote_redis_memory_bytes", "Memory that the server uses."),
		memoryMost:  ofServer("vote_redis_memory_max_bytes", "Memory that the server may use; 0 is no bound."),
		keys:        ofServer("vote_redis_keys", "Keys that the server holds."),
		clients:     ofServer("vote_redis_clients", "Connections to the server, of everybody."),
		evictions:   ofServer("vote_redis_evicted_keys", "Keys that the server dropped for want of memory since it started."),
		expirations: ofServer("vote_redis_expired_keys", "Keys whose life was over since the server started."),
	}
	durations := f.NewHistogramVec(prometheus.HistogramOpts{
		Name: "vote_redis_command_duration_seconds", Help: "Time of a command as its caller waits for it.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1},
	}, []string{"command"})
	for i, name := range commandNames {
		m.duration[i] = durations.WithLabelValues(name)
	}
	m.open.Set(1)
	return m
}

// observe reads the servers' own numbers until ctx ends. While Redis is left
// alone, so are they.
func (r *Redis) observe(ctx context.Context) {
	for ctx.Err() == nil {
		if l := r.current.Load(); l != nil {
			r.readInfo(ctx, l)
		}
		sleep(ctx, infoEvery)
	}
}

// readInfo reads what every server of the link tells of itself. That one does
// not answer says nothing about the commands of requests, so it trips nothing.
func (r *Redis) readInfo(ctx context.Context, l *link) {
	m := r.metrics
	vectors := map[string]*prometheus.GaugeVec{
		"used_memory": m.memory, "maxmemory": m.memoryMost, "connected_clients": m.clients,
		"evicted_keys": m.evictions, "expired_keys": m.expirations,
	}
	asking, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	texts := make(map[string]string)
	for address, server := range l.client.Nodes() {
		text, err := server.Do(asking, server.B().Info().Build()).ToString()
		if err != nil {
			m.errors.WithLabelValues("info").Inc()
			continue
		}
		texts[address] = text
	}
	// A server that is gone is to leave the metrics.
	m.keys.Reset()
	for _, v := range vectors {
		v.Reset()
	}
	for address, text := range texts {
		keys := 0.0
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			if v, ok := vectors[name]; ok {
				if n, err := strconv.ParseFloat(value, 64); err == nil {
					v.WithLabelValues(address).Set(n)
				}
			}
			if strings.HasPrefix(name, "db") {
				count, _, _ := strings.Cut(strings.TrimPrefix(value, "keys="), ",")
				if n, err := strconv.ParseFloat(count, 64); err == nil {
					keys += n
				}
			}
		}
		m.keys.WithLabelValues(address).Set(keys)
	}
}
