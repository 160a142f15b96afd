package postgres

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

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
	find  func(ctx context.Context, c *conn, rules domain.Rules, found func(example string)) error
}

// Check implements [domain.Store].
func (s *Store) Check(ctx context.Context, rules domain.Rules) (domain.CheckReport, error) {
	var report domain.CheckReport
	err := s.read(ctx, opCheck, func(ctx context.Context, c *conn) error {
		return c.snapshot(ctx, func() (err error) {
			report, err = c.check(ctx, rules)
			return err
		})
	})
	if err != nil {
		return domain.CheckReport{}, err
	}
	return report, nil
}

func (c *conn) check(ctx context.Context, rules domain.Rules) (domain.CheckReport, error) {
	var report domain.CheckReport
	err := c.row(ctx, `/* check_rows */ SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM polls), (SELECT count(*) FROM votes),
		(SELECT count(*) FROM skips), (SELECT count(*) FROM outbox), (SELECT count(*) FROM dead_letters)`,
		nil, &report.Users, &report.Polls, &report.Votes, &report.Skips, &report.OutboxRows, &report.DeadLetters)
	if err != nil {
		return report, err
	}
	for _, r := range checkRules {
		if err := r.check(ctx, c, rules, &report); err != nil {
			return report, fmt.Errorf("rule %q: %w", r.text, err)
		}
	}
	return report, nil
}

func (r rule) check(ctx context.Context, c *conn, rules domain.Rules, report *domain.CheckReport) error {
	report.Rules = append(report.Rules, r.text)
	v := domain.Violation{Invariant: r.invariant, Rule: r.text}
	found := func(example string) {
		if v.Count++; v.Count <= maxExamples {
			v.Examples = append(v.Examples, example)
		}
	}
	var err error
	if r.find != nil {
		err = r.find(ctx, c, rules, found)
	} else {
		err = c.examples(ctx, found, r.query)
	}
	if v.Count > 0 {
		report.Violations = append(report.Violations, v)
	}
	return err
}

// examples passes on every row of a query of one text.
func (c *conn) examples(ctx context.Context, found func(string), query string, args ...any) error {
	return c.rows(ctx, `/* check */ `+query, func(r pgx.Rows) error {
		var example string
		err := r.Scan(&example)
		if err == nil {
			found(example)
		}
		return err
	}, args...)
}

