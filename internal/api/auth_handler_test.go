package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"vote/internal/api"
)

// keep returns a step's end that remembers a member of the answer by a name.
func keep(name string, path ...string) func(*site, reply) {
	return func(s *site, r reply) {
		s.t.Helper()
		v := r.json(s.t)
		for _, p := range path {
			object, ok := v.(map[string]any)
			if !ok {
				s.t.Fatalf("no %v in %s", path, r.body)
			}
			v = object[p]
		}
		text, ok := v.(string)
		if !ok {
			s.t.Fatalf("no %v in %s", path, r.body)
		}
		s.names[name] = text
	}
}

func TestRegister(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.run([]step{
		{
			call: "POST /api/auth/register", body: `{"username":" Mira ","email":"Mira@Example.org","password":"correct horse"}`, status: 201,
			want: `{"user":{"username":"Mira","email":"Mira@Example.org","createdAt":"2025-11-17T09:00:00Z"},"expiresAt":"2025-11-18T09:00:00Z"}`,
			then: keep("mira.token", "token"),
		},
		{name: "the token works", as: "mira", call: "GET /api/users/me", status: 200, want: `{"username":"Mira"}`},
		{
			name: "username without case", call: "POST /api/auth/register", status: 409, code: "username_taken",
			body: `{"username":"mIRA","email":"other@example.org","password":"correct horse"}`,
		},
		{
			name: "e-mail without case", call: "POST /api/auth/register", status: 409, code: "email_taken",
			body: `{"username":"other","email":"mira@example.ORG","password":"correct horse"}`,
		},
		{
			name: "every fault at once", call: "POST /api/auth/register", status: 422, code: "invalid",
			body: `{"username":"m","email":"nothing","password":"short","Admin":true}`,
			want: `{"errors":[{"field":"Admin","message":"is not a known field"},{"field":"username"},{"field":"email"},{"field":"password"}]}`,
		},
		{
			name: "missing and of a wrong type", call: "POST /api/auth/register", status: 422, code: "invalid",
			body: `{"username":7,"password":null}`,
			want: `{"errors":[{"field":"username","message":"must be a string"},{"field":"email","message":"is required"},{"field":"password","message":"must be a string"}]}`,
		},
		{name: "a list", call: "POST /api/auth/register", body: `[]`, status: 422, code: "invalid", want: `{"errors":[{"field":"body"}]}`},
		{
			name: "names of other scripts", call: "POST /api/auth/register", status: 201,
			body: `{"username":"名前です","email":"namae@example.org","password":"パスワードです!"}`, want: `{"user":{"username":"名前です"}}`,
		},
	})
}

