package replay

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vote/internal/domain"
)

// staleness is how old counts may be, with some room for the way.
const staleness = 1500 * time.Millisecond

// stats are a poll's results as the server tells them.
type stats struct {
	PollID     int64 `json:"pollId"`
	Version    int64 `json:"version"`
	TotalVotes int64 `json:"totalVotes"`
	TotalSkips int64 `json:"totalSkips"`
	Votes      []struct {
		OptionIndex int     `json:"optionIndex"`
		Option      string  `json:"option"`
		Count       int64   `json:"count"`
		Percentage  float64 `json:"percentage"`
	} `json:"votes"`
}

// profile is a person's own profile.
type profile struct {
	VotesToday          int  `json:"votesToday"`
	VotesRemainingToday *int `json:"votesRemainingToday"`
	Totals              struct {
		Votes int `json:"votes"`
		Skips int `json:"skips"`
	} `json:"totals"`
}

func (r *run) profile(ctx context.Context, p *person) (profile, error) {
	var me profile
	o, err := r.player.call(ctx, p.request(http.MethodGet, "/api/users/me", nil))
	if err != nil {
		return me, err
	}
	return me, o.want(http.StatusOK, &me)
}

// differences gathers what is not as expected.
type differences struct {
	mu  sync.Mutex
	all []string
}

func (d *differences) add(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, fmt.Sprintf(format, args...))
}

// compare holds everything that the server tells against the tally.
func (r *run) compare(ctx context.Context, want *tally, report *ConversationReport) ([]string, error) {
	d := &differences{all: []string{}}
	r.compareAnswers(want, report, d)
	start := time.Now() // all answers were acknowledged before
	for {
		found := &differences{}
		if err := r.compareStats(ctx, want, found); err != nil {
			return nil, err
		}
		if len(found.all) == 0 || time.Since(start) > staleness {
			d.all = append(d.all, found.all...)
			break
		}
		if err := sleep(ctx, staleness/10); err != nil {
			return nil, err
		}
	}
	if err := r.compareFeeds(ctx, want, report, d); err != nil {
		return nil, err
	}
	slices.Sort(d.all)
	return d.all, nil
}

// compareAnswers holds what the server answered against what it should have.
func (r *run) compareAnswers(want *tally, report *ConversationReport, d *differences) {
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"votes accepted", report.Votes, want.votes},
		{"skips accepted", report.Skips, want.passes},
		{"repeated skips accepted", report.SkipsAgain, want.passedAgain},
		{"answers refused as already voted", report.Refused[domain.CodeAlreadyVoted], want.votedBefore},
		{"votes refused over the daily limit", report.Refused[domain.CodeDailyVoteLimit], want.overLimit},
		{"lines about no known statement", report.UnknownStatements, want.statementsOfNone},
	} {
		if c.got != c.want {
			d.add("%s: %d, the file says %d", c.what, c.got, c.want)
		}
	}
	for code, n := range report.Refused {
		if code != domain.CodeAlreadyVoted && code != domain.CodeDailyVoteLimit {
			d.add("answers refused with %s: %d, the file says 0", code, n)
		}
	}
	report.PeopleOverLimit = want.peopleOverLimit
}

// compareStats holds the statistics of every poll, asked for one by one and
// many at once, against the tally.
func (r *run) compareStats(ctx context.Context, want *tally, d *differences) error {
	done := r.bar.Enter("results", len(r.polls))
	type item struct {
		statement int
		by        *person
	}
	var items []item
	for i := range r.polls {
		items = append(items, item{i, r.persons[i%len(r.persons)]})
	}
	err := each(ctx, r.Concurrency, items, func(ctx context.Context, it item) error {
		defer done.Add(1)
		var s stats
		o, err := r.player.call(ctx, it.by.request(http.MethodGet, fmt.Sprintf("/api/polls/%d/stats", r.polls[it.statement]), nil))
		if err == nil {
			err = o.want(http.StatusOK, &s)
		}
		if err != nil {
			return err
		}
		r.compareStatement(want, it.statement, s, "", d)
		return nil
	})
	if err != nil {
		return err
	}
	const atOnce = 100
	for from := 0; from < len(r.polls); from += atOnce {
		chunk := r.polls[from:min(from+atOnce, len(r.polls))]
		var list []string
		for _, id := range chunk {
			list = append(list, strconv.FormatInt(id, 10))
		}
		var many struct {
			Items []stats `json:"items"`
		}
		// Without a token, as a visitor's page asks.
		o, err := r.player.call(ctx, request{method: http.MethodGet, path: "/api/stats?polls=" + strings.Join(list, ","), source: from / atOnce})
		if err == nil {
			err = o.want(http.StatusOK, &many)
		}
		if err != nil {
			return err
		}
		if len(many.Items) != len(chunk) {
			d.add("many results at once: %d of %d polls", len(many.Items), len(chunk))
			continue
		}
		for i, s := range many.Items {
			r.compareStatement(want, from+i, s, " among many", d)
		}
	}
	return nil
}

func (r *run) compareStatement(want *tally, i int, s stats, where string, d *differences) {
	id := r.statements[i].id
	counts := []int{want.agree[id], want.disagree[id]}
	total := int64(counts[0] + counts[1])
	differ := func(what string, got, want any) {
		d.add("statement %s (poll %d)%s: %s %v, the file says %v", id, r.polls[i], where, what, got, want)
	}
	if s.PollID != r.polls[i] {
		differ("poll", s.PollID, r.polls[i])
		return
	}
	if s.TotalVotes != total {
		differ("votes", s.TotalVotes, total)
	}
	if s.TotalSkips != int64(want.pass[id]) {
		differ("skips", s.TotalSkips, want.pass[id])
	}
	if v := total + int64(want.pass[id]); s.Version != v {
		differ("version", s.Version, v)
	}
	if len(s.Votes) != len(counts) {
		differ("options", len(s.Votes), len(counts))
		return
	}
	for j, v := range s.Votes {
		if v.OptionIndex != j || v.Option != optionTexts[j] {
			differ("option", v.Option, optionTexts[j])
		}
		if v.Count != int64(counts[j]) {
			differ(strings.ToLower(optionTexts[j]), v.Count, counts[j])
		}
		share := 0.0
		if total > 0 {
			share = 100 * float64(counts[j]) / float64(total)
		}
		if math.Abs(v.Percentage-share) > 0.0501 {
			differ("percentage", v.Percentage, share)
		}
	}
}

