package live

import (
	"context"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"vote/internal/domain"
)

const (
	// pace is the least time between two states of a poll that one stream is
	// given, and between two questions to the store for all polls watched.
	pace = 250 * time.Millisecond
	// hintPace is the least time between two questions when another process has
	// told of something newer.
	hintPace = 50 * time.Millisecond
	// askedAtOnce is how many polls one query asks for.
	askedAtOnce = 5000
	// toldAtOnce is how many watchers are woken before others get their turn.
	toldAtOnce = 512
	// drainingFor is told to who wants to watch while the process ends.
	drainingFor = 5 * time.Second
)

// hub keeps the polls that are watched, each once however many watch it.
//
// Invariants:
//   - A topic is in polls while somebody watches the poll and it may be seen. Its
//     counts are only replaced by those of a higher version.
//   - A state is encoded once and shared by all watchers. Watchers are told of
//     states at most once per pace: a topic that was told of cools until then, and
//     the newest counts that came meanwhile are the next state.
//   - A watcher is told by a bit and a wake-up, never waited for. It takes the
//     newest state when it comes, so nothing queues for a slow one.
//   - Who brings counts marks the topic, whatever the number of watchers; run
//     alone encodes for those who watch already, and wakes them: of all polls
//     some in turn, so that no poll waits for the crowd of another, and between them
//     whoever else wants to run does.
//   - One query to the store is under way at a time, and begins at most once per
//     pace (hintPace after a hint) for all polls that nothing else was heard of.
//
// mu guards polls, the lists, streams and what topics say so of; a topic's own mu
// guards its watchers, so that nobody who commits votes waits while thousands are
// woken. No two of them are held at once.
type hub struct {
	ask        func(ctx context.Context, ids []domain.PollID) (found map[domain.PollID]domain.Counts, err error)
	maxStreams int
	drained    chan struct{} // closed when all streams are to end
	poke, hint chan struct{}
	watched    atomic.Int64 // len(polls), for who must not wait for mu

	mu      sync.Mutex
	polls   map[domain.PollID]*topic
	ready   []*topic // dirty and not cooling
	cooling []*topic // those told of, in the order of due
	streams int
	ended   bool // drained is closed

	open               prometheus.Gauge
	sent, conflated    prometheus.Counter
	askFailed, encoded prometheus.Counter
}

// topic is a poll that somebody watches.
type topic struct {
	poll   domain.PollID
	encode func(domain.Counts) []byte
	state  atomic.Pointer[state] // the newest that was encoded; changes under hub.mu

	// Guarded by hub.mu.
	refs   int // streams that watch it
	counts domain.Counts
	known  bool // counts are set
	gone   bool // it may not be seen any more
	dirty  bool // there is more than watchers were told of
	cools  bool // it is being told of, or in hub.cooling
	heard  bool // counts came from a batch since the store was last asked
	hinted bool // the store has newer ones
	due    time.Time

	mu       sync.Mutex
	watchers []watcher
}

// state is what watchers are given. It never changes.
type state struct {
	number  int64 // counts a topic's states
	version int64
	data    []byte // nil: the poll is gone
}

// watcher is a stream and which of its polls a topic is.
type watcher struct {
	stream *Stream
	index  int
}

func newHub(maxStreams int, r prometheus.Registerer, ask func(context.Context, []domain.PollID) (map[domain.PollID]domain.Counts, error)) *hub {
	with := promauto.With(r)
	h := &hub{
		ask: ask, maxStreams: maxStreams, polls: make(map[domain.PollID]*topic),
		drained: make(chan struct{}), poke: make(chan struct{}, 1), hint: make(chan struct{}, 1),
		open: with.NewGauge(prometheus.GaugeOpts{Name: "vote_streams", Help: "Live streams open at this moment."}),
		sent: with.NewCounter(prometheus.CounterOpts{
			Name: "vote_stream_events_total", Help: "States of polls that streams took to send.",
		}),
		conflated: with.NewCounter(prometheus.CounterOpts{
			Name: "vote_stream_conflated_total", Help: "States of polls that a stream left out, because a newer one came before it took them.",
		}),
		encoded: with.NewCounter(prometheus.CounterOpts{
			Name: "vote_stream_encodings_total", Help: "States of polls encoded, each for all streams that watch the poll.",
		}),
		askFailed: with.NewCounter(prometheus.CounterOpts{
			Name: "vote_stream_queries_failed_total", Help: "Queries for the polls watched that the store did not answer.",
		}),
	}
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "vote_stream_polls", Help: "Polls that live streams watch at this moment.",
	}, func() float64 { return float64(h.watched.Load()) })
	return h
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take takes note of the counts that a batch of this process brought.
func (h *hub) take(c domain.Counts) {
	if h.watched.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.polls[c.Poll]; t != nil {
		t.heard = true
		h.replace(t, c)
	}
}

