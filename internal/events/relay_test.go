package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"

	"vote/internal/domain"
	"vote/internal/engine/memory"
	"vote/internal/engine/sqlite"
	"vote/internal/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var allTypes = []string{
	domain.EventVoteCast, domain.EventVoteSkipped, domain.EventPollPublished, domain.EventUserSeen,
}

// world is a store with users and polls, and what was committed to it.
type world struct {
	t     *testing.T
	clock *shifted
	store *faulty
	users []domain.UserID
	polls []domain.Poll

	mu        sync.Mutex
	committed []string // type and data of every event that must come
}

// shifted is the system's clock, ahead by what it was told.
type shifted struct{ by atomic.Int64 }

func (c *shifted) Now() time.Time { return time.Now().UTC().Add(time.Duration(c.by.Load())) }

func (c *shifted) advance(d time.Duration) { c.by.Add(int64(d)) }

// faulty is a store that fails when told. Everything else is the real one.
type faulty struct {
	domain.Store
	claims     atomic.Int64 // that found rows
	claim      atomic.Pointer[func() error]
	claimed    atomic.Pointer[func([]domain.OutboxRow)] // sees and may damage what is claimed
	delete     atomic.Pointer[func([]int64) error]
	deadLetter atomic.Pointer[func() error]
}

func (f *faulty) ClaimOutbox(ctx context.Context, limit int, lease time.Duration) ([]domain.OutboxRow, error) {
	rows, err := f.Store.ClaimOutbox(ctx, limit, lease)
	if fault := f.claim.Load(); fault != nil && err == nil {
		err = (*fault)()
	}
	if err != nil {
		return nil, err
	}
	if see := f.claimed.Load(); see != nil {
		(*see)(rows)
	}
	if len(rows) > 0 {
		f.claims.Add(1)
	}
	return rows, nil
}

func (f *faulty) DeleteOutbox(ctx context.Context, ids []int64) error {
	if fault := f.delete.Load(); fault != nil {
		if err := (*fault)(ids); err != nil {
			return err
		}
	}
	return f.Store.DeleteOutbox(ctx, ids)
}

