package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"

	"vote/internal/domain"
)

// Options are what a [Bus] needs and may be told. Zero values of the last group
// mean the defaults.
type Options struct {
	// URL is the broker's address with user and virtual host, see [URL].
	URL string
	// Queues are the queues that there are, and the types of the events that
	// each takes, those added that are subscribed to. Every process should know
	// all: what one publishes waits in them for the consumers of another.
	Queues map[string][]string
	// DeadLetter keeps an event for good that could not be handled. Keeping the
	// same event of the same queue again must be harmless. A process that is
	// given it empties the error queues; without it, they are left alone.
	DeadLetter func(ctx context.Context, d domain.DeadLetter) error
	// Clock dates dead letters; nil is the system's.
	Clock domain.Clock
	// Logger is told about connections, retries, panics and dead letters; nil is silence.
	Logger *slog.Logger
	// Registerer takes the metrics; nil registers none.
	Registerer prometheus.Registerer

	// Prefetch is how many messages a consumer holds: 10.
	Prefetch int
	// ReconnectInterval is the pause between attempts to connect: 5 s.
	ReconnectInterval time.Duration
	// Tries is how often an event is tried alone: [domain.MaxDeliveries].
	Tries int
	// PublishTimeout bounds a call of Publish: 10 s.
	PublishTimeout time.Duration
	// MessageEvents is how many events a message holds at most: 500.
	MessageEvents int
	// MessageBytes is how long a message is at most, unless one event alone is
	// longer: 256 KiB.
	MessageBytes int
	// MaxErrors is how many messages an error queue holds: 100,000.
	MaxErrors int
	// Lives are instead of [Lives].
	Lives map[string]time.Duration
	// Delay is how long an event waits after its try-th failed try, from 1;
	// nil is 100 ms, then four times as long each time. What says nothing about
	// the events waits as long, up to 5 s.
	Delay func(try int) time.Duration
}

// URL returns the address of a broker, for [Options].
func URL(host string, port int, user, password, vhost string) string {
	u := url.URL{
		Scheme: "amqp", User: url.UserPassword(user, password), Host: net.JoinHostPort(host, strconv.Itoa(port)),
		Path: "/" + vhost, RawPath: "/" + url.PathEscape(vhost),
	}
	return u.String()
}

// Bus is a [domain.Bus] over a RabbitMQ broker. Publish returns nil once the
// broker has every event in every queue that takes it. From then on the broker
// keeps it until a consumer, in whatever process, has handled it or given it up.
//
// A consumer hands its handler everything that it holds, at once. What the
// handler fails with (an error or a panic) is handed to it again in halves, down
// to the single event at fault, which waits for its next try beside the others.
// A fault that says nothing about the events, such as storage that is away,
// makes the queue wait until it passes.
//
// Safe for concurrent use.
type Bus struct {
	o         Options
	metrics   busMetrics
	publisher *publisher
	reachable atomic.Bool

	mu       sync.Mutex // guards the rest until Run; then it is fixed
	running  bool
	handlers map[string]domain.Handler
	types    map[string][]string // that a queue takes
	hints    []hint
	queues   []queue
	taken    map[string]bool // types that some queue takes
}

var _ domain.Bus = (*Bus)(nil)

// NewBus returns a bus. It connects, publishes and delivers while Run runs.
func NewBus(o Options) (*Bus, error) {
	if _, err := amqp.ParseURI(o.URL); err != nil {
		return nil, fmt.Errorf("address of RabbitMQ: %w", err)
	}
	if o.Clock == nil {
		o.Clock = domain.SystemClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	number := func(n *int, standard int) {
		if *n <= 0 {
			*n = standard
		}
	}
	number(&o.Prefetch, 10)
	number(&o.Tries, domain.MaxDeliveries)
	number(&o.MessageEvents, 500)
	number(&o.MessageBytes, 256<<10)
	number(&o.MaxErrors, 100_000)
	if o.ReconnectInterval <= 0 {
		o.ReconnectInterval = 5 * time.Second
	}
	if o.PublishTimeout <= 0 {
		o.PublishTimeout = 10 * time.Second
	}
	if o.Lives == nil {
		o.Lives = Lives
	}
	if o.Delay == nil {
		o.Delay = func(try int) time.Duration { return 100 * time.Millisecond << (2 * min(try-1, 8)) }
	}
	b := &Bus{
		o: o, metrics: newBusMetrics(o.Registerer), handlers: make(map[string]domain.Handler), types: make(map[string][]string),
	}
	b.publisher = newPublisher(b.metrics)
	maps.Copy(b.types, o.Queues)
	return b, nil
}

// Subscribe binds a handler to a queue. It panics when the queue has a handler
// already, or the bus is running: both are mistakes in the wiring.
func (b *Bus) Subscribe(name string, types []string, h domain.Handler) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running {
		panic("rabbitmq: Subscribe after Run")
	}
	if b.handlers[name] != nil {
		panic("rabbitmq: queue " + name + " has two handlers")
	}
	b.handlers[name] = h
	b.types[name] = slices.Concat(b.types[name], types)
}

// Hint has h called with events of the given types that any process publishes,
// soon and usually once. Each process that asks is told, but nothing waits for
// one that is away or slow: what counts must be found elsewhere too. Like
// Subscribe, it must be called before Run.
func (b *Bus) Hint(types []string, h func([]domain.Event)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running {
		panic("rabbitmq: Hint after Run")
	}
	b.hints = append(b.hints, hint{slices.Clone(types), h})
}

// Publish returns nil once the broker has confirmed all the events that some
// queue takes. It waits for the first connection, and no longer than the
// PublishTimeout. After an error, some of the events may be published, also
// later. An event without an id is refused.
func (b *Bus) Publish(ctx context.Context, events []domain.Event) error {
	for _, e := range events {
		if e.ID == "" {
			return domain.E(domain.CodeInvalid, "an event has no id")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, b.o.PublishTimeout)
	defer cancel()
	// Before the first connection it is not fixed who takes what.
	if _, err := b.publisher.ready(ctx); err != nil {
		return err
	}
	wanted := make([]domain.Event, 0, len(events))
	for _, e := range events {
		if b.taken[e.Type] {
			wanted = append(wanted, e)
		}
	}
	messages, err := encode(wanted, b.o.MessageEvents, b.o.MessageBytes)
	if err != nil || len(messages) == 0 {
		return err
	}
	return b.publisher.publish(ctx, messages)
}

// Reachable reports whether there is a connection over which events are
// published.
func (b *Bus) Reachable() bool { return b.reachable.Load() }

// Run publishes and delivers until ctx ends, lets the handlers under way return,
// and returns nil. It outlives any broker. A bus runs once.
func (b *Bus) Run(ctx context.Context) error {
	b.mu.Lock()
	if b.running {
		b.mu.Unlock()
		return errors.New("rabbitmq: the bus runs only once")
	}
	b.running = true
	b.queues = topology(b.types)
	b.taken = make(map[string]bool)
	for _, q := range b.queues {
		for _, kind := range q.types {
			b.taken[kind] = true
		}
	}
	b.mu.Unlock()
	defer b.publisher.lost(errEnded)

	var g errgroup.Group
	g.Go(func() error { b.keep(ctx, connPublish, b.publishing); return nil })
	if len(b.handlers) > 0 || len(b.hints) > 0 || b.o.DeadLetter != nil {
		g.Go(func() error { b.keep(ctx, connConsume, b.consuming); return nil })
	}
	return g.Wait()
}
