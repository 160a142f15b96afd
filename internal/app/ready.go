package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"vote/config"
)

// probeLimit bounds how long [Probe] waits; the server's own checks are shorter.
const probeLimit = 4 * time.Second

// ErrNotReady is why [Probe] says no.
var ErrNotReady = errors.New("not ready")

// Probe asks the server that runs on this machine with configuration c whether it
// takes requests. It returns nil if so, else [ErrNotReady] with the reason.
func Probe(ctx context.Context, c config.Config) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	url := localURL(c.Server.Host, strconv.Itoa(c.Server.Port)) + "/readyz"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	defer answer.Body.Close() //nolint:errcheck // read only
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	var problem struct{ Code string }
	if err := json.NewDecoder(answer.Body).Decode(&problem); err != nil || problem.Code == "" {
		return fmt.Errorf("%w: %s", ErrNotReady, answer.Status)
	}
	return fmt.Errorf("%w: %s", ErrNotReady, problem.Code)
}
