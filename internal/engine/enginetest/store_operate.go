package enginetest

import (
	"fmt"
	"slices"
	"time"

	"vote/internal/domain"
)

// importUsers makes accounts in bulk.
func (w *world) importUsers(n int, at time.Time) []domain.UserID {
	w.t.Helper()
	batch := make([]domain.ImportUser, n)
	for i := range batch {
		batch[i] = domain.ImportUser{NewUser: w.newUser(), CreatedAt: at}
	}
	done, err := w.Import(w.ctx, domain.Import{Users: batch})
	w.must(err)
	return done.Users
}

// importPolls makes a poll of two options at each of the times.
func (w *world) importPolls(author domain.UserID, at ...time.Time) []domain.PollID {
	w.t.Helper()
	batch := make([]domain.ImportPoll, len(at))
	for i, t := range at {
		p := w.newPoll(author)
		batch[i] = domain.ImportPoll{Author: author, Title: p.Title, Options: p.Options, Tags: p.Tags, At: t}
	}
	done, err := w.Import(w.ctx, domain.Import{Polls: batch})
	w.must(err)
	return done.Polls
}

func (w *world) importInteractions(batch ...domain.ImportInteraction) error {
	_, err := w.Import(w.ctx, domain.Import{Interactions: batch})
	return err
}

