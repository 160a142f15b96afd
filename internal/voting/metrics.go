package voting

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"vote/internal/domain"
)

type metrics struct {
	size, commit, wait pair
	votes, skips       prometheus.Counter
	repeated           prometheus.Counter
	polls              prometheus.Counter
	refused            *prometheus.CounterVec
}

// pair is one histogram for each kind of batch.
type pair struct{ interactions, publications prometheus.Observer }

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	histogram := func(name, help string, buckets []float64) pair {
		v := f.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, []string{"kind"})
		return pair{v.WithLabelValues("interactions"), v.WithLabelValues("publications")}
	}
	return &metrics{
		size:     histogram("vote_batch_size", "Requests in one transaction.", prometheus.ExponentialBuckets(1, 2, 11)),
		commit:   histogram("vote_batch_commit_seconds", "Time of one transaction over a batch.", prometheus.ExponentialBuckets(0.0001, 2, 15)),
		wait:     histogram("vote_batch_queue_seconds", "Time a request waited for its batch.", prometheus.ExponentialBuckets(0.00005, 2, 16)),
		votes:    f.NewCounter(prometheus.CounterOpts{Name: "vote_votes_total", Help: "Votes counted."}),
		skips:    f.NewCounter(prometheus.CounterOpts{Name: "vote_skips_total", Help: "Skips counted."}),
		repeated: f.NewCounter(prometheus.CounterOpts{Name: "vote_skips_repeated_total", Help: "Skips of polls skipped before."}),
		polls:    f.NewCounter(prometheus.CounterOpts{Name: "vote_polls_published_total", Help: "Polls published."}),
		refused:  f.NewCounterVec(prometheus.CounterOpts{Name: "vote_refusals_total", Help: "Votes, skips and polls refused by the rules, by code."}, []string{"code"}),
	}
}

func (m *metrics) count(batch []domain.Interaction, verdicts []domain.Verdict) {
	votes, skips, repeated := 0, 0, 0
	for i, v := range verdicts {
		switch {
		case v.Code != "":
			m.refused.WithLabelValues(string(v.Code)).Inc()
		case !v.Changed:
			repeated++
		case batch[i].Skip:
			skips++
		default:
			votes++
		}
	}
	m.votes.Add(float64(votes))
	m.skips.Add(float64(skips))
	m.repeated.Add(float64(repeated))
}

func (m *metrics) countPublications(published []domain.Publication) {
	for _, p := range published {
		switch {
		case p.Verdict.Code != "":
			m.refused.WithLabelValues(string(p.Verdict.Code)).Inc()
		case p.Verdict.Repeats == 0 && p.Verdict.RepeatsIndex < 0:
			m.polls.Inc()
		}
	}
}
