package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

// author is what a batch of publications knows about an author.
type author struct {
	exists bool
	name   string
	today  int
	added  int // by this batch
}

// Publish implements [domain.Store].
func (s *Store) Publish(
	ctx context.Context, batch []domain.NewPoll,
	judge func([]domain.PublicationFact) []domain.PublicationVerdict,
) ([]domain.Publication, error) {
	if len(batch) == 0 {
		return nil, s.usable(ctx)
	}
	// Before the writer is taken: others may have it meanwhile.
	tokens := make([][]string, len(batch))
	for i, p := range batch {
		tokens[i] = searchTokens(p.Title, p.Options, p.Tags)
	}
	var published []domain.Publication
	err := s.write(ctx, opPublish, func(w *writer) error {
		now := s.now()
		authors, facts, err := w.publicationFacts(batch, now)
		if err != nil {
			return err
		}
		verdicts := judge(facts)
		if len(verdicts) != len(batch) {
			return fmt.Errorf("%d verdicts for %d polls", len(verdicts), len(batch))
		}
		published, err = w.publish(batch, tokens, verdicts, authors, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	return published, nil
}

func (w *writer) publicationFacts(
	batch []domain.NewPoll, now time.Time,
) (map[domain.UserID]*author, []domain.PublicationFact, error) {
	authors := make(map[domain.UserID]*author)
	facts := make([]domain.PublicationFact, len(batch))
	for i, p := range batch {
		a := authors[p.Author]
		if a == nil {
			a = &author{}
			authors[p.Author] = a
			err := w.row(`SELECT username, coalesce(
				(SELECT poll_count FROM daily_polls WHERE user_id = ?1 AND poll_date = ?2), 0)
				FROM users WHERE id = ?1 AND erased_at IS NULL AND banned_at IS NULL`,
				func(r *sqlite.Stmt) error {
					*a = author{exists: true, name: r.ColumnText(0), today: r.ColumnInt(1)}
					return nil
				}, int64(p.Author), int64(domain.DayOf(now)))
			if err != nil && !errors.Is(err, errNoRow) {
				return nil, nil, err
			}
		}
		facts[i] = domain.PublicationFact{AuthorExists: a.exists, PollsToday: a.today}
		if p.IdempotencyKey == "" || !a.exists {
			continue
		}
		err := w.row(`SELECT poll_id, fingerprint FROM idempotency_keys
			WHERE user_id = ? AND key = ? AND created_at > ?`,
			func(r *sqlite.Stmt) error {
				earlier := &domain.EarlierPublication{Poll: domain.PollID(r.ColumnInt64(0))}
				r.ColumnBytes(1, earlier.Fingerprint[:])
				facts[i].Earlier = earlier
				return nil
			}, int64(p.Author), p.IdempotencyKey, millis(now.Add(-domain.IdempotencyLife)))
		if err != nil && !errors.Is(err, errNoRow) {
			return nil, nil, err
		}
	}
	return authors, facts, nil
}

// issued is what table publication has handed out last.
type issued struct {
	position domain.Position
	poll     domain.PollID
	revision int64
}

func (w *writer) issued() (issued, error) {
	var last issued
	err := w.row(`SELECT position, poll_id, revision FROM publication`, func(r *sqlite.Stmt) error {
		last = issued{
			position: domain.Position(r.ColumnInt64(0)), //nolint:gosec // 32 bits wide
			poll:     domain.PollID(r.ColumnInt64(1)), revision: r.ColumnInt64(2),
		}
		return nil
	})
	return last, err
}

func (w *writer) setIssued(last issued) error {
	return w.run(`UPDATE publication SET position = ?, poll_id = ?, revision = ?`,
		int64(last.position), int64(last.poll), last.revision)
}

func (w *writer) publish(
	batch []domain.NewPoll, tokens [][]string, verdicts []domain.PublicationVerdict,
	authors map[domain.UserID]*author, now time.Time,
) ([]domain.Publication, error) {
	last, err := w.issued()
	if err != nil {
		return nil, err
	}
	if err := w.prepareInteract(); err != nil { // for the outbox
		return nil, err
	}
	before := last
	w.pages = int64(len(batch)) * pagesPerPoll
	changes := domain.Changes{At: now}
	published := make([]domain.Publication, len(batch))
	for i, v := range verdicts {
		p, a := batch[i], authors[batch[i].Author]
		published[i].Verdict, published[i].At = v, now
		switch {
		case v.Code != "":
		case v.Repeats != 0:
			if published[i].Poll, published[i].Entry, err = w.pollAndEntry(v.Repeats); err != nil {
				return nil, err
			}
		case v.RepeatsIndex >= 0 && v.RepeatsIndex < i:
			published[i].Poll, published[i].Entry = published[v.RepeatsIndex].Poll, published[v.RepeatsIndex].Entry
		case !a.exists || v.RepeatsIndex >= i:
			return nil, fmt.Errorf("poll %d was accepted against the facts", i)
		default:
			if last.position == ^domain.Position(0) {
				return nil, errors.New("no position is left")
			}
			last = issued{last.position + 1, domain.NextPollID(last.poll, now), last.revision + 1}
			poll := domain.Poll{
				ID: last.poll, Position: last.position, Author: p.Author, AuthorName: a.name,
				Title: p.Title, Options: p.Options, Tags: p.Tags, CreatedAt: now,
			}
			if err := w.insertPoll(poll, last.revision, tokens[i]); err != nil {
				return nil, err
			}
			if err := w.rememberKey(p, last.poll, now); err != nil {
				return nil, err
			}
			a.added++
			published[i].Poll = poll
			published[i].Entry = domain.Entry{
				Position: poll.Position, Poll: poll.ID, Revision: last.revision, Tags: poll.Tags,
			}
			changes.Published = append(changes.Published, domain.PollPublished{PollID: poll.ID, Position: poll.Position})
		}
	}
	for id, a := range authors {
		if a.added == 0 {
			continue
		}
		if err := w.run(`INSERT INTO daily_polls (user_id, poll_date, poll_count) VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET poll_count = excluded.poll_count`,
			int64(id), int64(domain.DayOf(now)), a.today+a.added); err != nil {
			return nil, err
		}
	}
	if last != before {
		if err := w.setIssued(last); err != nil {
			return nil, err
		}
	}
	return published, w.writeOutbox(changes)
}

func (w *writer) insertPoll(p domain.Poll, revision int64, tokens []string) error {
	tags, err := encodeJSON(p.Tags)
	if err != nil {
		return err
	}
	options, err := encodeJSON(p.Options)
	if err != nil {
		return err
	}
	if err := w.run(`INSERT INTO polls
		(id, position, revision, author_id, created_at, published_at, tags, title, options)
		VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8)`,
		int64(p.ID), int64(p.Position), revision, int64(p.Author), millis(p.CreatedAt),
		tags, p.Title, options); err != nil {
		return err
	}
	return w.index(p.Position, tokens)
}

func (w *writer) rememberKey(p domain.NewPoll, id domain.PollID, now time.Time) error {
	if p.IdempotencyKey == "" {
		return nil
	}
	// A key that is still there has expired, or the rule would have seen it.
	return w.run(`INSERT OR REPLACE INTO idempotency_keys (user_id, key, fingerprint, poll_id, created_at)
		VALUES (?, ?, ?, ?, ?)`,
		int64(p.Author), p.IdempotencyKey, p.Fingerprint[:], int64(id), millis(now))
}

// pollColumns are those that scanPoll reads.
const pollColumns = `p.id, p.position, p.state, p.created_at, p.title, p.options, p.tags,
	coalesce(p.author_id, 0), coalesce(u.username, ''), p.revision, coalesce(c.total, 0), coalesce(c.skips, 0)
	FROM polls p LEFT JOIN users u ON u.id = p.author_id LEFT JOIN poll_counts c ON c.poll_id = p.id`

func scanPoll(r *sqlite.Stmt) (domain.Poll, domain.Entry, error) {
	p := domain.Poll{
		ID: domain.PollID(r.ColumnInt64(0)), Position: domain.Position(r.ColumnInt64(1)), //nolint:gosec // 32 bits wide
		State: domain.PollState(r.ColumnInt64(2)), CreatedAt: fromMillis(r.ColumnInt64(3)), //nolint:gosec // 0 to 3
	}
	var err error
	if p.Tags, err = decodeTexts(r.ColumnText(6)); err != nil {
		return p, domain.Entry{}, err
	}
	e := domain.Entry{
		Position: p.Position, Poll: p.ID, Revision: r.ColumnInt64(9), State: p.State, Tags: p.Tags,
		Votes: r.ColumnInt64(10), Skips: r.ColumnInt64(11),
	}
	if p.State == domain.PollDeleted {
		return domain.Poll{ID: p.ID, CreatedAt: p.CreatedAt, State: p.State}, e, nil
	}
	p.Title = r.ColumnText(4)
	if p.Options, err = decodeTexts(r.ColumnText(5)); err != nil {
		return p, e, err
	}
	if p.AuthorName = r.ColumnText(8); p.AuthorName != "" {
		p.Author = domain.UserID(r.ColumnInt64(7))
	}
	return p, e, nil
}

// pollAndEntry returns a poll whatever its state. Errors: CodeNotFound.
func (c *conn) pollAndEntry(id domain.PollID) (domain.Poll, domain.Entry, error) {
	var p domain.Poll
	var e domain.Entry
	err := notFound(c.row(`SELECT `+pollColumns+` WHERE p.id = ?`, func(r *sqlite.Stmt) (err error) {
		p, e, err = scanPoll(r)
		return err
	}, int64(id)))
	return p, e, err
}

// changePoll runs change on a poll and renews its revision.
func (s *Store) changePoll(
	ctx context.Context, op operation, id domain.PollID, change func(*writer, domain.Poll, *domain.Entry) error,
) (domain.Entry, error) {
	var entry domain.Entry
	err := s.write(ctx, op, func(w *writer) error {
		p, e, err := w.pollAndEntry(id)
		if err != nil {
			return err
		}
		was := e.State
		if err := change(w, p, &e); err != nil {
			return err
		}
		entry = e
		if e.State == was {
			return nil
		}
		last, err := w.issued()
		if err != nil {
			return err
		}
		last.revision++
		entry.Revision = last.revision
		if err := w.run(`UPDATE polls SET revision = ? WHERE id = ?`, last.revision, int64(id)); err != nil {
			return err
		}
		w.polls.forget(id)
		return w.setIssued(last)
	})
	if err != nil {
		return domain.Entry{}, err
	}
	return entry, nil
}

// DeletePoll implements [domain.Store].
func (s *Store) DeletePoll(ctx context.Context, by domain.UserID, id domain.PollID) (domain.Entry, error) {
	return s.changePoll(ctx, opDeletePoll, id, func(w *writer, p domain.Poll, e *domain.Entry) error {
		switch {
		case e.State == domain.PollDeleted || e.State == domain.PollHidden:
			return domain.E(domain.CodeNotFound, "")
		case p.Author != by || by == 0:
			return domain.E(domain.CodeForbidden, "Only the author can delete a poll.")
		case e.Votes > 0:
			return domain.E(domain.CodeHasVotes, "A poll with votes cannot be deleted.")
		}
		if e.State == domain.PollOpen {
			if err := w.unindex(e.Position); err != nil {
				return err
			}
		}
		e.State, e.Tags = domain.PollDeleted, nil
		return w.run(`UPDATE polls SET deleted_at = ?, title = '', options = '[]', tags = '[]' WHERE id = ?`,
			millis(s.now()), int64(id))
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
	return s.changePoll(ctx, opSetPollState, id, func(w *writer, p domain.Poll, e *domain.Entry) error {
		if e.State == domain.PollDeleted {
			return domain.E(domain.CodeNotFound, "")
		}
		if e.State == state {
			return nil
		}
		archived, err := w.archived(id)
		switch {
		case err != nil:
		case state == domain.PollOpen && archived:
			err = domain.E(domain.CodePollClosed, "The poll's votes are archived, so it cannot be opened again.")
		case state == domain.PollOpen:
			err = w.index(p.Position, searchTokens(p.Title, p.Options, p.Tags))
		case e.State == domain.PollOpen:
			err = w.unindex(e.Position)
		}
		if err != nil {
			return err
		}
		e.State = state
		return w.run(`UPDATE polls SET
			closed_at = CASE WHEN ?2 = 1 THEN ?3 END, hidden_at = CASE WHEN ?2 = 2 THEN ?3 END WHERE id = ?1`,
			int64(id), int64(state), millis(s.now()))
	})
}

// PollsAt implements [domain.Store].
func (s *Store) PollsAt(ctx context.Context, positions []domain.Position) ([]domain.Poll, error) {
	polls := make([]domain.Poll, 0, len(positions))
	err := s.read(ctx, opPolls, func(c *conn) error {
		return c.snapshot(func() error {
			for _, at := range positions {
				err := c.rows(`SELECT `+pollColumns+` WHERE p.position = ?`, func(r *sqlite.Stmt) error {
					p, _, err := scanPoll(r)
					if err == nil && p.State != domain.PollDeleted {
						polls = append(polls, p)
					}
					return err
				}, int64(at))
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return polls, nil
}

// Poll implements [domain.Store].
func (s *Store) Poll(ctx context.Context, id domain.PollID) (domain.Poll, error) {
	var p domain.Poll
	err := s.read(ctx, opPolls, func(c *conn) error {
		var err error
		p, _, err = c.pollAndEntry(id)
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

// PruneIdempotencyKeys implements [domain.Store].
func (s *Store) PruneIdempotencyKeys(ctx context.Context, before time.Time) (int64, error) {
	var n int64
	err := s.write(ctx, opPruneKeys, func(w *writer) error {
		err := w.run(`DELETE FROM idempotency_keys WHERE created_at < ?`, millis(before))
		n = int64(w.Changes())
		return err
	})
	return n, err
}
