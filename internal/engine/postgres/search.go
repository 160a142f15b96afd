package postgres

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

// maxToken is the length in bytes up to which tokens are told apart; the server
// takes no longer ones.
const maxToken = 2000

// clip returns a token as it is stored.
func clip(token string) string {
	if len(token) <= maxToken {
		return token
	}
	cut := maxToken
	for !utf8.RuneStart(token[cut]) {
		cut--
	}
	return token[:cut]
}

// searchTokens returns the tokens under which a poll is found.
func searchTokens(title string, options, tags []string) []string {
	texts := make([]string, 0, 1+len(options)+len(tags))
	texts = append(append(append(texts, title), options...), tags...)
	tokens := domain.Tokens(texts...)
	for i, t := range tokens {
		tokens[i] = clip(t)
	}
	return tokens
}

// Blocks of positions have tokens of their own, so that a search can go through
// them from the newest. They begin with a character that no word has.
const (
	smallBlock = 12 // bits of a position within the block
	largeBlock = 18
)

func blockToken(at domain.Position, bits int) string { return fmt.Sprintf("#%d:%d", bits, at>>bits) }

const addToSearch = `/* add_to_search */ INSERT INTO search (position, tokens) VALUES ($1, array_to_tsvector($2::text[]))`

// indexArgs returns the arguments of addToSearch.
func indexArgs(at domain.Position, tokens []string) []any {
	all := make([]string, 0, len(tokens)+2)
	all = append(append(all, tokens...), blockToken(at, smallBlock), blockToken(at, largeBlock))
	return []any{int64(at), all}
}

// index makes an open poll found by its tokens.
func (c *conn) index(ctx context.Context, at domain.Position, tokens []string) error {
	_, err := c.Exec(ctx, addToSearch, indexArgs(at, tokens)...)
	return err
}

// unindex takes a poll out of the search.
func (c *conn) unindex(ctx context.Context, at domain.Position) error {
	_, err := c.Exec(ctx, `/* unindex */ DELETE FROM search WHERE position = $1`, int64(at))
	return err
}

// quote writes a token in the query language of tsquery.
func quote(token string) string {
	return "'" + strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(token) + "'"
}

const searchBelow = `/* search */ SELECT position FROM search WHERE tokens @@ $1::text::tsquery AND position < $2
	ORDER BY position DESC LIMIT $3`

// Search implements [domain.Store]. It looks into the newest block of positions
// below the given one first, then into the larger one around it, and only then into
// all that is left: a frequent word costs as little as a rare one.
func (s *Store) Search(ctx context.Context, terms []domain.Term, before domain.Position, limit int) ([]domain.Position, error) {
	if len(terms) == 0 || limit <= 0 || before <= 1 {
		return nil, s.usable(ctx)
	}
	conditions := make([]string, len(terms))
	for i, t := range terms {
		conditions[i] = quote(clip(t.Text))
		if t.Prefix {
			conditions[i] += ":*"
		}
	}
	match := strings.Join(conditions, " & ")
	var found []domain.Position
	err := s.readStale(ctx, opSearch, func(ctx context.Context, c *conn) error {
		found = found[:0]
		newest, err := c.newestFound(ctx)
		if err != nil {
			return err
		}
		below := min(before, newest+1)
		for _, bits := range []int{smallBlock, largeBlock, 0} {
			if below <= 1 || len(found) >= limit {
				break
			}
			query, first := match, domain.Position(0)
			if bits > 0 {
				query += " & " + quote(blockToken(below-1, bits))
				first = (below - 1) >> bits << bits
			}
			err := c.rows(ctx, searchBelow, func(r pgx.Rows) error {
				var at int64
				err := r.Scan(&at)
				found = append(found, domain.Position(at)) //nolint:gosec // as it was written
				return err
			}, query, int64(below), limit-len(found))
			if err != nil {
				return err
			}
			below = max(first, 1)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// newestFound returns the highest position that a search can find, 0 when there
// is none.
func (c *conn) newestFound(ctx context.Context) (domain.Position, error) {
	var at int64
	err := c.row(ctx, `/* newest_found */ SELECT coalesce(max(position), 0) FROM search`, nil, &at)
	return domain.Position(at), err //nolint:gosec // as it was written
}
