//go:build integration

package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vote/internal/domain"
	"vote/internal/testservers"
)

// seeded is a store with users and polls.
type seeded struct {
	*Store
	users []domain.UserID
	polls []domain.Poll
}

var words = []string{
	"who", "should", "win", "the", "cup", "this", "year", "best", "city", "to", "live", "in", "coffee", "tea",
	"music", "film", "book", "game", "team", "player", "song", "vote", "public", "transport", "free", "school",
}

// seed makes a database with users and polls. The polls of a month are followed by
// those of the next.
func seed(tb testing.TB, users, polls, months int, o Options) *seeded {
	tb.Helper()
	ctx := context.Background()
	if o.DSN == "" {
		o.DSN = testservers.Database(tb)
	}
	o.AutoMigrate = true
	store, err := Open(ctx, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	s := &seeded{Store: store}
	if _, err := store.pool.Exec(ctx, `INSERT INTO users (username, username_key, email, email_key, password_hash, created_at, updated_at)
		SELECT 'u' || i, 'u' || i, 'u' || i, 'u' || i, 'x', now(), now() FROM generate_series(1, $1::integer) i`, users); err != nil {
		tb.Fatal(err)
	}
	if _, err := store.pool.Exec(ctx, `INSERT INTO user_state (bucket, user_id) SELECT id % $1, id FROM users`, store.buckets); err != nil {
		tb.Fatal(err)
	}
	for i := range users {
		s.users = append(s.users, domain.UserID(i+1))
	}
	r := rand.New(rand.NewPCG(1, 2))
	now := time.Now().UTC()
	for len(s.polls) < polls {
		n := len(s.polls)
		batch := make([]domain.ImportPoll, min(2000, polls-n, max(1, polls/months)))
		month := domain.MonthOf(now) - domain.Month(months-1-min(months-1, n*months/polls))
		for i := range batch {
			title := fmt.Sprint(n + i)
			for range 8 {
				title += " " + words[r.IntN(len(words))]
			}
			batch[i] = domain.ImportPoll{
				Author: s.users[r.IntN(users)], Title: title, At: month.Start().Add(time.Duration(n+i) * time.Millisecond),
				Options: []string{"yes", "no", words[r.IntN(len(words))] + " or so"},
				Tags:    []string{words[r.IntN(len(words))] + "1", words[r.IntN(len(words))] + "2"},
			}
		}
		done, err := store.Import(ctx, domain.Import{Polls: batch})
		if err != nil {
			tb.Fatal(err)
		}
		for _, id := range done.Polls {
			s.polls = append(s.polls, domain.Poll{ID: id, Position: domain.Position(len(s.polls) + 1), Options: batch[0].Options})
		}
	}
	if _, err := store.pool.Exec(ctx, `ANALYZE`); err != nil {
		tb.Fatal(err)
	}
	return s
}

func retried(tb testing.TB, store *Store, batch []domain.Interaction) domain.Outcome {
	tb.Helper()
	for {
		out, err := store.Interact(context.Background(), batch, func(f []domain.Fact) []domain.Verdict {
			return domain.Rules{}.Judge(batch, f)
		})
		if domain.CodeOf(err) == domain.CodeConflict {
			continue
		}
		if err != nil {
			tb.Fatal(err)
		}
		return out
	}
}

// BenchmarkInteract reports the time of one vote in batches of n, by random ones
// of 10,000 users on random ones of 20,000 polls.
func BenchmarkInteract(b *testing.B) {
	for _, months := range []int{1, 16} {
		for _, statements := range []Statements{Prepared, Unprepared} {
			s := seed(b, 10_000, 20_000, months, Options{Statements: statements})
			for _, n := range []int{1, 16, 64, 256} {
				b.Run(fmt.Sprintf("months%d/unprepared%d/%d", months, statements, n), func(b *testing.B) {
					r := rand.New(rand.NewPCG(3, uint64(n)))
					batch := make([]domain.Interaction, n)
					b.ReportAllocs()
					for i := 0; i < b.N; i += n {
						fill(batch, s, r, 0)
						retried(b, s.Store, batch)
					}
				})
			}
		}
	}
}

// fill makes random votes; hot of a hundred are on one poll.
func fill(batch []domain.Interaction, s *seeded, r *rand.Rand, hot int) {
	for j := range batch {
		poll := s.polls[r.IntN(len(s.polls))].ID
		if r.IntN(100) < hot {
			poll = s.polls[0].ID
		}
		batch[j] = domain.Interaction{User: s.users[r.IntN(len(s.users))], Poll: poll, Option: r.IntN(3)}
	}
}

// BenchmarkCallers is a batcher's work: callers who each wait for their vote, four
// batches on the way at most, each of all that have gathered; against one
// transaction for each vote by as many callers. The users are sharded over the
// batches.
func BenchmarkCallers(b *testing.B) {
	for _, callers := range []int{64, 256} {
		for _, form := range []string{"single", "spread", "hot"} {
			b.Run(fmt.Sprintf("%d/%s", callers, form), func(b *testing.B) {
				s := seed(b, 50_000, 50_000, 1, Options{MaxConns: 64})
				hot := 0
				if form == "hot" {
					hot = 100
				}
				b.ResetTimer()
				if form == "single" {
					b.SetParallelism(callers / 2)
					var number atomic.Uint64
					b.RunParallel(func(pb *testing.PB) {
						r := rand.New(rand.NewPCG(5, number.Add(1)))
						batch := make([]domain.Interaction, 1)
						for pb.Next() {
							fill(batch, s, r, hot)
							retried(b, s.Store, batch)
						}
					})
				} else {
					gathered(b, s, callers, hot)
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "votes/s")
			})
		}
	}
}

// lanes is how many batches are on the way at once.
const lanes = 4

func gathered(b *testing.B, s *seeded, callers, hot int) {
	type call struct {
		in   domain.Interaction
		done chan struct{}
	}
	var queues [lanes]chan call
	var workers, waiting sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan call, callers)
		workers.Go(func() {
			for first := range queues[i] {
				calls := []call{first}
				for more := true; more && len(calls) < 256; {
					select {
					case c, open := <-queues[i]:
						if more = open; open {
							calls = append(calls, c)
						}
					default:
						more = false
					}
				}
				batch := make([]domain.Interaction, len(calls))
				for j, c := range calls {
					batch[j] = c.in
				}
				retried(b, s.Store, batch)
				for _, c := range calls {
					close(c.done)
				}
			}
		})
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	for i := range callers {
		waiting.Go(func() {
			r := rand.New(rand.NewPCG(7, uint64(i)))
			one := make([]domain.Interaction, 1)
			for left.Add(-1) >= 0 {
				fill(one, s, r, hot)
				c := call{one[0], make(chan struct{})}
				queues[one[0].User%lanes] <- c
				<-c.done
			}
		})
	}
	waiting.Wait()
	for _, q := range queues {
		close(q)
	}
	workers.Wait()
}
