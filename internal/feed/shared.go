package feed

import (
	"context"
	"errors"
	"sync"
	"time"

	"vote/internal/domain"
)

const (
	// maxWaiting bounds the keys of one shared query.
	maxWaiting = 8192
	// queryLimit bounds the time of one query made for many.
	queryLimit = 5 * time.Second
)

// shared answers look-ups by key with one query at a time. Callers that come
// while a query is under way share the next one: an answer is never older than
// the call, and the store sees one query for dozens of callers.
type shared[K comparable, V any] struct {
	fetch func(ctx context.Context, keys []K) (map[K]V, error)
	wake  chan struct{}

	mu     sync.Mutex
	next   *round[K, V] // gathering; nil when nobody waits
	closed bool
}

type round[K comparable, V any] struct {
	keys map[K]struct{}
	done chan struct{}
	// Set before done is closed.
	found map[K]V
	err   error
}

func newShared[K comparable, V any](fetch func(context.Context, []K) (map[K]V, error)) *shared[K, V] {
	return &shared[K, V]{fetch: fetch, wake: make(chan struct{}, 1)}
}

// get returns what a query that begins after the call finds for the keys, among
// what it finds for others. Errors: overloaded, unavailable, those of fetch.
func (s *shared[K, V]) get(ctx context.Context, keys ...K) (map[K]V, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errStopped
	}
	if s.next == nil {
		s.next = &round[K, V]{keys: make(map[K]struct{}), done: make(chan struct{})}
	}
	r := s.next
	if len(r.keys)+len(keys) > maxWaiting {
		s.mu.Unlock()
		return nil, domain.E(domain.CodeOverloaded, "Too many requests are waiting for storage.")
	}
	for _, k := range keys {
		r.keys[k] = struct{}{}
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	select {
	case <-r.done:
		return r.found, r.err
	case <-ctx.Done():
		return nil, domain.Fault(domain.CodeUnavailable, ctx.Err())
	}
}

var errStopped = domain.E(domain.CodeUnavailable, "The feed has stopped.")

// run makes the queries until ctx ends. Those who wait then are told.
func (s *shared[K, V]) run(ctx context.Context) {
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			s.mu.Lock()
			s.closed = true
			if s.next != nil {
				s.next.err = errStopped
				close(s.next.done)
				s.next = nil
			}
			s.mu.Unlock()
			return
		}
		s.mu.Lock()
		r := s.next
		s.next = nil
		s.mu.Unlock()
		if r != nil {
			s.answer(ctx, r)
		}
	}
}

func (s *shared[K, V]) answer(ctx context.Context, r *round[K, V]) {
	defer close(r.done)
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	keys := make([]K, 0, len(r.keys))
	for k := range r.keys {
		keys = append(keys, k)
	}
	r.found, r.err = s.fetch(ctx, keys)
	r.err = fault(r.err)
}

// fault gives an error without a code one.
func fault(err error) error {
	var coded *domain.Error
	if err == nil || errors.As(err, &coded) {
		return err
	}
	return domain.Fault(domain.CodeUnavailable, err)
}
