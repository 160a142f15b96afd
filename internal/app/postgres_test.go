//go:build integration

package app_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"vote/internal/app"
	"vote/internal/testservers"
)

// onPostgres returns the environment of a server over a database.
func onPostgres(t *testing.T, database string, more ...string) []string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	return append([]string{
		"STORAGE_ENGINE=postgres", "POSTGRES_HOST=" + u.Hostname(), "POSTGRES_PORT=" + u.Port(), "POSTGRES_USER=" + u.User.Username(),
		"POSTGRES_PASSWORD=" + password, "POSTGRES_DBNAME=" + strings.TrimPrefix(u.Path, "/"), "POSTGRES_SSLMODE=disable",
		"POSTGRES_MAX_CONNECTIONS=10", "JWT_SECRET_KEY=" + strings.Repeat("x", 48),
	}, more...)
}

// TestWaitsForMigrations starts before the schema is there, as an instance of
// several may.
func TestWaitsForMigrations(t *testing.T) {
	t.Parallel()
	c := load(t, onPostgres(t, testservers.Database(t), "STORAGE_AUTO_MIGRATE=false")...)
	a, _ := started(t, c)
	if status, body := fetch(t, a.URL()+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, `"code":"schema_outdated"`) {
		t.Errorf("before: %d %s", status, body)
	}
	m, err := app.OpenMigrator(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		status, body := fetch(t, a.URL()+"/readyz")
		if status == http.StatusOK {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after: %d %s", status, body)
		}
	}
}
