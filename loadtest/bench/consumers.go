package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"vote/internal/domain"
	"vote/internal/events"
	"vote/internal/voting"
)

// measureConsumers compares voting beside the relay and every consumer with
// voting alone, on the same database, and how fast the outbox empties afterwards.
// It is emptied after each run, so that none works off what another left.
func measureConsumers(ctx context.Context, s settings) (err error) {
	store, err := s.ground.open(ctx, "consumers")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	p := &pairs{}
	if p.users, err = seedUsers(ctx, store, 10_007); err != nil {
		return err
	}
	if p.polls, err = seedPolls(ctx, store, p.users[0], 2000, twoTags); err != nil {
		return err
	}
	fmt.Printf("(d) voting on %-40sbeside the consumers                 | alone\n", s.ground.title())
	for _, callers := range []int{1, 64, 256} {
		left := 0
		vote := func(wake func()) (f figures, err error) {
			votes := voting.New(voting.Config{Store: store, Shards: s.ground.shards(), OnCommit: func(domain.Outcome) { wake() }})
			running, stop := context.WithCancel(ctx)
			var g errgroup.Group
			g.Go(func() error { return votes.Run(running) })
			f, err = callersLoop(callers, s.duration, func() error {
				user, poll, ok := p.take()
				if !ok {
					return errExhausted
				}
				_, err := votes.Cast(ctx, domain.Interaction{User: user, Poll: poll, Option: int(user) % 2})
				return err
			})
			stop()
			return f, errors.Join(err, g.Wait())
		}
		medians, err := alternate(s.runs,
			&side{run: func() (f figures, err error) {
				err = consume(ctx, s, store, func(wake func()) error {
					if f, err = vote(wake); err != nil {
						return err
					}
					return emptied(ctx, store)
				})
				return f, err
			}},
			&side{run: func() (figures, error) {
				f, err := vote(func() {})
				left = f.requests
				return f, err
			}},
			&side{run: func() (f figures, err error) {
				err = consume(ctx, s, store, func(wake func()) error {
					began := time.Now()
					wake()
					err := emptied(ctx, store)
					f.perSecond = float64(left) / time.Since(began).Seconds()
					return err
				})
				return f, err
			}})
		if err != nil {
			return err
		}
		row(fmt.Sprintf("    %d callers", callers), medians[0], medians[1])
		row("    their events published, consumers at work", medians[2], medians[1])
	}
	fmt.Println()
	return nil
}

// consume runs the relay and the consumers while the function runs.
func consume(ctx context.Context, s settings, store domain.Store, during func(wake func()) error) error {
	bus, err := s.ground.bus("consumers", store)
	if err != nil {
		return err
	}
	events.SubscribeFeedUpdates(bus, false)
	events.SubscribeFeedInvalidation(bus, func(context.Context, []domain.UserID, []domain.PollID) error { return nil })
	events.SubscribeProcessing(bus)
	events.SubscribeAnalytics(bus, store)
	events.SubscribeNotifications(bus, store)
	relay := events.NewRelay(events.Config{Store: store, Bus: bus})
	running, stop := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return bus.Run(running) })
	g.Go(func() error { return relay.Run(running) })
	err = during(relay.Wake)
	stop()
	return errors.Join(err, g.Wait())
}

// emptied returns when the outbox is empty.
func emptied(ctx context.Context, store domain.Store) error {
	for {
		rows, _, err := store.OutboxLag(ctx)
		if err != nil || rows == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}
