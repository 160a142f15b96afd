//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// daemon is what all servers have: a process with a folder and ports of its own,
// which outlast it.
type daemon struct {
	folder  *folder
	ports   []*port
	command command
	process *process
	ready   func(context.Context) error
}

// newDaemon takes a folder and ports for a program that the account runs.
func newDaemon(name string, p program, account string, ports int) (_ *daemon, err error) {
	path, err := p.find()
	if err != nil {
		return nil, err
	}
	d := &daemon{}
	if d.folder, err = newFolder(account); err != nil {
		return nil, err
	}
	for range ports {
		one, err := takePort()
		if err != nil {
			return nil, errors.Join(err, d.Close())
		}
		d.ports = append(d.ports, one)
	}
	d.command = command{name: name, path: path, folder: d.folder.path, account: account}
	return d, nil
}

// Start starts it, again if need be, and waits until it is ready.
func (d *daemon) Start(ctx context.Context) error {
	if d.process.running() {
		return fmt.Errorf("%s is running", d.command.name)
	}
	var err error
	if d.process, err = d.command.start(); err != nil {
		return err
	}
	return d.process.ready(ctx, d.ready)
}

// Suspend freezes all its processes: connections stay and nothing is answered.
func (d *daemon) Suspend() error { return d.process.signalAll(syscall.SIGSTOP) }

// Resume ends what Suspend began.
func (d *daemon) Resume() error { return d.process.signalAll(syscall.SIGCONT) }

// Kill ends all its processes by SIGKILL. Ports and files stay its own.
func (d *daemon) Kill() error { return d.process.kill() }

// Close ends it for good.
func (d *daemon) Close() error {
	err := d.process.kill()
	for _, p := range d.ports {
		p.release()
	}
	return errors.Join(err, d.folder.remove())
}

// Lost tells when it has ended by itself, with the end of its log.
func (d *daemon) Lost() error {
	if d.process == nil || d.process.running() {
		return nil
	}
	return fmt.Errorf("%s has ended: %v%s", d.command.name, d.process.cmd.ProcessState, d.process.tail())
}

// end asks it to end by a signal, and waits.
func (d *daemon) end(ctx context.Context, s syscall.Signal) error {
	if err := d.process.signal(s); err != nil {
		return err
	}
	return d.process.wait(ctx)
}
