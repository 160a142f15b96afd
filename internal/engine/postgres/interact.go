package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

// A batch of votes takes two trips to the server. The first begins the
// transaction, locks the users and reads the facts, by statements of their own, so
// that what they see is younger than the locks. The second writes and commits.
// Each table is written by one statement in the order of its key, and last the
// counts, whose rows all batches share: they are locked for no longer than the
// commit takes.

// The gate comes with the limits. Plans are kept for long, and the tables grow:
// they must not be those of empty tables. What a plan without such scans is said to
// cost would have it compiled, which takes longer than running it.
const openBatch = `/* open_batch */ SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', $2, true),
	set_config('idle_in_transaction_session_timeout', $3, true), set_config('enable_seqscan', 'off', true),
	set_config('jit', 'off', true), pg_advisory_xact_lock_shared($4)`

const lockUsers = `/* lock_users */ SELECT user_id, version, banned FROM user_state
	WHERE bucket = ANY($1) AND user_id = ANY($2) ORDER BY bucket, user_id FOR NO KEY UPDATE`

const readToday = `/* today */ SELECT n.at, u.user_id, (SELECT vote_count FROM daily_votes d
		WHERE d.bucket = u.bucket AND d.user_id = u.user_id AND d.vote_date = (n.at AT TIME ZONE 'UTC')::date)
	FROM (SELECT coalesce($1::timestamptz, date_trunc('milliseconds', statement_timestamp())) AS at) n,
		unnest($2::integer[], $3::bigint[]) AS u (bucket, user_id)`

const readPriors = `/* priors */ SELECT
		(SELECT option_index FROM votes v WHERE v.bucket = u.bucket AND v.user_id = u.user_id AND v.poll_id = u.poll_id),
		(SELECT true FROM skips s WHERE s.bucket = u.bucket AND s.user_id = u.user_id AND s.poll_id = u.poll_id)
	FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS u (bucket, user_id, poll_id)`

const readPolls = `/* poll_facts */ SELECT id, position, state, option_count, state <> 0 AND EXISTS (
		SELECT 1 FROM archived_months WHERE first_poll <= id AND end_poll > id)
	FROM polls WHERE id = ANY($1)`

const addVotes = `/* add_votes */ INSERT INTO votes (bucket, user_id, poll_id, option_index, created_at)
	SELECT bucket, user_id, poll_id, option_index, $5
	FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::smallint[]) AS u (bucket, user_id, poll_id, option_index)`

const addSkips = `/* add_skips */ INSERT INTO skips (bucket, user_id, poll_id, created_at)
	SELECT bucket, user_id, poll_id, $4 FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS u (bucket, user_id, poll_id)`

const setToday = `/* set_today */ INSERT INTO daily_votes (bucket, user_id, vote_date, vote_count)
	SELECT bucket, user_id, $4, vote_count FROM unnest($1::integer[], $2::bigint[], $3::integer[]) AS u (bucket, user_id, vote_count)
	ON CONFLICT (bucket, user_id, vote_date) DO UPDATE SET vote_count = excluded.vote_count`

// addCounts adds to the counts of polls, in the order given. Nearly always one
// option of a poll gets votes; adding up whole arrays costs ten times as much.
const addCounts = `INSERT INTO poll_counts AS c (bucket, poll_id, votes, total, skips, updated_at)
	SELECT bucket, poll_id, ($3::bigint[])[lo:hi], total, skips, $8::timestamptz
	FROM unnest($1::integer[], $2::bigint[], $4::integer[], $5::integer[], $6::bigint[], $7::bigint[])
		AS u (bucket, poll_id, lo, hi, total, skips)
	ON CONFLICT (bucket, poll_id) DO UPDATE SET
		votes = CASE WHEN excluded.total = 0 THEN c.votes
			WHEN array_position(excluded.votes, excluded.total) IS NOT NULL THEN
				c.votes[:array_position(excluded.votes, excluded.total) - 1] ||
				(c.votes[array_position(excluded.votes, excluded.total)] + excluded.total) ||
				c.votes[array_position(excluded.votes, excluded.total) + 1:]
			ELSE (SELECT array_agg(a + b ORDER BY i) FROM unnest(c.votes, excluded.votes) WITH ORDINALITY AS t (a, b, i)) END,
		total = c.total + excluded.total, skips = c.skips + excluded.skips,
		updated_at = greatest(c.updated_at, excluded.updated_at)
	RETURNING poll_id, votes, skips, updated_at, total + skips AS version`

