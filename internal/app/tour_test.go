package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const tour = "../../docs/api.md"

// stop is one block of shell of the tour and the answers shown under it.
type stop struct {
	line  int // of the block in the document
	shell string
	shown []string // each "STATUS JSON", or a line of plain text
}

// stops reads the blocks of the document: a block of json belongs to the block
// of sh before it.
func stops(t *testing.T, text string) []stop {
	t.Helper()
	var all []stop
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		kind, found := strings.CutPrefix(lines[i], "```")
		if !found {
			continue
		}
		from := i + 1
		for i++; i < len(lines) && lines[i] != "```"; i++ {
		}
		block := strings.Join(lines[from:i], "\n")
		switch kind {
		case "sh":
			all = append(all, stop{line: from + 1, shell: block})
		case "json":
			if len(all) == 0 || all[len(all)-1].shown != nil {
				t.Fatalf("line %d: answers without a call", from)
			}
			all[len(all)-1].shown = shownAnswers(block)
		default:
			t.Fatalf("line %d: a block of %q", from, kind)
		}
	}
	return all
}

// shownAnswers splits a block into answers: a line that begins with a status or
// at the margin begins one, other lines go on with it.
func shownAnswers(block string) []string {
	var all []string
	for line := range strings.Lines(block) {
		line = strings.TrimRight(line, "\n")
		if len(all) > 0 && (strings.HasPrefix(line, " ") || line == "}" || line == "]") {
			all[len(all)-1] += " " + strings.TrimSpace(line)
			continue
		}
		all = append(all, line)
	}
	return all
}

var statusLine = regexp.MustCompile(`^[1-5][0-9][0-9]$`)

// printed turns what the shell printed into answers of the form that is shown:
// the helper of the tour prints a body and its status below.
func printed(out string) []string {
	var all []string
	body := ""
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		switch {
		case statusLine.MatchString(line):
			all = append(all, strings.TrimSpace(line+" "+body))
			body = ""
		default:
			if body != "" {
				all = append(all, body)
			}
			body = line // empty before the status of an answer without a body
		}
	}
	if body != "" {
		all = append(all, body)
	}
	return all
}

// differsFromShown says what an answer has that the document does not show, or
// the other way round; empty when nothing. The text … stands for any value, a
// member … for any others.
func differsFromShown(path string, shown, got any) string {
	if shown == "…" {
		return ""
	}
	switch shown := shown.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s is %v, shown is an object", path, got)
		}
		_, others := shown["…"]
		for name := range object {
			if _, ok := shown[name]; !ok && !others {
				return fmt.Sprintf("%s.%s is not shown", path, name)
			}
		}
		for name, want := range shown {
			if name == "…" {
				continue
			}
			value, ok := object[name]
			if !ok {
				return fmt.Sprintf("%s.%s is shown and not there", path, name)
			}
			if fault := differsFromShown(path+"."+name, want, value); fault != "" {
				return fault
			}
		}
		return ""
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(shown) {
			return fmt.Sprintf("%s is %v, shown are %d entries", path, got, len(shown))
		}
		for i := range shown {
			if fault := differsFromShown(fmt.Sprintf("%s[%d]", path, i), shown[i], list[i]); fault != "" {
				return fault
			}
		}
		return ""
	}
	if shown != got {
		return fmt.Sprintf("%s is %v, shown is %v", path, got, shown)
	}
	return ""
}

// compare holds one printed answer to the one that is shown.
func compare(shown, got string) string {
	status, body, _ := strings.Cut(shown, " ")
	gotStatus, gotBody, _ := strings.Cut(got, " ")
	if !statusLine.MatchString(status) || body == "" {
		if shown != got {
			return fmt.Sprintf("%q is not %q", got, shown)
		}
		return ""
	}
	if status != gotStatus {
		return fmt.Sprintf("%s, shown is %s", got, status)
	}
	var want, have any
	if err := json.Unmarshal([]byte(body), &want); err != nil {
		return fmt.Sprintf("what is shown is no JSON: %v in %s", err, body)
	}
	if err := json.Unmarshal([]byte(gotBody), &have); err != nil {
		return fmt.Sprintf("what was answered is no JSON: %v in %s", err, gotBody)
	}
	return differsFromShown("", want, have)
}

// TestTour takes the tour on the embedded engines.
func TestTour(t *testing.T) {
	t.Parallel()
	a, _ := running(t, load(t, "STORAGE_PATH="+filepath.Join(t.TempDir(), "vote.db")))
	takeTour(t, a.URL())
}

