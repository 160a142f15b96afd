package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"vote/internal/account"
	"vote/internal/analytics"
	"vote/internal/api"
	"vote/internal/domain"
	"vote/internal/engine/memory"
	"vote/internal/engine/sqlite"
	"vote/internal/events"
	"vote/internal/feed"
	"vote/internal/live"
	"vote/internal/sharecard"
	"vote/internal/voting"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(runs{m}) }

// runs is the whole package, once over each of the engines.
type runs struct{ m *testing.M }

func (r runs) Run() int {
	for _, standing = range everyEngines {
		if code := r.m.Run(); code != 0 {
			fmt.Println("FAIL on", standing.name)
			return code
		}
	}
	return 0
}

// engines are what sites can stand on.
type engines struct {
	name string
	// open gives a new site its store and what else the engines have.
	open func(ctx context.Context, s *site) error
	// bus returns a bus for the events of a site.
	bus func(s *site, o memory.BusOptions) domain.Bus
	// environment is how a server is told of new ones.
	environment func(t testing.TB) []string
}

// standing is what sites stand on now.
var standing engines

var embedded = engines{
	name: "the embedded engines",
	open: func(ctx context.Context, s *site) (err error) {
		s.exclusive = true
		s.store, err = sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(s.t.TempDir(), "vote.db"), Clock: s.clock, AutoMigrate: true})
		return err
	},
	bus:         func(_ *site, o memory.BusOptions) domain.Bus { return memory.NewBus(o) },
	environment: func(t testing.TB) []string { return []string{"STORAGE_PATH=" + filepath.Join(t.TempDir(), "vote.db")} },
}

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// site is the whole house without the relay: what the calls produced stays in
// the outbox, where a test sees it. Windows of limits are in this process, by the
// clock that tests set.
type site struct {
	t     testing.TB
	store domain.Store
	cache domain.Cache // nil: none
	away  atomic.Bool  // polls and counts cannot be read from the store
	// exclusive says that the store is no other process's.
	exclusive bool
	shards    int
	running   []func(context.Context) error // what the engines do by themselves
	broker    string                        // of the events, when one was needed
	voting    *voting.Voting
	feed      *feed.Feed
	live      *live.Stats
	handler   http.Handler
	clock     *clock
	registry  *prometheus.Registry
	log       *syncBuffer
	names     map[string]string // of tokens, users and polls, for {name} in requests
}

// outage is a store of which some cannot be read while it is away.
type outage struct {
	domain.Store
	away *atomic.Bool
}

func (o outage) PollsAt(ctx context.Context, positions []domain.Position) ([]domain.Poll, error) {
	if o.away.Load() {
		return nil, domain.E(domain.CodeUnavailable, "")
	}
	return o.Store.PollsAt(ctx, positions)
}

func (o outage) Counts(ctx context.Context, ids []domain.PollID) ([]domain.Counts, error) {
	if o.away.Load() {
		return nil, domain.E(domain.CodeUnavailable, "")
	}
	return o.Store.Counts(ctx, ids)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// morning is when every test begins.
var morning = time.Date(2025, 11, 17, 9, 0, 0, 0, time.UTC)

// newSite starts the house. Limits are off but for those that change sets.
func newSite(t testing.TB, change func(*api.Config)) *site {
	t.Helper()
	s := &site{
		t: t, clock: &clock{now: morning}, registry: prometheus.NewRegistry(), log: &syncBuffer{}, names: make(map[string]string),
	}
	logger := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, stop := context.WithCancel(context.Background())
	if err := standing.open(ctx, s); err != nil {
		stop()
		t.Fatal(err)
	}
	store := s.store
	c := api.Config{
		Store: store, Clock: s.clock, Logger: logger, Registry: s.registry, MetricsPath: "/metrics",
		Limiter: memory.NewLimiter(memory.LimiterOptions{Clock: s.clock}), Draw: sharecard.New(sharecard.Options{}).Draw,
	}
	if change != nil {
		change(&c)
	}
	accounts := account.New(account.Config{
		Store: store, Cache: s.cache, Clock: s.clock, Logger: logger, Secret: []byte("a secret of this test, long enough"), DailyVotes: c.Limits.DailyVotes,
		HashWait: time.Minute, // a busy machine hashes slowly
	})
	readable := outage{store, &s.away}
	stats := live.New(live.Config{Store: readable, Cache: s.cache, Clock: s.clock, Registerer: s.registry})
	s.live = stats
	shown := analytics.New(analytics.Config{Store: store, Clock: s.clock, Logger: logger, FlushEvery: 10 * time.Millisecond})
	s.feed = feed.New(feed.Config{
		Store: readable, Cache: s.cache, Clock: s.clock, Logger: logger, Exclusive: s.exclusive, Ranker: true, OnShown: shown.Shown,
	})
	s.voting = voting.New(voting.Config{
		Store: store, Logger: logger, Shards: s.shards, Rules: domain.Rules{DailyVotes: c.Limits.DailyVotes, DailyPolls: 1000},
		OnCommit: func(o domain.Outcome) {
			s.feed.Apply(o)
			stats.Apply(o)
		},
		OnPublish: s.feed.Published,
	})
	c.Account, c.Voting, c.Feed, c.Live, c.Analytics = accounts, s.voting, s.feed, stats, shown
	var err error
	if s.handler, err = api.New(c); err != nil {
		t.Fatal(err)
	}
	if err := accounts.Load(ctx); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	for _, run := range append(s.running, accounts.Run, stats.Run, s.feed.Run, s.voting.Run, shown.Run) {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		stop()
		running.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the feed is ready", s.feed.Ready)
	return s
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so in time: %s", what)
		}
	}
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) code() string {
	var p struct {
		Code string `json:"code"`
	}
	if r.header.Get("Content-Type") != "application/problem+json" || json.Unmarshal([]byte(r.body), &p) != nil {
		return ""
	}
	return p.Code
}