// addCountsAndTell also writes the outbox row of the batch, with the versions that
// the counts have got.
const addCountsAndTell = `/* add_counts */ WITH counted AS (` + addCounts + `), told AS (
	INSERT INTO outbox (bucket, created_at, changes, versions)
	SELECT $9, $8::timestamptz, $10, array_agg(version ORDER BY poll_id) FROM counted)
	SELECT poll_id, votes, skips, updated_at FROM counted ORDER BY poll_id`

// batch is a batch of votes and skips on its way.
type batch struct {
	s     *Store
	all   []domain.Interaction
	order []int // indices of all, by bucket, user, poll
	users []userFacts
	slots []int // index into users by member
	polls map[domain.PollID]*pollFacts
	facts []domain.Fact
	out   domain.Outcome
}

type userFacts struct {
	id      domain.UserID
	exists  bool
	version int64
	today   int
	voted   bool // got a vote in this batch
	entries []int32
	added   []domain.Position
}

type pollFacts struct {
	id       domain.PollID
	exists   bool
	position domain.Position
	state    domain.PollState
	archived bool
	options  int
}

// Interact implements [domain.Store].
func (s *Store) Interact(
	ctx context.Context, interactions []domain.Interaction, judge func([]domain.Fact) []domain.Verdict,
) (_ domain.Outcome, err error) {
	if len(interactions) == 0 {
		at, err := s.now(ctx, opInteract)
		return domain.Outcome{At: at}, err
	}
	if err := s.usable(ctx); err != nil {
		return domain.Outcome{}, err
	}
	start := time.Now()
	defer func() { s.metrics.observe(opInteract, time.Since(start)) }()
	held, err := s.pool.Acquire(ctx)
	if err != nil {
		return domain.Outcome{}, s.fault(opInteract, err)
	}
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), brief.total)
	defer cancel()
	c := &conn{Conn: held.Conn(), clock: s.clock}
	defer func() {
		c.rollback()
		held.Release()
	}()
	b := &batch{s: s, all: interactions}
	if err := b.readFacts(work, c); err != nil {
		return domain.Outcome{}, s.fault(opInteract, err)
	}
	b.out.Verdicts = judge(b.facts)
	if len(b.out.Verdicts) != len(interactions) {
		return domain.Outcome{}, fmt.Errorf("%d verdicts for %d interactions", len(b.out.Verdicts), len(interactions))
	}
	if err := b.write(work, c); err != nil {
		return domain.Outcome{}, s.fault(opInteract, err)
	}
	return b.out, nil
}

// sort puts the members into the order of the keys and lists the users and polls.
func (b *batch) sort() (buckets []int32, users, polls []int64) {
	b.order = make([]int, len(b.all))
	for i := range b.order {
		b.order[i] = i
	}
	slices.SortFunc(b.order, func(i, j int) int {
		x, y := b.all[i], b.all[j]
		return cmp.Or(cmp.Compare(b.s.bucket(x.User), b.s.bucket(y.User)), cmp.Compare(x.User, y.User),
			cmp.Compare(x.Poll, y.Poll), cmp.Compare(i, j))
	})
	b.slots = make([]int, len(b.all))
	b.polls = make(map[domain.PollID]*pollFacts, len(b.all))
	for n, i := range b.order {
		in := b.all[i]
		if n == 0 || b.all[b.order[n-1]].User != in.User {
			b.users = append(b.users, userFacts{id: in.User})
			buckets, users = append(buckets, b.s.bucket(in.User)), append(users, int64(in.User))
		}
		b.slots[i] = len(b.users) - 1
		if b.polls[in.Poll] == nil {
			b.polls[in.Poll] = &pollFacts{id: in.Poll}
			polls = append(polls, int64(in.Poll))
		}
	}
	return buckets, users, polls
}

// readFacts is the first trip.
func (b *batch) readFacts(ctx context.Context, c *conn) error {
	buckets, users, polls := b.sort()
	pairs := b.pairs()
	var at *time.Time
	if c.clock != nil {
		at = optional(handed(c.clock))
	}
	var q pgx.Batch
	q.Queue(beginQuery)
	q.Queue(openBatch, brief.lock, brief.statement, brief.idle, int64(gate))
	q.Queue(lockUsers, slices.Compact(slices.Clone(buckets)), users)
	q.Queue(readToday, at, buckets, users)
	q.Queue(readPriors, pairs.buckets, pairs.users, pairs.polls)
	q.Queue(readPolls, polls)
	results := c.SendBatch(ctx, &q)
	if err := b.scanFacts(results, pairs); err != nil {
		_ = results.Close() // it repeats the error
		return err
	}
	return results.Close()
}

