package postgres

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
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
	opMaintain
	operations
)

var operationNames = [operations]string{
	"ready", "create_user", "user", "users", "user_totals", "update_user", "erase_user", "set_banned", "export",
	"create_session", "rotate_refresh", "session", "sessions", "end_session", "ended_sessions", "prune_sessions", "interact", "user_states", "seen", "prior", "history",
	"publish", "delete_poll", "set_poll_state", "polls", "prune_keys", "load_catalogue",
	"catalogue_since", "counts", "search", "rank", "ranking", "claim_outbox", "delete_outbox",
	"outbox_lag", "add_dead_letter", "dead_letters", "replay_dead_letters",
	"drop_dead_letters", "import", "archive", "count_hourly", "prune_counted", "add_shown", "hourly",
	"add_milestones", "notifications", "check", "maintain",
}

func (o operation) String() string { return operationNames[o] }

// metrics are also what every connection tells of its statements: those that
// begin with a name in a comment are measured by that name.
type metrics struct {
	duration   [operations]prometheus.Observer
	statements *prometheus.HistogramVec
	conflicts  prometheus.Counter
	repeated   prometheus.Counter
	registerer prometheus.Registerer
	collectors []prometheus.Collector
}

var _ interface {
	pgx.QueryTracer
	pgx.BatchTracer
} = (*metrics)(nil)

var durationBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

var engineLabel = prometheus.Labels{"engine": "postgres"}

func newMetrics(r prometheus.Registerer) *metrics {
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:        "vote_store_duration_seconds",
		Help:        "Time of one call of the store, waiting for a connection included.",
		ConstLabels: engineLabel,
		Buckets:     durationBuckets,
	}, []string{"op"})
	m := &metrics{
		statements: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:        "vote_store_statement_duration_seconds",
			Help:        "Time until the answer to one statement was read; of those sent together, since the answer before.",
			ConstLabels: engineLabel,
			Buckets:     durationBuckets,
		}, []string{"statement"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vote_store_conflicts_total", Help: "Calls that ended because others were in the way.", ConstLabels: engineLabel,
		}),
		repeated: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vote_store_repeated_total", Help: "Transactions that were repeated because others were in the way.", ConstLabels: engineLabel,
		}),
		registerer: r,
	}
	m.collectors = []prometheus.Collector{duration, m.statements, m.conflicts, m.repeated}
	for o := range operations {
		m.duration[o] = duration.WithLabelValues(o.String())
	}
	return m
}

// register registers everything, that of the pool included.
func (m *metrics) register(pool *pgxpool.Pool) error {
	if m.registerer == nil {
		return nil
	}
	gauge := func(name, help string, value func(*pgxpool.Stat) float64) {
		m.collectors = append(m.collectors, prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: engineLabel},
			func() float64 { return value(pool.Stat()) }))
	}
	counter := func(name, help string, value func(*pgxpool.Stat) float64) {
		m.collectors = append(m.collectors, prometheus.NewCounterFunc(
			prometheus.CounterOpts{Name: name, Help: help, ConstLabels: engineLabel},
			func() float64 { return value(pool.Stat()) }))
	}
	gauge("vote_store_connections", "Connections to the primary.", func(s *pgxpool.Stat) float64 { return float64(s.TotalConns()) })
	gauge("vote_store_connections_in_use", "Connections to the primary that are in use.", func(s *pgxpool.Stat) float64 { return float64(s.AcquiredConns()) })
	gauge("vote_store_connections_limit", "Connections to the primary at most.", func(s *pgxpool.Stat) float64 { return float64(s.MaxConns()) })
	counter("vote_store_connection_waits_total", "Calls that waited for a connection.", func(s *pgxpool.Stat) float64 { return float64(s.EmptyAcquireCount()) })
	counter("vote_store_connection_wait_seconds_total", "Time that calls waited for connections.", func(s *pgxpool.Stat) float64 { return s.EmptyAcquireWaitTime().Seconds() })
	counter("vote_store_connections_opened_total", "Connections to the primary that were opened.", func(s *pgxpool.Stat) float64 { return float64(s.NewConnsCount()) })
	for i, c := range m.collectors {
		if err := m.registerer.Register(c); err != nil {
			m.collectors = m.collectors[:i]
			m.unregister()
			return errors.Join(errors.New("postgres: metrics"), err)
		}
	}
	return nil
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

func (m *metrics) observe(o operation, took time.Duration) { m.duration[o].Observe(took.Seconds()) }

// statementName returns the name that a statement begins with, or "other".
func statementName(query string) string {
	name, named := strings.CutPrefix(query, "/* ")
	name, _, closed := strings.Cut(name, " */")
	if !named || !closed {
		return "other"
	}
	return name
}

// traced is what a statement, or several sent together, is measured by.
type traced struct {
	name  string
	since time.Time
}

type tracedKey struct{}

func (m *metrics) observeStatement(name string, took time.Duration) {
	m.statements.WithLabelValues(name).Observe(took.Seconds())
}

// TraceQueryStart implements [pgx.QueryTracer].
func (m *metrics) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, tracedKey{}, &traced{name: statementName(d.SQL), since: time.Now()})
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (m *metrics) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if t, ok := ctx.Value(tracedKey{}).(*traced); ok {
		m.observeStatement(t.name, time.Since(t.since))
	}
}

// TraceBatchStart implements [pgx.BatchTracer].
func (m *metrics) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return context.WithValue(ctx, tracedKey{}, &traced{since: time.Now()})
}

// TraceBatchQuery implements [pgx.BatchTracer].
func (m *metrics) TraceBatchQuery(ctx context.Context, _ *pgx.Conn, d pgx.TraceBatchQueryData) {
	if t, ok := ctx.Value(tracedKey{}).(*traced); ok {
		now := time.Now()
		m.observeStatement(statementName(d.SQL), now.Sub(t.since))
		t.since = now
	}
}

// TraceBatchEnd implements [pgx.BatchTracer].
func (m *metrics) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}
