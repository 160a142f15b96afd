package domain_test

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"vote/internal/domain"
)

// newPoll returns valid content that a case then spoils.
func newPoll(change func(*domain.NewPoll)) domain.NewPoll {
	p := domain.NewPoll{Author: 1, Title: "Tea or coffee?", Options: []string{"Tea", "Coffee"}, Tags: []string{"drinks"}}
	if change != nil {
		change(&p)
	}
	return p
}

func numbered(n int, format string) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(format, i)
	}
	return list
}

func fields(faults []domain.FieldError) []string {
	names := []string{}
	for _, f := range faults {
		names = append(names, f.Field)
	}
	return names
}

func TestNormalizePollFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*domain.NewPoll)
		faults []string
	}{
		{"valid", nil, nil},
		{"title of 1", func(p *domain.NewPoll) { p.Title = "?" }, nil},
		{"title of 300", func(p *domain.NewPoll) { p.Title = strings.Repeat("é", 300) }, nil},
		{"title of 301", func(p *domain.NewPoll) { p.Title = strings.Repeat("é", 301) }, []string{"title"}},
		{"title of 300 after trimming", func(p *domain.NewPoll) { p.Title = " " + strings.Repeat("a", 300) + "\n" }, nil},
		{"title of 300 after composition", func(p *domain.NewPoll) { p.Title = strings.Repeat("e\u0301", 300) }, nil},
		{"title of 300 outside the basic plane", func(p *domain.NewPoll) { p.Title = strings.Repeat("🍵", 300) }, nil},
		{"no title", func(p *domain.NewPoll) { p.Title = "" }, []string{"title"}},
		{"blank title", func(p *domain.NewPoll) { p.Title = " \t\u00a0\u2003\u3000 " }, []string{"title"}},
		{"title of invisible characters", func(p *domain.NewPoll) { p.Title = "\u200b\u200d\u2060" }, []string{"title"}},
		{"title of a lone mark", func(p *domain.NewPoll) { p.Title = "\u0301" }, []string{"title"}},
		{"NUL in title", func(p *domain.NewPoll) { p.Title = "a\x00b" }, []string{"title"}},
		{"line break in title", func(p *domain.NewPoll) { p.Title = "a\nb" }, []string{"title"}},
		{"C1 control in title", func(p *domain.NewPoll) { p.Title = "a\u009fb" }, []string{"title"}},
		{"line separator in title", func(p *domain.NewPoll) { p.Title = "a\u2028b" }, []string{"title"}},
		{"paragraph separator in title", func(p *domain.NewPoll) { p.Title = "a\u2029b" }, []string{"title"}},
		{"non-character in title", func(p *domain.NewPoll) { p.Title = "a\ufdd0b" }, []string{"title"}},
		{"non-character of another plane", func(p *domain.NewPoll) { p.Title = "a\U0010ffffb" }, []string{"title"}},
		{"invalid UTF-8 in title", func(p *domain.NewPoll) { p.Title = "a\xffb" }, []string{"title"}},
		{"half a surrogate in title", func(p *domain.NewPoll) { p.Title = "a\xed\xa0\x80b" }, []string{"title"}},
		{"joined emoji in title", func(p *domain.NewPoll) { p.Title = "👩\u200d👩\u200d👧 or 🏳\ufe0f\u200d🌈?" }, nil},
		{"right-to-left title", func(p *domain.NewPoll) { p.Title = "شاي أم قهوة؟" }, nil},
		{"title is only punctuation", func(p *domain.NewPoll) { p.Title = "?!" }, nil},

		{"no options", func(p *domain.NewPoll) { p.Options = nil }, []string{"options"}},
		{"1 option", func(p *domain.NewPoll) { p.Options = []string{"a"} }, []string{"options"}},
		{"20 options", func(p *domain.NewPoll) { p.Options = numbered(20, "o%d") }, nil},
		{"21 options", func(p *domain.NewPoll) { p.Options = numbered(21, "o%d") }, []string{"options"}},
		{"option of 200", func(p *domain.NewPoll) { p.Options[1] = strings.Repeat("茶", 200) }, nil},
		{"option of 201", func(p *domain.NewPoll) { p.Options[1] = strings.Repeat("茶", 201) }, []string{"options[1]"}},
		{"empty option", func(p *domain.NewPoll) { p.Options[0] = "" }, []string{"options[0]"}},
		{"two empty options", func(p *domain.NewPoll) { p.Options = []string{"", " "} }, []string{"options[0]", "options[1]"}},
		{"the same option twice", func(p *domain.NewPoll) { p.Options = []string{"a", "b", "a"} }, []string{"options[2]"}},
		{"the same after trimming", func(p *domain.NewPoll) { p.Options = []string{"a", " a\t"} }, []string{"options[1]"}},
		{"the same after composition", func(p *domain.NewPoll) { p.Options = []string{"é", "e\u0301"} }, []string{"options[1]"}},
		{"different by case", func(p *domain.NewPoll) { p.Options = []string{"a", "A"} }, nil},
		{"different by width", func(p *domain.NewPoll) { p.Options = []string{"a", "ａ"} }, nil},
		{"bad ones among good ones", func(p *domain.NewPoll) { p.Options = []string{"a", "\x07", "b", "b"} }, []string{"options[1]", "options[3]"}},

		{"no tags", func(p *domain.NewPoll) { p.Tags = nil }, []string{"tags"}},
		{"10 tags", func(p *domain.NewPoll) { p.Tags = numbered(10, "t%d") }, nil},
		{"11 tags", func(p *domain.NewPoll) { p.Tags = numbered(11, "t%d") }, []string{"tags"}},
		{"11 tags of which 2 are the same", func(p *domain.NewPoll) { p.Tags = append(numbered(10, "t%d"), "T3") }, nil},
		{"far too many tags", func(p *domain.NewPoll) { p.Tags = slices.Repeat([]string{"t"}, 21) }, []string{"tags"}},
		{"tag of 50", func(p *domain.NewPoll) { p.Tags = []string{strings.Repeat("ä", 50)} }, nil},
		{"tag of 51", func(p *domain.NewPoll) { p.Tags = []string{strings.Repeat("ä", 51)} }, []string{"tags[0]"}},
		{"empty tag", func(p *domain.NewPoll) { p.Tags = []string{"ok", ""} }, []string{"tags[1]"}},
		{"tag of two words", func(p *domain.NewPoll) { p.Tags = []string{"two words"} }, []string{"tags[0]"}},
		{"tag without a letter", func(p *domain.NewPoll) { p.Tags = []string{"-_-"} }, []string{"tags[0]"}},
		{"tag with an emoji", func(p *domain.NewPoll) { p.Tags = []string{"tea🍵"} }, []string{"tags[0]"}},
		{"tag of invalid UTF-8", func(p *domain.NewPoll) { p.Tags = []string{"\xc3"} }, []string{"tags[0]"}},
		{"tags of many scripts", func(p *domain.NewPoll) {
			p.Tags = []string{"naïve", "футбол", "スポーツ", "선거", "चुनाव", "ไทย", "سياسة", "2026", "a-b_c"}
		}, nil},

		{"everything at once", func(p *domain.NewPoll) {
			p.Title, p.Options, p.Tags = "", []string{"a", "", "a"}, []string{"!", "fine", " "}
		}, []string{"title", "options[1]", "options[2]", "tags[0]", "tags[2]"}},
		{"all absent", func(p *domain.NewPoll) { *p = domain.NewPoll{} }, []string{"title", "options", "tags"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			in := newPoll(c.change)
			_, faults := domain.NormalizePoll(in)
			if diff := cmp.Diff(append([]string{}, c.faults...), fields(faults)); diff != "" {
				t.Errorf("fields at fault (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNormalizePollContent(t *testing.T) {
	t.Parallel()
	got, faults := domain.NormalizePoll(domain.NewPoll{
		Author:         7,
		Title:          "\u3000Cafe\u0301  or tea? \n",
		Options:        []string{" Cafe\u0301", "Tea ", "Ⅳ"},
		Tags:           []string{"Drinks", " CAFE\u0301 ", "drinks", "ÇAY", "ΟΔΌΣ"},
		IdempotencyKey: "k", Fingerprint: [32]byte{1},
	})
	want := domain.NewPoll{
		Author: 7, Title: "Café  or tea?", Options: []string{"Café", "Tea", "Ⅳ"},
		Tags: []string{"drinks", "café", "çay", "οδόσ"}, IdempotencyKey: "k", Fingerprint: [32]byte{1},
	}
	if diff := cmp.Diff(want, got); diff != "" || faults != nil {
		t.Errorf("faults %v (-want +got):\n%s", faults, diff)
	}
}

// A rejected value may be a secret pasted into the wrong field: no message may
// repeat it.
func TestMessagesNeverEchoTheValue(t *testing.T) {
	t.Parallel()
	const secret = "hunter2\x00"
	_, faults := domain.NormalizePoll(domain.NewPoll{Title: secret, Options: []string{secret, secret}, Tags: []string{secret}})
	if len(faults) != 4 {
		t.Fatalf("faults: %v", faults)
	}
	messages := []string{}
	for _, f := range faults {
		messages = append(messages, f.Message)
	}
	_, _, m1 := domain.NormalizeUsername(secret)
	_, _, m2 := domain.NormalizeEmail(secret)
	_, m3 := domain.NormalizePassword("hunter2")
	for _, m := range append(messages, m1, m2, m3) {
		if m == "" || strings.Contains(m, "hunter") {
			t.Errorf("message %q", m)
		}
	}
}

// What was accepted and stored is accepted again and does not change, so that
// an export can be imported.
func TestNormalizationIsIdempotent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		in := domain.NewPoll{
			Title:   text.Draw(t, "title"),
			Options: rapid.SliceOfN(text, 0, 22).Draw(t, "options"),
			Tags:    rapid.SliceOfN(text, 0, 22).Draw(t, "tags"),
		}
		once, faults := domain.NormalizePoll(in)
		if faults == nil {
			twice, again := domain.NormalizePoll(once)
			if diff := cmp.Diff(once, twice); diff != "" || again != nil {
				t.Fatalf("poll changed: %v\n%s", again, diff)
			}
		}
		s := text.Draw(t, "text")
		if tag, fault := domain.NormalizeTag(s); fault == "" {
			if again, fault := domain.NormalizeTag(tag); again != tag || fault != "" {
				t.Fatalf("tag %q became %q: %s", tag, again, fault)
			}
			if domain.FoldTagPrefix(s) != tag {
				t.Fatalf("prefix of %q folds to %q, the tag to %q", s, domain.FoldTagPrefix(s), tag)
			}
		}
		if name, key, fault := domain.NormalizeUsername(s); fault == "" {
			again, key2, fault := domain.NormalizeUsername(name)
			if again != name || key2 != key || fault != "" {
				t.Fatalf("username %q (%q) became %q (%q): %s", name, key, again, key2, fault)
			}
		}
		if p, fault := domain.NormalizePassword(s); fault == "" {
			if again, fault := domain.NormalizePassword(p); again != p || fault != "" {
				t.Fatalf("password %q became %q: %s", p, again, fault)
			}
		}
	})
}

func TestNormalizeTag(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, tag string }{
		{"Sports", "sports"},
		{" sports\n", "sports"},
		{"ÉLECTION", "élection"},
		{"E\u0301LECTION", "élection"},
		{"STRASSE", "strasse"},
		{"Straße", "straße"},
		{"a", "a"},
		{"_a-", "_a-"},
		{"०१२", "०१२"},
		{"हिन्दी", "हिन्दी"},
	} {
		if tag, fault := domain.NormalizeTag(c.in); tag != c.tag || fault != "" {
			t.Errorf("%q: %q, %q", c.in, tag, fault)
		}
	}
	for _, bad := range []string{"", " ", "a b", "a.b", "#a", "a/b", "-", "\u0301", "a\u200db", "a\x00", "\xff", strings.Repeat("x", 51)} {
		if tag, fault := domain.NormalizeTag(bad); fault == "" {
			t.Errorf("%q accepted as %q", bad, tag)
		}
	}
}

