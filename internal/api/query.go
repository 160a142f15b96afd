package api

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"vote/internal/domain"
)

// query is a parsed query string, in order.
type query []struct{ name, value string }

// parse reads a raw query string, replacing what q held. It refuses bad escapes
// and what is not UTF-8; everything else is a parameter, known or not.
func (q *query) parse(raw string) *domain.Error {
	*q = (*q)[:0]
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, ok := unescape(name)
		if !ok {
			return errQuery
		}
		value, ok = unescape(value)
		if !ok {
			return errQuery
		}
		*q = append(*q, struct{ name, value string }{name, value})
	}
	return nil
}

var errQuery = domain.E(domain.CodeMalformed, "The query has a bad escape or is not valid UTF-8.")

func unescape(s string) (string, bool) {
	if strings.ContainsAny(s, "%+") {
		var err error
		if s, err = url.QueryUnescape(s); err != nil {
			return "", false
		}
	}
	return s, utf8.ValidString(s)
}

// param returns a parameter that may be given once, and whether it was given.
func (in *input) param(name string) (value string, given bool) {
	for _, p := range in.query {
		if p.name != name {
			continue
		}
		if given {
			in.check(name, notTwice)
			continue
		}
		value, given = p.value, true
	}
	return value, given
}

// params returns all values of a parameter that are not empty.
func (in *input) params(name string) []string {
	var values []string
	for _, p := range in.query {
		if p.name == name && p.value != "" {
			values = append(values, p.value)
		}
	}
	return values
}

// wholeParam returns a whole number from 1 to most, and missing when the
// parameter is not given.
func (in *input) wholeParam(name string, most, missing int) int {
	s, given := in.param(name)
	if !given {
		return missing
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most || strings.HasPrefix(s, "+") {
		in.check(name, "must be a whole number from 1 to "+strconv.Itoa(most))
		return missing
	}
	return n
}

// timeParam returns a time, zero when the parameter is not given or wrong.
func (in *input) timeParam(name string) time.Time {
	s, given := in.param(name)
	if !given {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if t = t.UTC(); err != nil || t.Year() < 2000 || t.Year() > 9000 {
		in.check(name, "must be a time as RFC 3339 writes it, from 2000 to 9000, such as 2025-11-17T09:00:00Z")
		return time.Time{}
	}
	return t
}

// oneOf returns a parameter that is one of the words; the first word when it is
// not given.
func (in *input) oneOf(name string, words ...string) string {
	s, given := in.param(name)
	if !given {
		return words[0]
	}
	if slices.Contains(words, s) {
		return s
	}
	in.check(name, "must be one of "+strings.Join(words, ", "))
	return words[0]
}

// idParam returns an id, 0 when the parameter is not given, empty or wrong.
func (in *input) idParam(name string) int64 {
	s, _ := in.param(name)
	if s == "" {
		return 0
	}
	id, ok := domain.ParseID(s)
	if !ok {
		in.check(name, notID)
	}
	return id
}
