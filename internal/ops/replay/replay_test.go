package replay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"vote/config"
	"vote/internal/app"
	"vote/internal/domain"
	"vote/internal/ops/command"
	"vote/internal/ops/replay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const sample = "testdata/sample"

// noonClock runs like the machine's, but began at noon: no test runs over
// midnight.
type noonClock struct{ shift time.Duration }

func newNoonClock() noonClock {
	now := time.Now().UTC()
	return noonClock{now.Truncate(24 * time.Hour).Add(12 * time.Hour).Sub(now)}
}

func (c noonClock) Now() time.Time { return time.Now().UTC().Add(c.shift) }

// serve runs the whole product and returns its address.
func serve(t *testing.T, change func(*config.Config)) string {
	t.Helper()
	c := config.Default()
	c.Server.Host, c.Server.Port = "127.0.0.1", 0
	c.Storage.Path = filepath.Join(t.TempDir(), "vote.db")
	if change != nil {
		change(&c)
	}
	a, err := app.New(t.Context(), c, app.Options{Clock: newNoonClock()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	await(t, a.URL())
	return a.URL()
}

// await waits until the server is ready.
func await(t *testing.T, server string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range 500 {
		answer, err := client.Get(server + "/readyz")
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the server did not become ready")
}

// raised switches the limits off that a replay from one address would wait for.
func raised(c *config.Config) {
	c.Limits.RequestsPerMinute, c.Limits.VotesPerMinute, c.Limits.BurstPerSecond = 0, 0, 0
	c.Limits.RegistrationsPerAddressPerHour = 0
}

func options(server, folder string) replay.Options {
	return replay.Options{
		Servers: []string{server}, Folders: []string{folder}, Concurrency: 32, DailyLimit: -1, Walks: 20, MaxWait: 3 * time.Minute, Timeout: time.Minute,
	}
}

// play replays one conversation.
func play(t *testing.T, o replay.Options) replay.ConversationReport {
	t.Helper()
	report, err := replay.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Conversations) != 1 {
		t.Fatalf("%d conversations", len(report.Conversations))
	}
	return report.Conversations[0]
}

func TestSampleAtDefaultLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		daily, votes, over, peopleOver int
	}{
		{daily: 100, votes: 14}, {daily: 4, votes: 11, over: 3, peopleOver: 1}, {daily: 0, votes: 14},
	} {
		t.Run(strconv.Itoa(c.daily), func(t *testing.T) {
			t.Parallel()
			o := options(serve(t, func(cfg *config.Config) { cfg.Limits.DailyVotes = c.daily }), sample)
			var err error
			if o.Sources, err = replay.Sources("auto", o.Servers); err != nil {
				t.Fatal(err)
			}
			for range 2 { // a replay can be repeated against the same server
				got := play(t, o)
				for _, d := range got.Differences {
					t.Error(d)
				}
				want := map[domain.Code]int{domain.CodeAlreadyVoted: 5}
				if c.over > 0 {
					want[domain.CodeDailyVoteLimit] = c.over
				}
				if diff := cmp.Diff(want, got.Refused); diff != "" {
					t.Errorf("refused (-want +got):\n%s", diff)
				}
				sums := []int{got.Statements, got.CutTitles, got.JoinedTitles, got.People, got.Answers, got.Votes, got.Skips, got.SkipsAgain, got.DailyLimit, got.PeopleOverLimit, got.FeedsWalked}
				if diff := cmp.Diff([]int{7, 1, 1, 7, 24, c.votes, 4, 1, c.daily, c.peopleOver, 7}, sums); diff != "" {
					t.Errorf("sums (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// A real conversation where there is one, and else the sample.
func TestRealConversation(t *testing.T) {
	t.Parallel()
	folder := filepath.FromSlash("../../../../shared/data/polis/canadian-electoral-reform")
	if _, err := os.Stat(folder); errors.Is(err, os.ErrNotExist) {
		t.Logf("%s is not here: the sample stands in", folder)
		folder = sample
	} else {
		t.Logf("real data from %s", folder)
	}
	got := play(t, options(serve(t, raised), folder))
	for _, d := range got.Differences {
		t.Error(d)
	}
	if folder != sample && (got.Votes < 9000 || got.Skips < 1500 || got.Refused[domain.CodeDailyVoteLimit] == 0 || got.Refused[domain.CodeAlreadyVoted] == 0) {
		t.Errorf("too little happened: %+v", got)
	}
	t.Logf("%d votes, %d skips, refused %v, %d feeds walked", got.Votes, got.Skips, got.Refused, got.FeedsWalked)
}

// between stands between the replay and the server. change may answer itself
// and return true, or return false to have the request passed on; see may
// change the server's answer.
func between(t *testing.T, server string, change func(http.ResponseWriter, *http.Request) bool, see func(*http.Response) error) string {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:      transport,
		ModifyResponse: see,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if change == nil || !change(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		s.Close()
		transport.CloseIdleConnections()
	})
	return s.URL
}

// edit changes the body of an answer, a JSON object or array.
func edit(r *http.Response, change func(map[string]any)) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var v map[string]any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // ids stay exact
	if err := d.Decode(&v); err != nil {
		return err
	}
	change(v)
	if body, err = json.Marshal(v); err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return nil
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

func object(v any) map[string]any {
	o, _ := v.(map[string]any)
	return o
}

func plusOne(o map[string]any, key string) {
	n, _ := o[key].(json.Number)
	i, _ := n.Int64()
	o[key] = i + 1
}

var (
	votePath  = regexp.MustCompile(`^/api/polls/(\d+)/vote$`)
	skipPath  = regexp.MustCompile(`^/api/polls/(\d+)/skip$`)
	statsPath = regexp.MustCompile(`^/api/polls/\d+/stats$`)
)

// A server that lies in one place only must be caught.
func TestLiesAreCaught(t *testing.T) {
	t.Parallel()
	server := serve(t, raised)
	if got := play(t, options(between(t, server, nil, nil), sample)); len(got.Differences) > 0 {
		t.Fatalf("a server that does not lie differs: %q", got.Differences)
	}
	for _, c := range []struct {
		name string
		// lie returns both sides of a server that lies.
		lie  func() (func(http.ResponseWriter, *http.Request) bool, func(*http.Response) error)
		want string // in the differences
	}{
		{"one count of one poll", onAnswer(statsPath.MatchString, true, func(v map[string]any) {
			plusOne(object(list(v["votes"])[1]), "count")
		}), `disagree \d+, the file says \d+`},
		{"one total", onAnswer(statsPath.MatchString, true, func(v map[string]any) { plusOne(v, "totalVotes") }), `votes \d+, the file says`},
		{"one number of skips", onAnswer(statsPath.MatchString, true, func(v map[string]any) { plusOne(v, "totalSkips") }), `skips \d+, the file says`},
		{"one version", onAnswer(statsPath.MatchString, true, func(v map[string]any) { plusOne(v, "version") }), `version \d+, the file says`},
		{"one percentage", onAnswer(statsPath.MatchString, true, func(v map[string]any) {
			plusOne(object(list(v["votes"])[0]), "percentage")
		}), `percentage [\d.]+, the file says`},
		{"the order of options", onAnswer(statsPath.MatchString, true, func(v map[string]any) {
			votes := list(v["votes"])
			votes[0], votes[1] = votes[1], votes[0]
		}), `option Disagree, the file says Agree`},
		{"a count among many", onAnswer(is("/api/stats"), false, func(v map[string]any) {
			plusOne(object(list(object(list(v["items"])[2])["votes"])[0]), "count")
		}), `among many: agree`},
		{"a poll left out among many", onAnswer(is("/api/stats"), false, func(v map[string]any) {
			v["items"] = list(v["items"])[1:]
		}), `many results at once: 6 of 7 polls`},
		{"an acknowledged vote that is dropped", dropOne(votePath, `{"pollId":%s,"optionIndex":0,"votesRemainingToday":99,"stats":{}}`), `(votes|agree) \d+, the file says \d+`},
		{"an acknowledged skip that is dropped", dropOne(skipPath, `{"pollId":%s,"skipped":true}`), `skips \d+, the file says \d+`},
		{"a vote refused without reason", refuseOne(http.StatusTooManyRequests, "daily_vote_limit"), `votes refused over the daily limit: 1, the file says 0`},
		{"a vote refused for no known reason", refuseOne(http.StatusConflict, "poll_closed"), `answers refused with poll_closed: 1, the file says 0`},
		{"an unexpected error", refuseOne(http.StatusInternalServerError, "internal"), `answers refused with internal: 1`},
		{"a seen poll that comes back", func() (func(http.ResponseWriter, *http.Request) bool, func(*http.Response) error) {
			var seen sync.Map // Authorization -> poll
			return nil, func(r *http.Response) error {
				q := r.Request
				who := q.Header.Get("Authorization")
				if m := votePath.FindStringSubmatch(q.URL.Path); m != nil && r.StatusCode == http.StatusOK {
					seen.LoadOrStore(who, m[1])
				}
				if id, ok := seen.Load(who); ok && q.Method == http.MethodGet && q.URL.Path == "/api/polls" {
					return edit(r, func(v map[string]any) {
						v["polls"] = append(list(v["polls"]), map[string]any{"id": json.Number(fmt.Sprint(id))})
					})
				}
				return nil
			}
		}, `was seen before`},
		{"a poll that is missing in feeds", onAnswer(is("/api/polls"), false, func(v map[string]any) {
			if polls := list(v["polls"]); len(polls) > 0 {
				v["polls"] = polls[1:]
			}
		}), `is missing`},
		{"a poll that comes twice", onAnswer(is("/api/polls"), false, func(v map[string]any) {
			if polls := list(v["polls"]); len(polls) > 0 {
				v["polls"] = append([]any{polls[0]}, polls...)
			}
		}), `comes more than once`},
		{"a feed out of order", onAnswer(is("/api/polls"), false, func(v map[string]any) {
			if polls := list(v["polls"]); len(polls) > 1 {
				polls[0], polls[1] = polls[1], polls[0]
			}
		}), `comes after the older`},
		{"a foreign poll under the tag", onAnswer(is("/api/polls"), false, func(v map[string]any) {
			v["polls"] = append(list(v["polls"]), map[string]any{"id": 1})
		}), `poll 1 does not have the tag`},
		{"a profile", onAnswer(is("/api/users/me"), false, func(v map[string]any) { plusOne(object(v["totals"]), "votes") }), `profile of person \d: votes`},
		{"votes left", onAnswer(is("/api/users/me"), true, func(v map[string]any) { plusOne(v, "votesRemainingToday") }), `votes left today \d+, the file says`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			change, see := c.lie()
			o := options(between(t, server, change, see), sample)
			o.DailyLimit = 100
			got := play(t, o)
			if !regexp.MustCompile(c.want).MatchString(strings.Join(got.Differences, "\n")) {
				t.Errorf("differences %q, want %q", got.Differences, c.want)
			}
		})
	}
}

func is(path string) func(string) bool { return func(p string) bool { return p == path } }

// onAnswer edits successful answers to GETs of a path: all, or only those
// about the poll or person first asked for.
func onAnswer(path func(string) bool, one bool, change func(map[string]any)) func() (func(http.ResponseWriter, *http.Request) bool, func(*http.Response) error) {
	return func() (func(http.ResponseWriter, *http.Request) bool, func(*http.Response) error) {
		var first atomic.Value
		return nil, func(r *http.Response) error {
			q := r.Request
			if q.Method != http.MethodGet || !path(q.URL.Path) || r.StatusCode != http.StatusOK {
				return nil
			}
			if first.CompareAndSwap(nil, q.URL.Path+q.Header.Get("Authorization")); one && first.Load() != q.URL.Path+q.Header.Get("Authorization") {
				return nil
			}
			return edit(r, change)
		}
	}
}

// dropOne acknowledges the first request of a path without passing it on.
func dropOne(path *regexp.Regexp, answer string) func() (func(http.ResponseWriter, *http.Request) bool, func(*http.Response) error) {
	return func() (func(http.ResponseWriter, *http.Request) bool, func(*http.Response) error) {
		var dropped atomic.Bool
		return func(w http.ResponseWriter, r *http.Request) bool {
			m := path.FindStringSubmatch(r.URL.Path)
			if m == nil || !dropped.CompareAndSwap(false, true) {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, answer, m[1])
			return true
		}, nil
	}
}

// refuseOne refuses the first vote without passing it on.
func refuseOne(status int, code string) func() (func(http.ResponseWriter, *http.Request) bool, func(*http.Response) error) {
	return func() (func(http.ResponseWriter, *http.Request) bool, func(*http.Response) error) {
		var refused atomic.Bool
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !votePath.MatchString(r.URL.Path) || !refused.CompareAndSwap(false, true) {
				return false
			}
			refuse(w, status, code, "")
			return true
		}, nil
	}
}

func refuse(w http.ResponseWriter, status int, code, retryAfter string) {
	w.Header().Set("Content-Type", "application/problem+json")
	if retryAfter != "" {
		w.Header().Set("Retry-After", retryAfter)
	}
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"status":%d,"code":%q}`, status, code)
}

// Lost answers, overload and rate limits change how often something is sent,
// never what is counted.
func TestRepeatingConverges(t *testing.T) {
	t.Parallel()
	server := serve(t, func(c *config.Config) { raised(c); c.Limits.DailyVotes = 4 })
	var requests, limited atomic.Int64
	address := between(t, server, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/healthz" {
			return false
		}
		switch n := requests.Add(1); {
		case n%17 == 0 && limited.Add(1) <= 3:
			refuse(w, http.StatusTooManyRequests, "rate_limited", "1")
		case n%19 == 0 && limited.Add(1) <= 5:
			refuse(w, http.StatusServiceUnavailable, "overloaded", "1")
		case n%7 == 0:
			refuse(w, http.StatusServiceUnavailable, "unavailable", "")
		case n%11 == 0:
			panic(http.ErrAbortHandler) // the connection is cut before anything happened
		default:
			return false
		}
		return true
	}, func(r *http.Response) error {
		if requests.Load()%5 == 0 && r.Request.URL.Path != "/healthz" {
			_ = r.Body.Close()
			panic(http.ErrAbortHandler) // it happened, and the answer is lost
		}
		return nil
	})
	o := options(address, sample)
	o.Concurrency = 4
	got := play(t, o)
	for _, d := range got.Differences {
		t.Error(d)
	}
	if got.Repeats < 5 || got.Waits == 0 || got.Votes != 11 {
		t.Errorf("%d repeated, %d waits, %d votes", got.Repeats, got.Waits, got.Votes)
	}
}

func TestInstancesTakeTurns(t *testing.T) {
	t.Parallel()
	behind, err := url.Parse(serve(t, raised))
	if err != nil {
		t.Fatal(err)
	}
	o := options("", sample)
	o.Servers = nil
	var asked [3]atomic.Int64
	for i := range asked {
		forward := httputil.NewSingleHostReverseProxy(behind)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked[i].Add(1)
			forward.ServeHTTP(w, r)
		}))
		t.Cleanup(s.Close)
		o.Servers = append(o.Servers, s.URL)
	}
	if got := play(t, o); len(got.Differences) > 0 || got.Votes != 14 {
		t.Errorf("%d votes, differences %q", got.Votes, got.Differences)
	}
	for i := range asked {
		if n := asked[i].Load(); n < 10 || n < asked[0].Load()-2 || n > asked[0].Load()+2 {
			t.Errorf("instance %d was asked %d times, the first one %d times", i, n, asked[0].Load())
		}
	}
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	o.Servers = append(o.Servers, closed.URL)
	if _, err := replay.Run(t.Context(), o); !errors.Is(err, command.ErrUnfinished) || !strings.Contains(fmt.Sprint(err), closed.URL) {
		t.Errorf("with an instance that is not there: %v", err)
	}
}

func TestUnfinished(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	limited := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			refuse(w, http.StatusTooManyRequests, "rate_limited", "3600")
		}
	}))
	t.Cleanup(limited.Close)
	odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") }))
	t.Cleanup(odd.Close)
	for _, c := range []struct{ name, server, want string }{
		{"nobody there", closed.URL, "no answer from"},
		{"a wait that is too long", limited.URL, "asks to wait 1h0m0s"},
		{"another server", odd.URL, "register: answer 200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := replay.Run(t.Context(), options(c.server, sample))
			if !errors.Is(err, command.ErrUnfinished) || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	t.Run("ended", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/healthz" {
				cancel()
				_, _ = io.Copy(io.Discard, r.Body) // only then does the server see the client go
				<-r.Context().Done()
			}
		}))
		t.Cleanup(slow.Close)
		if _, err := replay.Run(ctx, options(slow.URL, sample)); !errors.Is(err, command.ErrUnfinished) || !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
	for _, o := range []replay.Options{
		{Servers: []string{"localhost:8080"}, Folders: []string{sample}, Concurrency: 1},
		{Servers: []string{"ftp://localhost"}, Folders: []string{sample}, Concurrency: 1},
		{Servers: []string{"http://localhost"}, Folders: []string{"nowhere"}, Concurrency: 1},
		{Servers: []string{"http://localhost"}, Folders: []string{sample}},
		{Folders: []string{sample}, Concurrency: 1},
	} {
		if _, err := replay.Run(t.Context(), o); err == nil || errors.Is(err, command.ErrUnfinished) {
			t.Errorf("%+v: error %v", o, err)
		}
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	server := serve(t, raised)
	lying := func(r *http.Response) error {
		if r.Request.Method == http.MethodGet && r.Request.URL.Path == "/api/stats" {
			return edit(r, func(v map[string]any) { v["items"] = []any{} })
		}
		return nil
	}
	for _, c := range []struct {
		name string
		args []string
		err  error // nil: none; errUse: one that is neither
		out  string
	}{
		{"equal", []string{"--server", server, sample}, nil, `(?s)conversation +sample.*votes +14.*differences +none`},
		{"two at once", []string{"--server", server, sample, "testdata"}, nil, `conversation +sample +sample`},
		{"JSON", []string{"--server", server, "--json", sample}, nil, `(?s)"votes": 14,.*"differences": \[\]`},
		{"a part", []string{"--server", server, "--people", "2", "--answers", "5", sample}, nil, `votes +4\n`},
		{"a wrong limit", []string{"--server", server, "--daily-limit", "3", sample}, replay.ErrDifferent, `differences +\d+`},
		{"different", []string{"--server", between(t, server, nil, lying), sample}, replay.ErrDifferent, `sample: many results at once: 0 of 7 polls`},
		{"over midnight, equal", []string{"--server", between(t, server, nil, newMidnight()), "--source-addresses", "none", sample}, nil, `midnight, UTC, passed`},
		{"over midnight, different", []string{"--server", between(t, server, nil, both(lying, newMidnight())), sample}, command.ErrUnfinished, `differences +\d+, over midnight`},
		{"no folder", []string{"--server", server}, errUse, ""},
		{"no conversation", []string{"--server", server, "."}, errUse, ""},
		{"wrong addresses", []string{"--server", server, "--source-addresses", "x", sample}, errUse, ""},
		{"wrong flag", []string{"--nonsense", sample}, errUse, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := replay.Command()
			var out bytes.Buffer
			cmd.SetOut(&out)
			cmd.SetErr(io.Discard)
			cmd.SetArgs(c.args)
			err := cmd.ExecuteContext(t.Context())
			switch {
			case c.err == nil && err != nil, c.err != nil && err == nil:
				t.Errorf("error %v, want %v", err, c.err)
			case errors.Is(c.err, errUse):
				if errors.Is(err, replay.ErrDifferent) || errors.Is(err, command.ErrUnfinished) {
					t.Errorf("error %v", err)
				}
			case !errors.Is(err, c.err):
				t.Errorf("error %v, want %v", err, c.err)
			}
			if !regexp.MustCompile(c.out).MatchString(out.String()) {
				t.Errorf("printed:\n%s\nwant %s", out.String(), c.out)
			}
		})
	}
}

var errUse = errors.New("wrong use")

// newMidnight lets a day pass between the server's first and last answers to
// the question for its time.
func newMidnight() func(*http.Response) error {
	var asked atomic.Int64
	return func(r *http.Response) error {
		if r.Request.URL.Path != "/healthz" {
			return nil
		}
		// It is asked whether it is there, and for its time before and after
		// the answers.
		date := "Sun, 01 Mar 2026 23:59:59 GMT"
		if asked.Add(1)%3 == 0 {
			date = "Mon, 02 Mar 2026 00:00:01 GMT"
		}
		r.Header.Set("Date", date)
		return nil
	}
}

func both(a, b func(*http.Response) error) func(*http.Response) error {
	return func(r *http.Response) error { return errors.Join(a(r), b(r)) }
}
