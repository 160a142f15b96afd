// Package analytics counts how often polls are shown and tells what happened to
// a poll over time.
//
// Invariants of shared memory. [Analytics.Shown] only adds to numbers in memory:
// it never waits for the store, and never blocks longer than it takes to add. The
// numbers of at most maxPending polls and hours wait; beyond them, what is shown
// is dropped and counted as dropped. [Analytics.Run] alone takes them out and
// writes them, at most every FlushEvery and once more when its context ends, so a
// process that is killed loses what was shown in the last ten seconds at most.
// What could not be written is put back, unless it may have been written: then it
// is dropped, since these numbers may be too low but are never counted twice.
//
// Votes and skips are counted by the consumer of the queue vote.analytics.
package analytics
