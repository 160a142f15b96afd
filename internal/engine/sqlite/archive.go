package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

// A month is archived in steps, each of which is done wholly or not at all, and
// does nothing when it was done before:
//
//  1. One transaction closes the month's polls and remembers the month. From its
//     commit on nobody can add to the month's votes and skips: the rules refuse
//     the votes and store no skip, and no poll of the month can be opened again.
//  2. The rows are copied into a file under a temporary name, which is synced,
//     and only then gets its own. A temporary file that is found is of an
//     attempt that died, and is made anew.
//  3. The file is compared with the live tables, row by row.
//  4. One transaction deletes the rows, keeps how many they were, and remembers
//     that they were moved.
//
// So at every moment each row is in the live tables, or in the finished file and
// counted as such. A process that dies between steps leaves copies at most.

// archiveSchema is that of an archive: the month's rows, and of its polls what
// makes sense of them.
const archiveSchema = `
CREATE TABLE archive.votes (
    user_id      INTEGER NOT NULL,
    poll_id      INTEGER NOT NULL,
    option_index INTEGER NOT NULL,
    position     INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (user_id, poll_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE archive.skips (
    user_id    INTEGER NOT NULL,
    poll_id    INTEGER NOT NULL,
    position   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, poll_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE archive.polls (
    id         INTEGER PRIMARY KEY,
    position   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    title      TEXT NOT NULL,
    options    TEXT NOT NULL,
    tags       TEXT NOT NULL
) STRICT;`

// archiving is the archiving of one month.
type archiving struct {
	s          *Store
	month      domain.Month
	first, end domain.PollID // its polls
	file       string
}

func (s *Store) archiving(month domain.Month) *archiving {
	a := &archiving{s: s, month: month}
	a.first, a.end = month.Polls()
	a.file = fmt.Sprintf("%s-archive-%s.db", strings.TrimSuffix(s.path, filepath.Ext(s.path)), month)
	return a
}

// ArchiveMonth implements [domain.Store]. The rows go into a database file of
// their own, beside the one of the store.
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
	return []func(context.Context) error{a.close, a.copy, a.compare, a.move}
}

// state returns what is remembered of the month, and whether its rows were
// moved. Errors: CodeNotFound when nothing is.
func (a *archiving) state(ctx context.Context) (done domain.ArchivedMonth, moved bool, err error) {
	err = a.s.read(ctx, opArchive, func(c *conn) error {
		return notFound(c.row(`SELECT closed_at, moved_at IS NOT NULL, polls, votes, skips FROM archived_months WHERE month = ?`,
			func(r *sqlite.Stmt) error {
				done = domain.ArchivedMonth{
					Month: a.month, ClosedAt: fromMillis(r.ColumnInt64(0)),
					Polls: r.ColumnInt64(2), Votes: r.ColumnInt64(3), Skips: r.ColumnInt64(4), Place: a.file,
				}
				moved = r.ColumnBool(1)
				return nil
			}, a.month.String()))
	})
	return done, moved, err
}

// close is the first step.
func (a *archiving) close(ctx context.Context) error {
	return a.s.write(ctx, opArchive, func(w *writer) error {
		if known, err := w.exists(`SELECT 1 FROM archived_months WHERE month = ?`, a.month.String()); known || err != nil {
			return err
		}
		now := a.s.now()
		if err := a.month.CheckArchivable(now); err != nil {
			return err
		}
		w.polls.clear()
		last, err := w.issued()
		if err != nil {
			return err
		}
		var open []int64 // position by position, by id
		err = w.rows(`SELECT position FROM polls WHERE id >= ? AND id < ? AND state = 0 ORDER BY id`, func(r *sqlite.Stmt) error {
			open = append(open, r.ColumnInt64(0))
			return nil
		}, int64(a.first), int64(a.end))
		if err != nil {
			return err
		}
		w.pages = int64(len(open)) * pagesPerPoll
		for _, position := range open {
			last.revision++
			if err := w.run(`UPDATE polls SET closed_at = ?, revision = ? WHERE position = ?`,
				millis(now), last.revision, position); err != nil {
				return err
			}
			if err := w.unindex(domain.Position(position)); err != nil { //nolint:gosec // 32 bits wide
				return err
			}
		}
		if len(open) > 0 {
			if err := w.setIssued(last); err != nil {
				return err
			}
		}
		return w.run(`INSERT INTO archived_months (month, first_poll, end_poll, closed_at, polls, votes, skips)
			SELECT ?1, ?2, ?3, ?4,
				(SELECT count(*) FROM polls WHERE id >= ?2 AND id < ?3),
				(SELECT count(*) FROM votes WHERE poll_id >= ?2 AND poll_id < ?3),
				(SELECT count(*) FROM skips WHERE poll_id >= ?2 AND poll_id < ?3)`,
			a.month.String(), int64(a.first), int64(a.end), millis(now))
	})
}

