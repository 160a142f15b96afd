//go:build integration

package rabbitmq_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vote/internal/domain"
	"vote/internal/engine/enginetest"
	"vote/internal/engine/rabbitmq"
	"vote/internal/testservers"
)

// graveyard keeps dead letters as a store does: the same one once.
type graveyard struct {
	mu   sync.Mutex
	dead []domain.DeadLetter
	err  error
	// refused counts what was not kept.
	refused atomic.Int64
}

func (g *graveyard) bury(_ context.Context, d domain.DeadLetter) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		g.refused.Add(1)
		return g.err
	}
	for _, have := range g.dead {
		if have.Queue == d.Queue && have.Event.ID == d.Event.ID {
			return nil
		}
	}
	g.dead = append(g.dead, d)
	return nil
}

func (g *graveyard) all() []domain.DeadLetter {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]domain.DeadLetter(nil), g.dead...)
}

func (g *graveyard) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
}

// quick returns options of a bus that does not wait long for anything.
func quick(url string, g *graveyard) rabbitmq.Options {
	o := rabbitmq.Options{
		URL: url, ReconnectInterval: 100 * time.Millisecond,
		Delay: func(try int) time.Duration { return time.Duration(min(try, 20)) * time.Millisecond },
	}
	if g != nil {
		o.DeadLetter = g.bury
	}
	return o
}

func newBus(t *testing.T, o rabbitmq.Options) *rabbitmq.Bus {
	t.Helper()
	b, err := rabbitmq.NewBus(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBus(t *testing.T) {
	enginetest.TestBus(t, func(t *testing.T) enginetest.OpenedBus {
		g := &graveyard{}
		o := quick(testservers.RabbitMQ(t), g)
		o.MessageEvents, o.Prefetch = 50, 10
		return enginetest.OpenedBus{Bus: newBus(t, o), DeadLetters: func(*testing.T) []domain.DeadLetter { return g.all() }}
	})
}

func events(row int, types ...string) []domain.Event {
	list := make([]domain.Event, len(types))
	for i, kind := range types {
		list[i] = domain.Event{
			SpecVersion: "1.0", ID: fmt.Sprintf("%d-%d", row, i), Source: domain.EventSource, Type: kind,
			Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Subject: "poll/1",
			DataContentType: "application/json", Data: []byte(`{"pollId":1}`),
		}
	}
	return list
}