func TestNormalizeUsername(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, name, key string }{
		{"Ada", "Ada", "ada"},
		{" Ada.L-o_1 ", "Ada.L-o_1", "ada.l-o_1"},
		{"ADA", "ADA", "ada"},
		{"Ａｄａ", "Ａｄａ", "ada"},
		{"ﬁne", "ﬁne", "fine"},
		{"Straße", "Straße", "strasse"},
		{"ΣΊΣΥΦΟΣ", "ΣΊΣΥΦΟΣ", "σίσυφοσ"},
		{"Zoe\u0308", "Zoë", "zoë"},
		{"小林さん", "小林さん", "小林さん"},
		{"abc", "abc", "abc"},
		{strings.Repeat("b", 50), strings.Repeat("b", 50), strings.Repeat("b", 50)},
	} {
		name, key, fault := domain.NormalizeUsername(c.in)
		if name != c.name || key != c.key || fault != "" {
			t.Errorf("%q: %q, %q, %q", c.in, name, key, fault)
		}
	}
	for _, bad := range []string{"", "ab", " ab ", strings.Repeat("b", 51), "a b c", "ada@x", "...", "\u0301\u0301\u0301", "ada\x00", "ada\u202e", "ad\xff", "👍👍👍"} {
		if name, _, fault := domain.NormalizeUsername(bad); fault == "" {
			t.Errorf("%q accepted as %q", bad, name)
		}
	}
}

