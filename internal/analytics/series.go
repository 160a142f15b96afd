package analytics

import (
	"context"
	"time"

	"vote/internal/domain"
)

// Bucket is the length of a bucket of a [Series].
type Bucket time.Duration

// The lengths of buckets.
const (
	Hourly = Bucket(time.Hour)
	Daily  = Bucket(24 * time.Hour)
)

// maxBuckets is how many buckets a series may have: the hours of 31 days, or the
// days of a leap year.
var maxBuckets = map[Bucket]int64{Hourly: 31 * 24, Daily: 366}

// MaxRange returns how long a series of such buckets may be.
func (b Bucket) MaxRange() time.Duration { return time.Duration(maxBuckets[b] * int64(b)) }

// DefaultRange returns how long a series is when nobody says: a day of hours, or
// thirty days.
func (b Bucket) DefaultRange() time.Duration {
	if b == Hourly {
		return 24 * time.Hour
	}
	return 30 * 24 * time.Hour
}

// number returns how many buckets begin before that of t. Buckets begin at full
// hours and days, UTC.
func (b Bucket) number(t time.Time) int64 {
	seconds, length := t.Unix(), int64(time.Duration(b)/time.Second)
	n := seconds / length
	if seconds%length < 0 {
		n--
	}
	return n
}

func (b Bucket) start(n int64) time.Time {
	return time.Unix(n*int64(time.Duration(b)/time.Second), 0).UTC()
}

// Range completes and judges the range of a series: a zero to is the end of the
// current bucket, a zero from the default range before it. from is moved back to
// the beginning of its bucket; a bucket that begins at to or later is not in the
// range. The faults are of the fields from and to.
func (a *Analytics) Range(b Bucket, from, to time.Time) (time.Time, time.Time, []domain.FieldError) {
	if to.IsZero() {
		now := b.number(a.c.Clock.Now()) + 1
		if to = b.start(now); !from.IsZero() && !from.Before(to) {
			return from, to, []domain.FieldError{{Field: "from", Message: "must not be in the future when to is not given"}}
		}
	}
	if from.IsZero() {
		from = to.Add(-b.DefaultRange())
		if b.start(b.number(from)).Before(from) {
			from = from.Add(time.Duration(b)) // as many buckets, the newest cut short
		}
	}
	if !from.Before(to) {
		return from, to, []domain.FieldError{{Field: "to", Message: "must be after from"}}
	}
	from = b.start(b.number(from))
	if to.Sub(from) > b.MaxRange() {
		message := "must be at most 31 days after from, for hours"
		if b == Daily {
			message = "must be at most 366 days after from, for days"
		}
		return from, to, []domain.FieldError{{Field: "to", Message: message}}
	}
	return from, to, nil
}

// Counts are what happened to a poll in some time.
type Counts struct {
	Start time.Time
	Votes []int64 // by option index
	Skips int64
	Shown int64
}

// TotalVotes returns the sum over the options.
func (c Counts) TotalVotes() int64 {
	var n int64
	for _, v := range c.Votes {
		n += v
	}
	return n
}

// Series returns every bucket of a range that [Analytics.Range] has judged, by
// time, those in which nothing happened too. options is the poll's number of
// options. Errors: not_found for a poll that is unknown, hidden or deleted;
// unavailable.
func (a *Analytics) Series(ctx context.Context, poll domain.PollID, options int, b Bucket, from, to time.Time) ([]Counts, error) {
	// A day that began before to is whole.
	end := b.start(b.number(to.Add(-1)) + 1)
	hours, err := a.c.Store.Hourly(ctx, poll, domain.HourOf(from), domain.HourOf(end))
	if err != nil {
		return nil, err
	}
	first := b.number(from)
	series := make([]Counts, b.number(end)-first)
	votes := make([]int64, len(series)*options)
	for i := range series {
		series[i] = Counts{Start: b.start(first + int64(i)), Votes: votes[i*options : (i+1)*options]}
	}
	for _, h := range hours {
		s := &series[b.number(h.Hour.Start())-first]
		for i := range min(options, len(h.Votes)) {
			s.Votes[i] += h.Votes[i]
		}
		s.Skips += h.Skips
		s.Shown += h.Shown
	}
	return series, nil
}
