package account

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vote/internal/domain"
)

// cheap are the smallest parameters there are, for tests that are not about them.
var cheap = argonHash{memory: 8, time: 1, threads: 1}

func newTestHasher(atOnce int, wait time.Duration) (*hasher, *prometheus.Registry) {
	r := prometheus.NewRegistry()
	h := newHasher(Config{Hashes: atOnce, HashWait: wait, Random: systemRandom}, newMetrics(r))
	h.setParams(cheap)
	return h, r
}

// metric returns the value of a counter or gauge, the number of observations of
// a histogram, summed over the labels; only those with the label's value when
// one is given.
func metric(t *testing.T, r prometheus.Gatherer, name string, label ...string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Error(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if len(label) == 0 || m.GetLabel()[0].GetValue() == label[0] {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func (h *hasher) setParams(p argonHash) {
	h.params = p
	h.dummy.memory, h.dummy.time, h.dummy.threads = p.memory, p.time, p.threads
}

// The vector is one of the reference implementation's own.
func TestArgonVector(t *testing.T) {
	t.Parallel()
	const phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	h, err := parsePHC(phc)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(h.compute("password")); got != "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7" {
		t.Errorf("key %s", got)
	}
	if h.String() != phc {
		t.Errorf("written as %s", h)
	}
}

func TestHashAndVerify(t *testing.T) {
	t.Parallel()
	h := newHasher(Config{HashWait: time.Minute, Random: systemRandom}, newMetrics(nil))
	phc, err := h.hash(t.Context(), "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(phc, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash %s", phc)
	}
	again, err := h.hash(t.Context(), "correct horse")
	if err != nil || again == phc {
		t.Errorf("the same hash twice: %v", err)
	}
	for password, want := range map[string]bool{"correct horse": true, "correct horsf": false, "": false} {
		if ok, err := h.verify(t.Context(), phc, password); ok != want || err != nil {
			t.Errorf("verify(%q) = %v, %v", password, ok, err)
		}
	}
	// The parameters of new hashes don't matter for stored ones.
	h.setParams(cheap)
	if ok, err := h.verify(t.Context(), phc, "correct horse"); !ok || err != nil {
		t.Errorf("after a change of parameters: %v, %v", ok, err)
	}
	// Not even the password of the hash without an account is accepted.
	h.dummy.key = h.dummy.compute("any")
	if ok, err := h.verify(t.Context(), "", "any"); ok || err != nil {
		t.Errorf("without an account: %v, %v", ok, err)
	}
	if _, err := h.verify(t.Context(), "x", "any"); domain.CodeOf(err) != domain.CodeInternal {
		t.Errorf("with a malformed hash: %v", err)
	}
}

func TestParsePHCRefuses(t *testing.T) {
	t.Parallel()
	const salt, key = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	with := func(params string) string { return "$argon2id$v=19$" + params + "$" + salt + "$" + key }
	if _, err := parsePHC(with("m=8,t=1,p=1")); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		"", "$", "$$$$$", "argon2id", "$argon2i$v=19$m=8,t=1,p=1$" + salt + "$" + key, "$argon2id$v=16$m=8,t=1,p=1$" + salt + "$" + key,
		"$argon2id$m=8,t=1,p=1$" + salt + "$" + key, "x" + with("m=8,t=1,p=1"), with("m=8,t=1,p=1") + "$", with("m=8,t=1,p=1") + "=", with("m=8,t=1,p=1") + "\n",
		with("m=8,t=1"), with("m=8,p=1,t=1"), with("m=8,t=1,p=1,k=1"), with("m=,t=1,p=1"), with("m=08,t=1,p=1"), with("m=+8,t=1,p=1"), with("m=-8,t=1,p=1"), with("m=8 ,t=1,p=1"),
		with("m=7,t=1,p=1"), with("m=8,t=1,p=2"), with("m=8,t=0,p=1"), with("m=8,t=1,p=0"), with("m=262145,t=1,p=1"), with("m=4294967296,t=1,p=1"), with("m=8,t=17,p=1"), with("m=8192,t=1,p=17"), with("m=65536,t=1,p=257"),
		"$argon2id$v=19$m=8,t=1,p=1$$" + key, "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$", "$argon2id$v=19$m=8,t=1,p=1$c29t$" + key, "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$c29tZXNhbHQ",
		"$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHR$" + key, "$argon2id$v=19$m=8,t=1,p=1$c29tZXNh\nbHQ$" + key, "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhb_Q$" + key,
		"$argon2id$v=19$m=8,t=1,p=1$" + strings.Repeat("A", 100) + "$" + key, "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + strings.Repeat("A", 100), with(strings.Repeat("m", 300)),
	} {
		if _, err := parsePHC(s); err == nil {
			t.Errorf("%q was read", s)
		}
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$argon2id$v=19$m=8,t=1,p=1$$")
	f.Add("$argon2id$v=19$m=65536,t=2,p=256$c29tZXNhbHQ$AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parsePHC(s)
		if err != nil {
			return
		}
		if h.String() != s {
			t.Fatalf("%q is also written %q", s, h)
		}
		if h.memory > maxArgonMemory || h.memory < 8 || h.time < 1 || h.time > maxArgonTime || h.threads < 1 || len(h.salt) < minArgonSalt || len(h.key) < minArgonKey {
			t.Fatalf("%q is out of bounds", s)
		}
	})
}

// With every place taken, callers wait up to the queue's length and time.
func TestHashesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, r := newTestHasher(2, 2*time.Second)
		if h.queue != 128 {
			t.Errorf("queue of %d", h.queue)
		}
		h.queue = 3
		h.places <- struct{}{}
		h.places <- struct{}{}
		start := func(ctx context.Context, n int) <-chan error {
			answers := make(chan error, n)
			for range n {
				go func() {
					_, err := h.hash(ctx, "password")
					answers <- err
				}()
			}
			synctest.Wait()
			if got := metric(t, r, "vote_password_hashes_waiting"); got != float64(n) {
				t.Errorf("%v callers wait, want %d", got, n)
			}
			return answers
		}
		overloaded := func(err error) {
			t.Helper()
			var e *domain.Error
			if !errors.As(err, &e) || e.Code != domain.CodeOverloaded || e.RetryAfter <= 0 {
				t.Errorf("answer %v, want overloaded with a time to wait", err)
			}
		}

		// Leaving frees the place in the queue.
		ctx, cancel := context.WithCancel(t.Context())
		left := start(ctx, 3)
		cancel()
		for range 3 {
			if err := <-left; domain.CodeOf(err) != domain.CodeUnavailable {
				t.Errorf("a caller that left: %v", err)
			}
		}
		if _, err := h.hash(ctx, "password"); domain.CodeOf(err) != domain.CodeUnavailable {
			t.Errorf("a caller that left before: %v", err)
		}

		// Who is behind a full queue is told at once, who waits in it after
		// its time.
		began := time.Now()
		late := start(t.Context(), 3)
		_, err := h.hash(t.Context(), "password")
		overloaded(err)
		if d := time.Since(began); d != 0 {
			t.Errorf("a full queue answered after %v", d)
		}
		for range 3 {
			overloaded(<-late)
		}
		if d := time.Since(began); d != 2*time.Second {
			t.Errorf("the wait was %v", d)
		}

		// One place is enough to serve everybody in turn.
		served := start(t.Context(), 3)
		<-h.places
		for range 3 {
			if err := <-served; err != nil {
				t.Errorf("with a free place: %v", err)
			}
		}
		<-h.places
		synctest.Wait()
		if len(h.places) != 0 || h.waiting.Load() != 0 || metric(t, r, "vote_password_hashes_in_flight") != 0 || metric(t, r, "vote_password_hashes_waiting") != 0 {
			t.Error("a place is still taken")
		}
		if n := metric(t, r, "vote_password_hashes_total"); n != 3 {
			t.Errorf("%v hashes were computed", n)
		}
	})
}

// A watcher of the hashes in flight never sees more than there are places.
func TestHashesAtOnce(t *testing.T) {
	t.Parallel()
	h, r := newTestHasher(3, time.Minute)
	h.setParams(argonHash{memory: 1024, time: 1, threads: 1})
	stop, most := make(chan struct{}), make(chan float64)
	go func() {
		highest := 0.0
		for {
			select {
			case <-stop:
				most <- highest
				return
			default:
				highest = max(highest, metric(t, r, "vote_password_hashes_in_flight"))
			}
		}
	}()
	var g sync.WaitGroup
	for range 60 {
		g.Go(func() {
			if _, err := h.hash(t.Context(), "password"); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	close(stop)
	if n := <-most; n < 1 || n > 3 {
		t.Errorf("%v hashes at once", n)
	}
	if n := metric(t, r, "vote_password_hashes_total"); n != 60 {
		t.Errorf("%v hashes in all", n)
	}
}