// compareFeeds walks the feeds of some people, from the most active to the
// least: nothing that the tally has as seen may be there, and everything else
// of the conversation must be, once.
func (r *run) compareFeeds(ctx context.Context, want *tally, report *ConversationReport, d *differences) error {
	walkers := spread(byActivity(r.persons), r.Walks)
	done := r.bar.Enter("feeds", len(walkers))
	var pages atomic.Int64
	type item struct {
		p   *person
		way walk
	}
	var items []item
	for i, p := range walkers {
		items = append(items, item{p, walk(i % walkWays)})
	}
	err := each(ctx, r.Concurrency, items, func(ctx context.Context, it item) error {
		defer done.Add(1)
		if err := r.compareProfile(ctx, want, it.p, d); err != nil {
			return err
		}
		got, n, err := r.walk(ctx, it.p, it.way)
		if err != nil {
			return err
		}
		pages.Add(int64(n))
		r.compareFeed(want, it.p, it.way, got, d)
		return nil
	})
	report.FeedsWalked, report.FeedPages = len(walkers), int(pages.Load())
	return err
}

// walk is a way through a feed.
type walk int

const (
	everything  walk = iota // the whole feed by cursor, down to the conversation's first poll
	tagByCursor             // the polls of this run by cursor
	tagByPage               // the polls of this run by page number
	walkWays    = 3
)

func (w walk) String() string {
	return [...]string{"the whole feed", "the tag's feed by cursor", "the tag's feed by page"}[w]
}

// walk returns the ids of a person's feed in order.
func (r *run) walk(ctx context.Context, p *person, way walk) (ids []int64, pages int, err error) {
	first := slices.Min(r.polls)
	query := url.Values{"limit": {"100"}}
	if way != everything {
		query.Set("tag", r.tag())
	}
	for {
		pages++
		if way == tagByPage {
			query.Set("page", strconv.Itoa(pages))
		}
		o, err := r.player.call(ctx, p.request(http.MethodGet, "/api/polls?"+query.Encode(), nil))
		if err != nil {
			return nil, 0, err
		}
		var page struct {
			Polls []struct {
				ID json.Number `json:"id"`
			} `json:"polls"`
			NextCursor *string `json:"nextCursor"`
		}
		if err := o.want(http.StatusOK, &page); err != nil {
			return nil, 0, err
		}
		for _, poll := range page.Polls {
			id, err := poll.ID.Int64()
			if err != nil {
				return nil, 0, err
			}
			ids = append(ids, id)
		}
		before := len(ids) - len(page.Polls)
		switch {
		case len(page.Polls) == 0,
			way != tagByPage && page.NextCursor == nil,
			way == everything && ids[len(ids)-1] < first,
			// A feed that goes round would otherwise be walked for ever.
			before > 0 && ids[len(ids)-1] >= ids[before-1]:
			return ids, pages, nil
		}
		if way != tagByPage {
			query.Set("cursor", *page.NextCursor)
		}
	}
}

// compareFeed holds the polls of a walk against what the person has not seen.
func (r *run) compareFeed(want *tally, p *person, way walk, got []int64, d *differences) {
	differ := func(format string, args ...any) {
		d.add("%s of person %s: %s", way, p.id, fmt.Sprintf(format, args...))
	}
	statements := make(map[int64]string)
	for i, id := range r.polls {
		statements[id] = r.statements[i].id
	}
	times := make(map[int64]int)
	for i, id := range got {
		if times[id]++; times[id] == 2 {
			differ("poll %d comes more than once", id)
		}
		if i > 0 && id > got[i-1] {
			differ("poll %d comes after the older %d", id, got[i-1])
		}
		if statement, ours := statements[id]; ours {
			if want.seen[p.id][statement] {
				differ("poll %d (statement %s) was seen before", id, statement)
			}
		} else if way != everything {
			differ("poll %d does not have the tag", id)
		}
	}
	for id, statement := range statements {
		if !want.seen[p.id][statement] && times[id] == 0 {
			differ("poll %d (statement %s) is missing", id, statement)
		}
	}
}

// compareProfile holds a person's numbers against the tally.
func (r *run) compareProfile(ctx context.Context, want *tally, p *person, d *differences) error {
	me, err := r.profile(ctx, p)
	if err != nil {
		return err
	}
	differ := func(what string, got, want int) {
		if got != want {
			d.add("profile of person %s: %s %d, the file says %d", p.id, what, got, want)
		}
	}
	votes := want.voted[p.id]
	differ("votes", me.Totals.Votes, votes)
	differ("skips", me.Totals.Skips, want.passed[p.id])
	if r.crossedMidnight() {
		return nil // what is of today is no longer what was voted
	}
	differ("votes today", me.VotesToday, votes)
	if me.VotesRemainingToday != nil {
		differ("votes left today", *me.VotesRemainingToday, r.DailyLimit-votes)
	} else if r.DailyLimit > 0 {
		d.add("profile of person %s: no daily limit, it should be %d", p.id, r.DailyLimit)
	}
	return nil
}
