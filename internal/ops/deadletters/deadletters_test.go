package deadletters_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"vote/internal/domain"
	"vote/internal/ops/command"
	"vote/internal/ops/commandtest"
	"vote/internal/ops/deadletters"
)

// database makes a database with dead letters 1 to 4: two of queue a, one of b,
// and a row that could not be read.
func database(t *testing.T) (path, settings string) {
	t.Helper()
	path, settings = commandtest.Place(t, "")
	store := commandtest.Open(t, path)
	for i, queue := range []string{"a", "b", "a", "outbox"} {
		kind := domain.EventVoteCast
		if queue == "outbox" {
			kind = domain.EventMalformedRow
		}
		if err := store.AddDeadLetter(t.Context(), domain.DeadLetter{
			Queue: queue, Reason: "it broke", At: time.Now(),
			Event: domain.Event{SpecVersion: "1.0", ID: fmt.Sprintf("%d-0", i), Type: kind, Subject: "poll/7", Data: []byte(`{}`)},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return path, settings
}

// left returns the ids of the dead letters and of the events in the outbox.
func left(t *testing.T, path string) string {
	t.Helper()
	store := commandtest.Open(t, path)
	defer store.Close()
	var ids []int64
	letters, err := store.DeadLetters(t.Context(), "", 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range letters {
		ids = append(ids, d.ID)
	}
	var events []string
	rows, err := store.ClaimOutbox(t.Context(), 100, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		var c domain.Changes
		if err := c.UnmarshalBinary(row.Changes); err != nil {
			t.Fatal(err)
		}
		for _, e := range c.Events(row.ID) {
			events = append(events, e.ID)
		}
	}
	return fmt.Sprint(ids, events)
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want string // the answer
		code int
		left string
	}{
		{[]string{"list"}, `(?s)id +queue .*\n1 +a +\S+ +0-0 +vote.cast +poll/7 +it broke\n2 +b .*\n3 +a .*\n4 +outbox `, 0, "[1 2 3 4] []"},
		{[]string{"list", "--queue", "b"}, `(?s)reason\n2 +b [^\n]*\n$`, 0, "[1 2 3 4] []"},
		{[]string{"list", "--queue", "none"}, `no dead letters`, 0, "[1 2 3 4] []"},
		{[]string{"replay"}, `3 done, 1 kept`, 0, "[4] [0-0 1-0 2-0]"},
		{[]string{"replay", "--queue", "a"}, `2 done, 0 kept`, 0, "[2 4] [0-0 2-0]"},
		{[]string{"replay", "--id", "2,3", "--yes"}, `2 done, 0 kept`, 0, "[1 4] [1-0 2-0]"},
		{[]string{"replay", "--id", "2,9"}, `^$`, 1, "[1 2 3 4] []"},
		{[]string{"replay", "--id", "2", "--queue", "a"}, `^$`, 1, "[1 2 3 4] []"},
		{[]string{"drop", "--id", "4"}, `1 done, 0 kept`, 0, "[1 2 3] []"},
		{[]string{"drop", "--queue", "a"}, `2 done, 0 kept`, 0, "[2 4] []"},
		{[]string{"drop", "--id", "9"}, `^$`, 1, "[1 2 3 4] []"},
		{[]string{"drop"}, `4 done, 0 kept`, 0, "[] []"},
		{[]string{"drop", "2"}, `^$`, 2, "[1 2 3 4] []"},
		{[]string{"drop", "--id", "x"}, `^$`, 2, "[1 2 3 4] []"},
	} {
		t.Run(fmt.Sprint(c.args), func(t *testing.T) {
			t.Parallel()
			path, settings := database(t)
			out, err := commandtest.Run(t, deadletters.Command(), append(slices.Clip(c.args), "--config", settings)...)
			if command.ExitCode(err) != c.code || !regexp.MustCompile(c.want).MatchString(out) {
				t.Errorf("%v\n%s", err, out)
			}
			if got := left(t, path); got != c.left {
				t.Errorf("left %s, want %s", got, c.left)
			}
		})
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	path, settings := database(t)
	out, err := commandtest.Run(t, deadletters.Command(), "list", "--config", settings, "--json")
	var letters []deadletters.Letter
	if jsonErr := json.Unmarshal([]byte(out), &letters); err != nil || jsonErr != nil || len(letters) != 4 || letters[1].Event.ID != "1-0" {
		t.Errorf("%v, %v\n%s", err, jsonErr, out)
	}
	out, err = commandtest.Run(t, deadletters.Command(), "replay", "--config", settings, "--json")
	var report deadletters.Report
	if jsonErr := json.Unmarshal([]byte(out), &report); err != nil || jsonErr != nil || report != (deadletters.Report{Done: 3, Kept: 1}) {
		t.Errorf("%v, %v\n%s", err, jsonErr, out)
	}
	running := commandtest.Open(t, path)
	defer running.Close()
	for _, name := range []string{"list", "replay", "drop"} {
		if _, err := commandtest.Run(t, deadletters.Command(), name, "--config", settings); command.ExitCode(err) != command.ExitUnfinished {
			t.Errorf("%s while a server runs: %v", name, err)
		}
	}
}
