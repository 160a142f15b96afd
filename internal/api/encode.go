package api

import (
	"bytes"
	"encoding/csv"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"vote/internal/domain"
)

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. Bytes that are not UTF-8 become the
// replacement character.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		b = append(b, s[from:i]...)
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c < 0x20:
			b = append(b, `\u00`...)
			b = append(b, hexDigits[c>>4], hexDigits[c&15])
		default:
			b = append(b, "\uFFFD"...)
		}
		i++
		from = i
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// appendTime appends t as RFC 3339, UTC, cut to the millisecond, which is what
// every engine keeps.
func appendTime(b []byte, t time.Time) []byte {
	return t.UTC().Truncate(time.Millisecond).AppendFormat(b, time.RFC3339Nano)
}

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

// appendPermille appends a share as a percentage with one decimal.
func appendPermille(b []byte, n int64) []byte {
	b = strconv.AppendInt(b, n/10, 10)
	return append(b, '.', byte('0'+n%10))
}

// appendStats appends the stats document of a poll.
func appendStats(b []byte, c domain.Counts, options []string) []byte {
	total := c.TotalVotes()
	b = append(b, `{"pollId":`...)
	b = appendInt(b, int64(c.Poll))
	b = append(b, `,"version":`...)
	b = appendInt(b, c.Version())
	b = append(b, `,"totalVotes":`...)
	b = appendInt(b, total)
	b = append(b, `,"totalSkips":`...)
	b = appendInt(b, c.Skips)
	b = append(b, `,"votes":[`...)
	shares := c.Permille()
	for i, option := range options {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"optionIndex":`...)
		b = appendInt(b, int64(i))
		b = append(b, `,"option":`...)
		b = appendString(b, option)
		b = append(b, `,"count":`...)
		var votes, share int64
		if i < len(c.Votes) {
			votes, share = c.Votes[i], shares[i]
		}
		b = appendInt(b, votes)
		b = append(b, `,"percentage":`...)
		b = appendPermille(b, share)
		b = append(b, '}')
	}
	b = append(b, `],"updatedAt":"`...)
	b = appendTime(b, c.UpdatedAt)
	return append(b, `"}`...)
}

// statsCSV returns a poll's counts as RFC 4180, one line per option.
func statsCSV(c domain.Counts, options []string) ([]byte, error) {
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	w.UseCRLF = true
	num := func(n int64) string { return strconv.FormatInt(n, 10) }
	lines := [][]string{{"pollId", "version", "totalVotes", "totalSkips", "optionIndex", "option", "count", "percentage", "updatedAt"}}
	shares := c.Permille()
	for i, option := range options {
		var votes, share int64
		if i < len(c.Votes) {
			votes, share = c.Votes[i], shares[i]
		}
		lines = append(lines, []string{
			num(int64(c.Poll)), num(c.Version()), num(c.TotalVotes()), num(c.Skips),
			strconv.Itoa(i), spreadsheetSafe(option), num(votes), string(appendPermille(nil, share)),
			string(appendTime(nil, c.UpdatedAt)),
		})
	}
	if err := w.WriteAll(lines); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// spreadsheetSafe puts an apostrophe before text that a spreadsheet would take
// for a formula.
func spreadsheetSafe(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", []rune(s)[0]) {
		return "'" + s
	}
	return s
}
