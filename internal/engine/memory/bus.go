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
	// Queue is how many events of a queue may wait for another try; while they
	// are as many, the queue takes nothing new. 0 is 1024.
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

// maxParcels is how many calls of Publish may wait at a queue.
const maxParcels = 16

// maxReason is the greatest length of a dead letter's reason, in bytes.
const maxReason = 2000

// Bus is a [domain.Bus] in memory. What waits in it does not survive the
// process, so it takes responsibility for an event only by finishing with it:
// Publish returns nil when every queue that takes the event has handled it, or
// has kept it as a dead letter. Whoever publishes keeps the event until then,
// as the outbox does, and publishes it again after an error, also after its own
// death.
//
// A queue hands its handler everything that waits, at once. What the handler
// fails with (an error or a panic) is handed to it again in halves, down to the
// single event at fault, which waits for its next try beside the queue while the
// others go on. A fault that says nothing about the events, such as storage that
// is away, fails Publish instead. An event that a queue has handled lately is
// dropped when it comes again.
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
		in:      make(chan *parcel, maxParcels),
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
	for _, e := range events {
		if e.ID == "" {
			return domain.E(domain.CodeInvalid, "an event has no id")
		}
	}
	w := &wait{done: make(chan struct{}), left: 1} // 1: this call itself
	b.mu.Lock()
	queues := b.queues
	b.mu.Unlock()
	for _, q := range queues {
		p := &parcel{wait: w}
		for _, e := range events {
			if q.takes[e.Type] {
				p.events = append(p.events, e)
			}
		}
		if p.left = len(p.events); p.left == 0 {
			continue
		}
		w.add()
		if err := q.put(ctx, p); err != nil {
			return err
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

// wait counts the parcels that one Publish waits for.
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

// parcel is what one Publish has for one queue, whose run owns it.
type parcel struct {
	events []domain.Event
	left   int   // events that are not finished with
	err    error // the first
	wait   *wait
}

// delivery is one event on its way to one queue's handler.
type delivery struct {
	event   domain.Event
	parcels []*parcel // that wait for it, at least one
	tries   int       // alone
	due     time.Time // of the next try
}

type queue struct {
	bus     *Bus
	name    string
	takes   map[string]bool
	handle  domain.Handler
	in      chan *parcel
	metrics queueMetrics

	// What follows belongs to run.

	handled recent
	retries []*delivery          // by the time of their next try
	waiting map[string]*delivery // those in retries, by event id
}

func (q *queue) put(ctx context.Context, p *parcel) error {
	select {
	case q.in <- p:
		q.metrics.waiting.Add(float64(len(p.events)))
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
		case p := <-in:
			q.try(ctx, q.gather(p))
		case <-due:
			d := q.retries[0]
			q.retries = slices.Delete(q.retries, 0, 1)
			delete(q.waiting, d.event.ID)
			q.try(ctx, []*delivery{d})
		}
	}
}

// gather returns the events of a parcel, and of those that wait behind it, that
// are to be handled now: none that is known.
func (q *queue) gather(p *parcel) []*delivery {
	list := make([]delivery, 0, len(p.events))
	fresh := make([]*delivery, 0, len(p.events))
	now := make(map[string]*delivery, len(p.events))
	for {
		for _, e := range p.events {
			same := now[e.ID]
			if same == nil {
				same = q.waiting[e.ID]
			}
			switch {
			case same != nil:
				q.metrics.duplicates.Inc()
				q.metrics.waiting.Dec()
				same.parcels = append(same.parcels, p)
			case q.handled.has(e.ID):
				q.metrics.duplicates.Inc()
				q.metrics.waiting.Dec()
				p.finish(nil)
			default:
				list = append(list, delivery{event: e, parcels: []*parcel{p}})
				d := &list[len(list)-1]
				now[e.ID] = d
				fresh = append(fresh, d)
			}
		}
		select {
		case p = <-q.in:
			list = make([]delivery, 0, len(p.events)) // those before are pointed to
		default:
			return fresh
		}
	}
}

// try hands events to the handler and decides what becomes of them.
func (q *queue) try(ctx context.Context, list []*delivery) {
	if len(list) == 0 || ctx.Err() != nil {
		return
	}
	err := q.call(ctx, list)
	switch {
	case err == nil:
		q.metrics.handled.Add(float64(len(list)))
		for _, d := range list {
			q.handled.add(d.event.ID)
			q.finish(d, nil)
		}
	case ctx.Err() != nil:
		// The failure may be only that the bus ends: it does not count.
	case transient(err):
		q.metrics.failed.Add(float64(len(list)))
		q.bus.o.Logger.Warn("events could not be handled now", "queue", q.name, "events", len(list), "error", err)
		for _, d := range list {
			q.finish(d, err)
		}
	case len(list) > 1:
		half := len(list) / 2
		q.try(ctx, list[:half])
		q.try(ctx, list[half:])
	default:
		q.failed(ctx, list[0], err)
	}
}

// transient reports whether an error says nothing about the events.
func transient(err error) bool {
	switch domain.CodeOf(err) {
	case domain.CodeUnavailable, domain.CodeConflict, domain.CodeOutcomeUnknown:
		return true
	}
	return false
}

// failed decides what becomes of an event that failed alone.
func (q *queue) failed(ctx context.Context, d *delivery, err error) {
	q.metrics.failed.Inc()
	if d.tries++; d.tries == domain.MaxDeliveries {
		q.finish(d, q.bury(ctx, d, err))
		return
	}
	wait := q.bus.o.Delay(d.tries)
	q.bus.o.Logger.Warn("event failed, will be tried again", "queue", q.name,
		"event", d.event.ID, "type", d.event.Type, "try", d.tries, "wait", wait, "error", err)
	d.due = time.Now().Add(wait)
	q.waiting[d.event.ID] = d
	after, _ := slices.BinarySearchFunc(q.retries, d, func(a, b *delivery) int {
		return cmp.Or(a.due.Compare(b.due), -1) // behind those due at the same time
	})
	q.retries = slices.Insert(q.retries, after, d)
}

// call runs the handler. A panic is an error.
func (q *queue) call(ctx context.Context, list []*delivery) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			q.bus.o.Logger.Error("event handler panicked", "queue", q.name, "event", list[0].event.ID, "events", len(list),
				"panic", p, "stack", string(debug.Stack()))
		}
	}()
	events := make([]domain.Event, len(list))
	for i, d := range list {
		events[i] = d.event
	}
	return q.handle(ctx, events)
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
	for _, p := range d.parcels {
		p.finish(err)
	}
}

func (p *parcel) finish(err error) {
	if p.err == nil {
		p.err = err
	}
	if p.left--; p.left == 0 {
		p.wait.finish(p.err)
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
