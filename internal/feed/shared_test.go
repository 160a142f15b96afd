package feed

import (
	"context"
	"errors"
	"sync"
	"testing"

	"vote/internal/domain"
)

// runShared runs a shared query whose fetch waits for gate, and reports each
// query's keys.
func runShared(t *testing.T, fetch func(keys []int) (map[int]int, error)) (s *shared[int, int], stop func()) {
	t.Helper()
	s = newShared(func(_ context.Context, keys []int) (map[int]int, error) { return fetch(keys) })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.run(ctx)
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return s, stop
}

func TestSharedNeverAnswersFromAnEarlierQuery(t *testing.T) {
	t.Parallel()
	began, proceed := make(chan int), make(chan struct{})
	queries := 0
	s, _ := runShared(t, func(keys []int) (map[int]int, error) {
		queries++
		n := queries
		began <- len(keys)
		<-proceed
		found := make(map[int]int)
		for _, k := range keys {
			found[k] = n
		}
		return found, nil
	})
	answers := make(chan int)
	ask := func(key int) {
		found, err := s.get(context.Background(), key)
		if err != nil {
			t.Error(err)
		}
		answers <- found[key]
	}
	go ask(1)
	<-began
	const late = 20
	for i := range late {
		go ask(i % 4)
	}
	eventually(t, "everybody waits", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.next != nil && len(s.next.keys) == 4
	})
	proceed <- struct{}{}
	if got := <-answers; got != 1 {
		t.Errorf("the first was answered by query %d", got)
	}
	// Some of the late ones may come after the second query began.
	go func() {
		for range began {
			proceed <- struct{}{}
		}
	}()
	for range late {
		if got := <-answers; got < 2 {
			t.Errorf("a late one was answered by query %d, which began before", got)
		}
	}
	close(began)
}

func TestSharedRefusals(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	fail := errors.New("away")
	began, proceed := make(chan struct{}), make(chan struct{})
	s, stop := runShared(t, func([]int) (map[int]int, error) {
		began <- struct{}{}
		<-proceed
		return nil, fail
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := s.get(ctx, 1)
		if domain.CodeOf(err) != domain.CodeUnavailable || !errors.Is(err, fail) {
			t.Errorf("a failed query: %v", err)
		}
	})
	<-began
	keys := make([]int, maxWaiting)
	for i := range keys {
		keys[i] = i
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err := s.get(gone, keys...)
	wantCode(t, err, domain.CodeUnavailable)
	_, err = s.get(ctx, -1)
	wantCode(t, err, domain.CodeOverloaded)
	proceed <- struct{}{}
	wg.Wait()
	<-began
	wg.Go(func() {
		_, err := s.get(ctx, 1)
		wantCode(t, err, domain.CodeUnavailable)
	})
	eventually(t, "somebody waits", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.next != nil
	})
	go func() { proceed <- struct{}{} }()
	go func() {
		for range began { // in case the last one is still asked for
			proceed <- struct{}{}
		}
	}()
	stop()
	wg.Wait()
	close(began)
	_, err = s.get(ctx, 1)
	wantCode(t, err, domain.CodeUnavailable)
}
