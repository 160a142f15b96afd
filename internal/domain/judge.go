package domain

import "time"

// Interaction is what a user asks to do with a poll: vote for one option, or skip.
type Interaction struct {
	User UserID
	Poll PollID
	// Option is the chosen option's index; meaningless for a skip.
	Option int
	Skip   bool
}

// Fact is what storage knows about one [Interaction] before it is judged. Facts
// are read after the user's row was locked, in one snapshot.
type Fact struct {
	// UserExists is false for an unknown or erased user.
	UserExists bool
	// VotesToday is the user's number of votes on the day of the batch.
	VotesToday int
	// PollExists is false for a poll id that was never published.
	PollExists bool
	State      PollState
	// Archived says that what people did with the poll was moved away, so
	// that Prior is not known.
	Archived bool
	// Options is the poll's number of options.
	Options int
	// Prior is what the user did with the poll before.
	Prior Prior
}

// Prior is what a user has done with a poll.
type Prior struct {
	Voted   bool
	Option  int // the option counted, when Voted
	Skipped bool
}

// Verdict is the judgement over one [Interaction].
type Verdict struct {
	// Code is empty when the interaction was accepted.
	Code Code
	// Changed says that a row is to be written. A repeated skip is accepted
	// and changes nothing.
	Changed bool
	// Option is the option that was counted, for an accepted vote and for
	// [CodeAlreadyVoted].
	Option int
	// VotesToday is the user's number of votes after this interaction.
	VotesToday int
}

// Rules are the limits of the domain that an operator may set. Zero switches a
// limit off.
type Rules struct {
	DailyVotes int // votes per user and UTC day
	DailyPolls int // polls published per user and UTC day
}

// Judge decides over a batch of interactions. facts[i] belongs to batch[i] and
// describes the time before the batch; what earlier members of the batch were
// granted counts for later ones, as if they had come one by one. Refusals come
// in the order not_found, invalid_option, already_voted, poll_closed,
// daily_vote_limit, so that a repetition converges on already_voted.
//
// Judge is pure and total: it never fails, whatever the facts.
func (r Rules) Judge(batch []Interaction, facts []Fact) []Verdict {
	type pair struct {
		user UserID
		poll PollID
	}
	verdicts := make([]Verdict, len(batch))
	priors := make(map[pair]Prior, len(batch))
	today := make(map[UserID]int, len(batch))
	for i, in := range batch {
		fact, v := facts[i], &verdicts[i]
		key := pair{in.User, in.Poll}
		prior, known := priors[key]
		if !known {
			prior = fact.Prior
		}
		votes, known := today[in.User]
		if !known {
			votes = fact.VotesToday
		}
		v.VotesToday = votes
		switch {
		case !fact.UserExists:
			v.Code = CodeUnauthorized
		case !fact.PollExists || fact.State == PollHidden || fact.State == PollDeleted:
			v.Code = CodeNotFound
		case !in.Skip && (in.Option < 0 || in.Option >= fact.Options):
			v.Code = CodeInvalidOption
		case prior.Voted:
			v.Code, v.Option = CodeAlreadyVoted, prior.Option
		case in.Skip && fact.Archived:
			// It may have been skipped before, and is in no feed anyway.
		case in.Skip:
			v.Changed = !prior.Skipped
			prior.Skipped = true
		case fact.State == PollClosed:
			v.Code = CodePollClosed
		case r.DailyVotes > 0 && votes >= r.DailyVotes:
			v.Code = CodeDailyVoteLimit
		default:
			votes++
			v.Changed, v.Option, v.VotesToday = true, in.Option, votes
			prior.Voted, prior.Option = true, in.Option
		}
		priors[key], today[in.User] = prior, votes
	}
	return verdicts
}

// PublicationFact is what storage knows about one [NewPoll] before it is judged.
type PublicationFact struct {
	// AuthorExists is false for an unknown or erased user.
	AuthorExists bool
	// PollsToday is how many polls the author published on the day of the batch.
	PollsToday int
	// Earlier is the poll published under the same idempotency key, if any.
	Earlier *EarlierPublication
}

// EarlierPublication is what an idempotency key remembers.
type EarlierPublication struct {
	Poll        PollID
	Fingerprint [32]byte
}

// PublicationVerdict is the judgement over one [NewPoll].
type PublicationVerdict struct {
	// Code is empty when the poll is to be published or was already.
	Code Code
	// Repeats is the poll that was published earlier under the same key; 0
	// when the poll is to be published now.
	Repeats PollID
	// RepeatsIndex is the member of the same batch that this one repeats; -1
	// when there is none.
	RepeatsIndex int
}

// JudgePublications decides over a batch of new polls, as [Rules.Judge] does
// over interactions: facts[i] describes the time before the batch.
func (r Rules) JudgePublications(batch []NewPoll, facts []PublicationFact) []PublicationVerdict {
	type named struct {
		user UserID
		key  string
	}
	verdicts := make([]PublicationVerdict, len(batch))
	inBatch := make(map[named]int)
	today := make(map[UserID]int)
	for i, p := range batch {
		v := &verdicts[i]
		v.RepeatsIndex = -1
		polls, known := today[p.Author]
		if !known {
			polls = facts[i].PollsToday
		}
		key := named{p.Author, p.IdempotencyKey}
		j, repeated := inBatch[key]
		repeated = repeated && p.IdempotencyKey != ""
		earlier := facts[i].Earlier
		switch {
		case !facts[i].AuthorExists:
			v.Code = CodeUnauthorized
		case earlier != nil && earlier.Fingerprint != p.Fingerprint,
			repeated && batch[j].Fingerprint != p.Fingerprint:
			v.Code = CodeIdempotencyMismatch
		case earlier != nil:
			v.Repeats = earlier.Poll
		case repeated:
			v.RepeatsIndex = j
		case r.DailyPolls > 0 && polls >= r.DailyPolls:
			v.Code = CodeDailyPollLimit
		default:
			polls++
			inBatch[key] = i
		}
		today[p.Author] = polls
	}
	return verdicts
}

// Day is a calendar day, UTC, as days since 1970-01-01.
type Day int32

// DayOf returns the UTC day of t.
func DayOf(t time.Time) Day {
	s := t.Unix()
	d := s / 86400
	if s%86400 < 0 {
		d--
	}
	return Day(d) //nolint:gosec // fits for millions of years
}

// Start returns the first instant of the day.
func (d Day) Start() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

// String returns the day as 2006-01-02.
func (d Day) String() string { return d.Start().Format(time.DateOnly) }

// Hour is an hour, UTC, as hours since 1970-01-01.
type Hour int32

// HourOf returns the hour of t.
func HourOf(t time.Time) Hour {
	s := t.Unix()
	h := s / 3600
	if s%3600 < 0 {
		h--
	}
	return Hour(h) //nolint:gosec // fits for hundreds of thousands of years
}

// Start returns the first instant of the hour.
func (h Hour) Start() time.Time { return time.Unix(int64(h)*3600, 0).UTC() }
