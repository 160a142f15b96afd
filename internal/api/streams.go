package api

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"vote/internal/domain"
	"vote/internal/live"
)

const (
	// heartbeat is how often a stream has a comment, so that neither end nor
	// anybody between takes the connection for dead.
	heartbeat = 10 * time.Second
	// streamBuffer is how much a connection's socket holds of what its client has
	// not taken. What waits there is not replaced by what is newer, so it is small.
	streamBuffer = 16 << 10
)

// A stream's field retry says after how long its client connects again: when
// the connection breaks, and, longer, when the server ends. Each stream gets
// another time, so that thousands that end at once do not come back at once.
const (
	retryLeast, retryMost = time.Second, 3 * time.Second
	laterLeast, laterMost = time.Second, 10 * time.Second
)

// streamPoll streams the counts of one poll.
func (s *server) streamPoll(c *call) error {
	leave, err := c.enterStream()
	if err != nil {
		return err
	}
	defer leave()
	id, err := c.pollID()
	if err != nil {
		return err
	}
	options, err := s.feed.Options(c.context(), id)
	if err != nil {
		return err
	}
	target := streamTarget(id, options)
	if version, err := strconv.ParseInt(c.lastEventID(), 10, 64); err == nil {
		target.Have = version
	}
	return s.stream(c, []live.Target{target}, func(b []byte, u live.Update) []byte {
		return appendInt(b, u.Version)
	})
}

// streamPolls streams the counts of several polls.
func (s *server) streamPolls(c *call) error {
	leave, err := c.enterStream()
	if err != nil {
		return err
	}
	defer leave()
	ids := c.pollParams()
	if err := c.invalid(); err != nil {
		return err
	}
	lastPoll, lastVersion, _ := strings.Cut(c.lastEventID(), ":")
	targets := make([]live.Target, 0, len(ids))
	for _, id := range ids {
		options, err := s.feed.Options(c.context(), id)
		if errors.Is(err, errNoPoll) {
			continue
		}
		if err != nil {
			return err
		}
		target := streamTarget(id, options)
		if version, err := strconv.ParseInt(lastVersion, 10, 64); err == nil && lastPoll == strconv.FormatInt(int64(id), 10) {
			target.Have = version
		}
		targets = append(targets, target)
	}
	none := domain.Invalid([]domain.FieldError{{Field: pollsParam, Message: "names no poll that exists"}})
	if len(targets) == 0 {
		return none
	}
	err = s.stream(c, targets, func(b []byte, u live.Update) []byte {
		b = appendInt(b, int64(u.Poll))
		b = append(b, ':')
		return appendInt(b, u.Version)
	})
	if errors.Is(err, errNoPoll) {
		return none // hidden or deleted in between
	}
	return err
}

// lastEventID is the id of the last event that the client got, if it was here
// before; empty otherwise. One that makes no sense has no effect.
func (c *call) lastEventID() string { return c.g.Request.Header.Get("Last-Event-ID") }

func streamTarget(id domain.PollID, options []string) live.Target {
	return live.Target{Poll: id, Have: -1, Encode: func(counts domain.Counts) []byte {
		b := append(make([]byte, 0, 512), "event: stats\ndata: "...)
		return append(appendStats(b, counts, options), '\n')
	}}
}

// stream answers with the states of polls until the client leaves or is too
// slow, none of the polls may be seen any more, or the server ends. appendID
// appends the id of an event.
func (s *server) stream(c *call, targets []live.Target, appendID func([]byte, live.Update) []byte) error {
	watched, err := s.live.Watch(c.context(), targets)
	if err != nil {
		return err
	}
	defer watched.Close()
	w := c.beginStream()
	if c.g.Request.Method == http.MethodHead {
		return nil
	}
	s.metrics.streamsEnded.WithLabelValues(w.run(c.context(), watched, appendID)).Inc()
	return nil
}

// streamWriter writes events. A client has the timeout for each, and up to an
// eighth of it more, since moving the deadline every time would cost a tenth of
// an event.
type streamWriter struct {
	to      http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	renewed time.Time // when the deadline was last moved
	scratch []byte
}

// beginStream sends the head of the answer. The request counts as answered from
// now on, in the metrics too.
func (c *call) beginStream() *streamWriter {
	h := c.header()
	h["Content-Type"] = headerEvents
	h["Cache-Control"] = headerNoStore
	h["X-Accel-Buffering"] = headerNo
	c.tellWindow()
	c.g.Writer.WriteHeader(http.StatusOK)
	c.g.Writer.WriteHeaderNow()
	c.streams = true
	c.s.metrics.inFlight.Add(-1)
	c.route.metrics.observe(c.g.Request.Method, http.StatusOK, time.Since(c.start))
	// Gin's own writer would hide what becomes of a flush.
	to := c.g.Writer.(interface{ Unwrap() http.ResponseWriter }).Unwrap()
	w := &streamWriter{to: to, control: http.NewResponseController(to), timeout: c.s.writeTimeout}
	// A writer that knows no deadlines has none to miss; the server's for reading
	// a request would else end the stream.
	_ = w.control.SetReadDeadline(time.Time{})
	if conn, ok := c.context().Value(connKey{}).(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = conn.SetWriteBuffer(streamBuffer) // a larger one costs memory only
	}
	return w
}

