// Package seed fills a new database with made-up people, polls, votes and skips.
package seed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"vote/internal/domain"
	"vote/internal/ops/command"
	"vote/internal/ops/progress"
)

// Options say what to make.
type Options struct {
	Users, Polls, Votes, Skips int
	// Tags is how many different tags there are.
	Tags int
	// Days is over how many days, up to Until, everything happened.
	Days  int
	Until time.Time
	// Seed decides everything: the same options make the same rows.
	Seed uint64
	// PasswordHash is everybody's; nobody can log in with one that is no hash.
	PasswordHash string
	// Limits are those in force, which votes and polls keep to.
	Limits domain.Rules
	// Progress takes a line that is written over; nil for none.
	Progress io.Writer
}

// Report is what was made.
type Report struct {
	Users  int     `json:"users"`
	Polls  int     `json:"polls"`
	Votes  int     `json:"votes"`
	Skips  int     `json:"skips"`
	TookMs int64   `json:"tookMs"`
	PerSec float64 `json:"rowsPerSecond"`
	// First and last e-mail address.
	FirstEmail string `json:"firstEmail"`
	LastEmail  string `json:"lastEmail"`
}

// Batches that are imported at once.
const (
	pollsAtOnce        = 10_000
	usersAtOnce        = 10_000
	interactionsAtOnce = 50_000
)

// Where popularity is drawn from: value k comes with a frequency that falls like
// (offset+k)^-exponent.
const (
	tagExponent, tagOffset   = 1.2, 2
	pollExponent, pollOffset = 1.07, 10
)

const day = 24 * time.Hour

// maxTags is how many tags a poll has at most.
const maxTags = 4

// fault returns what is wrong with the options.
func (o Options) fault() error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{command.ErrWrongUse}, args...)...)
	}
	switch {
	case min(o.Users, o.Polls, o.Votes, o.Skips) < 0 || o.Days < 1 || o.Tags < 1:
		return wrong("numbers have to be positive")
	case o.start().Before(domain.Epoch):
		return wrong("nothing happened before %s: fewer days, or a later end", domain.Epoch.Format(time.DateOnly))
	case o.Polls > 0 && o.Users == 0:
		return wrong("polls need authors")
	case o.Votes > o.Users*o.mostVotes():
		return wrong("%d users have room for %d votes on half of %d polls and a quarter of the daily limit of %d days: more users, polls or days",
			o.Users, o.Users*o.mostVotes(), o.Polls, o.Days)
	case o.Skips > o.Users*(o.Polls/2):
		return wrong("%d users have room for %d skips of half of %d polls: more users or polls", o.Users, o.Users*(o.Polls/2), o.Polls)
	case o.Limits.DailyPolls > 0 && o.Users > 0 && o.Polls/o.Users > o.Days*o.Limits.DailyPolls/2:
		return wrong("%d users publish %d polls in %d days at half of the daily limit: more users or days",
			o.Users, o.Users*o.Days*o.Limits.DailyPolls/2, o.Days)
	}
	return nil
}

// start is when everything began.
func (o Options) start() time.Time { return o.Until.AddDate(0, 0, -o.Days) }

// mostVotes is how many votes one user casts at most: on half of the polls, so
// that others can be found quickly, and far from the daily limit, so that a day
// with room can.
func (o Options) mostVotes() int {
	most := o.Polls / 2
	if o.Limits.DailyVotes > 0 {
		most = min(most, o.Days*o.Limits.DailyVotes/4)
	}
	return most
}

// world is what is being made.
type world struct {
	Options
	store domain.Store
	bar   *progress.Bar
	start time.Time
	users []domain.UserID
	polls []poll
}

// poll is what the votes need to know about a poll.
type poll struct {
	id      domain.PollID
	options int
}

