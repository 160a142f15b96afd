package api_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"vote/internal/api"
)

// window is what the headers tell of a limit; "" where there are none.
func window(r reply) string {
	if r.header.Get("X-RateLimit-Limit") == "" {
		return ""
	}
	return r.header.Get("X-RateLimit-Remaining") + " of " + r.header.Get("X-RateLimit-Limit")
}

func TestRateLimits(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *api.Config) {
		c.Limits = api.Limits{RequestsPerMinute: 5, VotesPerMinute: 4, BurstPerSecond: 30}
	})
	s.join("mira", "jonas")
	s.clock.add(2 * time.Minute)
	s.publish("jonas", "p1", "p2", "p3", "p4", "p5")
	s.clock.add(2 * time.Minute)
	ask := func(as, call, body string, status int, told string) reply {
		t.Helper()
		method, target, _ := strings.Cut(call, " ")
		got := s.do(as, method, target, body)
		if got.status != status || window(got) != told {
			t.Errorf("%s %s: %d, %q, want %d, %q\n%s", as, call, got.status, window(got), status, told, got.body)
		}
		return got
	}
	// Votes have their own window.
	got := ask("mira", "POST /api/polls/{p1}/vote", `{"optionIndex":0}`, 200, "3 of 4")
	if reset, _ := strconv.ParseInt(got.header.Get("X-RateLimit-Reset"), 10, 64); reset != s.clock.Now().Add(time.Minute).Unix() {
		t.Errorf("X-RateLimit-Reset %d, want %d", reset, s.clock.Now().Add(time.Minute).Unix())
	}
	ask("mira", "GET /api/polls", "", 200, "4 of 5")
	ask("mira", "POST /api/polls/{p2}/skip", "", 200, "3 of 5")
	// What is refused for its content is charged to the user too.
	ask("mira", "POST /api/polls/{p1}/vote", `{"optionIndex":`, 400, "2 of 4")
	ask("mira", "POST /api/polls/{p1}/vote", `{"optionIndex":"x"}`, 422, "1 of 4")
	ask("mira", "POST /api/polls/99/vote", `{"optionIndex":0}`, 404, "0 of 4")
	got = ask("mira", "POST /api/polls/{p3}/vote", `{"optionIndex":0}`, 429, "0 of 4")
	if got.code() != "rate_limited" || got.header.Get("Retry-After") != "60" {
		t.Errorf("%s, Retry-After %s", got.body, got.header.Get("Retry-After"))
	}
	// A full window of votes does not hold up the rest, and the other way round.
	ask("mira", "GET /api/polls/{p1}", "", 200, "2 of 5")
	ask("mira", "GET /api/polls?limit=x", "", 422, "1 of 5")
	ask("mira", "GET /api/polls", "", 200, "0 of 5")
	ask("mira", "GET /api/polls", "", 429, "0 of 5")
	ask("mira", "GET /api/polls?x=%zz", "", 400, "0 of 5")
	// Others are not touched; who has no valid token shares the address.
	ask("jonas", "GET /api/polls", "", 200, "4 of 5")
	ask("", "GET /api/tags", "", 200, "4 of 5")
	ask("Bearer x", "GET /api/tags", "", 200, "3 of 5")
	ask("Bearer x", "POST /api/polls/{p1}/vote", `{"optionIndex":0}`, 401, "2 of 5")
	ask("", "POST /api/polls/{p1}/vote", `{`, 400, "1 of 5")
	ask("", "GET /api/polls/5", "", 404, "0 of 5")
	ask("", "GET /api/tags", "", 429, "0 of 5")
	ask("", "GET /api/polls", "", 401, "0 of 5")
	// Exempt, and what is no route.
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/health", "/version", "/openapi.json", "/docs", "/sw.js", "/manifest.webmanifest", "/assets/none.js", "/nothing"} {
		if got := s.do("", "GET", path, ""); window(got) != "" || got.status == http.StatusTooManyRequests {
			t.Errorf("%s is limited: %d %s", path, got.status, window(got))
		}
	}
	// Pages know the burst window alone, and nobody's token.
	for _, path := range []string{"/", "/create", "/p/{p1}", "/embed/{p1}", "/p/{p1}/image.png", "/oembed?url=http://example.com/p/{p1}"} {
		for _, as := range []string{"", "mira"} {
			if got := s.do(as, "GET", path, ""); got.status != http.StatusOK || !strings.HasSuffix(window(got), " of 30") {
				t.Errorf("%s: %d %s", path, got.status, window(got))
			}
		}
	}
	for range 30 {
		s.do("", "GET", "/create", "")
	}
	ask("", "GET /me/votes", "", 429, "0 of 30")
	// The window slides.
	s.clock.add(59 * time.Second)
	ask("mira", "GET /api/polls", "", 429, "0 of 5")
	s.clock.add(time.Second)
	ask("mira", "GET /api/polls", "", 200, "4 of 5")
}

