package archive_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vote/internal/domain"
	"vote/internal/ops/archive"
	"vote/internal/ops/command"
	"vote/internal/ops/commandtest"
)

// database makes a database with one poll, voted on, of a month that can be
// archived.
func database(t *testing.T) (path, settings string, month domain.Month) {
	t.Helper()
	path, settings = commandtest.Place(t, "")
	month = domain.MonthOf(time.Now()) - 3
	store := commandtest.Open(t, path)
	_, err := store.Import(t.Context(), domain.Import{Users: []domain.ImportUser{{NewUser: domain.NewUser{
		Username: "ada", UsernameKey: "ada", Email: "ada@example.org", EmailKey: "ada@example.org", PasswordHash: "x",
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	made, err := store.Import(t.Context(), domain.Import{Polls: []domain.ImportPoll{
		{Author: 1, Title: "Tea?", Options: []string{"Yes", "No"}, Tags: []string{"tea"}, At: month.Start()},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Import(t.Context(), domain.Import{Interactions: []domain.ImportInteraction{
		{Interaction: domain.Interaction{User: 1, Poll: made.Polls[0]}, At: month.Start().Add(time.Hour)},
	}}); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return path, settings, month
}

func TestArchive(t *testing.T) {
	t.Parallel()
	path, settings, month := database(t)
	out, err := commandtest.Run(t, archive.Command(), "--config", settings, month.String())
	if err != nil || !strings.Contains(out, month.String()+": 1 polls closed on ") || !strings.Contains(out, "1 votes and 0 skips archived in\n"+filepath.Dir(path)) {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err = commandtest.Run(t, archive.Command(), "--config", settings, "--json", "--yes", month.String())
	var report archive.Report
	if jsonErr := json.Unmarshal([]byte(out), &report); err != nil || jsonErr != nil || report.Votes != 1 || report.Month != month.String() {
		t.Fatalf("again: %v, %v\n%s", err, jsonErr, out)
	}
	if _, err := os.Stat(report.Place); err != nil {
		t.Errorf("the archive: %v", err)
	}
	store := commandtest.Open(t, path)
	defer store.Close()
	if _, err := commandtest.Run(t, archive.Command(), "--config", settings, month.String()); command.ExitCode(err) != command.ExitUnfinished {
		t.Errorf("while a server runs: %v", err)
	}
	found, err := store.Check(t.Context(), domain.Rules{DailyVotes: 100})
	if err != nil || len(found.Violations) > 0 || found.Votes != 0 {
		t.Errorf("check: %v, %+v", err, found)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	path, settings, month := database(t)
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{domain.MonthOf(time.Now()).String()}, command.ExitNo},
		{[]string{(month + 100).String()}, command.ExitNo},
		{[]string{"2026"}, command.ExitWrongUse}, {[]string{"2020-01"}, command.ExitWrongUse}, {nil, command.ExitWrongUse},
	} {
		if _, err := commandtest.Run(t, archive.Command(), append([]string{"--config", settings}, c.args...)...); command.ExitCode(err) != c.code {
			t.Errorf("%v: %v", c.args, err)
		}
	}
	// What bears the name of the archive stays, and so do the votes.
	taken := strings.TrimSuffix(path, ".db") + "-archive-" + month.String() + ".db"
	if err := os.WriteFile(taken, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := commandtest.Run(t, archive.Command(), "--config", settings, month.String()); command.ExitCode(err) != command.ExitNo || !strings.Contains(fmt.Sprint(err), taken) {
		t.Errorf("%v", err)
	}
	if text, err := os.ReadFile(taken); err != nil || string(text) != "mine" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if err := os.Remove(taken); err != nil {
		t.Fatal(err)
	}
	if _, err := commandtest.Run(t, archive.Command(), "--config", settings, month.String()); err != nil {
		t.Error(err)
	}
}
