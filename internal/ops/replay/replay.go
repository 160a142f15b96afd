package replay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vote/internal/domain"
	"vote/internal/ops/command"
	"vote/internal/ops/progress"
)

// ErrDifferent says that the server's results are not those of the file.
var ErrDifferent = fmt.Errorf("%w: the server's results differ from the files'", command.ErrNo)

// Options say what to replay and how.
type Options struct {
	// Servers are the base URLs of the instances of one server. Each request
	// goes to the next of them, as behind something that balances the load.
	Servers []string
	// Folders are conversations, see [Conversations].
	Folders []string
	// Concurrency is how many requests are under way at once.
	Concurrency int
	// Sources are the addresses that people come from, see [Sources].
	Sources []netip.Addr
	// Answers above 0 keeps only the first so many answers of a conversation,
	// People above 0 then only those of the first so many people.
	Answers, People int
	// DailyLimit is the daily limit of votes in force, 0 for none; below 0 the
	// server is asked.
	DailyLimit int
	// Walks is how many people's feeds are walked at the end.
	Walks int
	// MaxWait bounds how long one request waits as told, by a rate limit or a
	// server that is full.
	MaxWait time.Duration
	// Timeout bounds one try of a request.
	Timeout time.Duration
	// Progress takes a line that is written over; nil for none.
	Progress io.Writer
}

// hashesAtOnce bounds registrations under way: each costs the server a password
// hash, of which it makes only some at once.
const hashesAtOnce = 8

// Run replays the conversations one after the other and compares. Its error is
// [command.ErrUnfinished] when a conversation could not be played, and another one for
// options or files that cannot be used, before anything was sent. Differences
// are in the report and no error.
func Run(ctx context.Context, o Options) (Report, error) {
	report := Report{Servers: o.Servers}
	var all []conversation
	for _, folder := range o.Folders {
		c, err := readConversation(folder, o.People, o.Answers)
		if err != nil {
			return report, err
		}
		all = append(all, c)
	}
	if o.Concurrency < 1 {
		return report, errors.New("at least one request has to be under way at once")
	}
	if len(o.Servers) == 0 {
		return report, errors.New("no server")
	}
	var wires []*wire
	for _, server := range o.Servers {
		w, err := newWire(server, o.Sources, o.Timeout)
		if err != nil {
			return report, err
		}
		defer w.close()
		wires = append(wires, w)
	}
	for i, w := range wires {
		if _, err := w.do(ctx, request{method: http.MethodGet, path: "/healthz"}); err != nil {
			return report, fmt.Errorf("%w: no answer from %s: %w", command.ErrUnfinished, o.Servers[i], err)
		}
	}
	for _, c := range all {
		r := run{
			Options: o, conversation: c, id: strings.ToLower(rand.Text()[:8]),
			player: &player{wires: wires, slots: make(chan struct{}, o.Concurrency), maxWait: o.MaxWait},
		}
		got, err := r.replay(ctx)
		if err != nil {
			return report, fmt.Errorf("%w: %s: %w", command.ErrUnfinished, c.name, err)
		}
		report.Conversations = append(report.Conversations, got)
	}
	return report, nil
}

// run is the replay of one conversation.
type run struct {
	Options
	conversation
	id      string // unique, so that a replay can be repeated against the same server
	player  *player
	persons []*person
	polls   []int64 // by statement

	bar   *progress.Bar
	first time.Time // the server's time before the first answer
	last  time.Time // and after the last
}

