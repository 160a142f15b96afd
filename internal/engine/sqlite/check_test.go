package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vote/internal/domain"
)

// faults are planted faults by the rule that must notice them. Each statement
// is a fault of its own, except that lines of one fault are separated by ";;".
// Users are 1 to 4, of which 4 is erased; polls are at 1 to 6, of which 5 is
// hidden and 6 deleted. Users from 5 on have voted on poll 3, and user 3 has
// skipped the polls from 7 on.
var faults = map[string][]string{
	"the database file is intact": {
		`UPDATE dead_letters SET event = 'x'`,
		`PRAGMA writable_schema = ON;;
			UPDATE sqlite_schema SET sql = replace(sql, '(author_id)', '(created_at)') WHERE name = 'idx_polls_author';;
			PRAGMA schema_version = 999`,
	},
	"every reference that the schema declares leads somewhere": {
		`UPDATE sessions SET user_id = 99`,
		`UPDATE polls SET author_id = 99 WHERE position = 1`,
		`INSERT INTO refresh_tokens (token_hash, session_id, created_at) VALUES (zeroblob(32), 'nowhere', 0)`,
	},
	"a poll's total is the sum of its option counts": {
		`UPDATE poll_counts SET total = total + 1`,
		`UPDATE poll_counts SET votes = 'x'`,
	},
	"a poll's total is its number of votes": {
		`DELETE FROM votes WHERE user_id = 1`,
		`DELETE FROM poll_counts`,
		`INSERT INTO poll_counts (poll_id, total, skips, updated_at, votes) VALUES (77, 1, 0, 0, '[1,0]')`,
	},
	"the count of each option is its number of votes": {
		`UPDATE poll_counts SET votes = '[0,2]' WHERE total = 2`,
		`UPDATE votes SET option_index = 1 - option_index WHERE user_id = 1`,
	},
	"every vote is for an option of its poll": {
		`UPDATE votes SET option_index = 2`,
		`UPDATE votes SET option_index = -1`,
		`UPDATE votes SET poll_id = 77 WHERE user_id = 1`,
		`UPDATE polls SET options = 'x'`,
	},
	"a poll has one count per option": {
		`UPDATE poll_counts SET votes = '[1,1,0]' WHERE total = 2`,
		`UPDATE poll_counts SET votes = 'x'`,
		`INSERT INTO poll_counts (poll_id, total, skips, updated_at, votes) VALUES (77, 0, 0, 0, '[0,0]')`,
	},
	"a poll has 2 to 20 options and 1 to 10 tags, a deleted one nothing": {
		`UPDATE polls SET options = '["a"]' WHERE position = 3`,
		`UPDATE polls SET tags = '[]' WHERE position = 3`,
		`UPDATE polls SET tags = 'x' WHERE position = 3`,
		`UPDATE polls SET title = '' WHERE position = 3`,
		`UPDATE polls SET title = 'x' WHERE position = 6`,
		`UPDATE polls SET tags = '["x"]' WHERE position = 6`,
	},
	"every vote is of a user that exists": {`UPDATE votes SET id = 77 << 32 | position WHERE user_id = 1`},
	"no user has two votes on one poll": {
		`ALTER TABLE votes RENAME TO old;; CREATE TABLE votes AS SELECT * FROM old;;
			INSERT INTO votes SELECT * FROM old LIMIT 1`,
	},
	"a user's daily counter is the number of the user's votes of that day": {
		`UPDATE daily_votes SET vote_count = vote_count + 1`,
		`DELETE FROM daily_votes`,
		`INSERT INTO daily_votes VALUES (1, 5, 1)`,
		`UPDATE votes SET created_at = created_at + 86400000`,
		`UPDATE user_state SET vote_count = vote_count + 1 WHERE user_id = 1`,
		`UPDATE user_state SET vote_date = vote_date - 1 WHERE user_id = 1`,
		`UPDATE user_state SET vote_count = 0`,
	},
	"a user's votes of one day are counted in one place": {
		`UPDATE user_state SET vote_count = 0 WHERE user_id = 1;;
			INSERT INTO daily_votes SELECT user_id, vote_date, 1 FROM user_state WHERE user_id = 1`,
	},
	"no user has more votes on one day than the limit": {
		`INSERT INTO votes (id, poll_id, option_index, created_at)
			SELECT 1 << 32 | position, id, 0, (SELECT created_at FROM votes LIMIT 1) FROM polls
			WHERE true ON CONFLICT DO NOTHING`,
	},
	"an author's daily counter is the number of the author's polls of that day": {
		`UPDATE daily_polls SET poll_count = poll_count + 1`,
		`DELETE FROM daily_polls`,
		`UPDATE polls SET published_at = published_at + 86400000 WHERE position = 1`,
	},
	"every user that is not erased has a state, and nobody else": {
		`DELETE FROM user_state WHERE user_id = 3`,
		`INSERT INTO user_state (user_id) VALUES (4)`,
		`INSERT INTO user_state (user_id) VALUES (77)`,
	},
	"a user's version is the number of the user's votes and skips": {
		`UPDATE user_state SET version = version + 1 WHERE user_id = 1`,
		`DELETE FROM skips`,
	},
	"a vote or skip has the position of its poll": {
		`UPDATE votes SET id = user_id << 32 | 3 WHERE user_id = 1 AND position < 3`,
		`UPDATE skips SET id = user_id << 32 | 3 WHERE user_id = 1`,
	},
	"a poll's skip count is its number of skips": {
		`UPDATE poll_counts SET skips = skips + 1`,
		`DELETE FROM skips`,
	},
	"every skip is of a poll and a user that exist": {
		`UPDATE skips SET id = 77 << 32 | position`,
		`UPDATE skips SET poll_id = 77 WHERE user_id = 1`,
	},
	"no user has two skips of one poll": {
		`ALTER TABLE skips RENAME TO old;; CREATE TABLE skips AS SELECT * FROM old;;
			INSERT INTO skips SELECT * FROM old LIMIT 1`,
	},
	"positions are 1 to the number of polls, and ids rise with them": {
		`UPDATE polls SET position = 999 WHERE position = 3`,
		`DELETE FROM polls WHERE position = 3`,
		`UPDATE polls SET id = 1 WHERE position = 3`,
	},
	"no two polls have the same revision": {`DROP INDEX idx_polls_revision;; UPDATE polls SET revision = 3`},
	"the newest position, id and revision are remembered": {
		`DELETE FROM publication`,
		`UPDATE publication SET position = position - 1`,
		`UPDATE publication SET poll_id = poll_id + 1`,
		`UPDATE publication SET revision = revision - 1`,
	},
	"open polls can be searched, and no others": {
		`DELETE FROM search WHERE rowid = 3`,
		`INSERT INTO search (rowid, tokens) VALUES (5, 'hidden')`,
		`INSERT INTO search (rowid, tokens) VALUES (77, 'nothing')`,
	},
	"a poll of an archived month is not open": {
		`INSERT INTO archived_months VALUES ('2026-01', 0, 1 << 60, 0, NULL, 6, 3, 1)`,
	},
	"of a month that was moved no vote or skip is left, and no other is counted as moved": {
		`INSERT INTO archived_months VALUES ('2026-01', 0, 1 << 60, 0, 1, 6, 3, 1)`,
		`INSERT INTO archived_months VALUES ('2026-01', 70, 80, 0, NULL, 6, 3, 1);;
			INSERT INTO archived_votes VALUES (77, 0, 1)`,
		`INSERT INTO archived_votes VALUES (77, 0, 1)`,
		`INSERT INTO archived_skips VALUES (77, 1)`,
	},
	"what was moved of all months, of all polls and of all users is the same": {
		`INSERT INTO archived_users VALUES (77, 1, 0)`,
		`INSERT INTO archived_users VALUES (77, 0, 1)`,
		`INSERT INTO archived_skips VALUES (77, 1)`,
		`INSERT INTO archived_months VALUES ('2026-01', 1, 2, 0, 1, 0, 3, 0)`,
	},
	"the newest open polls are found by each of their words": {
		`DELETE FROM search WHERE rowid = 3;; INSERT INTO search (rowid, tokens) VALUES (3, 'other words')`,
		`DELETE FROM search_terms`,
	},
	"a ranking names polls that exist, each once": {
		`UPDATE rankings SET positions = x'0100000001000000'`,
		`UPDATE rankings SET positions = x'00000000'`,
		`UPDATE rankings SET positions = x'ff000000'`,
	},
	"an idempotency key names a poll that exists": {`UPDATE idempotency_keys SET poll_id = 77`},
	"every outbox row can be read":                {`UPDATE outbox SET changes = x'00'`},
	"no event is ahead of what is stored": {
		`UPDATE outbox SET changes = CAST('{"at":0,"votes":[[' || (SELECT min(id) FROM polls) || ',0,9]]}' AS BLOB)`,
		`UPDATE outbox SET changes = CAST('{"at":0,"skips":[[' || (SELECT min(id) FROM polls) || ',9]]}' AS BLOB)`,
		`UPDATE outbox SET changes = CAST('{"at":0,"skips":[[77,1]]}' AS BLOB)`,
		`UPDATE outbox SET changes = CAST('{"at":0,"seen":[[1,9,1]]}' AS BLOB)`,
		`UPDATE outbox SET changes = CAST('{"at":0,"published":[[' || (SELECT min(id) FROM polls) || ',2]]}' AS BLOB)`,
	},
	"every dead letter can be read": {
		`UPDATE dead_letters SET event = 'x'`,
		`UPDATE dead_letters SET event = '{}'`,
	},
	"hourly votes and skips never exceed a poll's counts": {
		`UPDATE poll_hourly SET votes = '[2,1]' WHERE votes = '[1,1]'`,
		`UPDATE poll_hourly SET skips = skips + 1`,
		`INSERT INTO poll_hourly (hour, poll_id, shown, skips, votes) SELECT 1, id, 0, 0, '[1,0]' FROM polls WHERE position = 3`,
	},
	"hourly votes and skips are a poll's counts once every event was consumed": {
		`DELETE FROM outbox;; DELETE FROM dead_letters;; DELETE FROM poll_hourly`,
		`DELETE FROM outbox;; DELETE FROM dead_letters;; UPDATE poll_hourly SET votes = '[0,1]' WHERE votes = '[1,1]'`,
		`DELETE FROM outbox;; DELETE FROM dead_letters;; UPDATE poll_hourly SET skips = 0`,
	},
	"hourly totals are of polls that exist, one count per option, none below 0": {
		`UPDATE poll_hourly SET poll_id = 77 WHERE votes = '[1,1]'`,
		`UPDATE poll_hourly SET votes = '[1]' WHERE votes = '[1,1]'`,
		`UPDATE poll_hourly SET votes = '[1,-1]' WHERE votes = '[1,1]'`,
		`UPDATE poll_hourly SET votes = 'x' WHERE votes = '[1,1]'`,
		`UPDATE poll_hourly SET shown = -1`,
	},
	"no event is noted twice as counted": {
		`UPDATE counted_events SET last = -1`,
		`INSERT INTO counted_events SELECT row_id, first + 1, last, counted_at FROM counted_events`,
	},
	"a notification is for the author of a poll that has reached the milestone": {
		`UPDATE notifications SET user_id = 2`,
		`UPDATE notifications SET poll_id = 77`,
		`UPDATE notifications SET votes = 100`,
		`UPDATE notifications SET votes = 1`,
		`DELETE FROM poll_milestones`,
		`UPDATE polls SET author_id = NULL WHERE position = 3`,
	},
	"no user has more notifications than are kept": {
		`INSERT INTO notifications (user_id, type, poll_id, votes, created_at)
			WITH RECURSIVE n (v) AS (SELECT 1000 UNION ALL SELECT v + 1 FROM n WHERE v < 2000)
			SELECT 1, 'milestone', v, 10, 0 FROM n`,
	},
	"a user's history holds every vote and skip once": {
		`DELETE FROM history WHERE user_id = 1 AND skip`,
		`DELETE FROM history`,
		`UPDATE history SET poll_id = 77 WHERE user_id = 1`,
		`UPDATE history SET skip = 1 WHERE user_id = 2`,
		`INSERT INTO history (user_id, poll_id, skip, previous) SELECT user_id, poll_id, skip, id FROM history LIMIT 1`,
		`UPDATE user_state SET version = version + 1 WHERE user_id = 3`,
	},
	"a user's history is one chain of votes and one of skips, each of which ends as the user's state says": {
		`UPDATE user_state SET last_vote = 0 WHERE user_id = 1`,
		`UPDATE user_state SET last_skip = 77777 WHERE user_id = 1`,
		`UPDATE user_state SET last_skip = last_skip - 1 WHERE user_id = 3`,
		`UPDATE user_state SET last_vote = last_skip, last_skip = last_vote WHERE user_id = 1`,
		`UPDATE history SET previous = 0 WHERE id = (SELECT max(id) FROM history WHERE user_id = 3)`,
		`UPDATE history SET previous = id`,
		`UPDATE history SET previous = id + 1 WHERE id = (SELECT min(id) FROM history WHERE user_id = 3)`,
		`UPDATE history SET previous = 1 WHERE user_id > 4`,
		`DELETE FROM history WHERE id = (SELECT max(id) FROM history WHERE user_id = 3)`,
	},
	"a session that was not ended has one refresh token to use": {
		`UPDATE refresh_tokens SET used_at = 1`,
		`DELETE FROM refresh_tokens`,
		`INSERT INTO refresh_tokens (token_hash, session_id, created_at) SELECT zeroblob(32), id, 0 FROM sessions LIMIT 1`,
	},
	"a banned user has no session that was not ended": {
		`UPDATE users SET banned_at = 1 WHERE id = 1`,
		`UPDATE users SET banned_at = 1 WHERE id = 2`,
	},
	"a session that ended with its user is nobody's any more": {`INSERT INTO erased_sessions SELECT id, 1 FROM sessions LIMIT 1`},
	"of an erased user nothing but votes, skips and the tombstone is left": {
		`UPDATE users SET banned_at = 1 WHERE id = 4`,
		`INSERT INTO daily_polls VALUES (4, 1, 1)`,
		`UPDATE users SET email_key = 'someone' WHERE id = 4`,
		`UPDATE sessions SET user_id = 4`,
		`UPDATE idempotency_keys SET user_id = 4`,
		`UPDATE polls SET author_id = 4 WHERE position = 2`,
		`UPDATE notifications SET user_id = 4`,
		`UPDATE history SET user_id = 4 WHERE user_id = 2`,
	},
}

