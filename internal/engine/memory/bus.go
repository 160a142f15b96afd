package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/errgroup"

	"vote/internal/domain"
)

// BusOptions are what a [Bus] needs and may be told.
type BusOptions struct {
	// DeadLetter keeps an event for good that could not be handled. Keeping
	// the same event of the same queue again must be harmless. Without it such an event
	// makes Publish fail.
	DeadLetter func(ctx context.Context, d domain.DeadLetter) error
	// Clock dates dead letters; nil is the system's.
	Clock domain.Clock
	// Logger is told about retries, panics and dead letters; nil is silence.
	Logger *slog.Logger
	// Registerer takes the metrics; nil registers none.
	Registerer prometheus.Registerer
	// Queue is how many events a queue holds that are not yet handled, those
	// that wait for another try included. 0 is 1024.
	Queue int
	// Remember is how many handled events a queue knows by id, to drop them
	// when they come again. 0 is 65536.
	Remember int
	// Delay is how long an event waits after its try-th failed try, from 1;
	// nil is 100 ms, then four times as long each time.
	Delay func(try int) time.Duration
}

// deadLetterTimeout bounds how long keeping one dead letter may hold up its queue.
const deadLetterTimeout = 10 * time.Second

// maxReason is the greatest length of a dead letter's reason, in bytes.
const maxReason = 2000

// Bus is a [domain.Bus] in memory. What waits in it does not survive the
// process, so it takes responsibility for an event only by finishing with it:
// Publish returns nil when every queue that takes the event has handled it, or
// has kept it as a dead letter. Whoever publishes keeps the event until then,
// as the outbox does, and publishes it again after an error, also after its own
// death.
//
// A queue hands its events one at a time to its handler. An event that fails
// (an error or a panic) waits for its next try beside the queue, while the
// others go on. An event that a queue has handled lately is dropped when it comes again.
//
// Safe for concurrent use.
type Bus struct {
	o       BusOptions
	metrics busMetrics
	mu      sync.Mutex // guards queues and running until Run; then both are fixed
	queues  []*queue
	running bool
	ended   chan struct{}
}

var errBusEnded = domain.E(domain.CodeUnavailable, "the bus has ended")

// NewBus returns a bus. It delivers while Run runs.
func NewBus(o BusOptions) *Bus {
	if o.Clock == nil {
		o.Clock = domain.SystemClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Queue <= 0 {
		o.Queue = 1024
	}
	if o.Remember <= 0 {
		o.Remember = 1 << 16
	}
	if o.Delay == nil {
		o.Delay = func(try int) time.Duration { return 100 * time.Millisecond << (2 * (try - 1)) }
	}
	return &Bus{o: o, metrics: newBusMetrics(o.Registerer), ended: make(chan struct{})}
}

// Subscribe binds a handler to a queue. It panics when the queue has a handler
// already, or the bus is running: both are mistakes in the wiring.
func (b *Bus) Subscribe(name string, types []string, h domain.Handler) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running {
		panic("memory: Subscribe after Run")
	}
	takes := make(map[string]bool, len(types))
	for _, t := range types {
		takes[t] = true
	}
	for _, q := range b.queues {
		if q.name == name {
			panic("memory: queue " + name + " has two handlers")
		}
	}
	q := &queue{
		bus: b, name: name, takes: takes, handle: h,
		in:      make(chan *delivery, b.o.Queue),
		metrics: b.metrics.of(name),
		handled: recent{ids: make(map[string]struct{}), size: b.o.Remember},
		waiting: make(map[string]*delivery),
	}
	b.queues = append(b.queues, q)
}

// Publish returns nil once every queue that takes an event has handled it or
// kept it as a dead letter. It waits while a queue is full, and for Run to
// begin. After an error, some of the events may have been handled, and those
// under way may still be. An event without an id is refused.
func (b *Bus) Publish(ctx context.Context, events []domain.Event) error {
	w := &wait{done: make(chan struct{}), left: 1} // 1: this call itself
	b.mu.Lock()
	queues := b.queues
	b.mu.Unlock()
	for _, e := range events {
		if e.ID == "" {
			return domain.E(domain.CodeInvalid, "an event has no id")
		}
		for _, q := range queues {
			if !q.takes[e.Type] {
				continue
			}
			w.add()
			if err := q.put(ctx, &delivery{event: e, waits: []*wait{w}}); err != nil {
				return err
			}
		}
	}
	w.finish(nil)
	var err error
	select {
	case <-w.done:
	case <-ctx.Done():
		err = domain.Fault(domain.CodeUnavailable, context.Cause(ctx))
	case <-b.ended:
		err = errBusEnded
	}
	select {
	case <-w.done:
		return w.err
	default:
		return err
	}
}

