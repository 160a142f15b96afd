package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vote/internal/domain"
	"vote/internal/feed"
)

const (
	defaultLimit = 10
	maxLimit     = 100
	maxPage      = 1_000_000
	maxTagParams = 50

	deleteTimeout = 10 * time.Second
)

func (s *server) createPoll(c *call) error {
	poll, user := readNewPoll(&c.input)
	if err := c.actFor(user); err != nil {
		return err
	}
	poll.IdempotencyKey = c.idempotencyKey()
	if err := c.invalid(); err != nil {
		return err
	}
	poll.Author = c.who.User
	poll.Fingerprint = fingerprint(poll)
	made, err := s.voting.Publish(c.context(), poll)
	if err != nil {
		return err
	}
	if made.State == domain.PollDeleted {
		// A repetition of what was deleted since gets the first answer, whose
		// content is this request's own.
		p, err := s.account.Profile(c.context(), c.who.User)
		if err != nil {
			return err
		}
		made.Author, made.AuthorName = poll.Author, p.Username
		made.Title, made.Options, made.Tags = poll.Title, poll.Options, poll.Tags
	}
	c.header()["Location"] = []string{"/api/polls/" + strconv.FormatInt(int64(made.ID), 10)}
	c.out = appendNewPoll(c.out[:0], made)
	c.send(http.StatusCreated, headerJSON, c.out)
	return nil
}

// appendNewPoll appends a poll as it is right after publication, so that a
// repetition under an idempotency key gets the same answer.
func appendNewPoll(b []byte, p domain.Poll) []byte {
	list := func(name string, items []string) {
		b = append(b, name...)
		for i, s := range items {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, s)
		}
		b = append(b, ']')
	}
	b = append(b, `{"id":`...)
	b = appendInt(b, int64(p.ID))
	b = append(b, `,"title":`...)
	b = appendString(b, p.Title)
	list(`,"options":[`, p.Options)
	list(`,"tags":[`, p.Tags)
	b = append(b, `,"createdAt":"`...)
	b = appendTime(b, p.CreatedAt)
	b = append(b, `","author":{"id":`...)
	b = appendInt(b, int64(p.Author))
	b = append(b, `,"username":`...)
	b = appendString(b, p.AuthorName)
	return append(b, `},"totalVotes":0}`...)
}

// idempotencyKey returns the key of the request, empty without one.
func (c *call) idempotencyKey() string {
	const header = "Idempotency-Key"
	given := c.g.Request.Header[header]
	if len(given) == 0 {
		return ""
	}
	key := given[0]
	printable := strings.IndexFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) < 0
	if len(given) > 1 || len(key) < 1 || len(key) > 255 || !printable {
		c.fault(header, "must be given once, with 1 to 255 printable ASCII characters")
	}
	return key
}

// checkPaging refuses cursors that cannot be used.
func checkPaging(c *call) error {
	cursor, _ := c.param("cursor")
	if cursor == "" {
		return nil
	}
	if _, paged := c.param("page"); paged {
		return domain.E(domain.CodeMalformed, "A cursor and a page cannot be given together.")
	}
	return feed.CheckCursor(cursor, c.sortParam())
}

// sortParam returns the order asked for.
func (c *call) sortParam() feed.Sort {
	if c.oneOf("sort", "new", "hot") == "hot" {
		return feed.SortHot
	}
	return feed.SortNew
}

func (s *server) listPolls(c *call) error {
	q := feed.Query{User: c.who.User}
	q.Cursor, _ = c.param("cursor")
	q.Limit = c.wholeParam("limit", maxLimit, defaultLimit)
	q.Page = c.wholeParam("page", maxPage, 0)
	q.Tags = c.tagParams()
	q.Text = c.searchParam()
	q.Sort = c.sortParam()
	if err := c.invalid(); err != nil {
		return err
	}
	out, err := s.feed.AppendPage(c.context(), c.out[:0], q)
	if err != nil {
		return err
	}
	c.out = out
	c.header()["Cache-Control"] = headerPrivate
	c.sendOut()
	return nil
}

// tagParams returns the distinct tags asked for, folded.
func (c *call) tagParams() []string {
	given := c.params("tag")
	if len(given) > maxTagParams {
		c.fault("tag", "must be given at most "+strconv.Itoa(maxTagParams)+" times")
		return nil
	}
	tags := given[:0]
next:
	for _, t := range given {
		tag, fault := domain.NormalizeTag(t)
		if fault != "" {
			c.check("tag", fault)
			continue
		}
		for _, have := range tags {
			if have == tag {
				continue next
			}
		}
		tags = append(tags, tag)
	}
	return tags
}

// searchParam returns the text to search for.
func (c *call) searchParam() string {
	q, _ := c.param("q")
	q = strings.TrimSpace(q)
	if len(q) > domain.MaxSearchText && len([]rune(q)) > domain.MaxSearchText {
		c.check("q", "must have at most "+strconv.Itoa(domain.MaxSearchText)+" characters")
	}
	return q
}

func (s *server) popular(c *call) error {
	limit := c.wholeParam("limit", maxLimit, defaultLimit)
	if err := c.invalid(); err != nil {
		return err
	}
	out, err := s.feed.AppendPopular(c.context(), c.out[:0], limit)
	if err != nil {
		return err
	}
	c.out = out
	c.cacheable()
	c.sendOut()
	return nil
}

func (s *server) getPoll(c *call) error {
	id, err := c.pollID()
	if err != nil {
		return err
	}
	var viewer *domain.Prior
	if c.token == tokenValid {
		prior, err := s.store.Prior(c.context(), c.who.User, id)
		switch {
		case err == nil:
			viewer = &prior
		case errors.Is(err, domain.E(domain.CodeUnavailable, "")) && c.context().Err() == nil:
			// The poll is known without the store; what the viewer did is not,
			// and is left out rather than guessed.
		default:
			return err
		}
	}
	out, err := s.feed.AppendPoll(c.context(), c.out[:0], id, viewer)
	if err != nil {
		return err
	}
	c.out = out
	c.cacheable()
	c.sendOut()
	return nil
}

func (s *server) deletePoll(c *call) error {
	id, err := c.pollID()
	if err != nil {
		return err
	}
	if err := c.invalid(); err != nil {
		if _, missing := s.feed.Options(c.context(), id); missing != nil {
			return missing
		}
		return err
	}
	// What is done must be made known here, also when the client is gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.context()), deleteTimeout)
	defer cancel()
	entry, err := s.store.DeletePoll(ctx, c.who.User, id)
	if err != nil {
		return err
	}
	s.feed.Changed(entry)
	s.live.Forget(id)
	c.send(http.StatusNoContent, nil, nil)
	return nil
}

func (s *server) tags(c *call) error {
	prefix, _ := c.param("prefix")
	prefix = domain.FoldTagPrefix(prefix)
	if len([]rune(prefix)) > domain.MaxTag {
		c.check("prefix", "must have at most "+strconv.Itoa(domain.MaxTag)+" characters")
	}
	limit := c.wholeParam("limit", maxLimit, defaultLimit)
	if err := c.invalid(); err != nil {
		return err
	}
	if !s.feed.Ready() {
		return domain.E(domain.CodeStarting, "")
	}
	found := s.feed.Tags(prefix, limit)
	list := tagListShape{Items: make([]tagShape, 0, len(found))}
	for _, t := range found {
		list.Items = append(list.Items, tagShape{Tag: t.Tag, Polls: int64(t.Polls)})
	}
	return c.sendJSON(http.StatusOK, list)
}
