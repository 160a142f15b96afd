package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

// faultWorld is a store with users, polls and a vote.
func faultWorld(t *testing.T) (s *Store, users []domain.UserID, polls []domain.PollID) {
	t.Helper()
	s = openStore(t, Options{Clock: newHandClock()})
	users = addUsers(t, s, 3)
	polls = addPolls(t, s, users[0], 5)
	interact(t, s, []domain.Interaction{{User: users[0], Poll: polls[0], Option: 1}})
	return s, users, polls
}

func (s *Store) withWriter(f func(*writer)) {
	w := <-s.writer
	defer func() { s.writer <- w }()
	f(w)
}

func tryVote(s *Store, user domain.UserID, poll domain.PollID) error {
	batch := []domain.Interaction{{User: user, Poll: poll}}
	_, err := s.Interact(context.Background(), batch, func(f []domain.Fact) []domain.Verdict {
		return domain.Rules{}.Judge(batch, f)
	})
	return err
}

func tryPublish(s *Store, author domain.UserID) error {
	batch := []domain.NewPoll{{Author: author, Title: "t", Options: []string{"a", "b"}, Tags: []string{"x"}}}
	_, err := s.Publish(context.Background(), batch, func(f []domain.PublicationFact) []domain.PublicationVerdict {
		return domain.Rules{}.JudgePublications(batch, f)
	})
	return err
}

// TestStorageFaults makes SQLite refuse changes for a while.
func TestStorageFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		begin     func(*testing.T, *Store) (end func())
		batches   domain.Code // of Interact and Publish
		otherwise domain.Code // of a change that writes little, when it fails
	}{
		{
			name: "read-only",
			begin: func(t *testing.T, s *Store) func() {
				s.withWriter(func(w *writer) { must(t, w.pragma("query_only", "ON")) })
				return func() { s.withWriter(func(w *writer) { must(t, w.pragma("query_only", "OFF")) }) }
			},
			batches: domain.CodeUnavailable, otherwise: domain.CodeUnavailable,
		},
		{
			name: "full",
			begin: func(t *testing.T, s *Store) func() {
				s.withWriter(func(w *writer) {
					// Rows that do not fit into the pages that are there.
					must(t, w.run(`CREATE TRIGGER grow AFTER INSERT ON outbox BEGIN
						INSERT INTO dead_letters (queue, event_id, event, reason, created_at)
						VALUES ('grow', new.id, '{"id":"1"}', hex(randomblob(50000)), 0); END`))
					must(t, w.pragma("max_page_count", "1")) // that is: what there is
				})
				return func() {
					s.withWriter(func(w *writer) { must(t, w.pragma("max_page_count", "1000000")) })
				}
			},
			batches: domain.CodeUnavailable,
		},
		{
			name: "held by a foreign program",
			begin: func(t *testing.T, s *Store) func() {
				s.withWriter(func(w *writer) { w.SetBusyTimeout(time.Millisecond) })
				foreign, err := openConn(s.path)
				must(t, err)
				must(t, foreign.run(`BEGIN IMMEDIATE`))
				return func() { must(t, foreign.run(`ROLLBACK`)); must(t, foreign.Close()) }
			},
			batches: domain.CodeConflict, otherwise: domain.CodeUnavailable,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			s, users, polls := faultWorld(t)
			end := test.begin(t, s)
			wantCode(t, tryVote(s, users[1], polls[0]), test.batches)
			wantCode(t, tryPublish(s, users[0]), test.batches)
			if test.otherwise != "" {
				wantCode(t, s.EndSession(ctx, users[0], "session-user0"), test.otherwise)
			}
			// Reads go on, and nothing happened.
			counts, err := s.Counts(ctx, polls[:1])
			must(t, err)
			if got := counts[0].TotalVotes(); got != 1 {
				t.Fatalf("%d votes", got)
			}
			must(t, s.Ready(ctx))
			end()
			must(t, tryVote(s, users[1], polls[0]))
			must(t, tryPublish(s, users[0]))
			counts, err = s.Counts(ctx, polls[:1])
			must(t, err)
			if got := counts[0].TotalVotes(); got != 2 {
				t.Fatalf("%d votes", got)
			}
			wantClean(t, s)
		})
	}
}