func testImport(run func(string, func(*world))) {
	at := func(in domain.Interaction, t time.Time) domain.ImportInteraction {
		return domain.ImportInteraction{Interaction: in, At: t}
	}
	run("import: rows are as if they had happened at their times", func(w *world) {
		now := w.clock.Now()
		past := now.Add(-10 * 24 * time.Hour)
		users := w.importUsers(3, past)
		u, err := w.UserByID(w.ctx, users[1])
		w.must(err)
		if !u.CreatedAt.Equal(past) {
			w.t.Fatalf("made at %v, want %v", u.CreatedAt, past)
		}
		polls := w.importPolls(users[0], past, past, past.Add(time.Hour), now)
		more := w.importPolls(users[1], now)
		entries := w.catalogue()
		if len(entries) != 5 || !slices.IsSorted(polls) || more[0] <= polls[3] {
			w.t.Fatalf("%d entries, ids %d and %d", len(entries), polls, more)
		}
		if p, err := w.Poll(w.ctx, polls[2]); err != nil || !p.CreatedAt.Equal(past.Add(time.Hour)) || !polls[2].Time().Equal(p.CreatedAt) {
			w.t.Fatalf("poll %+v, %v", p, err)
		}
		found, err := w.Search(w.ctx, domain.SearchTerms("poll"), 1000, 100)
		w.must(err)
		w.equal("found", found, []domain.Position{5, 4, 3, 2, 1})

		day := 24 * time.Hour
		w.must(w.importInteractions(
			at(vote(users[0], polls[0], 1), past), at(skip(users[0], polls[1]), past.Add(day)),
			at(vote(users[0], polls[1], 0), past.Add(2*day)), at(vote(users[1], polls[0], 0), past.Add(day)),
		))
		w.must(w.importInteractions(at(vote(users[0], polls[3], 0), now), at(vote(users[1], polls[2], 1), past.Add(day))))
		w.equal("counts", w.counts(polls[0]), domain.Counts{Poll: polls[0], Votes: []int64{1, 1}, UpdatedAt: past.Add(day)})
		w.equal("counts", w.counts(polls[1]), domain.Counts{Poll: polls[1], Votes: []int64{1, 0}, Skips: 1, UpdatedAt: past.Add(2 * day)})
		w.equal("state", w.state(users[0]), domain.UserState{User: users[0], Version: 4, Recent: w.newest(1, 2, 2, 4)})
		w.equal("seen", w.seen(users[0]), map[domain.Position]bool{1: true, 2: true, 4: true})
		totals, err := w.UserTotals(w.ctx, users[0])
		w.must(err)
		w.equal("totals", totals, domain.UserTotals{VotesToday: 1, Votes: 3, Skips: 1, Polls: 4})
		var history []domain.PollID
		for _, past := range append(w.walkPast(users[0], false, 2), w.walkPast(users[0], true, 2)...) {
			history = append(history, past.Poll)
		}
		w.equal("history", history, []domain.PollID{polls[3], polls[1], polls[0], polls[1]})
		hours, err := w.Hourly(w.ctx, polls[0], 0, 1<<30)
		w.must(err)
		w.equal("hours", hours, []domain.HourlyCounts{
			{Hour: domain.HourOf(past), Votes: []int64{0, 1}}, {Hour: domain.HourOf(past.Add(day)), Votes: []int64{1, 0}},
		})
		w.equal("events", w.drainOutbox(), []domain.Changes{})
		w.clean()

		// What comes afterwards goes on from there.
		w.wantVerdict(vote(users[0], polls[0], 0), domain.CodeAlreadyVoted)
		if v := w.one(vote(users[0], polls[2], 0)); v.VotesToday != 2 {
			w.t.Fatalf("verdict %+v", v)
		}
		p := w.poll(users[0])
		if p.Position != 6 || p.ID <= more[0] {
			w.t.Fatalf("the next poll is %d at %d", p.ID, p.Position)
		}
		w.restart()
		w.equal("state", w.state(users[0]).Version, int64(5))
		if votes := w.walkPast(users[0], false, 3); len(votes) != 4 || votes[0].Poll != polls[2] {
			w.t.Fatalf("votes %+v", votes)
		}
	})
	run("import: more than is remembered as recent", func(w *world) {
		past := w.clock.Now().Add(-time.Hour)
		u := w.importUsers(1, past)[0]
		polls := w.importPolls(u, slices.Repeat([]time.Time{past}, domain.RecentPositions+10)...)
		var batch []domain.ImportInteraction
		for _, p := range polls {
			batch = append(batch, at(skip(u, p), past))
		}
		w.must(w.importInteractions(batch...))
		var positions []domain.Position
		for i := range polls {
			positions = append(positions, domain.Position(i+1))
		}
		w.equal("state", w.state(u), domain.UserState{User: u, Version: int64(len(polls)), Recent: w.newest(positions...)})
	})
	run("import: nothing of a batch that breaks a rule", func(w *world) {
		now := w.clock.Now()
		past := now.Add(-time.Hour)
		users := w.importUsers(2, past)
		polls := w.importPolls(users[0], past, past, past)
		_, err := w.SetPollState(w.ctx, polls[2], domain.PollClosed)
		w.must(err)
		w.must(w.importInteractions(at(vote(users[0], polls[0], 0), now)))
		before := []any{w.catalogue(), w.counts(polls[0]), w.counts(polls[1]), w.state(users[0]), w.state(users[1])}
		good := at(vote(users[1], polls[1], 0), now)
		for name, bad := range map[string]domain.ImportInteraction{
			"no such user":     at(vote(users[1]+1000, polls[1], 0), now),
			"no such poll":     at(vote(users[0], polls[2]+1, 0), now),
			"no such option":   at(vote(users[0], polls[1], 2), now),
			"voted before":     at(vote(users[0], polls[0], 0), now),
			"skipped after":    at(skip(users[0], polls[0]), now),
			"twice":            good,
			"closed":           at(vote(users[0], polls[2], 0), now),
			"before its poll":  at(vote(users[0], polls[1], 0), past.Add(-time.Minute)),
			"of the future":    at(vote(users[0], polls[1], 0), now.Add(time.Minute)),
			"a negative index": at(vote(users[0], polls[1], -1), now),
		} {
			if err := w.importInteractions(good, bad); domain.CodeOf(err) != domain.CodeInvalid {
				w.t.Errorf("%s: %v", name, err)
			}
		}
		taken := w.newUser()
		for name, c := range map[string]struct {
			batch domain.Import
			code  domain.Code
		}{
			"an author who does not exist": {domain.Import{Polls: []domain.ImportPoll{{Author: users[1] + 1000, Title: "x", Options: []string{"a", "b"}, Tags: []string{"x"}, At: now}}}, domain.CodeInvalid},
			"older than the newest":        {domain.Import{Polls: []domain.ImportPoll{{Author: users[0], Title: "x", Options: []string{"a", "b"}, Tags: []string{"x"}, At: past.Add(-time.Minute)}}}, domain.CodeInvalid},
			"a poll of the future":         {domain.Import{Polls: []domain.ImportPoll{{Author: users[0], Title: "x", Options: []string{"a", "b"}, Tags: []string{"x"}, At: now.Add(time.Minute)}}}, domain.CodeInvalid},
			"a user of the future":         {domain.Import{Users: []domain.ImportUser{{NewUser: w.newUser(), CreatedAt: now.Add(time.Minute)}}}, domain.CodeInvalid},
			"one address twice":            {domain.Import{Users: []domain.ImportUser{{NewUser: taken, CreatedAt: now}, {NewUser: taken, CreatedAt: now}}}, domain.CodeEmailTaken},
		} {
			if _, err := w.Import(w.ctx, c.batch); domain.CodeOf(err) != c.code {
				w.t.Errorf("%s: %v, want %s", name, err, c.code)
			}
		}
		_, err = w.UserByEmail(w.ctx, taken.EmailKey)
		w.wantCode(err, domain.CodeNotFound)
		w.equal("afterwards", []any{w.catalogue(), w.counts(polls[0]), w.counts(polls[1]), w.state(users[0]), w.state(users[1])}, before)
		w.must(w.importInteractions(good))
		w.must(w.importInteractions())
	})
}

