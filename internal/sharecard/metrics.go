package sharecard

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	hits, misses    prometheus.Counter
	refused, failed prometheus.Counter
	duration        prometheus.Observer
}

func newMetrics(r prometheus.Registerer, d *Drawer) *metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "vote_sharecard_cache_bytes", Help: "Memory of pictures that are kept."},
		func() float64 { return float64(d.cache.WeightedSize()) })
	return &metrics{
		hits:    counter("vote_sharecard_cache_hits_total", "Pictures that were in memory."),
		misses:  counter("vote_sharecard_cache_misses_total", "Pictures that had to be drawn, or were being drawn."),
		refused: counter("vote_sharecard_refused_total", "Pictures not drawn because too many were being drawn."),
		failed:  counter("vote_sharecard_failed_total", "Pictures whose drawing failed."),
		duration: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "vote_sharecard_draw_seconds",
			Help:    "Time of drawing and encoding a picture.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 10),
		}),
	}
}