// TestRefusedIsNotCharged shows that a request that one window refused is given
// back to the others.
func TestRefusedIsNotCharged(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *api.Config) { c.Limits = api.Limits{RequestsPerMinute: 3, BurstPerSecond: 5} })
	s.join("mira")
	s.clock.add(time.Minute)
	for i, want := range []string{"2 of 3", "1 of 3", "0 of 3", "0 of 3", "0 of 3", "0 of 3", "0 of 3"} {
		got := s.do("", "GET", "/api/tags", "")
		if window(got) != want || (got.status == http.StatusOK) != (i < 3) {
			t.Errorf("request %d: %d %s, want %s", i, got.status, window(got), want)
		}
	}
	// Had the refused ones been counted, the burst window would be full by now.
	if got := s.do("mira", "GET", "/api/tags", ""); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, window(got))
	}
}

func TestBurst(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *api.Config) { c.Limits = api.Limits{RequestsPerMinute: 100, BurstPerSecond: 4} })
	for i := range 4 {
		if got := s.do("", "GET", "/api/tags", ""); got.status != http.StatusOK || window(got) != fmt.Sprintf("%d of 100", 99-i) {
			t.Errorf("request %d: %d %s", i, got.status, window(got))
		}
	}
	got := s.do("", "GET", "/api/tags", "")
	if got.status != http.StatusTooManyRequests || window(got) != "0 of 4" || got.header.Get("Retry-After") != "1" {
		t.Errorf("%d %s, Retry-After %s", got.status, window(got), got.header.Get("Retry-After"))
	}
	s.clock.add(time.Second)
	if got := s.do("", "GET", "/api/tags", ""); got.status != http.StatusOK || window(got) != "95 of 100" {
		t.Errorf("a second later: %d %s", got.status, window(got))
	}
}

func TestLimitsOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	for range 300 {
		if got := s.do("", "GET", "/api/tags", ""); got.status != http.StatusOK || window(got) != "" {
			t.Fatalf("%d %s", got.status, window(got))
		}
	}
	burst := newSite(t, func(c *api.Config) { c.Limits = api.Limits{BurstPerSecond: 9} })
	if got := burst.do("", "GET", "/api/tags", ""); window(got) != "8 of 9" {
		t.Errorf("the burst window alone: %s", window(got))
	}
}

func TestLoginLimits(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *api.Config) {
		c.Limits = api.Limits{RequestsPerMinute: 1000, LoginPerAccountPerMinute: 2, LoginPerAddressPerMinute: 4, RegistrationsPerAddressPerHour: 2}
	})
	login := func(email string, status int, told string) {
		t.Helper()
		got := s.do("", "POST", "/api/auth/login", `{"email":"`+email+`","password":"wrong horse"}`)
		if got.status != status || !strings.HasSuffix(window(got), told) {
			t.Errorf("%s: %d %s, want %d %s", email, got.status, window(got), status, told)
		}
	}
	s.join("mira")
	s.clock.add(time.Minute)
	login("mira@example.org", 401, "of 1000")
	login("MIRA@example.org", 401, "of 1000")
	login("Mira@Example.org", 429, "0 of 2") // the account, however it is written
	login("jonas@example.org", 401, "of 1000")
	login("ada@example.org", 401, "of 1000")
	login("eve@example.org", 429, "0 of 4") // the address
	s.clock.add(time.Minute)
	login("mira@example.org", 401, "of 1000")

	s.join("ada")
	got := s.do("", "POST", "/api/auth/register", `{"username":"eve","email":"eve@example.org","password":"correct horse"}`)
	if got.status != http.StatusTooManyRequests || window(got) != "0 of 2" {
		t.Errorf("the third registration: %d %s", got.status, window(got))
	}
	if retry, _ := strconv.Atoi(got.header.Get("Retry-After")); retry < 3000 || retry > 3600 {
		t.Errorf("Retry-After %d, want up to an hour", retry)
	}
	s.clock.add(time.Hour)
	s.join("eve")
}

