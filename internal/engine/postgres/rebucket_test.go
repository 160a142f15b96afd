//go:build integration

package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"vote/internal/domain"
	"vote/internal/testservers"
)

// bucketWorld is a store of one bucket in which everything is that has a bucket:
// votes and skips of an archived month and of others, histories that are longer
// than their recent part, a user who is banned and one who is erased, and events
// that wait.
func bucketWorld(t *testing.T) *Store {
	t.Helper()
	s, month := archiveWorld(t)
	_, err := s.ArchiveMonth(t.Context(), month)
	must(t, err)
	newcomers := make([]domain.ImportUser, 8)
	for i := range newcomers {
		key := fmt.Sprint("voter", i)
		newcomers[i].NewUser = domain.NewUser{Username: key, UsernameKey: key, Email: key, EmailKey: key, PasswordHash: "x"}
	}
	made, err := s.Import(t.Context(), domain.Import{Users: newcomers})
	must(t, err)
	addPolls(t, s, made.Users[0], 90)
	for i, u := range made.Users {
		vote(t, s, u, 10+20*(i%5))
	}
	_, err = s.SetBanned(t.Context(), made.Users[1], true)
	must(t, err)
	_, err = s.EraseUser(t.Context(), made.Users[2], "")
	must(t, err)
	wantClean(t, s)
	return s
}

// vote lets a user vote on or skip the newest n polls.
func vote(t *testing.T, s *Store, user domain.UserID, n int) {
	t.Helper()
	var batch []domain.Interaction
	err := s.read(t.Context(), opCheck, func(ctx context.Context, c *conn) error {
		return c.rows(ctx, `SELECT id FROM polls WHERE state = 0 ORDER BY id DESC LIMIT $1`, func(r pgx.Rows) error {
			var id domain.PollID
			err := r.Scan(&id)
			i := len(batch)
			batch = append(batch, domain.Interaction{User: user, Poll: id, Option: i % 2, Skip: (i+int(user))%3 == 0})
			return err
		}, n)
	})
	must(t, err)
	interact(t, s, batch...)
}

func dsn(s *Store) string { return s.pool.Config().ConnString() }

// rebucket closes the store and returns the same database's with so many buckets.
func rebucket(t *testing.T, s *Store, buckets int) *Store {
	t.Helper()
	must(t, s.Close())
	m := migrator(t, dsn(s))
	before, err := m.Rebucket(t.Context(), buckets)
	must(t, err)
	if before != s.buckets {
		t.Errorf("%d buckets before, want %d", before, s.buckets)
	}
	return openStore(t, Options{DSN: dsn(s), Buckets: buckets, Clock: s.clock})
}

func migrator(t *testing.T, dsn string) *Migrator {
	t.Helper()
	m, err := NewMigrator(dsn)
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	return m
}

// bucketRows returns what is in the tables that have buckets, by table, without
// the bucket, and sees that each row is in a bucket where it may be.
func bucketRows(t *testing.T, pool *pgxpool.Pool, buckets int) map[string][]string {
	t.Helper()
	list := func(query string, args ...any) []string {
		t.Helper()
		rows, err := pool.Query(t.Context(), query, args...)
		must(t, err)
		texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		must(t, err)
		return texts
	}
	tables := list(`SELECT c.oid::regclass::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'bucket'
		WHERE c.relkind = 'r' AND c.relnamespace IN ('public'::regnamespace, 'archive'::regnamespace) ORDER BY 1`)
	if !slices.ContainsFunc(tables, func(table string) bool { return strings.HasPrefix(table, "archive.skips_") }) {
		t.Errorf("no archive among %v", tables)
	}
	all := make(map[string][]string)
	for _, table := range tables {
		all[table] = list(`SELECT (to_jsonb(t) - 'bucket')::text AS row FROM ` + table + ` t ORDER BY 1`)
		wrong := `bucket <> user_id % $1`
		switch table {
		case "outbox":
			wrong = `bucket NOT BETWEEN 0 AND $1 - 1`
		case "poll_counts":
			wrong = `bucket NOT BETWEEN 0 AND $1 - 1`
			all[table] = list(`SELECT concat_ws(' ', poll_id, what, sum(n), max(updated_at)) FROM (
					SELECT poll_id, 'option ' || e.i AS what, e.n, updated_at FROM poll_counts, unnest(votes) WITH ORDINALITY AS e (n, i)
					UNION ALL SELECT poll_id, 'total', total, updated_at FROM poll_counts
					UNION ALL SELECT poll_id, 'skips', skips, updated_at FROM poll_counts) c
				GROUP BY poll_id, what ORDER BY 1`)
		}
		if misplaced := list(`SELECT t::text FROM `+table+` t WHERE `+wrong, buckets); len(misplaced) > 0 {
			t.Errorf("%d buckets: %s: %d rows in a wrong one, such as %s", buckets, table, len(misplaced), misplaced[0])
		}
	}
	for _, table := range bucketTables {
		if n := len(all[table]); n == 0 && !slices.ContainsFunc(tables, func(name string) bool {
			return strings.HasPrefix(name, table+"_") && len(all[name]) > 0
		}) {
			t.Errorf("nothing in %s", table)
		}
	}
	return all
}

