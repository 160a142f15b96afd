package enginetest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"vote/internal/domain"
)

// storeModel is what a store must remember, kept in the plainest way.
type storeModel struct {
	limit   int
	options map[domain.PollID]int
	at      map[domain.PollID]domain.Position
	state   map[domain.PollID]domain.PollState
	voted   map[[2]int64]int // by user and poll, the option
	skipped map[[2]int64]bool
	today   map[[2]int64]int // by user and day
	history map[domain.UserID][]domain.Position
	updated map[domain.PollID]time.Time // when last counted, or published
}

// apply is the rules of votes and skips in the words of the specification.
func (m *storeModel) apply(in domain.Interaction, now time.Time) domain.Verdict {
	key := [2]int64{int64(in.User), int64(in.Poll)}
	day := [2]int64{int64(in.User), int64(domain.DayOf(now))}
	v := domain.Verdict{VotesToday: m.today[day]}
	if _, ok := m.history[in.User]; !ok {
		v.Code = domain.CodeUnauthorized
		return v
	}
	options, ok := m.options[in.Poll]
	if !ok || m.state[in.Poll] >= domain.PollHidden {
		v.Code = domain.CodeNotFound
		return v
	}
	if !in.Skip && (in.Option < 0 || in.Option >= options) {
		v.Code = domain.CodeInvalidOption
		return v
	}
	if option, ok := m.voted[key]; ok {
		v.Code, v.Option = domain.CodeAlreadyVoted, option
		return v
	}
	if in.Skip {
		if v.Changed = !m.skipped[key]; v.Changed {
			m.skipped[key] = true
			m.changed(in, now)
		}
		return v
	}
	if m.state[in.Poll] == domain.PollClosed {
		v.Code = domain.CodePollClosed
		return v
	}
	if m.limit > 0 && m.today[day] >= m.limit {
		v.Code = domain.CodeDailyVoteLimit
		return v
	}
	m.voted[key] = in.Option
	m.today[day]++
	m.changed(in, now)
	return domain.Verdict{Changed: true, Option: in.Option, VotesToday: m.today[day]}
}

func (m *storeModel) changed(in domain.Interaction, now time.Time) {
	m.history[in.User] = append(m.history[in.User], m.at[in.Poll])
	m.updated[in.Poll] = now
}

func (m *storeModel) counts(id domain.PollID) domain.Counts {
	c := domain.Counts{Poll: id, Votes: make([]int64, m.options[id]), UpdatedAt: m.updated[id]}
	for key, option := range m.voted {
		if key[1] == int64(id) {
			c.Votes[option]++
		}
	}
	for key := range m.skipped {
		if key[1] == int64(id) {
			c.Skips++
		}
	}
	return c
}

// testHistories compares random histories with the model. All histories share
// one store, as strangers to one another.
func testHistories(run func(string, func(*world))) {
	run("histories: random ones agree with a model", func(w *world) {
		w.rules.DailyVotes = 4
		histories := 0
		rapid.Check(w.t, func(t *rapid.T) {
			if histories++; histories%25 == 0 {
				w.restart()
			}
			w.history(t)
		})
	})
}

func (w *world) history(t *rapid.T) {
	m := &storeModel{
		limit: w.rules.DailyVotes, options: map[domain.PollID]int{}, at: map[domain.PollID]domain.Position{},
		state: map[domain.PollID]domain.PollState{}, voted: map[[2]int64]int{}, skipped: map[[2]int64]bool{},
		today: map[[2]int64]int{}, history: map[domain.UserID][]domain.Position{}, updated: map[domain.PollID]time.Time{},
	}
	users := w.users(3)
	for _, u := range users {
		m.history[u] = nil
	}
	var polls []domain.PollID
	publish := func() {
		n := rapid.IntRange(1, 3).Draw(t, "polls")
		batch := make([]domain.NewPoll, n)
		for i := range batch {
			batch[i] = w.newPoll(users[0], []string{"a", "b", "c"}[:rapid.IntRange(2, 3).Draw(t, "options")]...)
		}
		for _, p := range w.publish(batch...) {
			polls = append(polls, p.Poll.ID)
			m.options[p.Poll.ID], m.at[p.Poll.ID] = len(p.Poll.Options), p.Poll.Position
			m.updated[p.Poll.ID] = w.clock.Now()
		}
	}
	publish()
	t.Repeat(map[string]func(*rapid.T){
		"interact": func(t *rapid.T) {
			batch := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) domain.Interaction {
				return domain.Interaction{
					User:   rapid.SampledFrom(append(slices.Clone(users), users[2]+1e6)).Draw(t, "user"),
					Poll:   rapid.SampledFrom(append(slices.Clone(polls), 5)).Draw(t, "poll"),
					Option: rapid.IntRange(-1, 3).Draw(t, "option"),
					Skip:   rapid.Bool().Draw(t, "skip"),
				}
			}), 1, 12).Draw(t, "batch")
			w.compareBatch(t, m, batch)
		},
		"publish": func(*rapid.T) { publish() },
		"set state": func(t *rapid.T) {
			id := rapid.SampledFrom(polls).Draw(t, "poll")
			state := domain.PollState(rapid.IntRange(0, 2).Draw(t, "state"))
			entry, err := w.SetPollState(w.ctx, id, state)
			if m.state[id] == domain.PollDeleted {
				wantRapid(t, domain.CodeOf(err), domain.CodeNotFound)
				return
			}
			wantRapid(t, domain.CodeOf(err), "")
			m.state[id] = state
			w.compareEntry(t, m, entry)
		},
		"delete": func(t *rapid.T) {
			id := rapid.SampledFrom(polls).Draw(t, "poll")
			by := rapid.SampledFrom(users[:2]).Draw(t, "user")
			entry, err := w.DeletePoll(w.ctx, by, id)
			want := domain.Code("")
			switch {
			case m.state[id] >= domain.PollHidden:
				want = domain.CodeNotFound
			case by != users[0]:
				want = domain.CodeForbidden
			case m.counts(id).TotalVotes() > 0:
				want = domain.CodeHasVotes
			}
			wantRapid(t, domain.CodeOf(err), want)
			if want == "" {
				m.state[id] = domain.PollDeleted
				w.compareEntry(t, m, entry)
			}
		},
		"time": func(t *rapid.T) {
			w.clock.advance(time.Duration(rapid.IntRange(1, 20*3600).Draw(t, "seconds")) * time.Second)
		},
	})
	w.compareAll(t, m, users, polls)
}

