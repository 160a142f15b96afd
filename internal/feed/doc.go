// Package feed answers which polls a user has not seen yet: it keeps the index
// of published polls, what each active user has seen, the hot rankings and the
// polls' JSON, and writes pages from them.
//
// A page is set algebra over positions: (all polls, or the union of some tags,
// or search hits, or a ranking) and not what the user has seen, walked from the
// newest downward.
//
// Invariants:
//
//   - Seen. Once [Feed.Apply] returned for a vote or skip, no page asked for
//     later holds the poll for that user. When other processes write too, the
//     same holds for everything that was committed before the page was asked
//     for. It follows from four rules. A user's set only grows. An entry of the
//     cache holds at least everything up to its version. Apply looks for an
//     entry after the commit, so an entry that it does not find is made later
//     and loaded after the commit; an entry that it finds takes the positions
//     even while a load is under way, since loading adds to the set and never
//     replaces it. A page is made only from an entry that was verified: by a
//     read of the user's version that began after the page was asked for, or,
//     in a process that makes every change itself, by Apply alone. When the
//     version cannot be read there is no page.
//   - Index. A poll's entry is applied only when its revision is newer than
//     what is known of the poll, so entries announced by this process and the
//     same entries found by tailing may come in any order and more than once.
//     Tailing follows revisions upward and misses none. Pages are not made
//     while a position below one announced by this process is still unknown.
//   - Walks. A cursor names a position (or a rank of one stored ranking) and
//     the walk goes strictly on from there, so it has no repeats, and polls
//     published meanwhile do not shift it.
//   - Authors. Once [Feed.AuthorChanged] returned, no answer asked for later holds
//     the former name. Polls whose author was renamed or erased get new revisions,
//     so other processes forget their JSON when they tail these.
//   - Totals never fall, and are at most a second old when a page is made.
//   - Locks are taken in the order entry of a user, index; shards of the seen
//     cache and everything else are leaves. No lock is held while the store or
//     the cache is asked. The index is guarded by one read-write lock that
//     writers hold for the insertion of a few entries (microseconds) and
//     readers for one walk over at most one word per 64 polls.
//   - Memory is bounded: seen sets and bodies in bytes, rankings by number, and
//     requests waiting for a shared query by [maxWaiting]. Only the index
//     grows, with the number of polls.
package feed
