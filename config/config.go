// Package config is the whole configuration of Vote: one typed struct, read
// from a YAML file and from the environment, checked as a whole.
//
// Environment goes before file, file before default. Every key's variable is
// its path in capitals with underscores: server.port is SERVER_PORT. Whatever
// is wrong is reported at once, each fault with the name of its key and where
// its value came from, never with the value itself.
//
// A [Config] is a plain value: nothing in this package keeps state, logs, or
// looks at anything but what it is given.
package config

import (
	"slices"
	"time"
)

// DefaultPath is where the configuration file is looked for when nothing else
// is said. It may be missing.
const DefaultPath = "config/config.yaml"

// DefaultSecret is the value of jwt.secret_key that counts as not set.
const DefaultSecret = "your-secret-key"

// MinProductionSecret is how many bytes jwt.secret_key must have in production.
const MinProductionSecret = 32

// Values of server.env.
const (
	Development = "development"
	Production  = "production"
)

// Values of the engine keys.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
	Memory   = "memory"
	Redis    = "redis"
	RabbitMQ = "rabbitmq"
)

// Values of server.roles.
const (
	RoleAPI       = "api"       // answers HTTP
	RoleRelay     = "relay"     // publishes the outbox
	RoleWorker    = "worker"    // consumes events
	RoleScheduler = "scheduler" // periodic work: rankings, pruning
)

// Values of postgres.statements.
const (
	Prepared   = "prepared"
	Unprepared = "unprepared"
)

// Values of logging.format.
const (
	FormatJSON    = "json"
	FormatConsole = "console"
)

// Config is the configuration. The struct tags of its sections are the one
// list of keys: name, default, what a value must be, and what it is for; see
// [Sections]. Get one from [Load] or [Default].
type Config struct {
	Server   ServerConfig   `key:"server" doc:"The HTTP server."`
	Storage  StorageConfig  `key:"storage" doc:"Where everything is remembered."`
	Postgres PostgresConfig `key:"postgres" doc:"The connection to PostgreSQL, for storage.engine postgres."`
	Cache    CacheConfig    `key:"cache" doc:"The cache and the windows of the rate limits."`
	Redis    RedisConfig    `key:"redis" doc:"The connection to Redis, for cache.engine redis."`
	Events   EventsConfig   `key:"events" doc:"The way of events from the outbox to their consumers."`
	RabbitMQ RabbitMQConfig `key:"rabbitmq" doc:"The connection to RabbitMQ, for events.engine rabbitmq."`
	JWT      JWTConfig      `key:"jwt" strict:"true" doc:"Access and refresh tokens."`
	Limits   LimitsConfig   `key:"limits" strict:"true" doc:"Limits on use. 0 switches a limit off."`
	Logging  LoggingConfig  `key:"logging" doc:"The log, on standard error."`
	Metrics  MetricsConfig  `key:"metrics" doc:"Metrics for Prometheus."`
	Tracing  TracingConfig  `key:"tracing" doc:"Traces by OpenTelemetry."`

	// origins names where each value came from, by path; absent: the default.
	origins map[string]string
}

// ServerConfig is section server.
type ServerConfig struct {
	Host           string        `key:"host" default:"" check:"optionalhost" doc:"Address to listen on; empty means all."`
	Port           int           `key:"port" default:"8080" min:"0" max:"65535" doc:"Port of the API and the web app; 0 takes any free one."`
	Env            string        `key:"env" default:"development" oneof:"development,production" doc:"Production refuses what is only good for trying things out."`
	ReadTimeout    time.Duration `key:"read_timeout" default:"15s" min:"100ms" max:"1h" doc:"How long a client may take to send a request."`
	HeaderTimeout  time.Duration `key:"header_timeout" default:"5s" min:"100ms" max:"1h" doc:"How long a client may take to send the head of a request; at most read_timeout counts."`
	WriteTimeout   time.Duration `key:"write_timeout" default:"30s" min:"100ms" max:"1h" doc:"How long a client may take to receive an answer; of a stream, one message."`
	IdleTimeout    time.Duration `key:"idle_timeout" default:"2m" min:"100ms" max:"1d" doc:"How long an unused connection is kept."`
	PublicURL      string        `key:"public_url" default:"" check:"optionalorigin" doc:"Scheme and host by which the world knows the server, such as https://vote.example.org, for the addresses in shared pages; empty takes what each request names."`
	TrustedProxies []string      `key:"trusted_proxies" default:"" check:"network" doc:"Addresses or CIDR ranges of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."`
	CORSOrigins    []string      `key:"cors_origins" default:"" check:"origin" doc:"Origins of other web pages that may call the API, such as https://example.org."`
	Roles          []string      `key:"roles" default:"api,relay,worker,scheduler" oneof:"api,relay,worker,scheduler" doc:"What this process does. SQLite needs all of it in one process."`
	DrainDelay     time.Duration `key:"drain_delay" default:"0s" min:"0s" max:"10m" doc:"How long the server, once told to end, says that it is not ready and still takes requests: longer than the load balancer needs to notice."`
	AdminPort      int           `key:"admin_port" default:"0" min:"0" max:"65535" doc:"Port for metrics and pprof, not to be reachable by the public; 0 leaves metrics on the main port and pprof off."`
}

