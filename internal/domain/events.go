package domain

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Types of the events that leave the outbox. Each is also its routing key.
const (
	EventVoteCast      = "vote.cast"
	EventVoteSkipped   = "vote.skipped"
	EventPollPublished = "poll.published"
	EventUserSeen      = "user.seen"
)

// EventMalformedRow is the type of the event as which an outbox row is kept that
// could not be read. Its data holds the row's id and content. It is only ever a
// dead letter.
const EventMalformedRow = "vote.outbox.malformed"

// Event is a CloudEvents 1.0 event in JSON format.
type Event struct {
	SpecVersion string `json:"specversion"`
	// ID is the outbox row's id and the event's number in it: the same at
	// every delivery, so that consumers can drop duplicates.
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Time            time.Time       `json:"time"`
	Subject         string          `json:"subject,omitempty"`
	DataContentType string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data"`
}

// EventSource is the source attribute of every event.
const EventSource = "/vote"

// VoteCast is the data of [EventVoteCast]. It names no user.
type VoteCast struct {
	PollID      PollID `json:"pollId"`
	OptionIndex int    `json:"optionIndex"`
	// Version is the version of the poll's counts after the batch that held
	// the vote: whoever has a newer one ignores this.
	Version int64 `json:"version"`
}

// VoteSkipped is the data of [EventVoteSkipped]. It names no user.
type VoteSkipped struct {
	PollID  PollID `json:"pollId"`
	Version int64  `json:"version"`
}

// PollPublished is the data of [EventPollPublished].
type PollPublished struct {
	PollID   PollID   `json:"pollId"`
	Position Position `json:"position"`
}

// UserSeen is the data of [EventUserSeen]. It never holds a choice.
type UserSeen struct {
	UserID UserID `json:"userId"`
	// Version is the user's version after the batch.
	Version   int64      `json:"version"`
	Positions []Position `json:"positions"`
}

// Changes is what one committed batch changed: the content of one outbox row.
type Changes struct {
	At        time.Time
	Votes     []VoteCast
	Skips     []VoteSkipped
	Seen      []UserSeen
	Published []PollPublished
	// Replayed are events of earlier rows that are to be published again, under
	// their own ids.
	Replayed []Event
}

// Changes returns what a batch changed, for its outbox row.
func (o Outcome) Changes(batch []Interaction) Changes {
	c := Changes{At: o.At}
	versions := make(map[PollID]int64, len(o.Counts))
	for _, n := range o.Counts {
		versions[n.Poll] = n.Version()
	}
	for i, v := range o.Verdicts {
		switch in := batch[i]; {
		case v.Code != "" || !v.Changed:
		case in.Skip:
			c.Skips = append(c.Skips, VoteSkipped{PollID: in.Poll, Version: versions[in.Poll]})
		default:
			c.Votes = append(c.Votes, VoteCast{PollID: in.Poll, OptionIndex: v.Option, Version: versions[in.Poll]})
		}
	}
	for _, u := range o.Users {
		c.Seen = append(c.Seen, UserSeen{UserID: u.User, Version: u.Version, Positions: u.Positions})
	}
	return c
}

// Empty reports whether nothing changed, so that no outbox row is needed.
func (c Changes) Empty() bool {
	return c.Len() == 0
}

// Len returns how many events the changes make.
func (c Changes) Len() int {
	return len(c.Votes) + len(c.Skips) + len(c.Seen) + len(c.Published) + len(c.Replayed)
}

// AppendBinary appends the outbox row's encoding: compact JSON, in which each
// change is an array, since a row is written on the way of every batch.
func (c Changes) AppendBinary(b []byte) ([]byte, error) {
	num := func(n int64) { b = strconv.AppendInt(b, n, 10) }
	list := func(name string, n int, item func(i int)) {
		if n == 0 {
			return
		}
		b = append(b, `,"`...)
		b = append(b, name...)
		b = append(b, `":[`...)
		for i := range n {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, '[')
			item(i)
			b = append(b, ']')
		}
		b = append(b, ']')
	}
	b = append(b, `{"at":`...)
	num(c.At.UnixMilli())
	list("votes", len(c.Votes), func(i int) {
		num(int64(c.Votes[i].PollID))
		b = append(b, ',')
		num(int64(c.Votes[i].OptionIndex))
		b = append(b, ',')
		num(c.Votes[i].Version)
	})
	list("skips", len(c.Skips), func(i int) {
		num(int64(c.Skips[i].PollID))
		b = append(b, ',')
		num(c.Skips[i].Version)
	})
	list("seen", len(c.Seen), func(i int) {
		num(int64(c.Seen[i].UserID))
		b = append(b, ',')
		num(c.Seen[i].Version)
		for _, p := range c.Seen[i].Positions {
			b = append(b, ',')
			num(int64(p))
		}
	})
	list("published", len(c.Published), func(i int) {
		num(int64(c.Published[i].PollID))
		b = append(b, ',')
		num(int64(c.Published[i].Position))
	})
	if len(c.Replayed) > 0 {
		replayed, err := json.Marshal(c.Replayed)
		if err != nil {
			return nil, fmt.Errorf("outbox row: %w", err)
		}
		b = append(append(b, `,"replayed":`...), replayed...)
	}
	return append(b, '}'), nil
}

