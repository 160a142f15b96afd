package enginetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vote/internal/domain"
)

// StoreDifferences are what a store may do otherwise than the embedded one.
type StoreDifferences struct {
	// Instances is how many stores may have the same data open at once, as
	// several processes would; 0 is one. The races of the suite are then run
	// over all of them.
	Instances int
	// Recent is how many recent positions a user's state has at most.
	Recent int
}

// TestStore holds a store to what [domain.Store] promises. open makes an empty
// place for data and returns what opens a store on it; after all stores on it
// were closed, opening it again is a restart. Everything is removed with the
// test.
func TestStore(t *testing.T, open func(t *testing.T) func(clock domain.Clock) domain.Store, d StoreDifferences) {
	run := func(name string, test func(w *world)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &world{t: t, ctx: t.Context(), clock: newHandClock(), open: open(t), rules: domain.Rules{DailyVotes: 100}, recent: d.Recent}
			w.start(max(d.Instances, 1))
			t.Cleanup(w.finish)
			test(w)
		})
	}
	testAccounts(run)
	testPerson(run)
	testInteract(run)
	testPolls(run)
	testCatalogue(run)
	testSearch(run)
	testRank(run)
	testOutbox(run)
	testReplay(run)
	testImport(run)
	testArchive(run)
	testPast(run)
	testHourly(run)
	testNotifications(run)
	testRaces(run)
	testWhole(run)
	testHistories(run)
}

// world is a store under test, with what every test needs around it. When the
// test ends, the store must be free of contradictions.
type world struct {
	t     *testing.T
	ctx   context.Context
	clock *handClock
	rules domain.Rules
	// recent is how many recent positions a state has.
	recent int
	open   func(domain.Clock) domain.Store
	// Store is the first of all.
	domain.Store
	all    []domain.Store
	serial atomic.Int64
}

// newest returns as many of the last positions as a user's state has.
func (w *world) newest(positions ...domain.Position) []domain.Position {
	return positions[max(0, len(positions)-w.recent):]
}

func (w *world) start(instances int) {
	w.all = nil
	for range instances {
		w.all = append(w.all, w.open(w.clock))
	}
	w.Store = w.all[0]
}

func (w *world) stop() {
	for _, s := range w.all {
		w.must(s.Close())
	}
	w.all = nil
}

// restart closes every store and opens as many again.
func (w *world) restart() {
	n := len(w.all)
	w.stop()
	w.start(n)
}

func (w *world) finish() {
	w.t.Helper()
	if w.all == nil {
		return
	}
	w.ctx = context.Background() // the test's context has ended
	w.clean()
	w.stop()
}

