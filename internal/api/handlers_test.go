package api_test

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"vote/internal/api"
	"vote/internal/domain"
)

func TestCreatePoll(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira", "jonas")
	const good = `{"title":"Tea?","options":["Yes","No"],"tags":["food"]}`
	var first reply
	got := s.do("mira", "POST", "/api/polls", `{"title":"  Cafe\u0301? ","options":[" Yes","No "],"tags":["Food","FOOD","Été"]}`)
	if got.status != http.StatusCreated {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if fault := lacks("", map[string]any{
		"title": "Café?", "options": []any{"Yes", "No"}, "tags": []any{"food", "été"}, "totalVotes": 0.0, "createdAt": "2025-11-17T09:00:00Z",
	}, got.json(t)); fault != "" {
		t.Error(fault)
	}
	id := fmt.Sprintf("%.0f", got.json(t).(map[string]any)["id"])
	if want := "/api/polls/" + id; got.header.Get("Location") != want {
		t.Errorf("Location %q, want %q", got.header.Get("Location"), want)
	}
	if events := s.events(); !slices.Equal(events, []string{"poll.published poll/" + id}) {
		t.Errorf("events %q", events)
	}
	s.names["cafe"] = id
	s.run([]step{
		{name: "readable at once", call: "GET /api/polls/{cafe}", status: 200, want: `{"id":{cafe},"title":"Café?"}`},
		{name: "in the feed at once", as: "jonas", call: "GET /api/polls", status: 200, want: `{"polls":[{"id":{cafe},"author":{"id":{mira},"username":"mira"}}],"nextCursor":null,"page":1,"limit":10}`},
		{name: "older clients", as: "mira", call: "POST /api/polls", status: 403, code: "forbidden", body: `{"title":"Tea?","options":["Yes","No"],"tags":["food"],"userId":"{jonas}"}`},
		{
			name: "every fault at once", as: "mira", call: "POST /api/polls", status: 422, code: "invalid",
			body: `{"title":"","options":["A","A","",5],"tags":["ok","not ok",true],"colour":"red","Title":"x"}`,
			want: `{"errors":[{"field":"colour"},{"field":"Title"},{"field":"options[3]","message":"must be a string"},{"field":"tags[2]","message":"must be a string"},{"field":"title"},{"field":"options[1]","message":"is the same as options[0]"},{"field":"options[2]"},{"field":"tags[1]"}]}`,
		},
		{name: "nothing", as: "mira", call: "POST /api/polls", status: 422, code: "invalid", body: `{}`, want: `{"errors":[{"field":"title","message":"is required"},{"field":"options","message":"is required"},{"field":"tags","message":"is required"}]}`},
		{name: "one option", as: "mira", call: "POST /api/polls", status: 422, code: "invalid", body: `{"title":"a","options":["A"],"tags":["b"]}`, want: `{"errors":[{"field":"options","message":"must have 2 to 20 entries"}]}`},
		{name: "no tags", as: "mira", call: "POST /api/polls", status: 422, code: "invalid", body: `{"title":"a","options":["A","B"],"tags":[]}`, want: `{"errors":[{"field":"tags"}]}`},
		{name: "nobody", call: "POST /api/polls", status: 401, code: "unauthorized", body: good},
	})
	s.events()

	key := []string{"Idempotency-Key", "key 1"}
	s.run([]step{
		{name: "an empty key", as: "mira", call: "POST /api/polls", body: good, header: []string{"Idempotency-Key", ""}, status: 422, code: "invalid", want: `{"errors":[{"field":"Idempotency-Key"}]}`},
		{name: "a long key", as: "mira", call: "POST /api/polls", body: good, header: []string{"Idempotency-Key", strings.Repeat("k", 256)}, status: 422, code: "invalid"},
		{name: "a key that is not printable", as: "mira", call: "POST /api/polls", body: good, header: []string{"Idempotency-Key", "a\tb"}, status: 422, code: "invalid"},
		{name: "two keys", as: "mira", call: "POST /api/polls", body: good, header: []string{"Idempotency-Key", "a", "Idempotency-Key", "b"}, status: 422, code: "invalid"},
		{name: "a bad key is told with the rest", as: "mira", call: "POST /api/polls", body: `{"title":"a","options":["A","B"]}`, header: []string{"Idempotency-Key", "é"}, status: 422, code: "invalid", want: `{"errors":[{"field":"tags"},{"field":"Idempotency-Key"}]}`},
	})
	first = s.do("mira", "POST", "/api/polls", good, key...)
	if first.status != http.StatusCreated || len(s.events()) != 1 {
		t.Fatalf("%d %s", first.status, first.body)
	}
	s.names["tea"] = strings.TrimPrefix(first.header.Get("Location"), "/api/polls/")
	same := func(s *site, r reply) {
		if r.body != first.body || r.header.Get("Location") != first.header.Get("Location") {
			s.t.Errorf("the repetition got %s, the first %s", r.body, first.body)
		}
	}
	s.run([]step{
		{name: "again", as: "mira", call: "POST /api/polls", body: good, header: key, status: 201, then: same},
		{name: "written otherwise", as: "mira", call: "POST /api/polls", body: ` { "tags":["FOOD"], "options":["Yes ","No"], "title":"Tea?" }`, header: key, status: 201, then: same},
		{name: "another body", as: "mira", call: "POST /api/polls", body: `{"title":"Coffee?","options":["Yes","No"],"tags":["food"]}`, header: key, status: 422, code: "idempotency_mismatch"},
		{name: "after a vote", as: "jonas", call: "POST /api/polls/{tea}/vote", body: `{"optionIndex":0}`, status: 200, events: []string{"vote.cast poll/{tea}", "user.seen user/{jonas}"}},
		{name: "still the first answer", as: "mira", call: "POST /api/polls", body: good, header: key, status: 201, then: same},
	})
	other := s.do("jonas", "POST", "/api/polls", good, key...)
	if other.status != http.StatusCreated || other.body == first.body {
		t.Errorf("the key of another user: %d %s", other.status, other.body)
	}
	s.names["jonas.tea"] = strings.TrimPrefix(other.header.Get("Location"), "/api/polls/")
	s.events()
	s.run([]step{
		{name: "deleted", as: "jonas", call: "DELETE /api/polls/{jonas.tea}", status: 204},
		{name: "still the first answer", as: "jonas", call: "POST /api/polls", body: good, header: key, status: 201, then: func(s *site, r reply) {
			if r.body != other.body {
				s.t.Errorf("the repetition got %s, the first %s", r.body, other.body)
			}
		}},
	})
}

func TestVote(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *api.Config) { c.Limits.DailyVotes = 3 })
	s.join("mira", "jonas")
	s.publish("mira", "one", "two", "three", "four", "closed", "hidden")
	s.setState("closed", domain.PollClosed)
	s.setState("hidden", domain.PollHidden)
	s.events()
	s.run([]step{
		{
			as: "mira", call: "POST /api/polls/{one}/vote", body: `{"optionIndex":1}`, status: 200,
			want:   `{"pollId":{one},"optionIndex":1,"votesRemainingToday":2,"stats":{"pollId":{one},"version":1,"totalVotes":1,"totalSkips":0,"votes":[{"optionIndex":0,"option":"A","count":0,"percentage":0},{"optionIndex":1,"option":"B","count":1,"percentage":100},{"optionIndex":2,"option":"C","count":0,"percentage":0}],"updatedAt":"2025-11-17T09:00:00Z"}}`,
			events: []string{"vote.cast poll/{one}", "user.seen user/{mira}"},
		},
		{name: "again", as: "mira", call: "POST /api/polls/{one}/vote", body: `{"optionIndex":0}`, status: 409, code: "already_voted", want: `{"optionIndex":1}`},
		{name: "the same again", as: "mira", call: "POST /api/polls/{one}/vote", body: `{"optionIndex":1}`, status: 409, code: "already_voted", want: `{"optionIndex":1}`},
		{name: "skip after it", as: "mira", call: "POST /api/polls/{one}/skip", status: 409, code: "already_voted", want: `{"optionIndex":1}`},
		{
			name: "another user", as: "jonas", call: "POST /api/polls/{one}/vote", body: `{"optionIndex":2,"userId":{jonas}}`, status: 200,
			want:   `{"votesRemainingToday":2,"stats":{"version":2,"totalVotes":2,"votes":[{"percentage":0},{"percentage":50},{"percentage":50}]}}`,
			events: []string{"vote.cast poll/{one}", "user.seen user/{jonas}"},
		},
		{name: "user id as text", as: "jonas", call: "POST /api/polls/{two}/vote", body: `{"userId":"{jonas}","optionIndex":0}`, status: 200, events: []string{"vote.cast poll/{two}", "user.seen user/{jonas}"}},
		{name: "another's id", as: "jonas", call: "POST /api/polls/{three}/vote", body: `{"userId":"{mira}","optionIndex":0}`, status: 403, code: "forbidden"},
		{name: "another's id in the query", as: "jonas", call: "POST /api/polls/{three}/vote?userId={mira}", body: `{"optionIndex":0}`, status: 403, code: "forbidden"},
		{name: "no such option", as: "mira", call: "POST /api/polls/{two}/vote", body: `{"optionIndex":3}`, status: 422, code: "invalid_option"},
		{name: "below the first", as: "mira", call: "POST /api/polls/{two}/vote", body: `{"optionIndex":-1}`, status: 422, code: "invalid_option"},
		{name: "wrong type", as: "mira", call: "POST /api/polls/{two}/vote", body: `{"optionIndex":"1","userId":{}}`, status: 422, code: "invalid", want: `{"errors":[{"field":"optionIndex"},{"field":"userId"}]}`},
		{name: "missing", as: "mira", call: "POST /api/polls/{two}/vote", body: `{}`, status: 422, code: "invalid", want: `{"errors":[{"field":"optionIndex","message":"is required"}]}`},
		{name: "closed", as: "mira", call: "POST /api/polls/{closed}/vote", body: `{"optionIndex":1}`, status: 409, code: "poll_closed"},
		{name: "hidden", as: "mira", call: "POST /api/polls/{hidden}/vote", body: `{"optionIndex":1}`, status: 404, code: "not_found"},
		{name: "unknown", as: "mira", call: "POST /api/polls/1/vote", body: `{"optionIndex":1}`, status: 404, code: "not_found"},
		{name: "nobody", call: "POST /api/polls/{two}/vote", body: `{"optionIndex":1}`, status: 401, code: "unauthorized"},
		{name: "skip first", as: "mira", call: "POST /api/polls/{two}/skip", status: 200, events: []string{"vote.skipped poll/{two}", "user.seen user/{mira}"}},
		{name: "then vote", as: "mira", call: "POST /api/polls/{two}/vote", body: `{"optionIndex":1.0}`, status: 200, want: `{"stats":{"version":3,"totalVotes":2,"totalSkips":1}}`, events: []string{"vote.cast poll/{two}", "user.seen user/{mira}"}},
		{name: "the last of the day", as: "mira", call: "POST /api/polls/{three}/vote", body: `{"optionIndex":1}`, status: 200, want: `{"votesRemainingToday":0}`, events: []string{"vote.cast poll/{three}", "user.seen user/{mira}"}},
		{
			name: "one more", as: "mira", call: "POST /api/polls/{four}/vote", body: `{"optionIndex":1}`, status: 429, code: "daily_vote_limit",
			then: func(s *site, r reply) {
				if got := r.header.Get("Retry-After"); got != "54000" { // from 9:00 to midnight
					s.t.Errorf("Retry-After %s, want 54000", got)
				}
			},
		},
		{name: "a repetition at the limit", as: "mira", call: "POST /api/polls/{three}/vote", body: `{"optionIndex":1}`, status: 409, code: "already_voted"},
		{name: "skipping at the limit", as: "mira", call: "POST /api/polls/{four}/skip", status: 200, want: `{"pollId":{four},"skipped":true}`, events: []string{"vote.skipped poll/{four}", "user.seen user/{mira}"}},
	})
	s.clock.add(15 * time.Hour)
	s.run([]step{{name: "the next day", as: "mira", call: "POST /api/polls/{four}/vote", body: `{"optionIndex":1}`, status: 200, want: `{"votesRemainingToday":2,"stats":{"updatedAt":"2025-11-18T00:00:00Z"}}`, events: []string{"vote.cast poll/{four}", "user.seen user/{mira}"}}})
}

