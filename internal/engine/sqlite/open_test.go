package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

func TestOpenMakesPrivateFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a b?c#d%20é", "vote.db")
	s := openStore(t, Options{Path: path})
	addUsers(t, s, 1)
	for name, want := range map[string]os.FileMode{
		".": 0o700 | os.ModeDir, "vote.db": 0o600, "vote.db-wal": 0o600, lockName: 0o600,
	} {
		info, err := os.Stat(filepath.Join(filepath.Dir(path), name))
		must(t, err)
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), want)
		}
	}
}

// everyConn calls f for each connection of an idle store.
func everyConn(t *testing.T, s *Store, f func(*conn)) {
	t.Helper()
	var readers []*conn
	for range s.count {
		readers = append(readers, <-s.readers)
	}
	w := <-s.writer
	for _, c := range append(readers, w.conn) {
		f(c)
	}
	for _, c := range readers {
		s.readers <- c
	}
	s.writer <- w
}

func TestDurabilityIsAsserted(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{Readers: 3})
	connections := 0
	everyConn(t, s, func(c *conn) {
		connections++
		for name, want := range map[string]string{"synchronous": "2", "journal_mode": "wal"} {
			must(t, c.row("PRAGMA "+name, func(r *sqlite.Stmt) error {
				if got := r.ColumnText(0); got != want {
					t.Errorf("%s is %s, want %s", name, got, want)
				}
				return nil
			}))
		}
		// What SQLite does not take is noticed.
		for _, a := range [][3]string{{"synchronous", "NORMAL", "2"}, {"synchronous", "nonsense", "2"}, {"journal_mode", "nonsense", "delete"}} {
			if err := c.assert(a[0], a[1], a[2]); err == nil || !strings.Contains(err.Error(), a[0]) {
				t.Errorf("assert(%q) = %v", a, err)
			}
		}
	})
	if connections != 4 {
		t.Fatalf("looked at %d connections", connections)
	}
}

func TestOpenRefusesWhatIsNoDatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vote.db")
	must(t, os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600))
	for range 2 { // the lock is freed again
		if _, err := Open(t.Context(), Options{Path: path, AutoMigrate: true}); err == nil || strings.Contains(err.Error(), "process") {
			t.Fatalf("error %v", err)
		}
	}
	if _, err := Open(t.Context(), Options{Path: t.TempDir(), AutoMigrate: true}); err == nil {
		t.Fatal("opened a folder")
	}
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := Open(t.Context(), Options{Path: filepath.Join(file, "vote.db"), AutoMigrate: true}); err == nil {
		t.Fatal("opened below a file")
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	path := filepath.Join(t.TempDir(), "vote.db")
	for range 2 { // what a store registered goes with it
		s, err := Open(t.Context(), Options{Path: path, Registerer: registry, AutoMigrate: true})
		must(t, err)
		_, err = Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "vote.db"), Registerer: registry, AutoMigrate: true})
		if err == nil {
			t.Fatal("two stores share a registry")
		}
		must(t, s.Ready(t.Context()))
		families, err := registry.Gather()
		must(t, err)
		problems, err := promlint.NewWithMetricFamilies(families).Lint()
		must(t, err)
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
		observed := uint64(0)
		for _, f := range families {
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if l.GetValue() == "ready" {
						observed = m.GetHistogram().GetSampleCount()
					}
				}
			}
		}
		if len(families) != 4 || observed != 1 {
			t.Fatalf("%d metrics, %d observations of Ready", len(families), observed)
		}
		must(t, s.Close())
	}
	for o, name := range operationNames {
		if name == "" {
			t.Errorf("operation %d has no name", o)
		}
	}
}

// schema returns the statements that made the database.
func schema(t *testing.T, path string) string {
	t.Helper()
	c, err := openConn(path)
	must(t, err)
	defer func() { must(t, c.Close()) }()
	var b strings.Builder
	must(t, c.rows(`SELECT type, name, coalesce(sql, '') FROM sqlite_schema
		WHERE name NOT LIKE 'goose%' AND name NOT LIKE 'sqlite%' ORDER BY type, name`,
		func(r *sqlite.Stmt) error {
			fmt.Fprintln(&b, r.ColumnText(0), r.ColumnText(1), r.ColumnText(2))
			return nil
		}))
	return b.String()
}

