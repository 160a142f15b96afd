package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Validate returns an [*Error] with everything that is wrong with c, or nil.
// [Load] has done it already.
func (c Config) Validate() error {
	if problems := c.check(nil); len(problems) > 0 {
		return &Error{inOrder(problems)}
	}
	return nil
}

// check returns what is wrong with each value by itself and with all of them
// together. Keys in broken could not be read; nothing is said about them.
func (c *Config) check(broken map[string]bool) []Problem {
	wrong := make(map[string]bool)
	var problems []Problem
	add := func(path, message string) {
		wrong[path] = true
		problems = append(problems, Problem{path, c.origins[path], message})
	}
	eachKey(func(k Key) {
		if broken[k.Path] {
			wrong[k.Path] = true
			return
		}
		if fault := k.fault(c); fault != "" {
			add(k.Path, fault)
		}
	})
	// together adds a fault of the first key, unless one of the keys that
	// the rule looks at is wrong by itself.
	together := func(bad bool, message string, keys ...string) {
		if bad && !slices.ContainsFunc(keys, func(k string) bool { return wrong[k] }) {
			add(keys[0], message)
		}
	}

	together(c.Server.AdminPort != 0 && c.Server.AdminPort == c.Server.Port,
		"must differ from server.port", "server.admin_port", "server.port")
	together(c.Storage.Engine == SQLite && len(c.Server.Roles) < len(allRoles()),
		"must name every role, since storage.engine sqlite is for one process", "server.roles", "storage.engine")
	together(c.Storage.Engine == SQLite && c.Storage.Buckets != 1,
		"must be 1 with storage.engine sqlite", "storage.buckets", "storage.engine")
	together(c.Postgres.IdleConnections > c.Postgres.MaxConnections,
		"must be at most postgres.max_connections", "postgres.idle_connections", "postgres.max_connections")
	together(c.Storage.Engine == Postgres && c.Cache.Engine == Memory && c.IsProduction(),
		"must be redis with storage.engine postgres in production, where instances share the limits", "cache.engine", "storage.engine", "server.env")
	together(c.Redis.MinIdleConns > c.Redis.PoolSize,
		"must be at most redis.pool_size", "redis.min_idle_conns", "redis.pool_size")
	together(c.Redis.SentinelMaster == "" && len(c.Redis.SentinelAddresses) > 0,
		"must be given with redis.sentinel_addresses", "redis.sentinel_master", "redis.sentinel_addresses")
	together(c.Redis.SentinelMaster != "" && len(c.Redis.SentinelAddresses) == 0,
		"must be given with redis.sentinel_master", "redis.sentinel_addresses", "redis.sentinel_master")
	together(len(c.Redis.ClusterAddresses) > 0 && len(c.Redis.SentinelAddresses) > 0,
		"must not be given together with redis.sentinel_addresses", "redis.cluster_addresses", "redis.sentinel_addresses")
	together(len(c.Redis.ClusterAddresses) > 0 && c.Redis.DB != 0,
		"must be 0 with redis.cluster_addresses", "redis.db", "redis.cluster_addresses")
	switch {
	case c.HasDefaultSecret() && c.IsProduction():
		together(true, "must be set in production", "jwt.secret_key", "server.env")
	case c.HasDefaultSecret() && c.Storage.Engine != SQLite:
		together(true, "must be set with storage.engine postgres, where instances share it", "jwt.secret_key", "storage.engine")
	case c.IsProduction():
		together(len(c.JWT.SecretKey) < MinProductionSecret,
			fmt.Sprintf("must have at least %d bytes in production", MinProductionSecret), "jwt.secret_key", "server.env")
	}
	together(c.JWT.RefreshDuration < c.JWT.TokenDuration,
		"must be at least jwt.token_duration", "jwt.refresh_duration", "jwt.token_duration")
	return problems
}

func allRoles() []string { return []string{RoleAPI, RoleRelay, RoleWorker, RoleScheduler} }

// fault returns what is wrong with the key's value in c by itself.
func (k Key) fault(c *Config) string {
	switch v := k.field(c).Interface().(type) {
	case int:
		low, _ := strconv.Atoi(k.minimum)
		high, _ := strconv.Atoi(k.maximum)
		if v < low || v > high {
			return fmt.Sprintf("must be from %d to %d", low, high)
		}
	case time.Duration:
		low, _ := parseDuration(k.minimum)
		high, _ := parseDuration(k.maximum)
		if v < low || v > high {
			return fmt.Sprintf("must be from %s to %s", k.minimum, k.maximum)
		}
		if k.Path == "jwt.token_duration" && v%time.Second != 0 {
			return "must be whole seconds"
		}
	case []string:
		return k.listFault(v)
	case []DSN:
		items := make([]string, len(v))
		for i, d := range v {
			items[i] = string(d)
		}
		return k.listFault(items)
	case bool:
	default:
		return k.textFault(k.field(c).String())
	}
	return ""
}