// checkRules are numbered by the list of invariants in docs/design.md.
var checkRules = []rule{
	{
		invariant: 22, text: "no page of the database failed its checksum, and every index and constraint is valid",
		query: `SELECT 'checksums failed: ' || checksum_failures FROM pg_stat_database
				WHERE datname = current_database() AND checksum_failures > 0
			UNION ALL SELECT 'index ' || indexrelid::regclass FROM pg_index WHERE NOT (indisvalid AND indisready)
			UNION ALL SELECT 'constraint ' || conname FROM pg_constraint WHERE NOT convalidated`,
	},
	{invariant: 22, text: "every reference that the schema declares leads somewhere", find: findDangling},
	{
		invariant: 1, text: "a poll's total is the sum of its option counts",
		query: `SELECT 'poll ' || poll_id FROM poll_counts
			WHERE total <> (SELECT coalesce(sum(n), 0) FROM unnest(votes) AS n)`,
	},
	{
		invariant: 1, text: "a poll's total is its number of votes",
		query: `SELECT 'poll ' || poll_id || ': total ' || sum(total) || ', votes ' || sum(n)
			FROM (SELECT poll_id, total, 0 AS n FROM poll_counts
				UNION ALL SELECT poll_id, 0, count(*) FROM votes GROUP BY poll_id
				UNION ALL SELECT poll_id, 0, vote_count FROM archived_votes) t
			GROUP BY poll_id HAVING sum(total) <> sum(n)`,
	},
	{
		invariant: 2, text: "the count of each option is its number of votes",
		query: `SELECT 'poll ' || poll_id || ', option ' || option_index || ': counted ' || sum(counted) || ', votes ' || sum(n)
			FROM (SELECT poll_id, e.i - 1 AS option_index, e.n AS counted, 0 AS n
					FROM poll_counts, unnest(votes) WITH ORDINALITY AS e (n, i)
				UNION ALL SELECT poll_id, option_index, 0, count(*) FROM votes GROUP BY poll_id, option_index
				UNION ALL SELECT poll_id, option_index, 0, vote_count FROM archived_votes) t
			GROUP BY poll_id, option_index HAVING sum(counted) <> sum(n)`,
	},
	{
		invariant: 2, text: "every vote is for an option of its poll",
		query: `SELECT 'poll ' || v.poll_id || ', option ' || v.option_index
			FROM votes v LEFT JOIN polls p ON p.id = v.poll_id
			WHERE p.id IS NULL OR v.option_index < 0 OR v.option_index >= p.option_count`,
	},
	{
		invariant: 2, text: "a poll has one count per option",
		query: `SELECT 'poll ' || c.poll_id FROM poll_counts c LEFT JOIN polls p ON p.id = c.poll_id
			WHERE p.id IS NULL OR (p.state <> 3 AND cardinality(c.votes) <> p.option_count)`,
	},
	{
		invariant: 2, text: "a poll has 2 to 20 options and 1 to 10 tags, a deleted one nothing",
		query: `SELECT 'poll ' || id FROM polls WHERE CASE
			WHEN state = 3 THEN title <> '' OR option_count > 0 OR cardinality(tags) > 0
			ELSE title = '' OR option_count NOT BETWEEN 2 AND 20 OR cardinality(tags) NOT BETWEEN 1 AND 10 END`,
	},
	{
		invariant: 2, text: "every vote is of a user that exists",
		query: `SELECT 'user ' || user_id FROM (SELECT DISTINCT user_id FROM votes) v
			WHERE NOT EXISTS (SELECT 1 FROM users WHERE id = v.user_id)`,
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
				UNION ALL SELECT user_id, (created_at AT TIME ZONE 'utc')::date, 0, count(*) FROM votes GROUP BY 1, 2
				UNION ALL SELECT user_id, vote_date, 0, vote_count FROM archived_days) t
			GROUP BY user_id, day HAVING sum(counted) <> sum(n)`,
	},
	{
		invariant: 7, text: "no user has more votes on one day than the limit",
		find: func(ctx context.Context, c *conn, rules domain.Rules, found func(string)) error {
			if rules.DailyVotes <= 0 {
				return nil
			}
			return c.examples(ctx, found, `SELECT 'user ' || user_id || ', day ' || (created_at AT TIME ZONE 'utc')::date || ': ' || count(*)
				FROM votes GROUP BY user_id, (created_at AT TIME ZONE 'utc')::date HAVING count(*) > $1`, rules.DailyVotes)
		},
	},
	{
		invariant: 7, text: "an author's daily counter is the number of the author's polls of that day",
		query: `SELECT 'user ' || user_id || ', day ' || day || ': counted ' || sum(counted) || ', polls ' || sum(n)
			FROM (SELECT user_id, poll_date AS day, poll_count AS counted, 0 AS n FROM daily_polls
				UNION ALL SELECT author_id, (published_at AT TIME ZONE 'utc')::date, 0, 1 FROM polls WHERE author_id IS NOT NULL) t
			GROUP BY user_id, day HAVING sum(counted) <> sum(n)`,
	},
	{
		invariant: 9, text: "every user that is not erased has a state, and nobody else",
		query: `SELECT 'user ' || coalesce(u.id, s.user_id) FROM users u FULL JOIN user_state s ON s.user_id = u.id
			WHERE u.id IS NULL OR (u.erased_at IS NULL) <> (s.user_id IS NOT NULL)`,
	},
	{
		invariant: 9, text: "a user's version is the number of the user's votes and skips",
		query: `SELECT 'user ' || s.user_id || ': version ' || s.version FROM user_state s
			LEFT JOIN (SELECT user_id, count(*) AS n FROM votes GROUP BY user_id) v ON v.user_id = s.user_id
			LEFT JOIN (SELECT user_id, count(*) AS n FROM skips GROUP BY user_id) k ON k.user_id = s.user_id
			LEFT JOIN archived_users a ON a.user_id = s.user_id
			WHERE s.version <> coalesce(v.n, 0) + coalesce(k.n, 0) + coalesce(a.votes + a.skips, 0)`,
	},
	{
		invariant: 10, text: "a poll's skip count is its number of skips",
		query: `SELECT 'poll ' || poll_id || ': counted ' || sum(counted) || ', skips ' || sum(n)
			FROM (SELECT poll_id, skips AS counted, 0 AS n FROM poll_counts
				UNION ALL SELECT poll_id, 0, count(*) FROM skips GROUP BY poll_id
				UNION ALL SELECT poll_id, 0, skip_count FROM archived_skips) t
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
			FROM (SELECT id, position, lag(id, 1, 0::bigint) OVER by_position AS before, row_number() OVER by_position AS n
				FROM polls WINDOW by_position AS (ORDER BY position)) t
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
		invariant: 1, text: "a poll of an archived month is not open",
		query: `SELECT 'poll ' || p.id FROM archived_months m JOIN polls p ON p.id >= m.first_poll AND p.id < m.end_poll
			WHERE p.state = 0`,
	},
	{
		invariant: 1, text: "of a month that was moved no vote or skip is left, and no other is counted as moved",
		query: `SELECT 'month ' || m.month || ', poll ' || r.poll_id FROM archived_months m
				JOIN (SELECT poll_id, false AS moved FROM votes UNION SELECT poll_id, false FROM skips
					UNION SELECT poll_id, true FROM archived_votes UNION SELECT poll_id, true FROM archived_skips) r
				ON r.poll_id >= m.first_poll AND r.poll_id < m.end_poll
			WHERE r.moved <> (m.moved_at IS NOT NULL)
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
	{
		invariant: 11, text: "open polls can be searched, and no others",
		query: `SELECT 'position ' || coalesce(p.position, s.position) || CASE WHEN s.position IS NULL THEN ' is missing' ELSE ' is too much' END
			FROM (SELECT position FROM polls WHERE state = 0) p FULL JOIN search s ON s.position = p.position
			WHERE p.position IS NULL OR s.position IS NULL`,
	},
	{invariant: 11, text: "the newest open polls are found by each of their words", find: findUnsearchable},
	{
		invariant: 11, text: "a ranking names polls that exist, each once",
		query: `SELECT 'ranking ' || r.id FROM rankings r, publication p, unnest(r.positions) AS ranked
			WHERE ranked < 1 OR ranked > p.position
			UNION SELECT 'ranking ' || r.id FROM rankings r, unnest(r.positions) AS ranked
			GROUP BY r.id, ranked HAVING count(*) > 1`,
	},
	{
		invariant: 6, text: "an idempotency key names a poll that exists",
		query: `SELECT 'poll ' || poll_id FROM idempotency_keys k WHERE NOT EXISTS (SELECT 1 FROM polls WHERE id = k.poll_id)`,
	},
	{invariant: 14, text: "every outbox row can be read", find: findUnreadable},
	{invariant: 15, text: "no event is ahead of what is stored", find: findAhead},
	{invariant: 14, text: "every dead letter can be read", find: findDeadLetters},
	{
		invariant: 14, text: "hourly votes and skips never exceed a poll's counts",
		find: func(ctx context.Context, c *conn, _ domain.Rules, found func(string)) error {
			return c.compareHourly(ctx, found, false)
		},
	},
	{
		invariant: 14, text: "hourly votes and skips are a poll's counts once every event was consumed",
		find: findUncounted,
	},
	{
		invariant: 14, text: "hourly totals are of polls that exist, one count per option, none below 0",
		query: `SELECT 'poll ' || h.poll_id || ', hour ' || h.hour FROM poll_hourly h
			LEFT JOIN polls p ON p.id = h.poll_id
			WHERE p.id IS NULL OR h.shown < 0 OR h.skips < 0 OR 0 > ANY (h.votes)
				OR (p.state <> 3 AND cardinality(h.votes) <> p.option_count)`,
	},
	{
		invariant: 14, text: "an outbox row that is noted as counted has events that were",
		query: `SELECT 'row ' || row_id FROM counted_events WHERE isempty(numbers) OR lower(numbers) < 0`,
	},
	{
		invariant: 14, text: "a notification is for the author of a poll that has reached the milestone",
		query: `SELECT 'notification ' || n.id FROM notifications n LEFT JOIN polls p ON p.id = n.poll_id
			LEFT JOIN (SELECT poll_id, sum(total) AS total FROM poll_counts GROUP BY poll_id) c ON c.poll_id = n.poll_id
			LEFT JOIN poll_milestones m ON m.poll_id = n.poll_id
			WHERE p.author_id IS DISTINCT FROM n.user_id OR c.total IS NULL OR n.votes > c.total OR n.votes < 10
				OR m.votes IS NULL OR n.votes > m.votes`,
	},
	{
		invariant: 14, text: "no user has more notifications than are kept",
		find: func(ctx context.Context, c *conn, _ domain.Rules, found func(string)) error {
			return c.examples(ctx, found, `SELECT 'user ' || user_id || ': ' || count(*) FROM notifications
				GROUP BY user_id HAVING count(*) > $1`, domain.MaxNotifications)
		},
	},
	{
		invariant: 9, text: "a user's history is whole, and its recent part goes on where the older part ends",
		query: `SELECT 'user ' || s.user_id || ': version ' || s.version FROM user_state s
			LEFT JOIN (SELECT user_id, count(*) AS n, max(chunk) AS last FROM history GROUP BY user_id) h ON h.user_id = s.user_id
			LEFT JOIN history l ON l.bucket = s.bucket AND l.user_id = s.user_id AND l.chunk = h.last
			WHERE cardinality(s.recent) <> least(s.version, 64) OR coalesce(h.n, 0) <> s.version / 64 OR h.last <> s.version / 64
				OR l.entries[s.version % 64 + 1 :] <> s.recent[: 64 - s.version % 64]`,
	},
	{
		invariant: 9, text: "a user's history holds every vote and skip once",
		query: `SELECT 'user ' || user_id || ', position ' || position FROM (
				SELECT user_id, abs(e) AS position, e < 0 AS skip, 1 AS told, 0 AS done FROM history, unnest(entries) AS e
				UNION ALL SELECT user_id, abs(e), e < 0, 1, 0 FROM user_state,
					unnest(recent[cardinality(recent) - version % 64 + 1 :]) AS e
				UNION ALL SELECT v.user_id, p.position, false, 0, 1 FROM votes v JOIN polls p ON p.id = v.poll_id
					JOIN user_state u ON u.user_id = v.user_id
				UNION ALL SELECT s.user_id, p.position, true, 0, 1 FROM skips s JOIN polls p ON p.id = s.poll_id
					JOIN user_state u ON u.user_id = s.user_id) r
			GROUP BY user_id, position, skip
			HAVING sum(told) <> 1 OR (sum(done) > 0) = EXISTS (SELECT 1 FROM archived_months
				WHERE moved_at IS NOT NULL AND r.position >= first_position AND r.position < end_position)`,
	},
	{
		invariant: 9, text: "what belongs to a user is in the user's bucket",
		query: `SELECT 'user ' || user_id FROM (
				SELECT user_id, bucket FROM user_state UNION SELECT user_id, bucket FROM history
				UNION SELECT user_id, bucket FROM daily_votes
				UNION SELECT user_id, bucket FROM votes UNION SELECT user_id, bucket FROM skips) r, storage
			WHERE bucket <> user_id % buckets`,
	},
	{
		invariant: 18, text: "who is banned is marked so where votes are judged, and nobody else",
		query: `SELECT 'user ' || u.id FROM users u JOIN user_state s ON s.user_id = u.id
			WHERE s.banned <> (u.banned_at IS NOT NULL)`,
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
			coalesce(username, username_key, email, email_key, password_hash, banned_at::text) IS NOT NULL
			OR EXISTS (SELECT 1 FROM daily_polls WHERE user_id = u.id)
			OR EXISTS (SELECT 1 FROM sessions WHERE user_id = u.id)
			OR EXISTS (SELECT 1 FROM idempotency_keys WHERE user_id = u.id)
			OR EXISTS (SELECT 1 FROM notifications WHERE user_id = u.id)
			OR u.id IN (SELECT user_id FROM history)
			OR EXISTS (SELECT 1 FROM polls WHERE author_id = u.id))`,
	},
}

