package rabbitmq

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"

	"vote/internal/domain"
)

// maxPause is the longest wait for a fault that says nothing about the events.
const maxPause = 5 * time.Second

// consuming serves the handlers over a connection until it fails or ctx ends.
func (b *Bus) consuming(ctx context.Context, c *amqp.Connection) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, q := range b.queues {
		if h := b.handlers[q.name]; h != nil {
			g.Go(func() error { return b.consume(ctx, c, q.name, h) })
		}
		if b.o.DeadLetter != nil {
			g.Go(func() error { return b.collect(ctx, c, q.name) })
		}
	}
	for _, h := range b.hints {
		g.Go(func() error { return b.hint(ctx, c, h) })
	}
	closed := c.NotifyClose(make(chan *amqp.Error, 1))
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case err := <-closed:
			if err != nil {
				return err
			}
			return errConnectionLost
		}
	})
	return g.Wait()
}

// take has work done with what a queue delivers, as it comes, on a channel of
// its own, until the channel closes or ctx ends.
func (b *Bus) take(
	ctx context.Context, c *amqp.Connection, prefetch int, open func(*amqp.Channel) (queue string, err error),
	work func(context.Context, *amqp.Channel, <-chan amqp.Delivery) error,
) error {
	ch, err := c.Channel()
	if err != nil {
		return err
	}
	b.metrics.channels.Inc()
	defer b.metrics.channels.Dec()
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	if err := ch.Qos(prefetch, 0, false); err != nil {
		return err
	}
	queue, err := open(ch)
	if err != nil {
		return err
	}
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("queue %s: %w", queue, err)
	}
	if err := work(ctx, ch, deliveries); err != nil || ctx.Err() != nil {
		return err
	}
	select {
	case err := <-closed:
		if err != nil {
			return fmt.Errorf("queue %s: %w", queue, err)
		}
	default: // the queue was deleted
	}
	return fmt.Errorf("queue %s: %w", queue, errConnectionLost)
}

func named(queue string) func(*amqp.Channel) (string, error) {
	return func(*amqp.Channel) (string, error) { return queue, nil }
}

// consume serves one handler.
func (b *Bus) consume(ctx context.Context, c *amqp.Connection, queue string, h domain.Handler) error {
	return b.take(ctx, c, b.o.Prefetch, named(queue), func(ctx context.Context, ch *amqp.Channel, in <-chan amqp.Delivery) error {
		w := consumer{bus: b, queue: queue, handle: h, ch: ch, metrics: b.metrics.of(queue)}
		defer w.drop()
		return w.run(ctx, in)
	})
}

// parcel is one message that a consumer holds until all its events are
// finished with.
type parcel struct {
	tag  uint64
	left int
}

// delivery is one event on its way to a handler.
type delivery struct {
	event domain.Event
	from  *parcel
	tries int       // alone
	due   time.Time // of the next try
}

// corpse is what goes to the error queue.
type corpse struct {
	message
	from *parcel
}

// consumer serves one queue of one process. All of it belongs to run.
type consumer struct {
	bus     *Bus
	queue   string
	handle  domain.Handler
	ch      *amqp.Channel
	metrics queueMetrics

	held    int         // events
	retries []*delivery // by the time of their next try
	dead    []corpse
	err     error // of an acknowledgement: the channel is gone
}

func (c *consumer) run(ctx context.Context, in <-chan amqp.Delivery) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil && c.err == nil {
		var due <-chan time.Time
		if len(c.retries) > 0 {
			timer.Reset(time.Until(c.retries[0].due))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case d, ok := <-in:
			if !ok {
				return nil
			}
			c.try(ctx, c.gather(d, in))
		case <-due:
			c.retry(ctx)
		}
		c.bury(ctx)
	}
	return c.err
}

// gather returns the events of a message and of those that wait behind it. What
// is no message of events goes to the dead.
func (c *consumer) gather(d amqp.Delivery, in <-chan amqp.Delivery) []*delivery {
	var list []*delivery
	for {
		events, err := decode(d.Body)
		p := &parcel{tag: d.DeliveryTag, left: max(len(events), 1)}
		c.held += p.left
		c.metrics.waiting.Add(float64(p.left))
		if err != nil {
			c.metrics.failed.Inc()
			c.dead = append(c.dead, corpse{c.message(d.ContentType, d.Body, err), p})
		}
		for _, e := range events {
			list = append(list, &delivery{event: e, from: p})
		}
		select {
		case next, ok := <-in:
			if !ok {
				return list // run sees it too
			}
			d = next
		default:
			return list
		}
	}
}

