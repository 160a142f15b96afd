//go:build integration

package postgres

import (
	"testing"

	"vote/internal/domain"
	"vote/internal/testservers"
)

// Who holds a user's row for long makes batches fail in a way that they may be
// repeated, and is ended by the server when it is idle.
func TestHeldRow(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{DSN: testservers.Database(t)})
	users := addUsers(t, s, 2)
	polls := addPolls(t, s, users[0], 1)
	held, err := s.pool.Acquire(t.Context())
	must(t, err)
	defer held.Release()
	c := &conn{Conn: held.Conn()}
	defer c.rollback()
	_, err = c.Exec(t.Context(), beginQuery)
	must(t, err)
	_, err = c.Exec(t.Context(), lockUsers, []int32{0}, []int64{int64(users[0])})
	must(t, err)
	batch := []domain.Interaction{{User: users[0], Poll: polls[0]}}
	judge := func(f []domain.Fact) []domain.Verdict { return domain.Rules{}.Judge(batch, f) }
	if _, err := s.Interact(t.Context(), batch, judge); domain.CodeOf(err) != domain.CodeConflict {
		t.Errorf("a locked user: %v", err)
	}
	interact(t, s, domain.Interaction{User: users[1], Poll: polls[0]}) // others go on
	c.rollback()
	interact(t, s, batch...)
	wantClean(t, s)
}
