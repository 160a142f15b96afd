package api

import (
	"bytes"
	"encoding/json"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vote/internal/domain"
)

// The reference reads bodies by encoding/json and looks at each member as the
// documentation of the shapes says, with none of the code that it stands beside.

// member is a member of an object, as encoding/json reads it.
type member struct {
	name  string
	value any // json.Number, string, bool, nil, []any, []member
}

// reference is what the reference makes of a body: the values that the call
// would act on, and the fields at fault.
type reference struct {
	values map[string]any
	faults map[string]bool
	noted  int
}

func (r *reference) fault(field string) {
	r.faults[field] = true
	r.noted++
}

func (r *reference) faultIf(field, message string) {
	if message != "" && !r.faults[field] {
		r.fault(field)
	}
}

// readAll reads one JSON value with its members in order, repeated ones too.
func readAll(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		object := []member{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			value, err := readAll(d)
			if err != nil {
				return nil, err
			}
			object = append(object, member{name.(string), value})
		}
		_, err := d.Token()
		return object, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			value, err := readAll(d)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := d.Token()
		return list, err
	}
	return t, nil
}

// whole returns the number when it is whole and below 2^53 in magnitude.
func whole(v any) (int64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	text := strings.ToLower(string(n))
	if _, exponent, found := strings.Cut(text, "e"); found {
		if e, err := strconv.Atoi(exponent); err != nil || e > 5000 || e < -5000 {
			// Too far from 1 to be spelled out; zero stays zero.
			digits, _, _ := strings.Cut(text, "e")
			return 0, strings.Trim(digits, "-0.") == ""
		}
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok || !r.IsInt() || r.Num().CmpAbs(big.NewInt(1<<53)) >= 0 {
		return 0, false
	}
	return r.Num().Int64(), true
}

var (
	fieldName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,39}$`)
	idText    = regexp.MustCompile(`^[1-9][0-9]{0,15}$`)
)

// The kinds of a field.
const (
	aText = iota
	aList // of texts
	aWhole
	anID
	aBool
)

type fieldRule struct {
	name     string
	kind     int
	required bool
}

// object reads the members that the rules name. path is put before the names.
func (r *reference) object(v any, field, path string, rules []fieldRule) (values map[string]any, ok bool) {
	values = make(map[string]any)
	members, ok := v.([]member)
	if !ok {
		r.fault(field)
		return values, false
	}
	given := make(map[string]any)
	for _, m := range members {
		known := slices.ContainsFunc(rules, func(f fieldRule) bool { return f.name == m.name })
		_, twice := given[m.name]
		switch {
		case !known && fieldName.MatchString(m.name):
			r.fault(path + m.name)
		case !known:
			r.fault(path + "(unknown)")
		case twice:
			r.faultIf(path+m.name, "twice")
		default:
			given[m.name] = m.value
		}
	}
	for _, f := range rules {
		v, there := given[f.name]
		if !there {
			if f.required {
				r.fault(path + f.name)
			}
			continue
		}
		switch f.kind {
		case aText:
			if s, ok := v.(string); ok {
				values[f.name] = s
				continue
			}
		case aList:
			if list, ok := v.([]any); ok {
				texts := []string{}
				for i, item := range list {
					s, ok := item.(string)
					if !ok {
						r.fault(path + f.name + "[" + strconv.Itoa(i) + "]")
					}
					texts = append(texts, s)
				}
				values[f.name] = texts
				continue
			}
		case aWhole:
			if n, ok := whole(v); ok {
				values[f.name] = n
				continue
			}
		case anID:
			if n, ok := whole(v); ok && n >= 1 {
				values[f.name] = n
				continue
			}
			if s, ok := v.(string); ok && idText.MatchString(s) {
				if n, err := strconv.ParseInt(s, 10, 64); err == nil && n < 1<<53 {
					values[f.name] = n
					continue
				}
			}
		case aBool:
			if b, ok := v.(bool); ok {
				values[f.name] = b
				continue
			}
		}
		r.fault(path + f.name)
	}
	return values, true
}

// text, list, num and flag return a value, or the zero value.
func text(v map[string]any, name string) string   { s, _ := v[name].(string); return s }
func list(v map[string]any, name string) []string { l, _ := v[name].([]string); return l }
func num(v map[string]any, name string) int64     { n, _ := v[name].(int64); return n }
func flag(v map[string]any, name string) bool     { b, _ := v[name].(bool); return b }

// bodies are the readers of request bodies beside their references. Each
// returns what the call acts on when nothing is at fault.
var bodies = []struct {
	name string
	read func(*input) any
	want func(*reference, any) any
}{
	{"register", func(in *input) any { return readRegistration(in) }, func(r *reference, body any) any {
		v, ok := r.object(body, bodyField, "", []fieldRule{{"username", aText, true}, {"email", aText, true}, {"password", aText, true}})
		if ok {
			_, _, fault := domain.NormalizeUsername(text(v, "username"))
			r.faultIf("username", fault)
			_, _, fault = domain.NormalizeEmail(text(v, "email"))
			r.faultIf("email", fault)
			_, fault = domain.NormalizePassword(text(v, "password"))
			r.faultIf("password", fault)
		}
		return registration{text(v, "username"), text(v, "email"), text(v, "password")}
	}},
	{"login", func(in *input) any { return readCredentials(in) }, func(r *reference, body any) any {
		v, ok := r.object(body, bodyField, "", []fieldRule{{"email", aText, true}, {"password", aText, true}})
		if ok && text(v, "email") == "" {
			r.faultIf("email", "empty")
		}
		if ok && text(v, "password") == "" {
			r.faultIf("password", "empty")
		}
		return credentials{text(v, "email"), text(v, "password")}
	}},
	{"refresh", func(in *input) any { return readRefresh(in) }, func(r *reference, body any) any {
		v, ok := r.object(body, bodyField, "", []fieldRule{{"refreshToken", aText, true}})
		if ok && text(v, "refreshToken") == "" {
			r.faultIf("refreshToken", "empty")
		}
		return refreshRequest{text(v, "refreshToken")}
	}},
	{"logout", func(in *input) any { return readLogout(in) }, func(r *reference, body any) any {
		v, _ := r.object(body, bodyField, "", []fieldRule{{"refreshToken", aText, false}})
		if token, given := v["refreshToken"]; given && token == "" {
			r.faultIf("refreshToken", "empty")
		}
		return logoutRequest{text(v, "refreshToken")}
	}},
	{"publish", func(in *input) any {
		p, user := readNewPoll(in)
		return []any{p, user}
	}, func(r *reference, body any) any {
		v, ok := r.object(body, bodyField, "", []fieldRule{{"title", aText, true}, {"options", aList, true}, {"tags", aList, true}, {"userId", anID, false}})
		p := domain.NewPoll{Title: text(v, "title"), Options: list(v, "options"), Tags: list(v, "tags")}
		if ok {
			var faults []domain.FieldError
			p, faults = domain.NormalizePoll(p)
			for _, f := range faults {
				r.faultIf(f.Field, f.Message)
			}
		}
		return []any{p, num(v, "userId")}
	}},
	{"vote", func(in *input) any {
		option, user := readVote(in)
		return []any{option, user}
	}, func(r *reference, body any) any {
		v, _ := r.object(body, bodyField, "", []fieldRule{{"optionIndex", aWhole, true}, {"userId", anID, false}})
		return []any{int(num(v, "optionIndex")), num(v, "userId")}
	}},
	{"skip", func(in *input) any { return readSkip(in) }, func(r *reference, body any) any {
		v, _ := r.object(body, bodyField, "", []fieldRule{{"userId", anID, false}})
		return num(v, "userId")
	}},
	{"interactions", func(in *input) any { return readInteractions(in) }, func(r *reference, body any) any {
		items, ok := body.([]any)
		if !ok || len(items) == 0 || len(items) > maxInteractions {
			r.fault(bodyField)
		}
		var batch []domain.Interaction
		for i, item := range items[:min(len(items), maxInteractions)] {
			field := "[" + strconv.Itoa(i) + "]"
			v, ok := r.object(item, field, field+".", []fieldRule{{"pollId", anID, true}, {"optionIndex", aWhole, false}, {"skip", aBool, false}})
			members, _ := item.([]member)
			chosen := slices.ContainsFunc(members, func(m member) bool { return m.name == "optionIndex" })
			switch {
			case chosen && flag(v, "skip"):
				r.fault(field + ".skip")
			case ok && !chosen && !flag(v, "skip"):
				r.faultIf(field+".optionIndex", missing)
			}
			batch = append(batch, domain.Interaction{Poll: domain.PollID(num(v, "pollId")), Option: int(num(v, "optionIndex")), Skip: flag(v, "skip")})
		}
		return batch
	}},
}

// FuzzBodies reads any JSON as the body of each call: the fields at fault are
// those of the reference, and without a fault so is what the call acts on.
func FuzzBodies(f *testing.F) {
	for _, s := range []string{
		`{"username":"mira","email":"mira@example.org","password":"correct horse"}`, `{"email":"mira@example.org","password":""}`, `{"refreshToken":"x"}`, `{}`, `[]`, `null`, `7`,
		`{"title":"a?","options":["a","b"],"tags":["x"],"userId":"17"}`, `{"title":1,"options":["a","a",2,""],"tags":{},"userId":0}`, `{"optionIndex":1e0,"userId":17}`, `{"optionIndex":-0.0,"optionIndex":2}`,
		`[{"pollId":1,"skip":true},{"pollId":"2","optionIndex":0},{"pollId":3}]`, `[{"pollId":9007199254740992,"skip":true,"optionIndex":1}]`, `{"optionIndex":0.99999999999999999999}`,
		`{"optionIndex":9007199254740990.9}`, `{"optionIndex":1e-400}`, `{"option\u0049ndex":1,"x y":2,"OptionIndex":3}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d document
		if d.parse(raw) != nil {
			return // what is refused as a whole, FuzzDocument looks at
		}
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		body, err := readAll(decoder)
		if err != nil {
			t.Fatalf("encoding/json: %v", err)
		}
		for _, b := range bodies {
			in := input{document: d}
			got := b.read(&in)
			r := &reference{values: make(map[string]any), faults: make(map[string]bool)}
			want := b.want(r, body)
			if len(in.faults) > maxFaults {
				t.Fatalf("%s: %d faults", b.name, len(in.faults))
			}
			if r.noted >= maxFaults {
				if len(in.faults) != maxFaults {
					t.Fatalf("%s: %d faults of at least %d", b.name, len(in.faults), r.noted)
				}
				continue
			}
			faults := make(map[string]bool)
			for _, fault := range in.faults {
				faults[fault.Field] = true
			}
			if diff := cmp.Diff(r.faults, faults); diff != "" {
				t.Fatalf("%s: fields at fault (-want +got):\n%s", b.name, diff)
			}
			if len(faults) == 0 {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("%s (-want +got):\n%s", b.name, diff)
				}
			}
		}
	})
}