// findDangling asks of every foreign key for rows that refer to none. The
// database keeps them, unless somebody switched its triggers off.
func findDangling(ctx context.Context, c *conn, _ domain.Rules, found func(string)) error {
	var queries []string
	err := c.rows(ctx, `/* foreign_keys */ SELECT format(
			'SELECT %L FROM %s c WHERE %s AND NOT EXISTS (SELECT 1 FROM %s p WHERE %s)',
			f.conrelid::regclass || ' refers to a missing row of ' || f.confrelid::regclass, f.conrelid::regclass,
			string_agg(format('c.%I IS NOT NULL', a.attname), ' AND '), f.confrelid::regclass,
			string_agg(format('p.%I = c.%I', b.attname, a.attname), ' AND '))
		FROM pg_constraint f, unnest(f.conkey, f.confkey) AS k (referring, referred), pg_attribute a, pg_attribute b
		WHERE f.contype = 'f' AND f.conparentid = 0 AND a.attrelid = f.conrelid AND a.attnum = k.referring
			AND b.attrelid = f.confrelid AND b.attnum = k.referred
		GROUP BY f.oid, f.conrelid, f.confrelid ORDER BY f.oid`,
		func(r pgx.Rows) error {
			var query string
			err := r.Scan(&query)
			queries = append(queries, query)
			return err
		})
	for _, query := range queries {
		if err == nil {
			err = c.examples(ctx, found, query)
		}
	}
	return err
}

