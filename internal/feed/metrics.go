package feed

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	// Time of computing a page, without its bodies, by what it was computed from.
	byNew, byTags, byText, byRank prometheus.Observer
	seenHits, seenMisses          prometheus.Counter
	bodyHits, bodyMisses          prometheus.Counter
	rank                          prometheus.Observer
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	duration := f.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "vote_feed_duration_seconds",
		Help:    "Time of computing a page, without fetching its polls.",
		Buckets: prometheus.ExponentialBuckets(0.5e-6, 2, 22),
	}, []string{"by"})
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &metrics{
		byNew:  duration.WithLabelValues("new"),
		byTags: duration.WithLabelValues("tags"),
		byText: duration.WithLabelValues("text"),
		byRank: duration.WithLabelValues("hot"),

		seenHits:   counter("vote_feed_seen_cache_hits_total", "Pages for users whose seen polls were in memory."),
		seenMisses: counter("vote_feed_seen_cache_misses_total", "Pages for users whose seen polls had to be loaded."),
		bodyHits:   counter("vote_feed_body_cache_hits_total", "Polls whose JSON was in memory."),
		bodyMisses: counter("vote_feed_body_cache_misses_total", "Polls whose JSON had to be made."),
		rank: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "vote_feed_rank_duration_seconds",
			Help:    "Time of making a hot ranking.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
	}
}

// observe registers what is read from the feed when metrics are collected.
func (f *Feed) observe(r prometheus.Registerer) {
	p := promauto.With(r)
	gauge := func(name, help string, value func() float64) {
		p.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	gauge("vote_feed_seen_cache_bytes", "Memory of the seen polls of users.", func() float64 { return float64(f.seen.bytes()) })
	gauge("vote_feed_body_cache_bytes", "Memory of polls' JSON.", func() float64 { return float64(f.bodies.cache.WeightedSize()) })
	gauge("vote_feed_index_polls", "Open polls in the index.", func() float64 { polls, _ := f.ix.size(); return float64(polls) })
	gauge("vote_feed_index_tags", "Tags in the index.", func() float64 { _, tags := f.ix.size(); return float64(tags) })
	gauge("vote_feed_tail_lag_seconds", "Time since the index was last known to be complete.", func() float64 {
		at := f.tailedAt.Load()
		if at == nil {
			return 0
		}
		return f.clock.Now().Sub(*at).Seconds()
	})
}
