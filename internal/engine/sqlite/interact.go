package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

// interactStatements are the prepared statements of a batch, held apart because
// looking them up by their text would cost as much as running them.
type interactStatements struct {
	user, prior, poll    *sqlite.Stmt
	addVote, addSkip     *sqlite.Stmt
	keepDay, takeDay     *sqlite.Stmt
	addCounts, setCounts *sqlite.Stmt
	setState, addHistory *sqlite.Stmt
	addOutbox            *sqlite.Stmt
}

func (w *writer) prepareInteract() error {
	if w.interact.addOutbox != nil {
		return nil
	}
	var err error
	prepare := func(query string) (stmt *sqlite.Stmt) {
		if err == nil {
			stmt, err = w.Prepare(query)
		}
		return stmt
	}
	w.interact = interactStatements{
		// An erased user has no state, and a banned one is as good as erased.
		user: prepare(`SELECT version, last_vote, last_skip, vote_date, vote_count, CASE WHEN vote_date <> ?2 THEN
			(SELECT vote_count FROM daily_votes WHERE user_id = ?1 AND vote_date = ?2) END
			FROM user_state WHERE user_id = ?1
			AND NOT EXISTS (SELECT 1 FROM users WHERE id = ?1 AND banned_at IS NOT NULL)`),
		prior: prepare(`SELECT (SELECT option_index FROM votes WHERE id = ?1), EXISTS (SELECT 1 FROM skips WHERE id = ?1)`),
		poll: prepare(`SELECT p.position, p.state, c.votes, coalesce(c.skips, 0),
			CASE WHEN c.votes IS NULL THEN json_array_length(p.options) END
			FROM polls p LEFT JOIN poll_counts c ON c.poll_id = p.id WHERE p.id = ?`),
		addVote: prepare(`INSERT INTO votes (id, poll_id, created_at, option_index) VALUES (?, ?, ?, ?)`),
		addSkip: prepare(`INSERT INTO skips (id, poll_id, created_at) VALUES (?, ?, ?)`),
		keepDay: prepare(`INSERT INTO daily_votes (user_id, vote_date, vote_count) VALUES (?, ?, ?)`),
		takeDay: prepare(`DELETE FROM daily_votes WHERE user_id = ? AND vote_date = ?`),
		setState: prepare(`UPDATE user_state SET version = ?2, last_vote = ?3, last_skip = ?4, vote_date = ?5, vote_count = ?6
			WHERE user_id = ?1`),
		// Whether a poll has its row is known: to look for it again, as an upsert
		// does, costs a tenth of a vote.
		addHistory: prepare(`INSERT INTO history (user_id, poll_id, skip, previous) VALUES (?, ?, ?, ?)`),
		addCounts:  prepare(`INSERT INTO poll_counts (poll_id, total, skips, updated_at, votes) VALUES (?1, ?2, ?3, ?4, ?5)`),
		setCounts:  prepare(`UPDATE poll_counts SET total = ?2, skips = ?3, updated_at = ?4, votes = ?5 WHERE poll_id = ?1`),
		addOutbox:  prepare(`INSERT INTO outbox (created_at, changes) VALUES (?, ?)`),
	}
	if err != nil {
		w.interact = interactStatements{}
	}
	return err
}

// userFacts are what a batch knows about one of its users.
type userFacts struct {
	id      domain.UserID
	exists  bool
	version int64
	today   int
	days    countedDays
	voted   bool // got a vote in this batch
	last    lastEntries
	// seen is everything that the user has seen, when whole.
	seen  []domain.Position
	whole bool
	added []domain.Position // by this batch
}

// countedDays tells where a user's votes of a day are counted: those of the
// newest day on which the user has voted in user_state, others in daily_votes.
type countedDays struct {
	newest domain.Day
	votes  int // of it
	// kept says that the day in question, another than the newest, has a row in
	// daily_votes: it was imported, or the clock was put back.
	kept bool
}

// batchScratch is memory that batches reuse.
type batchScratch struct {
	number uint64 // of the batch
	order  []int  // indices of the batch by user, poll
	users  []userFacts
	slots  []int // index into users by member of the batch
	polls  []*pollFacts
	of     []*pollFacts // by member of the batch
	bytes  []byte
}

