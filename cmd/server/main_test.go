package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vote/internal/app"
)

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	c := command()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(io.Discard)
	c.SetArgs(args)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

func TestReady(t *testing.T) {
	t.Parallel()
	// A port on which nobody answers.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(settings, fmt.Appendf(nil, "server:\n  host: 127.0.0.1\n  port: %s\n", port), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, "ready", "--config", settings); !errors.Is(err, app.ErrNotReady) {
		t.Errorf("without a server: %v", err)
	}
	if _, err := run(t, "ready", "now", "--config", settings); err == nil || errors.Is(err, app.ErrNotReady) {
		t.Errorf("an argument too many: %v", err)
	}
	if out, err := run(t, "--print-config", "--config", settings); err != nil || !strings.Contains(out, port) {
		t.Errorf("--print-config: %v\n%s", err, out)
	}
}
