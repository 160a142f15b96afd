package api_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"vote/internal/api"
)

// sink takes an answer and keeps nothing.
type sink struct {
	header http.Header
	status int
	bytes  int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { s.bytes += len(b); return len(b), nil }

// BenchmarkCall is what a call costs in the process, without the network, with
// limits and metrics on.
func BenchmarkCall(b *testing.B) {
	for _, c := range []struct{ name, method, target, body string }{
		{"feed", "GET", "/api/polls", ""},
		{"poll", "GET", "/api/polls/{one}", ""},
		{"stats", "GET", "/api/polls/{one}/stats", ""},
		{"repeated vote", "POST", "/api/polls/{one}/vote", `{"optionIndex":1}`},
		{"refused body", "POST", "/api/polls/{one}/vote", `{"optionIndex":"x"}`},
		{"no path", "GET", "/nothing", ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := newSite(b, func(c *api.Config) {
				c.Limits = api.Limits{RequestsPerMinute: 1e9, VotesPerMinute: 1e9, BurstPerSecond: 1e9}
			})
			s.join("mira")
			s.publish("mira", "one")
			s.many("mira", 30)
			s.do("mira", "POST", "/api/polls/{one}/vote", `{"optionIndex":1}`)
			r := s.request("mira", c.method, c.target, c.body)
			w := &sink{header: make(http.Header)}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				if c.body != "" {
					r.Body = io.NopCloser(strings.NewReader(c.body))
				}
				s.handler.ServeHTTP(w, r)
			}
			if w.status == 0 || w.status >= 500 {
				b.Fatal(w.status)
			}
			b.ReportMetric(float64(w.bytes)/float64(b.N), "bytes/answer")
		})
	}
}
