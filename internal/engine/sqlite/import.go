package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"vote/internal/domain"
)

// Import implements [domain.Store].
func (s *Store) Import(ctx context.Context, batch domain.Import) (domain.Imported, error) {
	tokens := importTokens(batch.Polls)
	var done domain.Imported
	err := s.write(ctx, opImport, func(w *writer) error {
		done = domain.Imported{}
		now := s.now()
		if err := w.prepareHourly(); err != nil {
			return err
		}
		w.pages = int64(len(batch.Users)+len(batch.Polls))*pagesPerPoll + int64(len(batch.Interactions))
		var err error
		if done.Users, err = w.importUsers(batch.Users, now); err != nil {
			return err
		}
		if done.Polls, err = w.importPolls(batch.Polls, tokens, now); err != nil {
			return err
		}
		return w.importInteractions(batch.Interactions, now)
	})
	if err != nil {
		return domain.Imported{}, err
	}
	return done, nil
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

// importFault refuses a batch because of one member.
func importFault(kind string, i int, what string) error {
	return domain.E(domain.CodeInvalid, fmt.Sprintf("%s %d of the batch %s.", kind, i, what))
}

func (w *writer) importUsers(users []domain.ImportUser, now time.Time) ([]domain.UserID, error) {
	ids := make([]domain.UserID, len(users))
	for i, u := range users {
		if u.CreatedAt.After(now) {
			return nil, importFault("User", i, "is of the future")
		}
		var err error
		if ids[i], err = w.addUser(u.NewUser, u.CreatedAt); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// authorDay is whose polls of which day a daily counter counts.
type authorDay struct {
	author domain.UserID
	day    domain.Day
}

func (w *writer) importPolls(polls []domain.ImportPoll, tokens [][]string, now time.Time) ([]domain.PollID, error) {
	if len(polls) == 0 {
		return nil, nil
	}
	last, err := w.issued()
	if err != nil {
		return nil, err
	}
	ids := make([]domain.PollID, len(polls))
	added := make(map[authorDay]int)
	for i, p := range polls {
		at := p.At.UTC().Truncate(time.Millisecond)
		if at.After(now) {
			return nil, importFault("Poll", i, "is of the future")
		}
		if at.Before(domain.Epoch) || at.Before(last.poll.Time()) && last.poll > 0 {
			return nil, importFault("Poll", i, "is older than the newest poll that is stored")
		}
		key := authorDay{p.Author, domain.DayOf(at)}
		if added[key] == 0 {
			ok, err := w.exists(`SELECT 1 FROM users WHERE id = ? AND erased_at IS NULL`, int64(p.Author))
			if err != nil {
				return nil, err
			}
			if !ok {
				return nil, importFault("Poll", i, "has an author who does not exist")
			}
		}
		added[key]++
		if last.position == ^domain.Position(0) {
			return nil, errors.New("no position is left")
		}
		last = issued{last.position + 1, domain.NextPollID(last.poll, at), last.revision + 1}
		ids[i] = last.poll
		err := w.insertPoll(domain.Poll{
			ID: last.poll, Position: last.position, Author: p.Author,
			Title: p.Title, Options: p.Options, Tags: p.Tags, CreatedAt: at,
		}, last.revision, tokens[i])
		if err != nil {
			return nil, err
		}
	}
	archived, err := w.exists(`SELECT 1 FROM archived_months WHERE first_poll <= ? AND end_poll > ?`,
		int64(last.poll), int64(ids[0]))
	if err != nil {
		return nil, err
	}
	if archived {
		return nil, domain.E(domain.CodeInvalid, "A poll of the batch is of an archived month.")
	}
	for key, n := range added {
		if err := w.run(`INSERT INTO daily_polls (user_id, poll_date, poll_count) VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET poll_count = poll_count + excluded.poll_count`,
			int64(key.author), int64(key.day), n); err != nil {
			return nil, err
		}
	}
	return ids, w.setIssued(last)
}

// importUser is what a batch of interactions knows about a user.
type importUser struct {
	userFacts
	votes map[domain.Day]int // added
}

func (w *writer) importInteractions(all []domain.ImportInteraction, now time.Time) error {
	if len(all) == 0 {
		return nil
	}
	w.polls.trim()
	// What is remembered of people says nothing about past days, so it is
	// forgotten instead of followed.
	w.users.clear()
	w.polls.dirty = true
	users := make(map[domain.UserID]*importUser)
	counted := make(map[*pollFacts]int64) // when last
	hours := make(map[pollHour]*hourly)
	for i, in := range all {
		at := in.At.UTC().Truncate(time.Millisecond)
		u, err := w.importedUser(users, in.User)
		if err != nil {
			return err
		}
		poll, err := w.poll(in.Poll)
		if err != nil {
			return err
		}
		prior, err := w.readPrior(in.User, poll.position)
		switch {
		case err != nil:
			return err
		case !u.exists || !poll.exists || poll.state != domain.PollOpen:
			return importFault("Interaction", i, "names a user or an open poll that does not exist")
		case prior.Voted || in.Skip && prior.Skipped:
			return importFault("Interaction", i, "comes after another of the same user and poll")
		case !in.Skip && (in.Option < 0 || in.Option >= len(poll.votes)):
			return importFault("Interaction", i, "chooses an option that the poll does not have")
		case at.Before(in.Poll.Time()) || at.After(now):
			return importFault("Interaction", i, "is older than its poll, or of the future")
		}
		key := pollHour{domain.HourOf(at), in.Poll}
		if hours[key] == nil {
			hours[key] = &hourly{}
		}
		if in.Skip {
			poll.skips++
			hours[key].skips++
		} else {
			hours[key].votes[in.Option]++
			poll.votes[in.Option]++
			u.votes[domain.DayOf(at)]++
		}
		if err := w.addSeen(in.Interaction, poll.position, millis(at)); err != nil {
			return err
		}
		if err := w.addHistory(&u.userFacts, in.Poll, in.Skip); err != nil {
			return err
		}
		u.version++
		counted[poll] = max(counted[poll], millis(at))
	}
	if err := w.writeImportedUsers(users); err != nil {
		return err
	}
	if err := w.writeImportedCounts(counted); err != nil {
		return err
	}
	return w.addHourly(hours)
}

func (w *writer) importedUser(users map[domain.UserID]*importUser, id domain.UserID) (*importUser, error) {
	if u := users[id]; u != nil {
		return u, nil
	}
	w.scratch.users = w.scratch.users[:0]
	if err := w.readUser(id, 0); err != nil {
		return nil, err
	}
	u := &importUser{userFacts: w.scratch.users[0], votes: make(map[domain.Day]int)}
	users[id] = u
	return u, nil
}

func (w *writer) writeImportedUsers(users map[domain.UserID]*importUser) error {
	for id, u := range users {
		for day, n := range u.votes {
			if u.days.newest == day {
				u.days.votes += n
				continue
			}
			if err := w.run(`INSERT INTO daily_votes (user_id, vote_date, vote_count) VALUES (?, ?, ?)
				ON CONFLICT DO UPDATE SET vote_count = vote_count + excluded.vote_count`,
				int64(id), int64(day), n); err != nil {
				return err
			}
		}
		if err := w.setState(&u.userFacts); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) writeImportedCounts(counted map[*pollFacts]int64) error {
	stmt, err := w.prepare(`INSERT INTO poll_counts (poll_id, total, skips, updated_at, votes) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET total = excluded.total, skips = excluded.skips,
		updated_at = max(updated_at, excluded.updated_at), votes = excluded.votes`, nil)
	if err != nil {
		return err
	}
	b := &w.scratch
	for poll, at := range counted {
		poll.counted = true
		b.bytes = appendCounts(b.bytes[:0], poll.votes)
		stmt.BindInt64(1, int64(poll.id))
		stmt.BindInt64(2, domain.Counts{Votes: poll.votes}.TotalVotes())
		stmt.BindInt64(3, poll.skips)
		stmt.BindInt64(4, at)
		stmt.BindText(5, string(b.bytes))
		if err := step(stmt); err != nil {
			return err
		}
	}
	return nil
}
