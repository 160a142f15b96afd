package config

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write config.yaml and docs/config.md anew")

var values = cmpopts.IgnoreUnexported(Config{})

// load parses a file's text and variables, without any file.
func load(text string, environ ...string) (Config, error) {
	return parse("file.yaml", []byte(text), environ)
}

// problems returns the faults of err as text, and fails when err is something else.
func problems(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error is a %T, want *Error: %v", err, err)
	}
	var list []string
	for _, p := range e.Problems {
		list = append(list, p.String())
	}
	return list
}

// The numbers and names are those of the product's contract.
func TestDefaults(t *testing.T) {
	t.Parallel()
	want := Config{
		Server: ServerConfig{Port: 8080, Env: "development", ReadTimeout: 15 * time.Second, HeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
			TrustedProxies: []string{}, CORSOrigins: []string{}, Roles: []string{"api", "relay", "worker", "scheduler"}},
		Storage: StorageConfig{Engine: "sqlite", Path: "data/vote.db", AutoMigrate: true, Buckets: 1},
		Postgres: PostgresConfig{Host: "localhost", Port: 5432, User: "postgres", Password: "postgres", DBName: "vote", SSLMode: "prefer",
			MaxConnections: 100, IdleConnections: 10, ConnectionLifetime: time.Hour, ConnectionTimeout: 30 * time.Second, IdleTimeout: 10 * time.Minute, Replicas: []DSN{}, Statements: "prepared"},
		Cache: CacheConfig{Engine: "memory"},
		Redis: RedisConfig{Host: "localhost", Port: 6379, PoolSize: 100, MinIdleConns: 10, MaxRetries: 3,
			DialTimeout: 5 * time.Second, ReadTimeout: 3 * time.Second, WriteTimeout: 3 * time.Second,
			SentinelAddresses: []string{}, ClusterAddresses: []string{}},
		Events: EventsConfig{Engine: "memory"},
		RabbitMQ: RabbitMQConfig{Host: "localhost", Port: 5672, User: "guest", Password: "guest", VHost: "/", PrefetchCount: 10,
			ReconnectInterval: 5 * time.Second, MaxRetries: 3},
		JWT: JWTConfig{SecretKey: "your-secret-key", TokenDuration: 24 * time.Hour, RefreshDuration: 30 * 24 * time.Hour},
		Limits: LimitsConfig{DailyVotes: 100, RequestsPerMinute: 100, VotesPerMinute: 100, BurstPerSecond: 200,
			LoginPerAccountPerMinute: 10, LoginPerAddressPerMinute: 30, SignInsPerAddress: 8, RegistrationsPerAddressPerHour: 100, StreamsPerAddress: 100,
			Connections: 10000, ConnectionsPerAddress: 1000, PollsPerDay: 1000},
		Logging: LoggingConfig{Level: "info", Format: "json"},
		Metrics: MetricsConfig{Path: "/metrics"},
	}
	if diff := cmp.Diff(want, Default(), values); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if !Default().HasDefaultSecret() || Default().IsProduction() || !Default().HasRole(RoleScheduler) {
		t.Error("the defaults must have the default secret, be development and have all roles")
	}
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}

// sample returns a valid value of the key that is not its default, as a
// variable and as YAML.
func sample(t *testing.T, k Key) (text, yaml string) {
	t.Helper()
	special := map[string]string{
		"server.host": "127.0.0.1", "server.trusted_proxies": "10.0.0.0/8,192.0.2.1", "server.cors_origins": "https://example.org,http://localhost:3000", "server.public_url": "https://vote.example.org",
		"server.roles": "api,worker", "metrics.path": "/internal/metrics", "tracing.endpoint": "http://localhost:4318",
		"redis.sentinel_addresses": "one:26379,two:26379", "redis.cluster_addresses": "one:7000,[::1]:7001",
		"postgres.replicas": "postgres://one/vote,postgres://two/vote", "postgres.direct_dsn": "postgresql://direct/vote",
	}
	text, ok := special[k.Path]
	switch {
	case ok:
	case len(k.OneOf) > 0:
		for _, v := range k.OneOf {
			if v != k.Default {
				text = v
			}
		}
	case k.Type == "number":
		text = "7"
		if k.minimum == "1" && k.Default == "7" {
			text = "8"
		}
	case k.Type == "duration":
		text = "90s"
	case k.Type == "true or false":
		text = map[string]string{"true": "false", "false": "true"}[k.Default]
	default:
		text = "another-0123"
	}
	switch k.Type {
	case "list":
		yaml = `["` + strings.ReplaceAll(text, ",", `", "`) + `"]`
	case "text":
		yaml = `"` + text + `"`
	default:
		yaml = text
	}
	return text, yaml
}