func (f *faulty) AddDeadLetter(ctx context.Context, d domain.DeadLetter) error {
	if fault := f.deadLetter.Load(); fault != nil {
		if err := (*fault)(); err != nil {
			return err
		}
	}
	return f.Store.AddDeadLetter(ctx, d)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	clock := &shifted{}
	store, err := sqlite.Open(t.Context(), sqlite.Options{
		Path: filepath.Join(t.TempDir(), "vote.db"), AutoMigrate: true, Clock: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, clock: clock, store: &faulty{Store: store}}
	for i := range 5 {
		u, err := store.CreateUser(t.Context(), domain.NewUser{
			Username: fmt.Sprint("user", i), UsernameKey: fmt.Sprint("user", i),
			Email: fmt.Sprintf("u%d@example.org", i), EmailKey: fmt.Sprintf("u%d@example.org", i), PasswordHash: "-",
		}, domain.Session{ID: fmt.Sprint("s", i), ExpiresAt: time.Now().Add(time.Hour)}, domain.TokenHash{byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		w.users = append(w.users, u.ID)
	}
	return w
}

// publish publishes a poll.
func (w *world) publish() {
	w.t.Helper()
	batch := []domain.NewPoll{{Author: w.users[0], Title: "Tea?", Options: []string{"yes", "no"}, Tags: []string{"tea"}}}
	published, err := w.store.Publish(w.t.Context(), batch, func(f []domain.PublicationFact) []domain.PublicationVerdict {
		return domain.Rules{}.JudgePublications(batch, f)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	p := published[0].Poll
	w.polls = append(w.polls, p)
	w.expect(domain.EventPollPublished, domain.PollPublished{PollID: p.ID, Position: p.Position})
}

// interact commits one batch.
func (w *world) interact(batch ...domain.Interaction) {
	w.t.Helper()
	out, err := w.store.Interact(w.t.Context(), batch, func(f []domain.Fact) []domain.Verdict {
		return domain.Rules{}.Judge(batch, f)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	version := map[domain.PollID]int64{}
	for _, c := range out.Counts {
		version[c.Poll] = c.Version()
	}
	for i, v := range out.Verdicts {
		in := batch[i]
		if v.Code != "" || !v.Changed {
			continue
		}
		if in.Skip {
			w.expect(domain.EventVoteSkipped, domain.VoteSkipped{PollID: in.Poll, Version: version[in.Poll]})
		} else {
			w.expect(domain.EventVoteCast, domain.VoteCast{PollID: in.Poll, OptionIndex: in.Option, Version: version[in.Poll]})
		}
	}
	for _, u := range out.Users {
		w.expect(domain.EventUserSeen, domain.UserSeen{UserID: u.User, Version: u.Version, Positions: u.Positions})
	}
}

func (w *world) expect(kind string, data any) {
	b, err := json.Marshal(data)
	if err != nil {
		w.t.Fatal(err)
	}
	w.committed = append(w.committed, kind+" "+string(b))
}

// votes makes every user vote for or skip one new poll after the other, a batch each.
func (w *world) votes(n int) {
	w.t.Helper()
	for i := range n {
		w.publish()
		in := domain.Interaction{User: w.users[i%len(w.users)], Poll: w.polls[len(w.polls)-1].ID, Skip: i%3 == 0}
		other := domain.Interaction{User: w.users[(i+1)%len(w.users)], Poll: in.Poll, Option: 1}
		w.interact(in, other, other)
	}
}

// effects is what consumers did: each event id applied once, as a consumer does
// that records what it applied.
type effects struct {
	mu      sync.Mutex
	applied map[string]string
	given   int
}

func (e *effects) apply(_ context.Context, ev domain.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.applied == nil {
		e.applied = map[string]string{}
	}
	what := ev.Type + " " + string(ev.Data)
	if before, again := e.applied[ev.ID]; again && before != what {
		return fmt.Errorf("id %s stands for %s and %s", ev.ID, before, what)
	}
	e.applied[ev.ID] = what
	e.given++
	return nil
}

func (e *effects) sorted() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []string
	for _, what := range e.applied {
		all = append(all, what)
	}
	slices.Sort(all)
	return all
}

// wantEffects waits until the outbox is empty and compares what consumers did
// with what was committed.
func (w *world) wantEffects(e *effects) {
	w.t.Helper()
	w.waitEmpty()
	w.mu.Lock()
	defer w.mu.Unlock()
	want := slices.Sorted(slices.Values(w.committed))
	if len(want) == 0 {
		w.t.Fatal("the test committed nothing")
	}
	if diff := cmp.Diff(want, e.sorted()); diff != "" {
		w.t.Errorf("committed, but consumed (+) or not consumed (-):\n%s", diff)
	}
}

func (w *world) waitEmpty() {
	w.t.Helper()
	waitUntil(w.t, func() bool { return w.rows() == 0 })
}

func (w *world) rows() int64 {
	w.t.Helper()
	rows, _, err := w.store.OutboxLag(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

// events returns how many events must come.
func (w *world) events() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.committed)
}

func (w *world) deadLetters(queue string) []domain.DeadLetter {
	w.t.Helper()
	dead, err := w.store.DeadLetters(w.t.Context(), queue, 0, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	return dead
}

// newBus returns a bus on which e consumes everything.
func (w *world) newBus(e *effects, fail func(domain.Event) error) *memory.Bus {
	b := memory.NewBus(memory.BusOptions{
		DeadLetter: w.store.AddDeadLetter,
		Delay:      func(try int) time.Duration { return time.Duration(try) * time.Millisecond },
	})
	b.Subscribe("test", allTypes, func(ctx context.Context, list []domain.Event) error {
		if len(list) != 1 {
			return errors.New("one at a time")
		}
		if fail != nil {
			if err := fail(list[0]); err != nil {
				return err
			}
		}
		return e.apply(ctx, list[0])
	})
	return b
}

// quick is a configuration without long waits.
func (w *world) quick(bus domain.Bus) events.Config {
	return events.Config{
		Store: w.store, Bus: bus, Clock: w.clock, Every: 5 * time.Millisecond, Spacing: time.Millisecond,
		MaxBackoff: 20 * time.Millisecond, Lease: time.Minute,
	}
}

// start runs something until the test ends or stop is called.
func start(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func waitUntil(t *testing.T, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what was waited for did not happen")
		}
	}
}

// busFunc is a bus whose Publish is replaced.
type busFunc struct {
	domain.Bus
	publish func(ctx context.Context, events []domain.Event) error
}

func (b busFunc) Publish(ctx context.Context, events []domain.Event) error {
	return b.publish(ctx, events)
}

func random(n int) int { return rand.IntN(n) }

func fault(err error) *func() error { f := func() error { return err }; return &f }

func TestRelayPublishesEverythingCommitted(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), &effects{}
	w.votes(20) // before the relay runs
	bus := w.newBus(e, nil)
	start(t, bus.Run)
	c := w.quick(bus)
	c.Rows, c.Every = 7, time.Hour // several claims, without being woken
	relay := events.NewRelay(c)
	start(t, relay.Run)
	w.waitEmpty()
	w.votes(20)
	relay.Wake()
	w.wantEffects(e)
	if e.given != len(w.committed) {
		t.Errorf("%d events were given for %d committed", e.given, len(w.committed))
	}
	if dead := w.deadLetters(""); len(dead) != 0 {
		t.Errorf("dead letters: %+v", dead)
	}
}

// A relay and its bus are killed at random moments while votes go on.
func TestRelayKilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), &effects{}
	stumble := func(domain.Event) error {
		if random(20) == 0 {
			return errors.New("a stumble")
		}
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for kills := 0; kills < 60 || w.events() < 150; kills++ {
			bus := w.newBus(e, stumble)
			c := w.quick(bus)
			c.Lease = 10 * time.Millisecond
			stopBus, stopRelay := start(t, bus.Run), start(t, events.NewRelay(c).Run)
			time.Sleep(time.Duration(random(12_000)) * time.Microsecond)
			if random(2) == 0 {
				stopBus()
			}
			stopRelay()
			stopBus()
		}
	}()
	for killing := true; killing; {
		select {
		case <-done:
			killing = false
		default:
			w.votes(1)
		}
	}
	bus := w.newBus(e, nil)
	start(t, bus.Run)
	start(t, events.NewRelay(w.quick(bus)).Run)
	// A stumble three times in a row makes a dead letter: that counts as consumed.
	w.waitEmpty()
	for _, d := range w.deadLetters("") {
		if d.Queue != "test" || d.Reason != "a stumble" {
			t.Errorf("dead letter %+v", d)
		}
		if err := e.apply(t.Context(), d.Event); err != nil {
			t.Error(err)
		}
	}
	w.wantEffects(e)
	t.Logf("%d events committed, %d given", len(w.committed), e.given)
}

func TestRelayTwoAtOnce(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), &effects{}
	bus := w.newBus(e, nil)
	start(t, bus.Run)
	for range 2 {
		start(t, events.NewRelay(w.quick(bus)).Run)
	}
	w.votes(40)
	w.wantEffects(e)
}

func TestRelayPoisonBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), &effects{}
	w.publish()
	poison := w.polls[0].ID
	var tries atomic.Int64
	bus := w.newBus(e, func(ev domain.Event) error {
		if ev.Type == domain.EventVoteCast && strings.Contains(string(ev.Data), fmt.Sprint(poison)) {
			tries.Add(1)
			return errors.New("bitter")
		}
		return nil
	})
	start(t, bus.Run)
	start(t, events.NewRelay(w.quick(bus)).Run)
	w.interact(domain.Interaction{User: w.users[0], Poll: poison, Option: 1})
	w.votes(10)
	w.waitEmpty()
	dead := w.deadLetters("test")
	if len(dead) != 1 || dead[0].Reason != "bitter" || dead[0].Event.Type != domain.EventVoteCast {
		t.Fatalf("dead letters: %+v", dead)
	}
	if n := tries.Load(); n != domain.MaxDeliveries {
		t.Errorf("tried %d times, want %d", n, domain.MaxDeliveries)
	}
	if err := e.apply(t.Context(), dead[0].Event); err != nil { // the rest was consumed
		t.Fatal(err)
	}
	w.wantEffects(e)
}

