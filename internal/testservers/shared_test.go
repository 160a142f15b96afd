//go:build integration

package testservers_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"vote/internal/testservers"
)

// value returns the one value of the one row that the statement yields.
func value(t *testing.T, url, statement string) string {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	var v string
	if err := conn.QueryRow(t.Context(), statement).Scan(&v); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return v
}

func TestDatabaseIsOnesOwn(t *testing.T) {
	var first string
	t.Run("while it lives", func(t *testing.T) {
		first = testservers.Database(t)
		second := testservers.Database(t)
		execute(t, first, "create table only_here ()")
		const there = "select count(*)::text from pg_class where relname = 'only_here'"
		for url, want := range map[string]string{first: "1", testservers.PgBouncer(t, first): "1", second: "0"} {
			if got := value(t, url, there); got != want {
				t.Errorf("%s: %s tables, want %s", url, got, want)
			}
		}
	})
	name := first[strings.LastIndexByte(first, '/')+1:]
	name, _, _ = strings.Cut(name, "?")
	if n := value(t, testservers.Database(t), "select count(*)::text from pg_database where datname = '"+name+"'"); n != "0" {
		t.Errorf("%s is still there", name)
	}
}

// manage asks RabbitMQ's management and returns its answer.
func manage(t *testing.T, api, method, path, body string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, api+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= http.StatusMultipleChoices {
		t.Fatalf("%s %s: %s, %v", method, path, answer.Status, err)
	}
	return string(text)
}

func TestRabbitMQIsOnesOwn(t *testing.T) {
	hosts := func() string { return manage(t, testservers.RabbitMQAPI(t), "GET", "/api/vhosts", "") }
	var name string
	t.Run("while it lives", func(t *testing.T) {
		url := testservers.RabbitMQ(t)
		name = url[strings.LastIndexByte(url, '/')+1:]
		if !strings.Contains(hosts(), name) {
			t.Errorf("no virtual host %s", name)
		}
	})
	if strings.Contains(hosts(), name) {
		t.Errorf("the virtual host %s is still there", name)
	}
}
