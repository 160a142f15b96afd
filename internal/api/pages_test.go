package api_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"html"
	"image/png"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"

	"vote/internal/api"
	"vote/internal/domain"
)

// asBrowser is what a browser says when it opens a page.
var asBrowser = []string{"Accept", "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Dest", "document"}

var (
	bootData  = regexp.MustCompile(`(?s)<script type="application/json" id="boot">(.*?)</script>`)
	inline    = regexp.MustCompile(`(?s)(<script type="(?:application/json|importmap)"[^>]*>).*?(</script>)`)
	goodTag   = regexp.MustCompile(`</?[a-z][a-z0-9]*(?: [a-z:-]+(?:="[^"<>]*")?)*>`)
	attribute = regexp.MustCompile(`<(?:meta (?:property|name)|link rel)="([\w:-]+)"[^>]*? (?:content|href)="([^"]*)"`)
)

// head returns the meta and link elements of a page by their names.
func head(r reply) map[string]string {
	m := make(map[string]string)
	for _, found := range attribute.FindAllStringSubmatch(r.body, -1) {
		m[found[1]] = html.UnescapeString(found[2])
	}
	return m
}

// text returns what is to be read of a page.
func text(r reply) string {
	_, body, _ := strings.Cut(inline.ReplaceAllString(r.body, ""), "<body")
	return strings.Join(strings.Fields(html.UnescapeString(goodTag.ReplaceAllString("<body"+body, " "))), " ")
}

// write publishes a poll and remembers its id.
func (s *site) write(author, name, title string, options, tags []string) {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"title": title, "options": options, "tags": tags})
	if err != nil {
		s.t.Fatal(err)
	}
	got := s.do(author, "POST", "/api/polls", string(body))
	var p struct{ ID int64 }
	if got.into(&p); got.status != http.StatusCreated {
		s.t.Fatalf("%s: %d %s", name, got.status, got.body)
	}
	s.names[name] = strconv.FormatInt(p.ID, 10)
}

// TestPollPage reads a poll's page as who has no script, as who makes a preview,
// and as the app, which begins with what the API would say.
func TestPollPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira", "jonas")
	s.write("mira", "tram", "Should the old tram line come back?", []string{"Yes, all of it", "Only the centre", "No"}, []string{"city", "transport"})
	s.do("mira", "POST", "/api/polls/{tram}/vote", `{"optionIndex":0}`)
	s.do("jonas", "POST", "/api/polls/{tram}/vote", `{"optionIndex":2}`)
	for _, path := range []string{"/p/{tram}", "/embed/{tram}"} {
		got := s.do("", "GET", path, "", asBrowser...)
		if got.status != http.StatusOK || got.header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Fatalf("%s: %d %v", path, got.status, got.header)
		}
		want := "Vote #city #transport mira , 17 November 2025 Should the old tram line come back? Yes, all of it 1 vote 50% Only the centre 0 votes 0% No 1 vote 50% 2 votes"
		if path == "/embed/{tram}" {
			want = "Should the old tram line come back? Yes, all of it 1 vote 50% Only the centre 0 votes 0% No 1 vote 50% 2 votes Vote on this poll"
		}
		if text(got) != want {
			t.Errorf("%s reads %q, want %q", path, text(got), want)
		}
		var boot struct{ Poll, Stats json.RawMessage }
		if found := bootData.FindStringSubmatch(got.body); found == nil || json.Unmarshal([]byte(found[1]), &boot) != nil {
			t.Fatalf("%s holds no data to begin with", path)
		}
		if poll, stats := s.do("", "GET", "/api/polls/{tram}", ""), s.do("", "GET", "/api/polls/{tram}/stats", ""); string(boot.Poll) != poll.body || string(boot.Stats) != stats.body {
			t.Errorf("%s begins with\n%s\n%s\nwant\n%s\n%s", path, boot.Poll, boot.Stats, poll.body, stats.body)
		}
		if again := s.do("jonas", "GET", path, "", append([]string{"Cookie", "vote_refresh=x"}, asBrowser...)...); again.body != got.body || again.header.Get("Cache-Control") != got.header.Get("Cache-Control") || again.header.Get("Set-Cookie") != "" {
			t.Errorf("%s is another page for who is signed in", path)
		}
		if canonical := head(got)["canonical"]; canonical != s.named("http://example.com/p/{tram}") {
			t.Errorf("%s: canonical %q", path, canonical)
		}
	}
	meta := head(s.do("", "GET", "/p/{tram}?utm_source=x", ""))
	for name, want := range map[string]string{
		"og:title": "Should the old tram line come back?", "twitter:title": "Should the old tram line come back?", "description": "Yes, all of it · Only the centre · No", "og:description": "Yes, all of it · Only the centre · No",
		"og:url": "http://example.com/p/{tram}", "og:image": "http://example.com/p/{tram}/image.png?v=2", "twitter:image": "http://example.com/p/{tram}/image.png?v=2",
		"og:image:width": "1200", "og:image:height": "630", "og:image:type": "image/png", "og:image:alt": "A poll: Should the old tram line come back? Yes, all of it · Only the centre · No",
		"twitter:card": "summary_large_image", "og:site_name": "Vote", "alternate": "http://example.com/oembed?format=json&url=http%3A%2F%2Fexample.com%2Fp%2F{tram}",
	} {
		if meta[name] != s.named(want) {
			t.Errorf("%s is %q, want %q", name, meta[name], s.named(want))
		}
	}
	for _, name := range []string{"alternate", "og:image"} {
		if got := s.do("", "GET", meta[name], ""); got.status != http.StatusOK {
			t.Errorf("%s leads to %d %s", name, got.status, got.body)
		}
	}
	// The embedded page leads to the poll's own, outside of the frame.
	if embed := s.do("", "GET", "/embed/{tram}", "").body; !strings.Contains(embed, s.named(`<a class="button strong" href="http://example.com/p/{tram}" target="_blank" rel="noopener">`)) {
		t.Error("the embedded page does not lead to the poll")
	}
}

