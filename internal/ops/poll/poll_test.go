package poll_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"vote/internal/domain"
	"vote/internal/ops/command"
	"vote/internal/ops/commandtest"
	"vote/internal/ops/poll"
)

// database makes a database with two polls: one of a month that is archived, and
// one of today with a vote and a skip.
func database(t *testing.T) (path, settings, archived, fresh string) {
	t.Helper()
	path, settings = commandtest.Place(t, "")
	store := commandtest.Open(t, path)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	month := domain.MonthOf(time.Now()) - 4
	var users []domain.ImportUser
	for _, name := range []string{"ada", "bob"} {
		users = append(users, domain.ImportUser{NewUser: domain.NewUser{
			Username: name, UsernameKey: name, Email: name + "@example.org", EmailKey: name + "@example.org", PasswordHash: "x",
		}})
	}
	made, err := store.Import(t.Context(), domain.Import{Users: users})
	must(err)
	u := made.Users
	now := time.Now()
	made, err = store.Import(t.Context(), domain.Import{Polls: []domain.ImportPoll{
		{Author: u[0], Title: "Old?", Options: []string{"a", "b"}, Tags: []string{"x"}, At: month.Start()},
		{Author: u[0], Title: "Tea or coffee?", Options: []string{"Tea", "Coffee"}, Tags: []string{"food", "茶"}, At: now},
	}})
	must(err)
	_, err = store.Import(t.Context(), domain.Import{Interactions: []domain.ImportInteraction{
		{Interaction: domain.Interaction{User: u[0], Poll: made.Polls[1], Option: 1}, At: now},
		{Interaction: domain.Interaction{User: u[1], Poll: made.Polls[1], Skip: true}, At: now},
	}})
	must(err)
	_, err = store.ArchiveMonth(t.Context(), month)
	must(err)
	must(store.Close())
	return path, settings, fmt.Sprint(made.Polls[0]), fmt.Sprint(made.Polls[1])
}

func TestStates(t *testing.T) {
	t.Parallel()
	_, settings, archived, fresh := database(t)
	for i, step := range []struct {
		args []string
		want string // the answer, in which ID is the fresh poll and OLD the archived one
		code int
	}{
		{[]string{"close", fresh}, `ID +closed`, 0},
		{[]string{"close", fresh}, `ID +closed, as before`, 0},
		{[]string{"unhide", fresh}, `ID +refused: it is closed`, 1},
		{[]string{"hide", fresh, archived, "7", "x"}, `(?s)ID +hidden\nOLD +hidden\n7 +refused: there is no such poll\nx +refused: there is no such poll`, 1},
		{[]string{"open", fresh}, `ID +refused: it is hidden`, 1},
		{[]string{"close", fresh}, `ID +refused: it is hidden`, 1},
		{[]string{"unhide", fresh, archived}, `(?s)ID +open\nOLD +closed`, 0},
		{[]string{"open", archived, fresh}, `(?s)OLD +refused: its votes are archived\nID +open, as before`, 1},
	} {
		out, err := commandtest.Run(t, poll.Command(), append([]string{"--config", settings}, step.args...)...)
		said := strings.ReplaceAll(strings.ReplaceAll(out, fresh, "ID"), archived, "OLD")
		if command.ExitCode(err) != step.code || !regexp.MustCompile(step.want).MatchString(said) {
			t.Errorf("%d: %v: %v\n%s", i, step.args, err, said)
		}
	}
	out, err := commandtest.Run(t, poll.Command(), "hide", "--config", settings, "--json", fresh, "7")
	var changes []poll.Change
	if jsonErr := json.Unmarshal([]byte(out), &changes); !errors.Is(err, command.ErrNo) || jsonErr != nil || len(changes) != 2 ||
		changes[0] != (poll.Change{Poll: fresh, State: "hidden", Changed: true}) || changes[1].Refused == "" {
		t.Errorf("as JSON: %v, %v\n%s", err, jsonErr, out)
	}
}

func TestShow(t *testing.T) {
	t.Parallel()
	path, settings, archived, fresh := database(t)
	out, err := commandtest.Run(t, poll.Command(), "show", "--config", settings, fresh)
	if err != nil || !regexp.MustCompile(`(?s)id +`+fresh+`\nposition +2\nstate +open\n.*author +ada \(1\)\ntitle +Tea or coffee\?\ntags +food, 茶\noption 0 +0  Tea\noption 1 +1  Coffee\nvotes +1\nskips +1\n`).MatchString(out) {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := commandtest.Run(t, poll.Command(), "show", "--config", settings, archived); err != nil || !strings.Contains(out, "closed") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := commandtest.Run(t, poll.Command(), "hide", "--config", settings, fresh); err != nil {
		t.Fatal(err)
	}
	out, err = commandtest.Run(t, poll.Command(), "show", "--config", settings, "--json", fresh)
	var shown poll.Shown
	if jsonErr := json.Unmarshal([]byte(out), &shown); err != nil || jsonErr != nil || shown.State != "hidden" || shown.Votes != nil || shown.Options[1].Text != "Coffee" {
		t.Errorf("%v, %v\n%s", err, jsonErr, out)
	}
	for _, unknown := range []string{"7", "-7", "x", ""} {
		if _, err := commandtest.Run(t, poll.Command(), "show", "--config", settings, "--", unknown); command.ExitCode(err) != command.ExitNo {
			t.Errorf("%q: %v", unknown, err)
		}
	}
	running := commandtest.Open(t, path)
	defer running.Close()
	if _, err := commandtest.Run(t, poll.Command(), "show", "--config", settings, fresh); command.ExitCode(err) != command.ExitUnfinished {
		t.Errorf("while a server runs: %v", err)
	}
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"hide"}, {"show"}, {"show", "1", "2"}, {"burn", "1"}} {
		if _, err := commandtest.Run(t, poll.Command(), args...); command.ExitCode(err) != command.ExitWrongUse {
			t.Errorf("%v: %v", args, err)
		}
	}
}
