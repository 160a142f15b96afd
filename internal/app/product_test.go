package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vote/config"
	"vote/internal/app"
	"vote/internal/domain"
)

var productTime = flag.Duration("product.time", 8*time.Second, "how long TestProduct begins new histories, for each instance; -rapid.checks bounds them too")

// Limits of the product under test: low, so that histories reach them.
const (
	dailyVotes = 3
	dailyPolls = 5
)

// TestProduct acts on a whole server in random ways, over HTTP, and holds every
// answer to a model of maps. At the end of each history the database is checked.
//
// An action is one line of [product.actions] and a method that draws what to do,
// does it, and says what the model expects.
func TestProduct(t *testing.T) {
	t.Parallel()
	holdProduct(t, 1, func(folder string) []string { return []string{"STORAGE_PATH=" + filepath.Join(folder, "vote.db")} })
}

// holdProduct is TestProduct of a number of instances over what the environment
// names, which each history has anew. The folder is the history's own.
func holdProduct(t *testing.T, instances int, environment func(folder string) []string) {
	t.Helper()
	began := time.Now()
	failing, histories, requests, repeated := false, 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		// A failure is made smaller in its own time.
		if !failing && time.Since(began) > time.Duration(instances)**productTime {
			return
		}
		whole := false
		defer func() { failing = failing || !whole }()
		p := newProduct(t, instances, environment)
		defer p.end()
		t.Repeat(p.actions())
		p.tokensEnded(t, len(p.instances), 0)
		p.restart(t)
		p.look(t)
		p.stop(t, p.instances...)
		p.check(t)
		histories, requests, repeated = histories+1, requests+p.requests, repeated+p.repeated
		whole = true
	})
	t.Logf("%d histories, %d requests, %d repeated", histories, requests, repeated)
	if histories == 0 {
		t.Error("no history was run to its end")
	}
}

// actions are what may happen, and what must always hold under the empty name.
// An action that is there twice happens twice as often.
func (p *product) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"":              p.look,
		"register":      p.register,
		"log in":        p.login,
		"refresh":       p.refresh,
		"end session":   p.endSession,
		"rename":        p.rename,
		"erase":         p.erase,
		"publish":       p.publish,
		"publish again": p.publish,
		"vote":          p.vote,
		"vote again":    p.vote,
		"vote at once":  p.voteAtOnce,
		"skip":          p.skip,
		"batch":         p.batch,
		"feed":          p.feed,
		"walk":          p.walk,
		"hot":           p.hot,
		"many stats":    p.manyStats,
		"tags":          p.tags,
		"delete":        p.delete,
		"operate":       p.operate,
		"restart":       p.restart,
		"pass time":     p.passTime,
	}
}

// The model: what the product is believed to know.

type modelUser struct {
	id        int64
	name      string
	email     string
	password  string
	sessions  []*modelSession    // that go on; the last one acts
	votes     map[*modelPoll]int // the option
	voteDays  map[string]int     // votes by day
	skips     map[*modelPoll]bool
	published map[string]int // polls by day
	keys      map[string]*modelPoll
	joined    time.Time
}

func (u *modelUser) token() string {
	tokens := u.sessions[len(u.sessions)-1].tokens
	return tokens[len(tokens)-1]
}

type modelSession struct {
	tokens  []string // all are good while the session goes on
	refresh []string // the last one is good; to use another ends the session
}

// sessionOf is the session that begins with an answer.
func sessionOf(a answer) *modelSession {
	return &modelSession{tokens: []string{a.text("token")}, refresh: []string{a.text("refreshToken")}}
}

type modelPoll struct {
	id      int64
	author  *modelUser // nil when erased
	title   string
	options []string
	tags    []string
	made    time.Time
	changed time.Time // when a vote or skip was counted last
	state   domain.PollState
	counts  []int64
	skips   int64
}

func (m *modelPoll) votes() (n int64) {
	for _, c := range m.counts {
		n += c
	}
	return n
}

// readable says that people can open the poll.
func (m *modelPoll) readable() bool {
	return m.state == domain.PollOpen || m.state == domain.PollClosed
}

// document is the poll as a feed shows it.
func (m *modelPoll) document() map[string]any {
	var author any
	if m.author != nil {
		author = map[string]any{"id": float64(m.author.id), "username": m.author.name}
	}
	return map[string]any{
		"id": float64(m.id), "title": m.title, "options": anys(m.options), "tags": anys(m.tags), "createdAt": m.made.Format(time.RFC3339Nano),
		"author": author, "totalVotes": float64(m.votes()),
	}
}

// stats is the poll's stats document.
func (m *modelPoll) stats() map[string]any {
	votes := []any{}
	for i, option := range m.options {
		share := 0.0
		if n := m.votes(); n > 0 {
			share, _ = strconv.ParseFloat(fmt.Sprintf("%.1f", float64(m.counts[i])/float64(n)*100), 64)
		}
		votes = append(votes, map[string]any{"optionIndex": float64(i), "option": option, "count": float64(m.counts[i]), "percentage": share})
	}
	return map[string]any{
		"pollId": float64(m.id), "version": float64(m.votes() + m.skips), "totalVotes": float64(m.votes()), "totalSkips": float64(m.skips),
		"votes": votes, "updatedAt": m.changed.Format(time.RFC3339Nano),
	}
}

func anys[T any](list []T) []any {
	out := []any{}
	for _, v := range list {
		out = append(out, v)
	}
	return out
}

// product is a server, of one instance or several, and the model of it. Requests
// go to the instances in turn, from where the history says. What is done or refused
// is as the model has it whichever instance is asked; what is read may lag behind
// the other instances, and is asked for again: see [product.becomes].
type product struct {
	folder    string
	clock     *handClock
	config    config.Config
	client    *http.Client
	instances []*served
	turn      int
	requests  int
	repeated  int

	users  []*modelUser
	erased []*modelUser
	ended  []endedToken
	polls  []*modelPoll // in order of publication, deleted ones too
}