func TestBatchLimits(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *api.Config) { c.Limits = api.Limits{RequestsPerMinute: 100, VotesPerMinute: 3} })
	s.join("mira")
	s.publish("mira", "p1", "p2", "p3", "p4", "p5")
	s.clock.add(time.Minute)
	s.events()
	s.run([]step{
		{
			name: "one request, each vote in the votes window", as: "mira", call: "POST /api/interactions", status: 200,
			body:   `[{"pollId":{p1},"optionIndex":0},{"pollId":{p2},"skip":true},{"pollId":{p3},"optionIndex":0}]`,
			want:   `[{"status":200},{"status":200},{"status":200}]`,
			events: []string{"vote.cast poll/{p1}", "vote.cast poll/{p3}", "vote.skipped poll/{p2}", "user.seen user/{mira}"},
			then: func(s *site, r reply) {
				if window(r) != "99 of 100" {
					s.t.Errorf("window %s", window(r))
				}
			},
		},
		{
			name: "beyond it", as: "mira", call: "POST /api/interactions", status: 200,
			body:   `[{"pollId":{p4},"optionIndex":0},{"pollId":{p5},"optionIndex":1},{"pollId":{p5},"skip":true},{"pollId":99,"optionIndex":1}]`,
			want:   `[{"status":200},{"pollId":{p5},"status":429,"code":"rate_limited","retryAfter":60},{"status":200,"skipped":true},{"pollId":99,"status":429,"code":"rate_limited"}]`,
			events: []string{"vote.cast poll/{p4}", "vote.skipped poll/{p5}", "user.seen user/{mira}"},
		},
		{name: "single votes share the window", as: "mira", call: "POST /api/polls/{p5}/vote", body: `{"optionIndex":0}`, status: 429, code: "rate_limited"},
	})
	if got := s.do("mira", "GET", "/api/polls", ""); window(got) != "97 of 100" {
		t.Errorf("the requests window: %s", window(got))
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	ask := func(s *site, address, forwarded string) string {
		r := s.request("", "GET", "/api/tags", "")
		r.RemoteAddr = address
		if forwarded != "" {
			r.Header.Set("X-Forwarded-For", forwarded)
			r.Header.Set("X-Real-Ip", forwarded)
		}
		return window(s.send(r))
	}
	type request struct{ address, forwarded, told string }
	for name, c := range map[string]struct {
		proxies  []string
		requests []request
	}{
		"nobody is believed": {nil, []request{
			{"192.0.2.1:1000", "", "9 of 10"}, {"192.0.2.1:2000", "198.51.100.1", "8 of 10"}, {"192.0.2.2:1000", "", "9 of 10"}, {"[::ffff:192.0.2.1]:1", "", "7 of 10"},
		}},
		"IPv6 by /64": {nil, []request{
			{"[2001:db8::1]:1000", "", "9 of 10"}, {"[2001:db8::ffff:0:0:1]:1", "", "8 of 10"}, {"[2001:db8:0:1::1]:1", "", "9 of 10"}, {"[fe80::1%eth0]:1", "", "9 of 10"}, {"[fe80::2%eth1]:1", "", "8 of 10"},
		}},
		"a trusted proxy": {[]string{"192.0.2.0/24"}, []request{
			{"192.0.2.1:1", "198.51.100.1", "9 of 10"}, {"192.0.2.2:1", "198.51.100.1", "8 of 10"}, {"192.0.2.1:1", "198.51.100.2", "9 of 10"},
			{"203.0.113.1:1", "198.51.100.1", "9 of 10"}, {"192.0.2.1:1", "1.2.3.4, 198.51.100.1", "7 of 10"}, {"192.0.2.1:1", "2001:db8::1", "9 of 10"}, {"192.0.2.1:1", "2001:db8::2", "8 of 10"},
			{"192.0.2.9:1", "nonsense", "9 of 10"},
		}},
		"no address at all": {nil, []request{{"", "", "9 of 10"}, {"@", "", "9 of 10"}}},
	} {
		s := newSite(t, func(c2 *api.Config) {
			c2.Limits.RequestsPerMinute = 10
			c2.TrustedProxies = c.proxies
		})
		for _, r := range c.requests {
			if got := ask(s, r.address, r.forwarded); got != r.told {
				t.Errorf("%s: %s for %q: %s, want %s", name, r.address, r.forwarded, got, r.told)
			}
		}
	}
}
