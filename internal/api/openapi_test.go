package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"vote/internal/api"
	"vote/internal/domain"
)

// openDocument reads the document that the server serves.
func openDocument(t *testing.T, s *site) (validator.Validator, map[string]map[string]operation) {
	t.Helper()
	got := s.do("", "GET", "/openapi.json", "")
	if got.status != http.StatusOK || got.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v", got.status, got.header)
	}
	document, err := libopenapi.NewDocument([]byte(got.body))
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(document)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var d struct {
		OpenAPI string
		Paths   map[string]map[string]operation
	}
	if err := json.Unmarshal([]byte(got.body), &d); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(d.OpenAPI, "3.1") {
		t.Errorf("OpenAPI %s", d.OpenAPI)
	}
	return v, d.Paths
}

type operation struct {
	OperationID string `json:"operationId"`
	Summary     string
	RequestBody *struct {
		Content map[string]media
	} `json:"requestBody"`
	Responses map[string]struct {
		Headers map[string]any
		Content map[string]media
	}
}

type media struct {
	Schema   json.RawMessage
	Example  json.RawMessage
	Examples map[string]struct{ Value json.RawMessage }
}

func TestOpenAPIIsValid(t *testing.T) {
	t.Parallel()
	v, _ := openDocument(t, newSite(t, nil))
	if ok, errs := v.ValidateDocument(); !ok {
		for _, e := range errs {
			t.Errorf("%s: %s", e.Message, e.Reason)
		}
	}
}

// TestOpenAPIMatchesRouter walks document and router both ways.
func TestOpenAPIMatchesRouter(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	_, paths := openDocument(t, s)
	documented := make(map[string]bool)
	for path, item := range paths {
		for method := range item {
			documented[strings.ToUpper(method)+" "+path] = true
		}
	}
	routed := make(map[string]bool)
	for _, r := range api.Routes(s.handler) {
		routed[r] = true
	}
	for r := range routed {
		method, path, _ := strings.Cut(r, " ")
		if method == http.MethodHead {
			method = http.MethodGet // every GET answers HEAD, as the document says
			if !routed["GET "+path] {
				t.Errorf("%s without GET", r)
			}
		}
		if !documented[method+" "+path] {
			t.Errorf("%s is routed and not documented", r)
		}
	}
	for d := range documented {
		if !routed[d] {
			t.Errorf("%s is documented and not routed", d)
		}
	}
	if len(documented) < 25 {
		t.Errorf("only %d operations", len(documented))
	}
}

