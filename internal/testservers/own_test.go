//go:build integration && linux

package testservers_test

import (
	"context"
	"fmt"
	"io"
	"net"
	neturl "net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"vote/internal/testservers"
)

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func execute(t *testing.T, url, statement string) {
	t.Helper()
	if _, err := connect(t, url).Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestPostgresKeepsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	p := testservers.StartPostgres(t, "log_statement=all")
	url := testservers.DatabaseAt(t, p.URL())
	if set := value(t, url, "show log_statement"); set != "all" {
		t.Errorf("log_statement is %s", set)
	}
	// From the file that is shipped, and not the default.
	if set := value(t, url, "show max_connections"); set != "400" {
		t.Errorf("max_connections is %s", set)
	}
	execute(t, url, "create table t (n int); insert into t values (1)")
	for name, down := range map[string]func(){"Kill": p.Kill, "StopImmediate": p.StopImmediate} {
		conn := connect(t, url)
		down()
		if _, err := conn.Exec(t.Context(), "select 1"); err == nil {
			t.Errorf("it answers after %s", name)
		}
		p.Restart()
		if n := value(t, url, "select count(*)::text from t"); n != "1" {
			t.Errorf("%s rows after %s", n, name)
		}
	}
}

func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	primary := testservers.StartPostgres(t)
	execute(t, primary.URL(), "create table t (n int)")
	standby := primary.StartStandby()
	execute(t, primary.URL(), "insert into t values (1)")
	if _, err := connect(t, standby.URL()).Exec(t.Context(), "insert into t values (2)"); err == nil {
		t.Error("the standby takes writes")
	}
	primary.Kill()
	standby.Promote()
	execute(t, standby.URL(), "insert into t values (3)")
	if n := value(t, standby.URL(), "select string_agg(n::text, ',' order by n) from t"); n != "1,3" {
		t.Errorf("rows %s, want 1,3", n)
	}
}

// A commit waits for the standby, else the loss of the primary could be seen.
func TestCommitWaitsForTheStandby(t *testing.T) {
	t.Parallel()
	primary := testservers.StartPostgres(t)
	execute(t, primary.URL(), "create table t (n int)")
	standby := primary.StartStandby()
	conn := connect(t, primary.URL())
	standby.Stop()
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	if _, err := conn.Exec(ctx, "insert into t values (1)"); err == nil {
		t.Error("committed without the standby")
	}
	standby.Continue()
	execute(t, primary.URL(), "insert into t values (2)")
}

func TestPgBouncerOfOnesOwn(t *testing.T) {
	t.Parallel()
	url := testservers.Database(t)
	b := testservers.StartPgBouncer(t, url)
	if got, want := value(t, b.URL(), "select current_database()::text"), value(t, url, "select current_database()::text"); got != want {
		t.Errorf("database %s, want %s", got, want)
	}
	// From the file that is shipped, and not the default, which is session.
	console, err := neturl.Parse(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	console.Path = "/pgbouncer"
	if got := setting(t, console.String(), "pool_mode"); got != "transaction" {
		t.Errorf("pool_mode is %s", got)
	}
	b.Kill()
	if _, err := pgx.Connect(t.Context(), b.URL()); err == nil {
		t.Error("it answers after Kill")
	}
	b.Restart()
	value(t, b.URL(), "select ''")
}

// setting returns what PgBouncer's console says of a setting.
func setting(t *testing.T, console, name string) string {
	t.Helper()
	config, err := pgx.ParseConfig(console)
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	rows, err := conn.Query(t.Context(), "show config")
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToMap)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range all {
		if row["key"] == name {
			return fmt.Sprint(row["value"])
		}
	}
	t.Fatalf("no setting %s", name)
	return ""
}

func TestRedisOfOnesOwn(t *testing.T) {
	t.Parallel()
	r := testservers.StartRedis(t)
	if policy := r.Do("CONFIG", "GET", "maxmemory-policy"); !slices.Equal(policy, []string{"maxmemory-policy", "allkeys-lru"}) {
		t.Errorf("it does not follow the file that is shipped: %q", policy)
	}
	stored := func() string { return r.Do("GET", "k")[0] }
	r.Do("SET", "k", "v")
	r.Stop()
	r.Continue()
	if v := stored(); v != "v" {
		t.Errorf("after a pause: %q", v)
	}
	r.Flush()
	if v := stored(); v != "" {
		t.Errorf("after Flush: %q", v)
	}
	r.Do("SET", "k", "v")
	r.Kill()
	r.Restart()
	if v := stored(); v != "" {
		t.Errorf("a cache came back: %q", v)
	}
}

func TestSentinelsFailOver(t *testing.T) {
	t.Parallel()
	s := testservers.StartSentinels(t)
	first := s.MasterAddress()
	s.KillMaster()
	eventually(t, "another master", func() bool { return s.MasterAddress() != first })
	s.Restart()
	eventually(t, "the former master a replica", func() bool {
		conn, err := net.Dial("tcp", first)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		text := make([]byte, 256)
		if _, err := io.WriteString(conn, "ROLE\r\n"); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(text)
		return err == nil && strings.Contains(string(text[:n]), "slave")
	})
}

func TestRabbitMQOfOnesOwn(t *testing.T) {
	t.Parallel()
	r := testservers.StartRabbitMQ(t)
	manage(t, r.API(), "PUT", "/api/queues/%2F/q", `{"durable": true, "arguments": {"x-queue-type": "quorum"}}`)
	for name, down := range map[string]func(){"Stop": r.Stop, "Kill": r.Kill} {
		down()
		r.Start()
		if answer := manage(t, r.API(), "GET", "/api/queues/%2F/q", ""); !strings.Contains(answer, `"quorum"`) {
			t.Errorf("the queue after %s: %s", name, answer)
		}
	}
}
