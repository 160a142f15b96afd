package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"vote/internal/domain"
	"vote/internal/sharecard"
	"vote/internal/web"
)

// Pages are the same for everybody: they read neither tokens nor cookies, so
// any cache may keep them. What is one person's own, the app asks for.

// policies are the content security policies of the pages. No inline script
// runs but the import map, which is allowed by its hash, and no text becomes
// code: the app may only make the address of its service worker trusted.
type policies struct {
	app, embed []string
}

func newPolicies(importMap string) policies {
	own := "default-src 'none'; script-src 'self' " + importMap + "; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; "
	return policies{
		app:   []string{own + "trusted-types vote; frame-ancestors 'none'"},
		embed: []string{own + "trusted-types 'none'; frame-ancestors *"},
	}
}

const typeManifest = "application/manifest+json"

var (
	headerImmutable  = []string{"public, max-age=31536000, immutable"}
	headerImageAge   = []string{"public, max-age=60, stale-while-revalidate=600"}
	headerSameOrigin = []string{"same-origin"}
	headerAnySite    = []string{"cross-origin"}
	headerNoDevices  = []string{"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"}
	// A worker obeys the policy of its own answer.
	headerWorker = []string{"default-src 'none'; script-src 'self'; connect-src 'self'"}
	headerNotice = []string{"default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors *"}
)

// sendFile answers with a file, unless the client has it.
func (c *call) sendFile(f web.File) error {
	h, body, tag := c.header(), f.Body, f.Tag
	if f.Packs() {
		h["Vary"] = append(slices.Clone(h["Vary"]), "Accept-Encoding")
		for _, coding := range web.Codings {
			if !accepts(c.g.Request.Header["Accept-Encoding"], coding) {
				continue
			}
			if packed := f.In(coding); packed != nil {
				h["Content-Encoding"] = []string{coding}
				body, tag = packed, strings.TrimSuffix(tag, `"`)+"-"+coding+`"`
				break
			}
		}
	}
	h["Etag"] = []string{tag}
	if matches(c.g.Request.Header["If-None-Match"], tag) {
		h.Del("Content-Encoding")
		c.send(http.StatusNotModified, nil, nil)
		return nil
	}
	c.send(http.StatusOK, []string{f.Type}, body)
	return nil
}

// accepts reports whether an Accept-Encoding header names a coding and does not
// rule it out.
func accepts(header []string, wanted string) bool {
	for _, line := range header {
		for item := range strings.SplitSeq(line, ",") {
			coding, params, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(coding), wanted) {
				quality, given := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
				return !given || strings.Trim(quality, "0.") != ""
			}
		}
	}
	return false
}

// isPage sets the headers of a page of the app.
func (c *call) isPage() {
	h := c.header()
	h["Content-Security-Policy"] = c.s.policies.app
	h["Cross-Origin-Opener-Policy"] = headerSameOrigin
	h["Cross-Origin-Resource-Policy"] = headerSameOrigin
	h["Permissions-Policy"] = headerNoDevices
}

// shown serves a page of the app that is always the same.
func (s *server) shown(f web.File) func(*call) error {
	return func(c *call) error {
		c.isPage()
		c.header()["Cache-Control"] = headerRevalidate
		return c.sendFile(f)
	}
}

// ownViews serves the views of what is one's own.
func ownViews(show func(*call) error) func(*call) error {
	return func(c *call) error {
		switch c.g.Param("view") {
		case "votes", "skips", "polls", "notifications", "settings":
			return show(c)
		}
		return errNoPath
	}
}

var errNoPath = domain.E(domain.CodeNotFound, "There is no such path.")

func (s *server) worker(c *call) error {
	c.header()["Cache-Control"] = headerRevalidate
	c.header()["Content-Security-Policy"] = headerWorker
	return c.sendFile(s.site.Worker())
}

func (s *server) manifest(c *call) error {
	c.header()["Cache-Control"] = headerRevalidate
	return c.sendFile(s.site.Manifest())
}

// asset serves a file whose path names its content.
func (s *server) asset(c *call) error {
	f, ok := s.site.Asset(strings.TrimPrefix(c.g.Param("file"), "/"))
	if !ok {
		return errNoPath
	}
	c.header()["Cache-Control"] = headerImmutable
	c.header()["Cross-Origin-Resource-Policy"] = headerSameOrigin
	return c.sendFile(f)
}

func (s *server) pollPage(c *call) error { return s.showPoll(c, s.site.PollPage, c.isPage) }

func (s *server) embedPage(c *call) error {
	return s.showPoll(c, s.site.EmbedPage, func() {
		c.isPage()
		h := c.header()
		h["Content-Security-Policy"] = s.policies.embed
		h["Cross-Origin-Resource-Policy"] = headerAnySite
		delete(h, "Cross-Origin-Opener-Policy") // it says nothing in a frame
	})
}

// showPoll answers with a page of the poll that the path names.
func (s *server) showPoll(c *call, render func(web.Poll, string) (web.File, error), prepare func()) error {
	id, err := c.pollID()
	if err != nil {
		return err
	}
	p, err := s.readPoll(c.context(), id)
	if err != nil {
		return err
	}
	page, err := render(p, c.base())
	if err != nil {
		return err
	}
	prepare()
	c.header()["Cache-Control"] = headerPublic
	return c.sendFile(page)
}

