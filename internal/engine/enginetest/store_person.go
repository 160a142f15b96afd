package enginetest

import (
	"slices"
	"sync"
	"time"

	"vote/internal/domain"
)

// sessionOf adds a session to an account and returns it with its token.
func (w *world) sessionOf(u domain.User) (domain.Session, domain.TokenHash) {
	w.t.Helper()
	s, token := w.newSession(), w.token()
	s.User = u.ID
	w.must(w.CreateSession(w.ctx, s, token, u.PasswordHash))
	return s, token
}

// sessionIDs walks the live sessions of a user in pages.
func (w *world) sessionIDs(user domain.UserID, limit int) []string {
	w.t.Helper()
	var ids []string
	var behind domain.SessionMark
	for {
		page, err := w.Sessions(w.ctx, user, behind, limit)
		w.must(err)
		for _, s := range page {
			if s.User != user {
				w.t.Fatalf("session %+v of user %d", s, user)
			}
			ids = append(ids, s.ID)
			behind = domain.SessionMark{CreatedAt: s.CreatedAt, ID: s.ID}
		}
		if len(page) < limit {
			return ids
		}
	}
}

// endedIDs returns the sessions that EndedSessions tells of, sorted.
func (w *world) endedIDs() []string {
	w.t.Helper()
	ended, err := w.EndedSessions(w.ctx, time.Time{})
	w.must(err)
	ids := []string{}
	for _, s := range ended {
		ids = append(ids, s.ID)
	}
	slices.Sort(ids)
	return ids
}

