package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

// maxExamples bounds the examples of a violation.
const maxExamples = 5

// A rule is one thing that must hold.
type rule struct {
	invariant int
	text      string
	// query returns one row for each violation: an example without personal
	// data. find does the same where SQL cannot.
	query string
	find  func(c *conn, rules domain.Rules, found func(example string)) error
}

// Check implements [domain.Store].
func (s *Store) Check(ctx context.Context, rules domain.Rules) (domain.CheckReport, error) {
	var report domain.CheckReport
	err := s.readLong(ctx, opCheck, func(c *conn) error {
		return c.snapshot(func() error {
			if err := c.countRows(&report); err != nil {
				return err
			}
			for _, r := range checkRules {
				if err := c.checkRule(r, rules, &report); err != nil {
					return fmt.Errorf("rule %q: %w", r.text, err)
				}
			}
			return nil
		})
	})
	if err != nil {
		return domain.CheckReport{}, err
	}
	return report, nil
}

func (c *conn) countRows(report *domain.CheckReport) error {
	return c.row(`SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM polls), (SELECT count(*) FROM votes),
		(SELECT count(*) FROM skips), (SELECT count(*) FROM outbox), (SELECT count(*) FROM dead_letters)`,
		func(r *sqlite.Stmt) error {
			report.Users, report.Polls, report.Votes = r.ColumnInt64(0), r.ColumnInt64(1), r.ColumnInt64(2)
			report.Skips, report.OutboxRows, report.DeadLetters = r.ColumnInt64(3), r.ColumnInt64(4), r.ColumnInt64(5)
			return nil
		})
}

func (c *conn) checkRule(r rule, rules domain.Rules, report *domain.CheckReport) error {
	report.Rules = append(report.Rules, r.text)
	v := domain.Violation{Invariant: r.invariant, Rule: r.text}
	found := func(example string) {
		if v.Count++; v.Count <= maxExamples {
			v.Examples = append(v.Examples, example)
		}
	}
	var err error
	if r.find != nil {
		err = r.find(c, rules, found)
	} else {
		err = c.rows(r.query, func(r *sqlite.Stmt) error {
			found(r.ColumnText(0))
			return nil
		})
	}
	if v.Count > 0 {
		report.Violations = append(report.Violations, v)
	}
	return err
}

