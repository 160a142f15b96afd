package api_test

import (
	"context"
	"strings"
	"testing"

	"vote/config"
	"vote/internal/app"
)

// TestWholeApp walks through the product as the server wires it, by default
// settings.
func TestWholeApp(t *testing.T) {
	t.Parallel()
	c, err := config.Load("", append(standing.environment(t), "SERVER_HOST=127.0.0.1", "SERVER_PORT=0"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	a, err := app.New(ctx, c, app.Options{})
	if err != nil {
		stop()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	s := &site{t: t, handler: a.Handler(), names: make(map[string]string)}
	eventually(t, "the server is ready", func() bool { return s.do("", "GET", "/readyz", "").status == 200 })
	s.join("mira", "jonas")
	s.publish("mira", "one", "two")
	for _, c := range []struct {
		as, call, body string
		status         int
		holds, told    string
	}{
		{"jonas", "GET /api/polls", "", 200, `"id":{one}`, "99 of 100"},
		{"jonas", "POST /api/polls/{one}/vote", `{"optionIndex":1}`, 200, `"votesRemainingToday":99`, "99 of 100"},
		{"jonas", "POST /api/polls/{one}/vote", `{"optionIndex":0}`, 409, `"optionIndex":1`, "98 of 100"},
		{"jonas", "POST /api/polls/{two}/skip", "", 200, `"skipped":true`, "98 of 100"},
		{"jonas", "GET /api/polls", "", 200, `"polls":[]`, "97 of 100"},
		{"", "GET /api/polls/{one}/stats", "", 200, `"totalVotes":1`, ""},
		{"", "GET /api/polls/popular", "", 200, `"id":{one}`, ""},
		{"mira", "DELETE /api/polls/{two}", "", 204, "", "97 of 100"},
		{"jonas", "POST /api/auth/logout", "", 204, "", "96 of 100"},
		{"jonas", "GET /api/polls", "", 401, `"unauthorized"`, ""},
	} {
		method, target, _ := strings.Cut(c.call, " ")
		got := s.do(c.as, method, target, c.body)
		if got.status != c.status || !strings.Contains(got.body, s.named(c.holds)) || (c.told != "" && window(got) != c.told) {
			t.Errorf("%s: %d, %s, want %d, %s with %s\n%s", c.call, got.status, window(got), c.status, c.told, c.holds, got.body)
		}
	}
	eventually(t, "vote and skip have come through the consumers", func() bool {
		return strings.Contains(s.do("", "GET", "/metrics", "").body, `vote_bus_deliveries_total{queue="vote.analytics",result="handled"} 2`)
	})
	if got := s.do("", "GET", "/api/polls/{one}/analytics", ""); !strings.Contains(got.body, `"totals":{"votes":[0,1,0],`) {
		t.Errorf("analytics: %d %s", got.status, got.body)
	}
	if got := s.do("", "GET", "/metrics", ""); !strings.Contains(got.body, "vote_http_requests_total") || !strings.Contains(got.body, "go_goroutines") {
		t.Errorf("metrics: %d %.200s", got.status, got.body)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
