package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"vote/internal/domain"
)

// maxUnconfirmed is how many messages may wait for their confirm.
const maxUnconfirmed = 256

// observeEvery is how often the queues are looked at.
const observeEvery = 15 * time.Second

var (
	errEnded   = domain.E(domain.CodeUnavailable, "the bus has ended")
	errBlocked = errors.New("the broker is short of memory or disk and takes nothing")
	errReturn  = errors.New("no queue took a message")
	errRefused = errors.New("the broker refused a message: a queue is full")
)

// publisher holds what Publish publishes over.
type publisher struct {
	metrics busMetrics
	mu      sync.Mutex
	link    *link         // nil while there is none
	err     error         // why there is none; nil while the first is being made
	changed chan struct{} // closed when the two change
}

func newPublisher(m busMetrics) *publisher {
	return &publisher{metrics: m, changed: make(chan struct{})}
}

func (p *publisher) set(l *link, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.link, p.err = l, err
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *publisher) lost(err error) {
	if err == nil {
		err = errEnded
	}
	p.set(nil, err)
}

// ready returns what to publish over. It waits for the first connection only:
// whoever publishes has other things to do than to wait for a broker.
func (p *publisher) ready(ctx context.Context) (*link, error) {
	for {
		p.mu.Lock()
		l, err, changed := p.link, p.err, p.changed
		p.mu.Unlock()
		switch {
		case err != nil:
			return nil, unavailable(err)
		case l != nil && l.blocked.Load():
			return nil, unavailable(errBlocked)
		case l != nil:
			return l, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, unavailable(context.Cause(ctx))
		}
	}
}

func unavailable(cause error) error {
	if domain.CodeOf(cause) == domain.CodeUnavailable {
		return cause
	}
	return domain.Fault(domain.CodeUnavailable, cause)
}

// publish publishes messages and waits until all are confirmed.
func (p *publisher) publish(ctx context.Context, messages []message) error {
	l, err := p.ready(ctx)
	if err != nil {
		return err
	}
	sent := make([]*sending, 0, len(messages))
	for _, m := range messages {
		s, sendErr := l.send(ctx, m)
		if sendErr != nil {
			err = sendErr
			break
		}
		sent = append(sent, s)
	}
	for _, s := range sent {
		select {
		case <-s.done:
		case <-ctx.Done():
			return unavailable(fmt.Errorf("a message was not confirmed: %w", context.Cause(ctx)))
		}
		if errors.Is(s.err, errReturn) {
			l.renew() // the next one declares what is missing
		}
		if err == nil {
			err = s.err
		}
	}
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// link is a channel in confirm mode.
type link struct {
	ch      *amqp.Channel
	metrics busMetrics
	number  atomic.Uint64 // of the last message
	places  chan struct{} // one for each message under way
	blocked atomic.Bool
	over    chan struct{} // closed when the channel is
	renew   func()        // asks for another link

	mu       sync.Mutex
	waiting  map[uint64]*sending // by delivery tag
	early    map[uint64]bool     // confirmed before they were in waiting, and how
	returned map[string]bool     // by message id
	ended    bool
}

// sending is a message under way.
type sending struct {
	id    string
	begun time.Time
	done  chan struct{} // closed when err says what became of it
	err   error
}

// send publishes a message, once there is a place for it.
func (l *link) send(ctx context.Context, m message) (*sending, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.over:
		return nil, errConnectionLost
	case <-ctx.Done():
		return nil, fmt.Errorf("too many messages wait for their confirm: %w", context.Cause(ctx))
	}
	if l.blocked.Load() {
		<-l.places
		return nil, errBlocked
	}
	s := &sending{id: strconv.FormatUint(l.number.Add(1), 10), begun: time.Now(), done: make(chan struct{})}
	confirm, err := l.ch.PublishWithDeferredConfirm(m.exchange, m.key, true, false, m.publishing(s.id))
	if err != nil {
		<-l.places
		return nil, err
	}
	l.metrics.messages.WithLabelValues(resultPublished).Inc()
	l.metrics.unconfirmed.Inc()
	l.mu.Lock()
	defer l.mu.Unlock()
	tag := confirm.DeliveryTag
	ok, early := l.early[tag]
	delete(l.early, tag)
	switch {
	case early:
		l.settle(s, ok)
	case l.ended:
		l.finish(s, resultLost, errConnectionLost)
	default:
		l.waiting[tag] = s
	}
	return s, nil
}

