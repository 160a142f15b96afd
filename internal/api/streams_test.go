package api_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"vote/internal/api"
	"vote/internal/domain"
)

// sse is an open stream of events.
type sse struct {
	t     *testing.T
	reply // without body
	lines *bufio.Reader
	close func()
}

// event is what comes between two empty lines.
type event struct{ name, id, data, retry, comment string }

// open makes a request for a stream over TCP, from a local address ("" for any).
func (s *site) open(t *testing.T, from, address, as, path string, header ...string) *sse {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	r := s.request(as, http.MethodGet, path, "", header...).WithContext(ctx)
	r.RequestURI, r.URL.Scheme, r.URL.Host = "", "http", address
	var dialer net.Dialer
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	transport := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
	got, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	e := &sse{t: t, lines: bufio.NewReader(got.Body), close: func() {
		cancel()
		_ = got.Body.Close()
	}}
	t.Cleanup(e.close)
	e.status, e.header = got.StatusCode, got.Header
	if got.StatusCode != http.StatusOK {
		body, err := io.ReadAll(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		e.body = string(body)
	}
	return e
}

// next returns the next event; an error at the end.
func (e *sse) next() (event, error) {
	var got event
	for {
		line, err := e.lines.ReadString('\n')
		if err != nil {
			return got, err
		}
		line = strings.TrimSuffix(line, "\n")
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			return got, nil
		case field == "":
			got.comment = "comment" + value
		case field == "event":
			got.name = value
		case field == "id":
			got.id = value
		case field == "data":
			got.data = value
		case field == "retry":
			got.retry = value
		default:
			e.t.Fatalf("a line %q", line)
		}
	}
}

// stats returns the next event that is neither a comment nor retry.
func (e *sse) stats() event {
	e.t.Helper()
	for {
		got, err := e.next()
		if err != nil {
			e.t.Fatalf("the stream ended: %v", err)
		}
		if got.name != "" {
			return got
		}
	}
}

func (s *site) cast(name, poll string) {
	s.t.Helper()
	if got := s.do(name, "POST", "/api/polls/{"+poll+"}/vote", `{"optionIndex":1}`); got.status != http.StatusOK {
		s.t.Fatalf("vote of %s: %d %s", name, got.status, got.body)
	}
}

