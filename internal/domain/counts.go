package domain

import (
	"math"
	"time"
)

// Counts are a poll's results at one moment. They are absolute, never a
// difference, and never fall.
type Counts struct {
	Poll  PollID
	Votes []int64 // by option index, as long as the poll has options
	Skips int64
	// UpdatedAt is when the newest of the votes and skips was counted; the
	// time of publication when there is none.
	UpdatedAt time.Time
}

// TotalVotes returns the sum over the options.
func (c Counts) TotalVotes() int64 {
	var n int64
	for _, v := range c.Votes {
		n += v
	}
	return n
}

// Version orders the counts of one poll: votes and skips counted.
func (c Counts) Version() int64 { return c.TotalVotes() + c.Skips }

// Permille returns each option's share in tenths of a percent, rounded half up;
// all zero without votes. Shares are rounded one by one, so their sum may miss
// 1000 by a little.
func (c Counts) Permille() []int64 {
	total := c.TotalVotes()
	shares := make([]int64, len(c.Votes))
	if total == 0 {
		return shares
	}
	for i, v := range c.Votes {
		shares[i] = (2000*v + total) / (2 * total)
	}
	return shares
}

// FirstMilestone is the lowest number of votes that a poll's author is told of.
const FirstMilestone = 10

// NextMilestone returns the lowest milestone above votes: 10, 100, 1,000, ...
func NextMilestone(votes int64) int64 {
	next := int64(FirstMilestone)
	for next <= votes && next < math.MaxInt64/10 {
		next *= 10
	}
	return next
}

// Milestones returns those above after and up to votes.
func Milestones(after, votes int64) []int64 {
	var reached []int64
	for next := NextMilestone(after); next > after && next <= votes; next = NextMilestone(next) {
		after = next
		reached = append(reached, next)
	}
	return reached
}