// plantedBase makes the database in which faults are planted.
func plantedBase(t *testing.T) string {
	t.Helper()
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "vote.db")
	s, err := Open(ctx, Options{Path: path, AutoMigrate: true})
	must(t, err)
	users := addUsers(t, s, 4+domain.FirstMilestone)
	polls := addPolls(t, s, users[0], 6+60)
	publish(t, s, nil)
	interact(t, s, []domain.Interaction{
		{User: users[0], Poll: polls[0]}, {User: users[1], Poll: polls[0], Option: 1},
		{User: users[0], Poll: polls[1], Skip: true}, {User: users[3], Poll: polls[1]},
	})
	var more []domain.Interaction
	for _, u := range users[4:] {
		more = append(more, domain.Interaction{User: u, Poll: polls[2]})
	}
	for _, p := range polls[6:] {
		more = append(more, domain.Interaction{User: users[2], Poll: p, Skip: true})
	}
	interact(t, s, more)
	countAll(t, s)
	must(t, s.AddMilestones(ctx, []domain.Milestone{{Poll: polls[2], Votes: domain.FirstMilestone}}))
	_, err = s.SetPollState(ctx, polls[4], domain.PollHidden)
	must(t, err)
	_, err = s.DeletePoll(ctx, users[0], polls[5])
	must(t, err)
	_, err = s.Rank(ctx, 10, 0, time.Hour)
	must(t, err)
	must(t, s.AddDeadLetter(ctx, domain.DeadLetter{Queue: "q", Event: domain.Event{ID: "1-0", Data: []byte("{}")}}))
	s.withWriter(func(w *writer) {
		must(t, w.run(`INSERT INTO idempotency_keys SELECT 1, 'k', zeroblob(32), min(id), 1 FROM polls`))
	})
	_, err = s.EraseUser(ctx, users[3], "")
	must(t, err)
	wantClean(t, s)
	must(t, s.Close())
	return path
}

