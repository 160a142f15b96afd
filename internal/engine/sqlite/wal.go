package sqlite

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"sync"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
	"zombiezen.com/go/sqlite"
)

// SQLite writes each page of a commit to its log by two system calls, one for
// the page's header and one for the page. With hundreds of pages in the commit
// of a batch, these calls are most of what a vote costs. The VFS in this file is
// SQLite's own for this system, except that what is written to a log in one run
// is gathered and written by one call.
//
// Invariants:
//   - Everything gathered for a file is written, in order, before anything else
//     is done with the file: a write elsewhere, a read, sync, size, truncation,
//     or its closing. So whoever uses the same handle sees no difference.
//   - Other connections read a frame only after the commit that holds it was
//     announced in the shared index, which SQLite does, with synchronous=FULL,
//     after the sync of the log: they never look for what is only gathered.
//   - A failed write drops what was gathered and fails the call that caused it,
//     so nothing of a transaction that was rolled back is written later. A write
//     ends before the last frame, which holds the mark of the commit, unless it
//     wrote everything.
//   - A process that dies loses what was gathered, which no answer was given for.
//
// A log's file belongs to one connection, and a connection to one goroutine at
// a time; the table of files is guarded by its lock.

// gatherLimit is how many bytes are gathered at most before they are written.
// SQLite's own write takes only the lower 17 bits of a length: it must be below
// 128 KiB.
const gatherLimit = 120 << 10

const vfsName = "vote-gathering"

// gathered is what was written to one file and not passed on yet.
type gathered struct {
	start int64
	bytes []byte
}

// logVFS is the one registration of the VFS in this process.
var logVFS struct {
	once sync.Once
	err  error

	// Set once, before any log is opened.
	system  lib.Tsqlite3_vfs        // the VFS that does the work
	plain   lib.Tsqlite3_io_methods // its methods for a log
	methods uintptr                 // the table of ours, in memory of C; 0 before the first log

	mu    sync.Mutex
	files map[uintptr]*gathered // by address of the sqlite3_file
}

// memory returns what is at an address of memory that SQLite owns, which the
// garbage collector neither moves nor frees.
func memory[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// function returns a function whose address is in one of SQLite's tables.
func function[F any](address uintptr) F { return *(*F)(unsafe.Pointer(&struct{ p uintptr }{address})) }

// address returns what SQLite's tables hold for a function, which must be one
// declared at package level.
func address[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&struct{ f F }{f})) }

// The shapes of the methods that are replaced.
type (
	openMethod  = func(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32
	moveMethod  = func(tls *libc.TLS, file, buffer uintptr, n int32, offset int64) int32
	sizeMethod  = func(tls *libc.TLS, file, size uintptr) int32
	cutMethod   = func(tls *libc.TLS, file uintptr, size int64) int32
	syncMethod  = func(tls *libc.TLS, file uintptr, flags int32) int32
	closeMethod = func(tls *libc.TLS, file uintptr) int32
)

// uri returns how to open a database file through the VFS.
func uri(path string) (string, error) {
	logVFS.once.Do(func() { logVFS.err = registerVFS() })
	if logVFS.err != nil {
		return "", logVFS.err
	}
	escaped := (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath()
	return "file://" + escaped + "?vfs=" + vfsName, nil
}

func registerVFS() error {
	// The driver sets SQLite up when it opens its first connection; anything
	// before that would be too early.
	first, err := sqlite.OpenConn(":memory:", sqlite.OpenReadWrite, sqlite.OpenMemory)
	if err != nil {
		return fmt.Errorf("register the log's VFS: %w", err)
	}
	if err := first.Close(); err != nil {
		return fmt.Errorf("register the log's VFS: %w", err)
	}
	tls := libc.NewTLS()
	defer tls.Close()
	system := lib.Xsqlite3_vfs_find(tls, 0)
	if system == 0 {
		return errors.New("register the log's VFS: SQLite has none for this system")
	}
	logVFS.system = *memory[lib.Tsqlite3_vfs](system)
	logVFS.files = make(map[uintptr]*gathered)
	name, err := libc.CString(vfsName)
	if err != nil {
		return fmt.Errorf("register the log's VFS: %w", err)
	}
	// Both stay for the life of the process, since connections point at them.
	ours := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(lib.Tsqlite3_vfs{})))
	logVFS.methods = libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(lib.Tsqlite3_io_methods{})))
	if ours == 0 || logVFS.methods == 0 {
		return errors.New("register the log's VFS: out of memory")
	}
	vfs := memory[lib.Tsqlite3_vfs](ours)
	*vfs = logVFS.system
	vfs.FpNext, vfs.FzName = 0, name
	vfs.FxOpen = address[openMethod](openFile)
	memory[lib.Tsqlite3_io_methods](logVFS.methods).FiVersion = 0
	if rc := lib.Xsqlite3_vfs_register(tls, ours, 0); rc != lib.SQLITE_OK {
		return fmt.Errorf("register the log's VFS: %w", sqlite.ResultCode(rc).ToError())
	}
	return nil
}

