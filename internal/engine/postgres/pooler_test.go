//go:build integration

package postgres

import (
	"sync"
	"testing"

	"vote/internal/domain"
	"vote/internal/testservers"
)

// Through a pooler in transaction mode every transaction may be on another
// connection.
func TestPooler(t *testing.T) {
	t.Parallel()
	direct := testservers.Database(t)
	s := openStore(t, Options{
		DSN: testservers.PgBouncer(t, direct), DirectDSN: direct, Statements: Unprepared, MaxConns: 16,
	})
	users := addUsers(t, s, 16)
	polls := addPolls(t, s, users[0], 20)
	var voting sync.WaitGroup
	for i, u := range users {
		voting.Go(func() {
			for j, p := range polls {
				batch := []domain.Interaction{{User: u, Poll: p, Option: j % 2, Skip: (i+j)%3 == 0}}
				for {
					_, err := s.Interact(t.Context(), batch, func(f []domain.Fact) []domain.Verdict { return domain.Rules{}.Judge(batch, f) })
					if err == nil {
						break
					}
					if domain.CodeOf(err) != domain.CodeConflict {
						t.Error(err)
						return
					}
				}
				if _, err := s.Seen(t.Context(), u); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	voting.Wait()
	for _, u := range users {
		seen, err := s.Seen(t.Context(), u)
		if err != nil || len(seen.Positions) != len(polls) || seen.Version != int64(len(polls)) {
			t.Errorf("seen %+v, %v", seen, err)
		}
	}
}

// A copy of which nobody knows how old it is, is not read.
func TestReplicaOfUnknownAge(t *testing.T) {
	t.Parallel()
	dsn := testservers.Database(t)
	s := openStore(t, Options{DSN: dsn, Replicas: []string{dsn}})
	if s.stalePool() != s.pool {
		t.Error("a replica is read before anybody looked at it")
	}
	s.checkReplicas(t.Context())
	if s.stalePool() != s.pool {
		t.Error("what is no replica is read")
	}
	s.replicas[0].fresh.Store(1 << 62)
	if s.stalePool() == s.pool {
		t.Error("a fresh replica is not read")
	}
	s.replicas[0].pool.Close()
	if _, err := s.Search(t.Context(), domain.SearchTerms("x"), 10, 10); err != nil {
		t.Errorf("a replica that is gone: %v", err)
	}
}

func TestMaintain(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{DSN: testservers.Database(t)})
	for range 2 {
		must(t, s.Maintain(t.Context()))
		s.months.known = nil
	}
	var n int
	must(t, s.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_inherits WHERE inhparent IN ('votes'::regclass, 'skips'::regclass)`).Scan(&n))
	if n != 2*(monthsAhead+1) {
		t.Errorf("%d partitions", n)
	}
}