// checkRules are numbered by the list of invariants in docs/design.md.
var checkRules = []rule{
	{
		invariant: 22, text: "the database file is intact",
		find: func(c *conn, _ domain.Rules, found func(string)) error {
			return c.rows(`PRAGMA integrity_check(100)`, func(r *sqlite.Stmt) error {
				if line := r.ColumnText(0); line != "ok" {
					found(line)
				}
				return nil
			})
		},
	},
	{
		invariant: 22, text: "every reference that the schema declares leads somewhere",
		find: func(c *conn, _ domain.Rules, found func(string)) error {
			return c.rows(`PRAGMA foreign_key_check`, func(r *sqlite.Stmt) error {
				found(r.ColumnText(0) + " refers to a missing row of " + r.ColumnText(2))
				return nil
			})
		},
	},
	{
		invariant: 1, text: "a poll's total is the sum of its option counts",
		query: `SELECT 'poll ' || poll_id FROM poll_counts WHERE total IS NOT
			(SELECT coalesce(sum(value), 0) FROM json_each(CASE WHEN json_valid(votes) THEN votes ELSE '[-1]' END))`,
	},
	{
		invariant: 1, text: "a poll's total is its number of votes",
		query: `SELECT 'poll ' || poll_id || ': total ' || sum(total) || ', votes ' || sum(n)
			FROM (SELECT poll_id, total, 0 AS n FROM poll_counts
				UNION ALL SELECT poll_id, 0, 1 FROM votes
				UNION ALL SELECT poll_id, 0, vote_count FROM archived_votes)
			GROUP BY poll_id HAVING sum(total) <> sum(n)`,
	},
	{
		invariant: 2, text: "the count of each option is its number of votes",
		query: `SELECT 'poll ' || poll_id || ', option ' || option || ': counted ' || sum(counted) || ', votes ' || sum(n)
			FROM (SELECT poll_id, e.key AS option, e.value AS counted, 0 AS n
					FROM poll_counts, json_each(CASE WHEN json_valid(votes) THEN votes ELSE '[-1]' END) e
				UNION ALL SELECT poll_id, option_index, 0, 1 FROM votes
				UNION ALL SELECT poll_id, option_index, 0, vote_count FROM archived_votes)
			GROUP BY poll_id, option HAVING sum(counted) <> sum(n)`,
	},
	{
		invariant: 2, text: "every vote is for an option of its poll",
		query: `SELECT 'poll ' || v.poll_id || ', option ' || v.option_index
			FROM votes v LEFT JOIN polls p ON p.id = v.poll_id
			WHERE p.id IS NULL OR v.option_index < 0
				OR v.option_index >= CASE WHEN json_valid(p.options) THEN json_array_length(p.options) ELSE 0 END`,
	},
	{
		invariant: 2, text: "a poll has one count per option",
		query: `SELECT 'poll ' || c.poll_id FROM poll_counts c LEFT JOIN polls p ON p.id = c.poll_id
			WHERE p.id IS NULL OR (p.state <> 3 AND
				CASE WHEN json_valid(c.votes) THEN json_array_length(c.votes) ELSE -1 END IS NOT
				CASE WHEN json_valid(p.options) THEN json_array_length(p.options) ELSE -2 END)`,
	},
	{
		invariant: 2, text: "a poll has 2 to 20 options and 1 to 10 tags, a deleted one nothing",
		query: `SELECT 'poll ' || id FROM polls WHERE CASE
			WHEN NOT json_valid(options) OR NOT json_valid(tags) THEN 1
			WHEN state = 3 THEN title <> '' OR json_array_length(options) > 0 OR json_array_length(tags) > 0
			ELSE title = '' OR json_array_length(options) NOT BETWEEN 2 AND 20
				OR json_array_length(tags) NOT BETWEEN 1 AND 10 END`,
	},
	{
		invariant: 2, text: "every vote is of a user that exists",
		query: `SELECT 'user ' || user_id FROM votes v WHERE NOT EXISTS (SELECT 1 FROM users WHERE id = v.user_id)
			GROUP BY user_id`,
	},
	{
		invariant: 3, text: "no user has two votes on one poll",
		query: `SELECT 'user ' || user_id || ', poll ' || poll_id FROM votes
			GROUP BY user_id, poll_id HAVING count(*) > 1`,
	},
	{
		invariant: 7, text: "a user's daily counter is the number of the user's votes of that day",
		query: `SELECT 'user ' || user_id || ', day ' || day || ': counted ' || sum(counted) || ', votes ' || sum(n)
			FROM (SELECT user_id, vote_date AS day, vote_count AS counted, 0 AS n FROM daily_votes
				UNION ALL SELECT user_id, vote_date, vote_count, 0 FROM user_state
				UNION ALL SELECT user_id, created_at / 86400000, 0, 1 FROM votes
				UNION ALL SELECT user_id, vote_date, 0, vote_count FROM archived_days)
			GROUP BY user_id, day HAVING sum(counted) <> sum(n)`,
	},
	{
		invariant: 7, text: "a user's votes of one day are counted in one place",
		query: `SELECT 'user ' || user_id || ', day ' || vote_date FROM daily_votes JOIN user_state USING (user_id, vote_date)`,
	},
	{
		invariant: 7, text: "no user has more votes on one day than the limit",
		find: func(c *conn, rules domain.Rules, found func(string)) error {
			if rules.DailyVotes <= 0 {
				return nil
			}
			return c.rows(`SELECT 'user ' || user_id || ', day ' || (created_at / 86400000) || ': ' || count(*)
				FROM votes GROUP BY user_id, created_at / 86400000 HAVING count(*) > ?`,
				func(r *sqlite.Stmt) error {
					found(r.ColumnText(0))
					return nil
				}, rules.DailyVotes)
		},
	},
	{
		invariant: 7, text: "an author's daily counter is the number of the author's polls of that day",
		query: `SELECT 'user ' || user_id || ', day ' || day || ': counted ' || sum(counted) || ', polls ' || sum(n)
			FROM (SELECT user_id, poll_date AS day, poll_count AS counted, 0 AS n FROM daily_polls
				UNION ALL SELECT author_id, published_at / 86400000, 0, 1 FROM polls WHERE author_id IS NOT NULL)
			GROUP BY user_id, day HAVING sum(counted) <> sum(n)`,
	},
	{
		invariant: 9, text: "every user that is not erased has a state, and nobody else",
		query: `SELECT 'user ' || u.id FROM users u LEFT JOIN user_state s ON s.user_id = u.id
				WHERE (u.erased_at IS NULL) <> (s.user_id IS NOT NULL)
			UNION ALL SELECT 'user ' || user_id FROM user_state s
				WHERE NOT EXISTS (SELECT 1 FROM users WHERE id = s.user_id)`,
	},
	{
		invariant: 9, text: "a user's version is the number of the user's votes and skips",
		query: `SELECT 'user ' || s.user_id || ': version ' || s.version FROM user_state s
			WHERE s.version <> (SELECT count(*) FROM votes WHERE id BETWEEN s.user_id << 32 AND s.user_id << 32 | 4294967295)
				+ (SELECT count(*) FROM skips WHERE id BETWEEN s.user_id << 32 AND s.user_id << 32 | 4294967295)
				+ coalesce((SELECT votes + skips FROM archived_users WHERE user_id = s.user_id), 0)`,
	},
	{
		invariant: 9, text: "a vote or skip has the position of its poll",
		query: `SELECT 'poll ' || v.poll_id FROM votes v JOIN polls p ON p.id = v.poll_id WHERE p.position <> v.position
			UNION ALL
			SELECT 'poll ' || s.poll_id FROM skips s JOIN polls p ON p.id = s.poll_id WHERE p.position <> s.position`,
	},
	{
		invariant: 10, text: "a poll's skip count is its number of skips",
		query: `SELECT 'poll ' || poll_id || ': counted ' || sum(counted) || ', skips ' || sum(n)
			FROM (SELECT poll_id, skips AS counted, 0 AS n FROM poll_counts
				UNION ALL SELECT poll_id, 0, 1 FROM skips
				UNION ALL SELECT poll_id, 0, skip_count FROM archived_skips)
			GROUP BY poll_id HAVING sum(counted) <> sum(n)`,
	},
	{
		invariant: 10, text: "every skip is of a poll and a user that exist",
		query: `SELECT 'user ' || user_id || ', poll ' || poll_id FROM skips s
			WHERE NOT EXISTS (SELECT 1 FROM users WHERE id = s.user_id)
				OR NOT EXISTS (SELECT 1 FROM polls WHERE id = s.poll_id)`,
	},
	{
		invariant: 10, text: "no user has two skips of one poll",
		query: `SELECT 'user ' || user_id || ', poll ' || poll_id FROM skips
			GROUP BY user_id, poll_id HAVING count(*) > 1`,
	},
	{
		invariant: 11, text: "positions are 1 to the number of polls, and ids rise with them",
		query: `SELECT 'position ' || position || ', poll ' || id
			FROM (SELECT id, position, lag(id, 1, 0) OVER by_position AS before, row_number() OVER by_position AS n
				FROM polls WINDOW by_position AS (ORDER BY position))
			WHERE position <> n OR id <= before`,
	},
	{
		invariant: 11, text: "no two polls have the same revision",
		query: `SELECT 'revision ' || revision FROM polls GROUP BY revision HAVING count(*) > 1`,
	},
	{
		invariant: 11, text: "the newest position, id and revision are remembered",
		query: `SELECT 'position ' || position || ', poll ' || poll_id || ', revision ' || revision FROM publication
				WHERE position <> (SELECT coalesce(max(position), 0) FROM polls)
					OR poll_id <> (SELECT coalesce(max(id), 0) FROM polls)
					OR revision <> (SELECT coalesce(max(revision), 0) FROM polls)
			UNION ALL SELECT 'nothing' WHERE NOT EXISTS (SELECT 1 FROM publication)`,
	},
	{
		invariant: 11, text: "open polls can be searched, and no others",
		query: `SELECT 'position ' || position || ' is missing' FROM polls
				WHERE state = 0 AND position NOT IN (SELECT rowid FROM search)
			UNION ALL SELECT 'position ' || rowid || ' is too much' FROM search
				WHERE rowid NOT IN (SELECT position FROM polls WHERE state = 0)`,
	},
	{
		invariant: 1, text: "a poll of an archived month is not open",
		query: `SELECT 'poll ' || p.id FROM archived_months m JOIN polls p ON p.id >= m.first_poll AND p.id < m.end_poll
			WHERE p.state = 0`,
	},
	{
		invariant: 1, text: "of a month that was moved no vote or skip is left, and no other is counted as moved",
		query: `SELECT 'month ' || m.month || ', poll ' || r.poll_id FROM archived_months m
				JOIN (SELECT poll_id, 0 AS moved FROM votes UNION ALL SELECT poll_id, 0 FROM skips
					UNION ALL SELECT poll_id, 1 FROM archived_votes UNION ALL SELECT poll_id, 1 FROM archived_skips) r
				ON r.poll_id >= m.first_poll AND r.poll_id < m.end_poll
			WHERE r.moved <> (m.moved_at IS NOT NULL) GROUP BY m.month, r.poll_id
			UNION ALL SELECT 'poll ' || poll_id FROM
				(SELECT poll_id FROM archived_votes UNION SELECT poll_id FROM archived_skips) r
			WHERE NOT EXISTS (SELECT 1 FROM archived_months WHERE r.poll_id >= first_poll AND r.poll_id < end_poll)`,
	},
	{
		invariant: 1, text: "what was moved of all months, of all polls and of all users is the same",
		query: `SELECT 'votes ' || months.votes || ', ' || polls.votes || ', ' || users.votes ||
				'; skips ' || months.skips || ', ' || polls.skips || ', ' || users.skips
			FROM (SELECT coalesce(sum(votes), 0) AS votes, coalesce(sum(skips), 0) AS skips
					FROM archived_months WHERE moved_at IS NOT NULL) months,
				(SELECT (SELECT coalesce(sum(vote_count), 0) FROM archived_votes) AS votes,
					(SELECT coalesce(sum(skip_count), 0) FROM archived_skips) AS skips) polls,
				(SELECT coalesce(sum(votes), 0) AS votes, coalesce(sum(skips), 0) AS skips FROM archived_users) users
			WHERE months.votes <> polls.votes OR months.votes <> users.votes
				OR months.skips <> polls.skips OR months.skips <> users.skips`,
	},
	{invariant: 11, text: "the newest open polls are found by each of their words", find: findUnsearchable},
	{invariant: 11, text: "a ranking names polls that exist, each once", find: findRankings},
	{
		invariant: 6, text: "an idempotency key names a poll that exists",
		query: `SELECT 'poll ' || poll_id FROM idempotency_keys k WHERE NOT EXISTS (SELECT 1 FROM polls WHERE id = k.poll_id)`,
	},
	{invariant: 14, text: "every outbox row can be read", find: findOutbox(false)},
	{invariant: 15, text: "no event is ahead of what is stored", find: findOutbox(true)},
	{invariant: 14, text: "every dead letter can be read", find: findDeadLetters},
	{
		invariant: 14, text: "hourly votes and skips never exceed a poll's counts",
		find: func(c *conn, _ domain.Rules, found func(string)) error { return c.compareHourly(found, false) },
	},
	{
		invariant: 14, text: "hourly votes and skips are a poll's counts once every event was consumed",
		find: func(c *conn, _ domain.Rules, found func(string)) error {
			waits, err := c.exists(`SELECT 1 FROM outbox UNION ALL SELECT 1 FROM dead_letters`)
			if err != nil || waits {
				return err
			}
			return c.compareHourly(found, true)
		},
	},
	{
		invariant: 14, text: "hourly totals are of polls that exist, one count per option, none below 0",
		query: `SELECT 'poll ' || h.poll_id || ', hour ' || h.hour FROM poll_hourly h
			LEFT JOIN polls p ON p.id = h.poll_id
			WHERE p.id IS NULL OR h.shown < 0 OR h.skips < 0 OR (p.state <> 3 AND
				CASE WHEN json_valid(h.votes) THEN json_array_length(h.votes) ELSE -1 END IS NOT
				CASE WHEN json_valid(p.options) THEN json_array_length(p.options) ELSE -2 END)
				OR EXISTS (SELECT 1 FROM json_each(CASE WHEN json_valid(h.votes) THEN h.votes ELSE '[-1]' END)
					WHERE typeof(value) <> 'integer' OR value < 0)`,
	},
	{
		invariant: 14, text: "no event is noted twice as counted",
		query: `SELECT 'row ' || row_id FROM (SELECT row_id, first, last,
				lag(last, 1, -1) OVER (PARTITION BY row_id ORDER BY first) AS before FROM counted_events)
			WHERE first <= before OR last < first OR first < 0`,
	},
	{
		invariant: 14, text: "a notification is for the author of a poll that has reached the milestone",
		query: `SELECT 'notification ' || n.id FROM notifications n LEFT JOIN polls p ON p.id = n.poll_id
			LEFT JOIN poll_counts c ON c.poll_id = n.poll_id LEFT JOIN poll_milestones m ON m.poll_id = n.poll_id
			WHERE p.author_id IS NOT n.user_id OR c.total IS NULL OR n.votes > c.total OR n.votes < 10
				OR m.votes IS NULL OR n.votes > m.votes`,
	},
	{
		invariant: 14, text: "no user has more notifications than are kept",
		find: func(c *conn, _ domain.Rules, found func(string)) error {
			return c.rows(`SELECT 'user ' || user_id || ': ' || count(*) FROM notifications GROUP BY user_id HAVING count(*) > ?`,
				func(r *sqlite.Stmt) error {
					found(r.ColumnText(0))
					return nil
				}, domain.MaxNotifications)
		},
	},
	{
		invariant: 9, text: "a user's history is one chain of votes and one of skips, each of which ends as the user's state says",
		query: `SELECT 'entry ' || h.id FROM history h LEFT JOIN history b ON b.id = h.previous
				WHERE h.previous <> 0 AND (b.id IS NULL OR b.id >= h.id OR b.user_id <> h.user_id OR b.skip <> h.skip)
			UNION ALL SELECT 'entry ' || previous FROM history WHERE previous <> 0 GROUP BY previous HAVING count(*) > 1
			UNION ALL SELECT 'user ' || user_id FROM (
				SELECT user_id, skip, id FROM history WHERE id NOT IN (SELECT previous FROM history)
				UNION ALL SELECT user_id, 0, last_vote FROM user_state WHERE last_vote <> 0
				UNION ALL SELECT user_id, 1, last_skip FROM user_state WHERE last_skip <> 0)
			GROUP BY user_id, skip, id HAVING count(*) <> 2`,
	},
	{
		invariant: 9, text: "a user's history holds every vote and skip once",
		query: `SELECT 'user ' || user_id || ', poll ' || poll_id FROM (
				SELECT user_id, poll_id, skip, 1 AS told, 0 AS done FROM history
				UNION ALL SELECT user_id, poll_id, 0, 0, 1 FROM votes WHERE user_id IN (SELECT user_id FROM user_state)
				UNION ALL SELECT user_id, poll_id, 1, 0, 1 FROM skips WHERE user_id IN (SELECT user_id FROM user_state)) r
			GROUP BY user_id, poll_id, skip
			HAVING sum(told) <> 1 OR sum(done) = EXISTS (SELECT 1 FROM archived_months
				WHERE moved_at IS NOT NULL AND r.poll_id >= first_poll AND r.poll_id < end_poll)
			UNION ALL SELECT 'user ' || s.user_id || ': version ' || s.version FROM user_state s
				LEFT JOIN (SELECT user_id, count(*) AS n FROM history GROUP BY user_id) h ON h.user_id = s.user_id
			WHERE s.version <> coalesce(h.n, 0)`,
	},
	{
		invariant: 18, text: "a session that was not ended has one refresh token to use",
		query: `SELECT 'a session of user ' || s.user_id FROM sessions s WHERE s.ended_at IS NULL AND
			(SELECT count(*) FROM refresh_tokens WHERE session_id = s.id AND used_at IS NULL) <> 1`,
	},
	{
		invariant: 18, text: "a banned user has no session that was not ended",
		query: `SELECT 'user ' || id FROM users u WHERE banned_at IS NOT NULL
			AND EXISTS (SELECT 1 FROM sessions WHERE user_id = u.id AND ended_at IS NULL)`,
	},
	{
		invariant: 19, text: "a session that ended with its user is nobody's any more",
		query: `SELECT 'a session of user ' || user_id FROM sessions WHERE id IN (SELECT id FROM erased_sessions)`,
	},
	{
		invariant: 19, text: "of an erased user nothing but votes, skips and the tombstone is left",
		query: `SELECT 'user ' || id FROM users u WHERE erased_at IS NOT NULL AND (
			coalesce(username, username_key, email, email_key, password_hash, banned_at) IS NOT NULL
			OR EXISTS (SELECT 1 FROM daily_polls WHERE user_id = u.id)
			OR EXISTS (SELECT 1 FROM sessions WHERE user_id = u.id)
			OR EXISTS (SELECT 1 FROM idempotency_keys WHERE user_id = u.id)
			OR EXISTS (SELECT 1 FROM notifications WHERE user_id = u.id)
			OR u.id IN (SELECT user_id FROM history)
			OR EXISTS (SELECT 1 FROM polls WHERE author_id = u.id))`,
	},
}