func TestLogin(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	s.run([]step{
		{
			call: "POST /api/auth/login", body: `{"email":"MIRA@example.org","password":"correct horse"}`, status: 200,
			want: `{"user":{"id":{mira},"username":"mira"}}`, then: keep("again.token", "token"),
		},
		{name: "the new session works", as: "again", call: "GET /api/users/me", status: 200},
		{name: "and the old one", as: "mira", call: "GET /api/users/me", status: 200},
		{name: "unknown fields", call: "POST /api/auth/login", body: `{"email":"a@b.org","password":"x","remember":true}`, status: 422, code: "invalid"},
		{name: "missing", call: "POST /api/auth/login", body: `{}`, status: 422, code: "invalid", want: `{"errors":[{"field":"email"},{"field":"password"}]}`},
		{name: "empty", call: "POST /api/auth/login", body: `{"email":"","password":""}`, status: 422, code: "invalid"},
	})
	var answers []string
	for _, body := range []string{
		`{"email":"mira@example.org","password":"wrong horse"}`,
		`{"email":"nobody@example.org","password":"correct horse"}`,
		`{"email":"not an address","password":"correct horse"}`,
		`{"email":"mira@example.org","password":"` + strings.Repeat("x", 10_000) + `"}`,
	} {
		got := s.do("", "POST", "/api/auth/login", body, "X-Request-Id", "same")
		if got.status != http.StatusUnauthorized || got.code() != "invalid_credentials" {
			t.Errorf("%.60s: %d %s", body, got.status, got.body)
		}
		if got.header.Get("WWW-Authenticate") == "" {
			t.Error("a 401 without WWW-Authenticate")
		}
		answers = append(answers, got.body)
	}
	for _, a := range answers[1:] {
		if a != answers[0] {
			t.Errorf("answers differ: %s and %s", answers[0], a)
		}
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	s.names["first.refresh"] = s.names["mira.refresh"]
	s.run([]step{
		{
			call: "POST /api/auth/refresh", body: `{"refreshToken":"{mira.refresh}"}`, status: 200, want: `{"user":{"id":{mira}}}`,
			then: func(s *site, r reply) {
				keep("second.refresh", "refreshToken")(s, r)
				keep("second.token", "token")(s, r)
			},
		},
		{name: "the new access token works", as: "second", call: "GET /api/users/me", status: 200},
		{name: "the new refresh token works", call: "POST /api/auth/refresh", body: `{"refreshToken":"{second.refresh}"}`, status: 200, then: keep("third.refresh", "refreshToken")},
		{name: "the first one again", call: "POST /api/auth/refresh", body: `{"refreshToken":"{first.refresh}"}`, status: 401, code: "refresh_token_reused"},
		{name: "the whole session ended", call: "POST /api/auth/refresh", body: `{"refreshToken":"{third.refresh}"}`, status: 401, code: "invalid_refresh_token"},
		{name: "and its access tokens", as: "second", call: "GET /api/users/me", status: 401, code: "unauthorized"},
		{name: "unknown", call: "POST /api/auth/refresh", body: `{"refreshToken":"abc"}`, status: 401, code: "invalid_refresh_token"},
		{name: "missing", call: "POST /api/auth/refresh", body: `{}`, status: 422, code: "invalid"},
		{name: "no body", call: "POST /api/auth/refresh", status: 400, code: "malformed"},
		{name: "of a wrong type", call: "POST /api/auth/refresh", body: `{"refreshToken":["a"]}`, status: 422, code: "invalid"},
	})
}

func TestLogout(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira", "jonas")
	s.run([]step{
		{name: "another session", call: "POST /api/auth/login", body: `{"email":"mira@example.org","password":"correct horse"}`, status: 200, then: func(s *site, r reply) {
			keep("phone.token", "token")(s, r)
			keep("phone.refresh", "refreshToken")(s, r)
		}},
		{name: "nobody", call: "POST /api/auth/logout", status: 401, code: "unauthorized"},
		{name: "somebody else's", as: "jonas", call: "POST /api/auth/logout", body: `{"refreshToken":"{phone.refresh}"}`, status: 401, code: "invalid_refresh_token"},
		{name: "of a wrong type", as: "mira", call: "POST /api/auth/logout", body: `{"refreshToken":1}`, status: 422, code: "invalid"},
		{name: "empty", as: "mira", call: "POST /api/auth/logout", body: `{"refreshToken":""}`, status: 422, code: "invalid"},
		{name: "the other session", as: "mira", call: "POST /api/auth/logout", body: `{"refreshToken":"{phone.refresh}"}`, status: 204},
		{name: "which ended", as: "phone", call: "GET /api/users/me", status: 401, code: "unauthorized"},
		{name: "the own one goes on", as: "mira", call: "GET /api/users/me", status: 200},
		{name: "the own one", as: "mira", call: "POST /api/auth/logout", status: 204, then: func(s *site, r reply) {
			if r.body != "" || r.header.Get("Content-Type") != "" {
				s.t.Errorf("204 with a body: %q", r.body)
			}
		}},
		{name: "ended", as: "mira", call: "GET /api/users/me", status: 401, code: "unauthorized"},
		{name: "ended for refreshing too", call: "POST /api/auth/refresh", body: `{"refreshToken":"{mira.refresh}"}`, status: 401, code: "invalid_refresh_token"},
		{name: "an empty object is no refresh token", as: "jonas", call: "POST /api/auth/logout", body: `{}`, status: 204},
	})
}

func TestMe(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *api.Config) { c.Limits.DailyVotes = 2 })
	s.join("mira")
	s.publish("mira", "one", "two", "three")
	s.events()
	s.run([]step{
		{as: "mira", call: "GET /api/users/me", status: 200, want: `{"id":{mira},"username":"mira","email":"mira@example.org","createdAt":"2025-11-17T09:00:00Z","votesToday":0,"votesRemainingToday":2,"totals":{"votes":0,"skips":0,"polls":3}}`},
		{as: "mira", call: "POST /api/polls/{one}/vote", body: `{"optionIndex":0}`, status: 200, events: []string{"vote.cast poll/{one}", "user.seen user/{mira}"}},
		{as: "mira", call: "POST /api/polls/{two}/skip", status: 200, events: []string{"vote.skipped poll/{two}", "user.seen user/{mira}"}},
		{as: "mira", call: "GET /api/users/me?userId={mira}", status: 200, want: `{"votesToday":1,"votesRemainingToday":1,"totals":{"votes":1,"skips":1,"polls":3}}`},
		{name: "of somebody else", as: "mira", call: "GET /api/users/me?userId=999", status: 403, code: "forbidden"},
		{call: "GET /api/users/me", status: 401, code: "unauthorized"},
	})
	s.clock.add(15 * time.Hour)
	s.run([]step{{name: "the next day", as: "mira", call: "GET /api/users/me", status: 200, want: `{"votesToday":0,"votesRemainingToday":2,"totals":{"votes":1}}`}})
}