func TestVoteWithoutDailyLimit(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	s.publish("mira", "one")
	s.events()
	s.run([]step{
		{as: "mira", call: "POST /api/polls/{one}/vote", body: `{"optionIndex":0}`, status: 200, want: `{"votesRemainingToday":null}`, events: []string{"vote.cast poll/{one}", "user.seen user/{mira}"}},
		{as: "mira", call: "GET /api/users/me", status: 200, want: `{"votesToday":1,"votesRemainingToday":null}`},
	})
}

func TestSkip(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira", "jonas")
	s.publish("mira", "one", "two", "closed", "hidden")
	s.setState("closed", domain.PollClosed)
	s.setState("hidden", domain.PollHidden)
	s.events()
	s.run([]step{
		{as: "mira", call: "POST /api/polls/{one}/skip", status: 200, want: `{"pollId":{one},"skipped":true}`, events: []string{"vote.skipped poll/{one}", "user.seen user/{mira}"}},
		{name: "again", as: "mira", call: "POST /api/polls/{one}/skip", status: 200, want: `{"pollId":{one},"skipped":true}`},
		{name: "with an empty object", as: "mira", call: "POST /api/polls/{one}/skip", body: `{}`, status: 200},
		{name: "with the own id", as: "mira", call: "POST /api/polls/{two}/skip", body: `{"userId":{mira}}`, status: 200, events: []string{"vote.skipped poll/{two}", "user.seen user/{mira}"}},
		{name: "with another's", as: "mira", call: "POST /api/polls/{two}/skip", body: `{"userId":{jonas}}`, status: 403, code: "forbidden"},
		{name: "unknown field", as: "mira", call: "POST /api/polls/{two}/skip", body: `{"optionIndex":1}`, status: 422, code: "invalid", want: `{"errors":[{"field":"optionIndex","message":"is not a known field"}]}`},
		{name: "closed polls too", as: "mira", call: "POST /api/polls/{closed}/skip", status: 200, events: []string{"vote.skipped poll/{closed}", "user.seen user/{mira}"}},
		{name: "hidden", as: "mira", call: "POST /api/polls/{hidden}/skip", status: 404, code: "not_found"},
		{name: "unknown, and an unknown field", as: "mira", call: "POST /api/polls/77/skip", body: `{"x":1}`, status: 404, code: "not_found"},
		{name: "nobody", call: "POST /api/polls/{one}/skip", status: 401, code: "unauthorized"},
		{name: "a skip counts once", call: "GET /api/polls/{one}/stats", status: 200, want: `{"version":1,"totalVotes":0,"totalSkips":1}`},
	})
}

