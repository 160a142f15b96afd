package replay

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// screen is a terminal that several goroutines may look at.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func TestProgress(t *testing.T) {
	t.Parallel()
	var s screen
	r := run{Options: Options{Progress: &s}, conversation: conversation{name: "talk"}, player: &player{}}
	r.enter("answers", 9).done.Add(4)
	r.player.waiting.Add(2)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.progress(ctx)
	}()
	const want = "\r\x1b[Ktalk: answers 4/9, 2 waiting as the limits tell"
	for range 1000 {
		if strings.Contains(s.String(), want) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	<-ended
	if got := s.String(); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("shown %q, want %q and the line cleared at the end", got, want)
	}
}
