package api

import (
	"net/http"

	"vote/internal/domain"
)

// sendList answers with a page of a list. get returns at most limit items below
// a number or id; last tells that of an item.
func sendList[T, S any](
	c *call, l ownList, get func(before int64, limit int) ([]T, error), last func(T) int64, shape func(T) S,
) error {
	cursor, _ := c.param("cursor")
	limit := c.wholeParam("limit", maxLimit, defaultLimit)
	if err := c.invalid(); err != nil {
		return err
	}
	before, err := l.parse(cursor)
	if err != nil {
		return err
	}
	// One more than asked tells whether another page follows.
	items, err := get(before, limit+1)
	if err != nil {
		return err
	}
	page := listShape[S]{Items: make([]S, 0, len(items))}
	if len(items) > limit {
		items = items[:limit]
		next := l.cursor(last(items[limit-1]))
		page.NextCursor = &next
	}
	for _, item := range items {
		page.Items = append(page.Items, shape(item))
	}
	c.header()["Cache-Control"] = headerPrivate
	return c.sendJSON(http.StatusOK, page)
}

func (s *server) sendPast(c *call, l ownList, shape func(domain.PastInteraction) any) error {
	return sendList(c, l, func(before int64, limit int) ([]domain.PastInteraction, error) {
		return s.store.PastInteractions(c.context(), c.who.User, l == listSkips, before, limit)
	}, func(p domain.PastInteraction) int64 { return p.Number }, shape)
}

func (s *server) pastVotes(c *call) error {
	return s.sendPast(c, listVotes, func(p domain.PastInteraction) any {
		return pastVoteShape{PollID: p.Poll, Title: orNone(p.Title), OptionIndex: p.Option, Option: orNone(p.Text), CreatedAt: p.At}
	})
}

func (s *server) pastSkips(c *call) error {
	return s.sendPast(c, listSkips, func(p domain.PastInteraction) any {
		return pastSkipShape{PollID: p.Poll, Title: orNone(p.Title), CreatedAt: p.At}
	})
}

// orNone returns a text that is absent when it is empty.
func orNone(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (s *server) ownPolls(c *call) error {
	states := map[domain.PollState]string{domain.PollOpen: "open", domain.PollClosed: "closed", domain.PollHidden: "hidden"}
	return sendList(c, listPolls, func(before int64, limit int) ([]domain.OwnPoll, error) {
		return s.store.PollsBy(c.context(), c.who.User, domain.PollID(before), limit)
	}, func(p domain.OwnPoll) int64 { return int64(p.ID) }, func(p domain.OwnPoll) ownPollShape {
		return ownPollShape{
			ID: p.ID, Title: p.Title, Options: p.Options, Tags: p.Tags, CreatedAt: p.CreatedAt,
			Author: authorShape{ID: p.Author, Username: p.AuthorName}, TotalVotes: p.Votes, State: states[p.State],
		}
	})
}

func (s *server) notifications(c *call) error {
	return sendList(c, listNotifications, func(before int64, limit int) ([]domain.Notification, error) {
		return s.store.Notifications(c.context(), c.who.User, before, limit)
	}, func(n domain.Notification) int64 { return n.ID }, func(n domain.Notification) notificationShape {
		return notificationShape{ID: n.ID, Type: n.Type, PollID: n.Poll, Title: orNone(n.Title), Votes: n.Votes, CreatedAt: n.At}
	})
}
