package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

const walkPolls = `/* walk_polls */ SELECT p.id, p.position, p.revision, p.state, p.tags, coalesce(c.total, 0), coalesce(c.skips, 0)
	FROM polls p LEFT JOIN (
		SELECT poll_id, sum(total)::bigint AS total, sum(skips)::bigint AS skips FROM poll_counts GROUP BY poll_id
	) c ON c.poll_id = p.id ORDER BY p.id`

// LoadCatalogue implements [domain.Store]. Deleted polls are among the entries.
func (s *Store) LoadCatalogue(ctx context.Context, visit func(domain.Entry) error) (int64, error) {
	var revision int64
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	// A replica's state is a whole one, from which the caller goes on.
	err := s.readFrom(ctx, s.stalePool(), opLoadCatalogue, func(ctx context.Context, c *conn) error {
		return c.snapshot(ctx, func() error {
			if err := c.row(ctx, `/* newest_revision */ SELECT revision FROM publication`, nil, &revision); err != nil {
				return err
			}
			tags := tagReader{known: make(map[string]string)}
			return c.rows(ctx, walkPolls, func(r pgx.Rows) error {
				e, err := tags.entry(r)
				if err != nil {
					return err
				}
				return visit(e)
			})
		})
	})
	if err != nil {
		return 0, err
	}
	return revision, nil
}

// scanEntry reads an entry into which tags are scanned by what is given.
func scanEntry(r pgx.Row, tags any) (domain.Entry, error) {
	var id, position int64
	var state int16
	var e domain.Entry
	err := r.Scan(&id, &position, &e.Revision, &state, tags, &e.Votes, &e.Skips)
	e.Poll = domain.PollID(id)
	e.Position, e.State = domain.Position(position), domain.PollState(state) //nolint:gosec // as they were written
	return e, err
}

// maxKnownTags bounds the memory of a tagReader.
const maxKnownTags = 1 << 16

// tagReader reads the tags of many polls with little memory: it keeps the text of
// a frequent tag once.
type tagReader struct {
	known map[string]string
	tags  []string
}

// entry reads one entry. Its tags are used again by the next call.
func (t *tagReader) entry(r pgx.Row) (domain.Entry, error) {
	t.tags = t.tags[:0]
	e, err := scanEntry(r, &t.tags)
	for i, tag := range t.tags {
		t.tags[i] = t.intern(tag)
	}
	e.Tags = t.tags
	return e, err
}

// intern returns the same memory for equal tags.
func (t *tagReader) intern(tag string) string {
	if tag, ok := t.known[tag]; ok {
		return tag
	}
	if len(t.known) >= maxKnownTags {
		clear(t.known)
	}
	t.known[tag] = tag
	return tag
}

const readSince = `/* catalogue_since */ SELECT p.id, p.position, p.revision, p.state, p.tags, coalesce(c.total, 0), coalesce(c.skips, 0)
	FROM polls p LEFT JOIN LATERAL (
		SELECT sum(total)::bigint AS total, sum(skips)::bigint AS skips
		FROM poll_counts WHERE poll_id = p.id AND bucket = ANY($1)) c ON true
	WHERE p.revision > $2 ORDER BY p.revision LIMIT $3`

// CatalogueSince implements [domain.Store].
func (s *Store) CatalogueSince(ctx context.Context, revision int64, limit int) ([]domain.Entry, error) {
	var entries []domain.Entry
	err := s.read(ctx, opCatalogueSince, func(ctx context.Context, c *conn) error {
		return c.rows(ctx, readSince, func(r pgx.Rows) error {
			var tags []string
			e, err := scanEntry(r, &tags)
			e.Tags = tags
			entries = append(entries, e)
			return err
		}, s.allBuckets, revision, max(limit, 0))
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// A poll that nobody voted on or skipped has as many zeros as it has options.
const readCounts = `/* counts */ SELECT p.id, coalesce(c.votes, array_fill(0::bigint, ARRAY[p.option_count::integer])),
		coalesce(c.skips, 0), coalesce(c.updated_at, p.published_at)
	FROM polls p LEFT JOIN poll_counts c ON c.poll_id = p.id AND c.bucket = ANY($2)
	WHERE p.id = ANY($1) AND p.state < 2 ORDER BY p.id`

// Counts implements [domain.Store]. Hidden and deleted polls are left out.
func (s *Store) Counts(ctx context.Context, ids []domain.PollID) ([]domain.Counts, error) {
	var counts []domain.Counts
	err := s.read(ctx, opCounts, func(ctx context.Context, c *conn) error {
		rows, err := c.Query(ctx, readCounts, int64s(ids), s.allBuckets)
		if err != nil {
			return err
		}
		counts, err = addUp(rows)
		return err
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}