// Run delivers until ctx ends, lets the handlers under way return, and returns
// nil. What was not handled by then fails its Publish. A bus runs once.
func (b *Bus) Run(ctx context.Context) error {
	b.mu.Lock()
	if b.running {
		b.mu.Unlock()
		return errors.New("memory: the bus runs only once")
	}
	b.running = true
	queues := b.queues
	b.mu.Unlock()
	defer close(b.ended)

	var g errgroup.Group
	for _, q := range queues {
		g.Go(func() error { q.run(ctx); return nil })
	}
	g.Go(func() error { <-ctx.Done(); return nil })
	return g.Wait()
}

// wait counts the deliveries that one Publish waits for.
type wait struct {
	mu   sync.Mutex
	left int
	err  error // the first
	done chan struct{}
}

func (w *wait) add() {
	w.mu.Lock()
	w.left++
	w.mu.Unlock()
}

func (w *wait) finish(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	if w.left--; w.left == 0 {
		close(w.done)
	}
}

// delivery is one event on its way to one queue's handler.
type delivery struct {
	event domain.Event
	waits []*wait
	tries int
	due   time.Time // of the next try
}

type queue struct {
	bus     *Bus
	name    string
	takes   map[string]bool
	handle  domain.Handler
	in      chan *delivery
	metrics queueMetrics

	// What follows belongs to run.

	handled recent
	retries []*delivery          // by the time of their next try
	waiting map[string]*delivery // those in retries, by event id
}

func (q *queue) put(ctx context.Context, d *delivery) error {
	select {
	case q.in <- d:
		q.metrics.waiting.Inc()
		return nil
	case <-ctx.Done():
		return domain.Fault(domain.CodeUnavailable, context.Cause(ctx))
	case <-q.bus.ended:
		return errBusEnded
	}
}

func (q *queue) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		var due <-chan time.Time
		if len(q.retries) > 0 {
			timer.Reset(time.Until(q.retries[0].due))
			due = timer.C
		}
		in := q.in
		if len(q.retries) >= q.bus.o.Queue {
			in = nil // bounded: some must be done with first
		}
		select {
		case <-ctx.Done():
		case d := <-in:
			q.accept(ctx, d)
		case <-due:
			d := q.retries[0]
			q.retries = slices.Delete(q.retries, 0, 1)
			delete(q.waiting, d.event.ID)
			q.try(ctx, d)
		}
	}
}

// accept tries an event that was just published, unless it is known.
func (q *queue) accept(ctx context.Context, d *delivery) {
	if q.handled.has(d.event.ID) {
		q.metrics.duplicates.Inc()
		q.finish(d, nil)
		return
	}
	if first := q.waiting[d.event.ID]; first != nil {
		q.metrics.duplicates.Inc()
		q.metrics.waiting.Dec()
		first.waits = append(first.waits, d.waits...)
		return
	}
	q.try(ctx, d)
}

// try hands an event to the handler and decides what becomes of it.
func (q *queue) try(ctx context.Context, d *delivery) {
	d.tries++
	err := q.call(ctx, d.event)
	switch {
	case err == nil:
		q.metrics.handled.Inc()
		q.handled.add(d.event.ID)
		q.finish(d, nil)
	case ctx.Err() != nil:
		// The failure may be only that the bus ends: it does not count.
	case d.tries < domain.MaxDeliveries:
		q.metrics.failed.Inc()
		wait := q.bus.o.Delay(d.tries)
		q.bus.o.Logger.Warn("event failed, will be tried again", "queue", q.name,
			"event", d.event.ID, "type", d.event.Type, "try", d.tries, "wait", wait, "error", err)
		d.due = time.Now().Add(wait)
		q.waiting[d.event.ID] = d
		after, _ := slices.BinarySearchFunc(q.retries, d, func(a, b *delivery) int {
			return cmp.Or(a.due.Compare(b.due), -1) // behind those due at the same time
		})
		q.retries = slices.Insert(q.retries, after, d)
	default:
		q.metrics.failed.Inc()
		q.finish(d, q.bury(ctx, d, err))
	}
}