// compareHourly looks for polls whose hourly votes or skips are more than their
// counts or, with equal, not the same.
func (c *conn) compareHourly(found func(string), equal bool) error {
	return c.rows(`SELECT poll_id, option, sum(hourly), sum(counted) FROM (
			SELECT poll_id, e.key AS option, e.value AS hourly, 0 AS counted
				FROM poll_hourly, json_each(CASE WHEN json_valid(votes) THEN votes ELSE '[]' END) e
			UNION ALL SELECT poll_id, 'skips', skips, 0 FROM poll_hourly
			UNION ALL SELECT poll_id, e.key, 0, e.value
				FROM poll_counts, json_each(CASE WHEN json_valid(votes) THEN votes ELSE '[]' END) e
			UNION ALL SELECT poll_id, 'skips', 0, skips FROM poll_counts
		) GROUP BY poll_id, option HAVING sum(hourly) > sum(counted) OR (?1 AND sum(hourly) < sum(counted))`,
		func(r *sqlite.Stmt) error {
			found(fmt.Sprintf("poll %d, option %s: hourly %d, counted %d",
				r.ColumnInt64(0), r.ColumnText(1), r.ColumnInt64(2), r.ColumnInt64(3)))
			return nil
		}, equal)
}

// searchedPolls is how many of the newest polls are searched for: enough to
// notice a fault in writing, few enough for a large database.
const searchedPolls = 100

