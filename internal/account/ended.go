package account

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"vote/internal/domain"
)

const (
	// followEvery is how often the sessions ended elsewhere are read: a
	// session's access tokens are to be refused everywhere within 5 s.
	followEvery = 2 * time.Second
	// followOverlap is how far behind the newest known end the reading starts
	// again: ends become visible out of order, and clocks step.
	followOverlap = time.Minute
	// endedMargin is how much longer than the life of its tokens an ended
	// session is remembered, for clocks that differ and slow commits.
	endedMargin = 10 * time.Minute
	// followTimeout bounds one reading.
	followTimeout = 10 * time.Second
	// toldLife is how long the cache tells of an end.
	toldLife = 24 * time.Hour
)

// endedSessions is the set of sessions whose access tokens are refused.
type endedSessions struct {
	store   domain.Store
	cache   domain.Cache // nil: none
	clock   domain.Clock
	keep    time.Duration // how long an end is remembered
	metrics *metrics

	ends   sync.Map    // session id (string) to when it ended (time.Time)
	loaded atomic.Bool // the set was read once

	following sync.Mutex // one reading at a time; guards newest
	newest    time.Time  // the newest end that was read
}

// has reports whether a session ended.
func (e *endedSessions) has(session string) bool {
	_, ended := e.ends.Load(session)
	return ended
}

// add adds a session that ended now, and tells the other processes.
func (e *endedSessions) add(ctx context.Context, session string) {
	e.remember(session, e.clock.Now())
	if e.cache != nil {
		e.cache.Set(context.WithoutCancel(ctx), toldKey(session), toldEnded, toldLife)
	}
}

// toldKey is where the cache tells that a session ended: whatever the value,
// since a session that ended never lives again. Whoever finds nothing there knows
// nothing, and follows the store.
func toldKey(session string) string { return "session:" + session }

var toldEnded = []byte("ended")

// look finds out whether another process ended a session that this one has not
// met yet, which it would else learn with the next reading.
func (e *endedSessions) look(ctx context.Context, session string) {
	if e.cache == nil || e.has(session) {
		return
	}
	if _, ended := e.cache.Get(ctx, toldKey(session)); ended {
		e.remember(session, e.clock.Now())
	}
}

func (e *endedSessions) remember(session string, at time.Time) {
	if _, known := e.ends.Swap(session, at); !known {
		e.metrics.ended.Inc()
	}
}

// load reads everything within the time that counts.
func (e *endedSessions) load(ctx context.Context) error {
	e.following.Lock()
	defer e.following.Unlock()
	return e.read(ctx, e.horizon())
}

// follow reads what ended since the last reading. The store's own stamps say
// from where, unless this clock is behind them: then one of the two stepped
// back, and new ends may have older stamps.
func (e *endedSessions) follow(ctx context.Context) error {
	e.following.Lock()
	defer e.following.Unlock()
	since := e.newest
	if now := e.clock.Now(); now.Before(since) {
		since = now
	}
	since = since.Add(-followOverlap)
	if h := e.horizon(); since.Before(h) {
		since = h
	}
	return e.read(ctx, since)
}

// horizon is the time before which an end no longer matters.
func (e *endedSessions) horizon() time.Time { return e.clock.Now().Add(-e.keep) }

func (e *endedSessions) read(ctx context.Context, since time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, followTimeout)
	defer cancel()
	ended, err := e.store.EndedSessions(ctx, since)
	if err != nil {
		e.metrics.followFaults.Inc()
		return err
	}
	for _, s := range ended {
		e.remember(s.ID, s.EndedAt)
		if s.EndedAt.After(e.newest) {
			e.newest = s.EndedAt
		}
	}
	e.loaded.Store(true)
	e.metrics.followed.Set(float64(e.clock.Now().Unix()))
	return nil
}

// forget drops the ends that no longer matter.
func (e *endedSessions) forget() {
	horizon := e.horizon()
	e.ends.Range(func(session, at any) bool {
		if at.(time.Time).Before(horizon) && e.ends.CompareAndDelete(session, at) { //nolint:forcetypeassert // remember stores nothing else
			e.metrics.ended.Dec()
		}
		return true
	})
}
