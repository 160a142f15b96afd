package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"vote/config"
	"vote/internal/app"
)

// serve runs the server over a database until ctx ends or standard input closes.
func serve(ctx context.Context, data string) error {
	c, err := config.Load("", append(os.Environ(), "STORAGE_PATH="+data, "SERVER_HOST=127.0.0.1", "SERVER_PORT=0", "LOGGING_LEVEL=warn"))
	if err != nil {
		return err
	}
	a, err := app.New(ctx, c, app.Options{Logger: app.NewLogger(c.Logging, os.Stderr)})
	if err != nil {
		return err
	}
	fmt.Println(a.URL())
	ctx, cancel := context.WithCancel(ctx)
	go func() { // it shall not outlive whoever measures it
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return a.Run(ctx)
}

// process is the server under attack.
type process struct {
	cmd     *exec.Cmd
	input   io.Closer
	address string
}

func spawn(data string, environment ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(self, "serve", data)}
	p.cmd.Stderr = os.Stderr
	p.cmd.Env = append(os.Environ(), environment...)
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.end()
		return nil, fmt.Errorf("the server did not start: %w", err)
	}
	p.address = strings.TrimPrefix(strings.TrimSpace(line), "http://")
	return p, nil
}

// end stops the server; it is killed when it does not drain.
func (p *process) end() {
	_ = p.input.Close()
	_ = p.cmd.Wait() // how it ends was seen by those who measured it
}

// rss returns the resident memory in MiB.
func (p *process) rss() float64 {
	raw, err := os.ReadFile(p.path("status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				return 0
			}
			return kib / 1024
		}
	}
	return 0
}

// files returns how many descriptors are open.
func (p *process) files() int {
	entries, err := os.ReadDir(p.path("fd"))
	if err != nil {
		return 0
	}
	return len(entries)
}

func (p *process) path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), name)
}