func findUnsearchable(c *conn, _ domain.Rules, found func(string)) error {
	return c.rows(`SELECT position, title, options, tags FROM polls WHERE state = 0 ORDER BY id DESC LIMIT ?`,
		func(r *sqlite.Stmt) error {
			options, err := decodeTexts(r.ColumnText(2))
			tags, err2 := decodeTexts(r.ColumnText(3))
			if err != nil || err2 != nil {
				return nil //nolint:nilerr // another rule tells
			}
			position := r.ColumnInt64(0)
			for _, token := range searchTokens(r.ColumnText(1), options, tags) {
				// As a prefix, too, since that goes another way.
				for _, prefix := range []bool{false, true} {
					match, err := c.matchExpression([]domain.Term{{Text: token, Prefix: prefix}})
					if err != nil {
						return err
					}
					ok := match != ""
					if ok {
						ok, err = c.exists(`SELECT 1 FROM search WHERE search MATCH ? AND rowid = ?`, match, position)
					}
					if err != nil {
						return err
					}
					if !ok {
						found(fmt.Sprintf("position %d", position))
						return nil
					}
				}
			}
			return nil
		}, searchedPolls)
}

func findRankings(c *conn, _ domain.Rules, found func(string)) error {
	return c.rows(`SELECT id, positions, (SELECT position FROM publication) FROM rankings`, func(r *sqlite.Stmt) error {
		positions := decodePositions(blob(r, 1))
		slices.Sort(positions)
		n := len(positions)
		if n > 0 && (positions[0] < 1 || int64(positions[n-1]) > r.ColumnInt64(2) || len(slices.Compact(positions)) < n) {
			found(fmt.Sprintf("ranking %d", r.ColumnInt64(0)))
		}
		return nil
	})
}

