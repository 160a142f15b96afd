// Package app puts the house together: configuration, engines, services, API.
// It is the only room that knows every engine.
//
// Life cycle: [New] opens everything and listens, so that a fault is told
// before anything serves; [App.Run] starts every service, awaits all of them,
// and drains: it stops saying that it is ready, still takes requests for
// server.drain_delay, ends the streams, lets requests under way finish, ends the services, and closes
// storage last. No goroutine outlives Run.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"vote/config"
	"vote/internal/account"
	"vote/internal/analytics"
	"vote/internal/api"
	"vote/internal/domain"
	"vote/internal/events"
	"vote/internal/feed"
	"vote/internal/live"
	"vote/internal/sharecard"
	"vote/internal/voting"
)

// drainLimit is how long requests under way may take once the server drains.
const drainLimit = 15 * time.Second

// App is one running process of Vote. Make it by [New].
type App struct {
	logger   *slog.Logger
	handler  http.Handler
	listener net.Listener
	admin    net.Listener // nil without server.admin_port
	registry *prometheus.Registry
	config   config.Config
	services []service
	engines  *engines
	account  *account.Account
	stats    *live.Stats // nil without the API
	draining atomic.Bool
}

// service is something long-running.
type service struct {
	name string
	run  func(ctx context.Context) error
}

// Options are what a test or an embedding program may set besides the
// configuration.
type Options struct {
	// Clock is the time of everything; nil is the machine's.
	Clock domain.Clock
	// Logger takes the log; nil discards it.
	Logger *slog.Logger
	// WithoutRelay leaves the outbox alone, for measurements of the rest.
	WithoutRelay bool
}

