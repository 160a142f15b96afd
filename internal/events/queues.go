package events

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"vote/internal/domain"
)

// The names of the queues. Dead letters are kept under them.
const (
	// QueueProcessing takes every vote and skip, and passes it on to the queues
	// that do something with it.
	QueueProcessing    = "vote.processing"
	QueueNotifications = "vote.notifications"
	QueueAnalytics     = "vote.analytics"
	QueueFeedUpdates   = "feed.updates"
	// QueueOutbox has no consumer: it names the dead letters of outbox rows
	// that could not be read.
	QueueOutbox = "outbox"
)

// topology says which events each queue takes.
var topology = map[string][]string{
	QueueProcessing:    {domain.EventVoteCast, domain.EventVoteSkipped},
	QueueNotifications: {domain.EventVoteProcessed},
	QueueAnalytics:     {domain.EventVoteProcessed},
	QueueFeedUpdates:   {domain.EventPollPublished, domain.EventUserSeen},
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

// SubscribeProcessing subscribes the consumer that passes votes and skips on to
// those who do something with them, as events of one type, which keep their ids.
func SubscribeProcessing(bus domain.Bus) {
	bus.Subscribe(QueueProcessing, topology[QueueProcessing], func(ctx context.Context, events []domain.Event) error {
		next := make([]domain.Event, len(events))
		for i, e := range events {
			data, err := readProcessed(e)
			if err != nil {
				return err
			}
			if (data.OptionIndex != nil) != (e.Type == domain.EventVoteCast) {
				return fmt.Errorf("data of %s: a vote has an option, a skip has none", e.Type)
			}
			// The data is the same, so there is nothing to encode.
			next[i] = e
			next[i].Type = domain.EventVoteProcessed
		}
		return bus.Publish(ctx, next)
	})
}

// readProcessed reads the data of a vote or skip.
func readProcessed(e domain.Event) (domain.VoteProcessed, error) {
	data, ok := domain.ReadVoteProcessed(e.Data)
	if !ok {
		if err := json.Unmarshal(e.Data, &data); err != nil {
			return data, fmt.Errorf("data of %s: %w", e.Type, err)
		}
	}
	if data.PollID <= 0 {
		return data, fmt.Errorf("data of %s: no poll", e.Type)
	}
	return data, nil
}

// SubscribeAnalytics subscribes the consumer that keeps each poll's hourly
// totals. The store drops what it has counted before.
func SubscribeAnalytics(bus domain.Bus, store domain.Store) {
	bus.Subscribe(QueueAnalytics, topology[QueueAnalytics], func(ctx context.Context, events []domain.Event) error {
		list := make([]domain.Processed, len(events))
		for i, e := range events {
			data, err := readProcessed(e)
			if err != nil {
				return err
			}
			id, ok := domain.ParseEventID(e.ID)
			if !ok {
				return fmt.Errorf("event %q: the id is not of an outbox row", e.ID)
			}
			list[i] = domain.Processed{ID: id, Poll: data.PollID, Skip: data.OptionIndex == nil, At: e.Time}
			if data.OptionIndex != nil {
				list[i].Option = *data.OptionIndex
			}
		}
		return store.CountHourly(ctx, list)
	})
}

// SubscribeNotifications subscribes the consumer that tells authors of the
// milestones that their polls have reached. The store tells each once.
func SubscribeNotifications(bus domain.Bus, store domain.Store) {
	m := &milestones{store: store, quiet: make(map[domain.PollID]int64)}
	bus.Subscribe(QueueNotifications, topology[QueueNotifications], m.handle)
}

// maxQuiet bounds what [milestones] remembers, some 50 bytes a poll.
const maxQuiet = 1 << 16

// milestones looks for polls that have reached one.
type milestones struct {
	store domain.Store
	mu    sync.Mutex
	// quiet is the version of a poll's counts below which the poll cannot have
	// reached a milestone that was not looked at before, so that nearly every
	// vote costs no look into the store. A version counts skips too, so it is
	// never less than the votes.
	quiet map[domain.PollID]int64
}

func (m *milestones) handle(ctx context.Context, events []domain.Event) error {
	versions := make(map[domain.PollID]int64)
	for _, e := range events {
		data, err := readProcessed(e)
		if err != nil {
			return err
		}
		versions[data.PollID] = max(versions[data.PollID], data.Version)
	}
	ask := m.due(versions)
	if len(ask) == 0 {
		return nil
	}
	counts, err := m.store.Counts(ctx, ask)
	if err != nil {
		return err
	}
	var reached []domain.Milestone
	for _, c := range counts {
		if n := c.TotalVotes(); n >= domain.FirstMilestone {
			reached = append(reached, domain.Milestone{Poll: c.Poll, Votes: n})
		}
	}
	if len(reached) > 0 {
		if err := m.store.AddMilestones(ctx, reached); err != nil {
			return err
		}
	}
	m.looked(counts)
	return nil
}

// due returns the polls that may have reached a milestone.
func (m *milestones) due(versions map[domain.PollID]int64) []domain.PollID {
	m.mu.Lock()
	defer m.mu.Unlock()
	var polls []domain.PollID
	for id, version := range versions {
		if version >= max(m.quiet[id], domain.FirstMilestone) {
			polls = append(polls, id)
		}
	}
	return polls
}

// looked remembers how long nothing is to be done for the polls.
func (m *milestones) looked(counts []domain.Counts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range counts {
		for id := range m.quiet {
			if len(m.quiet) < maxQuiet {
				break
			}
			delete(m.quiet, id)
		}
		votes := c.TotalVotes()
		m.quiet[c.Poll] = c.Version() + domain.NextMilestone(votes) - votes
	}
}