func TestNormalizeEmail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, address, key string }{
		{"ada@example.org", "ada@example.org", "ada@example.org"},
		{" Ada@Example.ORG\n", "Ada@Example.ORG", "ada@example.org"},
		{"a+b.c_d@sub.example.co", "a+b.c_d@sub.example.co", "a+b.c_d@sub.example.co"},
		{"ÜMIT@bücher.example", "ÜMIT@bücher.example", "ümit@bücher.example"},
		{"u\u0308@example.org", "ü@example.org", "ü@example.org"},
		{strings.Repeat("a", 64) + "@example.org", strings.Repeat("a", 64) + "@example.org", strings.Repeat("a", 64) + "@example.org"},
	} {
		address, key, fault := domain.NormalizeEmail(c.in)
		if address != c.address || key != c.key || fault != "" {
			t.Errorf("%q: %q, %q, %q", c.in, address, key, fault)
		}
	}
	long := strings.Repeat("a", 60) + "@" + strings.Repeat(strings.Repeat("b", 60)+".", 3) + "example.org"
	for _, bad := range []string{
		"", "ada", "@example.org", "ada@", "ada@example", "ada@@example.org", "ada@example..org", "ada@.example.org", "ada@example.org.",
		"ada@-example.org", "ada@example-.org", "ada@exa_mple.org", "ada@exa mple.org", "Ada <ada@example.org>", "<ada@example.org>",
		"ada@example.org (home)", "ada@[127.0.0.1]", "ada@example.org, bob@example.org", "ada\x00@example.org", "ada@example.org\r\nBcc: x@example.org",
		"\"a b\"@example.org", ".ada@example.org", "ada.@example.org", "a\u200bda@example.org", "\xff@example.org",
		strings.Repeat("a", 65) + "@example.org", "ada@" + strings.Repeat("b", 64) + ".org", long,
	} {
		if address, _, fault := domain.NormalizeEmail(bad); fault == "" {
			t.Errorf("%q accepted as %q", bad, address)
		}
	}
	at254 := strings.Repeat("a", 60) + "@" + strings.Repeat(strings.Repeat("b", 60)+".", 3)
	at254 += strings.Repeat("c", 254-len(at254)-4) + ".org"
	if _, _, fault := domain.NormalizeEmail(at254); fault != "" || len(at254) != domain.MaxEmail {
		t.Errorf("an address of %d bytes: %s", len(at254), fault)
	}
	if _, _, fault := domain.NormalizeEmail("x" + at254); fault == "" {
		t.Error("an address of 255 bytes was accepted")
	}
}

