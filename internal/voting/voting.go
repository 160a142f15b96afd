// Package voting takes votes, skips and new polls, and gives back verdicts. It
// gathers them into batches, since one transaction over many is what makes
// storage fast, and keeps the promises of a single one for each: a verdict is
// given only after its batch is committed, one caller's cancellation or one
// member's fault does not touch the others, and a lost commit answer is told as
// unknown, never as refused.
//
// Shared memory: the queues of the batchers (see batcher) and the set of
// idempotency keys under way, guarded by its mutex. Everything else is set by
// [New] and never changes.
package voting

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"vote/internal/domain"
)

// Config is what [New] needs. Zero numbers stand for the defaults.
type Config struct {
	Store      domain.Store
	Rules      domain.Rules
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are not exported
	// MaxBatch is how many requests one transaction takes at most; default 512.
	MaxBatch int
	// Queue is how many requests may wait per shard; default 8192. Beyond it
	// requests are refused at once as overloaded.
	Queue int
	// Shards is how many batches of interactions may be under way at once,
	// split by user; default 1, which is right for a store with one writer.
	Shards int
	// OnCommit is called after a batch of interactions was committed and before
	// any of its callers is answered. It must not block.
	OnCommit func(domain.Outcome)
	// OnPublish is the same for a batch of publications.
	OnPublish func([]domain.Publication)
}

// Result is the answer to one interaction of [Voting.CastAll].
type Result struct {
	Verdict domain.Verdict
	// Err is nil when the interaction was accepted; else a [domain.Error].
	Err error
	// Counts are the poll's counts after the batch, for an accepted vote or a
	// new skip.
	Counts domain.Counts
}

// Voting is safe for concurrent use.
type Voting struct {
	rules  domain.Rules
	shards []*batcher[domain.Interaction, decided]
	polls  *batcher[domain.NewPoll, domain.Publication]

	mu       sync.Mutex
	underWay map[idempotencyKey]struct{}
}

type idempotencyKey struct {
	user domain.UserID
	key  string
}

// decided is a verdict with what its answer needs of the batch.
type decided struct {
	verdict domain.Verdict
	counts  domain.Counts
	at      time.Time
}

// New returns a Voting whose [Voting.Run] must be running for requests to be answered.
func New(c Config) *Voting {
	if c.MaxBatch == 0 {
		c.MaxBatch = 512
	}
	if c.Queue == 0 {
		c.Queue = 8192
	}
	if c.Shards == 0 {
		c.Shards = 1
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	m := newMetrics(c.Registerer)
	v := &Voting{rules: c.Rules, underWay: make(map[idempotencyKey]struct{})}
	interact := func(ctx context.Context, batch []domain.Interaction) ([]decided, error) {
		start := time.Now()
		out, err := c.Store.Interact(ctx, batch, func(facts []domain.Fact) []domain.Verdict {
			return c.Rules.Judge(batch, facts)
		})
		m.commit.interactions.Observe(time.Since(start).Seconds())
		if err != nil {
			return nil, err
		}
		if c.OnCommit != nil {
			c.OnCommit(out)
		}
		m.count(batch, out.Verdicts)
		return decide(batch, out), nil
	}
	for range c.Shards {
		v.shards = append(v.shards, newBatcher(c.MaxBatch, c.Queue, c.Logger, m.size.interactions, m.wait.interactions, interact))
	}
	v.polls = newBatcher(c.MaxBatch, c.Queue, c.Logger, m.size.publications, m.wait.publications,
		func(ctx context.Context, batch []domain.NewPoll) ([]domain.Publication, error) {
			start := time.Now()
			out, err := c.Store.Publish(ctx, batch, func(facts []domain.PublicationFact) []domain.PublicationVerdict {
				return c.Rules.JudgePublications(batch, facts)
			})
			m.commit.publications.Observe(time.Since(start).Seconds())
			if err != nil {
				return nil, err
			}
			if c.OnPublish != nil {
				c.OnPublish(out)
			}
			m.countPublications(out)
			return out, nil
		})
	promauto.With(c.Registerer).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "vote_batch_queued", Help: "Requests that wait for their batch.",
	}, func() float64 { return float64(v.Waiting()) })
	return v
}

// decide joins each verdict with the counts of its poll.
func decide(batch []domain.Interaction, out domain.Outcome) []decided {
	counts := make(map[domain.PollID]domain.Counts, len(out.Counts))
	for _, c := range out.Counts {
		counts[c.Poll] = c
	}
	results := make([]decided, len(batch))
	for i, verdict := range out.Verdicts {
		results[i] = decided{verdict: verdict, at: out.At}
		if verdict.Changed {
			results[i].counts = counts[batch[i].Poll]
		}
	}
	return results
}