func TestCommitFaults(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{})
	for code, want := range map[sqlite.ResultCode]domain.Code{
		sqlite.ResultIOErrFsync: domain.CodeOutcomeUnknown,
		sqlite.ResultIOErrWrite: domain.CodeOutcomeUnknown,
		sqlite.ResultFull:       domain.CodeUnavailable,
		sqlite.ResultBusy:       domain.CodeConflict,
	} {
		wantCode(t, s.commitFault(opInteract, fmt.Errorf("step: %w", code.ToError())), want)
	}
	wantCode(t, s.fault(opInteract, sqlite.ResultIOErrFsync.ToError()), domain.CodeUnavailable)
	wantCode(t, s.fault(opInteract, sqlite.ResultConstraintUnique.ToError()), domain.CodeInternal)
	wantCode(t, s.fault(opSeen, sqlite.ResultBusy.ToError()), domain.CodeUnavailable)
	wantCode(t, s.fault(opSeen, domain.E(domain.CodeNotFound, "")), domain.CodeNotFound)
}

// TestPoison gives the store verdicts that contradict what it stored.
func TestPoison(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s, users, polls := faultWorld(t)
	good := domain.Interaction{User: users[1], Poll: polls[0], Option: 0}
	again := domain.Interaction{User: users[0], Poll: polls[0], Option: 0}
	accept := domain.Verdict{Changed: true, VotesToday: 1}
	for name, test := range map[string]struct {
		batch    []domain.Interaction
		verdicts []domain.Verdict
	}{
		"a second vote":           {[]domain.Interaction{good, again}, []domain.Verdict{accept, accept}},
		"too few verdicts":        {[]domain.Interaction{good, again}, []domain.Verdict{accept}},
		"no such user":            {[]domain.Interaction{{User: 99, Poll: polls[0]}}, []domain.Verdict{accept}},
		"no such poll":            {[]domain.Interaction{{User: users[1], Poll: 99}}, []domain.Verdict{accept}},
		"no such option":          {[]domain.Interaction{good}, []domain.Verdict{{Changed: true, Option: 2, VotesToday: 1}}},
		"a daily counter of zero": {[]domain.Interaction{good}, []domain.Verdict{{Changed: true}}},
	} {
		_, err := s.Interact(ctx, test.batch, func([]domain.Fact) []domain.Verdict { return test.verdicts })
		if domain.CodeOf(err) != domain.CodeInternal {
			t.Errorf("%s: %v", name, err)
		}
	}
	batch := []domain.NewPoll{{Author: 99, Title: "t", Options: []string{"a", "b"}, Tags: []string{"x"}}}
	for name, verdicts := range map[string][]domain.PublicationVerdict{
		"no such author":       {{RepeatsIndex: -1}},
		"too few verdicts":     {},
		"repeats what follows": {{RepeatsIndex: 1}},
	} {
		_, err := s.Publish(ctx, batch, func([]domain.PublicationFact) []domain.PublicationVerdict { return verdicts })
		if domain.CodeOf(err) != domain.CodeInternal {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A rule that panics leaves no transaction behind.
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_, _ = s.Interact(ctx, []domain.Interaction{good}, func([]domain.Fact) []domain.Verdict { panic("rule") })
	}()
	// Nothing happened, in the file and in memory.
	wantClean(t, s)
	out := interact(t, s, []domain.Interaction{good})
	if got := out.Counts[0].Votes; got[0] != 1 || got[1] != 1 {
		t.Fatalf("counts %v", got)
	}
	wantClean(t, s)
}

// TestSmallPollCache counts right also when facts are forgotten all the time.
func TestSmallPollCache(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{})
	users := addUsers(t, s, 5)
	polls := addPolls(t, s, users[0], 30)
	s.withWriter(func(w *writer) { w.polls.limit = 2 })
	r := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		batch := make([]domain.Interaction, 12)
		for i := range batch {
			batch[i] = domain.Interaction{
				User: users[r.IntN(len(users))], Poll: polls[r.IntN(len(polls))], Option: r.IntN(2), Skip: r.IntN(3) == 0,
			}
		}
		interact(t, s, batch)
		if r.IntN(4) == 0 {
			_, err := s.SetPollState(t.Context(), polls[r.IntN(len(polls))], domain.PollState(r.IntN(3)))
			must(t, err)
		}
	}
	wantClean(t, s)
}

