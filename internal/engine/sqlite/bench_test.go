package sqlite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"vote/internal/domain"
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

func seed(tb testing.TB, users, polls int) *seeded {
	tb.Helper()
	ctx := context.Background()
	store, err := Open(ctx, Options{Path: filepath.Join(tb.TempDir(), "vote.db"), AutoMigrate: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	s := &seeded{Store: store}
	// Users go in by one statement: making an account commits each.
	err = store.write(ctx, opCreateUser, func(w *writer) error {
		if err := w.run(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
			INSERT INTO users (id, username, username_key, email, email_key, password_hash, created_at, updated_at)
			SELECT i, 'u' || i, 'u' || i, 'u' || i, 'u' || i, 'x', 0, 0 FROM n`, users); err != nil {
			return err
		}
		return w.run(`INSERT INTO user_state (user_id) SELECT id FROM users`)
	})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range users {
		s.users = append(s.users, domain.UserID(i+1))
	}
	r := rand.New(rand.NewPCG(1, 2))
	for len(s.polls) < polls {
		batch := make([]domain.NewPoll, min(2000, polls-len(s.polls)))
		for i := range batch {
			title := fmt.Sprint(len(s.polls) + i)
			for range 8 {
				title += " " + words[r.IntN(len(words))]
			}
			batch[i] = domain.NewPoll{
				Author: s.users[r.IntN(users)], Title: title,
				Options: []string{"yes", "no", words[r.IntN(len(words))] + " or so"},
				Tags:    []string{words[r.IntN(len(words))] + "1", words[r.IntN(len(words))] + "2"},
			}
		}
		for _, p := range publish(tb, store, batch) {
			s.polls = append(s.polls, p.Poll)
		}
	}
	return s
}

func publish(tb testing.TB, store *Store, batch []domain.NewPoll) []domain.Publication {
	tb.Helper()
	published, err := store.Publish(context.Background(), batch,
		func(f []domain.PublicationFact) []domain.PublicationVerdict {
			return domain.Rules{}.JudgePublications(batch, f)
		})
	if err != nil {
		tb.Fatal(err)
	}
	return published
}

func interact(tb testing.TB, store *Store, batch []domain.Interaction) domain.Outcome {
	tb.Helper()
	out, err := store.Interact(context.Background(), batch, func(f []domain.Fact) []domain.Verdict {
		return domain.Rules{}.Judge(batch, f)
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// BenchmarkInteract reports the time of one vote in batches of n, by random
// ones of 10,000 users on random ones of 20,000 polls.
func BenchmarkInteract(b *testing.B) {
	for _, n := range []int{1, 64, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := seed(b, 10_000, 20_000)
			r := rand.New(rand.NewPCG(3, 4))
			batch := make([]domain.Interaction, n)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += n {
				for j := range batch {
					batch[j] = domain.Interaction{
						User: s.users[r.IntN(len(s.users))], Poll: s.polls[r.IntN(len(s.polls))].ID, Option: r.IntN(3),
					}
				}
				interact(b, s.Store, batch)
			}
		})
	}
}

// BenchmarkPublish reports the time of one poll in batches of 1,000.
func BenchmarkPublish(b *testing.B) {
	s := seed(b, 100, 0)
	batch := make([]domain.NewPoll, 1000)
	r := rand.New(rand.NewPCG(1, 2))
	b.ResetTimer()
	for i := 0; i < b.N; i += len(batch) {
		for j := range batch {
			title := fmt.Sprint(i + j)
			for range 8 {
				title += " " + words[r.IntN(len(words))]
			}
			batch[j] = domain.NewPoll{
				Author: s.users[r.IntN(len(s.users))], Title: title, Options: []string{"yes", "no"},
				Tags: []string{words[r.IntN(len(words))] + "1", words[r.IntN(len(words))] + "2"},
			}
		}
		publish(b, s.Store, batch)
	}
}

// BenchmarkReads measures reads of 100,000 polls and of a user who has seen
// 10,000 of them.
func BenchmarkReads(b *testing.B) {
	ctx := context.Background()
	s := seed(b, 1000, 100_000)
	user := s.users[0]
	for i := 0; i < 10_000; i += 100 {
		batch := make([]domain.Interaction, 100)
		for j := range batch {
			batch[j] = domain.Interaction{User: user, Poll: s.polls[len(s.polls)-1-i-j].ID, Skip: j%2 == 0}
		}
		interact(b, s.Store, batch)
	}
	fail := func(b *testing.B, err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	b.Run("Seen10k", func(b *testing.B) {
		for b.Loop() {
			_, err := s.Seen(ctx, user)
			fail(b, err)
		}
	})
	b.Run("UserStates64", func(b *testing.B) {
		for b.Loop() {
			_, err := s.UserStates(ctx, s.users[:64])
			fail(b, err)
		}
	})
	b.Run("PollsAt10", func(b *testing.B) {
		positions := []domain.Position{1, 1001, 2002, 30003, 40004, 50005, 60006, 70007, 80008, 90009}
		for b.Loop() {
			_, err := s.PollsAt(ctx, positions)
			fail(b, err)
		}
	})
	b.Run("LoadCatalogue100k", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := s.LoadCatalogue(ctx, func(domain.Entry) error { return nil })
			fail(b, err)
		}
	})
	for _, text := range []string{"coffee", "coffee tea mus", "s", "99999 "} {
		b.Run("Search/"+text, func(b *testing.B) {
			terms := domain.SearchTerms(text)
			for b.Loop() {
				_, err := s.Search(ctx, terms, 1<<31, 100)
				fail(b, err)
			}
		})
	}
	b.Run("Rank", func(b *testing.B) {
		for b.Loop() {
			_, err := s.Rank(ctx, 10_000, 0, time.Second)
			fail(b, err)
		}
	})
}

// BenchmarkPastInteractions reads the newest page and one from the middle of
// 100,000 votes, and the votes of somebody who has few among 100,000 skips.
func BenchmarkPastInteractions(b *testing.B) {
	const n = 100_000
	s := seed(b, 2, n)
	for from := 0; from < n; from += 500 {
		var batch []domain.Interaction
		for i, p := range s.polls[from : from+500] {
			batch = append(batch, domain.Interaction{User: s.users[0], Poll: p.ID},
				domain.Interaction{User: s.users[1], Poll: p.ID, Skip: from+i >= 10})
		}
		interact(b, s.Store, batch)
	}
	for _, c := range []struct {
		name   string
		user   domain.UserID
		before int64
	}{{"newest", s.users[0], 0}, {"middle", s.users[0], n + 1}, {"few", s.users[1], 0}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				past, err := s.PastInteractions(context.Background(), c.user, false, c.before, 10)
				if err != nil || len(past) != 10 {
					b.Fatal(len(past), err)
				}
			}
		})
	}
}
