package users_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"vote/config"
	"vote/internal/app"
	"vote/internal/domain"
	"vote/internal/ops/command"
	"vote/internal/ops/commandtest"
	"vote/internal/ops/users"
)

const hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA"

// database makes a database with the users ada (1), bob (2) and the username
// 1234 (3), and returns its path and a configuration file that names it.
func database(t *testing.T) (path, settings string) {
	t.Helper()
	path, settings = commandtest.Place(t, "")
	store := commandtest.Open(t, path)
	for i, name := range []string{"ada", "bob", "1234"} {
		_, err := store.CreateUser(t.Context(),
			domain.NewUser{Username: name, UsernameKey: name, Email: name + "@example.org", EmailKey: name + "@example.org", PasswordHash: hash},
			domain.Session{ID: "session of " + name, ExpiresAt: time.Now().Add(time.Hour)}, domain.TokenHash{byte(i)})
		if err != nil {
			t.Fatal(err)
		}
	}
	shut(t, store)
	return path, settings
}

func shut(t *testing.T, store domain.Store) {
	t.Helper()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// run runs a command and fails when its output holds the password hash.
func run(t *testing.T, c *cobra.Command, args ...string) (string, error) {
	t.Helper()
	out, err := commandtest.Run(t, c, args...)
	if text := out + fmt.Sprint(err); strings.Contains(text, "argon2") || strings.Contains(text, "$") {
		t.Errorf("%v prints a hash: %s", args, text)
	}
	return out, err
}

func TestListAndShow(t *testing.T) {
	t.Parallel()
	_, settings := database(t)
	out, err := run(t, users.Command(), "list", "--config", settings)
	if err != nil || strings.Count(out, "\n") != 4 || !strings.Contains(out, "bob@example.org") {
		t.Errorf("list: %v\n%s", err, out)
	}
	out, err = run(t, users.Command(), "list", "--config", settings, "--json", "--limit", "1", "--after", "1")
	var list []users.User
	if jsonErr := json.Unmarshal([]byte(out), &list); err != nil || jsonErr != nil || len(list) != 1 || list[0].Username != "bob" {
		t.Errorf("one as JSON: %v, %v\n%s", err, jsonErr, out)
	}
	for which, want := range map[string]domain.UserID{
		"1": 1, "ada": 1, "ADA": 1, "@ada": 1, "Bob@Example.org": 2, "bob": 2, "3": 3, "@1234": 3, "1234@example.org": 3,
		"1234": 0, "4": 0, "nobody": 0, "x@example.org": 0, "?": 0, "@bob@example.org": 0, "": 0,
	} {
		out, err := run(t, users.Command(), "show", which, "--config", settings, "--json")
		if want == 0 {
			if !errors.Is(err, command.ErrNo) {
				t.Errorf("%q: %v, want none\n%s", which, err, out)
			}
			continue
		}
		var u users.User
		if jsonErr := json.Unmarshal([]byte(out), &u); err != nil || jsonErr != nil || u.ID != want || u.Totals == nil || u.BannedAt != nil {
			t.Errorf("%q: %v, %v, want %d\n%s", which, err, jsonErr, want, out)
		}
	}
}

func TestResetPassword(t *testing.T) {
	t.Parallel()
	path, settings := database(t)
	out, err := run(t, users.Command(), "reset-password", "ada", "--config", settings, "--json")
	var reset users.Reset
	if jsonErr := json.Unmarshal([]byte(out), &reset); err != nil || jsonErr != nil || reset.User.ID != 1 || len(reset.Password) != 20 {
		t.Fatalf("%v, %v\n%s", err, jsonErr, out)
	}
	again, err := run(t, users.Command(), "reset-password", "ada", "--config", settings)
	if err != nil || strings.Contains(again, reset.Password) || !strings.Contains(again, "The new password of ada (1) is: ") {
		t.Errorf("again: %v\n%s", err, again)
	}
	store := commandtest.Open(t, path)
	defer shut(t, store)
	u, err := store.UserByID(t.Context(), 1)
	if err != nil || u.PasswordHash == hash || !strings.HasPrefix(u.PasswordHash, "$argon2id$") {
		t.Errorf("%+v, %v", u, err)
	}
	ended, err := store.EndedSessions(t.Context(), time.Time{})
	if err != nil || len(ended) != 1 || ended[0].ID != "session of ada" {
		t.Errorf("ended %+v, %v", ended, err)
	}
}

func TestBan(t *testing.T) {
	t.Parallel()
	path, settings := database(t)
	for range 2 {
		out, err := run(t, users.Command(), "ban", "bob", "--config", settings, "--json")
		var u users.User
		if jsonErr := json.Unmarshal([]byte(out), &u); err != nil || jsonErr != nil || u.BannedAt == nil {
			t.Fatalf("ban: %v, %v\n%s", err, jsonErr, out)
		}
	}
	store := commandtest.Open(t, path)
	if u, err := store.UserByID(t.Context(), 2); err != nil || u.BannedAt.IsZero() {
		t.Errorf("%+v, %v", u, err)
	}
	shut(t, store)
	out, err := run(t, users.Command(), "unban", "bob", "--config", settings)
	if err != nil || !strings.Contains(out, "bob@example.org") {
		t.Errorf("unban: %v\n%s", err, out)
	}
	store = commandtest.Open(t, path)
	defer shut(t, store)
	if u, err := store.UserByID(t.Context(), 2); err != nil || !u.BannedAt.IsZero() {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	_, settings := database(t)
	out, err := run(t, users.ExportCommand(), "ada", "--config", settings)
	var file struct {
		Profile struct{ Email string }
		Polls   []any
	}
	if jsonErr := json.Unmarshal([]byte(out), &file); err != nil || jsonErr != nil || file.Profile.Email != "ada@example.org" || file.Polls == nil {
		t.Errorf("%v, %v\n%s", err, jsonErr, out)
	}
	if _, err := run(t, users.ExportCommand(), "nobody", "--config", settings); !errors.Is(err, command.ErrNo) {
		t.Errorf("nobody: %v", err)
	}
}

func TestUnfinished(t *testing.T) {
	t.Parallel()
	path, settings := database(t)
	running := commandtest.Open(t, path)
	for _, args := range [][]string{{"list"}, {"show", "ada"}, {"ban", "ada"}, {"reset-password", "ada"}} {
		_, err := run(t, users.Command(), append(args, "--config", settings)...)
		if !errors.Is(err, command.ErrUnfinished) || !strings.Contains(fmt.Sprint(err), "in use by another process") {
			t.Errorf("%v while a server runs: %v", args, err)
		}
	}
	shut(t, running)
	c := config.Default()
	c.Storage.Path = path
	m, err := app.OpenMigrator(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.To(t.Context(), 5), m.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, users.Command(), "list", "--config", settings); !errors.Is(err, command.ErrUnfinished) {
		t.Errorf("with an old schema: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, users.Command(), "list", "--config", settings); !errors.Is(err, command.ErrUnfinished) {
		t.Errorf("without a database: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a database was made")
	}
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	_, settings := database(t)
	for _, args := range [][]string{
		{"nonsense"}, {"list", "ada"}, {"show"}, {"show", "a", "b"}, {"ban"}, {"list", "--limit", "x"}, {"list", "--limit", "-1"}, {"list", "--nonsense"}, {"list", "--config", "nowhere.yaml"},
	} {
		if len(args) > 1 && args[1] != "--config" {
			args = append(args, "--config", settings)
		}
		if _, err := run(t, users.Command(), args...); err == nil || errors.Is(err, command.ErrNo) || errors.Is(err, command.ErrUnfinished) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
