package replay

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"vote/internal/domain"
)

// Files of a conversation's folder.
const (
	statementsFile = "comments.csv"
	answersFile    = "votes.csv"
)

// statement is something a person said, to be agreed with or not.
type statement struct {
	id, author string
	title      string
	cut        bool // the title lost its end
	joined     bool // the title lost line breaks or other control characters
}

// choice is an answer's value: the option's index, or a pass.
type choice int8

const (
	agree choice = iota
	disagree
	pass
)

// answer is one person's answer to a statement.
type answer struct {
	at        int64 // ms
	statement int   // index in conversation.statements
	choice    choice
}

// participant is a person of a conversation with the answers in order of time,
// equal times in the order of the file.
type participant struct {
	id      string
	answers []answer
}

// conversation is a recorded conversation.
type conversation struct {
	name, folder string
	statements   []statement
	people       []participant // in order of their first answer; authors without one last
	answers      int
	outOfOrder   int // lines whose time is before that of the line above
	unknown      int // lines about a statement that is not there, left out
}

// Conversations returns the folders that hold a conversation: each of the
// paths itself, or else its subfolders, by name. A path that holds none is an
// error.
func Conversations(paths []string) ([]string, error) {
	var folders []string
	for _, path := range paths {
		if isConversation(path) {
			folders = append(folders, path)
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		found := false
		for _, e := range entries {
			if sub := filepath.Join(path, e.Name()); e.IsDir() && isConversation(sub) {
				folders, found = append(folders, sub), true
			}
		}
		if !found {
			return nil, fmt.Errorf("%s holds no conversation (%s and %s)", path, statementsFile, answersFile)
		}
	}
	return folders, nil
}

func isConversation(folder string) bool {
	for _, name := range []string{statementsFile, answersFile} {
		if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.IsDir() {
			return false
		}
	}
	return true
}

// readConversation reads the files of a folder. With answers above 0 only the
// first so many are kept, in order of time; with people above 0 then only
// those of the first so many people to answer.
func readConversation(folder string, people, answers int) (conversation, error) {
	name, err := filepath.Abs(folder)
	if err != nil {
		return conversation{}, err
	}
	c := conversation{name: filepath.Base(name), folder: folder}
	index := make(map[string]int)
	err = readTable(filepath.Join(folder, statementsFile), []string{"comment-id", "author-id", "comment-body"}, func(row []string) error {
		s := statement{id: row[0], author: row[1]}
		s.title, s.cut, s.joined = titleOf(row[2])
		switch _, twice := index[s.id]; {
		case twice:
			return fmt.Errorf("statement %s is there twice", s.id)
		case s.title == "":
			return fmt.Errorf("statement %s has no text", s.id)
		}
		index[s.id] = len(c.statements)
		c.statements = append(c.statements, s)
		return nil
	})
	if err != nil {
		return conversation{}, err
	}
	if len(c.statements) == 0 {
		return conversation{}, fmt.Errorf("%s: no statements", folder)
	}

	type line struct {
		person string
		answer
	}
	var lines []line
	last := int64(0)
	err = readTable(filepath.Join(folder, answersFile), []string{"timestamp", "comment-id", "voter-id", "vote"}, func(row []string) error {
		at, err := strconv.ParseInt(row[0], 10, 64)
		if err != nil {
			return fmt.Errorf("timestamp %q is not a number", row[0])
		}
		if at < last {
			c.outOfOrder++
		}
		last = at
		what, known := map[string]choice{"1": agree, "-1": disagree, "0": pass}[row[3]]
		if !known {
			return fmt.Errorf("vote %q is none of 1, -1, 0", row[3])
		}
		i, known := index[row[1]]
		if !known {
			c.unknown++
			return nil
		}
		lines = append(lines, line{row[2], answer{at, i, what}})
		return nil
	})
	if err != nil {
		return conversation{}, err
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	if answers > 0 && len(lines) > answers {
		lines = lines[:answers]
	}
	place := make(map[string]int)
	for _, l := range lines {
		i, known := place[l.person]
		if !known {
			if people > 0 && len(c.people) == people {
				continue
			}
			i = len(c.people)
			place[l.person] = i
			c.people = append(c.people, participant{id: l.person})
		}
		c.people[i].answers = append(c.people[i].answers, l.answer)
		c.answers++
	}
	for _, s := range c.statements {
		if _, known := place[s.author]; !known {
			place[s.author] = len(c.people)
			c.people = append(c.people, participant{id: s.author})
		}
	}
	return c, nil
}

// readTable calls visit with the named columns of every record of a CSV file.
func readTable(path string, columns []string, visit func([]string) error) (err error) {
	f, err := os.Open(path) //nolint:gosec // the file that the operator named
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r := csv.NewReader(f)
	r.ReuseRecord = true
	head, err := r.Read()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	at := make([]int, len(columns))
	for i, name := range columns {
		if at[i] = slices.Index(head, name); at[i] < 0 {
			return fmt.Errorf("%s: no column %s", path, name)
		}
	}
	row := make([]string, len(columns))
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for i := range at {
			row[i] = record[at[i]]
		}
		if err := visit(row); err != nil {
			line, _ := r.FieldPos(0)
			return fmt.Errorf("%s: line %d: %w", path, line, err)
		}
	}
}

// titleOf makes a poll's title of a statement: what a title may not hold
// becomes a space, and what is beyond its length is cut.
func titleOf(body string) (title string, cut, joined bool) {
	broken := func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }
	body = strings.ToValidUTF8(body, " ")
	joined = strings.ContainsFunc(body, broken)
	title = strings.TrimSpace(strings.Join(strings.FieldsFunc(body, broken), " "))
	if utf8.RuneCountInString(title) > domain.MaxTitle {
		title = strings.TrimSpace(string([]rune(title)[:domain.MaxTitle-1])) + "…"
		cut = true
	}
	return title, cut, joined
}

// tagOf makes a tag of a conversation's name.
func tagOf(name string) string {
	tag := []rune(strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' {
			return unicode.ToLower(r)
		}
		return '-'
	}, name))
	folded, fault := domain.NormalizeTag(string(tag[:min(len(tag), domain.MaxTag)]))
	if fault != "" {
		return "conversation" // a name without a letter or a digit
	}
	return folded
}