// endedToken is an access token of a session that ended.
type endedToken struct {
	token string
	at    time.Time // of the machine
}

// served is an instance.
type served struct {
	url  string
	end  context.CancelFunc // nil while it does not run
	done chan error
}

const (
	// lag bounds how long an instance may go on telling what was before another
	// changed it. A second is promised, and five for the end of a session; the
	// rest is for a busy machine.
	lag = 10 * time.Second
	// pause is how long to wait before something is asked again.
	pause = 10 * time.Millisecond
)

// handClock moves when it is told.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newProduct(t *rapid.T, instances int, environment func(folder string) []string) *product {
	folder, err := os.MkdirTemp("", "product")
	if err != nil {
		t.Fatal(err)
	}
	p := &product{
		folder: folder, clock: &handClock{now: time.Date(2026, 2, 27, 22, 0, 0, 0, time.UTC)},
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: 30 * time.Second},
	}
	p.config, err = config.Load("", append(environment(folder),
		"SERVER_HOST=127.0.0.1", "SERVER_PORT=0", "JWT_TOKEN_DURATION=365d", "JWT_REFRESH_DURATION=365d",
		fmt.Sprint("LIMITS_DAILY_VOTES=", dailyVotes), fmt.Sprint("LIMITS_POLLS_PER_DAY=", dailyPolls), "LIMITS_REQUESTS_PER_MINUTE=0", "LIMITS_VOTES_PER_MINUTE=0",
		"LIMITS_BURST_PER_SECOND=0", "LIMITS_LOGIN_PER_ACCOUNT_PER_MINUTE=0", "LIMITS_LOGIN_PER_ADDRESS_PER_MINUTE=0", "LIMITS_REGISTRATIONS_PER_ADDRESS_PER_HOUR=0",
	))
	if err != nil {
		t.Fatal(err)
	}
	for range instances {
		p.instances = append(p.instances, &served{})
	}
	p.start(t, p.instances...)
	p.join(t)
	p.join(t)
	for range 2 * dailyVotes {
		p.publish(t)
	}
	return p
}

// start starts instances that do not run, and returns when they are ready.
func (p *product) start(t *rapid.T, instances ...*served) {
	for _, s := range instances {
		a, err := app.New(context.Background(), p.config, app.Options{Clock: p.clock})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		*s = served{url: a.URL(), end: cancel, done: make(chan error, 1)}
		go func() { s.done <- a.Run(ctx) }()
	}
	for _, s := range instances {
		for limit := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			if r := p.ask(t, s, nil, "GET", "/readyz", ""); r.status == http.StatusOK {
				break
			}
			if time.Now().After(limit) {
				t.Fatal("never ready")
			}
		}
	}
}

// halt ends instances at the same time.
func (p *product) halt(instances ...*served) error {
	p.client.CloseIdleConnections()
	var errs []error
	for _, s := range instances {
		if s.end != nil {
			s.end()
		}
	}
	for _, s := range instances {
		if s.end != nil {
			s.end = nil
			errs = append(errs, <-s.done)
		}
	}
	return errors.Join(errs...)
}

func (p *product) stop(t *rapid.T, instances ...*served) {
	if err := p.halt(instances...); err != nil {
		t.Fatalf("stop: %v", err)
	}
}

// end frees everything, however the history ended.
func (p *product) end() {
	_ = p.halt(p.instances...)
	_ = os.RemoveAll(p.folder)
}

// answer is what a call brought.
type answer struct {
	call   string
	status int
	body   any // decoded JSON; nil for none
}

// next returns the instance whose turn it is.
func (p *product) next() *served {
	p.turn++
	return p.instances[p.turn%len(p.instances)]
}

// do asks the next instance.
func (p *product) do(t *rapid.T, as *modelUser, method, target, body string, header ...string) answer {
	t.Helper()
	return p.ask(t, p.next(), as, method, target, body, header...)
}

