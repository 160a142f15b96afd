package check_test

import (
	"database/sql" // with the driver that app brings along
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"vote/config"
	"vote/internal/app"
	"vote/internal/domain"
	"vote/internal/ops/check"
	"vote/internal/ops/command"
	"vote/internal/ops/commandtest"
)

// database makes a database with a user and a poll voted on, then closes it,
// and returns its path and a configuration file that names it.
func database(t *testing.T) (path, settings string) {
	t.Helper()
	path, settings = commandtest.Place(t, "")
	store := commandtest.Open(t, path)
	u, err := store.CreateUser(t.Context(),
		domain.NewUser{Username: "ada", UsernameKey: "ada", Email: "ada@example.org", EmailKey: "ada@example.org", PasswordHash: "x"},
		domain.Session{ID: "s", ExpiresAt: time.Now().Add(time.Hour)}, domain.TokenHash{1})
	if err != nil {
		t.Fatal(err)
	}
	var rules domain.Rules
	polls := []domain.NewPoll{{Author: u.ID, Title: "Tea?", Options: []string{"Yes", "No"}, Tags: []string{"tea"}}}
	published, err := store.Publish(t.Context(), polls, func(f []domain.PublicationFact) []domain.PublicationVerdict { return rules.JudgePublications(polls, f) })
	if err != nil {
		t.Fatal(err)
	}
	votes := []domain.Interaction{{User: u.ID, Poll: published[0].Poll.ID, Option: 1}}
	if _, err := store.Interact(t.Context(), votes, func(f []domain.Fact) []domain.Verdict { return rules.Judge(votes, f) }); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return path, settings
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCleanAndBroken(t *testing.T) {
	t.Parallel()
	path, settings := database(t)
	out, err := commandtest.Run(t, check.Command(), "--config", settings)
	if err != nil || !regexp.MustCompile(`(?s)holds.*1 users, 1 polls, 1 votes, 0 skips`).MatchString(out) {
		t.Fatalf("a clean database: %v\n%s", err, out)
	}

	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "DELETE FROM votes"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	out, err = commandtest.Run(t, check.Command(), "--config", settings)
	if !errors.Is(err, check.ErrBroken) || !regexp.MustCompile(`BROKEN \d+ times \(invariant \d+\)`).MatchString(out) {
		t.Errorf("a vote that is gone: %v\n%s", err, out)
	}
	out, err = commandtest.Run(t, check.Command(), "--config", settings, "--json")
	var report check.Report
	if jsonErr := json.Unmarshal([]byte(out), &report); !errors.Is(err, check.ErrBroken) || jsonErr != nil || !report.Broken() || report.Users != 1 || len(report.Rules) < 5 {
		t.Errorf("as JSON: %v, %v\n%s", err, jsonErr, out)
	}
}

func TestUnfinished(t *testing.T) {
	t.Parallel()
	path, settings := database(t)
	running := commandtest.Open(t, path)
	_, err := commandtest.Run(t, check.Command(), "--config", settings)
	if !errors.Is(err, command.ErrUnfinished) || !regexp.MustCompile(`in use by another process`).MatchString(fmt.Sprint(err)) {
		t.Errorf("while a server runs: %v", err)
	}
	if err := running.Close(); err != nil {
		t.Fatal(err)
	}

	folder := t.TempDir()
	missing := filepath.Join(folder, "none.yaml")
	write(t, missing, fmt.Sprintf("storage:\n  path: %q\n", filepath.Join(folder, "none.db")))
	if _, err := commandtest.Run(t, check.Command(), "--config", missing); !errors.Is(err, command.ErrUnfinished) {
		t.Errorf("without a database: %v", err)
	}
	if _, err := os.Stat(filepath.Join(folder, "none.db")); err == nil {
		t.Error("the check made a database")
	}

	c := config.Default()
	c.Storage.Path = path
	m, err := app.OpenMigrator(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.To(t.Context(), 1), m.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := commandtest.Run(t, check.Command(), "--config", settings); !errors.Is(err, command.ErrUnfinished) {
		t.Errorf("with an old schema: %v", err)
	}
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	wrong := filepath.Join(t.TempDir(), "wrong.yaml")
	write(t, wrong, "storage:\n  nonsense: 1\n")
	for _, args := range [][]string{{"--config", wrong}, {"--config", "nowhere.yaml"}, {"now"}, {"--nonsense"}} {
		if _, err := commandtest.Run(t, check.Command(), args...); err == nil || errors.Is(err, check.ErrBroken) || errors.Is(err, command.ErrUnfinished) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
