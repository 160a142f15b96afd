package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"vote/internal/account"
	"vote/internal/domain"
)

// maxBody is how many bytes a body may have.
const maxBody = 64 << 10

type tokenState uint8

const (
	tokenNone tokenState = iota
	tokenInvalid
	tokenValid
)

// call is one request on its way through. Calls are pooled: nothing that a call
// holds may be kept after its handler returned, but for the strings.
type call struct {
	input
	s     *server
	route *endpoint
	g     *gin.Context
	id    string // of the request

	token    tokenState
	who      account.Identity // set when the token is valid
	starting bool             // tokens cannot be told valid from ended yet

	body  []byte // what was read
	large int64  // what the body was granted of largeBodies
	out   []byte // what is written
	ip    string // see address

	charged  [4]string // keys of the windows that took the request
	charges  int
	window   domain.Grant // what the rate limit headers tell
	windowed bool

	start   time.Time
	streams bool // the answer has begun and counts as given

	values *[5]string // of this answer's own headers
}

func (c *call) context() context.Context { return c.g.Request.Context() }

func (c *call) header() http.Header { return c.g.Writer.Header() }

// serve returns the handler of an endpoint: the one pass that every request goes
// through, so that a request costs one closure instead of a chain.
func (s *server) serve(e *endpoint) gin.HandlerFunc {
	return func(g *gin.Context) {
		s.metrics.inFlight.Add(1)
		c := s.calls.Get().(*call)
		c.s, c.route, c.g, c.start = s, e, g, time.Now()
		defer func() {
			if !c.streams {
				s.metrics.inFlight.Add(-1)
			}
			s.largeBodies.Add(-c.large)
			p := recover()
			if p != nil {
				s.panicked(c, p)
			}
			if !c.streams {
				e.metrics.observe(g.Request.Method, g.Writer.Status(), time.Since(c.start))
			}
			if p == nil {
				c.reset()
				s.calls.Put(c)
			}
		}()
		c.begin()
		if err := c.answer(); err != nil {
			s.refuse(c, err, "")
		}
	}
}

// panicked tells a panic as an internal error, unless part of an answer went
// out already: then the connection is cut, so that nobody takes it for whole.
func (s *server) panicked(c *call, p any) {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	s.logger.Error("panic", "requestId", c.id, "route", c.route.path, "panic", p, "stack", string(debug.Stack()))
	if c.g.Writer.Written() {
		panic(http.ErrAbortHandler)
	}
	s.refuse(c, domain.E(domain.CodeInternal, ""), "")
}

// reset forgets everything but buffers of ordinary size.
func (c *call) reset() {
	const keep = 16 << 10
	nodes, query, faults := c.nodes[:0], c.query[:0], c.faults[:0]
	clear(query[:cap(query)])
	clear(faults[:cap(faults)])
	if cap(nodes) > 512 {
		nodes = nil
	}
	if cap(query) > 64 {
		query = nil
	}
	body, out := c.body[:0], c.out[:0]
	if cap(body) > keep {
		body = nil
	}
	if cap(out) > keep {
		out = nil
	}
	*c = call{input: input{document: document{nodes: nodes}, query: query, faults: faults}, body: body, out: out}
}

// begin sets the headers that every answer has.
func (c *call) begin() {
	c.values = new([5]string)
	c.id = requestID(c.g.Request.Header["X-Request-Id"])
	c.values[0] = c.id
	h := c.header()
	h["X-Request-Id"] = c.values[0:1:1]
	h["X-Content-Type-Options"] = headerNoSniff
	h["Content-Security-Policy"] = headerNothing
	h["Referrer-Policy"] = headerNoReferrer
	c.s.cors.apply(c.g.Request, h)
}

// requestID returns the id that the client gave, when it is harmless, or a new one.
func requestID(given []string) string {
	if len(given) == 1 && len(given[0]) >= 1 && len(given[0]) <= 128 && plainID(given[0]) {
		return given[0]
	}
	var b [32]byte
	for i := range 2 {
		n := rand.Uint64() //nolint:gosec // a name to find a request by, no secret
		for j := range 16 {
			b[16*i+j] = hexDigits[n&15]
			n >>= 4
		}
	}
	return string(b[:])
}

func plainID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && strings.IndexByte("-_.:/+=@~", c) < 0 {
			return false
		}
	}
	return true
}

