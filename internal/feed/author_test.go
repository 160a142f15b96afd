package feed

import (
	"context"
	"strings"
	"testing"
	"time"

	"vote/internal/domain"
	"vote/internal/engine/memory"
)

// erase erases a user and returns the positions of the user's polls.
func (w *world) erase(user domain.UserID) []domain.Position {
	w.tb.Helper()
	c, err := w.store.EraseUser(context.Background(), user, "")
	if err != nil {
		w.tb.Fatal(err)
	}
	return c.Authored
}

// answers returns everything that a feed may hold of authors, by name.
func answers(t *testing.T, w *world, f *Feed, id domain.PollID) map[string]string {
	t.Helper()
	ctx := context.Background()
	must := func(b []byte, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	return map[string]string{
		"page":    must(f.AppendPage(ctx, nil, Query{User: w.users[1]})),
		"poll":    must(f.AppendPoll(ctx, nil, id, nil)),
		"popular": must(f.AppendPopular(ctx, nil, 10)),
	}
}

func TestAuthorIsForgottenAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	ids := w.publishMany(3, "x")
	f := w.startFor(t, Config{Exclusive: true})
	for name, a := range answers(t, w, f, ids[0]) {
		if !strings.Contains(a, `"username":"user0"`) {
			t.Errorf("%s before: %s", name, a)
		}
	}
	c, err := w.store.UpdateUser(context.Background(), w.users[0], domain.UserUpdate{Username: "renamed", UsernameKey: "renamed"})
	if err != nil {
		t.Fatal(err)
	}
	f.AuthorChanged(c.Authored)
	for name, a := range answers(t, w, f, ids[0]) {
		if strings.Contains(a, `user0`) || !strings.Contains(a, `"username":"renamed"`) {
			t.Errorf("%s of the renamed: %s", name, a)
		}
	}
	f.AuthorChanged(w.erase(w.users[0]))
	for name, a := range answers(t, w, f, ids[0]) {
		if strings.Contains(a, `renamed`) || !strings.Contains(a, `"author":null`) {
			t.Errorf("%s of the erased: %s", name, a)
		}
	}
}

func TestAuthorIsForgottenByOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	ids := w.publishMany(3, "x")
	f := w.startFor(t, Config{})
	answers(t, w, f, ids[0])
	w.erase(w.users[0])
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left := 0
		for _, a := range answers(t, w, f, ids[0]) {
			left += strings.Count(a, "user0")
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the name is still told: %v", answers(t, w, f, ids[0]))
		}
	}
}

// A query that has read the former name is neither kept nor joined.
func TestAuthorChangesWhileRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	ids := w.publishMany(1, "x")
	f := w.startFor(t, Config{Exclusive: true})
	read, proceed := make(chan struct{}), make(chan struct{})
	w.store.after.Store(new(func() {
		close(read)
		<-proceed
	}))
	first := make(chan string)
	go func() {
		b, err := f.AppendPoll(context.Background(), nil, ids[0], nil)
		if err != nil {
			t.Error(err)
		}
		first <- string(b)
	}()
	<-read
	w.store.after.Store(nil)
	f.AuthorChanged(w.erase(w.users[0]))
	for name, a := range answers(t, w, f, ids[0]) { // would wait for ever if joined
		if strings.Contains(a, "user0") {
			t.Errorf("%s joined an older query: %s", name, a)
		}
	}
	close(proceed)
	if a := <-first; !strings.Contains(a, "user0") {
		t.Errorf("the first one had read before: %s", a)
	}
	for name, a := range answers(t, w, f, ids[0]) {
		if strings.Contains(a, "user0") {
			t.Errorf("%s was kept from an older query: %s", name, a)
		}
	}
}

func TestForgetUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.cache = memory.NewCache(memory.CacheOptions{Bytes: 1 << 20, Clock: w.clock})
	ids := w.publishMany(largeSet+10, "x")
	w.skipAll(w.users[1], ids[:largeSet+1])
	f := w.startFor(t, Config{})
	getPage(t, f, Query{User: w.users[1]})
	if _, ok := w.cache.Get(t.Context(), seenKey(w.users[1])); !ok || f.seen.bytes() == 0 {
		t.Fatal("nothing is remembered, so nothing can be forgotten")
	}
	f.ForgetUser(t.Context(), w.users[1])
	f.ForgetUser(t.Context(), w.users[0]) // of whom nothing is known
	if _, ok := w.cache.Get(t.Context(), seenKey(w.users[1])); ok || f.seen.bytes() != 0 {
		t.Errorf("cached %t, %d bytes", ok, f.seen.bytes())
	}
}