// TestMigrationKeepsVotes takes the packing of votes back and does it again, with
// votes of today and of a day before, skips, and an erased user.
func TestMigrationKeepsVotes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	path := plantedBase(t)
	clock := &handClock{now: time.Now().UTC().Add(24 * time.Hour)}
	s, err := Open(ctx, Options{Path: path, Clock: clock})
	must(t, err)
	polls, err := s.PollsBy(ctx, 1, 0, 10)
	must(t, err)
	interact(t, s, []domain.Interaction{{User: 1, Poll: polls[0].ID}, {User: 2, Poll: polls[1].ID, Skip: true}})
	wantClean(t, s)
	must(t, s.Close())
	rows := func() string {
		t.Helper()
		c, err := openConn(path)
		must(t, err)
		defer func() { must(t, c.Close()) }()
		var b strings.Builder
		for _, query := range []string{
			`SELECT user_id || ' ' || poll_id || ' ' || option_index || ' ' || position || ' ' || created_at FROM votes ORDER BY 1`,
			`SELECT user_id || ' ' || poll_id || ' ' || position || ' ' || created_at FROM skips ORDER BY 1`,
		} {
			must(t, c.rows(query, func(r *sqlite.Stmt) error {
				b.WriteString(r.ColumnText(0) + "\n")
				return nil
			}))
		}
		return b.String()
	}
	counted := func() (equal bool) {
		t.Helper()
		c, err := openConn(path)
		must(t, err)
		defer func() { must(t, c.Close()) }()
		must(t, c.row(`SELECT (SELECT sum(vote_count) FROM daily_votes) = (SELECT count(*) FROM votes)`, func(r *sqlite.Stmt) error {
			equal = r.ColumnBool(0)
			return nil
		}))
		return equal
	}
	want := rows()
	m, err := NewMigrator(path)
	must(t, err)
	must(t, m.To(ctx, 8))
	if diff := cmp.Diff(want, rows()); diff != "" {
		t.Fatalf("taken back (-want +got):\n%s", diff)
	}
	if !counted() {
		t.Fatal("taken back, the days do not count every vote")
	}
	must(t, m.Up(ctx))
	must(t, m.Close())
	if diff := cmp.Diff(want, rows()); diff != "" {
		t.Fatalf("done again (-want +got):\n%s", diff)
	}
	s = openStore(t, Options{Path: path, Clock: clock})
	wantClean(t, s)
}

func TestMigrationsBothWays(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "data", "vote.db")
	m, err := NewMigrator(path)
	must(t, err)
	applied := func() int {
		t.Helper()
		list, err := m.Status(ctx)
		must(t, err)
		n := 0
		for i, s := range list {
			if i > 0 && s.Version <= list[i-1].Version || !strings.HasSuffix(s.Name, ".sql") || s.Applied == s.AppliedAt.IsZero() {
				t.Fatalf("migration %+v at %d", s, i)
			}
			if s.Applied {
				n++
			}
		}
		return n
	}
	list, err := m.Status(ctx)
	must(t, err)
	all := len(list)
	if all == 0 || applied() != 0 {
		t.Fatalf("%d of %d applied to nothing", applied(), all)
	}
	must(t, m.Down(ctx)) // nothing to take back
	empty := schema(t, path)
	if empty != "" {
		t.Fatalf("an empty database has %s", empty)
	}
	// Step by step up, remembering each schema, then down through the same.
	schemas := []string{empty}
	for v := 1; v <= all; v++ {
		must(t, m.To(ctx, list[v-1].Version))
		if applied() != v {
			t.Fatalf("%d applied, want %d", applied(), v)
		}
		schemas = append(schemas, schema(t, path))
	}
	for v := all - 1; v >= 0; v-- {
		must(t, m.Down(ctx))
		if diff := cmp.Diff(schemas[v], schema(t, path)); diff != "" || applied() != v {
			t.Fatalf("down to %d, %d applied (-want +got):\n%s", v, applied(), diff)
		}
	}
	must(t, m.Up(ctx))
	must(t, m.Up(ctx)) // nothing to do
	if diff := cmp.Diff(schemas[all], schema(t, path)); diff != "" || applied() != all {
		t.Fatalf("up again (-want +got):\n%s", diff)
	}
	for _, bad := range []int64{-1, list[all-1].Version + 1} {
		if err := m.To(ctx, bad); err == nil || applied() != all {
			t.Fatalf("to %d: %v", bad, err)
		}
	}
	must(t, m.To(ctx, 0))
	if diff := cmp.Diff(empty, schema(t, path)); diff != "" {
		t.Fatalf("to 0 (-want +got):\n%s", diff)
	}
	must(t, m.Up(ctx))
	must(t, m.Close())

	s := openStore(t, Options{Path: path})
	must(t, s.Ready(ctx))
}

