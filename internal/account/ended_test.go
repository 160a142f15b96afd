package account

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"vote/internal/domain"
	"vote/internal/engine/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNothingIsAcceptedBeforeTheFirstLoad(t *testing.T) {
	t.Parallel()
	clock, log := newTestClock(), &endedLog{err: errors.New("away")}
	log.commit("ended", clock.Now().Add(-time.Hour))
	a := New(Config{Store: log, Clock: clock, Secret: []byte(testSecret), TokenLife: time.Hour})
	var tokens []string
	for _, s := range []string{"ended", "alive"} {
		tk, err := a.issue(domain.User{ID: 1}, s, "", clock.Now().Add(-time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, tk.Token)
	}
	check := func(ended, alive domain.Code) {
		t.Helper()
		for i, want := range []domain.Code{ended, alive} {
			if _, err := a.Authenticate(context.Background(), tokens[i]); domain.CodeOf(err) != want {
				t.Errorf("token %d: %v, want %q", i, err, want)
			}
		}
	}
	check(domain.CodeStarting, domain.CodeStarting)
	if err := a.Load(t.Context()); !errors.Is(err, log.err) {
		t.Errorf("load: %v", err)
	}
	check(domain.CodeStarting, domain.CodeStarting)
	log.err = nil
	if err := a.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(domain.CodeUnauthorized, "")
}

// Run loads, follows every two seconds, survives a store that is away, forgets,
// prunes, and ends with its context.
func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &pruneLog{endedLog: endedLog{err: errors.New("away")}}
		r := prometheus.NewRegistry()
		a := New(Config{Store: store, Secret: []byte(testSecret), TokenLife: time.Hour, Registerer: r})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		token := func(session string) string {
			tk, err := a.issue(domain.User{ID: 1}, session, "", time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return tk.Token
		}
		check := func(token string, want domain.Code) {
			t.Helper()
			if _, err := a.Authenticate(context.Background(), token); domain.CodeOf(err) != want {
				t.Errorf("%v, want %q", err, want)
			}
		}
		tk := token("s")
		synctest.Wait()
		check(tk, domain.CodeStarting)
		store.fail(nil)
		time.Sleep(followEvery)
		synctest.Wait()
		check(tk, "")
		store.commit("s", time.Now())
		store.fail(errors.New("away"))
		time.Sleep(3 * followEvery)
		synctest.Wait()
		check(tk, "") // nobody can know
		store.fail(nil)
		time.Sleep(followEvery)
		synctest.Wait()
		check(tk, domain.CodeUnauthorized)
		if n := metric(t, r, "vote_ended_sessions_faults_total"); n != 4 {
			t.Errorf("%v faults, want 4", n)
		}
		if n := metric(t, r, "vote_ended_sessions"); n != 1 {
			t.Errorf("%v ended sessions", n)
		}
		time.Sleep(time.Hour + endedMargin + forgetEvery)
		synctest.Wait()
		if a.ended.has("s") || metric(t, r, "vote_ended_sessions") != 0 {
			t.Error("the session was not forgotten")
		}
		store.mu.Lock()
		if got := time.Since(store.sessions); got < time.Hour+endedMargin || got > 2*time.Hour+endedMargin {
			t.Errorf("sessions pruned up to %v ago", got)
		}
		if got := time.Since(store.keys); got < 24*time.Hour || got > 25*time.Hour {
			t.Errorf("keys pruned up to %v ago", got)
		}
		if store.prunes != 2 {
			t.Errorf("pruned %d times", store.prunes)
		}
		store.mu.Unlock()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// pruneLog also takes the pruning.
type pruneLog struct {
	endedLog
	sessions, keys time.Time
	prunes         int
}

func (l *pruneLog) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *pruneLog) PruneSessions(_ context.Context, before time.Time) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sessions = before
	return 1, nil
}

func (l *pruneLog) PruneIdempotencyKeys(_ context.Context, before time.Time) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys, l.prunes = before, l.prunes+1
	return 1, nil
}

// Following reads little: not the whole time again, but from shortly before
// the newest end.
func TestFollowReadsOnlyWhatIsNew(t *testing.T) {
	t.Parallel()
	clock, log := newTestClock(), &endedLog{}
	log.commit("old", clock.Now().Add(-50*time.Minute))
	log.commit("new", clock.Now().Add(-5*time.Minute))
	a := newTestAccount(t, clock, log)
	if want := clock.Now().Add(-time.Hour - endedMargin); !log.asked.Equal(want) {
		t.Errorf("loaded from %v, want %v", log.asked, want)
	}
	if err := a.ended.follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := clock.Now().Add(-5*time.Minute - followOverlap); !log.asked.Equal(want) {
		t.Errorf("followed from %v, want %v", log.asked, want)
	}
}

