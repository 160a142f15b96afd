package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

// A month is archived in steps, each of which is done wholly or not at all, and
// does nothing when it was done before:
//
//  1. Short transactions close the month's polls, and the last of them remembers
//     the month. They hold the gate alone, so from its commit on nobody adds to the
//     month's votes and skips: the rules refuse the votes and store no skip, and no
//     poll of the month can be opened again.
//  2. One transaction keeps how many the rows are, makes the month's partitions
//     tables of the archive, and remembers that they were moved.
//
// So at every moment each row is in the live tables, or in the archive and counted
// as such.

// archiving is the archiving of one month.
type archiving struct {
	s          *Store
	month      domain.Month
	first, end domain.PollID // its polls
}

// archiveSchema is where the partitions of archived months are.
const archiveSchema = "archive"

func (s *Store) archiving(month domain.Month) *archiving {
	a := &archiving{s: s, month: month}
	a.first, a.end = month.Polls()
	return a
}

// ArchiveMonth implements [domain.Store]. The month's partitions become tables of
// their own, in the schema archive of the same database.
func (s *Store) ArchiveMonth(ctx context.Context, month domain.Month) (domain.ArchivedMonth, error) {
	a := s.archiving(month)
	for _, step := range a.steps() {
		if err := step(ctx); err != nil {
			return domain.ArchivedMonth{}, err
		}
	}
	done, _, err := a.state(ctx)
	return done, err
}

func (a *archiving) steps() []func(context.Context) error {
	return []func(context.Context) error{a.close, a.move}
}

// state returns what is remembered of the month, and whether its rows were
// moved. Errors: CodeNotFound when nothing is.
func (a *archiving) state(ctx context.Context) (done domain.ArchivedMonth, moved bool, err error) {
	err = a.s.read(ctx, opArchive, func(ctx context.Context, c *conn) error {
		done = domain.ArchivedMonth{Month: a.month, Place: a.place()}
		return notFound(c.row(ctx, `/* archived_month */ SELECT closed_at, moved_at IS NOT NULL, polls, votes, skips
			FROM archived_months WHERE month = $1`, []any{a.month.String()},
			&done.ClosedAt, &moved, &done.Polls, &done.Votes, &done.Skips))
	})
	return done, moved, err
}

// place names the tables that hold the month's rows, also when it had none.
func (a *archiving) place() string {
	return archiveSchema + "." + partition("votes", a.month) + ", " + archiveSchema + "." + partition("skips", a.month)
}

// closedAtOnce bounds one transaction that closes polls, so that votes need not
// wait for it long.
const closedAtOnce = 500

// close is the first step.
func (a *archiving) close(ctx context.Context) error {
	for {
		remembered, err := a.closeSome(ctx)
		if remembered || err != nil {
			return err
		}
	}
}

const closeMonthQuery = `/* close_month */ WITH open AS (
		SELECT id, row_number() OVER (ORDER BY id) AS number FROM polls
		WHERE id >= $1 AND id < $2 AND state = 0 ORDER BY id LIMIT $5),
	closed AS (
		UPDATE polls p SET closed_at = $3, revision = $4 + o.number FROM open o WHERE p.id = o.id RETURNING p.position)
	DELETE FROM search s USING closed WHERE s.position = closed.position`

// rememberMonth counts the rows when they are moved: until then they are where
// everybody looks for them.
const rememberMonth = `/* remember_month */ INSERT INTO archived_months
		(month, first_poll, end_poll, first_position, end_position, closed_at, polls, votes, skips)
	SELECT $1, $2, $3, coalesce(min(position), 0), coalesce(max(position) + 1, 0), $4, count(*), 0, 0
	FROM polls WHERE id >= $2 AND id < $3`

// closeSome closes some of the month's polls and, when those were the last ones,
// remembers the month.
func (a *archiving) closeSome(ctx context.Context) (remembered bool, err error) {
	err = a.s.write(ctx, opArchive, func(ctx context.Context, c *conn) error {
		remembered = false
		if err := c.closeGate(ctx); err != nil {
			return err
		}
		last, err := c.issued(ctx)
		if err != nil {
			return err
		}
		if remembered, err = c.exists(ctx, `SELECT 1 FROM archived_months WHERE month = $1`, a.month.String()); remembered || err != nil {
			return err
		}
		now, err := c.now(ctx)
		if err != nil {
			return err
		}
		if err := a.month.CheckArchivable(now); err != nil {
			return err
		}
		closed, err := c.exec(ctx, closeMonthQuery, int64(a.first), int64(a.end), now, last.revision, closedAtOnce)
		if err != nil {
			return err
		}
		if closed > 0 {
			last.revision += closed
			if err := c.setIssued(ctx, last); err != nil {
				return err
			}
		}
		if remembered = closed < closedAtOnce; !remembered {
			return nil
		}
		_, err = c.exec(ctx, rememberMonth, a.month.String(), int64(a.first), int64(a.end), now)
		return err
	})
	return remembered, err
}

