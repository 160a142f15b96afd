// Package events carries what was committed to those who react to it: the
// [Relay] takes rows from the outbox and publishes their events on a bus, and
// consumers subscribe to its queues.
//
// Invariants.
//
// An outbox row is deleted only after the bus has taken responsibility for all
// its events, or after the row itself was kept as a dead letter because it could not be
// read. So each committed change is published at least once, whenever the
// process dies. It may be published more than once (the process dies between
// publishing and deleting, or a lease runs out), always with the same event
// ids. Rows are published in no promised order.
//
// The state of a Relay belongs to the goroutine of its Run; other goroutines
// only call Wake.
//
// Consumers tolerate the same event again, and events in any order.
package events
