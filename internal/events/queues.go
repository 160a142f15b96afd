package events

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
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
	// QueueFeedUpdates takes everything that changes feeds, and passes it on.
	QueueFeedUpdates      = "feed.updates"
	QueueFeedInvalidation = "feed.cache.invalidation"
	QueueSystemMetrics    = "system.metrics"
	QueueSystemAlerts     = "system.alerts"
	// QueueOutbox has no consumer: it names the dead letters of outbox rows
	// that could not be read.
	QueueOutbox = "outbox"
)

// topology says which events each queue takes.
var topology = map[string][]string{
	QueueProcessing:       {domain.EventVoteCast, domain.EventVoteSkipped},
	QueueNotifications:    {domain.EventVoteProcessed},
	QueueAnalytics:        {domain.EventVoteProcessed},
	QueueFeedUpdates:      {domain.EventPollPublished, domain.EventUserSeen},
	QueueFeedInvalidation: {domain.EventFeedChanged},
	QueueSystemMetrics:    {domain.EventMetricsReported},
	QueueSystemAlerts:     {domain.EventHealthChanged, domain.EventBreakerTripped},
}

// Topology returns every queue and the types of the events that it takes.
func Topology() map[string][]string {
	queues := make(map[string][]string, len(topology))
	for name, types := range topology {
		queues[name] = slices.Clone(types)
	}
	return queues
}

// SubscribeFeedUpdates subscribes the consumer that passes on what changes
// feeds, as events of one type, which keep their ids. Without users it leaves
// alone what users have seen, of which there is one event for every vote: where
// no cache is shared, nobody has to be told.
func SubscribeFeedUpdates(bus domain.Bus, users bool) {
	types := []string{domain.EventPollPublished}
	if users {
		types = topology[QueueFeedUpdates]
	}
	bus.Subscribe(QueueFeedUpdates, types, func(ctx context.Context, events []domain.Event) error {
		next := make([]domain.Event, 0, len(events))
		for _, e := range events {
			if !users && e.Type == domain.EventUserSeen {
				continue // on a broker the queue takes them all the same
			}
			// What both types of data have in common.
			var data domain.FeedChanged
			if err := json.Unmarshal(e.Data, &data); err != nil {
				return fmt.Errorf("data of %s: %w", e.Type, err)
			}
			if (data.UserID > 0) != (e.Type == domain.EventUserSeen) || (data.PollID > 0) != (e.Type == domain.EventPollPublished) {
				return fmt.Errorf("data of %s: not one user or poll", e.Type)
			}
			encoded, err := json.Marshal(data)
			if err != nil {
				return fmt.Errorf("data of %s: %w", e.Type, err)
			}
			e.Type, e.Data = domain.EventFeedChanged, encoded
			next = append(next, e)
		}
		if len(next) == 0 {
			return nil
		}
		return bus.Publish(ctx, next)
	})
}

// SubscribeFeedInvalidation subscribes the consumer that has cached feeds
// forgotten: invalidate is called with the users whose feeds have changed, and
// with the polls that are new in every feed, each once. Cached feeds carry
// versions, so that it makes none of them right which was wrong: it only frees
// their place earlier.
func SubscribeFeedInvalidation(bus domain.Bus, invalidate func(context.Context, []domain.UserID, []domain.PollID) error) {
	bus.Subscribe(QueueFeedInvalidation, topology[QueueFeedInvalidation], func(ctx context.Context, events []domain.Event) error {
		var users []domain.UserID
		var polls []domain.PollID
		for _, e := range events {
			var data domain.FeedChanged
			if err := json.Unmarshal(e.Data, &data); err != nil {
				return fmt.Errorf("data of %s: %w", e.Type, err)
			}
			switch {
			case data.UserID > 0:
				users = append(users, data.UserID)
			case data.PollID > 0:
				polls = append(polls, data.PollID)
			default:
				return fmt.Errorf("data of %s: no user and no poll", e.Type)
			}
		}
		slices.Sort(users)
		slices.Sort(polls)
		return invalidate(ctx, slices.Compact(users), slices.Compact(polls))
	})
}

// FeedHints returns a listener that keeps the feeds of a process up with other
// processes, and the types of the events that it wants: published is called when
// there are new polls to follow. It must be quick, safe to call again and never
// block. Nothing may depend on it.
func FeedHints(published func()) (types []string, listen func([]domain.Event)) {
	return []string{domain.EventPollPublished}, func([]domain.Event) { published() }
}

// VoteHints returns a listener that keeps the live results of a process up with
// other processes, and the types of the events that it wants: counted is called
// with the newest version of the counts of each poll. It must be quick, safe to
// call again and never block. Nothing may depend on it.
func VoteHints(counted func(versions map[domain.PollID]int64)) (types []string, listen func([]domain.Event)) {
	return []string{domain.EventVoteCast, domain.EventVoteSkipped}, func(events []domain.Event) {
		versions := make(map[domain.PollID]int64)
		for _, e := range events {
			if data, err := readProcessed(e); err == nil {
				versions[data.PollID] = max(versions[data.PollID], data.Version)
			}
		}
		if len(versions) > 0 {
			counted(versions)
		}
	}
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
