package api

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vote/internal/domain"
)

type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	refusals *prometheus.CounterVec

	streamsEnded *prometheus.CounterVec
	inFlight     atomic.Int64
}

func newMetrics(r *prometheus.Registry) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vote_http_requests_total", Help: "Requests answered.",
		}, []string{"route", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "vote_http_request_duration_seconds", Help: "Time from the header of a request to the end of its answer; of a stream, to its beginning.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route", "method"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vote_http_refusals_total", Help: "Requests refused or failed, by code.",
		}, []string{"code"}),
		streamsEnded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vote_streams_ended_total", Help: "Live streams that ended: the client left, was too slow, no poll was left, or the server drained (client, slow, gone, drain).",
		}, []string{"reason"}),
	}
	if r != nil {
		r.MustRegister(m.requests, m.duration, m.refusals, m.streamsEnded, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "vote_http_requests_in_flight", Help: "Requests under way.",
		}, func() float64 { return float64(m.inFlight.Load()) }))
	}
	return m
}

func (m *metrics) refused(code domain.Code) { m.refusals.WithLabelValues(string(code)).Inc() }

// endpointMetrics holds the series of one route by method, looked up once, since
// looking labels up costs more than counting.
type endpointMetrics struct {
	m      *metrics
	route  string
	series [len(methods) + 1]atomic.Pointer[methodSeries] // the last is for any other method
}

type methodSeries struct {
	duration prometheus.Observer
	statuses [maxStatus]atomic.Pointer[prometheus.Counter]
}

const maxStatus = 600

var methods = [...]string{http.MethodGet, http.MethodPost, http.MethodHead, http.MethodDelete, http.MethodPut, http.MethodPatch, http.MethodOptions}

func (m *metrics) endpoint(route string) *endpointMetrics {
	return &endpointMetrics{m: m, route: route}
}

func (e *endpointMetrics) observe(method string, status int, took time.Duration) {
	i, name := len(methods), "other"
	for j, known := range methods {
		if method == known {
			i, name = j, known
			break
		}
	}
	s := e.series[i].Load()
	if s == nil {
		e.series[i].CompareAndSwap(nil, &methodSeries{duration: e.m.duration.WithLabelValues(e.route, name)})
		s = e.series[i].Load()
	}
	s.duration.Observe(took.Seconds())
	status = min(max(status, 0), maxStatus-1)
	n := s.statuses[status].Load()
	if n == nil {
		counter := e.m.requests.WithLabelValues(e.route, name, strconv.Itoa(status))
		n = &counter
		s.statuses[status].Store(n)
	}
	(*n).Inc()
}
