package enginetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"vote/internal/domain"
)

// walkPast returns a user's whole history of one kind, read by pages, without the
// numbers, which must fall.
func (w *world) walkPast(user domain.UserID, skips bool, limit int) []domain.PastInteraction {
	w.t.Helper()
	var all []domain.PastInteraction
	for before := int64(0); ; {
		page, err := w.PastInteractions(w.ctx, user, skips, before, limit)
		w.must(err)
		if len(page) > limit {
			w.t.Fatalf("a page of %d, asked for %d", len(page), limit)
		}
		for _, past := range page {
			if past.Number <= 0 || before > 0 && past.Number >= before {
				w.t.Fatalf("number %d after %d", past.Number, before)
			}
			before, past.Number = past.Number, 0
			all = append(all, past)
		}
		if len(page) < limit {
			return all
		}
	}
}

func testPast(run func(string, func(*world))) {
	run("history: everything once, newest first, by pages of any size", func(w *world) {
		w.rules.DailyVotes = 0
		const n = 300
		author := w.user().ID
		users := w.users(2)
		polls := w.polls(author, n)
		random := rand.New(rand.NewPCG(1, 2))
		// What must be there, oldest first.
		want := map[domain.UserID]map[bool][]domain.PastInteraction{}
		number := map[domain.UserID]int{}
		add := func(u domain.UserID, p domain.Poll, skip bool) domain.Interaction {
			number[u]++
			past := domain.PastInteraction{Poll: p.ID, Title: p.Title, At: w.clock.Now()}
			if !skip {
				past.Option = number[u] % 2
				past.Text = p.Options[past.Option]
			}
			if want[u] == nil {
				want[u] = map[bool][]domain.PastInteraction{}
			}
			want[u][skip] = append(want[u][skip], past)
			return domain.Interaction{User: u, Poll: p.ID, Skip: skip, Option: past.Option}
		}
		check := func() {
			w.t.Helper()
			for _, u := range users {
				for _, skips := range []bool{false, true} {
					expected := slices.Clone(want[u][skips])
					slices.Reverse(expected)
					for _, limit := range []int{1, 7, 64, 100, 1000} {
						w.equal(fmt.Sprintf("skips %t by %d", skips, limit), w.walkPast(u, skips, limit), expected)
					}
				}
			}
		}
		// Not in order of the polls, in batches of all sizes; some are skipped
		// first and voted on later, also in one batch.
		order := random.Perm(n)
		for len(order) > 0 {
			size := min(len(order), 1+random.IntN(150))
			var batch []domain.Interaction
			for _, i := range order[:size] {
				for _, u := range users {
					switch random.IntN(4) {
					case 0:
						batch = append(batch, add(u, polls[i], true))
					case 1:
						batch = append(batch, add(u, polls[i], true), skip(u, polls[i].ID), add(u, polls[i], false))
					default:
						batch = append(batch, add(u, polls[i], false), skip(u, polls[i].ID))
					}
				}
			}
			w.interact(batch...)
			w.clock.advance(time.Second)
			order = order[size:]
			if len(order) == 0 || random.IntN(2) == 0 {
				check()
			}
			if random.IntN(3) == 0 {
				w.restart()
			}
		}
		check()
	})
	run("history: one interaction at a time", func(w *world) {
		w.rules.DailyVotes = 0
		u := w.user().ID
		var want []domain.PollID
		for i, p := range w.polls(u, 20) {
			if i == 7 || i == 8 {
				w.restart()
			}
			w.interact(vote(u, p.ID, 0))
			want = append([]domain.PollID{p.ID}, want...)
			var got []domain.PollID
			for _, past := range w.walkPast(u, false, 1000) {
				got = append(got, past.Poll)
			}
			w.equal("polls", got, want)
		}
		w.equal("skips", w.walkPast(u, true, 10), []domain.PastInteraction{})
	})
	run("history: a walk stays right while votes are added", func(w *world) {
		u := w.user().ID
		polls := w.polls(u, 90)
		for _, p := range polls[:20] {
			w.interact(vote(u, p.ID, 1))
		}
		first, err := w.PastInteractions(w.ctx, u, false, 0, 5)
		w.must(err)
		for _, p := range polls[20:] {
			w.interact(vote(u, p.ID, 1))
		}
		rest, err := w.PastInteractions(w.ctx, u, false, first[4].Number, 100)
		w.must(err)
		if len(rest) != 15 || rest[0].Poll != polls[14].ID || rest[14].Poll != polls[0].ID {
			w.t.Fatalf("%d left: %+v", len(rest), rest)
		}
	})
	run("history: refusals leave none", func(w *world) {
		u := w.user().ID
		p := w.poll(u)
		w.interact(vote(u, p.ID, 5), vote(u, p.ID, 0), vote(u, p.ID, 1), skip(u, p.ID), vote(u, 7, 0))
		if got := w.walkPast(u, false, 10); len(got) != 1 || got[0].Option != 0 {
			w.t.Fatalf("votes %+v", got)
		}
		if got := w.walkPast(u, true, 10); len(got) != 0 {
			w.t.Fatalf("skips %+v", got)
		}
	})
	run("history: of what is hidden or deleted the texts are gone", func(w *world) {
		u := w.user().ID
		p := w.polls(u, 3)
		w.interact(vote(u, p[0].ID, 1), skip(u, p[0].ID), vote(u, p[1].ID, 0), skip(u, p[2].ID))
		_, err := w.SetPollState(w.ctx, p[0].ID, domain.PollHidden)
		w.must(err)
		_, err = w.SetPollState(w.ctx, p[1].ID, domain.PollClosed)
		w.must(err)
		_, err = w.DeletePoll(w.ctx, u, p[2].ID)
		w.must(err)
		now := w.clock.Now()
		w.equal("votes", w.walkPast(u, false, 10), []domain.PastInteraction{
			{Poll: p[1].ID, State: domain.PollClosed, Title: p[1].Title, Text: "yes", At: now},
			{Poll: p[0].ID, State: domain.PollHidden, Option: 1, At: now},
		})
		w.equal("skips", w.walkPast(u, true, 10), []domain.PastInteraction{{Poll: p[2].ID, State: domain.PollDeleted, At: now}})
	})
	run("history: of nobody, and no more than asked", func(w *world) {
		u := w.user().ID
		w.interact(vote(u, w.poll(u).ID, 0))
		for _, c := range []struct {
			user   domain.UserID
			before int64
			limit  int
		}{{u + 100, 0, 10}, {u, 0, 0}, {u, 0, -1}, {u, 1, 10}} {
			if got, err := w.PastInteractions(w.ctx, c.user, false, c.before, c.limit); err != nil || len(got) != 0 {
				w.t.Errorf("%+v: %+v, %v", c, got, err)
			}
		}
	})
	run("polls of an author", func(w *world) {
		u, v := w.user(), w.user()
		p := w.polls(u.ID, 5)
		w.polls(v.ID, 2)
		w.interact(vote(u.ID, p[3].ID, 0), vote(v.ID, p[3].ID, 0))
		_, err := w.DeletePoll(w.ctx, u.ID, p[2].ID)
		w.must(err)
		for i, state := range map[int]domain.PollState{1: domain.PollHidden, 4: domain.PollClosed} {
			_, err = w.SetPollState(w.ctx, p[i].ID, state)
			w.must(err)
			p[i].State = state
		}
		want := []domain.OwnPoll{{Poll: p[4]}, {Poll: p[3], Votes: 2}, {Poll: p[1]}, {Poll: p[0]}}
		get := func(before domain.PollID, limit int) []domain.OwnPoll {
			w.t.Helper()
			polls, err := w.PollsBy(w.ctx, u.ID, before, limit)
			w.must(err)
			return polls
		}
		w.equal("all", get(0, 10), want)
		w.equal("the first", get(0, 2), want[:2])
		w.equal("the next", get(want[1].ID, 2), want[2:])
		w.equal("no more", get(want[3].ID, 2), []domain.OwnPoll{})
		w.equal("none", get(0, 0), []domain.OwnPoll{})
	})
}