// UnmarshalBinary reads what [Changes.AppendBinary] wrote. It refuses anything
// else with an error and never panics.
func (c *Changes) UnmarshalBinary(data []byte) error {
	var raw struct {
		At        *int64    `json:"at"`
		Votes     [][]int64 `json:"votes"`
		Skips     [][]int64 `json:"skips"`
		Seen      [][]int64 `json:"seen"`
		Published [][]int64 `json:"published"`
		Replayed  []Event   `json:"replayed"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return fmt.Errorf("outbox row: %w", err)
	}
	if raw.At == nil {
		return fmt.Errorf("outbox row: no time")
	}
	at := time.UnixMilli(*raw.At).UTC()
	if y := at.Year(); y < 0 || y > 9999 {
		return fmt.Errorf("outbox row: a time that no event can carry")
	}
	short := func(name string) error { return fmt.Errorf("outbox row: malformed %s", name) }
	*c = Changes{At: at}
	for _, v := range raw.Votes {
		if len(v) != 3 || v[1] < 0 || v[1] >= MaxOptions {
			return short("votes")
		}
		c.Votes = append(c.Votes, VoteCast{PollID: PollID(v[0]), OptionIndex: int(v[1]), Version: v[2]})
	}
	for _, v := range raw.Skips {
		if len(v) != 2 {
			return short("skips")
		}
		c.Skips = append(c.Skips, VoteSkipped{PollID: PollID(v[0]), Version: v[1]})
	}
	for _, v := range raw.Seen {
		if len(v) < 2 {
			return short("seen")
		}
		u := UserSeen{UserID: UserID(v[0]), Version: v[1]}
		for _, p := range v[2:] {
			if p < 0 || p > int64(^Position(0)) {
				return short("seen")
			}
			u.Positions = append(u.Positions, Position(p))
		}
		c.Seen = append(c.Seen, u)
	}
	for _, v := range raw.Published {
		if len(v) != 2 || v[1] < 0 || v[1] > int64(^Position(0)) {
			return short("published")
		}
		c.Published = append(c.Published, PollPublished{PollID: PollID(v[0]), Position: Position(v[1])}) //nolint:gosec // in range, checked above
	}
	for _, e := range raw.Replayed {
		// As it will be written: without the spaces that it may have come with.
		data, err := json.Marshal(e.Data)
		if err != nil || e.ID == "" || e.Type == "" || len(e.Data) == 0 {
			return short("replayed")
		}
		e.Data = data
		c.Replayed = append(c.Replayed, e)
	}
	return nil
}

// Events returns the events of outbox row id, numbered in a fixed order, and
// those that are replayed.
func (c Changes) Events(id int64) []Event {
	events := make([]Event, 0, c.Len())
	add := func(kind, subject string, data any) {
		raw, err := json.Marshal(data)
		if err != nil {
			panic(err) // structs of integers always encode
		}
		events = append(events, Event{
			SpecVersion: "1.0", ID: fmt.Sprintf("%d-%d", id, len(events)), Source: EventSource,
			Type: kind, Time: c.At, Subject: subject, DataContentType: "application/json", Data: raw,
		})
	}
	poll := func(id PollID) string { return "poll/" + strconv.FormatInt(int64(id), 10) }
	for _, v := range c.Votes {
		add(EventVoteCast, poll(v.PollID), v)
	}
	for _, v := range c.Skips {
		add(EventVoteSkipped, poll(v.PollID), v)
	}
	for _, v := range c.Seen {
		add(EventUserSeen, "user/"+strconv.FormatInt(int64(v.UserID), 10), v)
	}
	for _, v := range c.Published {
		add(EventPollPublished, poll(v.PollID), v)
	}
	return append(events, c.Replayed...)
}
