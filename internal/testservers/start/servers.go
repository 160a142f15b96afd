//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"vote/internal/testservers"
	"vote/internal/testservers/local"
)

// server is one that tests need.
type server struct {
	name      string   // as in the package local
	variables []string // that say where it is
	// answers asks whether it is where the variables say.
	answers func(ctx context.Context, get func(string) string) error
	// start starts it from Debian packages and returns the variables' values.
	start func(context.Context, *servers) ([]string, error)
}

// PgBouncer stands behind the server that it needs.
var all = []server{
	{
		"Postgres", []string{testservers.PostgresURL},
		func(ctx context.Context, get func(string) string) error {
			return local.Answers(ctx, get(testservers.PostgresURL))
		},
		func(ctx context.Context, s *servers) ([]string, error) {
			var settings []string
			if s.fsync {
				settings = append(settings, "fsync=on", "shared_buffers=1GB", "max_wal_size=4GB")
			}
			p, err := local.StartPostgres(ctx, settings...)
			if err != nil {
				return nil, err
			}
			s.closeAtEnd(p)
			return []string{p.URL()}, nil
		},
	},
	{
		"PgBouncer", []string{testservers.PgBouncerURL},
		func(ctx context.Context, get func(string) string) error {
			return local.Same(ctx, get(testservers.PostgresURL), get(testservers.PgBouncerURL))
		},
		func(ctx context.Context, s *servers) ([]string, error) {
			b, err := local.StartPgBouncer(ctx, s.get(testservers.PostgresURL))
			if err != nil {
				return nil, err
			}
			s.closeAtEnd(b)
			return []string{b.URL()}, nil
		},
	},
	{
		"Redis", []string{testservers.RedisAddress},
		func(ctx context.Context, get func(string) string) error {
			return local.Pongs(ctx, get(testservers.RedisAddress))
		},
		func(ctx context.Context, s *servers) ([]string, error) {
			r, err := local.StartRedis(ctx)
			if err != nil {
				return nil, err
			}
			s.closeAtEnd(r)
			return []string{r.Address()}, nil
		},
	},
	{
		"Sentinels", []string{testservers.SentinelAddresses, testservers.SentinelMaster},
		func(ctx context.Context, get func(string) string) error {
			for address := range strings.SplitSeq(get(testservers.SentinelAddresses), ",") {
				if err := local.Watches(ctx, address, get(testservers.SentinelMaster)); err != nil {
					return err
				}
			}
			return nil
		},
		func(ctx context.Context, s *servers) ([]string, error) {
			r, err := local.StartSentinels(ctx)
			if err != nil {
				return nil, err
			}
			s.closeAtEnd(r)
			return []string{strings.Join(r.Addresses(), ","), local.MasterName}, nil
		},
	},
	{
		"RabbitMQ", []string{testservers.RabbitMQURL, testservers.RabbitMQAPIURL},
		func(ctx context.Context, get func(string) string) error {
			return errors.Join(local.Greets(ctx, get(testservers.RabbitMQURL)), local.Manages(ctx, get(testservers.RabbitMQAPIURL)))
		},
		func(ctx context.Context, s *servers) ([]string, error) {
			r, err := local.StartRabbitMQ(ctx)
			if err != nil {
				return nil, err
			}
			s.closeAtEnd(r)
			return []string{r.URL(), r.API()}, nil
		},
	},
}

// servers are those found or started so far.
type servers struct {
	fsync   bool
	browser bool // tests in a browser are to run, too

	mu      sync.Mutex
	found   map[string]string // variable -> value
	started []running
}

// running is a server that was started.
type running interface {
	Lost() error  // tells that it has ended by itself
	Close() error // ends it
}

// find finds all servers, or starts them.
func (s *servers) find(ctx context.Context) error {
	missing, err := s.compose(ctx, s.look(ctx))
	if err != nil {
		return err
	}
	if err := install(ctx, missing, s.browser); err != nil {
		return err
	}
	// At most one needs another, and is behind it.
	var group errgroup.Group
	started := map[string]chan struct{}{}
	for _, m := range missing {
		started[m.name] = make(chan struct{})
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for _, m := range missing {
		group.Go(func() error {
			if m.name == "PgBouncer" && started["Postgres"] != nil {
				select {
				case <-started["Postgres"]:
				case <-ctx.Done():
					return nil // the cause is told
				}
			}
			began := time.Now()
			values, err := m.start(ctx, s)
			if err != nil {
				stop()
				return fmt.Errorf("%s: %w", m.name, err)
			}
			s.set(m, values)
			say("%s started in %.1f s", m.name, time.Since(began).Seconds())
			close(started[m.name])
			return nil
		})
	}
	return group.Wait()
}

// look keeps the servers that answer where the environment says, and returns
// the others.
func (s *servers) look(ctx context.Context) []server {
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	answers := make([]error, len(all))
	var group sync.WaitGroup
	for i, one := range all {
		group.Go(func() { answers[i] = one.look(ctx) })
	}
	group.Wait()
	var missing []server
	for i, one := range all {
		switch err := answers[i]; {
		case err == nil:
			say("%s is the one in the environment", one.name)
			var values []string
			for _, v := range one.variables {
				values = append(values, os.Getenv(v))
			}
			s.set(one, values)
		case errors.Is(err, errUnset):
			missing = append(missing, one)
		default:
			say("%s is not taken from the environment: %v", one.name, err)
			missing = append(missing, one)
		}
	}
	return missing
}

var errUnset = errors.New("is not set")

func (one server) look(ctx context.Context) error {
	for _, v := range one.variables {
		if os.Getenv(v) == "" {
			return fmt.Errorf("%s %w", v, errUnset)
		}
	}
	return one.answers(ctx, os.Getenv)
}

func (s *servers) set(one server, values []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, v := range one.variables {
		s.found[v] = values[i]
	}
}

func (s *servers) get(variable string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.found[variable]
}

// variables returns name=value of each.
func (s *servers) variables() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for name, value := range s.found {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

func (s *servers) closeAtEnd(r running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = append(s.started, r)
}

// close ends what was started, and tells what has ended before.
func (s *servers) close() error {
	errs := make([]error, len(s.started))
	var group sync.WaitGroup
	for i, r := range s.started {
		group.Go(func() { errs[i] = errors.Join(r.Lost(), r.Close()) })
	}
	group.Wait()
	return errors.Join(errs...)
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "test servers: "+format+"\n", args...)
}
