package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"vote/internal/api"
)

// over makes a request over TCP, as mira.
func over(t *testing.T, s *site, address, method, path string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, "http://"+address+s.named(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.names["mira.token"])
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	got, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{got.StatusCode, got.Header, string(body)}
}

// TestEveryAnswer looks at what all answers have in common.
func TestEveryAnswer(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	for _, c := range []struct{ method, path string }{
		{"GET", "/api/polls"}, {"GET", "/api/tags"}, {"GET", "/nothing"}, {"PUT", "/api/polls"}, {"POST", "/api/auth/login"}, {"GET", "/healthz"}, {"GET", "/"}, {"GET", "/docs"},
		{"GET", "/openapi.json"}, {"GET", "/metrics"}, {"GET", "/api/polls/1"}, {"OPTIONS", "/api/polls"},
	} {
		got := s.do("mira", c.method, c.path, "", "X-Request-Id", "from-the-client.1")
		for name, want := range map[string]string{"X-Request-Id": "from-the-client.1", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
			if got.header.Get(name) != want {
				t.Errorf("%s %s: %s is %q, want %q", c.method, c.path, name, got.header.Get(name), want)
			}
		}
		policy := got.header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s %s: Content-Security-Policy %q", c.method, c.path, policy)
		}
		if got.header.Get("Cache-Control") == "" {
			t.Errorf("%s %s: no Cache-Control", c.method, c.path)
		}
		if got.status >= 400 {
			var p struct {
				Type, Title, Detail, Code, RequestID string
				Status                               int
			}
			if err := json.Unmarshal([]byte(got.body), &p); err != nil || got.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s %s: not a problem document: %s", c.method, c.path, got.body)
			}
			if p.Type != "/docs/errors#"+p.Code || p.Title == "" || p.Detail == "" || p.Status != got.status || p.RequestID != "from-the-client.1" {
				t.Errorf("%s %s: problem %s", c.method, c.path, got.body)
			}
		}
	}
	if a, b := s.do("", "GET", "/healthz", "").header.Get("X-Request-Id"), s.do("", "GET", "/healthz", "").header.Get("X-Request-Id"); a == b || len(a) != 32 {
		t.Errorf("request ids %q and %q", a, b)
	}
	if got := s.do("", "GET", "/healthz", "", "X-Request-Id", `"><script>`); strings.Contains(got.header.Get("X-Request-Id"), "script") {
		t.Error("takes any request id")
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	for _, path := range []string{
		"/api", "/api/", "/api/polls/", "/api/polls/1/", "/api/polls/1/votes", "/api//polls", "/api/polls/1/stats/", "/API/polls", "/api/users", "/api/users/1", "/docs/", "/docs/x",
		"/assets/", "/assets/x.css", "/assets/..%2Fweb.go", "/favicon.ico", "/api/polls/1%2Fvote", "/.git/config", "/metrics/", "/me/", "/me/none", "/p", "/p/", "/p/1/", "/p/1/image.jpg", "/embed/", "/create/", "/sw.js/", "/app.css",
	} {
		for _, method := range []string{"GET", "POST"} {
			got := s.do("mira", method, path, "")
			if method == "POST" && (strings.HasPrefix(path, "/assets/") || path == "/me/none" || path == "/api/polls/1%2Fvote") {
				continue // a path with GET only
			}
			if got.status != http.StatusNotFound || got.code() != "not_found" {
				t.Errorf("%s %s: %d %s", method, path, got.status, got.body)
			}
		}
	}
	for _, c := range []struct{ method, path, allow string }{
		{"PUT", "/api/polls", "GET, HEAD, POST"}, {"DELETE", "/api/polls", "GET, HEAD, POST"}, {"GET", "/api/auth/login", "POST"}, {"PATCH", "/api/polls/1", "DELETE, GET, HEAD"},
		{"POST", "/api/polls/1", "DELETE, GET, HEAD"}, {"GET", "/api/polls/1/vote", "POST"}, {"OPTIONS", "/api/tags", "GET, HEAD"}, {"TRACE", "/api/tags", "GET, HEAD"},
		{"POST", "/", "GET, HEAD"}, {"DELETE", "/metrics", "GET, HEAD"}, {"BREW", "/api/interactions", "POST"}, {"POST", "/healthz", "GET, HEAD"},
		{"POST", "/me/votes", "GET, HEAD"}, {"PUT", "/p/1", "GET, HEAD"}, {"DELETE", "/p/1/image.png", "GET, HEAD"}, {"POST", "/oembed", "GET, HEAD"}, {"POST", "/sw.js", "GET, HEAD"},
	} {
		got := s.do("", c.method, c.path, "")
		if got.status != http.StatusMethodNotAllowed || got.code() != "method_not_allowed" || sorted(got.header.Get("Allow")) != c.allow {
			t.Errorf("%s %s: %d, Allow %q, want %q", c.method, c.path, got.status, got.header.Get("Allow"), c.allow)
		}
	}
}

