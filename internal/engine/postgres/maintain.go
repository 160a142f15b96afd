package postgres

import (
	"context"
	"time"

	"vote/internal/domain"
)

const (
	// monthsAhead is for how many months after the current one there are
	// partitions.
	monthsAhead = 2
	// maintainEvery is how often it is looked for missing ones.
	maintainEvery = time.Hour
)

// Maintain makes the partitions of the current month and of those to come. A poll
// of a month without any makes them itself, so this only saves it the wait.
func (s *Store) Maintain(ctx context.Context) error {
	now, err := s.now(ctx, opMaintain)
	if err != nil {
		return err
	}
	var months []domain.Month
	for m := domain.MonthOf(now); m <= domain.MonthOf(now)+monthsAhead; m++ {
		months = append(months, m)
	}
	return s.makePartitions(ctx, opMaintain, months...)
}

// Run does what the Store needs done in the background until ctx ends: it calls
// Maintain, and sees which replicas may be read. The Store works without it, more
// slowly.
func (s *Store) Run(ctx context.Context) error {
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		s.followReplicas(ctx)
	}()
	defer func() { <-followed }()
	ticker := time.NewTicker(maintainEvery)
	defer ticker.Stop()
	for {
		if err := s.Maintain(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "partitions could not be made ahead", "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}