// Run fills a store. It has to be without polls: what is made up has its place
// before everything else. Errors: [command.ErrWrongUse], [command.ErrNo] for a
// store with polls.
func Run(ctx context.Context, store domain.Store, o Options) (Report, error) {
	if err := o.fault(); err != nil {
		return Report{}, err
	}
	errFound := errors.New("a poll")
	if _, err := store.LoadCatalogue(ctx, func(domain.Entry) error { return errFound }); errors.Is(err, errFound) {
		return Report{}, fmt.Errorf("%w: there are polls already; only a new database can be seeded", command.ErrNo)
	} else if err != nil {
		return Report{}, err
	}
	w := &world{Options: o, store: store, bar: progress.Start(o.Progress, "seed", nil), start: o.start()}
	defer w.bar.Stop()
	begun := time.Now()
	for _, part := range []func(context.Context) error{w.makeUsers, w.makePolls, w.makeInteractions} {
		if err := part(ctx); err != nil {
			return Report{}, err
		}
	}
	took := time.Since(begun)
	r := Report{Users: o.Users, Polls: o.Polls, Votes: o.Votes, Skips: o.Skips, TookMs: took.Milliseconds()}
	if o.Users > 0 {
		r.FirstEmail, r.LastEmail = email(0), email(o.Users-1)
	}
	if s := took.Seconds(); s > 0 {
		r.PerSec = float64(o.Users+o.Polls+o.Votes+o.Skips) / s
	}
	return r, nil
}

// random returns a source of its own for each purpose, so that more of one thing
// leaves another as it is.
func (w *world) random(purpose, number uint64) *rand.Rand {
	return rand.New(rand.NewPCG(w.Seed, purpose<<48^number)) //nolint:gosec // made-up data has to be the same again
}

const (
	forPolls = iota + 1
	forShares
	forUsers
)

func email(i int) string { return fmt.Sprintf("seed%d@seed.example", i) }

func (w *world) makeUsers(ctx context.Context) error {
	stage := w.bar.Enter("users", w.Users)
	batches := func(yield func(domain.Import) bool) {
		for users := range slices.Chunk(numbers(w.Users), usersAtOnce) {
			var batch domain.Import
			for _, i := range users {
				name := fmt.Sprintf("seed%d", i)
				batch.Users = append(batch.Users, domain.ImportUser{
					NewUser: domain.NewUser{
						Username: name, UsernameKey: name, Email: email(i), EmailKey: email(i), PasswordHash: w.PasswordHash,
					},
					CreatedAt: w.start,
				})
			}
			if !yield(batch) {
				return
			}
		}
	}
	return w.load(ctx, stage, batches, func(_ domain.Import, done domain.Imported) { w.users = append(w.users, done.Users...) })
}

