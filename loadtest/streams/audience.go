package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vote/internal/domain"
)

// audience are the clients of the streams of one poll.
type audience struct {
	began   time.Time
	streams []*stream
	reading sync.WaitGroup

	measuring atomic.Bool
	from, to  time.Duration // what is measured, since began

	mu     sync.Mutex
	newest int64  // version that was answered
	votes  []vote // by the version that they were answered with
}

// vote is of those that were answered with the same version the one that was due
// first, and of their answers the first. The times are since audience.began; zero
// says that there was none.
type vote struct{ due, answered time.Duration }

// stream is the client of one stream.
type stream struct {
	conn net.Conn
	has  atomic.Int64 // version
	// Of the goroutine that reads, then of who waited for it.
	events []event
	fault  error
}

// event brought news of the versions after had.
type event struct {
	had, version int64
	at           time.Duration
}

// newAudience returns one of nobody yet, for so many votes.
func newAudience(votes int) *audience {
	return &audience{began: time.Now(), votes: make([]vote, votes+1)}
}

// answered takes note of a vote that was answered now.
func (a *audience) answered(version int64, due time.Time) {
	now, since := time.Since(a.began), due.Sub(a.began)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.newest = max(a.newest, version)
	v := &a.votes[version]
	if v.answered == 0 {
		*v = vote{since, now}
	}
	v.due = min(v.due, since)
}

// open opens a stream and has it read.
func (a *audience) open(ctx context.Context, address, from string, poll domain.PollID) error {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	s := &stream{conn: c}
	a.streams = append(a.streams, s)
	if _, err := fmt.Fprintf(c, "GET /api/polls/%d/stats/stream HTTP/1.1\r\nHost: vote\r\n\r\n", poll); err != nil {
		return err
	}
	r := &lines{from: c}
	status, err := r.next()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(status), "HTTP/1.1 200 ") {
		return fmt.Errorf("answer %q", status)
	}
	a.reading.Go(func() { s.fault = a.read(s, r) })
	return nil
}

// read reads a stream to its end and returns what was wrong with it.
func (a *audience) read(s *stream, r *lines) error {
	for {
		line, err := r.next()
		if errors.Is(err, net.ErrClosed) {
			return nil // as was wanted
		}
		if err != nil {
			return err
		}
		id, ok := strings.CutPrefix(string(line), "id: ")
		if !ok {
			continue
		}
		version, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			return err
		}
		had := s.has.Load()
		if version < had || version == had && had > 0 {
			return fmt.Errorf("version %d came after %d", version, had)
		}
		s.has.Store(version)
		if a.measuring.Load() {
			s.events = append(s.events, event{had, version, time.Since(a.began)})
		}
	}
}

func (a *audience) begin() {
	a.from = time.Since(a.began)
	a.measuring.Store(true)
}

func (a *audience) end() {
	a.measuring.Store(false)
	a.to = time.Since(a.began)
}

// leave closes the streams and returns what was wrong with them.
func (a *audience) leave() error {
	for _, s := range a.streams {
		_ = s.conn.Close()
	}
	a.reading.Wait()
	for _, s := range a.streams {
		if has := s.has.Load(); s.fault == nil && has < a.newest {
			s.fault = fmt.Errorf("it ended at version %d of %d", has, a.newest)
		}
	}
	var first error
	faulty := 0
	for _, s := range a.streams {
		if s.fault != nil {
			first = s.fault
			faulty++
		}
	}
	if faulty > 0 {
		return fmt.Errorf("%d of %d streams failed, one of them: %w", faulty, len(a.streams), first)
	}
	return nil
}

// figures are what was measured. Each event counts once, by the oldest vote that
// it brought news of, since that one waited longest.
type figures struct {
	fromAnswer, fromDue  times
	perStream, mostOfOne float64 // events a second
}

// figures returns what was measured, when all have left.
func (a *audience) figures() figures {
	oldest := make([]vote, len(a.votes)+1) // of this version or a later one
	for v := len(a.votes) - 1; v >= 0; v-- {
		if oldest[v] = a.votes[v]; oldest[v].answered == 0 {
			oldest[v] = oldest[v+1]
		}
	}
	var f figures
	most, events := 0, 0
	for _, s := range a.streams {
		events += len(s.events)
		most = max(most, len(s.events))
		for _, e := range s.events {
			v := oldest[e.had+1]
			f.fromAnswer = append(f.fromAnswer, max(0, e.at-v.answered)) // it may come before the answer
			f.fromDue = append(f.fromDue, e.at-v.due)
		}
	}
	seconds := (a.to - a.from).Seconds()
	f.perStream, f.mostOfOne = float64(events)/seconds/float64(len(a.streams)), float64(most)/seconds
	f.fromAnswer.sort()
	f.fromDue.sort()
	return f
}

// times are how long something took.
type times []time.Duration

func (t times) sort() { slices.Sort(t) }

// String tells of times that are sorted.
func (t times) String() string {
	if len(t) == 0 {
		return "never"
	}
	at := func(percent int) time.Duration { return t[(len(t)-1)*percent/100].Round(100 * time.Microsecond) }
	return fmt.Sprintf("p50 %v, p99 %v, most %v", at(50), at(99), at(100))
}

// lines reads lines of up to a kilobyte; of longer ones the rest is passed over.
type lines struct {
	from       net.Conn
	buffer     [1024]byte
	have, used int
}

func (l *lines) next() ([]byte, error) {
	for {
		for i := l.used; i < l.have; i++ {
			if l.buffer[i] == '\n' {
				line := l.buffer[l.used:i]
				l.used = i + 1
				return trimCR(line), nil
			}
		}
		if l.used == 0 && l.have == len(l.buffer) {
			l.have = 0 // longer than what is of interest
		}
		l.have = copy(l.buffer[:], l.buffer[l.used:l.have])
		l.used = 0
		n, err := l.from.Read(l.buffer[l.have:])
		if err != nil {
			return nil, err
		}
		l.have += n
	}
}

func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}
