package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"vote/internal/domain"
)

// Import implements [domain.Store].
func (s *Store) Import(ctx context.Context, batch domain.Import) (domain.Imported, error) {
	tokens := importTokens(batch.Polls)
	if err := s.makeImportPartitions(ctx, batch.Polls); err != nil {
		return domain.Imported{}, err
	}
	var done domain.Imported
	err := s.writeLong(ctx, opImport, func(ctx context.Context, c *conn) error {
		done = domain.Imported{}
		now, err := c.now(ctx)
		if err != nil {
			return err
		}
		if len(batch.Interactions) > 0 {
			if _, err := c.exec(ctx, `/* share_gate */ SELECT pg_advisory_xact_lock_shared($1)`, int64(gate)); err != nil {
				return err
			}
		}
		states, err := s.lockImported(ctx, c, batch)
		if err != nil {
			return err
		}
		if done.Users, err = s.importUsers(ctx, c, batch.Users, now); err != nil {
			return err
		}
		if err := s.importInteractions(ctx, c, batch.Interactions, states, now); err != nil {
			return err
		}
		done.Polls, err = c.importPolls(ctx, batch.Polls, tokens, states, now)
		return err
	})
	if err != nil {
		return domain.Imported{}, err
	}
	return done, nil
}

// importState is what a batch knows about a user.
type importState struct {
	version int64
	banned  bool
}

// lockImported locks the states of everybody whom a batch names.
func (s *Store) lockImported(ctx context.Context, c *conn, batch domain.Import) (map[domain.UserID]importState, error) {
	named := make(map[domain.UserID]bool)
	for _, in := range batch.Interactions {
		named[in.User] = true
	}
	for _, p := range batch.Polls {
		named[p.Author] = true
	}
	users := slices.Collect(maps.Keys(named))
	states := make(map[domain.UserID]importState, len(users))
	err := c.rows(ctx, `/* import_lock */ SELECT user_id, version, banned FROM user_state
		WHERE bucket = ANY($1) AND user_id = ANY($2) ORDER BY bucket, user_id FOR NO KEY UPDATE`,
		func(r pgx.Rows) error {
			var id domain.UserID
			var state importState
			err := r.Scan(&id, &state.version, &state.banned)
			states[id] = state
			return err
		}, s.allBuckets, int64s(users))
	return states, err
}

// importTokens returns the search tokens of each poll, made on every processor.
func importTokens(polls []domain.ImportPoll) [][]string {
	tokens := make([][]string, len(polls))
	workers := runtime.GOMAXPROCS(0)
	var g errgroup.Group
	for from := range workers {
		g.Go(func() error {
			for i := from; i < len(polls); i += workers {
				tokens[i] = searchTokens(polls[i].Title, polls[i].Options, polls[i].Tags)
			}
			return nil
		})
	}
	_ = g.Wait() // none of them fails
	return tokens
}

// makeImportPartitions sees that there is a place for votes on the polls. Those of
// times at which no poll can be get none: they are refused.
func (s *Store) makeImportPartitions(ctx context.Context, polls []domain.ImportPoll) error {
	if len(polls) == 0 {
		return nil
	}
	now, err := s.now(ctx, opImport)
	if err != nil {
		return err
	}
	months := make(map[domain.Month]bool)
	for _, p := range polls {
		if !p.At.Before(domain.Epoch) && !p.At.After(now) {
			months[domain.MonthOf(p.At)] = true
		}
	}
	return s.makePartitions(ctx, opImport, slices.Sorted(maps.Keys(months))...)
}

// importFault refuses a batch because of one member.
func importFault(kind string, i int, what string) error {
	return domain.E(domain.CodeInvalid, fmt.Sprintf("%s %d of the batch %s.", kind, i, what))
}

