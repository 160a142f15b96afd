package api

import (
	"context"
	"encoding/json"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"vote/internal/domain"
	"vote/internal/web"
)

// me answers with the caller's own profile.
func (s *server) me(c *call) error {
	if err := c.invalid(); err != nil {
		return err
	}
	p, err := s.account.Profile(c.context(), c.who.User)
	if err != nil {
		return err
	}
	return c.sendJSON(http.StatusOK, profileShape{
		ID: p.ID, Username: p.Username, Email: p.Email, CreatedAt: p.CreatedAt.UTC(),
		VotesToday: p.VotesToday, VotesRemainingToday: p.VotesRemainingToday,
		Totals: totalsShape{Votes: p.Votes, Skips: p.Skips, Polls: p.Polls},
	})
}

func (s *server) alive(c *call) error { return c.sendJSON(http.StatusOK, aliveShape{Status: "ok"}) }

// storeCheck bounds how long readiness waits for the store.
const storeCheck = 2 * time.Second

// ready answers 200 while the server can take requests, and else a problem
// whose code is the first thing that is missing.
func (s *server) ready(c *call) error {
	ctx, cancel := context.WithTimeout(c.context(), storeCheck)
	defer cancel()
	checks := make(map[string]checkShape, 3)
	var failed *domain.Error
	note := func(name string, err error) {
		check := checkShape{Status: "ok"}
		if err != nil {
			e := asError(err)
			check = checkShape{Status: "failed", Code: string(e.Code)}
			if failed == nil {
				failed = e
			}
		}
		checks[name] = check
	}
	when := func(code domain.Code, holds bool) error {
		if holds {
			return domain.E(code, "")
		}
		return nil
	}
	note("server", when(domain.CodeDraining, s.draining()))
	note("database", s.store.Ready(ctx))
	if s.feed != nil {
		note("feed", when(domain.CodeStarting, !s.feed.Ready()))
	}
	status := "ready"
	for name, there := range s.optional {
		checks[name] = checkShape{Status: "ok"}
		if !there() {
			status = "degraded"
			checks[name] = checkShape{Status: status}
		}
	}
	if failed == nil {
		return c.sendJSON(http.StatusOK, readyShape{Status: status, Checks: checks})
	}
	if refusals[failed.Code].status != http.StatusServiceUnavailable {
		failed = domain.Fault(domain.CodeUnavailable, failed)
	}
	told, err := json.Marshal(checks)
	if err != nil {
		return err
	}
	// The cause was logged where it arose; probes ask every few seconds.
	s.refuse(c, domain.E(failed.Code, failed.Detail), `"checks":`+string(told))
	return nil
}

// version tells what was built.
func (s *server) version(c *call) error {
	v := versionShape{Version: "(devel)", Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			v.Version = info.Main.Version
		}
		for _, setting := range info.Settings {
			switch setting.Key {
			case "vcs.revision":
				v.Revision = setting.Value
			case "vcs.modified":
				v.Modified = setting.Value == "true"
			}
		}
	}
	return c.sendJSON(http.StatusOK, v)
}

// static is bytes that stay the same while the server runs. They are set before
// it serves.
type static struct{ web.File }

func (f *static) set(body []byte, contentType []string) {
	*f = static{web.NewFile(contentType[0], body)}
}

// serve answers with the bytes. A page may load what this server serves and
// nothing else.
func (f *static) serve(c *call) error {
	h := c.header()
	h["Cache-Control"] = headerRevalidate
	h["Content-Security-Policy"] = headerOwnFiles
	return c.sendFile(f.File)
}

// foreign serves what writes its answer by itself.
func foreign(h http.Handler) func(*call) error {
	return func(c *call) error {
		c.header()["Cache-Control"] = headerNoStore
		h.ServeHTTP(c.g.Writer, c.g.Request)
		return nil
	}
}

var (
	headerRevalidate = []string{"no-cache"}
	headerOwnFiles   = []string{"default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
)