// attached runs f on a connection of its own, to which a file is attached as
// archive. The end of ctx interrupts it.
func (a *archiving) attached(ctx context.Context, file string, f func(*conn) error) error {
	c, err := openConn(a.s.path)
	if err != nil {
		return a.s.fault(opArchive, err)
	}
	c.SetInterrupt(ctx.Done())
	err = c.run(`ATTACH ? AS archive`, file)
	if err == nil {
		err = f(c)
	}
	if ctx.Err() != nil && sqlite.ErrCode(err) == sqlite.ResultInterrupt {
		err = domain.Fault(domain.CodeUnavailable, ctx.Err())
	}
	c.SetInterrupt(nil)
	return a.s.fault(opArchive, errors.Join(err, c.Close()))
}

// copy is the second step.
func (a *archiving) copy(ctx context.Context) error {
	if _, moved, err := a.state(ctx); moved || err != nil {
		return err
	}
	switch _, err := os.Stat(a.file); {
	case err == nil:
		return nil // compare looks into it
	case !errors.Is(err, fs.ErrNotExist):
		return domain.Fault(domain.CodeUnavailable, err)
	}
	partial := a.file + ".partial"
	for _, left := range []string{partial, partial + "-journal"} {
		if err := os.Remove(left); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return domain.Fault(domain.CodeUnavailable, err)
		}
	}
	made, err := os.OpenFile(partial, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // beside the configured path
	if err == nil {
		err = made.Close()
	}
	if err != nil {
		return domain.Fault(domain.CodeUnavailable, err)
	}
	err = a.attached(ctx, partial, func(c *conn) error {
		if err := c.run(`BEGIN`); err != nil {
			return err
		}
		for statement := range strings.SplitSeq(strings.TrimSuffix(archiveSchema, ";"), ";") {
			if err := c.run(statement); err != nil {
				return errors.Join(err, c.rollback())
			}
		}
		for _, statement := range []string{
			`INSERT INTO archive.votes SELECT user_id, poll_id, option_index, position, created_at FROM main.votes
				WHERE poll_id >= ? AND poll_id < ?`,
			`INSERT INTO archive.skips SELECT user_id, poll_id, position, created_at FROM main.skips
				WHERE poll_id >= ? AND poll_id < ?`,
			`INSERT INTO archive.polls SELECT id, position, created_at, title, options, tags FROM main.polls
				WHERE id >= ? AND id < ?`,
		} {
			if err := c.run(statement, int64(a.first), int64(a.end)); err != nil {
				return errors.Join(err, c.rollback())
			}
		}
		return c.run(`COMMIT`) // synced, as SQLite does without a log of another kind
	})
	if err != nil {
		return err
	}
	if err := renameDurably(partial, a.file); err != nil {
		return domain.Fault(domain.CodeUnavailable, err)
	}
	return nil
}