// TestPollPageStates are what becomes of polls and their authors.
func TestPollPageStates(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira", "jonas")
	s.publish("mira", "closed", "hidden", "deleted", "left")
	s.setState("closed", domain.PollClosed)
	s.setState("hidden", domain.PollHidden)
	s.do("mira", "DELETE", "/api/polls/{deleted}", "")
	if got := s.do("", "GET", "/p/{closed}", ""); got.status != http.StatusOK || !strings.Contains(text(got), "Closed. 0 votes") {
		t.Errorf("closed: %d %s", got.status, text(got))
	}
	if got := s.do("", "GET", "/p/{left}", ""); !strings.Contains(text(got), "mira") || strings.Contains(text(got), "Closed") {
		t.Errorf("open: %s", text(got))
	}
	for _, id := range []string{"{hidden}", "{deleted}", "5", "0", "x", "1.0", "%00", "9007199254740993", "<script>"} {
		for _, form := range []string{"/p/%", "/embed/%", "/p/%/image.png"} {
			path := strings.Replace(form, "%", strings.Replace(id, "<script>", "%3Cscript%3E", 1), 1)
			if got := s.do("", "GET", path, ""); got.status != http.StatusNotFound || got.code() != "not_found" {
				t.Errorf("%s: %d %s", path, got.status, got.body)
			}
			got := s.do("", "GET", path, "", asBrowser...)
			want := "This poll is not here."
			if strings.HasSuffix(path, ".png") {
				want = "There is nothing here."
			}
			if got.status != http.StatusNotFound || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") || !strings.Contains(text(got), want) || strings.Contains(got.body, "<script") {
				t.Errorf("%s in a browser: %d %s", path, got.status, text(got))
			}
		}
	}
	if got := s.do("mira", "DELETE", "/api/users/me", `{"password":"correct horse"}`); got.status != http.StatusNoContent {
		t.Fatal(got.body)
	}
	s.consume()
	eventually(t, "the author's name is gone", func() bool {
		return !strings.Contains(s.do("", "GET", "/p/{left}", "").body, "mira")
	})
	if got := s.do("", "GET", "/p/{left}", ""); got.status != http.StatusOK || !strings.Contains(text(got), "Vote #test 17 November 2025 left?") {
		t.Errorf("without author: %d %s", got.status, text(got))
	}
}

