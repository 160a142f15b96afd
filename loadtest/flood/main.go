// Flood attacks a server of its own with floods that take from others what they
// can, one after the other, and prints what a well-behaved user noticed: times
// before, during and after, and what memory and descriptors the server took.
//
// The server is a process of its own with default limits; all addresses are of
// the loopback network: people come from 127.0.1.0/24, attackers from
// 127.0.2.0/24. Linux only, since it reads /proc.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"vote/loadtest/process"
)

func main() {
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "flood:", err)
		os.Exit(1)
	}
}

func start() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		return process.Serve(ctx, os.Args[2])
	}
	s := settings{}
	flag.DurationVar(&s.calm, "calm", 4*time.Second, "how long is measured before and after each flood")
	flag.DurationVar(&s.flood, "flood", 8*time.Second, "how long a flood lasts")
	flag.IntVar(&s.addresses, "addresses", 4, "how many addresses attack")
	flag.IntVar(&s.connections, "connections", 1200, "connections that each attacking address keeps trying to hold open, where that is the attack")
	only := flag.String("only", "", "comma-separated names of floods; empty means all")
	flag.Parse()
	return run(ctx, s, strings.FieldsFunc(*only, func(r rune) bool { return r == ',' }))
}

// settings are how hard and how long it is measured.
type settings struct {
	calm, flood            time.Duration
	addresses, connections int
}

func run(ctx context.Context, s settings, only []string) (err error) {
	folder, err := os.MkdirTemp("", "flood")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	data := filepath.Join(folder, "vote.db")
	people, err := prepare(ctx, data)
	if err != nil {
		return err
	}
	fmt.Printf("%d attacking addresses, up to %d connections each; times in ms, memory in MiB\n\n", s.addresses, s.connections)
	fmt.Println("| flood | sent | refused | RSS before | peak | after | files peak | p50/p99 before | during | after | sign-in p99 before | during | after | failed before | during | after |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, f := range floods {
		if len(only) > 0 && !slices.Contains(only, f.name) {
			continue
		}
		if err := measure(ctx, s, data, people, f); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// measure runs one flood against a server that was just started.
func measure(ctx context.Context, s settings, data string, people []person, f flood) error {
	p, err := process.Start(data, f.environment...)
	if err != nil {
		return err
	}
	defer p.End()
	w := watch(ctx, p, people)
	phase := func(d time.Duration) sight {
		w.begin()
		sleep(ctx, d)
		return w.end()
	}
	sleep(ctx, time.Second) // connections are opened, caches filled
	before := phase(s.calm)
	attacking, cease := context.WithCancel(ctx)
	a := begin(attacking, s, p.Address, f)
	during := phase(s.flood)
	cease()
	sent, refused := a.wait()
	sleep(ctx, 2*time.Second)
	after := phase(s.calm)
	if err := w.stop(); err != nil {
		return err
	}
	fmt.Printf("| %s | %d | %d | %.0f | %.0f | %.0f | %d | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", f.name, sent, refused,
		before.rss, during.peak, after.rss, during.files, before.times(), during.times(), after.times(),
		ms(before.signIn), ms(during.signIn), ms(after.signIn), before.failures(), during.failures(), after.failures())
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