// replace makes c the counts of a topic unless it has them or newer ones. mu
// is held.
func (h *hub) replace(t *topic, c domain.Counts) {
	if t.gone || t.known && t.counts.Version() >= c.Version() {
		return
	}
	t.counts, t.known = c, true
	h.mark(t)
}

// mark has watchers told as soon as they may be. mu is held.
func (h *hub) mark(t *topic) {
	if t.dirty {
		return
	}
	t.dirty = true
	if !t.cools {
		h.ready = append(h.ready, t)
		signal(h.poke)
	}
}

// lose takes note that a poll may not be seen any more. mu is held.
func (h *hub) lose(t *topic) {
	if t.gone {
		return
	}
	t.gone = true
	h.remove(t)
	h.mark(t)
}

// remove takes a topic out of polls, if it is there. mu is held.
func (h *hub) remove(t *topic) {
	if h.polls[t.poll] == t {
		delete(h.polls, t.poll)
		h.watched.Store(int64(len(h.polls)))
	}
}

// forget takes note that a poll was hidden or deleted.
func (h *hub) forget(id domain.PollID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.polls[id]; t != nil {
		h.lose(t)
	}
}

// newer takes note that the store has at least these versions.
func (h *hub) newer(versions map[domain.PollID]int64) {
	if h.watched.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, version := range versions {
		if t := h.polls[id]; t != nil && (!t.known || t.counts.Version() < version) {
			t.hinted = true
			signal(h.hint)
		}
	}
}

// settle makes the topic's state that of its newest counts. mu is held.
func (h *hub) settle(t *topic) {
	old := t.state.Load()
	switch {
	case t.gone:
		t.state.Store(&state{})
	case t.known && (old == nil || old.version < t.counts.Version()):
		h.encoded.Inc()
		now := &state{number: 1, version: t.counts.Version(), data: t.encode(t.counts)}
		if old != nil {
			now.number += old.number
		}
		t.state.Store(now)
	}
}

