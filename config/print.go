package config

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// hidden stands in place of a secret that is set.
const hidden = "(hidden)"

// Secret is a text that shows itself to nobody: formatted, logged or encoded it
// is "(hidden)", or empty when it is. string(s) is the text.
type Secret string

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// Format hides the text from every verb, wrong ones included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText hides the text from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue hides the text from logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// DSN is a URL of a database. Formatted, logged or encoded it hides the
// password; string(d) is the whole.
type DSN string

// String returns the URL without its password. What cannot be taken apart with
// certainty is hidden as a whole.
func (d DSN) String() string {
	if d == "" {
		return ""
	}
	scheme, rest, ok := cutPostgresScheme(string(d))
	if !ok {
		return hidden
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	// An @ behind the authority is a password with an unescaped slash; a
	// password may also be a parameter.
	if strings.Contains(tail, "@") || strings.Contains(strings.ToLower(tail), "pass") || strings.Contains(tail, "%") {
		return hidden
	}
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		user, _, found := strings.Cut(authority[:at], ":")
		if found {
			user += ":" + hidden
		}
		authority = user + authority[at:]
	}
	return scheme + authority + tail
}

// Format hides the password from every verb, wrong ones included.
func (d DSN) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, d.String()) }

// MarshalText hides the password from encoders.
func (d DSN) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// LogValue hides the password from logs.
func (d DSN) LogValue() slog.Value { return slog.StringValue(d.String()) }

// String returns what [Config.Print] writes.
func (c Config) String() string {
	var b strings.Builder
	_ = c.Print(&b) // a Builder takes everything
	return b.String()
}

// Print writes the effective configuration as YAML, secrets hidden, with where
// each value came from.
func (c Config) Print(w io.Writer) error {
	var b strings.Builder
	for i, s := range sections {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s:\n", s.Name)
		for _, k := range s.Keys {
			_, name, _ := strings.Cut(k.Path, ".")
			origin := c.origins[k.Path]
			if origin == "" {
				origin = "default"
			}
			fmt.Fprintf(&b, "  %s: %s # %s\n", name, k.yaml(&c), origin)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// yaml returns the key's value as YAML, secrets hidden.
func (k Key) yaml(c *Config) string {
	switch v := k.field(c).Interface().(type) {
	case []string:
		items := make([]string, len(v))
		for i, s := range v {
			items[i] = quote(s)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case []DSN:
		items := make([]string, len(v))
		for i, d := range v {
			items[i] = quote(d.String())
		}
		return "[" + strings.Join(items, ", ") + "]"
	case Secret:
		return quote(v.String())
	case DSN:
		return quote(v.String())
	case string:
		return quote(v)
	default:
		return k.text(c)
	}
}

// quote returns s as a YAML scalar. JSON's strings are YAML's too.
func quote(s string) string {
	plain := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && r != '_'
	})
	if plain && s != "true" && s != "false" && s != "null" && s != "yes" && s != "no" && s != "on" && s != "off" && s != "y" && s != "n" {
		return s
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes
	return strings.TrimSuffix(b.String(), "\n")
}
