package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"vote/internal/api"
	"vote/internal/domain"
)

// TestPrecedence makes requests that deserve several refusals and holds the
// answer to the contract's order: unknown path 404 and 405; 415, 413, 400; 401;
// 429 rate_limited; 403; 404; 422; 409; 429 daily_vote_limit.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	const (
		broken  = `{"optionIndex":`
		invalid = `{"optionIndex":"x","colour":1}`
		good    = `{"optionIndex":0}`
	)
	foreign := `{"optionIndex":"x","userId":{jonas}}`
	huge := `{"optionIndex":"` + strings.Repeat("x", 70_000) + `"}`
	text := []string{"Content-Type", none, "Content-Type", "text/plain"}
	zip := []string{"Content-Encoding", "gzip"}
	idle, full := precedenceSite(t), precedenceSite(t)
	for range 20 {
		full.do("mira", "GET", "/api/users/me", "")
		full.do("mira", "POST", "/api/polls/{voted}/vote", good)
		full.do("", "GET", "/api/tags", "")
	}
	// Nothing below changes anything, so the cases can share these two.
	for _, c := range []struct {
		name    string
		as      string
		call    string
		body    string
		header  []string
		limited bool // the user's windows are full
		status  int
		code    string
	}{
		{"path before everything", "", "POST /api/nothing", broken, text, false, 404, "not_found"},
		{"method before everything", "", "PUT /api/polls/x/vote?a=%zz", broken, text, false, 405, "method_not_allowed"},
		{"415 before 413", "", "POST /api/polls/x/vote", huge, text, false, 415, "unsupported_media_type"},
		{"415 before 400", "", "POST /api/polls/x/vote?a=%zz", broken, text, false, 415, "unsupported_media_type"},
		{"415 before 401", "", "POST /api/polls/x/vote", good, zip, false, 415, "unsupported_media_type"},
		{"415 before 429", "mira", "POST /api/polls/x/vote", good, text, true, 415, "unsupported_media_type"},
		{"413 before 400", "", "POST /api/polls/x/vote?a=%zz", huge, nil, false, 413, "body_too_large"},
		{"413 before 401", "", "POST /api/polls/x/vote", huge, nil, false, 413, "body_too_large"},
		{"400 before 401", "", "POST /api/polls/x/vote", broken, nil, false, 400, "malformed"},
		{"400 before 401, the token invalid", "Bearer x", "POST /api/polls/x/vote", broken, nil, false, 400, "malformed"},
		{"400 of the query before 401", "", "POST /api/polls/{open}/vote?a=%", good, nil, false, 400, "malformed"},
		{"400 before 429", "mira", "POST /api/polls/x/vote", broken, nil, true, 400, "malformed"},
		{"400 before 403", "mira", "POST /api/polls/x/vote?userId={jonas}", broken, nil, false, 400, "malformed"},
		{"400 before 404", "mira", "POST /api/polls/x/vote", broken, nil, false, 400, "malformed"},
		{"400 of the feed before 401", "", "GET /api/polls?cursor=a&page=2", "", nil, false, 400, "malformed"},
		{"an unusable cursor before 401", "", "GET /api/polls?cursor=abc", "", nil, false, 400, "invalid_cursor"},
		{"an unusable cursor before 429", "mira", "GET /api/polls?cursor=abc", "", nil, true, 400, "invalid_cursor"},
		{"an unusable cursor before 403 and 422", "mira", "GET /api/polls?cursor=abc&userId={jonas}&limit=0", "", nil, false, 400, "invalid_cursor"},
		{"401 before 404", "", "POST /api/polls/x/vote", good, nil, false, 401, "unauthorized"},
		{"401 before 422", "", "POST /api/polls/{open}/vote", invalid, nil, false, 401, "unauthorized"},
		{"401 before 403", "Bearer x", "POST /api/polls/{open}/vote", foreign, nil, false, 401, "unauthorized"},
		{"429 before 403", "mira", "POST /api/polls/{open}/vote", foreign, nil, true, 429, "rate_limited"},
		{"429 before 404", "mira", "POST /api/polls/x/vote", good, nil, true, 429, "rate_limited"},
		{"429 before 422", "mira", "POST /api/polls/{open}/vote", invalid, nil, true, 429, "rate_limited"},
		{"429 before 422 of the feed", "mira", "GET /api/polls?limit=x", "", nil, true, 429, "rate_limited"},
		{"429 before 409", "mira", "POST /api/polls/{voted}/vote", good, nil, true, 429, "rate_limited"},
		{"429 before the daily limit", "mira", "POST /api/polls/{open}/vote", good, nil, true, 429, "rate_limited"},
		{"403 before 404", "mira", "POST /api/polls/x/vote", foreign, nil, false, 403, "forbidden"},
		{"403 before 422", "mira", "POST /api/polls/{open}/vote", foreign, nil, false, 403, "forbidden"},
		{"403 of the query before 404", "mira", "POST /api/polls/x/vote?userId={jonas}", good, nil, false, 403, "forbidden"},
		{"403 of the feed before 422", "mira", "GET /api/polls?userId={jonas}&limit=x", "", nil, false, 403, "forbidden"},
		{"403 of a poll's author before 422", "mira", "POST /api/polls", `{"userId":{jonas},"title":5}`, nil, false, 403, "forbidden"},
		{"404 before 422", "mira", "POST /api/polls/x/vote", invalid, nil, false, 404, "not_found"},
		{"404 before 422 of an unknown id", "mira", "POST /api/polls/12345/vote", invalid, nil, false, 404, "not_found"},
		{"404 of a hidden poll before 422", "mira", "POST /api/polls/{hidden}/vote", invalid, nil, false, 404, "not_found"},
		{"404 before 422 of a skip", "mira", "POST /api/polls/12345/skip", `{"x":1}`, nil, false, 404, "not_found"},
		{"404 before 422 of a format", "", "GET /api/polls/12345/stats?format=x", "", nil, false, 404, "not_found"},
		{"422 before 409", "mira", "POST /api/polls/{voted}/vote", invalid, nil, false, 422, "invalid"},
		{"422 of an option before 409", "mira", "POST /api/polls/{voted}/vote", `{"optionIndex":9}`, nil, false, 422, "invalid_option"},
		{"422 before closed", "mira", "POST /api/polls/{closed}/vote", invalid, nil, false, 422, "invalid"},
		{"422 of an option before closed", "mira", "POST /api/polls/{closed}/vote", `{"optionIndex":9}`, nil, false, 422, "invalid_option"},
		{"422 before the daily limit", "mira", "POST /api/polls/{open}/vote", `{"optionIndex":9}`, nil, false, 422, "invalid_option"},
		{"409 before the daily limit", "mira", "POST /api/polls/{voted}/vote", good, nil, false, 409, "already_voted"},
		{"closed before the daily limit", "mira", "POST /api/polls/{closed}/vote", good, nil, false, 409, "poll_closed"},
		{"the daily limit last", "mira", "POST /api/polls/{open}/vote", good, nil, false, 429, "daily_vote_limit"},
		{"429 before 401 of a login", "", "POST /api/auth/login", `{"email":"jonas@example.org","password":"wrong"}`, nil, true, 429, "rate_limited"},
		{"429 before 422 of a login", "", "POST /api/auth/login", `{"email":"jonas@example.org"}`, nil, true, 429, "rate_limited"},
		{"400 before 429 of a login", "", "POST /api/auth/login", `{"email":`, nil, true, 400, "malformed"},
	} {
		s := idle
		if c.limited {
			s = full
		} else {
			s.clock.add(time.Minute) // empties all windows; the day stays the same
		}
		method, target, _ := strings.Cut(c.call, " ")
		got := s.do(c.as, method, target, c.body, c.header...)
		if got.status != c.status || got.code() != c.code {
			t.Errorf("%s: %d %s, want %d %s", c.name, got.status, got.code(), c.status, c.code)
		}
		if got.status == http.StatusTooManyRequests && got.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", c.name)
		}
	}
}

// precedenceSite has a user, mira, who has cast the one vote of the day.
func precedenceSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, func(c *api.Config) {
		c.Limits = api.Limits{RequestsPerMinute: 20, VotesPerMinute: 20, DailyVotes: 1}
	})
	s.join("mira", "jonas")
	s.publish("jonas", "open", "voted", "closed", "hidden")
	if got := s.do("mira", "POST", "/api/polls/{voted}/vote", `{"optionIndex":1}`); got.status != http.StatusOK {
		t.Fatal(got.body)
	}
	s.setState("closed", domain.PollClosed)
	s.setState("hidden", domain.PollHidden)
	return s
}
