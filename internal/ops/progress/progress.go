// Package progress shows on a terminal how far long work has come.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// every is how often the line is written over.
const every = 200 * time.Millisecond

// width is how many characters the bar has.
const width = 20

// Terminal returns the file when people look at it, and else nil.
func Terminal(f *os.File) io.Writer {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	// The null device is of the same kind, and nobody looks at it.
	if null, err := os.Stat(os.DevNull); err == nil && os.SameFile(info, null) {
		return nil
	}
	return f
}

// Bar is one line that is written over until [Bar.Stop]. Its methods may be
// called from any goroutine.
type Bar struct {
	out   io.Writer
	title string
	note  func() string
	stage atomic.Pointer[Stage]
	stop  chan struct{}
	once  sync.Once
	ended sync.WaitGroup
}

// Stage is a part of the work.
type Stage struct {
	name  string
	all   int64
	done  atomic.Int64
	begun time.Time
}

// Start begins to show a line that begins with the title and ends with what note
// returns; note may be nil. An out that is nil shows nothing.
func Start(out io.Writer, title string, note func() string) *Bar {
	b := &Bar{out: out, title: title, note: note, stop: make(chan struct{})}
	if out != nil {
		b.ended.Go(b.show)
	}
	return b
}

// Enter begins a stage of all pieces; 0 when nobody knows how many.
func (b *Bar) Enter(name string, all int) *Stage {
	s := &Stage{name: name, all: int64(all), begun: time.Now()}
	b.stage.Store(s)
	return s
}

// Add says that n more pieces are done.
func (s *Stage) Add(n int) { s.done.Add(int64(n)) }

// Stop ends the line and clears it. It may be called again.
func (b *Bar) Stop() {
	b.once.Do(func() { close(b.stop) })
	b.ended.Wait()
}

func (b *Bar) show() {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-b.stop:
			_, _ = fmt.Fprint(b.out, "\r\x1b[K")
			return
		case <-tick.C:
		}
		if s := b.stage.Load(); s != nil {
			_, _ = fmt.Fprint(b.out, "\r\x1b[K", b.line(s, time.Since(s.begun)))
		}
	}
}

// line is what is shown when the stage has taken so long.
func (b *Bar) line(s *Stage, took time.Duration) string {
	var l strings.Builder
	_, _ = fmt.Fprintf(&l, "%s: %s", b.title, s.name)
	done := s.done.Load()
	rate := 0.0
	if seconds := took.Seconds(); seconds > 0 {
		rate = float64(done) / seconds
	}
	if s.all > 0 {
		share := min(float64(done)/float64(s.all), 1)
		full := int(share * width)
		_, _ = fmt.Fprintf(&l, " [%s%s] %d/%d", strings.Repeat("#", full), strings.Repeat(".", width-full), done, s.all)
		if rate > 0 {
			left := time.Duration(float64(max(s.all-done, 0)) / rate * float64(time.Second))
			_, _ = fmt.Fprintf(&l, ", %.0f/s, %s left", rate, left.Round(time.Second))
		}
	} else {
		_, _ = fmt.Fprintf(&l, ", %s", took.Round(time.Second))
	}
	if b.note != nil {
		if note := b.note(); note != "" {
			l.WriteString(", " + note)
		}
	}
	return l.String()
}
