package domain

import (
	"fmt"
	"time"
)

// MinArchiveAge is how long a month must be over before its votes may be
// archived.
const MinArchiveAge = 31 * 24 * time.Hour

// Month is a calendar month, UTC, as months since 0000-01.
type Month int32

// MonthOf returns the UTC month of t.
func MonthOf(t time.Time) Month {
	t = t.UTC()
	return Month(12*t.Year() + int(t.Month()) - 1) //nolint:gosec // fits for millions of years
}

// ParseMonth reads a month written as 2006-01, from that of [Epoch] on: no poll
// is older.
func ParseMonth(s string) (Month, error) {
	t, err := time.Parse("2006-01", s)
	if err != nil || t.Before(Epoch) {
		return 0, fmt.Errorf("a month is written like 2026-03, and none is before %s", MonthOf(Epoch))
	}
	return MonthOf(t), nil
}

// String returns the month as 2006-01.
func (m Month) String() string { return m.Start().Format("2006-01") }

// Start returns the first instant of the month.
func (m Month) Start() time.Time {
	return time.Date(int(m)/12, time.Month(int(m)%12+1), 1, 0, 0, 0, 0, time.UTC)
}

// End returns the first instant after the month.
func (m Month) End() time.Time { return (m + 1).Start() }

// Polls returns the smallest poll id of the month and that of the next: ids are
// ordered by time, so the month's polls are those between.
func (m Month) Polls() (first, end PollID) { return PollIDAt(m.Start()), PollIDAt(m.End()) }

// CheckArchivable returns nil when the month is over long enough at now to be
// archived. Errors: [CodeInvalid].
func (m Month) CheckArchivable(now time.Time) error {
	if from := m.End().Add(MinArchiveAge); now.Before(from) {
		return E(CodeInvalid, fmt.Sprintf("%s can be archived from %s on.", m, from.Format(time.DateOnly)))
	}
	return nil
}

// ArchivedMonth is what became of a month's votes.
type ArchivedMonth struct {
	Month Month
	// ClosedAt is when the month's polls were closed for good.
	ClosedAt time.Time
	// Polls were published in the month, deleted ones included. Votes and Skips
	// were moved.
	Polls, Votes, Skips int64
	// Place names where the rows are, for an operator: a file, or a table.
	Place string
}
