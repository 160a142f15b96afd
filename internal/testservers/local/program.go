//go:build linux

package local

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// program is a file that is run.
type program struct {
	name    string
	pkg     string // the Debian package that has it
	folders string // a pattern of folders to look into before those of PATH
}

// In Debian the programs of PostgreSQL are in no folder of PATH, and the
// rabbitmq-server that is in one may be run by root and rabbitmq alone.
var (
	postgres     = program{"postgres", "postgresql", "/usr/lib/postgresql/*/bin"}
	initdb       = program{"initdb", "postgresql", "/usr/lib/postgresql/*/bin"}
	pgBasebackup = program{"pg_basebackup", "postgresql", "/usr/lib/postgresql/*/bin"}
	pgbouncer    = program{"pgbouncer", "pgbouncer", "/usr/sbin"}
	redisServer  = program{"redis-server", "redis-server", ""}
	epmd         = program{"epmd", "erlang-base", ""}
	rabbitmq     = program{"rabbitmq-server", "rabbitmq-server", "/usr/lib/rabbitmq/bin"}
	haproxy      = program{"haproxy", "haproxy", "/usr/sbin"}
	rabbitmqctl  = program{"rabbitmqctl", "rabbitmq-server", "/usr/lib/rabbitmq/bin"}
	node         = program{"node", "nodejs", ""}
	npm          = program{"npm", "npm", ""}
	chromium     = program{"chromium", "chromium", ""}
	gcc          = program{"gcc", "build-essential", ""} // the race detector links C
	curl         = program{"curl", "curl", ""}
)

// find returns the path of the program, of its newest version.
func (p program) find() (string, error) {
	folders, _ := filepath.Glob(p.folders)
	slices.SortFunc(folders, func(a, b string) int { return version(b) - version(a) })
	for _, folder := range folders {
		if path, err := exec.LookPath(filepath.Join(folder, p.name)); err == nil {
			return path, nil
		}
	}
	if path, err := exec.LookPath(p.name); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("%s is not installed: install the Debian package %s (apt-get install %s)", p.name, p.pkg, p.pkg)
}

// version returns the number in .../15/bin, 0 when there is none.
func version(folder string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(folder)))
	return n
}

// Missing returns the Debian packages that a server, named as in this package,
// or another program of tests needs and that are not installed.
func Missing(server string) []string {
	var missing []string
	for _, p := range map[string][]program{
		"Postgres":  {postgres, initdb, pgBasebackup},
		"PgBouncer": {pgbouncer},
		"Redis":     {redisServer},
		"Sentinels": {redisServer},
		"RabbitMQ":  {epmd, rabbitmq},
		"HAProxy":   {haproxy},
		"Node.js":   {node, npm},
		"Chromium":  {chromium},
		"tools":     {gcc, curl},
	}[server] {
		if _, err := p.find(); err != nil && !slices.Contains(missing, p.pkg) {
			missing = append(missing, p.pkg)
		}
	}
	return missing
}
