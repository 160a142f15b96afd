// Streams opens thousands of live streams of one poll on a server of its own and
// votes on that poll meanwhile: how long a vote takes to the clients, how many
// events each is sent, what a stream costs in memory, and what all of them cost
// the votes.
//
// The server is a process of its own, with its limits raised; the clients come
// from several addresses of the loopback network. Linux only, since it reads
// /proc.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"vote/internal/domain"
	"vote/loadtest/process"
)

func main() {
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "streams:", err)
		os.Exit(1)
	}
}

func start() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		return process.Serve(ctx, os.Args[2])
	}
	var s settings
	flag.IntVar(&s.streams, "streams", 10_000, "streams that are open")
	flag.IntVar(&s.addresses, "addresses", 8, "addresses that they come from")
	flag.IntVar(&s.rate, "rate", 2000, "votes a second on the poll watched, while delivery is measured")
	flag.IntVar(&s.callers, "callers", 64, "connections that vote")
	flag.IntVar(&s.voters, "voters", 150_000, "accounts, each of which votes once on a poll: a measurement ends when all have")
	flag.IntVar(&s.rounds, "rounds", 5, "how often the most votes are measured with the streams and without, in turn")
	flag.DurationVar(&s.time, "time", 5*time.Second, "how long each measurement takes")
	flag.Parse()
	return run(ctx, s)
}

type settings struct {
	streams, addresses, rate, callers, voters, rounds int
	time                                              time.Duration
}

func run(ctx context.Context, s settings) (err error) {
	folder, err := os.MkdirTemp("", "streams")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	data := filepath.Join(folder, "vote.db")
	users, polls, err := seed(ctx, data, s.voters, 1+2*s.rounds)
	if err != nil {
		return err
	}
	server, err := process.Start(data, raised...)
	if err != nil {
		return err
	}
	defer server.End()
	if err := ready(ctx, server); err != nil {
		return err
	}
	m := &measurement{settings: s, server: server, users: users}
	if err := m.delivery(ctx, polls[0]); err != nil {
		return err
	}
	// In turn, since both get slower as the tables grow, and the machine changes.
	var ratios []float64
	for round := range s.rounds {
		ratio, err := m.most(ctx, polls[1+2*round], polls[2+2*round])
		if err != nil {
			return err
		}
		ratios = append(ratios, ratio)
	}
	if slices.Sort(ratios); s.rounds > 0 {
		fmt.Printf("votes at most, with streams against without: median %.2f, %.2f to %.2f\n", ratios[s.rounds/2], ratios[0], ratios[s.rounds-1])
	}
	return nil
}

type measurement struct {
	settings
	server *process.Process
	users  []domain.UserID
}

// watch opens the streams of a poll.
func (m *measurement) watch(ctx context.Context, poll domain.PollID) (*audience, error) {
	a := newAudience(len(m.users))
	for i := range m.streams {
		if err := a.open(ctx, m.server.Address, fmt.Sprintf("127.0.3.%d", 1+i%m.addresses), poll); err != nil {
			return nil, errors.Join(fmt.Errorf("stream %d: %w", i, err), a.leave())
		}
	}
	time.Sleep(2 * time.Second) // all have their first state
	return a, nil
}

// delivery measures what streams cost in memory, and how votes at a steady rate
// reach them. The server must have done nothing yet, so that it has no memory
// left over for them.
func (m *measurement) delivery(ctx context.Context, poll domain.PollID) error {
	idle := m.server.RSS()
	a, err := m.watch(ctx, poll)
	if err != nil {
		return err
	}
	full := m.server.RSS()
	each := func(rss float64) float64 { return (rss - idle) * 1024 / float64(m.streams) }
	fmt.Printf("%d streams: %.1f KiB of resident memory each (%.0f to %.0f MiB), %d files open\n",
		m.streams, each(full), idle, full, m.server.Files())

	b := &ballot{server: m.server, poll: poll, users: m.users, answered: a.answered}
	used := m.use()
	a.begin()
	voted, err := b.openLoop(ctx, m.callers, m.rate, m.time)
	a.end()
	server, client := used()
	full = m.server.RSS()
	time.Sleep(2 * time.Second) // all have the last state
	if err := errors.Join(err, a.leave()); err != nil {
		return err
	}
	f := a.figures()
	fmt.Printf("%.0f votes/s on the poll watched, each answered, from when it was due, after %v\n", voted, b.took)
	fmt.Printf("delivered, from the answer, after %v\n", f.fromAnswer)
	fmt.Printf("delivered, from when the vote was due, after %v\n", f.fromDue)
	fmt.Printf("%.2f events/s and stream, of one at most %.2f; processors used: %.2f by the server, %.2f by the clients; then %.1f KiB a stream\n",
		f.perStream, f.mostOfOne, server, client, each(full))
	return nil
}

// most measures how many votes the server takes while a poll is watched, and
// while none is, and returns the ratio.
func (m *measurement) most(ctx context.Context, watched, alone domain.PollID) (float64, error) {
	closedLoop := func(poll domain.PollID) (rate, server, client float64, err error) {
		b := &ballot{server: m.server, poll: poll, users: m.users}
		used := m.use()
		rate, err = b.closedLoop(ctx, m.callers, m.time)
		server, client = used()
		return rate, server, client, err
	}
	a, err := m.watch(ctx, watched)
	if err != nil {
		return 0, err
	}
	a.begin()
	during, server, client, err := closedLoop(watched)
	a.end()
	if err := errors.Join(err, a.leave()); err != nil {
		return 0, err
	}
	fmt.Printf("votes at most: %.0f/s with %d streams (%.2f events/s and stream; processors used: %.2f by the server, %.2f by the clients)",
		during, m.streams, a.figures().perStream, server, client)
	time.Sleep(2 * time.Second) // the server has ended them
	before, server, client, err := closedLoop(alone)
	if err != nil {
		return 0, err
	}
	fmt.Printf(", %.0f/s without (%.2f, %.2f): %.2f\n", before, server, client, during/before)
	return during / before, nil
}

// use begins to measure how many processors the server and this process use.
func (m *measurement) use() (end func() (server, client float64)) {
	at, server, client := time.Now(), m.server.CPU(), process.OwnCPU()
	return func() (float64, float64) {
		elapsed := time.Since(at)
		return (m.server.CPU() - server).Seconds() / elapsed.Seconds(), (process.OwnCPU() - client).Seconds() / elapsed.Seconds()
	}
}

// ready waits until the server takes requests.
func ready(ctx context.Context, server *process.Process) error {
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+server.Address+"/readyz", http.NoBody)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		if err := answer.Body.Close(); err != nil {
			return err
		}
		if answer.StatusCode == http.StatusOK {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
}