// pairs are the distinct users with polls of a batch, in the order of the keys,
// and which of them each member is of.
type pairs struct {
	buckets      []int32
	users, polls []int64
	of           []int // by member
}

func (b *batch) pairs() pairs {
	p := pairs{of: make([]int, len(b.all))}
	for n, i := range b.order {
		in := b.all[i]
		if n == 0 || b.all[b.order[n-1]].User != in.User || b.all[b.order[n-1]].Poll != in.Poll {
			p.buckets = append(p.buckets, b.s.bucket(in.User))
			p.users, p.polls = append(p.users, int64(in.User)), append(p.polls, int64(in.Poll))
		}
		p.of[i] = len(p.users) - 1
	}
	return p
}

func (b *batch) scanFacts(results pgx.BatchResults, p pairs) error {
	for range 2 {
		if _, err := results.Exec(); err != nil {
			return err
		}
	}
	if err := b.scanUsers(results); err != nil {
		return err
	}
	rows, err := results.Query()
	if err != nil {
		return err
	}
	next := 0
	err = each(rows, func(r pgx.Rows) error {
		var id int64
		var today *int
		if err := r.Scan(&b.out.At, &id, &today); err != nil {
			return err
		}
		for b.users[next].id != domain.UserID(id) {
			next++
		}
		if today != nil {
			b.users[next].today = *today
		}
		return nil
	})
	if err != nil {
		return err
	}
	priors, err := scanPriors(results, len(p.users))
	if err != nil {
		return err
	}
	if err := b.scanPolls(results); err != nil {
		return err
	}
	b.facts = make([]domain.Fact, len(b.all))
	for i, in := range b.all {
		u, poll := &b.users[b.slots[i]], b.polls[in.Poll]
		b.facts[i] = domain.Fact{
			UserExists: u.exists, VotesToday: u.today, PollExists: poll.exists, State: poll.state,
			Archived: poll.archived, Options: poll.options, Prior: priors[p.of[i]],
		}
	}
	return nil
}

// scanUsers reads the locked rows. An erased user has none, and a banned one is as
// good as erased.
func (b *batch) scanUsers(results pgx.BatchResults) error {
	rows, err := results.Query()
	if err != nil {
		return err
	}
	next := 0
	return each(rows, func(r pgx.Rows) error {
		var id, version int64
		var banned bool
		if err := r.Scan(&id, &version, &banned); err != nil {
			return err
		}
		for b.users[next].id != domain.UserID(id) {
			next++
		}
		b.users[next].exists, b.users[next].version = !banned, version
		return nil
	})
}

func scanPriors(results pgx.BatchResults, n int) ([]domain.Prior, error) {
	rows, err := results.Query()
	if err != nil {
		return nil, err
	}
	priors := make([]domain.Prior, 0, n)
	err = each(rows, func(r pgx.Rows) error {
		p, err := scanPrior(r)
		priors = append(priors, p)
		return err
	})
	if err == nil && len(priors) != n {
		err = fmt.Errorf("%d facts for %d pairs", len(priors), n)
	}
	return priors, err
}

func scanPrior(r pgx.Row) (domain.Prior, error) {
	var option *int
	var skipped *bool
	err := r.Scan(&option, &skipped)
	p := domain.Prior{Voted: option != nil, Skipped: skipped != nil}
	if option != nil {
		p.Option = *option
	}
	return p, err
}

func (b *batch) scanPolls(results pgx.BatchResults) error {
	rows, err := results.Query()
	if err != nil {
		return err
	}
	return each(rows, func(r pgx.Rows) error {
		var id, position int64
		var state int16
		var f pollFacts
		if err := r.Scan(&id, &position, &state, &f.options, &f.archived); err != nil {
			return err
		}
		f.id, f.exists = domain.PollID(id), true
		f.position, f.state = domain.Position(position), domain.PollState(state) //nolint:gosec // as they were written
		*b.polls[f.id] = f
		return nil
	})
}

// change is what a batch adds to the counts of a poll in one bucket.
type change struct {
	bucket int32
	poll   *pollFacts
	votes  []int64
	total  int64
	skips  int64
}