func (s *Store) importUsers(ctx context.Context, c *conn, users []domain.ImportUser, now time.Time) ([]domain.UserID, error) {
	if len(users) == 0 {
		return nil, nil
	}
	emails, names := make([]string, len(users)), make([]string, len(users))
	for i, u := range users {
		if u.CreatedAt.After(now) {
			return nil, importFault("User", i, "is of the future")
		}
		emails[i], names[i] = u.EmailKey, u.UsernameKey
	}
	var sameEmail, sameName bool
	if err := c.row(ctx, `/* import_keys_taken */ SELECT
		EXISTS (SELECT 1 FROM users WHERE email_key = ANY($1)) OR (SELECT count(DISTINCT k) < count(*) FROM unnest($1::text[]) k),
		EXISTS (SELECT 1 FROM users WHERE username_key = ANY($2)) OR (SELECT count(DISTINCT k) < count(*) FROM unnest($2::text[]) k)`,
		[]any{emails, names}, &sameEmail, &sameName); err != nil {
		return nil, err
	}
	switch {
	case sameEmail:
		return nil, emailTaken()
	case sameName:
		return nil, usernameTaken()
	}
	ids := make([]domain.UserID, 0, len(users))
	err := c.rows(ctx, `/* import_user_ids */ SELECT nextval(pg_get_serial_sequence('users', 'id')) FROM generate_series(1, $1::integer)`,
		func(r pgx.Rows) error {
			var id domain.UserID
			err := r.Scan(&id)
			ids = append(ids, id)
			return err
		}, len(users))
	if err != nil {
		return nil, err
	}
	_, err = c.CopyFrom(ctx, pgx.Identifier{"users"},
		[]string{"id", "username", "username_key", "email", "email_key", "password_hash", "created_at", "updated_at"},
		pgx.CopyFromSlice(len(users), func(i int) ([]any, error) {
			u := users[i]
			at := u.CreatedAt.UTC().Truncate(time.Millisecond)
			return []any{int64(ids[i]), u.Username, u.UsernameKey, u.Email, u.EmailKey, u.PasswordHash, at, at}, nil
		}))
	if err != nil {
		return nil, taken(err) // by who was quicker
	}
	_, err = c.CopyFrom(ctx, pgx.Identifier{"user_state"}, []string{"bucket", "user_id"},
		pgx.CopyFromSlice(len(users), func(i int) ([]any, error) { return []any{s.bucket(ids[i]), int64(ids[i])}, nil }))
	return ids, err
}

// authorDay is whose polls of which day a daily counter counts.
type authorDay struct {
	author domain.UserID
	day    domain.Day
}

func (c *conn) importPolls(
	ctx context.Context, polls []domain.ImportPoll, tokens [][]string, states map[domain.UserID]importState, now time.Time,
) ([]domain.PollID, error) {
	if len(polls) == 0 {
		return nil, nil
	}
	added := make(map[authorDay]int32)
	last, err := c.issued(ctx)
	if err != nil {
		return nil, err
	}
	before := last
	ids, times := make([]domain.PollID, len(polls)), make([]time.Time, len(polls))
	for i, p := range polls {
		at := p.At.UTC().Truncate(time.Millisecond)
		_, exists := states[p.Author]
		switch {
		case at.After(now):
			return nil, importFault("Poll", i, "is of the future")
		case at.Before(domain.Epoch) || at.Before(last.poll.Time()) && last.poll > 0:
			return nil, importFault("Poll", i, "is older than the newest poll that is stored")
		case !exists:
			return nil, importFault("Poll", i, "has an author who does not exist")
		case last.position == maxPosition:
			return nil, errors.New("no position is left")
		}
		added[authorDay{p.Author, domain.DayOf(at)}]++
		last = issued{last.position + 1, domain.NextPollID(last.poll, at), last.revision + 1}
		ids[i], times[i] = last.poll, at
	}
	archived, err := c.exists(ctx, `SELECT 1 FROM archived_months WHERE first_poll <= $1 AND end_poll > $2`,
		int64(last.poll), int64(ids[0]))
	if err != nil {
		return nil, err
	}
	if archived {
		return nil, domain.E(domain.CodeInvalid, "A poll of the batch is of an archived month.")
	}
	position := func(i int) domain.Position { return before.position + domain.Position(i) + 1 } //nolint:gosec // 32 bits wide
	_, err = c.CopyFrom(ctx, pgx.Identifier{"polls"},
		[]string{"id", "position", "revision", "author_id", "created_at", "published_at", "tags", "title", "options"},
		pgx.CopyFromSlice(len(polls), func(i int) ([]any, error) {
			p := polls[i]
			return []any{
				int64(ids[i]), int64(position(i)), before.revision + int64(i) + 1, int64(p.Author), times[i], times[i],
				p.Tags, p.Title, p.Options,
			}, nil
		}))
	if err != nil {
		return nil, err
	}
	b := &pgx.Batch{}
	for i := range polls {
		b.Queue(addToSearch, indexArgs(position(i), tokens[i])...)
	}
	keys := slices.SortedFunc(maps.Keys(added), func(a, b authorDay) int {
		return cmp.Or(cmp.Compare(a.author, b.author), cmp.Compare(a.day, b.day))
	})
	authors, days, counts := make([]int64, len(keys)), make([]time.Time, len(keys)), make([]int32, len(keys))
	for i, key := range keys {
		authors[i], days[i], counts[i] = int64(key.author), date(key.day), added[key]
	}
	b.Queue(`/* import_daily_polls */ INSERT INTO daily_polls AS d (user_id, poll_date, poll_count)
		SELECT * FROM unnest($1::bigint[], $2::date[], $3::integer[])
		ON CONFLICT (user_id, poll_date) DO UPDATE SET poll_count = d.poll_count + excluded.poll_count`, authors, days, counts)
	b.Queue(setIssued, int64(last.position), int64(last.poll), last.revision)
	return ids, c.SendBatch(ctx, b).Close()
}

