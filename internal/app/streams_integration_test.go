//go:build integration

package app_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"vote/internal/app"
	"vote/internal/testservers"
)

// A vote on one instance reaches a stream of another over the store alone: they
// share neither cache nor bus.
func TestStreamsSeeVotesOfOtherInstances(t *testing.T) {
	t.Parallel()
	address, err := url.Parse(testservers.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := address.User.Password()
	settings := []string{
		"POSTGRES_HOST=" + address.Hostname(), "POSTGRES_PORT=" + address.Port(), "POSTGRES_USER=" + address.User.Username(),
		"POSTGRES_DBNAME=" + strings.TrimPrefix(address.Path, "/"), "POSTGRES_SSLMODE=" + address.Query().Get("sslmode"),
	}
	if password != "" {
		settings = append(settings, "POSTGRES_PASSWORD="+password)
	}
	instances := make([]*app.App, 2)
	for i := range instances {
		instances[i], _ = running(t, load(t, append(slices.Clone(settings), "STORAGE_ENGINE=postgres", "JWT_SECRET_KEY="+strings.Repeat("x", 32))...))
	}
	token, poll := publishes(t, instances[0])
	read := streamed(t, instances[1], poll+"/stats/stream")
	if line, err := read("id:"); line != "id: 0" || err != nil {
		t.Fatal(line, err)
	}
	post(t, instances[0], token, poll+"/vote", `{"optionIndex":0}`, http.StatusOK)
	if line, err := read("id:"); line != "id: 1" || err != nil {
		t.Fatal(line, err)
	}
}