// answer runs the request. Refusals come in the order of the product's
// contract: what cannot be parsed, who is not known, what is too much, and then
// what the endpoint finds. A request is charged before anything is refused.
func (c *call) answer() error {
	if c.route.charge == free {
		return c.route.handle(c)
	}
	if c.route.charge != pages { // which are the same for everybody
		c.authenticate()
	}
	malformed := c.parse()
	limited := c.admit()
	switch {
	case malformed != nil:
		return malformed
	case c.route.who == user && c.starting:
		return domain.E(domain.CodeStarting, "")
	case c.route.who == user && c.token != tokenValid:
		return domain.E(domain.CodeUnauthorized, "")
	case limited != nil:
		return limited
	}
	if c.route.who == user && len(c.query) > 0 {
		if err := c.actFor(c.idParam("userId")); err != nil {
			return err
		}
	}
	return c.route.handle(c)
}

// authenticate reads the access token, if there is one.
func (c *call) authenticate() {
	given := c.g.Request.Header["Authorization"]
	if len(given) == 0 {
		return
	}
	c.token = tokenInvalid
	const scheme = "Bearer "
	if len(given) > 1 || len(given[0]) <= len(scheme) || !strings.EqualFold(given[0][:len(scheme)], scheme) {
		return
	}
	who, err := c.s.account.Authenticate(c.context(), strings.TrimSpace(given[0][len(scheme):]))
	if err == nil {
		c.token, c.who = tokenValid, who
	}
	c.starting = domain.CodeOf(err) == domain.CodeStarting
}

// actFor refuses a request that names another user than the token does. Zero
// names nobody.
func (c *call) actFor(id int64) error {
	if id != 0 && domain.UserID(id) != c.who.User {
		return domain.E(domain.CodeForbidden, "The userId is not the token's user.")
	}
	return nil
}

// parse reads body and query, and refuses what has no meaning at all.
func (c *call) parse() error {
	r := c.g.Request
	if c.route.body != noBody {
		if err := c.read(r); err != nil {
			return err
		}
	}
	if r.URL.RawQuery != "" {
		if err := c.query.parse(r.URL.RawQuery); err != nil {
			return err
		}
	}
	if c.route.body == needBody || len(c.body) > 0 {
		if len(c.body) == 0 {
			return errNoBody
		}
		if err := c.document.parse(c.body); err != nil {
			return err
		}
	}
	if c.route.check != nil {
		return c.route.check(c)
	}
	return nil
}

var errNoBody = domain.E(domain.CodeMalformed, "The request needs a JSON body.")

// read reads the body into c.body: 415, 413, 408 or 400 when it cannot.
func (c *call) read(r *http.Request) *domain.Error {
	mediaType := c.mediaType(r)
	switch {
	case r.ContentLength == 0:
		if r.Header["Content-Type"] != nil || r.Header["Content-Encoding"] != nil {
			return mediaType
		}
		return nil
	case mediaType != nil && (r.ContentLength > 0 || c.route.body == needBody):
		return mediaType
	case r.ContentLength > maxBody:
		return domain.E(domain.CodeTooLarge, "")
	}
	if c.s.bodyTimeout > 0 {
		// A writer that knows no deadlines has none to miss.
		_ = http.NewResponseController(c.g.Writer).SetReadDeadline(time.Now().Add(c.s.bodyTimeout))
	}
	err := c.fill(r.Body, r.ContentLength)
	switch {
	case len(c.body) == 0 && err == nil:
		return nil
	case mediaType != nil:
		return mediaType
	case errors.Is(err, errBodies):
		return errBodies
	case len(c.body) > maxBody:
		return domain.E(domain.CodeTooLarge, "")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return domain.E(domain.CodeTimeout, "")
	case err != nil:
		return domain.E(domain.CodeMalformed, "The body ended early or is framed wrongly.")
	}
	return nil
}

const (
	// smallBody is what a body may take without asking: more than any call but
	// a large poll or batch needs.
	smallBody = 4 << 10
	// largeBodies bounds what all bodies under way take beyond that.
	largeBodies = 64 << 20
)

var errBodies = domain.E(domain.CodeOverloaded, "Too many large bodies are being sent at this moment.")

