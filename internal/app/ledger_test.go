package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"vote/internal/app"
	"vote/internal/domain"
)

// ledger is people who use the product over HTTP, and a book of what each was
// told, to be held against what the database says in the end. What a fault left
// open is in it as open: an answer that never came, or one that said so.
type ledger struct {
	client *http.Client
	// pick says which instance gets the next request.
	pick func() string
	// again says whether a request that never arrived goes to another; nil never.
	again func(url string, err error) bool
	// workers is how many people act at once.
	workers int

	mu       sync.Mutex
	accounts []account
	polls    []int64
	deeds    map[pair]*deed
	open     map[string]account // publications whose outcome is open, by title, which is also the key
	names    int
	tally    tally
}

// tally is what a ledger saw on the whole.
type tally struct {
	requests, acknowledged int
	// undone were refused with 503, and nothing happened; of the open nobody
	// said what happened.
	undone, open int
	// first and last are when the first request began that met a fault, and
	// when the last of them ended.
	first, last time.Time
	slowest     time.Duration
	// slow took longer than slowAfter, but were answered.
	slow int
}

// slowAfter is what nobody should wait where nothing is wrong.
const slowAfter = time.Second

func (t tally) errors() int { return t.undone + t.open }

// window is how long requests met faults.
func (t tally) window() time.Duration { return t.last.Sub(t.first) }

type pair struct{ user, poll int64 }

// deed is what is known of one user's dealings with one poll. Each pair is used
// by one worker only.
type deed struct {
	votes []int // options sent that may have counted, in order; the first that was taken stands
	// voted says that a vote was acknowledged: its option is final.
	voted, skipped     bool
	option             int
	voteOpen, skipOpen bool      // sent, and nobody said what happened
	seen               time.Time // when the poll was out of the user's feed; zero when it is in
}

func (d *deed) see() {
	if d.seen.IsZero() {
		d.seen = time.Now()
	}
}

type account struct {
	id    int64
	email string
	token string
}

// outcome is what became of a request.
type outcome int

const (
	answered outcome = iota
	undone           // refused for a fault: nothing happened
	unknown          // happened once or not at all
	wrong            // what must never be; the test was told
)

func newLedger(workers int, pick func() string) *ledger {
	return &ledger{
		workers: workers, pick: pick, deeds: make(map[pair]*deed), open: make(map[string]account),
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
}

// call sends a request; an error means that the answer was lost.
func (l *ledger) call(method, path, token string, body any, header ...string) (int, map[string]any, error) {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return 0, nil, err
		}
	}
	for {
		url := l.pick()
		request, err := http.NewRequest(method, url+path, bytes.NewReader(content))
		if err != nil {
			return 0, nil, err
		}
		if body != nil {
			request.Header.Set("Content-Type", "application/json")
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		for i := 0; i < len(header); i += 2 {
			request.Header.Set(header[i], header[i+1])
		}
		answer, err := l.client.Do(request)
		if err != nil && l.again != nil && l.again(url, err) {
			continue
		}
		if err != nil {
			return 0, nil, err
		}
		return decode(answer)
	}
}

func decode(answer *http.Response) (int, map[string]any, error) {
	defer func() { _ = answer.Body.Close() }()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, nil, err
	}
	if answer.StatusCode == http.StatusNoContent {
		return answer.StatusCode, nil, nil
	}
	var decoded map[string]any
	if err := json.Unmarshal(raw, &decoded); err != nil {
		return 0, nil, fmt.Errorf("%s: %d %q: %w", answer.Request.URL.Path, answer.StatusCode, raw, err)
	}
	return answer.StatusCode, decoded, nil
}

