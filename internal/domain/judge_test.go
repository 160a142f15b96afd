package domain_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vote/internal/domain"
)

const (
	ada, bob  domain.UserID = 1, 2
	tea, milk domain.PollID = 101, 102
)

func vote(u domain.UserID, p domain.PollID, option int) domain.Interaction {
	return domain.Interaction{User: u, Poll: p, Option: option}
}

func skip(u domain.UserID, p domain.PollID) domain.Interaction {
	return domain.Interaction{User: u, Poll: p, Skip: true}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	open := domain.Fact{UserExists: true, PollExists: true, Options: 3}
	with := func(change func(*domain.Fact)) domain.Fact {
		f := open
		change(&f)
		return f
	}
	voted := with(func(f *domain.Fact) { f.Prior = domain.Prior{Voted: true, Option: 2}; f.VotesToday = 1 })
	skipped := with(func(f *domain.Fact) { f.Prior.Skipped = true })
	both := with(func(f *domain.Fact) { f.Prior = domain.Prior{Voted: true, Option: 1, Skipped: true}; f.VotesToday = 1 })
	state := func(s domain.PollState) domain.Fact { return with(func(f *domain.Fact) { f.State = s }) }
	at := func(n int) domain.Fact { return with(func(f *domain.Fact) { f.VotesToday = n }) }

	type step struct {
		in   domain.Interaction
		fact domain.Fact
		want domain.Verdict
	}
	refused := func(code domain.Code, today int) domain.Verdict { return domain.Verdict{Code: code, VotesToday: today} }
	already := func(option, today int) domain.Verdict {
		return domain.Verdict{Code: domain.CodeAlreadyVoted, Option: option, VotesToday: today}
	}
	counted := func(option, today int) domain.Verdict {
		return domain.Verdict{Changed: true, Option: option, VotesToday: today}
	}
	skips := func(changed bool, today int) domain.Verdict {
		return domain.Verdict{Changed: changed, VotesToday: today}
	}

	for _, c := range []struct {
		name  string
		limit int
		steps []step
	}{
		{"nothing", 3, nil},
		{"a vote", 3, []step{{vote(ada, tea, 2), open, counted(2, 1)}}},
		{"a skip", 3, []step{{skip(ada, tea), open, skips(true, 0)}}},
		{"a vote after a vote", 3, []step{{vote(ada, tea, 0), voted, already(2, 1)}}},
		{"the same vote again", 3, []step{{vote(ada, tea, 2), voted, already(2, 1)}}},
		{"a vote after a skip", 3, []step{{vote(ada, tea, 0), skipped, counted(0, 1)}}},
		{"a skip after a vote", 3, []step{{skip(ada, tea), voted, already(2, 1)}}},
		{"a skip after a skip", 3, []step{{skip(ada, tea), skipped, skips(false, 0)}}},
		{"a skip after both", 3, []step{{skip(ada, tea), both, already(1, 1)}}},

		{"the first and the last option", 0, []step{{vote(ada, tea, 0), open, counted(0, 1)}, {vote(bob, tea, 2), open, counted(2, 1)}}},
		{"an option below the first", 3, []step{{vote(ada, tea, -1), open, refused(domain.CodeInvalidOption, 0)}}},
		{"an option beyond the last", 3, []step{{vote(ada, tea, 3), open, refused(domain.CodeInvalidOption, 0)}}},
		{"a wrong option of a skip means nothing", 3, []step{{domain.Interaction{User: ada, Poll: tea, Option: 99, Skip: true}, open, skips(true, 0)}}},

		{"no such user", 3, []step{{vote(ada, tea, 0), with(func(f *domain.Fact) { f.UserExists = false }), refused(domain.CodeUnauthorized, 0)}}},
		{"no such poll", 3, []step{{vote(ada, tea, 0), domain.Fact{UserExists: true}, refused(domain.CodeNotFound, 0)}}},
		{"skip of no such poll", 3, []step{{skip(ada, tea), domain.Fact{UserExists: true}, refused(domain.CodeNotFound, 0)}}},
		{"hidden", 3, []step{
			{vote(ada, tea, 0), state(domain.PollHidden), refused(domain.CodeNotFound, 0)},
			{skip(ada, tea), state(domain.PollHidden), refused(domain.CodeNotFound, 0)},
		}},
		{"deleted", 3, []step{
			{vote(ada, tea, 0), state(domain.PollDeleted), refused(domain.CodeNotFound, 0)},
			{skip(ada, tea), state(domain.PollDeleted), refused(domain.CodeNotFound, 0)},
		}},
		{"closed: a vote is refused, a skip is not", 3, []step{
			{vote(ada, tea, 0), state(domain.PollClosed), refused(domain.CodePollClosed, 0)},
			{skip(ada, tea), state(domain.PollClosed), skips(true, 0)},
		}},

		{"the last vote of the day", 3, []step{{vote(ada, tea, 0), at(2), counted(0, 3)}}},
		{"one over the limit", 3, []step{{vote(ada, tea, 0), at(3), refused(domain.CodeDailyVoteLimit, 3)}}},
		{"over a limit that was lowered", 3, []step{{vote(ada, tea, 0), at(9), refused(domain.CodeDailyVoteLimit, 9)}}},
		{"a skip at the limit", 3, []step{{skip(ada, tea), at(3), skips(true, 3)}}},
		{"no limit", 0, []step{{vote(ada, tea, 0), at(1 << 30), counted(0, 1<<30+1)}}},

		{"precedence: unknown poll before the option", 3, []step{{vote(ada, tea, 9), domain.Fact{UserExists: true}, refused(domain.CodeNotFound, 0)}}},
		{"precedence: the option before already voted", 3, []step{{vote(ada, tea, 9), voted, refused(domain.CodeInvalidOption, 1)}}},
		{"precedence: already voted before closed", 3, []step{{vote(ada, tea, 0), with(func(f *domain.Fact) {
			f.State, f.Prior = domain.PollClosed, domain.Prior{Voted: true, Option: 1}
		}), already(1, 0)}}},
		{"precedence: closed before the limit", 3, []step{{vote(ada, tea, 0), with(func(f *domain.Fact) {
			f.State, f.VotesToday = domain.PollClosed, 3
		}), refused(domain.CodePollClosed, 3)}}},
		{"precedence: a repetition at the limit converges", 1, []step{{vote(ada, tea, 2), voted, already(2, 1)}}},

		{"two votes on one poll in one batch", 3, []step{{vote(ada, tea, 1), open, counted(1, 1)}, {vote(ada, tea, 2), open, already(1, 1)}}},
		{"skip, skip, vote, skip in one batch", 3, []step{
			{skip(ada, tea), open, skips(true, 0)}, {skip(ada, tea), open, skips(false, 0)},
			{vote(ada, tea, 0), open, counted(0, 1)}, {skip(ada, tea), open, already(0, 1)},
		}},
		{"the limit inside one batch", 1, []step{
			{vote(ada, tea, 0), open, counted(0, 1)}, {vote(ada, milk, 0), open, refused(domain.CodeDailyVoteLimit, 1)},
			{vote(bob, milk, 0), open, counted(0, 1)}, {skip(ada, milk), open, skips(true, 1)},
		}},
		{"a refused vote takes nothing of the limit", 1, []step{
			{vote(ada, tea, 7), open, refused(domain.CodeInvalidOption, 0)},
			{vote(ada, tea, 0), state(domain.PollClosed), refused(domain.CodePollClosed, 0)},
			{vote(ada, milk, 0), open, counted(0, 1)},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var batch []domain.Interaction
			var facts []domain.Fact
			want := []domain.Verdict{}
			for _, s := range c.steps {
				batch, facts, want = append(batch, s.in), append(facts, s.fact), append(want, s.want)
			}
			if diff := cmp.Diff(want, domain.Rules{DailyVotes: c.limit}.Judge(batch, facts)); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
		})
	}
}

