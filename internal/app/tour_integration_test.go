//go:build integration && linux

package app_test

import (
	"strings"
	"testing"

	"vote/internal/testservers"
)

// TestTourOnProduction takes the tour on an instance over real servers, and on one
// that reaches PostgreSQL through a pooler in transaction mode.
func TestTourOnProduction(t *testing.T) {
	t.Parallel()
	t.Run("direct", func(t *testing.T) {
		t.Parallel()
		tourOver(t, sharedBackends(t))
	})
	t.Run("through PgBouncer", func(t *testing.T) {
		t.Parallel()
		b := sharedBackends(t)
		direct := b.postgres
		b.postgres = testservers.PgBouncer(t, direct)
		b.extra = []string{"POSTGRES_STATEMENTS=unprepared", "POSTGRES_DIRECT_DSN=" + direct}
		tourOver(t, b)
	})
}

func tourOver(t *testing.T, b backends) {
	t.Helper()
	a, _ := running(t, load(t, b.environment(t)...))
	soon(t, "the connection to RabbitMQ", func() bool { // without which it serves as well, and says so
		_, answer := fetch(t, a.URL()+"/readyz")
		return strings.Contains(answer, `{"status":"ready"`)
	})
	takeTour(t, a.URL())
}