// New opens the engines of the configuration, which must be valid, builds the
// services over them and listens on the configured port. Whoever gets no error
// must call [App.Run] or [App.Close].
func New(ctx context.Context, c config.Config, o Options) (_ *App, err error) {
	if o.Clock == nil {
		o.Clock = domain.SystemClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &App{logger: o.Logger, config: c, registry: prometheus.NewRegistry()}
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()

	health := newHealth(a.registry)
	if a.engines, err = openEngines(ctx, c, o, a.registry, health.reachable); err != nil {
		return nil, err
	}
	e := a.engines
	secret, err := signingSecret(c)
	if err != nil {
		return nil, err
	}
	a.account = account.New(account.Config{
		Store: e.store, Cache: e.cache, Clock: o.Clock, Logger: o.Logger, Registerer: a.registry,
		Secret: secret, TokenLife: c.JWT.TokenDuration, RefreshLife: c.JWT.RefreshDuration,
		DailyVotes: c.Limits.DailyVotes,
	})
	// Where others may migrate, this process waits for them, not ready meanwhile.
	if err := a.account.Load(ctx); err != nil && (e.exclusive || !errors.Is(err, domain.E(domain.CodeSchemaOutdated, ""))) {
		return nil, fmt.Errorf("load ended sessions: %w", err)
	}
	health.reporter = events.NewReporter(events.ReporterConfig{
		Bus: e.bus, Clock: o.Clock, Logger: o.Logger, Registerer: a.registry, Instance: instance(), Numbers: numbers,
	})
	health.checks = map[string]func(context.Context) error{"database": e.store.Ready}
	for name, there := range e.optional {
		health.checks[name] = func(context.Context) error {
			if !there() {
				return errAway
			}
			return nil
		}
	}
	a.services = append(e.services,
		service{"account", a.account.Run}, service{"bus", e.bus.Run},
		service{"reports", health.reporter.Run}, service{"health", health.Run})

	r := a.build(c, o)
	r.Optional = e.optional
	a.handler, err = api.New(r)
	if err != nil {
		return nil, err
	}
	a.listener, err = listen(ctx, c.Server.Host, c.Server.Port)
	if err != nil {
		return nil, err
	}
	a.listener = api.Bound(a.listener, api.Connections{
		Total: connections(c.Limits.Connections, descriptors()), PerAddress: c.Limits.ConnectionsPerAddress,
		Proxies: c.Server.TrustedProxies, Registerer: a.registry,
	})
	if c.Server.AdminPort != 0 {
		if a.admin, err = listen(ctx, c.Server.Host, c.Server.AdminPort); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// build makes the services that the roles of this process need, and returns what
// the API is made of.
func (a *App) build(c config.Config, o Options) api.Config {
	e := a.engines
	r := api.Config{
		Account: a.account, Store: e.store, Limiter: e.limiter,
		Clock: o.Clock, Logger: o.Logger, Registry: a.registry, Draining: a.draining.Load,
		MetricsPath: c.Metrics.Path, MetricsElsewhere: c.Server.AdminPort != 0,
		PublicURL: c.Server.PublicURL, TrustedProxies: c.Server.TrustedProxies, CORSOrigins: c.Server.CORSOrigins,
		OperatorOnly: !c.HasRole(config.RoleAPI), WriteTimeout: c.Server.WriteTimeout,
		Limits: api.Limits{
			RequestsPerMinute: c.Limits.RequestsPerMinute, VotesPerMinute: c.Limits.VotesPerMinute,
			BurstPerSecond: c.Limits.BurstPerSecond, DailyVotes: c.Limits.DailyVotes,
			LoginPerAccountPerMinute:       c.Limits.LoginPerAccountPerMinute,
			LoginPerAddressPerMinute:       c.Limits.LoginPerAddressPerMinute,
			RegistrationsPerAddressPerHour: c.Limits.RegistrationsPerAddressPerHour,
			SignInsPerAddress:              c.Limits.SignInsPerAddress,
			StreamsPerAddress:              c.Limits.StreamsPerAddress,
		},
	}
	if c.HasRole(config.RoleAPI) {
		r.Draw = sharecard.New(sharecard.Options{Registerer: a.registry}).Draw
	}
	relay := events.NewRelay(events.Config{Store: e.store, Bus: e.bus, Clock: o.Clock, Logger: o.Logger, Registerer: a.registry})
	if c.HasRole(config.RoleRelay) && !o.WithoutRelay {
		a.services = append(a.services, service{"relay", relay.Run})
	}
	shown := analytics.New(analytics.Config{Store: e.store, Clock: o.Clock, Logger: o.Logger, Registerer: a.registry})
	a.services = append(a.services, service{"analytics", shown.Run})
	if c.HasRole(config.RoleScheduler) {
		a.services = append(a.services, service{"analytics pruning", shown.Prune})
	}
	// The scheduler's ranking is made of what the index knows.
	wake := func() {}
	if c.HasRole(config.RoleAPI) || c.HasRole(config.RoleScheduler) {
		r.Feed = feed.New(feed.Config{
			Store: e.store, Cache: e.cache, Clock: o.Clock, Logger: o.Logger, Registerer: a.registry,
			Exclusive: e.exclusive, Ranker: c.HasRole(config.RoleScheduler), OnShown: shown.Shown,
		})
		wake = r.Feed.Wake
		a.services = append(a.services, service{"feed", r.Feed.Run})
		if e.hint != nil {
			e.hint(events.FeedHints(wake))
		}
	}
	if c.HasRole(config.RoleWorker) {
		// What a user has seen is known by its version, in every process and
		// every cache: nobody has to be told.
		events.SubscribeFeedUpdates(e.bus, false)
		events.SubscribeFeedInvalidation(e.bus, func(_ context.Context, _ []domain.UserID, polls []domain.PollID) error {
			if len(polls) > 0 {
				wake()
			}
			return nil
		})
		events.SubscribeProcessing(e.bus)
		events.SubscribeAnalytics(e.bus, e.store)
		events.SubscribeNotifications(e.bus, e.store)
		events.SubscribeSystemMetrics(e.bus, o.Logger)
		events.SubscribeSystemAlerts(e.bus, o.Logger, a.registry)
	}
	if !c.HasRole(config.RoleAPI) {
		return r
	}
	stats := live.New(live.Config{
		Store: e.store, Cache: e.cache, Clock: o.Clock, Registerer: a.registry,
		Streams: streams(connections(c.Limits.Connections, descriptors())),
	})
	a.stats = stats
	if e.hint != nil {
		e.hint(events.VoteHints(stats.Newer))
	}
	feeds := r.Feed
	r.Live, r.Analytics = stats, shown
	r.Voting = voting.New(voting.Config{
		Store: e.store, Logger: o.Logger, Registerer: a.registry, Shards: e.shards,
		Rules: domain.Rules{DailyVotes: c.Limits.DailyVotes, DailyPolls: c.Limits.PollsPerDay},
		OnCommit: func(out domain.Outcome) {
			feeds.Apply(out)
			stats.Apply(out)
			relay.Wake()
		},
		OnPublish: func(p []domain.Publication) {
			feeds.Published(p)
			relay.Wake()
		},
	})
	a.services = append(a.services, service{"stats", stats.Run}, service{"voting", r.Voting.Run})
	return r
}

func listen(ctx context.Context, host string, port int) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
}

// keptDescriptors are the open files that connections leave to everything else:
// storage, logs, the admin port.
const keptDescriptors = 256

// connections returns how many connections may be open: as configured, but never
// so many that the process could not open its files. Zero is no bound.
func connections(configured, descriptors int) int {
	if descriptors == 0 {
		return configured
	}
	most := max(descriptors-keptDescriptors, descriptors/2)
	if configured == 0 {
		return most
	}
	return min(configured, most)
}

// streams returns how many of the connections may be streams: they stay, and
// others must come through. Zero leaves it to the room's own bound.
func streams(connections int) int { return connections - connections/10 }

// Handler returns the API, for tests that need no network.
func (a *App) Handler() http.Handler { return a.handler }

// URL returns the address under which this machine reaches the server.
func (a *App) URL() string {
	_, port, err := net.SplitHostPort(a.listener.Addr().String())
	if err != nil {
		return a.listener.Addr().String()
	}
	return localURL(a.config.Server.Host, port)
}

// localURL returns how this machine reaches what listens on host and port.
func localURL(host, port string) string {
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// Run serves until ctx ends or a service fails, then drains and closes
// everything. It returns nil after an ordered end.
func (a *App) Run(ctx context.Context) error {
	// Services live until the last request is answered, whatever ended ctx.
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	failed := make(chan error, len(a.services)+2)
	var services, servers sync.WaitGroup
	for _, s := range a.services {
		services.Go(func() {
			if err := s.run(running); err != nil {
				failed <- fmt.Errorf("%s: %w", s.name, err)
			}
		})
	}
	main := a.server(a.handler)
	started := []*http.Server{main}
	serve := func(s *http.Server, l net.Listener) {
		servers.Go(func() {
			if err := s.Serve(api.Listener(l)); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve: %w", err)
			}
		})
	}
	serve(main, a.listener)
	if a.admin != nil {
		admin := a.server(adminHandler(a.registry, a.config.Metrics.Path))
		started = append(started, admin)
		serve(admin, a.admin)
	}

	var fault error
	select {
	case <-ctx.Done():
	case fault = <-failed:
		a.logger.Error("a service ended", "error", fault)
	}
	a.draining.Store(true)
	a.logger.Info("draining")
	if fault == nil {
		fault = a.linger(failed)
	}
	if a.stats != nil {
		a.stats.EndStreams()
	}
	draining, cancel := context.WithTimeout(running, drainLimit)
	defer cancel()
	for _, s := range started {
		if err := s.Shutdown(draining); err != nil {
			a.logger.Warn("requests were cut off", "error", err)
			_ = s.Close() // what Shutdown could not end in time
		}
	}
	servers.Wait()
	end()
	services.Wait()
	return errors.Join(fault, a.Close())
}

// linger lets requests still come while the server says that it is not ready,
// so that whoever balances the load sends the next ones elsewhere before it stops
// listening. A service that fails ends it.
func (a *App) linger(failed <-chan error) error {
	enough := time.NewTimer(a.config.Server.DrainDelay)
	defer enough.Stop()
	select {
	case <-enough.C:
		return nil
	case fault := <-failed:
		a.logger.Error("a service ended", "error", fault)
		return fault
	}
}

// server returns an HTTP server with every bound set.
func (a *App) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: min(a.config.Server.HeaderTimeout, a.config.Server.ReadTimeout),
		ReadTimeout:       a.config.Server.ReadTimeout,
		WriteTimeout:      a.config.Server.WriteTimeout,
		IdleTimeout:       a.config.Server.IdleTimeout,
		MaxHeaderBytes:    16 << 10,
		ConnContext:       api.WithConnection,
		ErrorLog:          slog.NewLogLogger(a.logger.Handler(), slog.LevelDebug),
	}
}

// Close releases what [New] opened, for an App that is not run. Calling it
// again is harmless.
func (a *App) Close() error {
	var errs []error
	for _, l := range []net.Listener{a.listener, a.admin} {
		if l != nil {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	if a.engines != nil {
		errs = append(errs, a.engines.close())
	}
	return errors.Join(errs...)
}
