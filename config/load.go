package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"
)

// Problem is one fault of a configuration.
type Problem struct {
	// Key is the path of the key, or what stands in its place: the unknown
	// name, or the file.
	Key string
	// Origin is the file's path or "environment variable NAME"; empty when the
	// fault is not in a value that somebody set.
	Origin string
	// Message says what is wrong. It never contains a value.
	Message string
}

func (p Problem) String() string {
	if p.Origin == "" {
		return p.Key + ": " + p.Message
	}
	return fmt.Sprintf("%s (%s): %s", p.Key, p.Origin, p.Message)
}

// Error is everything that is wrong with a configuration, in the order of the
// keys.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	if len(lines) == 1 {
		return "configuration: " + lines[0]
	}
	return fmt.Sprintf("configuration: %d faults\n  %s", len(lines), strings.Join(lines, "\n  "))
}

// Load reads the file at path and the variables in environ (NAME=value, as
// [os.Environ] gives them) and returns the checked configuration. An empty path
// is [DefaultPath]. A file at [DefaultPath] may be missing, any other must
// exist. What is wrong is returned as an [*Error].
//
// A variable that is set but empty counts: it means empty text or an empty
// list. A variable that begins with JWT_ or LIMITS_ and is no key is an error,
// for a misspelt secret or limit would silently be a weak one. Other unknown
// variables are ignored, also SERVER_..., POSTGRES_..., REDIS_... and the like:
// container images and Kubernetes set such for their own purposes.
func Load(path string, environ []string) (Config, error) {
	path = cmp.Or(path, DefaultPath)
	raw, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		if path == DefaultPath && errors.Is(err, fs.ErrNotExist) {
			return parse("", nil, environ)
		}
		return Config{}, &Error{[]Problem{{Key: path, Message: "cannot be read: " + cause(err)}}}
	}
	return parse(path, raw, environ)
}

// cause returns what is wrong without the path that a [fs.PathError] repeats.
func cause(err error) string {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// content is a file's bytes as koanf wants to be given them.
type content []byte

func (c content) ReadBytes() ([]byte, error) { return c, nil }
func (c content) Read() (map[string]any, error) {
	return nil, errors.New("needs a parser")
}

// parse makes a configuration from a file's content and the environment.
func parse(path string, raw []byte, environ []string) (Config, error) {
	c := Config{origins: make(map[string]string)}
	file, problems := readFile(path, raw)
	vars, more := readEnvironment(environ)
	problems = append(problems, more...)

	broken := make(map[string]bool)
	set := func(k Key, production bool) {
		if fault := k.setText(&c, k.defaultText(production)); fault != "" {
			panic("config: default of " + k.Path + " " + fault) // a mistake in config.go
		}
		from := func(origin, fault string) {
			c.origins[k.Path] = origin
			if fault != "" {
				broken[k.Path] = true
				problems = append(problems, Problem{k.Path, origin, fault})
			}
		}
		if v, ok := file[k.Path]; ok {
			from(path, k.setYAML(&c, v))
		}
		if v, ok := vars[k.Path]; ok {
			from("environment variable "+k.Env, k.setText(&c, v))
		}
	}
	// Some defaults depend on server.env, so it is read before the others.
	var rest []Key
	eachKey(func(k Key) {
		if k.Path == "server.env" {
			set(k, false)
		} else {
			rest = append(rest, k)
		}
	})
	for _, k := range rest {
		set(k, c.IsProduction())
	}
	problems = append(problems, c.check(broken)...)
	if len(problems) > 0 {
		return Config{}, &Error{inOrder(problems)}
	}
	return c, nil
}

func (k Key) defaultText(production bool) string {
	if production {
		return k.ProductionDefault
	}
	return k.Default
}

// inOrder sorts problems by the order of their keys; those that have none come
// first.
func inOrder(problems []Problem) []Problem {
	place := make(map[string]int)
	eachKey(func(k Key) { place[k.Path] = len(place) + 1 })
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(place[a.Key], place[b.Key]) })
	return problems
}

// readFile returns the values that a file sets, by path.
func readFile(path string, raw []byte) (map[string]any, []Problem) {
	values := make(map[string]any)
	if secondDocument(raw) {
		return values, []Problem{{Key: path, Message: "must be one YAML document; a second one would be ignored"}}
	}
	k := koanf.New(".")
	if err := k.Load(content(raw), yaml.Parser()); err != nil {
		return values, []Problem{{Key: path, Message: "cannot be parsed as a YAML mapping: " + firstLine(err)}}
	}
	var problems []Problem
	byName := make(map[string]Section, len(sections))
	known := make(map[string]bool)
	for _, s := range sections {
		byName[s.Name] = s
		for _, key := range s.Keys {
			known[key.Path] = true
		}
	}
	tree := k.Raw()
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		if _, ok := byName[name]; !ok {
			message := "is not a section"
			if known[name] {
				message = "must be written as a section with the key indented below it"
			}
			problems = append(problems, Problem{name, path, message})
			continue
		}
		switch section := tree[name].(type) {
		case nil: // all its keys are commented out
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(section)) {
				if full := name + "." + key; known[full] {
					values[full] = section[key]
				} else {
					problems = append(problems, Problem{full, path, "is not a key"})
				}
			}
		default:
			problems = append(problems, Problem{name, path, "must be a section of keys"})
		}
	}
	return values, problems
}

// secondDocument reports whether a document marker follows some content.
func secondDocument(raw []byte) bool {
	some := false
	for line := range bytes.Lines(raw) {
		line = bytes.TrimRight(line, " \t\r\n")
		marker := bytes.Equal(line, []byte("---")) || bytes.HasPrefix(line, []byte("--- ")) || bytes.HasPrefix(line, []byte("---\t"))
		switch {
		case marker && some:
			return true
		case marker:
			some = true
		case len(line) > 0 && line[0] != '#' && line[0] != '%':
			some = true
		}
	}
	return false
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// readEnvironment returns the values that environment variables set, by path.
func readEnvironment(environ []string) (map[string]string, []Problem) {
	names := make(map[string]string)
	eachKey(func(k Key) { names[k.Env] = k.Path })
	values := make(map[string]string)
	var problems []Problem
	provider := env.Provider(".", env.Opt{
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			if path, ok := names[name]; ok {
				return path, value
			}
			for _, s := range sections {
				if s.strict && strings.HasPrefix(name, strings.ToUpper(s.Name)+"_") {
					problems = append(problems, Problem{name, "environment", "is not a key"})
				}
			}
			return "", nil
		},
	})
	k := koanf.New(".")
	if err := k.Load(provider, nil); err != nil {
		return values, []Problem{{Key: "environment", Message: firstLine(err)}}
	}
	for path, v := range k.All() {
		if s, ok := v.(string); ok {
			values[path] = s
		}
	}
	return values, problems
}
