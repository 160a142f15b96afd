package sqlite

import (
	"path/filepath"
	"testing"

	"vote/internal/domain"
	"vote/internal/engine/enginetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	enginetest.TestStore(t, func(t *testing.T) func(domain.Clock) domain.Store {
		path := filepath.Join(t.TempDir(), "data", "vote.db")
		return func(clock domain.Clock) domain.Store {
			s, err := Open(t.Context(), Options{Path: path, Clock: clock, AutoMigrate: true})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	}, enginetest.StoreDifferences{})
}
