package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"vote/internal/domain"
)

// cors says which web origins may call. Only bearer tokens authenticate, so no
// credentials are ever allowed, and any origin may be trusted with the answers.
type cors struct {
	all     bool
	origins map[string][]string // origin -> its header value
}

func newCORS(origins []string) (cors, error) {
	var c cors
	for _, o := range origins {
		if o == "*" {
			c.all = true
			continue
		}
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o {
			return cors{}, fmt.Errorf("CORS origin %q: want scheme://host[:port] or *", o)
		}
		if c.origins == nil {
			c.origins = make(map[string][]string)
		}
		c.origins[o] = []string{o}
	}
	return c, nil
}

var (
	headerAnyOrigin = []string{"*"}
	headerExposed   = []string{"ETag, Location, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-Id"}
)

// apply sets the headers of an ordinary answer and reports whether the caller's
// origin is allowed.
func (c *cors) apply(r *http.Request, h http.Header) bool {
	if !c.all && c.origins == nil {
		return false
	}
	allowed := headerAnyOrigin
	if !c.all {
		h["Vary"] = headerVaryOrigin
		origin := r.Header["Origin"]
		if len(origin) != 1 || c.origins[origin[0]] == nil {
			return false
		}
		allowed = c.origins[origin[0]]
	}
	h["Access-Control-Allow-Origin"] = allowed
	h["Access-Control-Expose-Headers"] = headerExposed
	return r.Header["Origin"] != nil
}

func (s *server) noRoute(*call) error { return errNoPath }

// noMethod answers a method that a path does not have. Gin has set Allow.
func (s *server) noMethod(c *call) error {
	r, h := c.g.Request, c.header()
	preflight := r.Method == http.MethodOptions && r.Header["Access-Control-Request-Method"] != nil
	if !preflight || !s.cors.apply(r, h) {
		return domain.E(domain.CodeMethodNotAllowed, "")
	}
	allow := strings.Split(h.Get("Allow"), ", ")
	slices.Sort(allow)
	h.Del("Access-Control-Expose-Headers")
	h.Set("Access-Control-Allow-Methods", strings.Join(allow, ", "))
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, X-Request-Id")
	h.Set("Access-Control-Max-Age", "600")
	c.send(http.StatusNoContent, nil, nil)
	return nil
}