func TestRebucket(t *testing.T) {
	t.Parallel()
	s := bucketWorld(t)
	for _, buckets := range []int{3, 1, domain.MaxBuckets, 2} {
		want := bucketRows(t, s.pool, s.buckets)
		before := s.buckets
		s = rebucket(t, s, buckets)
		if diff := cmp.Diff(want, bucketRows(t, s.pool, buckets)); diff != "" {
			t.Fatalf("%d to %d buckets (-before +after):\n%s", before, buckets, diff)
		}
		wantClean(t, s)
		if old, err := Open(t.Context(), Options{DSN: dsn(s), Buckets: before}); err == nil {
			must(t, old.Close())
			t.Errorf("a database of %d buckets was opened with %d", buckets, before)
		} else if want := fmt.Sprintf("the database has %d buckets, storage.buckets says %d", buckets, before); !strings.Contains(err.Error(), want) {
			t.Errorf("error %q, want %q", err, want)
		}
		// Life goes on: counts of a poll come to stand in several buckets.
		for u := range 3 {
			vote(t, s, domain.UserID(u+1), 20)
		}
		vote(t, s, 8, 70+buckets%7)
		wantClean(t, s)
	}
	must(t, s.Close())
	m := migrator(t, dsn(s))
	if before, err := m.Rebucket(t.Context(), 2); before != 2 || err != nil {
		t.Errorf("2 to 2 buckets: %d, %v", before, err)
	}
}

func TestRebucketRefuses(t *testing.T) {
	t.Parallel()
	s := bucketWorld(t)
	want := bucketRows(t, s.pool, 1)
	m := migrator(t, dsn(s))
	refused := func(buckets int, text string) {
		t.Helper()
		if _, err := m.Rebucket(t.Context(), buckets); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%d buckets: error %v, want %q", buckets, err, text)
		}
	}
	for _, n := range []int{-1, 0, domain.MaxBuckets + 1} {
		refused(n, "there can be 1 to 1024 buckets")
	}
	refused(3, "stop every server")
	if diff := cmp.Diff(want, bucketRows(t, s.pool, 1)); diff != "" {
		t.Errorf("refused (-before +after):\n%s", diff)
	}
	must(t, s.Ready(t.Context()))
	wantClean(t, s)

	empty := migrator(t, testservers.Database(t))
	if _, err := empty.Rebucket(t.Context(), 3); domain.CodeOf(err) != domain.CodeSchemaOutdated {
		t.Errorf("without a schema: %v", err)
	}
	must(t, empty.Up(t.Context()))
	if before, err := empty.Rebucket(t.Context(), 3); before != 1 || err != nil {
		t.Errorf("without a user: %d, %v", before, err)
	}
}

