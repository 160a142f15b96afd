package seed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vote/internal/account"
	"vote/internal/domain"
	"vote/internal/ops/command"
	"vote/internal/ops/commandtest"
)

// place makes a configuration for a database that is not there yet.
func place(t *testing.T) (path, settings string) {
	t.Helper()
	path, settings = commandtest.Place(t, "limits:\n  daily_votes: 10\n")
	return path, settings
}

var small = []string{"--users", "30", "--polls", "400", "--votes", "1500", "--skips", "700", "--tags", "60", "--until", "2026-03-01", "--days", "40"}

// content is everything that decides what a database says.
func content(t *testing.T, store domain.Store) map[string]any {
	t.Helper()
	all := map[string]any{}
	var ids []domain.PollID
	var positions []domain.Position
	if _, err := store.LoadCatalogue(t.Context(), func(e domain.Entry) error {
		ids, positions = append(ids, e.Poll), append(positions, e.Position)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	counts, err := store.Counts(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	polls, err := store.PollsAt(t.Context(), positions)
	if err != nil {
		t.Fatal(err)
	}
	all["counts"], all["polls"] = counts, polls
	for i := range 30 {
		u, err := store.UserByEmail(t.Context(), email(i))
		if err != nil {
			t.Fatal(err)
		}
		seen, err := store.Seen(t.Context(), u.ID)
		if err != nil {
			t.Fatal(err)
		}
		all[u.Username] = seen
	}
	return all
}

func TestSeed(t *testing.T) {
	t.Parallel()
	var contents []map[string]any
	for _, seed := range []string{"1", "1", "2"} {
		path, settings := place(t)
		out, err := commandtest.Run(t, Command(), append([]string{"--config", settings, "--json", "--seed", seed}, small...)...)
		var report Report
		if jsonErr := json.Unmarshal([]byte(out), &report); err != nil || jsonErr != nil || report.Polls != 400 || report.LastEmail != email(29) {
			t.Fatalf("%v, %v\n%s", err, jsonErr, out)
		}
		store := commandtest.Open(t, path)
		found, err := store.Check(t.Context(), domain.Rules{DailyVotes: 10, DailyPolls: 1000})
		if err != nil || len(found.Violations) > 0 {
			t.Errorf("check: %v, %+v", err, found.Violations)
		}
		if found.Users != 30 || found.Polls != 400 || found.Votes != 1500 || found.Skips != 700 || found.OutboxRows != 0 {
			t.Errorf("%+v", found)
		}
		contents = append(contents, content(t, store))
		u, err := store.UserByEmail(t.Context(), email(0))
		if err != nil || u.PasswordHash != noPassword {
			t.Errorf("%+v, %v", u, err)
		}
	}
	if diff := cmp.Diff(contents[0], contents[1]); diff != "" {
		t.Errorf("the same seed made something else:\n%s", diff)
	}
	if cmp.Equal(contents[0], contents[2]) {
		t.Error("another seed made the same")
	}
	polls := contents[0]["polls"].([]domain.Poll)
	tags, first, last := map[string]int{}, polls[0].CreatedAt, polls[0].CreatedAt
	for _, p := range polls {
		for _, tag := range p.Tags {
			tags[tag]++
		}
		if p.CreatedAt.Before(first) {
			first = p.CreatedAt
		}
		if p.CreatedAt.After(last) {
			last = p.CreatedAt
		}
		again, faults := domain.NormalizePoll(domain.NewPoll{Author: p.Author, Title: p.Title, Options: p.Options, Tags: p.Tags})
		if len(faults) > 0 || again.Title != p.Title || !slices.Equal(again.Options, p.Options) || !slices.Equal(again.Tags, p.Tags) {
			t.Errorf("%+v is not as it would be published: %v", p, faults)
		}
	}
	var most []int64
	for _, c := range contents[0]["counts"].([]domain.Counts) {
		most = append(most, c.TotalVotes())
	}
	slices.Sort(most)
	if last.Sub(first) < 39*24*time.Hour || most[len(most)-1] < 3*most[len(most)/2] {
		t.Errorf("polls from %v to %v; votes of the most popular %d, of the middle one %d", first, last, most[len(most)-1], most[len(most)/2])
	}
	if len(tags) < 20 || tags["sports"] < 3*tags["topic-5"] {
		t.Errorf("%d tags: %v", len(tags), tags)
	}
}

// TestTexts holds every text that can be made to the rules of polls.
func TestTexts(t *testing.T) {
	t.Parallel()
	for _, l := range languages {
		for _, pattern := range l.patterns {
			for _, options := range l.options {
				longest := slices.MaxFunc(l.words, func(a, b string) int { return len(a) - len(b) })
				p := domain.NewPoll{Title: strings.ReplaceAll(pattern, "%s", longest), Options: options, Tags: l.tags[:2]}
				again, faults := domain.NormalizePoll(p)
				if len(faults) > 0 || again.Title != p.Title || !slices.Equal(again.Options, options) {
					t.Errorf("%+v: %v", p, faults)
				}
				for _, tag := range l.tags {
					if folded, fault := domain.NormalizeTag(tag); fault != "" || folded != tag {
						t.Errorf("tag %q: %s", tag, fault)
					}
				}
			}
		}
	}
	if tags := makeTags(200); len(tags) != 200 || len(slices.Compact(slices.Sorted(slices.Values(tags)))) != 200 {
		t.Errorf("%d tags, not all different", len(tags))
	}
	if tags := makeTags(3); len(tags) != 3 {
		t.Errorf("tags %v", tags)
	}
}

func TestShares(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ users, n, most int }{{1, 7, 7}, {10, 0, 5}, {10, 50, 5}, {100, 5000, 120}, {0, 0, 3}} {
		sum, most := 0, 0
		for _, n := range shares(rand.New(rand.NewPCG(1, 2)), c.users, c.n, c.most) {
			sum += n
			most = max(most, n)
		}
		if sum != c.n || most > c.most {
			t.Errorf("%+v: %d in all, %d at most", c, sum, most)
		}
	}
}

func TestPassword(t *testing.T) {
	t.Parallel()
	path, settings := place(t)
	args := []string{"--config", settings, "--users", "3", "--polls", "0", "--votes", "0", "--skips", "0"}
	if _, err := commandtest.Run(t, Command(), append(args, "--password", "short")...); command.ExitCode(err) != command.ExitWrongUse {
		t.Errorf("a short password: %v", err)
	}
	if _, err := commandtest.Run(t, Command(), append(args, "--password", "correct horse")...); err != nil {
		t.Fatal(err)
	}
	accounts := account.New(account.Config{Store: commandtest.Open(t, path), Secret: bytes.Repeat([]byte{1}, 32)})
	if _, err := accounts.Login(t.Context(), email(2), "correct horse"); err != nil {
		t.Errorf("log in: %v", err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	path, settings := place(t)
	for _, args := range [][]string{
		{"--votes", "-1"}, {"--users", "1", "--votes", "1000"}, {"--users", "0"}, {"--until", "tomorrow"}, {"--until", "3026-01-01"},
		{"--days", "4000"}, {"--polls", "10", "--users", "10", "--votes", "0", "--skips", "90"}, {"--users", "1", "--polls", "100000", "--votes", "0", "--skips", "0", "--days", "2"},
		{"--tags", "0"}, {"extra"},
	} {
		if _, err := commandtest.Run(t, Command(), append([]string{"--config", settings}, args...)...); command.ExitCode(err) != command.ExitWrongUse {
			t.Errorf("%v: %v", args, err)
		}
	}
	args := append([]string{"--config", settings}, small...)
	if _, err := commandtest.Run(t, Command(), args...); err != nil {
		t.Fatal(err)
	}
	if _, err := commandtest.Run(t, Command(), args...); !errors.Is(err, command.ErrNo) {
		t.Errorf("a second time: %v", err)
	}
	running := commandtest.Open(t, path)
	if _, err := commandtest.Run(t, Command(), args...); !errors.Is(err, command.ErrUnfinished) || !strings.Contains(fmt.Sprint(err), "stop the server") {
		t.Errorf("while a server runs: %v", err)
	}
	if err := running.Close(); err != nil {
		t.Fatal(err)
	}
}
