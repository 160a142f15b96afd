package account

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vote/internal/domain"
	"vote/internal/engine/sqlite"
)

// fixture is an Account on a real store with clocks that the test moves.
type fixture struct {
	*Account
	t     *testing.T
	store domain.Store
	clock *testClock
	reg   *prometheus.Registry
}

func openStore(t *testing.T, clock domain.Clock) domain.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "vote.db"), Clock: clock, AutoMigrate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	clock := newTestClock()
	return instance(t, openStore(t, clock), clock)
}

// instance returns another Account on the same store.
func instance(t *testing.T, store domain.Store, clock *testClock) *fixture {
	t.Helper()
	reg := prometheus.NewRegistry()
	a := New(Config{Store: store, Clock: clock, Registerer: reg, Secret: []byte(testSecret), TokenLife: time.Hour, RefreshLife: 24 * time.Hour, DailyVotes: 100})
	a.hasher.setParams(cheap)
	if err := a.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &fixture{Account: a, t: t, store: store, clock: clock, reg: reg}
}

func (f *fixture) register(name string) Tokens {
	f.t.Helper()
	tk, err := f.Register(f.t.Context(), name, name+"@example.org", "password of "+name)
	if err != nil {
		f.t.Fatal(err)
	}
	return tk
}

// authenticated fails unless Authenticate gives this code.
func (f *fixture) authenticated(tk Tokens, want domain.Code) Identity {
	f.t.Helper()
	id, err := f.Authenticate(context.Background(), tk.Token)
	if domain.CodeOf(err) != want {
		f.t.Errorf("access token: %v, want %q", err, want)
	}
	return id
}

func (f *fixture) refreshed(token string, want domain.Code) Tokens {
	f.t.Helper()
	tk, err := f.Refresh(f.t.Context(), token)
	if domain.CodeOf(err) != want {
		f.t.Errorf("refresh: %v, want %q", err, want)
	}
	return tk
}