// takeTour runs docs/api.md from its beginning to its end in one shell, on the
// server at the URL, which has nobody's data and the default limits.
func takeTour(t *testing.T, server string) {
	t.Helper()
	text, err := os.ReadFile(tour)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	all := stops(t, string(text))
	var script strings.Builder
	script.WriteString("set -euo pipefail\n")
	for i, s := range all {
		shell := strings.ReplaceAll(s.shell, "http://localhost:8080", server)
		fmt.Fprintf(&script, "%s\necho '=== %d'\n", shell, i)
	}
	shell := exec.CommandContext(ctx, "bash")
	shell.Stdin = strings.NewReader(script.String())
	shell.Stderr = os.Stderr
	out, err := shell.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	answers := 0
	rest := string(out)
	for i, s := range all {
		var part string
		part, rest, _ = strings.Cut(rest, fmt.Sprintf("=== %d\n", i))
		got := printed(part)
		if len(got) != len(s.shown) {
			t.Errorf("line %d: %d answers, %d are shown:\n%s", s.line, len(got), len(s.shown), strings.Join(got, "\n"))
			continue
		}
		for j, shown := range s.shown {
			answers++
			if fault := compare(shown, got[j]); fault != "" {
				t.Errorf("line %d, answer %d: %s\n%s", s.line, j+1, fault, got[j])
			}
		}
	}
	if answers < 20 {
		t.Errorf("only %d answers were compared", answers)
	}
}

// TestTourShowsEveryCall holds the tour to the OpenAPI document: each call of
// the API is made somewhere in it.
func TestTourShowsEveryCall(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(tour)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := running(t, load(t, "STORAGE_PATH="+filepath.Join(t.TempDir(), "vote.db")))
	_, raw := fetch(t, a.URL()+"/openapi.json")
	var document struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal([]byte(raw), &document); err != nil {
		t.Fatal(err)
	}
	var made []string
	for _, s := range stops(t, string(text)) {
		lines := bufio.NewScanner(strings.NewReader(s.shell))
		for lines.Scan() {
			made = append(made, lines.Text())
		}
	}
	calls := 0
	for path, methods := range document.Paths {
		if !strings.HasPrefix(path, "/api/") {
			continue // pages and operators' calls are told of in words
		}
		form := regexp.MustCompile(`[ "']` + regexp.MustCompile(`\\\{[^/]*\\\}`).ReplaceAllString(regexp.QuoteMeta(path), `[^/ "'?]+`) + `([ "'?]|$)`)
		for method := range methods {
			calls++
			if !slices.ContainsFunc(made, func(line string) bool {
				return strings.Contains(line, "call "+strings.ToUpper(method)+" ") && form.MatchString(line)
			}) {
				t.Errorf("%s %s is not in the tour", strings.ToUpper(method), path)
			}
		}
	}
	if calls < 10 {
		t.Errorf("only %d calls in the OpenAPI document", calls)
	}
}

// The comparison must be able to fail.
func TestTourComparisonCatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		shown, got string
		same       bool
	}{
		{`200 {"a": 1, "b": "…"}`, `200 {"a":1,"b":[2]}`, true},
		{`200 {"a": 1, "…": "…"}`, `200 {"a":1,"b":[2]}`, true},
		{`204`, `204`, true},
		{`a,b`, `a,b`, true},
		{`204`, `200 {}`, false},
		{`a,b`, `a,c`, false},
		{`200 {"a": 1}`, `201 {"a":1}`, false},
		{`200 {"a": 1}`, `200 {"a":2}`, false},
		{`200 {"a": 1}`, `200 {"a":1,"b":2}`, false},
		{`200 {"a": 1, "…": "…"}`, `200 {"b":1}`, false},
		{`200 {"a": [1, "…"]}`, `200 {"a":[1]}`, false},
		{`200 {"a": 1}`, `200 nothing`, false},
		{`200 {"a": }`, `200 {"a":1}`, false},
	} {
		if fault := compare(c.shown, c.got); (fault == "") != c.same {
			t.Errorf("%s against %s: %q", c.got, c.shown, fault)
		}
	}
	out := "{\"a\":1}\n200\n\n304\nplain\n\n204\n"
	want := []string{`200 {"a":1}`, "304", "plain", "204"}
	if got := printed(out); !slices.Equal(got, want) {
		t.Errorf("printed: %q", got)
	}
	if n := strconv.Itoa(len(shownAnswers("200 {\n  \"a\": 1\n}\n204"))); n != "2" {
		t.Errorf("%s answers shown, want 2", n)
	}
}
