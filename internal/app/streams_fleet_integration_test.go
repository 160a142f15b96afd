//go:build integration && linux

package app_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"vote/internal/testservers"
)

var streamVotes = flag.Int("app.streamvotes", 8, "how many votes each phase of TestStreamsOfTheFleet follows")

// TestStreamsOfTheFleet votes at one instance after the other and waits for each
// vote in the streams of all three, which stay open while the broker, the cache,
// and both are away and come back.
func TestStreamsOfTheFleet(t *testing.T) {
	rabbit, redis := testservers.StartRabbitMQ(t), testservers.StartRedis(t)
	s := startTrioOver(t, backends{postgres: testservers.Database(t), redis: redis.Address(), rabbitmq: rabbit.URL(), api: rabbit.API()})
	polls := s.publish(t, token(s.join(t, 0)), 2)
	var all []*follower
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	for i := range instances {
		single, several := fmt.Sprintf("/api/polls/%d/stats/stream", polls[0]), fmt.Sprintf("/api/stream?polls=%d,%d", polls[0], polls[1])
		all = append(all, follow(ctx, t, i, *s.instances[i].url.Load()+single, polls[:1]), follow(ctx, t, i, *s.instances[i].url.Load()+several, polls))
	}
	versions := make(map[int64]int64)
	for _, phase := range []struct {
		name  string
		begin func()
	}{
		{"everything is up", func() {}},
		{"RabbitMQ is stopped", rabbit.Stop},
		{"RabbitMQ is stopped, Redis frozen", redis.Stop},
		{"RabbitMQ is stopped, Redis killed", func() { redis.Continue(); redis.Kill() }},
		{"both are back", func() { redis.Restart(); rabbit.Start() }},
	} {
		// Who is to vote has an account before something goes.
		var voters []string
		for range (*streamVotes + 1) / 2 {
			voters = append(voters, token(s.join(t, len(voters))))
		}
		phase.begin()
		var delays []time.Duration
		for i := range *streamVotes {
			// At any moment of the quarter of a second after the state before.
			time.Sleep(time.Duration(i*61%250) * time.Millisecond)
			poll, at := polls[i%2], i%instances
			sent := time.Now()
			s.must(t, at, http.StatusOK, "POST", fmt.Sprintf("/api/polls/%d/vote", poll), voters[i/2], map[string]any{"optionIndex": 0})
			versions[poll]++
			for _, f := range all {
				if !slices.Contains(f.polls, poll) {
					continue
				}
				seen, err := f.await(poll, versions[poll])
				if err != nil {
					t.Fatalf("%s: vote %d at instance %d, in a stream of instance %d: %v", phase.name, i, at, f.instance, err)
				}
				if f.instance != at {
					delays = append(delays, seen.Sub(sent))
				}
			}
		}
		slices.Sort(delays)
		quantile := func(percent int) time.Duration { return delays[(len(delays)-1)*percent/100].Round(time.Millisecond) }
		t.Logf("%-34s %d votes in streams of other instances, from sending: p50 %v, p99 %v, most %v",
			phase.name, *streamVotes, quantile(50), quantile(99), quantile(100))
	}
	leave()
	for _, f := range all {
		if err := f.end(); err != nil {
			t.Errorf("a stream of instance %d: %v", f.instance, err)
		}
	}
}

// follower reads a stream.
type follower struct {
	instance int
	polls    []int64
	ended    chan struct{} // closed when the stream has ended

	mu    sync.Mutex
	news  chan struct{} // closed at the next event
	seen  map[int64]sighting
	fault error // why the stream ended
}

// sighting is of the newest version of a poll.
type sighting struct {
	version int64
	at      time.Time
}

// follow opens a stream of polls and reads it until ctx ends.
func follow(ctx context.Context, t *testing.T, instance int, url string, polls []int64) *follower {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d", url, answer.StatusCode)
	}
	f := &follower{instance: instance, polls: polls, ended: make(chan struct{}), news: make(chan struct{}), seen: make(map[int64]sighting)}
	go func() {
		defer close(f.ended)
		defer func() { _ = answer.Body.Close() }()
		lines := bufio.NewScanner(answer.Body)
		fault := error(nil)
		for fault == nil && lines.Scan() {
			fault = f.line(lines.Text())
		}
		if fault == nil && ctx.Err() == nil {
			fault = errors.Join(errors.New("it ended"), lines.Err())
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.fault = fault
	}()
	for _, poll := range polls { // the current state, with which it begins
		if _, err := f.await(poll, 0); err != nil {
			t.Fatalf("%s: %v", url, err)
		}
	}
	return f
}

// line takes note of a line of a stream.
func (f *follower) line(text string) error {
	id, ok := strings.CutPrefix(text, "id: ")
	if !ok {
		return nil
	}
	poll := f.polls[0]
	if of, version, several := strings.Cut(id, ":"); several {
		id = version
		var err error
		if poll, err = strconv.ParseInt(of, 10, 64); err != nil {
			return err
		}
	}
	version, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if had, again := f.seen[poll]; again && version <= had.version {
		return fmt.Errorf("version %d of poll %d came after %d", version, poll, had.version)
	}
	f.seen[poll] = sighting{version, time.Now()}
	close(f.news)
	f.news = make(chan struct{})
	return nil
}

// await waits for a version of a poll and returns when it came.
func (f *follower) await(poll, version int64) (time.Time, error) {
	timeout := time.After(30 * time.Second)
	for {
		f.mu.Lock()
		has, ok := f.seen[poll]
		news := f.news
		f.mu.Unlock()
		if ok && has.version >= version {
			return has.at, nil
		}
		select {
		case <-news:
		case <-f.ended:
			return time.Time{}, f.end()
		case <-timeout:
			return time.Time{}, fmt.Errorf("version %d of poll %d did not come in 30 s; it has %d", version, poll, has.version)
		}
	}
}

// end waits for the end of the stream and returns what was wrong with it.
func (f *follower) end() error {
	<-f.ended
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault
}
