package domain_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"vote/internal/domain"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want string // joined by |
	}{
		{"", ""},
		{" .,!? – “”", ""},
		{"Tea or coffee?", "tea|or|coffee"},
		{"tea TEA Tea", "tea"},
		{"don't rock-n-roll", "don|t|rock|n|roll"},
		{"snake_case", "snake|case"},
		{"3.14 and 1,000", "3|14|and|1|000"},
		{"G20 COVID-19", "g20|covid|19"},
		{"Straße STRASSE", "strasse"},
		{"ΟΔΟΣ οδος", "οδοσ"},
		{"Éte\u0301 éTÉ", "été"},
		{"ﬁne ﬀ", "fine|ff"},
		{"Ａｂｃ１２", "abc12"},
		{"x² ½", "x2|1|2"},
		{"Ⅳ", "iv"},
		// Folding knows no language: the dotted capital keeps its dot, the
		// dotless small letter stays another letter.
		{"DIYARBAKIR İstanbul ışık", "diyarbakir|i\u0307stanbul|ışık"},
		{"Москва́ Ёлка", "москва\u0301|ёлка"},
		{"हिन्दी भाषा", "हिन्दी|भाषा"},
		{"العربية", "العربية"},
		{"עִבְרִית", "עִבְרִית"},
		{"tea🍵time 👩\u200d👧", "tea|time"},
		{"a\u200bb", "a|b"},
		{"中", "中"},
		{"中国", "中国|国"},
		{"中国人民", "中国|国人|人民|民"},
		{"優步、計程車。", "優步|步|計程|程車|車"},
		{"東京タワーへ", "東京|京タ|タワ|ワー|ーへ|へ"},
		{"ﾀﾜｰ ｶﾞ", "タワ|ワー|ー|ガ"},
		{"서울 지하철", "서울|울|지하|하철|철"},
		{"가", "가"},
		{"ไทย", "ไท|ทย|ย"},
		{"กินข้าว", "กิน|นข้|ข้า|าว|ว"},
		{"Uber的出現 iPhone手機15", "uber|的出|出現|現|iphone|手機|機|15"},
		{"𠮷野家", "𠮷野|野家|家"},
		{"人人人", "人人|人"},
		{"\u0301\u0302 x\u0323", "x\u0323"},
		{"a\xffb", "a|b"},
	} {
		got := strings.Join(domain.Tokens(c.text), "|")
		if got != c.want {
			t.Errorf("%q: %s, want %s", c.text, got, c.want)
		}
	}
	got := domain.Tokens("Tea or coffee?", "Tea", "Coffee", "", "hot-drinks")
	if diff := cmp.Diff([]string{"tea", "or", "coffee", "hot", "drinks"}, got); diff != "" {
		t.Errorf("of several texts (-want +got):\n%s", diff)
	}
}

func TestSearchTerms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want string // joined by |, a prefix with *
	}{
		{"", ""},
		{"?!", ""},
		{"\u0301", ""},
		{"tea", "tea*"},
		{"Tea or cof", "tea|or|cof*"},
		{"tea tea", "tea|tea*"},
		{"tea ", "tea*"},
		{"STRASSE", "strasse*"},
		{"中", "中*"},
		{"中国", "中国*"},
		{"中国人", "中国|国人*"},
		{"人人人", "人人|人人*"},
		{"中 tea", "中*|tea*"},
		{"中国 tea", "中国|tea*"},
		{"Uber的", "uber|的*"},
		{"iPhone手機", "iphone|手機*"},
		{"กิ", "กิ*"},
	} {
		var terms []string
		for _, term := range domain.SearchTerms(c.text) {
			s := term.Text
			if term.Prefix {
				s += "*"
			}
			terms = append(terms, s)
		}
		if got := strings.Join(terms, "|"); got != c.want {
			t.Errorf("%q: %s, want %s", c.text, got, c.want)
		}
	}
}

// finds is what an engine does with terms.
func finds(query string, tokens []string) bool {
	terms := domain.SearchTerms(query)
	for _, term := range terms {
		if !slices.ContainsFunc(tokens, func(token string) bool {
			return token == term.Text || term.Prefix && strings.HasPrefix(token, term.Text)
		}) {
			return false
		}
	}
	return len(terms) > 0
}

func TestSearchFindsAndLeaves(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, query string
		found       bool
	}{
		{"Tea or coffee?", "coffee tea", true},
		{"Tea or coffee?", "cof", true},
		{"Tea or coffee?", "cof tea", false}, // only the last may be a prefix
		{"Tea or coffee?", "ffee", false},
		{"Tea or coffee?", "milk", false},
		{"Tea or coffee?", "tea milk", false},
		{"Die große Straße", "GROSSE STRASS", true},
		{"İstanbul", "istanbul", false},
		{"İstanbul", "İSTANBUL", true},
		{"優步與計程車", "計程車", true},
		{"優步與計程車", "程", true},
		{"優步與計程車", "車", true},
		{"優步與計程車", "程計", false},
		{"優步與計程車", "公車", false},
		{"東京タワー", "タワ", true},
		{"東京タワー", "ﾀﾜｰ", true},
		{"지하철을 타요", "하철", true},
		{"กินข้าว", "ข้าว", true},
		{"กินข้าว", "นข", true}, // typed up to the mark that follows
		{"Uber的出現", "uber 出現", true},
		{"Uber的出現", "ube", true},
		{"Flat earth 🌍", "🌍", false},
	} {
		if got := finds(c.query, domain.Tokens(c.text)); got != c.found {
			t.Errorf("%q in %q: found %t, want %t", c.query, c.text, got, c.found)
		}
	}
}

