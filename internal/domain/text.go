package domain

import (
	"fmt"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Limits of an account's fields, in Unicode code points.
const (
	MinUsername = 3
	MaxUsername = 50
	MinPassword = 8
	MaxPassword = 128
	MaxEmail    = 254
)

// normalizeText returns s in NFC without surrounding white space, and what is
// wrong with it, if anything.
func normalizeText(s string, minimum, maximum int) (text, fault string) {
	if !utf8.ValidString(s) {
		return "", "must be valid UTF-8"
	}
	s = strings.TrimSpace(norm.NFC.String(s))
	n, visible := 0, false
	for _, r := range s {
		n++
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || isNonCharacter(r) {
			return s, "must not contain control characters"
		}
		visible = visible || unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S)
	}
	if n < minimum || n > maximum {
		return s, fmt.Sprintf("must have %d to %d characters", minimum, maximum)
	}
	if !visible {
		return s, "must contain a visible character"
	}
	return s, ""
}

func isNonCharacter(r rune) bool { return r&0xFFFE == 0xFFFE || (r >= 0xFDD0 && r <= 0xFDEF) }

// NormalizeTag returns a tag as it is stored (NFC, trimmed, lower-case), and
// what is wrong with it, if anything.
func NormalizeTag(s string) (tag, fault string) {
	if !utf8.ValidString(s) {
		return "", "must be valid UTF-8"
	}
	s = norm.NFC.String(strings.ToLower(norm.NFC.String(strings.TrimSpace(s))))
	n, visible := 0, false
	for _, r := range s {
		n++
		switch {
		case r == '-' || r == '_' || unicode.IsMark(r):
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			visible = true
		default:
			return s, "must contain only letters, digits, '-' and '_'"
		}
	}
	if n < 1 || n > MaxTag {
		return s, fmt.Sprintf("must have 1 to %d characters", MaxTag)
	}
	if !visible {
		return s, "must contain a letter or a digit"
	}
	return s, ""
}

// FoldTagPrefix returns s folded as stored tags are, for prefix look-ups.
func FoldTagPrefix(s string) string {
	return norm.NFC.String(strings.ToLower(norm.NFC.String(strings.TrimSpace(s))))
}

// NormalizeUsername returns the name as it is shown (NFC, trimmed), the key by
// which names are unique (NFKC, case folded), and what is wrong, if anything.
func NormalizeUsername(s string) (name, key, fault string) {
	if !utf8.ValidString(s) {
		return "", "", "must be valid UTF-8"
	}
	name = strings.TrimSpace(norm.NFC.String(s))
	key = norm.NFKC.String(cases.Fold().String(norm.NFKC.String(name)))
	n, visible := 0, false
	for _, r := range name {
		n++
		switch {
		case r == '.' || r == '_' || r == '-' || unicode.IsMark(r):
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			visible = true
		default:
			return name, key, "must contain only letters, digits, '.', '_' and '-'"
		}
	}
	if n < MinUsername || n > MaxUsername {
		return name, key, fmt.Sprintf("must have %d to %d characters", MinUsername, MaxUsername)
	}
	if !visible {
		return name, key, "must contain a letter or a digit"
	}
	return name, key, ""
}

// NormalizeEmail returns the address trimmed, the key by which addresses are
// compared (NFC, lower-case), and what is wrong, if anything.
func NormalizeEmail(s string) (address, key, fault string) {
	const wrong = "must be an e-mail address"
	if !utf8.ValidString(s) {
		return "", "", "must be valid UTF-8"
	}
	address = strings.TrimSpace(norm.NFC.String(s))
	if len(address) > MaxEmail {
		return address, "", fmt.Sprintf("must have at most %d bytes", MaxEmail)
	}
	parsed, err := mail.ParseAddress(address)
	if err != nil || parsed.Name != "" || parsed.Address != address {
		return address, "", wrong
	}
	local, host, _ := strings.Cut(address, "@")
	if len(local) > 64 || strings.Contains(host, "@") || !validHost(host) {
		return address, "", wrong
	}
	for _, r := range address {
		if unicode.IsControl(r) || unicode.IsSpace(r) || !unicode.IsGraphic(r) {
			return address, "", wrong
		}
	}
	return address, norm.NFC.String(strings.ToLower(address)), ""
}

func validHost(host string) bool {
	labels := strings.Split(host, ".")
	if len(labels) < 2 {
		return false
	}
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for _, r := range l {
			if r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) {
				return false
			}
		}
	}
	return true
}

// NormalizePassword returns the password in the form that is hashed (NFC, so
// that every keyboard gives the same bytes; nothing is trimmed) and what is
// wrong with it, if anything.
func NormalizePassword(s string) (password, fault string) {
	if !utf8.ValidString(s) {
		return "", "must be valid UTF-8"
	}
	s = norm.NFC.String(s)
	if n := utf8.RuneCountInString(s); n < MinPassword || n > MaxPassword {
		return s, fmt.Sprintf("must have %d to %d characters", MinPassword, MaxPassword)
	}
	return s, ""
}
