package app_test

import (
	"errors"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"vote/internal/app"
)

// TestDrainingStillServes ends a server as a balancer sees it: first it is not
// ready and yet answers on new connections, then it is gone.
func TestDrainingStillServes(t *testing.T) {
	t.Parallel()
	c := load(t, "STORAGE_PATH="+filepath.Join(t.TempDir(), "vote.db"), "SERVER_DRAIN_DELAY=2s")
	a, stop := running(t, c)
	address, err := url.Parse(a.URL())
	if err != nil {
		t.Fatal(err)
	}
	if c.Server.Port, err = strconv.Atoi(address.Port()); err != nil {
		t.Fatal(err)
	}
	if err := app.Probe(t.Context(), c); err != nil {
		t.Errorf("ready: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	for deadline := time.Now().Add(20 * time.Second); app.Probe(t.Context(), c) == nil; {
		if time.Now().After(deadline) {
			t.Fatal("ready although it was told to end")
		}
	}
	if err := app.Probe(t.Context(), c); !errors.Is(err, app.ErrNotReady) || !strings.Contains(err.Error(), "draining") {
		t.Errorf("draining: %v", err)
	}
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := fresh.Get(a.URL() + "/api/polls/popular")
	if err != nil {
		t.Fatalf("a request while draining: %v", err)
	}
	if err := answer.Body.Close(); err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("a request while draining: %s, %v", answer.Status, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := app.Probe(t.Context(), c); !errors.Is(err, app.ErrNotReady) || strings.Contains(err.Error(), "draining") {
		t.Errorf("gone: %v", err)
	}
}
