//go:build integration

package postgres

import (
	"testing"

	"vote/internal/domain"
	"vote/internal/testservers"
)

func TestMigrationsBothWays(t *testing.T) {
	t.Parallel()
	dsn := testservers.Database(t)
	m, err := NewMigrator(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	known, err := knownVersion()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for _, version := range []int64{known, 0, 3, 1, known} {
		if err := m.To(t.Context(), version); err != nil {
			t.Fatal(err)
		}
		list, err := m.Status(t.Context())
		if err != nil || list[len(list)-1].Version != known {
			t.Fatalf("status %+v, %v", list, err)
		}
		for _, step := range list {
			if step.Applied != (step.Version <= version) {
				t.Errorf("at %d: %+v", version, step)
			}
		}
	}
	// An open store begins to serve once the schema is there.
	if _, err := s.Poll(t.Context(), 1); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Errorf("before: %v", err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("ready: %v", err)
	}
	if err := m.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	outdated, err := Open(t.Context(), Options{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = outdated.Close() })
	if err := outdated.Ready(t.Context()); domain.CodeOf(err) != domain.CodeSchemaOutdated {
		t.Errorf("ready with an old schema: %v", err)
	}
}

func TestBucketsAreFixed(t *testing.T) {
	t.Parallel()
	dsn := testservers.Database(t)
	for _, buckets := range []int{1, 4} {
		s, err := Open(t.Context(), Options{DSN: dsn, AutoMigrate: true, Buckets: buckets})
		if err != nil {
			t.Fatal(err)
		}
		if buckets == 4 {
			if _, err := s.pool.Exec(t.Context(), `INSERT INTO users
				(username, username_key, email, email_key, password_hash, created_at, updated_at)
				VALUES ('u', 'u', 'u', 'u', 'u', now(), now())`); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := Open(t.Context(), Options{DSN: dsn, Buckets: 2}); err == nil {
		_ = s.Close()
		t.Error("a database of 4 buckets was opened with 2")
	}
}
