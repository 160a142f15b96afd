// Package postgres is the [domain.Store] on PostgreSQL 15 or newer, which many
// processes share.
//
// # Invariants
//
// A change is one transaction, read committed, whose waits are bounded by the
// server itself, so that a process that stops in the middle of one cannot hold
// the others for long. Its end is never the end of a caller's context: that ends
// waiting for a connection, and reads.
//
// Locks are taken in one order by everybody: the gate of the states of polls
// ([gate]), rows of user_state by bucket and user, rows of users, rows of
// poll_counts by bucket and poll, the row of publication. Whatever a user has done is changed by who
// holds the user's row of user_state, so facts that are read after it was locked,
// by a statement of their own, stay true until the commit.
//
// States of polls. A batch of votes holds the gate shared, and whoever changes
// what the judge looks at in a poll holds it alone: so no vote is committed that
// was judged by a state that is no longer there.
//
// Users who are erased have no row in user_state. Who is banned has it marked
// there as well as in users.
//
// History. What a user has seen is numbered by the user's version, see tables
// user_state and history. Archiving leaves the numbers alone.
//
// Buckets. What belongs to a user is in the user's bucket, and the counts of a poll
// are the sum of those in all buckets, whichever they are in. How many there are
// changes only while no Store is connected, see [Migrator.Rebucket]; one that was
// cut off meanwhile finds no row of user_state of whom it would put wrong.
//
// Times. Days and times come from the database's clock, the same for all
// processes, unless the Store was given another, see [Options.Clock].
//
// Pools of connections such as PgBouncer's in transaction mode may stand between:
// nothing is left in a session. See [Options.Statements].
package postgres