func TestRelayMalformedRow(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), &effects{}
	w.votes(3)
	w.mu.Lock()
	before := len(w.committed)
	w.mu.Unlock()
	w.publish() // its row will be damaged
	w.mu.Lock()
	w.committed = w.committed[:before]
	w.mu.Unlock()
	w.votes(3)

	var damaged atomic.Int64
	damage := func(rows []domain.OutboxRow) {
		for i := range rows {
			// The seventh row is the one of the lone publication: two rows for each round of votes.
			if rows[i].ID == 7 {
				rows[i].Changes = []byte(`{"at":1,"votes":[["x"]]}`)
				damaged.Add(1)
			}
		}
	}
	w.store.claimed.Store(&damage)
	w.store.deadLetter.Store(fault(errors.New("disk full")))
	bus := w.newBus(e, nil)
	start(t, bus.Run)
	start(t, events.NewRelay(w.quick(bus)).Run)
	// While it cannot be kept as a dead letter it stays, and the others go on.
	w.votes(3)
	waitUntil(t, func() bool { return w.rows() == 1 && damaged.Load() > 0 })
	w.store.deadLetter.Store(nil)
	w.wantEffects(e)
	dead := w.deadLetters("")
	if len(dead) != 1 || dead[0].Queue != events.QueueOutbox || dead[0].Event.Type != domain.EventMalformedRow {
		t.Fatalf("dead letters: %+v", dead)
	}
	var data struct {
		Row     int64
		Changes []byte
	}
	if err := json.Unmarshal(dead[0].Event.Data, &data); err != nil || data.Row != 7 || string(data.Changes) != `{"at":1,"votes":[["x"]]}` {
		t.Errorf("the dead letter holds %+v, %v", data, err)
	}
	if !strings.Contains(dead[0].Reason, "outbox row") || dead[0].Event.ID == "" {
		t.Errorf("dead letter %+v", dead[0])
	}
}