// deed is one line of the naive model's journal: what was granted, when.
type deed struct {
	in  domain.Interaction
	day domain.Day
}

// journal is the naive model of the rules: it takes one request at a time,
// remembers only what it granted and answers every question by reading all of
// it again.
type journal struct {
	limit int
	users map[domain.UserID]bool
	polls map[domain.PollID]domain.PollState // 3 options each
	deeds []deed
}

func (j *journal) today(u domain.UserID, day domain.Day) (n int) {
	for _, d := range j.deeds {
		if !d.in.Skip && d.in.User == u && d.day == day {
			n++
		}
	}
	return n
}

func (j *journal) find(u domain.UserID, p domain.PollID, skip bool) (option int, found bool) {
	for _, d := range j.deeds {
		if d.in.User == u && d.in.Poll == p && d.in.Skip == skip {
			return d.in.Option, true
		}
	}
	return 0, false
}

func (j *journal) fact(in domain.Interaction, day domain.Day) domain.Fact {
	f := domain.Fact{UserExists: j.users[in.User], VotesToday: j.today(in.User, day)}
	f.State, f.PollExists = j.polls[in.Poll]
	if f.PollExists {
		f.Options = 3
	}
	f.Prior.Option, f.Prior.Voted = j.find(in.User, in.Poll, false)
	_, f.Prior.Skipped = j.find(in.User, in.Poll, true)
	return f
}

