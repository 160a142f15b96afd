package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Poll is a poll as a page shows it to who has no script.
type Poll struct {
	ID        int64
	Title     string
	Options   []Option
	Tags      []string
	Author    string // empty: nobody's any more
	CreatedAt time.Time
	// Counted reports whether the counts are known.
	Counted bool
	Votes   int64 // of all options
	Closed  bool  // nobody can vote any more
	// Version names the state of the counts.
	Version int64
	// Data is what the app begins with, as JSON.
	Data []byte
}

// Option is an option of a poll.
type Option struct {
	Text  string
	Votes int64
}

// Notice is a page that says what is in the way.
type Notice struct {
	Status int
	Title  string
	Text   string
	Framed bool // by another site
}

// page is what a template gets.
type page struct {
	Style, Icon, TouchIcon string
	Main                   string // the module that runs
	Modules                []string
	ImportMap              template.HTML

	Poll *pollPage
}

// pollPage is a poll with what only its page needs.
type pollPage struct {
	Poll
	Base   string // scheme and host of absolute addresses; may be empty
	Boot   template.HTML
	Framed bool // by another site
}

const (
	embedTemplate = "embed.html"

	// Sizes of the share image.
	imageWidth, imageHeight = 1200, 630

	maxDescription = 200 // characters
)

// makePages reads the templates and makes the pages that are always the same.
func (s *Site) makePages(tree fs.FS) error {
	var err error
	if s.pages, err = template.ParseFS(tree, "pages/*.html"); err != nil {
		return err
	}
	s.mainPage = page{
		Style: s.path(appStyle), Icon: s.path(icon), ImportMap: s.importMap,
		Main: s.path(mainModule), Modules: s.closure(mainModule),
	}
	if _, ok := s.hashed[touchIcon]; ok {
		s.mainPage.TouchIcon = s.path(touchIcon)
	}
	s.card = s.mainPage
	s.card.Main, s.card.Modules = s.path(embedModule), s.closure(embedModule)
	body, err := s.render("app.html", s.mainPage)
	if err != nil {
		return err
	}
	s.shell = NewFile(typeHTML, body)
	return nil
}

func (s *Site) render(name string, data any) ([]byte, error) {
	var b bytes.Buffer
	if err := s.pages.ExecuteTemplate(&b, name, data); err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	return b.Bytes(), nil
}

// Shell returns the page of every view of the app but a poll's.
func (s *Site) Shell() File { return s.shell }

// PollPage returns the page of a poll. base is the scheme and host that its
// absolute addresses begin with; without one they are paths.
func (s *Site) PollPage(p Poll, base string) (File, error) {
	return s.pollPage("app.html", s.mainPage, p, base)
}

// EmbedPage returns the page that other sites frame.
func (s *Site) EmbedPage(p Poll, base string) (File, error) {
	return s.pollPage(embedTemplate, s.card, p, base)
}

func (s *Site) pollPage(name string, common page, p Poll, base string) (File, error) {
	var boot bytes.Buffer
	boot.WriteString(`<script type="application/json" id="boot">`)
	json.HTMLEscape(&boot, p.Data) // nothing of it can end the element
	boot.WriteString(`</script>`)
	common.Poll = &pollPage{Poll: p, Base: base, Framed: name == embedTemplate, Boot: template.HTML(boot.String())} //nolint:gosec // escaped above
	body, err := s.render(name, common)
	if err != nil {
		return File{}, err
	}
	return newPage(body), nil
}

// NoticePage returns a page that needs neither the app nor scripts.
func (s *Site) NoticePage(n Notice) ([]byte, error) {
	return s.render("notice.html", struct {
		Notice
		Style, Icon string
	}{n, s.StylePath(), s.IconPath()})
}

// Size names the size of the title, by its length.
func (p *pollPage) Size() string {
	length := utf8.RuneCountInString(p.Title)
	switch {
	case length > 200:
		return "xs"
	case length > 110 || p.Framed && length > 60:
		return "s"
	case length > 60 || p.Framed:
		return "m"
	}
	return "l"
}

// Percent returns an option's share, rounded half up.
func (p *pollPage) Percent(o Option) int64 {
	if p.Votes == 0 {
		return 0
	}
	return (200*o.Votes + p.Votes) / (2 * p.Votes)
}

func (p *pollPage) path() string { return "/p/" + strconv.FormatInt(p.ID, 10) }

// Address returns where the poll's page is.
func (p *pollPage) Address() string { return p.Base + p.path() }

// Image returns where the share image is. The version in it makes who keeps
// images fetch a new one when the counts have changed.
func (p *pollPage) Image() string {
	return p.Base + p.path() + "/image.png?v=" + strconv.FormatInt(p.Version, 10)
}

// ImageWidth returns the width of the share image.
func (p *pollPage) ImageWidth() int { return imageWidth }

// ImageHeight returns the height of the share image.
func (p *pollPage) ImageHeight() int { return imageHeight }

// ImageText says what the share image shows.
func (p *pollPage) ImageText() string {
	return shorten("A poll: "+p.Title+" "+p.Description(), 2*maxDescription)
}

// OEmbed returns where the poll's oEmbed document is.
func (p *pollPage) OEmbed() string {
	return p.Base + "/oembed?format=json&url=" + url.QueryEscape(p.Address())
}

// Description returns the options in one line.
func (p *pollPage) Description() string {
	texts := make([]string, len(p.Options))
	for i, o := range p.Options {
		texts[i] = o.Text
	}
	return shorten(strings.Join(texts, " · "), maxDescription)
}

// shorten cuts a text to so many characters.
func shorten(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	runes := []rune(s)[:most-1]
	return strings.TrimSpace(string(runes)) + "…"
}
