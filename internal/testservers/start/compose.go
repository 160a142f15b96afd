//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vote/internal/testservers/local"
)

// What the project's Compose file has of the servers, each with the ports that
// tests reach and what its variables are then.
var composed = map[string]struct {
	service string
	ports   []string
	formats []string // with an address, each of its port
}{
	"Postgres": {"postgres", []string{"5432"}, []string{"postgres://postgres:postgres@%s/postgres?sslmode=disable"}},
	"Redis":    {"redis", []string{"6379"}, []string{"%s"}},
	"RabbitMQ": {"rabbitmq", []string{"5672", "15672"}, []string{"amqp://vote:vote@%s/", "http://vote:vote@%s"}},
}

// Beside what the file says: free ports, known passwords, and a Redis without
// one, as the address is all that tests know of it.
const override = `services:
  postgres:
    environment: {POSTGRES_PASSWORD: postgres}
    ports: !override ["127.0.0.1::5432"]
  redis:
    command: redis-server /usr/local/etc/redis/redis.conf --protected-mode no
    ports: !override ["127.0.0.1::6379"]
  rabbitmq:
    environment: {RABBITMQ_DEFAULT_USER: vote, RABBITMQ_DEFAULT_PASS: vote}
    ports: !override ["127.0.0.1::5672", "127.0.0.1::15672"]
`

// stack is what Docker Compose runs.
type stack struct {
	docker, file, folder string
}

// compose starts by Docker Compose what it can of the missing servers, if there
// is an engine that answers, and returns the rest.
func (s *servers) compose(ctx context.Context, missing []server) ([]server, error) {
	var services []string
	for _, m := range missing {
		if c, ok := composed[m.name]; ok {
			services = append(services, c.service)
		}
	}
	root, err := local.Root()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(root, "docker-compose.yml")
	_, err = os.Stat(file)
	docker := engine(ctx)
	switch {
	case len(services) == 0 || docker == "" || errors.Is(err, fs.ErrNotExist):
		return missing, nil
	case err != nil:
		return nil, err
	}
	began := time.Now()
	folder, err := os.MkdirTemp("", "vote-testservers-compose-")
	if err != nil {
		return nil, err
	}
	c := &stack{docker, file, folder}
	s.closeAtEnd(c)
	if err := os.WriteFile(c.override(), []byte(override), 0o600); err != nil {
		return nil, err
	}
	if _, err := c.run(ctx, append([]string{"up", "--detach", "--wait", "--no-deps"}, services...)...); err != nil {
		return nil, err
	}
	var rest []server
	for _, m := range missing {
		if _, ok := composed[m.name]; !ok {
			rest = append(rest, m)
			continue
		}
		values, err := c.reach(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("%s by Docker Compose: %w", m.name, err)
		}
		s.set(m, values)
		say("%s started by Docker Compose in %.1f s", m.name, time.Since(began).Seconds())
	}
	return rest, nil
}

// engine returns docker's path when its engine answers, else "".
func engine(ctx context.Context) string {
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	docker, err := exec.LookPath("docker")
	if err != nil || exec.CommandContext(ctx, docker, "info").Run() != nil {
		return ""
	}
	return docker
}

// reach returns the values of a server's variables, by which it answers.
func (c *stack) reach(ctx context.Context, m server) ([]string, error) {
	parts := composed[m.name]
	var values []string
	for i, port := range parts.ports {
		address, err := c.run(ctx, "port", parts.service, port)
		if err != nil {
			return nil, err
		}
		values = append(values, fmt.Sprintf(parts.formats[i], address))
	}
	return values, m.answers(ctx, func(variable string) string { return values[slices.Index(m.variables, variable)] })
}

func (c *stack) override() string { return filepath.Join(c.folder, "override.yml") }

// run runs docker compose and returns what it printed.
func (c *stack) run(ctx context.Context, words ...string) (string, error) {
	words = slices.Concat([]string{"compose", "--project-name", filepath.Base(c.folder), "--file", c.file, "--file", c.override()}, words)
	command := exec.CommandContext(ctx, c.docker, words...)
	var complaints strings.Builder
	command.Stderr = &complaints
	text, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w\n%s", strings.Join(words, " "), err, complaints.String())
	}
	return strings.TrimSpace(string(text)), nil
}

// Lost knows nothing: tests that miss a server say so.
func (c *stack) Lost() error { return nil }

// Close removes containers, volumes and files.
func (c *stack) Close() error {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	_, err := c.run(ctx, "down", "--volumes", "--timeout", "1")
	return errors.Join(err, os.RemoveAll(c.folder))
}