// renameDurably gives a synced file its name for good.
func renameDurably(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// compare is the third step.
func (a *archiving) compare(ctx context.Context) error {
	month, moved, err := a.state(ctx)
	if moved || err != nil {
		return err
	}
	same := true
	err = a.attached(ctx, a.file, func(c *conn) error {
		for _, table := range []struct {
			name, columns string
			rows          int64
		}{
			{"votes", "user_id, poll_id, option_index, position, created_at", month.Votes},
			{"skips", "user_id, poll_id, position, created_at", month.Skips},
		} {
			// As many rows, and none of the live ones missing: so the same.
			query := fmt.Sprintf(`SELECT (SELECT count(*) FROM archive.%[1]s),
				(SELECT count(*) FROM main.%[1]s WHERE poll_id >= ?1 AND poll_id < ?2),
				EXISTS (SELECT %[2]s FROM main.%[1]s WHERE poll_id >= ?1 AND poll_id < ?2
					EXCEPT SELECT %[2]s FROM archive.%[1]s)`, table.name, table.columns)
			err := c.row(query, func(r *sqlite.Stmt) error {
				same = same && r.ColumnInt64(0) == table.rows && r.ColumnInt64(1) == table.rows && !r.ColumnBool(2)
				return nil
			}, int64(a.first), int64(a.end))
			if err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err == nil && same:
		return nil
	case domain.CodeOf(err) == domain.CodeUnavailable:
		return err
	}
	return &domain.Error{
		Code: domain.CodeConflict, Detail: a.file + " does not hold the votes of this month: move it away.", Cause: err,
	}
}

// move is the last step.
func (a *archiving) move(ctx context.Context) error {
	return a.s.write(ctx, opArchive, func(w *writer) error {
		ready, err := w.exists(`SELECT 1 FROM archived_months WHERE month = ? AND moved_at IS NULL`, a.month.String())
		if !ready || err != nil {
			return err
		}
		now := a.s.now()
		w.users.clear()
		first, end, today := int64(a.first), int64(a.end), int64(domain.DayOf(now))
		for _, statement := range []struct {
			query string
			args  []any
		}{
			{`INSERT INTO archived_votes (poll_id, option_index, vote_count)
				SELECT poll_id, option_index, count(*) FROM votes WHERE poll_id >= ? AND poll_id < ?
				GROUP BY poll_id, option_index`, []any{first, end}},
			{`INSERT INTO archived_skips (poll_id, skip_count)
				SELECT poll_id, count(*) FROM skips WHERE poll_id >= ? AND poll_id < ? GROUP BY poll_id`, []any{first, end}},
			{`INSERT INTO archived_users (user_id, votes, skips)
				SELECT user_id, sum(vote), sum(skip) FROM (
					SELECT user_id, 1 AS vote, 0 AS skip FROM votes WHERE poll_id >= ?1 AND poll_id < ?2
					UNION ALL SELECT user_id, 0, 1 FROM skips WHERE poll_id >= ?1 AND poll_id < ?2)
				GROUP BY user_id
				ON CONFLICT DO UPDATE SET votes = votes + excluded.votes, skips = skips + excluded.skips`, []any{first, end}},
			// The counter of today is what the daily limit is held by, so it
			// goes on counting what was moved; those of past days do not.
			{`INSERT INTO archived_days (user_id, vote_date, vote_count)
				SELECT user_id, created_at / 86400000, count(*) FROM votes
				WHERE poll_id >= ?1 AND poll_id < ?2 AND created_at / 86400000 >= ?3
				GROUP BY 1, 2
				ON CONFLICT DO UPDATE SET vote_count = vote_count + excluded.vote_count`, []any{first, end, today}},
			{`INSERT INTO daily_votes (user_id, vote_date, vote_count)
				SELECT user_id, vote_date, vote_count FROM user_state WHERE vote_date < ? AND vote_count > 0`, []any{today}},
			{`UPDATE user_state SET vote_date = 0, vote_count = 0 WHERE vote_date < ? AND vote_count > 0`, []any{today}},
			{`CREATE TEMP TABLE past AS SELECT user_id, created_at / 86400000 AS vote_date, count(*) AS vote_count
				FROM votes WHERE poll_id >= ?1 AND poll_id < ?2 AND created_at / 86400000 < ?3 GROUP BY 1, 2`, []any{first, end, today}},
			{`DELETE FROM daily_votes WHERE (vote_date, user_id, vote_count) IN (SELECT vote_date, user_id, vote_count FROM past)`, nil},
			{`UPDATE daily_votes SET vote_count = daily_votes.vote_count - past.vote_count FROM past
				WHERE past.user_id = daily_votes.user_id AND past.vote_date = daily_votes.vote_date`, nil},
			{`DROP TABLE temp.past`, nil},
			{`DELETE FROM votes WHERE poll_id >= ? AND poll_id < ?`, []any{first, end}},
			{`DELETE FROM skips WHERE poll_id >= ? AND poll_id < ?`, []any{first, end}},
			{`UPDATE archived_months SET moved_at = ? WHERE month = ?`, []any{millis(now), a.month.String()}},
		} {
			if err := w.run(statement.query, statement.args...); err != nil {
				return err
			}
		}
		w.pages = checkpointPages // it may have been much
		return nil
	})
}

// archived reports whether what people did with a poll was moved away, or is
// about to be.
func (c *conn) archived(id domain.PollID) (bool, error) {
	return c.exists(`SELECT 1 FROM archived_months WHERE ?1 >= first_poll AND ?1 < end_poll`, int64(id))
}