func (j *journal) ask(in domain.Interaction, day domain.Day) domain.Verdict {
	no := func(code domain.Code) domain.Verdict {
		return domain.Verdict{Code: code, VotesToday: j.today(in.User, day)}
	}
	if !j.users[in.User] {
		return no(domain.CodeUnauthorized)
	}
	state, exists := j.polls[in.Poll]
	if !exists || state >= domain.PollHidden {
		return no(domain.CodeNotFound)
	}
	if !in.Skip && in.Option != 0 && in.Option != 1 && in.Option != 2 {
		return no(domain.CodeInvalidOption)
	}
	if option, voted := j.find(in.User, in.Poll, false); voted {
		v := no(domain.CodeAlreadyVoted)
		v.Option = option
		return v
	}
	if in.Skip {
		_, before := j.find(in.User, in.Poll, true)
		if !before {
			j.deeds = append(j.deeds, deed{domain.Interaction{User: in.User, Poll: in.Poll, Skip: true}, day})
		}
		return domain.Verdict{Changed: !before, VotesToday: j.today(in.User, day)}
	}
	if state == domain.PollClosed {
		return no(domain.CodePollClosed)
	}
	if j.limit != 0 && j.today(in.User, day)+1 > j.limit {
		return no(domain.CodeDailyVoteLimit)
	}
	j.deeds = append(j.deeds, deed{in, day})
	return domain.Verdict{Changed: true, Option: in.Option, VotesToday: j.today(in.User, day)}
}

// Random histories of batches over several days: the verdicts over a batch are
// those over its members one by one.
func TestJudgeAgainstJournal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		j := &journal{
			limit: rapid.IntRange(0, 5).Draw(t, "limit"),
			users: map[domain.UserID]bool{1: true, 2: true, 3: true},
			polls: map[domain.PollID]domain.PollState{},
		}
		for p := domain.PollID(1); p <= 8; p++ {
			j.polls[p] = domain.PollOpen
		}
		interaction := rapid.Custom(func(t *rapid.T) domain.Interaction {
			return domain.Interaction{
				User:   domain.UserID(rapid.IntRange(1, 4).Draw(t, "user")),
				Poll:   domain.PollID(rapid.IntRange(1, 9).Draw(t, "poll")),
				Option: rapid.IntRange(-1, 3).Draw(t, "option"),
				Skip:   rapid.Bool().Draw(t, "skip"),
			}
		})
		rules := domain.Rules{DailyVotes: j.limit}
		day := domain.Day(20000)
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			day += domain.Day(rapid.IntRange(0, 1).Draw(t, "midnight"))
			if rapid.Bool().Draw(t, "operator") {
				p := domain.PollID(rapid.IntRange(1, 8).Draw(t, "poll changed"))
				j.polls[p] = rapid.SampledFrom([]domain.PollState{domain.PollOpen, domain.PollClosed, domain.PollHidden, domain.PollDeleted}).Draw(t, "state")
			}
			batch := rapid.SliceOfN(interaction, 0, 20).Draw(t, "batch")
			facts := make([]domain.Fact, len(batch))
			for i, in := range batch {
				facts[i] = j.fact(in, day)
			}
			got := rules.Judge(batch, facts)
			if len(got) != len(batch) {
				t.Fatalf("%d verdicts over %d interactions", len(got), len(batch))
			}
			for i, in := range batch {
				if want := j.ask(in, day); got[i] != want {
					t.Fatalf("day %v, %d of %d, %+v with %+v:\n got %+v\nwant %+v", day, i, len(batch), in, facts[i], got[i], want)
				}
			}
			for u := range j.users {
				if n := j.today(u, day); j.limit > 0 && n > j.limit {
					t.Fatalf("user %d has %d votes on %v, the limit is %d", u, n, day, j.limit)
				}
			}
		}
	})
}

