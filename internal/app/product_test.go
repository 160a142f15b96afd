package app_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
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

var productTime = flag.Duration("product.time", 8*time.Second, "how long TestProduct begins new histories; -rapid.checks bounds them too")

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
	holdProduct(t, func(folder string) []string { return []string{"STORAGE_PATH=" + filepath.Join(folder, "vote.db")} })
}

// holdProduct is TestProduct of servers over what the environment names, which
// each history has anew. The folder is the history's own.
func holdProduct(t *testing.T, environment func(folder string) []string) {
	t.Helper()
	began := time.Now()
	failing, histories, requests := false, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		// A failure is made smaller in its own time.
		if !failing && time.Since(began) > *productTime {
			return
		}
		whole := false
		defer func() { failing = failing || !whole }()
		p := newProduct(t, environment)
		defer p.end()
		t.Repeat(p.actions())
		p.restart(t)
		p.look(t)
		p.stop(t)
		p.check(t)
		histories, requests = histories+1, requests+p.requests
		whole = true
	})
	t.Logf("%d histories, %d requests", histories, requests)
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
	tokens    []string           // of the sessions that go on; the last one acts
	votes     map[*modelPoll]int // the option
	voteDays  map[string]int     // votes by day
	skips     map[*modelPoll]bool
	published map[string]int // polls by day
	keys      map[string]*modelPoll
	joined    time.Time
}

func (u *modelUser) token() string { return u.tokens[len(u.tokens)-1] }

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

// product is a server and the model of it.
type product struct {
	folder   string
	clock    *handClock
	config   config.Config
	url      string
	client   *http.Client
	stopped  func() error // nil while no server runs
	requests int

	users  []*modelUser
	erased []*modelUser
	ended  []string     // tokens of sessions that ended
	polls  []*modelPoll // in order of publication, deleted ones too
}

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

func newProduct(t *rapid.T, environment func(folder string) []string) *product {
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
	p.start(t)
	p.join(t)
	p.join(t)
	for range 2 * dailyVotes {
		p.publish(t)
	}
	return p
}

func (p *product) start(t *rapid.T) {
	a, err := app.New(context.Background(), p.config, app.Options{Clock: p.clock})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	p.url = a.URL()
	p.stopped = func() error {
		cancel()
		return <-done
	}
	for limit := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if r := p.do(t, nil, "GET", "/readyz", ""); r.status == http.StatusOK {
			return
		}
		if time.Now().After(limit) {
			t.Fatal("never ready")
		}
	}
}

func (p *product) stop(t *rapid.T) {
	p.client.CloseIdleConnections()
	stopped := p.stopped
	p.stopped = nil
	if err := stopped(); err != nil {
		t.Fatalf("stop: %v", err)
	}
}

// end frees everything, however the history ended.
func (p *product) end() {
	p.client.CloseIdleConnections()
	if p.stopped != nil {
		_ = p.stopped()
	}
	_ = os.RemoveAll(p.folder)
}

// answer is what a call brought.
type answer struct {
	call   string
	status int
	body   any // decoded JSON; nil for none
}

