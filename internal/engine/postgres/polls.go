package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

const lockAuthors = `/* lock_authors */ SELECT 1 FROM user_state
	WHERE bucket = ANY($1) AND user_id = ANY($2) ORDER BY bucket, user_id FOR NO KEY UPDATE`

const readAuthors = `/* authors */ SELECT n.at, u.id, a.username, (SELECT poll_count FROM daily_polls d
		WHERE d.user_id = u.id AND d.poll_date = (n.at AT TIME ZONE 'UTC')::date)
	FROM (SELECT coalesce($1::timestamptz, date_trunc('milliseconds', statement_timestamp())) AS at) n,
		unnest($2::bigint[]) AS u (id) LEFT JOIN users a ON a.id = u.id AND a.erased_at IS NULL AND a.banned_at IS NULL`

const readKeys = `/* idempotency_keys */ SELECT i.user_id, i.key, i.poll_id, i.fingerprint
	FROM unnest($2::bigint[], $3::text[]) AS k (user_id, key) JOIN idempotency_keys i ON i.user_id = k.user_id AND i.key = k.key
	WHERE i.created_at > coalesce($1::timestamptz, date_trunc('milliseconds', statement_timestamp())) - $4 * interval '1 second'`

const insertPoll = `/* insert_poll */ INSERT INTO polls
	(id, position, revision, author_id, created_at, published_at, tags, title, options)
	VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8)`

const rememberKey = `/* remember_key */ INSERT INTO idempotency_keys (user_id, key, fingerprint, poll_id, created_at)
	VALUES ($1, $2, $3, $4, $5) ON CONFLICT (user_id, key) DO UPDATE
	SET fingerprint = excluded.fingerprint, poll_id = excluded.poll_id, created_at = excluded.created_at`

const addDailyPolls = `/* add_daily_polls */ INSERT INTO daily_polls (user_id, poll_date, poll_count)
	SELECT user_id, poll_date, n FROM unnest($1::bigint[], $2::date[], $3::integer[]) AS u (user_id, poll_date, n)
	ON CONFLICT (user_id, poll_date) DO UPDATE SET poll_count = daily_polls.poll_count + excluded.poll_count`

// author is what a batch of publications knows about an author.
type author struct {
	exists bool
	name   string
	today  int
	added  int // by this batch
}

// publishing is a batch of polls on its way.
type publishing struct {
	s         *Store
	batch     []domain.NewPoll
	tokens    [][]string
	at        time.Time
	authors   map[domain.UserID]*author
	facts     []domain.PublicationFact
	verdicts  []domain.PublicationVerdict
	published []domain.Publication
}

// missingMonthsError says that a poll is of a month that has no partitions yet.
type missingMonthsError []domain.Month

func (m missingMonthsError) Error() string {
	return fmt.Sprintf("no partitions for %v", []domain.Month(m))
}

// Publish implements [domain.Store].
func (s *Store) Publish(
	ctx context.Context, batch []domain.NewPoll,
	judge func([]domain.PublicationFact) []domain.PublicationVerdict,
) ([]domain.Publication, error) {
	if len(batch) == 0 {
		return nil, s.usable(ctx)
	}
	tokens := make([][]string, len(batch))
	for i, p := range batch {
		tokens[i] = searchTokens(p.Title, p.Options, p.Tags)
	}
	for {
		start := time.Now()
		var published []domain.Publication
		err := s.transaction(ctx, brief, func(ctx context.Context, c *conn) error {
			p := &publishing{s: s, batch: batch, tokens: tokens, authors: make(map[domain.UserID]*author)}
			if err := p.readFacts(ctx, c); err != nil {
				return err
			}
			p.verdicts = judge(p.facts)
			if len(p.verdicts) != len(batch) {
				return fmt.Errorf("%d verdicts for %d polls", len(p.verdicts), len(batch))
			}
			err := p.publish(ctx, c)
			published = p.published
			return err
		})
		s.metrics.observe(opPublish, time.Since(start))
		if months, ok := errors.AsType[missingMonthsError](err); ok {
			if err := s.makePartitions(ctx, opPublish, months...); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, s.fault(opPublish, err)
		}
		return published, nil
	}
}

