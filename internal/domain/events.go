package domain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Types of the events that leave the outbox. Each is also its routing key.
const (
	EventVoteCast      = "vote.cast"
	EventVoteSkipped   = "vote.skipped"
	EventPollPublished = "poll.published"
	EventUserSeen      = "user.seen"
	// EventVoteProcessed follows each of the first two once they were taken in.
	EventVoteProcessed = "vote.processed"
	// EventFeedChanged follows each of the two about feeds.
	EventFeedChanged = "feed.changed"
)

// Types of the events that an instance tells of itself. They come from no outbox.
const (
	EventMetricsReported = "metrics.reported"
	EventHealthChanged   = "health.changed"
	EventBreakerTripped  = "breaker.tripped"
)

// EventMalformedRow is the type of the event as which an outbox row is kept that
// could not be read, or a message of a queue. Its data holds what it was. It is
// only ever a dead letter.
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

// EventID names one event: an outbox row and the event's number in it.
type EventID struct {
	Row    int64
	Number int
}

// ParseEventID reads the id of an event.
func ParseEventID(s string) (EventID, bool) {
	row, number, ok := strings.Cut(s, "-")
	r, err := strconv.ParseInt(row, 10, 64)
	n, err2 := strconv.ParseInt(number, 10, 32)
	id := EventID{Row: r, Number: int(n)}
	// One form for each id: what is parsed is compared.
	return id, ok && err == nil && err2 == nil && r >= 0 && n >= 0 && id.String() == s
}

