package sqlite

import (
	"context"
	"strings"
	"unicode/utf8"

	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

const (
	// indexedPrefix is the length in characters up to which a prefix has an
	// index, as the schema says.
	indexedPrefix = 3
	// maxExpansion is how many tokens stand in for a longer prefix. FTS5 walks
	// the polls of given tokens from the newest, so a page costs little however
	// many polls match; the polls of a prefix without an index it gathers all
	// first. Only a prefix of more tokens than this is left to it.
	maxExpansion = 128
	// maxKnownTerms bounds the memory of knownTerms.
	maxKnownTerms = 1 << 17
)

// knownTerms are tokens that table search_terms has, so that most tokens of a
// new poll need no statement. Like [pollCache] it belongs to the writer and is
// cleared when a transaction that added to it does not commit.
type knownTerms struct {
	terms map[string]struct{}
	dirty bool
}

func (k *knownTerms) keep() { k.dirty = false }

func (k *knownTerms) undo() {
	if k.dirty {
		clear(k.terms)
		k.dirty = false
	}
}

// searchTokens returns the tokens under which a poll is found.
func searchTokens(title string, options, tags []string) []string {
	texts := make([]string, 0, 1+len(options)+len(tags))
	texts = append(append(append(texts, title), options...), tags...)
	return domain.Tokens(texts...)
}

// index makes an open poll found by its tokens.
func (w *writer) index(at domain.Position, tokens []string) error {
	for _, t := range tokens {
		if err := w.addTerm(t); err != nil {
			return err
		}
	}
	return w.run(`INSERT INTO search (rowid, tokens) VALUES (?, ?)`, int64(at), strings.Join(tokens, " "))
}

func (w *writer) addTerm(term string) error {
	if _, ok := w.terms.terms[term]; ok || utf8.RuneCountInString(term) <= indexedPrefix {
		return nil
	}
	if err := w.run(`INSERT INTO search_terms (term) VALUES (?) ON CONFLICT DO NOTHING`, term); err != nil {
		return err
	}
	if len(w.terms.terms) >= maxKnownTerms {
		clear(w.terms.terms)
	}
	w.terms.terms[term] = struct{}{}
	w.terms.dirty = true
	return nil
}

// unindex takes a poll out of the search.
func (w *writer) unindex(at domain.Position) error {
	return w.run(`DELETE FROM search WHERE rowid = ?`, int64(at))
}

// Search implements [domain.Store].
func (s *Store) Search(ctx context.Context, terms []domain.Term, before domain.Position, limit int) ([]domain.Position, error) {
	if len(terms) == 0 || limit <= 0 {
		return nil, s.usable(ctx)
	}
	var found []domain.Position
	err := s.readLong(ctx, opSearch, func(c *conn) error {
		return c.snapshot(func() error {
			match, err := c.matchExpression(terms)
			if err != nil || match == "" {
				return err
			}
			return c.rows(`SELECT rowid FROM search WHERE search MATCH ? AND rowid < ? ORDER BY rowid DESC LIMIT ?`,
				func(r *sqlite.Stmt) error {
					found = append(found, domain.Position(r.ColumnInt64(0))) //nolint:gosec // 32 bits wide
					return nil
				}, match, int64(before), limit)
		})
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// matchExpression writes terms in the query language of FTS5, in which a quoted
// text means itself. It is empty when nothing can match.
func (c *conn) matchExpression(terms []domain.Term) (string, error) {
	var b strings.Builder
	quote := func(text string) {
		b.WriteByte('"')
		b.WriteString(strings.ReplaceAll(text, `"`, `""`))
		b.WriteByte('"')
	}
	for i, t := range terms {
		if i > 0 {
			b.WriteString(" AND ")
		}
		if !t.Prefix || utf8.RuneCountInString(t.Text) <= indexedPrefix {
			quote(t.Text)
			if t.Prefix {
				b.WriteByte('*')
			}
			continue
		}
		tokens, err := c.expand(t.Text)
		switch {
		case err != nil:
			return "", err
		case len(tokens) == 0:
			return "", nil
		case len(tokens) > maxExpansion:
			quote(t.Text)
			b.WriteByte('*')
			continue
		}
		b.WriteByte('(')
		for j, token := range tokens {
			if j > 0 {
				b.WriteString(" OR ")
			}
			quote(token)
		}
		b.WriteByte(')')
	}
	return b.String(), nil
}

// expand returns the stored tokens that begin with a prefix, at most one more
// than maxExpansion.
func (c *conn) expand(prefix string) ([]string, error) {
	var tokens []string
	err := c.rows(`SELECT term FROM search_terms WHERE term >= ?1 AND term < ?1 || char(0x10ffff) LIMIT ?2`,
		func(r *sqlite.Stmt) error {
			tokens = append(tokens, r.ColumnText(0))
			return nil
		}, prefix, maxExpansion+1)
	return tokens, err
}