func (r reply) json(t testing.TB) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
	return v
}

// named fills in {name}.
func (s *site) named(text string) string {
	pairs := make([]string, 0, 2*len(s.names))
	for name, value := range s.names {
		pairs = append(pairs, "{"+name+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// none as the value of a header leaves it out.
const none = "(none)"

// request makes a request. as is a name of a registered user, "" for nobody, or
// a whole Authorization header. A body that is not empty is JSON unless header
// says otherwise.
func (s *site) request(as, method, target, body string, header ...string) *http.Request {
	s.t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(s.named(body))
	}
	r := httptest.NewRequest(method, s.named(target), content)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token, ok := s.names[as+".token"]; ok {
		r.Header.Set("Authorization", "Bearer "+token)
	} else if as != "" {
		r.Header.Set("Authorization", as)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i+1] == none {
			r.Header.Del(header[i])
		} else {
			r.Header.Add(header[i], s.named(header[i+1]))
		}
	}
	return r
}

func (s *site) send(r *http.Request) reply {
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return reply{w.Code, w.Result().Header, w.Body.String()}
}

func (s *site) do(as, method, target, body string, header ...string) reply {
	s.t.Helper()
	return s.send(s.request(as, method, target, body, header...))
}

// join registers users and remembers {name}, {name.token} and {name.refresh}.
func (s *site) join(names ...string) {
	s.t.Helper()
	for _, name := range names {
		got := s.do("", "POST", "/api/auth/register", `{"username":"`+name+`","email":"`+name+`@example.org","password":"correct horse"}`, "X-Request-Id", "join")
		if got.status != http.StatusCreated {
			s.t.Fatalf("register %s: %d %s", name, got.status, got.body)
		}
		var session struct {
			User struct {
				ID int64 `json:"id"`
			} `json:"user"`
			Token        string `json:"token"`
			RefreshToken string `json:"refreshToken"`
		}
		if err := json.Unmarshal([]byte(got.body), &session); err != nil {
			s.t.Fatal(err)
		}
		s.names[name] = strconv.FormatInt(session.User.ID, 10)
		s.names[name+".token"] = session.Token
		s.names[name+".refresh"] = session.RefreshToken
	}
}

// login signs a user in again and remembers {session}, its id, {session.token}
// and {session.refresh}.
func (s *site) login(name, session string) {
	s.t.Helper()
	got := s.do("", "POST", "/api/auth/login", `{"email":"`+name+`@example.org","password":"correct horse"}`)
	var tokens struct{ Token, RefreshToken string }
	if got.into(&tokens); got.status != http.StatusOK {
		s.t.Fatalf("login of %s: %d %s", name, got.status, got.body)
	}
	s.names[session+".token"], s.names[session+".refresh"] = tokens.Token, tokens.RefreshToken
	s.names[session] = s.session(session)
}

// session returns the id of the session of a remembered token.
func (s *site) session(name string) string {
	s.t.Helper()
	var list struct {
		Items []struct {
			ID      string
			Current bool
		}
	}
	s.do(name, "GET", "/api/users/me/sessions?limit=100", "").into(&list)
	for _, x := range list.Items {
		if x.Current {
			return x.ID
		}
	}
	s.t.Fatalf("no session of %s among %+v", name, list)
	return ""
}

// publish makes polls with three options and remembers their ids as {name}.
func (s *site) publish(author string, names ...string) {
	s.t.Helper()
	for _, name := range names {
		got := s.do(author, "POST", "/api/polls", `{"title":"`+name+`?","options":["A","B","C"],"tags":["test"]}`)
		if got.status != http.StatusCreated {
			s.t.Fatalf("publish %s: %d %s", name, got.status, got.body)
		}
		var p struct {
			ID int64 `json:"id"`
		}
		if err := json.Unmarshal([]byte(got.body), &p); err != nil {
			s.t.Fatal(err)
		}
		s.names[name] = strconv.FormatInt(p.ID, 10)
	}
}

func (s *site) pollID(name string) domain.PollID {
	s.t.Helper()
	id, err := strconv.ParseInt(s.names[name], 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return domain.PollID(id)
}

func (s *site) setState(name string, state domain.PollState) {
	s.t.Helper()
	entry, err := s.store.SetPollState(context.Background(), s.pollID(name), state)
	if err != nil {
		s.t.Fatal(err)
	}
	s.feed.Changed(entry)
}

// events returns what the outbox got since the last call, each as "type subject".
func (s *site) events() []string {
	s.t.Helper()
	rows, err := s.store.ClaimOutbox(context.Background(), 1000, time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	var list []string
	for _, row := range rows {
		var c domain.Changes
		if err := c.UnmarshalBinary(row.Changes); err != nil {
			s.t.Fatal(err)
		}
		for _, e := range c.Events(row.ID) {
			list = append(list, e.Type+" "+e.Subject)
		}
	}
	return list
}

// consume runs the relay and the consumers until every event was handled.
func (s *site) consume() {
	s.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	bus := &tally{Bus: standing.bus(s, memory.BusOptions{DeadLetter: s.store.AddDeadLetter, Clock: s.clock}), takers: make(map[string]int64)}
	events.SubscribeProcessing(bus)
	events.SubscribeAnalytics(bus, s.store)
	events.SubscribeNotifications(bus, s.store)
	relay := events.NewRelay(events.Config{Store: s.store, Bus: bus, Clock: s.clock, Every: 5 * time.Millisecond, Spacing: time.Millisecond})
	var running sync.WaitGroup
	running.Go(func() { _ = bus.Run(ctx) })
	running.Go(func() { _ = relay.Run(ctx) })
	defer running.Wait()
	defer stop()
	eventually(s.t, "the outbox is empty and all is handled", func() bool {
		rows, _, err := s.store.OutboxLag(ctx)
		return err == nil && rows == 0 && bus.open.Load() == 0
	})
}

// tally is a bus that knows how much of what it took is not handled yet.
type tally struct {
	domain.Bus
	takers map[string]int64 // how many queues take the events of a type
	open   atomic.Int64
}

func (b *tally) Subscribe(queue string, types []string, h domain.Handler) {
	for _, t := range types {
		b.takers[t]++
	}
	b.Bus.Subscribe(queue, types, func(ctx context.Context, events []domain.Event) error {
		err := h(ctx, events)
		if err == nil {
			b.open.Add(-int64(len(events)))
		}
		return err
	})
}

func (b *tally) Publish(ctx context.Context, events []domain.Event) error {
	var n int64
	for _, e := range events {
		n += b.takers[e.Type]
	}
	b.open.Add(n)
	err := b.Bus.Publish(ctx, events)
	if err != nil {
		b.open.Add(-n) // they come again
	}
	return err
}

// fingerprint tells how much of everything storage holds, so that a change of
// any of it shows.
func (s *site) fingerprint() string {
	s.t.Helper()
	ctx := context.Background()
	report, err := s.store.Check(ctx, domain.Rules{})
	if err != nil {
		s.t.Fatal(err)
	}
	if len(report.Violations) > 0 {
		s.t.Fatalf("storage is broken: %+v", report.Violations)
	}
	var entries []string
	revision, err := s.store.LoadCatalogue(ctx, func(e domain.Entry) error {
		entries = append(entries, fmt.Sprint(e))
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	report.Rules = nil
	var users []string
	for name, value := range s.names {
		id, err := strconv.ParseInt(value, 10, 64)
		if err != nil || s.names[name+".token"] == "" {
			continue
		}
		totals, err := s.store.UserTotals(ctx, domain.UserID(id))
		if err != nil {
			s.t.Fatal(err)
		}
		u, err := s.store.UserByID(ctx, domain.UserID(id))
		if err != nil {
			s.t.Fatal(err)
		}
		seen, err := s.store.Seen(ctx, domain.UserID(id))
		if err != nil {
			s.t.Fatal(err)
		}
		users = append(users, fmt.Sprint(u, totals, seen))
	}
	slices.Sort(users)
	ended, err := s.store.EndedSessions(ctx, time.Time{})
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprint(report, revision, entries, users, ended)
}

// step is one request and what it must bring.
type step struct {
	name   string
	as     string
	call   string // "METHOD /target"
	body   string
	header []string
	status int
	code   string   // of the problem, for a refusal
	want   string   // JSON of which all must be in the answer
	events []string // that the call put into the outbox; nil: none
	then   func(s *site, r reply)
}

func (s *site) run(steps []step) {
	s.t.Helper()
	s.events()
	for _, c := range steps {
		method, target, _ := strings.Cut(c.call, " ")
		got := s.do(c.as, method, target, c.body, c.header...)
		name := c.name
		if name == "" {
			name = c.call + " " + c.body
		}
		if got.status != c.status || got.code() != c.code {
			s.t.Errorf("%s: %d %s, want %d %s\n%s", name, got.status, got.code(), c.status, c.code, got.body)
			s.events()
			continue
		}
		if c.want != "" {
			var want any
			if err := json.Unmarshal([]byte(s.named(c.want)), &want); err != nil {
				s.t.Fatalf("%s: %v", name, err)
			}
			if fault := lacks("", want, got.json(s.t)); fault != "" {
				s.t.Errorf("%s: %s\nin %s", name, fault, got.body)
			}
		}
		events := s.events()
		wanted := make([]string, len(c.events))
		for i, e := range c.events {
			wanted[i] = s.named(e)
		}
		if !slices.Equal(events, wanted) {
			s.t.Errorf("%s: events %q, want %q", name, events, wanted)
		}
		if c.then != nil {
			c.then(s, got)
		}
	}
}

// lacks says what of want is not in got; empty when nothing. Lists must be of
// the same length; members of objects may be more.
func lacks(path string, want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s is %v, want an object", path, got)
		}
		for name, w := range want {
			g, ok := object[name]
			if !ok {
				return path + "." + name + " is missing"
			}
			if fault := lacks(path+"."+name, w, g); fault != "" {
				return fault
			}
		}
		return ""
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return fmt.Sprintf("%s is %v, want %d entries", path, got, len(want))
		}
		for i := range want {
			if fault := lacks(fmt.Sprintf("%s[%d]", path, i), want[i], list[i]); fault != "" {
				return fault
			}
		}
		return ""
	}
	if want != got {
		return fmt.Sprintf("%s is %v, want %v", path, got, want)
	}
	return ""
}

// listen serves the site over TCP as the server does and returns its address.
func (s *site) listen(readTimeout time.Duration) string {
	s.t.Helper()
	return s.listenWithin(readTimeout, api.Connections{})
}

// listenWithin is listen with bounds on connections.
func (s *site) listenWithin(readTimeout time.Duration, bounds api.Connections) string {
	s.t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	server := &http.Server{
		Handler: s.handler, ReadTimeout: readTimeout, ReadHeaderTimeout: readTimeout, WriteTimeout: 2 * readTimeout,
		MaxHeaderBytes: 16 << 10, ConnContext: api.WithConnection,
		ErrorLog: slog.NewLogLogger(slog.NewTextHandler(s.log, nil), slog.LevelError),
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(api.Listener(api.Bound(l, bounds))) })
	s.t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

// sorted sorts a header's list.
func sorted(list string) string {
	items := strings.Split(list, ", ")
	slices.Sort(items)
	return strings.Join(items, ", ")
}

// into reads a JSON answer; what it lacks stays as it was.
func (r reply) into(v any) { _ = json.Unmarshal([]byte(r.body), v) }
