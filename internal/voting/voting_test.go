package voting_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vote/internal/domain"
	"vote/internal/engine/sqlite"
	"vote/internal/voting"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fixed struct{ at time.Time }

func (c fixed) Now() time.Time { return c.at }

var noon = fixed{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}

// faulty is a real store whose batches a test can watch, hold and break.
type faulty struct {
	domain.Store
	mu      sync.Mutex
	batches []int
	// fault is asked before each batch; an error keeps it from the store.
	fault func(n int, batch []domain.Interaction) error
	// lost is asked after each commit; an error hides its outcome.
	lost func(n int) error
}

func (f *faulty) Interact(ctx context.Context, batch []domain.Interaction, judge func([]domain.Fact) []domain.Verdict) (domain.Outcome, error) {
	f.mu.Lock()
	f.batches = append(f.batches, len(batch))
	n := len(f.batches)
	f.mu.Unlock()
	if f.fault != nil {
		if err := f.fault(n, batch); err != nil {
			return domain.Outcome{}, err
		}
	}
	out, err := f.Store.Interact(ctx, batch, judge)
	if err == nil && f.lost != nil {
		if err := f.lost(n); err != nil {
			return domain.Outcome{}, err
		}
	}
	return out, err
}

func (f *faulty) sizes() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.batches)
}

type world struct {
	*voting.Voting
	store *faulty
	stop  func() // ends Run and waits for it
	users []domain.UserID
	polls []domain.PollID
}

func newWorld(t *testing.T, users, polls int, c voting.Config, store *faulty) *world {
	t.Helper()
	ctx := context.Background()
	engine, err := sqlite.Open(ctx, sqlite.Options{Path: t.TempDir() + "/vote.db", Clock: noon, AutoMigrate: true})
	if err != nil {
		t.Fatal(err)
	}
	store.Store = engine
	c.Store = store
	w := &world{Voting: voting.New(c), store: store}
	running, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.Run(running); err != nil {
			t.Error(err)
		}
	}()
	w.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(func() {
		w.stop()
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range users {
		name := fmt.Sprintf("user%d", i)
		u, err := engine.CreateUser(ctx, domain.NewUser{Username: name, UsernameKey: name, Email: name + "@b.cd", EmailKey: name + "@b.cd", PasswordHash: "x"},
			domain.Session{ID: name, CreatedAt: noon.at, ExpiresAt: noon.at.Add(time.Hour)}, domain.TokenHash{byte(i), byte(i >> 8), 1})
		if err != nil {
			t.Fatal(err)
		}
		w.users = append(w.users, u.ID)
	}
	for i := range polls {
		p, err := w.Publish(ctx, newPoll(w.users[0], fmt.Sprint("poll ", i)))
		if err != nil {
			t.Fatal(err)
		}
		w.polls = append(w.polls, p.ID)
	}
	return w
}

func newPoll(author domain.UserID, title string) domain.NewPoll {
	return domain.NewPoll{Author: author, Title: title, Options: []string{"a", "b"}, Tags: []string{"x"}}
}

func (w *world) votes(t *testing.T, poll domain.PollID) int64 {
	t.Helper()
	c, err := w.store.Counts(context.Background(), []domain.PollID{poll})
	if err != nil || len(c) != 1 {
		t.Fatal(c, err)
	}
	return c[0].TotalVotes()
}

func TestAVoteIsAnsweredWithCountsThatIncludeIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1, voting.Config{Rules: domain.Rules{DailyVotes: 100}}, &faulty{})
	ctx := context.Background()
	r, err := w.Cast(ctx, domain.Interaction{User: w.users[0], Poll: w.polls[0], Option: 1})
	if err != nil || r.Counts.Votes[1] != 1 || r.Verdict.VotesToday != 1 {
		t.Fatal(r, err)
	}
	_, err = w.Cast(ctx, domain.Interaction{User: w.users[0], Poll: w.polls[0], Option: 0})
	var refusal *domain.Error
	if !errors.As(err, &refusal) || refusal.Code != domain.CodeAlreadyVoted || refusal.Option != 1 {
		t.Fatalf("second vote: %v, want already_voted naming option 1", err)
	}
	if sizes := w.store.sizes(); !slices.Equal(sizes, []int{1, 1}) {
		t.Fatalf("lone votes were committed in batches %v; want each at once, alone", sizes)
	}
}

