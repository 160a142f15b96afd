// Command bench measures Vote on the embedded engines, or with -engine postgres
// on PostgreSQL, Redis and RabbitMQ, and prints each figure beside a ceiling
// taken in the same run on the same machine, as a ratio.
//
// Absolute figures say more about the machine than about the program, so every
// comparison alternates between the two sides and reports medians. Servers run
// in processes of their own, with metrics on, logging at warn, the limiter in
// memory (its limits raised, not off) and the relay stopped, but for the section
// that measures what the relay and the consumers cost.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures, or is one of the servers that a measurement starts.
func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 3 {
		switch os.Args[1] {
		case "serve":
			return serveVote(ctx)
		case "bare":
			return serveBare(ctx, os.Args[2])
		}
	}
	return measure(ctx)
}

// settings are the flags of a measurement.
type settings struct {
	runs     int
	duration time.Duration
	polls    int
	only     string
	folder   string
	ground   ground
}

func (s settings) wants(section string) bool {
	return s.only == "" || strings.Contains(s.only, section)
}

func measure(ctx context.Context) (err error) {
	var s settings
	flag.IntVar(&s.runs, "runs", 5, "alternating runs of each side")
	flag.DurationVar(&s.duration, "duration", 3*time.Second, "length of one run")
	flag.IntVar(&s.polls, "polls", 1_000_000, "polls in the large database")
	flag.StringVar(&s.only, "only", "", "sections to run: any of a, b, c, d, e; empty for all")
	engine := flag.String("engine", "sqlite", "sqlite, or postgres with Redis and RabbitMQ")
	var a addresses
	flag.StringVar(&a.dsn, "dsn", os.Getenv("VOTE_TEST_POSTGRES_URL"), "postgres:// URL of a superuser")
	flag.StringVar(&a.redis, "redis", os.Getenv("VOTE_TEST_REDIS_ADDRESS"), "host:port of a Redis; empty keeps limits and cache in each process")
	flag.StringVar(&a.amqp, "amqp", os.Getenv("VOTE_TEST_RABBITMQ_URL"), "amqp:// URL of an administrator")
	flag.StringVar(&a.api, "amqp-api", os.Getenv("VOTE_TEST_RABBITMQ_API_URL"), "http:// URL of RabbitMQ's management, with user and password")
	flag.IntVar(&a.lanes, "lanes", 2, "batches of votes under way at once on PostgreSQL, in sections a and d")
	flag.Parse()
	folder, err := os.MkdirTemp("", "vote-bench-")
	if err != nil {
		return err
	}
	s.folder = folder
	defer func() { _ = os.RemoveAll(folder) }()
	switch *engine {
	case "sqlite":
		s.ground = embedded{folder}
	case "postgres":
		if s.ground, err = newProduction(a); err != nil {
			return err
		}
	default:
		return fmt.Errorf("-engine %s: there are sqlite and postgres", *engine)
	}
	defer func() { err = errors.Join(err, s.ground.close()) }()
	fmt.Printf("%s, %d cores, medians of %d alternating runs of %v\n\n", runtime.Version(), runtime.NumCPU(), s.runs, s.duration)
	if s.wants("a") {
		if err := measureVoting(ctx, s); err != nil {
			return fmt.Errorf("voting: %w", err)
		}
	}
	if s.wants("d") {
		if err := measureConsumers(ctx, s); err != nil {
			return fmt.Errorf("consumers: %w", err)
		}
	}
	if s.wants("b") || s.wants("c") || s.wants("e") {
		if err := measureServer(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// median returns the median of the figures' throughputs, and the figures that
// belong to it.
func median(all []figures) figures {
	slices.SortFunc(all, func(a, b figures) int {
		if a.perSecond < b.perSecond {
			return -1
		}
		return 1
	})
	return all[len(all)/2]
}

// side is one of those that are compared.
type side struct {
	run func() (figures, error)
	all []figures
}

// alternate runs the sides in turn, and returns the median of each.
func alternate(runs int, sides ...*side) ([]figures, error) {
	for range runs {
		for _, s := range sides {
			f, err := s.run()
			if err != nil {
				return nil, err
			}
			s.all = append(s.all, f)
		}
	}
	medians := make([]figures, len(sides))
	for i, s := range sides {
		medians[i] = median(s.all)
	}
	return medians, nil
}

// row prints one comparison.
func row(what string, ours, ceiling figures) {
	fmt.Printf("%-46s %9.0f/s  p50 %8v  p99 %8v | %9.0f/s | ratio %6.2f\n", what,
		ours.perSecond, ours.p50.Round(10*time.Microsecond), ours.p99.Round(10*time.Microsecond),
		ceiling.perSecond, ours.perSecond/ceiling.perSecond)
}