// Why a stream ended, for the metrics.
const (
	endClient = "client" // it left, or the connection broke
	endSlow   = "slow"   // it did not take an event in time
	endGone   = "gone"   // no poll was left
	endDrain  = "drain"  // the server ends
)

// run writes events until the stream is to end, and returns why it ended.
func (w *streamWriter) run(ctx context.Context, watched *live.Stream, appendID func([]byte, live.Update) []byte) string {
	beat := time.Now().Add(heartbeat)
	err := w.write(appendRetry(w.scratch, retryLeast, retryMost))
	var updates []live.Update
	for err == nil {
		var end error
		updates, end = watched.Next(ctx, time.Until(beat), updates[:0])
		switch {
		case errors.Is(end, live.ErrOver):
			return endGone
		case domain.CodeOf(end) == domain.CodeDraining:
			_ = w.write(appendRetry(w.scratch, laterLeast, laterMost)) // it ends either way
			return endDrain
		case end != nil:
			return endClient
		}
		if now := time.Now(); !now.Before(beat) {
			beat = now.Add(heartbeat)
			err = w.put([]byte(":\n\n"))
		}
		err = errors.Join(err, w.events(updates, appendID), w.flush())
		clear(updates) // what is replaced meanwhile shall not be held by who sleeps
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return endSlow
	}
	return endClient
}

// events writes updates without sending them.
func (w *streamWriter) events(updates []live.Update, appendID func([]byte, live.Update) []byte) error {
	for _, u := range updates {
		b := w.scratch[:0]
		if u.Data == nil {
			b = append(b, "event: gone\ndata: {\"pollId\":"...)
			b = appendInt(b, int64(u.Poll))
			b = append(b, "}\n\n"...)
		} else {
			if err := w.put(u.Data); err != nil {
				return err
			}
			b = append(b, "id: "...)
			b = append(appendID(b, u), "\n\n"...)
		}
		w.scratch = b
		if err := w.put(b); err != nil {
			return err
		}
	}
	return nil
}

// put writes b. What is written goes out when there is much of it, or by flush.
func (w *streamWriter) put(b []byte) error {
	if slack := w.timeout / 8; w.timeout > 0 {
		if now := time.Now(); now.Sub(w.renewed) >= slack {
			w.renewed = now
			// A writer that knows no deadlines has none to miss.
			_ = w.control.SetWriteDeadline(now.Add(w.timeout + slack))
		}
	}
	_, err := w.to.Write(b)
	return err
}

func (w *streamWriter) flush() error { return w.control.Flush() }

// write sends b.
func (w *streamWriter) write(b []byte) error {
	w.scratch = b
	if err := w.put(b); err != nil {
		return err
	}
	return w.flush()
}

// appendRetry tells the client after how long to come back: a random time.
func appendRetry(b []byte, least, most time.Duration) []byte {
	wait := least + rand.N(most-least) //nolint:gosec // no secret
	b = append(b[:0], "retry: "...)
	return append(appendInt(b, wait.Milliseconds()), "\n\n"...)
}

// streams counts the streams that are open, by the address and by the user.
type streams struct {
	mu sync.Mutex
	by map[string]int
}

// enterStream takes a place of the caller's address and, with a token, one of the
// user; leave gives them back. Errors: too_many_streams when they are taken; then
// the request is not counted.
func (c *call) enterStream() (leave func(), err error) {
	limit := c.s.limits.StreamsPerAddress
	if limit == 0 {
		return func() {}, nil
	}
	keys := []string{c.address()}
	if c.token == tokenValid {
		keys = append(keys, c.windowKey(""))
	}
	open := &c.s.streams
	open.mu.Lock()
	defer open.mu.Unlock()
	if slices.ContainsFunc(keys, func(key string) bool { return open.by[key] >= limit }) {
		if c.refund(); c.windowed {
			c.window.Remaining++
		}
		return nil, domain.E(domain.CodeTooManyStreams, "")
	}
	if open.by == nil {
		open.by = make(map[string]int)
	}
	for _, key := range keys {
		open.by[key]++
	}
	return func() {
		open.mu.Lock()
		defer open.mu.Unlock()
		for _, key := range keys {
			if open.by[key]--; open.by[key] == 0 {
				delete(open.by, key)
			}
		}
	}, nil
}

type connKey struct{}

// WithConnection is for [http.Server].ConnContext: streams make their
// connection's buffer small, so that a client that does not read is noticed, and
// costs little until then.
func WithConnection(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

var (
	headerEvents = []string{"text/event-stream"}
	headerNo     = []string{"no"}
)