func testArchive(run func(string, func(*world))) {
	// history makes three polls of a past month with votes and skips, one of the
	// next month, and two users.
	history := func(w *world) (month domain.Month, users []domain.UserID, polls []domain.PollID) {
		month = domain.MonthOf(w.clock.Now()) - 4
		users = w.importUsers(2, month.Start())
		polls = w.importPolls(users[0], month.Start(), month.Start().Add(time.Hour), month.End().Add(-time.Millisecond), month.End())
		now := w.clock.Now()
		w.must(w.importInteractions(
			domain.ImportInteraction{Interaction: vote(users[0], polls[0], 0), At: month.Start()},
			domain.ImportInteraction{Interaction: vote(users[0], polls[2], 1), At: month.End()},
			domain.ImportInteraction{Interaction: vote(users[0], polls[3], 1), At: month.End()},
			domain.ImportInteraction{Interaction: vote(users[1], polls[0], 1), At: now},
			domain.ImportInteraction{Interaction: skip(users[1], polls[1]), At: now},
			domain.ImportInteraction{Interaction: vote(users[1], polls[3], 1), At: now},
		))
		return month, users, polls
	}
	run("archive: a month's polls are closed for good, and keep their counts", func(w *world) {
		month, users, polls := history(w)
		var counts []domain.Counts
		for _, p := range polls {
			counts = append(counts, w.counts(p))
		}
		revision := w.catalogue()[3].Revision
		done, err := w.ArchiveMonth(w.ctx, month)
		w.must(err)
		if done.Place == "" {
			w.t.Error("no place is named")
		}
		want := domain.ArchivedMonth{Month: month, ClosedAt: w.clock.Now(), Polls: 3, Votes: 3, Skips: 1, Place: done.Place}
		w.equal("done", done, want)
		w.clean()
		report, err := w.Check(w.ctx, w.rules)
		w.must(err)
		if report.Votes != 2 || report.Skips != 0 {
			w.t.Fatalf("%d votes and %d skips are left", report.Votes, report.Skips)
		}

		w.clock.advance(time.Minute)
		again, err := w.ArchiveMonth(w.ctx, month)
		w.must(err)
		w.equal("again", again, want)
		w.restart()
		for i, p := range polls {
			w.equal("counts", w.counts(p), counts[i])
		}
		entries := w.catalogue()
		for i, e := range entries {
			if open := i == 3; (e.State == domain.PollOpen) != open || open != (e.Revision <= revision) {
				w.t.Errorf("entry %+v", e)
			}
		}
		found, err := w.Search(w.ctx, domain.SearchTerms("poll"), 1000, 100)
		w.must(err)
		w.equal("found", found, []domain.Position{4})
		// Nobody acts on them again, whether they did before or not.
		stranger := w.user().ID
		for _, u := range append(users, stranger) {
			w.wantVerdict(vote(u, polls[0], 0), domain.CodePollClosed)
			for _, p := range polls[:3] {
				if v := w.wantVerdict(skip(u, p), ""); v.Changed {
					w.t.Errorf("a skip of archived poll %d changed something", p)
				}
			}
		}
		_, err = w.SetPollState(w.ctx, polls[1], domain.PollOpen)
		w.wantCode(err, domain.CodePollClosed)
		_, err = w.SetPollState(w.ctx, polls[1], domain.PollHidden)
		w.must(err)
		_, err = w.SetPollState(w.ctx, polls[1], domain.PollOpen)
		w.wantCode(err, domain.CodePollClosed)
		_, err = w.SetPollState(w.ctx, polls[1], domain.PollClosed)
		w.must(err)
		w.wantCode(w.importInteractions(domain.ImportInteraction{Interaction: vote(stranger, polls[0], 0), At: w.clock.Now()}), domain.CodeInvalid)

		// What was moved is in no list, and those go on behind it.
		for i, u := range users {
			for _, limit := range []int{1, 10} {
				votes, skips := w.walkPast(u, false, limit), w.walkPast(u, true, limit)
				if len(votes) != 1 || votes[0].Poll != polls[3] || len(skips) != 0 {
					w.t.Errorf("user %d by %d: votes %+v, skips %+v", i, limit, votes, skips)
				}
			}
		}
		// The hours stay.
		if hours, err := w.Hourly(w.ctx, polls[0], 0, 1<<30); err != nil || len(hours) != 2 {
			w.t.Errorf("hours %+v, %v", hours, err)
		}

		// What people have done still counts, and their day goes on.
		totals, err := w.UserTotals(w.ctx, users[1])
		w.must(err)
		w.equal("totals", totals, domain.UserTotals{VotesToday: 2, Votes: 2, Skips: 1})
		if v := w.state(users[1]).Version; v != 3 {
			w.t.Errorf("version %d", v)
		}
		p := w.poll(users[0])
		w.rules.DailyVotes = 3
		w.wantVerdict(vote(users[1], p.ID, 0), "")
		w.wantVerdict(vote(users[1], w.poll(users[0]).ID, 0), domain.CodeDailyVoteLimit)
	})
	run("archive: month after month, and one without polls", func(w *world) {
		month, users, polls := history(w)
		for _, m := range []domain.Month{month, month + 1, month - 1} {
			_, err := w.ArchiveMonth(w.ctx, m)
			w.must(err)
		}
		w.wantVerdict(vote(users[0], polls[3], 0), domain.CodePollClosed)
		report, err := w.Check(w.ctx, w.rules)
		w.must(err)
		if report.Votes+report.Skips != 0 {
			w.t.Fatalf("%d votes and %d skips are left", report.Votes, report.Skips)
		}
		_, err = w.Import(w.ctx, domain.Import{Polls: []domain.ImportPoll{{
			Author: users[0], Title: "x", Options: []string{"a", "b"}, Tags: []string{"x"}, At: (month + 1).End().Add(-time.Hour),
		}}})
		w.wantCode(err, domain.CodeInvalid)
	})
	run("archive: a month that is too young", func(w *world) {
		u := w.user().ID
		p := w.poll(u)
		now := w.clock.Now()
		for _, m := range []domain.Month{domain.MonthOf(now), domain.MonthOf(now) + 5, domain.MonthOf(now.Add(-domain.MinArchiveAge))} {
			if _, err := w.ArchiveMonth(w.ctx, m); domain.CodeOf(err) != domain.CodeInvalid {
				w.t.Errorf("%s at %v: %v", m, now, err)
			}
		}
		w.wantVerdict(vote(u, p.ID, 0), "")
	})
}

