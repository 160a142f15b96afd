package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vote/internal/domain"
)

// userTables hold what belongs to users, each row in the bucket of its user_id.
var userTables = []string{"user_state", "history", "daily_votes", "votes", "skips"}

// bucketTables are all tables whose key begins with a bucket.
var bucketTables = append(slices.Clone(userTables), "poll_counts", "outbox")

// Rebucket implements [domain.Sharder]: in one transaction, so that whatever ends
// it leaves the buckets as they were. It needs room for another copy of the rows
// that get another bucket.
func (m *Migrator) Rebucket(ctx context.Context, buckets int) (before int, err error) {
	if buckets < 1 || buckets > domain.MaxBuckets {
		return 0, fmt.Errorf("postgres: there can be 1 to %d buckets, not %d", domain.MaxBuckets, buckets)
	}
	err = m.alone(ctx, func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, `SELECT buckets FROM storage`).Scan(&before); err != nil || before == buckets {
			return err
		}
		if spread, err := distributedTables(ctx, tx); err != nil || len(spread) > 0 {
			return cmp.Or(err, errDistributed)
		}
		archives, err := archivedTables(ctx, tx)
		if err != nil {
			return err
		}
		return execute(ctx, tx, rebucketing(buckets, archives))
	})
	if err != nil {
		return 0, m.wrap("rebucket", err)
	}
	return before, nil
}

var errDistributed = errors.New("the tables are distributed by bucket, so that their rows cannot change theirs: undistribute them first")

// rebucketing lists the statements that make it so many buckets.
//
// What a poll was given in all buckets is put into one of them, since nobody keeps
// in which bucket archived votes were: the counts of all buckets add up, whichever
// they are in. Rows of the outbox are in any bucket.
func rebucketing(buckets int, archives []string) []string {
	var list []string
	for _, table := range slices.Concat(userTables, archives) {
		list = append(list, fmt.Sprintf(
			`/* rebucket */ UPDATE %[1]s SET bucket = user_id %% %[2]d WHERE bucket <> user_id %% %[2]d`, table, buckets))
	}
	return append(list,
		fmt.Sprintf(`/* rebucket */ UPDATE outbox SET bucket = id %% %[1]d WHERE bucket <> id %% %[1]d`, buckets),
		`/* merge_counts */ CREATE TEMPORARY TABLE merged ON COMMIT DROP AS
			WITH options AS (
				SELECT poll_id, e.i, sum(e.n)::bigint AS n FROM poll_counts, unnest(votes) WITH ORDINALITY AS e (n, i)
				GROUP BY poll_id, e.i)
			SELECT c.*, coalesce(o.votes, '{}') AS votes
			FROM (SELECT poll_id, sum(total)::bigint AS total, sum(skips)::bigint AS skips, max(updated_at) AS updated_at
				FROM poll_counts GROUP BY poll_id) c
			LEFT JOIN (SELECT poll_id, array_agg(n ORDER BY i) AS votes FROM options GROUP BY poll_id) o USING (poll_id)`,
		`TRUNCATE poll_counts`,
		fmt.Sprintf(`/* rebucket_counts */ INSERT INTO poll_counts (bucket, poll_id, total, skips, updated_at, votes)
			SELECT poll_id %% %d, poll_id, total, skips, updated_at, votes FROM merged ORDER BY 1, 2`, buckets),
		fmt.Sprintf(`/* set_buckets */ UPDATE storage SET buckets = %d`, buckets),
	)
}

// archivedTables lists the tables of archived months that are in this database.
func archivedTables(ctx context.Context, tx *sql.Tx) ([]string, error) {
	return names(ctx, tx, `SELECT format('%I.%I', $1::text, c.relname) FROM pg_class c
		WHERE c.relnamespace = to_regnamespace($1) AND c.relkind = 'r'
			AND 2 = (SELECT count(*) FROM pg_attribute WHERE attrelid = c.oid AND attname IN ('bucket', 'user_id'))
		ORDER BY 1`, archiveSchema)
}

// alone runs f in a transaction that nobody else has a part in: with the schema as
// this program knows it, no session of a Store, and the tables locked against new
// ones, which then find what f has made.
func (m *Migrator) alone(ctx context.Context, f func(*sql.Tx) error) error {
	applied, known, err := m.provider.GetVersions(ctx)
	switch {
	case err != nil:
		return err
	case applied < known:
		return errOutdated
	case applied > known:
		return fmt.Errorf("the database was made by a newer version: schema %d, this program knows %d", applied, known)
	}
	// Before the locks, so that servers that run are not held up.
	if err := m.awaitAlone(ctx); err != nil {
		return err
	}
	tx, err := m.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	err = execute(ctx, tx, []string{
		`SET LOCAL statement_timeout = 0`, `SET LOCAL lock_timeout = '10s'`,
		`LOCK TABLE ` + strings.Join(append([]string{"storage", "users"}, bucketTables...), ", ") + ` IN ACCESS EXCLUSIVE MODE`,
	})
	if serverCode(err) == codeLockTimeout {
		return fmt.Errorf("the tables are in use, so stop what uses them: %w", err)
	}
	if err != nil {
		return err
	}
	if err := checkAlone(ctx, tx); err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// farewell is how long the sessions of a server that was stopped may take to end.
const farewell = 3 * time.Second

// awaitAlone is checkAlone, which waits for sessions that are ending.
func (m *Migrator) awaitAlone(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	for {
		err := checkAlone(ctx, m.db)
		if !errors.Is(err, errInUse) || !pause(waiting, 1) {
			return err
		}
	}
}

var errInUse = errors.New("stop every server first, and have a pooler that stands between close what it keeps open")

// checkAlone returns an error when there are sessions of a Store: [errInUse].
func checkAlone(ctx context.Context, db querier) error {
	var sessions int
	err := db.QueryRowContext(ctx, `SELECT count(*) FROM pg_stat_activity
		WHERE datname = current_database() AND application_name = $1`, applicationName).Scan(&sessions)
	if err == nil && sessions > 0 {
		err = fmt.Errorf("the database is in use by %d sessions of the program: %w", sessions, errInUse)
	}
	return err
}

// A querier is a database or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func execute(ctx context.Context, tx *sql.Tx, statements []string) error {
	for _, statement := range statements {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			first, _, _ := strings.Cut(statement, "\n")
			return fmt.Errorf("%s: %w", first, err)
		}
	}
	return nil
}

// names reads a column of texts.
func names(ctx context.Context, tx *sql.Tx, query string, args ...any) (list []string, err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		list = append(list, name)
	}
	return list, rows.Err()
}
