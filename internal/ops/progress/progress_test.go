package progress

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLine(t *testing.T) {
	t.Parallel()
	b := Start(nil, "seed", func() string { return "2 waiting" })
	defer b.Stop()
	s := b.Enter("polls", 2000)
	s.Add(500)
	if got, want := b.line(s, 10*time.Second), "seed: polls [#####...............] 500/2000, 50/s, 30s left, 2 waiting"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	s.Add(2000) // more than was thought
	if got := b.line(s, 10*time.Second); !strings.Contains(got, strings.Repeat("#", width)+"] 2500/2000") || !strings.Contains(got, ", 0s left") {
		t.Errorf("%q", got)
	}
	b.note = nil
	if got, want := b.line(b.Enter("looking", 0), 61*time.Second), "seed: looking, 1m1s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := b.line(b.Enter("polls", 10), 0), "seed: polls [....................] 0/10"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// firstWrite tells of the first write, after which nobody else writes until it
// is read.
type firstWrite struct {
	bytes.Buffer
	lines chan string
}

func (w *firstWrite) Write(b []byte) (int, error) {
	select {
	case w.lines <- string(b):
	default:
	}
	return w.Buffer.Write(b)
}

func TestShown(t *testing.T) {
	t.Parallel()
	w := &firstWrite{lines: make(chan string, 1)}
	b := Start(w, "work", nil)
	b.Enter("stage", 4).Add(1)
	<-w.lines
	b.Stop()
	b.Stop()
	if got := w.String(); !strings.Contains(got, "\r\x1b[K") || !strings.Contains(got, "1/4") || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("shown %q", got)
	}
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if Terminal(f) != nil {
		t.Error("a file was taken for a terminal")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if Terminal(null) != nil {
		t.Error("the null device was taken for a terminal")
	}
}