// Interact implements [domain.Store].
func (s *Store) Interact(
	ctx context.Context, batch []domain.Interaction, judge func([]domain.Fact) []domain.Verdict,
) (domain.Outcome, error) {
	if len(batch) == 0 {
		if err := s.usable(ctx); err != nil {
			return domain.Outcome{}, err
		}
		return domain.Outcome{At: s.now()}, nil
	}
	var out domain.Outcome
	err := s.write(ctx, opInteract, func(w *writer) error {
		if err := w.prepareInteract(); err != nil {
			return err
		}
		out = domain.Outcome{At: s.now()}
		facts, err := w.readFacts(batch, domain.DayOf(out.At))
		if err != nil {
			return err
		}
		out.Verdicts = judge(facts)
		if len(out.Verdicts) != len(batch) {
			return fmt.Errorf("%d verdicts for %d interactions", len(out.Verdicts), len(batch))
		}
		return w.apply(batch, &out)
	})
	if err != nil {
		return domain.Outcome{}, err
	}
	return out, nil
}

// readFacts returns the facts of a batch and fills the scratch.
func (w *writer) readFacts(batch []domain.Interaction, day domain.Day) ([]domain.Fact, error) {
	b := &w.scratch
	b.number++
	w.polls.trim()
	b.users, b.polls = b.users[:0], b.polls[:0]
	b.order = resize(b.order, len(batch))
	b.slots = resize(b.slots, len(batch))
	b.of = resize(b.of, len(batch))
	facts := make([]domain.Fact, len(batch))
	for i := range b.order {
		b.order[i] = i
	}
	slices.SortFunc(b.order, func(i, j int) int {
		if c := cmp.Compare(batch[i].User, batch[j].User); c != 0 {
			return c
		}
		if c := cmp.Compare(batch[i].Poll, batch[j].Poll); c != 0 {
			return c
		}
		return cmp.Compare(i, j)
	})
	for n, i := range b.order {
		in := batch[i]
		if n == 0 || batch[b.order[n-1]].User != in.User {
			if err := w.readUser(in.User, day); err != nil {
				return nil, err
			}
		}
		b.slots[i] = len(b.users) - 1
		u := &b.users[b.slots[i]]
		fact := domain.Fact{UserExists: u.exists, VotesToday: u.today}
		poll, err := w.poll(in.Poll)
		if err != nil {
			return nil, err
		}
		b.of[i] = poll
		fact.PollExists, fact.State, fact.Archived, fact.Options = poll.exists, poll.state, poll.archived, len(poll.votes)
		switch {
		case n > 0 && batch[b.order[n-1]].User == in.User && batch[b.order[n-1]].Poll == in.Poll:
			fact.Prior = facts[b.order[n-1]].Prior
		case u.exists && poll.exists && u.mayHaveSeen(poll.position):
			if fact.Prior, err = w.readPrior(in.User, poll.position); err != nil {
				return nil, err
			}
		}
		facts[i] = fact
	}
	return facts, nil
}

// mayHaveSeen reports whether the user may have voted on or skipped the poll at
// a position. When not, there is no need to look into the tables.
func (u *userFacts) mayHaveSeen(p domain.Position) bool {
	return !u.whole || slices.Contains(u.seen, p)
}

func (w *writer) readUser(id domain.UserID, day domain.Day) error {
	b := &w.scratch
	// A slot that was used before keeps its memory.
	if len(b.users) < cap(b.users) {
		b.users = b.users[:len(b.users)+1]
	} else {
		b.users = append(b.users, userFacts{})
	}
	u := &b.users[len(b.users)-1]
	*u = userFacts{id: id}
	known := w.users.get(id)
	if known != nil && known.day == day {
		u.exists, u.version, u.today, u.days = true, known.version, known.today, known.days
		u.last, u.seen, u.whole = known.last, known.seen, known.whole
		return nil
	}
	stmt := w.interact.user
	stmt.BindInt64(1, int64(id))
	stmt.BindInt64(2, int64(day))
	ok, err := stmt.Step()
	if err == nil && ok {
		u.exists, u.version, u.whole = true, stmt.ColumnInt64(0), stmt.ColumnInt64(0) == 0
		u.last = lastEntries{vote: stmt.ColumnInt64(1), skip: stmt.ColumnInt64(2)}
		u.days = countedDays{
			newest: domain.Day(stmt.ColumnInt64(3)), votes: stmt.ColumnInt(4), kept: !stmt.ColumnIsNull(5), //nolint:gosec // 32 bits wide
		}
		if u.today = u.days.votes; u.days.newest != day {
			u.today = stmt.ColumnInt(5)
		}
		if known != nil {
			u.seen, u.whole = known.seen, known.whole
		}
	}
	return errors.Join(err, reset(stmt, err))
}

func (w *writer) readPrior(user domain.UserID, position domain.Position) (domain.Prior, error) {
	var p domain.Prior
	stmt := w.interact.prior
	stmt.BindInt64(1, seenKey(user, position))
	ok, err := stmt.Step()
	if err == nil && ok {
		if !stmt.ColumnIsNull(0) {
			p.Voted, p.Option = true, stmt.ColumnInt(0)
		}
		p.Skipped = stmt.ColumnBool(1)
	}
	return p, errors.Join(err, reset(stmt, err))
}