// TestMigrationsKeepUsers adds what later versions need to what earlier ones
// stored.
func TestMigrationsKeepUsers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vote.db")
	m, err := NewMigrator(path)
	must(t, err)
	must(t, m.To(t.Context(), 2))
	c, err := openConn(path)
	must(t, err)
	must(t, c.run(`INSERT INTO users (username, username_key, email, email_key, password_hash, created_at, updated_at)
		VALUES ('a', 'a', 'a', 'a', 'x', 1, 1)`))
	must(t, c.Close())
	must(t, m.Up(t.Context()))
	must(t, m.Close())
	s := openStore(t, Options{Path: path})
	u, err := s.UserByEmail(t.Context(), "a")
	must(t, err)
	interact(t, s, []domain.Interaction{{User: u.ID, Poll: addPolls(t, s, u.ID, 1)[0]}})
	if n := s.mustState(t, u.ID).Version; n != 1 {
		t.Fatalf("version %d", n)
	}
}

// TestMigrationsKeepHistory gives the history and the hourly totals of what was
// voted and skipped before there were any.
func TestMigrationsKeepHistory(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "vote.db")
	clock := newHandClock()
	s, err := Open(ctx, Options{Path: path, AutoMigrate: true, Clock: clock})
	must(t, err)
	users := addUsers(t, s, 2)
	polls := addPolls(t, s, users[0], 150)
	add := func(polls []domain.PollID) {
		for i, p := range polls {
			clock.advance(20 * time.Minute)
			interact(t, s, []domain.Interaction{
				{User: users[0], Poll: p, Option: i % 2, Skip: i%3 == 0}, {User: users[1], Poll: p, Skip: true}, {User: users[1], Poll: p},
			})
		}
	}
	add(polls[:100])
	past := func(s *Store) (all []domain.PastInteraction) {
		t.Helper()
		for _, u := range users {
			for _, skips := range []bool{false, true} {
				list, err := s.PastInteractions(ctx, u, skips, 0, 1000)
				must(t, err)
				all = append(all, list...)
			}
		}
		return all
	}
	want := past(s)
	must(t, s.Close())
	m, err := NewMigrator(path)
	must(t, err)
	must(t, m.To(ctx, 5))
	must(t, m.Up(ctx))
	must(t, m.Close())

	s = openStore(t, Options{Path: path, Clock: clock})
	if diff := cmp.Diff(want, past(s)); diff != "" {
		t.Fatalf("history (-want +got):\n%s", diff)
	}
	countAll(t, s) // what waits in the outbox is in the totals already
	wantClean(t, s)
	add(polls[100:])
	countAll(t, s)
	s.withWriter(func(w *writer) { must(t, w.run(`DELETE FROM outbox`)) }) // now the totals must be complete
	wantClean(t, s)
	if n := len(past(s)); n != 2*150+150 {
		t.Fatalf("%d entries", n)
	}
}

func (s *Store) mustState(t *testing.T, u domain.UserID) domain.UserState {
	t.Helper()
	states, err := s.UserStates(t.Context(), []domain.UserID{u})
	must(t, err)
	return states[0]
}

func TestSchemaOutdated(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "vote.db")
	m, err := NewMigrator(path)
	must(t, err)
	list, err := m.Status(ctx)
	must(t, err)
	for _, v := range []int64{0, 1, list[len(list)-2].Version} {
		must(t, m.To(ctx, v))
		must(t, m.Close())
		s, err := Open(ctx, Options{Path: path})
		must(t, err)
		wantCode(t, s.Ready(ctx), domain.CodeSchemaOutdated)
		_, err = s.UserByID(ctx, 1)
		wantCode(t, err, domain.CodeUnavailable)
		_, err = s.Interact(ctx, []domain.Interaction{{User: 1, Poll: 1}}, nil)
		wantCode(t, err, domain.CodeUnavailable)
		must(t, s.Close())
		m, err = NewMigrator(path)
		must(t, err)
	}
	must(t, m.Up(ctx))
	must(t, m.Close())
	s, err := Open(ctx, Options{Path: path})
	must(t, err)
	must(t, s.Ready(ctx))
	// A newer program was here.
	w := <-s.writer
	must(t, w.run(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, 1)`, list[len(list)-1].Version+1))
	s.writer <- w
	must(t, s.Close())
	if _, err := Open(ctx, Options{Path: path, AutoMigrate: true}); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Fatalf("error %v", err)
	}
}