// Two batches around midnight: the second day has its own limit, and what was
// decided on the first stays.
func TestJudgeAcrossMidnight(t *testing.T) {
	t.Parallel()
	rules := domain.Rules{DailyVotes: 2}
	day1 := rules.Judge(
		[]domain.Interaction{vote(ada, 1, 0), vote(ada, 2, 0), vote(ada, 3, 0)},
		[]domain.Fact{{UserExists: true, PollExists: true, Options: 2}, {UserExists: true, PollExists: true, Options: 2}, {UserExists: true, PollExists: true, Options: 2}},
	)
	if day1[2].Code != domain.CodeDailyVoteLimit || day1[1].VotesToday != 2 {
		t.Fatalf("the first day: %+v", day1)
	}
	day2 := rules.Judge(
		[]domain.Interaction{vote(ada, 3, 0), vote(ada, 2, 1), vote(ada, 4, 1), vote(ada, 5, 1)},
		[]domain.Fact{
			{UserExists: true, PollExists: true, Options: 2},
			{UserExists: true, PollExists: true, Options: 2, Prior: domain.Prior{Voted: true}},
			{UserExists: true, PollExists: true, Options: 2},
			{UserExists: true, PollExists: true, Options: 2},
		},
	)
	got := fmt.Sprint(day2[0].Code, ",", day2[1].Code, ",", day2[2].Code, ",", day2[3].Code)
	if got != ",already_voted,,daily_vote_limit" || day2[3].VotesToday != 2 {
		t.Errorf("the second day: %+v", day2)
	}
}

func TestJudgePublications(t *testing.T) {
	t.Parallel()
	type step struct {
		poll domain.NewPoll
		fact domain.PublicationFact
		want domain.PublicationVerdict
	}
	named := func(u domain.UserID, key string, body byte) domain.NewPoll {
		return domain.NewPoll{Author: u, IdempotencyKey: key, Fingerprint: [32]byte{body}}
	}
	fresh := domain.PublicationFact{AuthorExists: true}
	at := func(n int) domain.PublicationFact { return domain.PublicationFact{AuthorExists: true, PollsToday: n} }
	earlier := func(n int, body byte) domain.PublicationFact {
		return domain.PublicationFact{AuthorExists: true, PollsToday: n, Earlier: &domain.EarlierPublication{Poll: tea, Fingerprint: [32]byte{body}}}
	}
	granted := domain.PublicationVerdict{RepeatsIndex: -1}
	refused := func(code domain.Code) domain.PublicationVerdict {
		return domain.PublicationVerdict{Code: code, RepeatsIndex: -1}
	}
	for _, c := range []struct {
		name  string
		limit int
		steps []step
	}{
		{"nothing", 1, nil},
		{"one without a key", 2, []step{{named(ada, "", 1), fresh, granted}}},
		{"the same twice without a key", 2, []step{{named(ada, "", 1), fresh, granted}, {named(ada, "", 1), fresh, granted}}},
		{"no such author", 2, []step{{named(ada, "", 1), domain.PublicationFact{}, refused(domain.CodeUnauthorized)}}},
		{"the limit", 2, []step{{named(ada, "", 1), at(1), granted}, {named(ada, "", 2), at(1), refused(domain.CodeDailyPollLimit)}}},
		{"the limit of one is not that of another", 1, []step{{named(ada, "", 1), at(1), refused(domain.CodeDailyPollLimit)}, {named(bob, "", 1), fresh, granted}}},
		{"no limit", 0, []step{{named(ada, "", 1), at(1 << 30), granted}}},
		{"repeated later", 2, []step{{named(ada, "k", 1), earlier(1, 1), domain.PublicationVerdict{Repeats: tea, RepeatsIndex: -1}}}},
		{"repeated later at the limit", 1, []step{{named(ada, "k", 1), earlier(1, 1), domain.PublicationVerdict{Repeats: tea, RepeatsIndex: -1}}}},
		{"another body later", 2, []step{{named(ada, "k", 2), earlier(1, 1), refused(domain.CodeIdempotencyMismatch)}}},
		{"another body at the limit", 1, []step{{named(ada, "k", 2), earlier(1, 1), refused(domain.CodeIdempotencyMismatch)}}},
		{"repeated in the batch", 1, []step{
			{named(ada, "k", 1), fresh, granted},
			{named(ada, "k", 1), fresh, domain.PublicationVerdict{RepeatsIndex: 0}},
			{named(ada, "k", 1), fresh, domain.PublicationVerdict{RepeatsIndex: 0}},
			{named(ada, "k", 2), fresh, refused(domain.CodeIdempotencyMismatch)},
		}},
		{"a key belongs to its author", 5, []step{{named(ada, "k", 1), fresh, granted}, {named(bob, "k", 2), fresh, granted}}},
		{"a refused one leaves its key free", 1, []step{
			{named(ada, "k", 1), at(1), refused(domain.CodeDailyPollLimit)},
			{named(ada, "k", 2), at(1), refused(domain.CodeDailyPollLimit)},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var batch []domain.NewPoll
			var facts []domain.PublicationFact
			want := []domain.PublicationVerdict{}
			for _, s := range c.steps {
				batch, facts, want = append(batch, s.poll), append(facts, s.fact), append(want, s.want)
			}
			if diff := cmp.Diff(want, domain.Rules{DailyPolls: c.limit}.JudgePublications(batch, facts)); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
		})
	}
}