// findUncounted compares hours and counts when nothing waits to be counted.
func findUncounted(ctx context.Context, c *conn, _ domain.Rules, found func(string)) error {
	waits, err := c.exists(ctx, `SELECT 1 FROM outbox UNION ALL SELECT 1 FROM dead_letters`)
	if err != nil || waits {
		return err
	}
	return c.compareHourly(ctx, found, true)
}

// compareHourly looks for polls whose hourly votes or skips are more than their
// counts or, with equal, not the same.
func (c *conn) compareHourly(ctx context.Context, found func(string), equal bool) error {
	return c.examples(ctx, found, `SELECT 'poll ' || poll_id || ', ' || what || ': hourly ' || sum(hourly) || ', counted ' || sum(counted)
		FROM (SELECT poll_id, 'option ' || e.i - 1 AS what, e.n AS hourly, 0 AS counted
				FROM poll_hourly, unnest(votes) WITH ORDINALITY AS e (n, i)
			UNION ALL SELECT poll_id, 'skips', skips, 0 FROM poll_hourly
			UNION ALL SELECT poll_id, 'option ' || e.i - 1, 0, e.n FROM poll_counts, unnest(votes) WITH ORDINALITY AS e (n, i)
			UNION ALL SELECT poll_id, 'skips', 0, skips FROM poll_counts) t
		GROUP BY poll_id, what HAVING sum(hourly) > sum(counted) OR ($1 AND sum(hourly) < sum(counted))`, equal)
}

