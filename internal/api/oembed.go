package api

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"

	"vote/internal/domain"
)

const (
	pollPath  = "/p/{id}"
	embedPath = "/embed/{id}"

	// The size of an embedded poll: what it takes without scrolling, within
	// bounds, by its number of options.
	embedWidth      = 560
	embedHead       = 190
	embedOption     = 72
	maxEmbedHeight  = 760
	maxEmbedAllowed = 10_000
)

// oEmbed tells how to show a poll on another site (oEmbed 1.0, type rich).
func (s *server) oEmbed(c *call) error {
	base := c.base()
	target, given := c.param("url")
	if !given {
		c.fault("url", missing)
	}
	format, given := c.param("format")
	width := min(c.wholeParam("maxwidth", maxEmbedAllowed, maxEmbedAllowed), embedWidth)
	height := c.wholeParam("maxheight", maxEmbedAllowed, maxEmbedAllowed)
	if target == "" {
		return c.invalid()
	}
	id, ok := pollOf(target, base)
	if !ok {
		return domain.E(domain.CodeNotFound, "The url is not the address of a poll here.")
	}
	p, err := s.readPoll(c.context(), id)
	if err != nil {
		return err
	}
	if err := c.invalid(); err != nil {
		return err
	}
	if given && format != "json" {
		return errNoFormat
	}
	height = min(height, embedHead+embedOption*len(p.Options), maxEmbedHeight)
	h := c.header()
	h["Cache-Control"] = headerPublic
	address := fmt.Sprintf("%s/embed/%d", base, id)
	return c.sendJSON(http.StatusOK, oEmbedShape{
		Type: "rich", Version: "1.0", Title: p.Title, AuthorName: p.Author,
		ProviderName: "Vote", ProviderURL: base + "/", CacheAge: 3600, Width: width, Height: height,
		// Scripts in the frame need their own origin to ask for live counts; a
		// click on the link leaves the frame.
		HTML: fmt.Sprintf(`<iframe src="%s" width="%d" height="%d" title="%s" loading="lazy" style="border:0;max-width:100%%" `+
			`sandbox="allow-scripts allow-same-origin allow-popups allow-popups-to-escape-sandbox"></iframe>`,
			html.EscapeString(address), width, height, html.EscapeString(p.Title)),
	})
}

var errNoFormat = domain.E(domain.CodeNotImplemented, "The only format is json.")

// pollOf returns the poll whose page, or embedded page, an address is.
func pollOf(address, base string) (domain.PollID, bool) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return 0, false
	}
	if _, host, _ := strings.Cut(base, "://"); !strings.EqualFold(u.Host, host) || u.User != nil {
		return 0, false
	}
	text, ok := strings.CutPrefix(u.Path, "/p/")
	if !ok {
		text, ok = strings.CutPrefix(u.Path, "/embed/")
	}
	id, isID := domain.ParseID(text)
	return domain.PollID(id), ok && isID
}
