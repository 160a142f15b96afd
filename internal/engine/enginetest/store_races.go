package enginetest

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"vote/internal/domain"
)

func testRaces(run func(string, func(*world))) {
	run("races: the daily limit", func(w *world) {
		author, u := w.user().ID, w.user().ID
		polls := w.polls(author, 130)
		codes := make([]domain.Code, 200)
		errs := make([]error, len(codes))
		w.race(len(codes), func(i int, s domain.Store) {
			out, err := w.interactOn(s, vote(u, polls[i%len(polls)].ID, i%2))
			if errs[i] = err; err == nil {
				codes[i] = out.Verdicts[0].Code
			}
		})
		count := map[domain.Code]int{}
		for i, c := range codes {
			w.must(errs[i])
			count[c]++
		}
		if count[""] != 100 || count[domain.CodeAlreadyVoted]+count[domain.CodeDailyVoteLimit] != 100 {
			w.t.Fatalf("codes %v", count)
		}
		totals, err := w.UserTotals(w.ctx, u)
		w.must(err)
		w.equal("totals", totals, domain.UserTotals{VotesToday: 100, Votes: 100})
	})
	run("races: one vote counts", func(w *world) {
		u := w.user().ID
		p := w.poll(u, "a", "b", "c")
		verdicts := make([]domain.Verdict, 200)
		errs := make([]error, len(verdicts))
		w.race(len(verdicts), func(i int, s domain.Store) {
			out, err := w.interactOn(s, vote(u, p.ID, i%3))
			if errs[i] = err; err == nil {
				verdicts[i] = out.Verdicts[0]
			}
		})
		accepted, option := 0, -1
		for i, v := range verdicts {
			w.must(errs[i])
			if v.Code == "" {
				accepted, option = accepted+1, v.Option
			}
		}
		if accepted != 1 {
			w.t.Fatalf("%d accepted", accepted)
		}
		for _, v := range verdicts {
			if v.Option != option || (v.Code != "" && v.Code != domain.CodeAlreadyVoted) {
				w.t.Fatalf("verdict %+v beside option %d", v, option)
			}
		}
		want := domain.Counts{Poll: p.ID, Votes: make([]int64, 3), UpdatedAt: w.clock.Now()}
		want.Votes[option] = 1
		w.equal("counts", w.counts(p.ID), want)
	})
	run("races: everyone on few polls", func(w *world) {
		w.rules.DailyVotes = 8
		const users, polls, rounds = 12, 10, 40
		ids := w.users(users)
		all := w.polls(ids[0], polls)
		var mu sync.Mutex
		type pair struct {
			user domain.UserID
			poll domain.PollID
		}
		voted, skipped := map[pair]int{}, map[pair]bool{}
		w.race(8, func(i int, s domain.Store) {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range rounds {
				batch := make([]domain.Interaction, 1+r.IntN(20))
				for j := range batch {
					batch[j] = domain.Interaction{
						User: ids[r.IntN(users)], Poll: all[r.IntN(polls)].ID, Option: r.IntN(2), Skip: r.IntN(4) == 0,
					}
				}
				out, err := w.interactOn(s, batch...)
				if err != nil {
					w.t.Error(err)
					return
				}
				mu.Lock()
				for j, v := range out.Verdicts {
					key := pair{batch[j].User, batch[j].Poll}
					option, again := voted[key]
					switch {
					case v.Code == domain.CodeAlreadyVoted:
					case v.Code != "" || !v.Changed:
					case batch[j].Skip:
						if skipped[key] {
							w.t.Errorf("%v skipped twice", key)
						}
						skipped[key] = true
					default:
						if again {
							w.t.Errorf("%v voted %d and %d", key, option, v.Option)
						}
						voted[key] = v.Option
					}
				}
				mu.Unlock()
			}
		})
		perPoll, perUser := map[domain.PollID]int{}, map[domain.UserID]int{}
		for _, u := range ids {
			for _, p := range all {
				prior, err := w.Prior(w.ctx, u, p.ID)
				w.must(err)
				option, ok := voted[pair{u, p.ID}]
				w.equal("prior", prior, domain.Prior{Voted: ok, Option: option, Skipped: skipped[pair{u, p.ID}]})
				if ok {
					perPoll[p.ID]++
					perUser[u]++
				}
			}
			if perUser[u] != 8 {
				w.t.Errorf("user %d has %d votes of 8 allowed and 10 polls", u, perUser[u])
			}
		}
		for _, p := range all {
			if got := w.counts(p.ID).TotalVotes(); got != int64(perPoll[p.ID]) {
				w.t.Errorf("poll %d counts %d of %d votes", p.ID, got, perPoll[p.ID])
			}
		}
	})
	run("races: publishing, changing and following", func(w *world) {
		author := w.user().ID
		authors := w.users(4)
		const rounds = 15
		var done atomic.Bool
		followed := map[domain.PollID]domain.Entry{}
		var follower sync.WaitGroup
		follower.Go(func() {
			s := w.instance(len(w.all) - 1)
			for revision := int64(0); ; {
				last := done.Load()
				entries, err := s.CatalogueSince(w.ctx, revision, 7)
				if err != nil {
					w.t.Error(err)
					return
				}
				for _, e := range entries {
					if e.Revision <= revision {
						w.t.Errorf("revision %d after %d", e.Revision, revision)
					}
					revision = e.Revision
					followed[e.Poll] = e
				}
				if last && len(entries) == 0 {
					return
				}
			}
		})
		w.race(len(authors), func(i int, s domain.Store) {
			r := rand.New(rand.NewPCG(2, uint64(i)))
			var mine []domain.PollID
			for range rounds {
				batch := make([]domain.NewPoll, 1+r.IntN(4))
				for j := range batch {
					batch[j] = w.newPoll(authors[i])
				}
				published, err := w.publishOn(s, batch...)
				if err != nil {
					w.t.Error(err)
					return
				}
				for _, p := range published {
					mine = append(mine, p.Poll.ID)
				}
				for range 2 {
					id := mine[r.IntN(len(mine))]
					if r.IntN(3) == 0 {
						_, err = s.DeletePoll(w.ctx, authors[i], id)
					} else {
						_, err = s.SetPollState(w.ctx, id, domain.PollState(r.IntN(3)))
					}
					if c := domain.CodeOf(err); c != "" && c != domain.CodeNotFound {
						w.t.Error(err)
						return
					}
				}
			}
		})
		done.Store(true)
		follower.Wait()
		last := w.poll(author)
		entries := w.catalogue() // dense, in order
		lastEntry := entries[len(entries)-1]
		if lastEntry.Poll != last.ID {
			w.t.Fatalf("the newest entry is %+v, not poll %d", lastEntry, last.ID)
		}
		seen := map[int64]bool{}
		for i, e := range entries[:len(entries)-1] {
			w.equal("followed", followed[e.Poll], e)
			if i > 0 && e.Poll <= entries[i-1].Poll {
				w.t.Fatalf("poll %d after %d", e.Poll, entries[i-1].Poll)
			}
			if seen[e.Revision] {
				w.t.Fatalf("revision %d twice", e.Revision)
			}
			seen[e.Revision] = true
		}
		if len(followed) != len(entries)-1 {
			w.t.Fatalf("followed %d of %d", len(followed), len(entries)-1)
		}
	})
	run("races: one idempotency key", func(w *world) {
		u := w.user().ID
		p := w.newPoll(u)
		p.IdempotencyKey = "key"
		ids := make([]domain.PollID, 16)
		errs := make([]error, len(ids))
		w.race(len(ids), func(i int, s domain.Store) {
			published, err := w.publishOn(s, p)
			if errs[i] = err; err == nil {
				ids[i] = published[0].Poll.ID
			}
		})
		for i, id := range ids {
			w.must(errs[i])
			if id != ids[0] {
				w.t.Fatalf("polls %v", ids)
			}
		}
		if n := len(w.catalogue()); n != 1 {
			w.t.Fatalf("%d polls", n)
		}
	})
	run("races: reading beside writing", func(w *world) {
		w.rules.DailyVotes = 0
		const polls = 60
		u := w.user().ID
		all := w.polls(u, polls)
		var done atomic.Bool
		var readers sync.WaitGroup
		for i := range 3 {
			readers.Go(func() {
				s := w.instance(i)
				var last int64
				for !done.Load() {
					// In one snapshot the version is the number of changes, here
					// of different polls.
					set, err := s.Seen(w.ctx, u)
					if err != nil {
						w.t.Error(err)
						return
					}
					if int64(len(set.Positions)) != set.Version || set.Version < last {
						w.t.Errorf("version %d after %d with %d positions", set.Version, last, len(set.Positions))
					}
					last = set.Version
					var sum int64
					if _, err := s.LoadCatalogue(w.ctx, func(e domain.Entry) error { sum += e.Votes; return nil }); err != nil {
						w.t.Error(err)
						return
					}
					if sum < last {
						w.t.Errorf("%d votes in the catalogue after %d", sum, last)
					}
				}
			})
		}
		for i := 0; i < polls; i += 3 {
			w.interact(vote(u, all[i].ID, 0), vote(u, all[i+1].ID, 0), vote(u, all[i+2].ID, 0))
		}
		done.Store(true)
		readers.Wait()
	})
}