func TestRelayBusFailsForAWhile(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), &effects{}
	bus := w.newBus(e, nil)
	start(t, bus.Run)
	var calls atomic.Int64
	r := prometheus.NewRegistry()
	c := w.quick(busFunc{bus, func(ctx context.Context, evs []domain.Event) error {
		if calls.Add(1) <= 40 {
			return errors.New("broker away")
		}
		return bus.Publish(ctx, evs)
	}})
	c.Registerer, c.Events, c.Every = r, 4, time.Hour // it must try again by itself
	w.votes(20)
	start(t, events.NewRelay(c).Run)
	w.wantEffects(e)
	if n := metric(t, r, "vote_relay_failures_total", "publish"); n != 40 {
		t.Errorf("%v failures counted, want 40", n)
	}
}

func TestRelayRowThatTheBusRefusesDoesNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), &effects{}
	w.votes(30)
	refused := fmt.Sprint(w.polls[11].ID)
	var refusing atomic.Bool
	refusing.Store(true)
	bus := w.newBus(e, nil)
	start(t, bus.Run)
	c := w.quick(busFunc{bus, func(ctx context.Context, evs []domain.Event) error {
		for _, ev := range evs {
			if refusing.Load() && strings.Contains(string(ev.Data), refused) {
				return errors.New("not this one")
			}
		}
		return bus.Publish(ctx, evs)
	}})
	start(t, events.NewRelay(c).Run)
	waitUntil(t, func() bool { return w.rows() == 2 }) // its publication and its votes
	w.votes(5)
	waitUntil(t, func() bool { return w.rows() == 2 })
	refusing.Store(false)
	w.wantEffects(e)
}

