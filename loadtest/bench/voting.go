package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"vote/internal/domain"
	"vote/internal/engine/sqlite"
	"vote/internal/voting"
)

// pairs hands out every (user, poll) pair once, users in a scattered order.
type pairs struct {
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
	return user, p.polls[(round+u)%len(p.polls)], true
}

// measureVoting compares the batcher with one transaction per vote on the same
// engine, with the same rows written. Each number of callers has a database of
// its own, so that it does not matter in which order they come.
func measureVoting(ctx context.Context, s settings) error {
	fmt.Println("(a) voting on SQLite                                  batched                              | one transaction a vote")
	for _, callers := range []int{1, 64, 256} {
		if err := compareVoting(ctx, s, callers); err != nil {
			return err
		}
	}
	fmt.Println()
	return nil
}

func compareVoting(ctx context.Context, s settings, callers int) error {
	store, err := sqlite.Open(ctx, sqlite.Options{
		Path: filepath.Join(s.folder, "voting", strconv.Itoa(callers), "vote.db"), Clock: domain.SystemClock{}, AutoMigrate: true,
	})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	p := &pairs{}
	if p.users, err = seedUsers(ctx, store, 10_007); err != nil {
		return err
	}
	if p.polls, err = seedPolls(ctx, store, p.users[0], 1000, twoTags); err != nil {
		return err
	}
	votes := voting.New(voting.Config{Store: store})
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- votes.Run(running) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}()

	batched := func() error {
		user, poll, ok := p.take()
		if !ok {
			return errExhausted
		}
		_, err := votes.Cast(ctx, domain.Interaction{User: user, Poll: poll, Option: int(user) % 2})
		return err
	}
	single := func() error {
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
	var a, b []figures
	for range s.runs {
		for _, side := range []struct {
			cast func() error
			all  *[]figures
		}{{batched, &a}, {single, &b}} {
			f, err := callersLoop(callers, s.duration, side.cast)
			if err != nil {
				return err
			}
			*side.all = append(*side.all, f)
		}
	}
	row(fmt.Sprintf("    %d callers", callers), median(a), median(b))
	return nil
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