// ask sends a request and notes how it went.
func (l *ledger) ask(method, path, token string, body any, header ...string) (int, map[string]any, outcome) {
	began := time.Now()
	status, decoded, err := l.call(method, path, token, body, header...)
	l.mu.Lock()
	defer l.mu.Unlock()
	took := time.Since(began)
	l.tally.requests++
	l.tally.slowest = max(l.tally.slowest, took)
	var how outcome
	switch {
	case err != nil, status == http.StatusServiceUnavailable && decoded["code"] == string(domain.CodeOutcomeUnknown):
		how = unknown
		l.tally.open++
	case status == http.StatusServiceUnavailable:
		how = undone
		l.tally.undone++
	default:
		if took > slowAfter {
			l.tally.slow++
		}
		if status < http.StatusMultipleChoices {
			l.tally.acknowledged++
		}
		return status, decoded, answered
	}
	if l.tally.first.IsZero() {
		l.tally.first = began
	}
	l.tally.last = time.Now()
	return status, decoded, how
}

func (l *ledger) register(t *testing.T) outcome {
	l.mu.Lock()
	l.names++
	name := fmt.Sprintf("user%d", l.names)
	l.mu.Unlock()
	status, body, how := l.ask(http.MethodPost, "/api/auth/register", "",
		map[string]any{"username": name, "email": name + "@example.org", "password": "correct horse"})
	if how != answered {
		return how
	}
	if status != http.StatusCreated {
		t.Errorf("register: %d %v", status, body)
		return wrong
	}
	a := account{email: name + "@example.org", token: body["token"].(string)}
	a.id = int64(body["user"].(map[string]any)["id"].(float64))
	l.mu.Lock()
	l.accounts = append(l.accounts, a)
	l.mu.Unlock()
	return answered
}

// prepare makes accounts and polls before anything is disturbed.
func (l *ledger) prepare(t *testing.T, accounts, polls int) {
	t.Helper()
	for range accounts {
		if l.register(t) != answered {
			t.Fatal("no account could be made")
		}
	}
	var making sync.WaitGroup
	for w := range l.workers {
		making.Go(func() {
			for range (polls + l.workers - 1) / l.workers {
				l.publish(t, l.accounts[w%accounts])
			}
		})
	}
	making.Wait()
	if len(l.polls) < polls {
		t.Fatalf("%d polls could be made of %d", len(l.polls), polls)
	}
}

// act does one thing that people do. A (user, poll) pair belongs to one worker,
// that of the poll's number, so its deeds have an order.
func (l *ledger) act(t *testing.T, rnd *rand.Rand, worker int) outcome {
	l.mu.Lock()
	a := l.accounts[rnd.IntN(len(l.accounts))]
	mine := (len(l.polls) - worker + l.workers - 1) / l.workers
	p := pair{a.id, l.polls[rnd.IntN(mine)*l.workers+worker]}
	l.mu.Unlock()
	switch n := rnd.IntN(24); {
	case n == 0:
		return l.publish(t, a)
	case n < 6:
		return l.feed(t, a)
	case n < 12:
		return l.skip(t, p, a.token)
	default:
		return l.vote(t, p, a.token, rnd.IntN(2))
	}
}

// deed returns the deed of a pair. The caller holds mu.
func (l *ledger) deed(p pair) *deed {
	d := l.deeds[p]
	if d == nil {
		d = &deed{}
		l.deeds[p] = d
	}
	return d
}

func (l *ledger) publish(t *testing.T, a account) outcome {
	l.mu.Lock()
	l.names++
	title := fmt.Sprintf("Which, of %d?", l.names)
	l.mu.Unlock()
	return l.publishAs(t, a, title)
}

func (l *ledger) publishAs(t *testing.T, a account, title string) outcome {
	status, body, how := l.ask(http.MethodPost, "/api/polls", a.token,
		map[string]any{"title": title, "options": []string{"this", "that"}, "tags": []string{"ledger"}}, "Idempotency-Key", title)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case how == unknown:
		l.open[title] = a
		return how
	case how == undone:
		return how
	case status != http.StatusCreated:
		t.Errorf("publish: %d %v", status, body)
		return wrong
	}
	delete(l.open, title)
	l.polls = append(l.polls, int64(body["id"].(float64)))
	return answered
}