// Random batches of publications against a shelf that takes one at a time.
func TestJudgePublicationsAgainstShelf(t *testing.T) {
	t.Parallel()
	type book struct {
		id   domain.PollID
		day  domain.Day
		poll domain.NewPoll
	}
	rapid.Check(t, func(t *rapid.T) {
		var shelf []book
		limit := rapid.IntRange(0, 4).Draw(t, "limit")
		today := func(u domain.UserID, day domain.Day) (n int) {
			for _, b := range shelf {
				if b.poll.Author == u && b.day == day {
					n++
				}
			}
			return n
		}
		under := func(u domain.UserID, key string) *book {
			for i, b := range shelf {
				if key != "" && b.poll.Author == u && b.poll.IdempotencyKey == key {
					return &shelf[i]
				}
			}
			return nil
		}
		newPoll := rapid.Custom(func(t *rapid.T) domain.NewPoll {
			return domain.NewPoll{
				Author:         domain.UserID(rapid.IntRange(1, 3).Draw(t, "author")),
				IdempotencyKey: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "key"),
				Fingerprint:    [32]byte{rapid.SampledFrom([]byte{1, 1, 1, 2}).Draw(t, "body")},
			}
		})
		day := domain.Day(20000)
		for range rapid.IntRange(1, 4).Draw(t, "batches") {
			day += domain.Day(rapid.IntRange(0, 1).Draw(t, "midnight"))
			batch := rapid.SliceOfN(newPoll, 0, 12).Draw(t, "batch")
			facts := make([]domain.PublicationFact, len(batch))
			for i, p := range batch {
				facts[i] = domain.PublicationFact{AuthorExists: p.Author != 3, PollsToday: today(p.Author, day)}
				if b := under(p.Author, p.IdempotencyKey); b != nil {
					facts[i].Earlier = &domain.EarlierPublication{Poll: b.id, Fingerprint: b.poll.Fingerprint}
				}
			}
			got := domain.Rules{DailyPolls: limit}.JudgePublications(batch, facts)
			ids := make([]domain.PollID, len(batch)) // what each member is answered with
			for i, p := range batch {
				var code domain.Code
				before := under(p.Author, p.IdempotencyKey)
				switch {
				case p.Author == 3:
					code = domain.CodeUnauthorized
				case before != nil && before.poll.Fingerprint != p.Fingerprint:
					code = domain.CodeIdempotencyMismatch
				case before != nil:
					ids[i] = before.id
				case limit > 0 && today(p.Author, day) >= limit:
					code = domain.CodeDailyPollLimit
				default:
					ids[i] = domain.PollID(len(shelf) + 1)
					shelf = append(shelf, book{ids[i], day, p})
				}
				answer := got[i].Repeats
				switch {
				case got[i].RepeatsIndex >= i:
					t.Fatalf("%d repeats %d", i, got[i].RepeatsIndex)
				case got[i].RepeatsIndex >= 0:
					answer = ids[got[i].RepeatsIndex]
				case answer == 0 && got[i].Code == "":
					answer = ids[i]
					if before != nil {
						t.Fatalf("%d of %+v was published again", i, batch)
					}
				}
				if got[i].Code != code || answer != ids[i] {
					t.Fatalf("%d of %+v: %+v, answered with %d; want %q, %d", i, batch, got[i], answer, code, ids[i])
				}
			}
		}
	})
}