// hold makes the first batch wait until release is closed, and tells when it
// has begun.
func hold(store *faulty) (begun <-chan struct{}, release chan struct{}) {
	in, out := make(chan struct{}), make(chan struct{})
	store.fault = func(n int, _ []domain.Interaction) error {
		if n == 1 {
			close(in)
			<-out
		}
		return nil
	}
	return in, out
}

// castAll starts one vote per result, each by its own user.
func (w *world) castAll(ctx context.Context, results []error) *sync.WaitGroup {
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			_, results[i] = w.Cast(ctx, domain.Interaction{User: w.users[i], Poll: w.polls[0]})
		})
	}
	return &wg
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never:", what)
		}
	}
}

func TestRequestsGatherWhileABatchIsCommitted(t *testing.T) {
	t.Parallel()
	store := &faulty{}
	begun, release := hold(store)
	w := newWorld(t, 41, 1, voting.Config{}, store)
	first := w.castAll(t.Context(), make([]error, 1))
	<-begun
	results := make([]error, 40)
	w.users = w.users[1:]
	rest := w.castAll(t.Context(), results)
	eventually(t, "40 requests queued", func() bool { return w.Waiting() == 40 })
	close(release)
	first.Wait()
	rest.Wait()
	if err := errors.Join(results...); err != nil {
		t.Fatal(err)
	}
	if sizes := w.store.sizes(); !slices.Equal(sizes, []int{1, 40}) {
		t.Fatalf("batches %v, want 1 and 40", sizes)
	}
	if n := w.votes(t, w.polls[0]); n != 41 {
		t.Fatalf("%d votes counted, want 41", n)
	}
}

func TestAFullQueueRefusesAtOnceAndChangesNothing(t *testing.T) {
	t.Parallel()
	store := &faulty{}
	begun, release := hold(store)
	w := newWorld(t, 12, 1, voting.Config{Queue: 10}, store)
	first := w.castAll(t.Context(), make([]error, 1))
	<-begun
	w.users = w.users[1:]
	results := make([]error, 10)
	rest := w.castAll(t.Context(), results)
	eventually(t, "the queue is full", func() bool { return w.Waiting() == 10 })
	_, err := w.Cast(t.Context(), domain.Interaction{User: w.users[10], Poll: w.polls[0]})
	var refusal *domain.Error
	if !errors.As(err, &refusal) || refusal.Code != domain.CodeOverloaded || refusal.RetryAfter <= 0 {
		t.Fatalf("%v, want overloaded with a time to retry", err)
	}
	close(release)
	first.Wait()
	rest.Wait()
	if err := errors.Join(results...); err != nil {
		t.Fatal(err)
	}
	if n := w.votes(t, w.polls[0]); n != 11 {
		t.Fatalf("%d votes counted, want 11", n)
	}
}