// accept goes through the verdicts and returns what is to be counted, in the order
// of the keys.
func (b *batch) accept() ([]change, error) {
	type key struct {
		bucket int32
		poll   domain.PollID
	}
	at := make(map[key]int)
	var changes []change
	for i, v := range b.out.Verdicts {
		if v.Code != "" || !v.Changed {
			continue
		}
		in := b.all[i]
		u, poll := &b.users[b.slots[i]], b.polls[in.Poll]
		if !u.exists || !poll.exists || (!in.Skip && (v.Option < 0 || v.Option >= poll.options)) {
			return nil, fmt.Errorf("interaction %d was accepted against the facts", i)
		}
		u.added = append(u.added, poll.position)
		u.entries = append(u.entries, entry(poll.position, in.Skip))
		k := key{b.s.bucket(in.User), in.Poll}
		n, known := at[k]
		if !known {
			n = len(changes)
			at[k] = n
			changes = append(changes, change{bucket: k.bucket, poll: poll, votes: make([]int64, poll.options)})
		}
		if in.Skip {
			changes[n].skips++
			continue
		}
		changes[n].votes[v.Option]++
		changes[n].total++
		u.voted, u.today = true, v.VotesToday
	}
	slices.SortFunc(changes, func(x, y change) int {
		return cmp.Or(cmp.Compare(x.bucket, y.bucket), cmp.Compare(x.poll.id, y.poll.id))
	})
	return changes, nil
}

// write is the second trip.
func (b *batch) write(ctx context.Context, c *conn) error {
	changes, err := b.accept()
	if err != nil || len(changes) == 0 {
		return err
	}
	var q pgx.Batch
	b.queueRows(&q)
	b.queueUsers(&q)
	for _, u := range b.users {
		if len(u.added) > 0 {
			b.out.Users = append(b.out.Users, domain.UserChange{
				User: u.id, Version: u.version + int64(len(u.added)), Positions: u.added,
			})
		}
	}
	slices.SortFunc(b.out.Users, func(x, y domain.UserChange) int { return cmp.Compare(x.User, y.User) })
	args := countArgs(changes, b.out.At)
	if b.s.buckets > 1 {
		return b.writeSharded(ctx, c, &q, args)
	}
	told, err := b.out.Changes(b.all).AppendBinary(nil)
	if err != nil {
		return err
	}
	q.Queue(addCountsAndTell, append(args, changes[0].bucket, told)...)
	q.Queue(commitQuery)
	before := q.Len() - 2
	results := c.SendBatch(ctx, &q)
	err = b.scanWritten(results, before)
	if err == nil {
		return committed(results)
	}
	_ = results.Close() // it repeats the error
	if serverCode(err) == "" {
		return commitFault(err) // the commit was on its way
	}
	return err
}

const commitQuery = `/* commit */ COMMIT`

// committed reads the answer to a commit, the last of the results.
func committed(results pgx.BatchResults) error {
	tag, err := results.Exec()
	if closing := results.Close(); err == nil {
		err = closing
	}
	switch {
	case err != nil:
		return commitFault(err)
	case tag.String() != "COMMIT":
		return errRolledBack
	}
	return nil
}

// scanWritten reads the answers to some statements that return nothing and to
// that which counts.
func (b *batch) scanWritten(results pgx.BatchResults, before int) error {
	for range before {
		if _, err := results.Exec(); err != nil {
			return err
		}
	}
	rows, err := results.Query()
	if err != nil {
		return err
	}
	return each(rows, func(r pgx.Rows) error {
		n, err := scanCounts(r)
		b.out.Counts = append(b.out.Counts, n)
		return err
	})
}

// scanCounts reads poll_id, votes, skips, updated_at.
func scanCounts(r pgx.Row) (domain.Counts, error) {
	var n domain.Counts
	var id int64
	err := r.Scan(&id, &n.Votes, &n.Skips, &n.UpdatedAt)
	n.Poll = domain.PollID(id)
	return n, err
}

// queueRows queues votes and skips.
func (b *batch) queueRows(q *pgx.Batch) {
	var votes, skips struct {
		buckets      []int32
		users, polls []int64
		options      []int16
	}
	for _, i := range b.order {
		v, in := b.out.Verdicts[i], b.all[i]
		if v.Code != "" || !v.Changed {
			continue
		}
		rows := &votes
		if in.Skip {
			rows = &skips
		}
		rows.buckets = append(rows.buckets, b.s.bucket(in.User))
		rows.users, rows.polls = append(rows.users, int64(in.User)), append(rows.polls, int64(in.Poll))
		rows.options = append(rows.options, int16(v.Option)) //nolint:gosec // below MaxOptions
	}
	if len(votes.users) > 0 {
		q.Queue(addVotes, votes.buckets, votes.users, votes.polls, votes.options, b.out.At)
	}
	if len(skips.users) > 0 {
		q.Queue(addSkips, skips.buckets, skips.users, skips.polls, b.out.At)
	}
}

