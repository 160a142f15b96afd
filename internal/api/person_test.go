package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"vote/internal/api"
	"vote/internal/domain"
)

func TestSessions(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira", "jonas")
	s.names["first"] = s.session("mira")
	s.clock.add(time.Minute)
	s.login("mira", "phone")
	s.clock.add(time.Minute)
	s.login("mira", "tablet")
	s.run([]step{
		{as: "phone", call: "GET /api/users/me/sessions", status: 200, want: `{"items":[
			{"id":"{tablet}","createdAt":"2025-11-17T09:02:00Z","current":false},{"id":"{phone}","createdAt":"2025-11-17T09:01:00Z","current":true},
			{"id":"{first}","createdAt":"2025-11-17T09:00:00Z","current":false}],"nextCursor":null}`},
		{
			name: "in pages", as: "mira", call: "GET /api/users/me/sessions?limit=2", status: 200, want: `{"items":[{"id":"{tablet}"},{"id":"{phone}"}]}`,
			then: keep("next", "nextCursor"),
		},
		{as: "mira", call: "GET /api/users/me/sessions?limit=2&cursor={next}", status: 200, want: `{"items":[{"id":"{first}","current":true}],"nextCursor":null}`},
		{name: "of nobody", call: "GET /api/users/me/sessions", status: 401, code: "unauthorized"},
		{name: "an unusable cursor first of all", call: "GET /api/users/me/sessions?cursor=abc", status: 400, code: "invalid_cursor"},
		{name: "limits", as: "mira", call: "GET /api/users/me/sessions?limit=101", status: 422, code: "invalid"},
		{name: "for another", as: "mira", call: "GET /api/users/me/sessions?userId={jonas}", status: 403, code: "forbidden"},
		{name: "somebody else's", as: "jonas", call: "DELETE /api/users/me/sessions/{phone}", status: 404, code: "not_found"},
		{name: "none", as: "mira", call: "DELETE /api/users/me/sessions/AAAAAAAAAAAAAAAAAAAAAA", status: 404, code: "not_found"},
		{name: "one of one's own", as: "mira", call: "DELETE /api/users/me/sessions/{phone}", status: 204},
		{name: "repeated", as: "mira", call: "DELETE /api/users/me/sessions/{phone}", status: 204},
		{name: "it ended", as: "phone", call: "GET /api/users/me", status: 401, code: "unauthorized"},
		{name: "it ended for refreshing too", call: "POST /api/auth/refresh", body: `{"refreshToken":"{phone.refresh}"}`, status: 401, code: "invalid_refresh_token"},
		{name: "and is not listed", as: "mira", call: "GET /api/users/me/sessions", status: 200, want: `{"items":[{"id":"{tablet}"},{"id":"{first}"}]}`},
		{name: "the current one", as: "mira", call: "DELETE /api/users/me/sessions/{first}", status: 204},
		{name: "ended", as: "mira", call: "GET /api/users/me", status: 401, code: "unauthorized"},
	})
}