// openFile opens a file as SQLite does, and gives a log our methods.
func openFile(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32 {
	rc := function[openMethod](logVFS.system.FxOpen)(tls, vfs, name, file, flags, outFlags)
	if rc != lib.SQLITE_OK || flags&lib.SQLITE_OPEN_WAL == 0 {
		return rc
	}
	f := memory[lib.Tsqlite3_file](file)
	logVFS.mu.Lock()
	defer logVFS.mu.Unlock()
	ours := memory[lib.Tsqlite3_io_methods](logVFS.methods)
	if ours.FiVersion == 0 {
		logVFS.plain = *memory[lib.Tsqlite3_io_methods](f.FpMethods)
		*ours = logVFS.plain
		ours.FxClose = address[closeMethod](closeLog)
		ours.FxRead = address[moveMethod](readLog)
		ours.FxWrite = address[moveMethod](writeLog)
		ours.FxTruncate = address[cutMethod](truncateLog)
		ours.FxSync = address[syncMethod](syncLog)
		ours.FxFileSize = address[sizeMethod](sizeOfLog)
	}
	logVFS.files[file] = &gathered{}
	f.FpMethods = logVFS.methods
	return rc
}

func gatheredOf(file uintptr) *gathered {
	logVFS.mu.Lock()
	defer logVFS.mu.Unlock()
	return logVFS.files[file]
}

// flush writes what was gathered.
func (g *gathered) flush(tls *libc.TLS, file uintptr) int32 {
	if len(g.bytes) == 0 {
		return lib.SQLITE_OK
	}
	b := g.bytes
	g.bytes = g.bytes[:0]
	return function[moveMethod](logVFS.plain.FxWrite)(tls, file, uintptr(unsafe.Pointer(&b[0])), int32(len(b)), g.start) //nolint:gosec // at most gatherLimit
}

func writeLog(tls *libc.TLS, file, buffer uintptr, n int32, offset int64) int32 {
	g := gatheredOf(file)
	if len(g.bytes) > 0 && (g.start+int64(len(g.bytes)) != offset || len(g.bytes)+int(n) > gatherLimit) {
		if rc := g.flush(tls, file); rc != lib.SQLITE_OK {
			return rc
		}
	}
	if int(n) > gatherLimit {
		return function[moveMethod](logVFS.plain.FxWrite)(tls, file, buffer, n, offset)
	}
	if len(g.bytes) == 0 {
		g.start = offset
	}
	g.bytes = append(g.bytes, unsafe.Slice(memory[byte](buffer), n)...)
	return lib.SQLITE_OK
}

func readLog(tls *libc.TLS, file, buffer uintptr, n int32, offset int64) int32 {
	if rc := gatheredOf(file).flush(tls, file); rc != lib.SQLITE_OK {
		return rc
	}
	return function[moveMethod](logVFS.plain.FxRead)(tls, file, buffer, n, offset)
}

func truncateLog(tls *libc.TLS, file uintptr, size int64) int32 {
	if rc := gatheredOf(file).flush(tls, file); rc != lib.SQLITE_OK {
		return rc
	}
	return function[cutMethod](logVFS.plain.FxTruncate)(tls, file, size)
}

func syncLog(tls *libc.TLS, file uintptr, flags int32) int32 {
	if rc := gatheredOf(file).flush(tls, file); rc != lib.SQLITE_OK {
		return rc
	}
	return function[syncMethod](logVFS.plain.FxSync)(tls, file, flags)
}

func sizeOfLog(tls *libc.TLS, file, size uintptr) int32 {
	if rc := gatheredOf(file).flush(tls, file); rc != lib.SQLITE_OK {
		return rc
	}
	return function[sizeMethod](logVFS.plain.FxFileSize)(tls, file, size)
}

func closeLog(tls *libc.TLS, file uintptr) int32 {
	rc := gatheredOf(file).flush(tls, file)
	logVFS.mu.Lock()
	delete(logVFS.files, file)
	logVFS.mu.Unlock()
	if closed := function[closeMethod](logVFS.plain.FxClose)(tls, file); closed != lib.SQLITE_OK {
		return closed
	}
	return rc
}
