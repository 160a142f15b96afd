package sqlite

import (
	"errors"

	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

// maxCachedPolls bounds the writer's memory of polls: some 300 bytes each.
const maxCachedPolls = 1 << 16

// pollFacts are what judging and counting need to know about a poll.
type pollFacts struct {
	id       domain.PollID
	exists   bool
	position domain.Position
	state    domain.PollState
	archived bool
	votes    []int64 // by option
	skips    int64
	counted  bool // has a row in poll_counts
	// batch is the last batch that counted something here.
	batch uint64
}

// pollCache remembers facts of polls between batches.
//
// It cannot be stale. It belongs to the writer, and only the writer changes the
// file (one process, one writing connection). Facts are read into it inside the
// writer's transaction. A transaction that changes a poll changes or forgets its
// facts before it commits; when one that changed facts does not commit, for
// whatever reason, the whole cache is cleared. Polls that do not exist are not remembered.
type pollCache struct {
	facts map[domain.PollID]*pollFacts
	limit int
	dirty bool // facts were changed by the open transaction
}

func newPollCache(limit int) pollCache {
	return pollCache{facts: make(map[domain.PollID]*pollFacts), limit: limit}
}

// keep is called after a commit, undo after a rollback.
func (p *pollCache) keep() { p.dirty = false }

func (p *pollCache) undo() {
	if p.dirty {
		clear(p.facts)
		p.dirty = false
	}
}

// clear is called by a transaction that changes many polls.
func (p *pollCache) clear() { clear(p.facts) }

func (p *pollCache) forget(id domain.PollID) { delete(p.facts, id) }

// trim forgets some polls when there are more than the limit. It runs between
// batches only: within one, all members of a poll must meet the same facts.
func (p *pollCache) trim() {
	for id := range p.facts {
		if len(p.facts) <= p.limit {
			return
		}
		delete(p.facts, id)
	}
}

// poll returns the facts of a poll. They are the cache's own: the writer
// changes them in place as it counts.
func (w *writer) poll(id domain.PollID) (*pollFacts, error) {
	if f := w.polls.facts[id]; f != nil {
		return f, nil
	}
	f := &pollFacts{id: id}
	stmt := w.interact.poll
	stmt.BindInt64(1, int64(id))
	err := first(stmt, func(r *sqlite.Stmt) error {
		f.exists = true
		f.position = domain.Position(r.ColumnInt64(0)) //nolint:gosec // positions are 32 bits wide
		f.state = domain.PollState(r.ColumnInt64(1))   //nolint:gosec // 0 to 3
		f.skips = r.ColumnInt64(3)
		if r.ColumnIsNull(2) {
			f.votes = make([]int64, r.ColumnInt(4))
			return nil
		}
		f.counted = true
		var err error
		f.votes, err = parseCounts(r.ColumnText(2))
		return err
	})
	switch {
	case errors.Is(err, errNoRow):
		return f, nil
	case err != nil:
		return nil, err
	}
	if f.state != domain.PollOpen {
		if f.archived, err = w.conn.archived(id); err != nil {
			return nil, err
		}
	}
	w.polls.facts[id] = f
	return f, nil
}
