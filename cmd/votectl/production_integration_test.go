//go:build integration

package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vote/config"
	"vote/internal/app"
	"vote/internal/domain"
	"vote/internal/testservers"
)

// TestOnPostgreSQL runs each command that works on storage on PostgreSQL, where
// the server may go on meanwhile.
func TestOnPostgreSQL(t *testing.T) {
	t.Parallel()
	at, err := url.Parse(testservers.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := at.User.Password()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, `storage: {engine: postgres}
postgres: {host: %q, port: %s, user: %q, password: %q, dbname: %q, sslmode: disable}
jwt: {secret_key: "a secret of this test, long enough for anything"}
`, at.Hostname(), at.Port(), at.User.Username(), password, at.Path[1:]), 0o600); err != nil {
		t.Fatal(err)
	}
	settings, err := config.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	store, err := app.OpenStore(t.Context(), settings, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	do := func(want string, args ...string) {
		t.Helper()
		out, err := run(t, append(args, "--config", file)...)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%q: %v, without %q:\n%s", args, err, want, out)
		}
	}

	do("20 users, 90 polls, 400 votes, 100 skips", "seed", "--users", "20", "--polls", "90", "--votes", "400", "--skips", "100", "--tags", "5", "--days", "90")
	do("400 votes, 100 skips", "check")
	var newest string
	if _, err := store.LoadCatalogue(t.Context(), func(e domain.Entry) error {
		newest = fmt.Sprint(e.Poll)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	do("open", "poll", "show", newest)
	for _, step := range [][2]string{{"close", "closed"}, {"open", "open"}, {"hide", "hidden"}, {"unhide", "open"}} {
		do(step[1], "poll", step[0], newest)
	}
	do("seed3@seed.example", "user", "list")
	do("seed3@seed.example", "user", "show", "seed3")
	do("seed3", "user", "ban", "seed3")
	do("seed3", "user", "unban", "seed3")
	do("The new password of seed3", "user", "reset-password", "seed3")
	do(`"username":"seed3"`, "export", "seed3")
	for i := range 2 {
		if err := store.AddDeadLetter(t.Context(), domain.DeadLetter{
			Queue: "q", Reason: "it broke", At: time.Now(),
			Event: domain.Event{SpecVersion: "1.0", ID: fmt.Sprintf("%d-0", i), Type: domain.EventVoteCast, Subject: "poll/7", Data: []byte(`{}`)},
		}); err != nil {
			t.Fatal(err)
		}
	}
	do("it broke", "dead-letters", "list")
	do("1 done, 0 kept", "dead-letters", "replay", "--id", "1")
	do("1 done, 0 kept", "dead-letters", "drop", "--yes", "--id", "2")
	do("no dead letters", "dead-letters", "list")
	month := time.Now().UTC().AddDate(0, 0, -60).Format("2006-01")
	do("archived in", "archive", "--yes", month)
	do("0 dead letters", "check")
}