// feed reads a user's feed, which must not show what the user was told to have
// done before.
func (l *ledger) feed(t *testing.T, a account) outcome {
	began := time.Now()
	status, body, how := l.ask(http.MethodGet, "/api/polls?limit=50", a.token, nil)
	if how != answered {
		return how
	}
	if status != http.StatusOK {
		t.Errorf("feed: %d %v", status, body)
		return wrong
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, entry := range body["polls"].([]any) {
		p := pair{a.id, int64(entry.(map[string]any)["id"].(float64))}
		if d := l.deeds[p]; d != nil && !d.seen.IsZero() && d.seen.Before(began) {
			t.Errorf("%v: in the feed %v after it was voted on or skipped", p, began.Sub(d.seen))
			return wrong
		}
	}
	return answered
}

func (l *ledger) vote(t *testing.T, p pair, token string, option int) outcome {
	l.mu.Lock()
	d := l.deed(p)
	d.votes = append(d.votes, option)
	l.mu.Unlock()
	status, body, how := l.ask(http.MethodPost, fmt.Sprintf("/api/polls/%d/vote", p.poll), token, map[string]any{"optionIndex": option})
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case how == unknown:
		d.voteOpen = true
		return how
	case how == undone:
		d.votes = d.votes[:len(d.votes)-1]
		return how
	case status == http.StatusOK:
		if d.voted {
			t.Errorf("%v: a second vote was accepted", p)
		}
		d.voted, d.option = true, option
	case status == http.StatusConflict && body["code"] == string(domain.CodeAlreadyVoted):
		d.votes = d.votes[:len(d.votes)-1]
		counted := int(body["optionIndex"].(float64))
		if d.voted && counted != d.option {
			t.Errorf("%v: option %d counted, %d acknowledged", p, counted, d.option)
		}
		if !slices.Contains(d.votes, counted) {
			t.Errorf("%v: option %d counted, which was never sent", p, counted)
		}
		d.voted, d.option = true, counted
	default:
		t.Errorf("vote: %d %v", status, body)
		return wrong
	}
	d.voteOpen = false
	d.see()
	return answered
}

