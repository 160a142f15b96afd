package replay

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"vote/internal/domain"
)

// Report is what a replay did and found.
type Report struct {
	Servers       []string             `json:"servers"`
	Conversations []ConversationReport `json:"conversations"`
}

// ConversationReport is what the replay of one conversation did and found.
// Durations are in milliseconds.
type ConversationReport struct {
	Name string `json:"name"`
	Run  string `json:"run"` // marks the polls of this run: the tag is replay- and this
	// What the files hold.
	Statements        int `json:"statements"`
	CutTitles         int `json:"cutTitles"`
	JoinedTitles      int `json:"joinedTitles"` // line breaks in them became a space
	People            int `json:"people"`
	Answers           int `json:"answers"`
	OutOfOrder        int `json:"outOfOrder"`        // lines whose time is before that of the line above
	RepeatedPairs     int `json:"repeatedPairs"`     // person and statement with more than one answer
	UnknownStatements int `json:"unknownStatements"` // lines left out
	// What the server answered.
	DailyLimit      int                 `json:"dailyLimit"` // 0: none
	PeopleOverLimit int                 `json:"peopleOverLimit"`
	Votes           int                 `json:"votes"`
	Skips           int                 `json:"skips"`
	SkipsAgain      int                 `json:"skipsAgain"` // accepted, and nothing changed
	Refused         map[domain.Code]int `json:"refused"`
	Waits           int                 `json:"waits"` // times that a request waited as told, by a rate limit or a full server
	WaitedMs        int64               `json:"waitedMs"`
	Repeats         int                 `json:"repeats"` // tries again after a 503 or a lost connection
	FeedsWalked     int                 `json:"feedsWalked"`
	FeedPages       int                 `json:"feedPages"`
	CrossedMidnight bool                `json:"crossedMidnight"`
	// How fast.
	TookMs           int64   `json:"tookMs"` // all answers, waits included
	AnswersPerSecond float64 `json:"answersPerSecond"`
	VotesPerSecond   float64 `json:"votesPerSecond"`
	VoteLatency      Latency `json:"voteLatency"`
	SkipLatency      Latency `json:"skipLatency"`
	// Differences are everything in which the server is not as the file says.
	Differences []string `json:"differences"`
}

// Latency is how long single requests took, refused ones included, in milliseconds.
type Latency struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
}

// Different reports whether any result differs.
func (r Report) Different() bool {
	return slices.ContainsFunc(r.Conversations, func(c ConversationReport) bool { return len(c.Differences) > 0 })
}

// Inconclusive reports whether a daily limit and a midnight during the run keep
// differences from meaning anything.
func (c ConversationReport) Inconclusive() bool {
	return c.CrossedMidnight && c.DailyLimit > 0 && len(c.Differences) > 0
}

// report sums up what was sent and answered.
func (r *run) report(took time.Duration) ConversationReport {
	c := ConversationReport{
		Name: r.name, Run: r.id, Statements: len(r.statements), People: len(r.persons),
		Answers: r.conversation.answers, OutOfOrder: r.outOfOrder, UnknownStatements: r.unknown,
		DailyLimit: r.DailyLimit, Refused: make(map[domain.Code]int), CrossedMidnight: r.crossedMidnight(),
		Waits: int(r.player.waits.Load()), WaitedMs: r.player.waited.Load() / int64(time.Millisecond), Repeats: int(r.player.repeats.Load()),
		TookMs: took.Milliseconds(),
	}
	for _, s := range r.statements {
		if s.cut {
			c.CutTitles++
		}
		if s.joined {
			c.JoinedTitles++
		}
	}
	var votes, skips []time.Duration
	for _, p := range r.persons {
		times := make(map[int]int)
		for _, a := range p.answers {
			if times[a.statement]++; times[a.statement] == 2 {
				c.RepeatedPairs++
			}
		}
		c.Votes += p.tally.votes
		c.Skips += p.tally.skips
		c.SkipsAgain += p.tally.skipsAgain
		for code, n := range p.tally.refused {
			c.Refused[code] += n
		}
		votes = append(votes, p.tally.voteTimes...)
		skips = append(skips, p.tally.skipTimes...)
	}
	c.VoteLatency, c.SkipLatency = latency(votes), latency(skips)
	if s := took.Seconds(); s > 0 {
		c.AnswersPerSecond = float64(c.Answers) / s
		c.VotesPerSecond = float64(c.Votes) / s
	}
	return c
}

func latency(times []time.Duration) Latency {
	if len(times) == 0 {
		return Latency{}
	}
	slices.Sort(times)
	at := func(percent int) float64 {
		return float64(times[(len(times)-1)*percent/100]) / float64(time.Millisecond)
	}
	return Latency{at(50), at(90), at(99)}
}

