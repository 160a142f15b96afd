// Package deploy_test holds the files by which Vote is deployed to what they
// speak of: to each other, to the configuration, and to the metrics of a server.
package deploy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"vote/config"
)

const (
	development = "../docker-compose.yml"
	production  = "docker-compose.ha.yml"
)

// secrets are what must be given to the production file, and to no other.
var secrets = []string{
	"POSTGRES_PASSWORD", "POSTGRES_SUPERUSER_PASSWORD", "POSTGRES_REPLICATION_PASSWORD", "PATRONI_PASSWORD", "REDIS_PASSWORD",
	"RABBITMQ_PASSWORD", "RABBITMQ_ERLANG_COOKIE", "JWT_SECRET_KEY", "GRAFANA_PASSWORD", "TLS_CERTIFICATE_FILE",
}

// marked is the value that a secret has in these tests.
func marked(name string) string { return "given" + strings.Repeat("0", 32) + name }

func load(t *testing.T, file string, environment ...string) (*types.Project, error) {
	t.Helper()
	o, err := cli.NewProjectOptions([]string{file}, cli.WithEnv(environment), cli.WithName("vote"), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	return o.LoadProject(t.Context())
}

func given() []string {
	environment := make([]string, 0, len(secrets))
	for _, s := range secrets {
		environment = append(environment, s+"="+marked(s))
	}
	return environment
}

// projects returns both files, loaded as they are used.
func projects(t *testing.T) map[string]*types.Project {
	t.Helper()
	all := make(map[string]*types.Project)
	for file, environment := range map[string][]string{development: nil, production: given()} {
		p, err := load(t, file, environment...)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[file] = p
	}
	return all
}

func TestProductionNeedsEverySecret(t *testing.T) {
	t.Parallel()
	for _, missing := range secrets {
		for _, how := range []struct{ name, value string }{{"missing", ""}, {"empty", missing + "="}} {
			environment := slices.DeleteFunc(given(), func(v string) bool { return strings.HasPrefix(v, missing+"=") })
			if how.value != "" {
				environment = append(environment, how.value)
			}
			if _, err := load(t, production, environment...); err == nil || !strings.Contains(err.Error(), missing) {
				t.Errorf("%s %s: %v; want a refusal that names it", missing, how.name, err)
			}
		}
	}
	// A secret is interpolated: what is written into the file is none.
	p := projects(t)[production]
	secret := regexp.MustCompile(`(?i)password|secret|cookie|_pass$|REDISCLI_AUTH`)
	url := regexp.MustCompile(`://[^:/@]+:([^@]*)@`)
	checked := 0
	for name, s := range p.Services {
		for key, value := range s.Environment {
			switch {
			case value == nil:
				t.Errorf("%s: %s comes from the environment without being asked for", name, key)
			case secret.MatchString(key):
				checked++
				if !strings.HasPrefix(*value, marked("")) {
					t.Errorf("%s: %s has a value of its own", name, key)
				}
			}
			if value == nil {
				continue
			}
			if m := url.FindStringSubmatch(*value); m != nil {
				checked++
				if !strings.HasPrefix(m[1], marked("")) {
					t.Errorf("%s: the password in %s is written into the file", name, key)
				}
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d secrets were seen", checked)
	}
}

var majorVersion = regexp.MustCompile(`:v?[0-9]+([.-][0-9A-Za-z.-]*)?$`)

func TestServices(t *testing.T) {
	t.Parallel()
	for file, p := range projects(t) {
		if len(p.Services) < 6 {
			t.Errorf("%s: only %d services", file, len(p.Services))
		}
		used := make(map[string]bool)
		for name, s := range p.Services {
			complain := func(format string, args ...any) {
				t.Errorf("%s: %s: %s", file, name, fmt.Sprintf(format, args...))
			}
			switch {
			case s.Build != nil:
				text, err := os.ReadFile(filepath.Join(s.Build.Context, "Dockerfile"))
				if err != nil {
					complain("%v", err)
				}
				if s.Build.Target != "" && !strings.Contains(string(text), " AS "+s.Build.Target+"\n") {
					complain("the Dockerfile has no stage %s", s.Build.Target)
				}
			case !majorVersion.MatchString(s.Image):
				complain("image %q has no version", s.Image)
			}
			job := strings.HasPrefix(s.Restart, "on-failure")
			if !job && (s.HealthCheck == nil || s.HealthCheck.Disable || len(s.HealthCheck.Test) < 2) {
				complain("no health check")
			}
			if s.Restart == "" {
				complain("no restart policy")
			}
			if file == production && (s.Logging == nil || s.Logging.Options["max-size"] == "" || s.Logging.Options["max-file"] == "") {
				complain("its log has no bound")
			}
			for _, v := range s.Volumes {
				if v.Type == types.VolumeTypeVolume {
					used[v.Source] = true
					continue
				}
				info, err := os.Stat(v.Source)
				if err != nil {
					complain("%v", err)
					continue
				}
				if strings.HasSuffix(v.Source, ".sh") && info.Mode().Perm()&0o111 == 0 {
					complain("%s cannot be run", v.Source)
				}
				if !v.ReadOnly && name != "app" {
					complain("%s is mounted to be written", v.Source)
				}
			}
			for on, how := range s.DependsOn {
				target := p.Services[on]
				if how.Condition == types.ServiceConditionHealthy && (target.HealthCheck == nil || target.HealthCheck.Disable) {
					complain("waits for the health of %s, which has none", on)
				}
			}
			for _, port := range s.Ports {
				public := name == "loadbalancer"
				if !public && port.HostIP != "127.0.0.1" {
					complain("port %s is open to everybody", port.Published)
				}
			}
		}
		for name := range p.Volumes {
			if !used[name] {
				t.Errorf("%s: volume %s is not used", file, name)
			}
		}
	}
}

// TestEveryPortIsTold asks the README for each port that is published.
func TestEveryPortIsTold(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for file, p := range projects(t) {
		for name, s := range p.Services {
			for _, port := range s.Ports {
				if !regexp.MustCompile(`:` + port.Published + `\b`).Match(readme) {
					t.Errorf("%s: %s: the README does not tell port :%s", file, name, port.Published)
				}
			}
		}
	}
}

// TestInstances reads the configuration that each instance gets.
func TestInstances(t *testing.T) {
	t.Parallel()
	keys := make(map[string]bool)
	for _, s := range config.Sections() {
		for _, k := range s.Keys {
			keys[k.Env] = true
		}
	}
	for file, names := range map[string][]string{development: {"app"}, production: {"app1", "app2", "app3", "migrate"}} {
		p := projects(t)[file]
		for _, name := range names {
			s := p.Services[name]
			var environment []string
			for key, value := range s.Environment {
				if value == nil {
					t.Fatalf("%s: %s: %s has no value", file, name, key)
				}
				if !keys[key] && key != "GOCACHE" {
					t.Errorf("%s: %s: %s is no key of the configuration", file, name, key)
				}
				environment = append(environment, key+"="+*value)
			}
			c, err := config.Load("", environment)
			if err != nil {
				t.Fatalf("%s: %s: %v", file, name, err)
			}
			if c.Storage.Engine != config.Postgres || c.Cache.Engine != config.Redis || c.Events.Engine != config.RabbitMQ {
				t.Errorf("%s: %s: storage %s, cache %s, events %s", file, name, c.Storage.Engine, c.Cache.Engine, c.Events.Engine)
			}
			if c.IsProduction() != (file == production) {
				t.Errorf("%s: %s: server.env %s", file, name, c.Server.Env)
			}
			for _, host := range append([]string{c.Postgres.Host, c.RabbitMQ.Host}, hosts(t, c)...) {
				if _, ok := p.Services[host]; !ok {
					t.Errorf("%s: %s: %s is no service", file, name, host)
				}
			}
			if file != production {
				continue
			}
			if c.Storage.AutoMigrate {
				t.Errorf("%s: %s migrates by itself", file, name)
			}
			if c.Postgres.Host == "pgbouncer" && c.Postgres.Statements != config.Unprepared {
				t.Errorf("%s: %s: its PgBouncer, 1.18, does not know prepared statements", file, name)
			}
			// The balancer has the address that is trusted, and nobody else has.
			balancer := p.Services["loadbalancer"].Networks["edge"].Ipv4Address
			if len(c.Server.TrustedProxies) != 1 || c.Server.TrustedProxies[0] != balancer {
				t.Errorf("%s: %s trusts %v; the balancer is %s", file, name, c.Server.TrustedProxies, balancer)
			}
		}
	}
}

// hosts returns the Redis servers that c names.
func hosts(t *testing.T, c config.Config) []string {
	t.Helper()
	if len(c.Redis.SentinelAddresses) == 0 {
		return []string{c.Redis.Host}
	}
	var names []string
	for _, address := range c.Redis.SentinelAddresses {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, host)
	}
	return names
}

// TestBalancers holds the variables of HAProxy's files to what Compose sets, and
// their addresses to its services.
func TestBalancers(t *testing.T) {
	t.Parallel()
	p := projects(t)[production]
	for service, file := range map[string]string{"loadbalancer": "haproxy/haproxy.cfg", "internal": "haproxy/internal.cfg"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		set := p.Services[service].Environment
		used := make(map[string]bool)
		for _, m := range regexp.MustCompile(`\$\{(\w+)\}`).FindAllStringSubmatch(string(text), -1) {
			used[m[1]] = true
			if set[m[1]] == nil {
				t.Errorf("%s: nobody sets %s", file, m[1])
			}
		}
		for name, value := range set {
			if !used[name] {
				t.Errorf("%s does not use %s", file, name)
			}
			host, _, err := net.SplitHostPort(*value)
			if err != nil || host == "" {
				continue
			}
			if _, ok := p.Services[host]; !ok {
				t.Errorf("%s: %s is at %s, which is no service", file, name, host)
			}
		}
	}
}

// TestPatroniRepeatsPostgreSQL holds the settings that Patroni takes only from its
// own file to those of postgresql.conf.
func TestPatroniRepeatsPostgreSQL(t *testing.T) {
	t.Parallel()
	patroni, err := os.ReadFile("patroni/patroni.yml")
	if err != nil {
		t.Fatal(err)
	}
	server, err := os.ReadFile("postgres/postgresql.conf")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(patroni), "      parameters:\n")
	if !ok {
		t.Fatal("patroni.yml has no parameters")
	}
	seen := 0
	for line := range strings.Lines(block) {
		setting, ok := strings.CutPrefix(line, "        ")
		if !ok {
			break
		}
		seen++
		name, value, _ := strings.Cut(strings.TrimSpace(setting), ": ")
		value = strings.Trim(value, `"`)
		if !regexp.MustCompile(`(?m)^` + name + ` = ` + regexp.QuoteMeta(value) + `\b`).Match(server) {
			t.Errorf("postgresql.conf does not say %s = %s", name, value)
		}
	}
	if seen < 5 {
		t.Errorf("only %d parameters", seen)
	}
}

// TestScrapedTargets asks that Prometheus looks at the instances there are.
func TestScrapedTargets(t *testing.T) {
	t.Parallel()
	all := projects(t)
	for file, c := range map[string]struct {
		project *types.Project
		targets []string
	}{
		"prometheus/prometheus.yml":    {all[development], []string{"app:8080"}},
		"prometheus/prometheus.ha.yml": {all[production], []string{"app1:8081", "app2:8081", "app3:8081"}},
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"scrape_interval: 5s", "job_name: vote", `targets: ["` + strings.Join(c.targets, `", "`) + `"]`} {
			if !bytes.Contains(text, []byte(want)) {
				t.Errorf("%s does not say %s", file, want)
			}
		}
		for _, target := range c.targets {
			name, port, _ := strings.Cut(target, ":")
			s, ok := c.project.Services[name]
			if !ok {
				t.Errorf("%s: %s is no service", file, name)
				continue
			}
			listens := "8080"
			if admin := s.Environment["SERVER_ADMIN_PORT"]; admin != nil {
				listens = *admin
			}
			if port != listens {
				t.Errorf("%s: %s has its metrics on port %s", file, target, listens)
			}
		}
	}
}

