package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Key describes one key of the configuration.
type Key struct {
	// Path is the key's name in the file: section and name, with a dot.
	Path string
	// Env is the environment variable that overrides it.
	Env string
	// Type is text, number, duration, true or false, or list.
	Type string
	// Default is its value when nothing sets it, as an environment variable
	// would spell it.
	Default string
	// ProductionDefault is Default when server.env is production.
	ProductionDefault string
	// OneOf lists the values there are; empty when there is no such list.
	OneOf []string
	// Secret says that the value, or the password in it, is never shown.
	Secret bool
	// Doc is a sentence or two for the operator.
	Doc string

	index   []int // of the field in Config
	goType  reflect.Type
	check   string
	minimum string
	maximum string
}

// Section describes one section of the configuration.
type Section struct {
	Name string
	Doc  string
	Keys []Key

	strict bool // an environment variable with its prefix must be a key
}

// sections is made once from the struct tags and never changed.
var sections = describe()

// Sections returns every section with its keys, in the order of the file.
func Sections() []Section {
	list := make([]Section, len(sections))
	for i, s := range sections {
		list[i] = s
		list[i].Keys = append([]Key(nil), s.Keys...)
	}
	return list
}

// describe reads the struct tags of [Config].
func describe() []Section {
	var list []Section
	root := reflect.TypeFor[Config]()
	for i := range root.NumField() {
		f := root.Field(i)
		if !f.IsExported() {
			continue
		}
		s := Section{Name: f.Tag.Get("key"), Doc: f.Tag.Get("doc"), strict: f.Tag.Get("strict") == "true"}
		for j := range f.Type.NumField() {
			k := f.Type.Field(j)
			key := Key{
				Path: s.Name + "." + k.Tag.Get("key"), Doc: k.Tag.Get("doc"),
				Default: k.Tag.Get("default"), ProductionDefault: k.Tag.Get("default"),
				index: []int{i, j}, goType: k.Type,
				check: k.Tag.Get("check"), minimum: k.Tag.Get("min"), maximum: k.Tag.Get("max"),
			}
			key.Env = strings.ToUpper(strings.ReplaceAll(key.Path, ".", "_"))
			if v, ok := k.Tag.Lookup("production"); ok {
				key.ProductionDefault = v
			}
			if v := k.Tag.Get("oneof"); v != "" {
				key.OneOf = strings.Split(v, ",")
			}
			switch k.Type {
			case reflect.TypeFor[time.Duration]():
				key.Type = "duration"
			case reflect.TypeFor[int]():
				key.Type = "number"
			case reflect.TypeFor[bool]():
				key.Type = "true or false"
			case reflect.TypeFor[Secret](), reflect.TypeFor[DSN]():
				key.Type, key.Secret = "text", true
			case reflect.TypeFor[[]DSN]():
				key.Type, key.Secret = "list", true
			case reflect.TypeFor[[]string]():
				key.Type = "list"
			default:
				key.Type = "text"
			}
			s.Keys = append(s.Keys, key)
		}
		list = append(list, s)
	}
	return list
}

// eachKey calls visit for every key, in the order of the file.
func eachKey(visit func(Key)) {
	for _, s := range sections {
		for _, k := range s.Keys {
			visit(k)
		}
	}
}

// field returns the key's field in c.
func (k Key) field(c *Config) reflect.Value { return reflect.ValueOf(c).Elem().FieldByIndex(k.index) }

// setText sets the key's field from text, as an environment variable or a
// default spells it. The fault, if any, says what the text must be.
func (k Key) setText(c *Config, text string) (fault string) {
	f := k.field(c)
	switch k.goType {
	case reflect.TypeFor[time.Duration]():
		d, ok := parseDuration(text)
		if !ok {
			return "must be a duration with its unit, such as 500ms, 10s, 24h or 30d"
		}
		f.SetInt(int64(d))
	case reflect.TypeFor[int]():
		n, err := strconv.Atoi(text)
		if err != nil {
			if strings.HasPrefix(text, "tcp://") || strings.HasPrefix(text, "udp://") {
				return "must be a whole number; this looks like a variable that Kubernetes sets for a service of that name (enableServiceLinks: false in the pod stops it)"
			}
			return "must be a whole number"
		}
		f.SetInt(int64(n))
	case reflect.TypeFor[bool]():
		switch strings.ToLower(text) {
		case "true", "1":
			f.SetBool(true)
		case "false", "0":
			f.SetBool(false)
		default:
			return "must be true or false"
		}
	case reflect.TypeFor[[]string](), reflect.TypeFor[[]DSN]():
		var items []string
		if strings.TrimSpace(text) != "" {
			items = strings.Split(text, ",")
		}
		k.setList(f, items)
	default:
		f.SetString(text)
	}
	return ""
}

func (k Key) setList(f reflect.Value, items []string) {
	list := reflect.MakeSlice(k.goType, len(items), len(items))
	for i, v := range items {
		list.Index(i).SetString(strings.TrimSpace(v))
	}
	f.Set(list)
}

// setYAML sets the key's field from a value of the file.
func (k Key) setYAML(c *Config, v any) (fault string) {
	switch v := v.(type) {
	case nil:
		return "has no value"
	case string:
		if k.Type == "list" {
			return "must be a list"
		}
		return k.setText(c, v)
	case bool:
		if k.Type == "true or false" {
			return k.setText(c, strconv.FormatBool(v))
		}
	case int, int64, uint64:
		// A number where text is wanted is not taken: YAML reads 0123 as 83.
		if k.Type == "number" || (k.Type == "duration" && v == 0) {
			return k.setText(c, fmt.Sprint(v))
		}
	case []any:
		if k.Type != "list" {
			break
		}
		items := make([]string, len(v))
		for i, item := range v {
			s, ok := item.(string)
			if !ok {
				return "must be a list of texts; put each in quotes"
			}
			items[i] = s
		}
		k.setList(k.field(c), items)
		return ""
	}
	switch k.Type {
	case "text":
		return "must be text; put it in quotes"
	case "list":
		return "must be a list"
	case "duration":
		return "must be a duration with its unit, such as 500ms, 10s, 24h or 30d"
	case "number":
		return "must be a whole number"
	default:
		return "must be true or false"
	}
}

// text returns the value of the key's field as an environment variable would
// spell it, in the clear.
func (k Key) text(c *Config) string {
	f := k.field(c)
	switch v := f.Interface().(type) {
	case time.Duration:
		return formatDuration(v)
	case []string:
		return strings.Join(v, ",")
	case []DSN:
		items := make([]string, len(v))
		for i, d := range v {
			items[i] = string(d)
		}
		return strings.Join(items, ",")
	case int:
		return strconv.Itoa(v)
	case bool:
		return strconv.FormatBool(v)
	default:
		return f.String()
	}
}

const day = 24 * time.Hour

// parseDuration reads a duration of Go's syntax that may begin with whole days:
// 30d, 1d12h.
func parseDuration(s string) (time.Duration, bool) {
	days, rest, found := strings.Cut(s, "d")
	if !found {
		d, err := time.ParseDuration(s)
		return d, err == nil
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, false
	}
	d := time.Duration(n) * day
	if rest == "" {
		return d, true
	}
	if rest[0] < '0' || rest[0] > '9' {
		return 0, false
	}
	r, err := time.ParseDuration(rest)
	if err != nil || d+r < d {
		return 0, false
	}
	return d + r, true
}

// formatDuration writes d so that parseDuration reads it: whole days as such,
// and without the zeros that Go's own form ends with.
func formatDuration(d time.Duration) string {
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
