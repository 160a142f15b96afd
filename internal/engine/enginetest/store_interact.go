package enginetest

import (
	"fmt"
	"slices"
	"time"

	"vote/internal/domain"
)

func testInteract(run func(string, func(*world))) {
	run("interact: a batch and everything that tells of it", func(w *world) {
		a, b := w.user().ID, w.user().ID
		polls := w.polls(a, 3)
		w.drainOutbox()
		w.clock.advance(time.Minute)
		now := w.clock.Now()
		batch := []domain.Interaction{
			vote(b, polls[2].ID, 1), vote(a, polls[0].ID, 0), skip(a, polls[1].ID), vote(b, polls[0].ID, 0),
			vote(a, polls[0].ID, 1), skip(a, polls[1].ID),
		}
		var facts []domain.Fact
		out, err := w.Interact(w.ctx, batch, func(f []domain.Fact) []domain.Verdict {
			facts = slices.Clone(f)
			return w.rules.Judge(batch, f)
		})
		w.must(err)
		fresh := domain.Fact{UserExists: true, PollExists: true, Options: 2}
		w.equal("facts", facts, []domain.Fact{fresh, fresh, fresh, fresh, fresh, fresh})
		want := domain.Outcome{
			Verdicts: []domain.Verdict{
				{Changed: true, Option: 1, VotesToday: 1}, {Changed: true, VotesToday: 1}, {Changed: true, VotesToday: 1},
				{Changed: true, VotesToday: 2}, {Code: domain.CodeAlreadyVoted, VotesToday: 1}, {VotesToday: 1},
			},
			Counts: []domain.Counts{
				{Poll: polls[0].ID, Votes: []int64{2, 0}, UpdatedAt: now},
				{Poll: polls[1].ID, Votes: []int64{0, 0}, Skips: 1, UpdatedAt: now},
				{Poll: polls[2].ID, Votes: []int64{0, 1}, UpdatedAt: now},
			},
			Users: []domain.UserChange{
				{User: a, Version: 2, Positions: []domain.Position{1, 2}},
				{User: b, Version: 2, Positions: []domain.Position{3, 1}},
			},
			At: now,
		}
		w.equal("outcome", out, want)
		w.equal("outbox", w.drainOutbox(), []domain.Changes{want.Changes(batch)})
		counts, err := w.Counts(w.ctx, []domain.PollID{polls[2].ID, polls[0].ID, polls[1].ID, polls[0].ID + 1e6})
		w.must(err)
		slices.SortFunc(counts, func(x, y domain.Counts) int { return int(x.Poll - y.Poll) })
		w.equal("counts", counts, want.Counts)
		states, err := w.UserStates(w.ctx, []domain.UserID{b, a, b + 1e6, b})
		w.must(err)
		ofA := domain.UserState{User: a, Version: 2, Recent: w.newest(1, 2)}
		ofB := domain.UserState{User: b, Version: 2, Recent: w.newest(3, 1)}
		w.equal("states", states, []domain.UserState{ofB, ofA, {User: b + 1e6}, ofB})
		set, err := w.Seen(w.ctx, b)
		w.must(err)
		slices.Sort(set.Positions)
		w.equal("seen", set, domain.SeenSet{Version: 2, Positions: []domain.Position{1, 3}})
		for _, test := range []struct {
			user domain.UserID
			poll domain.PollID
			want domain.Prior
		}{
			{a, polls[0].ID, domain.Prior{Voted: true}},
			{a, polls[1].ID, domain.Prior{Skipped: true}},
			{a, polls[2].ID, domain.Prior{}},
			{b, polls[2].ID, domain.Prior{Voted: true, Option: 1}},
			{b + 1e6, polls[0].ID, domain.Prior{}},
			{a, polls[0].ID + 1e6, domain.Prior{}},
		} {
			got, err := w.Prior(w.ctx, test.user, test.poll)
			w.must(err)
			w.equal(fmt.Sprintf("prior of %d on %d", test.user, test.poll), got, test.want)
		}
		totals, err := w.UserTotals(w.ctx, a)
		w.must(err)
		w.equal("totals", totals, domain.UserTotals{VotesToday: 1, Votes: 1, Skips: 1, Polls: 3})
		entries := w.catalogue()
		if e := entries[1]; e.Votes != 0 || e.Skips != 1 {
			w.t.Fatalf("entry %+v", e)
		}

		// The facts of the next batch tell of this one.
		batch = []domain.Interaction{
			vote(a, polls[0].ID, 0), vote(a, polls[1].ID, 0), skip(b, polls[2].ID), vote(b, polls[1].ID, 0),
		}
		_, err = w.Interact(w.ctx, batch, func(f []domain.Fact) []domain.Verdict {
			facts = slices.Clone(f)
			return make([]domain.Verdict, len(f))
		})
		w.must(err)
		fact := func(today int, p domain.Prior) domain.Fact {
			return domain.Fact{UserExists: true, VotesToday: today, PollExists: true, Options: 2, Prior: p}
		}
		w.equal("later facts", facts, []domain.Fact{
			fact(1, domain.Prior{Voted: true}), fact(1, domain.Prior{Skipped: true}),
			fact(2, domain.Prior{Voted: true, Option: 1}), fact(2, domain.Prior{}),
		})
		w.equal("outbox after nothing", w.drainOutbox(), []domain.Changes{})
	})
	run("interact: votes and skips of one poll", func(w *world) {
		u := w.user().ID
		p := w.polls(u, 3)
		want := func(n int, c domain.Counts, version int64) {
			w.t.Helper()
			c.Poll, c.UpdatedAt = p[n].ID, w.clock.Now()
			w.equal("counts", w.counts(p[n].ID), c)
			if got := w.state(u).Version; got != version {
				w.t.Fatalf("version %d, want %d", got, version)
			}
		}
		if v := w.wantVerdict(skip(u, p[0].ID), ""); !v.Changed {
			w.t.Fatal("a first skip changes nothing")
		}
		if v := w.wantVerdict(skip(u, p[0].ID), ""); v.Changed {
			w.t.Fatal("a repeated skip changes something")
		}
		want(0, domain.Counts{Votes: []int64{0, 0}, Skips: 1}, 1)
		w.wantVerdict(vote(u, p[0].ID, 1), "")
		want(0, domain.Counts{Votes: []int64{0, 1}, Skips: 1}, 2)
		w.wantVerdict(skip(u, p[0].ID), domain.CodeAlreadyVoted)
		if v := w.wantVerdict(vote(u, p[0].ID, 0), domain.CodeAlreadyVoted); v.Option != 1 {
			w.t.Fatalf("the refusal names option %d", v.Option)
		}
		w.wantVerdict(vote(u, p[1].ID, 0), "")
		w.wantVerdict(skip(u, p[1].ID), domain.CodeAlreadyVoted)
		want(1, domain.Counts{Votes: []int64{1, 0}}, 3)
		out := w.interact(skip(u, p[2].ID), vote(u, p[2].ID, 0), skip(u, p[2].ID))
		w.equal("all in one batch", out.Verdicts, []domain.Verdict{
			{Changed: true, VotesToday: 2}, {Changed: true, VotesToday: 3}, {Code: domain.CodeAlreadyVoted, VotesToday: 3},
		})
		want(2, domain.Counts{Votes: []int64{1, 0}, Skips: 1}, 5)
		w.equal("seen", w.seen(u), map[domain.Position]bool{1: true, 2: true, 3: true})
		w.equal("recent", w.state(u).Recent, w.newest(1, 1, 2, 3, 3))
		prior, err := w.Prior(w.ctx, u, p[0].ID)
		w.must(err)
		w.equal("prior", prior, domain.Prior{Voted: true, Option: 1, Skipped: true})
	})
	run("interact: what is refused changes nothing", func(w *world) {
		u := w.user().ID
		p := w.poll(u, "a", "b", "c")
		w.drainOutbox()
		before := w.counts(p.ID)
		refused := []struct {
			in   domain.Interaction
			code domain.Code
		}{
			{vote(u+1000, p.ID, 0), domain.CodeUnauthorized},
			{skip(-1, p.ID), domain.CodeUnauthorized},
			{vote(u, p.ID+1, 0), domain.CodeNotFound},
			{skip(u, 1), domain.CodeNotFound},
			{skip(u, -1), domain.CodeNotFound},
			{vote(u, domain.MaxID, 0), domain.CodeNotFound},
			{vote(u, p.ID, 3), domain.CodeInvalidOption},
			{vote(u, p.ID, -1), domain.CodeInvalidOption},
			{vote(u, p.ID, 1<<62), domain.CodeInvalidOption},
		}
		var all []domain.Interaction
		for _, r := range refused {
			w.wantVerdict(r.in, r.code)
			all = append(all, r.in)
		}
		out := w.interact(all...)
		for i, v := range out.Verdicts {
			if v.Code != refused[i].code {
				w.t.Fatalf("together: %+v: %q, want %q", all[i], v.Code, refused[i].code)
			}
		}
		if len(out.Counts)+len(out.Users) > 0 {
			w.t.Fatalf("refused, and yet %+v", out)
		}
		w.equal("counts", w.counts(p.ID), before)
		w.equal("state", w.state(u), domain.UserState{User: u})
		w.equal("outbox", w.drainOutbox(), []domain.Changes{})
		// The good among the bad are done.
		out = w.interact(append(all, vote(u, p.ID, 2))...)
		w.equal("counts of a mixed batch", out.Counts, []domain.Counts{
			{Poll: p.ID, Votes: []int64{0, 0, 1}, UpdatedAt: w.clock.Now()},
		})
	})
	run("interact: an empty batch", func(w *world) {
		out, err := w.Interact(w.ctx, nil, func(f []domain.Fact) []domain.Verdict { return make([]domain.Verdict, len(f)) })
		w.must(err)
		if len(out.Verdicts)+len(out.Counts)+len(out.Users) > 0 {
			w.t.Fatalf("outcome %+v", out)
		}
		w.equal("outbox", w.drainOutbox(), []domain.Changes{})
	})
	run("interact: polls that are not open", func(w *world) {
		u, v := w.user().ID, w.user().ID
		p := w.polls(u, 2)
		w.wantVerdict(vote(v, p[0].ID, 0), "")
		set := func(id domain.PollID, s domain.PollState) {
			w.t.Helper()
			_, err := w.SetPollState(w.ctx, id, s)
			w.must(err)
		}
		set(p[0].ID, domain.PollClosed)
		w.wantVerdict(vote(u, p[0].ID, 0), domain.CodePollClosed)
		w.wantVerdict(vote(v, p[0].ID, 0), domain.CodeAlreadyVoted)
		w.wantVerdict(skip(u, p[0].ID), "")
		set(p[0].ID, domain.PollHidden)
		w.wantVerdict(vote(u, p[0].ID, 0), domain.CodeNotFound)
		w.wantVerdict(skip(u, p[0].ID), domain.CodeNotFound)
		set(p[0].ID, domain.PollOpen)
		w.wantVerdict(vote(u, p[0].ID, 1), "")
		w.equal("counts", w.counts(p[0].ID), domain.Counts{
			Poll: p[0].ID, Votes: []int64{1, 1}, Skips: 1, UpdatedAt: w.clock.Now(),
		})
		_, err := w.DeletePoll(w.ctx, u, p[1].ID)
		w.must(err)
		w.wantVerdict(vote(u, p[1].ID, 0), domain.CodeNotFound)
		w.wantVerdict(skip(u, p[1].ID), domain.CodeNotFound)
	})
	run("interact: the daily limit and midnight", func(w *world) {
		w.rules.DailyVotes = 3
		u, v := w.user().ID, w.user().ID
		p := w.polls(u, 12)
		w.clock.advance(12*time.Hour - time.Millisecond) // the last of the day
		out := w.interact(vote(u, p[0].ID, 0), vote(u, p[1].ID, 0), skip(u, p[2].ID), vote(u, p[3].ID, 0),
			vote(u, p[4].ID, 0), vote(v, p[4].ID, 0), vote(u, p[0].ID, 0))
		w.equal("verdicts", out.Verdicts, []domain.Verdict{
			{Changed: true, VotesToday: 1}, {Changed: true, VotesToday: 2}, {Changed: true, VotesToday: 2},
			{Changed: true, VotesToday: 3}, {Code: domain.CodeDailyVoteLimit, VotesToday: 3},
			{Changed: true, VotesToday: 1}, {Code: domain.CodeAlreadyVoted, VotesToday: 3},
		})
		w.wantVerdict(vote(u, p[5].ID, 0), domain.CodeDailyVoteLimit)
		w.wantVerdict(skip(u, p[5].ID), "")
		today := func(want int) {
			w.t.Helper()
			totals, err := w.UserTotals(w.ctx, u)
			w.must(err)
			if totals.VotesToday != want {
				w.t.Fatalf("%d votes today, want %d", totals.VotesToday, want)
			}
		}
		today(3)
		w.clock.advance(time.Millisecond)
		today(0)
		for i := range 3 {
			if v := w.wantVerdict(vote(u, p[5+i].ID, 0), ""); v.VotesToday != i+1 {
				w.t.Fatalf("%d votes today, want %d", v.VotesToday, i+1)
			}
		}
		w.wantVerdict(vote(u, p[9].ID, 0), domain.CodeDailyVoteLimit)
		today(3)
		// A clock that goes back goes back to the day's own count.
		w.clock.advance(-time.Second)
		today(3)
		w.wantVerdict(vote(u, p[9].ID, 0), domain.CodeDailyVoteLimit)
		w.rules.DailyVotes = 0
		w.wantVerdict(vote(u, p[9].ID, 0), "")
		today(4)
		w.clock.advance(time.Second)
		today(3)
		w.restart()
		if v := w.wantVerdict(vote(u, p[10].ID, 0), ""); v.VotesToday != 4 {
			w.t.Fatalf("%d votes today, want 4", v.VotesToday)
		}
		w.clock.advance(-time.Second)
		today(4)
		w.wantVerdict(skip(u, p[11].ID), "")
		today(4)
		w.restart()
		if v := w.wantVerdict(vote(u, p[2].ID, 0), ""); v.VotesToday != 5 {
			w.t.Fatalf("%d votes today, want 5", v.VotesToday)
		}
		w.clock.advance(time.Second)
		today(4)
		w.clean()
		_, err := w.EraseUser(w.ctx, u, "")
		w.must(err)
		w.clean()
	})
	run("interact: more than the recent positions", func(w *world) {
		w.rules.DailyVotes = 0
		u := w.user().ID
		p := w.polls(u, 200)
		var want []domain.Position
		for i := 0; i < len(p); i += 25 {
			var batch []domain.Interaction
			for _, poll := range p[i : i+25] {
				batch = append(batch, skip(u, poll.ID))
				want = append(want, poll.Position)
			}
			slices.Reverse(batch)
			slices.Reverse(want[i:])
			w.interact(batch...)
			state := w.state(u)
			w.equal("state", state, domain.UserState{
				User: u, Version: int64(len(want)), Recent: w.newest(want...),
			})
		}
		// One batch with more than there is room for.
		v := w.user().ID
		var batch []domain.Interaction
		for _, poll := range p {
			batch = append(batch, vote(v, poll.ID, 0))
		}
		out := w.interact(batch...)
		if got := len(out.Users[0].Positions); got != len(p) {
			w.t.Fatalf("%d positions of %d", got, len(p))
		}
		state := w.state(v)
		w.equal("state after one batch", state, domain.UserState{
			User: v, Version: 200, Recent: w.newest(out.Users[0].Positions...),
		})
		if got := len(w.seen(v)); got != len(p) {
			w.t.Fatalf("%d seen of %d", got, len(p))
		}
	})
	run("interact: a batch of a thousand", func(w *world) {
		users := w.users(16)
		polls := w.polls(users[0], 70)
		var batch []domain.Interaction
		for _, p := range polls[:64] {
			for i, u := range users {
				if i%4 == 3 {
					batch = append(batch, skip(u, p.ID))
				} else {
					batch = append(batch, vote(u, p.ID, i%2))
				}
			}
		}
		out := w.interact(batch...)
		if len(out.Counts) != 64 || len(out.Users) != len(users) {
			w.t.Fatalf("%d polls and %d users changed", len(out.Counts), len(out.Users))
		}
		for _, c := range out.Counts {
			w.equal("counts", c, domain.Counts{Poll: c.Poll, Votes: []int64{8, 4}, Skips: 4, UpdatedAt: w.clock.Now()})
		}
		out = w.interact(batch...)
		if len(out.Counts) != 0 {
			w.t.Fatalf("a repeated batch changed %d polls", len(out.Counts))
		}
	})
}