func TestNormalizePassword(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"12345678":               "12345678",
		"  spaces  ":             "  spaces  ",
		"pa\u0308sswort":         "pässwort",
		strings.Repeat("é", 128): strings.Repeat("é", 128),
		"密码密码密码密码":               "密码密码密码密码",
	} {
		if got, fault := domain.NormalizePassword(in); got != want || fault != "" {
			t.Errorf("%q: %q, %q", in, got, fault)
		}
	}
	for _, bad := range []string{"", "1234567", strings.Repeat("é", 129), "1234567\xff", "e\u0301e\u0301e\u0301e\u0301"} {
		if _, fault := domain.NormalizePassword(bad); fault == "" {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestParseID(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]int64{"1": 1, "42": 42, "9007199254740991": 9007199254740991} {
		if n, ok := domain.ParseID(s); n != want || !ok {
			t.Errorf("%q: %d, %t", s, n, ok)
		}
	}
	for _, bad := range []string{
		"", "0", "01", "-1", "+1", " 1", "1 ", "1.0", "1e3", "0x10", "1_000", "٣", "１", "NaN", "9007199254740992", "9999999999999999",
		"18446744073709551617", "10000000000000000000000", "1\x00",
	} {
		if n, ok := domain.ParseID(bad); ok {
			t.Errorf("%q read as %d", bad, n)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, domain.MaxID-1).Draw(t, "id")
		if got, ok := domain.ParseID(fmt.Sprint(n)); got != n || !ok {
			t.Fatalf("%d read as %d, %t", n, got, ok)
		}
		s := rapid.StringMatching(`[-+0-9 .ex]{0,18}`).Draw(t, "text")
		if n, ok := domain.ParseID(s); ok && fmt.Sprint(n) != s {
			t.Fatalf("%q read as %d", s, n)
		}
	})
}

