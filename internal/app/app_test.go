package app_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vote/config"
	"vote/internal/app"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(built.folder)
		os.Exit(code)
	}), goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

func load(t *testing.T, environment ...string) config.Config {
	t.Helper()
	c, err := config.Load("", append([]string{"SERVER_HOST=127.0.0.1", "SERVER_PORT=0"}, environment...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// running starts an App, waits until it is ready and returns it with a function
// that ends it.
func running(t *testing.T, c config.Config) (*app.App, func() error) {
	t.Helper()
	a, stop := started(t, c)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if status, _ := fetch(t, a.URL()+"/readyz"); status == http.StatusOK {
			return a, stop
		}
		if time.Now().After(deadline) {
			t.Fatal("never ready")
		}
	}
}

// started is running without the wait.
func started(t *testing.T, c config.Config) (*app.App, func() error) {
	t.Helper()
	a, err := app.New(t.Context(), c, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	var ended error
	stopped := false
	stop := func() error {
		if !stopped {
			cancel()
			ended, stopped = <-done, true
		}
		return ended
	}
	t.Cleanup(func() { _ = stop() })
	return a, stop
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err.Error()
	}
	return r.StatusCode, string(b)
}

func TestAnOrderedEndFreesEverything(t *testing.T) {
	t.Parallel()
	c := load(t, "STORAGE_PATH="+filepath.Join(t.TempDir(), "data", "vote.db"))
	a, stop := running(t, c)
	if _, err := app.New(t.Context(), c, app.Options{}); err == nil || !strings.Contains(err.Error(), "data") {
		t.Errorf("a second process over the same data: %v; want a refusal that names the folder", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if status, _ := fetch(t, a.URL()+"/healthz"); status != 0 {
		t.Errorf("answers %d after its end", status)
	}
	_, stop = running(t, c) // the folder is free again
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestTheDevelopmentSecretIsMadeOnceAndKeptPrivate(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	c := load(t, "STORAGE_PATH="+filepath.Join(folder, "vote.db"))
	var secrets []string
	for range 2 {
		a, err := app.New(t.Context(), c, app.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(folder, "jwt.secret"))
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, string(b))
	}
	if len(secrets[0]) < config.MinProductionSecret || secrets[0] != secrets[1] {
		t.Errorf("secrets of %d and %d bytes; want one, kept", len(secrets[0]), len(secrets[1]))
	}
	info, err := os.Stat(filepath.Join(folder, "jwt.secret"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(folder, "jwt.secret"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := app.New(t.Context(), c, app.Options{}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged secret: %v, want an error that says so", err)
	}
}

func TestWhatThisVersionLacksIsRefusedByKey(t *testing.T) {
	t.Parallel()
	c := load(t, "STORAGE_PATH="+filepath.Join(t.TempDir(), "vote.db"), "TRACING_ENDPOINT=http://localhost:4318")
	_, err := app.New(t.Context(), c, app.Options{})
	if err == nil || !strings.Contains(err.Error(), "tracing.endpoint") {
		t.Errorf("%v; want a refusal that names tracing.endpoint", err)
	}
}

// TestWithoutWhatItCanDoWithout runs while nobody answers at the addresses of
// Redis and RabbitMQ.
func TestWithoutWhatItCanDoWithout(t *testing.T) {
	t.Parallel()
	a, _ := running(t, load(t, "STORAGE_PATH="+filepath.Join(t.TempDir(), "vote.db"), "CACHE_ENGINE=redis", "REDIS_HOST=127.0.0.1", "REDIS_PORT=1",
		"EVENTS_ENGINE=rabbitmq", "RABBITMQ_HOST=127.0.0.1", "RABBITMQ_PORT=1"))
	status, body := fetch(t, a.URL()+"/readyz")
	for _, want := range []string{`"status":"degraded"`, `"redis":{"status":"degraded"}`, `"rabbitmq":{"status":"degraded"}`, `"database":{"status":"ok"}`} {
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("ready: %d %s, want %s", status, body, want)
		}
	}
	if status, _ := fetch(t, a.URL()+"/api/polls/popular"); status != http.StatusOK {
		t.Errorf("popular: %d", status)
	}
}

func TestPostgresThatIsNotThere(t *testing.T) {
	t.Parallel()
	c := load(t, "STORAGE_ENGINE=postgres", "POSTGRES_HOST=127.0.0.1", "POSTGRES_PORT=1", "POSTGRES_PASSWORD=open-sesame", "JWT_SECRET_KEY="+strings.Repeat("x", 32))
	_, err := app.New(t.Context(), c, app.Options{})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || strings.Contains(err.Error(), "open-sesame") {
		t.Errorf("%v, want an error with the address and without the password", err)
	}
}

func TestAnOutdatedSchemaIsNotServed(t *testing.T) {
	t.Parallel()
	c := load(t, "STORAGE_PATH="+filepath.Join(t.TempDir(), "vote.db"), "STORAGE_AUTO_MIGRATE=false")
	_, err := app.New(t.Context(), c, app.Options{})
	if err == nil || !strings.Contains(err.Error(), "schema_outdated") {
		t.Fatalf("%v, want schema_outdated", err)
	}
	m, err := app.OpenMigrator(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, stop := running(t, c); stop() != nil {
		t.Error("not served after migrating")
	}
}

func TestMetricsMoveToTheAdminPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	a, _ := running(t, load(t, "STORAGE_PATH="+filepath.Join(t.TempDir(), "vote.db"), "SERVER_ADMIN_PORT="+port))
	admin := "http://127.0.0.1:" + port
	for url, want := range map[string]int{
		a.URL() + "/metrics": http.StatusNotFound, a.URL() + "/debug/pprof/": http.StatusNotFound,
		admin + "/metrics": http.StatusOK, admin + "/debug/pprof/": http.StatusOK, admin + "/api/tags": http.StatusNotFound,
	} {
		if status, _ := fetch(t, url); status != want {
			t.Errorf("%s: %d, want %d", url, status, want)
		}
	}
	if _, body := fetch(t, admin+"/metrics"); !strings.Contains(body, "vote_votes_total") {
		t.Error("the admin port's metrics lack vote_votes_total")
	}
}