func TestRegister(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tk, err := f.Register(t.Context(), " Zoë.B ", " Zoe@Example.org ", "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if tk.User.ID < 1 || tk.User.Username != "Zoë.B" || tk.User.Email != "Zoe@Example.org" {
		t.Errorf("user %+v", tk.User)
	}
	if !tk.ExpiresAt.Equal(f.clock.Now().Truncate(time.Second).Add(time.Hour)) {
		t.Errorf("expires at %v", tk.ExpiresAt)
	}
	if id := f.authenticated(tk, ""); id.User != tk.User.ID || id.Session == "" {
		t.Errorf("identity %v", id)
	}
	stored, err := f.store.UserByID(t.Context(), tk.User.ID)
	if err != nil || strings.Contains(fmt.Sprint(stored), "correct horse") {
		t.Errorf("stored %+v, %v", stored, err)
	}
	if again := f.refreshed(tk.RefreshToken, ""); again.User.ID != tk.User.ID {
		t.Errorf("refreshed for %+v", again.User)
	}

	for _, tt := range []struct {
		name, username, email, password string
		want                            domain.Code
		fields                          []string
	}{
		{"everything", "x", "x", "x", domain.CodeInvalid, []string{"username", "email", "password"}},
		{"nothing", "", "", "", domain.CodeInvalid, []string{"username", "email", "password"}},
		{"encoding", "\xff\xff\xff", "\xff@example.org", "\xff\xff\xff\xff\xff\xff\xff\xff", domain.CodeInvalid, []string{"username", "email", "password"}},
		{"username", "a b c", "a@example.org", "long enough", domain.CodeInvalid, []string{"username"}},
		{"email", "abc", "abc", "long enough", domain.CodeInvalid, []string{"email"}},
		{"short password", "abc", "a@example.org", "1234567", domain.CodeInvalid, []string{"password"}},
		{"long password", "abc", "a@example.org", strings.Repeat("x", 129), domain.CodeInvalid, []string{"password"}},
		{"e-mail in another case", "other", "ZOE@example.ORG", "long enough", domain.CodeEmailTaken, nil},
		{"username in another case", "ZOË.b", "other@example.org", "long enough", domain.CodeUsernameTaken, nil},
	} {
		_, err := f.Register(t.Context(), tt.username, tt.email, tt.password)
		var e *domain.Error
		if !errors.As(err, &e) || e.Code != tt.want {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var fields []string
		for _, x := range e.Fields {
			fields = append(fields, x.Field)
			if x.Message == "" {
				t.Errorf("%s: %s has no message", tt.name, x.Field)
			}
		}
		if !slices.Equal(fields, tt.fields) {
			t.Errorf("%s: fields %v, want %v", tt.name, fields, tt.fields)
		}
	}
	for result, want := range map[string]float64{"ok": 1, "invalid": 7, "email_taken": 1, "username_taken": 1} {
		if n := metric(t, f.reg, "vote_registrations_total", result); n != want {
			t.Errorf("%v registrations counted as %s, want %v", n, result, want)
		}
	}
	// What is refused for its form costs no hash.
	if n := metric(t, f.reg, "vote_password_hashes_total"); n != 3 {
		t.Errorf("%v hashes", n)
	}
}

// A password is the same whichever way its letters are composed.
func TestPasswordIsNormalized(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if _, err := f.Register(t.Context(), "name", "a@example.org", "pa\u0073sw\u00f6rd"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Login(t.Context(), "a@example.org", "passwo\u0308rd"); err != nil {
		t.Error(err)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.register("berta")
	first := f.register("anna")
	answers := make(map[string]bool)
	hashes := metric(t, f.reg, "vote_password_hashes_total")
	for _, tt := range []struct {
		name, email, password string
		want                  domain.Code
	}{
		{"right", "anna@example.org", "password of anna", ""},
		{"other case and spaces", " ANNA@Example.ORG ", "password of anna", ""},
		{"wrong password", "anna@example.org", "password of berta", domain.CodeInvalidCredentials},
		{"password in another case", "anna@example.org", "Password of anna", domain.CodeInvalidCredentials},
		{"password with a space", "anna@example.org", "password of anna ", domain.CodeInvalidCredentials},
		{"no password", "anna@example.org", "", domain.CodeInvalidCredentials},
		{"password too long", "anna@example.org", strings.Repeat("x", 60000), domain.CodeInvalidCredentials},
		{"password in no encoding", "anna@example.org", "\xff\xff\xff\xff\xff\xff\xff\xff", domain.CodeInvalidCredentials},
		{"unknown address", "nobody@example.org", "password of anna", domain.CodeInvalidCredentials},
		{"no address", "", "password of anna", domain.CodeInvalidCredentials},
		{"malformed address", "anna", "password of anna", domain.CodeInvalidCredentials},
		{"nothing", "", "", domain.CodeInvalidCredentials},
	} {
		tk, err := f.Login(t.Context(), tt.email, tt.password)
		if domain.CodeOf(err) != tt.want {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		// Whoever asks: one hash, so that the time tells nothing.
		now := metric(t, f.reg, "vote_password_hashes_total")
		if now != hashes+1 {
			t.Errorf("%s: %v hashes", tt.name, now-hashes)
		}
		hashes = now
		if err != nil {
			answers[err.Error()] = true
			if tk != (Tokens{}) {
				t.Errorf("%s: tokens with an error", tt.name)
			}
			continue
		}
		if id := f.authenticated(tk, ""); id.User != first.User.ID || tk.User.Username != "anna" {
			t.Errorf("%s: %v is %v", tt.name, tk.User, id)
		}
		if tk.RefreshToken == first.RefreshToken || tk.Token == first.Token {
			t.Errorf("%s: tokens repeat", tt.name)
		}
		if again := f.refreshed(tk.RefreshToken, ""); again.User.ID != first.User.ID {
			t.Errorf("%s: the session is of %+v", tt.name, again.User)
		}
	}
	if len(answers) != 1 {
		t.Errorf("the answers differ: %v", answers)
	}
	if ok, bad := metric(t, f.reg, "vote_logins_total", "ok"), metric(t, f.reg, "vote_logins_total", "invalid_credentials"); ok != 2 || bad < 10 {
		t.Errorf("%v good, %v bad logins counted", ok, bad)
	}
}

// The hash of an unknown address has the parameters of real ones.
func TestUnknownAddressCostsTheSame(t *testing.T) {
	t.Parallel()
	h := newHasher(Config{Random: systemRandom, HashWait: time.Second}, newMetrics(nil))
	phc, err := h.hash(t.Context(), "password")
	if err != nil {
		t.Fatal(err)
	}
	made, err := parsePHC(phc)
	if err != nil {
		t.Fatal(err)
	}
	if d := h.dummy; d.memory != made.memory || d.time != made.time || d.threads != made.threads || len(d.salt) != len(made.salt) || len(d.key) != len(made.key) {
		t.Errorf("%v and %v", d, made)
	}
}

func TestLoginOverloaded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.register("anna")
	f.hasher.queue = 0
	for range cap(f.hasher.places) {
		f.hasher.places <- struct{}{}
	}
	for _, email := range []string{"anna@example.org", "nobody@example.org"} {
		if _, err := f.Login(t.Context(), email, "password of anna"); domain.CodeOf(err) != domain.CodeOverloaded {
			t.Errorf("login: %v", err)
		}
	}
	if _, err := f.Register(t.Context(), "berta", "berta@example.org", "password"); domain.CodeOf(err) != domain.CodeOverloaded {
		t.Errorf("register: %v", err)
	}
	for range cap(f.hasher.places) {
		<-f.hasher.places
	}
	f.register("berta")
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.register("anna")
	other, err := f.Login(t.Context(), "anna@example.org", "password of anna")
	if err != nil {
		t.Fatal(err)
	}
	f.clock.Advance(time.Minute)
	second := f.refreshed(first.RefreshToken, "")
	if second.User.ID != first.User.ID || second.User.Username != "anna" || second.RefreshToken == first.RefreshToken || second.Token == first.Token {
		t.Errorf("the new pair %+v", second)
	}
	a, b := f.authenticated(first, ""), f.authenticated(second, "")
	if a != b {
		t.Errorf("refreshing moved from %v to %v", a, b)
	}
	third := f.refreshed(second.RefreshToken, "")

	// Using any of the old ones again ends the session, at once.
	f.refreshed(first.RefreshToken, domain.CodeRefreshReused)
	for _, tk := range []Tokens{first, second, third} {
		f.authenticated(tk, domain.CodeUnauthorized)
		f.refreshed(tk.RefreshToken, domain.CodeInvalidRefreshToken)
	}
	// The user's other session goes on.
	f.authenticated(other, "")
	f.refreshed(other.RefreshToken, "")

	for _, token := range []string{"", "x", strings.Repeat("A", 43), strings.Repeat("A", 1<<16), first.Token} {
		f.refreshed(token, domain.CodeInvalidRefreshToken)
	}
	for result, want := range map[string]float64{"ok": 3, "refresh_token_reused": 1, "invalid_refresh_token": 8} {
		if n := metric(t, f.reg, "vote_refreshes_total", result); n != want {
			t.Errorf("%v refreshes counted as %s, want %v", n, result, want)
		}
	}
}

func TestRefreshTokensExpire(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tk := f.register("anna")
	f.clock.Advance(23 * time.Hour)
	f.authenticated(tk, domain.CodeUnauthorized)
	tk = f.refreshed(tk.RefreshToken, "") // each use gives the whole life again
	f.authenticated(tk, "")
	f.clock.Advance(23 * time.Hour)
	tk = f.refreshed(tk.RefreshToken, "")
	f.clock.Advance(24 * time.Hour)
	f.refreshed(tk.RefreshToken, domain.CodeInvalidRefreshToken)
}

// Fifty at once with one token: one gets a pair, and since the others used the
// token again the session ends, with that pair.
func TestConcurrentRefreshes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tk := f.register("anna")
	var mu sync.Mutex
	var won []Tokens
	codes := make(map[domain.Code]int)
	var g sync.WaitGroup
	for range 50 {
		g.Go(func() {
			tk, err := f.Refresh(f.t.Context(), tk.RefreshToken)
			mu.Lock()
			defer mu.Unlock()
			codes[domain.CodeOf(err)]++
			if err == nil {
				won = append(won, tk)
			}
		})
	}
	g.Wait()
	if len(won) != 1 || codes[domain.CodeRefreshReused] != 1 || codes[domain.CodeInvalidRefreshToken] != 48 {
		t.Fatalf("answers %v", codes)
	}
	f.authenticated(tk, domain.CodeUnauthorized)
	f.authenticated(won[0], domain.CodeUnauthorized)
	f.refreshed(won[0].RefreshToken, domain.CodeInvalidRefreshToken)
}

func TestLogout(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	anna, berta := f.register("anna"), f.register("berta")
	login := func() Tokens {
		t.Helper()
		tk, err := f.Login(t.Context(), "anna@example.org", "password of anna")
		if err != nil {
			t.Fatal(err)
		}
		return tk
	}
	phone, tablet := login(), login()
	logout := func(by Tokens, refreshToken string, want domain.Code) {
		t.Helper()
		id := Identity{User: by.User.ID, Session: f.sessionOf(by)}
		if err := f.Logout(t.Context(), id, refreshToken); domain.CodeOf(err) != want {
			t.Errorf("logout: %v, want %q", err, want)
		}
	}
	// What is not one's own, current refresh token ends nothing.
	for _, token := range []string{"x", strings.Repeat("A", 43), berta.RefreshToken} {
		logout(anna, token, domain.CodeInvalidRefreshToken)
	}
	for _, tk := range []Tokens{anna, berta, phone, tablet} {
		f.authenticated(tk, "")
	}
	// The session of the access token.
	logout(anna, "", "")
	f.authenticated(anna, domain.CodeUnauthorized)
	f.refreshed(anna.RefreshToken, domain.CodeInvalidRefreshToken)
	logout(anna, "", "") // again
	// The session of the refresh token, by another one of the user.
	logout(phone, tablet.RefreshToken, "")
	f.authenticated(tablet, domain.CodeUnauthorized)
	f.authenticated(phone, "")
	logout(phone, tablet.RefreshToken, domain.CodeInvalidRefreshToken)
	f.authenticated(berta, "")
	// A session that the store has forgotten.
	if err := f.Logout(t.Context(), Identity{User: anna.User.ID, Session: "gone"}, ""); err != nil {
		t.Error(err)
	}
	// Nobody ends a session by its id alone.
	if err := f.Logout(t.Context(), Identity{User: anna.User.ID, Session: f.sessionOf(berta)}, ""); err != nil {
		t.Error(err)
	}
	if _, err := f.store.SessionByRefresh(t.Context(), mustHash(t, berta.RefreshToken)); err != nil {
		t.Errorf("berta's session: %v", err)
	}
}

func mustHash(t *testing.T, token string) domain.TokenHash {
	t.Helper()
	h, ok := hashRefreshToken(token)
	if !ok {
		t.Fatal("malformed refresh token")
	}
	return h
}

// sessionOf reads the session of a token, ended or not.
func (f *fixture) sessionOf(tk Tokens) string {
	f.t.Helper()
	v, err := f.signer.verify(tk.Token)
	if err != nil {
		f.t.Fatal(err)
	}
	return v.Session
}

// What ends on one instance ends on the others, also on one that starts later,
// and whether it was logged out or its refresh token was stolen.
func TestOtherInstances(t *testing.T) {
	t.Parallel()
	one := newFixture(t)
	two := instance(t, one.store, one.clock)
	two.followEvery = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- two.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	out, reused, alive := one.register("out"), one.register("reused"), one.register("alive")
	erased, changed, picked, banned := one.register("erased"), one.register("changed"), one.register("picked"), one.register("banned")
	over := []Tokens{out, reused, erased, changed, picked, banned}
	for _, tk := range append(over, alive) {
		two.authenticated(tk, "")
	}
	if _, err := one.Erase(t.Context(), erased.User.ID, one.confirmed(erased, "password of erased")); err != nil {
		t.Fatal(err)
	}
	next, confirmed := "another password", one.confirmed(changed, "password of changed")
	if _, err := one.Update(t.Context(), Identity{User: changed.User.ID, Session: "another"}, Update{Password: &next}, confirmed); err != nil {
		t.Fatal(err)
	}
	if err := one.EndSession(t.Context(), picked.User.ID, one.sessionOf(picked)); err != nil {
		t.Fatal(err)
	}
	for _, tk := range []Tokens{erased, changed, picked} {
		one.authenticated(tk, domain.CodeUnauthorized) // here at once
	}
	if _, err := one.store.SetBanned(t.Context(), banned.User.ID, true); err != nil {
		t.Fatal(err)
	}
	if err := one.Logout(t.Context(), one.authenticated(out, ""), ""); err != nil {
		t.Fatal(err)
	}
	one.refreshed(reused.RefreshToken, "")
	one.refreshed(reused.RefreshToken, domain.CodeRefreshReused)
	deadline := time.Now().Add(10 * time.Second)
	for _, tk := range over {
		for {
			if _, err := two.Authenticate(context.Background(), tk.Token); domain.CodeOf(err) == domain.CodeUnauthorized {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the end did not arrive")
			}
			time.Sleep(time.Millisecond)
		}
	}
	three := instance(t, one.store, one.clock)
	for _, tk := range over {
		three.authenticated(tk, domain.CodeUnauthorized)
	}
	two.authenticated(alive, "")
	three.authenticated(alive, "")
}

// Pruning forgets what is over and keeps what others still have to know.
func TestPrune(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ended, alive := f.register("ended"), f.register("alive")
	if err := f.Logout(t.Context(), f.authenticated(ended, ""), ""); err != nil {
		t.Fatal(err)
	}
	if err := f.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	instance(t, f.store, f.clock).authenticated(ended, domain.CodeUnauthorized)
	f.clock.Advance(time.Hour + endedMargin + time.Second)
	if err := f.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := metric(t, f.reg, "vote_account_pruned_total", "session"); n != 1 {
		t.Errorf("%v sessions pruned", n)
	}
	f.refreshed(alive.RefreshToken, "")
}

func TestProfile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tk := f.register("anna")
	rules := domain.Rules{}
	polls := []domain.NewPoll{
		{Author: tk.User.ID, Title: "One?", Options: []string{"yes", "no"}, Tags: []string{"a"}},
		{Author: tk.User.ID, Title: "Two?", Options: []string{"yes", "no"}, Tags: []string{"a"}},
		{Author: tk.User.ID, Title: "Three?", Options: []string{"yes", "no"}, Tags: []string{"a"}},
	}
	published, err := f.store.Publish(t.Context(), polls, func(facts []domain.PublicationFact) []domain.PublicationVerdict {
		return rules.JudgePublications(polls, facts)
	})
	if err != nil {
		t.Fatal(err)
	}
	batch := []domain.Interaction{{User: tk.User.ID, Poll: published[0].Poll.ID, Option: 1}, {User: tk.User.ID, Poll: published[1].Poll.ID, Option: 0}, {User: tk.User.ID, Poll: published[2].Poll.ID, Skip: true}}
	if _, err := f.store.Interact(t.Context(), batch, func(facts []domain.Fact) []domain.Verdict { return rules.Judge(batch, facts) }); err != nil {
		t.Fatal(err)
	}
	p, err := f.Profile(t.Context(), tk.User.ID)
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != tk.User.ID || p.Username != "anna" || p.Email != "anna@example.org" || !p.CreatedAt.Equal(tk.User.CreatedAt) || p.CreatedAt.IsZero() ||
		p.VotesToday != 2 || p.Votes != 2 || p.Skips != 1 || p.Polls != 3 || p.VotesRemainingToday == nil || *p.VotesRemainingToday != 98 {
		t.Errorf("profile %+v", p)
	}
	f.clock.Advance(24 * time.Hour)
	if p, err := f.Profile(t.Context(), tk.User.ID); err != nil || p.VotesToday != 0 || p.Votes != 2 || *p.VotesRemainingToday != 100 {
		t.Errorf("the day after: %+v, %v", p, err)
	}
	f.clock.Advance(-24 * time.Hour)
	f.dailyVotes = 1 // an operator lowered it
	if p, err := f.Profile(t.Context(), tk.User.ID); err != nil || *p.VotesRemainingToday != 0 {
		t.Errorf("over the limit: %+v, %v", p, err)
	}
	f.dailyVotes = 0
	if p, err := f.Profile(t.Context(), tk.User.ID); err != nil || p.VotesRemainingToday != nil {
		t.Errorf("without a limit: %+v, %v", p, err)
	}
	if _, err := f.Profile(t.Context(), tk.User.ID+1000); domain.CodeOf(err) != domain.CodeUnauthorized {
		t.Errorf("an unknown user: %v", err)
	}
}

// A store that is away is told as such, and costs nobody a session.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tk := f.register("anna")
	id := f.authenticated(tk, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, err := range map[string]error{
		"register": second(f.Register(ctx, "berta", "berta@example.org", "password")),
		"login":    second(f.Login(ctx, "anna@example.org", "password of anna")),
		"refresh":  second(f.Refresh(ctx, tk.RefreshToken)),
		"logout":   f.Logout(ctx, id, ""),
		"profile":  second(f.Profile(ctx, tk.User.ID)),
		"load":     f.Load(ctx),
	} {
		if domain.CodeOf(err) != domain.CodeUnavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.authenticated(tk, "")
	f.register("berta")
	f.refreshed(tk.RefreshToken, "")
}

func second[T any](_ T, err error) error { return err }
