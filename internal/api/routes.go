package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// endpoint is one row of the route table.
type endpoint struct {
	method string
	path   string // as in the OpenAPI document
	who    access
	charge charge
	body   bodyRule
	handle func(*call) error
	check  func(*call) error // refuses what cannot be parsed, beyond the usual

	metrics *endpointMetrics
}

// unmatched is the route of what is in no row.
const unmatched = "unmatched"

type access uint8

const (
	anyone access = iota // a token is used when it is valid
	user                 // needs a valid token
)

type bodyRule uint8

const (
	noBody bodyRule = iota
	needBody
	mayBody
)

// routes returns the whole route table. A GET answers HEAD too.
func (s *server) routes(c Config) ([]endpoint, error) {
	const get, post, patch, del = http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete
	shell := s.shown(s.site.Shell())
	table := []endpoint{
		{post, "/api/auth/register", anyone, requests, needBody, s.register, nil, nil},
		{post, "/api/auth/login", anyone, requests, needBody, s.login, nil, nil},
		{post, "/api/auth/refresh", anyone, requests, mayBody, s.refresh, checkRefresh, nil},
		{post, "/api/auth/logout", user, requests, mayBody, s.logout, nil, nil},
		{get, "/api/users/me", user, requests, noBody, s.me, nil, nil},
		{patch, "/api/users/me", user, requests, needBody, s.update, nil, nil},
		{del, "/api/users/me", user, requests, needBody, s.erase, nil, nil},
		{get, "/api/users/me/sessions", user, requests, noBody, s.sessions, checkSessionCursor, nil},
		{del, "/api/users/me/sessions/{sid}", user, requests, noBody, s.endSession, nil, nil},
		{get, "/api/users/me/export", user, requests, noBody, s.export, nil, nil},
		{get, "/api/users/me/votes", user, requests, noBody, s.pastVotes, checkList(listVotes), nil},
		{get, "/api/users/me/skips", user, requests, noBody, s.pastSkips, checkList(listSkips), nil},
		{get, "/api/users/me/polls", user, requests, noBody, s.ownPolls, checkList(listPolls), nil},
		{get, "/api/users/me/notifications", user, requests, noBody, s.notifications, checkList(listNotifications), nil},
		{post, "/api/polls", user, requests, needBody, s.createPoll, nil, nil},
		{get, "/api/polls", user, requests, noBody, s.listPolls, checkPaging, nil},
		{get, "/api/polls/popular", anyone, requests, noBody, s.popular, nil, nil},
		{get, "/api/polls/{id}", anyone, requests, noBody, s.getPoll, nil, nil},
		{del, "/api/polls/{id}", user, requests, noBody, s.deletePoll, nil, nil},
		{post, "/api/polls/{id}/vote", user, votes, needBody, s.vote, nil, nil},
		{post, "/api/polls/{id}/skip", user, requests, mayBody, s.skip, nil, nil},
		{post, "/api/interactions", user, requests, needBody, s.interactions, nil, nil},
		{get, "/api/polls/{id}/stats", anyone, requests, noBody, s.stats, nil, nil},
		{get, "/api/polls/{id}/analytics", anyone, requests, noBody, s.pollAnalytics, nil, nil},
		{get, "/api/stats", anyone, requests, noBody, s.manyStats, nil, nil},
		{get, "/api/polls/{id}/stats/stream", anyone, requests, noBody, s.streamPoll, nil, nil},
		{get, "/api/stream", anyone, requests, noBody, s.streamPolls, nil, nil},
		{get, "/api/tags", anyone, requests, noBody, s.tags, nil, nil},

		{get, "/healthz", anyone, free, noBody, s.alive, nil, nil},
		{get, "/readyz", anyone, free, noBody, s.ready, nil, nil},
		{get, "/health", anyone, free, noBody, s.ready, nil, nil},
		{get, "/version", anyone, free, noBody, s.version, nil, nil},
		{get, "/openapi.json", anyone, free, noBody, s.openapi.serve, nil, nil},
		{get, "/docs", anyone, free, noBody, s.docs.serve, nil, nil},
		{get, errorPage, anyone, free, noBody, s.codes.serve, nil, nil},

		{get, "/", anyone, pages, noBody, shell, nil, nil},
		{get, "/create", anyone, pages, noBody, shell, nil, nil},
		{get, "/sign-in", anyone, pages, noBody, shell, nil, nil},
		{get, "/sign-up", anyone, pages, noBody, shell, nil, nil},
		{get, "/me", anyone, pages, noBody, shell, nil, nil},
		{get, "/me/{view}", anyone, pages, noBody, ownViews(shell), nil, nil},
		{get, pollPath, anyone, pages, noBody, s.pollPage, nil, nil},
		{get, "/p/{id}/image.png", anyone, pages, noBody, s.shareImage, nil, nil},
		{get, embedPath, anyone, pages, noBody, s.embedPage, nil, nil},
		{get, "/oembed", anyone, pages, noBody, s.oEmbed, nil, nil},
		{get, "/sw.js", anyone, free, noBody, s.worker, nil, nil},
		{get, "/manifest.webmanifest", anyone, free, noBody, s.manifest, nil, nil},
		{get, "/assets/{file}", anyone, free, noBody, s.asset, nil, nil},
	}
	if c.MetricsPath != "" && !c.MetricsElsewhere {
		taken := slices.ContainsFunc(table, func(e endpoint) bool { return e.path == c.MetricsPath })
		if taken || !strings.HasPrefix(c.MetricsPath, "/") || strings.ContainsAny(c.MetricsPath, ":*{}") {
			return nil, fmt.Errorf("metrics path %q: taken by another route, or no path", c.MetricsPath)
		}
		show := promhttp.HandlerFor(c.Registry, promhttp.HandlerOpts{})
		table = append(table, endpoint{get, c.MetricsPath, anyone, free, noBody, foreign(show), nil, nil})
	}
	return table, nil
}

// operator reports whether a route is for those who run the server.
func (e *endpoint) operator(c Config) bool {
	return e.path == c.MetricsPath || slices.Contains([]string{"/healthz", "/readyz", "/health", "/version"}, e.path)
}

// ginPath turns {name} into Gin's :name. A file may be in folders.
func ginPath(path string) string {
	if rest, ok := strings.CutSuffix(path, "/{file}"); ok {
		return rest + "/*file"
	}
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}
