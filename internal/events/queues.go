package events

import (
	"context"
	"encoding/json"
	"fmt"

	"vote/internal/domain"
)

// The names of the queues. Dead letters are kept under them.
const (
	QueueFeedUpdates = "feed.updates"
	// QueueOutbox has no consumer: it names the dead letters of outbox rows
	// that could not be read.
	QueueOutbox = "outbox"
)

// topology says which events each queue takes.
var topology = map[string][]string{
	QueueFeedUpdates: {domain.EventPollPublished, domain.EventUserSeen},
}

// SubscribeFeedUpdates subscribes the consumer that keeps a process's feeds up with
// other processes: published is called when there are new polls to follow, seen
// with what a user has seen. Either may be nil; both must be quick, safe to call
// again and never block. Events are only a hint that makes feeds quicker.
func SubscribeFeedUpdates(bus domain.Bus, published func(), seen func(domain.UserSeen)) {
	bus.Subscribe(QueueFeedUpdates, topology[QueueFeedUpdates], func(_ context.Context, e domain.Event) error {
		switch {
		case e.Type == domain.EventPollPublished && published != nil:
			published()
		case e.Type == domain.EventUserSeen && seen != nil:
			var data domain.UserSeen
			if err := json.Unmarshal(e.Data, &data); err != nil {
				return fmt.Errorf("data of %s: %w", e.Type, err)
			}
			seen(data)
		}
		return nil
	})
}
