//go:build linux

package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long a server may take to come up, or to die, on a machine
// that has other things to do.
const patience = 2 * time.Minute

// command is a program to be started.
type command struct {
	name    string // for people
	path    string
	args    []string
	env     []string // beside PATH, HOME and the language
	folder  string   // where it runs, its home, and where its log goes
	account string   // who runs it when this process is root
}

// process is a child that does not outlive this process.
type process struct {
	name string
	log  string // path
	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended
}

// start starts the program. Its output goes to a log in its folder.
func (c command) start() (*process, error) {
	who, err := credential(c.account)
	if err != nil {
		return nil, err
	}
	p := &process{name: c.name, log: filepath.Join(c.folder, c.name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p.cmd = exec.CommandContext(context.Background(), c.path, c.args...) // ended by its server, not by a context
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = c.folder, log, log
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.folder, "LC_ALL=C.UTF-8"}, c.env...)
	// In a group of its own, so that ^C on a terminal does not reach it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: who}

	started := make(chan error)
	go func() {
		// The kernel takes the end of the thread that started a child for the
		// death of the parent, so the thread stays as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		_ = log.Close() // the child has it
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	return p, nil
}

// run starts the program and waits for its end, which must be a good one.
func (c command) run(ctx context.Context) error {
	p, err := c.start()
	if err != nil {
		return err
	}
	if err := p.wait(ctx); err != nil {
		return errors.Join(err, p.kill())
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("%s: %v%s", c.name, p.cmd.ProcessState, p.tail())
	}
	return nil
}

// wait waits for the end of the process, whatever it was.
func (p *process) wait(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s (process %d) does not end: %w%s", p.name, p.cmd.Process.Pid, ctx.Err(), p.tail())
	}
}

func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// ready waits until check finds nothing wrong.
func (p *process) ready(ctx context.Context, check func(context.Context) error) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := attempt(ctx, check)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s has ended: %v%s", p.name, p.cmd.ProcessState, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w%s", p.name, err, p.tail())
		case <-tick.C:
		}
	}
}

// attempt bounds one try: a server that comes up may take a connection and
// leave it alone.
func attempt(ctx context.Context, check func(context.Context) error) error {
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	return check(ctx)
}

// signalAll sends a signal to the process and all that it started.
func (p *process) signalAll(s syscall.Signal) error {
	if err := p.signal(s); err != nil {
		return err
	}
	for _, pid := range descendants(p.cmd.Process.Pid) {
		_ = syscall.Kill(pid, s) // may have ended meanwhile
	}
	return nil
}

// signal sends a signal to the process alone.
func (p *process) signal(s syscall.Signal) error {
	if !p.running() {
		return errors.New("it is not running")
	}
	return p.cmd.Process.Signal(s)
}

// kill ends the process and all that it started, by SIGKILL, and waits.
func (p *process) kill() error {
	if !p.running() {
		return nil
	}
	// A stopped parent starts no more children and takes no notice of the
	// death of one.
	_ = p.cmd.Process.Signal(syscall.SIGSTOP)
	family := descendants(p.cmd.Process.Pid)
	_ = p.cmd.Process.Kill()
	for _, pid := range family {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	err := p.wait(context.Background())
	for _, pid := range family {
		for start := time.Now(); syscall.Kill(pid, 0) == nil && !dead(pid) && time.Since(start) < patience; {
			time.Sleep(time.Millisecond)
		}
	}
	return err
}

// dead reports whether a process has ended, though nobody has asked how.
func dead(pid int) bool {
	_, state := status(pid)
	return state == "" || state == "Z" || state == "X"
}

// descendants returns the ids of the children of a process and of theirs.
func descendants(pid int) []int {
	children := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if id, err := strconv.Atoi(e.Name()); err == nil {
			parent, _ := status(id)
			children[parent] = append(children[parent], id)
		}
	}
	found := slices.Clone(children[pid])
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found
}

// status returns the parent and the state of a process, 0 and "" when there is
// none.
func status(pid int) (parent int, state string) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, ""
	}
	// The name, in brackets, may hold anything.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 2 {
		return 0, ""
	}
	parent, _ = strconv.Atoi(fields[1])
	return parent, fields[0]
}

// tail returns the end of the log, to be put behind a message.
func (p *process) tail() string {
	const most = 4096
	text, err := os.ReadFile(p.log)
	switch {
	case err != nil:
		return "\n(its log cannot be read: " + err.Error() + ")"
	case len(text) == 0:
		return "\n(its log is empty)"
	case len(text) > most:
		text = text[len(text)-most:]
	}
	return "\n--- end of its log:\n" + strings.TrimSpace(string(text)) + "\n---"
}

// credential returns the account that a child is to have: of the one named when
// this process is root, else of this process.
func credential(account string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(account)
	if err != nil {
		return nil, fmt.Errorf("root does not run servers itself, and: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