// TestPagesHoldAnyText publishes polls that try to be more than text.
func TestPagesHoldAnyText(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("m_i-r.a")
	long := strings.Repeat("ẞ", 200)
	many := make([]string, 20)
	for i := range many {
		many[i] = strconv.Itoa(i) + long[:len(long)-2*3]
	}
	for name, c := range map[string]struct {
		title   string
		options []string
	}{
		"ends the data":      {`</script><script>alert(1)</script>`, []string{`</SCRIPT >`, `<!--<script>`, `]]>`, `-->`}},
		"ends an attribute":  {`" onload="alert(1)" x="`, []string{`'><img src=x onerror=alert(1)>`, "`onclick=x`"}},
		"ends an element":    {`</title></h1></main><h1>x`, []string{`</li></ol>`, `<svg/onload=alert(1)>`}},
		"is escaped already": {`&lt;b&gt; &quot; &#34; &amp;amp;`, []string{`&nbsp;`, `%22 %3Cscript%3E`}},
		"is a template":      {`{{.Poll}} ${x} {% x %} <%= x %>`, []string{`{{end}}`, `\u003cscript\u003e`}},
		"other lines":        {"a\u2028b\u2029c", []string{"\u2028", "\u00a0x\u200f"}},
		"right to left":      {"هل يعود خط الترام القديم؟ \u202e abc", []string{"نعم", "לא"}},
		"twenty long":        {strings.Repeat("w", 300), many},
	} {
		got := s.do("m_i-r.a", "POST", "/api/polls", marshal(t, map[string]any{"title": c.title, "options": c.options, "tags": []string{"وسم", "a_b-c"}}))
		if got.status != http.StatusCreated {
			continue // the rules refuse it, so that no page will hold it
		}
		var p struct {
			ID      int64
			Title   string
			Options []string
		}
		got.into(&p)
		id := strconv.FormatInt(p.ID, 10)
		for _, path := range []string{"/p/" + id, "/embed/" + id} {
			page := s.do("", "GET", path, "", asBrowser...)
			if page.status != http.StatusOK {
				t.Fatalf("%s: %d %s", name, page.status, page.body)
			}
			if n := strings.Count(strings.ToLower(page.body), "<script"); n != 3 || strings.Count(strings.ToLower(page.body), "</script") != 3 {
				t.Errorf("%s, %s: %d scripts", name, path, n)
			}
			found := bootData.FindStringSubmatch(page.body)
			var boot struct {
				Poll struct {
					Title   string
					Options []string
				}
			}
			if err := json.Unmarshal([]byte(found[1]), &boot); err != nil || boot.Poll.Title != p.Title || !slices.Equal(boot.Poll.Options, p.Options) {
				t.Errorf("%s, %s: begins with %s: %v", name, path, found[1], err)
			}
			if strings.ContainsAny(found[1], "<>&\u2028\u2029") {
				t.Errorf("%s, %s: the data holds what HTML could take for its own: %s", name, path, found[1])
			}
			// What is left without the elements that are well formed is text.
			rest := strings.TrimPrefix(inline.ReplaceAllString(page.body, "$1$2"), "<!doctype html>")
			if rest = goodTag.ReplaceAllString(rest, ""); strings.ContainsAny(rest, "<>") {
				t.Errorf("%s, %s: beside elements there is %q", name, path, rest)
			}
			for _, handler := range []string{` onload="`, ` onerror="`, ` onclick="`, `<img`, `<svg`, ` style=`} {
				if strings.Contains(page.body, handler) {
					t.Errorf("%s, %s: holds %s", name, path, handler)
				}
			}
			if shown := text(page); !strings.Contains(shown, strings.Join(strings.Fields(p.Title), " ")) || !strings.Contains(shown, strings.Join(strings.Fields(p.Options[len(p.Options)-1]), " ")) {
				t.Errorf("%s, %s reads %q", name, path, shown)
			}
			if n := strings.Count(page.body, `<li class="opt"><span class="lab"><bdi>`); n != len(p.Options) || !strings.Contains(page.body, `dir="auto">`) {
				t.Errorf("%s, %s: %d options", name, path, n)
			}
		}
		if title := head(s.do("", "GET", "/p/"+id, ""))["og:title"]; title != p.Title {
			t.Errorf("%s: og:title is %q", name, title)
		}
		var embed struct{ Title, HTML string }
		s.do("", "GET", "/oembed?url=http://example.com/p/"+id, "").into(&embed)
		if embed.Title != p.Title || strings.Count(embed.HTML, "<") != 2 || !goodTag.MatchString(embed.HTML) {
			t.Errorf("%s: frame %s", name, embed.HTML)
		}
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// appPages are the pages of the app.
var appPages = []string{"/", "/create", "/sign-in", "/sign-up", "/me", "/me/votes", "/me/skips", "/me/polls", "/me/notifications", "/me/settings"}

// TestPageHeaders holds pages to what they may do and who may show them.
func TestPageHeaders(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	s.publish("mira", "one")
	for _, path := range append([]string{"/p/{one}", "/embed/{one}"}, appPages...) {
		got := s.do("", "GET", path, "", asBrowser...)
		framed := strings.HasPrefix(path, "/embed")
		cache, opener, resource, frames, trusted := "no-cache", "same-origin", "same-origin", "'none'", "vote"
		if strings.Contains(path, "{one}") {
			cache = "public, max-age=1, stale-while-revalidate=5"
		}
		if framed {
			opener, resource, frames, trusted = "", "cross-origin", "*", "'none'"
		}
		for name, want := range map[string]string{
			"Cache-Control": cache, "Cross-Origin-Opener-Policy": opener, "Cross-Origin-Resource-Policy": resource, "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "Vary": "Accept-Encoding", "Set-Cookie": "", "X-Frame-Options": "",
		} {
			if got.header.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got.header.Get(name), want)
			}
		}
		if !strings.Contains(got.header.Get("Permissions-Policy"), "geolocation=()") {
			t.Errorf("%s: Permissions-Policy %q", path, got.header.Get("Permissions-Policy"))
		}
		policy := make(map[string]string)
		for d := range strings.SplitSeq(got.header.Get("Content-Security-Policy"), "; ") {
			name, value, _ := strings.Cut(d, " ")
			policy[name] = value
		}
		for name, want := range map[string]string{
			"default-src": "'none'", "style-src": "'self'", "img-src": "'self'", "connect-src": "'self'", "manifest-src": "'self'", "worker-src": "'self'",
			"base-uri": "'none'", "form-action": "'none'", "require-trusted-types-for": "'script'", "frame-ancestors": frames, "trusted-types": trusted,
		} {
			if policy[name] != want {
				t.Errorf("%s: %s %s, want %s", path, name, policy[name], want)
			}
		}
		if !regexp.MustCompile(`^'self' 'sha256-[\w+/]{43}='$`).MatchString(policy["script-src"]) || len(policy) != 12 {
			t.Errorf("%s: policy %v", path, policy)
		}
	}
	// A worker obeys its own policy, and has to ask the server.
	if got := s.do("", "GET", "/sw.js", ""); got.status != http.StatusOK || !strings.Contains(got.header.Get("Content-Security-Policy"), "connect-src 'self'") || got.header.Get("Cache-Control") != "no-cache" ||
		got.header.Get("Content-Type") != "text/javascript; charset=utf-8" || !strings.HasPrefix(got.body, `self.release = {"version":"`) {
		t.Errorf("worker: %d %v", got.status, got.header)
	}
	if got := s.do("", "GET", "/manifest.webmanifest", ""); got.header.Get("Content-Type") != "application/manifest+json" || got.header.Get("Cache-Control") != "no-cache" {
		t.Errorf("manifest: %d %v", got.status, got.header)
	}
}