// Random histories of sessions that end on other instances: stamps by a clock
// that differs from ours, commits up to half a minute late and in any order,
// both clocks stepping. Each reading must have found everything committed
// before it whose tokens can be alive.
func TestFollowMissesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		clock, log := newTestClock(), &endedLog{}
		difference := time.Duration(0) // of the store's clock
		a := newTestAccount(t, clock, log)
		var back time.Duration // how far clocks stepped back in all
		n := 0
		follow := func(t *rapid.T) {
			if err := a.ended.follow(context.Background()); err != nil {
				t.Fatal(err)
			}
			for _, e := range log.ends {
				// Only tokens issued before their session ended, and younger
				// than an hour, matter.
				if alive := clock.Now().Before(e.EndedAt.Add(-difference).Add(time.Hour)); alive && !a.ended.has(e.ID) {
					t.Fatalf("session %s, ended at %v, is unknown at %v; read from %v", e.ID, e.EndedAt, clock.Now(), log.asked)
				}
			}
		}
		move := func(t *rapid.T, d time.Duration) {
			if d > 0 {
				follow(t) // as every two seconds
			}
			clock.Advance(d)
		}
		seconds := func(from, to int) *rapid.Generator[time.Duration] {
			return rapid.Map(rapid.IntRange(from, to), func(n int) time.Duration { return time.Duration(n) * time.Second })
		}
		t.Repeat(map[string]func(*rapid.T){
			"end": func(t *rapid.T) {
				n++
				log.commit(fmt.Sprint(n), clock.Now().Add(difference-seconds(0, 30).Draw(t, "late")))
			},
			"wait": func(t *rapid.T) {
				move(t, seconds(0, 7200).Draw(t, "wait"))
			},
			"both clocks step": func(t *rapid.T) {
				step := seconds(-300, 7200).Draw(t, "step")
				if back -= min(0, step); back > endedMargin/2 {
					t.Skip("further back than is promised")
				}
				move(t, step)
			},
			"ours steps": func(t *rapid.T) {
				step := seconds(-200, 200).Draw(t, "step")
				if difference-step > time.Minute/2 || difference-step < -time.Minute/2 {
					t.Skip("further apart than is promised")
				}
				if back -= min(0, step); back > endedMargin/2 {
					t.Skip("further back than is promised")
				}
				move(t, step)
				difference -= step
			},
			"forget": func(*rapid.T) { a.ended.forget() },
			"": func(t *rapid.T) {
				if rapid.Bool().Draw(t, "follow") {
					follow(t)
				}
			},
		})
	})
}

func TestRememberCountsOnce(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	a := New(Config{Store: &endedLog{}, Clock: newTestClock(), Secret: []byte(testSecret), Registerer: r})
	a.ended.add(context.Background(), "s")
	a.ended.add(context.Background(), "s")
	a.ended.remember("s", a.clock.Now().Add(-48*time.Hour))
	if n := metric(t, r, "vote_ended_sessions"); n != 1 {
		t.Errorf("%v ended sessions", n)
	}
	a.ended.forget()
	a.ended.forget()
	if n := metric(t, r, "vote_ended_sessions"); n != 0 || a.ended.has("s") {
		t.Errorf("%v ended sessions", n)
	}
}

func TestNewNeedsStoreAndSecret(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{Secret: []byte("x")}, {Store: &endedLog{}}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("New(%v) did not panic", cfg.Store)
				}
			}()
			New(cfg)
		}()
	}
}

// An instance that has not read the store again learns of an end from the cache
// when it meets the session's token, and not from an empty cache.
func TestEndIsToldThroughTheCache(t *testing.T) {
	t.Parallel()
	one := newFixture(t)
	two, three := instance(t, one.store, one.clock), instance(t, one.store, one.clock)
	cache := memory.NewCache(memory.CacheOptions{Bytes: 1 << 20, Clock: one.clock})
	for _, f := range []*fixture{one, two, three} {
		f.ended.cache = cache
	}
	ended, alive := one.register("ended"), one.register("alive")
	three.authenticated(ended, "") // it knows the token already
	if err := one.Logout(t.Context(), one.authenticated(ended, ""), ""); err != nil {
		t.Fatal(err)
	}
	two.authenticated(ended, domain.CodeUnauthorized)
	two.authenticated(alive, "")
	three.authenticated(alive, "")
	if err := three.ended.follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	three.authenticated(ended, domain.CodeUnauthorized)
	// A cache that lost it takes nothing back.
	cache.Delete(t.Context(), toldKey(one.sessionOf(ended)))
	two.authenticated(ended, domain.CodeUnauthorized)
}