func testReplay(run func(string, func(*world))) {
	letter := func(w *world, queue, id, kind string) int64 {
		w.must(w.AddDeadLetter(w.ctx, domain.DeadLetter{
			Queue: queue, Reason: "r", At: w.clock.Now(),
			Event: domain.Event{
				SpecVersion: "1.0", ID: id, Source: domain.EventSource, Type: kind, Time: w.clock.Now(),
				DataContentType: "application/json", Data: []byte(`{"pollId":7}`),
			},
		}))
		all, err := w.DeadLetters(w.ctx, queue, 0, 1000)
		w.must(err)
		return all[len(all)-1].ID
	}
	run("dead letters: replayed by way of the outbox, under their ids", func(w *world) {
		a, b := letter(w, "a", "1-0", domain.EventVoteCast), letter(w, "b", "1-0", domain.EventVoteCast)
		c, kept := letter(w, "a", "1-1", domain.EventUserSeen), letter(w, "a", "1-2", domain.EventVoteCast)
		n, err := w.ReplayDeadLetters(w.ctx, []int64{a, b, c, kept + 1000})
		w.must(err)
		if n != 3 {
			w.t.Errorf("%d replayed", n)
		}
		w.restart()
		n, err = w.ReplayDeadLetters(w.ctx, []int64{a, b, c})
		w.must(err)
		if n != 0 {
			w.t.Errorf("%d replayed again", n)
		}
		left, err := w.DeadLetters(w.ctx, "", 0, 10)
		w.must(err)
		if len(left) != 1 || left[0].ID != kept {
			w.t.Fatalf("left %+v", left)
		}
		rows := w.drainOutbox()
		if len(rows) != 1 {
			w.t.Fatalf("%d rows", len(rows))
		}
		var ids []string
		for _, e := range rows[0].Events(99) {
			ids = append(ids, e.Type+" "+e.ID+" "+string(e.Data))
		}
		w.equal("events", ids, []string{`vote.cast 1-0 {"pollId":7}`, `user.seen 1-1 {"pollId":7}`})
	})
	run("dead letters: many, and none", func(w *world) {
		var ids []int64
		for i := range 250 {
			ids = append(ids, letter(w, "a", fmt.Sprint(i), domain.EventVoteCast))
		}
		for _, want := range []int64{250, 0} {
			n, err := w.ReplayDeadLetters(w.ctx, ids)
			w.must(err)
			if n != want {
				w.t.Errorf("%d replayed, want %d", n, want)
			}
		}
		events := 0
		for _, row := range w.drainOutbox() {
			events += row.Len()
		}
		if events != 250 {
			w.t.Errorf("%d events", events)
		}
	})
	run("dead letters: a row that could not be read is not replayed", func(w *world) {
		good, bad := letter(w, "a", "1-0", domain.EventVoteCast), letter(w, "outbox", "1-malformed", domain.EventMalformedRow)
		_, err := w.ReplayDeadLetters(w.ctx, []int64{good, bad})
		w.wantCode(err, domain.CodeInvalid)
		left, err := w.DeadLetters(w.ctx, "", 0, 10)
		w.must(err)
		if len(left) != 2 || len(w.drainOutbox()) != 0 {
			w.t.Fatalf("left %+v", left)
		}
	})
	run("dead letters: dropped", func(w *world) {
		a, b := letter(w, "a", "1-0", domain.EventVoteCast), letter(w, "b", "1-0", domain.EventVoteCast)
		for _, want := range []int64{1, 0} {
			n, err := w.DropDeadLetters(w.ctx, []int64{a, b + 1000})
			w.must(err)
			if n != want {
				w.t.Errorf("%d dropped, want %d", n, want)
			}
		}
		left, err := w.DeadLetters(w.ctx, "", 0, 10)
		w.must(err)
		if len(left) != 1 || left[0].ID != b || len(w.drainOutbox()) != 0 {
			w.t.Fatalf("left %+v", left)
		}
	})
}
