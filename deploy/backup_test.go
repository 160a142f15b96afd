//go:build integration

package deploy_test

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vote/internal/testservers"
)

// TestBackup makes a dump and restores it into an empty database.
func TestBackup(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	run := func(database, command string, arguments ...string) (string, error) {
		u, err := url.Parse(database)
		if err != nil {
			t.Fatal(err)
		}
		password, _ := u.User.Password()
		c := exec.Command(command, arguments...)
		c.Env = append(os.Environ(), "BACKUP_FOLDER="+folder, "PGHOST="+u.Hostname(), "PGPORT="+u.Port(), "PGUSER="+u.User.Username(),
			"PGPASSWORD="+password, "PGDATABASE="+strings.TrimPrefix(u.Path, "/"))
		out, err := c.CombinedOutput()
		return string(out), err
	}
	must := func(database, command string, arguments ...string) string {
		t.Helper()
		out, err := run(database, command, arguments...)
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", command, arguments, err, out)
		}
		return out
	}
	query := func(database, sql string) string { t.Helper(); return must(database, "psql", "-XAtc", sql) }
	const script = "backup/backup.sh"
	from, to := testservers.Database(t), testservers.Database(t)
	query(from, "create table kept (id bigint primary key, title text); insert into kept select n, 'poll ' || n from generate_series(1, 1000) n")
	if out, err := run(from, script, "fresh"); err == nil {
		t.Errorf("without a dump there is a fresh one: %s", out)
	}
	must(from, script, "once")
	must(from, script, "fresh")
	dumps, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil || len(dumps) != 1 || !strings.HasSuffix(dumps[0], ".dump") {
		t.Fatalf("in the folder: %v, %v; want one dump", dumps, err)
	}
	must(to, script, "restore", dumps[0])
	const sum = "select count(*), md5(string_agg(id || title, ',' order by id)) from kept"
	if want, got := query(from, sum), query(to, sum); got != want || !strings.HasPrefix(got, "1000|") {
		t.Errorf("restored %s, want %s", got, want)
	}
	// A database that is not empty is left as it is.
	if out, err := run(to, script, "restore", dumps[0]); err == nil {
		t.Errorf("restored over what was there: %s", out)
	}
	// One that cannot be made leaves nothing, and the last stays.
	nowhere := "postgres://postgres@127.0.0.1:1/none"
	if out, err := run(nowhere, script, "once"); err == nil {
		t.Errorf("a dump of nothing: %s", out)
	}
	if left, err := filepath.Glob(filepath.Join(folder, "*")); err != nil || len(left) != 1 || left[0] != dumps[0] {
		t.Errorf("in the folder: %v, %v", left, err)
	}
}
