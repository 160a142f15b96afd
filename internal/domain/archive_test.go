package domain_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vote/internal/domain"
)

func TestMonth(t *testing.T) {
	t.Parallel()
	m, err := domain.ParseMonth("2026-02")
	if err != nil || m.String() != "2026-02" || m != domain.MonthOf(time.Date(2026, 2, 28, 23, 59, 59, 999, time.UTC)) {
		t.Fatalf("month %v, %v", m, err)
	}
	if !m.Start().Equal(time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)) || !m.End().Equal(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("from %v to %v", m.Start(), m.End())
	}
	if next := m + 11; next.String() != "2027-01" {
		t.Errorf("eleven months later: %s", next)
	}
	// A month elsewhere may be another one in UTC.
	if got := domain.MonthOf(time.Date(2026, 3, 1, 0, 30, 0, 0, time.FixedZone("", 3600))); got != m {
		t.Errorf("month %s", got)
	}
	first, end := m.Polls()
	for at, in := range map[time.Time]bool{
		m.Start(): true, m.Start().Add(-time.Millisecond): false, m.End(): false, m.End().Add(-time.Millisecond): true,
	} {
		if id := domain.NextPollID(0, at); (id >= first && id < end) != in {
			t.Errorf("a poll of %v: %v", at, !in)
		}
	}
	from := m.End().Add(domain.MinArchiveAge)
	if err := m.CheckArchivable(from); err != nil {
		t.Error(err)
	}
	if err := m.CheckArchivable(from.Add(-1)); domain.CodeOf(err) != domain.CodeInvalid {
		t.Error(err)
	}
	for _, bad := range []string{"", "2026", "2026-13", "2026-2", "02-2026", "2024-12", "2026-02-01"} {
		if m, err := domain.ParseMonth(bad); err == nil {
			t.Errorf("%q is %s", bad, m)
		}
	}
}

func TestJudgeArchived(t *testing.T) {
	t.Parallel()
	batch := []domain.Interaction{{User: 1, Poll: 1}, {User: 1, Poll: 1, Skip: true}, {User: 1, Poll: 1, Skip: true}}
	fact := domain.Fact{UserExists: true, PollExists: true, State: domain.PollClosed, Archived: true, Options: 2}
	got := domain.Rules{}.Judge(batch, []domain.Fact{fact, fact, fact})
	if diff := cmp.Diff([]domain.Verdict{{Code: domain.CodePollClosed}, {}, {}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestChangesReplayed(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_800_000_000_000).UTC()
	e := domain.Event{
		SpecVersion: "1.0", ID: "7-3", Source: domain.EventSource, Type: domain.EventVoteCast, Time: at.Add(-time.Hour),
		Subject: "poll/5", DataContentType: "application/json", Data: []byte(`{"pollId":5}`),
	}
	c := domain.Changes{At: at, Skips: []domain.VoteSkipped{{PollID: 1, Version: 2}}, Replayed: []domain.Event{e}}
	b, err := c.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	var got domain.Changes
	if err := got.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	events := got.Events(9)
	if len(events) != c.Len() || events[0].ID != "9-0" || !cmp.Equal(events[1], e) {
		t.Errorf("events %+v", events)
	}
	for _, bad := range []string{`[{}]`, `[{"id":"1","type":"x"}]`, `[1]`, `[{"id":"1","data":{}}]`} {
		if err := got.UnmarshalBinary([]byte(`{"at":0,"replayed":` + bad + `}`)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}