func TestCaching(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	s.publish("mira", "one")
	const public, private = "public, max-age=1, stale-while-revalidate=5", "private, no-store"
	for _, path := range []string{"/api/polls/{one}", "/api/polls/{one}/stats", "/api/polls/{one}/stats?format=csv", "/api/stats?polls={one}", "/api/polls/popular", "/api/polls/{one}/analytics"} {
		for as, want := range map[string]string{"": public, "Bearer invalid": public, "mira": private} {
			got := s.do(as, "GET", path, "")
			if got.status != http.StatusOK || got.header.Get("Cache-Control") != want || got.header.Get("Vary") != "Authorization" {
				t.Errorf("%s as %q: %d, Cache-Control %q, Vary %q", path, as, got.status, got.header.Get("Cache-Control"), got.header.Get("Vary"))
			}
		}
	}
	for _, path := range []string{"/api/polls/5", "/api/polls/5/stats", "/api/tags", "/api/polls/popular?limit=0", "/healthz"} {
		if got := s.do("", "GET", path, "").header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", path, got)
		}
	}
	for _, list := range []string{"votes", "skips", "polls", "notifications"} {
		if got := s.do("mira", "GET", "/api/users/me/"+list, "").header.Get("Cache-Control"); got != private {
			t.Errorf("my %s: Cache-Control %q", list, got)
		}
	}
	if got := s.do("mira", "GET", "/api/users/me", "").header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("me: Cache-Control %q", got)
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *api.Config) { c.CORSOrigins = []string{"https://app.example.org"} })
	s.join("mira")
	preflight := func(s *site, origin, path, method string) reply {
		return s.do("", "OPTIONS", path, "", "Origin", origin, "Access-Control-Request-Method", method, "Access-Control-Request-Headers", "authorization,content-type")
	}
	got := preflight(s, "https://app.example.org", "/api/polls", "POST")
	if got.status != http.StatusNoContent || got.header.Get("Access-Control-Allow-Origin") != "https://app.example.org" ||
		sorted(got.header.Get("Access-Control-Allow-Methods")) != "GET, HEAD, POST" || !strings.Contains(got.header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("preflight: %d %v", got.status, got.header)
	}
	if got := preflight(s, "https://evil.example.org", "/api/polls", "POST"); got.status != http.StatusMethodNotAllowed || got.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("preflight of another origin: %d %v", got.status, got.header)
	}
	if got := preflight(s, "https://app.example.org", "/nothing", "POST"); got.status != http.StatusNotFound {
		t.Errorf("preflight of nothing: %d", got.status)
	}
	for origin, want := range map[string]string{"https://app.example.org": "https://app.example.org", "https://evil.example.org": "", "": "", "null": ""} {
		got := s.do("mira", "GET", "/api/polls", "", "Origin", origin)
		if got.status != http.StatusOK || got.header.Get("Access-Control-Allow-Origin") != want || got.header.Get("Access-Control-Allow-Credentials") != "" || !strings.Contains(got.header.Get("Vary"), "Origin") {
			t.Errorf("origin %q: %d %v", origin, got.status, got.header)
		}
	}
	if got := s.do("", "GET", "/api/polls", "", "Origin", "https://app.example.org"); got.status != http.StatusUnauthorized || got.header.Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("a refusal cannot be read: %v", got.header)
	}

	none := newSite(t, nil)
	if got := preflight(none, "https://app.example.org", "/api/polls", "POST"); got.status != http.StatusMethodNotAllowed {
		t.Errorf("preflight without origins: %d", got.status)
	}
	all := newSite(t, func(c *api.Config) { c.CORSOrigins = []string{"*"} })
	if got := preflight(all, "https://any.example.org", "/api/polls", "POST"); got.status != http.StatusNoContent || got.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("preflight with all origins: %d %v", got.status, got.header)
	}
	for _, bad := range []string{"example.org", "https://example.org/", "https://", "https://example.org/x", "https://user@example.org"} {
		if _, err := api.New(api.Config{Registry: nil, CORSOrigins: []string{bad}}); err == nil {
			t.Errorf("takes the origin %q", bad)
		}
	}
	if _, err := api.New(api.Config{TrustedProxies: []string{"not an address"}}); err == nil {
		t.Error("takes any proxy")
	}
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	draining := false
	s := newSite(t, func(c *api.Config) { c.Draining = func() bool { return draining } })
	for _, path := range []string{"/readyz", "/health"} {
		if got := s.do("", "GET", path, ""); got.status != http.StatusOK || !strings.Contains(got.body, `"status":"ready"`) {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	draining = true
	got := s.do("", "GET", "/readyz", "")
	if got.status != http.StatusServiceUnavailable || got.code() != "draining" || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, `"database":{"status":"ok"}`) {
		t.Errorf("draining: %d %s", got.status, got.body)
	}
	if got := s.do("", "GET", "/healthz", ""); got.status != http.StatusOK {
		t.Errorf("alive while draining: %d", got.status)
	}
}