// countAll counts every event in the outbox by its hour, and leaves it there.
func countAll(t *testing.T, s *Store) {
	t.Helper()
	rows, err := s.ClaimOutbox(t.Context(), 1<<20, 0)
	must(t, err)
	var list []domain.Processed
	for _, row := range rows {
		var c domain.Changes
		must(t, c.UnmarshalBinary(row.Changes))
		n := 0
		for _, v := range c.Votes {
			list = append(list, domain.Processed{ID: domain.EventID{Row: row.ID, Number: n}, Poll: v.PollID, Option: v.OptionIndex, At: c.At})
			n++
		}
		for _, v := range c.Skips {
			list = append(list, domain.Processed{ID: domain.EventID{Row: row.ID, Number: n}, Poll: v.PollID, Skip: true, At: c.At})
			n++
		}
	}
	must(t, s.CountHourly(t.Context(), list))
}

// TestCheckFindsFaults plants a fault for every rule.
func TestCheckFindsFaults(t *testing.T) {
	t.Parallel()
	base := plantedBase(t)
	for _, r := range checkRules {
		plants := faults[r.text]
		if len(plants) == 0 {
			t.Errorf("no fault is planted for %q", r.text)
		}
		for i, plant := range plants {
			t.Run(fmt.Sprintf("%s/%d", r.text, i), func(t *testing.T) {
				t.Parallel()
				data, err := os.ReadFile(base)
				must(t, err)
				path := filepath.Join(t.TempDir(), "vote.db")
				must(t, os.WriteFile(path, data, 0o600))
				s := openStore(t, Options{Path: path, Readers: 1})
				s.withWriter(func(w *writer) {
					must(t, w.pragma("foreign_keys", "OFF"))
					must(t, w.pragma("ignore_check_constraints", "ON"))
					for line := range strings.SplitSeq(plant, ";;") {
						must(t, w.run(strings.TrimSpace(line)))
					}
				})
				report, err := s.Check(t.Context(), domain.Rules{DailyVotes: 2})
				must(t, err)
				if len(report.Rules) != len(checkRules) {
					t.Errorf("%d rules checked of %d", len(report.Rules), len(checkRules))
				}
				at := slices.IndexFunc(report.Violations, func(v domain.Violation) bool { return v.Rule == r.text })
				if at < 0 {
					t.Fatalf("not found; found were %+v", report.Violations)
				}
				v := report.Violations[at]
				if v.Invariant != r.invariant || v.Count < 1 || len(v.Examples) != min(int(v.Count), maxExamples) {
					t.Errorf("violation %+v", v)
				}
			})
		}
	}
}

func TestCheckBoundsExamples(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{})
	u := addUsers(t, s, 1)[0]
	addPolls(t, s, u, 20)
	s.withWriter(func(w *writer) { must(t, w.run(`DELETE FROM search`)) })
	report, err := s.Check(t.Context(), domain.Rules{})
	must(t, err)
	if len(report.Violations) != 2 || report.Violations[0].Count != 20 || len(report.Violations[0].Examples) != maxExamples {
		t.Fatalf("violations %+v", report.Violations)
	}
}