// apply writes what was accepted, each table in the order of its key, and fills
// the outcome.
func (w *writer) apply(batch []domain.Interaction, out *domain.Outcome) error {
	b := &w.scratch
	at := millis(out.At)
	w.polls.dirty = true
	w.pages = int64(len(batch)) * pagesPerInteraction
	for i, v := range out.Verdicts {
		if v.Code != "" || !v.Changed {
			continue
		}
		u, poll := &b.users[b.slots[i]], b.of[i]
		if !u.exists || !poll.exists || (!batch[i].Skip && (v.VotesToday < 1 || v.Option < 0 || v.Option >= len(poll.votes))) {
			return fmt.Errorf("interaction %d was accepted against the facts", i)
		}
		u.added = append(u.added, poll.position)
		if err := w.addHistory(u, poll.id, batch[i].Skip); err != nil {
			return err
		}
		if poll.batch != b.number {
			poll.batch = b.number
			b.polls = append(b.polls, poll)
		}
		if batch[i].Skip {
			poll.skips++
			continue
		}
		poll.votes[v.Option]++
		u.voted, u.today = true, v.VotesToday
	}
	for _, i := range b.order {
		v := out.Verdicts[i]
		if v.Code != "" || !v.Changed {
			continue
		}
		if err := w.addSeen(batch[i], b.of[i].position, at); err != nil {
			return err
		}
	}
	if err := w.writeUsers(out); err != nil {
		return err
	}
	if err := w.writeCounts(out, at); err != nil {
		return err
	}
	return w.writeOutbox(out.Changes(batch))
}

// addSeen adds a vote or skip.
func (w *writer) addSeen(in domain.Interaction, position domain.Position, at int64) error {
	stmt := w.interact.addSkip
	if !in.Skip {
		stmt = w.interact.addVote
		stmt.BindInt64(4, int64(in.Option))
	}
	stmt.BindInt64(1, seenKey(in.User, position))
	stmt.BindInt64(2, int64(in.Poll))
	stmt.BindInt64(3, at)
	return step(stmt)
}

func (w *writer) writeUsers(out *domain.Outcome) error {
	b := &w.scratch
	day := domain.DayOf(out.At)
	for i := range b.users {
		u := &b.users[i]
		if len(u.added) == 0 {
			continue
		}
		if u.voted {
			if err := w.countDay(u, day); err != nil {
				return err
			}
		}
		u.version += int64(len(u.added))
		w.users.put(u, day)
		if err := w.setState(u); err != nil {
			return err
		}
		out.Users = append(out.Users, domain.UserChange{User: u.id, Version: u.version, Positions: u.added})
	}
	return nil
}

// countDay makes a day the newest of a user who has voted on it.
func (w *writer) countDay(u *userFacts, day domain.Day) error {
	if u.days.newest != day {
		if u.days.votes > 0 {
			stmt := w.interact.keepDay
			stmt.BindInt64(1, int64(u.id))
			stmt.BindInt64(2, int64(u.days.newest))
			stmt.BindInt64(3, int64(u.days.votes))
			if err := step(stmt); err != nil {
				return err
			}
		}
		if u.days.kept {
			stmt := w.interact.takeDay
			stmt.BindInt64(1, int64(u.id))
			stmt.BindInt64(2, int64(day))
			if err := step(stmt); err != nil {
				return err
			}
		}
	}
	u.days = countedDays{newest: day, votes: u.today}
	return nil
}

// setState writes the row of a user that exists.
func (w *writer) setState(u *userFacts) error {
	stmt := w.interact.setState
	stmt.BindInt64(1, int64(u.id))
	stmt.BindInt64(2, u.version)
	stmt.BindInt64(3, u.last.vote)
	stmt.BindInt64(4, u.last.skip)
	stmt.BindInt64(5, int64(u.days.newest))
	stmt.BindInt64(6, int64(u.days.votes))
	return step(stmt)
}

func (w *writer) writeCounts(out *domain.Outcome, at int64) error {
	b := &w.scratch
	slices.SortFunc(b.polls, func(x, y *pollFacts) int { return cmp.Compare(x.id, y.id) })
	for _, poll := range b.polls {
		counts := domain.Counts{
			Poll: poll.id, Votes: slices.Clone(poll.votes), Skips: poll.skips, UpdatedAt: out.At,
		}
		b.bytes = appendCounts(b.bytes[:0], poll.votes)
		stmt := w.interact.addCounts
		if poll.counted {
			stmt = w.interact.setCounts
		}
		poll.counted = true
		stmt.BindInt64(1, int64(poll.id))
		stmt.BindInt64(2, counts.TotalVotes())
		stmt.BindInt64(3, poll.skips)
		stmt.BindInt64(4, at)
		stmt.BindText(5, string(b.bytes))
		if err := step(stmt); err != nil {
			return err
		}
		out.Counts = append(out.Counts, counts)
	}
	return nil
}