// Every field of Config is a key that can be set in the file and by its
// variable; a field without the tags that make it one fails here.
func TestEveryKeyCanBeSet(t *testing.T) {
	t.Parallel()
	fields := 0
	root := reflect.TypeFor[Config]()
	for f := range root.Fields() {
		if f.IsExported() {
			fields += f.Type.NumField()
		}
	}
	seen := make(map[string]bool)
	for _, s := range Sections() {
		if s.Name == "" || s.Doc == "" {
			t.Errorf("section %q has no name or doc", s.Name)
		}
		for _, k := range s.Keys {
			fields--
			if seen[k.Env] || seen[k.Path] {
				t.Errorf("%s or %s is there twice", k.Path, k.Env)
			}
			seen[k.Env], seen[k.Path] = true, true
			t.Run(k.Path, func(t *testing.T) {
				t.Parallel()
				if k.Doc == "" || !strings.HasSuffix(k.Doc, ".") || strings.HasSuffix(k.Path, ".") {
					t.Errorf("doc %q", k.Doc)
				}
				if (k.Type == "number" || k.Type == "duration") && (k.minimum == "" || k.maximum == "") {
					t.Error("has no range")
				}
				if k.check != "" && checks[k.check].ok == nil {
					t.Errorf("check %q does not exist", k.check)
				}
				text, yaml := sample(t, k)
				if text == k.Default {
					t.Fatalf("the sample %q is the default", text)
				}
				section, name, _ := strings.Cut(k.Path, ".")
				file := fmt.Sprintf("%s:\n  %s: %s\n", section, name, yaml)

				// A value alone may break a rule with others; that it was
				// understood is what is asked here.
				get := func(raw string, environ ...string) string {
					var c Config
					got, err := parse("file.yaml", []byte(raw), environ)
					for _, p := range problems(t, err) {
						if strings.Contains(p, "is not a") || strings.Contains(p, "put it in quotes") {
							t.Errorf("%s", p)
						}
					}
					if err != nil {
						values, broken := readFile("file.yaml", []byte(raw))
						if len(broken) > 0 {
							t.Fatal(broken)
						}
						if v, ok := values[k.Path]; ok {
							if fault := k.setYAML(&c, v); fault != "" {
								t.Fatal(fault)
							}
						}
						if v, ok := readVariable(environ, k.Path); ok {
							if fault := k.setText(&c, v); fault != "" {
								t.Fatal(fault)
							}
						}
						if fault := k.fault(&c); fault != "" {
							t.Fatal(fault)
						}
						return k.text(&c)
					}
					if got.origins[k.Path] == "" {
						t.Error("no origin")
					}
					return k.text(&got)
				}
				want := text
				if k.Type == "duration" {
					want = "1m30s"
				}
				if got := get(file); got != want {
					t.Errorf("file: %q, want %q", got, want)
				}
				if got := get("", k.Env+"="+text); got != want {
					t.Errorf("environment: %q, want %q", got, want)
				}
				defaults := Default()
				if def := k.text(&defaults); !k.equalText(def, k.Default) {
					t.Errorf("default %q, read as %q", k.Default, def)
				}
				// Environment over file.
				if got := get(fmt.Sprintf("%s:\n  %s: %s\n", section, name, k.asYAML(t, k.Default)), k.Env+"="+text); got != want {
					t.Errorf("environment over file: %q, want %q", got, want)
				}
			})
		}
	}
	if fields != 0 {
		t.Errorf("%d fields are no keys", fields)
	}
}

func readVariable(environ []string, path string) (string, bool) {
	vars, _ := readEnvironment(environ)
	v, ok := vars[path]
	return v, ok
}

func (k Key) equalText(a, b string) bool {
	var x, y Config
	return k.setText(&x, a) == "" && k.setText(&y, b) == "" && reflect.DeepEqual(x, y)
}

// asYAML spells a default as config.yaml does.
func (k Key) asYAML(t *testing.T, text string) string {
	t.Helper()
	var c Config
	if fault := k.setText(&c, text); fault != "" {
		t.Fatalf("%s: default %s", k.Path, fault)
	}
	switch k.Type {
	case "duration":
		return text
	case "text":
		if k.Secret {
			return quote(k.text(&c))
		}
	}
	return k.yaml(&c)
}