// StorageConfig is section storage.
type StorageConfig struct {
	Engine      string `key:"engine" default:"sqlite" oneof:"sqlite,postgres" doc:"sqlite is embedded and for one process; postgres is for many."`
	Path        string `key:"path" default:"data/vote.db" check:"path" doc:"The SQLite file. Its folder is made when it is missing, and locked."`
	AutoMigrate bool   `key:"auto_migrate" default:"true" production:"false" doc:"Whether the server brings the schema up to date when it starts."`
	Buckets     int    `key:"buckets" default:"1" min:"1" max:"1024" doc:"Shards of the user-scoped tables in PostgreSQL. Once there is data, only \"migrate rebucket\" changes it."`
}

// PostgresConfig is section postgres.
type PostgresConfig struct {
	Host               string        `key:"host" default:"localhost" check:"sockethost" doc:"Host name, address, or the folder of a Unix socket."`
	Port               int           `key:"port" default:"5432" min:"1" max:"65535" doc:"Port."`
	User               string        `key:"user" default:"postgres" check:"filled" doc:"User."`
	Password           Secret        `key:"password" default:"postgres" doc:"Password."`
	DBName             string        `key:"dbname" default:"vote" check:"filled" doc:"Database."`
	SSLMode            string        `key:"sslmode" default:"prefer" oneof:"disable,allow,prefer,require,verify-ca,verify-full" doc:"How the connection is protected, as in libpq."`
	MaxConnections     int           `key:"max_connections" default:"100" min:"2" max:"10000" doc:"Connections at most."`
	IdleConnections    int           `key:"idle_connections" default:"10" min:"0" max:"10000" doc:"Connections kept open while there is nothing to do."`
	ConnectionLifetime time.Duration `key:"connection_lifetime" default:"1h" min:"1s" max:"30d" doc:"After how long a connection is replaced."`
	ConnectionTimeout  time.Duration `key:"connection_timeout" default:"30s" min:"100ms" max:"10m" doc:"How long connecting may take."`
	IdleTimeout        time.Duration `key:"idle_timeout" default:"10m" min:"1s" max:"30d" doc:"After how long an unused connection is closed."`
	Replicas           []DSN         `key:"replicas" default:"" check:"postgresurl" doc:"Read-only replicas, as postgres:// URLs. One with a comma in it can only be given in the file."`
	Statements         string        `key:"statements" default:"prepared" oneof:"prepared,unprepared" doc:"prepared plans a statement once on each connection; a pooler in transaction mode must know of that, as PgBouncer does from 1.21 on. unprepared leaves nothing behind."`
	DirectDSN          DSN           `key:"direct_dsn" default:"" check:"postgresurl" doc:"A postgres:// URL that does not lead through PgBouncer, for migrations; empty uses the connection above."`
}

// CacheConfig is section cache.
type CacheConfig struct {
	Engine string `key:"engine" default:"memory" oneof:"memory,redis" doc:"memory is each process's own; redis is shared."`
}

// RedisConfig is section redis.
type RedisConfig struct {
	Host              string        `key:"host" default:"localhost" check:"host" doc:"Host name or address, when neither Sentinel nor Cluster is used."`
	Port              int           `key:"port" default:"6379" min:"1" max:"65535" doc:"Port."`
	Password          Secret        `key:"password" default:"" doc:"Password; empty means none."`
	DB                int           `key:"db" default:"0" min:"0" max:"65535" doc:"Number of the database."`
	PoolSize          int           `key:"pool_size" default:"100" min:"1" max:"10000" doc:"Connections at most."`
	MinIdleConns      int           `key:"min_idle_conns" default:"10" min:"0" max:"10000" doc:"Connections kept open while there is nothing to do."`
	MaxRetries        int           `key:"max_retries" default:"3" min:"0" max:"100" doc:"How often a failed command is tried again."`
	DialTimeout       time.Duration `key:"dial_timeout" default:"5s" min:"10ms" max:"10m" doc:"How long connecting may take."`
	ReadTimeout       time.Duration `key:"read_timeout" default:"3s" min:"10ms" max:"10m" doc:"How long an answer may take."`
	WriteTimeout      time.Duration `key:"write_timeout" default:"3s" min:"10ms" max:"10m" doc:"How long sending a command may take."`
	SentinelMaster    string        `key:"sentinel_master" default:"" doc:"Name of the master that the Sentinels watch."`
	SentinelAddresses []string      `key:"sentinel_addresses" default:"" check:"hostport" doc:"Sentinels, as host:port."`
	ClusterAddresses  []string      `key:"cluster_addresses" default:"" check:"hostport" doc:"Nodes of a Redis Cluster, as host:port."`
}

// EventsConfig is section events.
type EventsConfig struct {
	Engine string `key:"engine" default:"memory" oneof:"memory,rabbitmq" doc:"memory keeps events inside the process."`
}

