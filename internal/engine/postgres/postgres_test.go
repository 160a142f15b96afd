//go:build integration

package postgres

import (
	"testing"

	"vote/internal/domain"
	"vote/internal/engine/enginetest"
	"vote/internal/testservers"
)

func TestStore(t *testing.T) {
	t.Parallel()
	testStore(t, Options{MaxConns: 8})
}

// Users in several shards, and statements that are planned each time.
func TestStoreSharded(t *testing.T) {
	t.Parallel()
	testStore(t, Options{MaxConns: 8, Buckets: 3, Statements: Unprepared})
}

func testStore(t *testing.T, o Options) {
	enginetest.TestStore(t, func(t *testing.T) func(domain.Clock) domain.Store {
		dsn := testservers.Database(t)
		return func(clock domain.Clock) domain.Store {
			o := o
			o.DSN, o.Clock, o.AutoMigrate = dsn, clock, true
			s, err := Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	}, enginetest.StoreDifferences{Instances: 3, Recent: domain.RecentPositions})
}