// move is the last step.
func (a *archiving) move(ctx context.Context) error {
	return a.s.writeLong(ctx, opArchive, func(ctx context.Context, c *conn) error {
		var month string
		err := c.row(ctx, `/* lock_month */ SELECT month FROM archived_months WHERE month = $1 AND moved_at IS NULL FOR UPDATE`,
			[]any{a.month.String()}, &month)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		now, err := c.now(ctx)
		if err != nil {
			return err
		}
		if err := a.keepCounts(ctx, c, now); err != nil {
			return err
		}
		// Whoever votes waits for this, and it for them, so it comes last and gives
		// up soon.
		if _, err := c.exec(ctx, `/* limit_move */ SET LOCAL lock_timeout = '500ms'`); err != nil {
			return err
		}
		for _, table := range []string{"votes", "skips"} {
			if err := a.detach(ctx, c, table); err != nil {
				return err
			}
		}
		return nil
	})
}

// keepCounts keeps how many of the month's rows there are. Their polls are closed,
// so none is added meanwhile.
func (a *archiving) keepCounts(ctx context.Context, c *conn, now time.Time) error {
	first, end, today := int64(a.first), int64(a.end), date(domain.DayOf(now))
	b := &pgx.Batch{}
	b.Queue(`/* archive_votes */ INSERT INTO archived_votes (poll_id, option_index, vote_count)
		SELECT poll_id, option_index, count(*) FROM votes WHERE poll_id >= $1 AND poll_id < $2
		GROUP BY poll_id, option_index`, first, end)
	b.Queue(`/* archive_skips */ INSERT INTO archived_skips (poll_id, skip_count)
		SELECT poll_id, count(*) FROM skips WHERE poll_id >= $1 AND poll_id < $2 GROUP BY poll_id`, first, end)
	b.Queue(`/* archive_users */ INSERT INTO archived_users AS u (user_id, votes, skips)
		SELECT user_id, sum(vote), sum(skip) FROM (
			SELECT user_id, 1 AS vote, 0 AS skip FROM votes WHERE poll_id >= $1 AND poll_id < $2
			UNION ALL SELECT user_id, 0, 1 FROM skips WHERE poll_id >= $1 AND poll_id < $2) done
		GROUP BY user_id ORDER BY user_id
		ON CONFLICT (user_id) DO UPDATE SET votes = u.votes + excluded.votes, skips = u.skips + excluded.skips`, first, end)
	// The counter of today is what the daily limit is held by, so it goes on
	// counting what was moved; those of past days do not.
	b.Queue(`/* archive_days */ INSERT INTO archived_days AS d (user_id, vote_date, vote_count)
		SELECT user_id, (created_at AT TIME ZONE 'utc')::date AS vote_date, count(*) FROM votes
		WHERE poll_id >= $1 AND poll_id < $2 AND (created_at AT TIME ZONE 'utc')::date >= $3
		GROUP BY 1, 2 ORDER BY 1, 2
		ON CONFLICT (vote_date, user_id) DO UPDATE SET vote_count = d.vote_count + excluded.vote_count`, first, end, today)
	b.Queue(`/* archive_past_days */ WITH past AS (
			SELECT bucket, user_id, (created_at AT TIME ZONE 'utc')::date AS vote_date, count(*) AS n FROM votes
			WHERE poll_id >= $1 AND poll_id < $2 AND (created_at AT TIME ZONE 'utc')::date < $3 GROUP BY 1, 2, 3),
		gone AS (
			DELETE FROM daily_votes d USING past p WHERE d.bucket = p.bucket AND d.user_id = p.user_id
				AND d.vote_date = p.vote_date AND d.vote_count = p.n)
		UPDATE daily_votes d SET vote_count = d.vote_count - p.n FROM past p
		WHERE d.bucket = p.bucket AND d.user_id = p.user_id AND d.vote_date = p.vote_date AND d.vote_count > p.n`, first, end, today)
	b.Queue(`/* archive_month */ UPDATE archived_months SET moved_at = $4,
			votes = (SELECT count(*) FROM votes WHERE poll_id >= $1 AND poll_id < $2),
			skips = (SELECT count(*) FROM skips WHERE poll_id >= $1 AND poll_id < $2)
		WHERE month = $3`, first, end, a.month.String(), now)
	return c.SendBatch(ctx, b).Close()
}

// detach makes the month's partition of a table, if there is one, a table of the
// archive. Errors: CodeConflict when that has one of the name.
func (a *archiving) detach(ctx context.Context, c *conn, table string) error {
	name := partition(table, a.month)
	var attached, foreign bool
	err := c.row(ctx, `/* month_partition */ SELECT
		EXISTS (SELECT 1 FROM pg_inherits WHERE inhparent = $1::text::regclass AND inhrelid = to_regclass($2)),
		to_regclass($3) IS NOT NULL`, []any{table, name, archiveSchema + "." + name}, &attached, &foreign)
	switch {
	case err != nil:
		return err
	case foreign:
		return domain.E(domain.CodeConflict, "There is a table "+archiveSchema+"."+name+" already: move it away.")
	case !attached:
		return nil // the month had no polls
	}
	for _, statement := range []string{
		`/* detach */ ALTER TABLE %[1]s DETACH PARTITION %[2]s`,
		`/* move_partition */ ALTER TABLE %[2]s SET SCHEMA ` + archiveSchema,
	} {
		if _, err := c.exec(ctx, fmt.Sprintf(statement, table, name)); err != nil {
			return err
		}
	}
	return nil
}
