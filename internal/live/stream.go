package live

import (
	"context"
	"errors"
	"math/bits"
	"sync/atomic"
	"time"

	"vote/internal/domain"
)

// ErrOver says that none of a stream's polls may be seen any more.
var ErrOver = errors.New("no poll is left to watch")

// Target is a poll to watch.
type Target struct {
	Poll domain.PollID
	// Encode turns counts into what all watchers of the poll share, and must
	// give every watcher the same. It must be quick and not call back.
	Encode func(domain.Counts) []byte
	// Have is the version that the watcher has already; negative: none.
	Have int64
}

// Update is a poll's newest state.
type Update struct {
	Poll    domain.PollID
	Version int64
	// Data is what Target.Encode made; it is shared, and nobody may change it.
	// Nil says that the poll was hidden or deleted, and is the last of the poll.
	Data []byte
}

// Stream is one watcher of polls. It is used by one goroutine at a time, and
// must be closed.
type Stream struct {
	hub   *hub
	wake  chan struct{}
	timer *time.Timer
	dirty []atomic.Uint64 // a bit for each of polls of which there may be news
	polls []target
	left  int       // polls that are not gone
	taken time.Time // when updates were last taken
}

// target is one of a stream's polls. place is guarded by the topic's mu, the rest
// is the stream's.
type target struct {
	topic  *topic // nil: not watched any more
	place  int    // in topic.watchers
	sent   int64  // version; -1: none
	number int64  // of the state that was sent
}

// Watch begins to watch polls, which must be distinct; those that do not exist
// are left out. The first updates are their current states, but for those that
// the watcher has. Errors: not_found when none exists; draining, overloaded,
// unavailable.
func (s *Stats) Watch(ctx context.Context, targets []Target) (*Stream, error) {
	h := s.hub
	if err := h.enter(); err != nil {
		return nil, err
	}
	w := &Stream{hub: h, wake: make(chan struct{}, 1), dirty: make([]atomic.Uint64, (len(targets)+63)/64), polls: make([]target, len(targets))}
	w.timer = time.NewTimer(time.Hour)
	ids := make([]domain.PollID, len(targets))
	for i, t := range targets {
		ids[i] = t.Poll
		w.polls[i].sent = -1
		if t.Have > 0 {
			// What another process told may be newer than what is known here.
			s.Newer(map[domain.PollID]int64{t.Poll: t.Have})
		}
		// Watched before it is asked for, so that nothing is missed between.
		w.polls[i].topic = h.attach(w, i, t)
	}
	found, err := s.GetMany(ctx, ids)
	if err != nil {
		w.Close()
		return nil, err
	}
	counts := make(map[domain.PollID]domain.Counts, len(found))
	for _, c := range found {
		counts[c.Poll] = c
	}
	for i, t := range targets {
		c, ok := counts[t.Poll]
		if !ok {
			h.detach(w, i)
			continue
		}
		w.left++
		if now := h.begin(w.polls[i].topic, c); now.data != nil && now.version == t.Have {
			w.polls[i].sent, w.polls[i].number = now.version, now.number
		}
		w.tell(i)
	}
	if w.left == 0 {
		w.Close()
		return nil, domain.E(domain.CodeNotFound, "There is no such poll.")
	}
	return w, nil
}

// tell says that there may be news of a poll.
func (s *Stream) tell(index int) {
	s.dirty[index/64].Or(1 << (index % 64))
	signal(s.wake)
}

// Next waits for news and appends the newest states, at most one per poll, and at
// most once per quarter of a second. It appends nothing when there was no news
// for as long as patience. Errors: draining, when the stream is to end because
// the process does; [ErrOver]; what ended ctx.
func (s *Stream) Next(ctx context.Context, patience time.Duration, updates []Update) ([]Update, error) {
	if s.left == 0 {
		return updates, ErrOver
	}
	begun, before := time.Now(), len(updates)
	for len(updates) == before {
		news, err := s.wait(ctx, s.wake, patience-time.Since(begun))
		if err != nil || !news {
			return updates, err
		}
		if _, err := s.wait(ctx, nil, pace-time.Since(s.taken)); err != nil {
			return updates, err
		}
		updates = s.collect(updates)
	}
	s.taken = time.Now()
	s.hub.sent.Add(float64(len(updates) - before))
	return updates, nil
}

// wait waits for a signal, which it reports, at most for d.
func (s *Stream) wait(ctx context.Context, c <-chan struct{}, d time.Duration) (bool, error) {
	if d <= 0 && c == nil {
		return false, nil
	}
	s.timer.Reset(max(d, 0))
	select {
	case <-s.hub.drained:
		return false, domain.E(domain.CodeDraining, "")
	default:
	}
	select {
	case <-c:
		return true, nil
	case <-s.timer.C:
		return false, nil
	case <-s.hub.drained:
		return false, domain.E(domain.CodeDraining, "")
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// collect appends the states of the polls of which there is news.
func (s *Stream) collect(updates []Update) []Update {
	for i := range s.dirty {
		for news := s.dirty[i].Swap(0); news != 0; news &= news - 1 {
			index := 64*i + bits.TrailingZeros64(news)
			p := &s.polls[index]
			if p.topic == nil {
				continue
			}
			now := p.topic.state.Load()
			switch {
			case now.data == nil:
				updates = append(updates, Update{Poll: p.topic.poll})
				s.hub.detach(s, index)
				s.left--
			case now.version > p.sent:
				if p.number > 0 {
					s.hub.conflated.Add(float64(now.number - p.number - 1))
				}
				p.sent, p.number = now.version, now.number
				updates = append(updates, Update{Poll: p.topic.poll, Version: now.version, Data: now.data})
			}
		}
	}
	return updates
}

// Close ends the stream.
func (s *Stream) Close() {
	s.timer.Stop()
	for i := range s.polls {
		s.hub.detach(s, i)
	}
	s.hub.leave()
}
