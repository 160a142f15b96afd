//go:build integration

package postgres

import (
	"fmt"
	"testing"
	"time"

	"vote/internal/domain"
)

// TestErasedAreCleared looks for the versions of rows that held names and
// addresses which were taken away.
func TestErasedAreCleared(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{})
	users := addUsers(t, s, 20)
	for i, u := range users {
		if i%2 == 0 {
			_, err := s.EraseUser(t.Context(), u, "")
			must(t, err)
			continue
		}
		key := fmt.Sprint("renamed", i)
		_, err := s.UpdateUser(t.Context(), u, domain.UserUpdate{Username: key, UsernameKey: key})
		must(t, err)
	}
	// Closed, it has cleared them.
	other := openStore(t, Options{DSN: s.pool.Config().ConnString()})
	must(t, s.Close())
	_, err := other.pool.Exec(t.Context(), `CREATE EXTENSION pageinspect`)
	must(t, err)
	var versions, entries int
	for deadline := time.Now().Add(time.Minute); ; {
		must(t, other.pool.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE lp_flags <> 0)
			FROM generate_series(0, pg_relation_size('users') / current_setting('block_size')::integer - 1) b,
				heap_page_items(get_raw_page('users', b::integer))`).Scan(&versions))
		must(t, other.pool.QueryRow(t.Context(), `SELECT count(*)
			FROM generate_series(1, pg_relation_size('users_email_key') / current_setting('block_size')::integer - 1) b,
				bt_page_items('users_email_key', b::integer)`).Scan(&entries))
		if versions == len(users) && entries == len(users) {
			return
		}
		// The server's own housekeeping may have been able to see the old ones.
		if time.Now().After(deadline) {
			t.Fatalf("%d versions of %d rows, %d entries in the index", versions, len(users), entries)
		}
		must(t, other.vacuum())
	}
}