// searchedPolls is how many of the newest polls are searched for: enough to
// notice a fault in writing, few enough for a large database.
const searchedPolls = 100

func findUnsearchable(ctx context.Context, c *conn, _ domain.Rules, found func(string)) error {
	type searched struct {
		position domain.Position
		tokens   []string
	}
	var polls []searched
	err := c.rows(ctx, `/* check_newest */ SELECT position, title, options, tags FROM polls WHERE state = 0 ORDER BY id DESC LIMIT $1`,
		func(r pgx.Rows) error {
			var p searched
			var title string
			var options, tags []string
			err := r.Scan(&p.position, &title, &options, &tags)
			p.tokens = searchTokens(title, options, tags)
			polls = append(polls, p)
			return err
		}, searchedPolls)
	for _, p := range polls {
		if err != nil {
			return err
		}
		err = c.examples(ctx, found, `SELECT 'position ' || $1::integer WHERE EXISTS (
			SELECT 1 FROM unnest($2::text[]) AS t (token) WHERE NOT EXISTS (
				SELECT 1 FROM search WHERE position = $1::integer AND tokens @@ t.token::tsquery))`,
			int64(p.position), quoteAll(append(p.tokens, blockToken(p.position, smallBlock), blockToken(p.position, largeBlock))))
	}
	return err
}

// quoteAll writes tokens in the query language of tsquery.
func quoteAll(tokens []string) []string {
	quoted := make([]string, len(tokens))
	for i, t := range tokens {
		quoted[i] = quote(t)
	}
	return quoted
}