// readFacts locks the authors and reads what the judge needs.
func (p *publishing) readFacts(ctx context.Context, c *conn) error {
	var ids []domain.UserID
	var keyed, users []int64
	var keys []string
	for _, n := range p.batch {
		if p.authors[n.Author] == nil {
			p.authors[n.Author] = &author{}
			ids, users = append(ids, n.Author), append(users, int64(n.Author))
		}
		if n.IdempotencyKey != "" {
			keyed, keys = append(keyed, int64(n.Author)), append(keys, n.IdempotencyKey)
		}
	}
	buckets := p.s.bucketsOf(ids)
	slices.Sort(buckets)
	var at *time.Time
	if c.clock != nil {
		at = optional(handed(c.clock))
	}
	var q pgx.Batch
	q.Queue(lockAuthors, slices.Compact(buckets), users)
	q.Queue(readAuthors, at, users).Query(func(rows pgx.Rows) error {
		return each(rows, func(r pgx.Rows) error {
			var id int64
			var name *string
			var today *int
			if err := r.Scan(&p.at, &id, &name, &today); err != nil {
				return err
			}
			a := p.authors[domain.UserID(id)]
			if name != nil {
				a.exists, a.name = true, *name
			}
			if today != nil {
				a.today = *today
			}
			return nil
		})
	})
	type named struct {
		user int64
		key  string
	}
	earlier := make(map[named]*domain.EarlierPublication)
	if len(keys) > 0 {
		q.Queue(readKeys, at, keyed, keys, domain.IdempotencyLife.Seconds()).Query(func(rows pgx.Rows) error {
			return each(rows, func(r pgx.Rows) error {
				var n named
				var poll int64
				var fingerprint []byte
				err := r.Scan(&n.user, &n.key, &poll, &fingerprint)
				e := &domain.EarlierPublication{Poll: domain.PollID(poll)}
				copy(e.Fingerprint[:], fingerprint)
				earlier[n] = e
				return err
			})
		})
	}
	if err := c.SendBatch(ctx, &q).Close(); err != nil {
		return err
	}
	p.facts = make([]domain.PublicationFact, len(p.batch))
	for i, n := range p.batch {
		a := p.authors[n.Author]
		p.facts[i] = domain.PublicationFact{AuthorExists: a.exists, PollsToday: a.today}
		if a.exists {
			p.facts[i].Earlier = earlier[named{int64(n.Author), n.IdempotencyKey}]
		}
	}
	return nil
}

// publish writes what was accepted.
func (p *publishing) publish(ctx context.Context, c *conn) error {
	p.published = make([]domain.Publication, len(p.batch))
	accepted := 0
	for i, v := range p.verdicts {
		p.published[i].Verdict, p.published[i].At = v, p.at
		switch {
		case v.Code != "":
		case v.Repeats != 0:
			var err error
			if p.published[i].Poll, p.published[i].Entry, err = p.s.pollAndEntry(ctx, c, v.Repeats); err != nil {
				return err
			}
		case v.RepeatsIndex >= i || v.RepeatsIndex < 0 && !p.authors[p.batch[i].Author].exists:
			return fmt.Errorf("poll %d was accepted against the facts", i)
		case v.RepeatsIndex < 0:
			accepted++
		}
	}
	if accepted == 0 {
		return nil
	}
	last, err := c.issued(ctx)
	if err != nil {
		return err
	}
	var q pgx.Batch
	if last, err = p.queuePolls(&q, last); err != nil {
		return err
	}
	q.Queue(setIssued, int64(last.position), int64(last.poll), last.revision)
	return c.SendBatch(ctx, &q).Close()
}