// readPoll returns a poll with its counts. Without the counts it is still worth
// reading: they are left out while nothing knows them.
func (s *server) readPoll(ctx context.Context, id domain.PollID) (web.Poll, error) {
	raw, err := s.feed.AppendPoll(ctx, nil, id, nil)
	if err != nil {
		return web.Poll{}, err
	}
	var shape pollShape
	if err := json.Unmarshal(raw, &shape); err != nil {
		return web.Poll{}, err
	}
	p := web.Poll{ID: int64(id), Title: shape.Title, Tags: shape.Tags, CreatedAt: shape.CreatedAt, Closed: shape.Closed}
	if shape.Author != nil {
		p.Author = shape.Author.Username
	}
	counts, err := s.live.Get(ctx, id)
	away := errors.Is(err, domain.E(domain.CodeUnavailable, "")) || errors.Is(err, domain.E(domain.CodeOverloaded, ""))
	if err != nil && (!away || ctx.Err() != nil) {
		return web.Poll{}, err
	}
	p.Counted = err == nil
	p.Votes, p.Version = counts.TotalVotes(), counts.Version()
	for i, text := range shape.Options {
		o := web.Option{Text: text}
		if i < len(counts.Votes) {
			o.Votes = counts.Votes[i]
		}
		p.Options = append(p.Options, o)
	}
	p.Data = slices.Concat([]byte(`{"poll":`), raw, []byte(`,"stats":`))
	if p.Counted {
		p.Data = appendStats(p.Data, counts, shape.Options)
	} else {
		p.Data = append(p.Data, "null"...)
	}
	p.Data = append(p.Data, '}')
	return p, nil
}

// shareImage answers with a picture of the poll and its counts.
func (s *server) shareImage(c *call) error {
	id, err := c.pollID()
	if err != nil {
		return err
	}
	p, err := s.readPoll(c.context(), id)
	if err != nil {
		return err
	}
	picture := sharecard.Poll{Title: p.Title, Total: p.Votes, Closed: p.Closed}
	for _, o := range p.Options {
		picture.Options = append(picture.Options, o.Text)
		picture.Counts = append(picture.Counts, o.Votes)
	}
	if len(p.Tags) > 0 {
		picture.Tag = p.Tags[0]
	}
	body, err := s.draw(c.context(), picture)
	if errors.Is(err, sharecard.ErrBusy) {
		return domain.E(domain.CodeOverloaded, "Too many pictures are being drawn.")
	}
	if err != nil {
		return err
	}
	h := c.header()
	h["Cross-Origin-Resource-Policy"] = headerAnySite
	h["Cache-Control"] = headerImageAge
	if !p.Counted {
		h["Cache-Control"] = headerPublic
	}
	return c.sendFile(web.NewFile("image/png", body))
}

// base returns the scheme and host of this server's addresses as the client
// knows them: as configured, else as the request names them. A cache keeps
// answers by these two, so that who sends another Host spoils only what is kept
// under it. Empty when the request names no host that could be one.
func (c *call) base() string {
	if c.s.publicURL != "" {
		return c.s.publicURL
	}
	r := c.g.Request
	if !plainHost.MatchString(r.Host) {
		return ""
	}
	scheme := "http"
	if forwarded := r.Header["X-Forwarded-Proto"]; len(forwarded) == 1 && forwarded[0] == "https" && c.s.proxies.hold(r.RemoteAddr) || r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + strings.ToLower(r.Host)
}

var plainHost = regexp.MustCompile(`^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$`)

// wantsPage reports whether a refusal is told to a person who looks for a page.
func (c *call) wantsPage() bool {
	r := c.g.Request
	page := c.route.charge == pages || c.route.path == unmatched && !strings.HasPrefix(r.URL.Path, "/api/")
	return page && !c.s.operatorOnly && (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		strings.Contains(strings.Join(r.Header["Accept"], ","), "text/html")
}

// notice says an error to people.
func (c *call) notice(e *domain.Error, r refusal) web.Notice {
	n := web.Notice{Status: r.status, Title: r.title + ".", Text: r.about, Framed: c.route.path == embedPath}
	ofPoll := strings.HasSuffix(c.route.path, "/{id}")
	switch {
	case e.Code == domain.CodeNotFound && ofPoll:
		n.Title, n.Text = "This poll is not here.", "Perhaps the link lost a digit, or the poll was taken away."
	case e.Code == domain.CodeNotFound:
		n.Title, n.Text = "There is nothing here.", "Perhaps the link lost a letter."
	case r.status == http.StatusServiceUnavailable || r.status == http.StatusInternalServerError:
		n.Title, n.Text = "Out of reach for a moment.", "Something here is not answering. Please come back in a moment."
	case r.status == http.StatusTooManyRequests:
		n.Title, n.Text = "That was quick.", "Too many requests came from your network. Please wait a second."
	}
	return n
}
