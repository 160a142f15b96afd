package postgres

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

// Rows are skipped that another claim holds at this moment, and those whose lease
// lasts. A row that commits late is found by the next claim: nothing relies on the
// order of ids.
const claimOutbox = `/* claim_outbox */ UPDATE outbox
	SET claimed_until = coalesce($1::timestamptz, date_trunc('milliseconds', statement_timestamp())) + $3 * interval '1 microsecond'
	WHERE id = ANY (ARRAY(
		SELECT id FROM outbox WHERE claimed_until IS NULL
			OR claimed_until <= coalesce($1::timestamptz, date_trunc('milliseconds', statement_timestamp()))
		ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED))
	RETURNING id, created_at, versions, changes`

// ClaimOutbox implements [domain.Store].
func (s *Store) ClaimOutbox(ctx context.Context, limit int, lease time.Duration) ([]domain.OutboxRow, error) {
	if limit <= 0 {
		return nil, s.usable(ctx)
	}
	var claimed []domain.OutboxRow
	err := s.write(ctx, opClaimOutbox, func(ctx context.Context, c *conn) error {
		claimed = claimed[:0]
		var at *time.Time
		if c.clock != nil {
			at = optional(handed(c.clock))
		}
		return c.rows(ctx, claimOutbox, func(r pgx.Rows) error {
			row, err := scanOutbox(r)
			claimed = append(claimed, row)
			return err
		}, at, limit, lease.Microseconds())
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(claimed, func(a, b domain.OutboxRow) int { return cmp.Compare(a.ID, b.ID) })
	return claimed, nil
}

// scanOutbox reads id, created_at, versions, changes.
func scanOutbox(r pgx.Row) (domain.OutboxRow, error) {
	var row domain.OutboxRow
	var versions []int64
	if err := r.Scan(&row.ID, &row.At, &versions, &row.Changes); err != nil {
		return row, err
	}
	row.Changes = withVersions(row.Changes, versions)
	return row, nil
}

// withVersions puts the versions of the counts, by ascending poll id, into the
// changes of a batch. What cannot be read stays as it is, for whoever reads it.
func withVersions(stored []byte, versions []int64) []byte {
	if len(versions) == 0 {
		return stored
	}
	var changes domain.Changes
	if changes.UnmarshalBinary(stored) != nil {
		return stored
	}
	polls := make([]domain.PollID, 0, len(changes.Votes)+len(changes.Skips))
	for _, v := range changes.Votes {
		polls = append(polls, v.PollID)
	}
	for _, v := range changes.Skips {
		polls = append(polls, v.PollID)
	}
	slices.Sort(polls)
	if polls = slices.Compact(polls); len(polls) != len(versions) {
		return stored
	}
	version := make(map[domain.PollID]int64, len(polls))
	for i, p := range polls {
		version[p] = versions[i]
	}
	for i, v := range changes.Votes {
		changes.Votes[i].Version = version[v.PollID]
	}
	for i, v := range changes.Skips {
		changes.Skips[i].Version = version[v.PollID]
	}
	told, err := changes.AppendBinary(make([]byte, 0, len(stored)+16*len(polls)))
	if err != nil {
		return stored
	}
	return told
}

// DeleteOutbox implements [domain.Store]. Rows that are gone already are no
// error.
func (s *Store) DeleteOutbox(ctx context.Context, ids []int64) error {
	if len(ids) == 0 {
		return s.usable(ctx)
	}
	return s.write(ctx, opDeleteOutbox, func(ctx context.Context, c *conn) error {
		_, err := c.exec(ctx, `/* delete_outbox */ DELETE FROM outbox WHERE id = ANY($1)`, ids)
		return err
	})
}

// OutboxLag implements [domain.Store].
func (s *Store) OutboxLag(ctx context.Context) (rows int64, oldest time.Time, err error) {
	err = s.read(ctx, opOutboxLag, func(ctx context.Context, c *conn) error {
		var at *time.Time
		err := c.row(ctx, `/* outbox_lag */ SELECT count(*), (SELECT created_at FROM outbox ORDER BY id LIMIT 1) FROM outbox`, nil, &rows, &at)
		if at != nil {
			oldest = *at
		}
		return err
	})
	return rows, oldest, err
}