// unpacked returns the body that an answer holds packed.
func unpacked(a reply) (string, error) {
	var r io.Reader = strings.NewReader(a.body)
	if a.header.Get("Content-Encoding") == "br" {
		r = brotli.NewReader(r)
	} else {
		z, err := gzip.NewReader(r)
		if err != nil {
			return "", err
		}
		r = z
	}
	body, err := io.ReadAll(r)
	return string(body), err
}

// TestPagesAgain asks for pages that the client has, and for packed ones.
func TestPagesAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	s.publish("mira", "one")
	link := regexp.MustCompile(`"(/assets/[^"]*)"`)
	paths := append([]string{"/p/{one}", "/embed/{one}", "/sw.js", "/manifest.webmanifest"}, appPages...)
	for _, page := range []string{"/", "/embed/{one}"} {
		for _, found := range link.FindAllStringSubmatch(inline.ReplaceAllString(s.do("", "GET", page, "").body, ""), -1) {
			paths = append(paths, found[1])
		}
	}
	packed := map[string]int{}
	for _, path := range paths {
		plain := s.do("", "GET", path, "")
		if plain.status != http.StatusOK || plain.header.Get("Content-Encoding") != "" {
			t.Fatalf("%s: %d %v", path, plain.status, plain.header)
		}
		if cache := plain.header.Get("Cache-Control"); strings.HasPrefix(path, "/assets/") && cache != "public, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control %q", path, cache)
		}
		for _, refusing := range []string{"gzip;q=0", "deflate", "gzip ; q=0.0, br;q=0"} {
			if got := s.do("", "GET", path, "", "Accept-Encoding", refusing); got.body != plain.body || got.header.Get("Content-Encoding") != "" {
				t.Errorf("%s for %q: %v", path, refusing, got.header)
			}
		}
		for accepted, coding := range map[string]string{"br, gzip;q=0.5": "br", "gzip, br;q=0": "gzip"} {
			small := s.do("", "GET", path, "", "Accept-Encoding", accepted)
			switch got := small.header.Get("Content-Encoding"); got {
			case "":
				continue // it would be no smaller
			case "gzip": // pages of polls have no other
			case coding:
			default:
				t.Errorf("%s for %q: Content-Encoding %q", path, accepted, got)
			}
			packed[small.header.Get("Content-Encoding")]++
			if body, err := unpacked(small); err != nil || body != plain.body || small.header.Get("Etag") == plain.header.Get("Etag") || small.header.Get("Vary") != "Accept-Encoding" || plain.header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%s packed: %v %v", path, err, small.header)
			}
			if again := s.do("", "GET", path, "", "Accept-Encoding", accepted, "If-None-Match", small.header.Get("Etag")); again.status != http.StatusNotModified || again.header.Get("Etag") != small.header.Get("Etag") || again.header.Get("Content-Encoding") != "" {
				t.Errorf("%s packed again: %d", path, again.status)
			}
		}
		again := s.do("", "GET", path, "", "If-None-Match", plain.header.Get("Etag"))
		if again.status != http.StatusNotModified || again.body != "" || again.header.Get("Etag") != plain.header.Get("Etag") || again.header.Get("Cache-Control") != plain.header.Get("Cache-Control") {
			t.Errorf("%s again: %d %v", path, again.status, again.header)
		}
	}
	if packed["br"] < 14 || packed["gzip"] < 14 {
		t.Errorf("only %v packed answers", packed)
	}
	// A vote makes another page.
	before := s.do("", "GET", "/p/{one}", "").header.Get("Etag")
	s.do("mira", "POST", "/api/polls/{one}/vote", `{"optionIndex":0}`)
	if got := s.do("", "GET", "/p/{one}", "", "If-None-Match", before); got.status != http.StatusOK || !strings.Contains(text(got), "100%") {
		t.Errorf("after a vote: %d", got.status)
	}
}