// numbers returns 0 to n-1.
func numbers(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func (w *world) makePolls(ctx context.Context) error {
	stage := w.bar.Enter("polls", w.Polls)
	r := w.random(forPolls, 0)
	text, tags := newWriter(r), makeTags(w.Tags)
	tag := rand.NewZipf(r, tagExponent, tagOffset, uint64(len(tags)-1)) //nolint:gosec // positive
	span := w.Until.Sub(w.start)
	batches := func(yield func(domain.Import) bool) {
		for polls := range slices.Chunk(numbers(w.Polls), pollsAtOnce) {
			var batch domain.Import
			for _, i := range polls {
				title, options := text.text()
				own := make([]string, 0, maxTags)
				for range 1 + r.IntN(maxTags) {
					if t := tags[tag.Uint64()]; !slices.Contains(own, t) {
						own = append(own, t)
					}
				}
				batch.Polls = append(batch.Polls, domain.ImportPoll{
					Author: w.users[i%len(w.users)], // in turn, so that no daily limit is near
					Title:  title, Options: options, Tags: own,
					At: w.start.Add(time.Duration(float64(span) * float64(i) / float64(w.Polls))),
				})
			}
			if !yield(batch) {
				return
			}
		}
	}
	return w.load(ctx, stage, batches, func(batch domain.Import, done domain.Imported) {
		for i, id := range done.Polls {
			w.polls = append(w.polls, poll{id: id, options: len(batch.Polls[i].Options)})
		}
	})
}

// load imports batches, each of which is made while the one before is stored.
func (w *world) load(
	ctx context.Context, stage *progress.Stage, batches iter.Seq[domain.Import], keep func(domain.Import, domain.Imported),
) error {
	ready := make(chan domain.Import, 1)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(ready)
		for batch := range batches {
			select {
			case ready <- batch:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	g.Go(func() error {
		for batch := range ready {
			done, err := w.store.Import(ctx, batch)
			if err != nil {
				return err
			}
			keep(batch, done)
			stage.Add(len(batch.Users) + len(batch.Polls) + len(batch.Interactions))
		}
		return nil
	})
	return g.Wait()
}

// shares splits n among the users, some of whom are much more active than
// others, none beyond most.
func shares(r *rand.Rand, users, n, most int) []int {
	weights := make([]float64, users)
	sum := 0.0
	for i := range weights {
		weights[i] = 1 / (0.02 + r.Float64())
		sum += weights[i]
	}
	all := make([]int, users)
	left := n
	for i := range all {
		all[i] = min(int(float64(n)*weights[i]/sum), most)
		left -= all[i]
	}
	for i := 0; left > 0; i = (i + 1) % users {
		if all[i] < most {
			all[i]++
			left--
		}
	}
	return all
}

func (w *world) makeInteractions(ctx context.Context) error {
	stage := w.bar.Enter("votes and skips", w.Votes+w.Skips)
	r := w.random(forShares, 0)
	votes := shares(r, w.Users, w.Votes, w.mostVotes())
	skips := shares(r, w.Users, w.Skips, w.Polls/2)
	batches := func(yield func(domain.Import) bool) {
		var batch domain.Import
		for i, u := range w.users {
			batch.Interactions = append(batch.Interactions, w.history(i, u, votes[i], skips[i])...)
			if len(batch.Interactions) >= interactionsAtOnce {
				if !yield(batch) {
					return
				}
				batch = domain.Import{}
			}
		}
		if len(batch.Interactions) > 0 {
			yield(batch)
		}
	}
	return w.load(ctx, stage, batches, func(domain.Import, domain.Imported) {})
}

// history is what one user did, in order of time.
func (w *world) history(number int, user domain.UserID, votes, skips int) []domain.ImportInteraction {
	r := w.random(forUsers, uint64(number))                                   //nolint:gosec // positive
	zipf := rand.NewZipf(r, pollExponent, pollOffset, uint64(len(w.polls)-1)) //nolint:gosec // positive
	chosen := make(map[int]bool, votes+skips)
	today := make(map[int]int)
	var all []domain.ImportInteraction
	for len(all) < votes+skips {
		i := w.choose(r, zipf, chosen)
		p := w.polls[i]
		skip := len(all) >= votes
		at, ok := w.moment(r, p, today, skip)
		if !ok {
			continue // the days since the poll are full
		}
		chosen[i] = true
		in := domain.Interaction{User: user, Poll: p.id, Skip: skip}
		if !skip {
			in.Option = min(r.IntN(p.options), r.IntN(p.options)) // earlier ones more often
		}
		all = append(all, domain.ImportInteraction{Interaction: in, At: at})
	}
	slices.SortStableFunc(all, func(a, b domain.ImportInteraction) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return cmp.Compare(a.Poll, b.Poll)
	})
	return all
}

// choose returns a poll that the user has not chosen: half of the time one of
// the popular, which lie scattered.
func (w *world) choose(r *rand.Rand, zipf *rand.Zipf, chosen map[int]bool) int {
	n := len(w.polls)
	i := r.IntN(n)
	if r.IntN(2) == 0 {
		rank := zipf.Uint64()
		rank *= 0x9E3779B97F4A7C15 // scatters ranks, the same for everybody
		i = int(rank % uint64(n))  //nolint:gosec // positive
	}
	for chosen[i] {
		i = (i + 1) % n
	}
	return i
}

// moment returns when the user met the poll: soon after it was published more
// often than late, on a day that has room under the limit.
func (w *world) moment(r *rand.Rand, p poll, today map[int]int, skip bool) (time.Time, bool) {
	published := p.id.Time()
	if published.Before(w.start) {
		published = w.start
	}
	span := w.Until.Sub(published)
	at := published.Add(time.Duration(float64(span) * r.Float64() * r.Float64()))
	if skip || w.Limits.DailyVotes == 0 {
		return at, true
	}
	for range w.Days + 1 {
		d := int(domain.DayOf(at))
		if today[d] < w.Limits.DailyVotes {
			today[d]++
			return at, true
		}
		if at = at.Add(day); !at.Before(w.Until) {
			return at, false
		}
	}
	return at, false
}
