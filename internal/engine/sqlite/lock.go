package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// ErrLocked says that another process, or another Store of this one, has the
// data folder open.
var ErrLocked = errors.New("in use by another process")

// lockName is the file in the data folder on which the lock is held.
const lockName = "vote.lock"

// lockFolder takes the exclusive lock of the folder that holds the database,
// making the folder when it is missing. The lock belongs to the open file, so
// the kernel frees it when the process ends, however it ends.
func lockFolder(path string) (*flock.Flock, error) {
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	name := filepath.Join(folder, lockName)
	lock := flock.New(name, flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock data folder %s: %w", folder, err)
	}
	if !ok {
		return nil, fmt.Errorf("data folder %s is %w%s", folder, ErrLocked, holder(name))
	}
	// The number only helps the message of whoever is refused.
	if err := os.WriteFile(name, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("lock data folder %s: %w", folder, err), lock.Close())
	}
	return lock, nil
}

// holder names the process that holds the lock, when that is known.
func holder(name string) string {
	text, err := os.ReadFile(name) //nolint:gosec // a fixed name in the configured folder
	if err != nil {
		return ""
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (process %d)", pid)
}
