package app_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vote/internal/app"
	"vote/internal/domain"
)

var crashRounds = flag.Int("crash.rounds", 5, "how often TestCrash kills the server")

// TestCrash kills the built server with SIGKILL under load at random moments
// and holds what it had acknowledged against what the database then says.
func TestCrash(t *testing.T) {
	t.Parallel()
	c := newCrash(t)
	var slowest time.Duration
	for round := range *crashRounds {
		took := c.start(t)
		slowest = max(slowest, took)
		c.converge(t)
		c.loadAndKill(t, round)
		c.verify(t)
		if t.Failed() {
			t.Fatalf("after round %d", round)
		}
	}
	c.start(t)
	c.converge(t)
	c.kill(t)
	c.verify(t)
	votes, skips, polls, users := c.acknowledged()
	t.Logf("%d kills: %d votes, %d skips, %d polls, %d accounts acknowledged, %d answers lost to a kill; ready again within %v",
		*crashRounds, votes, skips, polls, users, c.lostTotal, slowest.Round(time.Millisecond))
	if votes < 20**crashRounds || skips < 5**crashRounds || c.lostTotal == 0 {
		t.Error("too little happened for this test to have shown anything")
	}
}

// workerCount is how many people act at once.
const workerCount = 16

type pair struct{ user, poll int64 }

// deed is what the test knows of one user's dealings with one poll. Each pair
// is used by one worker only.
type deed struct {
	votes []int // options sent, in order; the first that was taken stands
	// acked says that the vote was answered with 200: its option is final.
	voted, skipped     bool
	option             int
	voteLost, skipLost bool // sent, and the answer was lost
}

type account struct {
	id    int64
	email string
	token string
}

type crash struct {
	binary, folder string
	cmd            *exec.Cmd
	url            string
	client         *http.Client

	mu        sync.Mutex
	accounts  []account
	polls     []int64
	deeds     map[pair]*deed
	lostTotal int
	names     int
}

func newCrash(t *testing.T) *crash {
	t.Helper()
	c := &crash{
		binary: filepath.Join(t.TempDir(), "server"), folder: t.TempDir(), deeds: make(map[pair]*deed),
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	build := exec.Command("go", "build", "-o", c.binary, "vote/cmd/server")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if c.cmd != nil {
			c.kill(t)
		}
		c.client.CloseIdleConnections()
	})
	return c
}

func (c *crash) environment(folder string) []string {
	return []string{
		"STORAGE_PATH=" + filepath.Join(folder, "vote.db"), "SERVER_HOST=127.0.0.1", "SERVER_PORT=0", "LOGGING_LEVEL=warn",
		"LIMITS_DAILY_VOTES=0", "LIMITS_REQUESTS_PER_MINUTE=0", "LIMITS_VOTES_PER_MINUTE=0", "LIMITS_BURST_PER_SECOND=0",
		"LIMITS_LOGIN_PER_ACCOUNT_PER_MINUTE=0", "LIMITS_LOGIN_PER_ADDRESS_PER_MINUTE=0", "LIMITS_SIGN_INS_PER_ADDRESS=0",
		"LIMITS_REGISTRATIONS_PER_ADDRESS_PER_HOUR=0", "LIMITS_POLLS_PER_DAY=0",
	}
}

// start runs the server and returns how long it took to be ready.
func (c *crash) start(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	c.cmd = exec.Command(c.binary)
	c.cmd.Dir = c.folder // without a configuration file
	c.cmd.Env = c.environment(c.folder)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, url, ok := strings.Cut(lines.Text(), "http://"); ok {
			c.url = "http://" + strings.TrimSpace(url)
			break
		}
	}
	for {
		if status, _, err := c.call(http.MethodGet, "/readyz", "", nil); err == nil && status == http.StatusOK {
			return time.Since(began)
		}
		if time.Since(began) > 30*time.Second {
			t.Fatal("not ready within 30 s of a kill")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (c *crash) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait() // says "killed", which is what was wanted
	c.cmd = nil
	c.client.CloseIdleConnections()
}

// call sends a request; an error means that the answer was lost.
func (c *crash) call(method, path, token string, body any) (int, map[string]any, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		r = bytes.NewReader(b)
	}
	request, err := http.NewRequest(method, c.url+path, r)
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := c.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, nil, err
	}
	var decoded map[string]any
	if err := json.Unmarshal(raw, &decoded); err != nil {
		return 0, nil, fmt.Errorf("%s %s: %d %q: %w", method, path, answer.StatusCode, raw, err)
	}
	return answer.StatusCode, decoded, nil
}

