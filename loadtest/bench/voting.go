package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"vote/internal/domain"
	"vote/internal/voting"
)

// pairs hands out every (user, poll) pair once, users in a scattered order. When
// hot, all users come to one poll before any comes to the next.
type pairs struct {
	hot   bool
	users []domain.UserID
	polls []domain.PollID
	next  atomic.Int64
}

func (p *pairs) take() (domain.UserID, domain.PollID, bool) {
	i := int(p.next.Add(1) - 1)
	u, round := i%len(p.users), i/len(p.users)
	if round >= len(p.polls) {
		return 0, 0, false
	}
	// 7919 is prime to the number of users, so this visits each once a round.
	user := p.users[(u*7919)%len(p.users)]
	if p.hot {
		return user, p.polls[round], true
	}
	return user, p.polls[(round+u)%len(p.polls)], true
}

// measureVoting compares the batcher with one transaction per vote on the same
// engine, with the same rows written. Each number of callers has a database of
// its own, so that it does not matter in which order they come.
func measureVoting(ctx context.Context, s settings) error {
	fmt.Printf("(a) voting on %-40sbatched                              | one transaction a vote\n", s.ground.title())
	for _, callers := range []int{1, 64, 256} {
		if err := compareVoting(ctx, s, callers); err != nil {
			return err
		}
	}
	fmt.Println()
	return nil
}

func compareVoting(ctx context.Context, s settings, callers int) error {
	store, err := s.ground.open(ctx, "voting"+strconv.Itoa(callers))
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	spread, hot := &pairs{}, &pairs{hot: true}
	if spread.users, err = seedUsers(ctx, store, 10_007); err != nil {
		return err
	}
	polls, err := seedPolls(ctx, store, spread.users[0], 2000, twoTags)
	if err != nil {
		return err
	}
	spread.polls, hot.polls, hot.users = polls[:1000], polls[1000:], spread.users
	votes := voting.New(voting.Config{Store: store, Shards: s.ground.shards()})
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- votes.Run(running) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}()

	batched := func(p *pairs) func() error {
		return func() error {
			user, poll, ok := p.take()
			if !ok {
				return errExhausted
			}
			_, err := votes.Cast(ctx, domain.Interaction{User: user, Poll: poll, Option: int(user) % 2})
			return err
		}
	}
	clients, err := bestClients(ctx, s, store, spread, callers)
	if err != nil {
		return err
	}
	medians, err := alternate(s.runs,
		&side{run: func() (figures, error) { return callersLoop(callers, s.duration, batched(spread)) }},
		&side{run: func() (figures, error) { return callersLoop(clients, s.duration, single(ctx, store, spread)) }},
		&side{run: func() (figures, error) { return callersLoop(callers, s.duration, batched(hot)) }})
	if err != nil {
		return err
	}
	row(fmt.Sprintf("    %d callers, %d clients", callers, clients), medians[0], medians[1])
	row(fmt.Sprintf("    %d callers, all on one poll, and not", callers), medians[2], medians[0])
	return nil
}

// bestClients returns the number of clients with which one transaction a vote is
// fastest.
func bestClients(ctx context.Context, s settings, store domain.Store, p *pairs, callers int) (int, error) {
	tried := s.ground.singles(callers)
	best, most := tried[0], 0.0
	for _, clients := range tried {
		f, err := callersLoop(clients, min(s.duration, time.Second), single(ctx, store, p))
		if err != nil {
			return 0, err
		}
		if f.perSecond > most {
			best, most = clients, f.perSecond
		}
	}
	return best, nil
}

// single votes in a transaction of its own.
func single(ctx context.Context, store domain.Store, p *pairs) func() error {
	return func() error {
		user, poll, ok := p.take()
		if !ok {
			return errExhausted
		}
		batch := []domain.Interaction{{User: user, Poll: poll, Option: int(user) % 2}}
		out, err := store.Interact(ctx, batch, func(f []domain.Fact) []domain.Verdict { return domain.Rules{}.Judge(batch, f) })
		if err == nil && out.Verdicts[0].Code != "" {
			err = domain.E(out.Verdicts[0].Code, "")
		}
		return err
	}
}

var errExhausted = fmt.Errorf("every user has voted on every poll: shorten the runs")

// callersLoop calls f from many goroutines for d.
func callersLoop(callers int, d time.Duration, f func() error) (figures, error) {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		all   []time.Duration
		fault error
		stop  atomic.Bool
	)
	start := time.Now()
	timer := time.AfterFunc(d, func() { stop.Store(true) })
	defer timer.Stop()
	for range callers {
		wg.Go(func() {
			times := make([]time.Duration, 0, 1<<14)
			for !stop.Load() {
				sent := time.Now()
				if err := f(); err != nil {
					mu.Lock()
					fault = err
					mu.Unlock()
					stop.Store(true)
					return
				}
				times = append(times, time.Since(sent))
			}
			mu.Lock()
			all = append(all, times...)
			mu.Unlock()
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	if fault != nil {
		return figures{}, fault
	}
	slices.Sort(all)
	return figures{
		perSecond: float64(len(all)) / elapsed.Seconds(), requests: len(all),
		p50: all[len(all)/2], p99: all[len(all)*99/100],
	}, nil
}
