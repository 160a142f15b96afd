// Package api speaks HTTP: it turns requests into calls of the services and
// their answers into JSON, and decides nothing itself.
//
// One way for all: every endpoint is a row of the table in routes.go and runs
// through [server.serve] and [call.answer], which read and charge the request,
// refuse it in the contract's order, and tell every error as the same problem
// document. Gin routes. Huma describes: the OpenAPI document is made from the Go
// types in shapes.go by Huma's registry. Huma does not read requests, because its
// pipeline validates a body in one step, before a handler could refuse for
// anything else: the contract wants 400 before 401, 404 before 422, every fault
// at once, and no rejected value in an answer. Its decoder (encoding/json) would
// also take names in any case, repeated names and broken UTF-8.
//
// Shared memory: everything in server is set by [New] and never changes, but
// the pool of calls, the places for exports, the metrics and the counts of what is
// under way, which are safe by themselves. A call belongs to one request.
package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"vote/internal/account"
	"vote/internal/analytics"
	"vote/internal/domain"
	"vote/internal/feed"
	"vote/internal/live"
	"vote/internal/sharecard"
	"vote/internal/voting"
	"vote/internal/web"
)

func init() { gin.SetMode(gin.ReleaseMode) } // else it prints to the terminal

// Config is what [New] needs. Everything is required but what says otherwise.
type Config struct {
	Account   *account.Account
	Voting    *voting.Voting
	Feed      *feed.Feed
	Live      *live.Stats
	Analytics *analytics.Analytics
	Store     domain.Store
	Limiter   domain.Limiter
	Clock     domain.Clock
	Logger    *slog.Logger // nil discards
	// Registry takes the metrics and is what MetricsPath shows.
	Registry *prometheus.Registry
	// Draining reports whether the server shuts down; nil means never.
	Draining func() bool
	// Optional tells of what the server can do without whether it is there.
	Optional map[string]func() bool
	Limits   Limits
	// OperatorOnly leaves nothing but what is for operators: health, version,
	// metrics. Then Voting, Feed, Live, Analytics and Draw may be nil.
	OperatorOnly bool
	// MetricsPath is where metrics are shown; empty or MetricsElsewhere: nowhere.
	MetricsPath      string
	MetricsElsewhere bool
	// TrustedProxies are addresses and networks whose X-Forwarded-For and
	// X-Forwarded-Proto are believed; none by default.
	TrustedProxies []string
	// PublicURL is scheme and host by which the world knows this server; empty
	// takes what each request names.
	PublicURL string
	// Draw makes the share image of a poll, as PNG: see [sharecard.Drawer.Draw].
	Draw func(context.Context, sharecard.Poll) ([]byte, error)
	// CORSOrigins may call from browsers: origins, or "*" for all; none by default.
	CORSOrigins []string
	// BodyTimeout bounds how long a body may take; 0 leaves it to the server.
	BodyTimeout time.Duration
	// WriteTimeout bounds how long a client may take to receive an event of a
	// stream; 0 leaves it to the server.
	WriteTimeout time.Duration
}

// server is what all calls share.
type server struct {
	account   *account.Account
	voting    *voting.Voting
	feed      *feed.Feed
	live      *live.Stats
	analytics *analytics.Analytics
	store     domain.Store
	limiter   domain.Limiter
	clock     domain.Clock
	logger    *slog.Logger

	limits      Limits
	draining    func() bool
	optional    map[string]func() bool
	proxied     bool // clients are behind a trusted proxy
	cors        cors
	bodyTimeout time.Duration

	writeTimeout time.Duration // of one event of a stream

	metrics     *metrics
	calls       sync.Pool
	exports     chan struct{} // one element per export being written
	largeBodies atomic.Int64  // see call.fill
	hashing     hashing
	streams     streams

	openapi, docs, codes static

	site         *web.Site
	policies     policies
	publicURL    string
	proxies      networks
	draw         func(context.Context, sharecard.Poll) ([]byte, error)
	operatorOnly bool
}

// New returns the handler of the whole API. It is safe for concurrent use. It
// fails when a proxy, an origin or the metrics' path makes no sense.
func New(c Config) (http.Handler, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Draining == nil {
		c.Draining = func() bool { return false }
	}
	origins, err := newCORS(c.CORSOrigins)
	if err != nil {
		return nil, err
	}
	site, err := web.Embedded()
	if err != nil {
		return nil, err
	}
	s := &server{
		site: site, policies: newPolicies(site.ImportMapHash()), publicURL: c.PublicURL, draw: c.Draw,
		proxies: newNetworks(c.TrustedProxies), operatorOnly: c.OperatorOnly,
		account: c.Account, voting: c.Voting, feed: c.Feed, live: c.Live, analytics: c.Analytics, store: c.Store,
		limiter: c.Limiter, clock: c.Clock, logger: c.Logger, limits: c.Limits, draining: c.Draining, optional: c.Optional,
		proxied: len(c.TrustedProxies) > 0, cors: origins, bodyTimeout: c.BodyTimeout, writeTimeout: c.WriteTimeout,
		metrics: newMetrics(c.Registry), exports: make(chan struct{}, exportsAtOnce),
	}
	s.calls.New = func() any { return new(call) }

	router := gin.New()
	router.UseRawPath = true // an escaped slash is part of an id, not of the path
	router.RedirectTrailingSlash = false
	router.HandleMethodNotAllowed = true
	router.RemoteIPHeaders = []string{"X-Forwarded-For"}
	if err := router.SetTrustedProxies(c.TrustedProxies); err != nil {
		return nil, fmt.Errorf("trusted proxies: %w", err)
	}
	table, err := s.routes(c)
	if err != nil {
		return nil, err
	}
	if c.OperatorOnly {
		table = slices.DeleteFunc(table, func(e endpoint) bool { return !e.operator(c) })
	} else if err := s.document(table); err != nil {
		return nil, err
	}
	for i := range table {
		e := &table[i]
		e.metrics = s.metrics.endpoint(e.path)
		router.Handle(e.method, ginPath(e.path), s.serve(e))
		if e.method == http.MethodGet {
			router.Handle(http.MethodHead, ginPath(e.path), s.serve(e))
		}
	}
	nowhere := s.metrics.endpoint(unmatched)
	router.NoRoute(s.serve(&endpoint{path: unmatched, metrics: nowhere, handle: s.noRoute}))
	router.NoMethod(s.serve(&endpoint{path: unmatched, metrics: nowhere, handle: s.noMethod}))
	return router, nil
}
