// Package replay plays recorded conversations against a running server through
// its public HTTP API, and holds what the server then says against a tally
// counted from the file.
//
// Each statement becomes a poll (agree, disagree), published by the one who
// wrote it; each person an account; a pass a skip. A person's answers go out in
// the order of their time, one after the other, many people at once. Limits are
// respected by waiting as the server tells, but for the daily limit of votes:
// what it refuses is expected and counted.
//
// What must hold of a run:
//
//   - A request may be repeated, after a 503 or a lost connection, a bounded
//     number of times; repeating converges, so no answer is counted twice. A
//     vote refused as already counted with the same option, after a try whose
//     answer was lost, was counted by that try.
//   - The expectation (tally.go) and the replay read the file by lines of code
//     of their own, so that a mistake in one is seen as a difference.
//   - A person's state is used by one goroutine at a time. Shared are the
//     connections, the counters of the progress line and the slots that bound
//     how many requests are under way.
package replay
