package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// load is a closed loop of connections, each with one request under way. It
// speaks just enough HTTP/1.1 to cost little itself, so that what is compared
// are the servers.
type load struct {
	addr        string
	connections int
	// next appends the whole request that a connection sends as its n-th, and
	// reports false when it has none left.
	next func(b []byte, connection, n int) ([]byte, bool)
	// want is the status that counts; any other ends the run with an error.
	want int
}

// figures are what one run of a load gave.
type figures struct {
	perSecond float64
	p50, p99  time.Duration
	requests  int
}

// run drives the load for d, or until a connection has no request left.
func (l load) run(d time.Duration) (figures, error) {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		all   []time.Duration
		fault error
		stop  atomic.Bool
	)
	start := time.Now()
	for c := range l.connections {
		wg.Go(func() {
			times, err := l.connection(c, &stop)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, times...)
			if err != nil && fault == nil {
				fault = err
				stop.Store(true)
			}
		})
	}
	timer := time.AfterFunc(d, func() { stop.Store(true) })
	wg.Wait()
	timer.Stop()
	elapsed := time.Since(start)
	if fault != nil {
		return figures{}, fault
	}
	if len(all) == 0 {
		return figures{}, fmt.Errorf("%s answered nothing in %v", l.addr, d)
	}
	slices.Sort(all)
	return figures{
		perSecond: float64(len(all)) / elapsed.Seconds(), requests: len(all),
		p50: all[len(all)/2], p99: all[len(all)*99/100],
	}, nil
}

func (l load) connection(c int, stop *atomic.Bool) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", l.addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	r := bufio.NewReaderSize(conn, 32<<10)
	times := make([]time.Duration, 0, 1<<16)
	var request []byte
	for n := 0; !stop.Load(); n++ {
		var ok bool
		if request, ok = l.next(request[:0], c, n); !ok {
			stop.Store(true)
			break
		}
		sent := time.Now()
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		status, body, err := readAnswer(r)
		if err != nil {
			return nil, err
		}
		if status != l.want {
			return nil, fmt.Errorf("answer %d, want %d: %s", status, l.want, body)
		}
		times = append(times, time.Since(sent))
	}
	return times, nil
}

// readAnswer reads one answer with a Content-Length. The body is returned only
// for a status that is not a success; otherwise it is skipped.
func readAnswer(r *bufio.Reader) (status int, body []byte, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 {
		return 0, nil, fmt.Errorf("malformed status line %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, err
	}
	length := -1
	for {
		line, err = r.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		if len(line) <= 2 {
			break
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(v))); err != nil {
				return 0, nil, err
			}
		}
	}
	if length < 0 {
		return 0, nil, fmt.Errorf("answer %d without Content-Length", status)
	}
	if status >= 300 {
		body = make([]byte, length)
		_, err = io.ReadFull(r, body)
		return status, body, err
	}
	_, err = r.Discard(length)
	return status, nil, err
}
