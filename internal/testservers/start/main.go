//go:build linux

// Command start finds or starts the servers that the tests of the production
// engines need, runs a command with their addresses in VOTE_TEST_* variables,
// and exits as the command did:
//
//	go run ./internal/testservers/start -- go test -tags integration ./...
//
// Without a command it prints the variables and waits to be interrupted.
//
// What answers at an address that is set already is used as it is. The rest
// comes from Docker Compose when a Docker engine answers, else from the programs
// of Debian packages, which root also installs. Those run as children of this
// process, each in a temporary folder on a free port, and go with it, also when
// it is killed; containers then stay.
//
// Only on Linux. Elsewhere: docker compose run --rm app make test.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	fsync := flag.Bool("fsync", false, "let PostgreSQL force commits to disk and give it memory: slower to start, and what figures of speed need")
	browser := flag.Bool("browser", false, "see to Node.js and Chromium, too, for tests in a browser")
	flag.Parse()
	// A child counts the end of the thread that started it as its parent's.
	runtime.LockOSThread()
	code, err := run(flag.Args(), &servers{fsync: *fsync, browser: *browser, found: map[string]string{}})
	if err != nil {
		fmt.Fprintln(os.Stderr, "test servers:", err)
	}
	os.Exit(code)
}

func run(words []string, s *servers) (code int, err error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	up := make(chan struct{})
	go func() {
		select {
		case s := <-signals:
			stop(fmt.Errorf("%v", s))
		case <-up:
		}
	}()

	go orphaned(ctx, signals)

	began := time.Now()
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.find(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return 1, err
	}
	close(up)
	fmt.Fprintf(os.Stderr, "test servers: ready after %.1f s\n", time.Since(began).Seconds())
	if len(words) > 0 {
		return command(words, s.variables(), signals)
	}
	for _, v := range s.variables() {
		name, value, _ := strings.Cut(v, "=")
		fmt.Printf("export %s='%s'\n", name, value)
	}
	fmt.Fprintln(os.Stderr, "test servers: until interrupted")
	<-signals
	return 0, nil
}

// orphaned makes the end of the process that started this one, such as go run,
// a reason to end, too.
func orphaned(ctx context.Context, signals chan<- os.Signal) {
	parent := os.Getppid()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for os.Getppid() == parent {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	signals <- syscall.SIGTERM
}

// command runs a command, hands on signals, and returns its exit code.
func command(words, variables []string, signals <-chan os.Signal) (int, error) {
	c := exec.CommandContext(context.Background(), words[0], words[1:]...) // signals end it
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), variables...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return 1, err
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				_ = c.Process.Signal(s)
			case <-ended:
				return
			}
		}
	}()
	err := c.Wait()
	close(ended)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if state := exit.Sys().(syscall.WaitStatus); state.Signaled() {
			return 128 + int(state.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