// queueUsers queues the daily counters, and the histories and versions.
func (b *batch) queueUsers(q *pgx.Batch) {
	var buckets, counts []int32
	var users []int64
	changes := make([]userChange, 0, len(b.users))
	for _, u := range b.users {
		if u.voted {
			buckets, users = append(buckets, b.s.bucket(u.id)), append(users, int64(u.id))
			counts = append(counts, int32(u.today)) //nolint:gosec // votes of a day
		}
		changes = append(changes, userChange{u.id, u.version, u.entries})
	}
	if len(users) > 0 {
		q.Queue(setToday, buckets, users, counts, date(domain.DayOf(b.out.At)))
	}
	b.s.queueUserChanges(q, changes)
}

// countArgs returns the first eight arguments of addCounts.
func countArgs(changes []change, at time.Time) []any {
	n := len(changes)
	buckets, polls, all := make([]int32, n), make([]int64, n), make([]int64, 0, 4*n)
	lo, hi := make([]int32, n), make([]int32, n)
	totals, skips := make([]int64, n), make([]int64, n)
	for i, c := range changes {
		buckets[i], polls[i], totals[i], skips[i] = c.bucket, int64(c.poll.id), c.total, c.skips
		lo[i] = int32(len(all)) + 1 //nolint:gosec // bounded by a batch
		all = append(all, c.votes...)
		hi[i] = int32(len(all)) //nolint:gosec // bounded by a batch
	}
	return []any{buckets, polls, all, lo, hi, totals, skips, at}
}

const addCountsOnly = `/* add_counts_only */ WITH counted AS (` + addCounts + `) SELECT 1 FROM counted`

const addOutbox = `/* add_outbox */ INSERT INTO outbox (bucket, created_at, changes) VALUES ($1, $2, $3)`

// writeSharded is the second trip, and a third, where the counts of a poll are the
// sum of several rows: the versions of the batch are known only once its own were
// changed.
func (b *batch) writeSharded(ctx context.Context, c *conn, q *pgx.Batch, args []any) error {
	q.Queue(addCountsOnly, args...)
	q.Queue(sumCounts, args[1], b.s.allBuckets)
	before := q.Len() - 1
	results := c.SendBatch(ctx, q)
	err := func() error {
		for range before {
			if _, err := results.Exec(); err != nil {
				return err
			}
		}
		rows, err := results.Query()
		if err != nil {
			return err
		}
		b.out.Counts, err = addUp(rows)
		return err
	}()
	if closing := results.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	told, err := b.out.Changes(b.all).AppendBinary(nil)
	if err != nil {
		return err
	}
	var last pgx.Batch
	last.Queue(addOutbox, b.s.bucket(b.out.Users[0].User), b.out.At, told)
	last.Queue(commitQuery)
	results = c.SendBatch(ctx, &last)
	if _, err := results.Exec(); err != nil {
		_ = results.Close() // it repeats the error
		if serverCode(err) == "" {
			return commitFault(err) // the commit was on its way
		}
		return err
	}
	return committed(results)
}

const sumCounts = `/* sum_counts */ SELECT poll_id, votes, skips, updated_at FROM poll_counts
	WHERE poll_id = ANY($1) AND bucket = ANY($2) ORDER BY poll_id`

// addUp reads the counts of polls in several buckets, by poll.
func addUp(rows pgx.Rows) ([]domain.Counts, error) {
	var all []domain.Counts
	err := each(rows, func(r pgx.Rows) error {
		n, err := scanCounts(r)
		if err != nil || len(all) == 0 || all[len(all)-1].Poll != n.Poll {
			all = append(all, n)
			return err
		}
		sum := &all[len(all)-1]
		sum.Skips += n.Skips
		if n.UpdatedAt.After(sum.UpdatedAt) {
			sum.UpdatedAt = n.UpdatedAt
		}
		for i := range min(len(sum.Votes), len(n.Votes)) {
			sum.Votes[i] += n.Votes[i]
		}
		return nil
	})
	return all, err
}
