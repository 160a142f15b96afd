package replay

import (
	"bytes"
	"fmt"
	"os"
	"sort"
)

// tally is what the rules of the product make of a conversation's answers:
// the first vote of a person on a statement stands, a vote after a pass counts
// beside it, a pass after a vote is refused, and so is a vote beyond the daily
// limit, all votes being of one day.
//
// It is the other side of the comparison, so it is counted from the file alone,
// in the plainest way, by nothing that the replay uses.
type tally struct {
	agree, disagree, pass map[string]int             // by statement
	seen                  map[string]map[string]bool // person -> statements voted or passed
	voted, passed         map[string]int             // person -> how often that counted

	votes, passes    int // counted
	passedAgain      int // accepted, and nothing counted
	votedBefore      int // refused, vote or pass
	overLimit        int // refused
	peopleOverLimit  int
	statementsOfNone int // lines about no known statement, left out
}

// count reads a file of answers. A limit of 0 is none. answers and people bound
// what is counted as they do for a replay.
func count(path string, known map[string]bool, limit, people, answers int) (*tally, error) {
	file, err := os.ReadFile(path) //nolint:gosec // the file that the operator named
	if err != nil {
		return nil, err
	}
	type row struct{ time, statement, person, vote string }
	var rows []row
	var column map[string]int
	for n, line := range bytes.Split(file, []byte("\n")) {
		cells := bytes.Split(bytes.TrimSuffix(line, []byte("\r")), []byte(","))
		if column == nil {
			column = map[string]int{}
			for i, c := range cells {
				column[string(c)] = i
			}
			continue
		}
		if len(line) == 0 {
			continue
		}
		if len(cells) != len(column) {
			return nil, fmt.Errorf("%s: line %d has %d cells, not %d", path, n+1, len(cells), len(column))
		}
		cell := func(name string) string { return string(cells[column[name]]) }
		rows = append(rows, row{cell("timestamp"), cell("comment-id"), cell("voter-id"), cell("vote")})
	}
	t := &tally{
		agree: map[string]int{}, disagree: map[string]int{}, pass: map[string]int{},
		seen: map[string]map[string]bool{}, voted: map[string]int{}, passed: map[string]int{},
	}
	kept := rows[:0]
	for _, r := range rows {
		if known[r.statement] {
			kept = append(kept, r)
		} else {
			t.statementsOfNone++
		}
	}
	// Times are digits: the longer is the later, and of one length the order
	// of text is that of time.
	sort.SliceStable(kept, func(i, j int) bool {
		a, b := kept[i].time, kept[j].time
		return len(a) < len(b) || len(a) == len(b) && a < b
	})
	if answers > 0 && answers < len(kept) {
		kept = kept[:answers]
	}

	type pair struct{ person, statement string }
	didVote, didPass := map[pair]bool{}, map[pair]bool{}
	over := map[string]bool{}
	for _, r := range kept {
		if t.seen[r.person] == nil {
			if people > 0 && len(t.seen) >= people {
				continue
			}
			t.seen[r.person] = map[string]bool{}
		}
		p := pair{r.person, r.statement}
		if didVote[p] {
			t.votedBefore++
			continue
		}
		if r.vote == "0" {
			if didPass[p] {
				t.passedAgain++
				continue
			}
			didPass[p] = true
			t.seen[r.person][r.statement] = true
			t.pass[r.statement]++
			t.passed[r.person]++
			t.passes++
			continue
		}
		if limit > 0 && t.voted[r.person] == limit {
			t.overLimit++
			over[r.person] = true
			continue
		}
		didVote[p] = true
		t.seen[r.person][r.statement] = true
		t.voted[r.person]++
		t.votes++
		if r.vote == "1" {
			t.agree[r.statement]++
		} else {
			t.disagree[r.statement]++
		}
	}
	t.peopleOverLimit = len(over)
	return t, nil
}
