package api

import (
	"net/http"
	"time"

	"vote/internal/domain"
	"vote/internal/voting"
)

func (s *server) vote(c *call) error {
	option, user := readVote(&c.input)
	if err := c.actFor(user); err != nil {
		return err
	}
	id, err := c.pollID()
	if err != nil {
		return err
	}
	// Before the vote, so that everything its answer needs is at hand once it
	// cannot be taken back.
	options, err := s.feed.Options(c.context(), id)
	if err != nil {
		return err
	}
	if err := c.invalid(); err != nil {
		return err
	}
	done, err := s.voting.Cast(c.context(), domain.Interaction{User: c.who.User, Poll: id, Option: option})
	if err != nil {
		return err
	}
	b := append(c.out[:0], `{"pollId":`...)
	b = appendInt(b, int64(id))
	b = append(b, `,"optionIndex":`...)
	b = appendInt(b, int64(done.Verdict.Option))
	b = append(b, `,"votesRemainingToday":`...)
	if left := s.votesRemaining(done.Verdict.VotesToday); left != nil {
		b = appendInt(b, int64(*left))
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"stats":`...)
	b = appendStats(b, done.Counts, options)
	c.out = append(b, '}')
	c.sendOut()
	return nil
}

// votesRemaining returns how many votes are left of a day, nil without a limit.
func (s *server) votesRemaining(today int) *int {
	if s.limits.DailyVotes == 0 {
		return nil
	}
	left := max(s.limits.DailyVotes-today, 0)
	return &left
}

func (s *server) skip(c *call) error {
	if len(c.body) > 0 {
		if err := c.actFor(readSkip(&c.input)); err != nil {
			return err
		}
	}
	id, err := c.pollID()
	if err != nil {
		return err
	}
	if err := c.invalid(); err != nil {
		if _, missing := s.feed.Options(c.context(), id); missing != nil {
			return missing
		}
		return err
	}
	if _, err := s.voting.Cast(c.context(), domain.Interaction{User: c.who.User, Poll: id, Skip: true}); err != nil {
		return err
	}
	b := append(c.out[:0], `{"pollId":`...)
	b = appendInt(b, int64(id))
	c.out = append(b, `,"skipped":true}`...)
	c.sendOut()
	return nil
}

// interactions takes a batch. Votes beyond the votes window are refused one by
// one, the earlier ones of the batch first served.
func (s *server) interactions(c *call) error {
	batch := readInteractions(&c.input)
	if err := c.invalid(); err != nil {
		return err
	}
	wanted := 0
	for i := range batch {
		batch[i].User = c.who.User
		if !batch[i].Skip {
			wanted++
		}
	}
	fit, wait := c.takeVotes(wanted)
	admitted := make([]domain.Interaction, 0, len(batch))
	limited := make([]bool, len(batch))
	for i, in := range batch {
		if !in.Skip {
			if fit == 0 {
				limited[i] = true
				continue
			}
			fit--
		}
		admitted = append(admitted, in)
	}
	results, err := s.voting.CastAll(c.context(), admitted)
	if err != nil {
		return err
	}
	answer := make([]verdictShape, len(batch))
	for i, in := range batch {
		if limited[i] {
			answer[i] = s.refusedItem(c, in, &domain.Error{Code: domain.CodeRateLimited, RetryAfter: max(wait, time.Millisecond)})
			continue
		}
		answer[i] = s.item(c, in, results[0])
		results = results[1:]
	}
	return c.sendJSON(http.StatusOK, answer)
}

// item tells what became of one member of a batch.
func (s *server) item(c *call, in domain.Interaction, r voting.Result) verdictShape {
	if r.Err != nil {
		return s.refusedItem(c, in, r.Err)
	}
	v := verdictShape{PollID: in.Poll, Status: http.StatusOK}
	if in.Skip {
		v.Skipped = true
		return v
	}
	v.OptionIndex = &r.Verdict.Option
	v.VotesRemainingToday = s.votesRemaining(r.Verdict.VotesToday)
	return v
}

func (s *server) refusedItem(c *call, in domain.Interaction, err error) verdictShape {
	e := asError(err)
	r := refusals[e.Code]
	s.metrics.refused(e.Code)
	s.logFault(c, e)
	v := verdictShape{PollID: in.Poll, Status: r.status, Code: string(e.Code), Detail: e.Detail}
	if v.Detail == "" {
		v.Detail = r.about
	}
	if e.Code == domain.CodeAlreadyVoted {
		v.OptionIndex = &e.Option
	}
	if told := retryAfter(e, r, s.clock.Now()); told > 0 {
		v.RetryAfter = told
	}
	return v
}
