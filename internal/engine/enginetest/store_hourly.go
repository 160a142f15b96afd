package enginetest

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"vote/internal/domain"
)

// everyHour is a range that holds every hour.
const everyHour = domain.Hour(1 << 30)

func (w *world) hours(poll domain.PollID) []domain.HourlyCounts {
	w.t.Helper()
	hours, err := w.Hourly(w.ctx, poll, 0, everyHour)
	w.must(err)
	return hours
}

// events claims what is in the outbox and returns its votes and skips.
func (w *world) events() (rows []int64, list []domain.Processed) {
	w.t.Helper()
	claimed, err := w.ClaimOutbox(w.ctx, 1000, time.Minute)
	w.must(err)
	for _, r := range claimed {
		rows = append(rows, r.ID)
		list = append(list, w.processed(r)...)
	}
	return rows, list
}

func testHourly(run func(string, func(*world))) {
	run("hourly: votes, skips and showings by hour", func(w *world) {
		users := w.users(3)
		p := w.poll(users[0], "a", "b", "c")
		other := w.poll(users[0])
		first := domain.HourOf(w.clock.Now())
		w.interact(vote(users[0], p.ID, 2), skip(users[1], p.ID), vote(users[1], other.ID, 0))
		w.clock.advance(3 * time.Hour)
		w.interact(vote(users[1], p.ID, 2), vote(users[2], p.ID, 0))
		if hours := w.hours(p.ID); len(hours) != 0 {
			w.t.Fatalf("before anything was consumed: %+v", hours)
		}
		w.drainOutbox()
		w.must(w.AddShown(w.ctx, []domain.Shown{
			{Poll: p.ID, Hour: first, Times: 5}, {Poll: p.ID, Hour: first + 1, Times: 2}, {Poll: p.ID, Hour: first, Times: 1}, {Poll: 7, Hour: first, Times: 1},
		}))
		w.must(w.AddShown(w.ctx, []domain.Shown{{Poll: p.ID, Hour: first, Times: 1}}))
		want := []domain.HourlyCounts{
			{Hour: first, Votes: []int64{0, 0, 1}, Skips: 1, Shown: 7},
			{Hour: first + 1, Votes: []int64{0, 0, 0}, Shown: 2},
			{Hour: first + 3, Votes: []int64{1, 0, 1}},
		}
		w.equal("hours", w.hours(p.ID), want)
		w.restart()
		w.equal("after a restart", w.hours(p.ID), want)
		for _, c := range []struct {
			from, to domain.Hour
			want     []domain.HourlyCounts
		}{
			{first, first + 1, want[:1]},
			{first + 1, first + 3, want[1:2]},
			{first + 2, first + 4, want[2:]},
			{first + 4, everyHour, nil},
			{-1 << 30, first, nil},
			{first + 1, first + 1, nil},
			{first + 3, first, nil},
		} {
			hours, err := w.Hourly(w.ctx, p.ID, c.from, c.to)
			w.must(err)
			w.equal("a range", hours, c.want)
		}
		_, err := w.SetPollState(w.ctx, p.ID, domain.PollClosed)
		w.must(err)
		w.equal("closed", w.hours(p.ID), want)
		_, err = w.SetPollState(w.ctx, p.ID, domain.PollHidden)
		w.must(err)
		gone := w.poll(users[0])
		_, err = w.DeletePoll(w.ctx, users[0], gone.ID)
		w.must(err)
		for _, id := range []domain.PollID{p.ID, gone.ID, 7} {
			_, err = w.Hourly(w.ctx, id, 0, everyHour)
			w.wantCode(err, domain.CodeNotFound)
		}
	})
	run("hourly: each event counts once, however it comes", func(w *world) {
		users := w.users(8)
		polls := w.polls(users[0], 4)
		for i, p := range polls {
			var batch []domain.Interaction
			for j, u := range users {
				if (i+j)%3 == 0 {
					batch = append(batch, skip(u, p.ID))
				} else {
					batch = append(batch, vote(u, p.ID, j%2))
				}
			}
			w.interact(batch...)
			w.clock.advance(time.Hour)
		}
		rows, list := w.events()
		random := rand.New(rand.NewPCG(3, 4))
		for round := range 40 {
			part := slices.Clone(list)
			random.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
			part = part[:1+random.IntN(len(part))]
			part = append(part, part[:random.IntN(len(part))]...) // twice in one call
			w.must(w.CountHourly(w.ctx, part))
			if round%10 == 9 {
				w.clean()
				w.restart() // killed before it could confirm
			}
		}
		w.must(w.CountHourly(w.ctx, list))
		for i, p := range polls {
			c := w.counts(p.ID)
			w.equal("hours", w.hours(p.ID), []domain.HourlyCounts{{
				Hour: domain.HourOf(list[0].At) + domain.Hour(i), Votes: c.Votes, Skips: c.Skips,
			}})
		}
		w.must(w.DeleteOutbox(w.ctx, rows))
		w.must(w.CountHourly(w.ctx, list)) // delivered again all the same
		w.clean()
	})
	run("hourly: a poisoned call counts nothing", func(w *world) {
		u := w.user().ID
		p := w.poll(u)
		w.interact(vote(u, p.ID, 1))
		_, list := w.events()
		for _, bad := range []domain.Processed{
			{ID: domain.EventID{Row: 900}, Poll: 7, At: w.clock.Now()},
			{ID: domain.EventID{Row: 900}, Poll: 7, Skip: true, At: w.clock.Now()},
			{ID: domain.EventID{Row: 900}, Poll: p.ID, Option: 2, At: w.clock.Now()},
			{ID: domain.EventID{Row: 900}, Poll: p.ID, Option: -1, At: w.clock.Now()},
		} {
			if code := domain.CodeOf(w.CountHourly(w.ctx, append(slices.Clone(list), bad))); code != domain.CodeInternal {
				w.t.Fatalf("%+v: code %q", bad, code)
			}
			if hours := w.hours(p.ID); len(hours) != 0 {
				w.t.Fatalf("%+v: counted %+v", bad, hours)
			}
		}
		w.must(w.CountHourly(w.ctx, list))
		if hours := w.hours(p.ID); len(hours) != 1 {
			w.t.Fatalf("counted %+v", hours)
		}
	})
	run("hourly: consumers that race count once", func(w *world) {
		users := w.users(40)
		p := w.poll(users[0])
		for _, u := range users {
			w.interact(vote(u, p.ID, int(u)%2))
		}
		_, list := w.events()
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				for n := range list {
					part := list[(n+7*i)%len(list):]
					for tries := 0; ; tries++ {
						err := w.instance(i).CountHourly(w.ctx, part[:min(len(part), 5)])
						if err != nil && domain.CodeOf(err) == domain.CodeConflict && tries < maxTries {
							continue
						}
						if err != nil {
							w.t.Error(err)
						}
						break
					}
				}
			})
		}
		wg.Wait()
		w.must(w.CountHourly(w.ctx, list))
		hours := w.hours(p.ID)
		if len(hours) != 1 || !slices.Equal(hours[0].Votes, w.counts(p.ID).Votes) {
			w.t.Fatalf("hours %+v, counts %+v", hours, w.counts(p.ID))
		}
	})
	run("hourly: event ids are forgotten when they are old", func(w *world) {
		u := w.user().ID
		p := w.polls(u, 3)
		w.interact(vote(u, p[0].ID, 0), vote(u, p[1].ID, 0))
		w.drainOutbox()
		w.clock.advance(24 * time.Hour)
		w.interact(vote(u, p[2].ID, 0))
		_, list := w.events()
		w.must(w.CountHourly(w.ctx, list))
		forget := func(before time.Time) (all int64) {
			w.t.Helper()
			for {
				n, err := w.PruneCounted(w.ctx, before)
				w.must(err)
				if all += n; n == 0 {
					return all
				}
			}
		}
		if n := forget(w.clock.Now().Add(-25 * time.Hour)); n != 0 {
			w.t.Fatalf("%d forgotten too early", n)
		}
		for _, d := range []domain.DeadLetter{
			{Queue: "a", Event: domain.Event{ID: "1-0", Type: domain.EventVoteProcessed}},
			{Queue: "b", Event: domain.Event{ID: "1-malformed", Type: domain.EventMalformedRow}},
		} {
			d.Event.Data = []byte(`{}`)
			w.must(w.AddDeadLetter(w.ctx, d))
		}
		if n := forget(w.clock.Now()); n != 0 {
			w.t.Fatalf("%d forgotten that may be replayed", n)
		}
		letters, err := w.DeadLetters(w.ctx, "a", 0, 10)
		w.must(err)
		_, err = w.DropDeadLetters(w.ctx, []int64{letters[0].ID})
		w.must(err)
		if n := forget(w.clock.Now()); n != 1 {
			w.t.Fatalf("%d forgotten, want one row", n)
		}
		w.must(w.CountHourly(w.ctx, list)) // the young one is still known
		if hours := w.hours(p[2].ID); len(hours) != 1 || hours[0].Votes[0] != 1 {
			w.t.Fatalf("hours %+v", hours)
		}
	})
	run("hourly: a poll that is deleted meanwhile", func(w *world) {
		u := w.user().ID
		p := w.polls(u, 2)
		w.interact(skip(u, p[0].ID))
		for _, p := range p {
			_, err := w.DeletePoll(w.ctx, u, p.ID)
			w.must(err)
		}
		hour := domain.HourOf(w.clock.Now())
		for range 2 {
			w.must(w.AddShown(w.ctx, []domain.Shown{{Poll: p[0].ID, Hour: hour, Times: 1}, {Poll: p[1].ID, Hour: hour, Times: 1}}))
		}
		w.drainOutbox()
		w.clean()
	})
}