// TestNoticePages are for who opens what is not there.
func TestNoticePages(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *api.Config) { c.Limits.BurstPerSecond = 40 })
	for _, c := range []struct {
		method, path string
		page         bool
	}{
		{"GET", "/nothing", true}, {"HEAD", "/nothing", true}, {"GET", "/me/none", true}, {"GET", "/me/", true}, {"GET", "/p", true}, {"GET", "/p/5", true}, {"GET", "/embed/5", true},
		{"GET", "/.git/config", true}, {"POST", "/nothing", false}, {"GET", "/api/nothing", false}, {"GET", "/api/polls/5", false}, {"GET", "/assets/none.js", false},
	} {
		got := s.do("", c.method, c.path, "", asBrowser...)
		isPage := got.header.Get("Content-Type") == "text/html; charset=utf-8"
		if got.status != http.StatusNotFound || isPage != c.page || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: %d %v", c.method, c.path, got.status, got.header)
		}
		if c.page && got.header.Get("Vary") != "Accept" {
			t.Errorf("%s %s: Vary %q", c.method, c.path, got.header.Get("Vary"))
		}
		if framed := strings.HasSuffix(got.header.Get("Content-Security-Policy"), "frame-ancestors *"); framed != (c.path == "/embed/5") {
			t.Errorf("%s %s: may be framed: %t", c.method, c.path, framed)
		}
		if plain := s.do("", c.method, c.path, ""); plain.status != http.StatusNotFound || plain.code() != "not_found" {
			t.Errorf("%s %s without a browser: %d %s", c.method, c.path, plain.status, plain.body)
		}
	}
	notice := s.do("", "GET", "/nothing", "", asBrowser...)
	for _, found := range regexp.MustCompile(`(?:href|src)="([^"]*)"`).FindAllStringSubmatch(notice.body, -1) {
		if got := s.do("", "GET", found[1], ""); got.status != http.StatusOK {
			t.Errorf("a notice leads to %s: %d", found[1], got.status)
		}
	}
	if got := s.do("", "GET", "/p/5?x=%zz", "", asBrowser...); got.status != http.StatusBadRequest || !strings.Contains(text(got), "Malformed request.") {
		t.Errorf("a bad query: %d %s", got.status, text(got))
	}
	for range 60 {
		s.do("", "GET", "/create", "")
	}
	if got := s.do("", "GET", "/", "", asBrowser...); got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") != "1" || !strings.Contains(text(got), "Too many requests") {
		t.Errorf("too many: %d %v %s", got.status, got.header, text(got))
	}
	if got := s.do("", "GET", "/sw.js", ""); got.status != http.StatusOK {
		t.Errorf("a file is limited: %d", got.status)
	}
}