// try hands events to the handler and decides what becomes of them.
func (c *consumer) try(ctx context.Context, list []*delivery) {
	if len(list) == 0 {
		return
	}
	for again := 1; ctx.Err() == nil; again++ {
		err := c.call(ctx, list)
		switch {
		case err == nil:
			c.metrics.handled.Add(float64(len(list)))
			for _, d := range list {
				c.finish(d.from)
			}
			return
		case ctx.Err() != nil:
			// The failure may be only that the bus ends: it does not count.
			return
		case transient(err):
			c.metrics.failed.Add(float64(len(list)))
			wait := min(c.bus.o.Delay(again), maxPause)
			c.bus.o.Logger.Warn("events could not be handled now", "queue", c.queue, "events", len(list), "wait", wait, "error", err)
			sleep(ctx, wait)
			c.metrics.retried.Add(float64(len(list)))
		case len(list) > 1:
			half := len(list) / 2
			c.try(ctx, list[:half])
			c.try(ctx, list[half:])
			return
		default:
			c.failed(list[0], err)
			return
		}
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
func (c *consumer) failed(d *delivery, err error) {
	c.metrics.failed.Inc()
	log := c.bus.o.Logger.With("queue", c.queue, "event", d.event.ID, "type", d.event.Type)
	if d.tries++; d.tries >= c.bus.o.Tries {
		body, encodeErr := one(d.event)
		if encodeErr != nil {
			err = fmt.Errorf("%w; its data: %w", err, encodeErr) // the letter is kept without
		}
		c.dead = append(c.dead, corpse{c.message(ContentType, body, err), d.from})
		log.Error("event goes to the error queue", "tries", d.tries, "error", err)
		return
	}
	wait := c.bus.o.Delay(d.tries)
	log.Warn("event failed, will be tried again", "try", d.tries, "wait", wait, "error", err)
	d.due = time.Now().Add(wait)
	after, _ := slices.BinarySearchFunc(c.retries, d, func(a, b *delivery) int {
		return cmp.Or(a.due.Compare(b.due), -1) // behind those due at the same time
	})
	c.retries = slices.Insert(c.retries, after, d)
}

// retry tries every event that is due.
func (c *consumer) retry(ctx context.Context) {
	now := time.Now()
	n, _ := slices.BinarySearchFunc(c.retries, now, func(d *delivery, now time.Time) int {
		return cmp.Or(d.due.Compare(now), -1)
	})
	due := slices.Clone(c.retries[:n])
	c.retries = slices.Delete(c.retries, 0, n)
	for _, d := range due {
		if ctx.Err() != nil {
			return
		}
		c.metrics.retried.Inc()
		c.try(ctx, []*delivery{d})
	}
}

// call runs the handler. A panic is an error.
func (c *consumer) call(ctx context.Context, list []*delivery) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			c.bus.o.Logger.Error("event handler panicked", "queue", c.queue, "event", list[0].event.ID, "events", len(list),
				"panic", p, "stack", string(debug.Stack()))
		}
	}()
	events := make([]domain.Event, len(list))
	for i, d := range list {
		events[i] = d.event
	}
	return c.handle(ctx, events)
}

func (c *consumer) message(contentType string, body []byte, why error) message {
	return message{exchange: ExchangeDead, key: c.queue, reason: text(why.Error()), contentType: contentType, body: body}
}

// bury sends the dead to the error queue. While that takes nothing, the queue
// stands still: what it holds is safe with the broker.
func (c *consumer) bury(ctx context.Context) {
	if len(c.dead) == 0 {
		return
	}
	messages := make([]message, len(c.dead))
	for i, d := range c.dead {
		messages[i] = d.message
	}
	for try := 1; ctx.Err() == nil; try++ {
		err := c.publish(ctx, messages)
		if err == nil {
			for _, d := range c.dead {
				c.finish(d.from)
			}
			c.dead = nil
			return
		}
		wait := min(c.bus.o.Delay(try), maxPause)
		c.bus.o.Logger.Warn("the error queue takes nothing now", "queue", c.queue, "messages", len(messages), "wait", wait, "error", err)
		sleep(ctx, wait)
	}
}

func (c *consumer) publish(ctx context.Context, messages []message) error {
	ctx, cancel := context.WithTimeout(ctx, c.bus.o.PublishTimeout)
	defer cancel()
	return c.bus.publisher.publish(ctx, messages)
}

// finish notes that one event of a message is finished with, and acknowledges
// the message after the last.
func (c *consumer) finish(p *parcel) {
	c.held--
	c.metrics.waiting.Dec()
	if p.left--; p.left > 0 {
		return
	}
	if err := c.ch.Ack(p.tag, false); err != nil && c.err == nil {
		c.err = err
	}
}

// drop forgets what is held: it is delivered again.
func (c *consumer) drop() { c.metrics.waiting.Sub(float64(c.held)) }
