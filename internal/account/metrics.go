package account

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"vote/internal/domain"
)

type metrics struct {
	registrations, logins, refreshes *prometheus.CounterVec
	logouts                          prometheus.Counter
	confirmations, erasures, changes *prometheus.CounterVec

	hashes                 prometheus.Counter
	hashing, hashesWaiting prometheus.Gauge
	hashWait               prometheus.Histogram

	tokenHits, tokenMisses prometheus.Counter

	ended        prometheus.Gauge
	followed     prometheus.Gauge
	followFaults prometheus.Counter
	pruned       *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	results := func(name, help string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"result"})
	}
	return &metrics{
		registrations: results("vote_registrations_total", "Registrations by result: ok or the code of the refusal."),
		logins:        results("vote_logins_total", "Logins by result: ok or the code of the refusal."),
		refreshes:     results("vote_refreshes_total", "Refreshes of a token pair by result: ok or the code of the refusal."),
		logouts:       f.NewCounter(prometheus.CounterOpts{Name: "vote_logouts_total", Help: "Sessions ended by their users."}),
		confirmations: results("vote_password_confirmations_total", "Passwords given to confirm a change, by result: ok or the code of the refusal."),
		erasures:      results("vote_erasures_total", "Erasures of accounts by result: ok or the code of the refusal."),
		changes:       f.NewCounterVec(prometheus.CounterOpts{Name: "vote_account_changes_total", Help: "Changes of accounts by what was changed."}, []string{"kind"}),

		hashes:        f.NewCounter(prometheus.CounterOpts{Name: "vote_password_hashes_total", Help: "Password hashes computed."}),
		hashing:       f.NewGauge(prometheus.GaugeOpts{Name: "vote_password_hashes_in_flight", Help: "Password hashes being computed."}),
		hashesWaiting: f.NewGauge(prometheus.GaugeOpts{Name: "vote_password_hashes_waiting", Help: "Callers waiting to have a password hashed."}),
		hashWait: f.NewHistogram(prometheus.HistogramOpts{
			Name: "vote_password_hash_wait_seconds", Help: "How long callers waited to have a password hashed.",
			Buckets: []float64{0, .01, .025, .05, .1, .25, .5, 1, 2, 5},
		}),

		tokenHits:   f.NewCounter(prometheus.CounterOpts{Name: "vote_token_cache_hits_total", Help: "Access tokens that were verified before."}),
		tokenMisses: f.NewCounter(prometheus.CounterOpts{Name: "vote_token_cache_misses_total", Help: "Access tokens that had to be verified, bad ones included."}),

		ended:        f.NewGauge(prometheus.GaugeOpts{Name: "vote_ended_sessions", Help: "Ended sessions whose access tokens may still be around."}),
		followed:     f.NewGauge(prometheus.GaugeOpts{Name: "vote_ended_sessions_followed_timestamp_seconds", Help: "When the sessions ended elsewhere were last read."}),
		followFaults: f.NewCounter(prometheus.CounterOpts{Name: "vote_ended_sessions_faults_total", Help: "Failed attempts to read the sessions ended elsewhere."}),
		pruned:       f.NewCounterVec(prometheus.CounterOpts{Name: "vote_account_pruned_total", Help: "Rows forgotten because their time is over."}, []string{"kind"}),
	}
}

// count adds one to the result of err.
func count(v *prometheus.CounterVec, err error) {
	result := string(domain.CodeOf(err))
	if err == nil {
		result = "ok"
	}
	v.WithLabelValues(result).Inc()
}
