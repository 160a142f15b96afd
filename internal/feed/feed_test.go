package feed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"vote/internal/domain"
	"vote/internal/engine/memory"
	"vote/internal/engine/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tb is what a test and one check of rapid have in common.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// testClock stands until it is moved.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func newTestClock() *testClock {
	return &testClock{now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// hooked is a real store whose reads call a function first, which may wait or
// fail. It adds what a store has that many processes share: the users' recent
// positions.
type hooked struct {
	domain.Store
	before atomic.Pointer[func(method string) error]
	after  atomic.Pointer[func()] // of PollsAt
	reads  atomic.Int64

	mu     sync.Mutex
	recent map[domain.UserID][]domain.Position // all there ever were
}

func (h *hooked) Interact(
	ctx context.Context, batch []domain.Interaction, judge func([]domain.Fact) []domain.Verdict,
) (domain.Outcome, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	out, err := h.Store.Interact(ctx, batch, judge)
	for _, u := range out.Users {
		h.recent[u.User] = append(h.recent[u.User], u.Positions...)
	}
	return out, err
}

func (h *hooked) hook(f func(method string) error) { h.before.Store(&f) }

func (h *hooked) call(method string) error {
	h.reads.Add(1)
	if f := h.before.Load(); f != nil {
		return (*f)(method)
	}
	return nil
}

func (h *hooked) UserStates(ctx context.Context, users []domain.UserID) ([]domain.UserState, error) {
	if err := h.call("UserStates"); err != nil {
		return nil, err
	}
	states, err := h.Store.UserStates(ctx, users)
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range states {
		// The state may be older than the newest positions.
		known := h.recent[states[i].User]
		known = known[:min(int64(len(known)), states[i].Version)]
		states[i].Recent = slices.Clone(known[max(0, len(known)-domain.RecentPositions):])
	}
	return states, err
}

func (h *hooked) Seen(ctx context.Context, user domain.UserID) (domain.SeenSet, error) {
	seen, err := h.Store.Seen(ctx, user)
	if err := h.call("Seen"); err != nil {
		return domain.SeenSet{}, err
	}
	return seen, err
}

func (h *hooked) PollsAt(ctx context.Context, positions []domain.Position) ([]domain.Poll, error) {
	if err := h.call("PollsAt"); err != nil {
		return nil, err
	}
	polls, err := h.Store.PollsAt(ctx, positions)
	if f := h.after.Load(); f != nil {
		(*f)()
	}
	return polls, err
}

func (h *hooked) LoadCatalogue(ctx context.Context, visit func(domain.Entry) error) (int64, error) {
	n := 0
	return h.Store.LoadCatalogue(ctx, func(e domain.Entry) error {
		if n++; n == 3 {
			if err := h.call("LoadCatalogue"); err != nil {
				return err
			}
		}
		return visit(e)
	})
}

func (h *hooked) CatalogueSince(ctx context.Context, revision int64, limit int) ([]domain.Entry, error) {
	if err := h.call("CatalogueSince"); err != nil {
		return nil, err
	}
	return h.Store.CatalogueSince(ctx, revision, limit)
}

func (h *hooked) Counts(ctx context.Context, ids []domain.PollID) ([]domain.Counts, error) {
	if err := h.call("Counts"); err != nil {
		return nil, err
	}
	return h.Store.Counts(ctx, ids)
}

func (h *hooked) Rank(ctx context.Context, n int, every, keep time.Duration) (domain.Ranking, error) {
	if err := h.call("Rank"); err != nil {
		return domain.Ranking{}, err
	}
	return h.Store.Rank(ctx, n, every, keep)
}

// world is a store with users, and feeds over it.
type world struct {
	tb    tb
	clock *testClock
	store *hooked
	users []domain.UserID
	cache domain.Cache
}

// emptyDatabase is a migrated database without content, made once, since a
// thousand of them are used.
var emptyDatabase = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "feed")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "vote.db")
	store, err := sqlite.Open(context.Background(), sqlite.Options{Path: path, AutoMigrate: true})
	if err != nil {
		return nil, err
	}
	if err := store.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func openWorld(t tb, dir string, users int) (w *world, done func()) {
	t.Helper()
	ctx := context.Background()
	clock := newTestClock()
	path := filepath.Join(dir, "vote.db")
	empty, err := emptyDatabase()
	if err == nil {
		err = os.WriteFile(path, empty, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	store, err := sqlite.Open(ctx, sqlite.Options{Path: path, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	w = &world{tb: t, clock: clock, store: &hooked{Store: store, recent: make(map[domain.UserID][]domain.Position)}}
	for i := range users {
		name := fmt.Sprintf("user%d", i)
		u, err := store.CreateUser(ctx,
			domain.NewUser{Username: name, UsernameKey: name, Email: name + "@example.org", EmailKey: name + "@example.org", PasswordHash: "x"},
			domain.Session{ID: name, ExpiresAt: clock.Now().Add(time.Hour)}, domain.TokenHash{byte(i), byte(i >> 8), 1})
		if err != nil {
			t.Fatal(err)
		}
		w.users = append(w.users, u.ID)
	}
	return w, func() {
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func newWorld(t *testing.T, users int) *world {
	t.Helper()
	w, done := openWorld(t, t.TempDir(), users)
	t.Cleanup(done)
	return w
}

// start runs a feed until stop is called.
func (w *world) start(cfg Config) (f *Feed, stop func()) {
	w.tb.Helper()
	f, stop = w.launch(cfg)
	for deadline := time.Now().Add(20 * time.Second); !f.Ready(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.tb.Fatal("the feed did not become ready")
		}
	}
	return f, stop
}

func (w *world) launch(cfg Config) (f *Feed, stop func()) {
	cfg.Store, cfg.Clock = w.store, w.clock
	if cfg.Cache == nil {
		cfg.Cache = w.cache
	}
	cfg.Registerer = prometheus.NewRegistry()
	f = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := f.Run(ctx); err != nil {
			panic(err)
		}
	}()
	return f, func() { cancel(); <-ended }
}

func (w *world) startFor(t *testing.T, cfg Config) *Feed {
	t.Helper()
	f, stop := w.start(cfg)
	t.Cleanup(stop)
	return f
}

var rules domain.Rules

func (w *world) publish(polls ...domain.NewPoll) []domain.Publication {
	w.tb.Helper()
	published, err := w.store.Publish(context.Background(), polls, func(facts []domain.PublicationFact) []domain.PublicationVerdict {
		return rules.JudgePublications(polls, facts)
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	return published
}

func (w *world) poll(title string, tags ...string) domain.NewPoll {
	return domain.NewPoll{Author: w.users[0], Title: title, Options: []string{"yes", "no"}, Tags: tags}
}

// publishMany publishes n polls and returns their ids.
func (w *world) publishMany(n int, tags ...string) []domain.PollID {
	w.tb.Helper()
	var ids []domain.PollID
	for len(ids) < n {
		var batch []domain.NewPoll
		for len(batch) < min(500, n-len(ids)) {
			batch = append(batch, w.poll(fmt.Sprintf("question %d", len(ids)+len(batch)), tags...))
		}
		for _, p := range w.publish(batch...) {
			ids = append(ids, p.Poll.ID)
		}
	}
	return ids
}

func (w *world) interact(batch ...domain.Interaction) domain.Outcome {
	w.tb.Helper()
	o, err := w.store.Interact(context.Background(), batch, func(facts []domain.Fact) []domain.Verdict {
		return rules.Judge(batch, facts)
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	return o
}

// skipAll lets a user skip polls without telling any feed.
func (w *world) skipAll(user domain.UserID, ids []domain.PollID) {
	w.tb.Helper()
	for chunk := range slices.Chunk(ids, 500) {
		var batch []domain.Interaction
		for _, id := range chunk {
			batch = append(batch, domain.Interaction{User: user, Poll: id, Skip: true})
		}
		w.interact(batch...)
	}
}

type pageJSON struct {
	Polls      []pollJSON `json:"polls"`
	NextCursor *string    `json:"nextCursor"`
	Page       int        `json:"page"`
	Limit      int        `json:"limit"`
}

type pollJSON struct {
	ID        domain.PollID `json:"id"`
	Title     string        `json:"title"`
	Options   []string      `json:"options"`
	Tags      []string      `json:"tags"`
	CreatedAt time.Time     `json:"createdAt"`
	Author    *struct {
		ID       domain.UserID `json:"id"`
		Username string        `json:"username"`
	} `json:"author"`
	TotalVotes int64 `json:"totalVotes"`
	Closed     bool  `json:"closed"`
	Viewer     *struct {
		Voted       bool `json:"voted"`
		OptionIndex *int `json:"optionIndex"`
		Skipped     bool `json:"skipped"`
	} `json:"viewer"`
}

func strict(t tb, raw []byte, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil || d.More() {
		t.Fatalf("%v in %s", err, raw)
	}
}

func getPage(t tb, f *Feed, q Query) pageJSON {
	t.Helper()
	raw, err := f.AppendPage(context.Background(), []byte("before"), q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	var p pageJSON
	strict(t, bytes.TrimPrefix(raw, []byte("before")), &p)
	return p
}

func (p pageJSON) ids() []domain.PollID {
	var ids []domain.PollID
	for _, poll := range p.Polls {
		ids = append(ids, poll.ID)
	}
	return ids
}

// walkFeed follows the cursors to the end and returns all polls.
func walkFeed(t tb, f *Feed, q Query) []pollJSON {
	t.Helper()
	var all []pollJSON
	for number := 1; ; number++ {
		p := getPage(t, f, q)
		if p.Page != number || p.Limit != q.Limit || len(p.Polls) > q.Limit {
			t.Fatalf("page %d of limit %d with %d polls; asked for %d of %d", p.Page, p.Limit, len(p.Polls), number, q.Limit)
		}
		all = append(all, p.Polls...)
		if p.NextCursor == nil {
			return all
		}
		q.Cursor = *p.NextCursor
	}
}

func idsOf(polls []pollJSON) []domain.PollID { return pageJSON{Polls: polls}.ids() }

func reversed(ids []domain.PollID) []domain.PollID {
	ids = slices.Clone(ids)
	slices.Reverse(ids)
	return ids
}

func wantCode(t *testing.T, err error, code domain.Code) {
	t.Helper()
	if domain.CodeOf(err) != code {
		t.Errorf("error %v, want code %s", err, code)
	}
}

// eventually waits for something that happens in the background.
func eventually(t tb, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

func TestPollJSON(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := newWorld(t, 2)
	f := w.startFor(t, Config{Exclusive: true})
	title := "\"Why\" <b>&amp;</b> \\ /  \U0001F600 é"
	published := w.publish(domain.NewPoll{
		Author: w.users[0], Title: title, Options: []string{"a\"", "b\\", "ü"}, Tags: []string{"été", "b"},
	})
	f.Published(published)
	id := published[0].Poll.ID
	o := w.interact(
		domain.Interaction{User: w.users[0], Poll: id, Option: 1},
		domain.Interaction{User: w.users[1], Poll: id, Option: 2})
	f.Apply(o)

	raw, err := f.AppendPoll(ctx, []byte("x"), id, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(title)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`x{"id":%d,"title":%s,"options":["a\"","b\\","ü"],"tags":["été","b"],"createdAt":"2026-03-04T05:06:07Z",`+
		`"author":{"id":%d,"username":"user0"},"totalVotes":2}`, id, text, w.users[0])
	if string(raw) != want {
		t.Errorf("got  %s\nwant %s", raw, want)
	}
	for _, c := range []struct {
		prior domain.Prior
		want  string
	}{
		{domain.Prior{}, `"totalVotes":2,"viewer":{"voted":false,"optionIndex":null,"skipped":false}}`},
		{domain.Prior{Voted: true, Option: 1, Skipped: true}, `"totalVotes":2,"viewer":{"voted":true,"optionIndex":1,"skipped":true}}`},
		{domain.Prior{Skipped: true}, `"totalVotes":2,"viewer":{"voted":false,"optionIndex":null,"skipped":true}}`},
	} {
		raw, err := f.AppendPoll(ctx, nil, id, &c.prior)
		var p pollJSON
		if err != nil || !strings.HasSuffix(string(raw), c.want) {
			t.Errorf("%s, %v", raw, err)
		}
		strict(t, raw, &p)
	}
	options, err := f.Options(ctx, id)
	if err != nil || !slices.Equal(options, []string{"a\"", "b\\", "ü"}) {
		t.Errorf("options %q, %v", options, err)
	}
	page, err := f.AppendPage(ctx, nil, Query{Limit: 5})
	if want := `{"polls":[` + want[1:] + `],"nextCursor":null,"page":1,"limit":5}`; err != nil || string(page) != want {
		t.Errorf("got  %s, %v\nwant %s", page, err, want)
	}
	anonymous, err := encodePoll(&domain.Poll{ID: 7, Title: "t", Options: []string{"a"}, Tags: []string{"b"}, CreatedAt: w.clock.Now()})
	if want := `{"id":7,"title":"t","options":["a"],"tags":["b"],"createdAt":"2026-03-04T05:06:07Z","author":null,"totalVotes":9}`; err != nil || string(anonymous.append(nil, 9)) != want {
		t.Errorf("got %s, %v", anonymous.append(nil, 9), err)
	}
}

func TestShownPollsAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	ids := w.publishMany(5, "a")
	var told []domain.PollID
	f := w.startFor(t, Config{Exclusive: true, OnShown: func(polls []domain.PollID) { told = append(told, polls...) }})
	page := getPage(t, f, Query{Limit: 3})
	if want := []domain.PollID{ids[4], ids[3], ids[2]}; !slices.Equal(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
	getPage(t, f, Query{Limit: 3, Cursor: *page.NextCursor})
	getPage(t, f, Query{Tags: []string{"none"}})
	if _, err := f.AppendPopular(t.Context(), nil, 5); err != nil {
		t.Fatal(err)
	}
	if want := []domain.PollID{ids[4], ids[3], ids[2], ids[1], ids[0]}; !slices.Equal(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, exclusive := range []bool{true, false} {
		t.Run(fmt.Sprintf("exclusive=%v", exclusive), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			f := w.startFor(t, Config{Exclusive: exclusive})
			f.Published(w.publish(w.poll("one", "a"), w.poll("two", "a"), w.poll("three", "b")))
			all := walkFeed(t, f, Query{Limit: 1})
			if len(all) != 3 {
				t.Fatalf("%d polls", len(all))
			}
			id := all[1].ID
			for _, c := range []struct {
				state          domain.PollState
				inFeed, exists bool
			}{
				{domain.PollClosed, false, true}, {domain.PollHidden, false, false},
				{domain.PollOpen, true, true}, {domain.PollHidden, false, false}, {domain.PollClosed, false, true}, {domain.PollOpen, true, true},
			} {
				e, err := w.store.SetPollState(ctx, id, c.state)
				if err != nil {
					t.Fatal(err)
				}
				f.Changed(e)
				if got := slices.Contains(idsOf(walkFeed(t, f, Query{Limit: 2})), id); got != c.inFeed {
					t.Errorf("state %d: in feed %v", c.state, got)
				}
				if got := slices.Contains(idsOf(walkFeed(t, f, Query{Limit: 2, Tags: []string{"a"}})), id); got != c.inFeed {
					t.Errorf("state %d: in feed of its tag %v", c.state, got)
				}
				if got := slices.Contains(f.Tags("a", 5), TagCount{"a", 2}); got != c.inFeed {
					t.Errorf("state %d: tags %v", c.state, f.Tags("", 5))
				}
				_, err = f.AppendPoll(ctx, nil, id, nil)
				_, err2 := f.Options(ctx, id)
				if c.exists && (err != nil || err2 != nil) {
					t.Errorf("state %d: %v, %v", c.state, err, err2)
				} else if !c.exists {
					wantCode(t, err, domain.CodeNotFound)
					wantCode(t, err2, domain.CodeNotFound)
				}
			}
			e, err := w.store.DeletePoll(ctx, w.users[0], id)
			if err != nil {
				t.Fatal(err)
			}
			f.Changed(e)
			if got := idsOf(walkFeed(t, f, Query{Limit: 2, Tags: []string{"a", "b"}})); slices.Contains(got, id) || len(got) != 2 {
				t.Errorf("after deletion: %v", got)
			}
			if got := f.Tags("", 5); !slices.Equal(got, []TagCount{{"a", 1}, {"b", 1}}) {
				t.Errorf("after deletion: %v", got)
			}
			_, err = f.AppendPoll(ctx, nil, id, nil)
			wantCode(t, err, domain.CodeNotFound)
			for _, unknown := range []domain.PollID{1, all[0].ID + 1, all[0].ID + 1<<40} {
				_, err = f.AppendPoll(ctx, nil, unknown, nil)
				wantCode(t, err, domain.CodeNotFound)
			}
		})
	}
}

func TestCursorsThatDoNotWork(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := newWorld(t, 1)
	w.publishMany(5, "a")
	f := w.startFor(t, Config{Exclusive: true, Ranker: true})
	newCursor := *getPage(t, f, Query{Limit: 2}).NextCursor
	hotCursor := *getPage(t, f, Query{Limit: 2, Sort: SortHot}).NextCursor
	for _, c := range []struct {
		q    Query
		code domain.Code
	}{
		{Query{Cursor: newCursor}, ""},
		{Query{Cursor: hotCursor, Sort: SortHot}, ""},
		{Query{Cursor: newCursor, Sort: SortHot}, domain.CodeInvalidCursor},
		{Query{Cursor: hotCursor}, domain.CodeInvalidCursor},
		{Query{Cursor: newCursor + "="}, domain.CodeInvalidCursor},
		{Query{Cursor: "2"}, domain.CodeInvalidCursor},
		{Query{Cursor: strings.Repeat("A", 5000)}, domain.CodeInvalidCursor},
		{Query{Cursor: newCursor[:len(newCursor)-1]}, domain.CodeInvalidCursor},
		{Query{Cursor: newCursor, Page: 1}, domain.CodeMalformed},
		{Query{Cursor: string(cursor{sort: SortHot, page: 2, ranking: 1 << 40, rank: 1}.append(nil)), Sort: SortHot}, domain.CodeCursorExpired},
	} {
		_, err := f.AppendPage(ctx, nil, c.q)
		if domain.CodeOf(err) != c.code {
			t.Errorf("%+v: %v, want %q", c.q, err, c.code)
		}
	}
	w.clock.advance(time.Hour)
	if _, err := f.AppendPage(ctx, nil, Query{Cursor: hotCursor, Sort: SortHot}); err != nil {
		t.Errorf("after an hour: %v", err)
	}
	w.clock.advance(time.Second)
	_, err := f.AppendPage(ctx, nil, Query{Cursor: hotCursor, Sort: SortHot})
	wantCode(t, err, domain.CodeCursorExpired)
	if _, err = f.AppendPage(ctx, nil, Query{Cursor: newCursor}); err != nil {
		t.Error(err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	ids := w.publishMany(120, "a")
	f := w.startFor(t, Config{Exclusive: true})
	for _, c := range []struct{ limit, want int }{{0, 10}, {-1, 10}, {1, 1}, {100, 100}, {101, 100}} {
		p := getPage(t, f, Query{Limit: c.limit})
		if len(p.Polls) != c.want || p.Limit != c.want {
			t.Errorf("limit %d: %d polls, limit %d", c.limit, len(p.Polls), p.Limit)
		}
	}
	for _, c := range []struct{ page, want int }{{1, 50}, {3, 20}, {4, 0}, {1 << 62, 0}} {
		p := getPage(t, f, Query{Limit: 50, Page: c.page})
		if len(p.Polls) != c.want || p.Page != c.page || (p.NextCursor == nil) != (c.page >= 3) {
			t.Errorf("page %d: %d polls, page %d, cursor %v", c.page, len(p.Polls), p.Page, p.NextCursor)
		}
	}
	// A walk may begin at a page.
	p := getPage(t, f, Query{Limit: 50, Page: 2})
	rest := getPage(t, f, Query{Limit: 50, Cursor: *p.NextCursor})
	if !slices.Equal(rest.ids(), reversed(ids[:20])) || rest.Page != 3 || rest.NextCursor != nil {
		t.Errorf("page %d: %v", rest.Page, rest.ids())
	}
}

func TestSearch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	f := w.startFor(t, Config{Exclusive: true, Ranker: true})
	var green, greenA, other []domain.PollID
	for i := range 300 {
		tag := []string{"a", "b"}[i%2]
		title := fmt.Sprintf("green tea %d", i)
		if i%3 == 0 {
			title = fmt.Sprintf("black tea %d", i)
		}
		published := w.publish(w.poll(title, tag))
		f.Published(published)
		id := published[0].Poll.ID
		switch {
		case i%3 == 0:
			other = append(other, id)
		case tag == "a":
			greenA = append(greenA, id)
			green = append(green, id)
		default:
			green = append(green, id)
		}
	}
	check := func(q Query, want []domain.PollID) {
		t.Helper()
		if got := idsOf(walkFeed(t, f, q)); !slices.Equal(got, want) {
			t.Errorf("%+v: %v, want %v", q, got, want)
		}
	}
	user := w.users[0]
	check(Query{Text: "GREEN te", Limit: 7}, reversed(green))
	check(Query{Text: "green", Limit: 7, Tags: []string{"a"}}, reversed(greenA))
	check(Query{Text: "green", Limit: 7, Tags: []string{"a", "none"}}, reversed(greenA))
	check(Query{Text: "green", Limit: 7, Tags: []string{"none"}}, nil)
	check(Query{Text: "red", Limit: 7}, nil)
	check(Query{Text: "?! -", Limit: 7}, nil)
	check(Query{Text: "?! -", Limit: 7, Sort: SortHot}, nil)
	f.Apply(w.interact(domain.Interaction{User: user, Poll: green[10], Skip: true}, domain.Interaction{User: user, Poll: other[3], Option: 1}))
	check(Query{User: user, Text: "black", Limit: 100}, slices.DeleteFunc(reversed(other), func(id domain.PollID) bool { return id == other[3] }))
	left := slices.DeleteFunc(reversed(green), func(id domain.PollID) bool { return id == green[10] })
	check(Query{User: user, Text: "green", Limit: 3}, left)
	if got := getPage(t, f, Query{User: user, Text: "green", Limit: 10, Page: 19}); !slices.Equal(got.ids(), left[180:190]) {
		t.Errorf("page 19: %v, want %v", got.ids(), left[180:190])
	}
	// With hot: the ranking's order, the text's polls.
	w.clock.advance(2 * rankEvery)
	if err := f.makeRanking(context.Background(), rankEvery); err != nil {
		t.Fatal(err)
	}
	got := idsOf(walkFeed(t, f, Query{User: user, Text: "green", Limit: 9, Sort: SortHot, Tags: []string{"a"}}))
	slices.Sort(got)
	if want := slices.DeleteFunc(slices.Clone(greenA), func(id domain.PollID) bool { return id == green[10] }); !slices.Equal(got, want) {
		t.Errorf("hot: %v, want %v", got, want)
	}
}

// TestSearchIsBounded sees more hits than one page may look at.
func TestSearchIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	ids := w.publishMany(maxHits+2500, "a")
	f := w.startFor(t, Config{Exclusive: true})
	w.skipAll(w.users[1], ids[1200:])
	q := Query{User: w.users[1], Text: "question", Limit: 100}
	p := getPage(t, f, q)
	if len(p.Polls) != 0 || p.NextCursor == nil {
		t.Errorf("%d polls, cursor %v: looked at more hits than it may", len(p.Polls), p.NextCursor)
	}
	if got := idsOf(walkFeed(t, f, q)); !slices.Equal(got, reversed(ids[:1200])) {
		t.Errorf("%d polls", len(got))
	}
}

func TestPopular(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := newWorld(t, 3)
	f := w.startFor(t, Config{Exclusive: true, Ranker: true})
	popularIDs := func(limit int) []domain.PollID {
		t.Helper()
		raw, err := f.AppendPopular(ctx, []byte("x"), limit)
		if err != nil {
			t.Fatal(err)
		}
		var p struct {
			Polls []pollJSON `json:"polls"`
		}
		strict(t, raw[1:], &p)
		return idsOf(p.Polls)
	}
	if got := popularIDs(5); len(got) != 0 {
		t.Errorf("popular without polls: %v", got)
	}
	ids := w.publishMany(6, "a")
	if err := f.tailNow(); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(popularLife)
	// Not ranked yet: the newest.
	f.rankings.newest = nil
	if got := popularIDs(4); !slices.Equal(got, reversed(ids[2:])) {
		t.Errorf("before a ranking: %v", got)
	}
	f.Apply(w.interact(
		domain.Interaction{User: w.users[0], Poll: ids[1], Option: 0}, domain.Interaction{User: w.users[1], Poll: ids[1], Option: 0},
		domain.Interaction{User: w.users[0], Poll: ids[4], Skip: true}))
	w.clock.advance(2 * rankEvery)
	if err := f.makeRanking(ctx, rankEvery); err != nil {
		t.Fatal(err)
	}
	if got := popularIDs(3); !slices.Equal(got, []domain.PollID{ids[1], ids[4], ids[5]}) {
		t.Errorf("popular: %v", got)
	}
	// A poll newer than the ranking comes last, a closed one goes.
	fresh := w.publish(w.poll("fresh", "a"))
	f.Published(fresh)
	e, err := w.store.SetPollState(ctx, ids[4], domain.PollClosed)
	if err != nil {
		t.Fatal(err)
	}
	f.Changed(e)
	w.clock.advance(popularLife)
	if got := popularIDs(100); len(got) != 6 || got[0] != ids[1] || got[5] != fresh[0].Poll.ID {
		t.Errorf("popular: %v", got)
	}
	// With the store away the last answer is given again.
	w.clock.advance(time.Minute)
	f.bodies.cache.InvalidateAll()
	w.store.hook(func(string) error { return errors.New("away") })
	if got := popularIDs(100); len(got) != 6 {
		t.Errorf("popular with the store away: %v", got)
	}
	if _, err := f.AppendPopular(ctx, nil, 99); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Errorf("popular with the store away and no earlier answer: %v", err)
	}
}

func (f *Feed) tailNow() error {
	_, err := f.tails.get(context.Background(), struct{}{})
	return err
}

func TestStarting(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := newWorld(t, 1)
	ids := w.publishMany(10, "a")
	failures := 2
	loading, proceed := make(chan struct{}), make(chan struct{})
	w.store.hook(func(method string) error {
		if method != "LoadCatalogue" {
			return nil
		}
		if failures--; failures >= 0 {
			return errors.New("away")
		}
		if failures == -1 {
			close(loading)
			<-proceed
		}
		return nil
	})
	f, stop := w.launch(Config{Exclusive: true})
	t.Cleanup(stop)
	<-loading
	if f.Ready() {
		t.Error("ready while loading")
	}
	_, err := f.AppendPage(ctx, nil, Query{})
	wantCode(t, err, domain.CodeStarting)
	_, err = f.AppendPopular(ctx, nil, 1)
	wantCode(t, err, domain.CodeStarting)
	_, err = f.AppendPoll(ctx, nil, ids[0], nil)
	wantCode(t, err, domain.CodeStarting)
	_, err = f.Options(ctx, ids[0])
	wantCode(t, err, domain.CodeStarting)
	// What happens while the index loads is not lost.
	published := w.publish(w.poll("meanwhile", "a"))
	f.Published(published)
	ids = append(ids, published[0].Poll.ID)
	f.Apply(w.interact(domain.Interaction{User: w.users[0], Poll: ids[9]}))
	f.Apply(w.interact(domain.Interaction{User: w.users[0], Poll: ids[0]}))
	close(proceed)
	eventually(t, "ready", f.Ready)
	all := walkFeed(t, f, Query{Limit: 100})
	if got := idsOf(all); !slices.Equal(got, reversed(ids)) || all[1].TotalVotes != 1 || all[10].TotalVotes != 1 {
		t.Errorf("%+v", all)
	}
	if got := idsOf(walkFeed(t, f, Query{User: w.users[0], Limit: 100})); len(got) != 9 {
		t.Errorf("%v", got)
	}
}

// TestStoreAway demands no page rather than a possibly outdated one.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := newWorld(t, 2)
	ids := w.publishMany(200, "a")
	w.skipAll(w.users[1], ids[:100])
	away := func(methods ...string) {
		w.store.hook(func(method string) error {
			if slices.Contains(methods, method) {
				return domain.E(domain.CodeUnavailable, "away")
			}
			return nil
		})
	}
	shared := w.startFor(t, Config{})
	alone := w.startFor(t, Config{Exclusive: true})
	q := Query{User: w.users[0], Limit: 5}
	for _, f := range []*Feed{shared, alone} {
		getPage(t, f, q)
	}
	away("UserStates")
	_, err := shared.AppendPage(ctx, nil, q)
	wantCode(t, err, domain.CodeUnavailable)
	if _, err := alone.AppendPage(ctx, nil, q); err != nil {
		t.Errorf("a process that makes every change asked the store: %v", err)
	}
	w.clock.advance(recheck)
	_, err = alone.AppendPage(ctx, nil, q)
	wantCode(t, err, domain.CodeUnavailable)
	away("Seen")
	for _, f := range []*Feed{shared, alone} {
		_, err = f.AppendPage(ctx, nil, Query{User: w.users[1], Limit: 5})
		wantCode(t, err, domain.CodeUnavailable)
	}
	away("PollsAt")
	for _, f := range []*Feed{shared, alone} {
		dst, err := f.AppendPage(ctx, []byte("kept"), Query{Limit: 50})
		wantCode(t, err, domain.CodeUnavailable)
		if string(dst) != "kept" {
			t.Errorf("dst became %q", dst)
		}
	}
	away()
	for _, f := range []*Feed{shared, alone} {
		if got := idsOf(walkFeed(t, f, Query{User: w.users[1], Limit: 50})); !slices.Equal(got, reversed(ids[100:])) {
			t.Errorf("%v", got)
		}
	}
	// A poll that is cached is served without the store, with its last total.
	away("Counts", "PollsAt", "UserStates", "CatalogueSince")
	w.clock.advance(time.Hour)
	if _, err := shared.AppendPoll(ctx, nil, ids[150], nil); err != nil {
		t.Error(err)
	}
}

// TestUnknownOutcome: what a batch did whose answer was lost shows up after a
// while even where nobody else changes anything.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	ids := w.publishMany(3, "a")
	f := w.startFor(t, Config{Exclusive: true})
	getPage(t, f, Query{User: w.users[0]})
	w.interact(domain.Interaction{User: w.users[0], Poll: ids[1]}) // and no Apply
	w.clock.advance(recheck)
	if got := getPage(t, f, Query{User: w.users[0]}).ids(); !slices.Equal(got, []domain.PollID{ids[2], ids[0]}) {
		t.Errorf("%v", got)
	}
}

// TestApplyWhileLoading votes while what the user has seen is being read.
func TestApplyWhileLoading(t *testing.T) {
	t.Parallel()
	for _, exclusive := range []bool{true, false} {
		t.Run(fmt.Sprintf("exclusive=%v", exclusive), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			ids := w.publishMany(200, "a")
			user := w.users[0]
			w.skipAll(user, ids[:100])
			f := w.startFor(t, Config{Exclusive: exclusive})
			reading, proceed := make(chan struct{}), make(chan struct{})
			var once sync.Once
			w.store.hook(func(method string) error {
				if method == "Seen" { // the set was read, the answer is under way
					once.Do(func() { close(reading); <-proceed })
				}
				return nil
			})
			first := make(chan pageJSON)
			go func() { first <- getPage(t, f, Query{User: user, Limit: 100}) }()
			<-reading
			f.Apply(w.interact(domain.Interaction{User: user, Poll: ids[150]}))
			// The vote is acknowledged: a page asked for now waits for the load
			// or makes its own, and lacks the poll.
			second := make(chan pageJSON)
			go func() { second <- getPage(t, f, Query{User: user, Limit: 100}) }()
			close(proceed)
			<-first
			if got := (<-second).ids(); slices.Contains(got, ids[150]) || len(got) != 99 {
				t.Errorf("%d polls: %v", len(got), got)
			}
		})
	}
}

// TestLoadUnderWayIsNotTrusted: a load that another instance's vote overtook
// does not serve requests that came after the vote.
func TestLoadUnderWayIsNotTrusted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	ids := w.publishMany(200, "a")
	user := w.users[0]
	w.skipAll(user, ids[:100])
	f := w.startFor(t, Config{})
	reading, proceed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.store.hook(func(method string) error {
		if method == "Seen" {
			once.Do(func() { close(reading); <-proceed })
		}
		return nil
	})
	first := make(chan pageJSON)
	go func() { first <- getPage(t, f, Query{User: user, Limit: 100}) }()
	<-reading
	w.skipAll(user, ids[100:190]) // elsewhere: no Apply, and too many for Recent
	reads := w.store.reads.Load()
	second := make(chan pageJSON)
	go func() { second <- getPage(t, f, Query{User: user, Limit: 100}) }()
	eventually(t, "the second request's check", func() bool { return w.store.reads.Load() > reads })
	close(proceed)
	<-first
	if got := (<-second).ids(); !slices.Equal(got, reversed(ids[190:])) {
		t.Errorf("%v", got)
	}
}

func TestOtherInstances(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := newWorld(t, 2)
	a, b := w.startFor(t, Config{Ranker: true}), w.startFor(t, Config{})
	user := w.users[1]

	published := w.publish(w.poll("one", "x"))
	a.Published(published)
	one := published[0].Poll.ID
	if got := getPage(t, a, Query{}).ids(); !slices.Equal(got, []domain.PollID{one}) {
		t.Errorf("not at once in the feed of its instance: %v", got)
	}
	// By its id it is found on any instance at once.
	if _, err := b.AppendPoll(ctx, nil, one, nil); err != nil {
		t.Error(err)
	}
	// b's own poll does not hide a's, which b did not know.
	two := w.publish(w.poll("two", "x"))
	three := w.publish(w.poll("three", "x"))
	b.Published(three)
	if got := getPage(t, b, Query{}).ids(); !slices.Equal(got, []domain.PollID{three[0].Poll.ID, two[0].Poll.ID, one}) {
		t.Errorf("a gap in the feed: %v", got)
	}
	// In time polls come by themselves, and quicker with a hint.
	four := w.publish(w.poll("four", "x"))
	b.Wake()
	eventually(t, "tailed", func() bool { return len(getPage(t, b, Query{}).Polls) == 4 })
	eventually(t, "tailed unhinted", func() bool { return len(getPage(t, a, Query{}).Polls) == 4 })

	// Votes: seen at once everywhere, counted within a second.
	a.Apply(w.interact(domain.Interaction{User: user, Poll: four[0].Poll.ID}))
	for _, f := range []*Feed{a, b} {
		if got := getPage(t, f, Query{User: user}).ids(); !slices.Equal(got, []domain.PollID{three[0].Poll.ID, two[0].Poll.ID, one}) {
			t.Errorf("seen: %v", got)
		}
	}
	w.clock.advance(time.Second)
	for _, f := range []*Feed{a, b} {
		if got := getPage(t, f, Query{}).Polls[0].TotalVotes; got != 1 {
			t.Errorf("total %d a second later", got)
		}
		raw, err := f.AppendPoll(ctx, nil, four[0].Poll.ID, nil)
		if err != nil || !strings.HasSuffix(string(raw), `"totalVotes":1}`) {
			t.Errorf("%s, %v", raw, err)
		}
	}
	// b walks the rankings that a makes, also older ones.
	w.clock.advance(2 * rankEvery)
	if err := a.makeRanking(ctx, rankEvery); err != nil {
		t.Fatal(err)
	}
	p := getPage(t, a, Query{Sort: SortHot, Limit: 1})
	w.clock.advance(2 * rankEvery)
	if err := a.makeRanking(ctx, rankEvery); err != nil {
		t.Fatal(err)
	}
	rest := getPage(t, b, Query{Sort: SortHot, Limit: 10, Cursor: *p.NextCursor})
	if len(rest.Polls) != 3 || slices.Contains(rest.ids(), p.Polls[0].ID) {
		t.Errorf("%v after %v", rest.ids(), p.ids())
	}
	if err := b.readRanking(ctx); err != nil {
		t.Fatal(err)
	}
	if x, y := a.rankings.latest().id, b.rankings.latest().id; x != y {
		t.Errorf("newest rankings %d and %d", x, y)
	}
}

// TestCachedSets puts what a user has seen into the cache and reads it back on
// another instance, never trusting it further than the user's version goes.
func TestCachedSets(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := newWorld(t, 2)
	cache := memory.NewCache(memory.CacheOptions{Bytes: 1 << 20, Clock: w.clock})
	w.cache = cache
	ids := w.publishMany(1000, "a")
	user := w.users[1]
	w.skipAll(user, ids[:800])
	query := Query{User: user, Limit: 100}
	if got := getPage(t, w.startFor(t, Config{}), query); len(got.Polls) != 100 {
		t.Fatal("no page")
	}
	key := fmt.Sprintf("poll:feed:user:%d:voted", user)
	value, ok := cache.Get(ctx, key)
	if !ok {
		t.Fatal("nothing was put into the cache")
	}
	// Behind by no more than comes with the version: no look at the store's votes.
	w.skipAll(user, ids[800:860])
	w.store.hook(func(method string) error {
		if method == "Seen" {
			return errors.New("not to be asked")
		}
		return nil
	})
	if got := idsOf(walkFeed(t, w.startFor(t, Config{}), query)); !slices.Equal(got, reversed(ids[860:])) {
		t.Errorf("%d polls from the cache", len(got))
	}
	if again, _ := cache.Get(ctx, key); bytes.Equal(again, value) {
		t.Error("the value in the cache was left to grow old")
	}
	w.store.hook(func(string) error { return nil })
	// Too far behind, damaged, newer than the truth, of another database.
	set, version, newestID, err := decodeSeen(value)
	if err != nil {
		t.Fatal(err)
	}
	var everything wordSet
	for p := range domain.Position(1000) {
		everything.add(p + 1)
	}
	for name, bad := range map[string][]byte{
		"old":      value,
		"damaged":  value[:len(value)-5],
		"rubbish":  []byte("rubbish"),
		"empty":    {},
		"newer":    encodeSeen(&everything, 861, ids[999]),
		"database": encodeSeen(&set, 860, newestID+1),
	} {
		cache.Set(ctx, key, bad, time.Hour)
		if name == "old" && version+domain.RecentPositions >= 860 {
			cache.Set(ctx, key, encodeSeen(&set, 860-domain.RecentPositions-1, newestID), time.Hour)
		}
		if got := idsOf(walkFeed(t, w.startFor(t, Config{}), query)); !slices.Equal(got, reversed(ids[860:])) {
			t.Errorf("%s: %d polls", name, len(got))
		}
	}
}

func TestSeenBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 300)
	ids := w.publishMany(64, "a")
	for _, c := range []struct {
		limit     int64 // of a shard
		some, all bool  // of the users are kept
	}{
		{1, false, false}, {1000, true, false}, {1 << 20, true, true},
	} {
		f := w.startFor(t, Config{Exclusive: true, SeenBytes: seenShards * c.limit})
		for _, u := range w.users {
			f.Apply(w.interact(domain.Interaction{User: u, Poll: ids[int(u)%64], Skip: true}))
			for range 2 {
				if got := getPage(t, f, Query{User: u, Limit: 100}).ids(); len(got) != 63 || slices.Contains(got, ids[int(u)%64]) {
					t.Fatalf("user %d: %v", u, got)
				}
			}
			if n := f.seen.bytes(); n > seenShards*c.limit {
				t.Fatalf("%d bytes", n)
			}
		}
		entries := 0
		for i := range f.seen.shards {
			s := &f.seen.shards[i]
			entries += len(s.entries)
			sum := int64(0)
			for _, e := range s.entries {
				sum += e.size.Load()
			}
			if sum != s.bytes {
				t.Errorf("shard %d counts %d bytes, has %d", i, s.bytes, sum)
			}
		}
		if (entries > 0) != c.some || (entries == len(w.users)) != c.all {
			t.Errorf("%d bytes a shard: %d entries", c.limit, entries)
		}
	}
}

func TestBodyBytes(t *testing.T) {
	t.Parallel()
	const limit = 20_000
	w := newWorld(t, 1)
	ids := w.publishMany(500, "a")
	f := w.startFor(t, Config{Exclusive: true, BodyBytes: limit})
	for range 2 {
		if got := idsOf(walkFeed(t, f, Query{Limit: 50})); !slices.Equal(got, reversed(ids)) {
			t.Fatalf("%v", got)
		}
		f.bodies.cache.CleanUp()
		if n := f.bodies.cache.WeightedSize(); n == 0 || n > limit {
			t.Errorf("%d bytes", n)
		}
	}
}

func TestBodiesAreFetchedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.publishMany(100, "a")
	f := w.startFor(t, Config{Exclusive: true})
	var queries atomic.Int64
	gate := make(chan struct{})
	w.store.hook(func(method string) error {
		if method == "PollsAt" {
			queries.Add(1)
			<-gate
		}
		return nil
	})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if got := getPage(t, f, Query{Limit: 100}); len(got.Polls) != 100 {
				t.Errorf("%d polls", len(got.Polls))
			}
		})
	}
	eventually(t, "a query", func() bool { return queries.Load() > 0 })
	close(gate)
	wg.Wait()
	if n := queries.Load(); n != 1 {
		t.Errorf("%d queries for the same polls", n)
	}
}