func TestUpdateMe(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira", "jonas", "eve")
	s.login("mira", "phone")
	s.publish("mira", "one")
	s.do("jonas", "GET", "/api/polls", "") // remembers the author's name
	s.do("", "GET", "/api/polls/popular", "")
	const wrong = `"currentPassword":"wrong horse"`
	s.run([]step{
		{name: "the name", as: "mira", call: "PATCH /api/users/me", body: `{"username":" Mira.K "}`, status: 200, want: `{"id":{mira},"username":"Mira.K","email":"mira@example.org","votesToday":0,"totals":{"polls":1}}`},
		{name: "in the feed at once", as: "jonas", call: "GET /api/polls", status: 200, want: `{"polls":[{"author":{"id":{mira},"username":"Mira.K"}}]}`},
		{name: "among the popular at once", call: "GET /api/polls/popular", status: 200, want: `{"polls":[{"author":{"username":"Mira.K"}}]}`},
		{name: "the old name is free", as: "jonas", call: "PATCH /api/users/me", body: `{"username":"mira"}`, status: 200},
		{name: "its own in another case", as: "mira", call: "PATCH /api/users/me", body: `{"username":"MIRA.k"}`, status: 200, want: `{"username":"MIRA.k"}`},
		{name: "taken", as: "mira", call: "PATCH /api/users/me", body: `{"username":"Mira"}`, status: 409, code: "username_taken"},
		{name: "the address without the password", as: "mira", call: "PATCH /api/users/me", body: `{"email":"m@example.net"}`, status: 422, code: "invalid", want: `{"errors":[{"field":"currentPassword"}]}`},
		{name: "the password without the password", as: "mira", call: "PATCH /api/users/me", body: `{"password":"battery staple"}`, status: 422, code: "invalid", want: `{"errors":[{"field":"currentPassword"}]}`},
		{name: "wrong", as: "mira", call: "PATCH /api/users/me", body: `{"email":"m@example.net",` + wrong + `}`, status: 403, code: "wrong_password"},
		{name: "403 before 422", as: "mira", call: "PATCH /api/users/me", body: `{"email":"nothing","colour":1,` + wrong + `}`, status: 403, code: "wrong_password"},
		{name: "403 before 409", as: "mira", call: "PATCH /api/users/me", body: `{"email":"jonas@example.org",` + wrong + `}`, status: 403, code: "wrong_password"},
		{name: "422 before 409", as: "mira", call: "PATCH /api/users/me", body: `{"email":"jonas@example.org","username":"?","currentPassword":"correct horse"}`, status: 422, code: "invalid", want: `{"errors":[{"field":"username"}]}`},
		{name: "wrong, and for the name not needed", as: "mira", call: "PATCH /api/users/me", body: `{"username":"mira.x",` + wrong + `}`, status: 403, code: "wrong_password"},
		{
			name: "every fault at once", as: "mira", call: "PATCH /api/users/me", body: `{"username":"m","email":"x","password":7,"colour":1}`, status: 422, code: "invalid",
			want: `{"errors":[{"field":"colour"},{"field":"password","message":"must be a string"},{"field":"username"},{"field":"email"},{"field":"currentPassword"}]}`,
		},
		{name: "nothing", as: "mira", call: "PATCH /api/users/me", body: `{}`, status: 422, code: "invalid", want: `{"errors":[{"field":"body"}]}`},
		{name: "nothing but the password", as: "mira", call: "PATCH /api/users/me", body: `{"currentPassword":"correct horse"}`, status: 422, code: "invalid", want: `{"errors":[{"field":"body"}]}`},
		{name: "null", as: "mira", call: "PATCH /api/users/me", body: `{"username":null}`, status: 422, code: "invalid"},
		{name: "no body", as: "mira", call: "PATCH /api/users/me", status: 400, code: "malformed"},
		{name: "nobody", call: "PATCH /api/users/me", body: `{"username":"x"}`, status: 401, code: "unauthorized"},
		{name: "for another", as: "mira", call: "PATCH /api/users/me?userId={jonas}", body: `{"username":"xyz"}`, status: 403, code: "forbidden"},
		{name: "taken address", as: "mira", call: "PATCH /api/users/me", body: `{"email":"JONAS@example.org","currentPassword":"correct horse"}`, status: 409, code: "email_taken"},
		{name: "address and password", as: "mira", call: "PATCH /api/users/me", body: `{"email":"Mira@example.net","password":"battery staple","currentPassword":"correct horse"}`, status: 200, want: `{"username":"MIRA.k","email":"Mira@example.net"}`},
		{name: "this session goes on", as: "mira", call: "GET /api/users/me", status: 200},
		{name: "the others end", as: "phone", call: "GET /api/users/me", status: 401, code: "unauthorized"},
		{name: "for refreshing too", call: "POST /api/auth/refresh", body: `{"refreshToken":"{phone.refresh}"}`, status: 401, code: "invalid_refresh_token"},
		{name: "this one refreshes", call: "POST /api/auth/refresh", body: `{"refreshToken":"{mira.refresh}"}`, status: 200},
		{name: "the old password", call: "POST /api/auth/login", body: `{"email":"mira@example.net","password":"correct horse"}`, status: 401, code: "invalid_credentials"},
		{name: "the old address", call: "POST /api/auth/login", body: `{"email":"mira@example.org","password":"battery staple"}`, status: 401, code: "invalid_credentials"},
		{name: "the new ones", call: "POST /api/auth/login", body: `{"email":"mira@example.net","password":"battery staple"}`, status: 200},
	})
}