func TestPollIDs(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 891_999_999, time.UTC)
	if got, want := domain.PollIDAt(at).Time(), at.Truncate(time.Millisecond); !got.Equal(want) {
		t.Errorf("the time of an id is %v, want %v", got, want)
	}
	if id := domain.PollIDAt(domain.Epoch.Add(time.Millisecond)); id != 1<<domain.PollIDSequenceBits {
		t.Errorf("the first millisecond begins at %d", id)
	}
	if id := domain.PollIDAt(domain.Epoch.AddDate(60, 0, 0)); id >= domain.MaxID {
		t.Errorf("ids leave the exact numbers within 60 years: %d", id)
	}
	// A full millisecond spills into the next instead of repeating an id.
	last := domain.PollIDAt(at) + 1<<domain.PollIDSequenceBits - 1
	if id := domain.NextPollID(last, at); id != last+1 || !id.Time().Equal(at.Truncate(time.Millisecond).Add(time.Millisecond)) {
		t.Errorf("after a full millisecond: %d after %d, at %v", id, last, id.Time())
	}
	rapid.Check(t, func(t *rapid.T) {
		now, last := at, domain.PollID(0)
		for _, step := range rapid.SliceOf(rapid.Int64Range(-5000, 5000)).Draw(t, "steps of the clock in µs") {
			now = now.Add(time.Duration(step) * time.Microsecond)
			id := domain.NextPollID(last, now)
			if id <= last || id < domain.PollIDAt(now) {
				t.Fatalf("id %d after %d at %v", id, last, now)
			}
			last = id
		}
	})
}

func TestPermille(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ votes, want []int64 }{
		{nil, []int64{}},
		{[]int64{0, 0}, []int64{0, 0}},
		{[]int64{1, 0}, []int64{1000, 0}},
		{[]int64{1, 1, 1}, []int64{333, 333, 333}},
		{[]int64{1, 2}, []int64{333, 667}},
		{[]int64{1, 1999}, []int64{1, 1000}}, // 0.5 and 999.5 both round up
		{[]int64{1, 2000}, []int64{0, 1000}},
		{[]int64{1e12, 3e12}, []int64{250, 750}},
	} {
		if diff := cmp.Diff(c.want, domain.Counts{Votes: c.votes}.Permille()); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.votes, diff)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		c := domain.Counts{
			Votes: rapid.SliceOfN(rapid.Int64Range(0, 1e9), 2, 20).Draw(t, "votes"),
			Skips: rapid.Int64Range(0, 1e9).Draw(t, "skips"),
		}
		total, sum := c.TotalVotes(), int64(0)
		for i, share := range c.Permille() {
			if total > 0 && math.Abs(float64(share)-1000*float64(c.Votes[i])/float64(total)) > 0.5001 {
				t.Fatalf("%d of %d is not %d per mille", c.Votes[i], total, share)
			}
			sum += share
		}
		if total > 0 && (sum < 1000-10 || sum > 1000+10) {
			t.Fatalf("the shares add up to %d", sum)
		}
		if c.Version() != total+c.Skips {
			t.Fatalf("version %d of %d votes and %d skips", c.Version(), total, c.Skips)
		}
	})
}

