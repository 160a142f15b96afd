//go:build linux

package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const prefix = "vote-testservers-"

// folder is a temporary folder, locked as long as its process lives.
type folder struct {
	path string
	lock *os.File
}

// newFolder makes a folder that belongs to the account, and removes those that
// killed processes have left.
func newFolder(account string) (*folder, error) {
	sweep()
	who, err := credential(account)
	if err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp("", prefix)
	if err != nil {
		return nil, err
	}
	f := &folder{path: path}
	// The lock lies beside the folder: the server's account owns what is in it.
	// By its name it is known only once it is held.
	f.lock, err = os.OpenFile(path+".new", os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err == nil {
		err = os.Rename(path+".new", path+".lock")
	}
	if err == nil && who != nil {
		err = os.Chown(path, int(who.Uid), int(who.Gid))
	}
	if err != nil {
		return nil, errors.Join(err, f.remove())
	}
	return f, nil
}

func (f *folder) remove() error {
	err := os.RemoveAll(f.path)
	if f.lock != nil {
		err = errors.Join(err, os.Remove(f.path+".lock"), f.lock.Close())
	}
	return err
}

// sweep removes folders whose processes are gone.
func sweep() {
	locks, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*.lock"))
	for _, name := range locks {
		lock, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue // of someone else
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			f := folder{path: name[:len(name)-len(".lock")], lock: lock}
			_ = f.remove()
			continue
		}
		_ = lock.Close()
	}
}

// write puts a file that the server may read, and change, into the folder.
func (f *folder) write(name, text string) (path string, err error) {
	path = filepath.Join(f.path, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", err
	}
	return path, f.give(path)
}

// mkdir makes a folder in the folder.
func (f *folder) mkdir(name string) error {
	path := filepath.Join(f.path, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return f.give(path)
}

// give makes the owner of the folder the owner of the file.
func (f *folder) give(path string) error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	return os.Chown(path, int(owner.Uid), int(owner.Gid))
}

// Root returns the project's folder, in which, or below which, this process runs.
func Root() (string, error) {
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := here; ; at = filepath.Dir(at) {
		_, err := os.Stat(filepath.Join(at, "go.mod"))
		if err == nil {
			return at, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s is not in the project: no go.mod above it", here)
		}
	}
}

// shipped returns the text of a configuration file that the project ships, by
// its name under deploy.
func shipped(name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(root, "deploy", name))
	return string(text), err
}