func (c *crash) register(t *testing.T) error {
	c.mu.Lock()
	c.names++
	name := fmt.Sprintf("user%d", c.names)
	c.mu.Unlock()
	status, body, err := c.call(http.MethodPost, "/api/auth/register", "",
		map[string]any{"username": name, "email": name + "@example.org", "password": "correct horse"})
	if err != nil {
		return err
	}
	if status != http.StatusCreated {
		t.Errorf("register: %d %v", status, body)
		return errors.New("refused")
	}
	a := account{email: name + "@example.org", token: body["token"].(string)}
	a.id = int64(body["user"].(map[string]any)["id"].(float64))
	c.mu.Lock()
	c.accounts = append(c.accounts, a)
	c.mu.Unlock()
	return nil
}

// loadAndKill lets several people use the product and kills the server in the
// middle. Every answer that came is remembered.
func (c *crash) loadAndKill(t *testing.T, round int) {
	t.Helper()
	if round == 0 {
		for range 3 {
			if err := c.register(t); err != nil {
				t.Fatal(err)
			}
		}
		for len(c.polls) < 20 {
			c.createPoll(t, c.accounts[0])
		}
	}
	var workers sync.WaitGroup
	for range 4 { // accounts made while others vote
		workers.Go(func() { _ = c.register(t) })
	}
	for w := range workerCount {
		rnd := rand.New(rand.NewPCG(uint64(round), uint64(w)))
		workers.Go(func() { c.use(t, rnd, w) })
	}
	time.Sleep(time.Duration(50+rand.IntN(350)) * time.Millisecond)
	c.kill(t)
	workers.Wait()
}

// use is one worker: it acts until the server is gone. A (user, poll) pair
// belongs to one worker, that of the poll's number, so its deeds have an order.
func (c *crash) use(t *testing.T, rnd *rand.Rand, worker int) {
	for {
		c.mu.Lock()
		a := c.accounts[rnd.IntN(len(c.accounts))]
		mine := (len(c.polls) - worker + workerCount - 1) / workerCount
		poll := c.polls[rnd.IntN(mine)*workerCount+worker]
		c.mu.Unlock()
		var ok bool
		switch {
		case rnd.IntN(12) == 0:
			ok = c.createPoll(t, a)
		case rnd.IntN(3) == 0:
			ok = c.skip(t, pair{a.id, poll}, a.token)
		default:
			ok = c.vote(t, pair{a.id, poll}, a.token, rnd.IntN(2))
		}
		if !ok {
			return
		}
	}
}

func (c *crash) deed(p pair) *deed {
	d := c.deeds[p]
	if d == nil {
		d = &deed{}
		c.deeds[p] = d
	}
	return d
}

func (c *crash) createPoll(t *testing.T, a account) bool {
	status, body, err := c.call(http.MethodPost, "/api/polls", a.token,
		map[string]any{"title": "Which?", "options": []string{"this", "that"}, "tags": []string{"crash"}})
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.lostTotal++
		return false
	}
	if status != http.StatusCreated {
		t.Errorf("create poll: %d %v", status, body)
		return false
	}
	c.polls = append(c.polls, int64(body["id"].(float64)))
	return true
}

func (c *crash) vote(t *testing.T, p pair, token string, option int) bool {
	c.mu.Lock()
	c.deed(p).votes = append(c.deed(p).votes, option)
	c.mu.Unlock()
	status, body, err := c.call(http.MethodPost, fmt.Sprintf("/api/polls/%d/vote", p.poll), token, map[string]any{"optionIndex": option})
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.deed(p)
	switch {
	case err != nil:
		d.voteLost = true
		c.lostTotal++
		return false
	case status == http.StatusOK:
		if d.voted {
			t.Errorf("%v: a second vote was accepted", p)
		}
		d.voted, d.option = true, option
	case status == http.StatusConflict && body["code"] == string(domain.CodeAlreadyVoted):
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
		return false
	}
	d.voteLost = false
	return true
}

