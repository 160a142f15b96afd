package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"vote/internal/domain"
	"vote/internal/engine/memory"
	"vote/internal/engine/sqlite"
	"vote/internal/events"
	"vote/internal/voting"
)

// measureConsumers compares voting beside the relay and every consumer with
// voting alone, on the same database. Before each run the outbox is emptied, so
// that no run works off what another left.
func measureConsumers(ctx context.Context, s settings) (err error) {
	store, err := sqlite.Open(ctx, sqlite.Options{
		Path: filepath.Join(s.folder, "consumers", "vote.db"), Clock: domain.SystemClock{}, AutoMigrate: true,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	p := &pairs{}
	if p.users, err = seedUsers(ctx, store, 10_007); err != nil {
		return err
	}
	if p.polls, err = seedPolls(ctx, store, p.users[0], 1000, twoTags); err != nil {
		return err
	}
	cast := func(votes *voting.Voting) func() error {
		return func() error {
			user, poll, ok := p.take()
			if !ok {
				return errExhausted
			}
			_, err := votes.Cast(ctx, domain.Interaction{User: user, Poll: poll, Option: int(user) % 2})
			return err
		}
	}
	fmt.Println("(d) voting on SQLite                                  beside the consumers                 | alone")
	for _, callers := range []int{1, 64, 256} {
		var beside, alone []figures
		for range s.runs {
			for _, consumers := range []bool{true, false} {
				if err := consume(ctx, store, nil, func() error { return emptied(ctx, store) }); err != nil {
					return err
				}
				var f figures
				vote := func(wake func()) error {
					votes := voting.New(voting.Config{Store: store, OnCommit: func(domain.Outcome) { wake() }})
					running, stop := context.WithCancel(ctx)
					var g errgroup.Group
					g.Go(func() error { return votes.Run(running) })
					var err error
					f, err = callersLoop(callers, s.duration, cast(votes))
					stop()
					return errors.Join(err, g.Wait())
				}
				if consumers {
					err = consume(ctx, store, vote, nil)
					beside = append(beside, f)
				} else {
					err = vote(func() {})
					alone = append(alone, f)
				}
				if err != nil {
					return err
				}
			}
		}
		row(fmt.Sprintf("    %d callers", callers), median(beside), median(alone))
	}
	fmt.Println()
	return nil
}

// consume runs the relay and the consumers while one of the functions runs.
func consume(ctx context.Context, store domain.Store, during func(wake func()) error, until func() error) error {
	bus := memory.NewBus(memory.BusOptions{DeadLetter: store.AddDeadLetter})
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
	var err error
	if during != nil {
		err = during(relay.Wake)
	} else {
		err = until()
	}
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
