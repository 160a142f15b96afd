package domain_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"vote/internal/domain"
)

func TestOutcomeChanges(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	batch := []domain.Interaction{vote(ada, tea, 1), vote(ada, tea, 0), skip(bob, tea), skip(bob, tea), vote(bob, milk, 2), vote(bob, 999, 0)}
	outcome := domain.Outcome{
		At: at,
		Verdicts: []domain.Verdict{
			{Changed: true, Option: 1, VotesToday: 1}, {Code: domain.CodeAlreadyVoted, Option: 1}, {Changed: true},
			{}, {Changed: true, Option: 2, VotesToday: 1}, {Code: domain.CodeNotFound},
		},
		Counts: []domain.Counts{{Poll: tea, Votes: []int64{4, 5}, Skips: 3}, {Poll: milk, Votes: []int64{0, 0, 1}}},
		Users:  []domain.UserChange{{User: ada, Version: 7, Positions: []domain.Position{1}}, {User: bob, Version: 2, Positions: []domain.Position{1, 2}}},
	}
	want := domain.Changes{
		At:    at,
		Votes: []domain.VoteCast{{PollID: tea, OptionIndex: 1, Version: 12}, {PollID: milk, OptionIndex: 2, Version: 1}},
		Skips: []domain.VoteSkipped{{PollID: tea, Version: 12}},
		Seen:  []domain.UserSeen{{UserID: ada, Version: 7, Positions: []domain.Position{1}}, {UserID: bob, Version: 2, Positions: []domain.Position{1, 2}}},
	}
	got := outcome.Changes(batch)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if got.Empty() || got.Len() != 5 {
		t.Errorf("empty %t, %d events", got.Empty(), got.Len())
	}
	refused := domain.Outcome{At: at, Verdicts: []domain.Verdict{{Code: domain.CodePollClosed}, {}}}
	if c := refused.Changes([]domain.Interaction{vote(ada, tea, 0), skip(ada, tea)}); !c.Empty() || c.Len() != 0 {
		t.Errorf("refusals and repeated skips changed %+v", c)
	}
}

func TestChangesEncoding(t *testing.T) {
	t.Parallel()
	c := domain.Changes{
		At:        time.UnixMilli(1_700_000_000_123).UTC(),
		Votes:     []domain.VoteCast{{PollID: 1, OptionIndex: 2, Version: 3}},
		Skips:     []domain.VoteSkipped{{PollID: 4, Version: 5}},
		Seen:      []domain.UserSeen{{UserID: 6, Version: 7, Positions: []domain.Position{8, 9}}, {UserID: 10, Version: 11}},
		Published: []domain.PollPublished{{PollID: 12, Position: 13}},
	}
	// The form is stored: a server must read what the version before it wrote.
	const want = `{"at":1700000000123,"votes":[[1,2,3]],"skips":[[4,5]],"seen":[[6,7,8,9],[10,11]],"published":[[12,13]]}`
	got, err := c.AppendBinary([]byte("x"))
	if err != nil || string(got) != "x"+want {
		t.Errorf("encoded: %v\n got %s\nwant x%s", err, got, want)
	}
	var back domain.Changes
	if err := back.UnmarshalBinary([]byte(want)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, back); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

func TestChangesRoundTrip(t *testing.T) {
	t.Parallel()
	poll := rapid.Map(rapid.Int64Range(1, domain.MaxID-1), func(n int64) domain.PollID { return domain.PollID(n) })
	version := rapid.Int64Range(1, 1<<60)
	position := rapid.Map(rapid.Uint32(), func(n uint32) domain.Position { return domain.Position(n) })
	rapid.Check(t, func(t *rapid.T) {
		c := domain.Changes{At: time.UnixMilli(rapid.Int64Range(0, 4e12).Draw(t, "at")).UTC()}
		for range rapid.IntRange(0, 4).Draw(t, "votes") {
			c.Votes = append(c.Votes, domain.VoteCast{PollID: poll.Draw(t, "poll"), OptionIndex: rapid.IntRange(0, domain.MaxOptions-1).Draw(t, "option"), Version: version.Draw(t, "version")})
		}
		for range rapid.IntRange(0, 4).Draw(t, "skips") {
			c.Skips = append(c.Skips, domain.VoteSkipped{PollID: poll.Draw(t, "poll"), Version: version.Draw(t, "version")})
		}
		for range rapid.IntRange(0, 4).Draw(t, "seen") {
			u := domain.UserSeen{UserID: domain.UserID(rapid.Int64Range(1, domain.MaxID-1).Draw(t, "user")), Version: version.Draw(t, "version")}
			for range rapid.IntRange(0, 4).Draw(t, "positions") {
				u.Positions = append(u.Positions, position.Draw(t, "position"))
			}
			c.Seen = append(c.Seen, u)
		}
		for range rapid.IntRange(0, 4).Draw(t, "published") {
			c.Published = append(c.Published, domain.PollPublished{PollID: poll.Draw(t, "poll"), Position: position.Draw(t, "position")})
		}
		b, err := c.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var back domain.Changes
		if err := back.UnmarshalBinary(b); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if diff := cmp.Diff(c, back); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", b, diff)
		}
	})
}

func TestChangesRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		``, `null`, `{}`, `[]`, `"x"`, `{"at":null}`, `{"at":"now"}`, `{"at":1.5}`, `{"at":1} {}`, `{"at":1`, `{"at":99999999999999999999}`, `{"at":9223372036854775807}`, `{"at":253402300800000}`,
		`{"at":1,"votes":[[1,2]]}`, `{"at":1,"votes":[[1,2,3,4]]}`, `{"at":1,"votes":[[1,-1,3]]}`, `{"at":1,"votes":[[1,20,3]]}`, `{"at":1,"votes":[1,2,3]}`, `{"at":1,"votes":[[1,2,"3"]]}`,
		`{"at":1,"skips":[[]]}`, `{"at":1,"skips":[[1,2,3]]}`, `{"at":1,"seen":[[1]]}`, `{"at":1,"seen":[[1,2,-1]]}`, `{"at":1,"seen":[[1,2,4294967296]]}`,
		`{"at":1,"published":[[1]]}`, `{"at":1,"published":[[1,-1]]}`, `{"at":1,"published":[[1,4294967296]]}`,
	} {
		var c domain.Changes
		if err := c.UnmarshalBinary([]byte(bad)); err == nil {
			t.Errorf("%s was read as %+v", bad, c)
		} else if !strings.HasPrefix(err.Error(), "outbox row: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	c := domain.Changes{
		At:        at,
		Votes:     []domain.VoteCast{{PollID: tea, OptionIndex: 1, Version: 12}},
		Skips:     []domain.VoteSkipped{{PollID: tea, Version: 12}},
		Seen:      []domain.UserSeen{{UserID: ada, Version: 7, Positions: []domain.Position{3}}},
		Published: []domain.PollPublished{{PollID: milk, Position: 4}},
	}
	type event struct{ ID, Type, Subject, Data string }
	var got []event
	for _, e := range c.Events(9) {
		got = append(got, event{e.ID, e.Type, e.Subject, string(e.Data)})
		if e.SpecVersion != "1.0" || e.Source != domain.EventSource || e.DataContentType != "application/json" || !e.Time.Equal(at) {
			t.Errorf("attributes of %+v", e)
		}
	}
	want := []event{
		{"9-0", "vote.cast", "poll/101", `{"pollId":101,"optionIndex":1,"version":12}`},
		{"9-1", "vote.skipped", "poll/101", `{"pollId":101,"version":12}`},
		{"9-2", "user.seen", "user/1", `{"userId":1,"version":7,"positions":[3]}`},
		{"9-3", "poll.published", "poll/102", `{"pollId":102,"position":4}`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func FuzzChangesUnmarshalBinary(f *testing.F) {
	f.Add([]byte(`{"at":1700000000123,"votes":[[1,2,3]],"skips":[[4,5]],"seen":[[6,7,8,9],[10,11]],"published":[[12,13]]}`))
	f.Add([]byte(`{"at":-1,"votes":null}`))
	f.Add([]byte(`{"AT":253402300799999,"skips":[[-1,-1]]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c, again domain.Changes
		if c.UnmarshalBinary(data) != nil {
			return
		}
		b, err := c.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.UnmarshalBinary(b); err != nil || !cmp.Equal(c, again) {
			t.Fatalf("%s became %s: %v", data, b, err)
		}
		checkEvents(t, c)
	})
}

// checkEvents fails unless the events, sent and received, say what the changes
// say, each under an id of its own.
func checkEvents(t *testing.T, c domain.Changes) {
	t.Helper()
	sent, err := json.Marshal(c.Events(7))
	if err != nil {
		t.Fatalf("%+v has events that cannot be sent: %v", c, err)
	}
	var events []domain.Event
	if err := json.Unmarshal(sent, &events); err != nil {
		t.Fatal(err)
	}
	told := domain.Changes{At: c.At}
	for i, e := range events {
		if e.ID != fmt.Sprintf("7-%d", i) || !e.Time.Equal(c.At) {
			t.Errorf("event %d is %s of %v", i, e.ID, e.Time)
		}
		switch e.Type {
		case domain.EventVoteCast:
			told.Votes = append(told.Votes, received[domain.VoteCast](t, e))
		case domain.EventVoteSkipped:
			told.Skips = append(told.Skips, received[domain.VoteSkipped](t, e))
		case domain.EventUserSeen:
			told.Seen = append(told.Seen, received[domain.UserSeen](t, e))
		case domain.EventPollPublished:
			told.Published = append(told.Published, received[domain.PollPublished](t, e))
		default:
			t.Errorf("event of type %s", e.Type)
		}
	}
	if diff := cmp.Diff(c, told, cmpopts.EquateEmpty()); diff != "" || len(events) != c.Len() {
		t.Errorf("%d events tell (-want +got):\n%s", len(events), diff)
	}
}

func received[T any](t *testing.T, e domain.Event) (data T) {
	t.Helper()
	if err := json.Unmarshal(e.Data, &data); err != nil {
		t.Errorf("%s: %v", e.Data, err)
	}
	return data
}

func TestEventID(t *testing.T) {
	t.Parallel()
	for _, good := range []domain.EventID{{}, {Row: 1, Number: 2}, {Row: 1<<63 - 1, Number: 1<<31 - 1}} {
		if got, ok := domain.ParseEventID(good.String()); !ok || got != good {
			t.Errorf("%s was read as %v, %t", good, got, ok)
		}
	}
	for _, bad := range []string{"", "-", "1", "1-", "-1", "1-x", "1-malformed", "01-1", "1-01", "+1-1", "1--1", "-1-1", "1-1-1", " 1-1", "1-4294967296", "99999999999999999999-1"} {
		if got, ok := domain.ParseEventID(bad); ok {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}

// What the quick reader takes, it takes as encoding/json does.
func FuzzReadVoteProcessed(f *testing.F) {
	for _, s := range []string{`{"pollId":1,"optionIndex":2,"version":3}`, `{"pollId":1,"version":3}`, `{"pollId":01,"version":-0}`, `{"pollId":--1,"version":3}`, `{}`, `{"pollId":1,"optionIndex":99999999999,"version":3}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		quick, ok := domain.ReadVoteProcessed(data)
		if !ok {
			return
		}
		var slow domain.VoteProcessed
		if err := json.Unmarshal(data, &slow); err != nil || !cmp.Equal(quick, slow) {
			t.Errorf("%s: read as %+v, encoding/json says %+v, %v", data, quick, slow, err)
		}
	})
}
