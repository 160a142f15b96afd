package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vote/internal/app"
)

// post makes a call and returns what was answered.
func post(t *testing.T, a *app.App, token, path, body string, want int) map[string]any {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var got map[string]any
	if err := json.NewDecoder(answer.Body).Decode(&got); err != nil || answer.StatusCode != want {
		t.Fatalf("%s: %d %v, %v", path, answer.StatusCode, got, err)
	}
	return got
}

// publishes registers somebody who publishes a poll, and returns token and path.
func publishes(t *testing.T, a *app.App) (token, poll string) {
	t.Helper()
	session := post(t, a, "", "/api/auth/register", `{"username":"ada","email":"ada@example.org","password":"correct horse"}`, http.StatusCreated)
	token = session["token"].(string)
	p := post(t, a, token, "/api/polls", `{"title":"Tram?","options":["Yes","No"],"tags":["city"]}`, http.StatusCreated)
	return token, fmt.Sprintf("/api/polls/%.0f", p["id"])
}

// streamed opens a stream and returns a function that reads lines until one with
// the prefix.
func streamed(t *testing.T, a *app.App, path string) func(prefix string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL()+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d", path, answer.StatusCode)
	}
	lines := bufio.NewReader(answer.Body)
	return func(prefix string) (string, error) {
		for {
			line, err := lines.ReadString('\n')
			if err != nil || strings.HasPrefix(line, prefix) {
				return strings.TrimSpace(line), err
			}
		}
	}
}

func TestStreamsEndBeforeTheServer(t *testing.T) {
	t.Parallel()
	a, stop := running(t, load(t, "STORAGE_PATH="+filepath.Join(t.TempDir(), "vote.db")))
	token, poll := publishes(t, a)
	read := streamed(t, a, poll+"/stats/stream")
	if line, err := read("id:"); line != "id: 0" || err != nil {
		t.Fatal(line, err)
	}
	post(t, a, token, poll+"/vote", `{"optionIndex":0}`, http.StatusOK)
	if line, err := read("id:"); line != "id: 1" || err != nil {
		t.Fatal(line, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if line, err := read("retry:"); err != nil {
		t.Errorf("%q, %v; want to be told when to come back", line, err)
	}
	if _, err := read("id:"); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want an ordered end", err)
	}
}