// TestRebucketDies ends it when everything is changed and nothing committed.
func TestRebucketDies(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]func(ctx context.Context, c *pgx.Conn, pid int, cancel func()) error{
		"cancelled": func(_ context.Context, _ *pgx.Conn, _ int, cancel func()) error {
			cancel()
			return nil
		},
		"terminated": func(ctx context.Context, c *pgx.Conn, pid int, _ func()) error {
			_, err := c.Exec(ctx, `SELECT pg_terminate_backend($1)`, pid)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := bucketWorld(t)
			want := bucketRows(t, s.pool, 1)
			must(t, s.Close())
			ctx := t.Context()
			c, err := pgx.Connect(ctx, dsn(s))
			must(t, err)
			defer func() { _ = c.Close(context.Background()) }()
			// The last statement waits for a lock that the test holds.
			for _, statement := range []string{
				`CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END $$`,
				`CREATE TRIGGER wait BEFORE UPDATE ON storage FOR EACH ROW EXECUTE FUNCTION wait()`,
				`SELECT pg_advisory_lock(1)`,
			} {
				_, err := c.Exec(ctx, statement)
				must(t, err)
			}
			m := migrator(t, dsn(s))
			work, cancel := context.WithCancel(ctx)
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				_, err := m.Rebucket(work, 3)
				ended <- err
			}()
			must(t, kill(ctx, c, waiter(t, c, ended), cancel))
			if err := <-ended; err == nil {
				t.Error("it went on")
			}
			_, err = c.Exec(ctx, `DROP TRIGGER wait ON storage; DROP FUNCTION wait(); SELECT pg_advisory_unlock(1)`)
			must(t, err)
			s = openStore(t, Options{DSN: dsn(s), Buckets: 1, Clock: s.clock})
			if diff := cmp.Diff(want, bucketRows(t, s.pool, 1)); diff != "" {
				t.Fatalf("after the death (-before +after):\n%s", diff)
			}
			wantClean(t, s)
			s = rebucket(t, s, 3)
			if diff := cmp.Diff(want, bucketRows(t, s.pool, 3)); diff != "" {
				t.Fatalf("when begun again (-before +after):\n%s", diff)
			}
			wantClean(t, s)
		})
	}
}

// waiter returns the process of the server that waits for the test's lock.
func waiter(t *testing.T, c *pgx.Conn, ended <-chan error) (pid int) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for pid == 0 {
		select {
		case err := <-ended:
			t.Fatalf("it did not wait: %v", err)
		case <-ticker.C:
		}
		must(t, c.QueryRow(t.Context(), `SELECT coalesce(max(pid), 0) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&pid))
	}
	return pid
}

// A process that was cut off meanwhile does nothing wrong when it is back.
func TestStoreOfFormerBuckets(t *testing.T) {
	t.Parallel()
	former := openStore(t, Options{})
	users := addUsers(t, former, 6)
	polls := addPolls(t, former, users[0], 3)
	interact(t, former, domain.Interaction{User: users[0], Poll: polls[0]}, domain.Interaction{User: users[1], Poll: polls[0]})
	former.pool.Reset()
	m := migrator(t, dsn(former))
	_, err := m.Rebucket(t.Context(), 3)
	must(t, err)
	if err := former.Ready(t.Context()); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Errorf("ready: %v", err)
	}
	for i := range 6 {
		key := fmt.Sprint("late", i)
		_, err := former.CreateUser(t.Context(), domain.NewUser{Username: key, UsernameKey: key, Email: key, EmailKey: key, PasswordHash: "x"},
			domain.Session{ID: key, ExpiresAt: time.Now().Add(time.Hour)}, domain.TokenHash{byte(i), 2})
		must(t, err)
	}
	for _, u := range users {
		for _, p := range polls[:2] {
			batch := []domain.Interaction{{User: u, Poll: p}}
			_, _ = former.Interact(t.Context(), batch, func(f []domain.Fact) []domain.Verdict { return domain.Rules{}.Judge(batch, f) })
		}
	}
	s := openStore(t, Options{DSN: dsn(former), Buckets: 3})
	interact(t, s, domain.Interaction{User: users[0], Poll: polls[2]}, domain.Interaction{User: users[5], Poll: polls[0]})
	wantClean(t, s)
}

// Every table with a bucket is known.
func TestBucketTables(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{})
	with := func(column string) []string {
		rows, err := s.pool.Query(t.Context(), `SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'bucket'
			JOIN pg_attribute b ON b.attrelid = c.oid AND b.attname = $1
			WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace`, column)
		must(t, err)
		tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
		must(t, err)
		slices.Sort(tables)
		return tables
	}
	for column, known := range map[string][]string{"bucket": bucketTables, "user_id": userTables} {
		if diff := cmp.Diff(with(column), slices.Sorted(slices.Values(known))); diff != "" {
			t.Errorf("tables with bucket and %s (-schema +known):\n%s", column, diff)
		}
	}
}