func TestTagsOfFeed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	f := w.startFor(t, Config{Exclusive: true})
	f.Published(w.publish(w.poll("1", "sport", "spain"), w.poll("2", "spain"), w.poll("3", "art", "sport", "spain")))
	for _, c := range []struct {
		prefix string
		limit  int
		want   []TagCount
	}{
		{"", 10, []TagCount{{"spain", 3}, {"sport", 2}, {"art", 1}}},
		{"", 1, []TagCount{{"spain", 3}}},
		{"sp", 10, []TagCount{{"spain", 3}, {"sport", 2}}},
		{"spo", 10, []TagCount{{"sport", 2}}},
		{"z", 10, nil},
		{"", 0, nil},
	} {
		if got := f.Tags(c.prefix, c.limit); !slices.Equal(got, c.want) {
			t.Errorf("%q, %d: %v, want %v", c.prefix, c.limit, got, c.want)
		}
	}
}

func TestFirstRankingWithPolls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	f := w.startFor(t, Config{Exclusive: true, Ranker: true})
	if got := getPage(t, f, Query{Sort: SortHot}); len(got.Polls) != 0 || got.NextCursor != nil {
		t.Errorf("%+v", got)
	}
	f.Published(w.publish(w.poll("1", "a")))
	w.clock.advance(time.Second)
	eventually(t, "a ranking with the first poll", func() bool { return len(getPage(t, f, Query{Sort: SortHot}).Polls) == 1 })
}