func TestInteractions(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *api.Config) { c.Limits.DailyVotes = 3 })
	s.join("mira", "jonas")
	s.publish("mira", "one", "two", "three", "four", "five", "closed")
	s.setState("closed", domain.PollClosed)
	s.events()
	s.run([]step{
		{
			name: "each for itself, in order", as: "mira", call: "POST /api/interactions", status: 200,
			body: `[{"pollId":{one},"optionIndex":0},{"pollId":"{two}","skip":true},{"pollId":{one},"optionIndex":1},{"pollId":{two},"optionIndex":2,"skip":false},
				{"pollId":{three},"optionIndex":9},{"pollId":5,"optionIndex":0},{"pollId":{closed},"optionIndex":0},{"pollId":{two},"skip":true},
				{"pollId":{three},"optionIndex":0},{"pollId":{four},"optionIndex":0},{"pollId":{four},"skip":true}]`,
			want: `[{"pollId":{one},"status":200,"optionIndex":0,"votesRemainingToday":2},{"pollId":{two},"status":200,"skipped":true},
				{"pollId":{one},"status":409,"code":"already_voted","optionIndex":0},{"pollId":{two},"status":200,"optionIndex":2,"votesRemainingToday":1},
				{"pollId":{three},"status":422,"code":"invalid_option"},{"pollId":5,"status":404,"code":"not_found"},{"pollId":{closed},"status":409,"code":"poll_closed"},
				{"pollId":{two},"status":409,"code":"already_voted","optionIndex":2},
				{"pollId":{three},"status":200,"votesRemainingToday":0},{"pollId":{four},"status":429,"code":"daily_vote_limit","retryAfter":54000},{"pollId":{four},"status":200,"skipped":true}]`,
			events: []string{"vote.cast poll/{one}", "vote.cast poll/{two}", "vote.cast poll/{three}", "vote.skipped poll/{two}", "vote.skipped poll/{four}", "user.seen user/{mira}"},
		},
		{name: "nothing of it is in the feed", as: "mira", call: "GET /api/polls", status: 200, want: `{"polls":[{"id":{five}}],"nextCursor":null}`},
		{
			name: "every fault at once", as: "mira", call: "POST /api/interactions", status: 422, code: "invalid",
			body: `[{"pollId":{five},"optionIndex":0},1,{"optionIndex":0},{"pollId":0,"skip":true},{"pollId":{five}},{"pollId":{five},"optionIndex":0,"skip":true},{"pollId":{five},"skip":1},{"pollId":{five},"optionIndex":"a","x":1},{"pollId":{five},"skip":false}]`,
			want: `{"errors":[{"field":"[1]","message":"must be an object"},{"field":"[2].pollId","message":"is required"},{"field":"[3].pollId"},{"field":"[4].optionIndex","message":"is required"},{"field":"[5].skip"},{"field":"[6].skip","message":"must be true or false"},{"field":"[6].optionIndex"},{"field":"[7].x"},{"field":"[7].optionIndex"},{"field":"[8].optionIndex"}]}`,
		},
		{name: "nothing", as: "mira", call: "POST /api/interactions", body: `[]`, status: 422, code: "invalid"},
		{name: "an object", as: "mira", call: "POST /api/interactions", body: `{}`, status: 422, code: "invalid", want: `{"errors":[{"field":"body","message":"must be a list"}]}`},
		{name: "too many", as: "mira", call: "POST /api/interactions", body: `[` + strings.Repeat(`{"pollId":{five},"skip":true},`, 100) + `{"pollId":{five},"skip":true}]`, status: 422, code: "invalid"},
		{name: "nobody", call: "POST /api/interactions", body: `[{"pollId":{five},"skip":true}]`, status: 401, code: "unauthorized"},
		{name: "another's id", as: "mira", call: "POST /api/interactions?userId={jonas}", body: `[{"pollId":{five},"skip":true}]`, status: 403, code: "forbidden"},
		{
			name: "a hundred", as: "jonas", call: "POST /api/interactions", status: 200,
			body:   `[` + strings.Repeat(`{"pollId":{one},"skip":true},`, 99) + `{"pollId":{one},"optionIndex":1}]`,
			events: []string{"vote.cast poll/{one}", "vote.skipped poll/{one}", "user.seen user/{jonas}"},
		},
	})
}

