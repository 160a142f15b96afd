// Package domain holds what Vote is about: its nouns, the rules that decide
// over them, the errors and events that leave it, and the ports behind which
// the engines stand.
//
// Everything that decides is a pure function: [Rules.Judge] over votes and
// skips, [Rules.JudgePublications] over new polls, the validations of input.
// An engine reads facts, calls the rule inside its transaction and writes what
// was accepted, so each rule is written once for every engine.
//
// The package imports the standard library and golang.org/x/text only.
package domain
