package api

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"vote/internal/domain"
)

// maxDepth bounds how deeply a body may nest. The deepest that any call takes
// is three: a list of objects of values.
const maxDepth = 16

type kind uint8

const (
	kindNull kind = iota
	kindTrue
	kindFalse
	kindNumber
	kindText
	kindList
	kindObject
)

// node is one JSON value: a span of the source and its place in the tree. Nodes
// refer to each other by index; 0 is the root, which is nobody's child, so 0
// also means none.
type node struct {
	kind               kind
	escaped, keyEscape bool  // the text, or the member's name, has escapes
	start, end         int32 // of a text without its quotes
	keyStart, keyEnd   int32 // of the name, for a member of an object
	next, first        int32 // following sibling, first child
}

// document is a parsed JSON text. It keeps the source and points into it. The
// parser is stricter than encoding/json: the text must be valid UTF-8, escapes
// must not leave half a surrogate pair, and nesting is bounded. Names keep
// their case, and a repeated name is kept, to be told as a fault.
type document struct {
	src   []byte
	nodes []node
	pos   int
}

// parse reads src, replacing what the document held. src must stay unchanged
// as long as the document is used.
func (d *document) parse(src []byte) *domain.Error {
	d.src, d.nodes, d.pos = src, d.nodes[:0], 0
	if len(src) > math.MaxInt32 || !utf8.Valid(src) {
		return domain.E(domain.CodeMalformed, "The body is not valid UTF-8.")
	}
	d.space()
	if _, ok := d.value(1); !ok {
		return d.syntax()
	}
	d.space()
	if d.pos < len(src) {
		return d.syntax()
	}
	return nil
}

func (d *document) syntax() *domain.Error {
	return domain.E(domain.CodeMalformed, "The body is not valid JSON, at byte "+strconv.Itoa(d.pos)+".")
}

func (d *document) space() {
	for d.pos < len(d.src) {
		switch d.src[d.pos] {
		case ' ', '\t', '\n', '\r':
			d.pos++
		default:
			return
		}
	}
}

// value reads the value at pos and returns its index.
func (d *document) value(depth int) (int32, bool) {
	if d.pos >= len(d.src) || depth > maxDepth {
		return 0, false
	}
	at := int32(len(d.nodes)) //nolint:gosec // a body has fewer nodes than bytes, see parse
	d.nodes = append(d.nodes, node{start: int32(d.pos)})
	var k kind
	ok := false
	switch c := d.src[d.pos]; {
	case c == '{':
		k, ok = kindObject, d.members(at, depth)
	case c == '[':
		k, ok = kindList, d.items(at, depth)
	case c == '"':
		var start, end int32
		var escaped bool
		start, end, escaped, ok = d.quoted()
		d.nodes[at].kind, d.nodes[at].start, d.nodes[at].end, d.nodes[at].escaped = kindText, start, end, escaped
		return at, ok
	case c == '-' || (c >= '0' && c <= '9'):
		k, ok = kindNumber, d.number()
	case c == 't':
		k, ok = kindTrue, d.word("true")
	case c == 'f':
		k, ok = kindFalse, d.word("false")
	case c == 'n':
		k, ok = kindNull, d.word("null")
	}
	d.nodes[at].kind, d.nodes[at].end = k, int32(d.pos) //nolint:gosec // see parse
	return at, ok
}

func (d *document) word(w string) bool {
	if len(d.src)-d.pos < len(w) || string(d.src[d.pos:d.pos+len(w)]) != w {
		return false
	}
	d.pos += len(w)
	return true
}

func (d *document) number() bool {
	digits := func() bool {
		from := d.pos
		for d.pos < len(d.src) && d.src[d.pos] >= '0' && d.src[d.pos] <= '9' {
			d.pos++
		}
		return d.pos > from
	}
	has := func(set string) bool {
		if d.pos < len(d.src) && strings.IndexByte(set, d.src[d.pos]) >= 0 {
			d.pos++
			return true
		}
		return false
	}
	has("-")
	if !has("0") && !digits() {
		return false
	}
	if has(".") && !digits() {
		return false
	}
	if has("eE") {
		has("+-")
		return digits()
	}
	return true
}

// quoted reads the string at pos and returns the span between its quotes.
func (d *document) quoted() (start, end int32, escaped, ok bool) {
	d.pos++
	start = int32(d.pos) //nolint:gosec // see parse
	for d.pos < len(d.src) {
		switch c := d.src[d.pos]; {
		case c == '"':
			end = int32(d.pos) //nolint:gosec // see parse
			d.pos++
			return start, end, escaped, true
		case c < 0x20:
			return start, 0, escaped, false
		case c == '\\':
			escaped = true
			if !d.escape() {
				return start, 0, escaped, false
			}
		default:
			d.pos++
		}
	}
	return start, 0, escaped, false
}