// TestOpenAPIExamples holds every example to its schema, by validating it as
// the request or answer that it stands for.
func TestOpenAPIExamples(t *testing.T) {
	t.Parallel()
	v, paths := openDocument(t, newSite(t, nil))
	fill := strings.NewReplacer("{id}", "116114440929280", "{file}", "app.css", "{view}", "votes", "{sid}", "mT0b3y0Xk2yq8mC1V1m7Qw")
	checked := 0
	for path, item := range paths {
		for method, op := range item {
			method := strings.ToUpper(method)
			target := fill.Replace(path)
			if path == "/api/stats" || path == "/api/stream" {
				target += "?polls=1"
			}
			request := func(body json.RawMessage) *http.Request {
				r := httptest.NewRequest(method, target, bytes.NewReader(body))
				r.Header.Set("Authorization", "Bearer x")
				if body != nil {
					r.Header.Set("Content-Type", "application/json")
				}
				return r
			}
			var body json.RawMessage
			if op.RequestBody != nil {
				examples := op.RequestBody.Content["application/json"].Examples
				if len(examples) == 0 {
					t.Errorf("%s %s: no example of a body", method, path)
				}
				for name, e := range examples {
					body = e.Value
					checked++
					if ok, errs := v.ValidateHttpRequestSync(request(body)); !ok {
						for _, err := range errs {
							t.Errorf("%s %s, body %q: %s: %s", method, path, name, err.Message, err.Reason)
						}
					}
				}
			}
			for status, response := range op.Responses {
				for kind, m := range response.Content {
					values := map[string]json.RawMessage{"example": m.Example}
					if m.Example == nil {
						delete(values, "example")
					}
					for name, e := range m.Examples {
						values[name] = e.Value
					}
					if len(values) == 0 && strings.Contains(kind, "json") && path != "/openapi.json" && path != "/manifest.webmanifest" {
						t.Errorf("%s %s %s: no example", method, path, status)
					}
					if response.Headers["X-Request-Id"] == nil || (strings.HasPrefix(path, "/api/") && response.Headers["X-RateLimit-Limit"] == nil) {
						t.Errorf("%s %s %s: headers are not documented", method, path, status)
					}
					for name, value := range values {
						if !strings.Contains(kind, "json") {
							continue
						}
						checked++
						w := httptest.NewRecorder()
						w.Header().Set("Content-Type", kind)
						for h := range response.Headers {
							w.Header().Set(h, "1")
						}
						w.WriteHeader(number(t, status))
						_, _ = w.Write(value)
						if ok, errs := v.ValidateHttpResponse(request(body), w.Result()); !ok {
							for _, err := range errs {
								t.Errorf("%s %s %s %s: %s: %s", method, path, status, name, err.Message, err.Reason)
							}
						}
					}
				}
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d examples", checked)
	}
}

// TestValidatorSees plants faults that the comparisons above must notice.
func TestValidatorSees(t *testing.T) {
	t.Parallel()
	v, _ := openDocument(t, newSite(t, nil))
	const good = `{"items":[{"tag":"city","polls":1}]}`
	for body, want := range map[string]bool{
		good: true, `{"items":[{"tag":"city","polls":1,"more":1}]}`: false, `{"items":[{"tag":"city"}]}`: false, `{"items":[{"tag":5,"polls":1}]}`: false, `{"items":null}`: false,
	} {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.WriteString(body)
		if ok, _ := v.ValidateHttpResponse(httptest.NewRequest(http.MethodGet, "/api/tags", nil), w.Result()); ok != want {
			t.Errorf("%s: valid is %t", body, ok)
		}
	}
	for body, want := range map[string]bool{`{"optionIndex":1}`: true, `{"optionIndex":1,"userId":"17"}`: true, `{"optionIndex":"1"}`: false, `{}`: false, `{"optionIndex":1,"x":1}`: false, `{"optionIndex":1,"userId":"x"}`: false} {
		r := httptest.NewRequest(http.MethodPost, "/api/polls/1/vote", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer x")
		if ok, _ := v.ValidateHttpRequestSync(r); ok != want {
			t.Errorf("%s: valid is %t", body, ok)
		}
	}
}

func number(t *testing.T, status string) int {
	t.Helper()
	var n int
	if err := json.Unmarshal([]byte(status), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestOpenAPIHoldsForAnswers makes requests of every operation and holds the
// real answers, refusals too, to the document.
func TestOpenAPIHoldsForAnswers(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *api.Config) {
		c.Limits = api.Limits{RequestsPerMinute: 1000, BurstPerSecond: 10_000, VotesPerMinute: 4, DailyVotes: 3}
	})
	s.join("mira", "jonas", "eve")
	s.login("eve", "eve.phone")
	s.publish("mira", "one", "two", "three", "four", "own", "closed")
	s.setState("closed", domain.PollClosed)
	v, paths := openDocument(t, s)
	_, style, _ := strings.Cut(s.do("", "GET", "/", "").body, `stylesheet" href="`)
	style, _, _ = strings.Cut(style, `"`)
	etag := s.do("", "GET", "/api/polls/{one}/stats", "").header.Get("Etag")
	answered := make(map[string]map[string]bool)
	for _, c := range []struct {
		as, call, body string
		header         []string
	}{
		{"", "POST /api/auth/register", `{"username":"ada","email":"ada@example.org","password":"correct horse"}`, nil},
		{"", "POST /api/auth/register", `{"username":"ada","email":"eve@example.org","password":"correct horse"}`, nil},
		{"", "POST /api/auth/register", `{"username":"a"}`, nil},
		{"", "POST /api/auth/register", `{`, nil},
		{"", "POST /api/auth/register", `{}`, []string{"Content-Type", none}},
		{"", "POST /api/auth/register", strings.Repeat(" ", 70_000), nil},
		{"", "POST /api/auth/login", `{"email":"ada@example.org","password":"correct horse"}`, nil},
		{"", "POST /api/auth/login", `{"email":"ada@example.org","password":"wrong horse"}`, nil},
		{"", "POST /api/auth/refresh", `{"refreshToken":"{jonas.refresh}"}`, nil},
		{"", "POST /api/auth/refresh", `{"refreshToken":"nothing"}`, nil},
		{"mira", "GET /api/users/me", "", nil},
		{"", "GET /api/users/me", "", nil},
		{"mira", "GET /api/users/me?userId=99", "", nil},
		{"mira", "POST /api/polls", `{"title":"a","options":["a","b"],"tags":["a"]}`, []string{"Idempotency-Key", "k"}},
		{"mira", "POST /api/polls", `{"title":"b","options":["a","b"],"tags":["a"]}`, []string{"Idempotency-Key", "k"}},
		{"mira", "GET /api/polls", "", nil},
		{"mira", "GET /api/polls?limit=2&tag=test&tag=a&q=o&sort=hot", "", nil},
		{"mira", "GET /api/polls?cursor=abc", "", nil},
		{"mira", "GET /api/polls?limit=0", "", nil},
		{"mira", "GET /api/users/me/polls?limit=2", "", nil},
		{"mira", "GET /api/users/me/polls?cursor=x", "", nil},
		{"jonas", "GET /api/users/me/polls", "", nil},
		{"mira", "GET /api/users/me/notifications", "", nil},
		{"mira", "GET /api/users/me/notifications?limit=0", "", nil},
		{"", "GET /api/users/me/notifications", "", nil},
		{"", "GET /api/polls/popular?limit=3", "", nil},
		{"", "GET /api/polls/{one}", "", nil},
		{"mira", "GET /api/polls/{one}", "", nil},
		{"", "GET /api/polls/5", "", nil},
		{"mira", "POST /api/polls/{one}/vote", `{"optionIndex":1}`, nil},
		{"mira", "GET /api/polls/{one}", "", nil},
		{"mira", "POST /api/polls/{one}/vote", `{"optionIndex":1}`, nil},
		{"mira", "POST /api/polls/{closed}/vote", `{"optionIndex":1}`, nil},
		{"mira", "POST /api/polls/{two}/vote", `{"optionIndex":9}`, nil},
		{"mira", "POST /api/polls/{two}/vote", `{"optionIndex":0}`, nil},
		{"jonas", "POST /api/polls/{two}/vote", `{"optionIndex":0,"userId":5}`, nil},
		{"mira", "POST /api/polls/{two}/skip", "", nil},
		{"mira", "POST /api/polls/{three}/skip", "", nil},
		{"jonas", "POST /api/interactions", `[{"pollId":{one},"optionIndex":0},{"pollId":"{two}","skip":true},{"pollId":{one},"optionIndex":1},{"pollId":5,"optionIndex":0},{"pollId":{two},"optionIndex":0},{"pollId":{three},"optionIndex":0}]`, nil},
		{"jonas", "POST /api/interactions", `[]`, nil},
		{"mira", "GET /api/users/me/votes?limit=1", "", nil},
		{"jonas", "GET /api/users/me/skips", "", nil},
		{"", "GET /api/polls/{one}/analytics", "", nil},
		{"mira", "GET /api/polls/{one}/analytics?bucket=day&from=2025-11-01T00:00:00Z&to=2025-11-18T00:00:00Z", "", nil},
		{"", "GET /api/polls/{one}/analytics?bucket=week", "", nil},
		{"", "GET /api/polls/5/analytics", "", nil},
		{"", "GET /api/polls/{one}/stats", "", nil},
		{"", "GET /api/polls/{four}/stats", "", []string{"If-None-Match", "*"}},
		{"", "GET /api/polls/{one}/stats", "", []string{"If-None-Match", etag}},
		{"", "GET /api/polls/{one}/stats?format=csv", "", nil},
		{"", "GET /api/polls/{one}/stats?format=xml", "", nil},
		{"", "GET /api/stats?polls={one},{two},5", "", nil},
		{"", "GET /api/stats", "", nil},
		{"", "GET /api/polls/{one}/stats/stream", "", nil},
		{"", "GET /api/polls/5/stats/stream", "", nil},
		{"", "GET /api/stream?polls={one},{two}", "", []string{"Last-Event-ID", "{one}:1"}},
		{"", "GET /api/stream", "", nil},
		{"", "GET /api/tags?prefix=te", "", nil},
		{"jonas", "DELETE /api/polls/{own}", "", nil},
		{"mira", "DELETE /api/polls/{one}", "", nil},
		{"mira", "DELETE /api/polls/{own}", "", nil},
		{"mira", "PATCH /api/users/me", `{"username":"mira.k"}`, nil},
		{"mira", "PATCH /api/users/me", `{"email":"mira@example.net","password":"battery correct","currentPassword":"correct horse"}`, nil},
		{"mira", "PATCH /api/users/me", `{"email":"jonas@example.org","currentPassword":"battery correct"}`, nil},
		{"mira", "PATCH /api/users/me", `{"email":"mira@example.net","currentPassword":"correct horse"}`, nil},
		{"mira", "PATCH /api/users/me", `{}`, nil},
		{"mira", "GET /api/users/me/sessions?limit=1", "", nil},
		{"mira", "GET /api/users/me/sessions?cursor=x", "", nil},
		{"mira", "DELETE /api/users/me/sessions/none", "", nil},
		{"eve", "DELETE /api/users/me/sessions/{eve.phone}", "", nil},
		{"mira", "GET /api/users/me/export", "", nil},
		{"eve", "DELETE /api/users/me", `{"password":"wrong horse"}`, nil},
		{"eve", "DELETE /api/users/me", `{"password":"correct horse"}`, nil},
		{"mira", "POST /api/auth/logout", `{"refreshToken":"nothing"}`, nil},
		{"mira", "POST /api/auth/logout", "", nil},
		{"mira", "POST /api/auth/logout", "", nil},
		{"", "GET /healthz", "", nil}, {"", "GET /readyz", "", nil}, {"", "GET /health", "", nil}, {"", "GET /version", "", nil}, {"", "GET /metrics", "", nil},
		{"", "GET /openapi.json", "", nil}, {"", "GET /docs", "", nil}, {"", "GET /docs/errors", "", nil}, {"", "GET " + style, "", nil}, {"", "GET /assets/none.css", "", nil},
		{"", "GET /", "", nil}, {"", "GET /create", "", nil}, {"", "GET /sign-in", "", nil}, {"", "GET /sign-up", "", nil}, {"", "GET /me", "", nil}, {"", "GET /me/votes", "", nil}, {"", "GET /me/none", "", nil},
		{"", "GET /sw.js", "", nil}, {"", "GET /manifest.webmanifest", "", nil},
		{"", "GET /p/{one}", "", nil}, {"", "GET /p/5", "", nil}, {"", "GET /p/{one}?x=%", "", nil}, {"", "GET /embed/{one}", "", nil}, {"", "GET /embed/5", "", nil},
		{"", "GET /p/{one}/image.png?v=3", "", nil}, {"", "GET /p/5/image.png", "", nil},
		{"", "GET /oembed?url=http://example.com/p/{one}", "", nil}, {"", "GET /oembed?url=http://example.com/p/5", "", nil}, {"", "GET /oembed", "", nil}, {"", "GET /oembed?url=http://example.com/p/{one}&format=xml", "", nil},
	} {
		method, target, _ := strings.Cut(c.call, " ")
		r := s.request(c.as, method, target, c.body, c.header...)
		w := s.begin(r)
		got := w.Result()
		again := s.request(c.as, method, target, c.body, c.header...)
		if ok, errs := v.ValidateHttpResponse(again, got); !ok && got.StatusCode != http.StatusNotModified && got.StatusCode != http.StatusNoContent {
			for _, e := range errs {
				t.Errorf("%s: %d: %s: %s\n%.400s", c.call, got.StatusCode, e.Message, e.Reason, w.Body)
			}
		}
		path := template(paths, again.URL.Path)
		op := paths[path][strings.ToLower(method)]
		documented, ok := op.Responses[itoa(got.StatusCode)]
		if !ok {
			t.Errorf("%s: %d is not documented", c.call, got.StatusCode)
			continue
		}
		for h := range documented.Headers {
			if got.Header.Get(h) == "" {
				t.Errorf("%s: %d without %s", c.call, got.StatusCode, h)
			}
		}
		if got.Header.Get("Content-Type") == "application/problem+json" {
			code := reply{got.StatusCode, got.Header, w.Body.String()}.code()
			if _, ok := documented.Content["application/problem+json"].Examples[code]; !ok {
				t.Errorf("%s: %d %s is not documented", c.call, got.StatusCode, code)
			}
		}
		// What is accepted must be a request that the document allows.
		if got.StatusCode < 300 {
			if ok, errs := v.ValidateHttpRequestSync(s.request(c.as, method, target, c.body, c.header...)); !ok {
				for _, e := range errs {
					t.Errorf("%s is accepted: %s: %s", c.call, e.Message, e.Reason)
				}
			}
		}
		id := method + " " + path
		if answered[id] == nil {
			answered[id] = make(map[string]bool)
		}
		answered[id][itoa(got.StatusCode)] = true
		_, _ = io.Copy(io.Discard, got.Body)
	}
	for path, item := range paths {
		for method, op := range item {
			id := strings.ToUpper(method) + " " + path
			success := false
			for status := range answered[id] {
				success = success || status < "300"
			}
			if !success {
				t.Errorf("%s (%s): no accepted request was looked at, only %v", id, op.OperationID, slices.Sorted(maps.Keys(answered[id])))
			}
		}
	}
}

// template returns the documented path that a path belongs to.
func template(paths map[string]map[string]operation, path string) string {
	if _, ok := paths[path]; ok {
		return path
	}
	parts := strings.Split(path, "/")
next:
	for t := range paths {
		want := strings.Split(t, "/")
		if len(want) != len(parts) {
			continue
		}
		for i := range want {
			if want[i] != parts[i] && !strings.HasPrefix(want[i], "{") {
				continue next
			}
		}
		return t
	}
	return ""
}

// TestOpenAPIMatchesReaders holds what the body readers take to the schemas: the
// same fields, the same required ones.
func TestOpenAPIMatchesReaders(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	s.publish("mira", "one")
	var d struct {
		Paths      map[string]map[string]operation
		Components struct {
			Schemas map[string]struct {
				Properties map[string]json.RawMessage
				Required   []string
			}
		}
	}
	if err := json.Unmarshal([]byte(s.do("", "GET", "/openapi.json", "").body), &d); err != nil {
		t.Fatal(err)
	}
	faults := func(method, path, body string) map[string]string {
		got := s.do("mira", method, strings.Replace(path, "{id}", "{one}", 1), body)
		var p struct {
			Errors []struct{ Field, Message string }
		}
		if err := json.Unmarshal([]byte(got.body), &p); err != nil && got.body != "" {
			t.Fatalf("%s: %s", path, got.body)
		}
		m := make(map[string]string)
		for _, e := range p.Errors {
			m[strings.TrimPrefix(e.Field, "[0].")] = e.Message
		}
		return m
	}
	bodies := 0
	type call struct{ method, path string }
	calls := make(map[call]operation)
	for path, item := range d.Paths {
		for method, op := range item {
			if op.RequestBody != nil {
				calls[call{strings.ToUpper(method), path}] = op
			}
		}
	}
	for c, op := range calls {
		method, path := c.method, c.path
		bodies++
		var schema struct {
			Ref   string `json:"$ref"`
			Items *struct {
				Ref string `json:"$ref"`
			}
		}
		if err := json.Unmarshal(op.RequestBody.Content["application/json"].Schema, &schema); err != nil {
			t.Fatal(err)
		}
		open, end := "{", "}"
		if schema.Items != nil {
			schema.Ref, open, end = schema.Items.Ref, "[{", "}]"
		}
		shape := d.Components.Schemas[strings.TrimPrefix(schema.Ref, "#/components/schemas/")]
		if len(shape.Properties) == 0 {
			t.Fatalf("%s: no properties in %s", path, schema.Ref)
		}
		var members []string
		for name := range shape.Properties {
			// An object is the wrong type for every field there is.
			members = append(members, `"`+name+`":{}`)
		}
		got := faults(method, path, open+strings.Join(members, ",")+`,"another":1`+end)
		for name := range shape.Properties {
			if m := got[name]; m == "" || strings.Contains(m, "known") {
				t.Errorf("%s: %s is documented and not read: %q", path, name, m)
			}
		}
		if !strings.Contains(got["another"], "known") || len(got) != len(shape.Properties)+1 {
			t.Errorf("%s: faults %v", path, got)
		}
		got = faults(method, path, open+`"another":1`+end)
		for _, name := range shape.Required {
			if got[name] != "is required" {
				t.Errorf("%s: %s is documented as required: %q", path, name, got[name])
			}
		}
		for name, m := range got {
			if m == "is required" && !slices.Contains(shape.Required, name) && name != "optionIndex" {
				t.Errorf("%s: %s is required and not documented so", path, name)
			}
		}
	}
	if bodies != 10 {
		t.Errorf("%d bodies", bodies)
	}
}

func itoa(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

// TestDocsShowEveryCall looks for each call of the document on the page made of it.
func TestDocsShowEveryCall(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	_, paths := openDocument(t, s)
	page := s.do("", "GET", "/docs", "").body
	calls := 0
	for path, operations := range paths {
		for method, o := range operations {
			calls++
			if !strings.Contains(page, `id="`+o.OperationID+`"`) {
				t.Errorf("%s %s is not on the page", method, path)
			}
		}
	}
	if calls < 20 {
		t.Errorf("only %d calls were looked for", calls)
	}
}
