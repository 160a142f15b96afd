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
// with what a user has seen. Either may be nil, and its events are then left
// alone; both must be quick, safe to call again and never block. Events are only
// a hint that makes feeds quicker.
func SubscribeFeedUpdates(bus domain.Bus, published func(), seen func(domain.UserSeen)) {
	var types []string
	for _, kind := range topology[QueueFeedUpdates] {
		if kind == domain.EventPollPublished && published != nil || kind == domain.EventUserSeen && seen != nil {
			types = append(types, kind)
		}
	}
	bus.Subscribe(QueueFeedUpdates, types, func(_ context.Context, events []domain.Event) error {
		told := make([]domain.UserSeen, 0, len(events))
		for _, e := range events {
			if e.Type != domain.EventUserSeen {
				continue
			}
			var data domain.UserSeen
			if err := json.Unmarshal(e.Data, &data); err != nil {
				return fmt.Errorf("data of %s: %w", e.Type, err)
			}
			told = append(told, data)
		}
		if len(told) < len(events) {
			published()
		}
		for _, data := range told {
			seen(data)
		}
		return nil
	})
}