func testPerson(run func(string, func(*world))) {
	run("sessions: listed newest first, in pages, without the dead", func(w *world) {
		u, other := w.user(), w.user()
		first := w.sessionIDs(u.ID, 10)
		w.clock.advance(time.Minute)
		var same []string // of one moment, by descending id
		for range 3 {
			s, _ := w.sessionOf(u)
			same = append(same, s.ID)
		}
		slices.Sort(same)
		slices.Reverse(same)
		w.clock.advance(time.Minute)
		newest, _ := w.sessionOf(u)
		short := w.newSession()
		short.User, short.ExpiresAt = u.ID, w.clock.Now().Add(time.Minute)
		w.must(w.CreateSession(w.ctx, short, w.token(), u.PasswordHash))
		w.sessionOf(other)
		ended, _ := w.sessionOf(u)
		w.must(w.EndSession(w.ctx, u.ID, ended.ID))
		w.clock.advance(time.Minute) // short is over
		want := append(append([]string{newest.ID}, same...), first...)
		for _, limit := range []int{1, 2, 3, 10} {
			w.equal("sessions", w.sessionIDs(u.ID, limit), want)
		}
		page, err := w.Sessions(w.ctx, u.ID, domain.SessionMark{}, 1)
		w.must(err)
		w.equal("a session", page, []domain.Session{newest})
		w.equal("of nobody", w.sessionIDs(999, 10), []string(nil))
		none, err := w.Sessions(w.ctx, u.ID, domain.SessionMark{}, 0)
		w.must(err)
		w.equal("none asked for", none, []domain.Session(nil))
	})
	run("sessions: only for the password that the account has", func(w *world) {
		u := w.user()
		s := w.newSession()
		s.User = u.ID
		w.wantCode(w.CreateSession(w.ctx, s, w.token(), "another hash"), domain.CodeWrongPassword)
		_, err := w.UpdateUser(w.ctx, u.ID, domain.UserUpdate{PasswordHash: "new"})
		w.must(err)
		w.wantCode(w.CreateSession(w.ctx, s, w.token(), u.PasswordHash), domain.CodeWrongPassword)
		w.must(w.CreateSession(w.ctx, s, w.token(), "new"))
	})
	run("accounts: found by username, and listed", func(w *world) {
		n := w.newUser()
		u, err := w.CreateUser(w.ctx, n, w.newSession(), w.token())
		w.must(err)
		got, err := w.UserByUsername(w.ctx, n.UsernameKey)
		w.must(err)
		w.equal("by username", got, u)
		_, err = w.UserByUsername(w.ctx, "nobody")
		w.wantCode(err, domain.CodeNotFound)
		second, third := w.user(), w.user()
		_, err = w.EraseUser(w.ctx, second.ID, "")
		w.must(err)
		list, err := w.Users(w.ctx, 0, 10)
		w.must(err)
		w.equal("all", list, []domain.User{u, third})
		list, err = w.Users(w.ctx, 0, 1)
		w.must(err)
		w.equal("the first", list, []domain.User{u})
		list, err = w.Users(w.ctx, u.ID, 1)
		w.must(err)
		w.equal("the next", list, []domain.User{third})
	})
	run("update: name, address and password", func(w *world) {
		n := w.newUser()
		u, err := w.CreateUser(w.ctx, n, w.newSession(), w.token())
		w.must(err)
		polls := w.polls(u.ID, 3)
		_, err = w.DeletePoll(w.ctx, u.ID, polls[1].ID)
		w.must(err)
		before := w.catalogue()
		newest := before[1].Revision // of the deleted one
		w.clock.advance(time.Minute)

		c, err := w.UpdateUser(w.ctx, u.ID, domain.UserUpdate{Email: "New@example.org", EmailKey: "new@example.org"})
		w.must(err)
		u.Email = "New@example.org"
		w.equal("another address", c, domain.AccountChange{User: u})
		_, err = w.UserByEmail(w.ctx, n.EmailKey)
		w.wantCode(err, domain.CodeNotFound)
		got, err := w.UserByEmail(w.ctx, "new@example.org")
		w.must(err)
		w.equal("by the new address", got, u)
		w.equal("the catalogue", w.catalogue(), before)

		c, err = w.UpdateUser(w.ctx, u.ID, domain.UserUpdate{Username: "Renamed", UsernameKey: "renamed"})
		w.must(err)
		u.Username = "Renamed"
		slices.Sort(c.Authored)
		w.equal("another name", c, domain.AccountChange{User: u, Authored: []domain.Position{polls[0].Position, polls[2].Position}})
		changed, err := w.CatalogueSince(w.ctx, newest, 10)
		w.must(err)
		seen := map[domain.Position]bool{}
		for _, e := range changed {
			seen[e.Position] = true
			if e.Revision <= newest {
				w.t.Errorf("entry %+v is not newer than %d", e, newest)
			}
		}
		if !seen[polls[0].Position] || !seen[polls[2].Position] {
			w.t.Errorf("after another name the catalogue tells of %+v", changed)
		}
		found, err := w.PollsAt(w.ctx, []domain.Position{polls[0].Position})
		w.must(err)
		if len(found) != 1 || found[0].AuthorName != "Renamed" || found[0].Author != u.ID {
			w.t.Errorf("a poll of the renamed: %+v", found)
		}
		// The same name again changes no poll.
		c, err = w.UpdateUser(w.ctx, u.ID, domain.UserUpdate{Username: "Renamed", UsernameKey: "renamed"})
		w.must(err)
		w.equal("the same name", c, domain.AccountChange{User: u})

		keep, keepToken := w.sessionOf(u)
		_, otherToken := w.sessionOf(u)
		live := w.sessionIDs(u.ID, 10)
		c, err = w.UpdateUser(w.ctx, u.ID, domain.UserUpdate{PasswordHash: "new", Keep: keep.ID, IfPasswordHash: u.PasswordHash})
		w.must(err)
		u.PasswordHash = "new"
		slices.Sort(c.Ended)
		w.equal("ended", c.Ended, w.endedIDs())
		w.equal("how many", len(c.Ended), len(live)-1)
		w.equal("kept", w.sessionIDs(u.ID, 10), []string{keep.ID})
		_, err = w.SessionByRefresh(w.ctx, keepToken)
		w.must(err)
		_, err = w.SessionByRefresh(w.ctx, otherToken)
		w.wantCode(err, domain.CodeInvalidRefreshToken)
		got, err = w.UserByID(w.ctx, u.ID)
		w.must(err)
		w.equal("in all", got, u)
	})
	run("update: refused as a whole", func(w *world) {
		n := w.newUser()
		taken, err := w.CreateUser(w.ctx, n, w.newSession(), w.token())
		w.must(err)
		u := w.user()
		sessions := w.sessionIDs(u.ID, 10)
		fresh := domain.UserUpdate{Username: "fresh", UsernameKey: "fresh", Email: "fresh", EmailKey: "fresh", PasswordHash: "new"}
		for code, spoil := range map[domain.Code]func(*domain.UserUpdate){
			domain.CodeEmailTaken:    func(x *domain.UserUpdate) { x.EmailKey, x.UsernameKey = n.EmailKey, n.UsernameKey },
			domain.CodeUsernameTaken: func(x *domain.UserUpdate) { x.UsernameKey = n.UsernameKey },
			domain.CodeWrongPassword: func(x *domain.UserUpdate) { x.IfPasswordHash, x.EmailKey = "another", n.EmailKey },
		} {
			x := fresh
			spoil(&x)
			_, err := w.UpdateUser(w.ctx, u.ID, x)
			w.wantCode(err, code)
		}
		got, err := w.UserByID(w.ctx, u.ID)
		w.must(err)
		w.equal("unchanged", got, u)
		w.equal("its sessions", w.sessionIDs(u.ID, 10), sessions)
		_, err = w.UpdateUser(w.ctx, 999, fresh)
		w.wantCode(err, domain.CodeNotFound)
		// What is one's own is not taken.
		_, err = w.UpdateUser(w.ctx, taken.ID, domain.UserUpdate{Username: "USER", UsernameKey: n.UsernameKey, Email: "E", EmailKey: n.EmailKey})
		w.must(err)
	})
	run("update: a race for one address has one winner", func(w *world) {
		users := make([]domain.User, 8)
		for i := range users {
			users[i] = w.user()
		}
		errs := make([]error, len(users))
		w.race(len(users), func(i int, s domain.Store) {
			_, errs[i] = s.UpdateUser(w.ctx, users[i].ID, domain.UserUpdate{Email: "wanted", EmailKey: "wanted"})
		})
		won := domain.UserID(0)
		for i, err := range errs {
			if err == nil && won == 0 {
				won = users[i].ID
				continue
			}
			w.wantCode(err, domain.CodeEmailTaken)
		}
		got, err := w.UserByEmail(w.ctx, "wanted")
		w.must(err)
		w.equal("the winner", got.ID, won)
	})
	run("update: of two new passwords for one old, one is taken", func(w *world) {
		u := w.user()
		sessions := make([]domain.Session, 8)
		for i := range sessions {
			sessions[i], _ = w.sessionOf(u)
		}
		errs := make([]error, len(sessions))
		w.race(len(sessions), func(i int, s domain.Store) {
			_, errs[i] = s.UpdateUser(w.ctx, u.ID, domain.UserUpdate{PasswordHash: sessions[i].ID, Keep: sessions[i].ID, IfPasswordHash: u.PasswordHash})
		})
		got, err := w.UserByID(w.ctx, u.ID)
		w.must(err)
		for i, err := range errs {
			if sessions[i].ID == got.PasswordHash {
				w.must(err)
			} else {
				w.wantCode(err, domain.CodeWrongPassword)
			}
		}
		w.equal("its session goes on", w.sessionIDs(u.ID, 10), []string{got.PasswordHash})
	})
	run("erase: a tombstone is left, and what others count on", func(w *world) {
		n := w.newUser()
		token := w.token()
		u, err := w.CreateUser(w.ctx, n, w.newSession(), token)
		w.must(err)
		other := w.user()
		keyed := w.newPoll(u.ID)
		keyed.IdempotencyKey = "key"
		own := w.publish(keyed, w.newPoll(u.ID))
		hidden, deleted := w.poll(u.ID), w.poll(u.ID)
		_, err = w.SetPollState(w.ctx, hidden.ID, domain.PollHidden)
		w.must(err)
		_, err = w.DeletePoll(w.ctx, u.ID, deleted.ID)
		w.must(err)
		others := w.polls(other.ID, 3)
		w.interact(vote(u.ID, others[0].ID, 1), skip(u.ID, others[1].ID), vote(u.ID, own[0].Poll.ID, 0), vote(other.ID, own[0].Poll.ID, 1))
		counts := w.counts(others[0].ID)
		w.reach(own[0].Poll.ID, 8)
		reached := []domain.Milestone{{Poll: own[0].Poll.ID, Votes: 10}}
		w.must(w.AddMilestones(w.ctx, reached))
		if len(w.told(u.ID)) != 1 {
			w.t.Fatal("the author was not told")
		}
		gone, _ := w.sessionOf(u)
		w.must(w.EndSession(w.ctx, u.ID, gone.ID))
		live := w.sessionIDs(u.ID, 10)
		before := w.catalogue()
		newest := int64(0)
		for _, e := range before {
			newest = max(newest, e.Revision)
		}
		w.clock.advance(time.Minute)

		_, err = w.EraseUser(w.ctx, u.ID, "another hash")
		w.wantCode(err, domain.CodeWrongPassword)
		c, err := w.EraseUser(w.ctx, u.ID, u.PasswordHash)
		w.must(err)
		w.equal("who", c.User, u)
		w.equal("ended", c.Ended, live)
		slices.Sort(c.Authored)
		w.equal("authored", c.Authored, []domain.Position{own[0].Poll.Position, own[1].Poll.Position, hidden.Position})

		_, err = w.EraseUser(w.ctx, u.ID, u.PasswordHash)
		w.wantCode(err, domain.CodeNotFound)
		_, err = w.UpdateUser(w.ctx, u.ID, domain.UserUpdate{PasswordHash: "x"})
		w.wantCode(err, domain.CodeNotFound)
		_, err = w.SetBanned(w.ctx, u.ID, true)
		w.wantCode(err, domain.CodeNotFound)
		_, err = w.UserByID(w.ctx, u.ID)
		w.wantCode(err, domain.CodeNotFound)
		_, err = w.UserByEmail(w.ctx, n.EmailKey)
		w.wantCode(err, domain.CodeNotFound)
		_, err = w.UserByUsername(w.ctx, n.UsernameKey)
		w.wantCode(err, domain.CodeNotFound)
		_, err = w.UserTotals(w.ctx, u.ID)
		w.wantCode(err, domain.CodeNotFound)
		_, err = w.SessionByRefresh(w.ctx, token)
		w.wantCode(err, domain.CodeInvalidRefreshToken)
		_, err = w.RotateRefresh(w.ctx, token, w.token(), w.clock.Now().Add(time.Hour))
		w.wantCode(err, domain.CodeInvalidRefreshToken)
		s := w.newSession()
		s.User = u.ID
		w.wantCode(w.CreateSession(w.ctx, s, w.token(), u.PasswordHash), domain.CodeNotFound)
		w.equal("sessions", w.sessionIDs(u.ID, 10), []string(nil))
		w.equal("state", w.state(u.ID), domain.UserState{User: u.ID})
		w.equal("votes", w.walkPast(u.ID, false, 10), []domain.PastInteraction{})
		w.equal("skips", w.walkPast(u.ID, true, 10), []domain.PastInteraction{})
		w.equal("notifications", w.told(u.ID), []domain.Notification{})
		w.must(w.AddMilestones(w.ctx, append(reached, domain.Milestone{Poll: own[0].Poll.ID, Votes: 100})))
		w.equal("notifications, later", w.told(u.ID), []domain.Notification{})
		// Everybody still hears of the sessions.
		all := append([]string{gone.ID}, live...)
		slices.Sort(all)
		w.equal("ended sessions", w.endedIDs(), all)
		pruned, err := w.PruneSessions(w.ctx, w.clock.Now().Add(time.Second))
		w.must(err)
		w.equal("pruned", pruned, int64(len(all)))
		w.equal("ended sessions, pruned", w.endedIDs(), []string{})

		// Nothing can be done in the name of the erased.
		w.wantVerdict(vote(u.ID, others[2].ID, 0), domain.CodeUnauthorized)
		w.wantVerdict(skip(u.ID, others[2].ID), domain.CodeUnauthorized)
		again, err := w.publishOn(w.Store, keyed)
		w.must(err)
		w.equal("a publication", again[0].Verdict.Code, domain.CodeUnauthorized)

		// Counts stay, and polls stay without an author.
		w.equal("counts", w.counts(others[0].ID), counts)
		for _, p := range []domain.PollID{own[0].Poll.ID, own[1].Poll.ID, hidden.ID} {
			got, err := w.Poll(w.ctx, p)
			w.must(err)
			if got.Author != 0 || got.AuthorName != "" || got.Title == "" {
				w.t.Errorf("a poll of the erased: %+v", got)
			}
		}
		told := map[domain.Position]bool{}
		changed, err := w.CatalogueSince(w.ctx, newest, 100)
		w.must(err)
		for _, e := range changed {
			told[e.Position] = true
		}
		for _, p := range c.Authored {
			if !told[p] {
				w.t.Errorf("the catalogue does not tell of position %d, only of %+v", p, changed)
			}
		}
		after := w.catalogue()
		for i := range after {
			after[i].Revision, before[i].Revision = 0, 0
		}
		w.equal("the catalogue otherwise", after, before)
		_, err = w.DeletePoll(w.ctx, u.ID, own[1].Poll.ID)
		w.wantCode(err, domain.CodeForbidden)

		// Name and address are free at once.
		next, err := w.CreateUser(w.ctx, n, w.newSession(), w.token())
		w.must(err)
		if next.ID == u.ID {
			w.t.Error("the number was given to somebody else")
		}
		w.restart()
		_, err = w.UserByID(w.ctx, u.ID)
		w.wantCode(err, domain.CodeNotFound)
		w.wantVerdict(vote(u.ID, others[2].ID, 0), domain.CodeUnauthorized)
	})
	run("erase: races with votes, skips, polls, logins and other erasures", func(w *world) {
		author := w.user()
		polls := w.polls(author.ID, 40)
		for range 5 {
			u := w.user()
			_, token := w.sessionOf(u)
			var group sync.WaitGroup
			for i := range 8 {
				group.Go(func() {
					for j := i; j < len(polls); j += 8 {
						batch := []domain.Interaction{vote(u.ID, polls[j].ID, j%2), vote(author.ID, polls[j].ID, 1), skip(u.ID, polls[j].ID)}
						out, err := w.interactOn(w.instance(i), batch...)
						if err != nil {
							w.t.Error(err)
							return
						}
						if c := out.Verdicts[0].Code; c != "" && c != domain.CodeUnauthorized {
							w.t.Errorf("verdict %s", c)
						}
					}
				})
			}
			group.Go(func() {
				for range 10 {
					if _, err := w.publishOn(w.instance(1), w.newPoll(u.ID)); err != nil {
						w.t.Error(err)
					}
				}
			})
			group.Go(func() {
				for range 10 {
					s := w.newSession()
					s.User = u.ID
					err := w.CreateSession(w.ctx, s, w.token(), u.PasswordHash)
					if code := domain.CodeOf(err); code != "" && code != domain.CodeNotFound {
						w.t.Error(err)
					}
					next := w.token()
					_, err = w.RotateRefresh(w.ctx, token, next, w.clock.Now().Add(time.Hour))
					if code := domain.CodeOf(err); code != "" && code != domain.CodeInvalidRefreshToken {
						w.t.Error(err)
					}
					token = next
				}
			})
			erased := make([]error, 4)
			for i := range erased {
				group.Go(func() { _, erased[i] = w.instance(i).EraseUser(w.ctx, u.ID, u.PasswordHash) })
			}
			group.Wait()
			won := 0
			for _, err := range erased {
				if err == nil {
					won++
				} else {
					w.wantCode(err, domain.CodeNotFound)
				}
			}
			if won != 1 {
				w.t.Fatalf("%d erasures of one account", won)
			}
			w.wantVerdict(vote(u.ID, polls[0].ID, 0), domain.CodeUnauthorized)
			w.equal("sessions", w.sessionIDs(u.ID, 100), []string(nil))
			w.clean()
		}
	})
	run("sessions: rotations race with the end", func(w *world) {
		for range 10 {
			u := w.user()
			s, token := w.sessionOf(u)
			last := token
			var group sync.WaitGroup
			group.Go(func() {
				for {
					next := w.token()
					_, err := w.instance(0).RotateRefresh(w.ctx, last, next, s.ExpiresAt)
					if err != nil {
						w.wantCodeAsync(err, domain.CodeInvalidRefreshToken)
						return
					}
					last = next
				}
			})
			group.Go(func() {
				if _, err := w.instance(1).UpdateUser(w.ctx, u.ID, domain.UserUpdate{PasswordHash: "new"}); err != nil {
					w.t.Error(err)
				}
			})
			group.Wait()
			_, err := w.SessionByRefresh(w.ctx, last)
			w.wantCode(err, domain.CodeInvalidRefreshToken)
			w.equal("sessions", w.sessionIDs(u.ID, 10), []string(nil))
		}
	})
	run("ban: nothing goes until it is lifted", func(w *world) {
		u := w.user()
		_, token := w.sessionOf(u)
		live := w.sessionIDs(u.ID, 10)
		own := w.poll(u.ID)
		w.wantVerdict(vote(u.ID, own.ID, 0), "")
		p := w.polls(u.ID, 2)
		w.clock.advance(time.Minute)
		c, err := w.SetBanned(w.ctx, u.ID, true)
		w.must(err)
		slices.Sort(c.Ended)
		slices.Sort(live)
		u.BannedAt = w.clock.Now()
		w.equal("banned", c, domain.AccountChange{User: u, Ended: live})
		w.equal("ended sessions", w.endedIDs(), live)
		w.clock.advance(time.Minute)
		c, err = w.SetBanned(w.ctx, u.ID, true)
		w.must(err)
		w.equal("banned again", c, domain.AccountChange{User: u})
		got, err := w.UserByID(w.ctx, u.ID)
		w.must(err)
		w.equal("the account", got, u)
		s := w.newSession()
		s.User = u.ID
		w.wantCode(w.CreateSession(w.ctx, s, w.token(), u.PasswordHash), domain.CodeBanned)
		w.wantCode(w.CreateSession(w.ctx, s, w.token(), "wrong"), domain.CodeWrongPassword)
		_, err = w.RotateRefresh(w.ctx, token, w.token(), s.ExpiresAt)
		w.wantCode(err, domain.CodeBanned)
		w.wantVerdict(vote(u.ID, p[0].ID, 0), domain.CodeUnauthorized)
		w.wantVerdict(skip(u.ID, p[0].ID), domain.CodeUnauthorized)
		out, err := w.publishOn(w.Store, w.newPoll(u.ID))
		w.must(err)
		w.equal("a publication", out[0].Verdict.Code, domain.CodeUnauthorized)
		kept, err := w.Poll(w.ctx, own.ID)
		w.must(err)
		w.equal("the poll's author", kept.AuthorName, u.Username)

		c, err = w.SetBanned(w.ctx, u.ID, false)
		w.must(err)
		u.BannedAt = time.Time{}
		w.equal("lifted", c, domain.AccountChange{User: u})
		w.must(w.CreateSession(w.ctx, s, w.token(), u.PasswordHash))
		_, err = w.RotateRefresh(w.ctx, token, w.token(), s.ExpiresAt)
		w.wantCode(err, domain.CodeInvalidRefreshToken)
		w.wantVerdict(vote(u.ID, own.ID, 1), domain.CodeAlreadyVoted)
		w.wantVerdict(vote(u.ID, p[0].ID, 0), "")
		_, err = w.SetBanned(w.ctx, 999, true)
		w.wantCode(err, domain.CodeNotFound)
		// Who is banned can be erased, and leaves no ban behind.
		_, err = w.SetBanned(w.ctx, u.ID, true)
		w.must(err)
		_, err = w.EraseUser(w.ctx, u.ID, "")
		w.must(err)
	})
	run("export: everything of a user, in pieces", func(w *world) {
		u, other := w.user(), w.user()
		p := w.polls(other.ID, 7)
		var votes []domain.PastVote
		var skips []domain.PastSkip
		for i := range p {
			w.clock.advance(time.Second)
			past := domain.PastVote{Poll: p[i].ID, Option: i % 2, CreatedAt: w.clock.Now(), Title: p[i].Title, Options: p[i].Options}
			if i%3 == 2 {
				w.wantVerdict(skip(u.ID, p[i].ID), "")
				skips = append(skips, domain.PastSkip{Poll: past.Poll, CreatedAt: past.CreatedAt, Title: past.Title})
				continue
			}
			w.wantVerdict(vote(u.ID, p[i].ID, past.Option), "")
			votes = append(votes, past)
		}
		w.wantVerdict(vote(other.ID, p[0].ID, 1), "")
		_, err := w.SetPollState(w.ctx, p[0].ID, domain.PollHidden)
		w.must(err)
		votes[0].Title, votes[0].Options = "", nil
		_, err = w.DeletePoll(w.ctx, other.ID, p[2].ID)
		w.must(err)
		skips[0].Title = ""
		for _, limit := range []int{1, 2, 100} {
			var gotVotes []domain.PastVote
			for after := domain.PollID(0); ; {
				page, err := w.ExportVotes(w.ctx, u.ID, after, limit)
				w.must(err)
				if len(page) == 0 {
					break
				}
				gotVotes, after = append(gotVotes, page...), page[len(page)-1].Poll
			}
			w.equal("votes", gotVotes, votes)
			var gotSkips []domain.PastSkip
			for after := domain.PollID(0); ; {
				page, err := w.ExportSkips(w.ctx, u.ID, after, limit)
				w.must(err)
				if len(page) == 0 {
					break
				}
				gotSkips, after = append(gotSkips, page...), page[len(page)-1].Poll
			}
			w.equal("skips", gotSkips, skips)
			var ids []domain.PollID
			for after := domain.PollID(0); ; {
				page, err := w.ExportPolls(w.ctx, other.ID, after, limit)
				w.must(err)
				if len(page) == 0 {
					break
				}
				for _, x := range page {
					ids, after = append(ids, x.Poll.ID), x.Poll.ID
				}
			}
			w.equal("polls", ids, []domain.PollID{p[0].ID, p[1].ID, p[3].ID, p[4].ID, p[5].ID, p[6].ID})
		}
		polls, err := w.ExportPolls(w.ctx, other.ID, 0, 2)
		w.must(err)
		p[0].State = domain.PollHidden
		w.equal("a hidden poll", polls[0].Poll, p[0])
		w.equal("its counts", polls[0].Counts.Votes, []int64{1, 1})
		w.equal("counts", polls[1].Counts, w.counts(p[1].ID))
		_, err = w.EraseUser(w.ctx, u.ID, "")
		w.must(err)
		none, err := w.ExportVotes(w.ctx, u.ID, 0, 10)
		w.must(err)
		nothing, err := w.ExportSkips(w.ctx, u.ID, 0, 10)
		w.must(err)
		if len(none)+len(nothing) != 0 {
			w.t.Errorf("of an erased user: %+v, %+v", none, nothing)
		}
	})
}

// wantCodeAsync is wantCode for other goroutines than the test's.
func (w *world) wantCodeAsync(err error, code domain.Code) {
	w.t.Helper()
	if got := domain.CodeOf(err); got != code {
		w.t.Errorf("error %v, want code %q", err, code)
	}
}
