package feed

import (
	"testing"

	"pgregory.net/rapid"

	"vote/internal/domain"
)

func TestSeenValueRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var set wordSet
		set.addAll(rapid.SliceOfN(anyPosition(), 0, 300).Draw(t, "members"))
		version := rapid.Int64Range(0, 1<<62).Draw(t, "version")
		id := domain.PollID(rapid.Int64Range(0, domain.MaxID-1).Draw(t, "id"))
		b := encodeSeen(&set, version, id)
		got, gotVersion, gotID, err := decodeSeen(b)
		if err != nil || gotVersion != version || gotID != id {
			t.Fatalf("version %d, id %d, %v", gotVersion, gotID, err)
		}
		want := naiveSet{}
		for _, w := range set.words {
			i, _ := set.find(w)
			for bit := range 64 {
				if set.masks[i]>>bit&1 == 1 {
					want[position(w, bit)] = true
				}
			}
		}
		checkWords(t, &got, want)
		// A changed byte is noticed.
		i := rapid.IntRange(0, len(b)-1).Draw(t, "byte")
		b[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "change"))
		if _, _, _, err := decodeSeen(b); err == nil {
			t.Fatal("accepted a changed value")
		}
	})
}

func FuzzDecodeSeen(f *testing.F) {
	var set wordSet
	set.addAll([]domain.Position{1, 2, 3, 64, 1000, 1 << 31})
	f.Add(encodeSeen(&set, 6, 1<<40))
	f.Add(encodeSeen(&wordSet{}, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		set, version, id, err := decodeSeen(b)
		if err != nil {
			return
		}
		again, v, i, err := decodeSeen(encodeSeen(&set, version, id))
		if err != nil || v != version || i != id {
			t.Fatalf("%v, %d %d", err, v, i)
		}
		members := naiveSet{}
		for at, w := range set.words {
			if at > 0 && w <= set.words[at-1] {
				t.Fatalf("words %v do not ascend", set.words)
			}
			for bit := range 64 {
				if set.masks[at]>>bit&1 == 1 {
					members[position(w, bit)] = true
				}
			}
		}
		checkWords(t, &again, members)
	})
}

func TestCursorRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := cursor{page: rapid.IntRange(2, maxPage-1).Draw(t, "page")}
		other := SortHot
		if rapid.Bool().Draw(t, "hot") {
			c.sort, other = SortHot, SortNew
			c.ranking = rapid.Int64Range(1, 1<<62).Draw(t, "ranking")
			c.rank = rapid.IntRange(0, 1<<31).Draw(t, "rank")
		} else {
			c.below = domain.Position(rapid.Uint32Range(1, 1<<32-1).Draw(t, "below"))
		}
		s := string(c.append(nil))
		got, err := parseCursor(s, c.sort)
		if err != nil || got != c {
			t.Fatalf("%q: %+v, %v; want %+v", s, got, err, c)
		}
		if _, err := parseCursor(s, other); domain.CodeOf(err) != domain.CodeInvalidCursor {
			t.Fatalf("accepted by the other order: %v", err)
		}
		if _, err := parseCursor(s+"A", c.sort); domain.CodeOf(err) != domain.CodeInvalidCursor {
			t.Fatalf("accepted with something behind it: %v", err)
		}
	})
}

func FuzzParseCursor(f *testing.F) {
	f.Add(string(cursor{page: 2, below: 7}.append(nil)), false)
	f.Add(string(cursor{sort: SortHot, page: 9, ranking: 3, rank: 40}.append(nil)), true)
	f.Add("", false)
	f.Add("AAAA", true)
	f.Fuzz(func(t *testing.T, s string, hot bool) {
		sort := SortNew
		if hot {
			sort = SortHot
		}
		c, err := parseCursor(s, sort)
		if err != nil {
			if domain.CodeOf(err) != domain.CodeInvalidCursor {
				t.Fatal(err)
			}
			return
		}
		if again := string(c.append(nil)); again != s {
			t.Fatalf("%q is another form of %q", s, again)
		}
	})
}
