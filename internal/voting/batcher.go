package voting

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vote/internal/domain"
)

// batcher gathers requests while one batch is being committed and hands them
// on as the next ("natural batching"): there is no timer, so a lone request on
// an idle server is committed at once, and under load the batches grow by
// themselves to what the store can take.
//
// Invariants:
//   - A request is answered exactly once, after its batch's outcome is known and
//     announced.
//   - Requests leave in the order in which they came. Only the goroutine of
//     [batcher.run] commits, so one batch of a batcher is under way at a time.
//   - pending never holds more than limit requests, and no request enters after
//     closed was set.
//   - A caller that stops waiting does not change what happens to its request.
type batcher[Q, R any] struct {
	// commit does a whole batch or nothing, and says which by its error.
	commit func(ctx context.Context, batch []Q) ([]R, error)
	max    int
	limit  int
	logger *slog.Logger
	sizes  prometheus.Observer
	waits  prometheus.Observer

	mu      sync.Mutex
	pending []call[Q, R]
	closed  bool
	wake    chan struct{} // holds a token while pending may be non-empty
}

type call[Q, R any] struct {
	request Q
	at      time.Time
	answer  chan<- answer[R]
	index   int
}

type answer[R any] struct {
	index  int
	result R
	err    error
}

const (
	// commitLimit bounds one attempt of a batch. It belongs to the batch, not
	// to any of its callers.
	commitLimit = 10 * time.Second
	// conflictTries is how often a batch is tried while others are in its way.
	conflictTries = 6
	// gatherTurns bounds how often the callers are let go first: it is a matter
	// of microseconds.
	gatherTurns = 16
)

func newBatcher[Q, R any](maxBatch, limit int, logger *slog.Logger, sizes, waits prometheus.Observer,
	commit func(context.Context, []Q) ([]R, error),
) *batcher[Q, R] {
	return &batcher[Q, R]{
		commit: commit, max: maxBatch, limit: limit, logger: logger, sizes: sizes, waits: waits,
		wake: make(chan struct{}, 1),
	}
}

// submit queues the requests, all or none, and waits for their answers. The
// error is set when nothing was queued, or when ctx ended before every answer
// came: then the requests happen all the same, and their outcome is unknown.
func (b *batcher[Q, R]) submit(ctx context.Context, requests ...Q) ([]answer[R], error) {
	if ctx.Err() != nil {
		return nil, domain.Fault(domain.CodeUnavailable, ctx.Err())
	}
	answers := make(chan answer[R], len(requests))
	now := time.Now()
	b.mu.Lock()
	switch {
	case b.closed:
		b.mu.Unlock()
		return nil, &domain.Error{Code: domain.CodeDraining, Detail: "The server is shutting down.", RetryAfter: time.Second}
	case len(b.pending)+len(requests) > b.limit:
		b.mu.Unlock()
		return nil, &domain.Error{Code: domain.CodeOverloaded, Detail: "Too many requests are waiting.", RetryAfter: time.Second}
	}
	for i, q := range requests {
		b.pending = append(b.pending, call[Q, R]{request: q, at: now, answer: answers, index: i})
	}
	b.mu.Unlock()
	b.signal()

	got := make([]answer[R], len(requests))
	for range requests {
		select {
		case a := <-answers:
			got[a.index] = a
		case <-ctx.Done():
			return nil, domain.Fault(domain.CodeOutcomeUnknown, ctx.Err())
		}
	}
	return got, nil
}

func (b *batcher[Q, R]) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// run commits batches until ctx ends, then refuses new requests, commits what
// is queued and returns.
func (b *batcher[Q, R]) run(ctx context.Context) {
	var batch []call[Q, R]
	last := 0
	for {
		if last > 1 {
			b.gather()
		}
		batch = b.take(batch[:0])
		last = len(batch)
		if last > 0 {
			b.settle(batch)
			clear(batch)
			continue
		}
		select {
		case <-b.wake:
		case <-ctx.Done():
			b.mu.Lock()
			b.closed = true
			done := len(b.pending) == 0
			b.mu.Unlock()
			if done {
				return
			}
		}
	}
}

// gather lets the callers of the last batch, who are about to come back with
// their next requests, run first, as long as more come: whole batches share a
// commit, where a busy server would else alternate between two halves.
func (b *batcher[Q, R]) gather() {
	for before, turns := -1, 0; turns < gatherTurns; turns++ {
		n := b.waiting()
		if n == before || n >= b.max {
			return
		}
		before = n
		runtime.Gosched()
	}
}

func (b *batcher[Q, R]) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.pending)
}

// take moves the oldest requests, at most max, into batch.
func (b *batcher[Q, R]) take(batch []call[Q, R]) []call[Q, R] {
	b.mu.Lock()
	n := min(len(b.pending), b.max)
	batch = append(batch, b.pending[:n]...)
	rest := copy(b.pending, b.pending[n:])
	clear(b.pending[rest:])
	b.pending = b.pending[:rest]
	b.mu.Unlock()
	now := time.Now()
	for i := range batch {
		b.waits.Observe(now.Sub(batch[i].at).Seconds())
	}
	return batch
}

// settle commits a batch and answers its callers. When the store says that
// nothing happened and that the same batch would fail again, some member is
// poison: the halves are tried apart, so that it fails alone.
func (b *batcher[Q, R]) settle(batch []call[Q, R]) {
	requests := make([]Q, len(batch))
	for i := range batch {
		requests[i] = batch[i].request
	}
	b.sizes.Observe(float64(len(batch)))
	results, err := b.try(requests)
	switch code := domain.CodeOf(err); {
	case err == nil:
		for i, c := range batch {
			c.answer <- answer[R]{index: c.index, result: results[i]}
		}
	case len(batch) > 1 && code != domain.CodeUnavailable && code != domain.CodeOutcomeUnknown:
		half := len(batch) / 2
		b.settle(batch[:half])
		b.settle(batch[half:])
	default:
		if code == domain.CodeConflict {
			err = &domain.Error{Code: domain.CodeUnavailable, Detail: "Storage is busy.", RetryAfter: time.Second, Cause: err}
		}
		// A poison member's error is logged where it is answered, with its
		// request; what struck the whole batch is logged once, here.
		if domain.CodeOf(err) != domain.CodeInternal {
			b.logger.Error("batch failed", "members", len(batch), "error", err)
		}
		for _, c := range batch {
			c.answer <- answer[R]{index: c.index, err: err}
		}
	}
}

// try commits the requests, again while others are in the way.
func (b *batcher[Q, R]) try(requests []Q) ([]R, error) {
	var err error
	for attempt := range conflictTries {
		if attempt > 0 {
			time.Sleep(backoff(attempt))
		}
		ctx, cancel := context.WithTimeout(context.Background(), commitLimit)
		var results []R
		results, err = b.commit(ctx, requests)
		cancel()
		if err == nil || !errors.Is(err, domain.E(domain.CodeConflict, "")) {
			return results, err
		}
	}
	return nil, err
}

// backoff is the pause before the given repetition: 2, 4, 8, ... ms, half of it
// at random, so that instances which met do not meet again.
func backoff(attempt int) time.Duration {
	full := time.Millisecond << attempt
	return full/2 + rand.N(full/2) //nolint:gosec // nobody gains by guessing it
}