// Run commits batches until ctx ends, then drains: what was queued is still
// committed and answered, what comes later is refused as draining.
func (v *Voting) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, s := range v.shards {
		wg.Go(func() { s.run(ctx) })
	}
	wg.Go(func() { v.polls.run(ctx) })
	wg.Wait()
	return nil
}

// Waiting returns how many interactions and publications are queued.
func (v *Voting) Waiting() int {
	n := v.polls.waiting()
	for _, s := range v.shards {
		n += s.waiting()
	}
	return n
}

func (v *Voting) shard(user domain.UserID) *batcher[domain.Interaction, decided] {
	return v.shards[uint64(user)%uint64(len(v.shards))] //nolint:gosec // user ids are positive
}

// Cast votes or skips and returns what was decided. A refusal is an error with
// one of the codes of [domain.Rules.Judge]; besides those: overloaded,
// draining, unavailable (nothing happened), outcome_unknown.
func (v *Voting) Cast(ctx context.Context, in domain.Interaction) (Result, error) {
	answers, err := v.shard(in.User).submit(ctx, in)
	if err != nil {
		return Result{}, err
	}
	r := v.result(answers[0])
	return r, r.Err
}

// CastAll is [Voting.Cast] for interactions of one user, judged in order, with a
// result for each. The error is set when nothing can be said about any: none
// was queued, or ctx ended.
func (v *Voting) CastAll(ctx context.Context, batch []domain.Interaction) ([]Result, error) {
	if len(batch) == 0 {
		return nil, nil
	}
	answers, err := v.shard(batch[0].User).submit(ctx, batch...)
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(answers))
	for i, a := range answers {
		results[i] = v.result(a)
	}
	return results, nil
}

func (v *Voting) result(a answer[decided]) Result {
	if a.err != nil {
		return Result{Err: a.err}
	}
	d := a.result
	r := Result{Verdict: d.verdict, Counts: d.counts}
	if d.verdict.Code == "" {
		return r
	}
	refusal := domain.E(d.verdict.Code, details[d.verdict.Code])
	switch d.verdict.Code {
	case domain.CodeAlreadyVoted:
		refusal.Option = d.verdict.Option
	case domain.CodeDailyVoteLimit, domain.CodeDailyPollLimit:
		refusal.RetryAfter = untilTomorrow(d.at)
	}
	r.Err = refusal
	return r
}

// untilTomorrow is the time from t to the next UTC midnight.
func untilTomorrow(t time.Time) time.Duration {
	return (domain.DayOf(t) + 1).Start().Sub(t)
}

var details = map[domain.Code]string{
	domain.CodeUnauthorized:        "The account no longer exists.",
	domain.CodeNotFound:            "There is no such poll.",
	domain.CodeInvalidOption:       "The poll has no such option.",
	domain.CodeAlreadyVoted:        "You have voted on this poll; a vote is final.",
	domain.CodePollClosed:          "The poll is closed.",
	domain.CodeDailyVoteLimit:      "You have cast all votes of today. Skipping is still possible.",
	domain.CodeDailyPollLimit:      "You have published all polls of today.",
	domain.CodeIdempotencyMismatch: "The Idempotency-Key was used with another body.",
}

// Publish publishes a poll whose content was normalised and found valid. A
// repetition under the same idempotency key returns the first poll. Errors:
// idempotency_mismatch, idempotency_in_progress, daily_poll_limit, unauthorized
// (the author is gone), overloaded, draining, unavailable, outcome_unknown.
func (v *Voting) Publish(ctx context.Context, p domain.NewPoll) (domain.Poll, error) {
	if p.IdempotencyKey != "" {
		key := idempotencyKey{p.Author, p.IdempotencyKey}
		v.mu.Lock()
		_, busy := v.underWay[key]
		if !busy {
			v.underWay[key] = struct{}{}
		}
		v.mu.Unlock()
		if busy {
			return domain.Poll{}, &domain.Error{
				Code: domain.CodeIdempotencyBusy, Detail: "The first request with this key is still under way.",
				RetryAfter: time.Second,
			}
		}
		defer func() {
			v.mu.Lock()
			delete(v.underWay, key)
			v.mu.Unlock()
		}()
	}
	answers, err := v.polls.submit(ctx, p)
	if err != nil {
		return domain.Poll{}, err
	}
	if err := answers[0].err; err != nil {
		return domain.Poll{}, err
	}
	published := answers[0].result
	code := published.Verdict.Code
	if code == "" {
		return published.Poll, nil
	}
	refusal := domain.E(code, details[code])
	if code == domain.CodeDailyPollLimit {
		refusal.RetryAfter = untilTomorrow(published.At)
	}
	return domain.Poll{}, refusal
}
