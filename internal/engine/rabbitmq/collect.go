package rabbitmq

import (
	"context"
	"runtime/debug"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"vote/internal/domain"
)

const (
	// deadLetterTimeout bounds keeping one dead letter.
	deadLetterTimeout = 10 * time.Second
	// unkeepable is after how many tries a dead letter that the store does not
	// keep is taken for one that it can't.
	unkeepable = 10
)

// collect moves what comes into the error queue of a queue to the dead letters.
func (b *Bus) collect(ctx context.Context, c *amqp.Connection, queue string) error {
	return b.take(ctx, c, b.o.Prefetch, named(queue+ErrorSuffix), func(ctx context.Context, ch *amqp.Channel, in <-chan amqp.Delivery) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case d, ok := <-in:
				if !ok {
					return nil
				}
				for _, letter := range letters(queue, d, b.o.Clock.Now()) {
					if !b.keepLetter(ctx, d, letter) {
						return nil
					}
				}
				if err := ch.Ack(d.DeliveryTag, false); err != nil {
					return err
				}
			}
		}
	})
}

// keepLetter keeps a dead letter, however long it takes. Only the end of ctx
// makes it false.
func (b *Bus) keepLetter(ctx context.Context, d amqp.Delivery, letter domain.DeadLetter) bool {
	log := b.o.Logger.With("queue", letter.Queue, "event", letter.Event.ID, "type", letter.Event.Type)
	for try := 1; ctx.Err() == nil; try++ {
		bounded, cancel := context.WithTimeout(ctx, deadLetterTimeout)
		err := b.o.DeadLetter(bounded, letter)
		cancel()
		if err == nil {
			b.metrics.dead.WithLabelValues(letter.Queue).Inc()
			log.Error("event became a dead letter", "reason", letter.Reason)
			return true
		}
		wait := min(b.o.Delay(try), maxPause)
		log.Warn("a dead letter could not be kept, will be tried again", "wait", wait, "error", err)
		if !transient(err) && try == unkeepable {
			// Something in it is more than the store can keep.
			letter = wrapped(letter.Queue, d, letter.At, text(letter.Reason+"; it could not be kept as it was: "+err.Error()))
		}
		sleep(ctx, wait)
	}
	return false
}

// A hint is what a process wants to hear of.
type hint struct {
	types  []string
	handle func([]domain.Event)
}

const (
	// hintLength and hintLife bound what waits for a slow process. What is
	// dropped was only a hint.
	hintLength = 1000
	hintLife   = 10 * time.Second
	// hintPrefetch bounds what the process itself holds.
	hintPrefetch = 100
)

// hint serves one [Bus.Hint] from a queue that lives as long as the connection.
func (b *Bus) hint(ctx context.Context, c *amqp.Connection, h hint) error {
	open := func(ch *amqp.Channel) (string, error) {
		q, err := ch.QueueDeclare("", false, true, true, false, amqp.Table{
			"x-max-length": int64(hintLength), "x-overflow": "drop-head", "x-message-ttl": hintLife.Milliseconds(),
		})
		if err != nil {
			return "", err
		}
		for _, kind := range h.types {
			if err := ch.QueueBind(q.Name, kind, ExchangeOf(kind), false, nil); err != nil {
				return "", err
			}
		}
		return q.Name, nil
	}
	return b.take(ctx, c, hintPrefetch, open, func(ctx context.Context, ch *amqp.Channel, in <-chan amqp.Delivery) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case d, ok := <-in:
				if !ok {
					return nil
				}
				if events, err := decode(d.Body); err == nil {
					b.tell(h, events)
				}
				if err := ch.Ack(d.DeliveryTag, false); err != nil {
					return err
				}
			}
		}
	})
}

// tell hands a hint over. A panic in the handler is only logged.
func (b *Bus) tell(h hint, events []domain.Event) {
	defer func() {
		if p := recover(); p != nil {
			b.o.Logger.Error("handler of hints panicked", "event", events[0].ID, "events", len(events), "panic", p, "stack", string(debug.Stack()))
		}
	}()
	h.handle(events)
}
