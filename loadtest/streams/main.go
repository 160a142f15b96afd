// Streams opens thousands of live streams of one poll on a server of its own and
// votes on that poll meanwhile: how long an acknowledged vote takes to the
// clients, how many events each is sent, what a stream costs in memory, and what
// all of them cost the votes.
//
// The server is a process of its own, with its limits raised; the clients come
// from several addresses of the loopback network. Linux only, since it reads
// /proc.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"vote/internal/domain"
	"vote/loadtest/process"
)

func main() {
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "streams:", err)
		os.Exit(1)
	}
}

func start() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		return process.Serve(ctx, os.Args[2])
	}
	var s settings
	flag.IntVar(&s.streams, "streams", 10_000, "streams that are open")
	flag.IntVar(&s.addresses, "addresses", 8, "addresses that they come from")
	flag.IntVar(&s.rate, "rate", 2000, "votes a second on the poll watched, while delivery is measured")
	flag.IntVar(&s.callers, "callers", 64, "connections that vote")
	flag.DurationVar(&s.time, "time", 10*time.Second, "how long each of the three measurements takes")
	flag.Parse()
	return run(ctx, s)
}

type settings struct {
	streams, addresses, rate, callers int
	time                              time.Duration
}

// mostVotes bounds how many votes a second a server is expected to take.
const mostVotes = 12_000

func run(ctx context.Context, s settings) (err error) {
	folder, err := os.MkdirTemp("", "streams")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	data := filepath.Join(folder, "vote.db")
	users, polls, err := seed(ctx, data, (mostVotes+s.rate)*int(s.time.Seconds())+1)
	if err != nil {
		return err
	}
	server, err := process.Start(data, raised...)
	if err != nil {
		return err
	}
	defer server.End()
	if err := ready(ctx, server); err != nil {
		return err
	}
	alone, watched := &ballot{server: server, poll: polls[0], users: users}, &ballot{server: server, poll: polls[1], users: users}

	before, err := alone.closedLoop(ctx, s.callers, s.time)
	if err != nil {
		return err
	}
	idle := server.RSS()
	audience := &audience{acks: make([]atomic.Int64, len(users)+1)}
	defer audience.leave()
	for i := range s.streams {
		if err := audience.open(ctx, server.Address, fmt.Sprintf("127.0.3.%d", 1+i%s.addresses), polls[1]); err != nil {
			return fmt.Errorf("stream %d: %w", i, err)
		}
	}
	time.Sleep(2 * time.Second) // all have their first state
	full := server.RSS()
	fmt.Printf("%d streams: %.1f KiB of resident memory each (%.0f to %.0f MiB), %d files open\n",
		s.streams, (full-idle)*1024/float64(s.streams), idle, full, server.Files())

	watched.acknowledged = audience.acknowledged
	audience.begin()
	voted, err := watched.openLoop(ctx, s.callers, s.rate, s.time)
	if err != nil {
		return err
	}
	figures := audience.end(s.time)
	fmt.Printf("%.0f votes/s on the poll watched: delivery from acknowledgement p50 %v, p99 %v, most %v; %.2f events/s and stream, %d streams broke\n",
		voted, figures.p50, figures.p99, figures.most, figures.perStream, audience.broken.Load())
	time.Sleep(2 * time.Second)
	if n, newest := audience.behind(), audience.newest.Load(); n > 0 {
		return fmt.Errorf("%d streams did not end at version %d", n, newest)
	}
	watched.acknowledged = nil
	during, err := watched.closedLoop(ctx, s.callers, s.time)
	if err != nil {
		return err
	}
	fmt.Printf("votes at most: %.0f/s without streams, %.0f/s with %d: %.2f\n", before, during, s.streams, during/before)
	return nil
}

// ready waits until the server takes requests.
func ready(ctx context.Context, server *process.Process) error {
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+server.Address+"/readyz", http.NoBody)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		if err := answer.Body.Close(); err != nil {
			return err
		}
		if answer.StatusCode == http.StatusOK {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// audience are the clients of the streams.
type audience struct {
	acks   []atomic.Int64 // when a vote that made a version was acknowledged, in ns
	newest atomic.Int64   // version that was acknowledged
	broken atomic.Int64

	reading sync.WaitGroup
	conns   []net.Conn
	last    []*atomic.Int64 // version that each stream has

	measuring atomic.Bool
	events    atomic.Int64
	times     histogram
}

func (a *audience) acknowledged(version int64) {
	a.acks[version].CompareAndSwap(0, time.Now().UnixNano())
	for {
		newest := a.newest.Load()
		if newest >= version || a.newest.CompareAndSwap(newest, version) {
			return
		}
	}
}

// open opens a stream and has it read.
func (a *audience) open(ctx context.Context, address, from string, poll domain.PollID) error {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	a.conns = append(a.conns, c)
	if _, err := fmt.Fprintf(c, "GET /api/polls/%d/stats/stream HTTP/1.1\r\nHost: vote\r\n\r\n", poll); err != nil {
		return err
	}
	r := lines{from: c}
	status, err := r.next()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(status), "HTTP/1.1 200 ") {
		return fmt.Errorf("answer %q", status)
	}
	has := new(atomic.Int64)
	a.last = append(a.last, has)
	a.reading.Go(func() {
		for {
			line, err := r.next()
			if err != nil {
				a.broken.Add(1)
				return
			}
			if id, ok := strings.CutPrefix(string(line), "id: "); ok {
				version, err := strconv.ParseInt(id, 10, 64)
				if err != nil {
					a.broken.Add(1)
					return
				}
				a.arrived(has.Swap(version), version)
			}
		}
	})
	return nil
}

// arrived takes the time of the oldest vote that an event brought news of, since
// that one waited longest.
func (a *audience) arrived(had, version int64) {
	if !a.measuring.Load() {
		return
	}
	a.events.Add(1)
	now := time.Now().UnixNano()
	for v := had + 1; v <= version; v++ {
		if at := a.acks[v].Load(); at > 0 {
			a.times.add(time.Duration(max(0, now-at)))
			return
		}
	}
	a.times.add(0) // it came before the answers did
}

func (a *audience) begin() { a.measuring.Store(true) }

type figures struct {
	p50, p99, most time.Duration
	perStream      float64
}

func (a *audience) end(after time.Duration) figures {
	a.measuring.Store(false)
	return figures{a.times.quantile(50), a.times.quantile(99), a.times.quantile(100), float64(a.events.Load()) / after.Seconds() / float64(len(a.last))}
}

// behind returns how many streams lack the newest version.
func (a *audience) behind() int {
	n, newest := 0, a.newest.Load()
	for _, has := range a.last {
		if has.Load() < newest {
			n++
		}
	}
	return n
}

func (a *audience) leave() {
	for _, c := range a.conns {
		_ = c.Close()
	}
	a.reading.Wait()
}

// histogram counts times in milliseconds.
type histogram struct{ counts [10_000]atomic.Int64 }

func (h *histogram) add(d time.Duration) {
	h.counts[min(int(d.Milliseconds()), len(h.counts)-1)].Add(1)
}

func (h *histogram) quantile(percent int64) time.Duration {
	var total, sum int64
	for i := range h.counts {
		total += h.counts[i].Load()
	}
	for i := range h.counts {
		if sum += h.counts[i].Load(); total > 0 && sum*100 >= total*percent {
			return time.Duration(i) * time.Millisecond
		}
	}
	return 0
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
