package replay

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"vote/internal/domain"
)

const sample = "testdata/sample"

func TestReadConversation(t *testing.T) {
	t.Parallel()
	c, err := readConversation(sample, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := []int{len(c.statements), len(c.people), c.answers, c.outOfOrder, c.unknown}
	if want := []int{7, 7, 24, 6, 1}; !cmp.Equal(got, want) || c.name != "sample" {
		t.Errorf("%s: statements, people, answers, out of order, unknown: %v, want %v", c.name, got, want)
	}
	if s := c.statements[1]; s.title != "The fountain should run all night, lamps included." || !s.joined || s.cut {
		t.Errorf("a statement with a line break: %+v", s)
	}
	if s := c.statements[3]; !s.cut || s.joined || utf8.RuneCountInString(s.title) > domain.MaxTitle || !strings.HasSuffix(s.title, "…") {
		t.Errorf("a statement that is too long: %+v", s)
	}
	people := make(map[string][]answer)
	for _, p := range c.people {
		people[p.id] = p.answers
	}
	const begin = 1_700_000_000_000
	want := []answer{{begin + 30_000, 6, agree}, {begin + 40_000, 4, disagree}, {begin + 50_000, 5, agree}, {begin + 60_000, 6, disagree}}
	if diff := cmp.Diff(want, people["4"], cmp.AllowUnexported(answer{})); diff != "" {
		t.Errorf("answers in order of time (-want +got):\n%s", diff)
	}
	if a := people["5"]; len(a) != 2 || a[0].choice != agree || a[1].choice != disagree {
		t.Errorf("answers of one time are not in the order of the file: %v", a)
	}
	if last := c.people[len(c.people)-1]; last.id != "9" || len(last.answers) != 0 {
		t.Errorf("the author without an answer: %+v", last)
	}

	small, err := readConversation(sample, 2, 5)
	if err != nil {
		t.Fatal(err)
	}
	if small.answers != 4 || len(small.people) != 5 || small.people[0].id != "1" || small.people[1].id != "3" {
		t.Errorf("of 5 answers those of 2 people, and 3 more authors: %d, %+v", small.answers, small.people)
	}
}

func TestReadConversationFaults(t *testing.T) {
	t.Parallel()
	const head1, head2 = "comment-id,author-id,comment-body\n", "timestamp,comment-id,voter-id,vote\n"
	for _, c := range []struct{ name, statements, answers, want string }{
		{"no column", "comment-id,comment-body\n1,x\n", head2, "no column author-id"},
		{"empty file", "", head2, "EOF"},
		{"no statements", head1, head2, "no statements"},
		{"twice", head1 + "1,1,a\n1,1,b\n", head2, "line 3: statement 1 is there twice"},
		{"no text", head1 + "1,1,\" \n\"\n", head2, "statement 1 has no text"},
		{"a time that is none", head1 + "1,1,a\n", head2 + "now,1,1,1\n", `line 2: timestamp "now"`},
		{"a vote that is none", head1 + "1,1,a\n", head2 + "1,1,1,2\n", `line 2: vote "2"`},
		{"a short line", head1 + "1,1,a\n", head2 + "1,1,1\n", "wrong number of fields"},
		{"a quote", head1 + "1,1,\"a\n", head2, `extraneous or missing`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			for name, text := range map[string]string{statementsFile: c.statements, answersFile: c.answers} {
				if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := readConversation(folder, 0, 0); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestConversations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path string
		want []string
	}{
		{sample, []string{sample}}, {"testdata", []string{sample}}, {".", nil}, {"doc.go", nil}, {"nowhere", nil},
	} {
		got, err := Conversations([]string{c.path})
		if !cmp.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%s: %v, %v; want %v", c.path, got, err, c.want)
		}
	}
}

func TestTitlesAndTags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body, title string
		joined      bool
	}{
		{"plain", "plain", false},
		{"  padded ", "padded", false},
		{"  padded\n", "padded", true},
		{"two\r\n\r\nlines", "two lines", true},
		{"a\u2028b\tc", "a b c", true},
		{"bad\xffbyte", "bad byte", false},
	} {
		if title, cut, joined := titleOf(c.body); title != c.title || cut || joined != c.joined {
			t.Errorf("%q: %q, cut %t, joined %t", c.body, title, cut, joined)
		}
	}
	for name, want := range map[string]string{
		"vtaiwan.uberx": "vtaiwan-uberx", "Canadian Electoral (2016)": "canadian-electoral--2016-", "公園": "公園", "...": "conversation",
		strings.Repeat("x", 60): strings.Repeat("x", 50),
	} {
		if got := tagOf(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestSources(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		spec, servers string
		n             int // -1: an error
	}{
		{"none", "http://localhost:8080", 0},
		{"auto", "http://localhost:8080", 254 + 1}, // the last address is as good as any on loopback
		{"auto", "http://127.0.0.1", 255},
		{"auto", "http://localhost:8081,http://127.0.0.1:8082", 255},
		{"auto", "http://localhost:8081,http://192.0.2.1", 0},
		{"auto", "https://vote.example.org", 0},
		{"auto", "http://[::1]:8080", 0},
		{"auto", "http://192.0.2.1", 0},
		{"127.0.2.0/30", "http://192.0.2.1", 3},
		{"127.0.0.0/8", "http://localhost", maxSources},
		{"127.0.2.1/32", "", -1},
		{"many", "", -1},
	} {
		got, err := Sources(c.spec, strings.Split(c.servers, ","))
		if c.n < 0 && err == nil || c.n >= 0 && (err != nil || len(got) != c.n) {
			t.Errorf("%s to %s: %d addresses, %v; want %d", c.spec, c.servers, len(got), err, c.n)
		}
	}
}