func TestEraseMe(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira", "jonas")
	s.login("mira", "phone")
	s.publish("mira", "one")
	s.publish("jonas", "two", "three")
	s.run([]step{
		{as: "mira", call: "POST /api/polls/{two}/vote", body: `{"optionIndex":1}`, status: 200, events: []string{"vote.cast poll/{two}", "user.seen user/{mira}"}},
		{as: "jonas", call: "GET /api/polls", status: 200},
		{call: "GET /api/polls/popular", status: 200},
		{as: "mira", call: "GET /api/polls", status: 200},
		{name: "without a password", as: "mira", call: "DELETE /api/users/me", body: `{}`, status: 422, code: "invalid", want: `{"errors":[{"field":"password","message":"is required"}]}`},
		{name: "without a body", as: "mira", call: "DELETE /api/users/me", status: 400, code: "malformed"},
		{name: "wrong", as: "mira", call: "DELETE /api/users/me", body: `{"password":"wrong horse"}`, status: 403, code: "wrong_password"},
		{name: "403 before 422", as: "mira", call: "DELETE /api/users/me", body: `{"password":"wrong horse","x":1}`, status: 403, code: "wrong_password"},
		{name: "422 of what is right", as: "mira", call: "DELETE /api/users/me", body: `{"password":"correct horse","x":1}`, status: 422, code: "invalid"},
		{name: "nobody", call: "DELETE /api/users/me", body: `{"password":"correct horse"}`, status: 401, code: "unauthorized"},
		{name: "in another's name", as: "mira", call: "DELETE /api/users/me?userId={jonas}", body: `{"password":"correct horse"}`, status: 403, code: "forbidden"},
		{name: "erased", as: "mira", call: "DELETE /api/users/me", body: `{"password":"correct horse"}`, status: 204},
		{name: "again", as: "mira", call: "DELETE /api/users/me", body: `{"password":"correct horse"}`, status: 401, code: "unauthorized"},
		{name: "the token is dead", as: "mira", call: "GET /api/polls", status: 401, code: "unauthorized"},
		{name: "that of the other session too", as: "phone", call: "POST /api/polls/{three}/vote", body: `{"optionIndex":0}`, status: 401, code: "unauthorized"},
		{name: "refreshing", call: "POST /api/auth/refresh", body: `{"refreshToken":"{phone.refresh}"}`, status: 401, code: "invalid_refresh_token"},
		{name: "logging in", call: "POST /api/auth/login", body: `{"email":"mira@example.org","password":"correct horse"}`, status: 401, code: "invalid_credentials"},
		{name: "the feed at once", as: "jonas", call: "GET /api/polls?tag=test&limit=3", status: 200, want: `{"polls":[{"id":{three}},{"id":{two}},{"id":{one},"author":null}]}`},
		{name: "the popular at once", call: "GET /api/polls/popular", status: 200, then: func(s *site, r reply) {
			if strings.Contains(r.body, "mira") {
				s.t.Errorf("the name is told: %s", r.body)
			}
		}},
		{name: "the poll at once", call: "GET /api/polls/{one}", status: 200, want: `{"author":null}`},
		{name: "the vote counts", call: "GET /api/polls/{two}/stats", status: 200, want: `{"totalVotes":1}`},
		{
			name: "the name is free", call: "POST /api/auth/register", body: `{"username":"mira","email":"mira@example.org","password":"another horse"}`, status: 201,
			then: keep("next.token", "token"),
		},
		{name: "and the next one starts anew", as: "next", call: "GET /api/users/me", status: 200, want: `{"totals":{"votes":0,"skips":0,"polls":0}}`},
	})
	if log := s.log.String(); log != "" {
		t.Errorf("logged: %s", log)
	}
}

