package sqlite

import (
	"context"
	"strings"

	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

// LoadCatalogue implements [domain.Store]. Deleted polls are among the entries.
func (s *Store) LoadCatalogue(ctx context.Context, visit func(domain.Entry) error) (int64, error) {
	var revision int64
	err := s.readLong(ctx, opLoadCatalogue, func(c *conn) error {
		return c.snapshot(func() error {
			err := c.row(`SELECT revision FROM publication`, func(r *sqlite.Stmt) error {
				revision = r.ColumnInt64(0)
				return nil
			})
			if err != nil {
				return err
			}
			return c.walkCatalogue(visit)
		})
	})
	if err != nil {
		return 0, err
	}
	return revision, nil
}

// walkCatalogue walks polls and counts side by side: both are ordered by poll
// id, which is the order of positions, so each table is read once in the order
// in which it lies.
func (c *conn) walkCatalogue(visit func(domain.Entry) error) error {
	counts, err := c.Prepare(`SELECT poll_id, total, skips FROM poll_counts ORDER BY poll_id`)
	if err != nil {
		return err
	}
	defer func() { _ = reset(counts, nil) }() // a failed step was reported by next
	next := func() (int64, error) {
		if ok, err := counts.Step(); err != nil || !ok {
			return 1 << 62, err
		}
		return counts.ColumnInt64(0), nil
	}
	counted, err := next()
	if err != nil {
		return err
	}
	tags := tagReader{known: make(map[string]string)}
	return c.rows(`SELECT id, position, revision, state, tags FROM polls ORDER BY id`, func(r *sqlite.Stmt) error {
		e := domain.Entry{
			Poll:     domain.PollID(r.ColumnInt64(0)),
			Position: domain.Position(r.ColumnInt64(1)), //nolint:gosec // 32 bits wide
			Revision: r.ColumnInt64(2),
			State:    domain.PollState(r.ColumnInt64(3)), //nolint:gosec // 0 to 3
		}
		var err error
		if e.Tags, err = tags.read(r, 4); err != nil {
			return err
		}
		for counted < int64(e.Poll) {
			if counted, err = next(); err != nil {
				return err
			}
		}
		if counted == int64(e.Poll) {
			e.Votes, e.Skips = counts.ColumnInt64(1), counts.ColumnInt64(2)
		}
		return visit(e)
	})
}

// maxKnownTags bounds the memory of a tagReader.
const maxKnownTags = 1 << 16

// tagReader reads the tags of many polls with little memory: it makes the text
// of a frequent tag once.
type tagReader struct {
	known map[string]string
	tags  []string
}

// read returns the tags in a column. The slice is used again by the next call.
func (t *tagReader) read(r *sqlite.Stmt, col int) ([]string, error) {
	text := r.ColumnText(col)
	if strings.IndexByte(text, '\\') >= 0 {
		return decodeTexts(text)
	}
	tags, err := splitTexts(t.tags[:0], text)
	if err != nil {
		return nil, err
	}
	for i, tag := range tags {
		tags[i] = t.intern(tag)
	}
	t.tags = tags
	return tags, nil
}

// intern returns the tag in memory of its own, the same for equal ones.
func (t *tagReader) intern(tag string) string {
	if tag, ok := t.known[tag]; ok {
		return tag
	}
	if len(t.known) >= maxKnownTags {
		clear(t.known)
	}
	tag = strings.Clone(tag)
	t.known[tag] = tag
	return tag
}

// CatalogueSince implements [domain.Store].
func (s *Store) CatalogueSince(ctx context.Context, revision int64, limit int) ([]domain.Entry, error) {
	var entries []domain.Entry
	err := s.read(ctx, opCatalogueSince, func(c *conn) error {
		return c.rows(`SELECT p.id, p.position, p.revision, p.state, p.tags, coalesce(c.total, 0), coalesce(c.skips, 0)
			FROM polls p LEFT JOIN poll_counts c ON c.poll_id = p.id
			WHERE p.revision > ? ORDER BY p.revision LIMIT ?`,
			func(r *sqlite.Stmt) error {
				tags, err := decodeTexts(r.ColumnText(4))
				entries = append(entries, domain.Entry{
					Poll:     domain.PollID(r.ColumnInt64(0)),
					Position: domain.Position(r.ColumnInt64(1)), //nolint:gosec // 32 bits wide
					Revision: r.ColumnInt64(2),
					State:    domain.PollState(r.ColumnInt64(3)), //nolint:gosec // 0 to 3
					Tags:     tags, Votes: r.ColumnInt64(5), Skips: r.ColumnInt64(6),
				})
				return err
			}, revision, max(limit, 0))
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// Counts implements [domain.Store]. Hidden and deleted polls are left out.
func (s *Store) Counts(ctx context.Context, ids []domain.PollID) ([]domain.Counts, error) {
	counts := make([]domain.Counts, 0, len(ids))
	err := s.read(ctx, opCounts, func(c *conn) error {
		return c.snapshot(func() error {
			for _, id := range ids {
				err := c.countsOf(id, domain.PollHidden, func(n domain.Counts) { counts = append(counts, n) })
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
	return counts, nil
}

// countsOf calls found with the counts of a poll that exists in a state below
// the given one.
func (c *conn) countsOf(id domain.PollID, below domain.PollState, found func(domain.Counts)) error {
	return c.rows(`SELECT c.votes, coalesce(c.skips, 0), coalesce(c.updated_at, p.published_at),
		CASE WHEN c.votes IS NULL THEN json_array_length(p.options) END
		FROM polls p LEFT JOIN poll_counts c ON c.poll_id = p.id WHERE p.id = ? AND p.state < ?`,
		func(r *sqlite.Stmt) error {
			n := domain.Counts{Poll: id, Skips: r.ColumnInt64(1), UpdatedAt: fromMillis(r.ColumnInt64(2))}
			var err error
			if r.ColumnIsNull(0) {
				n.Votes = make([]int64, r.ColumnInt(3))
			} else {
				n.Votes, err = parseCounts(r.ColumnText(0))
			}
			if err == nil {
				found(n)
			}
			return err
		}, int64(id), int64(below))
}