// queuePolls queues the new polls and all that goes with them, and returns what
// has then been handed out.
func (p *publishing) queuePolls(q *pgx.Batch, last issued) (issued, error) {
	changes := domain.Changes{At: p.at}
	var missing missingMonthsError
	for i, v := range p.verdicts {
		switch {
		case v.Code != "" || v.Repeats != 0:
			continue
		case v.RepeatsIndex >= 0:
			p.published[i].Poll, p.published[i].Entry = p.published[v.RepeatsIndex].Poll, p.published[v.RepeatsIndex].Entry
			continue
		case last.position >= maxPosition:
			return last, errors.New("no position is left")
		}
		n, a := p.batch[i], p.authors[p.batch[i].Author]
		last = issued{last.position + 1, domain.NextPollID(last.poll, p.at), last.revision + 1}
		if month := domain.MonthOf(last.poll.Time()); !p.s.months.has(month) && !slices.Contains(missing, month) {
			missing = append(missing, month)
		}
		poll := domain.Poll{
			ID: last.poll, Position: last.position, Author: n.Author, AuthorName: a.name,
			Title: n.Title, Options: n.Options, Tags: n.Tags, CreatedAt: p.at,
		}
		if err := queuePoll(q, poll, last.revision, p.tokens[i]); err != nil {
			return last, err
		}
		if n.IdempotencyKey != "" {
			// A key that is still there has expired, or the rule would have seen it.
			q.Queue(rememberKey, int64(n.Author), n.IdempotencyKey, n.Fingerprint[:], int64(poll.ID), p.at)
		}
		a.added++
		p.published[i].Poll = poll
		p.published[i].Entry = domain.Entry{Position: poll.Position, Poll: poll.ID, Revision: last.revision, Tags: poll.Tags}
		changes.Published = append(changes.Published, domain.PollPublished{PollID: poll.ID, Position: poll.Position})
	}
	if len(missing) > 0 {
		return last, missing
	}
	var users []int64
	var days []time.Time
	var counts []int32
	for id, a := range p.authors {
		if a.added > 0 {
			users, days = append(users, int64(id)), append(days, date(domain.DayOf(p.at)))
			counts = append(counts, int32(a.added)) //nolint:gosec // bounded by a batch
		}
	}
	q.Queue(addDailyPolls, users, days, counts)
	told, err := changes.AppendBinary(nil)
	q.Queue(addOutbox, int32(0), p.at, told)
	return last, err
}

// queuePoll queues an open poll and its place in the search.
func queuePoll(q *pgx.Batch, p domain.Poll, revision int64, tokens []string) error {
	options, err := encodeJSON(p.Options)
	if err != nil {
		return err
	}
	q.Queue(insertPoll, int64(p.ID), int64(p.Position), revision, int64(p.Author), p.CreatedAt, p.Tags, p.Title, options)
	q.Queue(addToSearch, indexArgs(p.Position, tokens)...)
	return nil
}

// pollColumns are those that scanPoll reads. The first argument of a query is
// [Store.allBuckets].
const pollColumns = `p.id, p.position, p.state, p.created_at, p.title, p.options, p.tags,
	coalesce(p.author_id, 0), coalesce(u.username, ''), p.revision, coalesce(c.total, 0), coalesce(c.skips, 0)
	FROM polls p LEFT JOIN users u ON u.id = p.author_id LEFT JOIN LATERAL (
		SELECT sum(total)::bigint AS total, sum(skips)::bigint AS skips
		FROM poll_counts WHERE poll_id = p.id AND bucket = ANY($1)) c ON true`

func scanPoll(r pgx.Row) (domain.Poll, domain.Entry, error) {
	var id, position, by, revision int64
	var state int16
	var p domain.Poll
	var e domain.Entry
	err := r.Scan(&id, &position, &state, &p.CreatedAt, &p.Title, &p.Options, &p.Tags, &by, &p.AuthorName, &revision, &e.Votes, &e.Skips)
	if err != nil {
		return p, e, err
	}
	p.ID = domain.PollID(id)
	p.Position, p.State = domain.Position(position), domain.PollState(state) //nolint:gosec // as they were written
	e.Poll, e.Position, e.Revision, e.State, e.Tags = p.ID, p.Position, revision, p.State, p.Tags
	if p.State == domain.PollDeleted {
		return domain.Poll{ID: p.ID, CreatedAt: p.CreatedAt, State: p.State}, e, nil
	}
	if p.AuthorName != "" {
		p.Author = domain.UserID(by)
	}
	return p, e, nil
}