// The document for operators lists every key; -update writes it.
func TestCommittedDocument(t *testing.T) {
	t.Parallel()
	const path = "../docs/config.md"
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Made by go test ./config -update from the struct in config/config.go. -->

Everything has a default; a missing file is fine. [config/config.yaml](../config/config.yaml) holds every key with its
default. A key's environment variable goes before the file. Unknown keys in the file, unknown variables that begin with
` + "`JWT_` or `LIMITS_`" + `, and values that cannot be are errors that name the key and where it came from, never the value.

Durations have a unit: ` + "`500ms`, `10s`, `24h`, `30d`" + `. Lists in a variable are separated by commas. What
` + "`server --print-config`" + ` prints is what is in effect and where it came from, secrets hidden.
`)
	for _, s := range Sections() {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| key | variable | default | meaning |\n|---|---|---|---|\n", s.Name, s.Doc)
		for _, k := range s.Keys {
			def := "`" + k.Default + "`"
			if k.Default == "" {
				def = "empty"
			}
			if k.Default != k.ProductionDefault {
				def += ", in production `" + k.ProductionDefault + "`"
			}
			doc := k.Doc
			if len(k.OneOf) > 0 {
				doc += " Values: `" + strings.Join(k.OneOf, "`, `") + "`."
			}
			if k.minimum != "" {
				doc += fmt.Sprintf(" From %s to %s.", k.minimum, k.maximum)
			}
			if k.Secret {
				doc += " Secret."
			}
			_, name, _ := strings.Cut(k.Path, ".")
			fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", name, k.Env, def, strings.ReplaceAll(doc, "|", `\|`))
		}
	}
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.String(), string(raw)); diff != "" {
		t.Errorf("docs/config.md is not what the keys say; run go test ./config -update (-want +got):\n%s", diff)
	}
}

// config.yaml holds every key with its default and its doc; -update writes it.
func TestCommittedFile(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(`# The configuration of Vote. Everything here is the default; without this file
# the server behaves the same.
#
# Each key can be set by an environment variable, which goes before the file:
# its path in capitals with underscores. server.port is SERVER_PORT; a list is
# separated by commas. Durations have a unit: 500ms, 10s, 24h, 30d.
#
# server --print-config shows what is in effect and where it came from.
`)
	for _, s := range Sections() {
		fmt.Fprintf(&b, "\n# %s\n%s:\n", s.Doc, s.Name)
		for _, k := range s.Keys {
			_, name, _ := strings.Cut(k.Path, ".")
			fmt.Fprintf(&b, "  # %s\n", k.Doc)
			if len(k.OneOf) > 0 {
				fmt.Fprintf(&b, "  # Values: %s.\n", strings.Join(k.OneOf, ", "))
			}
			if k.Default != k.ProductionDefault {
				// A value here would hide that the default depends on server.env.
				fmt.Fprintf(&b, "  # Default: %s in development, %s in production.\n  # %s: %s\n", k.Default, k.ProductionDefault, name, k.Default)
				continue
			}
			fmt.Fprintf(&b, "  %s: %s\n", name, k.asYAML(t, k.Default))
		}
	}
	if *update {
		if err := os.WriteFile("config.yaml", []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile("config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.String(), string(raw)); diff != "" {
		t.Errorf("config.yaml is not what the keys say; run go test ./config -update (-want +got):\n%s", diff)
	}
	for _, environ := range [][]string{nil, {"SERVER_ENV=production", "JWT_SECRET_KEY=0123456789abcdef0123456789abcdef"}} {
		got, err := parse("config.yaml", raw, environ)
		if err != nil {
			t.Fatal(err)
		}
		want, err := parse("", nil, environ)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, values); diff != "" {
			t.Errorf("config.yaml changes the defaults (-default +file):\n%s", diff)
		}
	}
}

const strong = "0123456789abcdef0123456789abcdef"

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		file    string
		environ []string
		want    []string // what each fault begins with, in order
	}{
		{name: "nothing"},
		{name: "empty sections", file: "server:\nredis: {}\n"},
		{name: "unknown section", file: "servers: {port: 1}", want: []string{"servers (file.yaml): is not a section"}},
		{name: "unknown key", file: "server: {prot: 1}", want: []string{"server.prot (file.yaml): is not a key"}},
		{name: "dotted key", file: "server.port: 1", want: []string{"server.port (file.yaml): must be written as a section"}},
		{name: "section as text", file: "server: hello", want: []string{"server (file.yaml): must be a section of keys"}},
		{name: "not a mapping", file: "- a", want: []string{"file.yaml: cannot be parsed"}},
		{name: "not YAML", file: "server: [", want: []string{"file.yaml: cannot be parsed"}},
		{name: "key twice", file: "server:\n  port: 1\n  port: 2\n", want: []string{"file.yaml: cannot be parsed"}},
		{name: "two documents", file: "server: {port: 1}\n---\nserver: {port: 2}\n", want: []string{"file.yaml: must be one YAML document"}},
		{name: "document markers", file: "# c\n---\nserver: {port: 1}\n"},
		{name: "no value", file: "server: {port: }", want: []string{"server.port (file.yaml): has no value"}},
		{name: "number as text", file: "server: {port: '9'}"},
		{name: "number wrong", file: "server: {port: many}", want: []string{"server.port (file.yaml): must be a whole number"}},
		{name: "fraction", file: "server: {port: 1.5}", want: []string{"server.port (file.yaml): must be a whole number"}},
		{name: "huge", file: "server: {port: 18446744073709551615}", want: []string{"server.port (file.yaml): must be a whole number"}},
		{name: "list for number", file: "server: {port: [1]}", want: []string{"server.port (file.yaml): must be a whole number"}},
		{name: "mapping for number", file: "server: {port: {a: 1}}", want: []string{"server.port (file.yaml): must be a whole number"}},
		{name: "number for text", file: "postgres: {password: 0123}", want: []string{"postgres.password (file.yaml): must be text; put it in quotes"}},
		{name: "date for text", file: "postgres: {password: 2020-01-01}", want: []string{"postgres.password (file.yaml): must be text; put it in quotes"}},
		{name: "text for list", file: "server: {cors_origins: 'https://a.org'}", want: []string{"server.cors_origins (file.yaml): must be a list"}},
		{name: "numbers in list", file: "server: {roles: [1]}", want: []string{"server.roles (file.yaml): must be a list of texts"}},
		{name: "duration without unit", file: "server: {read_timeout: 10}", want: []string{"server.read_timeout (file.yaml): must be a duration"}},
		{name: "bool", file: "storage: {auto_migrate: 1}", want: []string{"storage.auto_migrate (file.yaml): must be true or false"}},
		{name: "bool in environment", environ: []string{"STORAGE_AUTO_MIGRATE=yes"}, want: []string{"storage.auto_migrate (environment variable STORAGE_AUTO_MIGRATE): must be true or false"}},
		{name: "empty number", environ: []string{"SERVER_PORT="}, want: []string{"server.port (environment variable SERVER_PORT): must be a whole number"}},
		{name: "service link", environ: []string{"REDIS_PORT=tcp://10.0.0.11:6379"}, want: []string{"redis.port (environment variable REDIS_PORT): must be a whole number; this looks like a variable that Kubernetes sets"}},
		{name: "empty text", environ: []string{"JWT_SECRET_KEY="}, want: []string{"jwt.secret_key (environment variable JWT_SECRET_KEY): must not be empty"}},
		{name: "misspelt secret", environ: []string{"JWT_SECRET=abc"}, want: []string{"JWT_SECRET (environment): is not a key"}},
		{name: "misspelt limit", environ: []string{"LIMITS_FOO=1"}, want: []string{"LIMITS_FOO (environment): is not a key"}},
		{name: "variables of others", environ: []string{"HOME=/root", "POSTGRES_DB=x", "REDIS_SERVICE_HOST=10.0.0.1", "SERVER_SOFTWARE=x", "LOGGING_X=1", "RABBITMQ_DEFAULT_USER=x", "limits_foo=1", "novalue"}},
		{name: "range", environ: []string{"SERVER_PORT=65536"}, want: []string{"server.port (environment variable SERVER_PORT): must be from 0 to 65535"}},
		{name: "negative", environ: []string{"LIMITS_DAILY_VOTES=-1"}, want: []string{"limits.daily_votes (environment variable LIMITS_DAILY_VOTES): must be from 0"}},
		{name: "negative duration", environ: []string{"SERVER_READ_TIMEOUT=-1s"}, want: []string{"server.read_timeout (environment variable SERVER_READ_TIMEOUT): must be from 100ms to 1h"}},
		{name: "fraction of a second", environ: []string{"JWT_TOKEN_DURATION=1500ms"}, want: []string{"jwt.token_duration (environment variable JWT_TOKEN_DURATION): must be whole seconds"}},
		{name: "enum", environ: []string{"STORAGE_ENGINE=mysql"}, want: []string{"storage.engine (environment variable STORAGE_ENGINE): must be one of sqlite, postgres"}},
		{name: "enum case", environ: []string{"SERVER_ENV=Production"}, want: []string{"server.env (environment variable SERVER_ENV): must be one of development, production"}},
		{name: "control character", environ: []string{"POSTGRES_USER=a\nb"}, want: []string{"postgres.user (environment variable POSTGRES_USER): must not contain control"}},
		{name: "encoding", environ: []string{"POSTGRES_USER=\xff"}, want: []string{"postgres.user (environment variable POSTGRES_USER): must be valid UTF-8"}},
		{name: "file and environment wrong", file: "server: {port: x}", environ: []string{"SERVER_PORT=y"}, want: []string{"server.port (file.yaml): must be a whole", "server.port (environment variable SERVER_PORT): must be a whole"}},
		{name: "wrong file under good environment", file: "server: {port: x}", environ: []string{"SERVER_PORT=1"}, want: []string{"server.port (file.yaml): must be a whole"}},
		{name: "everything at once, in order", file: "what: 1\nlimits: {daily_votes: x}\nserver: {port: x, nope: 1}",
			environ: []string{"LOGGING_LEVEL=loud", "JWT_X=1", "METRICS_PATH=/"},
			want:    []string{"server.nope", "what (file.yaml)", "JWT_X", "server.port", "limits.daily_votes", "logging.level", "metrics.path"}},

		{name: "proxies", environ: []string{"SERVER_TRUSTED_PROXIES=10.0.0.0/8, ::1,2001:db8::/32"}},
		{name: "proxy name", environ: []string{"SERVER_TRUSTED_PROXIES=10.0.0.1,proxy"}, want: []string{"server.trusted_proxies (environment variable SERVER_TRUSTED_PROXIES): item 2 must be an address or a CIDR"}},
		{name: "proxy zone", environ: []string{"SERVER_TRUSTED_PROXIES=fe80::1%eth0"}, want: []string{"server.trusted_proxies"}},
		{name: "empty item", environ: []string{"SERVER_TRUSTED_PROXIES=10.0.0.1,,10.0.0.2"}, want: []string{"server.trusted_proxies (environment variable SERVER_TRUSTED_PROXIES): item 2 is empty"}},
		{name: "item twice", environ: []string{"SERVER_TRUSTED_PROXIES=10.0.0.1,10.0.0.1"}, want: []string{"server.trusted_proxies (environment variable SERVER_TRUSTED_PROXIES): item 2 is there twice"}},
		{name: "no items", environ: []string{"SERVER_TRUSTED_PROXIES= "}},
		{name: "no roles", environ: []string{"SERVER_ROLES="}, want: []string{"server.roles (environment variable SERVER_ROLES): must name at least one role"}},
		{name: "no roles in file", file: "server: {roles: []}", want: []string{"server.roles (file.yaml): must name at least one role"}},
		{name: "unknown role", environ: []string{"SERVER_ROLES=api,cook"}, want: []string{"server.roles (environment variable SERVER_ROLES): item 2 must be one of"}},
		{name: "sqlite needs all roles", environ: []string{"SERVER_ROLES=api,worker"}, want: []string{"server.roles (environment variable SERVER_ROLES): must name every role"}},
		{name: "roles in any order", environ: []string{"SERVER_ROLES=worker,scheduler,relay,api"}},
		{name: "admin port", environ: []string{"SERVER_ADMIN_PORT=8080"}, want: []string{"server.admin_port (environment variable SERVER_ADMIN_PORT): must differ from server.port"}},
		{name: "any free ports", environ: []string{"SERVER_PORT=0"}},
		{name: "sqlite path", environ: []string{"STORAGE_PATH=:memory:"}, want: []string{"storage.path"}},
		{name: "sqlite URI", environ: []string{"STORAGE_PATH=file:x.db"}, want: []string{"storage.path"}},
		{name: "folder as path", environ: []string{"STORAGE_PATH=data/"}, want: []string{"storage.path"}},
		{name: "sqlite buckets", environ: []string{"STORAGE_BUCKETS=2"}, want: []string{"storage.buckets (environment variable STORAGE_BUCKETS): must be 1 with"}},

		{name: "postgres in development", environ: []string{"STORAGE_ENGINE=postgres", "JWT_SECRET_KEY=set", "STORAGE_BUCKETS=8", "SERVER_ROLES=api"}},
		{name: "postgres needs a secret", environ: []string{"STORAGE_ENGINE=postgres"}, want: []string{"jwt.secret_key: must be set with storage.engine postgres"}},
		{name: "postgres with the default secret spelt out", environ: []string{"STORAGE_ENGINE=postgres", "JWT_SECRET_KEY=your-secret-key"}, want: []string{"jwt.secret_key (environment variable JWT_SECRET_KEY): must be set with"}},
		{name: "postgres with memory cache in production", environ: []string{"STORAGE_ENGINE=postgres", "SERVER_ENV=production", "JWT_SECRET_KEY=" + strong}, want: []string{"cache.engine: must be redis"}},
		{name: "postgres with redis in production", environ: []string{"STORAGE_ENGINE=postgres", "CACHE_ENGINE=redis", "EVENTS_ENGINE=rabbitmq", "SERVER_ENV=production", "JWT_SECRET_KEY=" + strong}},
		{name: "production needs a secret", environ: []string{"SERVER_ENV=production"}, want: []string{"jwt.secret_key: must be set in production"}},
		{name: "production needs a long secret", environ: []string{"SERVER_ENV=production", "JWT_SECRET_KEY=" + strong[1:]}, want: []string{"jwt.secret_key (environment variable JWT_SECRET_KEY): must have at least 32 bytes"}},
		{name: "production on sqlite", environ: []string{"SERVER_ENV=production", "JWT_SECRET_KEY=" + strong}},
		{name: "short secret in development", environ: []string{"JWT_SECRET_KEY=x"}},
		{name: "refresh shorter than token", environ: []string{"JWT_REFRESH_DURATION=1h"}, want: []string{"jwt.refresh_duration (environment variable JWT_REFRESH_DURATION): must be at least jwt.token_duration"}},

		{name: "idle over max", environ: []string{"POSTGRES_MAX_CONNECTIONS=5"}, want: []string{"postgres.idle_connections: must be at most"}},
		{name: "socket folder", environ: []string{"POSTGRES_HOST=/var/run/postgresql"}},
		{name: "redis has no socket folder", environ: []string{"REDIS_HOST=/run/redis"}, want: []string{"redis.host"}},
		{name: "host with port", environ: []string{"POSTGRES_HOST=db:5432"}, want: []string{"postgres.host"}},
		{name: "host as URL", environ: []string{"RABBITMQ_HOST=amqp://x"}, want: []string{"rabbitmq.host"}},
		{name: "address as host", environ: []string{"REDIS_HOST=::1"}},
		{name: "sslmode", environ: []string{"POSTGRES_SSLMODE=on"}, want: []string{"postgres.sslmode"}},
		{name: "replica", environ: []string{"POSTGRES_REPLICAS=postgres://a/b,host=x"}, want: []string{"postgres.replicas (environment variable POSTGRES_REPLICAS): item 2 must be a URL"}},
		{name: "replica with several hosts", file: "postgres: {replicas: ['postgres://u:p@a:1,b:2/vote?sslmode=require']}"},
		{name: "direct dsn", environ: []string{"POSTGRES_DIRECT_DSN=mysql://x"}, want: []string{"postgres.direct_dsn"}},
		{name: "redis idle over pool", environ: []string{"REDIS_POOL_SIZE=5"}, want: []string{"redis.min_idle_conns: must be at most"}},
		{name: "sentinel", environ: []string{"REDIS_SENTINEL_MASTER=m", "REDIS_SENTINEL_ADDRESSES=a:1,b:2"}},
		{name: "sentinel without master", environ: []string{"REDIS_SENTINEL_ADDRESSES=a:1"}, want: []string{"redis.sentinel_master: must be given"}},
		{name: "sentinel without addresses", environ: []string{"REDIS_SENTINEL_MASTER=m"}, want: []string{"redis.sentinel_addresses: must be given"}},
		{name: "sentinel and cluster", environ: []string{"REDIS_SENTINEL_MASTER=m", "REDIS_SENTINEL_ADDRESSES=a:1", "REDIS_CLUSTER_ADDRESSES=a:1"}, want: []string{"redis.cluster_addresses (environment variable REDIS_CLUSTER_ADDRESSES): must not be given together"}},
		{name: "cluster with db", environ: []string{"REDIS_CLUSTER_ADDRESSES=a:1", "REDIS_DB=1"}, want: []string{"redis.db (environment variable REDIS_DB): must be 0"}},
		{name: "address without port", environ: []string{"REDIS_CLUSTER_ADDRESSES=a"}, want: []string{"redis.cluster_addresses"}},
		{name: "address with port 0", environ: []string{"REDIS_CLUSTER_ADDRESSES=a:0"}, want: []string{"redis.cluster_addresses"}},
		{name: "metrics path", environ: []string{"METRICS_PATH=metrics"}, want: []string{"metrics.path"}},
		{name: "metrics path with parameter", environ: []string{"METRICS_PATH=/m/:x"}, want: []string{"metrics.path"}},
		{name: "metrics path not clean", environ: []string{"METRICS_PATH=/m/../x"}, want: []string{"metrics.path"}},
		{name: "tracing", environ: []string{"TRACING_ENDPOINT=localhost:4318"}, want: []string{"tracing.endpoint"}},
		{name: "no tracing", environ: []string{"TRACING_ENDPOINT="}},
		{name: "a rule over a malformed key says nothing", environ: []string{"POSTGRES_MAX_CONNECTIONS=5", "POSTGRES_IDLE_CONNECTIONS=x"}, want: []string{"postgres.idle_connections (environment variable POSTGRES_IDLE_CONNECTIONS): must be a whole number"}},
		{name: "a rule over a wrong key says nothing", environ: []string{"STORAGE_ENGINE=postgre"}, want: []string{"storage.engine"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := load(tt.file, tt.environ...)
			got := problems(t, err)
			ok := len(got) == len(tt.want)
			for i := range got {
				ok = ok && i < len(tt.want) && strings.HasPrefix(got[i], tt.want[i])
			}
			if !ok {
				t.Fatalf("faults:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if err != nil {
				if !reflect.DeepEqual(c, Config{}) {
					t.Error("a configuration came with the error")
				}
				for _, p := range tt.want {
					if !strings.Contains(err.Error(), p) {
						t.Errorf("the text of the error lacks %q", p)
					}
				}
			}
		})
	}
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	origins := map[string]bool{
		"https://example.org": true, "http://example.org": true, "http://localhost:3000": true, "https://a.b-c.org:8443": true, "http://[::1]:3000": true, "http://192.0.2.1": true,
		"": false, "*": false, "null": false, "example.org": false, "https://": false, "https://example.org/": false, "https://example.org/a": false,
		"https://Example.org": false, "HTTPS://example.org": false, "https://example.org:443": false, "http://example.org:80": false, "http://example.org:": false,
		"https://example.org:0": false, "https://example.org:99999": false, "https://u@example.org": false, "https://example.org?x": false, "https://example.org#x": false,
		"ftp://example.org": false, "https://bücher.example": false, "https://*.example.org": false, "https://a b.org": false, "http://[::1": false,
	}
	for origin, want := range origins {
		if got := isOrigin(origin); got != want {
			t.Errorf("isOrigin(%q) = %v", origin, got)
		}
	}
}

func TestDurations(t *testing.T) {
	t.Parallel()
	good := map[string]time.Duration{
		"30d": 720 * time.Hour, "1d12h": 36 * time.Hour, "0d": 0, "0": 0, "24h": day, "1h30m": 90 * time.Minute, "1.5h": 90 * time.Minute, "500ms": 500 * time.Millisecond,
		"65535d": 65535 * day, "1d1ns": day + 1, "-1s": -time.Second,
	}
	for s, want := range good {
		if got, ok := parseDuration(s); !ok || got != want {
			t.Errorf("parseDuration(%q) = %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "d", "1", "10", "1.5d", "-1d", "+1d", "1d-1h", "1d+1h", "1dd", "1d1d", "65536d", "99999999999999999999d", "1d ", " 1d", "1h1d", "65535d2000000h", "1w", "1d.5h", "٣d"} {
		if got, ok := parseDuration(s); ok {
			t.Errorf("parseDuration(%q) = %v, want a refusal", s, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.OneOf(rapid.Int64Range(0, int64(60000*day)), rapid.Map(rapid.Int64Range(0, 60000*24*3600), func(n int64) int64 { return n * int64(time.Second) })).Draw(t, "d"))
		if got, ok := parseDuration(formatDuration(d)); !ok || got != d {
			t.Fatalf("%v is written as %q and read as %v, %v", d, formatDuration(d), got, ok)
		}
	})
}

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if _, err := Load("", nil); err != nil {
		t.Errorf("no file at the default path: %v", err)
	}
	if _, err := Load(DefaultPath, nil); err != nil {
		t.Errorf("no file at the default path, spelt out: %v", err)
	}
	if _, err := Load("other.yaml", nil); len(problems(t, err)) != 1 || !strings.Contains(err.Error(), "other.yaml: cannot be read") {
		t.Errorf("no file at another path: %v", err)
	}
	if _, err := Load(dir, nil); err == nil {
		t.Error("a folder was read")
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(DefaultPath, "server: {port: 1}\n")
	write("other.yaml", "server: {port: 2}\n")
	for path, want := range map[string]int{"": 1, DefaultPath: 1, "other.yaml": 2} {
		c, err := Load(path, []string{"SERVER_IDLE_TIMEOUT=1d"})
		if err != nil || c.Server.Port != want || c.Server.IdleTimeout != day {
			t.Errorf("Load(%q): port %d, idle timeout %v, %v", path, c.Server.Port, c.Server.IdleTimeout, err)
		}
	}
}

func TestProductionDefaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		file, env string
		want      bool
	}{
		{want: true},
		{env: "SERVER_ENV=production", want: false},
		{file: "server: {env: production}", want: false},
		{file: "server: {env: production}\nstorage: {auto_migrate: true}", want: true},
		{file: "server: {env: production}", env: "SERVER_ENV=development", want: true},
		{file: "storage: {auto_migrate: false}", want: false},
	} {
		c, err := load(tt.file, tt.env, "JWT_SECRET_KEY="+strong)
		if err != nil || c.Storage.AutoMigrate != tt.want {
			t.Errorf("%q %q: %v, %v", tt.file, tt.env, c.Storage.AutoMigrate, err)
		}
	}
}

// Whatever a secret is shown with, it does not show.
func TestSecretsAreHidden(t *testing.T) {
	t.Parallel()
	const word = "hunter2"
	c, err := load("postgres: {replicas: ['postgres://reader:"+word+"@replica:5432/vote?sslmode=require']}",
		"JWT_SECRET_KEY="+word, "POSTGRES_PASSWORD="+word, "REDIS_PASSWORD="+word, "RABBITMQ_PASSWORD="+word,
		"POSTGRES_DIRECT_DSN=postgres://host/vote?user=a&password="+word)
	if err != nil {
		t.Fatal(err)
	}
	if string(c.JWT.SecretKey) != word || !strings.Contains(string(c.Postgres.Replicas[0]), word) {
		t.Error("the secrets themselves are gone")
	}
	encoded, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", c, "secret", c.JWT.SecretKey, "dsn", c.Postgres.DirectDSN)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "config", c, "secret", c.JWT.SecretKey, "postgres", c.Postgres)
	shown := []string{c.String(), string(encoded), log.String()}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown = append(shown, fmt.Sprintf(format, c), fmt.Sprintf(format, c.JWT), fmt.Sprintf(format, c.JWT.SecretKey), fmt.Sprintf(format, c.Postgres.Replicas), fmt.Sprintf(format, &c))
	}
	for _, s := range shown {
		if strings.Contains(s, word) || strings.Contains(s, fmt.Sprintf("%x", word)) {
			t.Errorf("shown in %s", s)
		}
	}
	if !strings.Contains(c.String(), "postgres://reader:(hidden)@replica:5432/vote?sslmode=require") {
		t.Errorf("the replica does not show without its password:\n%s", c)
	}
	for dsn, want := range map[DSN]string{
		"":                                     "",
		"postgres://host/vote":                 "postgres://host/vote",
		"postgres://user@host/vote":            "postgres://user@host/vote",
		"postgresql://u:p@h:1,i:2/vote":        "postgresql://u:(hidden)@h:1,i:2/vote",
		"postgres://u:a:b@c@h/vote":            "postgres://u:(hidden)@h/vote",
		"postgres://u:a/b@h/vote":              hidden,
		"postgres://u:a?b@h/vote":              hidden,
		"postgres://h/vote?sslPassword=x":      hidden,
		"postgres://h/vote?p%61ssword=x":       hidden,
		"host=h password=x":                    hidden,
		"postgres://u:p@h":                     "postgres://u:(hidden)@h",
		"postgres://u:p@h?application_name=it": "postgres://u:(hidden)@h?application_name=it",
	} {
		if got := dsn.String(); got != want {
			t.Errorf("%q shows as %q, want %q", string(dsn), got, want)
		}
	}
}

// No fault repeats a value.
func TestFaultsDoNotEchoValues(t *testing.T) {
	t.Parallel()
	const word = "hunter2 is\x01 no value"
	var environ []string
	for _, s := range Sections() {
		for _, k := range s.Keys {
			environ = append(environ, k.Env+"="+word)
		}
	}
	_, err := load("", environ...)
	if len(problems(t, err)) != len(environ) {
		t.Errorf("%d faults of %d keys", len(problems(t, err)), len(environ))
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a value is repeated: %v", err)
	}
}

func TestPrintNamesOrigins(t *testing.T) {
	t.Parallel()
	c, err := load("server: {port: 1}", "LIMITS_DAILY_VOTES=7")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"  port: 1 # file.yaml\n", "  daily_votes: 7 # environment variable LIMITS_DAILY_VOTES\n", "  env: development # default\n", "  secret_key: \"(hidden)\" # default\n"} {
		if !strings.Contains(c.String(), want) {
			t.Errorf("no line %q in\n%s", want, c)
		}
	}
}

// checkPrinted fails unless what c prints is a file that means c, secrets aside.
func checkPrinted(t interface{ Fatalf(string, ...any) }, c Config) {
	again, err := load(c.String())
	if e := (*Error)(nil); errors.As(err, &e) {
		// A hidden secret may be too short where the real one was not.
		for _, p := range e.Problems {
			if p.Key != "jwt.secret_key" && p.Key != "postgres.replicas" && p.Key != "postgres.direct_dsn" {
				t.Fatalf("what is printed cannot be read: %v\n%s", err, c)
			}
		}
		return
	}
	noSecrets := cmp.Options{values, cmpopts.IgnoreTypes(Secret(""), DSN(""), []DSN{})}
	if diff := cmp.Diff(c, again, noSecrets); diff != "" {
		t.Fatalf("what is printed means something else (-is +printed):\n%s", diff)
	}
}

func FuzzLoad(f *testing.F) {
	committed, err := os.ReadFile("config.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(committed, "SERVER_PORT=1\nJWT_SECRET_KEY=x")
	f.Add([]byte("server: {port: [1, {a: b}], 1: 2}\n? [a]\n: b"), "SERVER_TRUSTED_PROXIES=10.0.0.0/8,::1")
	f.Add([]byte("server: &a {port: 1}\nredis: *a\n<<: *a"), "POSTGRES_USER=\ufeff\u2028'\"# \\")
	f.Add([]byte("postgres: {user: 'a: b # c', dbname: \"\\u0085\"}"), "RABBITMQ_VHOST= ")
	f.Fuzz(func(t *testing.T, raw []byte, environ string) {
		c, err := parse("f", raw, strings.Split(environ, "\n"))
		if err != nil {
			if e := (*Error)(nil); !errors.As(err, &e) || len(e.Problems) == 0 || err.Error() == "" {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("loaded, but invalid: %v", err)
		}
		checkPrinted(t, c)
	})
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"30d", "1d12h", "1h", "", "d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := parseDuration(s)
		if !ok || d < 0 {
			return
		}
		if again, ok := parseDuration(formatDuration(d)); !ok || again != d {
			if d < 65536*day {
				t.Fatalf("%q is %v, written as %q and read as %v", s, d, formatDuration(d), again)
			}
		}
	})
}
