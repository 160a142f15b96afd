package sqlite

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// operation names what the Store does, as a label.
type operation int

const (
	opReady operation = iota
	opCreateUser
	opUser
	opUsers
	opUserTotals
	opUpdateUser
	opEraseUser
	opSetBanned
	opExport
	opCreateSession
	opRotateRefresh
	opSession
	opSessions
	opEndSession
	opEndedSessions
	opPruneSessions
	opInteract
	opUserStates
	opSeen
	opPrior
	opHistory
	opPublish
	opDeletePoll
	opSetPollState
	opPolls
	opPruneKeys
	opLoadCatalogue
	opCatalogueSince
	opCounts
	opSearch
	opRank
	opRanking
	opClaimOutbox
	opDeleteOutbox
	opOutboxLag
	opAddDeadLetter
	opDeadLetters
	opReplayDeadLetters
	opDropDeadLetters
	opImport
	opArchive
	opCountHourly
	opPruneCounted
	opAddShown
	opHourly
	opAddMilestones
	opNotifications
	opCheck
	opCheckpoint
	opWipe
	operations
)

var operationNames = [operations]string{
	"ready", "create_user", "user", "users", "user_totals", "update_user", "erase_user", "set_banned", "export",
	"create_session", "rotate_refresh", "session", "sessions", "end_session", "ended_sessions", "prune_sessions", "interact", "user_states", "seen", "prior", "history",
	"publish", "delete_poll", "set_poll_state", "polls", "prune_keys", "load_catalogue",
	"catalogue_since", "counts", "search", "rank", "ranking", "claim_outbox", "delete_outbox",
	"outbox_lag", "add_dead_letter", "dead_letters", "replay_dead_letters",
	"drop_dead_letters", "import", "archive", "count_hourly", "prune_counted", "add_shown", "hourly",
	"add_milestones", "notifications", "check", "checkpoint", "wipe",
}

func (o operation) String() string { return operationNames[o] }

type metrics struct {
	duration   [operations]prometheus.Observer
	busy       prometheus.Counter
	registerer prometheus.Registerer
	collectors []prometheus.Collector
}

func newMetrics(r prometheus.Registerer, path string) (*metrics, error) {
	engine := prometheus.Labels{"engine": "sqlite"}
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:        "vote_store_duration_seconds",
		Help:        "Time of one call of the store, waiting for a connection included.",
		ConstLabels: engine,
		Buckets:     []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"op"})
	busy := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "vote_store_busy_total", Help: "Calls that ended because a foreign program held the database.",
		ConstLabels: engine,
	})
	bytes := func(name, help, path string) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: engine},
			func() float64 { return float64(size(path)) })
	}
	m := &metrics{busy: busy, registerer: r, collectors: []prometheus.Collector{
		duration, busy,
		bytes("vote_store_file_bytes", "Size of the database file.", path),
		bytes("vote_store_log_bytes", "Size of the write-ahead log.", path+"-wal"),
	}}
	for o := range operations {
		m.duration[o] = duration.WithLabelValues(o.String())
	}
	if r == nil {
		return m, nil
	}
	for i, c := range m.collectors {
		if err := r.Register(c); err != nil {
			m.collectors = m.collectors[:i]
			m.unregister()
			return nil, errors.Join(errors.New("sqlite: metrics"), err)
		}
	}
	return m, nil
}

// unregister lets another Store of the process register its own.
func (m *metrics) unregister() {
	if m.registerer == nil {
		return
	}
	for _, c := range m.collectors {
		m.registerer.Unregister(c)
	}
}

func (m *metrics) observe(o operation, start time.Time) {
	m.duration[o].Observe(time.Since(start).Seconds())
}