// fill reads until the end, or one byte past the bound. It takes memory as
// bytes arrive, whatever length was announced.
func (c *call) fill(body io.Reader, length int64) error {
	want := 512
	if length > 0 {
		want = min(int(length)+1, smallBody) // room to see the end
	}
	if cap(c.body) < want {
		c.body = make([]byte, 0, want)
	}
	for len(c.body) <= maxBody {
		if len(c.body) >= smallBody && c.large == 0 {
			c.large = maxBody
			if c.s.largeBodies.Add(c.large) > largeBodies {
				return errBodies
			}
		}
		if len(c.body) == cap(c.body) {
			c.body = append(c.body, 0)[:len(c.body)]
		}
		room := c.body[len(c.body):min(cap(c.body), maxBody+1)]
		n, err := body.Read(room)
		c.body = c.body[:len(c.body)+n]
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var errMediaType = domain.E(domain.CodeUnsupportedMedia, "")

// mediaType refuses a body that is not JSON in UTF-8.
func (c *call) mediaType(r *http.Request) *domain.Error {
	for _, e := range r.Header["Content-Encoding"] {
		if e != "" && !strings.EqualFold(e, "identity") {
			return errMediaType
		}
	}
	given := r.Header["Content-Type"]
	if len(given) != 1 {
		return errMediaType
	}
	if given[0] == "application/json" {
		return nil
	}
	kind, params, err := mime.ParseMediaType(given[0])
	if err != nil || kind != "application/json" {
		return errMediaType
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return errMediaType
	}
	return nil
}

// address returns the client's address as limits know it: IPv6 by /64.
func (c *call) address() string {
	if c.ip == "" {
		if c.s.proxied {
			c.ip = foldAddress(c.g.ClientIP())
		} else {
			c.ip = hostAddress(c.g.Request.RemoteAddr)
		}
	}
	return c.ip
}

// hostAddress returns the folded address of a remote host:port.
func hostAddress(remote string) string {
	if i := strings.LastIndexByte(remote, ':'); i >= 0 {
		remote = strings.Trim(remote[:i], "[]")
	}
	return foldAddress(remote)
}

// foldAddress returns an address as limits know it: IPv6 by /64, since that is
// what one customer gets.
func foldAddress(ip string) string {
	if strings.IndexByte(ip, ':') >= 0 {
		if a, err := netip.ParseAddr(ip); err == nil {
			if a = a.Unmap(); a.Is6() {
				a = netip.PrefixFrom(a.WithZone(""), 64).Masked().Addr()
			}
			return a.String()
		}
	}
	if ip == "" {
		return "unknown"
	}
	return ip
}

// send writes the answer. The body may be reused afterwards.
func (c *call) send(status int, contentType []string, body []byte) {
	h := c.header()
	if contentType != nil {
		h["Content-Type"] = contentType
		c.values[1] = strconv.Itoa(len(body))
		h["Content-Length"] = c.values[1:2:2]
	}
	c.tellWindow()
	if _, ok := h["Cache-Control"]; !ok {
		h["Cache-Control"] = headerNoStore
	}
	c.g.Writer.WriteHeader(status)
	if contentType == nil {
		c.g.Writer.WriteHeaderNow()
		return
	}
	// An error here means that the client is gone; there is nobody to tell.
	_, _ = c.g.Writer.Write(body)
}

// tellWindow sets the rate limit headers.
func (c *call) tellWindow() {
	if !c.windowed {
		return
	}
	h := c.header()
	c.values[2] = strconv.Itoa(c.window.Limit)
	c.values[3] = strconv.Itoa(max(c.window.Remaining, 0))
	c.values[4] = strconv.FormatInt((c.window.Reset.UnixMilli()+999)/1000, 10)
	h["X-Ratelimit-Limit"] = c.values[2:3:3]
	h["X-Ratelimit-Remaining"] = c.values[3:4:4]
	h["X-Ratelimit-Reset"] = c.values[4:5:5]
}

// sendJSON answers with a value of a documented shape.
func (c *call) sendJSON(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.send(status, headerJSON, body)
	return nil
}

// sendOut answers 200 with the JSON gathered in c.out.
func (c *call) sendOut() { c.send(http.StatusOK, headerJSON, c.out) }

// cacheable says who may keep an answer that is the same for everybody: anyone
// for a second when the caller is anonymous, nobody else.
func (c *call) cacheable() {
	h := c.header()
	h["Cache-Control"] = headerPublic
	if c.token == tokenValid {
		h["Cache-Control"] = headerPrivate
	}
	if h["Vary"] == nil {
		h["Vary"] = headerVaryToken
	}
}

// pollID returns the id of the path; not_found when it is none.
func (c *call) pollID() (domain.PollID, error) {
	id, ok := domain.ParseID(c.g.Param("id"))
	if !ok {
		return 0, errNoPoll
	}
	return domain.PollID(id), nil
}

var errNoPoll = domain.E(domain.CodeNotFound, "There is no such poll.")
