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
	enginetest.TestStore(t, func(t *testing.T) func(domain.Clock) domain.Store {
		dsn := testservers.Database(t)
		return func(clock domain.Clock) domain.Store {
			s, err := Open(t.Context(), Options{DSN: dsn, Clock: clock, AutoMigrate: true, MaxConns: 8})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	}, enginetest.StoreDifferences{Instances: 3, Recent: domain.RecentPositions})
}