func TestTokens(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	token := s.names["mira.token"]
	for name, header := range map[string]string{
		"no scheme": token, "another scheme": "Basic " + token, "empty": "Bearer ", "no token": "Bearer", "cut": "Bearer " + token[:len(token)-2],
		"changed": "Bearer " + strings.Replace(token, ".", ".A", 1), "two": "Bearer " + token + "," + token, "not ASCII": "Bearer é",
		"unsigned": "Bearer eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiIxIn0.", "long": "Bearer " + strings.Repeat("a", 5000),
	} {
		got := s.do(header, "GET", "/api/users/me", "")
		if got.status != http.StatusUnauthorized || got.code() != "unauthorized" {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		if want := `Bearer error="invalid_token"`; got.header.Get("WWW-Authenticate") != want {
			t.Errorf("%s: WWW-Authenticate %q, want %q", name, got.header.Get("WWW-Authenticate"), want)
		}
	}
	if got := s.do("", "GET", "/api/users/me", ""); got.header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("without a token: WWW-Authenticate %q", got.header.Get("WWW-Authenticate"))
	}
	if got := s.do("bearer "+token, "GET", "/api/users/me", ""); got.status != http.StatusOK {
		t.Errorf("the scheme has no case: %d", got.status)
	}
	r := s.request("mira", "GET", "/api/users/me", "")
	r.Header.Add("Authorization", "Bearer "+token)
	if got := s.send(r); got.status != http.StatusUnauthorized {
		t.Errorf("two headers: %d", got.status)
	}
	s.clock.add(24 * time.Hour)
	if got := s.do("mira", "GET", "/api/users/me", ""); got.status != http.StatusUnauthorized {
		t.Errorf("an expired token: %d", got.status)
	}
}

// TestNoSecretsTold holds passwords and tokens out of answers and log.
func TestNoSecretsTold(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	const secret = "s3cr3t-that-nobody-may-see"
	for _, body := range []string{
		`{"username":"x","email":"x","password":"` + secret + `"}`,
		`{"username":"` + secret + `!!","email":"` + secret + `","password":{"p":"` + secret + `"}}`,
		`{"username":"mira","email":"y@example.org","password":"` + secret + `"}`,
		`{"email":"` + secret + `","password":"` + secret + `"}`,
		`{"refreshToken":"` + secret + `"}`,
		`{"` + secret + `":1}`,
		`{"password":"` + secret,
	} {
		for _, path := range []string{"register", "login", "refresh", "logout"} {
			got := s.do("mira", "POST", "/api/auth/"+path, body)
			if got.status < 400 || got.status >= 500 {
				t.Errorf("%s %s: %d", path, body, got.status)
			}
			if strings.Contains(got.body, secret) {
				t.Errorf("%s tells what it was given: %s", path, got.body)
			}
			var p map[string]any
			if err := json.Unmarshal([]byte(got.body), &p); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	if log := s.log.String(); strings.Contains(log, secret) || log != "" {
		t.Errorf("logged: %s", log)
	}
}