func (c *crash) skip(t *testing.T, p pair, token string) bool {
	status, body, err := c.call(http.MethodPost, fmt.Sprintf("/api/polls/%d/skip", p.poll), token, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.deed(p)
	switch {
	case err != nil:
		d.skipLost = true
		c.lostTotal++
		return false
	case status == http.StatusOK:
		if d.voted {
			t.Errorf("%v: a skip after the vote was accepted", p)
		}
		d.skipped, d.skipLost = true, false
	case status == http.StatusConflict && body["code"] == string(domain.CodeAlreadyVoted):
		if !d.voted && !d.voteLost {
			t.Errorf("%v: refused as voted, and no vote was ever sent", p)
		}
	default:
		t.Errorf("skip: %d %v", status, body)
		return false
	}
	return true
}

// converge repeats the votes whose answers were lost: each must turn out to
// have happened once or not at all. It also logs in to an account that was
// acknowledged.
func (c *crash) converge(t *testing.T) {
	t.Helper()
	tokens := make(map[int64]string)
	c.mu.Lock()
	for _, a := range c.accounts {
		tokens[a.id] = a.token
	}
	var open []pair
	for p, d := range c.deeds {
		if d.voteLost {
			open = append(open, p)
		}
	}
	accounts := slices.Clone(c.accounts)
	c.mu.Unlock()
	for _, p := range open {
		if !c.vote(t, p, tokens[p.user], c.deed(p).votes[0]) {
			t.Fatalf("%v: a repeated vote failed", p)
		}
	}
	if len(accounts) > 0 {
		a := accounts[len(accounts)-1]
		status, body, err := c.call(http.MethodPost, "/api/auth/login", "", map[string]any{"email": a.email, "password": "correct horse"})
		if err != nil || status != http.StatusOK {
			t.Fatalf("login to an acknowledged account: %d %v %v", status, body, err)
		}
	}
}

// verify looks at a copy of what the killed server left on disk.
func (c *crash) verify(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	left := t.TempDir()
	files, err := filepath.Glob(filepath.Join(c.folder, "vote.db*"))
	if err != nil || len(files) == 0 {
		t.Fatal("no database left", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(left, filepath.Base(f)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := load(t)
	cfg.Storage.Path = filepath.Join(left, "vote.db")
	store, err := app.OpenStore(ctx, cfg, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
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
	for _, a := range c.accounts {
		if _, err := store.UserByID(ctx, domain.UserID(a.id)); err != nil {
			t.Errorf("an acknowledged account is gone: %v", err)
		}
	}
	for _, id := range c.polls {
		if _, err := store.Poll(ctx, domain.PollID(id)); err != nil {
			t.Errorf("an acknowledged poll is gone: %v", err)
		}
	}
	tally := make(map[int64][]int64)
	for p, d := range c.deeds {
		prior, err := store.Prior(ctx, domain.UserID(p.user), domain.PollID(p.poll))
		if err != nil {
			t.Fatal(err)
		}
		n := tally[p.poll]
		if n == nil {
			n = make([]int64, 3)
		}
		if prior.Voted {
			n[prior.Option]++
		}
		if prior.Skipped {
			n[2]++
		}
		tally[p.poll] = n
		switch {
		case d.voted && (!prior.Voted || prior.Option != d.option):
			t.Errorf("%v: vote for %d acknowledged, the database says %+v", p, d.option, prior)
		case d.skipped && !prior.Skipped:
			t.Errorf("%v: skip acknowledged, the database says %+v", p, prior)
		case prior.Voted && !d.voted && !d.voteLost, prior.Skipped && !d.skipped && !d.skipLost:
			t.Errorf("%v: the database says %+v, which was never sent", p, prior)
		}
	}
	for poll, n := range tally {
		counts, err := store.Counts(ctx, []domain.PollID{domain.PollID(poll)})
		if err != nil || len(counts) != 1 {
			t.Fatal(counts, err)
		}
		if got := append(slices.Clone(counts[0].Votes), counts[0].Skips); !slices.Equal(got, n) {
			t.Errorf("poll %d: counted %v, rows %v", poll, got, n)
		}
	}
}

func (c *crash) acknowledged() (votes, skips, polls, users int) {
	for _, d := range c.deeds {
		if d.voted {
			votes++
		}
		if d.skipped {
			skips++
		}
	}
	return votes, skips, len(c.polls), len(c.accounts)
}