func TestFeed(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	for i, p := range []struct{ name, title, tags string }{
		{"p1", "Tea or coffee", `"food","drinks"`}, {"p2", "Cats", `"pets"`}, {"p3", "茶を飲みますか", `"food","日本"`}, {"p4", "Dogs and coffee", `"pets"`}, {"p5", "Trams", `"city"`},
	} {
		s.clock.add(time.Second)
		got := s.do("mira", "POST", "/api/polls", `{"title":"`+p.title+`","options":["A","B"],"tags":[`+p.tags+`]}`)
		if got.status != http.StatusCreated {
			t.Fatalf("poll %d: %s", i, got.body)
		}
		s.names[p.name] = strings.TrimPrefix(got.header.Get("Location"), "/api/polls/")
	}
	s.events()
	ids := func(names ...string) string {
		list := make([]string, len(names))
		for i, n := range names {
			list[i] = `{"id":{` + n + `}}`
		}
		return `{"polls":[` + strings.Join(list, ",") + `]}`
	}
	s.run([]step{
		{as: "mira", call: "GET /api/polls", status: 200, want: ids("p5", "p4", "p3", "p2", "p1")},
		{name: "every parameter empty that may be", as: "mira", call: "GET /api/polls?tag=&q=&cursor=&userId=", status: 200, want: ids("p5", "p4", "p3", "p2", "p1")},
		{name: "a tag, folded", as: "mira", call: "GET /api/polls?tag=FOOD", status: 200, want: ids("p3", "p1")},
		{name: "any of several", as: "mira", call: "GET /api/polls?tag=city&tag=drinks&tag=nothing", status: 200, want: ids("p5", "p1")},
		{name: "a tag of another script", as: "mira", call: "GET /api/polls?tag=%E6%97%A5%E6%9C%AC", status: 200, want: ids("p3")},
		{name: "search", as: "mira", call: "GET /api/polls?q=coffee", status: 200, want: ids("p4", "p1")},
		{name: "all words, the last as a prefix", as: "mira", call: "GET /api/polls?q=COFFEE+do", status: 200, want: ids("p4")},
		{name: "without spaces", as: "mira", call: "GET /api/polls?q=%E9%A3%B2%E3%81%BF", status: 200, want: ids("p3")},
		{name: "search within a tag", as: "mira", call: "GET /api/polls?q=coffee&tag=food", status: 200, want: ids("p1")},
		{name: "nothing to search for", as: "mira", call: "GET /api/polls?q=%21%3F", status: 200, want: `{"polls":[],"nextCursor":null}`},
		{name: "a page", as: "mira", call: "GET /api/polls?limit=2", status: 200, want: ids("p5", "p4"), then: keep("next", "nextCursor")},
		{name: "the next", as: "mira", call: "GET /api/polls?limit=2&cursor={next}", status: 200, want: ids("p3", "p2"), then: keep("next", "nextCursor")},
		{name: "seen meanwhile", as: "mira", call: "POST /api/polls/{p5}/skip", status: 200, events: []string{"vote.skipped poll/{p5}", "user.seen user/{mira}"}},
		{name: "the last", as: "mira", call: "GET /api/polls?limit=2&cursor={next}", status: 200, want: `{"polls":[{"id":{p1}}],"nextCursor":null,"page":3,"limit":2}`},
		{name: "by number", as: "mira", call: "GET /api/polls?limit=2&page=2", status: 200, want: `{"polls":[{"id":{p2}},{"id":{p1}}],"page":2}`},
		{name: "hot", as: "mira", call: "GET /api/polls?sort=hot&limit=100", status: 200},
		{name: "own id", as: "mira", call: "GET /api/polls?userId={mira}", status: 200, want: ids("p4", "p3", "p2", "p1")},
		{name: "unknown parameters", as: "mira", call: "GET /api/polls?limit=1&colour=red&limits=0", status: 200, want: ids("p4")},
		{name: "another's id", as: "mira", call: "GET /api/polls?userId=5", status: 403, code: "forbidden"},
		{name: "nobody", call: "GET /api/polls", status: 401, code: "unauthorized"},
		{
			name: "every fault at once", as: "mira", call: "GET /api/polls?limit=0&page=x&sort=best&tag=a+b&q=" + strings.Repeat("a", 201), status: 422, code: "invalid",
			want: `{"errors":[{"field":"limit"},{"field":"page"},{"field":"tag"},{"field":"q"},{"field":"sort"}]}`,
		},
		{name: "both ways to page", as: "mira", call: "GET /api/polls?cursor={next}&page=1", status: 400, code: "malformed"},
		{name: "a cursor of nobody", as: "mira", call: "GET /api/polls?cursor=abc", status: 400, code: "invalid_cursor"},
		{name: "a cursor of another order", as: "mira", call: "GET /api/polls?sort=hot&cursor={next}", status: 400, code: "invalid_cursor"},
	})
	got := s.do("mira", "GET", "/api/polls", "")
	if c := got.header.Get("Cache-Control"); c != "private, no-store" {
		t.Errorf("Cache-Control %q", c)
	}
}