// A stream outlives the server's time-outs and tells the same as the document.
func TestStream(t *testing.T) {
	t.Parallel()
	const timeout = 300 * time.Millisecond
	s := newSite(t, func(c *api.Config) {
		c.WriteTimeout = timeout
		c.Limits = api.Limits{RequestsPerMinute: 100, StreamsPerAddress: 10}
	})
	s.join("mira", "jonas")
	s.publish("mira", "one")
	s.cast("mira", "one")
	address := s.listen(timeout)
	e := s.open(t, "", address, "", "/api/polls/{one}/stats/stream")
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Ratelimit-Limit": "100", "X-Ratelimit-Remaining": "99",
		"X-Content-Type-Options": "nosniff", "Content-Length": "",
	} {
		if got := e.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	first, err := e.next()
	if wait, wrong := strconv.Atoi(first.retry); err != nil || wrong != nil || wait < 1000 || wait > 3000 {
		t.Errorf("begins with %+v, %v", first, err)
	}
	same := func(e *sse, id string) {
		t.Helper()
		got := e.stats()
		if want := s.do("", "GET", "/api/polls/{one}/stats", "").body; got.name != "stats" || got.id != s.named(id) || got.data != want {
			t.Errorf("event %+v, want %s with %s", got, s.named(id), want)
		}
	}
	same(e, "1")
	time.Sleep(3 * timeout)
	s.cast("jonas", "one")
	same(e, "2")

	again := s.open(t, "", address, "jonas", "/api/polls/{one}/stats/stream", "Last-Event-ID", "2")
	older := s.open(t, "", address, "", "/api/polls/{one}/stats/stream", "Last-Event-ID", "1")
	odd := s.open(t, "", address, "", "/api/polls/{one}/stats/stream", "Last-Event-ID", "{one}:2")
	same(older, "2")
	same(odd, "2")
	if got := s.do("mira", "POST", "/api/polls/{one}/skip", ""); got.status != http.StatusConflict {
		t.Fatal(got)
	}
	s.join("eve")
	s.cast("eve", "one")
	for _, e := range []*sse{e, again, older} {
		same(e, "3")
	}
	metrics := s.do("", "GET", "/metrics", "").body
	for _, want := range []string{
		`vote_http_requests_total{method="GET",route="/api/polls/{id}/stats/stream",status="200"} 4`, `vote_http_requests_in_flight 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestStreamOfSeveralPolls(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	names := make([]string, 0, 100)
	ids := make([]string, 0, 100)
	for i := range 99 {
		names = append(names, "p"+strconv.Itoa(i))
		ids = append(ids, "{"+names[i]+"}")
	}
	s.publish("mira", names...)
	s.cast("mira", "p7")
	address := s.listen(5 * time.Second)
	e := s.open(t, "", address, "mira", "/api/stream?polls=5,"+strings.Join(ids, ","))
	want := make(map[string]string)
	for _, name := range names {
		want[s.named("{"+name+"}:0")] = s.do("", "GET", "/api/polls/{"+name+"}/stats", "").body
	}
	want[s.named("{p7}:1")] = want[s.named("{p7}:0")]
	delete(want, s.named("{p7}:0"))
	for range names {
		got := e.stats()
		if want[got.id] == "" || got.data != want[got.id] {
			t.Errorf("event %+v, want %s", got, want[got.id])
		}
		delete(want, got.id)
	}
	s.cast("mira", "p3")
	if got := e.stats(); got.id != s.named("{p3}:1") {
		t.Errorf("event %+v", got)
	}
	// The id of the last event tells of its poll alone.
	again := s.open(t, "", address, "", "/api/stream?polls={p3},{p7}", "Last-Event-ID", "{p3}:1")
	if got := again.stats(); got.id != s.named("{p7}:1") {
		t.Errorf("event %+v", got)
	}
	s.cast("mira", "p0")
	s.setState("p7", domain.PollHidden)
	if got := again.stats(); got.name != "gone" || got.id != "" || got.data != s.named(`{"pollId":{p7}}`) {
		t.Errorf("event %+v of a hidden poll", got)
	}
	s.setState("p3", domain.PollHidden)
	if got := again.stats(); got.name != "gone" || got.data != s.named(`{"pollId":{p3}}`) {
		t.Errorf("event %+v of a hidden poll", got)
	}
	if _, err := again.next(); !errors.Is(err, io.EOF) {
		t.Errorf("a stream without polls: %v, want its end", err)
	}
	if got := s.open(t, "", address, "", "/api/stream?polls={p3},{p7}"); got.status != http.StatusUnprocessableEntity {
		t.Errorf("of hidden polls only: %d", got.status)
	}
	// What its author deletes is gone at once.
	one := s.open(t, "", address, "", "/api/polls/{p1}/stats/stream")
	one.stats()
	if got := s.do("mira", "DELETE", "/api/polls/{p1}", ""); got.status != http.StatusNoContent {
		t.Fatal(got)
	}
	if got := one.stats(); got.name != "gone" {
		t.Errorf("event %+v of a deleted poll", got)
	}
	if _, err := one.next(); !errors.Is(err, io.EOF) {
		t.Errorf("after that %v, want its end", err)
	}
	if got := s.open(t, "", address, "", "/api/polls/{p1}/stats/stream"); got.status != http.StatusNotFound {
		t.Errorf("of a deleted poll: %d", got.status)
	}
}

func TestStreamsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *api.Config) { c.Limits.StreamsPerAddress = 3 })
	s.join("mira")
	s.publish("mira", "one")
	for target, want := range map[string]int{
		"/api/polls/5/stats/stream": 404, "/api/polls/x/stats/stream": 404, "/api/polls/-1/stats/stream": 404, "/api/stream": 422, "/api/stream?polls=": 422, "/api/stream?polls=x": 422,
		"/api/stream?polls={one},": 422, "/api/stream?polls=5,6": 422, "/api/stream?polls=" + manyIDs(101): 422, "/api/stream?polls=%zz": 400,
	} {
		for range 4 { // none of them takes a place
			if got := s.do("mira", "GET", target, ""); got.status != want || got.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s: %d %s, want %d", target, got.status, got.body, want)
			}
		}
	}
	for _, target := range []string{"/api/polls/{one}/stats/stream", "/api/stream?polls={one},5"} {
		for range 4 {
			if got := s.do("", "HEAD", target, ""); got.status != 200 || got.header.Get("Content-Type") != "text/event-stream" || got.body != "" {
				t.Errorf("HEAD %s: %d %v %q", target, got.status, got.header, got.body)
			}
		}
		if got := s.do("", "POST", target, ""); got.status != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", target, got.status)
		}
	}
}

// Streams are counted by the address, and with a token by the user too.
func TestStreamsAreLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *api.Config) {
		c.Limits = api.Limits{RequestsPerMinute: 50, StreamsPerAddress: 2}
	})
	s.join("mira", "jonas")
	s.publish("mira", "one")
	address := s.listen(5 * time.Second)
	open := func(from, as string) *sse { return s.open(t, from, address, as, "/api/polls/{one}/stats/stream") }
	first := open("127.0.0.1", "mira")
	if open("127.0.0.1", "").status != http.StatusOK {
		t.Fatal("the second stream of an address is refused")
	}
	refused := open("127.0.0.1", "")
	if refused.status != http.StatusTooManyRequests || refused.code() != "too_many_streams" || refused.header.Get("Retry-After") == "" || refused.header.Get("X-Ratelimit-Remaining") != "49" {
		t.Errorf("the third stream of an address: %d %s %v", refused.status, refused.body, refused.header)
	}
	if got := open("127.0.0.2", "mira"); got.status != http.StatusOK || got.header.Get("X-Ratelimit-Remaining") != "47" {
		t.Errorf("another address: %d %v", got.status, got.header)
	}
	if got := open("127.0.0.3", "mira"); got.status != http.StatusTooManyRequests {
		t.Errorf("the third stream of a user: %d", got.status)
	}
	if got := open("127.0.0.3", "jonas"); got.status != http.StatusOK {
		t.Errorf("another user: %d", got.status)
	}
	first.close()
	eventually(t, "a place is free", func() bool {
		e := open("127.0.0.1", "mira")
		defer e.close()
		return e.status == http.StatusOK
	})
}

func TestStreamsEndWithTheServer(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	s.publish("mira", "one")
	address := s.listen(5 * time.Second)
	e := s.open(t, "", address, "", "/api/polls/{one}/stats/stream")
	e.stats()
	s.live.EndStreams()
	last, err := e.next()
	if wait, wrong := strconv.Atoi(last.retry); err != nil || wrong != nil || wait < 1000 || wait > 10_000 {
		t.Errorf("ends with %+v, %v", last, err)
	}
	if _, err := e.next(); !errors.Is(err, io.EOF) {
		t.Errorf("after that %v, want the end", err)
	}
	if got := s.open(t, "", address, "", "/api/polls/{one}/stats/stream"); got.status != http.StatusServiceUnavailable || got.code() != "draining" || got.header.Get("Retry-After") == "" {
		t.Errorf("a new one: %d %s", got.status, got.body)
	}
}

// Who does not take what is sent is cut off, and delays nobody meanwhile.
func TestSlowClientIsCutOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *api.Config) { c.WriteTimeout = 200 * time.Millisecond })
	s.join("mira", "jonas")
	var ids []string
	for range 60 {
		options := make([]string, 20)
		for i := range options {
			options[i] = `"` + strconv.Itoa(i) + strings.Repeat("投", 190) + `"`
		}
		got := s.do("mira", "POST", "/api/polls", `{"title":"t","options":[`+strings.Join(options, ",")+`],"tags":["x"]}`)
		var p struct{ ID int64 }
		if got.into(&p); p.ID == 0 {
			t.Fatal(got)
		}
		ids = append(ids, strconv.FormatInt(p.ID, 10))
	}
	s.names["one"] = ids[0]
	address := s.listen(5 * time.Second)
	quick := s.open(t, "", address, "", "/api/polls/{one}/stats/stream")
	quick.stats()
	slow, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slow.Close() }()
	if _, err := io.WriteString(slow, "GET /api/stream?polls="+strings.Join(ids, ",")+" HTTP/1.1\r\nHost: vote\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	s.cast("mira", "one")
	if got := quick.stats(); got.id != "1" {
		t.Errorf("event %+v", got)
	}
	eventually(t, "the slow one is cut off", func() bool {
		return strings.Contains(s.do("", "GET", "/metrics", "").body, `vote_streams_ended_total{reason="slow"} 1`)
	})
	s.cast("jonas", "one")
	if got := quick.stats(); got.id != "2" {
		t.Errorf("event %+v", got)
	}
}

// flushed ends a request when something of its answer was sent.
type flushed struct {
	*httptest.ResponseRecorder
	end func()
}

func (w flushed) Flush() { w.end() }

// begin answers with what a stream begins with.
func (s *site) begin(r *http.Request) *httptest.ResponseRecorder {
	ctx, end := context.WithCancel(r.Context())
	defer end()
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(flushed{w, end}, r.WithContext(ctx))
	return w
}
