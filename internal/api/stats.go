package api

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"vote/internal/domain"
)

const (
	maxPolls   = 100 // of one call for several polls
	pollsParam = "polls"
)

func (s *server) stats(c *call) error {
	id, err := c.pollID()
	if err != nil {
		return err
	}
	counts, err := s.live.Get(c.context(), id)
	if err != nil {
		return err
	}
	format := c.oneOf("format", "json", "csv")
	if err := c.invalid(); err != nil {
		return err
	}
	tag := etag(counts, format)
	h := c.header()
	h["Etag"] = []string{tag}
	c.cacheable()
	if matches(c.g.Request.Header["If-None-Match"], tag) {
		c.send(http.StatusNotModified, nil, nil)
		return nil
	}
	options, err := s.feed.Options(c.context(), id)
	if err != nil {
		h.Del("Etag")
		return err
	}
	if format == "csv" {
		body, err := statsCSV(counts, options)
		if err != nil {
			return err
		}
		h["Content-Disposition"] = []string{`attachment; filename="poll-` + strconv.FormatInt(int64(id), 10) + `.csv"`}
		c.send(http.StatusOK, headerCSV, body)
		return nil
	}
	c.out = appendStats(c.out[:0], counts, options)
	c.sendOut()
	return nil
}

// etag names a version of a poll's counts in one format. Counts never fall, so
// equal versions have equal counts; the time is there for the day a poll's
// counts are repaired.
func etag(c domain.Counts, format string) string {
	b := append(make([]byte, 0, 48), '"')
	b = strconv.AppendInt(b, c.Version(), 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, c.UpdatedAt.UnixMilli(), 36)
	b = append(b, '-')
	b = append(b, format...)
	return string(append(b, '"'))
}

// matches reports whether an If-None-Match header names the tag, compared
// weakly as RFC 9110 asks.
func matches(header []string, tag string) bool {
	for _, line := range header {
		for line != "" {
			line = strings.TrimLeft(line, " \t,")
			if strings.HasPrefix(line, "*") {
				return true
			}
			line = strings.TrimPrefix(line, "W/")
			if !strings.HasPrefix(line, `"`) {
				break // not a list of entity tags
			}
			end := strings.IndexByte(line[1:], '"')
			if end < 0 {
				break
			}
			if line[:end+2] == tag {
				return true
			}
			line = line[end+2:]
		}
	}
	return false
}

func (s *server) manyStats(c *call) error {
	ids := c.pollParams()
	if err := c.invalid(); err != nil {
		return err
	}
	found, err := s.live.GetMany(c.context(), ids)
	if err != nil {
		return err
	}
	b := append(c.out[:0], `{"items":[`...)
	first := true
	for _, counts := range found {
		options, err := s.feed.Options(c.context(), counts.Poll)
		if errors.Is(err, errNoPoll) {
			continue // hidden or deleted in between
		}
		if err != nil {
			return err
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendStats(b, counts, options)
	}
	c.out = append(b, `]}`...)
	c.cacheable()
	c.sendOut()
	return nil
}

// pollParams returns the distinct poll ids of the parameter polls, a list that
// may also be given in several parts.
func (c *call) pollParams() []domain.PollID {
	const name = pollsParam
	parts := c.params(name)
	if len(parts) == 0 {
		c.fault(name, missing)
		return nil
	}
	var ids []domain.PollID
	have := make(map[domain.PollID]bool)
	for part := range strings.SplitSeq(strings.Join(parts, ","), ",") {
		n, ok := domain.ParseID(part)
		if !ok {
			c.check(name, "must be a list of poll ids, separated by commas")
			return nil
		}
		if id := domain.PollID(n); !have[id] {
			have[id] = true
			ids = append(ids, id)
		}
		if len(ids) > maxPolls {
			c.check(name, "must have at most "+strconv.Itoa(maxPolls)+" ids")
			return nil
		}
	}
	return ids
}
