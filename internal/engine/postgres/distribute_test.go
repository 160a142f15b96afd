package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDistribution(t *testing.T) {
	t.Parallel()
	references := []reference{
		{"polls", "author", "FOREIGN KEY (author_id) REFERENCES users(id)", "users"},
		{"refresh_tokens", "session", "FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE", "sessions"},
	}
	spread, statements := distribution(nil, references)
	times := make(map[string]int)
	for _, p := range placements {
		times[p.table]++
		if slices.Contains(spread, p.table) == (p.placement == local) {
			t.Errorf("%s: placement %d, spread %v", p.table, p.placement, spread)
		}
	}
	for table, n := range times {
		if n != 1 {
			t.Errorf("%s has %d placements", table, n)
		}
	}
	for _, table := range bucketTables {
		if !slices.ContainsFunc(statements, func(s string) bool {
			return strings.HasPrefix(s, fmt.Sprintf(`SELECT create_distributed_table('%s', 'bucket', colocate_with =>`, table))
		}) {
			t.Errorf("%s has buckets and is not distributed by them", table)
		}
	}
	_, again := distribution(spread, references)
	if len(again) > 0 {
		t.Errorf("when done: %v", again)
	}

	// A table that a migration made later.
	done := slices.DeleteFunc(spread, func(table string) bool { return table == "polls" || table == "history" })
	spread, statements = distribution(done, references)
	if diff := cmp.Diff([]string{"polls", "history"}, spread); diff != "" {
		t.Errorf("spread (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		`SET LOCAL citus.multi_shard_modify_mode TO 'sequential'`,
		`ALTER TABLE polls DROP CONSTRAINT author`,
		`SELECT create_reference_table('polls')`,
		`SELECT create_distributed_table('history', 'bucket', colocate_with => 'user_state')`,
		`SELECT truncate_local_data_after_distributing_table('polls')`,
		`SELECT truncate_local_data_after_distributing_table('history')`,
		`ALTER TABLE polls ADD CONSTRAINT author FOREIGN KEY (author_id) REFERENCES users(id)`,
	}, statements); diff != "" {
		t.Errorf("statements (-want +got):\n%s", diff)
	}
}
