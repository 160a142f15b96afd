package api

import (
	"strconv"

	"vote/internal/domain"
)

// maxFaults bounds how many faults one answer lists, so that a small hostile
// body cannot make a large answer.
const maxFaults = 100

// bodyField is the name under which a fault of the whole body is told.
const bodyField = "body"

// input is what a request brought, with every fault found in it. The readers
// return the zero value for what is missing or wrong and note the fault, so
// that a shape is read to its end and all faults come at once. No fault holds a
// rejected value.
type input struct {
	document
	query  query
	faults []domain.FieldError
}

func (in *input) fault(field, message string) {
	if len(in.faults) < maxFaults {
		in.faults = append(in.faults, domain.FieldError{Field: field, Message: message})
	}
}

// faulty reports whether a fault of the field was noted.
func (in *input) faulty(field string) bool {
	for _, f := range in.faults {
		if f.Field == field {
			return true
		}
	}
	return false
}

// check notes the fault of a field's value, if there is one and none was noted.
func (in *input) check(field, fault string) {
	if fault != "" && !in.faulty(field) {
		in.fault(field, fault)
	}
}

// merge notes the faults of fields for which none was noted.
func (in *input) merge(faults []domain.FieldError) {
	for _, f := range faults {
		in.check(f.Field, f.Message)
	}
}

// invalid returns the faults as an error, nil without any.
func (in *input) invalid() error { return domain.Invalid(in.faults) }

// Messages of faults that are told in several places.
const (
	missing   = "is required"
	notText   = "must be a string"
	notWhole  = "must be a whole number"
	notID     = "must be an id: a whole number from 1, or its digits as a string"
	notKnown  = "is not a known field"
	notTwice  = "is given more than once"
	notObject = "must be an object"
	notList   = "must be a list"
	notBool   = "must be true or false"
)

// object is an object of the body, or nothing when there is none.
type object struct {
	in   *input
	path string // with a trailing dot, empty for the body itself
	at   int32
	ok   bool
}

// object returns the object at a node, having noted every member that is not
// among the names or comes twice. field names the node in faults.
func (in *input) object(at int32, field, path string, names []string) object {
	n := &in.nodes[at]
	if n.kind != kindObject {
		in.fault(field, notObject)
		return object{in: in}
	}
	o := object{in: in, path: path, at: at, ok: true}
	var seen uint32
	for i := n.first; i != 0; i = in.nodes[i].next {
		m := &in.nodes[i]
		known := false
		for j, name := range names {
			if in.named(m, name) {
				if known = true; seen&(1<<j) != 0 {
					in.check(path+name, notTwice)
				}
				seen |= 1 << j
				break
			}
		}
		if !known {
			in.fault(path+in.safeName(m), notKnown)
		}
	}
	return o
}

// safeName returns the name of an unknown member when it looks like the name of
// a field; anything else might be a value in the wrong place.
func (in *input) safeName(m *node) string {
	name := in.text(m.keyStart, m.keyEnd, m.keyEscape)
	if len(name) == 0 || len(name) > 40 {
		return "(unknown)"
	}
	for i, c := range name {
		letter := c == '_' || (c|0x20 >= 'a' && c|0x20 <= 'z')
		if !letter && (i == 0 || c < '0' || c > '9') {
			return "(unknown)"
		}
	}
	return name
}

// member returns the index of a member, 0 when there is none.
func (o object) member(name string) int32 {
	if !o.ok {
		return 0
	}
	for i := o.in.nodes[o.at].first; i != 0; i = o.in.nodes[i].next {
		if o.in.named(&o.in.nodes[i], name) {
			return i
		}
	}
	return 0
}

// required is member that notes when it is missing.
func (o object) required(name string) int32 {
	i := o.member(name)
	if i == 0 && o.ok {
		o.in.fault(o.path+name, missing)
	}
	return i
}

// text returns a required string.
func (o object) text(name string) string {
	return o.textAt(o.required(name), name)
}

// optionalText returns a string, empty when it is not given.
func (o object) optionalText(name string) string {
	return o.textAt(o.member(name), name)
}

// maybeText returns a string, nil when it is not given or wrong.
func (o object) maybeText(name string) *string {
	i := o.member(name)
	if i == 0 {
		return nil
	}
	s := o.textAt(i, name)
	if o.in.faulty(o.path + name) {
		return nil
	}
	return &s
}

func (o object) textAt(i int32, name string) string {
	if i == 0 {
		return ""
	}
	n := &o.in.nodes[i]
	if n.kind != kindText {
		o.in.fault(o.path+name, notText)
		return ""
	}
	return o.in.text(n.start, n.end, n.escaped)
}

// texts returns a required list of strings. A wrong entry is noted and empty.
func (o object) texts(name string) []string {
	i := o.required(name)
	if i == 0 {
		return nil
	}
	n := &o.in.nodes[i]
	if n.kind != kindList {
		o.in.fault(o.path+name, notList)
		return nil
	}
	var list []string
	for i := n.first; i != 0; i = o.in.nodes[i].next {
		s := ""
		if m := &o.in.nodes[i]; m.kind == kindText {
			s = o.in.text(m.start, m.end, m.escaped)
		} else {
			o.in.fault(o.path+name+"["+strconv.Itoa(len(list))+"]", notText)
		}
		list = append(list, s)
	}
	return list
}

// whole returns a whole number; 0 when it is not given or wrong.
func (o object) whole(name string) int64 {
	i := o.member(name)
	if i == 0 {
		return 0
	}
	if n := &o.in.nodes[i]; n.kind == kindNumber {
		if v, ok := o.in.integer(n); ok {
			return v
		}
	}
	o.in.fault(o.path+name, notWhole)
	return 0
}

// id returns an id, given as a number or as its digits; 0 when it is not given
// or wrong.
func (o object) id(name string) int64 {
	i := o.member(name)
	if i == 0 {
		return 0
	}
	switch n := &o.in.nodes[i]; n.kind {
	case kindNumber:
		if v, ok := o.in.integer(n); ok && v >= 1 {
			return v
		}
	case kindText:
		if v, ok := domain.ParseID(o.in.text(n.start, n.end, n.escaped)); ok {
			return v
		}
	}
	o.in.fault(o.path+name, notID)
	return 0
}

// boolean returns a boolean, false when it is not given.
func (o object) boolean(name string) bool {
	i := o.member(name)
	if i == 0 {
		return false
	}
	switch o.in.nodes[i].kind {
	case kindTrue:
		return true
	case kindFalse:
	default:
		o.in.fault(o.path+name, notBool)
	}
	return false
}