func (k Key) listFault(items []string) string {
	if k.Path == "server.roles" && len(items) == 0 {
		return "must name at least one role"
	}
	have := make(map[string]bool, len(items))
	for i, item := range items {
		if item == "" {
			return fmt.Sprintf("item %d is empty", i+1)
		}
		if fault := k.textFault(item); fault != "" {
			return fmt.Sprintf("item %d %s", i+1, fault)
		}
		if have[item] {
			return fmt.Sprintf("item %d is there twice", i+1)
		}
		have[item] = true
	}
	return ""
}

func (k Key) textFault(s string) string {
	if !utf8.ValidString(s) {
		return "must be valid UTF-8"
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "must not contain control characters"
	}
	if len(k.OneOf) > 0 {
		if !slices.Contains(k.OneOf, s) {
			return "must be one of " + strings.Join(k.OneOf, ", ")
		}
		return ""
	}
	if k.check == "" {
		return ""
	}
	rule := checks[k.check]
	if !rule.ok(s) {
		return rule.must
	}
	return ""
}

// checks are the forms that a text, or each item of a list, can be asked to have.
var checks = map[string]struct {
	must string
	ok   func(string) bool
}{
	"filled":         {"must not be empty", func(s string) bool { return s != "" }},
	"path":           {"must be the path of a file", isFilePath},
	"host":           {"must be a host name or an address", isHost},
	"optionalhost":   {"must be a host name or an address", func(s string) bool { return s == "" || isHost(s) }},
	"sockethost":     {"must be a host name, an address, or the folder of a Unix socket", func(s string) bool { return isHost(s) || path.IsAbs(s) }},
	"hostport":       {"must be host:port", isHostPort},
	"network":        {"must be an address or a CIDR range", isNetwork},
	"optionalorigin": {"must be an origin: scheme://host or scheme://host:port, in lower case, without path and standard port", func(s string) bool { return s == "" || isOrigin(s) }},
	"origin":         {"must be an origin as browsers send it: scheme://host or scheme://host:port, in lower case, without path and standard port", isOrigin},
	"postgresurl":    {"must be a URL such as postgres://user:password@host:5432/dbname", isPostgresURL},
	"httpurl":        {"must be an http or https URL", isHTTPURL},
	"urlpath":        {"must be a path such as /metrics, of letters, digits and ._-/", isURLPath},
}

func isFilePath(s string) bool {
	base := path.Base(s)
	return s != "" && !strings.HasSuffix(s, "/") && base != "." && base != ".." &&
		s[0] != ':' && !strings.HasPrefix(s, "file:") // SQLite takes these for something else
}

func isHost(s string) bool {
	if strings.Contains(s, ":") {
		_, err := netip.ParseAddr(s)
		return err == nil
	}
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '.' && r != '-' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
}

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	return err == nil && isHost(host) && isPort(port)
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s == strconv.FormatUint(n, 10)
}

func isNetwork(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Zone() == ""
	}
	_, err := netip.ParsePrefix(s)
	return err == nil
}

func isOrigin(s string) bool {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || s != u.Scheme+"://"+u.Host {
		return false
	}
	host := u.Hostname()
	if strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII || unicode.IsUpper(r) }) || !isHost(host) {
		return false
	}
	port := u.Port()
	if port == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	return isPort(port) && (u.Scheme != "http" || port != "80") && (u.Scheme != "https" || port != "443")
}

// isPostgresURL looks only at what every PostgreSQL URL has: the driver knows
// more forms, several hosts among them, than net/url does.
func isPostgresURL(s string) bool {
	if s == "" {
		return true
	}
	_, rest, ok := cutPostgresScheme(s)
	return ok && rest != "" && !strings.ContainsFunc(s, unicode.IsSpace)
}

func cutPostgresScheme(s string) (scheme, rest string, ok bool) {
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if rest, ok := strings.CutPrefix(s, scheme); ok {
			return scheme, rest, true
		}
	}
	return "", "", false
}

func isHTTPURL(s string) bool {
	if s == "" {
		return true
	}
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && u.Fragment == ""
}

func isURLPath(s string) bool {
	return len(s) > 1 && s[0] == '/' && path.Clean(s) == s && !strings.ContainsFunc(s, func(r rune) bool {
		letter := (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') || (r >= '0' && r <= '9')
		return !letter && r != '.' && r != '_' && r != '-' && r != '/'
	})
}
