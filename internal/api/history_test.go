package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"vote/internal/domain"
)

type listReply struct {
	Items []struct {
		ID     int64 `json:"id"`
		PollID int64 `json:"pollId"`
	} `json:"items"`
	NextCursor *string `json:"nextCursor"`
}

// walk reads a list by pages and returns the polls in it.
func (s *site) walk(as, path string, limit int) (polls []string) {
	s.t.Helper()
	for cursor := ""; ; {
		got := s.do(as, "GET", fmt.Sprintf("%s?limit=%d&cursor=%s", path, limit, cursor), "")
		var page listReply
		got.into(&page)
		if got.status != http.StatusOK || len(page.Items) > limit {
			s.t.Fatalf("%s: %d %s", path, got.status, got.body)
		}
		for _, item := range page.Items {
			polls = append(polls, fmt.Sprint(item.PollID+item.ID))
		}
		if page.NextCursor == nil {
			return polls
		}
		if len(page.Items) == 0 {
			s.t.Fatal("an empty page has a cursor")
		}
		cursor = *page.NextCursor
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira", "jonas")
	s.publish("mira", "one", "two", "three", "closed", "hidden", "gone")
	seen := func(name, kind string) []string {
		return []string{kind + " poll/{" + name + "}", "user.seen user/{jonas}"}
	}
	s.run([]step{
		{name: "nothing yet", as: "jonas", call: "GET /api/users/me/votes", status: 200, want: `{"items":[],"nextCursor":null}`},
		{as: "jonas", call: "POST /api/polls/{two}/skip", status: 200, events: seen("two", "vote.skipped")},
		{as: "jonas", call: "POST /api/polls/{three}/vote", body: `{"optionIndex":2}`, status: 200, events: seen("three", "vote.cast")},
		{as: "jonas", call: "POST /api/polls/{two}/vote", body: `{"optionIndex":0}`, status: 200, events: seen("two", "vote.cast")},
		{as: "jonas", call: "POST /api/polls/{one}/skip", status: 200, events: seen("one", "vote.skipped")},
		{as: "jonas", call: "POST /api/polls/{hidden}/vote", body: `{"optionIndex":1}`, status: 200, events: seen("hidden", "vote.cast")},
		{as: "jonas", call: "POST /api/polls/{gone}/skip", status: 200, events: seen("gone", "vote.skipped")},
		{as: "mira", call: "DELETE /api/polls/{gone}", status: 204},
	})
	s.setState("hidden", domain.PollHidden)
	s.setState("closed", domain.PollClosed)
	const at = `"createdAt":"2025-11-17T09:00:00Z"`
	s.run([]step{
		{as: "jonas", call: "GET /api/users/me/votes", status: 200, want: `{"items":[
			{"pollId":{hidden},"title":null,"optionIndex":1,"option":null,` + at + `},
			{"pollId":{two},"title":"two?","optionIndex":0,"option":"A",` + at + `},
			{"pollId":{three},"title":"three?","optionIndex":2,"option":"C",` + at + `}],"nextCursor":null}`},
		{as: "jonas", call: "GET /api/users/me/skips?cursor=", status: 200, want: `{"items":[
			{"pollId":{gone},"title":null,` + at + `},{"pollId":{one},"title":"one?",` + at + `},{"pollId":{two},"title":"two?",` + at + `}],"nextCursor":null}`},
		{as: "mira", call: "GET /api/users/me/polls", status: 200, want: `{"items":[
			{"id":{hidden},"state":"hidden","title":"hidden?","options":["A","B","C"],"tags":["test"],"author":{"id":{mira},"username":"mira"},"totalVotes":1},
			{"id":{closed},"state":"closed"},{"id":{three},"state":"open","totalVotes":1},{"id":{two}},{"id":{one},"totalVotes":0,` + at + `}],"nextCursor":null}`},
		{name: "another's", as: "mira", call: "GET /api/users/me/votes", status: 200, want: `{"items":[]}`},
		{name: "another's id", as: "mira", call: "GET /api/users/me/votes?userId={jonas}", status: 403, code: "forbidden"},
		{name: "nobody's", call: "GET /api/users/me/votes", status: 401, code: "unauthorized"},
		{name: "every fault", as: "mira", call: "GET /api/users/me/skips?limit=0&userId=x", status: 422, code: "invalid", want: `{"errors":[{"field":"userId"},{"field":"limit"}]}`},
	})
	ids := func(names ...string) (list []string) {
		for _, n := range names {
			list = append(list, s.names[n])
		}
		return list
	}
	for limit := 1; limit <= 4; limit++ {
		for path, want := range map[string][]string{"votes": ids("hidden", "two", "three"), "skips": ids("gone", "one", "two")} {
			if got := s.walk("jonas", "/api/users/me/"+path, limit); !slices.Equal(got, want) {
				t.Errorf("%s by %d: %v, want %v", path, limit, got, want)
			}
		}
		if got, want := s.walk("mira", "/api/users/me/polls", limit), ids("hidden", "closed", "three", "two", "one"); !slices.Equal(got, want) {
			t.Errorf("polls by %d: %v, want %v", limit, got, want)
		}
	}
	// A cursor is one of its list only.
	var page listReply
	s.do("jonas", "GET", "/api/users/me/votes?limit=1", "").into(&page)
	for _, path := range []string{"votes", "skips", "polls", "notifications"} {
		got := s.do("jonas", "GET", "/api/users/me/"+path+"?cursor="+*page.NextCursor, "")
		if ok := got.status == http.StatusOK; ok != (path == "votes") || !ok && got.code() != "invalid_cursor" {
			t.Errorf("a cursor of votes for %s: %d %s", path, got.status, got.body)
		}
	}
	if got := s.do("jonas", "GET", "/api/polls?cursor="+*page.NextCursor, ""); got.code() != "invalid_cursor" {
		t.Errorf("a cursor of votes for the feed: %d", got.status)
	}
	// It stays right while votes are added.
	s.do("jonas", "POST", "/api/polls/{one}/vote", `{"optionIndex":0}`)
	var rest listReply
	s.do("jonas", "GET", "/api/users/me/votes?cursor="+*page.NextCursor, "").into(&rest)
	if len(rest.Items) != 2 || fmt.Sprint(rest.Items[0].PollID) != s.names["two"] {
		t.Errorf("the rest is %+v", rest)
	}
}

func TestNotifications(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	voters := make([]string, domain.FirstMilestone)
	for i := range voters {
		voters[i] = fmt.Sprint("voter", i)
	}
	s.join("mira")
	s.join(voters...)
	s.publish("mira", "one", "two")
	for i, v := range voters {
		s.do(v, "POST", "/api/polls/{one}/vote", `{"optionIndex":0}`)
		if i > 0 {
			s.do(v, "POST", "/api/polls/{two}/vote", `{"optionIndex":0}`)
		}
	}
	s.consume()
	const told = `{"items":[{"type":"milestone","pollId":{one},"title":"one?","votes":10,"createdAt":"2025-11-17T09:00:00Z"}],"nextCursor":null}`
	s.run([]step{
		{as: "mira", call: "GET /api/users/me/notifications", status: 200, want: told},
		{as: "voter0", call: "GET /api/users/me/notifications", status: 200, want: `{"items":[]}`},
		{call: "GET /api/users/me/notifications", status: 401, code: "unauthorized"},
	})
	s.setState("one", domain.PollHidden)
	s.run([]step{{as: "mira", call: "GET /api/users/me/notifications", status: 200, want: strings.Replace(told, `"one?"`, "null", 1)}})
	s.fingerprint() // which holds storage to its rules
}

func TestAnalytics(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira", "jonas")
	s.publish("mira", "one", "hidden", "gone")
	s.setState("hidden", domain.PollHidden)
	s.do("mira", "DELETE", "/api/polls/{gone}", "")
	const path = "/api/polls/{one}/analytics"
	s.do("jonas", "GET", "/api/polls", "")
	s.do("mira", "GET", "/api/polls", "")
	s.do("jonas", "POST", "/api/polls/{one}/vote", `{"optionIndex":2}`)
	s.clock.add(23 * time.Hour) // tokens live for 24
	s.do("mira", "GET", "/api/polls", "")
	s.do("mira", "POST", "/api/polls/{one}/skip", "")
	s.do("mira", "POST", "/api/polls/{one}/vote", `{"optionIndex":0}`)
	s.consume()
	eventually(t, "what was shown is counted", func() bool {
		return strings.HasSuffix(s.do("", "GET", path+"?from=2025-11-16T00:00:00Z", "").body, `"shown":3}}`)
	})
	s.run([]step{
		{
			name: "hours, empty ones too", call: "GET " + path + "?from=2025-11-17T08:59:59Z&to=2025-11-17T10:00:01Z", status: 200,
			want: `{"pollId":{one},"bucket":"hour","buckets":[
				{"start":"2025-11-17T08:00:00Z","votes":[0,0,0],"skips":0,"shown":0,"answerRate":null,"skipRate":null},
				{"start":"2025-11-17T09:00:00Z","votes":[0,0,1],"skips":0,"shown":2,"answerRate":0.5,"skipRate":0},
				{"start":"2025-11-17T10:00:00Z","votes":[0,0,0],"skips":0,"shown":0,"answerRate":null,"skipRate":null}],
				"totals":{"votes":[0,0,1],"skips":0,"shown":2}}`,
		},
		{
			name: "days", call: "GET " + path + "?bucket=day&from=2025-11-17T23:59:59Z&to=2025-11-18T00:00:01%2B00:00", status: 200,
			want: `{"bucket":"day","buckets":[
				{"start":"2025-11-17T00:00:00Z","votes":[0,0,1],"skips":0,"shown":2,"answerRate":0.5,"skipRate":0},
				{"start":"2025-11-18T00:00:00Z","votes":[1,0,0],"skips":1,"shown":1,"answerRate":1,"skipRate":1}],
				"totals":{"votes":[1,0,1],"skips":1,"shown":3}}`,
		},
		{name: "a day of hours unless told otherwise", call: "GET " + path, status: 200, want: `{"totals":{"votes":[1,0,1],"skips":1,"shown":3}}`, then: func(s *site, r reply) {
			if n := strings.Count(r.body, `"start"`); n != 24 || !strings.Contains(r.body, `"buckets":[{"start":"2025-11-17T09:00:00Z"`) {
				s.t.Errorf("%d buckets: %.100s", n, r.body)
			}
		}},
		{name: "thirty days unless told otherwise", call: "GET " + path + "?bucket=day", status: 200, want: `{"totals":{"votes":[1,0,1],"skips":1,"shown":3}}`, then: func(s *site, r reply) {
			if n := strings.Count(r.body, `"start"`); n != 30 || !strings.Contains(r.body, `"buckets":[{"start":"2025-10-20T00:00:00Z"`) {
				s.t.Errorf("%d buckets: %.100s", n, r.body)
			}
		}},
		{name: "the longest", call: "GET " + path + "?from=2025-11-01T00:00:00Z&to=2025-12-02T00:00:00Z", status: 200, want: `{"totals":{"votes":[1,0,1],"skips":1,"shown":3}}`},
		{name: "too long", call: "GET " + path + "?from=2025-11-01T00:00:00Z&to=2025-12-02T00:00:01Z", status: 422, code: "invalid", want: `{"errors":[{"field":"to"}]}`},
		{name: "a leap year", call: "GET " + path + "?bucket=day&from=2024-01-01T00:00:00Z&to=2025-01-01T00:00:00Z", status: 200, want: `{"totals":{"votes":[0,0,0],"skips":0,"shown":0}}`},
		{name: "not before the end", call: "GET " + path + "?from=2025-11-17T10:00:00Z&to=2025-11-17T10:00:00Z", status: 422, code: "invalid", want: `{"errors":[{"field":"to","message":"must be after from"}]}`},
		{name: "in the future", call: "GET " + path + "?from=2025-11-18T12:00:00Z", status: 422, code: "invalid", want: `{"errors":[{"field":"from"}]}`},
		{name: "every fault", call: "GET " + path + "?bucket=week&from=x&to=y", status: 422, code: "invalid", want: `{"errors":[{"field":"bucket"},{"field":"from"},{"field":"to"}]}`},
		{name: "hidden", call: "GET /api/polls/{hidden}/analytics?bucket=week", status: 404, code: "not_found"},
		{name: "deleted", call: "GET /api/polls/{gone}/analytics", status: 404, code: "not_found"},
		{name: "malformed", call: "GET /api/polls/x/analytics", status: 404, code: "not_found"},
	})
	s.fingerprint()
}