// call runs the handler. A panic is an error.
func (q *queue) call(ctx context.Context, e domain.Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			q.bus.o.Logger.Error("event handler panicked", "queue", q.name, "event", e.ID, "type", e.Type,
				"panic", p, "stack", string(debug.Stack()))
		}
	}()
	return q.handle(ctx, e)
}

// bury keeps an event as a dead letter.
func (q *queue) bury(ctx context.Context, d *delivery, cause error) error {
	o := q.bus.o
	if o.DeadLetter == nil {
		return fmt.Errorf("event %s of queue %s cannot be kept as a dead letter: %w", d.event.ID, q.name, cause)
	}
	ctx, cancel := context.WithTimeout(ctx, deadLetterTimeout)
	defer cancel()
	err := o.DeadLetter(ctx, domain.DeadLetter{
		Queue: q.name, Event: d.event, At: o.Clock.Now(),
		Reason: reason(cause),
	})
	if err != nil {
		return fmt.Errorf("event %s of queue %s cannot be kept as a dead letter: %w", d.event.ID, q.name, err)
	}
	q.metrics.dead.Inc()
	o.Logger.Error("event became a dead letter", "queue", q.name, "event", d.event.ID, "type", d.event.Type,
		"tries", d.tries, "error", cause)
	return nil
}

// reason returns an error's text as every store can keep it.
func reason(err error) string {
	s := strings.ReplaceAll(strings.ToValidUTF8(err.Error(), "?"), "\x00", "?")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "")
	}
	return s
}

func (q *queue) finish(d *delivery, err error) {
	q.metrics.waiting.Dec()
	for _, w := range d.waits {
		w.finish(err)
	}
}

// recent is a set of the newest ids that were added.
type recent struct {
	ids  map[string]struct{}
	ring []string
	next int // where the next id goes, when the ring is full
	size int
}

func (r *recent) has(id string) bool {
	_, ok := r.ids[id]
	return ok
}

func (r *recent) add(id string) {
	if len(r.ring) < r.size {
		r.ring = append(r.ring, id)
	} else {
		delete(r.ids, r.ring[r.next])
		r.ring[r.next] = id
		r.next = (r.next + 1) % r.size
	}
	r.ids[id] = struct{}{}
}

type busMetrics struct {
	deliveries *prometheus.CounterVec
	dead       *prometheus.CounterVec
	waiting    *prometheus.GaugeVec
}

type queueMetrics struct {
	handled, failed, duplicates, dead prometheus.Counter
	waiting                           prometheus.Gauge
}

func newBusMetrics(r prometheus.Registerer) busMetrics {
	f := promauto.With(r)
	return busMetrics{
		deliveries: f.NewCounterVec(prometheus.CounterOpts{
			Name: "vote_bus_deliveries_total",
			Help: "Events given to a queue's consumer, by result (handled, failed) or dropped (duplicate).",
		}, []string{"queue", "result"}),
		dead: f.NewCounterVec(prometheus.CounterOpts{
			Name: "vote_bus_dead_letters_total", Help: "Events that became dead letters, by queue.",
		}, []string{"queue"}),
		waiting: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "vote_bus_waiting_events", Help: "Events that wait in a queue, for another try included.",
		}, []string{"queue"}),
	}
}

func (m busMetrics) of(queue string) queueMetrics {
	return queueMetrics{
		handled:    m.deliveries.WithLabelValues(queue, "handled"),
		failed:     m.deliveries.WithLabelValues(queue, "failed"),
		duplicates: m.deliveries.WithLabelValues(queue, "duplicate"),
		dead:       m.dead.WithLabelValues(queue),
		waiting:    m.waiting.WithLabelValues(queue),
	}
}