func (l *ledger) skip(t *testing.T, p pair, token string) outcome {
	status, body, how := l.ask(http.MethodPost, fmt.Sprintf("/api/polls/%d/skip", p.poll), token, nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.deed(p)
	switch {
	case how == unknown:
		d.skipOpen = true
		return how
	case how == undone:
		return how
	case status == http.StatusOK:
		if d.voted {
			t.Errorf("%v: a skip after the vote was accepted", p)
		}
		d.skipped, d.skipOpen = true, false
	case status == http.StatusConflict && body["code"] == string(domain.CodeAlreadyVoted):
		if !d.voted && !d.voteOpen {
			t.Errorf("%v: refused as voted, and no vote was ever sent", p)
		}
	default:
		t.Errorf("skip: %d %v", status, body)
		return wrong
	}
	d.see()
	return answered
}

// converge repeats what was left open: each must turn out to have happened once
// or not at all. It also logs in to an account that was acknowledged.
func (l *ledger) converge(t *testing.T) {
	t.Helper()
	tokens := make(map[int64]string)
	l.mu.Lock()
	for _, a := range l.accounts {
		tokens[a.id] = a.token
	}
	var votes, skips []pair
	for p, d := range l.deeds {
		if d.voteOpen {
			votes = append(votes, p)
		}
		if d.skipOpen {
			skips = append(skips, p)
		}
	}
	polls := maps.Clone(l.open)
	accounts := slices.Clone(l.accounts)
	l.mu.Unlock()
	for _, p := range votes {
		if l.vote(t, p, tokens[p.user], l.deeds[p].votes[0]) != answered {
			t.Fatalf("%v: a repeated vote failed", p)
		}
	}
	for _, p := range skips {
		if l.skip(t, p, tokens[p.user]) != answered {
			t.Fatalf("%v: a repeated skip failed", p)
		}
	}
	for title, a := range polls {
		if l.publishAs(t, a, title) != answered {
			t.Fatalf("%s: a repeated publication failed", title)
		}
	}
	if len(accounts) > 0 {
		a := accounts[len(accounts)-1]
		status, body, err := l.call(http.MethodPost, "/api/auth/login", "", map[string]any{"email": a.email, "password": "correct horse"})
		if err != nil || status != http.StatusOK {
			t.Fatalf("login to an acknowledged account: %d %v %v", status, body, err)
		}
	}
}

// difference is by how much a database and a ledger differ.
type difference struct{ lost, doubled int }

// told is what a comparison needs of a test.
type told interface {
	Helper()
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
}

// compare holds the ledger against the database, while nobody acts.
func (l *ledger) compare(ctx context.Context, t told, store domain.Store) difference {
	t.Helper()
	var diff difference
	lost := func(format string, args ...any) { t.Helper(); diff.lost++; t.Errorf(format, args...) }
	doubled := func(format string, args ...any) { t.Helper(); diff.doubled++; t.Errorf(format, args...) }

	report, err := store.Check(ctx, domain.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Rules) == 0 {
		t.Error("the check looked at nothing")
	}
	for _, v := range report.Violations {
		t.Errorf("check: %s: %d, such as %v", v.Rule, v.Count, v.Examples)
	}
	for _, a := range l.accounts {
		if _, err := store.UserByID(ctx, domain.UserID(a.id)); err != nil {
			lost("an acknowledged account is gone: %v", err)
		}
	}
	for _, id := range l.polls {
		if _, err := store.Poll(ctx, domain.PollID(id)); err != nil {
			lost("an acknowledged poll is gone: %v", err)
		}
	}
	if n := int(report.Polls); n < len(l.polls) || n > len(l.polls)+len(l.open) {
		doubled("%d polls, %d acknowledged, %d left open", n, len(l.polls), len(l.open))
	}

	there := l.stored(ctx, t, store)
	votes, skips := 0, 0
	tally := make(map[int64][]int64)
	for p, prior := range there {
		n := tally[p.poll]
		if n == nil {
			n = make([]int64, 3)
			tally[p.poll] = n
		}
		if prior.Voted {
			n[prior.Option]++
			votes++
		}
		if prior.Skipped {
			n[2]++
			skips++
		}
		if d := l.deeds[p]; d == nil || prior.Voted && !d.voted && !d.voteOpen || prior.Skipped && !d.skipped && !d.skipOpen {
			doubled("%v: the database says %+v, which was never sent or refused", p, prior)
		}
	}
	if int(report.Votes) != votes || int(report.Skips) != skips {
		doubled("the database has %d votes and %d skips, %d and %d of them these people's", report.Votes, report.Skips, votes, skips)
	}
	for p, d := range l.deeds {
		prior := there[p]
		switch {
		case d.voted && (!prior.Voted || prior.Option != d.option):
			lost("%v: vote for %d acknowledged, the database says %+v", p, d.option, prior)
		case d.skipped && !prior.Skipped:
			lost("%v: skip acknowledged, the database says %+v", p, prior)
		case prior.Voted && !slices.Contains(d.votes, prior.Option):
			doubled("%v: the database says %+v, sent were votes for %v", p, prior, d.votes)
		}
	}
	for poll, n := range tally {
		counts, err := store.Counts(ctx, []domain.PollID{domain.PollID(poll)})
		if err != nil || len(counts) != 1 {
			t.Fatal(counts, err)
		}
		if got := append(slices.Clone(counts[0].Votes), counts[0].Skips); !slices.Equal(got, n) {
			doubled("poll %d: counted %v, rows %v", poll, got, n)
		}
	}
	return diff
}

// stored returns what the database says that people have done.
func (l *ledger) stored(ctx context.Context, t told, store domain.Store) map[pair]domain.Prior {
	t.Helper()
	const limit = 1000
	there := make(map[pair]domain.Prior)
	for _, a := range l.accounts {
		user := domain.UserID(a.id)
		for after := domain.PollID(0); ; {
			votes, err := store.ExportVotes(ctx, user, after, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range votes {
				p := pair{a.id, int64(v.Poll)}
				there[p] = domain.Prior{Voted: true, Option: v.Option, Skipped: there[p].Skipped}
			}
			if len(votes) < limit {
				break
			}
			after = votes[len(votes)-1].Poll
		}
		for after := domain.PollID(0); ; {
			skips, err := store.ExportSkips(ctx, user, after, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range skips {
				p := pair{a.id, int64(s.Poll)}
				prior := there[p]
				prior.Skipped = true
				there[p] = prior
			}
			if len(skips) < limit {
				break
			}
			after = skips[len(skips)-1].Poll
		}
	}
	return there
}

// acknowledged counts what people were told is so.
// await waits until n more requests were acknowledged, however slow the machine is.
func (l *ledger) await(t *testing.T, n int) {
	t.Helper()
	so := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.tally.acknowledged
	}
	enough := so() + n
	for end := time.Now().Add(time.Minute); so() < enough; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("fewer than %d requests were acknowledged in a minute", n)
		}
	}
}

