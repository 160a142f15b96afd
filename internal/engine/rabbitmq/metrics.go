package rabbitmq

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type busMetrics struct {
	deliveries  *prometheus.CounterVec
	dead        *prometheus.CounterVec
	waiting     *prometheus.GaugeVec
	messages    *prometheus.CounterVec
	seconds     prometheus.Histogram
	unconfirmed prometheus.Gauge
	up          *prometheus.GaugeVec
	blocked     prometheus.Gauge
	channels    prometheus.Gauge
	ended       *prometheus.CounterVec
	depth       *prometheus.GaugeVec
	consumers   *prometheus.GaugeVec
}

type queueMetrics struct {
	handled, failed, retried prometheus.Counter
	waiting                  prometheus.Gauge
}

func newBusMetrics(r prometheus.Registerer) busMetrics {
	f := promauto.With(r)
	m := busMetrics{
		deliveries: f.NewCounterVec(prometheus.CounterOpts{
			Name: "vote_bus_deliveries_total",
			Help: "Events given to a queue's consumer, by result (handled, failed), and those of them that were given again (retried).",
		}, []string{"queue", "result"}),
		dead: f.NewCounterVec(prometheus.CounterOpts{
			Name: "vote_bus_dead_letters_total", Help: "Events that became dead letters, by queue.",
		}, []string{"queue"}),
		waiting: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "vote_bus_waiting_events", Help: "Events of a queue that this process holds, for another try included.",
		}, []string{"queue"}),
		messages: f.NewCounterVec(prometheus.CounterOpts{
			Name: "vote_rabbitmq_messages_total",
			Help: "Messages by what became of them: published, then confirmed, returned as unroutable, refused, or lost with the connection.",
		}, []string{"result"}),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "vote_rabbitmq_publish_seconds", Help: "Time from publishing a message to its confirm.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		unconfirmed: f.NewGauge(prometheus.GaugeOpts{
			Name: "vote_rabbitmq_unconfirmed_messages", Help: "Messages that were published and wait for their confirm.",
		}),
		up: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "vote_rabbitmq_up", Help: "Whether a connection to the broker works, by its purpose (publish, consume).",
		}, []string{"connection"}),
		blocked: f.NewGauge(prometheus.GaugeOpts{
			Name: "vote_rabbitmq_blocked", Help: "Whether the broker, short of memory or disk, takes nothing.",
		}),
		channels: f.NewGauge(prometheus.GaugeOpts{
			Name: "vote_rabbitmq_channels", Help: "Open channels, one for publishing and one for each consumer.",
		}),
		ended: f.NewCounterVec(prometheus.CounterOpts{
			Name: "vote_rabbitmq_connection_failures_total", Help: "Connections to the broker that failed or could not be made, by purpose.",
		}, []string{"connection"}),
		depth: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "vote_rabbitmq_queue_messages", Help: "Messages that wait in a queue of the broker, those held by consumers left out.",
		}, []string{"queue"}),
		consumers: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "vote_rabbitmq_queue_consumers", Help: "Consumers that a queue of the broker has, in all processes.",
		}, []string{"queue"}),
	}
	for _, c := range []string{connPublish, connConsume} {
		m.up.WithLabelValues(c)
		m.ended.WithLabelValues(c)
	}
	for _, result := range []string{resultPublished, resultConfirmed, resultReturned, resultRefused, resultLost} {
		m.messages.WithLabelValues(result)
	}
	return m
}

// What becomes of messages.
const (
	resultPublished = "published"
	resultConfirmed = "confirmed"
	resultReturned  = "returned"
	resultRefused   = "refused"
	resultLost      = "lost"
)

func (m busMetrics) of(queue string) queueMetrics {
	m.dead.WithLabelValues(queue)
	return queueMetrics{
		handled: m.deliveries.WithLabelValues(queue, "handled"),
		failed:  m.deliveries.WithLabelValues(queue, "failed"),
		retried: m.deliveries.WithLabelValues(queue, "retried"),
		waiting: m.waiting.WithLabelValues(queue),
	}
}
