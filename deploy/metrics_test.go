package deploy_test

import (
	"context"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"vote/config"
	"vote/internal/app"
)

// TestMetricsExist asks a server for every metric that a dashboard or an alert
// speaks of.
func TestMetricsExist(t *testing.T) {
	t.Parallel()
	wanted := make(map[string][]string) // metric -> who wants it
	alerts, err := os.ReadFile("prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(alerts), "expr: >-\n", "expr: ")
	rules := regexp.MustCompile(`(?m)^        expr: (.*(?:\n {10}.*)*)`).FindAllStringSubmatch(text, -1)
	if len(rules) != strings.Count(text, "- alert: ") {
		t.Fatalf("%d expressions of %d alerts", len(rules), strings.Count(text, "- alert: "))
	}
	want := func(expression, by string) {
		found := names(expression)
		if len(found) == 0 {
			t.Errorf("%s: %q speaks of no metric", by, expression)
		}
		for _, name := range found {
			wanted[name] = append(wanted[name], by)
		}
	}
	for _, r := range rules {
		want(r[1], "alerts.yml")
	}
	dashboards, err := fs.Glob(os.DirFS("."), "grafana/dashboards/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range dashboards {
		for _, p := range dashboard(t, file).Panels {
			for _, target := range p.Targets {
				want(target.Expr, file+": "+p.Title)
			}
		}
	}
	if len(wanted) < 15 {
		t.Errorf("only %d metrics are wanted", len(wanted))
	}
	there := served(t, func(there map[string]bool) bool {
		for name := range wanted {
			if !there[name] {
				return false
			}
		}
		return true
	})
	for name, by := range wanted {
		if !there[name] {
			t.Errorf("there is no metric %s: %s", name, strings.Join(by, ", "))
		}
	}
	if there["vote_nonsense"] || !there["vote_batch_commit_seconds_bucket"] {
		t.Error("the metrics were not read well")
	}
}

// served returns the names of the series of a server that has done a little of
// everything, once they are enough or after a while.
func served(t *testing.T, enough func(map[string]bool) bool) map[string]bool {
	t.Helper()
	c, err := config.Load("", []string{"SERVER_HOST=127.0.0.1", "SERVER_PORT=0", "STORAGE_PATH=" + filepath.Join(t.TempDir(), "vote.db")})
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(t.Context(), c, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	token := ""
	call := func(method, path, body string) string {
		r, err := http.NewRequestWithContext(t.Context(), method, a.URL()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		b, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	deadline := time.Now().Add(30 * time.Second)
	for !strings.Contains(call(http.MethodGet, "/readyz", ""), `"ready"`) {
		if time.Now().After(deadline) {
			t.Fatal("never ready")
		}
	}
	registered := call(http.MethodPost, "/api/auth/register", `{"username":"ada","email":"ada@example.org","password":"correct horse battery"}`)
	if m := regexp.MustCompile(`"token":"([^"]+)"`).FindStringSubmatch(registered); m != nil {
		token = m[1]
	}
	poll := call(http.MethodPost, "/api/polls", `{"title":"Tabs or spaces?","options":["Tabs","Spaces"],"tags":["code"]}`)
	id := regexp.MustCompile(`"id":(\d+)`).FindStringSubmatch(poll)
	if id == nil {
		t.Fatalf("no poll: %s", poll)
	}
	call(http.MethodGet, "/api/polls", "")
	call(http.MethodPost, "/api/polls/"+id[1]+"/vote", `{"optionIndex":0}`)
	call(http.MethodGet, "/api/nothing", "")
	stream, leave := context.WithCancel(t.Context())
	defer leave()
	r, err := http.NewRequestWithContext(stream, http.MethodGet, a.URL()+"/api/polls/"+id[1]+"/stats/stream", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	_ = answer.Body.Close()
	series := regexp.MustCompile(`(?m)^(\w+)[ {]`)
	for {
		there := map[string]bool{"up": true} // which Prometheus itself makes
		for _, m := range series.FindAllStringSubmatch(call(http.MethodGet, "/metrics", ""), -1) {
			there[m[1]] = true
		}
		// Events are published in their own time.
		if enough(there) || time.Now().After(deadline) {
			return there
		}
		time.Sleep(20 * time.Millisecond)
	}
}
