package enginetest

import (
	"sync"
	"time"

	"vote/internal/domain"
)

func testAccounts(run func(string, func(*world))) {
	run("accounts: an account is found by id and e-mail", func(w *world) {
		n, session, token := w.newUser(), w.newSession(), w.token()
		u, err := w.CreateUser(w.ctx, n, session, token)
		w.must(err)
		want := domain.User{
			ID: u.ID, Username: n.Username, Email: n.Email, PasswordHash: n.PasswordHash, CreatedAt: w.clock.Now(),
		}
		w.equal("created", u, want)
		if u.ID < 1 || u.ID >= domain.MaxID {
			w.t.Fatalf("id %d", u.ID)
		}
		got, err := w.UserByID(w.ctx, u.ID)
		w.must(err)
		w.equal("by id", got, want)
		got, err = w.UserByEmail(w.ctx, n.EmailKey)
		w.must(err)
		w.equal("by e-mail", got, want)
		totals, err := w.UserTotals(w.ctx, u.ID)
		w.must(err)
		w.equal("totals", totals, domain.UserTotals{})
		s, err := w.SessionByRefresh(w.ctx, token)
		w.must(err)
		session.User = u.ID
		w.equal("session", s, session)
		w.equal("state", w.state(u.ID), domain.UserState{User: u.ID})

		_, err = w.UserByID(w.ctx, u.ID+1)
		w.wantCode(err, domain.CodeNotFound)
		_, err = w.UserByEmail(w.ctx, n.Email+"x")
		w.wantCode(err, domain.CodeNotFound)
		_, err = w.UserTotals(w.ctx, u.ID+1)
		w.wantCode(err, domain.CodeNotFound)
	})
	run("accounts: e-mail and username are taken once", func(w *world) {
		first := w.newUser()
		_, err := w.CreateUser(w.ctx, first, w.newSession(), w.token())
		w.must(err)
		session, token := w.newSession(), w.token()
		sameEmail, sameName := w.newUser(), w.newUser()
		sameEmail.EmailKey, sameName.UsernameKey = first.EmailKey, first.UsernameKey
		_, err = w.CreateUser(w.ctx, first, session, token)
		w.wantCode(err, domain.CodeEmailTaken)
		_, err = w.CreateUser(w.ctx, sameEmail, session, token)
		w.wantCode(err, domain.CodeEmailTaken)
		_, err = w.CreateUser(w.ctx, sameName, session, token)
		w.wantCode(err, domain.CodeUsernameTaken)
		// Nothing of a refused account is left.
		_, err = w.UserByEmail(w.ctx, sameName.EmailKey)
		w.wantCode(err, domain.CodeNotFound)
		_, err = w.SessionByRefresh(w.ctx, token)
		w.wantCode(err, domain.CodeInvalidRefreshToken)
		_, err = w.CreateUser(w.ctx, w.newUser(), session, token)
		w.must(err)
	})
	run("accounts: a race for one name has one winner", func(w *world) {
		n := w.newUser()
		errs := make([]error, 20)
		var group sync.WaitGroup
		for i := range errs {
			group.Go(func() {
				_, errs[i] = w.instance(i).CreateUser(w.ctx, n, w.newSession(), w.token())
			})
		}
		group.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
				continue
			}
			w.wantCode(err, domain.CodeEmailTaken)
		}
		if won != 1 {
			w.t.Fatalf("%d accounts with one address", won)
		}
	})
	run("sessions: a token works until it expires", func(w *world) {
		u := w.user()
		session, token := w.newSession(), w.token()
		session.User, session.ExpiresAt = u.ID, w.clock.Now().Add(time.Hour)
		w.must(w.CreateSession(w.ctx, session, token, u.PasswordHash))
		got, err := w.SessionByRefresh(w.ctx, token)
		w.must(err)
		w.equal("session", got, session)
		w.clock.advance(time.Hour - time.Millisecond)
		_, err = w.SessionByRefresh(w.ctx, token)
		w.must(err)
		w.clock.advance(time.Millisecond)
		_, err = w.SessionByRefresh(w.ctx, token)
		w.wantCode(err, domain.CodeInvalidRefreshToken)
		_, err = w.RotateRefresh(w.ctx, token, w.token(), w.clock.Now().Add(time.Hour))
		w.wantCode(err, domain.CodeInvalidRefreshToken)
		_, err = w.SessionByRefresh(w.ctx, w.token())
		w.wantCode(err, domain.CodeInvalidRefreshToken)
		session.ID, session.User = "other", u.ID+1
		w.wantCode(w.CreateSession(w.ctx, session, w.token(), u.PasswordHash), domain.CodeNotFound)
	})
	run("sessions: rotation and reuse", func(w *world) {
		u := w.user()
		session, first, second, third := w.newSession(), w.token(), w.token(), w.token()
		session.User = u.ID
		w.must(w.CreateSession(w.ctx, session, first, u.PasswordHash))
		w.clock.advance(time.Minute)
		later := w.clock.Now().Add(60 * 24 * time.Hour)
		got, err := w.RotateRefresh(w.ctx, first, second, later)
		w.must(err)
		session.ExpiresAt = later
		w.equal("rotated", got, session)
		got, err = w.SessionByRefresh(w.ctx, second)
		w.must(err)
		w.equal("by the new token", got, session)
		_, err = w.SessionByRefresh(w.ctx, first)
		w.wantCode(err, domain.CodeInvalidRefreshToken)
		ended, err := w.EndedSessions(w.ctx, time.Time{})
		w.must(err)
		w.equal("ended before reuse", ended, []domain.EndedSession{})

		w.clock.advance(time.Minute)
		_, err = w.RotateRefresh(w.ctx, first, third, later)
		w.wantCode(err, domain.CodeRefreshReused)
		ended, err = w.EndedSessions(w.ctx, time.Time{})
		w.must(err)
		w.equal("ended by reuse", ended, []domain.EndedSession{{ID: session.ID, EndedAt: w.clock.Now()}})
		for _, token := range []domain.TokenHash{first, second, third} {
			_, err = w.SessionByRefresh(w.ctx, token)
			w.wantCode(err, domain.CodeInvalidRefreshToken)
			_, err = w.RotateRefresh(w.ctx, token, w.token(), later)
			w.wantCode(err, domain.CodeInvalidRefreshToken)
		}
		_, err = w.RotateRefresh(w.ctx, w.token(), w.token(), later)
		w.wantCode(err, domain.CodeInvalidRefreshToken)
	})
	run("sessions: a race for one token ends the session", func(w *world) {
		u := w.user()
		session, token := w.newSession(), w.token()
		session.User = u.ID
		w.must(w.CreateSession(w.ctx, session, token, u.PasswordHash))
		codes := make([]domain.Code, 8)
		next := make([]domain.TokenHash, len(codes))
		var group sync.WaitGroup
		for i := range codes {
			next[i] = w.token()
			group.Go(func() {
				_, err := w.instance(i).RotateRefresh(w.ctx, token, next[i], session.ExpiresAt)
				codes[i] = domain.CodeOf(err)
			})
		}
		group.Wait()
		count := map[domain.Code]int{}
		for _, c := range codes {
			count[c]++
		}
		w.equal("codes", count, map[domain.Code]int{
			"": 1, domain.CodeRefreshReused: 1, domain.CodeInvalidRefreshToken: len(codes) - 2,
		})
		for _, token := range next {
			_, err := w.SessionByRefresh(w.ctx, token)
			w.wantCode(err, domain.CodeInvalidRefreshToken)
		}
	})
	run("sessions: ending and forgetting", func(w *world) {
		u, other := w.user(), w.user()
		since := w.clock.Now()
		var sessions []domain.Session
		var tokens []domain.TokenHash
		for i := range 4 {
			s, token := w.newSession(), w.token()
			s.User, s.ExpiresAt = u.ID, since.Add(time.Duration(i+1)*time.Hour)
			w.must(w.CreateSession(w.ctx, s, token, u.PasswordHash))
			sessions, tokens = append(sessions, s), append(tokens, token)
		}
		w.wantCode(w.EndSession(w.ctx, other.ID, sessions[0].ID), domain.CodeNotFound)
		w.wantCode(w.EndSession(w.ctx, u.ID, "unknown"), domain.CodeNotFound)
		_, err := w.SessionByRefresh(w.ctx, tokens[0])
		w.must(err)

		w.clock.advance(time.Minute)
		w.must(w.EndSession(w.ctx, u.ID, sessions[1].ID))
		firstEnd := w.clock.Now()
		w.clock.advance(time.Minute)
		w.must(w.EndSession(w.ctx, u.ID, sessions[1].ID)) // no error, and not later
		w.must(w.EndSession(w.ctx, u.ID, sessions[0].ID))
		_, err = w.SessionByRefresh(w.ctx, tokens[1])
		w.wantCode(err, domain.CodeInvalidRefreshToken)
		want := []domain.EndedSession{
			{ID: sessions[1].ID, EndedAt: firstEnd}, {ID: sessions[0].ID, EndedAt: w.clock.Now()},
		}
		for _, test := range []struct {
			since time.Time
			want  []domain.EndedSession
		}{
			{since, want}, {firstEnd, want}, {firstEnd.Add(time.Millisecond), want[1:]},
			{w.clock.Now().Add(time.Millisecond), nil},
		} {
			got, err := w.EndedSessions(w.ctx, test.since)
			w.must(err)
			w.equal("ended sessions", got, test.want)
		}

		// The first ended at two minutes, the second at one; the third expires
		// after three hours, the fourth after four.
		for _, test := range []struct {
			before time.Time
			want   int64
		}{
			{firstEnd, 0}, {firstEnd.Add(time.Millisecond), 1}, {since.Add(3 * time.Hour), 1},
			{since.Add(3*time.Hour + time.Millisecond), 1}, {since.Add(3*time.Hour + time.Millisecond), 0},
		} {
			n, err := w.PruneSessions(w.ctx, test.before)
			w.must(err)
			if n != test.want {
				w.t.Fatalf("PruneSessions(%v) = %d, want %d", test.before.Sub(since), n, test.want)
			}
		}
		_, err = w.SessionByRefresh(w.ctx, tokens[2])
		w.wantCode(err, domain.CodeInvalidRefreshToken)
		_, err = w.SessionByRefresh(w.ctx, tokens[3])
		w.must(err)
		w.wantCode(w.EndSession(w.ctx, u.ID, sessions[0].ID), domain.CodeNotFound)
	})
}

// race runs f in n goroutines at once, each on its instance.
func (w *world) race(n int, f func(i int, s domain.Store)) {
	var group sync.WaitGroup
	ready := make(chan struct{})
	for i := range n {
		group.Go(func() {
			<-ready
			f(i, w.instance(i))
		})
	}
	close(ready)
	group.Wait()
}
