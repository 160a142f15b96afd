package rabbitmq

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"vote/internal/domain"
)

// ContentType is that of every message: a JSON array of CloudEvents.
const ContentType = "application/cloudevents-batch+json; charset=utf-8"

// HeaderReason is the header of a message in an error queue that says why its
// consumer gave it up. What the broker itself moved there has its x-death.
const HeaderReason = "x-vote-reason"

// maxReason is the greatest length of a reason, in bytes.
const maxReason = 2000

// message is what is to be published.
type message struct {
	exchange, key string
	reason        string // of a dead one
	contentType   string
	body          []byte
}

func (m message) publishing(id string) amqp.Publishing {
	p := amqp.Publishing{
		ContentType: m.contentType, DeliveryMode: amqp.Persistent, MessageId: id, AppId: "vote", Body: m.body,
	}
	if m.reason != "" {
		p.Headers = amqp.Table{HeaderReason: m.reason}
	}
	return p
}

// encode packs events into messages, those of a type together, so that none
// holds more than so many events and, unless one event alone does, bytes.
func encode(events []domain.Event, maxEvents, maxBytes int) ([]message, error) {
	type pack struct {
		body   []byte
		events int
	}
	var messages []message
	open := make(map[string]*pack, 4)
	closePack := func(kind string, p *pack) {
		messages = append(messages, message{
			exchange: ExchangeOf(kind), key: kind, contentType: ContentType, body: append(p.body, ']'),
		})
		delete(open, kind)
	}
	var kinds []string // in the order in which they came
	for _, e := range events {
		text, err := json.Marshal(e)
		if err != nil {
			return nil, &domain.Error{Code: domain.CodeInvalid, Detail: "an event cannot be written as JSON", Cause: err}
		}
		p := open[e.Type]
		if p != nil && len(p.body)+len(text)+2 > maxBytes {
			closePack(e.Type, p)
			p = nil
		}
		if p == nil {
			p = &pack{}
			open[e.Type] = p
			kinds = append(kinds, e.Type)
			p.body = append(p.body, '[')
		} else {
			p.body = append(p.body, ',')
		}
		p.body = append(p.body, text...)
		if p.events++; p.events == maxEvents {
			closePack(e.Type, p)
		}
	}
	for _, kind := range kinds {
		if p := open[kind]; p != nil {
			closePack(kind, p)
		}
	}
	return messages, nil
}

// decode reads the events of a message. One that cannot be handled is an error
// for all of it.
func decode(body []byte) ([]domain.Event, error) {
	var events []domain.Event
	if err := json.Unmarshal(body, &events); err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	if len(events) == 0 {
		return nil, errors.New("message: no events")
	}
	for _, e := range events {
		if e.ID == "" || e.Type == "" || len(e.Data) == 0 {
			return nil, errors.New("message: an event without id, type or data")
		}
	}
	return events, nil
}

// letters returns the dead letters that a message in the error queue of a queue
// makes. It accepts whatever lies there.
func letters(queue string, d amqp.Delivery, at time.Time) []domain.DeadLetter {
	why := reasonOf(d)
	events, err := decode(d.Body)
	if err != nil {
		return []domain.DeadLetter{wrapped(queue, d, at, text(why+": "+err.Error()))}
	}
	list := make([]domain.DeadLetter, len(events))
	for i, e := range events {
		list[i] = domain.DeadLetter{Queue: queue, Event: e, Reason: why, At: at}
	}
	return list
}

// wrapped returns a dead letter that every store can keep, of a message that
// has no events, or not such as can be kept.
func wrapped(queue string, d amqp.Delivery, at time.Time, why string) domain.DeadLetter {
	data, err := json.Marshal(struct {
		ContentType string `json:"contentType"`
		Message     []byte `json:"message"` // base64
	}{text(d.ContentType), d.Body})
	if err != nil {
		data = []byte("{}") // no such value makes it fail
	}
	return domain.DeadLetter{
		Queue: queue, Reason: why, At: at,
		Event: domain.Event{
			SpecVersion: "1.0", ID: fmt.Sprintf("%x-malformed", sha256.Sum256(d.Body)), Source: domain.EventSource,
			Type: domain.EventMalformedRow, Time: at, DataContentType: "application/json", Data: data,
		},
	}
}

// reasonOf returns why a message lies in an error queue.
func reasonOf(d amqp.Delivery) string {
	if why, ok := d.Headers[HeaderReason].(string); ok {
		return text(why)
	}
	deaths, _ := d.Headers["x-death"].([]any)
	for _, death := range deaths {
		if t, ok := death.(amqp.Table); ok {
			switch t["reason"] {
			case "expired":
				return "it was not handled within its life in the queue"
			case "delivery_limit":
				return "its consumers went away with it too often"
			case "rejected":
				return "it was rejected"
			}
		}
	}
	return "the broker does not say why"
}

// text returns a text as every store can keep it.
func text(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "")
	}
	return s
}

// one returns the body of a message of one event.
func one(e domain.Event) ([]byte, error) {
	text, err := json.Marshal(e)
	return bytes.Join([][]byte{[]byte("["), text, []byte("]")}, nil), err
}
