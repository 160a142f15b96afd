//go:build integration

package rabbitmq_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"vote/internal/domain"
	"vote/internal/engine/rabbitmq"
	"vote/internal/testservers"
)

// BenchmarkPublish is how many events a second the relay's calls publish, with
// confirms, by how many events a call has; a consumer takes them meanwhile.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{1, 100, 2000, 20_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			bus, err := rabbitmq.NewBus(rabbitmq.Options{URL: testservers.RabbitMQ(b)})
			if err != nil {
				b.Fatal(err)
			}
			bus.Subscribe("vote.processing", []string{domain.EventVoteCast}, func(context.Context, []domain.Event) error { return nil })
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- bus.Run(ctx) }()
			defer func() {
				cancel()
				if err := <-done; err != nil {
					b.Error(err)
				}
			}()
			votes := make([]domain.VoteCast, size)
			for i := range votes {
				votes[i] = domain.VoteCast{PollID: domain.PollID(1<<40 + i), OptionIndex: i % 4, Version: int64(i)}
			}
			list := domain.Changes{At: time.Now(), Votes: votes}.Events(1)
			if err := bus.Publish(ctx, list[:1]); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := bus.Publish(ctx, list); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