// importPoll is what a batch of interactions knows about a poll, and what it adds
// to its counts, in each bucket.
type importPoll struct {
	position domain.Position
	open     bool
	options  int
	added    map[int32]*importCounts
}

// importCounts are added to a row of table poll_counts.
type importCounts struct {
	votes []int64
	skips int64
	last  time.Time
}

// importUser is what a batch of interactions does for a user.
type importUser struct {
	entries []int32
	votes   map[domain.Day]int32
}

// imported gathers what a batch of interactions adds to each table.
type imported struct {
	states map[domain.UserID]importState
	polls  map[domain.PollID]*importPoll
	priors map[domain.Interaction]domain.Prior // by user and poll
	users  map[domain.UserID]*importUser
	hours  hourlySums
}

func (s *Store) importInteractions(
	ctx context.Context, c *conn, all []domain.ImportInteraction, states map[domain.UserID]importState, now time.Time,
) error {
	if len(all) == 0 {
		return nil
	}
	b := &imported{states: states, users: make(map[domain.UserID]*importUser), hours: make(hourlySums)}
	var err error
	if b.polls, err = s.importFacts(ctx, c, all); err != nil {
		return err
	}
	if b.priors, err = s.importPriors(ctx, c, all, states); err != nil {
		return err
	}
	for i, in := range all {
		if what := b.add(s.bucket(in.User), in, now); what != "" {
			return importFault("Interaction", i, what)
		}
	}
	if err := s.copyInteractions(ctx, c, all); err != nil {
		return err
	}
	if err := s.writeImported(ctx, c, b); err != nil {
		return err
	}
	return c.addHourly(ctx, b.hours)
}

// importFacts returns the polls of a batch that exist. A deleted one may have no
// options left, but is not open either.
func (s *Store) importFacts(ctx context.Context, c *conn, all []domain.ImportInteraction) (map[domain.PollID]*importPoll, error) {
	named := make(map[domain.PollID]bool)
	for _, in := range all {
		named[in.Poll] = true
	}
	polls := make(map[domain.PollID]*importPoll, len(named))
	err := c.rows(ctx, `/* import_polls */ SELECT id, position, state = 0, option_count FROM polls WHERE id = ANY($1)`,
		func(r pgx.Rows) error {
			var id domain.PollID
			p := &importPoll{added: make(map[int32]*importCounts)}
			err := r.Scan(&id, &p.position, &p.open, &p.options)
			polls[id] = p
			return err
		}, int64s(slices.Collect(maps.Keys(named))))
	return polls, err
}

// pair names a user and a poll.
func pair(in domain.Interaction) domain.Interaction {
	return domain.Interaction{User: in.User, Poll: in.Poll}
}

// importPriors returns what those users had done who have done anything yet.
func (s *Store) importPriors(
	ctx context.Context, c *conn, all []domain.ImportInteraction, states map[domain.UserID]importState,
) (map[domain.Interaction]domain.Prior, error) {
	priors := make(map[domain.Interaction]domain.Prior)
	var buckets []int32
	var users, polls []int64
	for _, in := range all {
		if states[in.User].version > 0 {
			buckets, users, polls = append(buckets, s.bucket(in.User)), append(users, int64(in.User)), append(polls, int64(in.Poll))
		}
	}
	if len(users) == 0 {
		return priors, nil
	}
	err := c.rows(ctx, `/* import_priors */ SELECT a.user_id, a.poll_id,
			EXISTS (SELECT 1 FROM votes v WHERE v.bucket = a.bucket AND v.user_id = a.user_id AND v.poll_id = a.poll_id),
			EXISTS (SELECT 1 FROM skips s WHERE s.bucket = a.bucket AND s.user_id = a.user_id AND s.poll_id = a.poll_id)
		FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS a (bucket, user_id, poll_id)`,
		func(r pgx.Rows) error {
			var key domain.Interaction
			var p domain.Prior
			err := r.Scan(&key.User, &key.Poll, &p.Voted, &p.Skipped)
			priors[key] = p
			return err
		}, buckets, users, polls)
	return priors, err
}