func TestDashboardsAreWhole(t *testing.T) {
	t.Parallel()
	dashboards, err := fs.Glob(os.DirFS("."), "grafana/dashboards/*.json")
	if err != nil || len(dashboards) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	source, err := os.ReadFile("grafana/provisioning/datasources/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range dashboards {
		d := dashboard(t, file)
		ids := make(map[int]bool)
		for _, p := range d.Panels {
			if ids[p.ID] || p.Title == "" || len(p.Targets) == 0 {
				t.Errorf("%s: panel %d %q is there twice or is empty", file, p.ID, p.Title)
			}
			ids[p.ID] = true
			if !bytes.Contains(source, []byte("uid: "+p.Datasource.UID+"\n")) {
				t.Errorf("%s: %q asks the data source %q", file, p.Title, p.Datasource.UID)
			}
		}
	}
}

// board is what of a dashboard is looked at.
type board struct {
	Panels []struct {
		ID         int
		Title      string
		Datasource struct{ UID string }
		Targets    []struct{ Expr string }
	}
}

func dashboard(t *testing.T, file string) board {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var d board
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return d
}

// names returns the metrics that a PromQL expression speaks of.
func names(expression string) []string {
	expression = regexp.MustCompile(`"[^"]*"`).ReplaceAllString(expression, "")
	expression = regexp.MustCompile(`\b(by|without) ?\([^)]*\)`).ReplaceAllString(expression, "")
	expression = regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(expression, "")
	found := make(map[string]bool)
	for _, m := range regexp.MustCompile(`\b(?:vote|go|process)_\w+|\bup\b`).FindAllString(expression, -1) {
		found[m] = true
	}
	return slices.Sorted(maps.Keys(found))
}