func TestPollAndPopular(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira", "jonas")
	s.publish("mira", "one", "two", "three", "closed", "hidden")
	s.setState("closed", domain.PollClosed)
	s.setState("hidden", domain.PollHidden)
	s.events()
	s.run([]step{
		{call: "GET /api/polls/{one}", status: 200, want: `{"id":{one},"title":"one?","options":["A","B","C"],"tags":["test"],"author":{"id":{mira},"username":"mira"},"totalVotes":0}`, then: func(s *site, r reply) {
			if strings.Contains(r.body, "viewer") {
				s.t.Error("nobody is a viewer")
			}
		}},
		{as: "jonas", call: "GET /api/polls/{one}", status: 200, want: `{"viewer":{"voted":false,"optionIndex":null,"skipped":false}}`},
		{as: "jonas", call: "POST /api/polls/{one}/skip", status: 200, events: []string{"vote.skipped poll/{one}", "user.seen user/{jonas}"}},
		{as: "jonas", call: "POST /api/polls/{one}/vote", body: `{"optionIndex":2}`, status: 200, events: []string{"vote.cast poll/{one}", "user.seen user/{jonas}"}},
		{as: "jonas", call: "GET /api/polls/{one}", status: 200, want: `{"totalVotes":1,"viewer":{"voted":true,"optionIndex":2,"skipped":true}}`},
		{name: "an invalid token is nobody", as: "Bearer x", call: "GET /api/polls/{one}", status: 200, want: `{"totalVotes":1}`},
		{name: "closed", call: "GET /api/polls/{closed}", status: 200, want: `{"closed":true}`},
		{name: "closed, with a token", as: "mira", call: "GET /api/polls/{closed}", status: 200, want: `{"closed":true,"viewer":{"voted":false}}`},
		{name: "hidden", call: "GET /api/polls/{hidden}", status: 404, code: "not_found"},
		{name: "hidden, with a token", as: "mira", call: "GET /api/polls/{hidden}", status: 404, code: "not_found"},
		{name: "unknown", call: "GET /api/polls/99", status: 404, code: "not_found"},
		{call: "GET /api/polls/popular?limit=2", status: 200, want: `{"polls":[{},{}]}`},
		{call: "GET /api/polls/popular?limit=101", status: 422, code: "invalid"},

		{name: "not the author", as: "jonas", call: "DELETE /api/polls/{two}", status: 403, code: "forbidden"},
		{name: "nobody", call: "DELETE /api/polls/{two}", status: 401, code: "unauthorized"},
		{name: "has votes", as: "mira", call: "DELETE /api/polls/{one}", status: 409, code: "has_votes"},
		{name: "unknown", as: "mira", call: "DELETE /api/polls/99", status: 404, code: "not_found"},
		{name: "malformed", as: "mira", call: "DELETE /api/polls/abc", status: 404, code: "not_found"},
		{as: "mira", call: "DELETE /api/polls/{two}", status: 204},
		{name: "again", as: "mira", call: "DELETE /api/polls/{two}", status: 404, code: "not_found"},
		{call: "GET /api/polls/{two}", status: 404, code: "not_found"},
		{call: "GET /api/polls/{two}/stats", status: 404, code: "not_found"},
		{as: "jonas", call: "POST /api/polls/{two}/vote", body: `{"optionIndex":0}`, status: 404, code: "not_found"},
		{as: "jonas", call: "GET /api/polls", status: 200, want: `{"polls":[{"id":{three}}]}`},
	})
}

