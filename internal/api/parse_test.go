package api

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"vote/internal/domain"
)

func TestDocumentRefuses(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		``, ` `, `{`, `}`, `[`, `]`, `{]`, `[}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `[1,]`, `[,1]`, `[1 2]`, `{"a":1 "b":2}`,
		`{a:1}`, `{'a':1}`, `{"a":1}}`, `{"a":1} x`, `1 2`, `01`, `-`, `+1`, `.5`, `1.`, `1e`, `1e+`, `0x10`, `NaN`, `Infinity`,
		`nul`, `True`, `"`, `"a`, `"\`, `"\x"`, `"\u12"`, `"\u12g4"`, "\"a\nb\"", "\"\x00\"", "\"\xff\"", "\xef\xbb\xbf{}",
		`"\ud800"`, `"\udc00"`, `"\ud800\ud800"`, `"\ud800x"`, `/* */{}`, `{"a":1/**/}`, "{\"\xc3\x28\":1}",
		strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1), strings.Repeat(`{"a":`, 5000),
	} {
		var d document
		if err := d.parse([]byte(body)); err == nil || err.Code != domain.CodeMalformed {
			t.Errorf("%.40q: %v, want malformed", body, err)
		}
	}
}

func TestInputReads(t *testing.T) {
	t.Parallel()
	type read struct {
		Option int64
		User   int64
		Text   string
		List   []string
		Flag   bool
		Faults []domain.FieldError
	}
	fault := func(field, message string) domain.FieldError {
		return domain.FieldError{Field: field, Message: message}
	}
	for _, c := range []struct {
		body string
		want read
	}{
		{`{"option":1,"user":17,"text":"a","list":["b","c"],"flag":true}`, read{1, 17, "a", []string{"b", "c"}, true, nil}},
		{"\t{ \"text\" :\r\n\"a\\n\\u00e9\\ud83d\\ude00\\/\\\"\" , \"option\":-0 } ", read{Text: "a\né😀/\""}},
		{`{"text":"a","option":1.0e1,"user":"9007199254740991"}`, read{Text: "a", Option: 10, User: 9007199254740991}},
		{`{"t\u0065xt":"a"}`, read{Text: "a"}},
		{`{}`, read{Faults: []domain.FieldError{fault("text", missing)}}},
		{`[]`, read{Faults: []domain.FieldError{fault("body", notObject)}}},
		{`null`, read{Faults: []domain.FieldError{fault("body", notObject)}}},
		{`{"Text":"a"}`, read{Faults: []domain.FieldError{fault("Text", notKnown), fault("text", missing)}}},
		{`{"text":"a","text":"b"}`, read{Text: "a", Faults: []domain.FieldError{fault("text", notTwice)}}},
		{`{"text":1,"option":"1","user":true,"list":"x","flag":0}`, read{Faults: []domain.FieldError{
			fault("option", notWhole), fault("user", notID), fault("text", notText), fault("list", notList), fault("flag", notBool),
		}}},
		{`{"text":"a","option":1.5,"user":0}`, read{Text: "a", Faults: []domain.FieldError{fault("option", notWhole), fault("user", notID)}}},
		{`{"text":"a","option":9007199254740992,"user":"017"}`, read{Text: "a", Faults: []domain.FieldError{fault("option", notWhole), fault("user", notID)}}},
		{`{"text":"a","option":1e999,"user":""}`, read{Text: "a", Faults: []domain.FieldError{fault("option", notWhole), fault("user", notID)}}},
		{`{"text":"a","list":["x",1,null]}`, read{Text: "a", List: []string{"x", "", ""}, Faults: []domain.FieldError{
			fault("list[1]", notText), fault("list[2]", notText),
		}}},
		{`{"text":"a","":1,"my secret":2,"x_9":3,"` + strings.Repeat("n", 41) + `":4}`, read{Text: "a", Faults: []domain.FieldError{
			fault("(unknown)", notKnown), fault("(unknown)", notKnown), fault("x_9", notKnown), fault("(unknown)", notKnown),
		}}},
	} {
		var in input
		if err := in.parse([]byte(c.body)); err != nil {
			t.Errorf("%s: %v", c.body, err)
			continue
		}
		o := in.object(0, bodyField, "", []string{"option", "user", "text", "list", "flag"})
		var got read
		got.Option = o.whole("option")
		got.User = o.id("user")
		got.Text = o.text("text")
		if o.member("list") != 0 {
			got.List = o.texts("list")
		}
		got.Flag = o.boolean("flag")
		got.Faults = in.faults
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s:\n%s", c.body, diff)
		}
	}
}

