package postgres

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

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