// run tells watchers and asks the store until ctx ends.
func (h *hub) run(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() { h.follow(ctx) })
	timer := time.NewTimer(pace)
	defer timer.Stop()
	var news, told []*topic
	var left []telling
	for {
		news = h.turn(news[:0], time.Now())
		for _, t := range news {
			left = append(left, telling{t, math.MaxInt})
		}
		left, told = tell(left, told[:0])
		wait := h.cool(told, time.Now())
		clear(news)
		clear(told)
		if len(left) > 0 && ctx.Err() == nil {
			continue
		}
		timer.Reset(wait)
		select {
		case <-h.poke:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// turn gives the topics of which watchers may be told now their newest state, and
// appends them.
func (h *hub) turn(news []*topic, now time.Time) []*topic {
	h.mu.Lock()
	defer h.mu.Unlock()
	cooled := 0
	for cooled < len(h.cooling) && !h.cooling[cooled].due.After(now) {
		h.cooled(h.cooling[cooled])
		cooled++
	}
	h.cooling = slices.Delete(h.cooling, 0, cooled)
	for _, t := range h.ready {
		h.settle(t)
		t.dirty, t.cools, t.due = false, true, now.Add(pace)
		news = append(news, t)
	}
	clear(h.ready)
	h.ready = h.ready[:0]
	return news
}

// cooled has watchers told of what came since they were last told. mu is held.
func (h *hub) cooled(t *topic) {
	t.cools = false
	if t.dirty {
		h.ready = append(h.ready, t)
	}
}

// cool lets topics of which all watchers were told wait until they are due, and
// returns how long nothing will be.
func (h *hub) cool(told []*topic, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range told {
		if !t.due.After(now) {
			h.cooled(t)
			continue
		}
		place := len(h.cooling) // one with many watchers may have begun before others
		for place > 0 && h.cooling[place-1].due.After(t.due) {
			place--
		}
		h.cooling = slices.Insert(h.cooling, place, t)
	}
	switch {
	case len(h.ready) > 0:
		return 0
	case len(h.cooling) > 0:
		return h.cooling[0].due.Sub(now)
	}
	return time.Hour
}

// telling is a topic whose watchers at the places before one are still to be told.
type telling struct {
	topic  *topic
	before int
}

// tell wakes some of the watchers of each topic. It returns the topics with
// watchers left and appends the others to told.
func tell(list []telling, told []*topic) (left []telling, _ []*topic) {
	left = list[:0]
	woken := 0
	for _, next := range list {
		var n int
		if next.before, n = next.topic.wake(next.before); next.before > 0 {
			left = append(left, next)
		} else {
			told = append(told, next.topic)
		}
		if woken += n; woken >= toldAtOnce {
			// They write now; else votes would wait for the writes of all.
			runtime.Gosched()
			woken = 0
		}
	}
	clear(list[len(left):])
	return left, told
}

// wake wakes some of the watchers before a place, and returns before which place
// the others are. It begins with the last: who leaves meanwhile has one of those
// take its place, which may then be woken twice, but none is left out. Who comes
// meanwhile begins with the state that the others are told of.
func (t *topic) wake(before int) (left, woken int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before = min(before, len(t.watchers))
	left = max(0, before-toldAtOnce)
	for _, w := range t.watchers[left:before] {
		w.stream.tell(w.index)
	}
	return left, before - left
}

// follow asks the store for what is watched: at every pace for all polls that no
// batch has brought counts of since, and sooner for those of which a hint came.
func (h *hub) follow(ctx context.Context) {
	timer := time.NewTimer(pace)
	defer timer.Stop()
	var all, last time.Time // when all, and any, were last asked for
	for {
		select {
		case <-timer.C:
		case <-h.hint:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		if wait := hintPace - now.Sub(last); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
			now = time.Now()
		}
		select {
		case <-h.hint: // all that came until now are answered by this
		default:
		}
		last = now
		everything := now.Sub(all) >= pace
		if everything {
			all = now
		}
		h.refresh(ctx, h.unheard(everything))
		timer.Reset(max(0, pace-time.Since(all)))
	}
}

// unheard returns the topics to ask for: those of which a hint came, and with
// everything those of which no batch has brought counts since the last time.
func (h *hub) unheard(everything bool) []*topic {
	if h.watched.Load() == 0 {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []*topic
	for _, t := range h.polls {
		if t.hinted || everything && !t.heard {
			list = append(list, t)
		}
		t.hinted = false
		if everything {
			t.heard = false
		}
	}
	return list
}

// refresh asks the store for topics. One that the store does not have is gone:
// the topic that was asked for, not one that was made since.
func (h *hub) refresh(ctx context.Context, list []*topic) {
	for part := range slices.Chunk(list, askedAtOnce) {
		ids := make([]domain.PollID, len(part))
		for i, t := range part {
			ids[i] = t.poll
		}
		found, err := h.ask(ctx, ids)
		if err != nil {
			if ctx.Err() == nil {
				h.askFailed.Inc()
			}
			return // the next time comes soon
		}
		h.mu.Lock()
		for _, t := range part {
			if c, ok := found[t.poll]; ok {
				h.replace(t, c)
			} else {
				h.lose(t)
			}
		}
		h.mu.Unlock()
	}
}

// drain ends all streams and refuses new ones.
func (h *hub) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		h.ended = true
		close(h.drained)
	}
}

// enter takes a place for a stream.
func (h *hub) enter() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ended:
		return &domain.Error{Code: domain.CodeDraining, RetryAfter: drainingFor}
	case h.streams >= h.maxStreams:
		return &domain.Error{Code: domain.CodeOverloaded, Detail: "Too many streams are open.", RetryAfter: drainingFor}
	}
	h.streams++
	h.open.Inc()
	return nil
}

func (h *hub) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.streams--
	h.open.Dec()
}

// attach makes a stream a watcher of a poll.
func (h *hub) attach(s *Stream, index int, want Target) *topic {
	h.mu.Lock()
	t := h.polls[want.Poll]
	if t == nil {
		t = &topic{poll: want.Poll, encode: want.Encode}
		h.polls[want.Poll] = t
		h.watched.Store(int64(len(h.polls)))
	}
	t.refs++
	h.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	s.polls[index].place = len(t.watchers)
	t.watchers = append(t.watchers, watcher{s, index})
	return t
}

// detach ends what attach began.
func (h *hub) detach(s *Stream, index int) {
	w := &s.polls[index]
	t := w.topic
	if t == nil {
		return
	}
	w.topic = nil
	t.mu.Lock()
	last := len(t.watchers) - 1
	moved := t.watchers[last]
	t.watchers[w.place] = moved
	t.watchers[last] = watcher{}
	t.watchers = t.watchers[:last]
	moved.stream.polls[moved.index].place = w.place
	t.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.refs--; t.refs == 0 {
		h.remove(t)
	}
}

// begin takes the counts with which a stream begins and returns the state of the
// topic, which is not older than they are.
func (h *hub) begin(t *topic, c domain.Counts) *state {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replace(t, c)
	h.settle(t)
	return t.state.Load()
}