func TestChangesAreLimitedLikeLogins(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *api.Config) {
		c.Limits = api.Limits{RequestsPerMinute: 1000, LoginPerAccountPerMinute: 3, LoginPerAddressPerMinute: 100}
	})
	s.join("mira", "jonas")
	s.clock.add(time.Minute)
	ask := func(as, method, body string, status int) {
		t.Helper()
		if got := s.do(as, method, "/api/users/me", body); got.status != status {
			t.Errorf("%s %s: %d %s, want %d", method, body, got.status, got.body, status)
		}
	}
	ask("mira", "PATCH", `{"email":"x@example.org","currentPassword":"guess one!"}`, 403)
	ask("mira", "DELETE", `{"password":"guess two!"}`, 403)
	ask("mira", "PATCH", `{}`, 422)
	ask("mira", "PATCH", `{"email":"x@example.org","currentPassword":"correct horse"}`, 429)
	ask("mira", "DELETE", `{"password":"correct horse"}`, 429)
	ask("jonas", "PATCH", `{"username":"jonas2"}`, 200)
	// Who guesses at the login does not keep the owner out, nor the other way round.
	if got := s.do("", "POST", "/api/auth/login", `{"email":"mira@example.org","password":"correct horse"}`); got.status != 200 {
		t.Errorf("login: %d", got.status)
	}
	s.clock.add(time.Minute)
	ask("mira", "DELETE", `{"password":"correct horse"}`, 204)
}

func TestBanned(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	s.publish("mira", "one")
	id := domain.UserID(s.pollID("mira"))
	if _, err := s.store.SetBanned(t.Context(), id, true); err != nil {
		t.Fatal(err)
	}
	login := `{"email":"mira@example.org","password":"correct horse"}`
	s.run([]step{
		{call: "POST /api/auth/login", body: login, status: 403, code: "banned"},
		{name: "only for who has the password", call: "POST /api/auth/login", body: `{"email":"mira@example.org","password":"wrong horse"}`, status: 401, code: "invalid_credentials"},
		{call: "POST /api/auth/refresh", body: `{"refreshToken":"{mira.refresh}"}`, status: 403, code: "banned"},
		{name: "a token that is not known to have ended", as: "mira", call: "POST /api/polls/{one}/vote", body: `{"optionIndex":0}`, status: 401, code: "unauthorized"},
		{name: "its polls stay", call: "GET /api/polls/{one}", status: 200, want: `{"author":{"username":"mira"}}`},
	})
	if _, err := s.store.SetBanned(t.Context(), id, false); err != nil {
		t.Fatal(err)
	}
	s.run([]step{{name: "lifted", call: "POST /api/auth/login", body: login, status: 200}})
}