func TestReadyWithoutWhatCanBeDoneWithout(t *testing.T) {
	t.Parallel()
	there := true
	s := newSite(t, func(c *api.Config) { c.Optional = map[string]func() bool{"redis": func() bool { return there }} })
	if got := s.do("", "GET", "/readyz", ""); got.status != http.StatusOK || !strings.Contains(got.body, `"redis":{"status":"ok"}`) || !strings.Contains(got.body, `"status":"ready"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	there = false
	if got := s.do("", "GET", "/readyz", ""); got.status != http.StatusOK || !strings.Contains(got.body, `"redis":{"status":"degraded"}`) || !strings.HasPrefix(got.body, `{"status":"degraded"`) {
		t.Errorf("away: %d %s", got.status, got.body)
	}
}

// TestOperatorOnly is a process without the API: it has no feed, no voting.
func TestOperatorOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *api.Config) { c.OperatorOnly, c.Voting, c.Feed, c.Live, c.Analytics = true, nil, nil, nil, nil })
	for path, want := range map[string]int{
		"/healthz": http.StatusOK, "/readyz": http.StatusOK, "/health": http.StatusOK, "/version": http.StatusOK, "/metrics": http.StatusOK,
		"/": http.StatusNotFound, "/api/polls": http.StatusNotFound, "/api/polls/popular": http.StatusNotFound, "/docs": http.StatusNotFound,
	} {
		if got := s.do("", "GET", path, ""); got.status != want {
			t.Errorf("%s: %d, want %d", path, got.status, want)
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	s.publish("mira", "one")
	s.do("mira", "POST", "/api/polls/{one}/vote", `{"optionIndex":0}`)
	s.do("mira", "POST", "/api/polls/{one}/vote", `{"optionIndex":0}`)
	s.do("mira", "BREW", "/nothing", "")
	got := s.do("", "GET", "/metrics", "")
	for _, want := range []string{
		`vote_http_requests_total{method="POST",route="/api/polls/{id}/vote",status="200"} 1`,
		`vote_http_requests_total{method="POST",route="/api/polls/{id}/vote",status="409"} 1`,
		`vote_http_requests_total{method="other",route="unmatched",status="404"} 1`,
		`vote_http_request_duration_seconds_count{method="POST",route="/api/polls/{id}/vote"} 2`,
		`vote_http_refusals_total{code="already_voted"} 1`,
		`vote_http_requests_in_flight 1`,
	} {
		if !strings.Contains(got.body, want) {
			t.Errorf("no %s", want)
		}
	}
	for _, path := range []string{"/docs", "/api/polls", "metrics", "/:all", "/*all", "/{id}"} {
		if _, err := api.New(api.Config{MetricsPath: path}); err == nil {
			t.Errorf("takes the metrics path %q", path)
		}
	}
	elsewhere := newSite(t, func(c *api.Config) { c.MetricsElsewhere = true })
	if got := elsewhere.do("", "GET", "/metrics", ""); got.status != http.StatusNotFound {
		t.Errorf("metrics shown although they are elsewhere: %d", got.status)
	}
}

// TestPages looks at what browsers get: no address outside, every link leads
// somewhere.
func TestPages(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	link := regexp.MustCompile(`(?:href|src)="([^"]*)"`)
	examples := regexp.MustCompile(`(?s)<pre.*?</pre>`)
	for _, path := range []string{"/docs", "/docs/errors"} {
		got := s.do("", "GET", path, "")
		if got.status != http.StatusOK || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
			t.Fatalf("%s: %d %v", path, got.status, got.header)
		}
		for _, bad := range []string{"http:", "https:", "<script", "style=", "//"} {
			if strings.Contains(examples.ReplaceAllString(got.body, ""), bad) {
				t.Errorf("%s holds %q", path, bad)
			}
		}
		links := link.FindAllStringSubmatch(got.body, -1)
		if len(links) < 3 {
			t.Errorf("%s has %d links", path, len(links))
		}
		for _, l := range links {
			target, anchor, _ := strings.Cut(l[1], "#")
			page := got
			if target != "" {
				if page = s.do("", "GET", target, ""); page.status != http.StatusOK {
					t.Errorf("%s links to %s: %d", path, target, page.status)
				}
			}
			if anchor != "" && !strings.Contains(page.body, `id="`+anchor+`"`) {
				t.Errorf("%s links to %s, which is not there", path, l[1])
			}
		}
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("If-None-Match", got.header.Get("Etag"))
		if again := s.send(r); again.status != http.StatusNotModified || again.body != "" {
			t.Errorf("%s again: %d", path, again.status)
		}
	}
	css := regexp.MustCompile(`/assets/plain\.[0-9a-f]+\.css`).FindString(s.do("", "GET", "/docs", "").body)
	if got := s.do("", "GET", css, ""); got.status != http.StatusOK || !strings.Contains(got.header.Get("Cache-Control"), "immutable") {
		t.Errorf("%s: %d %v", css, got.status, got.header)
	}
}