// String returns the id as events carry it.
func (id EventID) String() string {
	b := strconv.AppendInt(make([]byte, 0, 24), id.Row, 10)
	return string(strconv.AppendInt(append(b, '-'), int64(id.Number), 10))
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

// VoteProcessed is the data of [EventVoteProcessed], which has the id of the
// event that it follows.
type VoteProcessed struct {
	PollID PollID `json:"pollId"`
	// OptionIndex is absent for a skip.
	OptionIndex *int  `json:"optionIndex,omitempty"`
	Version     int64 `json:"version"`
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

// FeedChanged is the data of [EventFeedChanged], which has the id of the event
// that it follows. It names the user whose feed changed, or the poll that is new
// in every feed.
type FeedChanged struct {
	UserID UserID `json:"userId,omitempty"`
	PollID PollID `json:"pollId,omitempty"`
}

// MetricsReported is the data of [EventMetricsReported].
type MetricsReported struct {
	Instance string             `json:"instance"`
	Numbers  map[string]float64 `json:"numbers"`
}

// HealthChanged is the data of [EventHealthChanged].
type HealthChanged struct {
	Instance string `json:"instance"`
	// Component is what it depends on, such as the cache.
	Component string `json:"component"`
	Healthy   bool   `json:"healthy"`
	Reason    string `json:"reason,omitempty"`
}

// BreakerTripped is the data of [EventBreakerTripped].
type BreakerTripped struct {
	Instance string `json:"instance"`
	Breaker  string `json:"breaker"`
	Reason   string `json:"reason,omitempty"`
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
	r := rowReader{rest: data}
	r.take(`{"at":`)
	at := time.UnixMilli(r.number()).UTC()
	read := Changes{At: at}
	r.list("votes", func() {
		v := VoteCast{PollID: PollID(r.number())}
		v.OptionIndex = int(r.next(0, MaxOptions-1))
		v.Version = r.next(math.MinInt64, math.MaxInt64)
		read.Votes = append(read.Votes, v)
	})
	r.list("skips", func() {
		v := VoteSkipped{PollID: PollID(r.number())}
		v.Version = r.next(math.MinInt64, math.MaxInt64)
		read.Skips = append(read.Skips, v)
	})
	r.list("seen", func() {
		u := UserSeen{UserID: UserID(r.number())}
		u.Version = r.next(math.MinInt64, math.MaxInt64)
		for r.begins(",") {
			u.Positions = append(u.Positions, Position(r.next(0, math.MaxUint32))) //nolint:gosec // in range
		}
		read.Seen = append(read.Seen, u)
	})
	r.list("published", func() {
		p := PollPublished{PollID: PollID(r.number())}
		p.Position = Position(r.next(0, math.MaxUint32)) //nolint:gosec // in range
		read.Published = append(read.Published, p)
	})
	read.Replayed = r.replayed()
	r.take("}")
	switch y := at.Year(); {
	case r.wrong || len(r.rest) > 0:
		return fmt.Errorf("outbox row: malformed at byte %d", len(data)-len(r.rest))
	case y < 0 || y > 9999:
		return fmt.Errorf("outbox row: a time that no event can carry")
	}
	*c = read
	return nil
}

// rowReader reads an outbox row, of which there is one for every batch, without
// the cost of reading any JSON. Once something is wrong, it reads nothing more.
type rowReader struct {
	rest  []byte
	wrong bool
}

func (r *rowReader) begins(text string) bool {
	return !r.wrong && len(r.rest) >= len(text) && string(r.rest[:len(text)]) == text
}

func (r *rowReader) take(text string) {
	if !r.begins(text) {
		r.wrong = true
		return
	}
	r.rest = r.rest[len(text):]
}

// list reads a list of arrays, if it is there.
func (r *rowReader) list(name string, item func()) {
	name = `,"` + name + `":[`
	if !r.begins(name) {
		return
	}
	r.take(name)
	for {
		r.take("[")
		item()
		r.take("]")
		if !r.begins(",") {
			break
		}
		r.take(",")
	}
	r.take("]")
}

// replayed reads the list of whole events that may end a row.
func (r *rowReader) replayed() []Event {
	const name, end = `,"replayed":`, "}"
	if !r.begins(name) {
		return nil
	}
	r.take(name)
	list, ok := bytes.CutSuffix(r.rest, []byte(end))
	var events []Event
	if r.wrong = !ok || json.Unmarshal(list, &events) != nil || len(events) == 0; r.wrong {
		return nil
	}
	for i, e := range events {
		// As it will be written: without the spaces that it may have come with.
		data, err := json.Marshal(e.Data)
		if err != nil || e.ID == "" || e.Type == "" || len(e.Data) == 0 {
			r.wrong = true
			return nil
		}
		events[i].Data = data
	}
	r.rest = r.rest[len(list):]
	return events
}

// next reads a comma and a number from least to most.
func (r *rowReader) next(least, most int64) int64 {
	r.take(",")
	n := r.number()
	r.wrong = r.wrong || n < least || n > most
	if r.wrong {
		return 0
	}
	return n
}

func (r *rowReader) number() int64 {
	if r.wrong {
		return 0
	}
	end := 0
	for end < len(r.rest) && end < 20 && (r.rest[end] == '-' || r.rest[end] >= '0' && r.rest[end] <= '9') {
		end++
	}
	digits := r.rest[:end]
	n, err := strconv.ParseInt(string(digits), 10, 64)
	var again [20]byte
	if err != nil || string(strconv.AppendInt(again[:0], n, 10)) != string(digits) {
		r.wrong = true
		return 0
	}
	r.rest = r.rest[end:]
	return n
}

// Events returns the events of outbox row id, numbered in a fixed order, and
// those that are replayed.
func (c Changes) Events(id int64) []Event {
	events := make([]Event, 0, c.Len())
	// Data is written by hand, one piece of memory for all: there is an event
	// for every vote.
	b := make([]byte, 0, 64*c.Len())
	field := func(name string, n int64) {
		b = append(b, name...)
		b = strconv.AppendInt(b, n, 10)
	}
	add := func(kind, subject string, number, from int) {
		events = append(events, Event{
			SpecVersion: "1.0", ID: EventID{id, len(events)}.String(), Source: EventSource,
			Type: kind, Time: c.At, Subject: subject + strconv.Itoa(number),
			DataContentType: "application/json", Data: json.RawMessage(b[from:len(b):len(b)]),
		})
	}
	for _, v := range c.Votes {
		from := len(b)
		field(`{"pollId":`, int64(v.PollID))
		field(`,"optionIndex":`, int64(v.OptionIndex))
		field(`,"version":`, v.Version)
		b = append(b, '}')
		add(EventVoteCast, pollSubject, int(v.PollID), from)
	}
	for _, v := range c.Skips {
		from := len(b)
		field(`{"pollId":`, int64(v.PollID))
		field(`,"version":`, v.Version)
		b = append(b, '}')
		add(EventVoteSkipped, pollSubject, int(v.PollID), from)
	}
	for _, v := range c.Seen {
		from := len(b)
		field(`{"userId":`, int64(v.UserID))
		field(`,"version":`, v.Version)
		b = append(b, `,"positions":[`...)
		for i, p := range v.Positions {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendUint(b, uint64(p), 10)
		}
		b = append(b, `]}`...)
		add(EventUserSeen, "user/", int(v.UserID), from)
	}
	for _, v := range c.Published {
		from := len(b)
		field(`{"pollId":`, int64(v.PollID))
		field(`,"position":`, int64(v.Position))
		b = append(b, '}')
		add(EventPollPublished, pollSubject, int(v.PollID), from)
	}
	return append(events, c.Replayed...)
}

const pollSubject = "poll/"

// ReadVoteProcessed reads the data of a vote or skip as [Changes.Events] writes
// it, many times quicker than encoding/json, which reads every other form of it.
func ReadVoteProcessed(data []byte) (v VoteProcessed, ok bool) {
	r := rowReader{rest: data}
	r.take(`{"pollId":`)
	v.PollID = PollID(r.number())
	const choice = `,"optionIndex":`
	if r.begins(choice) {
		r.take(choice)
		option := int(r.number())
		v.OptionIndex = &option
	}
	r.take(`,"version":`)
	v.Version = r.number()
	r.take(`}`)
	if r.wrong || len(r.rest) > 0 {
		return VoteProcessed{}, false
	}
	return v, true
}