// TestCheckpoint keeps the log short under load, and beside a long read.
func TestCheckpoint(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{})
	users := addUsers(t, s, 4)
	c, err := openConn(s.path)
	must(t, err)
	defer func() { must(t, c.Close()) }()
	polls := addPolls(t, s, users[0], 50)
	write := func() {
		for _, p := range polls {
			interact(t, s, []domain.Interaction{{User: users[0], Poll: p, Skip: true}, {User: users[1], Poll: p}})
			_, err := s.SetPollState(t.Context(), p, domain.PollHidden)
			must(t, err)
		}
		polls = addPolls(t, s, users[0], 50)
	}
	write()
	must(t, s.checkpoint(t.Context(), c))
	if n := s.written.Load(); n != 0 {
		t.Fatalf("%d pages wait after a checkpoint", n)
	}
	write()
	must(t, s.checkpoint(t.Context(), c))
	before := size(s.path + "-wal")
	for range 5 {
		write()
		must(t, s.checkpoint(t.Context(), c))
	}
	if after := size(s.path + "-wal"); after > 2*before {
		t.Fatalf("the log grew from %d to %d bytes", before, after)
	}
	// A long read keeps what it sees.
	reader := <-s.readers
	must(t, reader.run(`BEGIN`))
	votes := func() (n int64) {
		must(t, reader.row(`SELECT count(*) FROM votes`, func(r *sqlite.Stmt) error { n = r.ColumnInt64(0); return nil }))
		return n
	}
	n := votes()
	write()
	must(t, s.checkpoint(t.Context(), c))
	if waits := s.written.Load(); waits == 0 {
		t.Fatal("the checkpoint overtook a reader")
	}
	if got := votes(); got != n {
		t.Fatalf("a snapshot changed from %d to %d votes", n, got)
	}
	reader.endSnapshot()
	s.readers <- reader
	must(t, s.checkpoint(t.Context(), c))
	if n := s.written.Load(); n != 0 {
		t.Fatalf("%d pages wait after a checkpoint", n)
	}
	wantClean(t, s)
}

// TestCheckpointsRun waits for one that the store makes by itself.
func TestCheckpointsRun(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{})
	u := addUsers(t, s, 1)[0]
	for s.written.Load() < checkpointPages {
		addPolls(t, s, u, 1000)
	}
	deadline := time.After(time.Minute)
	for s.written.Load() >= checkpointPages {
		select {
		case <-deadline:
			t.Fatal("no checkpoint")
		case <-time.After(time.Millisecond):
		}
	}
}

// TestInterrupt ends a long read with its context.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{Readers: 1})
	ctx, cancel := context.WithCancel(t.Context())
	err := s.readLong(ctx, opCheck, func(c *conn) error {
		return c.snapshot(func() error {
			cancel()
			return c.rows(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0`,
				func(*sqlite.Stmt) error { return nil })
		})
	})
	wantCode(t, err, domain.CodeUnavailable)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	// The one reader is usable again.
	must(t, s.Ready(t.Context()))
	wantClean(t, s)
	// While it is taken, waiting for it ends with the context too.
	c := <-s.readers
	ctx, cancel = context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	wantCode(t, s.Ready(ctx), domain.CodeUnavailable)
	s.readers <- c
	w := <-s.writer
	wantCode(t, s.EndSession(ctx, 1, "x"), domain.CodeUnavailable)
	s.writer <- w
}

func TestClosed(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "vote.db"), AutoMigrate: true})
	must(t, err)
	u := addUsers(t, s, 1)[0]
	must(t, s.Close())
	must(t, s.Close())
	_, err = s.UserByID(t.Context(), u)
	wantCode(t, err, domain.CodeUnavailable)
	wantCode(t, tryPublish(s, u), domain.CodeUnavailable)
	wantCode(t, s.Ready(t.Context()), domain.CodeUnavailable)
}
