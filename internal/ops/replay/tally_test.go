package replay

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The sample's results, counted by hand.
func TestTallyOfSample(t *testing.T) {
	t.Parallel()
	known := map[string]bool{"0": true, "1": true, "2": true, "3": true, "4": true, "5": true, "6": true}
	type sums struct{ Votes, Passes, Again, Before, Over, PeopleOver, Unknown int }
	for _, c := range []struct {
		limit, people, answers int
		want                   sums
		agree                  map[string]int
	}{
		{0, 0, 0, sums{14, 4, 1, 5, 0, 0, 1}, map[string]int{"0": 3, "1": 2, "3": 1, "4": 1, "5": 1, "6": 2}},
		{4, 0, 0, sums{11, 4, 1, 5, 3, 1, 1}, map[string]int{"0": 3, "1": 2, "3": 1, "5": 1, "6": 1}},
		// Over the limit, a vote on what was voted before is still refused as that.
		{2, 0, 0, sums{8, 4, 1, 5, 6, 2, 1}, map[string]int{"0": 3, "1": 2, "6": 1}},
		{0, 2, 5, sums{4, 0, 0, 0, 0, 0, 1}, map[string]int{"0": 2, "1": 1}},
	} {
		got, err := count(filepath.Join(sample, answersFile), known, c.limit, c.people, c.answers)
		if err != nil {
			t.Fatal(err)
		}
		sum := sums{got.votes, got.passes, got.passedAgain, got.votedBefore, got.overLimit, got.peopleOverLimit, got.statementsOfNone}
		if diff := cmp.Diff(c.want, sum); diff != "" {
			t.Errorf("limit %d, %d people, %d answers (-want +got):\n%s", c.limit, c.people, c.answers, diff)
		}
		if diff := cmp.Diff(c.agree, got.agree); diff != "" {
			t.Errorf("limit %d: agreed (-want +got):\n%s", c.limit, diff)
		}
	}
	got, err := count(filepath.Join(sample, answersFile), known, 4, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]map[string]bool{
		"1": {"0": true, "1": true, "2": true, "3": true}, "2": {"0": true, "1": true, "2": true}, "3": {"0": true, "3": true},
		"4": {"4": true, "5": true, "6": true}, "5": {"1": true}, "6": {"5": true},
	}
	if diff := cmp.Diff(seen, got.seen); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
}

func TestTallyFaults(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), answersFile)
	if err := os.WriteFile(path, []byte("timestamp,comment-id,voter-id,vote\n1,2,3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := count(path, nil, 0, 0, 0); err == nil {
		t.Error("a short line was counted")
	}
	if _, err := count(path+".gone", nil, 0, 0, 0); err == nil {
		t.Error("a missing file was counted")
	}
}