// findOutbox looks for rows that cannot be read or, with ahead, for those that
// tell of what is not stored.
func findOutbox(ahead bool) func(*conn, domain.Rules, func(string)) error {
	return func(c *conn, _ domain.Rules, found func(string)) error {
		return c.rows(`SELECT id, changes FROM outbox ORDER BY id`, func(r *sqlite.Stmt) error {
			var changes domain.Changes
			bad := changes.UnmarshalBinary(blob(r, 1)) != nil
			if ahead {
				if bad {
					return nil //nolint:nilerr // the other rule tells
				}
				var err error
				if bad, err = c.isAhead(changes); err != nil {
					return err
				}
			}
			if bad {
				found(fmt.Sprintf("row %d", r.ColumnInt64(0)))
			}
			return nil
		})
	}
}

func (c *conn) isAhead(changes domain.Changes) (bool, error) {
	for _, v := range changes.Votes {
		if ok, err := c.counted(v.PollID, v.Version); err != nil || !ok {
			return !ok, err
		}
	}
	for _, v := range changes.Skips {
		if ok, err := c.counted(v.PollID, v.Version); err != nil || !ok {
			return !ok, err
		}
	}
	for _, u := range changes.Seen {
		// An erased user has no state to compare with.
		ahead, err := c.exists(`SELECT 1 FROM user_state WHERE user_id = ? AND version < ?`, int64(u.UserID), u.Version)
		if err != nil || ahead {
			return ahead, err
		}
	}
	for _, p := range changes.Published {
		ok, err := c.exists(`SELECT 1 FROM polls WHERE id = ? AND position = ?`, int64(p.PollID), int64(p.Position))
		if err != nil || !ok {
			return !ok, err
		}
	}
	return false, nil
}

// counted reports whether a poll's counts have reached a version.
func (c *conn) counted(poll domain.PollID, version int64) (bool, error) {
	return c.exists(`SELECT 1 FROM poll_counts WHERE poll_id = ? AND total + skips >= ?`, int64(poll), version)
}

func findDeadLetters(c *conn, _ domain.Rules, found func(string)) error {
	return c.rows(`SELECT id, event FROM dead_letters`, func(r *sqlite.Stmt) error {
		var e domain.Event
		if json.Unmarshal([]byte(r.ColumnText(1)), &e) != nil || e.ID == "" {
			found(fmt.Sprintf("dead letter %d", r.ColumnInt64(0)))
		}
		return nil
	})
}
