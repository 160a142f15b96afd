package domain

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Term is one condition of a search: a token that a poll must have, or, with
// Prefix, a token that must begin with Text.
type Term struct {
	Text   string
	Prefix bool
}

// Tokens returns the distinct search tokens of the texts, in order of first
// appearance: runs of letters, marks and digits, NFKC and case folded. A run in
// a script written without spaces (Han, Hiragana, Katakana, Hangul, Thai, Lao,
// Khmer, Burmese) becomes its overlapping pairs of characters and its last
// character, so that every substring of it is found. Engines store exactly
// these tokens, so that all of them find the same.
func Tokens(texts ...string) []string {
	var tokens []string
	have := make(map[string]bool)
	add := func(t string) {
		if !have[t] {
			have[t] = true
			tokens = append(tokens, t)
		}
	}
	for _, text := range texts {
		eachRun(text, func(run []string, dense bool) {
			if !dense {
				add(strings.Join(run, ""))
				return
			}
			for i := range run {
				if i+1 < len(run) {
					add(run[i] + run[i+1])
				} else {
					add(run[i])
				}
			}
		})
	}
	return tokens
}

// SearchTerms returns the terms of a search text: every word must be there, the
// last one as a prefix. Text without a word has no terms.
func SearchTerms(text string) []Term {
	var terms []Term
	have := make(map[Term]bool)
	add := func(t Term) {
		if !have[t] {
			have[t] = true
			terms = append(terms, t)
		}
	}
	last := -1 // index of the run that ends the text, as a prefix
	var runs [][]string
	var kinds []bool
	eachRun(text, func(run []string, dense bool) {
		runs, kinds = append(runs, run), append(kinds, dense)
		last++
	})
	for i, run := range runs {
		switch {
		case !kinds[i]:
			add(Term{Text: strings.Join(run, ""), Prefix: i == last})
		case len(run) == 1:
			// One character is found wherever it stands: it begins a pair
			// or is the last of its run.
			add(Term{Text: run[0], Prefix: true})
		default:
			// The last character may still lack the marks that follow it.
			for j := 0; j+1 < len(run); j++ {
				add(Term{Text: run[j] + run[j+1], Prefix: i == last && j+2 == len(run)})
			}
		}
	}
	return terms
}

// eachRun calls visit for every run of word characters of one kind. A run is
// given as its characters, each with the marks that follow it.
func eachRun(text string, visit func(run []string, dense bool)) {
	text = norm.NFKC.String(cases.Fold().String(norm.NFKC.String(text)))
	var run []string
	dense := false
	flush := func() {
		if len(run) > 0 {
			visit(run, dense)
			run = nil
		}
	}
	for _, r := range text {
		switch {
		case unicode.IsMark(r):
			if len(run) > 0 {
				run[len(run)-1] += string(r)
			}
		case unicode.IsLetter(r) || unicode.IsNumber(r):
			d := unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul,
				unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar) || r == 'ー'
			if d != dense {
				flush()
			}
			dense = d
			run = append(run, string(r))
		default:
			flush()
		}
	}
	flush()
}