func TestACallerThatLeavesHurtsNobody(t *testing.T) {
	t.Parallel()
	store := &faulty{}
	begun, release := hold(store)
	w := newWorld(t, 11, 1, voting.Config{}, store)
	first := w.castAll(t.Context(), make([]error, 1))
	<-begun
	leaving, leave := context.WithCancel(context.Background())
	_, err := w.Cast(canceled(), domain.Interaction{User: w.users[1], Poll: w.polls[0]})
	if domain.CodeOf(err) != domain.CodeUnavailable {
		t.Fatalf("a caller that left before: %v, want unavailable", err)
	}
	w.users = w.users[1:]
	results := make([]error, 10)
	rest := w.castAll(leaving, results)
	eventually(t, "10 requests queued", func() bool { return w.Waiting() == 10 })
	leave()
	rest.Wait()
	for _, err := range results {
		if domain.CodeOf(err) != domain.CodeOutcomeUnknown {
			t.Fatalf("a caller that left while waiting: %v, want outcome_unknown", err)
		}
	}
	close(release)
	first.Wait()
	w.stop()
	if n := w.votes(t, w.polls[0]); n != 11 {
		t.Fatalf("%d votes counted, want 11: those of the callers that left, too", n)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestAPoisonMemberFailsAlone(t *testing.T) {
	t.Parallel()
	store := &faulty{}
	begun, release := hold(store)
	w := newWorld(t, 34, 1, voting.Config{}, store)
	poison := errors.New("cannot be stored")
	held := store.fault
	store.fault = func(n int, batch []domain.Interaction) error {
		if err := held(n, batch); err != nil {
			return err
		}
		for _, in := range batch {
			if in.User == w.users[20] {
				return poison
			}
		}
		return nil
	}
	all := w.users
	first := w.castAll(t.Context(), make([]error, 1))
	<-begun
	results := make([]error, 33)
	w.users = all[1:]
	rest := w.castAll(t.Context(), results)
	eventually(t, "33 requests queued", func() bool { return w.Waiting() == 33 })
	w.users = all
	close(release)
	first.Wait()
	rest.Wait()
	for i, err := range results {
		if (err != nil) != (i+1 == 20) || (err != nil && !errors.Is(err, poison)) {
			t.Errorf("member %d: %v", i, err)
		}
	}
	if n := w.votes(t, w.polls[0]); n != 33 {
		t.Fatalf("%d votes counted, want 33", n)
	}
}

func TestConflictsAreRetriedWithABound(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		conflicts int
		want      domain.Code
	}{{3, ""}, {1 << 20, domain.CodeUnavailable}} {
		store := &faulty{fault: func(n int, _ []domain.Interaction) error {
			if n <= tt.conflicts {
				return domain.E(domain.CodeConflict, "")
			}
			return nil
		}}
		w := newWorld(t, 1, 1, voting.Config{}, store)
		_, err := w.Cast(t.Context(), domain.Interaction{User: w.users[0], Poll: w.polls[0]})
		if domain.CodeOf(err) != tt.want {
			t.Errorf("after %d conflicts: %v, want %q", tt.conflicts, err, tt.want)
		}
		if n := len(store.sizes()); n > 10 {
			t.Errorf("tried %d times", n)
		}
	}
}

func TestALostCommitIsToldAsUnknownAndARepetitionConverges(t *testing.T) {
	t.Parallel()
	store := &faulty{lost: func(n int) error {
		if n == 1 {
			return domain.E(domain.CodeOutcomeUnknown, "")
		}
		return nil
	}}
	w := newWorld(t, 1, 1, voting.Config{}, store)
	in := domain.Interaction{User: w.users[0], Poll: w.polls[0], Option: 1}
	if _, err := w.Cast(t.Context(), in); domain.CodeOf(err) != domain.CodeOutcomeUnknown {
		t.Fatalf("%v, want outcome_unknown", err)
	}
	_, err := w.Cast(t.Context(), in)
	var refusal *domain.Error
	if !errors.As(err, &refusal) || refusal.Code != domain.CodeAlreadyVoted || refusal.Option != 1 {
		t.Fatalf("repetition: %v, want already_voted with the option counted", err)
	}
	if sizes := store.sizes(); len(sizes) != 2 {
		t.Fatalf("batches %v: an unknown outcome must not be repeated inside", sizes)
	}
}

func TestCommitsAreAnnouncedBeforeTheyAreAnswered(t *testing.T) {
	t.Parallel()
	var announced atomic.Int64
	w := newWorld(t, 1, 50, voting.Config{OnCommit: func(o domain.Outcome) { announced.Add(int64(len(o.Users))) }}, &faulty{})
	for i, poll := range w.polls {
		if _, err := w.Cast(t.Context(), domain.Interaction{User: w.users[0], Poll: poll, Skip: i%2 == 0}); err != nil {
			t.Fatal(err)
		}
		if n := announced.Load(); n != int64(i+1) {
			t.Fatalf("answer %d came with %d announced", i+1, n)
		}
	}
}

func TestCastAllJudgesInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 3, voting.Config{Rules: domain.Rules{DailyVotes: 1}}, &faulty{})
	u, p := w.users[0], w.polls
	results, err := w.CastAll(t.Context(), []domain.Interaction{
		{User: u, Poll: p[0], Skip: true}, {User: u, Poll: p[0], Option: 1}, {User: u, Poll: p[0], Skip: true},
		{User: u, Poll: p[1], Option: 0}, {User: u, Poll: p[2], Skip: true}, {User: u, Poll: 99, Skip: true}, {User: u, Poll: p[1], Option: 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []domain.Code{"", "", domain.CodeAlreadyVoted, domain.CodeDailyVoteLimit, "", domain.CodeNotFound, domain.CodeInvalidOption}
	for i, r := range results {
		if domain.CodeOf(r.Err) != want[i] {
			t.Errorf("item %d: %v, want %q", i, r.Err, want[i])
		}
	}
	var refusal *domain.Error
	if !errors.As(results[3].Err, &refusal) || refusal.RetryAfter != 12*time.Hour {
		t.Errorf("daily limit at noon: retry after %v, want 12h", refusal.RetryAfter)
	}
	if none, err := w.CastAll(t.Context(), nil); err != nil || none != nil {
		t.Error(none, err)
	}
}

func TestDrainingFinishesWhatWasQueued(t *testing.T) {
	t.Parallel()
	store := &faulty{}
	begun, release := hold(store)
	w := newWorld(t, 21, 1, voting.Config{}, store)
	first := w.castAll(t.Context(), make([]error, 1))
	<-begun
	w.users = w.users[1:]
	results := make([]error, 20)
	rest := w.castAll(t.Context(), results)
	eventually(t, "20 requests queued", func() bool { return w.Waiting() == 20 })
	stopped := make(chan struct{})
	go func() { defer close(stopped); w.stop() }()
	close(release)
	first.Wait()
	rest.Wait()
	<-stopped
	if err := errors.Join(results...); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Cast(t.Context(), domain.Interaction{User: w.users[0], Poll: w.polls[0]}); domain.CodeOf(err) != domain.CodeDraining {
		t.Fatalf("after the end: %v, want draining", err)
	}
	if _, err := w.Publish(t.Context(), newPoll(w.users[0], "late")); domain.CodeOf(err) != domain.CodeDraining {
		t.Fatalf("after the end: %v, want draining", err)
	}
}

func TestPublishRepeatsUnderOneKey(t *testing.T) {
	t.Parallel()
	var announced atomic.Int64
	w := newWorld(t, 1, 0, voting.Config{
		Rules:     domain.Rules{DailyPolls: 2},
		OnPublish: func(p []domain.Publication) { announced.Add(int64(len(p))) },
	}, &faulty{})
	p := newPoll(w.users[0], "once")
	p.IdempotencyKey, p.Fingerprint = "k", [32]byte{1}
	first, err := w.Publish(t.Context(), p)
	if err != nil || first.ID == 0 || announced.Load() != 1 {
		t.Fatal(first, err, announced.Load())
	}
	again, err := w.Publish(t.Context(), p)
	if err != nil || again.ID != first.ID {
		t.Fatalf("repetition: poll %d, %v; want %d", again.ID, err, first.ID)
	}
	p.Fingerprint = [32]byte{2}
	if _, err := w.Publish(t.Context(), p); domain.CodeOf(err) != domain.CodeIdempotencyMismatch {
		t.Fatalf("other body: %v", err)
	}
	if _, err := w.Publish(t.Context(), newPoll(w.users[0], "second")); err != nil {
		t.Fatal(err)
	}
	_, err = w.Publish(t.Context(), newPoll(w.users[0], "third"))
	var refusal *domain.Error
	if !errors.As(err, &refusal) || refusal.Code != domain.CodeDailyPollLimit || refusal.RetryAfter != 12*time.Hour {
		t.Fatalf("third poll of the day: %v, want daily_poll_limit until midnight", err)
	}
}

func TestConcurrentPublicationsUnderOneKeyMakeOnePoll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 0, voting.Config{}, &faulty{})
	p := newPoll(w.users[0], "once")
	p.IdempotencyKey = "k"
	ids := make([]domain.PollID, 50)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			for {
				poll, err := w.Publish(t.Context(), p)
				if domain.CodeOf(err) == domain.CodeIdempotencyBusy {
					continue
				}
				if err != nil {
					t.Error(err)
				}
				ids[i] = poll.ID
				return
			}
		})
	}
	wg.Wait()
	if slices.Min(ids) != slices.Max(ids) || ids[0] == 0 {
		t.Fatalf("polls %v, want one", ids)
	}
}
