//go:build integration

package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vote/internal/domain"
	"vote/internal/testservers"
)

// faults are planted faults by the rule that must notice them. Each statement
// is a fault of its own, except that lines of one fault are separated by ";;".
// Users are 1 to 14, of which 4 is erased; polls are at 1 to 76, of which 5 is
// hidden and 6 deleted. Users from 5 on have voted on poll 3, and user 3 has
// skipped the polls from 7 on.
var faults = map[string][]string{
	"no page of the database failed its checksum, and every index and constraint is valid": {
		`UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_polls_author'::regclass`,
		`ALTER TABLE daily_polls ADD CONSTRAINT few CHECK (poll_count < 5) NOT VALID`,
	},
	"every reference that the schema declares leads somewhere": {
		`UPDATE sessions SET user_id = 99`,
		`UPDATE polls SET author_id = 99 WHERE position = 1`,
		`INSERT INTO refresh_tokens (token_hash, session_id, created_at) VALUES (decode(repeat('00', 32), 'hex'), 'nowhere', now())`,
	},
	"a poll's total is the sum of its option counts": {
		`UPDATE poll_counts SET total = total + 1`,
		`UPDATE poll_counts SET votes = '{}'`,
	},
	"a poll's total is its number of votes": {
		`DELETE FROM votes WHERE user_id = 1`,
		`DELETE FROM poll_counts`,
		`INSERT INTO poll_counts (bucket, poll_id, total, skips, updated_at, votes) VALUES (0, 77, 1, 0, now(), '{1,0}')`,
	},
	"the count of each option is its number of votes": {
		`UPDATE poll_counts SET votes = '{0,2}' WHERE total = 2`,
		`UPDATE votes SET option_index = 1 - option_index WHERE user_id = 1`,
	},
	"every vote is for an option of its poll": {
		`UPDATE votes SET option_index = 2`,
		`UPDATE votes SET option_index = -1`,
		`UPDATE votes SET poll_id = poll_id + 7000 WHERE user_id = 1`,
	},
	"a poll has one count per option": {
		`UPDATE poll_counts SET votes = '{1,1,0}' WHERE total = 2`,
		`INSERT INTO poll_counts (bucket, poll_id, total, skips, updated_at, votes) VALUES (0, 77, 0, 0, now(), '{0,0}')`,
	},
	"a poll has 2 to 20 options and 1 to 10 tags, a deleted one nothing": {
		`UPDATE polls SET options = '["a"]' WHERE position = 3`,
		`UPDATE polls SET tags = '{}' WHERE position = 3`,
		`UPDATE polls SET title = '' WHERE position = 3`,
		`UPDATE polls SET title = 'x' WHERE position = 6`,
		`UPDATE polls SET tags = '{x}' WHERE position = 6`,
	},
	"every vote is of a user that exists": {`UPDATE votes SET user_id = 77 WHERE user_id = 1`},
	"no user has two votes on one poll": {
		`ALTER TABLE votes DROP CONSTRAINT idx_votes_user_poll;; INSERT INTO votes SELECT * FROM votes LIMIT 1`,
	},
	"a user's daily counter is the number of the user's votes of that day": {
		`UPDATE daily_votes SET vote_count = vote_count + 1`,
		`DELETE FROM daily_votes`,
		`INSERT INTO daily_votes (bucket, user_id, vote_date, vote_count) VALUES (0, 1, '2026-01-05', 1)`,
		`UPDATE votes SET created_at = created_at + interval '1 day'`,
	},
	"no user has more votes on one day than the limit": {
		`INSERT INTO votes (bucket, user_id, poll_id, option_index, created_at)
			SELECT 0, 1, id, 0, (SELECT max(created_at) FROM votes) FROM polls ON CONFLICT DO NOTHING`,
	},
	"an author's daily counter is the number of the author's polls of that day": {
		`UPDATE daily_polls SET poll_count = poll_count + 1`,
		`DELETE FROM daily_polls`,
		`UPDATE polls SET published_at = published_at + interval '1 day' WHERE position = 1`,
	},
	"every user that is not erased has a state, and nobody else": {
		`DELETE FROM user_state WHERE user_id = 3`,
		`INSERT INTO user_state (bucket, user_id) VALUES (0, 4)`,
		`INSERT INTO user_state (bucket, user_id) VALUES (0, 77)`,
	},
	"a user's version is the number of the user's votes and skips": {
		`UPDATE user_state SET version = version + 1 WHERE user_id = 1`,
		`DELETE FROM skips`,
	},
	"a user's history is whole, and its recent part goes on where the older part ends": {
		`DELETE FROM history`,
		`UPDATE history SET chunk = 2`,
		`UPDATE user_state SET recent = recent[2:] WHERE user_id = 3`,
		`UPDATE user_state SET recent = recent[2:] WHERE user_id = 1`,
		`UPDATE user_state SET recent[1] = -76 WHERE user_id = 3`,
		`INSERT INTO history SELECT 1, 0, 1, entries FROM history`,
	},
	"a user's history holds every vote and skip once": {
		`UPDATE history SET entries[1] = -76`,
		`UPDATE history SET entries[1] = -entries[1]`,
		`UPDATE user_state SET recent = '{}' WHERE user_id = 1`,
		`UPDATE user_state SET recent[1] = -recent[1] WHERE user_id = 1`,
		`UPDATE user_state SET recent[64] = recent[63] WHERE user_id = 3`,
		`DELETE FROM skips WHERE user_id = 1`,
	},
	"what belongs to a user is in the user's bucket": {
		`UPDATE storage SET buckets = 2`,
		`UPDATE votes SET bucket = 1 WHERE user_id = 1`,
		`UPDATE history SET bucket = 1`,
	},
	"a poll's skip count is its number of skips": {
		`UPDATE poll_counts SET skips = skips + 1`,
		`DELETE FROM skips`,
	},
	"every skip is of a poll and a user that exist": {
		`UPDATE skips SET user_id = 77 WHERE user_id = 1`,
		`UPDATE skips SET poll_id = poll_id + 7000 WHERE user_id = 1`,
	},
	"no user has two skips of one poll": {
		`ALTER TABLE skips DROP CONSTRAINT idx_skips_user_poll;; INSERT INTO skips SELECT * FROM skips LIMIT 1`,
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
		`DELETE FROM search WHERE position = 3`,
		`INSERT INTO search (position, tokens) VALUES (5, 'hidden')`,
		`INSERT INTO search (position, tokens) VALUES (77, 'nothing')`,
	},
	"a poll of an archived month is not open": {
		`INSERT INTO archived_months VALUES ('2026-01', 0, 1::bigint << 60, 1, 77, now(), NULL, 6, 3, 1)`,
	},
	"of a month that was moved no vote or skip is left, and no other is counted as moved": {
		`INSERT INTO archived_months VALUES ('2026-01', 0, 1::bigint << 60, 1, 77, now(), now(), 6, 3, 1)`,
		`INSERT INTO archived_months VALUES ('2026-01', 70, 80, 0, 0, now(), NULL, 6, 3, 1);;
			INSERT INTO archived_votes (poll_id, option_index, vote_count) VALUES (77, 0, 1)`,
		`INSERT INTO archived_votes (poll_id, option_index, vote_count) VALUES (77, 0, 1)`,
		`INSERT INTO archived_skips VALUES (77, 1)`,
	},
	"what was moved of all months, of all polls and of all users is the same": {
		`INSERT INTO archived_users VALUES (77, 1, 0)`,
		`INSERT INTO archived_users VALUES (77, 0, 1)`,
		`INSERT INTO archived_skips VALUES (77, 1)`,
		`INSERT INTO archived_months VALUES ('2026-01', 1, 2, 0, 0, now(), now(), 0, 3, 0)`,
	},
	"the newest open polls are found by each of their words": {
		`UPDATE search SET tokens = 'other words' WHERE position = 3`,
		`UPDATE search SET tokens = ts_delete(tokens, '#12:0')`,
	},
	"a ranking names polls that exist, each once": {
		`INSERT INTO rankings (created_at, positions) VALUES (now(), '{1,1}')`,
		`INSERT INTO rankings (created_at, positions) VALUES (now(), '{0}')`,
		`INSERT INTO rankings (created_at, positions) VALUES (now(), '{255}')`,
	},
	"an idempotency key names a poll that exists": {`UPDATE idempotency_keys SET poll_id = 77`},
	"every outbox row can be read": {
		`UPDATE outbox SET changes = '\x00'`,
	},
	"no event is ahead of what is stored": {
		`UPDATE outbox SET versions = array_fill(99::bigint, ARRAY[cardinality(versions)]) WHERE versions IS NOT NULL`,
		`UPDATE outbox SET versions = NULL, changes = convert_to('{"at":0,"votes":[[' || (SELECT min(id) FROM polls) || ',0,9]]}', 'UTF8')`,
		`UPDATE outbox SET versions = NULL, changes = convert_to('{"at":0,"skips":[[' || (SELECT min(id) FROM polls) || ',9]]}', 'UTF8')`,
		`UPDATE outbox SET versions = NULL, changes = convert_to('{"at":0,"skips":[[77,1]]}', 'UTF8')`,
		`UPDATE outbox SET versions = NULL, changes = convert_to('{"at":0,"seen":[[1,9,1]]}', 'UTF8')`,
		`UPDATE outbox SET versions = NULL, changes = convert_to('{"at":0,"published":[[' || (SELECT min(id) FROM polls) || ',2]]}', 'UTF8')`,
	},
	"every dead letter can be read": {
		`UPDATE dead_letters SET event = '7'`,
		`UPDATE dead_letters SET event = '{}'`,
	},
	"hourly votes and skips never exceed a poll's counts": {
		`UPDATE poll_hourly SET votes = '{2,1}' WHERE votes = '{1,1}'`,
		`UPDATE poll_hourly SET skips = skips + 1`,
		`INSERT INTO poll_hourly (hour, poll_id, shown, skips, votes) SELECT to_timestamp(3600), id, 0, 0, '{1,0}' FROM polls WHERE position = 3`,
	},
	"hourly votes and skips are a poll's counts once every event was consumed": {
		`DELETE FROM outbox;; DELETE FROM dead_letters;; DELETE FROM poll_hourly`,
		`DELETE FROM outbox;; DELETE FROM dead_letters;; UPDATE poll_hourly SET votes = '{0,1}' WHERE votes = '{1,1}'`,
		`DELETE FROM outbox;; DELETE FROM dead_letters;; UPDATE poll_hourly SET skips = 0`,
	},
	"hourly totals are of polls that exist, one count per option, none below 0": {
		`UPDATE poll_hourly SET poll_id = 77 WHERE votes = '{1,1}'`,
		`UPDATE poll_hourly SET votes = '{1}' WHERE votes = '{1,1}'`,
		`UPDATE poll_hourly SET votes = '{1,-1}' WHERE votes = '{1,1}'`,
		`UPDATE poll_hourly SET shown = -1`,
	},
	"an outbox row that is noted as counted has events that were": {
		`UPDATE counted_events SET numbers = '{}'`,
		`UPDATE counted_events SET numbers = '{[-1,3]}'`,
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
			SELECT 1, 'milestone', v, 10, now() FROM generate_series(1000, 2000) v`,
	},
	"who is banned is marked so where votes are judged, and nobody else": {
		`UPDATE users SET banned_at = now() WHERE id = 1`,
		`UPDATE user_state SET banned = true WHERE user_id = 1`,
	},
	"a session that was not ended has one refresh token to use": {
		`UPDATE refresh_tokens SET used_at = now()`,
		`DELETE FROM refresh_tokens`,
		`INSERT INTO refresh_tokens (token_hash, session_id, created_at)
			SELECT decode(repeat('00', 32), 'hex'), id, now() FROM sessions LIMIT 1`,
	},
	"a banned user has no session that was not ended": {
		`UPDATE users SET banned_at = now() WHERE id = 1`,
		`UPDATE users SET banned_at = now() WHERE id = 2`,
	},
	"a session that ended with its user is nobody's any more": {`INSERT INTO erased_sessions SELECT id, now() FROM sessions LIMIT 1`},
	"of an erased user nothing but votes, skips and the tombstone is left": {
		`UPDATE users SET banned_at = now() WHERE id = 4`,
		`INSERT INTO daily_polls VALUES (4, '2026-01-01', 1)`,
		`UPDATE users SET email_key = 'someone' WHERE id = 4`,
		`UPDATE sessions SET user_id = 4`,
		`UPDATE idempotency_keys SET user_id = 4`,
		`UPDATE polls SET author_id = 4 WHERE position = 2`,
		`UPDATE notifications SET user_id = 4`,
		`UPDATE history SET user_id = 4`,
	},
}

// plantedBase makes the database in which faults are planted.
func plantedBase(t *testing.T) *Store {
	t.Helper()
	ctx := t.Context()
	s := openStore(t, Options{})
	users := addUsers(t, s, 4+domain.FirstMilestone)
	polls := addPolls(t, s, users[0], 6+70)
	interact(t, s,
		domain.Interaction{User: users[0], Poll: polls[0]}, domain.Interaction{User: users[1], Poll: polls[0], Option: 1},
		domain.Interaction{User: users[0], Poll: polls[1], Skip: true}, domain.Interaction{User: users[3], Poll: polls[1]},
	)
	var more []domain.Interaction
	for _, u := range users[4:] {
		more = append(more, domain.Interaction{User: u, Poll: polls[2]})
	}
	for _, p := range polls[6:] {
		more = append(more, domain.Interaction{User: users[2], Poll: p, Skip: true})
	}
	interact(t, s, more...)
	countAll(t, s)
	must(t, s.AddMilestones(ctx, []domain.Milestone{{Poll: polls[2], Votes: domain.FirstMilestone}}))
	_, err := s.SetPollState(ctx, polls[4], domain.PollHidden)
	must(t, err)
	_, err = s.DeletePoll(ctx, users[0], polls[5])
	must(t, err)
	must(t, s.AddDeadLetter(ctx, domain.DeadLetter{Queue: "q", Event: domain.Event{ID: "1-0", Data: []byte("{}")}}))
	_, err = s.pool.Exec(ctx, `INSERT INTO idempotency_keys (user_id, key, fingerprint, poll_id, created_at)
		SELECT 1, 'k', decode(repeat('00', 32), 'hex'), min(id), now() FROM polls`)
	must(t, err)
	_, err = s.EraseUser(ctx, users[3], "")
	must(t, err)
	wantClean(t, s)
	return s
}

// TestCheckFindsFaults plants faults for every rule, each in a transaction that is
// taken back.
func TestCheckFindsFaults(t *testing.T) {
	t.Parallel()
	s := plantedBase(t)
	held, err := s.pool.Acquire(t.Context())
	must(t, err)
	defer held.Release()
	c := &conn{Conn: held.Conn()}
	for _, r := range checkRules {
		plants := faults[r.text]
		if len(plants) == 0 {
			t.Errorf("no fault is planted for %q", r.text)
		}
		for i, plant := range plants {
			plantFault(t, c, plant)
			var report domain.CheckReport
			err := r.check(t.Context(), c, domain.Rules{DailyVotes: 2}, &report)
			c.rollback()
			if err != nil {
				t.Errorf("%s/%d: %v", r.text, i, err)
				continue
			}
			if len(report.Violations) != 1 {
				t.Errorf("%s/%d: not found", r.text, i)
				continue
			}
			v := report.Violations[0]
			if v.Rule != r.text || v.Invariant != r.invariant || v.Count < 1 || len(v.Examples) != min(int(v.Count), maxExamples) {
				t.Errorf("%s/%d: violation %+v", r.text, i, v)
			}
		}
	}
	for text := range faults {
		if !slices.ContainsFunc(checkRules, func(r rule) bool { return r.text == text }) {
			t.Errorf("a fault is planted for %q, which is no rule", text)
		}
	}
}

// plantFault begins a transaction in which the database lets everything be
// written.
func plantFault(t *testing.T, c *conn, plant string) {
	t.Helper()
	lines := append([]string{
		`BEGIN`, `SET LOCAL session_replication_role = replica`, `SET LOCAL allow_system_table_mods = on`,
		`DO $$ DECLARE c record; BEGIN
			FOR c IN SELECT conrelid::regclass AS of, conname FROM pg_constraint WHERE contype = 'c' AND conislocal AND conrelid <> 0
				AND connamespace = 'public'::regnamespace
				AND NOT EXISTS (SELECT 1 FROM pg_inherits WHERE inhrelid = conrelid)
			LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.of, c.conname); END LOOP;
		END $$`,
	}, strings.Split(plant, ";;")...)
	for _, line := range lines {
		_, err := c.exec(t.Context(), line)
		must(t, err)
	}
}

func TestCheckBoundsExamples(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{})
	addPolls(t, s, addUsers(t, s, 1)[0], 20)
	_, err := s.pool.Exec(t.Context(), `DELETE FROM search`)
	must(t, err)
	report, err := s.Check(t.Context(), domain.Rules{})
	must(t, err)
	if len(report.Violations) != 2 || report.Violations[0].Count != 20 || len(report.Violations[0].Examples) != maxExamples {
		t.Fatalf("violations %+v", report.Violations)
	}
}

// TestTextsThatCannotBeStored are looked for, and not found.
func TestTextsThatCannotBeStored(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{})
	u := addUsers(t, s, 1)[0]
	for _, text := range []string{"a\x00b", "b\xffa"} {
		_, byEmail := s.UserByEmail(t.Context(), text)
		_, byName := s.UserByUsername(t.Context(), text)
		for _, err := range []error{byEmail, byName, s.EndSession(t.Context(), u, text)} {
			if domain.CodeOf(err) != domain.CodeNotFound {
				t.Errorf("%q: %v", text, err)
			}
		}
		_, err := s.Sessions(t.Context(), u, domain.SessionMark{ID: text}, 10)
		must(t, err)
		must(t, s.AddDeadLetter(t.Context(), domain.DeadLetter{
			Queue: "q", Reason: text, Event: domain.Event{ID: text, Data: []byte(`{}`)},
		}))
	}
	letters, err := s.DeadLetters(t.Context(), "", 0, 10)
	must(t, err)
	if len(letters) != 2 {
		t.Errorf("%d letters", len(letters))
	}
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

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openStore opens a store on a database of its own, or the named one, and closes
// it with the test.
func openStore(t testing.TB, o Options) *Store {
	t.Helper()
	if o.DSN == "" {
		o.DSN = testservers.Database(t)
	}
	o.AutoMigrate, o.MaxConns = true, 8
	s, err := Open(context.Background(), o)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// addUsers makes accounts with the e-mail keys user0, user1, ...
func addUsers(t testing.TB, s *Store, n int) []domain.UserID {
	t.Helper()
	var users []domain.UserID
	for i := range n {
		key := fmt.Sprintf("user%d", i)
		u, err := s.CreateUser(context.Background(),
			domain.NewUser{Username: key, UsernameKey: key, Email: key, EmailKey: key, PasswordHash: "x"},
			domain.Session{ID: "session-" + key, ExpiresAt: time.Now().Add(time.Hour)}, domain.TokenHash{byte(i), 1})
		must(t, err)
		users = append(users, u.ID)
	}
	return users
}

func addPolls(t testing.TB, s *Store, author domain.UserID, n int) []domain.PollID {
	t.Helper()
	batch := make([]domain.NewPoll, n)
	for i := range batch {
		batch[i] = domain.NewPoll{
			Author: author, Title: fmt.Sprintf("Question number%d", i), Options: []string{"yes", "no"}, Tags: []string{"general"},
		}
	}
	published, err := s.Publish(context.Background(), batch, func(f []domain.PublicationFact) []domain.PublicationVerdict {
		return domain.Rules{}.JudgePublications(batch, f)
	})
	must(t, err)
	var polls []domain.PollID
	for _, p := range published {
		polls = append(polls, p.Poll.ID)
	}
	return polls
}

func interact(t testing.TB, s *Store, batch ...domain.Interaction) {
	t.Helper()
	_, err := s.Interact(context.Background(), batch, func(f []domain.Fact) []domain.Verdict {
		return domain.Rules{}.Judge(batch, f)
	})
	must(t, err)
}

// wantClean fails unless the check finds nothing.
func wantClean(t testing.TB, s *Store) {
	t.Helper()
	report, err := s.Check(context.Background(), domain.Rules{})
	must(t, err)
	for _, v := range report.Violations {
		t.Errorf("Check: %s: %d, such as %q", v.Rule, v.Count, v.Examples)
	}
}