// writeOutbox adds the row of a batch, if it changed anything.
func (w *writer) writeOutbox(changes domain.Changes) error {
	if changes.Empty() {
		return nil
	}
	b := &w.scratch
	var err error
	if b.bytes, err = changes.AppendBinary(b.bytes[:0]); err != nil {
		return err
	}
	stmt := w.interact.addOutbox
	stmt.BindInt64(1, millis(changes.At))
	stmt.BindBytes(2, b.bytes)
	return step(stmt)
}

// resize returns a slice of n elements, whatever they are, in s's memory when
// it is large enough.
func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, max(n, 2*cap(s)))
	}
	return s[:n]
}

// UserStates implements [domain.Store].
func (s *Store) UserStates(ctx context.Context, users []domain.UserID) ([]domain.UserState, error) {
	states := make([]domain.UserState, len(users))
	err := s.read(ctx, opUserStates, func(c *conn) error {
		return c.snapshot(func() error {
			for i, id := range users {
				var err error
				if states[i], err = c.userState(id); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return states, nil
}

func (c *conn) userState(id domain.UserID) (domain.UserState, error) {
	state := domain.UserState{User: id}
	err := c.row(`SELECT version FROM user_state WHERE user_id = ?`, func(r *sqlite.Stmt) error {
		state.Version = r.ColumnInt64(0)
		return nil
	}, int64(id))
	if errors.Is(err, errNoRow) {
		err = nil
	}
	return state, err
}

// Seen implements [domain.Store].
func (s *Store) Seen(ctx context.Context, user domain.UserID) (domain.SeenSet, error) {
	var seen domain.SeenSet
	err := s.readLong(ctx, opSeen, func(c *conn) error {
		return c.snapshot(func() error {
			state, err := c.userState(user)
			if err != nil {
				return err
			}
			seen.Version = state.Version
			collect := func(r *sqlite.Stmt) error {
				seen.Positions = append(seen.Positions, domain.Position(r.ColumnInt64(0))) //nolint:gosec // 32 bits wide
				return nil
			}
			if state.Version > 0 {
				seen.Positions = make([]domain.Position, 0, state.Version)
			}
			first, last := seenKeys(user)
			if err := c.rows(`SELECT position FROM votes WHERE id BETWEEN ? AND ?`, collect, first, last); err != nil {
				return err
			}
			return c.rows(`SELECT position FROM skips WHERE id BETWEEN ? AND ?`, collect, first, last)
		})
	})
	if err != nil {
		return domain.SeenSet{}, err
	}
	// A poll that was skipped and then voted on is in both.
	slices.Sort(seen.Positions)
	seen.Positions = slices.Compact(seen.Positions)
	return seen, nil
}

// Prior implements [domain.Store].
func (s *Store) Prior(ctx context.Context, user domain.UserID, poll domain.PollID) (domain.Prior, error) {
	var p domain.Prior
	err := s.read(ctx, opPrior, func(c *conn) error {
		first, _ := seenKeys(user)
		return c.row(`WITH seen (id) AS (SELECT ?1 + (SELECT position FROM polls WHERE id = ?2))
			SELECT (SELECT option_index FROM votes WHERE id = (SELECT id FROM seen)),
				EXISTS (SELECT 1 FROM skips WHERE id = (SELECT id FROM seen))`,
			func(r *sqlite.Stmt) error {
				if !r.ColumnIsNull(0) {
					p.Voted, p.Option = true, r.ColumnInt(0)
				}
				p.Skipped = r.ColumnBool(1)
				return nil
			}, first, int64(poll))
	})
	return p, err
}

// maxUser is the largest id of a user that has a key for votes and skips.
const maxUser = domain.UserID(1)<<31 - 1

// seenKey returns the key of a user's vote on, or skip of, the poll at a
// position. The user is one that exists.
func seenKey(user domain.UserID, position domain.Position) int64 {
	return int64(user)<<32 | int64(position)
}

// seenKeys returns the range of keys, both ends included, of everything a user
// has voted on or skipped; one without keys, when there can be no such user.
func seenKeys(user domain.UserID) (first, last int64) {
	if user < 0 || user > maxUser {
		return 0, -1
	}
	return seenKey(user, 0), seenKey(user, ^domain.Position(0))
}