// TestOwnAddresses makes pages name this server: as configured, else as a request
// does that could be meant.
func TestOwnAddresses(t *testing.T) {
	t.Parallel()
	named := newSite(t, func(c *api.Config) { c.PublicURL = "https://vote.example.org" })
	free := newSite(t, nil)
	proxied := newSite(t, func(c *api.Config) { c.TrustedProxies = []string{"192.0.2.0/24"} })
	for _, s := range []*site{named, free, proxied} {
		s.join("mira")
		s.publish("mira", "one")
	}
	for _, c := range []struct {
		name, want string
		s          *site
		host       string
		remote     string
		header     []string
	}{
		{"configured", "https://vote.example.org", named, "evil.example", "", []string{"X-Forwarded-Proto", "http", "X-Forwarded-Host", "evil.example"}},
		{"asked", "http://vote.example:8080", free, "Vote.Example:8080", "", nil},
		{"an address", "http://[2001:db8::1]:8080", free, "[2001:db8::1]:8080", "", nil},
		{"nobody's word for https", "http://example.com", free, "example.com", "", []string{"X-Forwarded-Proto", "https"}},
		{"a proxy's word for https", "https://example.com", proxied, "example.com", "192.0.2.7:4711", []string{"X-Forwarded-Proto", "https"}},
		{"a stranger beside the proxy", "http://example.com", proxied, "example.com", "198.51.100.1:4711", []string{"X-Forwarded-Proto", "https"}},
		{"another host by header", "http://example.com", proxied, "example.com", "192.0.2.7:4711", []string{"X-Forwarded-Host", "evil.example"}},
		{"no host", "", free, "", "", nil},
		{"a path in the host", "", free, "example.com/x", "", nil},
		{"markup in the host", "", free, `x"><script>`, "", nil},
		{"credentials in the host", "", free, "a@evil.example", "", nil},
	} {
		r := c.s.request("", "GET", "/p/{one}", "", c.header...)
		r.Host = c.host
		if c.remote != "" {
			r.RemoteAddr = c.remote
		}
		meta := head(c.s.send(r))
		if got, want := meta["canonical"], c.want+"/p/"+c.s.names["one"]; got != want || !strings.HasPrefix(meta["og:image"], want+"/image.png") {
			t.Errorf("%s: canonical %q, want %q; image %q", c.name, got, want, meta["og:image"])
		}
	}
}

