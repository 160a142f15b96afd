package api

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"vote/internal/account"
	"vote/internal/domain"
)

// The web page keeps no refresh token where a script could read it: with
// X-Vote-Client: web the token travels only in a cookie, which the browser sends
// to /api/auth alone and to no request that another site caused. Reading it also
// asks for proof of the same origin, so that neither an old browser nor a
// neighbour under the same registered domain can use it.

const (
	refreshCookie = "vote_refresh"
	cookiePath    = "/api/auth"
)

// isWeb reports whether the web page calls.
func (c *call) isWeb() bool {
	h := c.g.Request.Header["X-Vote-Client"]
	return len(h) == 1 && h[0] == "web"
}

// sameOrigin reports whether the browser says that the page of this server
// itself makes the request.
func (c *call) sameOrigin() bool {
	h := c.g.Request.Header
	site, origin := h["Sec-Fetch-Site"], h["Origin"]
	if len(site) > 1 || len(origin) > 1 || len(site)+len(origin) == 0 {
		return false
	}
	if len(site) == 1 && site[0] != "same-origin" {
		return false
	}
	if len(origin) == 1 {
		// Whether it is https cannot be told behind a proxy that ends TLS.
		u, err := url.Parse(origin[0])
		return err == nil && (u.Scheme == "http" || u.Scheme == "https") && strings.EqualFold(u.Host, c.g.Request.Host)
	}
	return true
}

// cookieToken returns the refresh token of the cookie, empty without one, and
// refuses to read it for another site.
func (c *call) cookieToken() (string, error) {
	if !c.sameOrigin() {
		return "", domain.E(domain.CodeForbidden, "The refresh cookie is read for requests of the same origin only.")
	}
	given := c.g.Request.CookiesNamed(refreshCookie)
	if len(given) != 1 { // of several, any may be planted
		return "", nil
	}
	return given[0].Value, nil
}

func (c *call) setCookie(t account.Tokens) {
	life := t.RefreshExpiresAt.Sub(c.s.clock.Now())
	c.putCookie(t.RefreshToken, max(1, int(life/time.Second)))
}

func (c *call) clearCookie() { c.putCookie("", -1) }

func (c *call) putCookie(value string, maxAge int) {
	cookie := http.Cookie{ //nolint:gosec // Secure but on the machine itself, which has no TLS
		Name: refreshCookie, Value: value, Path: cookiePath, MaxAge: maxAge,
		HttpOnly: true, Secure: !isLocalhost(c.g.Request.Host), SameSite: http.SameSiteStrictMode,
	}
	c.header()["Set-Cookie"] = []string{cookie.String()}
}

// isLocalhost reports whether a host, with or without port, is the machine
// itself, which browsers trust without TLS.
func isLocalhost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || (ip != nil && ip.IsLoopback())
}
