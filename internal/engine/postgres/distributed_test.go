//go:build integration

package postgres

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"vote/internal/domain"
	"vote/internal/engine/enginetest"
	"vote/internal/testservers"
)

func texts(t *testing.T, pool *pgxpool.Pool, query string) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), query)
	must(t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	return list
}

// Every table of the schema has a placement, and what foreign keys lead from and
// to is everywhere.
func TestEveryTableIsPlaced(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{})
	var placed, spread []string
	for _, p := range placements {
		placed = append(placed, p.table)
		if p.placement == everywhere {
			spread = append(spread, p.table)
		}
	}
	slices.Sort(placed)
	if diff := cmp.Diff(texts(t, s.pool, `SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition
		AND relnamespace = 'public'::regnamespace ORDER BY relname COLLATE "C"`), placed); diff != "" {
		t.Errorf("tables (-schema +placed):\n%s", diff)
	}
	for _, table := range texts(t, s.pool, `SELECT DISTINCT unnest(ARRAY[conrelid, confrelid])::regclass::text FROM pg_constraint WHERE contype = 'f'`) {
		if !slices.Contains(spread, table) {
			t.Errorf("a foreign key leads from or to %s, which is not everywhere", table)
		}
	}
}

func TestDistributeWithoutCitus(t *testing.T) {
	t.Parallel()
	s := bucketWorld(t)
	want := bucketRows(t, s.pool, 1)
	m := migrator(t, dsn(s))
	if spread, err := m.Distribute(t.Context()); err == nil || !strings.Contains(err.Error(), `no extension "citus"`) {
		t.Errorf("distributed %v, error %v", spread, err)
	}
	if diff := cmp.Diff(want, bucketRows(t, s.pool, 1)); diff != "" {
		t.Errorf("rows (-before +after):\n%s", diff)
	}
	wantClean(t, s)
}

// standIns take the place of what the statements call of Citus. They note the
// calls, and see that foreign keys are in nobody's way.
var standIns = []string{
	`SET allow_system_table_mods = on`,
	`INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
		SELECT 99999, 'citus', 10, 'archive'::regnamespace, false, '13'`,
	`CREATE TABLE archive.citus_tables (table_name regclass PRIMARY KEY, citus_table_type text NOT NULL, cleared boolean NOT NULL DEFAULT false,
		colocate_with text)`,
	`CREATE FUNCTION archive.place(named regclass, type text, beside text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		IF EXISTS (SELECT 1 FROM pg_constraint WHERE contype = 'f' AND named IN (conrelid, confrelid)) THEN
			RAISE 'a foreign key of %', named;
		END IF;
		INSERT INTO archive.citus_tables VALUES (named, type, false, beside);
	END $$`,
	`CREATE FUNCTION archive.create_reference_table(named regclass) RETURNS void LANGUAGE sql AS $$ SELECT archive.place(named, 'reference', NULL) $$`,
	`CREATE FUNCTION archive.create_distributed_table(named regclass, col text, distribution text DEFAULT 'hash', colocate_with text DEFAULT 'default')
		RETURNS void LANGUAGE sql AS $$ SELECT archive.place(named, 'distributed', colocate_with) WHERE col = 'bucket' $$`,
	`CREATE FUNCTION archive.truncate_local_data_after_distributing_table(named regclass) RETURNS void LANGUAGE sql AS
		$$ UPDATE archive.citus_tables SET cleared = true WHERE table_name = named $$`,
}

// TestDistributeCalls shows in which order what is called, and that all is taken
// back when something goes wrong: not what Citus does of it.
func TestDistributeCalls(t *testing.T) {
	t.Parallel()
	s := bucketWorld(t)
	for _, statement := range standIns {
		_, err := s.pool.Exec(t.Context(), statement)
		must(t, err)
	}
	keys := `SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' ORDER BY 1`
	want := texts(t, s.pool, keys)
	m := migrator(t, dsn(s)+"&search_path=public,archive")
	wantError := func(text string) {
		t.Helper()
		if spread, err := m.Distribute(t.Context()); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("distributed %v, error %v, want %q", spread, err, text)
		}
	}
	wantError("stop every server")
	must(t, s.Close())
	wantError("one bucket")
	_, err := m.Rebucket(t.Context(), 3)
	must(t, err)
	s = openStore(t, Options{DSN: dsn(s), Buckets: 3, Clock: s.clock})
	_, err = s.pool.Exec(t.Context(), `ALTER TABLE archive.citus_tables ADD CONSTRAINT fails CHECK (table_name <> 'outbox'::regclass)`)
	must(t, err)
	must(t, s.Close())
	wantError("create_distributed_table('outbox', 'bucket', colocate_with => 'user_state')")

	s = openStore(t, Options{DSN: dsn(s), Buckets: 3, Clock: s.clock})
	if diff := cmp.Diff(want, texts(t, s.pool, keys)); diff != "" {
		t.Errorf("foreign keys after a failure (-before +after):\n%s", diff)
	}
	if done := texts(t, s.pool, `SELECT table_name::text FROM archive.citus_tables`); len(done) > 0 {
		t.Errorf("%v are distributed after a failure", done)
	}
	_, err = s.pool.Exec(t.Context(), `ALTER TABLE archive.citus_tables DROP CONSTRAINT fails`)
	must(t, err)
	must(t, s.Close())

	spread, err := m.Distribute(t.Context())
	if len(spread) < 12 || err != nil {
		t.Fatalf("distributed %v, %v", spread, err)
	}
	if again, err := m.Distribute(t.Context()); len(again) > 0 || err != nil {
		t.Errorf("again: distributed %v, %v", again, err)
	}
	if _, err := m.Rebucket(t.Context(), 4); err == nil || !strings.Contains(err.Error(), "distributed by bucket") {
		t.Errorf("rebucket afterwards: %v", err)
	}
	s = openStore(t, Options{DSN: dsn(s), Buckets: 3, Clock: s.clock})
	if diff := cmp.Diff(want, texts(t, s.pool, keys)); diff != "" {
		t.Errorf("foreign keys (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"history user_state", "daily_votes user_state", "outbox user_state", "poll_counts user_state", "skips user_state",
		"user_state none", "votes user_state",
	}, texts(t, s.pool, `SELECT table_name::text || ' ' || colocate_with FROM archive.citus_tables
		WHERE citus_table_type = 'distributed' AND cleared ORDER BY table_name <> 'history'::regclass, 1`)); diff != "" {
		t.Errorf("by bucket (-want +got):\n%s", diff)
	}
	wantClean(t, s)
}

// TestStoreOnCitus is the contract on a cluster, where there is one.
func TestStoreOnCitus(t *testing.T) {
	t.Parallel()
	if _, there := testservers.Citus(t); !there {
		t.Logf("%s is not set: the contract was not run on Citus", testservers.CitusURL)
		return
	}
	const buckets = 3
	enginetest.TestStore(t, func(t *testing.T) func(domain.Clock) domain.Store {
		dsn, _ := testservers.Citus(t)
		m := migrator(t, dsn)
		must(t, m.Up(t.Context()))
		_, err := m.Rebucket(t.Context(), buckets)
		must(t, err)
		_, err = m.Distribute(t.Context())
		must(t, err)
		return func(clock domain.Clock) domain.Store {
			s, err := Open(t.Context(), Options{DSN: dsn, MaxConns: 8, Buckets: buckets, Statements: Unprepared, Clock: clock})
			must(t, err)
			return s
		}
	}, enginetest.StoreDifferences{Instances: 3, Recent: domain.RecentPositions})
}