func TestStats(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira", "jonas", "ada")
	got := s.do("mira", "POST", "/api/polls", `{"title":"Which?","options":["=SUM(A1)","a, \"b\"","C"],"tags":["test"]}`)
	s.names["one"] = strings.TrimPrefix(got.header.Get("Location"), "/api/polls/")
	s.publish("mira", "two", "hidden")
	s.setState("hidden", domain.PollHidden)
	s.events()
	stats := "GET /api/polls/{one}/stats"
	vote := func(who, option string) step {
		return step{as: who, call: "POST /api/polls/{one}/vote", body: `{"optionIndex":` + option + `}`, status: 200, events: []string{"vote.cast poll/{one}", "user.seen user/{" + who + "}"}}
	}
	s.run([]step{
		{call: stats, status: 200, want: `{"pollId":{one},"version":0,"totalVotes":0,"totalSkips":0,"votes":[{"optionIndex":0,"option":"=SUM(A1)","count":0,"percentage":0},{"count":0},{"count":0}],"updatedAt":"2025-11-17T09:00:00Z"}`, then: func(s *site, r reply) { s.names["etag"] = r.header.Get("Etag") }},
		{name: "unchanged", call: stats, header: []string{"If-None-Match", "{etag}"}, status: 304, then: func(s *site, r reply) {
			if r.body != "" || r.header.Get("Etag") != s.names["etag"] || r.header.Get("Cache-Control") == "" {
				s.t.Errorf("304 with %q and %v", r.body, r.header)
			}
		}},
		{name: "unchanged, in a list, weak", call: stats, header: []string{"If-None-Match", `"other", W/{etag}`}, status: 304},
		{name: "any", call: stats, header: []string{"If-None-Match", `*`}, status: 304},
		{name: "another", call: stats, header: []string{"If-None-Match", `"other"`}, status: 200},
		{name: "unknown polls have no tag", call: "GET /api/polls/99/stats", header: []string{"If-None-Match", `*`}, status: 404, code: "not_found"},
		vote("mira", "0"), vote("jonas", "0"), vote("ada", "1"),
		{name: "changed", call: stats, header: []string{"If-None-Match", "{etag}"}, status: 200, want: `{"version":3,"totalVotes":3,"votes":[{"count":2,"percentage":66.7},{"count":1,"percentage":33.3},{"count":0,"percentage":0}]}`},
		{name: "unknown format", call: stats + "?format=xml", status: 422, code: "invalid", want: `{"errors":[{"field":"format"}]}`},
		{name: "unknown format of an unknown poll", call: "GET /api/polls/99/stats?format=xml", status: 404, code: "not_found"},
		{call: stats + "?format=csv", status: 200, then: func(s *site, r reply) {
			if got := r.header.Get("Content-Type"); !strings.HasPrefix(got, "text/csv") {
				s.t.Errorf("Content-Type %q", got)
			}
			if r.header.Get("Etag") == "" || r.header.Get("Etag") == s.names["etag"] || !strings.Contains(r.body, "\r\n") {
				s.t.Errorf("CSV: %v %q", r.header, r.body)
			}
			lines, err := csv.NewReader(strings.NewReader(r.body)).ReadAll()
			if err != nil {
				s.t.Fatal(err)
			}
			want := [][]string{
				{"pollId", "version", "totalVotes", "totalSkips", "optionIndex", "option", "count", "percentage", "updatedAt"},
				{s.names["one"], "3", "3", "0", "0", "'=SUM(A1)", "2", "66.7", "2025-11-17T09:00:00Z"},
				{s.names["one"], "3", "3", "0", "1", `a, "b"`, "1", "33.3", "2025-11-17T09:00:00Z"},
				{s.names["one"], "3", "3", "0", "2", "C", "0", "0.0", "2025-11-17T09:00:00Z"},
			}
			for i := range want {
				if i >= len(lines) || !slices.Equal(lines[i], want[i]) {
					s.t.Errorf("CSV: %q, want %q", lines, want)
					break
				}
			}
		}},
		{name: "several", call: "GET /api/stats?polls={two},{one},5,{hidden},{one}", status: 200, want: `{"items":[{"pollId":{two},"version":0},{"pollId":{one},"version":3}]}`},
		{name: "several, in parts", call: "GET /api/stats?polls={two}&polls={one}", status: 200, want: `{"items":[{"pollId":{two}},{"pollId":{one}}]}`},
		{name: "only unknown", call: "GET /api/stats?polls=5", status: 200, want: `{"items":[]}`},
		{name: "none", call: "GET /api/stats", status: 422, code: "invalid", want: `{"errors":[{"field":"polls","message":"is required"}]}`},
		{name: "not ids", call: "GET /api/stats?polls=1,x", status: 422, code: "invalid"},
		{name: "too many", call: "GET /api/stats?polls=" + manyIDs(101), status: 422, code: "invalid"},
		{name: "as many as may be", call: "GET /api/stats?polls=" + manyIDs(100), status: 200, want: `{"items":[]}`},
	})
}

