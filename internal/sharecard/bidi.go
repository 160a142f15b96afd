package sharecard

import (
	"slices"
	"strings"
	"unicode"

	typebidi "github.com/go-text/typesetting/bidi"
	"golang.org/x/text/unicode/bidi"
)

// clean returns text as it is laid out: control characters and line breaks as
// spaces, and without the characters that embed, override or isolate
// directions. What those do to a card is never worth what they can do to it;
// the marks that only lend a direction stay.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r) || r == '\u2028' || r == '\u2029':
			return ' '
		case r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069':
			return -1
		}
		return r
	}, text)
}

func classOf(r rune) bidi.Class {
	p, _ := bidi.LookupRune(r)
	return p.Class()
}

// isRTL reports whether the first character with a direction runs from right
// to left.
func isRTL(text string) bool {
	for _, r := range text {
		switch classOf(r) {
		case bidi.L:
			return false
		case bidi.R, bidi.AL:
			return true
		}
	}
	return false
}

// levels returns the embedding level of each character of a paragraph.
func levels(text []rune, rtl bool) []uint8 {
	direction := typebidi.LeftToRight
	if rtl {
		direction = typebidi.RightToLeft
	}
	var p typebidi.Paragraph
	runs := p.Segment(text, direction)
	found := make([]uint8, len(text))
	for i := range runs.NumRuns() {
		run := runs.Run(i)
		end := run.End
		if !rtl && run.Level == 2 {
			// A run is told by its direction only, and may go on at level 0
			// after the number that it begins with.
			end = run.Start + number(text[run.Start:run.End])
		}
		for j := run.Start; j < end; j++ {
			found[j] = uint8(run.Level) //nolint:gosec // at most 125
		}
	}
	return found
}

// number returns how long the number is that text begins with, with signs and
// separators that belong to it.
func number(text []rune) int {
	end := 0
	for i, r := range text {
		switch classOf(r) {
		case bidi.EN, bidi.AN:
			end = i + 1
		case bidi.ET, bidi.NSM, bidi.BN:
			if end == i {
				end = i + 1
			}
		case bidi.L:
			return end
		}
	}
	return end
}

// visual returns the order from left to right of the items of a line, given the
// level of each in the order of reading: rule L2 of the bidi algorithm.
func visual(levels []uint8) []int {
	order := make([]int, len(levels))
	for i := range order {
		order[i] = i
	}
	if len(levels) == 0 {
		return order
	}
	for level := slices.Max(levels); level > 0; level-- {
		for from := 0; from < len(levels); from++ {
			to := from
			for to < len(levels) && levels[to] >= level {
				to++
			}
			if to > from {
				slices.Reverse(order[from:to])
				from = to
			}
		}
	}
	return order
}
