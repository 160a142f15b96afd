package live_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"vote/internal/domain"
	"vote/internal/live"
)

// instant runs a test by a clock that stands while anything is to be done.
func instant(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t, nil)) })
}

// encodings counts how often states were encoded.
type encodings struct{ n atomic.Int64 }

func (e *encodings) target(poll domain.PollID, have int64) live.Target {
	return live.Target{Poll: poll, Have: have, Encode: func(c domain.Counts) []byte {
		e.n.Add(1)
		return fmt.Appendf(nil, "%d:%d", c.Poll, c.Version())
	}}
}

// bubble is a test whose clock stands; rapid would ask it how long it may take,
// which such a test cannot tell.
type bubble struct{ *testing.T }

func (bubble) Deadline() (time.Time, bool) { return time.Time{}, false }

// failing is a test, or a drawn history in one.
type failing interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func watch(t failing, s *live.Stats, targets ...live.Target) *live.Stream {
	t.Helper()
	stream, err := s.Watch(context.Background(), targets)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func plain(polls ...domain.PollID) []live.Target {
	var e encodings
	list := make([]live.Target, len(polls))
	for i, p := range polls {
		list[i] = e.target(p, -1)
	}
	return list
}

// next returns the updates that come within patience, as versions by poll.
func next(t failing, s *live.Stream, patience time.Duration) map[domain.PollID]int64 {
	t.Helper()
	updates, err := s.Next(context.Background(), patience, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[domain.PollID]int64, len(updates))
	for _, u := range updates {
		if _, twice := got[u.Poll]; twice || string(u.Data) != fmt.Sprintf("%d:%d", u.Poll, u.Version) {
			t.Fatalf("update %+v among %v", u, got)
		}
		got[u.Poll] = u.Version
	}
	return got
}

// vote has somebody new vote, as another process does.
func (w *world) vote(t failing, poll domain.PollID) domain.Outcome {
	t.Helper()
	if len(w.voters) == 0 {
		more := domain.Import{Users: make([]domain.ImportUser, 1000)}
		w.crowd++
		for i := range more.Users {
			name := fmt.Sprintf("voter%d.%d", w.crowd, i)
			more.Users[i] = domain.ImportUser{
				NewUser: domain.NewUser{Username: name, UsernameKey: name, Email: name + "@b.cd", EmailKey: name + "@b.cd", PasswordHash: "x"}, CreatedAt: w.clock.Now(),
			}
		}
		imported, err := w.store.Import(context.Background(), more)
		if err != nil {
			t.Fatal(err)
		}
		w.voters = imported.Users
	}
	batch := []domain.Interaction{{User: w.voters[0], Poll: poll, Option: len(w.voters) % 2}}
	w.voters = w.voters[1:]
	out, err := w.store.Interact(context.Background(), batch, func(f []domain.Fact) []domain.Verdict {
		return domain.Rules{}.Judge(batch, f)
	})
	if err != nil || out.Verdicts[0].Code != "" {
		t.Fatal(out, err)
	}
	return out
}

func TestStreamBeginsWithTheCurrentState(t *testing.T) {
	instant(t, func(t *testing.T, w *world) {
		var e encodings
		w.stats.Apply(w.vote(t, w.polls[0]))
		for have, want := range map[int64]int{-1: 1, 0: 1, 1: 0, 7: 1} {
			s := watch(t, w.stats, e.target(w.polls[0], have))
			if got := next(t, s, time.Second); len(got) != want || want == 1 && got[w.polls[0]] != 1 {
				t.Errorf("who has %d is given %v first", have, got)
			}
			s.Close()
		}
		// A version that another process told is asked for before it is doubted.
		w.vote(t, w.polls[0])
		s := watch(t, w.stats, e.target(w.polls[0], 2))
		defer s.Close()
		if got := next(t, s, time.Second); len(got) != 0 {
			t.Errorf("who has the newest is given %v", got)
		}
	})
}

func TestStreamOfUnknownPolls(t *testing.T) {
	instant(t, func(t *testing.T, w *world) {
		if _, err := w.stats.Watch(t.Context(), plain(5, 6)); domain.CodeOf(err) != domain.CodeNotFound {
			t.Errorf("%v, want not_found", err)
		}
		s := watch(t, w.stats, plain(5, w.polls[1], 6)...)
		defer s.Close()
		if got := next(t, s, time.Second); len(got) != 1 {
			t.Errorf("%v, want the one poll that exists", got)
		}
	})
}

// However many batches there are, a stream is given the newest state, four times a
// second, and all streams share what was encoded once.
func TestStatesAreConflatedAndShared(t *testing.T) {
	instant(t, func(t *testing.T, w *world) {
		const streams, seconds, perSecond = 100, 3, 100
		var e encodings
		var updates, last atomic.Int64
		ctx, stop := context.WithCancel(t.Context())
		var reading sync.WaitGroup
		for range streams {
			s := watch(t, w.stats, e.target(w.polls[0], -1))
			reading.Go(func() {
				defer s.Close()
				var at time.Time
				sent := int64(-1)
				for {
					got, err := s.Next(ctx, time.Hour, nil)
					if err != nil {
						return
					}
					for _, u := range got {
						if u.Version <= sent || time.Since(at) < 250*time.Millisecond {
							t.Errorf("version %d after %d, %v later", u.Version, sent, time.Since(at))
						}
						at, sent = time.Now(), u.Version
						updates.Add(1)
						last.Store(sent)
					}
				}
			})
		}
		asked := w.store.queries.Load()
		for range seconds * perSecond {
			w.stats.Apply(w.vote(t, w.polls[0]))
			time.Sleep(time.Second / perSecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := last.Load(); n != seconds*perSecond {
			t.Errorf("the last state has version %d, want %d", n, seconds*perSecond)
		}
		if n := updates.Load() / streams; n < 4*seconds || n > 4*seconds+3 {
			t.Errorf("each stream was given %d states in %d seconds", n, seconds)
		}
		if n := e.n.Load(); n > 4*seconds+3 {
			t.Errorf("%d states were encoded for %d streams in %d seconds", n, streams, seconds)
		}
		if n := w.store.queries.Load() - asked; n > 6 {
			t.Errorf("the store was asked %d times for what was known", n)
		}
		stop()
		reading.Wait()
		asked = w.store.queries.Load()
		time.Sleep(2 * time.Second)
		if w.store.queries.Load() != asked {
			t.Error("the store is asked although nobody watches")
		}
	})
}

// A watcher that does not read is not waited for, and finds one state when it does.
func TestSlowWatcher(t *testing.T) {
	instant(t, func(t *testing.T, w *world) {
		slow, quick := watch(t, w.stats, plain(w.polls...)...), watch(t, w.stats, plain(w.polls[0])...)
		defer slow.Close()
		defer quick.Close()
		next(t, quick, time.Second)
		for i := range int64(20) {
			begun := time.Now()
			w.stats.Apply(w.vote(t, w.polls[0]))
			if got := next(t, quick, time.Second); got[w.polls[0]] != i+1 || time.Since(begun) > 250*time.Millisecond {
				t.Fatalf("%v after %v, want version %d", got, time.Since(begun), i+1)
			}
		}
		if got := next(t, slow, time.Second); len(got) != 3 || got[w.polls[0]] != 20 {
			t.Errorf("the slow one is given %v", got)
		}
		if got := next(t, slow, time.Second); len(got) != 0 {
			t.Errorf("the slow one is then given %v", got)
		}
	})
}

// Of a crowd that is told in parts, everybody who stays is told, although others
// leave and come meanwhile; so is who watches another poll.
func TestCrowd(t *testing.T) {
	instant(t, func(t *testing.T, w *world) {
		const crowd = 2500
		poll := w.polls[0]
		var e encodings
		stay := make([]*live.Stream, 0, crowd)
		leave := make([]*live.Stream, 0, crowd)
		for range crowd {
			stay = append(stay, watch(t, w.stats, e.target(poll, -1)))
			leave = append(leave, watch(t, w.stats, e.target(poll, -1)))
		}
		var crowded sync.WaitGroup
		for _, s := range stay {
			crowded.Go(func() {
				defer s.Close()
				for got := int64(-1); got < 3; {
					updates, err := s.Next(context.Background(), time.Minute, nil)
					if err != nil || len(updates) != 1 || updates[0].Version <= got {
						t.Errorf("after version %d: %+v, %v", got, updates, err)
						return
					}
					got = updates[0].Version
				}
			})
		}
		other := watch(t, w.stats, plain(w.polls[1])...)
		defer other.Close()
		next(t, other, time.Second)
		for third := range 3 {
			w.stats.Apply(w.vote(t, poll))
			w.stats.Apply(w.vote(t, w.polls[1]))
			for _, s := range leave[third*crowd/3 : (third+1)*crowd/3] {
				crowded.Go(s.Close)
			}
			crowded.Go(func() { watch(t, w.stats, e.target(poll, -1)).Close() })
			if got := next(t, other, time.Second); got[w.polls[1]] != int64(third+1) {
				t.Errorf("the other poll: %v after %d votes", got, third+1)
			}
			time.Sleep(time.Second)
		}
		crowded.Wait()
	})
}

// What one process counts is seen on another over the same store: within a second
// without any hint, and sooner with one, by a few queries however many votes.
func TestStreamFollowsOtherProcesses(t *testing.T) {
	instant(t, func(t *testing.T, w *world) {
		other := w.instance(t)
		s := watch(t, other, plain(w.polls...)...)
		defer s.Close()
		next(t, s, time.Second)
		time.Sleep(time.Second)
		asked, start := w.store.queries.Load(), time.Now()
		for i := range int64(8) {
			for j := range 10 {
				w.stats.Apply(w.vote(t, w.polls[j%2]))
			}
			begun := time.Now()
			for seen := 0; seen < 2; {
				got := next(t, s, time.Second)
				for poll, version := range got {
					if seen++; version != 5*(i+1) {
						t.Errorf("poll %d has version %d, want %d", poll, version, 5*(i+1))
					}
				}
				if len(got) == 0 || time.Since(begun) > time.Second {
					t.Fatalf("%v after %v", got, time.Since(begun))
				}
			}
		}
		if n, most := w.store.queries.Load()-asked, 4*time.Since(start).Seconds()+1; float64(n) > most {
			t.Errorf("%d queries, want at most %.0f", n, most)
		}
		time.Sleep(time.Second)
		version := w.vote(t, w.polls[0]).Counts[0].Version()
		begun := time.Now()
		other.Newer(map[domain.PollID]int64{w.polls[0]: version, 5: 1})
		if got := next(t, s, time.Second); got[w.polls[0]] != version || time.Since(begun) > 60*time.Millisecond {
			t.Errorf("%v, %v after the hint", got, time.Since(begun))
		}
	})
}

func TestHiddenPollLeavesTheStream(t *testing.T) {
	instant(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		one, all := watch(t, w.stats, plain(w.polls[0])...), watch(t, w.stats, plain(w.polls...)...)
		defer one.Close()
		defer all.Close()
		next(t, one, time.Second)
		next(t, all, time.Second)
		set := func(state domain.PollState) {
			if _, err := w.store.SetPollState(ctx, w.polls[0], state); err != nil {
				t.Fatal(err)
			}
		}
		set(domain.PollClosed)
		if got := next(t, one, time.Second); len(got) != 0 {
			t.Errorf("closing is told as %v", got)
		}
		set(domain.PollHidden) // by another process
		for _, s := range []*live.Stream{one, all} {
			got, err := s.Next(ctx, time.Second, nil)
			if err != nil || len(got) != 1 || got[0].Poll != w.polls[0] || got[0].Data != nil {
				t.Fatalf("hiding is told as %+v, %v", got, err)
			}
		}
		if _, err := one.Next(ctx, time.Second, nil); !errors.Is(err, live.ErrOver) {
			t.Errorf("%v, want the end", err)
		}
		w.stats.Apply(w.vote(t, w.polls[1]))
		if got := next(t, all, time.Second); len(got) != 1 || got[w.polls[1]] != 1 {
			t.Errorf("the others are told as %v", got)
		}
		set(domain.PollOpen)
		again := watch(t, w.stats, plain(w.polls[0])...)
		defer again.Close()
		next(t, again, time.Second)
		time.Sleep(time.Second)
		w.stats.Apply(w.vote(t, w.polls[0]))
		if got := next(t, again, time.Second); got[w.polls[0]] != 1 {
			t.Errorf("after it was opened again: %v", got)
		}
		time.Sleep(time.Second)
		begun := time.Now()
		w.stats.Forget(w.polls[0]) // by this process
		if got, err := again.Next(ctx, time.Second, nil); err != nil || len(got) != 1 || got[0].Data != nil || time.Since(begun) > 0 {
			t.Errorf("%+v, %v, %v after it was forgotten", got, err, time.Since(begun))
		}
	})
}

func TestStreamWithoutTheStore(t *testing.T) {
	instant(t, func(t *testing.T, w *world) {
		s := watch(t, w.stats, plain(w.polls[0])...)
		defer s.Close()
		next(t, s, time.Second)
		away := error(domain.E(domain.CodeUnavailable, "away"))
		w.store.err.Store(&away)
		if got := next(t, s, 3*time.Second); len(got) != 0 {
			t.Errorf("told %v of a store that does not answer", got)
		}
		w.vote(t, w.polls[0])
		if _, err := w.stats.Watch(t.Context(), plain(w.polls[2])); domain.CodeOf(err) != domain.CodeUnavailable {
			t.Errorf("a poll of which nothing is known: %v", err)
		}
		w.store.err.Store(nil)
		if got := next(t, s, time.Second); got[w.polls[0]] != 1 {
			t.Errorf("when it is back: %v", got)
		}
	})
}

func TestStreamsAreBoundedAndDrained(t *testing.T) {
	instant(t, func(t *testing.T, w *world) {
		stats := live.New(live.Config{Store: w.store, Clock: w.clock, Streams: 2})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- stats.Run(ctx) }()
		a, b := watch(t, stats, plain(w.polls[0])...), watch(t, stats, plain(w.polls[0])...)
		if _, err := stats.Watch(ctx, plain(w.polls[0])); domain.CodeOf(err) != domain.CodeOverloaded {
			t.Errorf("a third of two: %v", err)
		}
		b.Close()
		if _, err := stats.Watch(ctx, plain(5)); domain.CodeOf(err) != domain.CodeNotFound {
			t.Errorf("an unknown poll: %v", err)
		}
		b = watch(t, stats, plain(w.polls[0])...)
		next(t, a, time.Second)
		var waiting sync.WaitGroup
		for _, s := range []*live.Stream{a, b} {
			waiting.Go(func() {
				for {
					if _, err := s.Next(ctx, time.Hour, nil); err != nil {
						if domain.CodeOf(err) != domain.CodeDraining {
							t.Errorf("%v, want draining", err)
						}
						s.Close()
						return
					}
				}
			})
		}
		synctest.Wait()
		stats.EndStreams()
		stats.EndStreams()
		waiting.Wait()
		if _, err := stats.Watch(ctx, plain(w.polls[0])); domain.CodeOf(err) != domain.CodeDraining {
			t.Errorf("watching while it ends: %v", err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestStreamModel draws histories of votes here and elsewhere, announced late and
// in any order, hints, pauses, readers that come and go: versions rise within a
// stream, never exceed the truth, and end at it.
func TestStreamModel(t *testing.T) {
	instant(t, func(t *testing.T, w *world) {
		type reader struct {
			stream *live.Stream
			sent   map[domain.PollID]int64
		}
		truth := make(map[domain.PollID]int64)
		rapid.Check(bubble{t}, func(rt *rapid.T) {
			var readers []*reader
			var late []domain.Outcome
			read := func(r *reader, patience time.Duration) int {
				got := next(rt, r.stream, patience)
				for poll, version := range got {
					if before, given := r.sent[poll]; given && version <= before || version > truth[poll] {
						rt.Fatalf("version %d after %d, the truth is %d", version, before, truth[poll])
					}
					r.sent[poll] = version
				}
				return len(got)
			}
			poll := rapid.SampledFrom(w.polls)
			vote := func(rt *rapid.T) domain.Outcome {
				out := w.vote(rt, poll.Draw(rt, "poll"))
				truth[out.Counts[0].Poll]++
				return out
			}
			open := func(rt *rapid.T) {
				polls := rapid.SliceOfNDistinct(poll, 1, len(w.polls), rapid.ID[domain.PollID]).Draw(rt, "polls")
				readers = append(readers, &reader{watch(rt, w.stats, plain(polls...)...), make(map[domain.PollID]int64)})
			}
			open(rt)
			rt.Repeat(map[string]func(*rapid.T){
				"open":  open,
				"here":  func(rt *rapid.T) { w.stats.Apply(vote(rt)) },
				"late":  func(rt *rapid.T) { late = append(late, vote(rt)) },
				"there": func(rt *rapid.T) { vote(rt) },
				"hint": func(rt *rapid.T) {
					c := vote(rt).Counts[0]
					w.stats.Newer(map[domain.PollID]int64{c.Poll: c.Version()})
				},
				"pause": func(rt *rapid.T) {
					time.Sleep(time.Duration(rapid.IntRange(1, 600).Draw(rt, "ms")) * time.Millisecond)
				},
				"announce": func(rt *rapid.T) {
					if len(late) > 0 {
						i := rapid.IntRange(0, len(late)-1).Draw(rt, "which")
						w.stats.Apply(late[i])
						late = append(late[:i], late[i+1:]...)
					}
				},
				"read": func(rt *rapid.T) {
					read(rapid.SampledFrom(readers).Draw(rt, "reader"), time.Duration(rapid.IntRange(0, 300).Draw(rt, "ms"))*time.Millisecond)
				},
				"close": func(rt *rapid.T) {
					if i := rapid.IntRange(0, len(readers)-1).Draw(rt, "which"); len(readers) > 1 {
						readers[i].stream.Close()
						readers = append(readers[:i], readers[i+1:]...)
					}
				},
			})
			time.Sleep(2 * time.Second)
			for _, r := range readers {
				for read(r, time.Millisecond) > 0 {
				}
				for poll, sent := range r.sent {
					if sent != truth[poll] {
						rt.Fatalf("ends at version %d of %d", sent, truth[poll])
					}
				}
				if len(r.sent) == 0 {
					rt.Fatal("was given nothing")
				}
				r.stream.Close()
			}
		})
	})
}