// escape checks the escape sequence at pos and passes it.
func (d *document) escape() bool {
	rest := d.src[d.pos:]
	if len(rest) < 2 {
		return false
	}
	if rest[1] != 'u' {
		if strings.IndexByte(`"\/bfnrt`, rest[1]) < 0 {
			return false
		}
		d.pos += 2
		return true
	}
	r, ok := hex4(rest)
	if !ok || (r >= 0xDC00 && r <= 0xDFFF) {
		return false
	}
	d.pos += 6
	if r >= 0xD800 && r <= 0xDBFF {
		low, ok := hex4(d.src[d.pos:])
		if !ok || low < 0xDC00 || low > 0xDFFF {
			return false
		}
		d.pos += 6
	}
	return true
}

// hex4 reads \uXXXX.
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// members reads the object at pos into the node at.
func (d *document) members(at int32, depth int) bool {
	d.pos++
	d.space()
	if d.pos < len(d.src) && d.src[d.pos] == '}' {
		d.pos++
		return true
	}
	last := int32(0)
	for {
		d.space()
		if d.pos >= len(d.src) || d.src[d.pos] != '"' {
			return false
		}
		start, end, escaped, ok := d.quoted()
		if !ok {
			return false
		}
		d.space()
		if d.pos >= len(d.src) || d.src[d.pos] != ':' {
			return false
		}
		d.pos++
		d.space()
		child, ok := d.value(depth + 1)
		if !ok {
			return false
		}
		n := &d.nodes[child]
		n.keyStart, n.keyEnd, n.keyEscape = start, end, escaped
		d.link(at, last, child)
		last = child
		if more, ok := d.separator('}'); !more {
			return ok
		}
	}
}

// items reads the list at pos into the node at.
func (d *document) items(at int32, depth int) bool {
	d.pos++
	d.space()
	if d.pos < len(d.src) && d.src[d.pos] == ']' {
		d.pos++
		return true
	}
	last := int32(0)
	for {
		d.space()
		child, ok := d.value(depth + 1)
		if !ok {
			return false
		}
		d.link(at, last, child)
		last = child
		if more, ok := d.separator(']'); !more {
			return ok
		}
	}
}

func (d *document) link(parent, last, child int32) {
	if last == 0 {
		d.nodes[parent].first = child
	} else {
		d.nodes[last].next = child
	}
}

// separator passes a comma, which tells of more, or the closing character.
func (d *document) separator(closing byte) (more, ok bool) {
	d.space()
	if d.pos >= len(d.src) {
		return false, false
	}
	switch d.src[d.pos] {
	case ',':
		d.pos++
		return true, true
	case closing:
		d.pos++
		return false, true
	}
	return false, false
}

// text returns the characters of a string's span.
func (d *document) text(start, end int32, escaped bool) string {
	span := d.src[start:end]
	if !escaped {
		return string(span)
	}
	b := make([]byte, 0, len(span))
	for i := 0; i < len(span); {
		if span[i] != '\\' {
			b = append(b, span[i])
			i++
			continue
		}
		switch c := span[i+1]; c {
		case 'u':
			r, _ := hex4(span[i:])
			i += 6
			if r >= 0xD800 && r <= 0xDBFF {
				low, _ := hex4(span[i:])
				r = (r-0xD800)<<10 | (low - 0xDC00) + 0x10000
				i += 6
			}
			b = utf8.AppendRune(b, r)
			continue
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		default:
			b = append(b, c)
		}
		i += 2
	}
	return string(b)
}

// named reports whether the member n has the name.
func (d *document) named(n *node, name string) bool {
	if !n.keyEscape {
		return string(d.src[n.keyStart:n.keyEnd]) == name
	}
	return d.text(n.keyStart, n.keyEnd, true) == name
}

// integer returns the value of a number that is whole and below 2^53 in
// magnitude, however it is written.
func (d *document) integer(n *node) (int64, bool) {
	span := d.src[n.start:n.end]
	digits := span
	if digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) <= 16 {
		var v int64
		whole := true
		for _, c := range digits {
			if c < '0' || c > '9' {
				whole = false
				break
			}
			v = v*10 + int64(c-'0')
		}
		if whole {
			if v >= domain.MaxID {
				return 0, false
			}
			if len(digits) < len(span) {
				v = -v
			}
			return v, true
		}
	}
	return exact(digits, len(digits) < len(span))
}

// exact returns the value of a number with a fraction or an exponent, by its
// digits: a float would take 0.99999999999999999999 for 1.
func exact(digits []byte, negative bool) (int64, bool) {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(string(digits)), "e")
	before, fraction, _ := strings.Cut(mantissa, ".")
	all := strings.TrimLeft(before+fraction, "0")
	if all == "" {
		return 0, true
	}
	scale := int64(0)
	if exponent != "" {
		var err error
		if scale, err = strconv.ParseInt(exponent, 10, 32); err != nil {
			return 0, false // further from 1 than a body has digits
		}
	}
	scale -= int64(len(fraction))
	significant := strings.TrimRight(all, "0")
	scale += int64(len(all) - len(significant))
	if scale < 0 || int64(len(significant))+scale > 16 {
		return 0, false
	}
	v, err := strconv.ParseInt(significant+strings.Repeat("0", int(scale)), 10, 64)
	if err != nil || v >= domain.MaxID {
		return 0, false
	}
	if negative {
		v = -v
	}
	return v, true
}
