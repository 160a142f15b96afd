package sqlite

import (
	"context"
	"slices"
	"strings"
	"testing"

	"vote/internal/domain"
)

// FuzzSearch searches for any text that may be typed: what is found is what a
// walk over all polls finds, and nothing breaks the query language below.
func FuzzSearch(f *testing.F) {
	s := openStore(f, Options{})
	author := addUsers(f, s, 1)[0]
	titles := []string{
		"Tea or coffee?", "Coffee, teapot, teaspoon", "The old tram line", "AND OR NOT NEAR", "東京タワーへ行く", "Die große Straße", "x² ½ Ⅳ", "tokens rowid search",
		"किताब या फ़िल्म", "กินข้าว", "a b c d e f g", "aaaa aaab aaac aaad", "عربي", "1984 2026",
	}
	var batch []domain.NewPoll
	for _, title := range titles {
		batch = append(batch, domain.NewPoll{Author: author, Title: title, Options: []string{"Yes", "No thanks"}, Tags: []string{"t"}})
	}
	if _, err := s.Publish(context.Background(), batch, func(facts []domain.PublicationFact) []domain.PublicationVerdict {
		return domain.Rules{}.JudgePublications(batch, facts)
	}); err != nil {
		f.Fatal(err)
	}
	for _, q := range append(titles, "", `"`, `a" OR "b`, "tea*", "NEAR(a b)", "col:x", "-tea", "(", "\x00", "te", "teas", "'") {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		terms := domain.SearchTerms(query)
		got, err := s.Search(context.Background(), terms, 1<<31, 100)
		if err != nil {
			t.Fatal(err)
		}
		want := []domain.Position{}
		for i, title := range slices.Backward(titles) {
			tokens := searchTokens(title, batch[i].Options, batch[i].Tags)
			found := len(terms) > 0
			for _, term := range terms {
				found = found && slices.ContainsFunc(tokens, func(token string) bool {
					return token == term.Text || term.Prefix && strings.HasPrefix(token, term.Text)
				})
			}
			if found {
				want = append(want, domain.Position(i+1))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q found %v, want %v", query, got, want)
		}
	})
}