// RabbitMQConfig is section rabbitmq.
type RabbitMQConfig struct {
	Host              string        `key:"host" default:"localhost" check:"host" doc:"Host name or address."`
	Port              int           `key:"port" default:"5672" min:"1" max:"65535" doc:"Port."`
	User              string        `key:"user" default:"guest" check:"filled" doc:"User."`
	Password          Secret        `key:"password" default:"guest" doc:"Password."`
	VHost             string        `key:"vhost" default:"/" check:"filled" doc:"Virtual host."`
	PrefetchCount     int           `key:"prefetch_count" default:"10" min:"1" max:"65535" doc:"Messages that a consumer takes before it confirms."`
	ReconnectInterval time.Duration `key:"reconnect_interval" default:"5s" min:"10ms" max:"10m" doc:"Pause between attempts to connect again."`
	MaxRetries        int           `key:"max_retries" default:"3" min:"0" max:"100" doc:"How often a failed message is tried again before it goes to its error queue."`
}

// JWTConfig is section jwt.
type JWTConfig struct {
	SecretKey       Secret        `key:"secret_key" default:"your-secret-key" check:"filled" doc:"Signs access tokens. Left at its default, which SQLite in development allows, one is generated beside the data. Production needs 32 bytes or more: openssl rand -base64 48."`
	TokenDuration   time.Duration `key:"token_duration" default:"24h" min:"1s" max:"365d" doc:"Life of an access token, in whole seconds."`
	RefreshDuration time.Duration `key:"refresh_duration" default:"30d" min:"1s" max:"3650d" doc:"Life of a refresh token that is not used."`
}

// LimitsConfig is section limits. 0 switches a limit off.
type LimitsConfig struct {
	DailyVotes                     int `key:"daily_votes" default:"100" min:"0" max:"1000000000" doc:"Votes of a user in a UTC day."`
	RequestsPerMinute              int `key:"requests_per_minute" default:"100" min:"0" max:"1000000000" doc:"Requests of a user, or of an address without one, in a minute."`
	VotesPerMinute                 int `key:"votes_per_minute" default:"100" min:"0" max:"1000000000" doc:"Votes of a user in a minute."`
	BurstPerSecond                 int `key:"burst_per_second" default:"200" min:"0" max:"1000000000" doc:"Requests of an address in a second."`
	LoginPerAccountPerMinute       int `key:"login_per_account_per_minute" default:"10" min:"0" max:"1000000000" doc:"Logins to an account in a minute."`
	LoginPerAddressPerMinute       int `key:"login_per_address_per_minute" default:"30" min:"0" max:"1000000000" doc:"Logins from an address in a minute."`
	SignInsPerAddress              int `key:"sign_ins_per_address" default:"8" min:"0" max:"1000000000" doc:"Calls of an address under way at once that hash a password: logins, registrations, changes of an account."`
	RegistrationsPerAddressPerHour int `key:"registrations_per_address_per_hour" default:"100" min:"0" max:"1000000000" doc:"Registrations from an address in an hour."`
	StreamsPerAddress              int `key:"streams_per_address" default:"100" min:"0" max:"1000000000" doc:"Live streams open to an address, and to a user."`
	Connections                    int `key:"connections" default:"10000" min:"0" max:"1000000000" doc:"Connections open at once, fewer when the process may not open so many files."`
	ConnectionsPerAddress          int `key:"connections_per_address" default:"1000" min:"0" max:"1000000000" doc:"Connections open to an address at once, trusted proxies excepted."`
	PollsPerDay                    int `key:"polls_per_day" default:"1000" min:"0" max:"1000000000" doc:"Polls of a user in a UTC day."`
}

// LoggingConfig is section logging.
type LoggingConfig struct {
	Level  string `key:"level" default:"info" oneof:"debug,info,warn,error" doc:"The least that is logged."`
	Format string `key:"format" default:"json" oneof:"json,console" doc:"json is for machines, console for people."`
}

// MetricsConfig is section metrics.
type MetricsConfig struct {
	Path string `key:"path" default:"/metrics" check:"urlpath" doc:"Where metrics are served."`
}

// TracingConfig is section tracing.
type TracingConfig struct {
	Endpoint string `key:"endpoint" default:"" check:"httpurl" doc:"OTLP endpoint, such as http://localhost:4318; empty switches tracing off."`
}

// IsProduction reports whether server.env is production.
func (c Config) IsProduction() bool { return c.Server.Env == Production }

// HasRole reports whether this process has the role.
func (c Config) HasRole(role string) bool { return slices.Contains(c.Server.Roles, role) }

// HasDefaultSecret reports whether jwt.secret_key was not set. A valid
// configuration allows it only with SQLite in development, where a secret is
// generated in its place.
func (c Config) HasDefaultSecret() bool { return c.JWT.SecretKey == DefaultSecret }

// Default returns the configuration without file and environment. It is valid.
func Default() Config {
	c, err := parse("", nil, nil)
	if err != nil {
		panic(err) // the defaults in this file break the rules in this package
	}
	return c
}
