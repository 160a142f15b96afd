package testservers

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Variables of the environment that say where the shared servers, and programs of
// tests, are.
const (
	PostgresURL       = "VOTE_TEST_POSTGRES_URL"       // a superuser's, of any database
	PgBouncerURL      = "VOTE_TEST_PGBOUNCER_URL"      // before the same server, any database of it
	RedisAddress      = "VOTE_TEST_REDIS_ADDRESS"      // host:port
	SentinelAddresses = "VOTE_TEST_SENTINEL_ADDRESSES" // host:port,host:port,...
	SentinelMaster    = "VOTE_TEST_SENTINEL_MASTER"    // the name that the Sentinels know
	RabbitMQURL       = "VOTE_TEST_RABBITMQ_URL"       // an administrator's
	RabbitMQAPIURL    = "VOTE_TEST_RABBITMQ_API_URL"   // the management of the same server, with user and password
	CitusURL          = "VOTE_TEST_CITUS_URL"          // of a coordinator; nothing provides one
	Chromium          = "VOTE_TEST_CHROMIUM"           // the program's path
)

// patience bounds each step with a server.
const patience = time.Minute

// shared returns what a variable of the environment says, and fails the test
// when it says nothing.
func shared(t testing.TB, variable string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		t.Fatalf("%s is not set: this test needs a real server. \"make test\" provides it; so does \"make services\" in another terminal, which prints what to export", variable)
	}
	return value
}

// bounded returns a context for one step with a server, which the end of the
// test does not end.
func bounded(t testing.TB) context.Context {
	ctx, stop := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	t.Cleanup(stop)
	return ctx
}

// Database returns the URL of a new, empty database of the shared PostgreSQL, by
// a direct connection of the superuser. It is dropped with the test.
func Database(t testing.TB) string {
	t.Helper()
	return DatabaseAt(t, shared(t, PostgresURL))
}

// DatabaseAt is Database of the PostgreSQL at the URL.
func DatabaseAt(t testing.TB, server string) string {
	t.Helper()
	name := unique()
	made, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	made.Path = "/" + name
	// Nobody is ever connected to template0, which could be in the way.
	if err := execute(t, server, "create database "+name+" template template0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A server that the test has killed has nothing to drop.
		if err := execute(t, server, "drop database "+name+" with (force)"); err != nil {
			t.Log(err)
		}
	})
	return made.String()
}

// Citus returns the URL of a new, empty database with the extension Citus, by its
// coordinator, or false when there is no such server. It is dropped with the test.
func Citus(t testing.TB) (string, bool) {
	t.Helper()
	server := os.Getenv(CitusURL)
	if server == "" {
		return "", false
	}
	database := DatabaseAt(t, server)
	if err := execute(t, database, "create extension citus"); err != nil {
		t.Fatal(err)
	}
	return database, true
}

// unique returns a name that nothing else has, fit for a database and a virtual
// host.
func unique() string { return "vote_test_" + strings.ToLower(rand.Text()) }

func execute(t testing.TB, server, statement string) error {
	ctx := bounded(t)
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// PgBouncer returns the URL by which a database of the shared PostgreSQL is
// reached through PgBouncer in transaction mode.
func PgBouncer(t testing.TB, database string) string {
	t.Helper()
	direct, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	server, err := url.Parse(shared(t, PostgresURL))
	if err != nil {
		t.Fatal(err)
	}
	through, err := url.Parse(shared(t, PgBouncerURL))
	if err != nil {
		t.Fatal(err)
	}
	if direct.Host != server.Host {
		t.Fatalf("the shared PgBouncer stands before %s, not before %s: start one", server.Host, direct.Host)
	}
	through.Path = direct.Path
	return through.String()
}

// Redis returns host:port of the shared Redis. All tests share its database 0,
// as Cluster has no other: use keys of one's own, and flush nothing.
func Redis(t testing.TB) string {
	t.Helper()
	return shared(t, RedisAddress)
}

// Sentinel returns host:port of each shared Sentinel and the name of their
// master.
func Sentinel(t testing.TB) (addresses []string, master string) {
	t.Helper()
	return strings.Split(shared(t, SentinelAddresses), ","), shared(t, SentinelMaster)
}

// RabbitMQ returns the URL of a new virtual host of the shared RabbitMQ. It is
// removed with the test.
func RabbitMQ(t testing.TB) string {
	t.Helper()
	made, err := url.Parse(shared(t, RabbitMQURL))
	if err != nil {
		t.Fatal(err)
	}
	name := unique()
	made.Path = "/" + name
	manage(t, http.MethodPut, "/api/vhosts/"+name, "")
	t.Cleanup(func() { manage(t, http.MethodDelete, "/api/vhosts/"+name, "") })
	manage(t, http.MethodPut, "/api/permissions/"+name+"/"+url.PathEscape(made.User.Username()), `{"configure": ".*", "write": ".*", "read": ".*"}`)
	return made.String()
}

// RabbitMQAPI returns the URL of the management of the shared RabbitMQ, with
// user and password.
func RabbitMQAPI(t testing.TB) string {
	t.Helper()
	return strings.TrimSuffix(shared(t, RabbitMQAPIURL), "/")
}

// manage sends a request to RabbitMQ's management.
func manage(t testing.TB, method, path, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(bounded(t), method, RabbitMQAPI(t)+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // leaves no connection to a leak check
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode >= http.StatusMultipleChoices {
		t.Fatalf("%s %s: %s", method, path, answer.Status)
	}
}