func manyIDs(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(i + 1)
	}
	return strings.Join(list, ",")
}

func TestTags(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	for i, tags := range []string{`"city","food"`, `"city"`, `"cinema","city"`, `"日本"`} {
		if got := s.do("mira", "POST", "/api/polls", fmt.Sprintf(`{"title":"%d","options":["A","B"],"tags":[%s]}`, i, tags)); got.status != http.StatusCreated {
			t.Fatal(got.body)
		}
	}
	s.events()
	s.run([]step{
		{call: "GET /api/tags", status: 200, want: `{"items":[{"tag":"city","polls":3},{"tag":"cinema","polls":1},{"tag":"food","polls":1},{"tag":"日本","polls":1}]}`},
		{call: "GET /api/tags?limit=1", status: 200, want: `{"items":[{"tag":"city","polls":3}]}`},
		{call: "GET /api/tags?prefix=CI", status: 200, want: `{"items":[{"tag":"city"},{"tag":"cinema"}]}`},
		{call: "GET /api/tags?prefix=%E6%97%A5", status: 200, want: `{"items":[{"tag":"日本"}]}`},
		{call: "GET /api/tags?prefix=none", status: 200, want: `{"items":[]}`},
		{call: "GET /api/tags?limit=1000&prefix=" + strings.Repeat("a", 51), status: 422, code: "invalid", want: `{"errors":[{"field":"prefix"},{"field":"limit"}]}`},
	})
}