// clean fails unless the store finds itself free of contradictions.
func (w *world) clean() {
	w.t.Helper()
	report, err := w.Check(w.ctx, w.rules)
	w.must(err)
	if len(report.Rules) == 0 {
		w.t.Error("Check looked at nothing")
	}
	for _, v := range report.Violations {
		w.t.Errorf("Check: %d: %s: %d, such as %q", v.Invariant, v.Rule, v.Count, v.Examples)
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// wantCode fails unless err has the code.
func (w *world) wantCode(err error, code domain.Code) {
	w.t.Helper()
	if got := domain.CodeOf(err); got != code {
		w.t.Fatalf("error %v, want code %q", err, code)
	}
}

// equal compares by value; empty and nil slices are the same.
func (w *world) equal(what string, got, want any) {
	w.t.Helper()
	if reflect.DeepEqual(got, want) {
		return // much quicker than cmp, which tells the difference
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(time.Time{})); diff != "" {
		w.t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// instance returns one of the stores, another for each i.
func (w *world) instance(i int) domain.Store { return w.all[i%len(w.all)] }

func (w *world) newUser() domain.NewUser {
	n := w.serial.Add(1)
	return domain.NewUser{
		Username: fmt.Sprintf("User%d", n), UsernameKey: fmt.Sprintf("user%d", n),
		Email: fmt.Sprintf("User%d@example.org", n), EmailKey: fmt.Sprintf("user%d@example.org", n),
		PasswordHash: fmt.Sprintf("hash %d", n),
	}
}

// token returns a new refresh token's hash.
func (w *world) token() domain.TokenHash {
	return sha256.Sum256(fmt.Appendf(nil, "token %d", w.serial.Add(1)))
}

func (w *world) newSession() domain.Session {
	return domain.Session{
		ID:        fmt.Sprintf("session-%d", w.serial.Add(1)),
		CreatedAt: w.clock.Now(), ExpiresAt: w.clock.Now().Add(30 * 24 * time.Hour),
	}
}

// user makes an account.
func (w *world) user() domain.User {
	w.t.Helper()
	u, err := w.CreateUser(w.ctx, w.newUser(), w.newSession(), w.token())
	w.must(err)
	return u
}

func (w *world) users(n int) []domain.UserID {
	w.t.Helper()
	ids := make([]domain.UserID, n)
	for i := range ids {
		ids[i] = w.user().ID
	}
	return ids
}

// newPoll returns a poll to publish, by default with two options.
func (w *world) newPoll(author domain.UserID, options ...string) domain.NewPoll {
	if len(options) == 0 {
		options = []string{"yes", "no"}
	}
	return domain.NewPoll{
		Author: author, Title: fmt.Sprintf("Poll %d", w.serial.Add(1)), Options: options, Tags: []string{"general"},
	}
}

// publish publishes polls that must all be accepted.
func (w *world) publish(polls ...domain.NewPoll) []domain.Publication {
	w.t.Helper()
	published, err := w.publishOn(w.Store, polls...)
	w.must(err)
	for i, p := range published {
		if p.Verdict.Code != "" {
			w.t.Fatalf("poll %d was refused: %s", i, p.Verdict.Code)
		}
	}
	return published
}

func (w *world) publishOn(s domain.Store, polls ...domain.NewPoll) ([]domain.Publication, error) {
	for tries := 1; ; tries++ {
		published, err := s.Publish(w.ctx, polls, func(f []domain.PublicationFact) []domain.PublicationVerdict {
			return w.rules.JudgePublications(polls, f)
		})
		if domain.CodeOf(err) != domain.CodeConflict || tries == maxTries {
			return published, err
		}
	}
}

// poll publishes one poll.
func (w *world) poll(author domain.UserID, options ...string) domain.Poll {
	w.t.Helper()
	return w.publish(w.newPoll(author, options...))[0].Poll
}

func (w *world) polls(author domain.UserID, n int) []domain.Poll {
	w.t.Helper()
	batch := make([]domain.NewPoll, n)
	for i := range batch {
		batch[i] = w.newPoll(author)
	}
	polls := make([]domain.Poll, n)
	for i, p := range w.publish(batch...) {
		polls[i] = p.Poll
	}
	return polls
}

// interact applies a batch under the world's rules.
func (w *world) interact(batch ...domain.Interaction) domain.Outcome {
	w.t.Helper()
	out, err := w.interactOn(w.Store, batch...)
	w.must(err)
	return out
}

func (w *world) interactOn(s domain.Store, batch ...domain.Interaction) (domain.Outcome, error) {
	for tries := 1; ; tries++ {
		out, err := s.Interact(w.ctx, batch, func(f []domain.Fact) []domain.Verdict {
			return w.rules.Judge(batch, f)
		})
		if domain.CodeOf(err) != domain.CodeConflict || tries == maxTries {
			return out, err
		}
	}
}

func vote(user domain.UserID, poll domain.PollID, option int) domain.Interaction {
	return domain.Interaction{User: user, Poll: poll, Option: option}
}

func skip(user domain.UserID, poll domain.PollID) domain.Interaction {
	return domain.Interaction{User: user, Poll: poll, Skip: true}
}

// one applies one interaction and returns its verdict.
func (w *world) one(in domain.Interaction) domain.Verdict {
	w.t.Helper()
	return w.interact(in).Verdicts[0]
}

// wantVerdict applies one interaction and compares the code of its verdict.
func (w *world) wantVerdict(in domain.Interaction, code domain.Code) domain.Verdict {
	w.t.Helper()
	v := w.one(in)
	if v.Code != code {
		w.t.Fatalf("%+v: code %q, want %q", in, v.Code, code)
	}
	return v
}

// counts returns the counts of one poll, which must exist.
func (w *world) counts(id domain.PollID) domain.Counts {
	w.t.Helper()
	counts, err := w.Counts(w.ctx, []domain.PollID{id})
	w.must(err)
	if len(counts) != 1 {
		w.t.Fatalf("%d counts of poll %d", len(counts), id)
	}
	return counts[0]
}

func (w *world) seen(user domain.UserID) map[domain.Position]bool {
	w.t.Helper()
	set, err := w.Seen(w.ctx, user)
	w.must(err)
	seen := make(map[domain.Position]bool)
	for _, p := range set.Positions {
		if seen[p] {
			w.t.Fatalf("user %d: position %d is in the seen set twice", user, p)
		}
		seen[p] = true
	}
	return seen
}

func (w *world) state(user domain.UserID) domain.UserState {
	w.t.Helper()
	states, err := w.UserStates(w.ctx, []domain.UserID{user})
	w.must(err)
	if len(states) != 1 || states[0].User != user {
		w.t.Fatalf("states %+v for user %d", states, user)
	}
	return states[0]
}

// catalogue returns every entry, and checks their order and the revision.
func (w *world) catalogue() []domain.Entry {
	w.t.Helper()
	var entries []domain.Entry
	newest := int64(0)
	revision, err := w.LoadCatalogue(w.ctx, func(e domain.Entry) error {
		if want := domain.Position(len(entries) + 1); e.Position != want {
			return fmt.Errorf("position %d, want %d", e.Position, want)
		}
		newest = max(newest, e.Revision)
		e.Tags = append([]string(nil), e.Tags...)
		entries = append(entries, e)
		return nil
	})
	w.must(err)
	if revision != newest {
		w.t.Fatalf("LoadCatalogue returned revision %d, the newest entry has %d", revision, newest)
	}
	return entries
}

// drainOutbox claims, consumes and deletes every row and returns what they tell.
func (w *world) drainOutbox() []domain.Changes {
	w.t.Helper()
	var all []domain.Changes
	for {
		rows, err := w.ClaimOutbox(w.ctx, 100, time.Minute)
		w.must(err)
		if len(rows) == 0 {
			return all
		}
		for _, r := range rows {
			var c domain.Changes
			w.must(c.UnmarshalBinary(r.Changes))
			all = append(all, c)
			w.must(w.CountHourly(w.ctx, w.processed(r)))
			w.must(w.DeleteOutbox(w.ctx, []int64{r.ID}))
		}
	}
}

// processed returns the votes and skips of an outbox row as a consumer gets them.
func (w *world) processed(row domain.OutboxRow) []domain.Processed {
	var c domain.Changes
	if err := c.UnmarshalBinary(row.Changes); err != nil {
		w.t.Error(err)
		return nil
	}
	c.Replayed = nil // made up by the suite
	var list []domain.Processed
	for _, e := range c.Events(row.ID) {
		id, ok := domain.ParseEventID(e.ID)
		p := domain.Processed{ID: id, At: e.Time}
		switch data, read := domain.ReadVoteProcessed(e.Data); {
		case e.Type != domain.EventVoteCast && e.Type != domain.EventVoteSkipped:
			continue
		case !ok || !read:
			w.t.Errorf("event %+v", e)
		default:
			p.Poll, p.Skip = data.PollID, data.OptionIndex == nil
			if !p.Skip {
				p.Option = *data.OptionIndex
			}
		}
		list = append(list, p)
	}
	return list
}

// maxTries bounds how often the suite repeats what met a conflict.
const maxTries = 1000

var errStop = errors.New("stop")