func (r *run) replay(ctx context.Context) (ConversationReport, error) {
	r.bar = progress.Start(r.Progress, r.name, func() string {
		if n := r.player.waiting.Load(); n > 0 {
			return fmt.Sprintf("%d waiting as the limits tell", n)
		}
		return ""
	})
	defer r.bar.Stop()
	for i, p := range r.conversation.people {
		r.persons = append(r.persons, &person{
			participant: p, number: i,
			username: fmt.Sprintf("replay-%s-%d", r.id, i), email: fmt.Sprintf("p%d@%s.replay.example", i, r.id),
		})
	}
	if err := r.register(ctx); err != nil {
		return ConversationReport{}, err
	}
	if err := r.askDailyLimit(ctx); err != nil {
		return ConversationReport{}, err
	}
	if err := r.publish(ctx); err != nil {
		return ConversationReport{}, err
	}
	var err error
	if r.first, err = r.serverTime(ctx); err != nil {
		return ConversationReport{}, err
	}
	start := time.Now()
	done := r.bar.Enter("answers", r.conversation.answers)
	if err := each(ctx, len(r.persons), r.persons, func(ctx context.Context, p *person) error {
		return p.play(ctx, r.player, r.polls, done)
	}); err != nil {
		return ConversationReport{}, err
	}
	took := time.Since(start)
	if r.last, err = r.serverTime(ctx); err != nil {
		return ConversationReport{}, err
	}

	known := make(map[string]bool)
	for _, s := range r.statements {
		known[s.id] = true
	}
	expected, err := count(filepath.Join(r.folder, answersFile), known, r.DailyLimit, r.Options.People, r.Options.Answers)
	if err != nil {
		return ConversationReport{}, err
	}
	report := r.report(took)
	if report.Differences, err = r.compare(ctx, expected, &report); err != nil {
		return ConversationReport{}, err
	}
	return report, nil
}

// register makes everybody's account.
func (r *run) register(ctx context.Context) error {
	done := r.bar.Enter("accounts", len(r.persons))
	password := rand.Text()
	return each(ctx, min(hashesAtOnce, r.Concurrency), r.persons, func(ctx context.Context, p *person) error {
		defer done.Add(1)
		return p.register(ctx, r.player, password)
	})
}

// askDailyLimit reads the limit in force from what is left to an account that
// has not voted.
func (r *run) askDailyLimit(ctx context.Context) error {
	if r.DailyLimit >= 0 {
		return nil
	}
	me, err := r.profile(ctx, r.persons[0])
	if err != nil {
		return err
	}
	r.DailyLimit = 0
	if me.VotesRemainingToday != nil {
		r.DailyLimit = *me.VotesRemainingToday
	}
	return nil
}

// publish makes a poll of every statement, each by its author in order.
func (r *run) publish(ctx context.Context) error {
	done := r.bar.Enter("polls", len(r.statements))
	tags := []string{tagOf(r.name), r.tag()}
	r.polls = make([]int64, len(r.statements))
	byAuthor := make(map[string][]int)
	for i, s := range r.statements {
		byAuthor[s.author] = append(byAuthor[s.author], i)
	}
	return each(ctx, len(r.persons), r.persons, func(ctx context.Context, p *person) error {
		for _, i := range byAuthor[p.id] {
			id, err := p.publish(ctx, r.player, r.statements[i], tags, r.id+"-"+r.statements[i].id)
			if err != nil {
				return err
			}
			r.polls[i] = id
			done.Add(1)
		}
		return nil
	})
}

// tag is on the polls of this run only.
func (r *run) tag() string { return "replay-" + r.id }

// serverTime returns the time that the server's answers carry.
func (r *run) serverTime(ctx context.Context) (time.Time, error) {
	o, err := r.player.call(ctx, request{method: http.MethodGet, path: "/healthz"})
	return o.date, err
}

// crossedMidnight reports whether the answers fell on two days, UTC, on which
// a limit by the day grants more than the tally knows.
func (r *run) crossedMidnight() bool { return domain.DayOf(r.first) != domain.DayOf(r.last) }

// each calls do for every item, in order, at most atOnce at a time, and returns
// the first error, which ends the others' ctx.
func each[T any](ctx context.Context, atOnce int, items []T, do func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(atOnce, len(items)) {
		all.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(items) {
					return
				}
				if err := do(ctx, items[i]); err != nil {
					cancel(err) // the first one stays the cause
					return
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// spread returns n of the items, evenly spaced, the first and the last among them.
func spread[T any](items []T, n int) []T {
	if n >= len(items) {
		return items
	}
	var picked []T
	for i := range n {
		picked = append(picked, items[i*(len(items)-1)/max(n-1, 1)])
	}
	return picked
}

// byActivity returns the people, the most active first.
func byActivity(people []*person) []*person {
	sorted := slices.Clone(people)
	slices.SortStableFunc(sorted, func(a, b *person) int { return len(b.answers) - len(a.answers) })
	return sorted
}