// What was published is not published again because deleting it fails.
func TestRelayDeleteFailsForAWhile(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), &effects{}
	var failures atomic.Int64
	fail := func([]int64) error {
		w.clock.advance(time.Hour) // the leases run out meanwhile
		if failures.Add(1) <= 10 {
			return domain.E(domain.CodeUnavailable, "")
		}
		return nil
	}
	w.store.delete.Store(&fail)
	bus := w.newBus(e, nil)
	start(t, bus.Run)
	var mu sync.Mutex
	published := map[string]int{}
	c := w.quick(busFunc{bus, func(ctx context.Context, evs []domain.Event) error {
		mu.Lock()
		for _, ev := range evs {
			published[ev.ID]++
		}
		mu.Unlock()
		return bus.Publish(ctx, evs)
	}})
	w.votes(10)
	start(t, events.NewRelay(c).Run)
	w.wantEffects(e)
	mu.Lock()
	defer mu.Unlock()
	for id, n := range published {
		if n != 1 {
			t.Errorf("event %s was published %d times", id, n)
		}
	}
}

func TestRelayStoreFailsForAWhile(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), &effects{}
	w.votes(5)
	var claims atomic.Int64
	fail := func() error {
		w.clock.advance(time.Hour) // the answer was lost, the rows were claimed
		if claims.Add(1) <= 5 {
			return domain.E(domain.CodeUnavailable, "")
		}
		return nil
	}
	w.store.claim.Store(&fail)
	bus := w.newBus(e, nil)
	start(t, bus.Run)
	start(t, events.NewRelay(w.quick(bus)).Run)
	w.wantEffects(e)
}

func TestRelayBusThatHangsHoldsNothingBeyondTheLease(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), &effects{}
	bus := w.newBus(e, nil)
	start(t, bus.Run)
	var calls atomic.Int64
	c := w.quick(busFunc{bus, func(ctx context.Context, evs []domain.Event) error {
		if calls.Add(1) <= 3 {
			<-ctx.Done()
			return ctx.Err()
		}
		return bus.Publish(ctx, evs)
	}})
	c.Lease = 20 * time.Millisecond
	start(t, events.NewRelay(c).Run)
	w.votes(10)
	w.wantEffects(e)
}

// Rows whose lease ran out are somebody else's.
func TestRelayForgetsWhatItHeldTooLong(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), &effects{}
	w.votes(10)
	bus := w.newBus(e, nil)
	start(t, bus.Run)
	var claims atomic.Int64
	count := func([]domain.OutboxRow) { claims.Add(1) }
	w.store.claimed.Store(&count)
	var works atomic.Bool
	blocked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var late []domain.Event
	slow := w.quick(busFunc{bus, func(ctx context.Context, evs []domain.Event) error {
		if !works.Load() {
			once.Do(func() { close(blocked) })
			<-release
			return errors.New("away")
		}
		late = append(late, evs...)
		return bus.Publish(ctx, evs)
	}})
	stopSlow := start(t, events.NewRelay(slow).Run)
	<-blocked // it holds the rows
	w.clock.advance(time.Hour)
	stopQuick := start(t, events.NewRelay(w.quick(bus)).Run)
	w.waitEmpty()
	stopQuick()
	before := claims.Load()
	close(release)
	waitUntil(t, func() bool { return claims.Load() > before }) // it goes on
	works.Store(true)
	w.publish()
	w.wantEffects(e)
	stopSlow()
	if len(late) != 1 {
		t.Errorf("%d events were published late, want the 1 that came then", len(late))
	}
}

// What was published when the relay is stopped is deleted, what was not stays.
func TestRelayStoppedWhilePublishing(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), &effects{}
	w.votes(10)
	bus := w.newBus(e, nil)
	start(t, bus.Run)
	blocked := make(chan struct{})
	var calls atomic.Int64
	c := w.quick(busFunc{bus, func(ctx context.Context, evs []domain.Event) error {
		if calls.Add(1) > 3 {
			close(blocked)
			<-ctx.Done()
			return ctx.Err()
		}
		return bus.Publish(ctx, evs)
	}})
	c.Events, c.Lease = 1, time.Minute
	stop := start(t, events.NewRelay(c).Run)
	<-blocked
	stop()
	if rows := w.rows(); rows != 20-3 {
		t.Errorf("%d rows are left of 20, of which 3 were published", rows)
	}
}