const readPoll = `/* poll */ SELECT ` + pollColumns + ` WHERE p.id = $2`

// pollAndEntry returns a poll whatever its state. Errors: CodeNotFound.
func (s *Store) pollAndEntry(ctx context.Context, c *conn, id domain.PollID) (domain.Poll, domain.Entry, error) {
	p, e, err := scanPoll(c.QueryRow(ctx, readPoll, s.allBuckets, int64(id)))
	return p, e, notFound(err)
}

// changePoll runs change on a poll and renews its revision.
func (s *Store) changePoll(
	ctx context.Context, op operation, id domain.PollID, change func(context.Context, *conn, domain.Poll, *domain.Entry) error,
) (domain.Entry, error) {
	var entry domain.Entry
	err := s.write(ctx, op, func(ctx context.Context, c *conn) error {
		if err := c.closeGate(ctx); err != nil {
			return err
		}
		p, e, err := s.pollAndEntry(ctx, c, id)
		if err != nil {
			return err
		}
		was := e.State
		if err := change(ctx, c, p, &e); err != nil {
			return err
		}
		entry = e
		if e.State == was {
			return nil
		}
		last, err := c.issued(ctx)
		if err != nil {
			return err
		}
		last.revision++
		entry.Revision = last.revision
		if _, err := c.exec(ctx, `/* renew_revision */ UPDATE polls SET revision = $1 WHERE id = $2`, last.revision, int64(id)); err != nil {
			return err
		}
		return c.setIssued(ctx, last)
	})
	if err != nil {
		return domain.Entry{}, err
	}
	return entry, nil
}

// DeletePoll implements [domain.Store].
func (s *Store) DeletePoll(ctx context.Context, by domain.UserID, id domain.PollID) (domain.Entry, error) {
	return s.changePoll(ctx, opDeletePoll, id, func(ctx context.Context, c *conn, p domain.Poll, e *domain.Entry) error {
		switch {
		case e.State == domain.PollDeleted || e.State == domain.PollHidden:
			return domain.E(domain.CodeNotFound, "")
		case p.Author != by || by == 0:
			return domain.E(domain.CodeForbidden, "Only the author can delete a poll.")
		case e.Votes > 0:
			return domain.E(domain.CodeHasVotes, "A poll with votes cannot be deleted.")
		}
		if e.State == domain.PollOpen {
			if err := c.unindex(ctx, e.Position); err != nil {
				return err
			}
		}
		now, err := c.now(ctx)
		if err != nil {
			return err
		}
		e.State, e.Tags = domain.PollDeleted, nil
		_, err = c.exec(ctx, `/* delete_poll */ UPDATE polls SET deleted_at = $1, title = '', options = '[]', tags = '{}' WHERE id = $2`,
			now, int64(id))
		return err
	})
}

