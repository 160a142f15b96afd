package enginetest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"vote/internal/domain"
)

// testWhole holds what concerns all methods.
func testWhole(run func(string, func(*world))) {
	run("whole: ready, and a check that looks", func(w *world) {
		w.must(w.Ready(w.ctx))
		u, v := w.user().ID, w.user().ID
		p := w.polls(u, 3)
		w.interact(vote(u, p[0].ID, 0), vote(v, p[0].ID, 0), skip(v, p[1].ID))
		report, err := w.Check(w.ctx, w.rules)
		w.must(err)
		if report.Users != 2 || report.Polls != 3 || report.Votes != 2 || report.Skips != 1 || report.OutboxRows != 2 {
			w.t.Fatalf("report %+v", report)
		}
		rules := slices.Clone(report.Rules)
		slices.Sort(rules)
		if len(slices.Compact(rules)) != len(report.Rules) || len(rules) == 0 {
			w.t.Fatalf("rules %q", report.Rules)
		}
		// The limit is the caller's.
		report, err = w.Check(w.ctx, domain.Rules{DailyVotes: 1})
		w.must(err)
		w.equal("violations", report.Violations, []domain.Violation{})
		w.interact(vote(v, p[2].ID, 0))
		report, err = w.Check(w.ctx, domain.Rules{DailyVotes: 1})
		w.must(err)
		if len(report.Violations) != 1 || report.Violations[0].Invariant != 7 || report.Violations[0].Count != 1 {
			w.t.Fatalf("violations %+v", report.Violations)
		}
	})
	run("whole: a restart keeps everything", func(w *world) {
		owner := w.user()
		users := append([]domain.UserID{owner.ID}, w.users(3)...)
		session, token, next := w.newSession(), w.token(), w.token()
		session.User = owner.ID
		w.must(w.CreateSession(w.ctx, session, token, owner.PasswordHash))
		_, err := w.RotateRefresh(w.ctx, token, next, session.ExpiresAt)
		w.must(err)
		polls := w.polls(users[0], 20)
		keyed := w.newPoll(users[1])
		keyed.IdempotencyKey = "key"
		w.publish(keyed)
		for i, u := range users {
			var batch []domain.Interaction
			for j, p := range polls {
				if (i+j)%3 == 0 {
					batch = append(batch, skip(u, p.ID))
				} else if j > 4 {
					batch = append(batch, vote(u, p.ID, (i+j)%2))
				}
			}
			w.interact(batch...)
		}
		_, err = w.SetPollState(w.ctx, polls[7].ID, domain.PollHidden)
		w.must(err)
		_, err = w.DeletePoll(w.ctx, users[0], polls[1].ID)
		w.must(err)
		_, err = w.Rank(w.ctx, 10, time.Minute, time.Hour)
		w.must(err)
		w.must(w.AddDeadLetter(w.ctx, domain.DeadLetter{
			Queue: "q", Reason: "r", At: w.clock.Now(), Event: domain.Event{ID: "1-0", Data: []byte(`{}`)},
		}))

		everything := func() map[string]any {
			all := map[string]any{"catalogue": w.catalogue()}
			keep := func(name string, v any, err error) {
				w.t.Helper()
				w.must(err)
				all[name] = v
			}
			ids := make([]domain.PollID, len(polls))
			positions := make([]domain.Position, len(polls))
			for i, p := range polls {
				ids[i], positions[i] = p.ID, p.Position
			}
			counts, err := w.Counts(w.ctx, ids)
			slices.SortFunc(counts, func(a, b domain.Counts) int { return int(a.Poll - b.Poll) })
			keep("counts", counts, err)
			at, err := w.PollsAt(w.ctx, positions)
			slices.SortFunc(at, func(a, b domain.Poll) int { return int(a.ID - b.ID) })
			keep("polls", at, err)
			states, err := w.UserStates(w.ctx, users)
			keep("states", states, err)
			for _, u := range users {
				user, err := w.UserByID(w.ctx, u)
				keep(fmt.Sprint("user ", u), user, err)
				totals, err := w.UserTotals(w.ctx, u)
				keep(fmt.Sprint("totals ", u), totals, err)
				all[fmt.Sprint("seen ", u)] = w.seen(u)
			}
			s, err := w.SessionByRefresh(w.ctx, next)
			keep("session", s, err)
			ranking, err := w.RankingByID(w.ctx, 0)
			keep("ranking", ranking, err)
			letters, err := w.DeadLetters(w.ctx, "", 0, 10)
			keep("dead letters", letters, err)
			rows, oldest, err := w.OutboxLag(w.ctx)
			keep("outbox", []any{rows, oldest}, err)
			hours, err := w.Hourly(w.ctx, polls[8].ID, 0, 1<<30)
			keep("hours", hours, err)
			told, err := w.Notifications(w.ctx, users[0], 0, 10)
			keep("notifications", told, err)
			for _, u := range users {
				for _, skips := range []bool{false, true} {
					past, err := w.PastInteractions(w.ctx, u, skips, 0, 100)
					keep(fmt.Sprint("past ", u, skips), past, err)
				}
			}
			found, err := w.Search(w.ctx, domain.SearchTerms("poll"), 1000, 100)
			keep("search", found, err)
			return all
		}
		before := everything()
		w.restart()
		w.equal("after the restart", everything(), before)
		w.clean()
		if again := w.publish(keyed)[0]; again.Verdict.Repeats == 0 {
			w.t.Fatal("an idempotency key was forgotten")
		}
		if p := w.poll(users[0]); p.Position != 22 || p.ID <= polls[19].ID {
			w.t.Fatalf("the next poll is %d at %d", p.ID, p.Position)
		}
		w.wantVerdict(vote(users[0], polls[7].ID, 0), domain.CodeNotFound)
		w.wantVerdict(vote(users[0], polls[19].ID, 0), domain.CodeAlreadyVoted)
		_, err = w.RotateRefresh(w.ctx, token, w.token(), session.ExpiresAt)
		w.wantCode(err, domain.CodeRefreshReused)
	})
	run("whole: a context that has ended", func(w *world) {
		u := w.user()
		session, token := w.newSession(), w.token()
		session.User = u.ID
		w.must(w.CreateSession(w.ctx, session, token, u.PasswordHash))
		p := w.poll(u.ID)
		newUser, newPoll := w.newUser(), w.newPoll(u.ID)
		w.drainOutbox()
		ctx, cancel := context.WithCancel(w.ctx)
		cancel()
		verdicts := func(f []domain.Fact) []domain.Verdict {
			return w.rules.Judge([]domain.Interaction{vote(u.ID, p.ID, 0)}, f)
		}
		publications := func(f []domain.PublicationFact) []domain.PublicationVerdict {
			return w.rules.JudgePublications([]domain.NewPoll{newPoll}, f)
		}
		for name, call := range map[string]func() error{
			"CreateUser":     func() error { _, err := w.CreateUser(ctx, newUser, w.newSession(), w.token()); return err },
			"UserByID":       func() error { _, err := w.UserByID(ctx, u.ID); return err },
			"UserByEmail":    func() error { _, err := w.UserByEmail(ctx, "x"); return err },
			"UserByUsername": func() error { _, err := w.UserByUsername(ctx, "x"); return err },
			"Users":          func() error { _, err := w.Users(ctx, 0, 10); return err },
			"UpdateUser":     func() error { _, err := w.UpdateUser(ctx, u.ID, domain.UserUpdate{PasswordHash: "x"}); return err },
			"EraseUser":      func() error { _, err := w.EraseUser(ctx, u.ID, ""); return err },
			"SetBanned":      func() error { _, err := w.SetBanned(ctx, u.ID, true); return err },
			"ExportVotes":    func() error { _, err := w.ExportVotes(ctx, u.ID, 0, 10); return err },
			"ExportSkips":    func() error { _, err := w.ExportSkips(ctx, u.ID, 0, 10); return err },
			"ExportPolls":    func() error { _, err := w.ExportPolls(ctx, u.ID, 0, 10); return err },
			"Sessions":       func() error { _, err := w.Sessions(ctx, u.ID, domain.SessionMark{}, 10); return err },
			"UserTotals":     func() error { _, err := w.UserTotals(ctx, u.ID); return err },
			"CreateSession": func() error {
				return w.CreateSession(ctx, domain.Session{ID: "n", User: u.ID}, w.token(), u.PasswordHash)
			},
			"RotateRefresh": func() error {
				_, err := w.RotateRefresh(ctx, token, w.token(), session.ExpiresAt)
				return err
			},
			"SessionByRefresh": func() error { _, err := w.SessionByRefresh(ctx, token); return err },
			"EndSession":       func() error { return w.EndSession(ctx, u.ID, session.ID) },
			"EndedSessions":    func() error { _, err := w.EndedSessions(ctx, time.Time{}); return err },
			"PruneSessions":    func() error { _, err := w.PruneSessions(ctx, w.clock.Now().Add(1e6*time.Hour)); return err },
			"Interact": func() error {
				_, err := w.Interact(ctx, []domain.Interaction{vote(u.ID, p.ID, 0)}, verdicts)
				return err
			},
			"Interact, empty": func() error { _, err := w.Interact(ctx, nil, verdicts); return err },
			"UserStates":      func() error { _, err := w.UserStates(ctx, []domain.UserID{u.ID}); return err },
			"Seen":            func() error { _, err := w.Seen(ctx, u.ID); return err },
			"Prior":           func() error { _, err := w.Prior(ctx, u.ID, p.ID); return err },
			"Publish": func() error {
				_, err := w.Publish(ctx, []domain.NewPoll{newPoll}, publications)
				return err
			},
			"DeletePoll":           func() error { _, err := w.DeletePoll(ctx, u.ID, p.ID); return err },
			"SetPollState":         func() error { _, err := w.SetPollState(ctx, p.ID, domain.PollHidden); return err },
			"PollsAt":              func() error { _, err := w.PollsAt(ctx, []domain.Position{1}); return err },
			"Poll":                 func() error { _, err := w.Poll(ctx, p.ID); return err },
			"PruneIdempotencyKeys": func() error { _, err := w.PruneIdempotencyKeys(ctx, w.clock.Now()); return err },
			"LoadCatalogue": func() error {
				_, err := w.LoadCatalogue(ctx, func(domain.Entry) error { return nil })
				return err
			},
			"CatalogueSince":    func() error { _, err := w.CatalogueSince(ctx, 0, 10); return err },
			"Counts":            func() error { _, err := w.Counts(ctx, []domain.PollID{p.ID}); return err },
			"Search":            func() error { _, err := w.Search(ctx, domain.SearchTerms("poll"), 10, 10); return err },
			"Rank":              func() error { _, err := w.Rank(ctx, 10, 0, time.Hour); return err },
			"RankingByID":       func() error { _, err := w.RankingByID(ctx, 0); return err },
			"ClaimOutbox":       func() error { _, err := w.ClaimOutbox(ctx, 10, time.Hour); return err },
			"DeleteOutbox":      func() error { return w.DeleteOutbox(ctx, []int64{1}) },
			"OutboxLag":         func() error { _, _, err := w.OutboxLag(ctx); return err },
			"AddDeadLetter":     func() error { return w.AddDeadLetter(ctx, domain.DeadLetter{Event: domain.Event{ID: "1-0"}}) },
			"DeadLetters":       func() error { _, err := w.DeadLetters(ctx, "", 0, 10); return err },
			"ReplayDeadLetters": func() error { _, err := w.ReplayDeadLetters(ctx, []int64{1}); return err },
			"DropDeadLetters":   func() error { _, err := w.DropDeadLetters(ctx, []int64{1}); return err },
			"Import": func() error {
				_, err := w.Import(ctx, domain.Import{Users: []domain.ImportUser{{NewUser: newUser, CreatedAt: w.clock.Now()}}})
				return err
			},
			"ArchiveMonth": func() error { _, err := w.ArchiveMonth(ctx, domain.MonthOf(w.clock.Now())-5); return err },
			"PastInteractions": func() error {
				_, err := w.PastInteractions(ctx, u.ID, false, 0, 10)
				return err
			},
			"PollsBy":            func() error { _, err := w.PollsBy(ctx, u.ID, 0, 10); return err },
			"CountHourly":        func() error { return w.CountHourly(ctx, []domain.Processed{{Poll: p.ID, At: w.clock.Now()}}) },
			"CountHourly, empty": func() error { return w.CountHourly(ctx, nil) },
			"PruneCounted":       func() error { _, err := w.PruneCounted(ctx, w.clock.Now()); return err },
			"AddShown": func() error {
				return w.AddShown(ctx, []domain.Shown{{Poll: p.ID, Hour: domain.HourOf(w.clock.Now()), Times: 1}})
			},
			"AddShown, empty":     func() error { return w.AddShown(ctx, nil) },
			"Hourly":              func() error { _, err := w.Hourly(ctx, p.ID, 0, 1<<30); return err },
			"AddMilestones":       func() error { return w.AddMilestones(ctx, []domain.Milestone{{Poll: p.ID, Votes: 10}}) },
			"AddMilestones, none": func() error { return w.AddMilestones(ctx, nil) },
			"Notifications":       func() error { _, err := w.Notifications(ctx, u.ID, 0, 10); return err },
			"Check":               func() error { _, err := w.Check(ctx, w.rules); return err },
			"Ready":               func() error { return w.Ready(ctx) },
		} {
			if err := call(); domain.CodeOf(err) != domain.CodeUnavailable {
				w.t.Errorf("%s: %v, want %s", name, err, domain.CodeUnavailable)
			}
		}
		// Nothing of it happened.
		_, err := w.UserByEmail(w.ctx, newUser.EmailKey)
		w.wantCode(err, domain.CodeNotFound)
		_, err = w.SessionByRefresh(w.ctx, token)
		w.must(err)
		w.equal("state", w.state(u.ID), domain.UserState{User: u.ID})
		if entries := w.catalogue(); len(entries) != 1 || entries[0].State != domain.PollOpen {
			w.t.Fatalf("catalogue %+v", entries)
		}
		letters, err := w.DeadLetters(w.ctx, "", 0, 10)
		w.must(err)
		w.equal("dead letters", letters, []domain.DeadLetter{})
		_, err = w.RankingByID(w.ctx, 0)
		w.wantCode(err, domain.CodeCursorExpired)
		hours, err := w.Hourly(w.ctx, p.ID, 0, 1<<30)
		w.must(err)
		w.equal("hours", hours, []domain.HourlyCounts{})
		told, err := w.Notifications(w.ctx, u.ID, 0, 10)
		w.must(err)
		w.equal("notifications", told, []domain.Notification{})
		w.equal("outbox", w.drainOutbox(), []domain.Changes{})
	})
	run("whole: a context that ends meanwhile does not stop a batch half-way", func(w *world) {
		u := w.user().ID
		p := w.polls(u, 50)
		batch := make([]domain.Interaction, len(p))
		for i := range p {
			batch[i] = vote(u, p[i].ID, 0)
		}
		ctx, cancel := context.WithCancel(w.ctx)
		out, err := w.Interact(ctx, batch, func(f []domain.Fact) []domain.Verdict {
			cancel()
			return w.rules.Judge(batch, f)
		})
		w.must(err)
		if len(out.Counts) != len(p) || w.state(u).Version != int64(len(p)) {
			w.t.Fatalf("%d polls counted, %+v", len(out.Counts), w.state(u))
		}
		ctx, cancel = context.WithCancel(w.ctx)
		polls := []domain.NewPoll{w.newPoll(u), w.newPoll(u)}
		_, err = w.Publish(ctx, polls, func(f []domain.PublicationFact) []domain.PublicationVerdict {
			cancel()
			return w.rules.JudgePublications(polls, f)
		})
		w.must(err)
		if n := len(w.catalogue()); n != 52 {
			w.t.Fatalf("%d polls", n)
		}
	})
}
