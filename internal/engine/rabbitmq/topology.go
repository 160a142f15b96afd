package rabbitmq

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// The exchanges.
const (
	ExchangeVotes  = "vote.events"
	ExchangeFeed   = "feed.events"
	ExchangeSystem = "system.events"
	// ExchangeDead takes what a queue gives up, under the queue's name.
	ExchangeDead = "dlx.events"
)

// ErrorSuffix makes the name of a queue that of its error queue.
const ErrorSuffix = ".error"

// Lives says how long a message may wait in a queue that takes it from an
// exchange. What outlives it goes to the error queue.
var Lives = map[string]time.Duration{
	ExchangeVotes:  5 * time.Minute,
	ExchangeFeed:   time.Minute,
	ExchangeSystem: 24 * time.Hour,
}

// ExchangeOf returns the exchange to which events of a type are published, with
// the type as the routing key.
func ExchangeOf(kind string) string {
	switch first, _, _ := strings.Cut(kind, "."); first {
	case "vote":
		return ExchangeVotes
	case "poll", "user", "feed":
		return ExchangeFeed
	}
	return ExchangeSystem
}

const (
	// deliveryLimit is how often the broker hands out a message whose consumer
	// went away with it. Tries of events are not counted by it: it ends the loop
	// of a message that kills whoever takes it.
	deliveryLimit = 100
	// queueBytes and errorBytes bound what lies in a queue.
	queueBytes = 1 << 30
	errorBytes = 256 << 20
)

// queue is a durable queue.
type queue struct {
	name  string
	types []string // that it takes, sorted
}

// topology returns the queues that types says, by name.
func topology(types map[string][]string) []queue {
	var queues []queue
	for _, name := range slices.Sorted(maps.Keys(types)) {
		kinds := slices.Clone(types[name])
		slices.Sort(kinds)
		queues = append(queues, queue{name, slices.Compact(kinds)})
	}
	return queues
}

// life returns how long a message may wait in a queue: as its exchange says,
// the longest of them.
func (q queue) life(lives map[string]time.Duration) time.Duration {
	var life time.Duration
	for _, kind := range q.types {
		life = max(life, lives[ExchangeOf(kind)])
	}
	return life
}

func (q queue) arguments(lives map[string]time.Duration) amqp.Table {
	return amqp.Table{
		"x-queue-type":              "quorum",
		"x-message-ttl":             q.life(lives).Milliseconds(),
		"x-dead-letter-exchange":    ExchangeDead,
		"x-dead-letter-routing-key": q.name,
		"x-dead-letter-strategy":    "at-least-once",
		"x-overflow":                "reject-publish",
		"x-max-length-bytes":        int64(queueBytes),
		"x-delivery-limit":          int64(deliveryLimit),
	}
}

func errorArguments(limit int) amqp.Table {
	args := amqp.Table{
		"x-queue-type":       "quorum",
		"x-overflow":         "reject-publish",
		"x-max-length-bytes": int64(errorBytes),
	}
	if limit > 0 {
		args["x-max-length"] = int64(limit)
	}
	return args
}

// declare makes the whole topology, or finds it as it must be.
func (b *Bus) declare(c *amqp.Connection) error {
	ch, err := c.Channel()
	if err != nil {
		return err
	}
	for _, e := range []struct{ name, kind string }{
		{ExchangeVotes, amqp.ExchangeTopic}, {ExchangeFeed, amqp.ExchangeTopic}, {ExchangeSystem, amqp.ExchangeTopic},
		{ExchangeDead, amqp.ExchangeDirect},
	} {
		if err := ch.ExchangeDeclare(e.name, e.kind, true, false, false, false, nil); err != nil {
			return fmt.Errorf("exchange %s: %w", e.name, err)
		}
	}
	for _, q := range b.queues {
		// The error queue comes first: the other one may have something for it.
		if _, err := ch.QueueDeclare(q.name+ErrorSuffix, true, false, false, false, errorArguments(b.o.MaxErrors)); err != nil {
			return fmt.Errorf("queue %s: %w", q.name+ErrorSuffix, err)
		}
		if err := ch.QueueBind(q.name+ErrorSuffix, q.name, ExchangeDead, false, nil); err != nil {
			return fmt.Errorf("queue %s: %w", q.name+ErrorSuffix, err)
		}
		if _, err := ch.QueueDeclare(q.name, true, false, false, false, q.arguments(b.o.Lives)); err != nil {
			return fmt.Errorf("queue %s: %w", q.name, err)
		}
		for _, kind := range q.types {
			if err := ch.QueueBind(q.name, kind, ExchangeOf(kind), false, nil); err != nil {
				return fmt.Errorf("queue %s: %w", q.name, err)
			}
		}
	}
	return ch.Close()
}