// TestHead holds HEAD to GET: the same status and headers, no body.
func TestHead(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	s.publish("mira", "one")
	address := s.listen(5 * time.Second)
	s.names["address"] = address
	for _, path := range []string{
		"/", "/docs", "/docs/errors", "/openapi.json", "/healthz", "/readyz", "/health", "/version", "/metrics", "/api/tags", "/api/polls", "/api/polls/popular",
		"/api/polls/{one}", "/api/polls/{one}/stats", "/api/stats?polls={one}", "/api/users/me", "/api/polls/5", "/nothing",
		"/create", "/me/votes", "/p/{one}", "/p/{one}/image.png", "/p/5", "/embed/{one}", "/oembed?url=http://{address}/p/{one}", "/sw.js", "/manifest.webmanifest",
	} {
		get := over(t, s, address, "GET", path)
		head := over(t, s, address, "HEAD", path)
		if head.body != "" {
			t.Errorf("HEAD %s has a body", path)
		}
		for _, h := range []string{"Content-Type", "Etag", "Cache-Control", "Vary"} {
			if get.header.Get(h) != head.header.Get(h) {
				t.Errorf("%s: %s is %q for GET and %q for HEAD", path, h, get.header.Get(h), head.header.Get(h))
			}
		}
		if get.status != head.status {
			t.Errorf("%s: %d for GET and %d for HEAD", path, get.status, head.status)
		}
	}
}
