package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
)

// A placement is where the rows of a table are in a cluster.
type placement int

const (
	// local is on the coordinator: small, or for what runs beside the requests.
	local placement = iota
	// everywhere is a copy on each server: what rows of users and what refers to
	// users are looked at with, and what refers to those.
	everywhere
	// byBucket is each bucket on one server, the same for all such tables.
	byBucket
)

// placements has every table of the schema. The first by bucket is the one beside
// which the others are put.
var placements = []struct {
	table     string
	placement placement
}{
	{"users", everywhere},
	{"sessions", everywhere},
	{"refresh_tokens", everywhere},
	{"polls", everywhere},
	{"notifications", everywhere},
	{"user_state", byBucket},
	{"history", byBucket},
	{"daily_votes", byBucket},
	{"votes", byBucket},
	{"skips", byBucket},
	{"poll_counts", byBucket},
	{"outbox", byBucket},
	{"storage", local},
	{"goose_db_version", local},
	{"erased_sessions", local},
	{"publication", local},
	{"daily_polls", local},
	{"idempotency_keys", local},
	{"search", local},
	{"dead_letters", local},
	{"poll_milestones", local},
	{"poll_hourly", local},
	{"counted_events", local},
	{"rankings", local},
	{"archived_months", local},
	{"archived_votes", local},
	{"archived_skips", local},
	{"archived_users", local},
	{"archived_days", local},
}

// A reference is a foreign key of a table to another.
type reference struct {
	table, name, definition, to string
}

var (
	errNoCitus = errors.New(`the database has no extension "citus", which distributes tables: ` +
		`install it on every server, name it in shared_preload_libraries, and CREATE EXTENSION citus`)
	errOneBucket = errors.New("the database has one bucket, which would all be on one server: rebucket it first")
)

// Distribute implements [domain.Sharder], with the extension Citus: in one
// transaction, so that whatever ends it leaves the tables as they were.
func (m *Migrator) Distribute(ctx context.Context) (spread []string, err error) {
	if there, err := hasCitus(ctx, m.db); err != nil || !there {
		return nil, m.wrap("distribute", cmp.Or(err, errNoCitus))
	}
	err = m.alone(ctx, func(tx *sql.Tx) error {
		var buckets int
		if err := tx.QueryRowContext(ctx, `SELECT buckets FROM storage`).Scan(&buckets); err != nil {
			return err
		}
		if buckets == 1 {
			return errOneBucket
		}
		done, err := distributedTables(ctx, tx)
		if err != nil {
			return err
		}
		references, err := foreignKeys(ctx, tx)
		if err != nil {
			return err
		}
		var statements []string
		spread, statements = distribution(done, references)
		return execute(ctx, tx, statements)
	})
	if err != nil {
		return nil, m.wrap("distribute", err)
	}
	return spread, nil
}

// distribution lists the tables that are not spread yet and the statements that
// spread them, with their rows.
//
// Foreign keys are taken off meanwhile: Citus would otherwise put the tables that
// they lead from among its own in a state of their own, from which not all ways
// lead on. What stays behind of the rows on the coordinator, where nobody sees it
// and erasure does not reach it, is cleared.
func distribution(done []string, references []reference) (spread, statements []string) {
	var first string
	var place, cleared []string
	for _, p := range placements {
		if p.placement == local {
			continue
		}
		beside := "none"
		if p.placement == byBucket {
			if first == "" {
				first = p.table
			} else {
				beside = first
			}
		}
		if slices.Contains(done, p.table) {
			continue
		}
		spread = append(spread, p.table)
		if p.placement == everywhere {
			place = append(place, fmt.Sprintf(`SELECT create_reference_table('%s')`, p.table))
		} else {
			place = append(place, fmt.Sprintf(`SELECT create_distributed_table('%s', 'bucket', colocate_with => '%s')`, p.table, beside))
		}
		cleared = append(cleared, fmt.Sprintf(`SELECT truncate_local_data_after_distributing_table('%s')`, p.table))
	}
	if len(spread) == 0 {
		return nil, nil
	}
	var drop, add []string
	for _, r := range references {
		if slices.Contains(spread, r.table) || slices.Contains(spread, r.to) {
			drop = append(drop, fmt.Sprintf(`ALTER TABLE %s DROP CONSTRAINT %s`, r.table, r.name))
			add = append(add, fmt.Sprintf(`ALTER TABLE %s ADD CONSTRAINT %s %s`, r.table, r.name, r.definition))
		}
	}
	// One connection to each server, so that each sees what was made before.
	return spread, slices.Concat([]string{`SET LOCAL citus.multi_shard_modify_mode TO 'sequential'`}, drop, place, cleared, add)
}

func hasCitus(ctx context.Context, db querier) (there bool, err error) {
	err = db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus')`).Scan(&there)
	return there, err
}

// distributedTables lists the tables that are spread over the servers.
func distributedTables(ctx context.Context, tx *sql.Tx) ([]string, error) {
	if there, err := hasCitus(ctx, tx); err != nil || !there {
		return nil, err
	}
	return names(ctx, tx, `SELECT table_name::text FROM citus_tables WHERE citus_table_type IN ('distributed', 'reference') ORDER BY 1`)
}

// foreignKeys lists those of the schema.
func foreignKeys(ctx context.Context, tx *sql.Tx) (list []reference, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid), confrelid::regclass::text
		FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 AND connamespace = current_schema()::regnamespace ORDER BY 1, 2`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r reference
		if err := rows.Scan(&r.table, &r.name, &r.definition, &r.to); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}