func TestDay(t *testing.T) {
	t.Parallel()
	east := time.FixedZone("", 9*3600)
	for _, c := range []struct {
		at  time.Time
		day string
	}{
		{time.Unix(0, 0), "1970-01-01"},
		{time.Unix(0, -1), "1969-12-31"},
		{time.Unix(-86400, 0), "1969-12-31"},
		{time.Unix(-86401, 0), "1969-12-30"},
		{time.Date(2026, 2, 28, 23, 59, 59, 999_999_999, time.UTC), "2026-02-28"},
		{time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), "2026-03-01"},
		{time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC), "2024-02-29"},
		{time.Date(2026, 3, 1, 8, 59, 59, 0, east), "2026-02-28"}, // the day is UTC, whatever the zone
		{time.Date(2026, 3, 1, 9, 0, 0, 0, east), "2026-03-01"},
	} {
		d := domain.DayOf(c.at)
		if d.String() != c.day {
			t.Errorf("the day of %v is %v, want %s", c.at, d, c.day)
		}
		if start := d.Start(); start.After(c.at) || !c.at.Before((d + 1).Start()) || domain.DayOf(start) != d {
			t.Errorf("%v starts at %v and does not hold %v", d, start, c.at)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk on fire")
	for _, c := range []struct {
		err  error
		text string
		code domain.Code
	}{
		{domain.E(domain.CodeNotFound, ""), "not_found", domain.CodeNotFound},
		{domain.E(domain.CodeNotFound, "No such poll."), "not_found: No such poll.", domain.CodeNotFound},
		{domain.Fault(domain.CodeUnavailable, cause), "unavailable: disk on fire", domain.CodeUnavailable},
		{fmt.Errorf("cast: %w", domain.E(domain.CodeAlreadyVoted, "")), "cast: already_voted", domain.CodeAlreadyVoted},
		{cause, "disk on fire", domain.CodeInternal},
	} {
		if c.err.Error() != c.text || domain.CodeOf(c.err) != c.code {
			t.Errorf("%q has code %q; want %q with %q", c.err, domain.CodeOf(c.err), c.text, c.code)
		}
	}
	if code := domain.CodeOf(nil); code != "" {
		t.Errorf("no error has code %q", code)
	}
	err := error(domain.Fault(domain.CodeUnavailable, cause))
	if !errors.Is(err, cause) || !errors.Is(err, domain.E(domain.CodeUnavailable, "any")) || errors.Is(err, domain.E(domain.CodeInternal, "")) {
		t.Error("an error is its cause and its code, and no other code")
	}
	if err := domain.Invalid(nil); err != nil {
		t.Errorf("no fault is %v", err)
	}
	faults := []domain.FieldError{{Field: "title", Message: "is bad"}, {Field: "tags", Message: "too"}}
	var e *domain.Error
	if !errors.As(domain.Invalid(faults), &e) || e.Code != domain.CodeInvalid || !cmp.Equal(e.Fields, faults) {
		t.Errorf("the faults became %+v", e)
	}
}

// The form of a folded tag, and what it must contain.
var (
	tagForm   = regexp.MustCompile(`^[\pL\pM\p{Nd}_-]{1,50}$`)
	tagLetter = regexp.MustCompile(`[\pL\p{Nd}]`)
)

func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"", "Ada", "ada@example.org", "e\u0301", "\xff", "İ", "ﷺ", "a\u0345\u0301", "日本語"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tag, fault := domain.NormalizeTag(s)
		folded := norm.NFC.String(strings.ToLower(norm.NFC.String(strings.TrimSpace(s))))
		if good := utf8.ValidString(s) && tagForm.MatchString(folded) && tagLetter.MatchString(folded); good != (fault == "") || good && tag != folded {
			t.Errorf("tag %q became %q, %q; want %q, good: %t", s, tag, fault, folded, good)
		}
		if again, fault2 := domain.NormalizeTag(tag); fault == "" && (again != tag || fault2 != "" || domain.FoldTagPrefix(s) != tag) {
			t.Errorf("tag %q of %q became %q, %q, its prefix is folded to %q", tag, s, again, fault2, domain.FoldTagPrefix(s))
		}
		if name, key, fault := domain.NormalizeUsername(s); fault == "" {
			if again, key2, fault := domain.NormalizeUsername(name); again != name || key2 != key || key == "" || fault != "" {
				t.Errorf("name %q (%q) of %q became %q (%q), %q", name, key, s, again, key2, fault)
			}
		}
		if address, key, fault := domain.NormalizeEmail(s); fault == "" {
			if _, again, fault := domain.NormalizeEmail(key); again != key || fault != "" || strings.Count(address, "@") != 1 {
				t.Errorf("%q accepted with key %q, which has key %q: %s", s, key, again, fault)
			}
		}
		if p, fault := domain.NormalizePassword(s); fault == "" && !utf8.ValidString(p) {
			t.Errorf("%q accepted", s)
		}
		p, faults := domain.NormalizePoll(domain.NewPoll{Title: s, Options: []string{s, "x"}, Tags: []string{s}})
		if faults == nil {
			again, faults := domain.NormalizePoll(p)
			if diff := cmp.Diff(p, again); diff != "" || faults != nil || !utf8.ValidString(p.Title) || p.Title != strings.TrimSpace(p.Title) {
				t.Errorf("%q accepted as %q, and again: %v\n%s", s, p.Title, faults, diff)
			}
		}
	})
}