// checkedRows is how many rows of the outbox are looked at together.
const checkedRows = 1000

// findUnreadable looks for rows of the outbox that cannot be read.
func findUnreadable(ctx context.Context, c *conn, _ domain.Rules, found func(string)) error {
	return c.outbox(ctx, func(told) error { return nil }, func(id int64) { found(fmt.Sprintf("row %d", id)) })
}

// findAhead looks for rows of the outbox that tell of what is not stored. Those
// that cannot be read are told of by another rule.
func findAhead(ctx context.Context, c *conn, _ domain.Rules, found func(string)) error {
	return c.outbox(ctx, func(t told) error {
		// An erased user has no state to compare with.
		return c.examples(ctx, found, `SELECT DISTINCT 'row ' || id FROM (
				SELECT id FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS t (id, poll_id, version)
				WHERE version > coalesce((SELECT sum(total + skips) FROM poll_counts c WHERE c.poll_id = t.poll_id), 0)
				UNION ALL SELECT t.id FROM unnest($4::bigint[], $5::bigint[], $6::bigint[]) AS t (id, user_id, version)
					JOIN user_state s ON s.user_id = t.user_id WHERE s.version < t.version
				UNION ALL SELECT t.id FROM unnest($7::bigint[], $8::bigint[], $9::bigint[]) AS t (id, poll_id, position)
				WHERE NOT EXISTS (SELECT 1 FROM polls p WHERE p.id = t.poll_id AND p.position = t.position)) ahead`,
			t.counts.rows, t.counts.ids, t.counts.versions, t.seen.rows, t.seen.ids, t.seen.versions,
			t.published.rows, t.published.ids, t.published.versions)
	}, func(int64) {})
}

// told is what some rows of the outbox say.
type told struct {
	counts    toldList // polls and the versions of their counts
	seen      toldList // users and their versions
	published toldList // polls and their positions
}

// toldList names, entry by entry, the row that says it, of whom, and which number.
type toldList struct{ rows, ids, versions []int64 }

func (l *toldList) add(row, id, version int64) {
	l.rows, l.ids, l.versions = append(l.rows, row), append(l.ids, id), append(l.versions, version)
}

func (t *told) add(row int64, changes domain.Changes) {
	for _, v := range changes.Votes {
		t.counts.add(row, int64(v.PollID), v.Version)
	}
	for _, v := range changes.Skips {
		t.counts.add(row, int64(v.PollID), v.Version)
	}
	for _, u := range changes.Seen {
		t.seen.add(row, int64(u.UserID), u.Version)
	}
	for _, p := range changes.Published {
		t.published.add(row, int64(p.PollID), int64(p.Position))
	}
}

// outbox calls visit with what the rows of the outbox say, some rows at a time,
// and unreadable for each row that cannot be read.
func (c *conn) outbox(ctx context.Context, visit func(told) error, unreadable func(id int64)) error {
	for last, n := int64(0), checkedRows; n == checkedRows; {
		var t told
		n = 0
		err := c.rows(ctx, `/* check_outbox */ SELECT id, changes, versions FROM outbox WHERE id > $1 ORDER BY id LIMIT $2`,
			func(r pgx.Rows) error {
				var data []byte
				var versions []int64
				if err := r.Scan(&last, &data, &versions); err != nil {
					return err
				}
				n++
				var changes domain.Changes
				if err := changes.UnmarshalBinary(withVersions(data, versions)); err != nil {
					unreadable(last)
					return nil //nolint:nilerr // that is what was looked for
				}
				t.add(last, changes)
				return nil
			}, last, checkedRows)
		if err == nil && n > 0 {
			err = visit(t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func findDeadLetters(ctx context.Context, c *conn, _ domain.Rules, found func(string)) error {
	return c.rows(ctx, `/* check_dead_letters */ SELECT id, event::text FROM dead_letters`, func(r pgx.Rows) error {
		var id int64
		var text string
		if err := r.Scan(&id, &text); err != nil {
			return err
		}
		var e domain.Event
		if json.Unmarshal([]byte(text), &e) != nil || e.ID == "" {
			found(fmt.Sprintf("dead letter %d", id))
		}
		return nil
	})
}
