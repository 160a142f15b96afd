package api

import (
	"math"
	"net/http"

	"vote/internal/analytics"
	"vote/internal/domain"
)

func (s *server) pollAnalytics(c *call) error {
	id, err := c.pollID()
	if err != nil {
		return err
	}
	options, err := s.feed.Options(c.context(), id)
	if err != nil {
		return err
	}
	bucket, name := analytics.Hourly, c.oneOf("bucket", "hour", "day")
	if name == "day" {
		bucket = analytics.Daily
	}
	from, to := c.timeParam("from"), c.timeParam("to")
	if c.invalid() == nil {
		var faults []domain.FieldError
		from, to, faults = s.analytics.Range(bucket, from, to)
		c.merge(faults)
	}
	if err := c.invalid(); err != nil {
		return err
	}
	series, err := s.analytics.Series(c.context(), id, len(options), bucket, from, to)
	if err != nil {
		return err
	}
	answer := analyticsShape{
		PollID: id, Bucket: name, Buckets: make([]bucketShape, len(series)),
		Totals: bucketTotalsShape{Votes: make([]int64, len(options))},
	}
	for i, b := range series {
		answer.Buckets[i] = bucketShape{
			Start: b.Start, Votes: b.Votes, Skips: b.Skips, Shown: b.Shown,
			AnswerRate: rate(b.TotalVotes(), b.Shown), SkipRate: rate(b.Skips, b.Shown),
		}
		for option, n := range b.Votes {
			answer.Totals.Votes[option] += n
		}
		answer.Totals.Skips += b.Skips
		answer.Totals.Shown += b.Shown
	}
	c.cacheable()
	return c.sendJSON(http.StatusOK, answer)
}

// rate returns n of all to four decimals, none when there is nothing to divide by.
func rate(n, all int64) *float64 {
	if all == 0 {
		return nil
	}
	share := math.Round(float64(n)/float64(all)*1e4) / 1e4
	return &share
}