func TestFaultsAreBounded(t *testing.T) {
	t.Parallel()
	var in input
	body := `{"title":[` + strings.Repeat("1,", 20000) + `1],` + strings.Repeat(`"x":1,`, 1000) + `"options":[` + strings.Repeat("1,", 9000) + `1]}`
	if err := in.parse([]byte(body)); err != nil {
		t.Fatal(err)
	}
	readNewPoll(&in)
	if len(in.faults) != maxFaults {
		t.Errorf("%d faults, want %d", len(in.faults), maxFaults)
	}
}

// FuzzDocument holds the parser to encoding/json: it takes nothing that this
// refuses, refuses only what the package says it does, and reads the same
// strings and numbers.
func FuzzDocument(f *testing.F) {
	for _, s := range []string{
		`{"optionIndex":1,"userId":"17"}`, `[{"pollId":1,"skip":true}]`, `"\ud83d\ude00\u0000\n"`, `-0.0e-1`, `[[],{},null,true,false]`, "\"\xff\"", `{"a":{"b":[1,"c"]}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var d document
		err := d.parse(body)
		valid := json.Valid(body)
		if err == nil && !valid {
			t.Fatal("accepts what is not JSON")
		}
		if err != nil {
			text := strings.ToLower(string(body))
			depth := strings.Count(text, "[") + strings.Count(text, "{")
			if valid && utf8.Valid(body) && depth < maxDepth && !strings.Contains(text, `\ud`) {
				t.Fatalf("refuses JSON: %v", err)
			}
			return
		}
		n := &d.nodes[0]
		switch n.kind {
		case kindText:
			var want string
			if err := json.Unmarshal(body, &want); err != nil {
				t.Fatal(err)
			}
			if got := d.text(n.start, n.end, n.escaped); got != want {
				t.Fatalf("reads %q, want %q", got, want)
			}
		case kindNumber:
			got, ok := d.integer(n)
			var number json.Number
			if err := json.Unmarshal(body, &number); err != nil {
				t.Fatal(err)
			}
			if want, good := whole(number); got != want || ok != good {
				t.Fatalf("reads %d, %t, want %d, %t", got, ok, want, good)
			}
		}
	})
}

func TestQueryReads(t *testing.T) {
	t.Parallel()
	var in input
	if err := in.query.parse("a=1&&b=x+y%20%C3%A9&a=2&c&=d&t=1;2&e==&tag=&tag=x&tag=y"); err != nil {
		t.Fatal(err)
	}
	want := query{{"a", "1"}, {"b", "x y é"}, {"a", "2"}, {"c", ""}, {"", "d"}, {"t", "1;2"}, {"e", "="}, {"tag", ""}, {"tag", "x"}, {"tag", "y"}}
	if !slices.Equal(want, in.query) {
		t.Errorf("got %q, want %q", in.query, want)
	}
	if got := in.params("tag"); !cmp.Equal(got, []string{"x", "y"}) {
		t.Errorf("tags %q", got)
	}
	if got := in.wholeParam("a", 5, 3); got != 1 || !in.faulty("a") {
		t.Errorf("a = %d, faults %v: want the first and a fault", got, in.faults)
	}
	for _, bad := range []string{"%", "a=%", "a=%2", "a=%zz", "%ff=1", "a=%C3", "x&y=%", "a=\xff"} {
		var q query
		if err := q.parse(bad); err == nil || err.Code != domain.CodeMalformed {
			t.Errorf("%q: %v, want malformed", bad, err)
		}
	}
	for value, ok := range map[string]bool{"1": true, "100": true, "0": false, "101": false, "": false, "1.0": false, "+1": false, " 1": false, "x": false, "99999999999999999999": false, "１": false} {
		in := input{query: query{{"limit", value}}}
		if in.wholeParam("limit", 100, 10); in.faulty("limit") == ok {
			t.Errorf("limit=%q: faults %v", value, in.faults)
		}
	}
}

// FuzzQuery holds the query parser to net/url, and the parameters to what the
// documentation says of them. Unlike net/url it takes a semicolon for itself.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"tag=a&limit=10", "a=%zz", "q=%E4%B8%AD&&", "polls=1,2,3&polls=4", "userId=7&userId=8", "cursor=AAAA&page=2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		var c call
		refused := c.query.parse(raw) != nil
		want, err := url.ParseQuery(strings.ReplaceAll(raw, ";", "%3B"))
		broken := err != nil
		for name, values := range want {
			broken = broken || slices.ContainsFunc(append(values, name), func(s string) bool { return !utf8.ValidString(s) })
		}
		if refused != broken {
			t.Fatalf("refused: %t; net/url: %v, %q", refused, err, want)
		}
		if refused {
			return
		}
		got := make(url.Values)
		for _, p := range c.query {
			got.Add(p.name, p.value)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		_ = checkPaging(&c)
		limit, sort, user := c.wholeParam("limit", maxLimit, defaultLimit), c.oneOf("sort", "new", "hot"), c.idParam("userId")
		for name, good := range map[string]bool{
			"limit":  !want.Has("limit") || want.Get("limit") == strconv.Itoa(limit) || strings.TrimLeft(want.Get("limit"), "0") == strconv.Itoa(limit),
			"sort":   !want.Has("sort") || want.Get("sort") == sort,
			"userId": want.Get("userId") == "" || want.Get("userId") == strconv.FormatInt(user, 10),
		} {
			if c.faulty(name) != (!good || len(want[name]) > 1) {
				t.Fatalf("%s=%q: limit %d, sort %s, user %d, faults %v", name, want[name], limit, sort, user, c.faults)
			}
		}
		c.searchParam()
		if q := strings.TrimSpace(want.Get("q")); c.faulty("q") != (utf8.RuneCountInString(q) > domain.MaxSearchText || len(want["q"]) > 1) {
			t.Fatalf("q of %d characters, faults %v", utf8.RuneCountInString(q), c.faults)
		}
		tags, polls := c.tagParams(), c.pollParams()
		for i, tag := range tags {
			if again, fault := domain.NormalizeTag(tag); again != tag || fault != "" || slices.Contains(tags[:i], tag) {
				t.Fatalf("tags %q", tags)
			}
		}
		asked := strings.Split(strings.Join(slices.DeleteFunc(slices.Clone(want["polls"]), func(s string) bool { return s == "" }), ","), ",")
		for i, id := range polls {
			if slices.Contains(polls[:i], id) || !slices.Contains(asked, strconv.FormatInt(int64(id), 10)) {
				t.Fatalf("polls %v of %q", polls, asked)
			}
		}
		if len(tags) > maxTagParams || len(polls) > maxPolls || len(polls) == 0 != c.faulty("polls") {
			t.Fatalf("%d tags, %d polls, faults %v", len(tags), len(polls), c.faults)
		}
	})
}

func TestAppendString(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "plain", "quote\" back\\ slash/", "\x00\x1f\n\t", "é 中 😀", "<script>&", "\u2028"} {
		var got string
		if err := json.Unmarshal(appendString(nil, s), &got); err != nil || got != s {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	if got := string(appendString(nil, "a\xffb\xc3")); got != "\"a\uFFFDb\uFFFD\"" {
		t.Errorf("broken UTF-8: %q", got)
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	const tag = `"7-abc-json"`
	for header, want := range map[string]bool{
		tag: true, `W/` + tag: true, `*`: true, ` * `: true, `"x", ` + tag: true, `"x",W/` + tag + `,"y"`: true, `"a,b",` + tag: true,
		``: false, `"x"`: false, `7-abc-json`: false, `"7-abc-json`: false, `w/` + tag: false, `"7-abc-csv"`: false, `, ,` + tag: true, `x ` + tag: false,
	} {
		if got := matches([]string{header}, tag); got != want {
			t.Errorf("%s: %t, want %t", header, got, want)
		}
	}
	if !matches([]string{`"x"`, tag}, tag) || matches(nil, tag) {
		t.Error("several headers, or none")
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "4f2a-9c.0e_6b:1d/4c+3f=8a@7e~", strings.Repeat("x", 128)} {
		if got := requestID([]string{good}); got != good {
			t.Errorf("%q became %q", good, got)
		}
	}
	seen := make(map[string]bool)
	for _, bad := range [][]string{nil, {""}, {"a b"}, {"a\"b"}, {"é"}, {"<x>"}, {"a", "b"}, {strings.Repeat("x", 129)}, {"a\x00"}} {
		got := requestID(bad)
		if len(got) != 32 || seen[got] {
			t.Errorf("%q became %q", bad, got)
		}
		seen[got] = true
	}
}

func TestSpreadsheetSafe(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "Go": "Go", "a=b": "a=b", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "＝x": "'＝x", "－x": "'－x", "é": "é",
	} {
		if got := spreadsheetSafe(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