func TestExport(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira", "jonas")
	s.publish("mira", "own")
	const many = 250 // several pages
	var ids []string
	for i := range many {
		name := fmt.Sprintf("p%d", i)
		s.publish("jonas", name)
		ids = append(ids, s.names[name])
	}
	for i, id := range ids {
		call, body := "/vote", `{"optionIndex":1}`
		if i%50 == 0 {
			call, body = "/skip", ""
		}
		if got := s.do("mira", "POST", "/api/polls/"+id+call, body); got.status != 200 {
			t.Fatal(got.body)
		}
	}
	s.do("jonas", "POST", "/api/polls/{own}/vote", `{"optionIndex":2}`)
	own, err := strconv.ParseInt(s.names["own"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.store.AddMilestones(t.Context(), []domain.Milestone{{Poll: domain.PollID(own), Votes: 10}}); err != nil {
		t.Fatal(err)
	}
	got := s.do("mira", "GET", "/api/users/me/export", "")
	if got.status != 200 || got.header.Get("Content-Disposition") != `attachment; filename="vote-export.json"` || got.header.Get("Cache-Control") != "private, no-store" {
		t.Fatalf("%d %v", got.status, got.header)
	}
	var file struct {
		Profile  struct{ Username, Email string }
		Sessions []struct{ ID string }
		Votes    []struct {
			PollID      json.Number
			Title       string
			Options     []string
			OptionIndex int
			Option      string
		}
		Skips []struct{ PollID json.Number }
		Polls []struct {
			Title string
			Votes []int
		}
		Notifications []struct {
			Type, Title string
			Votes       int
		}
	}
	if err := json.Unmarshal([]byte(got.body), &file); err != nil {
		t.Fatal(err)
	}
	if file.Profile.Username != "mira" || file.Profile.Email != "mira@example.org" || len(file.Sessions) != 1 || len(file.Votes) != many-5 || len(file.Skips) != 5 {
		t.Errorf("%+v, %d sessions, %d votes, %d skips", file.Profile, len(file.Sessions), len(file.Votes), len(file.Skips))
	}
	if v := file.Votes[0]; v.PollID.String() != ids[1] || v.Title != "p1?" || len(v.Options) != 3 || v.OptionIndex != 1 || v.Option != "B" {
		t.Errorf("vote %+v", v)
	}
	if len(file.Polls) != 1 || file.Polls[0].Title != "own?" || fmt.Sprint(file.Polls[0].Votes) != "[0 0 1]" {
		t.Errorf("polls %+v", file.Polls)
	}
	if n := file.Notifications; len(n) != 1 || n[0].Type != domain.NotificationMilestone || n[0].Title != "own?" || n[0].Votes != 10 {
		t.Errorf("notifications %+v", n)
	}
	for _, secret := range []string{"argon2", s.names["mira.refresh"], "jonas"} {
		if strings.Contains(got.body, secret) {
			t.Errorf("the file holds %q", secret)
		}
	}
	s.run([]step{
		{name: "nobody's", call: "GET /api/users/me/export", status: 401, code: "unauthorized"},
		{name: "another's", as: "mira", call: "GET /api/users/me/export?userId={jonas}", status: 403, code: "forbidden"},
	})
	if got := s.do("mira", "HEAD", "/api/users/me/export", ""); got.status != 200 || got.body != "" {
		t.Errorf("HEAD: %d %q", got.status, got.body)
	}
}

// cookieOf returns the refresh cookie that an answer sets, nil when it sets none.
func cookieOf(t *testing.T, r reply) *http.Cookie {
	t.Helper()
	given := (&http.Response{Header: r.header}).Cookies()
	if len(given) == 0 {
		return nil
	}
	if len(given) > 1 || given[0].Name != "vote_refresh" {
		t.Fatalf("cookies %v", given)
	}
	return given[0]
}

func TestCookieForm(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira", "jonas")
	web := []string{"X-Vote-Client", "web", "Sec-Fetch-Site", "same-origin", "Origin", "https://example.com"}
	ask := func(as, call, body string, header ...string) reply {
		t.Helper()
		return s.do(as, "POST", "/api/auth/"+call, body, append(header, web...)...)
	}
	// fresh holds a new cookie to what it must be and returns it for a request.
	fresh := func(r reply, status int) string {
		t.Helper()
		c := cookieOf(t, r)
		if r.status != status || c == nil || strings.Contains(r.body, "refreshToken") {
			t.Fatalf("%d, cookie %v\n%s", r.status, c, r.body)
		}
		if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode || c.Path != "/api/auth" || c.Domain != "" || c.MaxAge != 30*24*3600 || len(c.Value) != 43 {
			t.Errorf("cookie %+v", c)
		}
		return "vote_refresh=" + c.Value
	}
	cleared := func(name string, r reply, status int, code string) {
		t.Helper()
		c := cookieOf(t, r)
		if r.status != status || r.code() != code || c == nil || c.MaxAge != -1 || c.Value != "" || c.Path != "/api/auth" {
			t.Errorf("%s: %d %s, cookie %+v", name, r.status, r.body, c)
		}
	}
	fresh(ask("", "register", `{"username":"ada","email":"ada@example.org","password":"correct horse"}`), 201)
	got := ask("", "login", `{"email":"mira@example.org","password":"correct horse"}`)
	first := fresh(got, 200)
	got = ask("", "refresh", "", "Cookie", first)
	second := fresh(got, 200)
	keep("page.token", "token")(s, got)
	if second == first {
		t.Error("the token was not rotated")
	}
	// One of the two proofs is enough; without any the cookie is not read.
	third := fresh(s.do("", "POST", "/api/auth/refresh", "", "X-Vote-Client", "web", "Origin", "http://EXAMPLE.com", "Cookie", second), 200)
	fourth := fresh(s.do("", "POST", "/api/auth/refresh", "", "X-Vote-Client", "web", "Sec-Fetch-Site", "same-origin", "Cookie", third), 200)
	for _, header := range [][]string{
		{}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site", "Origin", "https://example.com"}, {"Origin", "https://evil.org"}, {"Origin", "null"}, {"Origin", "https://example.com:444"},
	} {
		for as, call := range map[string]string{"": "refresh", "page": "logout"} {
			got := s.do(as, "POST", "/api/auth/"+call, "", append(header, "X-Vote-Client", "web", "Cookie", fourth)...)
			if got.status != 403 || got.code() != "forbidden" || cookieOf(t, got) != nil {
				t.Errorf("%s %v: %d %s, %v", call, header, got.status, got.body, got.header)
			}
		}
	}
	// Without the header nothing reads or sets it.
	if got := s.do("", "POST", "/api/auth/refresh", "", "Sec-Fetch-Site", "same-origin", "Cookie", fourth); got.status != 400 || cookieOf(t, got) != nil {
		t.Errorf("no web page: %d %v", got.status, got.header)
	}
	if got := s.do("", "POST", "/api/auth/refresh", `{"refreshToken":"{mira.refresh}"}`, "Cookie", fourth); got.status != 200 || cookieOf(t, got) != nil || !strings.Contains(got.body, "refreshToken") {
		t.Errorf("an app: %d %v", got.status, got.header)
	}
	if got := ask("", "login", `{"email":"mira@example.org","password":"wrong horse"}`); got.status != 401 || cookieOf(t, got) != nil {
		t.Errorf("a refused login: %d %v", got.status, got.header)
	}
	// Logout ends the session and clears.
	cleared("logout", ask("page", "logout", "", "Cookie", fourth), 204, "")
	cleared("refresh after logout", ask("", "refresh", "", "Cookie", fourth), 401, "invalid_refresh_token")
	cleared("refresh without a cookie", ask("", "refresh", ""), 401, "invalid_refresh_token")
	if got := s.do("page", "GET", "/api/users/me", ""); got.status != 401 {
		t.Errorf("after logout: %d", got.status)
	}
	// An outdated cookie does not keep a page from logging out.
	cleared("logout with an outdated cookie", ask("mira", "logout", "", "Cookie", first), 204, "")
	cleared("logout without a cookie", ask("jonas", "logout", ""), 204, "")
	for _, name := range []string{"mira", "jonas"} {
		if got := s.do(name, "GET", "/api/users/me", ""); got.status != 401 {
			t.Errorf("%s after logout: %d", name, got.status)
		}
	}
	// Reuse ends the session and clears.
	got = ask("", "login", `{"email":"mira@example.org","password":"correct horse"}`)
	old := fresh(got, 200)
	fresh(ask("", "refresh", "", "Cookie", old), 200)
	cleared("reuse", ask("", "refresh", "", "Cookie", old), 401, "refresh_token_reused")
	// Erasure clears.
	got = ask("", "login", `{"email":"mira@example.org","password":"correct horse"}`)
	keep("last.token", "token")(s, got)
	cleared("erasure", s.do("last", "DELETE", "/api/users/me", `{"password":"correct horse"}`, web...), 204, "")
	// A ban clears.
	got = ask("", "login", `{"email":"jonas@example.org","password":"correct horse"}`)
	banned := fresh(got, 200)
	if _, err := s.store.SetBanned(t.Context(), domain.UserID(s.pollID("jonas")), true); err != nil {
		t.Fatal(err)
	}
	cleared("ban", ask("", "refresh", "", "Cookie", banned), 403, "banned")
}

func TestCookieOnLocalhost(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	for host, secure := range map[string]bool{
		"localhost": false, "localhost:8080": false, "LOCALHOST:1": false, "127.0.0.1:8080": false, "127.9.9.9": false, "[::1]:8080": false, "[::1]": false,
		"vote.example.org": true, "localhost.example.org": true, "192.168.0.1:8080": true, "127.0.0.1.example.org": true, "": true,
	} {
		r := s.request("", "POST", "/api/auth/login", `{"email":"mira@example.org","password":"correct horse"}`, "X-Vote-Client", "web")
		r.Host = host
		if c := cookieOf(t, s.send(r)); c == nil || c.Secure != secure {
			t.Errorf("%q: cookie %+v, want secure %t", host, c, secure)
		}
	}
}
