// Package sqlite is the embedded [domain.Store]: one SQLite file, one process.
//
// # Invariants
//
// One process. [Open] takes an exclusive lock on the folder of the file and
// keeps it until [Store.Close]; the kernel drops it when the process dies. So
// every change to the file is made by this Store, or by a [Migrator], which
// takes the same lock.
//
// One writer. All changes go through one connection. Whoever holds it (it is
// handed over through a channel of capacity one) is alone in changing the file
// and is the only one to touch the fields of [writer]. Every change is one
// transaction begun IMMEDIATE; its time is read from the clock once, inside.
//
// Readers. Reads use their own connections, one goroutine each, and see the
// newest commit at the time they start. A method that needs several statements
// reads them in one transaction, so in one snapshot. A statement is always
// reset before its connection is handed back: an open one would hold its
// snapshot and keep the log from being reused.
//
// Durability. The journal is a write-ahead log with synchronous=FULL, read back
// on every connection: a commit returns after the log reached the disk.
// Checkpoints only copy what is durable already; they run in the background,
// see [Store.checkpoint].
//
// What is kept in memory. The writer remembers facts about polls (position,
// state, counts) and about search tokens; see [pollCache] for why they cannot be
// stale. Leases of outbox rows live in memory only: whoever held one died with
// the process.
//
// A context ends waiting for a connection and long reads. It never ends a
// change that has begun.
package sqlite
