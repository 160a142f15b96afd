package replay

import (
	"cmp"
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"vote/internal/domain"
)

// table reads a CSV file as a whole, each record by the names of its columns.
func table(text string, columns ...string) (rows []map[string]string, ok bool) {
	all, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(all) == 0 {
		return nil, false
	}
	for _, name := range columns {
		if !slices.Contains(all[0], name) {
			return nil, false
		}
	}
	for _, record := range all[1:] {
		row := make(map[string]string)
		for i, field := range slices.Backward(record) { // of columns with one name the first counts
			row[all[0][i]] = field
		}
		rows = append(rows, row)
	}
	return rows, true
}

// tallyFiles counts a conversation from its files the long way round: how often each
// statement was answered how, and by how many people.
func tallyFiles(statements, answers string) (counts map[string][3]int, people int, ok bool) {
	said, ok1 := table(statements, "comment-id", "author-id", "comment-body")
	given, ok2 := table(answers, "timestamp", "comment-id", "voter-id", "vote")
	if !ok1 || !ok2 || len(said) == 0 {
		return nil, 0, false
	}
	counts = make(map[string][3]int)
	persons := make(map[string]bool)
	for _, s := range said {
		_, twice := counts[s["comment-id"]]
		blank := strings.TrimFunc(s["comment-body"], func(r rune) bool {
			return unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError
		}) == ""
		if twice || blank && utf8.ValidString(s["comment-body"]) {
			return nil, 0, false
		}
		counts[s["comment-id"]] = [3]int{}
		persons[s["author-id"]] = true
	}
	for _, a := range given {
		if _, err := strconv.ParseInt(a["timestamp"], 10, 64); err != nil {
			return nil, 0, false
		}
		at := slices.Index([]string{"1", "-1", "0"}, a["vote"])
		if at < 0 {
			return nil, 0, false
		}
		if n, known := counts[a["comment-id"]]; known {
			n[at]++
			counts[a["comment-id"]] = n
			persons[a["voter-id"]] = true
		}
	}
	return counts, len(persons), true
}

// FuzzConversation reads any two files as a conversation and holds what comes
// out to a tally of the same files.
func FuzzConversation(f *testing.F) {
	for _, name := range []string{statementsFile, answersFile} {
		if _, err := os.Stat(filepath.Join(sample, name)); err != nil {
			f.Fatal(err)
		}
	}
	statements, err := os.ReadFile(filepath.Join(sample, statementsFile))
	if err != nil {
		f.Fatal(err)
	}
	answers, err := os.ReadFile(filepath.Join(sample, answersFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(statements), string(answers))
	f.Add("comment-id,author-id,comment-body\n1,1,a\n", "timestamp,comment-id,voter-id,vote\n5,1,2,1\n4,1,2,-1\n")
	f.Add("comment-id,author-id,comment-body\n1,1,\"\xff\"\n", "timestamp,comment-id,voter-id,vote,vote\n5,9,2,0,1\n")
	f.Fuzz(func(t *testing.T, statements, answers string) {
		folder := t.TempDir()
		for name, text := range map[string]string{statementsFile: statements, answersFile: answers} {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, err := readConversation(folder, 0, 0)
		want, people, ok := tallyFiles(statements, answers)
		if err == nil && !ok {
			t.Fatal("read what cannot be tallied")
		}
		if err != nil {
			// Text that is not UTF-8 may turn out to be blank.
			if ok && utf8.ValidString(statements) {
				t.Fatalf("refused what can be tallied: %v", err)
			}
			return
		}
		got := make(map[string][3]int)
		for _, s := range c.statements {
			got[s.id] = [3]int{}
			if n := utf8.RuneCountInString(s.title); n < 1 || n > domain.MaxTitle || strings.ContainsFunc(s.title, unicode.IsControl) {
				t.Errorf("a title of %d characters: %q", n, s.title)
			}
		}
		total := 0
		for _, p := range c.people {
			if !slices.IsSortedFunc(p.answers, func(a, b answer) int { return cmp.Compare(a.at, b.at) }) {
				t.Errorf("answers of %q are not in order of time", p.id)
			}
			for _, a := range p.answers {
				n := got[c.statements[a.statement].id]
				n[a.choice]++
				got[c.statements[a.statement].id] = n
				total++
			}
		}
		if len(got) != len(want) || len(c.people) != people || total != c.answers {
			t.Fatalf("%d statements, %d people, %d answers; want %d, %d, %d", len(got), len(c.people), total, len(want), people, c.answers)
		}
		for id, n := range want {
			if got[id] != n {
				t.Errorf("statement %q: %v, want %v", id, got[id], n)
			}
		}
	})
}