// TestOEmbed holds the answers to the standard, and refusals to ours.
func TestOEmbed(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	s.publish("mira", "one", "hidden")
	s.setState("hidden", domain.PollHidden)
	type embed struct {
		Type, Version, Title, HTML string
		AuthorName                 string `json:"author_name"`
		ProviderName               string `json:"provider_name"`
		ProviderURL                string `json:"provider_url"`
		Width, Height              int
	}
	for _, c := range []struct {
		query         string
		width, height int
	}{
		{"url=http%3A%2F%2Fexample.com%2Fp%2F{one}", 560, 406},
		{"url=https://EXAMPLE.com/embed/{one}?x%23y&format=json", 560, 406},
		{"url=http://example.com/p/{one}%3Futm=1&maxwidth=300&maxheight=200", 300, 200},
		{"url=http://example.com/p/{one}&maxwidth=10000&maxheight=10000&unknown=1", 560, 406},
	} {
		got := s.do("", "GET", "/oembed?"+c.query, "")
		var e embed
		if got.into(&e); got.status != http.StatusOK || got.header.Get("Content-Type") != "application/json" || got.header.Get("Cache-Control") != "public, max-age=1, stale-while-revalidate=5" {
			t.Fatalf("%s: %d %v %s", c.query, got.status, got.header, got.body)
		}
		want := embed{
			"rich", "1.0", "one?", s.named(`<iframe src="http://example.com/embed/{one}" width="` + strconv.Itoa(c.width) + `" height="` + strconv.Itoa(c.height) +
				`" title="one?" loading="lazy" style="border:0;max-width:100%" sandbox="allow-scripts allow-same-origin allow-popups allow-popups-to-escape-sandbox"></iframe>`),
			"mira", "Vote", "http://example.com/", c.width, c.height,
		}
		if e != want {
			t.Errorf("%s: %+v, want %+v", c.query, e, want)
		}
	}
	s.run([]step{
		{call: "GET /oembed", status: 422, code: "invalid", want: `{"errors":[{"field":"url"}]}`},
		{call: "GET /oembed?url=&maxwidth=0&maxheight=x", status: 422, code: "invalid", want: `{"errors":[{"field":"maxwidth"},{"field":"maxheight"}]}`},
		{call: "GET /oembed?url=http://example.com/p/{one}&maxwidth=0&format=xml", status: 422, code: "invalid", want: `{"errors":[{"field":"maxwidth"}]}`},
		{call: "GET /oembed?url=http://example.com/p/{one}&url=x", status: 422, code: "invalid", want: `{"errors":[{"field":"url"}]}`},
		{call: "GET /oembed?url=http://example.com/p/{one}&format=xml", status: 501, code: "not_implemented"},
		{call: "GET /oembed?url=http://example.com/p/{one}&format=", status: 501, code: "not_implemented"},
		{call: "GET /oembed?url=%zz", status: 400, code: "malformed"},
		{call: "GET /oembed?url=http://example.com/p/{hidden}", status: 404, code: "not_found"},
		{call: "GET /oembed?url=http://example.com/p/5&maxwidth=0", status: 404, code: "not_found"},
		{call: "GET /oembed?url=http://evil.example/p/{one}", status: 404, code: "not_found"},
		{call: "GET /oembed?url=http://example.com@evil.example/p/{one}", status: 404, code: "not_found"},
		{call: "GET /oembed?url=http://user@example.com/p/{one}", status: 404, code: "not_found"},
		{call: "GET /oembed?url=ftp://example.com/p/{one}", status: 404, code: "not_found"},
		{call: "GET /oembed?url=/p/{one}", status: 404, code: "not_found"},
		{call: "GET /oembed?url=http://example.com/p/{one}/image.png", status: 404, code: "not_found"},
		{call: "GET /oembed?url=http://example.com/{one}", status: 404, code: "not_found"},
		{call: "GET /oembed?url=javascript:alert(1)", status: 404, code: "not_found"},
		{call: "GET /oembed?url=http://[::1/p/{one}", status: 404, code: "not_found"},
	})
}