func wantRapid[T comparable](t *rapid.T, got, want T) {
	if got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func (w *world) compareBatch(t *rapid.T, m *storeModel, batch []domain.Interaction) {
	before := make(map[domain.UserID]int)
	for u, h := range m.history {
		before[u] = len(h)
	}
	out, err := w.interactOn(w.Store, batch...)
	if err != nil {
		t.Fatal(err)
	}
	now := w.clock.Now()
	changed := map[domain.PollID]bool{}
	for i, in := range batch {
		want := m.apply(in, now)
		wantRapid(t, out.Verdicts[i], want)
		if want.Changed {
			changed[in.Poll] = true
		}
	}
	want := domain.Outcome{Verdicts: out.Verdicts, At: now}
	for _, id := range slices.Sorted(maps.Keys(changed)) {
		want.Counts = append(want.Counts, m.counts(id))
	}
	for _, u := range slices.Sorted(maps.Keys(m.history)) {
		if h := m.history[u]; len(h) > before[u] {
			want.Users = append(want.Users, domain.UserChange{User: u, Version: int64(len(h)), Positions: h[before[u]:]})
		}
	}
	w.equal("outcome", out, want)
}

func (w *world) compareEntry(t *rapid.T, m *storeModel, e domain.Entry) {
	c := m.counts(e.Poll)
	want := domain.Entry{
		Position: m.at[e.Poll], Poll: e.Poll, Revision: e.Revision, State: m.state[e.Poll],
		Tags: []string{"general"}, Votes: c.TotalVotes(), Skips: c.Skips,
	}
	if want.State == domain.PollDeleted {
		want.Tags = nil
	}
	w.equal("entry", e, want)
	since, err := w.CatalogueSince(w.ctx, e.Revision-1, 1)
	if err != nil || len(since) != 1 {
		t.Fatalf("entry %+v: catalogue says %+v, %v", e, since, err)
	}
	w.equal("catalogue", since[0], e)
}

// compareAll compares everything that can be read.
func (w *world) compareAll(t *rapid.T, m *storeModel, users []domain.UserID, polls []domain.PollID) {
	for _, u := range users {
		h := m.history[u]
		w.equal("state", w.state(u), domain.UserState{
			User: u, Version: int64(len(h)), Recent: w.newest(h...),
		})
		seen := map[domain.Position]bool{}
		for _, p := range h {
			seen[p] = true
		}
		w.equal("seen", w.seen(u), seen)
		totals, err := w.UserTotals(w.ctx, u)
		if err != nil {
			t.Fatal(err)
		}
		want := domain.UserTotals{VotesToday: m.today[[2]int64{int64(u), int64(domain.DayOf(w.clock.Now()))}]}
		for key := range m.voted {
			if key[0] == int64(u) {
				want.Votes++
			}
		}
		for key := range m.skipped {
			if key[0] == int64(u) {
				want.Skips++
			}
		}
		if u == users[0] {
			for _, id := range polls {
				if m.state[id] != domain.PollDeleted {
					want.Polls++
				}
			}
		}
		w.equal("totals", totals, want)
		for _, id := range polls {
			prior, err := w.Prior(w.ctx, u, id)
			if err != nil {
				t.Fatal(err)
			}
			key := [2]int64{int64(u), int64(id)}
			option, ok := m.voted[key]
			w.equal("prior", prior, domain.Prior{Voted: ok, Option: option, Skipped: m.skipped[key]})
		}
	}
	var want []domain.Counts
	for _, id := range polls {
		if m.state[id] < domain.PollHidden {
			want = append(want, m.counts(id))
		}
	}
	got, err := w.Counts(w.ctx, polls)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b domain.Counts) int { return int(a.Poll - b.Poll) })
	w.equal(fmt.Sprintf("counts of %d polls", len(polls)), got, want)
}