// settle says what a confirm means. The caller holds mu.
func (l *link) settle(s *sending, ok bool) {
	switch returned := l.returned[s.id]; {
	case returned:
		delete(l.returned, s.id)
		l.finish(s, resultReturned, errReturn)
	case !ok:
		l.finish(s, resultRefused, errRefused)
	default:
		l.metrics.seconds.Observe(time.Since(s.begun).Seconds())
		l.finish(s, resultConfirmed, nil)
	}
}

func (l *link) finish(s *sending, result string, err error) {
	l.metrics.messages.WithLabelValues(result).Inc()
	l.metrics.unconfirmed.Dec()
	s.err = err
	close(s.done)
	<-l.places
}

// watch takes returns and confirms until the channel closes. The channels are
// unbuffered, so each return was noted when its confirm comes.
func (l *link) watch(returns <-chan amqp.Return, confirms <-chan amqp.Confirmation) {
	for returns != nil || confirms != nil {
		select {
		case r, ok := <-returns:
			if !ok {
				returns = nil
				continue
			}
			l.mu.Lock()
			l.returned[r.MessageId] = true
			l.mu.Unlock()
		case c, ok := <-confirms:
			if !ok {
				confirms = nil
				continue
			}
			l.mu.Lock()
			if s := l.waiting[c.DeliveryTag]; s != nil {
				delete(l.waiting, c.DeliveryTag)
				l.settle(s, c.Ack)
			} else {
				l.early[c.DeliveryTag] = c.Ack
			}
			l.mu.Unlock()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	close(l.over)
	for tag, s := range l.waiting {
		delete(l.waiting, tag)
		l.finish(s, resultLost, errConnectionLost)
	}
}

// publishing serves Publish over a connection until it fails or ctx ends.
func (b *Bus) publishing(ctx context.Context, c *amqp.Connection) error {
	ch, err := c.Channel()
	if err != nil {
		return err
	}
	if err := ch.Confirm(false); err != nil {
		return err
	}
	renew := make(chan struct{}, 1)
	l := &link{
		ch: ch, metrics: b.metrics, places: make(chan struct{}, maxUnconfirmed), over: make(chan struct{}),
		renew: func() {
			select {
			case renew <- struct{}{}:
			default:
			}
		},
		waiting: make(map[uint64]*sending), early: make(map[uint64]bool), returned: make(map[string]bool),
	}
	blocked := c.NotifyBlocked(make(chan amqp.Blocking, 1))
	returns, confirms := ch.NotifyReturn(make(chan amqp.Return)), ch.NotifyPublish(make(chan amqp.Confirmation))
	b.metrics.channels.Inc()
	defer b.metrics.channels.Dec()
	var watching sync.WaitGroup
	watching.Go(func() { l.watch(returns, confirms) })
	defer func() {
		disconnect(c)
		watching.Wait()
	}()
	defer b.metrics.blocked.Set(0)
	b.publisher.set(l, nil)
	tick := time.NewTicker(observeEvery)
	defer tick.Stop()
	for {
		if err := b.observe(c); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.over:
			return errConnectionLost
		case <-renew:
			return errReturn
		case state, ok := <-blocked:
			switch {
			case !ok:
				return errConnectionLost
			case state.Active:
				b.metrics.blocked.Set(1)
				b.o.Logger.Warn("RabbitMQ takes nothing", "reason", state.Reason)
			default:
				b.metrics.blocked.Set(0)
				b.o.Logger.Info("RabbitMQ takes messages again")
			}
			l.blocked.Store(state.Active)
		case <-tick.C:
		}
	}
}

// observe looks at every queue. One that is missing is an error: the next
// connection declares it.
func (b *Bus) observe(c *amqp.Connection) error {
	ch, err := c.Channel()
	if err != nil {
		return err
	}
	for _, q := range b.queues {
		for _, name := range []string{q.name, q.name + ErrorSuffix} {
			seen, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
			if err != nil {
				return fmt.Errorf("queue %s: %w", name, err)
			}
			b.metrics.depth.WithLabelValues(name).Set(float64(seen.Messages))
			b.metrics.consumers.WithLabelValues(name).Set(float64(seen.Consumers))
		}
	}
	return ch.Close()
}
