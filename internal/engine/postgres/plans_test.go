//go:build integration

package postgres

import (
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

var sequential = regexp.MustCompile(`Seq Scan on (\w+)`)

// small are tables of a few rows, in which there is nothing to look up.
var small = []string{"archived_months", "publication"}

var (
	planPolls = flag.Int("plans.polls", 50_000, "polls in the databases of TestPlans")
	planVotes = flag.Int("plans.votes", 4, "votes on each of them")
)

// scanned returns the large tables that the plan of a statement reads from end to
// end, and logs the plan.
func scanned(t *testing.T, c *conn, query string, args ...any) []string {
	t.Helper()
	var tables []string
	plan := ""
	err := c.rows(t.Context(), "EXPLAIN "+query, func(r pgx.Rows) error {
		var line string
		err := r.Scan(&line)
		plan += line + "\n"
		return err
	}, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	t.Logf("%s\n%s", query, plan)
	for _, found := range sequential.FindAllStringSubmatch(plan, -1) {
		if !slices.Contains(small, found[1]) {
			tables = append(tables, found[1])
		}
	}
	return tables
}

// TestPlans holds the statements of the hot paths to finding their rows by an
// index, in a database of some size with few and with many partitions.
func TestPlans(t *testing.T) {
	t.Parallel()
	for _, months := range []int{1, 36} {
		t.Run(fmt.Sprintf("%d months", months), func(t *testing.T) {
			t.Parallel()
			s := seed(t, 5000, *planPolls, min(months, 20), Options{MaxConns: 4})
			var all []domain.Month
			for m := range domain.Month(months) {
				all = append(all, domain.MonthOf(time.Now())-min(domain.Month(months)-1, 20)+m)
			}
			must(t, s.makePartitions(t.Context(), opMaintain, all...))
			for _, statement := range []string{
				fmt.Sprintf(`INSERT INTO votes (bucket, user_id, poll_id, option_index, created_at)
					SELECT 0, 1 + (p.position * 7 + n * 113) %% 5000, p.id, n %% 3, now() FROM polls p, generate_series(1, %d) n ON CONFLICT DO NOTHING`, *planVotes),
				`INSERT INTO skips (bucket, user_id, poll_id, created_at)
					SELECT 0, 1 + (p.position * 11 + n * 131) % 5000, p.id, now() FROM polls p, generate_series(1, 2) n ON CONFLICT DO NOTHING`,
				`INSERT INTO poll_counts (bucket, poll_id, total, skips, updated_at, votes) SELECT 0, id, 4, 2, now(), '{2,1,1}' FROM polls`,
				`INSERT INTO daily_votes (bucket, user_id, vote_date, vote_count)
					SELECT 0, id, date '2026-01-01' + n, 5 FROM users, generate_series(1, 20) n`,
				`INSERT INTO history (bucket, user_id, chunk, entries)
					SELECT 0, id, n, array_fill(1, ARRAY[64]) FROM users, generate_series(1, 20) n`,
				`INSERT INTO outbox (bucket, created_at, changes) SELECT 0, now(), '{}' FROM generate_series(1, 20000)`,
				`ANALYZE`,
			} {
				if _, err := s.pool.Exec(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			held, err := s.pool.Acquire(t.Context())
			must(t, err)
			defer held.Release()
			c := &conn{Conn: held.Conn()}
			defer c.rollback()
			logSizes(t, c)

			var buckets, todays, lo, hi []int32
			var options []int16
			var users, polls, votes, ones, zeros []int64
			for i := range 256 {
				buckets, todays, options = append(buckets, 0), append(todays, 1), append(options, 1)
				users, polls = append(users, int64(i+1)), append(polls, int64(s.polls[i*100].ID))
				lo, hi, votes = append(lo, int32(3*i+1)), append(hi, int32(3*i+3)), append(votes, 0, 1, 0)
				ones, zeros = append(ones, 1), append(zeros, 0)
			}
			one, now := []int32{0}, time.Now()
			reads := []struct {
				query string
				args  []any
			}{
				{readStates, []any{one, users[:20]}},
				{readSeen, []any{0, users[0]}},
				{readPrior, []any{0, users[0], polls[0]}},
				{readCounts, []any{polls[:20], one}},
				{readPoll, []any{one, polls[0]}},
				{readPollsAt, []any{one, users[:20]}},
				{readPollsBy, []any{one, users[0], int64(domain.MaxID), 20}},
				{readSince, []any{one, int64(*planPolls - 1000), 100}},
				{searchBelow, []any{"'coffee' & 'tea' & '#12:11'", *planPolls - 1000, 20}},
				{claimOutbox, []any{now, 100, 1e6}},
			}
			for _, read := range reads {
				if tables := scanned(t, c, read.query, read.args...); len(tables) > 0 {
					t.Errorf("%s scans %v", statementName(read.query), tables)
				}
			}
			if tables := scanned(t, c, `SELECT count(*) FROM votes WHERE option_index = 1`); len(tables) == 0 {
				t.Error("a scan was not noticed")
			}

			_, err = c.Exec(t.Context(), beginQuery)
			must(t, err)
			_, err = c.Exec(t.Context(), openBatch, brief.lock, brief.statement, brief.idle, int64(gate))
			must(t, err)
			for _, write := range []struct {
				query string
				args  []any
			}{
				{lockUsers, []any{one, users}},
				{readToday, []any{nil, buckets, users}},
				{readPriors, []any{buckets, users, polls}},
				{readPolls, []any{polls}},
				{addVotes, []any{buckets, users, polls, options, now}},
				{addSkips, []any{buckets, users, polls, now}},
				{setToday, []any{buckets, users, todays, now}},
				{sealHistory, []any{buckets, users, todays, lo, hi, hi, todays}},
				{addRecent, []any{buckets, users, lo, hi, hi, todays}},
				{addCountsAndTell, []any{buckets, polls, votes, lo, hi, ones, zeros, now, 0, []byte("{}")}},
			} {
				if tables := scanned(t, c, write.query, write.args...); len(tables) > 0 {
					t.Errorf("%s scans %v", statementName(write.query), tables)
				}
			}
		})
	}
}

// logSizes logs how large the tables are, each with its partitions.
func logSizes(t *testing.T, c *conn) {
	t.Helper()
	sizes := "table, rows, partitions, MB of it, MB of its indexes\n"
	must(t, c.rows(t.Context(), `SELECT relname, greatest(sum(rows), 0)::bigint, count(*) - 1, sum(pg_table_size(part)) / 1e6, sum(pg_indexes_size(part)) / 1e6
		FROM (SELECT r.oid, r.relname, r.oid::regclass AS part, CASE WHEN r.relkind = 'r' THEN r.reltuples ELSE 0 END AS rows
				FROM pg_class r WHERE r.relkind IN ('r', 'p') AND NOT r.relispartition AND r.relnamespace = 'public'::regnamespace
			UNION ALL SELECT r.oid, r.relname, i.inhrelid::regclass, greatest(p.reltuples, 0)
				FROM pg_class r JOIN pg_inherits i ON i.inhparent = r.oid JOIN pg_class p ON p.oid = i.inhrelid WHERE r.relkind = 'p') tables
		GROUP BY oid, relname ORDER BY sum(pg_total_relation_size(part)) DESC LIMIT 12`, func(r pgx.Rows) error {
		var table string
		var rows, partitions int64
		var data, indexes float64
		err := r.Scan(&table, &rows, &partitions, &data, &indexes)
		sizes += fmt.Sprintf("%-14s %10d %3d %8.1f %8.1f\n", table, rows, partitions, data, indexes)
		return err
	}))
	t.Log(sizes)
}

func TestStatementName(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{readPolls: "poll_facts", "SELECT 1": "other", "/* x": "other", strings.ToLower(commitQuery): "commit"} {
		if got := statementName(query); got != want {
			t.Errorf("%q has the name %q, want %q", query, got, want)
		}
	}
}
