// Package process runs the server that a load tool measures as a process of its
// own, the tool's own program with the arguments "serve" and a database. Linux
// only, since it reads /proc.
package process

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
	"syscall"
	"time"

	"vote/config"
	"vote/internal/app"
)

// Serve runs the server over a database until ctx ends or standard input closes.
func Serve(ctx context.Context, data string) error {
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

// Process is a server that is measured.
type Process struct {
	cmd   *exec.Cmd
	input io.Closer
	// Address is its host:port.
	Address string
}

// Start starts the server over a database, with more in its environment.
func Start(data string, environment ...string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &Process{cmd: exec.Command(self, "serve", data)}
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
		p.End()
		return nil, fmt.Errorf("the server did not start: %w", err)
	}
	p.Address = strings.TrimPrefix(strings.TrimSpace(line), "http://")
	return p, nil
}

// End stops the server; it is killed when it does not drain.
func (p *Process) End() {
	_ = p.input.Close()
	_ = p.cmd.Wait() // how it ends was seen by those who measured it
}

// RSS returns the resident memory in MiB.
func (p *Process) RSS() float64 {
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

// CPU returns how long processors have worked for it.
func (p *Process) CPU() time.Duration {
	raw, err := os.ReadFile(p.path("stat"))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(raw), ") ") // the name may hold spaces
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0
	}
	var ticks int64
	for _, field := range fields[11:13] { // in user and in system mode
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // Linux tells of hundredths of a second on every machine
}

// OwnCPU returns how long processors have worked for this process.
func OwnCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Files returns how many descriptors are open.
func (p *Process) Files() int {
	entries, err := os.ReadDir(p.path("fd"))
	if err != nil {
		return 0
	}
	return len(entries)
}

func (p *Process) path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), name)
}
