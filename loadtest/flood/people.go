package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vote/loadtest/process"
)

const (
	crowd = 40 // well-behaved people, far below every limit
	// pace is how often somebody asks for a page of the feed or skips,
	// signInPace how often somebody signs in.
	pace       = 20 * time.Millisecond
	signInPace = 500 * time.Millisecond
	patience   = 5 * time.Second
)

// person is a well-behaved user with an address of their own.
type person struct {
	email, token string
	client       *http.Client
}

func from(address string) *http.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: patience}
	return &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: d.DialContext, MaxIdleConnsPerHost: 4}}
}

const password = "correct horse battery"

// prepare makes the people and some polls.
func prepare(ctx context.Context, data string) ([]person, error) {
	p, err := process.Start(data)
	if err != nil {
		return nil, err
	}
	defer p.End()
	var people []person
	for i := range crowd {
		q := person{email: fmt.Sprintf("user%d@example.org", i), client: from(fmt.Sprintf("127.0.1.%d", i+1))}
		raw, err := q.call(ctx, p.Address, http.MethodPost, "/api/auth/register", map[string]any{"username": fmt.Sprintf("user%d", i), "email": q.email, "password": password}, http.StatusCreated)
		if err != nil {
			return nil, err
		}
		var session struct {
			Token string `json:"token"`
		}
		if err := json.Unmarshal(raw, &session); err != nil {
			return nil, err
		}
		q.token = session.Token
		for n := range 5 {
			if _, err := q.call(ctx, p.Address, http.MethodPost, "/api/polls", map[string]any{"title": fmt.Sprintf("Question %d of user %d?", n, i), "options": []string{"Yes", "No"}, "tags": []string{"flood"}}, http.StatusCreated); err != nil {
				return nil, err
			}
		}
		q.client.CloseIdleConnections()
		people = append(people, q)
	}
	return people, nil
}

// call makes a request and returns the answer's body; any other status than the
// wanted one is an error.
func (q person) call(ctx context.Context, address, method, path string, body any, want int) ([]byte, error) {
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if q.token != "" {
		r.Header.Set("Authorization", "Bearer "+q.token)
	}
	got, err := q.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = got.Body.Close() }()
	raw, err := io.ReadAll(got.Body)
	if err == nil && got.StatusCode != want {
		err = fmt.Errorf("%s %s: %d %s", method, path, got.StatusCode, raw)
	}
	return raw, err
}

// sight is what people noticed in one phase, and what the server took.
type sight struct {
	rss, peak     float64 // MiB: at the end, at most
	files         int     // at most
	all           []time.Duration
	signIn        time.Duration // p99
	signIns       []time.Duration
	asked, failed int
}

func (s sight) times() string { return ms(quantile(s.all, 50)) + "/" + ms(quantile(s.all, 99)) }

func (s sight) failures() string { return fmt.Sprintf("%d of %d", s.failed, s.asked) }

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }

func quantile(all []time.Duration, percent int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)*percent/100]
}

// watcher lets people act at a steady pace, however slowly they are answered,
// and looks at the server.
type watcher struct {
	cancel  context.CancelFunc
	working sync.WaitGroup
	p       *process.Process

	mu    sync.Mutex
	now   sight
	fault error
}

func watch(ctx context.Context, p *process.Process, people []person) *watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{cancel: cancel, p: p}
	every := func(d time.Duration, act func(n int)) {
		w.working.Go(func() {
			ticker := time.NewTicker(d)
			defer ticker.Stop()
			for n := 0; ; n++ {
				select {
				case <-ticker.C:
					act(n)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	timed := func(add func(*sight, time.Duration), call func() error) {
		w.working.Go(func() {
			start := time.Now()
			err := call()
			if ctx.Err() != nil {
				return
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.now.asked++
			if err != nil {
				w.now.failed++
				w.fault = err
				return
			}
			add(&w.now, time.Since(start))
		})
	}
	every(pace, func(n int) {
		q := people[n%len(people)]
		timed(func(s *sight, d time.Duration) { s.all = append(s.all, d) }, func() error {
			_, err := q.call(ctx, p.Address, http.MethodGet, "/api/polls?limit=10", nil, http.StatusOK)
			return err
		})
	})
	var turn atomic.Int64
	every(signInPace, func(int) {
		q := people[int(turn.Add(1))%len(people)]
		timed(func(s *sight, d time.Duration) { s.signIns = append(s.signIns, d) }, func() error {
			_, err := person{client: q.client}.call(ctx, p.Address, http.MethodPost, "/api/auth/login", map[string]any{"email": q.email, "password": password}, http.StatusOK)
			return err
		})
	})
	every(100*time.Millisecond, func(int) {
		rss, files := p.RSS(), p.Files()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.now.peak, w.now.files = max(w.now.peak, rss), max(w.now.files, files)
	})
	context.AfterFunc(ctx, func() {
		for _, q := range people {
			q.client.CloseIdleConnections()
		}
	})
	return w
}

// begin starts a phase.
func (w *watcher) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = sight{}
}

// end ends a phase and returns what was seen in it.
func (w *watcher) end() sight {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.now
	s.all, s.signIns = slices.Clone(s.all), slices.Clone(s.signIns)
	s.rss, s.signIn = w.p.RSS(), quantile(s.signIns, 99)
	return s
}

// stop ends it all; a server that is gone is an error.
func (w *watcher) stop() error {
	w.cancel()
	w.working.Wait()
	if w.p.RSS() == 0 {
		return fmt.Errorf("the server is gone; the last that people noticed: %w", w.fault)
	}
	return nil
}