func (p *product) do(t *rapid.T, as *modelUser, method, target, body string, header ...string) answer {
	t.Helper()
	a, err := p.try(as, method, target, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return a
}

func (p *product) try(as *modelUser, method, target, body string, header ...string) (answer, error) {
	r, err := http.NewRequest(method, p.url+target, strings.NewReader(body))
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

// is fails unless the answer is 2xx with just this body.
func (p *product) is(t *rapid.T, a answer, status int, want any) {
	t.Helper()
	p.requests++
	if a.status != status {
		t.Fatalf("%s: %d %v, want %d", a.call, a.status, a.body, status)
	}
	if diff := cmp.Diff(want, a.body); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", a.call, diff)
	}
}

// refusal is what the model expects of a call that changes nothing.
type refusal struct {
	status int
	code   string
}

var accepted = refusal{}

// refused fails unless the answer is the refusal.
func (p *product) refused(t *rapid.T, a answer, want refusal) {
	t.Helper()
	p.requests++
	body, _ := a.body.(map[string]any)
	if a.status != want.status || body["code"] != want.code {
		t.Fatalf("%s: %d %v, want %d %s", a.call, a.status, a.body, want.status, want.code)
	}
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
	u.id, u.tokens = a.number(t, "user", "id"), []string{a.text("token")}
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
	u.tokens = append(u.tokens, a.text("token"))
}

func credentials(email, password string) string {
	return fmt.Sprintf(`{"email":%q,"password":%q}`, email, password)
}

// endSession ends a session of a user, by the token of one of the user's own.
func (p *product) endSession(t *rapid.T) {
	u := p.anyUser(t)
	at := rapid.IntRange(0, len(u.tokens)-1).Draw(t, "session")
	token := u.tokens[at]
	a := p.do(t, nil, "GET", "/api/users/me/sessions?limit=100", "", "Authorization", "Bearer "+token)
	body, _ := a.body.(map[string]any)
	items, _ := body["items"].([]any)
	if a.status != http.StatusOK || len(items) != len(u.tokens) || body["nextCursor"] != nil {
		t.Fatalf("%s: %d %v, want %d sessions", a.call, a.status, a.body, len(u.tokens))
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
	p.is(t, p.do(t, u, "DELETE", path, ""), http.StatusNoContent, nil)
	u.tokens = slices.Delete(u.tokens, at, at+1)
	p.endsToken(t, token)
	if len(u.tokens) == 0 {
		p.signIn(t, u)
	}
	p.is(t, p.do(t, u, "DELETE", path, ""), http.StatusNoContent, nil)
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
	p.is(t, p.do(t, u, "DELETE", path, fmt.Sprintf(`{"password":%q}`, u.password)), http.StatusNoContent, nil)
	for _, token := range u.tokens {
		p.endsToken(t, token)
	}
	p.refused(t, p.do(t, nil, "POST", "/api/auth/login", credentials(u.email, u.password)), refusal{401, "invalid_credentials"})
	p.users = slices.DeleteFunc(p.users, func(other *modelUser) bool { return other == u })
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

// endsToken holds that a token is refused, now and from now on.
func (p *product) endsToken(t *rapid.T, token string) {
	t.Helper()
	p.ended = append(p.ended, token)
	p.refused(t, p.do(t, nil, "GET", "/api/users/me", "", "Authorization", "Bearer "+token), refusal{401, "unauthorized"})
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
	a := p.do(t, u, "POST", "/api/polls", string(body), header...)
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
		sending.Go(func() {
			answers[i], errs[i] = p.try(u, "POST", fmt.Sprintf("/api/polls/%d/vote", open[i/2].id), fmt.Sprintf(`{"optionIndex":%d}`, i%2))
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
	a := p.do(t, u, "GET", "/api/polls?"+q.Encode(), "")
	all := p.unseen(u, f)
	from := min((page-1)*limit, len(all))
	to := min(from+limit, len(all))
	p.page(t, a, page, limit, all[from:to], to < len(all))
}

// page holds a page of the feed to the model and returns its cursor.
func (p *product) page(t *rapid.T, a answer, page, limit int, want []*modelPoll, more bool) string {
	t.Helper()
	cursor := a.text("nextCursor")
	if (cursor != "") != more {
		t.Fatalf("%s: next cursor %q, want one: %t", a.call, cursor, more)
	}
	var next any
	if more {
		next = cursor
	}
	p.is(t, a, http.StatusOK, map[string]any{"polls": documents(want), "nextCursor": next, "page": float64(page), "limit": float64(limit)})
	return cursor
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
		cursor = p.page(t, p.do(t, u, "GET", "/api/polls?"+q.Encode(), ""), page, limit, shown, len(rest) > limit)
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
		a := p.do(t, u, "GET", "/api/polls?"+q.Encode(), "")
		body, _ := a.body.(map[string]any)
		polls, _ := body["polls"].([]any)
		for _, doc := range polls {
			object, _ := doc.(map[string]any)
			id, _ := object["id"].(float64)
			if diff := cmp.Diff(want[id], doc); diff != "" {
				t.Fatalf("%s: (-want +got):\n%s", a.call, diff)
			}
			delete(want, id)
		}
		p.requests++
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
	p.is(t, p.do(t, nil, "GET", "/api/stats?polls="+strings.Join(ids, ","), ""), http.StatusOK, map[string]any{"items": items})
	// Of popular polls the order is the ranking's, so only who is in is known.
	a := p.do(t, nil, "GET", "/api/polls/popular?limit=100", "")
	body, _ := a.body.(map[string]any)
	popular, _ := body["polls"].([]any)
	want := map[float64]any{}
	for _, m := range p.polls {
		if m.state == domain.PollOpen {
			want[float64(m.id)] = m.document()
		}
	}
	got := map[float64]any{}
	for _, doc := range popular {
		object, _ := doc.(map[string]any)
		id, _ := object["id"].(float64)
		got[id] = doc
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got) != len(popular) {
		t.Fatalf("%s (-want +got):\n%s", a.call, diff)
	}
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
	p.is(t, p.do(t, nil, "GET", "/api/tags?prefix="+prefix, ""), http.StatusOK, map[string]any{"items": items})
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

// operate closes, hides or opens polls while the server is stopped, as an
// operator does.
func (p *product) operate(t *rapid.T) {
	p.stop(t)
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
	p.start(t)
}

func (p *product) open(t *rapid.T) domain.Store {
	store, err := app.OpenStore(context.Background(), p.config, app.Options{Clock: p.clock})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// restart stops the server and starts it again on the same folder.
func (p *product) restart(t *rapid.T) {
	p.stop(t)
	p.start(t)
}

// passTime moves the clock, often over midnight.
func (p *product) passTime(t *rapid.T) {
	p.clock.add(rapid.SampledFrom([]time.Duration{time.Second, 2 * time.Minute, 3 * time.Hour, 13 * time.Hour}).Draw(t, "time"))
}

// look holds what everybody sees to the model, and lets a second pass, so that
// nothing that may be a second old is.
func (p *product) look(t *rapid.T) {
	p.clock.add(time.Second)
	for _, u := range p.users {
		p.page(t, p.do(t, u, "GET", "/api/polls?limit=100", ""), 1, 100, p.unseen(u, filter{}), false)
		p.is(t, p.do(t, u, "GET", "/api/users/me", ""), http.StatusOK, p.profile(u))
	}
	for _, token := range p.ended {
		p.refused(t, p.do(t, nil, "GET", "/api/users/me", "", "Authorization", "Bearer "+token), refusal{401, "unauthorized"})
	}
	for i, m := range p.polls {
		path := fmt.Sprintf("/api/polls/%d", m.id)
		u := p.users[(i+p.requests)%len(p.users)]
		if !m.readable() {
			p.refused(t, p.do(t, u, "GET", path, ""), refusal{404, "not_found"})
			p.refused(t, p.do(t, nil, "GET", path+"/stats", ""), refusal{404, "not_found"})
			continue
		}
		p.is(t, p.do(t, nil, "GET", path+"/stats", ""), http.StatusOK, m.stats())
		doc := m.document()
		viewer := map[string]any{"voted": false, "optionIndex": nil, "skipped": u.skips[m]}
		if option, voted := u.votes[m]; voted {
			viewer["voted"], viewer["optionIndex"] = true, float64(option)
		}
		doc["viewer"] = viewer
		p.is(t, p.do(t, u, "GET", path, ""), http.StatusOK, doc)
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