// shownDifferences is how many differences of a conversation the table shows.
const shownDifferences = 20

// WriteTable writes the report for people to read.
func (r Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name string, cell func(ConversationReport) string) {
		_, _ = fmt.Fprint(t, name) // an error shows at Flush
		for _, c := range r.Conversations {
			_, _ = fmt.Fprint(t, "\t", cell(c))
		}
		_, _ = fmt.Fprintln(t)
	}
	number := func(name string, cell func(ConversationReport) int) {
		row(name, func(c ConversationReport) string { return strconv.Itoa(cell(c)) })
	}
	row("conversation", func(c ConversationReport) string { return c.Name })
	row("run", func(c ConversationReport) string { return c.Run })
	number("statements", func(c ConversationReport) int { return c.Statements })
	number("  with line breaks, now spaces", func(c ConversationReport) int { return c.JoinedTitles })
	number("  too long for a title, cut", func(c ConversationReport) int { return c.CutTitles })
	number("people", func(c ConversationReport) int { return c.People })
	number("answers", func(c ConversationReport) int { return c.Answers })
	number("  lines out of time order", func(c ConversationReport) int { return c.OutOfOrder })
	number("  answered more than once", func(c ConversationReport) int { return c.RepeatedPairs })
	number("  of unknown statements, left out", func(c ConversationReport) int { return c.UnknownStatements })
	number("votes", func(c ConversationReport) int { return c.Votes })
	number("skips", func(c ConversationReport) int { return c.Skips })
	number("skips again, harmless", func(c ConversationReport) int { return c.SkipsAgain })
	row("daily limit", func(c ConversationReport) string {
		if c.DailyLimit == 0 {
			return "off"
		}
		return strconv.Itoa(c.DailyLimit)
	})
	number("  people over it", func(c ConversationReport) int { return c.PeopleOverLimit })
	codes := map[domain.Code]bool{domain.CodeAlreadyVoted: true, domain.CodeDailyVoteLimit: true}
	for _, c := range r.Conversations {
		for code := range c.Refused {
			codes[code] = true
		}
	}
	var sorted []domain.Code
	for code := range codes {
		sorted = append(sorted, code)
	}
	slices.Sort(sorted)
	for _, code := range sorted {
		number("refused: "+string(code), func(c ConversationReport) int { return c.Refused[code] })
	}
	row("waits as told", func(c ConversationReport) string {
		return fmt.Sprintf("%d (%v in all)", c.Waits, (time.Duration(c.WaitedMs) * time.Millisecond).Round(time.Second))
	})
	number("repeated after 503 or a lost answer", func(c ConversationReport) int { return c.Repeats })
	row("took", func(c ConversationReport) string {
		return (time.Duration(c.TookMs) * time.Millisecond).Round(10 * time.Millisecond).String()
	})
	row("answers, votes a second", func(c ConversationReport) string {
		return fmt.Sprintf("%.0f, %.0f", c.AnswersPerSecond, c.VotesPerSecond)
	})
	times := func(l Latency) string { return fmt.Sprintf("%.1f, %.1f, %.1f ms", l.P50, l.P90, l.P99) }
	row("vote p50, p90, p99", func(c ConversationReport) string { return times(c.VoteLatency) })
	row("skip p50, p90, p99", func(c ConversationReport) string { return times(c.SkipLatency) })
	row("feeds walked", func(c ConversationReport) string { return fmt.Sprintf("%d (%d pages)", c.FeedsWalked, c.FeedPages) })
	row("differences", func(c ConversationReport) string {
		switch n := len(c.Differences); {
		case n == 0:
			return "none"
		case c.Inconclusive():
			return fmt.Sprintf("%d, over midnight", n)
		default:
			return strconv.Itoa(n)
		}
	})
	if err := t.Flush(); err != nil {
		return err
	}
	for _, c := range r.Conversations {
		if c.CrossedMidnight {
			if _, err := fmt.Fprintf(w, "\n%s: midnight, UTC, passed during the run; with a daily limit its results can't be compared.\n", c.Name); err != nil {
				return err
			}
		}
		for i, text := range c.Differences {
			if i == shownDifferences {
				text = fmt.Sprintf("... and %d more", len(c.Differences)-i)
			}
			if _, err := fmt.Fprintf(w, "\n%s: %s", c.Name, text); err != nil {
				return err
			}
			if i == shownDifferences {
				break
			}
		}
		if len(c.Differences) > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
	}
	return nil
}