// add judges one interaction and gathers what it adds. It returns what is wrong
// with it, or "".
func (b *imported) add(bucket int32, in domain.ImportInteraction, now time.Time) (fault string) {
	at := in.At.UTC().Truncate(time.Millisecond)
	state, exists := b.states[in.User]
	poll := b.polls[in.Poll]
	key := pair(in.Interaction)
	prior := b.priors[key]
	switch {
	case !exists || state.banned || poll == nil || !poll.open:
		return "names a user or an open poll that does not exist"
	case prior.Voted || in.Skip && prior.Skipped:
		return "comes after another of the same user and poll"
	case !in.Skip && (in.Option < 0 || in.Option >= poll.options):
		return "chooses an option that the poll does not have"
	case at.Before(in.Poll.Time()) || at.After(now):
		return "is older than its poll, or of the future"
	}
	user := b.users[in.User]
	if user == nil {
		user = &importUser{votes: make(map[domain.Day]int32)}
		b.users[in.User] = user
	}
	counts := poll.added[bucket]
	if counts == nil {
		counts = &importCounts{votes: make([]int64, poll.options)}
		poll.added[bucket] = counts
	}
	hour := b.hours.of(domain.HourOf(at), in.Poll, poll.options)
	if in.Skip {
		prior.Skipped = true
		counts.skips++
		hour.skips++
	} else {
		prior.Voted = true
		counts.votes[in.Option]++
		hour.votes[in.Option]++
		user.votes[domain.DayOf(at)]++
	}
	b.priors[key] = prior
	user.entries = append(user.entries, entry(poll.position, in.Skip))
	if at.After(counts.last) {
		counts.last = at
	}
	return ""
}

// copyInteractions adds the rows of votes and skips, each in the order of its key.
func (s *Store) copyInteractions(ctx context.Context, c *conn, all []domain.ImportInteraction) error {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b domain.ImportInteraction) int {
		return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Poll, b.Poll))
	})
	var votes, skips [][]any
	for _, in := range sorted {
		row := []any{s.bucket(in.User), int64(in.User), int64(in.Poll), in.At.UTC().Truncate(time.Millisecond)}
		if in.Skip {
			skips = append(skips, row)
		} else {
			votes = append(votes, append(row, int16(in.Option))) //nolint:gosec // at most 20
		}
	}
	columns := []string{"bucket", "user_id", "poll_id", "created_at", "option_index"}
	if _, err := c.CopyFrom(ctx, pgx.Identifier{"votes"}, columns, pgx.CopyFromRows(votes)); err != nil {
		return err
	}
	_, err := c.CopyFrom(ctx, pgx.Identifier{"skips"}, columns[:4], pgx.CopyFromRows(skips))
	return err
}

const (
	importDailyVotes = `/* import_daily_votes */ INSERT INTO daily_votes AS d (bucket, user_id, vote_date, vote_count)
		SELECT * FROM unnest($1::integer[], $2::bigint[], $3::date[], $4::integer[]) AS a (bucket, user_id, vote_date, vote_count)
		ORDER BY bucket, user_id, vote_date
		ON CONFLICT (bucket, user_id, vote_date) DO UPDATE SET vote_count = d.vote_count + excluded.vote_count`
	importCountsQuery = `/* import_counts */ INSERT INTO poll_counts AS c (bucket, poll_id, total, skips, updated_at, votes)
		SELECT bucket, poll_id, total, skips, updated_at, votes::bigint[]
		FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::text[])
			AS a (bucket, poll_id, total, skips, updated_at, votes)
		ORDER BY bucket, poll_id
		ON CONFLICT (bucket, poll_id) DO UPDATE SET total = c.total + excluded.total, skips = c.skips + excluded.skips,
			updated_at = greatest(c.updated_at, excluded.updated_at),
			votes = (SELECT array_agg(a + b ORDER BY i) FROM unnest(c.votes, excluded.votes) WITH ORDINALITY AS v (a, b, i))`
)

// writeImported adds to daily counters, histories and counts.
func (s *Store) writeImported(ctx context.Context, c *conn, b *imported) error {
	var daily struct {
		buckets, counts []int32
		users           []int64
		days            []time.Time
	}
	var changes []userChange
	for id, u := range b.users {
		changes = append(changes, userChange{user: id, version: b.states[id].version, entries: u.entries})
		for day, n := range u.votes {
			daily.buckets, daily.users = append(daily.buckets, s.bucket(id)), append(daily.users, int64(id))
			daily.days, daily.counts = append(daily.days, date(day)), append(daily.counts, n)
		}
	}
	var counts struct {
		buckets              []int32
		polls, totals, skips []int64
		updated              []time.Time
		votes                []string
	}
	for id, p := range b.polls {
		for bucket, n := range p.added {
			counts.buckets, counts.polls = append(counts.buckets, bucket), append(counts.polls, int64(id))
			counts.totals = append(counts.totals, domain.Counts{Votes: n.votes}.TotalVotes())
			counts.skips, counts.updated = append(counts.skips, n.skips), append(counts.updated, n.last)
			counts.votes = append(counts.votes, arrayText(n.votes))
		}
	}
	batch := &pgx.Batch{}
	batch.Queue(importDailyVotes, daily.buckets, daily.users, daily.days, daily.counts)
	s.queueUserChanges(batch, changes)
	batch.Queue(importCountsQuery, counts.buckets, counts.polls, counts.totals, counts.skips, counts.updated, counts.votes)
	return c.SendBatch(ctx, batch).Close()
}