func FuzzJudge(f *testing.F) {
	f.Add([]byte{1, 1, 0, 0, 1, 1, 1, 0}, 1)
	f.Fuzz(func(t *testing.T, data []byte, limit int) {
		// Whatever the facts claim, even against each other: one verdict each,
		// a change only when accepted, and never over the limit by one's own doing.
		var batch []domain.Interaction
		var facts []domain.Fact
		for ; len(data) >= 4; data = data[4:] {
			batch = append(batch, domain.Interaction{
				User: domain.UserID(data[0] % 4), Poll: domain.PollID(data[1] % 8), Option: int(int8(data[2])), Skip: data[3]&1 > 0,
			})
			facts = append(facts, domain.Fact{
				UserExists: data[3]&2 == 0, PollExists: data[3]&4 == 0, State: domain.PollState(data[3] >> 4 & 3), Options: int(data[1] >> 4),
				VotesToday: int(data[0] >> 4), Prior: domain.Prior{Voted: data[3]&8 > 0, Skipped: data[3]&128 > 0},
			})
		}
		for i, v := range (domain.Rules{DailyVotes: limit}).Judge(batch, facts) {
			if v.Changed && v.Code != "" || v.Changed && !batch[i].Skip && limit > 0 && v.VotesToday > limit {
				t.Errorf("%+v, %+v: %+v under %d", batch[i], facts[i], v, limit)
			}
		}
	})
}

func TestHour(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at   time.Time
		hour domain.Hour
	}{
		{time.Unix(0, 0), 0}, {time.Unix(3599, 999), 0}, {time.Unix(3600, 0), 1}, {time.Unix(-1, 0), -1}, {time.Unix(-3600, 0), -1}, {time.Unix(-3601, 0), -2},
		{time.Date(2026, 3, 1, 12, 30, 0, 0, time.FixedZone("", 5400)), 492323},
	} {
		if got := domain.HourOf(c.at); got != c.hour || domain.HourOf(got.Start()) != got || got.Start().After(c.at) {
			t.Errorf("%v is in hour %d, which begins at %v, want %d", c.at, got, got.Start(), c.hour)
		}
	}
}

func TestMilestones(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		after, votes, next int64
		want               []int64
	}{
		{0, 0, 10, nil}, {0, 9, 10, nil}, {0, 10, 10, []int64{10}}, {10, 10, 100, nil}, {0, 150, 10, []int64{10, 100}},
		{10, 1000, 100, []int64{100, 1000}}, {55, 99, 100, nil}, {1000, 10, 10000, nil},
	} {
		if got := domain.Milestones(c.after, c.votes); !slices.Equal(got, c.want) {
			t.Errorf("after %d up to %d: %v, want %v", c.after, c.votes, got, c.want)
		}
		if got := domain.NextMilestone(c.after); got != c.next {
			t.Errorf("next after %d: %d, want %d", c.after, got, c.next)
		}
	}
	if got := domain.Milestones(0, math.MaxInt64); len(got) != 18 || got[17] != 1e18 {
		t.Errorf("all milestones: %v", got)
	}
}