// SetPollState implements [domain.Store]. Setting the state a poll has changes
// nothing.
func (s *Store) SetPollState(ctx context.Context, id domain.PollID, state domain.PollState) (domain.Entry, error) {
	if state >= domain.PollDeleted {
		if err := s.usable(ctx); err != nil {
			return domain.Entry{}, err
		}
		return domain.Entry{}, domain.E(domain.CodeNotFound, "")
	}
	return s.changePoll(ctx, opSetPollState, id, func(ctx context.Context, c *conn, p domain.Poll, e *domain.Entry) error {
		if e.State == domain.PollDeleted {
			return domain.E(domain.CodeNotFound, "")
		}
		if e.State == state {
			return nil
		}
		archived, err := c.archived(ctx, id)
		switch {
		case err != nil:
		case state == domain.PollOpen && archived:
			err = domain.E(domain.CodePollClosed, "The poll's votes are archived, so it cannot be opened again.")
		case state == domain.PollOpen:
			err = c.index(ctx, p.Position, searchTokens(p.Title, p.Options, p.Tags))
		case e.State == domain.PollOpen:
			err = c.unindex(ctx, e.Position)
		}
		if err != nil {
			return err
		}
		now, err := c.now(ctx)
		if err != nil {
			return err
		}
		var closed, hidden *time.Time
		switch e.State = state; state {
		case domain.PollClosed:
			closed = &now
		case domain.PollHidden:
			hidden = &now
		}
		_, err = c.exec(ctx, `/* set_poll_state */ UPDATE polls SET closed_at = $1, hidden_at = $2 WHERE id = $3`, closed, hidden, int64(id))
		return err
	})
}

// archived reports whether what people did with a poll was moved away, or is
// about to be.
func (c *conn) archived(ctx context.Context, id domain.PollID) (bool, error) {
	return c.exists(ctx, `SELECT 1 FROM archived_months WHERE first_poll <= $1 AND end_poll > $1`, int64(id))
}

const readPollsAt = `/* polls_at */ SELECT ` + pollColumns + ` WHERE p.position = ANY($2) AND p.state < 3`

// PollsAt implements [domain.Store].
func (s *Store) PollsAt(ctx context.Context, positions []domain.Position) ([]domain.Poll, error) {
	at := make([]int64, 0, len(positions))
	for _, p := range positions {
		if p <= maxPosition {
			at = append(at, int64(p))
		}
	}
	polls := make([]domain.Poll, 0, len(positions))
	err := s.read(ctx, opPolls, func(ctx context.Context, c *conn) error {
		return c.rows(ctx, readPollsAt, func(r pgx.Rows) error {
			p, _, err := scanPoll(r)
			polls = append(polls, p)
			return err
		}, s.allBuckets, at)
	})
	if err != nil {
		return nil, err
	}
	return polls, nil
}

// Poll implements [domain.Store].
func (s *Store) Poll(ctx context.Context, id domain.PollID) (domain.Poll, error) {
	var p domain.Poll
	err := s.read(ctx, opPolls, func(ctx context.Context, c *conn) (err error) {
		p, _, err = s.pollAndEntry(ctx, c, id)
		if err == nil && p.State == domain.PollDeleted {
			err = domain.E(domain.CodeNotFound, "")
		}
		return err
	})
	if err != nil {
		return domain.Poll{}, err
	}
	return p, nil
}

const readPollsBy = `/* polls_by */ SELECT ` + pollColumns + ` WHERE p.author_id = $2 AND p.id < $3 AND p.state < 3
	ORDER BY p.id DESC LIMIT $4`

// PollsBy implements [domain.Store].
func (s *Store) PollsBy(ctx context.Context, by domain.UserID, before domain.PollID, limit int) ([]domain.OwnPoll, error) {
	if before <= 0 {
		before = domain.MaxID
	}
	var polls []domain.OwnPoll
	err := s.read(ctx, opPolls, func(ctx context.Context, c *conn) error {
		return c.rows(ctx, readPollsBy, func(r pgx.Rows) error {
			p, e, err := scanPoll(r)
			polls = append(polls, domain.OwnPoll{Poll: p, Votes: e.Votes})
			return err
		}, s.allBuckets, int64(by), int64(before), max(limit, 0))
	})
	if err != nil {
		return nil, err
	}
	return polls, nil
}

// PruneIdempotencyKeys implements [domain.Store].
func (s *Store) PruneIdempotencyKeys(ctx context.Context, before time.Time) (n int64, err error) {
	err = s.write(ctx, opPruneKeys, func(ctx context.Context, c *conn) (err error) {
		n, err = c.exec(ctx, `/* prune_keys */ DELETE FROM idempotency_keys WHERE created_at < $1`, before)
		return err
	})
	return n, err
}