func TestShareImage(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	s.publish("mira", "one")
	first := s.do("", "GET", "/p/{one}/image.png", "")
	for name, want := range map[string]string{
		"Content-Type": "image/png", "Cache-Control": "public, max-age=60, stale-while-revalidate=600", "Cross-Origin-Resource-Policy": "cross-origin", "Content-Length": strconv.Itoa(len(first.body)),
	} {
		if first.header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, first.header.Get(name), want)
		}
	}
	picture, err := png.Decode(bytes.NewReader([]byte(first.body)))
	if err != nil || picture.Bounds().Dx() != 1200 || picture.Bounds().Dy() != 630 {
		t.Fatalf("%d: %v", first.status, err)
	}
	if head := s.do("", "HEAD", "/p/{one}/image.png", ""); head.status != http.StatusOK || head.header.Get("Etag") != first.header.Get("Etag") || head.header.Get("Content-Length") != first.header.Get("Content-Length") {
		t.Errorf("HEAD: %d %v", head.status, head.header)
	}
	if again := s.do("", "GET", "/p/{one}/image.png?v=17", "", "If-None-Match", first.header.Get("Etag")); again.status != http.StatusNotModified || again.body != "" {
		t.Errorf("again: %d", again.status)
	}
	s.do("mira", "POST", "/api/polls/{one}/vote", `{"optionIndex":1}`)
	voted := s.do("", "GET", "/p/{one}/image.png", "")
	if voted.header.Get("Etag") == first.header.Get("Etag") || voted.body == first.body {
		t.Error("a vote does not show")
	}
	s.setState("one", domain.PollClosed)
	closed := s.do("", "GET", "/p/{one}/image.png", "")
	if closed.body == voted.body {
		t.Error("that the poll is closed does not show")
	}
	// What was drawn is shared by all who ask; other answers leave it as it is.
	for range 3 {
		s.do("mira", "GET", "/api/polls", "")
		if again := s.do("", "GET", "/p/{one}/image.png", ""); again.body != closed.body {
			t.Error("another picture of the same")
		}
	}
}

// TestPagesWithoutStorage opens pages while storage is away: what is known is
// shown, and the rest says so in words.
func TestPagesWithoutStorage(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	s.publish("mira", "known", "unknown")
	s.do("", "GET", "/p/{known}", "")
	s.away.Store(true)
	defer s.away.Store(false)
	s.clock.add(time.Minute)
	if got := s.do("", "GET", "/p/{known}", "", asBrowser...); got.status != http.StatusOK || !strings.Contains(text(got), "known?") {
		t.Errorf("a known poll: %d %s", got.status, text(got))
	}
	got := s.do("", "GET", "/p/{unknown}", "", asBrowser...)
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || got.header.Get("Cache-Control") != "no-store" || !strings.Contains(text(got), "Out of reach for a moment.") {
		t.Errorf("an unknown poll: %d %v %s", got.status, got.header, text(got))
	}
	if got := s.do("", "GET", "/p/{unknown}/image.png", ""); got.status != http.StatusServiceUnavailable || got.code() != "unavailable" {
		t.Errorf("its image: %d %s", got.status, got.body)
	}
	for _, path := range appPages {
		if got := s.do("", "GET", path, "", asBrowser...); got.status != http.StatusOK {
			t.Errorf("%s: %d", path, got.status)
		}
	}
}