func (l *ledger) acknowledged() (votes, skips, polls, users int) {
	for _, d := range l.deeds {
		if d.voted {
			votes++
		}
		if d.skipped {
			skips++
		}
	}
	return votes, skips, len(l.polls), len(l.accounts)
}

// silent takes what a comparison tells and only counts it.
type silent struct {
	*testing.T
	errors int
}

func (s *silent) Error(...any)          { s.errors++ }
func (s *silent) Errorf(string, ...any) { s.errors++ }

func TestTheLedgerNoticesDifferences(t *testing.T) {
	t.Parallel()
	c := load(t, "STORAGE_PATH="+filepath.Join(t.TempDir(), "vote.db"), "LIMITS_REQUESTS_PER_MINUTE=0", "LIMITS_VOTES_PER_MINUTE=0",
		"LIMITS_DAILY_VOTES=0", "LIMITS_BURST_PER_SECOND=0")
	a, stop := running(t, c)
	l := newLedger(1, a.URL)
	l.prepare(t, 2, 10)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		if l.act(t, rnd, 0) != answered {
			t.Fatal("a request failed")
		}
	}
	l.client.CloseIdleConnections()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	store, err := app.OpenStore(t.Context(), c, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	if diff := l.compare(t.Context(), t, store); diff != (difference{}) {
		t.Errorf("where nothing is wrong: %+v", diff)
	}
	var voted *deed
	for _, d := range l.deeds {
		if d.voted {
			voted = d
		}
	}
	for name, plant := range map[string]struct {
		lost bool
		plan func() (undo func())
	}{
		"a vote that is gone": {true, func() func() {
			p := pair{l.accounts[0].id, 1 << 40}
			l.deeds[p] = &deed{votes: []int{1}, voted: true, option: 1}
			return func() { delete(l.deeds, p) }
		}},
		"a vote for another option": {true, func() func() {
			voted.option ^= 1
			return func() { voted.option ^= 1 }
		}},
		"a vote that was refused": {false, func() func() {
			voted.voted = false
			return func() { voted.voted = true }
		}},
		"a poll that is gone": {true, func() func() {
			l.polls = append(l.polls, 1<<40)
			return func() { l.polls = l.polls[:len(l.polls)-1] }
		}},
		"a poll that was published twice": {false, func() func() {
			last := l.polls[len(l.polls)-1]
			l.polls = l.polls[:len(l.polls)-1]
			return func() { l.polls = append(l.polls, last) }
		}},
	} {
		undo := plant.plan()
		s := &silent{T: t}
		diff := l.compare(t.Context(), s, store)
		undo()
		if s.errors == 0 || plant.lost && diff.lost == 0 || !plant.lost && diff.doubled == 0 {
			t.Errorf("%s: %+v, %d errors", name, diff, s.errors)
		}
	}
}