// Characters of one cluster may not be told apart in a search, but wherever a
// query is cut out of text without spaces, it is found.
func TestEverySubstringOfDenseTextIsFound(t *testing.T) {
	t.Parallel()
	character := rapid.SampledFrom([]rune("中国人民優步計程車東京タワーひらがなｶﾞ々서울지하철กขินำ้ไทยລາວខ្មែរမြန်မာ𠮷"))
	rapid.Check(t, func(t *rapid.T) {
		text := norm.NFKC.String(string(rapid.SliceOfN(character, 1, 12).Draw(t, "text")))
		runes := []rune(text)
		from := rapid.IntRange(0, len(runes)-1).Draw(t, "from")
		to := rapid.IntRange(from+1, len(runes)).Draw(t, "to")
		query := string(runes[from:to])
		if strings.IndexFunc(query, func(r rune) bool { return !unicode.IsMark(r) }) < 0 {
			return // marks alone are no word
		}
		around := rapid.SampledFrom([]string{"", " ", "x", "。", "12 "})
		text = around.Draw(t, "before") + text + around.Draw(t, "after")
		if !finds(query, domain.Tokens("other words", text)) {
			t.Fatalf("%q is not found in %q: %v against %v", query, text, domain.SearchTerms(query), domain.Tokens(text))
		}
	})
}

// All words of a text in any order and any case find it, the last one also cut
// short behind any of its characters.
func TestEveryWordAndPrefixIsFound(t *testing.T) {
	t.Parallel()
	character := rapid.SampledFrom([]string{"a", "B", "ß", "É", "e\u0301", "ﬁ", "Σ", "ς", "İ", "ı", "ñ", "Ж", "й", "ع", "ह", "हि", "न्", "7", "２", "x\u0323", "H\u0331", "中", "ค้"})
	word := rapid.Custom(func(t *rapid.T) []string { return rapid.SliceOfN(character, 1, 8).Draw(t, "characters") })
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(word, 1, 5).Draw(t, "words")
		var text []string
		for _, w := range words {
			text = append(text, strings.Join(w, ""))
		}
		tokens := domain.Tokens(strings.Join(text, rapid.SampledFrom([]string{" ", ", ", " – ", "🍵"}).Draw(t, "between")))

		order := rapid.Permutation(words).Draw(t, "order")
		query := ""
		for _, w := range order[:rapid.IntRange(0, len(order)-1).Draw(t, "whole words")] {
			query += strings.Join(w, "") + " "
		}
		last := order[len(order)-1]
		query += strings.Join(last[:rapid.IntRange(1, len(last)).Draw(t, "cut")], "")
		if !finds(query, tokens) {
			t.Fatalf("%q is not found in %q: %v against %v", query, text, domain.SearchTerms(query), tokens)
		}
	})
}

func FuzzTokens(f *testing.F) {
	for _, s := range []string{"Tea or coffee?", "Uber的出現", "กำ", "İ\u0307", "\xff\xfe", "ﷺ", "각", "가\u11a8", "\u0345α"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tokens := domain.Tokens(s)
		for i, token := range tokens {
			if token == "" || slices.Contains(tokens[:i], token) {
				t.Errorf("%q: token %q in %q", s, token, tokens)
			}
			if strings.IndexFunc(token, func(r rune) bool {
				return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r)
			}) >= 0 {
				t.Errorf("%q: token %q is not a word", s, token)
			}
		}
		if len(tokens) > 0 != (len(domain.SearchTerms(s)) > 0) {
			t.Errorf("%q has tokens %q and terms %v", s, tokens, domain.SearchTerms(s))
		}
		if len(tokens) > 0 && !finds(s, tokens) {
			t.Errorf("%q does not find itself: %v against %q", s, domain.SearchTerms(s), tokens)
		}
	})
}

// plainWord is a word whose search is plain: letters and digits that folding
// makes lower-case one by one.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9\x{430}-\x{44f}\x{410}-\x{42f}]+$`)

// FuzzSearch holds the search over texts of plain words to one that splits at
// white space: all words of the query must be there, the last as a prefix.
func FuzzSearch(f *testing.F) {
	f.Add("Tea or coffee", "coffee te")
	f.Add("a ab abc", "ab a")
	f.Add("\u0416 \u0436\u0430", "\u0436")
	f.Fuzz(func(t *testing.T, text, query string) {
		have, want := strings.Fields(text), strings.Fields(query)
		for _, w := range append(slices.Clone(have), want...) {
			if !plainWord.MatchString(w) {
				return
			}
		}
		found := len(want) > 0
		for i, w := range want {
			found = found && slices.ContainsFunc(have, func(h string) bool {
				h, w := strings.ToLower(h), strings.ToLower(w)
				return h == w || i == len(want)-1 && strings.HasPrefix(h, w)
			})
		}
		if got := finds(query, domain.Tokens(text)); got != found {
			t.Errorf("%q in %q: found %t, want %t", query, text, got, found)
		}
	})
}