func TestRelayIsWokenAndNeedsNotBe(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		every time.Duration
		wake  bool
	}{
		{"woken", time.Hour, true},
		{"by its timer", 5 * time.Millisecond, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, e := newWorld(t), &effects{}
			bus := w.newBus(e, nil)
			start(t, bus.Run)
			c := w.quick(bus)
			// A lone commit does not wait for the spacing.
			c.Every, c.Spacing = tt.every, time.Hour
			looked := make(chan struct{}, 1)
			look := func([]domain.OutboxRow) {
				select {
				case looked <- struct{}{}:
				default:
				}
			}
			w.store.claimed.Store(&look)
			relay := events.NewRelay(c)
			start(t, relay.Run)
			<-looked
			w.publish()
			if tt.wake {
				relay.Wake()
				relay.Wake()
			}
			w.wantEffects(e)
		})
	}
}

func TestRelaySpacesItsCyclesAndBoundsItsCalls(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), &effects{}
	bus := w.newBus(e, nil)
	start(t, bus.Run)
	var mu sync.Mutex
	var sizes []int
	c := w.quick(busFunc{bus, func(ctx context.Context, evs []domain.Event) error {
		mu.Lock()
		sizes = append(sizes, len(evs))
		mu.Unlock()
		return bus.Publish(ctx, evs)
	}})
	c.Spacing, c.Events, c.Rows = 20*time.Millisecond, 10, 50
	w.votes(60)
	relay := events.NewRelay(c)
	begun := time.Now()
	start(t, relay.Run)
	for range 20 {
		w.votes(2)
		relay.Wake()
	}
	w.wantEffects(e)
	if n, most := w.store.claims.Load(), int64(time.Since(begun)/c.Spacing)+1; n > most || n < 2 {
		t.Errorf("%d cycles in %v, at most %d wanted", n, time.Since(begun), most)
	}
	mu.Lock()
	defer mu.Unlock()
	// A row of votes makes at most 4 events: two votes and two users.
	if most := slices.Max(sizes); most > 10+3 || len(sizes) < 10 {
		t.Errorf("%d calls of Publish, the biggest with %d events", len(sizes), most)
	}
}

func TestRelayMetrics(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), &effects{}
	bus := w.newBus(e, nil)
	start(t, bus.Run)
	var down atomic.Bool
	down.Store(true)
	r := prometheus.NewRegistry()
	c := w.quick(busFunc{bus, func(ctx context.Context, evs []domain.Event) error {
		if down.Load() {
			return errors.New("away")
		}
		return bus.Publish(ctx, evs)
	}})
	c.Registerer = r
	w.votes(5)
	start(t, events.NewRelay(c).Run)
	waitUntil(t, func() bool {
		return metric(t, r, "vote_outbox_rows", "") == 10 && metric(t, r, "vote_outbox_oldest_seconds", "") > 0
	})
	down.Store(false)
	w.wantEffects(e)
	waitUntil(t, func() bool {
		return metric(t, r, "vote_outbox_rows", "") == 0 && metric(t, r, "vote_outbox_oldest_seconds", "") == 0
	})
	for kind, want := range map[string]float64{
		domain.EventPollPublished: 5, domain.EventVoteSkipped: 2, domain.EventVoteCast: 8, domain.EventUserSeen: 10,
	} {
		if got := metric(t, r, "vote_events_published_total", kind); got != want {
			t.Errorf("%v events of type %s counted, want %v", got, kind, want)
		}
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
}

// metric returns the value of the series whose label has this value, 0 when
// there is none.
func metric(t *testing.T, g prometheus.Gatherer, name, value string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if value == "" || m.GetLabel()[0].GetValue() == value {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}