func (p *product) ask(t *rapid.T, s *served, as *modelUser, method, target, body string, header ...string) answer {
	t.Helper()
	a, err := p.try(s, as, method, target, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return a
}

func (p *product) try(s *served, as *modelUser, method, target, body string, header ...string) (answer, error) {
	r, err := http.NewRequest(method, s.url+target, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if as != nil {
		r.Header.Set("Authorization", "Bearer "+as.token())
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	got, err := p.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer got.Body.Close()
	raw, err := io.ReadAll(got.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{call: method + " " + target + " " + body, status: got.StatusCode}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &a.body); err != nil {
			return answer{}, fmt.Errorf("%w in %s", err, raw)
		}
	}
	return a, nil
}

// is returns how the answer differs from a status with just this body.
func (a answer) is(status int, want any) string {
	if a.status != status {
		return fmt.Sprintf("%d %v, want %d", a.status, a.body, status)
	}
	if diff := cmp.Diff(want, a.body); diff != "" {
		return "(-want +got):\n" + diff
	}
	return ""
}

// refusal is what the model expects of a call that changes nothing.
type refusal struct {
	status int
	code   string
}

var accepted = refusal{}

// refused returns how the answer differs from a refusal.
func (a answer) refused(want refusal) string {
	body, _ := a.body.(map[string]any)
	if a.status != want.status || body["code"] != want.code {
		return fmt.Sprintf("%d %v, want %d %s", a.status, a.body, want.status, want.code)
	}
	return ""
}

// is fails unless the answer is 2xx with just this body.
func (p *product) is(t *rapid.T, a answer, status int, want any) {
	t.Helper()
	p.requests++
	if fault := a.is(status, want); fault != "" {
		t.Fatalf("%s: %s", a.call, fault)
	}
}

// refused fails unless the answer is the refusal.
func (p *product) refused(t *rapid.T, a answer, want refusal) {
	t.Helper()
	p.requests++
	if fault := a.refused(want); fault != "" {
		t.Fatalf("%s: %s", a.call, fault)
	}
}

// becomes asks the next instance until fault finds nothing in its answer. Where
// there is one instance that must be the first answer, else one within the lag;
// what is behind is never a fault of the server.
func (p *product) becomes(t *rapid.T, ask func(*served) answer, fault func(answer) string) answer {
	t.Helper()
	p.requests++
	s, began := p.next(), time.Now()
	for {
		a := ask(s)
		found := fault(a)
		switch {
		case found == "":
			return a
		case len(p.instances) == 1 || a.status >= http.StatusInternalServerError:
			t.Fatalf("%s: %s", a.call, found)
		case time.Since(began) > lag:
			t.Fatalf("%s: after %v still %s", a.call, lag, found)
		}
		p.repeated++
		time.Sleep(pause)
		p.clock.add(pause)
	}
}

// reads is becomes of one GET request.
func (p *product) reads(t *rapid.T, as *modelUser, target string, fault func(answer) string, header ...string) {
	t.Helper()
	p.becomes(t, func(s *served) answer { return p.ask(t, s, as, "GET", target, "", header...) }, fault)
}

// shows is becomes of a feed. In none of the answers is what the user has seen.
func (p *product) shows(t *rapid.T, u *modelUser, query url.Values, fault func(answer) string) answer {
	t.Helper()
	seen := map[float64]bool{}
	for m := range u.votes {
		seen[float64(m.id)] = true
	}
	for m := range u.skips {
		seen[float64(m.id)] = true
	}
	return p.becomes(t, func(s *served) answer {
		a := p.ask(t, s, u, "GET", "/api/polls?"+query.Encode(), "")
		for _, doc := range a.list("polls") {
			object, _ := doc.(map[string]any)
			if id, _ := object["id"].(float64); seen[id] {
				t.Fatalf("%s: user %d has seen %v", a.call, u.id, object)
			}
		}
		return a
	}, fault)
}

func (p *product) day() string { return p.clock.Now().Format(time.DateOnly) }

// number returns a number of a JSON answer.
func (a answer) number(t *rapid.T, path ...string) int64 {
	t.Helper()
	v := a.body
	for _, name := range path {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	n, ok := v.(float64)
	if !ok {
		t.Fatalf("%s: no number %v in %v", a.call, path, a.body)
	}
	return int64(n)
}

func (a answer) list(name string) []any {
	object, _ := a.body.(map[string]any)
	list, _ := object[name].([]any)
	return list
}

func (a answer) text(name string) string {
	object, _ := a.body.(map[string]any)
	s, _ := object[name].(string)
	return s
}

// Draws.

func (p *product) anyUser(t *rapid.T) *modelUser {
	return p.users[rapid.IntRange(0, len(p.users)-1).Draw(t, "user")]
}

// anyPoll is a poll, or one that was never published.
func (p *product) anyPoll(t *rapid.T) *modelPoll {
	n := rapid.IntRange(-1, len(p.polls)-1).Draw(t, "poll")
	if n < 0 {
		return &modelPoll{id: 1, state: domain.PollDeleted}
	}
	return p.polls[len(p.polls)-1-n]
}

// Actions.

// accountNames are few, so that they are taken again after they became free.
var accountNames = []string{"user0", "user1", "user2", "user3", "user4"}

// named returns who has a name, in whatever case; nil when it is free.
func (p *product) named(name string) *modelUser {
	for _, u := range p.users {
		if strings.EqualFold(u.name, name) {
			return u
		}
	}
	return nil
}

// join makes an account with the first name and the first address that are free.
func (p *product) join(t *rapid.T) {
	name := accountNames[slices.IndexFunc(accountNames, func(name string) bool { return p.named(name) == nil })]
	local := accountNames[slices.IndexFunc(accountNames, func(local string) bool {
		return !slices.ContainsFunc(p.users, func(u *modelUser) bool { return u.email == local+"@example.org" })
	})]
	p.joinAs(t, name, local+"@example.org")
}

func (p *product) joinAs(t *rapid.T, name, email string) {
	before := slices.Concat(p.users, p.erased)
	u := &modelUser{
		name: name, email: email, password: fmt.Sprint("password of person ", len(before)), votes: map[*modelPoll]int{}, voteDays: map[string]int{},
		skips: map[*modelPoll]bool{}, published: map[string]int{}, keys: map[string]*modelPoll{}, joined: p.clock.Now(),
	}
	a := p.do(t, nil, "POST", "/api/auth/register", p.registration(u))
	if a.status != http.StatusCreated {
		t.Fatalf("%s: %d %v", a.call, a.status, a.body)
	}
	u.id, u.sessions = a.number(t, "user", "id"), []*modelSession{sessionOf(a)}
	if slices.ContainsFunc(before, func(other *modelUser) bool { return other.id == u.id }) {
		t.Fatalf("%s: id %d is another's", a.call, u.id)
	}
	p.users = append(p.users, u)
}

func (p *product) registration(u *modelUser) string {
	return fmt.Sprintf(`{"username":%q,"email":%q,"password":%q}`, u.name, u.email, u.password)
}

func (p *product) register(t *rapid.T) {
	switch taken := p.anyUser(t); {
	case rapid.Bool().Draw(t, "the same address"):
		p.refused(t, p.do(t, nil, "POST", "/api/auth/register", strings.Replace(p.registration(taken), `"`+taken.name+`"`, `"other"`, 1)), refusal{409, "email_taken"})
	case len(p.users) < 4:
		p.join(t)
	default:
		p.refused(t, p.do(t, nil, "POST", "/api/auth/register", strings.Replace(p.registration(taken), "@", "@other.", 1)), refusal{409, "username_taken"})
	}
}

func (p *product) login(t *rapid.T) {
	u := p.anyUser(t)
	if rapid.Bool().Draw(t, "good") {
		p.signIn(t, u)
		return
	}
	p.refused(t, p.do(t, nil, "POST", "/api/auth/login", credentials(u.email, u.password+"!")), refusal{401, "invalid_credentials"})
}

// signIn begins a session, which acts from now on.
func (p *product) signIn(t *rapid.T, u *modelUser) {
	a := p.do(t, nil, "POST", "/api/auth/login", credentials(strings.ToUpper(u.email), u.password))
	if a.status != http.StatusOK || a.number(t, "user", "id") != u.id {
		t.Fatalf("%s: %d %v", a.call, a.status, a.body)
	}
	u.sessions = append(u.sessions, sessionOf(a))
}

func credentials(email, password string) string {
	return fmt.Sprintf(`{"email":%q,"password":%q}`, email, password)
}

// refresh goes on with a session, or uses one of its refresh tokens again.
func (p *product) refresh(t *rapid.T) {
	u := p.anyUser(t)
	session := rapid.SampledFrom(u.sessions).Draw(t, "session")
	at := rapid.IntRange(0, len(session.refresh)-1).Draw(t, "token")
	s, body := p.next(), fmt.Sprintf(`{"refreshToken":%q}`, session.refresh[at])
	a := p.ask(t, s, nil, "POST", "/api/auth/refresh", body)
	if at < len(session.refresh)-1 {
		p.refused(t, a, refusal{401, "refresh_token_reused"})
		p.ends(t, u, session, s)
		return
	}
	if a.status != http.StatusOK || a.number(t, "user", "id") != u.id {
		t.Fatalf("%s: %d %v", a.call, a.status, a.body)
	}
	session.tokens = append(session.tokens, a.text("token"))
	session.refresh = append(session.refresh, a.text("refreshToken"))
}

// endSession ends a session of a user, by the token of one of the user's own.
func (p *product) endSession(t *rapid.T) {
	u := p.anyUser(t)
	session := rapid.SampledFrom(u.sessions).Draw(t, "session")
	a := p.do(t, nil, "GET", "/api/users/me/sessions?limit=100", "", "Authorization", "Bearer "+session.tokens[0])
	items := a.list("items")
	if a.status != http.StatusOK || len(items) != len(u.sessions) || a.text("nextCursor") != "" {
		t.Fatalf("%s: %d %v, want %d sessions", a.call, a.status, a.body, len(u.sessions))
	}
	var current []string
	for _, item := range items {
		if item, _ := item.(map[string]any); item["current"] == true {
			current = append(current, fmt.Sprint(item["id"]))
		}
	}
	if len(current) != 1 {
		t.Fatalf("%s: %v, want one current session", a.call, a.body)
	}
	path := "/api/users/me/sessions/" + current[0]
	if by := p.anyUser(t); by != u {
		p.refused(t, p.do(t, by, "DELETE", path, ""), refusal{404, "not_found"})
	}
	s := p.next()
	p.is(t, p.ask(t, s, u, "DELETE", path, ""), http.StatusNoContent, nil)
	p.ends(t, u, session, s)
	p.is(t, p.do(t, u, "DELETE", path, ""), http.StatusNoContent, nil)
}

// ends holds that a session has ended, as the instance that ended it knows at
// once. A user without any other begins one.
func (p *product) ends(t *rapid.T, u *modelUser, session *modelSession, by *served) {
	t.Helper()
	for _, token := range session.tokens {
		p.refused(t, p.ask(t, by, nil, "GET", "/api/users/me", "", "Authorization", "Bearer "+token), refusal{401, "unauthorized"})
		p.ended = append(p.ended, endedToken{token, time.Now()})
	}
	last := session.refresh[len(session.refresh)-1]
	p.refused(t, p.do(t, nil, "POST", "/api/auth/refresh", fmt.Sprintf(`{"refreshToken":%q}`, last)), refusal{401, "invalid_refresh_token"})
	u.sessions = slices.DeleteFunc(u.sessions, func(other *modelSession) bool { return other == session })
	if len(u.sessions) == 0 && slices.Contains(p.users, u) {
		p.signIn(t, u)
	}
}

// tokensEnded holds that the next n instances refuse the tokens of ended sessions:
// where there are several only once a grace has passed, for they learn of it within
// seconds, in which everything else goes on.
func (p *product) tokensEnded(t *rapid.T, n int, grace time.Duration) {
	t.Helper()
	for _, e := range p.ended {
		for range n {
			p.reads(t, nil, "/api/users/me", func(a answer) string {
				if len(p.instances) > 1 && time.Since(e.at) < grace {
					return ""
				}
				return a.refused(refusal{401, "unauthorized"})
			}, "Authorization", "Bearer "+e.token)
		}
	}
}

// rename changes a username, often to one that is or was another's.
func (p *product) rename(t *rapid.T) {
	u, name := p.anyUser(t), rapid.SampledFrom(accountNames).Draw(t, "name")
	if rapid.Bool().Draw(t, "capitals") {
		name = strings.ToUpper(name)
	}
	a := p.do(t, u, "PATCH", "/api/users/me", fmt.Sprintf(`{"username":%q}`, name))
	if has := p.named(name); has != nil && has != u {
		p.refused(t, a, refusal{409, "username_taken"})
		return
	}
	u.name = name
	p.is(t, a, http.StatusOK, p.profile(u))
}

// erase erases an account. What it voted and skipped stays counted, its polls
// stay without an author, and sometimes somebody takes its name and address.
func (p *product) erase(t *rapid.T) {
	u := p.anyUser(t)
	const path = "/api/users/me"
	if rapid.IntRange(0, 3).Draw(t, "wrong password") == 0 {
		p.refused(t, p.do(t, u, "DELETE", path, `{"password":"password of nobody"}`), refusal{403, "wrong_password"})
		return
	}
	s := p.next()
	p.is(t, p.ask(t, s, u, "DELETE", path, fmt.Sprintf(`{"password":%q}`, u.password)), http.StatusNoContent, nil)
	p.users = slices.DeleteFunc(p.users, func(other *modelUser) bool { return other == u })
	for _, session := range slices.Clone(u.sessions) {
		p.ends(t, u, session, s)
	}
	p.refused(t, p.do(t, nil, "POST", "/api/auth/login", credentials(u.email, u.password)), refusal{401, "invalid_credentials"})
	p.erased = append(p.erased, u)
	for _, m := range p.polls {
		if m.author == u {
			m.author = nil
		}
	}
	if rapid.Bool().Draw(t, "somebody takes the name") || len(p.users) == 0 {
		p.joinAs(t, u.name, u.email)
	}
}

var (
	someTags  = []string{"city", "food", "sports"}
	someWords = []string{"tram", "tea", "teapot", "coffee", "old"}
)

func (p *product) publish(t *rapid.T) {
	u := p.anyUser(t)
	m := &modelPoll{
		author:  u,
		title:   strings.Join(rapid.SliceOfN(rapid.SampledFrom(someWords), 1, 3).Draw(t, "title"), " "),
		options: []string{"one", "two", "three"}[:rapid.IntRange(2, 3).Draw(t, "options")],
		tags:    rapid.SliceOfNDistinct(rapid.SampledFrom(someTags), 1, 3, rapid.ID).Draw(t, "tags"),
		made:    p.clock.Now(), changed: p.clock.Now(),
	}
	m.counts = make([]int64, len(m.options))
	body, err := json.Marshal(map[string]any{"title": m.title, "options": m.options, "tags": m.tags})
	if err != nil {
		t.Fatal(err)
	}
	var header []string
	key := rapid.SampledFrom([]string{"", "", "a", "b"}).Draw(t, "key")
	if key != "" {
		key += p.day() // a key is good for 24 hours
		header = []string{"Idempotency-Key", key}
	}
	s := p.next()
	a := p.ask(t, s, u, "POST", "/api/polls", string(body), header...)
	if before := u.keys[key]; key != "" && before != nil {
		if before.title != m.title || !slices.Equal(before.options, m.options) || !slices.Equal(before.tags, m.tags) {
			p.refused(t, a, refusal{422, "idempotency_mismatch"})
			return
		}
		first := before.document()
		first["totalVotes"] = 0.0
		p.is(t, a, http.StatusCreated, first)
		return
	}
	if u.published[p.day()] >= dailyPolls {
		p.refused(t, a, refusal{429, "daily_poll_limit"})
		return
	}
	if a.status != http.StatusCreated {
		t.Fatalf("%s: %d %v", a.call, a.status, a.body)
	}
	m.id = a.number(t, "id")
	if len(p.polls) > 0 && m.id <= p.polls[len(p.polls)-1].id {
		t.Fatalf("poll id %d after %d", m.id, p.polls[len(p.polls)-1].id)
	}
	p.is(t, a, http.StatusCreated, m.document())
	p.polls = append(p.polls, m)
	u.published[p.day()]++
	if key != "" {
		u.keys[key] = m
	}
	// Where it was made it is in the feeds at once.
	a = p.ask(t, s, u, "GET", "/api/polls?limit=1", "")
	if diff := cmp.Diff(documents([]*modelPoll{m}), a.list("polls")); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", a.call, diff)
	}
}

// judgeVote says what becomes of a vote, and counts it.
func (p *product) judgeVote(u *modelUser, m *modelPoll, option int) refusal {
	_, voted := u.votes[m]
	switch {
	case !m.readable():
		return refusal{404, "not_found"}
	case option < 0 || option >= len(m.options):
		return refusal{422, "invalid_option"}
	case voted:
		return refusal{409, "already_voted"}
	case m.state == domain.PollClosed:
		return refusal{409, "poll_closed"}
	case u.voteDays[p.day()] >= dailyVotes:
		return refusal{429, "daily_vote_limit"}
	}
	p.count(u, m, option)
	return accepted
}

func (p *product) count(u *modelUser, m *modelPoll, option int) {
	u.votes[m] = option
	u.voteDays[p.day()]++
	m.counts[option]++
	m.changed = p.clock.Now()
}

// judgeSkip says what becomes of a skip, and counts it.
func (p *product) judgeSkip(u *modelUser, m *modelPoll) refusal {
	_, voted := u.votes[m]
	switch {
	case !m.readable():
		return refusal{404, "not_found"}
	case voted:
		return refusal{409, "already_voted"}
	}
	if !u.skips[m] {
		u.skips[m] = true
		m.skips++
		m.changed = p.clock.Now()
	}
	return accepted
}

func (p *product) remaining(u *modelUser) float64 { return float64(dailyVotes - u.voteDays[p.day()]) }

func (p *product) vote(t *rapid.T) {
	u, m, option := p.anyUser(t), p.anyPoll(t), rapid.IntRange(-1, 3).Draw(t, "option")
	body := fmt.Sprintf(`{"optionIndex":%d}`, option)
	path := fmt.Sprintf("/api/polls/%d/vote", m.id)
	switch rapid.IntRange(0, 9).Draw(t, "as") {
	case 0:
		p.refused(t, p.do(t, nil, "POST", path, body), refusal{401, "unauthorized"})
		return
	case 1:
		body = fmt.Sprintf(`{"optionIndex":%d,"userId":%d}`, option, u.id+1)
		p.refused(t, p.do(t, u, "POST", path, body), refusal{403, "forbidden"})
		return
	case 2:
		body = fmt.Sprintf(`{"optionIndex":%d,"userId":"%d"}`, option, u.id)
	}
	a := p.do(t, u, "POST", path, body)
	want := p.judgeVote(u, m, option)
	if want != accepted {
		p.refused(t, a, want)
		if want.code == "already_voted" && a.number(t, "optionIndex") != int64(u.votes[m]) {
			t.Fatalf("%s: %v, the option counted is %d", a.call, a.body, u.votes[m])
		}
		return
	}
	p.is(t, a, http.StatusOK, map[string]any{
		"pollId": float64(m.id), "optionIndex": float64(option), "votesRemainingToday": p.remaining(u), "stats": m.stats(),
	})
}

// voteAtOnce sends votes of one user at the same time, each poll twice: of each
// poll at most one is counted, and of all no more than the day has left.
func (p *product) voteAtOnce(t *rapid.T) {
	u := p.anyUser(t)
	var open []*modelPoll
	for _, m := range p.polls {
		if _, voted := u.votes[m]; !voted && m.state == domain.PollOpen && len(open) < 5 {
			open = append(open, m)
		}
	}
	answers := make([]answer, 2*len(open))
	errs := make([]error, len(answers))
	var sending sync.WaitGroup
	for i := range answers {
		s := p.next()
		sending.Go(func() {
			answers[i], errs[i] = p.try(s, u, "POST", fmt.Sprintf("/api/polls/%d/vote", open[i/2].id), fmt.Sprintf(`{"optionIndex":%d}`, i%2))
		})
	}
	sending.Wait()
	left := min(int(p.remaining(u)), len(open))
	for i, a := range answers {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if a.status == http.StatusOK {
			left--
			if _, twice := u.votes[open[i/2]]; twice {
				t.Fatalf("%s: counted twice", a.call)
			}
			p.count(u, open[i/2], i%2)
		}
	}
	if left != 0 {
		t.Fatalf("%d votes at once: %d too few were taken", len(answers), left)
	}
	for i, a := range answers {
		if a.status != http.StatusOK {
			want := refusal{429, "daily_vote_limit"}
			if _, voted := u.votes[open[i/2]]; voted && a.status == http.StatusConflict {
				want = refusal{409, "already_voted"}
			}
			p.refused(t, a, want)
		}
	}
}

func (p *product) skip(t *rapid.T) {
	u, m := p.anyUser(t), p.anyPoll(t)
	a := p.do(t, u, "POST", fmt.Sprintf("/api/polls/%d/skip", m.id), "")
	if want := p.judgeSkip(u, m); want != accepted {
		p.refused(t, a, want)
		return
	}
	p.is(t, a, http.StatusOK, map[string]any{"pollId": float64(m.id), "skipped": true})
}

func (p *product) batch(t *rapid.T) {
	u := p.anyUser(t)
	var items []string
	var want []func(got map[string]any) string
	for range rapid.IntRange(1, 8).Draw(t, "items") {
		m := p.anyPoll(t)
		if rapid.Bool().Draw(t, "skip") {
			items = append(items, fmt.Sprintf(`{"pollId":%d,"skip":true}`, m.id))
			verdict := p.judgeSkip(u, m)
			want = append(want, func(got map[string]any) string {
				return differs(got, verdict, map[string]any{"pollId": float64(m.id), "status": 200.0, "skipped": true})
			})
			continue
		}
		option := rapid.IntRange(0, 3).Draw(t, "option")
		items = append(items, fmt.Sprintf(`{"pollId":"%d","optionIndex":%d}`, m.id, option))
		verdict := p.judgeVote(u, m, option)
		remaining, counted := p.remaining(u), u.votes[m]
		want = append(want, func(got map[string]any) string {
			if verdict.code == "already_voted" && got["optionIndex"] != float64(counted) {
				return fmt.Sprintf("the option counted is %d", counted)
			}
			return differs(got, verdict, map[string]any{"pollId": float64(m.id), "status": 200.0, "optionIndex": float64(option), "votesRemainingToday": remaining})
		})
	}
	a := p.do(t, u, "POST", "/api/interactions", "["+strings.Join(items, ",")+"]")
	p.requests++
	got, _ := a.body.([]any)
	if a.status != http.StatusOK || len(got) != len(want) {
		t.Fatalf("%s: %d %v", a.call, a.status, a.body)
	}
	for i, check := range want {
		item, _ := got[i].(map[string]any)
		if fault := check(item); fault != "" {
			t.Fatalf("%s, item %d: %v: %s", a.call, i, item, fault)
		}
	}
}

// differs compares an item of a batch with a verdict, or with what an accepted
// one says.
func differs(got map[string]any, verdict refusal, ok map[string]any) string {
	if verdict == accepted {
		return cmp.Diff(ok, got)
	}
	if got["status"] != float64(verdict.status) || got["code"] != verdict.code {
		return fmt.Sprintf("want %d %s", verdict.status, verdict.code)
	}
	return ""
}

// filter is what a feed is asked for.
type filter struct {
	tags []string
	text string
}

func (f filter) query() url.Values {
	q := url.Values{}
	for _, tag := range f.tags {
		q.Add("tag", strings.ToUpper(tag))
	}
	if f.text != "" {
		q.Set("q", f.text)
	}
	return q
}

func (f filter) matches(m *modelPoll) bool {
	if len(f.tags) > 0 && !slices.ContainsFunc(f.tags, func(tag string) bool { return slices.Contains(m.tags, tag) }) {
		return false
	}
	words := slices.Concat(strings.Fields(m.title), m.options, m.tags)
	asked := strings.Fields(f.text)
	for i, w := range asked {
		if !slices.ContainsFunc(words, func(have string) bool { return have == w || i == len(asked)-1 && strings.HasPrefix(have, w) }) {
			return false
		}
	}
	return true
}

// unseen returns the model's feed: newest first.
func (p *product) unseen(u *modelUser, f filter) []*modelPoll {
	var list []*modelPoll
	for _, m := range slices.Backward(p.polls) {
		if _, voted := u.votes[m]; !voted && !u.skips[m] && m.state == domain.PollOpen && f.matches(m) {
			list = append(list, m)
		}
	}
	return list
}

func documents(polls []*modelPoll) []any {
	list := []any{}
	for _, m := range polls {
		list = append(list, m.document())
	}
	return list
}

func anyFilter(t *rapid.T) filter {
	f := filter{tags: rapid.SliceOfNDistinct(rapid.SampledFrom(append(someTags, "none")), 0, 2, rapid.ID).Draw(t, "tags")}
	if rapid.Bool().Draw(t, "search") {
		f.text = rapid.SampledFrom([]string{"tea", "te", "tea old", "old tea", "coffee c", "t", "two", "food tram", "milk"}).Draw(t, "text")
	}
	return f
}

// feed asks for one page by its number.
func (p *product) feed(t *rapid.T) {
	u, f := p.anyUser(t), anyFilter(t)
	limit, page := rapid.IntRange(1, 4).Draw(t, "limit"), rapid.IntRange(1, 3).Draw(t, "page")
	q := f.query()
	q.Set("limit", strconv.Itoa(limit))
	q.Set("page", strconv.Itoa(page))
	all := p.unseen(u, f)
	from := min((page-1)*limit, len(all))
	to := min(from+limit, len(all))
	p.page(t, u, q, page, limit, all[from:to], to < len(all))
}

// page holds a page of the feed to the model and returns its cursor.
func (p *product) page(t *rapid.T, u *modelUser, query url.Values, page, limit int, want []*modelPoll, more bool) string {
	t.Helper()
	return p.shows(t, u, query, func(a answer) string {
		cursor := a.text("nextCursor")
		if (cursor != "") != more {
			return fmt.Sprintf("next cursor %q, want one: %t", cursor, more)
		}
		var next any
		if more {
			next = cursor
		}
		return a.is(http.StatusOK, map[string]any{"polls": documents(want), "nextCursor": next, "page": float64(page), "limit": float64(limit)})
	}).text("nextCursor")
}

// walk follows cursors to the end while others publish and this user skips: no
// poll comes twice, none is missing.
func (p *product) walk(t *rapid.T) {
	u, f := p.anyUser(t), anyFilter(t)
	limit := rapid.IntRange(1, 3).Draw(t, "limit")
	below, cursor := int64(1)<<53, ""
	for page := 1; ; page++ {
		q := f.query()
		q.Set("limit", strconv.Itoa(limit))
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		var rest []*modelPoll
		for _, m := range p.unseen(u, f) {
			if m.id < below {
				rest = append(rest, m)
			}
		}
		shown := rest[:min(limit, len(rest))]
		cursor = p.page(t, u, q, page, limit, shown, len(rest) > limit)
		if cursor == "" {
			return
		}
		below = shown[len(shown)-1].id
		switch rapid.IntRange(0, 3).Draw(t, "meanwhile") {
		case 0:
			p.publish(t)
		case 1:
			p.skip(t)
		}
	}
}

// hot walks the ranking, which may be a minute old: what is in it is unseen, as
// it is, and there once.
func (p *product) hot(t *rapid.T) {
	u, f := p.anyUser(t), anyFilter(t)
	want := map[float64]any{}
	for _, m := range p.unseen(u, f) {
		want[float64(m.id)] = m.document()
	}
	cursor := ""
	for {
		q := f.query()
		q.Set("sort", "hot")
		q.Set("limit", "2")
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		var rest map[float64]any
		a := p.shows(t, u, q, func(a answer) string {
			rest = maps.Clone(want)
			// Of hours that pass at once the ranking is made a second later.
			if a.status != http.StatusOK && (cursor == "" || a.refused(refusal{400, "cursor_expired"}) != "") {
				return fmt.Sprint(a.status, a.body)
			}
			for _, doc := range a.list("polls") {
				object, _ := doc.(map[string]any)
				id, _ := object["id"].(float64)
				if diff := cmp.Diff(rest[id], doc); diff != "" {
					return "(-want +got):\n" + diff
				}
				delete(rest, id)
			}
			return ""
		})
		want = rest
		if cursor = a.text("nextCursor"); cursor == "" {
			return
		}
	}
}

func (p *product) manyStats(t *rapid.T) {
	ids, items := []string{"1"}, []any{}
	for _, m := range p.polls {
		ids = append(ids, strconv.FormatInt(m.id, 10))
		if m.readable() {
			items = append(items, m.stats())
		}
	}
	if len(ids) > 100 {
		t.Skip("too many polls")
	}
	p.reads(t, nil, "/api/stats?polls="+strings.Join(ids, ","), func(a answer) string { return a.is(http.StatusOK, map[string]any{"items": items}) })
	// Of popular polls the order is the ranking's, so only who is in is known.
	want := map[float64]any{}
	for _, m := range p.polls {
		if m.state == domain.PollOpen {
			want[float64(m.id)] = m.document()
		}
	}
	p.reads(t, nil, "/api/polls/popular?limit=100", func(a answer) string {
		got, popular := map[float64]any{}, a.list("polls")
		for _, doc := range popular {
			object, _ := doc.(map[string]any)
			id, _ := object["id"].(float64)
			got[id] = doc
		}
		if diff := cmp.Diff(want, got); diff != "" || len(got) != len(popular) {
			return fmt.Sprintf("%d polls (-want +got):\n%s", len(popular), diff)
		}
		return ""
	})
}

func (p *product) tags(t *rapid.T) {
	prefix := rapid.SampledFrom([]string{"", "c", "FOO", "x"}).Draw(t, "prefix")
	type tag struct {
		name string
		n    int
	}
	var tags []tag
	for _, name := range someTags {
		n := 0
		for _, m := range p.polls {
			if m.state == domain.PollOpen && slices.Contains(m.tags, name) {
				n++
			}
		}
		if n > 0 && strings.HasPrefix(name, strings.ToLower(prefix)) {
			tags = append(tags, tag{name, n})
		}
	}
	slices.SortStableFunc(tags, func(a, b tag) int { return b.n - a.n }) // someTags are sorted
	items := []any{}
	for _, tag := range tags {
		items = append(items, map[string]any{"tag": tag.name, "polls": float64(tag.n)})
	}
	p.reads(t, nil, "/api/tags?prefix="+prefix, func(a answer) string { return a.is(http.StatusOK, map[string]any{"items": items}) })
}

func (p *product) delete(t *rapid.T) {
	u, m := p.anyUser(t), p.anyPoll(t)
	if rapid.Bool().Draw(t, "by its author") && m.author != nil {
		u = m.author
	}
	a := p.do(t, u, "DELETE", fmt.Sprintf("/api/polls/%d", m.id), "")
	switch {
	case !m.readable():
		p.refused(t, a, refusal{404, "not_found"})
	case m.author != u:
		p.refused(t, a, refusal{403, "forbidden"})
	case m.votes() > 0:
		p.refused(t, a, refusal{409, "has_votes"})
	default:
		p.is(t, a, http.StatusNoContent, nil)
		m.state = domain.PollDeleted
	}
}

// operate closes, hides or opens polls, as an operator does: while the server is
// stopped where it is one instance, which may have its storage to itself.
func (p *product) operate(t *rapid.T) {
	alone := len(p.instances) == 1
	if alone {
		p.stop(t, p.instances...)
	}
	store := p.open(t)
	for range rapid.IntRange(1, 2).Draw(t, "polls") {
		m, state := p.anyPoll(t), rapid.SampledFrom([]domain.PollState{domain.PollOpen, domain.PollClosed, domain.PollHidden}).Draw(t, "state")
		_, err := store.SetPollState(context.Background(), domain.PollID(m.id), state)
		switch code := domain.CodeOf(err); {
		case m.state == domain.PollDeleted && code == domain.CodeNotFound:
		case m.state == domain.PollDeleted || code != "":
			t.Fatalf("state %d of poll %d: %v", state, m.id, err)
		default:
			m.state = state
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if alone {
		p.start(t, p.instances...)
	}
}

func (p *product) open(t *rapid.T) domain.Store {
	store, err := app.OpenStore(context.Background(), p.config, app.Options{Clock: p.clock})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// restart stops an instance, or all, and starts them again on the same folder.
func (p *product) restart(t *rapid.T) {
	some := p.instances
	if len(some) > 1 && rapid.Bool().Draw(t, "one") {
		some = []*served{p.next()}
	}
	p.stop(t, some...)
	p.start(t, some...)
}

// passTime moves the clock, often over midnight.
func (p *product) passTime(t *rapid.T) {
	p.clock.add(rapid.SampledFrom([]time.Duration{time.Second, 2 * time.Minute, 3 * time.Hour, 13 * time.Hour}).Draw(t, "time"))
}

// look holds what everybody sees to the model, and lets a second pass, so that
// nothing that may be a second old is.
func (p *product) look(t *rapid.T) {
	p.clock.add(time.Second)
	if len(p.instances) > 1 {
		p.turn = rapid.IntRange(0, len(p.instances)-1).Draw(t, "instance")
	}
	for _, u := range p.users {
		p.page(t, u, url.Values{"limit": {"100"}}, 1, 100, p.unseen(u, filter{}), false)
		p.is(t, p.do(t, u, "GET", "/api/users/me", ""), http.StatusOK, p.profile(u))
	}
	p.tokensEnded(t, 1, lag)
	unknown := func(a answer) string { return a.refused(refusal{404, "not_found"}) }
	for i, m := range p.polls {
		path := fmt.Sprintf("/api/polls/%d", m.id)
		u := p.users[(i+p.requests)%len(p.users)]
		if !m.readable() {
			p.reads(t, u, path, unknown)
			p.reads(t, nil, path+"/stats", unknown)
			continue
		}
		p.reads(t, nil, path+"/stats", func(a answer) string { return a.is(http.StatusOK, m.stats()) })
		doc := m.document()
		if m.state == domain.PollClosed {
			doc["closed"] = true
		}
		viewer := map[string]any{"voted": false, "optionIndex": nil, "skipped": u.skips[m]}
		if option, voted := u.votes[m]; voted {
			viewer["voted"], viewer["optionIndex"] = true, float64(option)
		}
		doc["viewer"] = viewer
		p.reads(t, u, path, func(a answer) string {
			// What one did oneself is never behind.
			if body, _ := a.body.(map[string]any); a.status == http.StatusOK && !cmp.Equal(body["viewer"], doc["viewer"]) {
				t.Fatalf("%s: %v, want %v", a.call, a.body, viewer)
			}
			return a.is(http.StatusOK, doc)
		})
	}
}

func (p *product) profile(u *modelUser) map[string]any {
	polls := 0
	for _, m := range p.polls {
		if m.author == u && m.state != domain.PollDeleted {
			polls++
		}
	}
	return map[string]any{
		"id": float64(u.id), "username": u.name, "email": u.email, "createdAt": u.joined.Format(time.RFC3339Nano),
		"votesToday": float64(u.voteDays[p.day()]), "votesRemainingToday": p.remaining(u),
		"totals": map[string]any{"votes": float64(len(u.votes)), "skips": float64(len(u.skips)), "polls": float64(polls)},
	}
}

// check verifies the database, and that it holds as much as the model.
func (p *product) check(t *rapid.T) {
	store := p.open(t)
	report, err := store.Check(context.Background(), domain.Rules{DailyVotes: dailyVotes, DailyPolls: dailyPolls})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	votes, skips := int64(0), int64(0)
	everybody := slices.Concat(p.users, p.erased)
	for _, u := range everybody {
		votes, skips = votes+int64(len(u.votes)), skips+int64(len(u.skips))
	}
	if len(report.Violations) > 0 || report.Votes != votes || report.Skips != skips || report.Users != int64(len(everybody)) || len(report.Rules) == 0 {
		t.Fatalf("check: %+v; want %d users, %d votes, %d skips", report, len(everybody), votes, skips)
	}
}
