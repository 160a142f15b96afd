package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/prometheus/client_golang/prometheus"
	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

const (
	defaultReaders = 4
	// busyTimeout bounds waiting for a lock that only a foreign program, such
	// as the sqlite3 shell, can hold.
	busyTimeout = 2 * time.Second
	// writerCache is small on purpose: each commit that splits a page makes SQLite
	// walk the hash table of its whole cache, and what is missing in it is found in
	// the cache of the system.
	writerCache = 8 << 20 // bytes of page cache
	readerCache = 8 << 20
)

// Options say what to open.
type Options struct {
	// Path is the database file. Its folder is locked; folder and file are
	// made when they are missing.
	Path string
	// Clock is where days and times come from; nil is the machine's clock.
	Clock domain.Clock
	// Logger takes faults of background work; nil discards them.
	Logger *slog.Logger
	// Registerer takes the metrics; nil registers none.
	Registerer prometheus.Registerer
	// AutoMigrate applies missing migrations. Without it a Store with missing
	// ones opens, but serves nothing: see [Store.Ready].
	AutoMigrate bool
	// Readers is how many reads run at once; 0 is 4.
	Readers int
}

// Store is a [domain.Store] on one SQLite file. It is safe for concurrent use.
type Store struct {
	path     string
	clock    domain.Clock
	log      *slog.Logger
	metrics  *metrics
	lock     *flock.Flock
	outdated bool // migrations are missing; fixed while the Store is open

	writer  chan *writer // holds the writer when nobody does
	readers chan *conn   // holds the idle readers
	count   int          // of readers

	written atomic.Int64 // estimate of the pages in the log that wait for a checkpoint
	traces  atomic.Int64 // names and addresses taken away since the last wipe

	ranking sync.Mutex // held while a ranking is made
	leases  leases

	stop    context.CancelFunc // ends the background work
	done    chan struct{}      // closed when it ended
	closing chan struct{}      // closed when Close begins
	close   func() error       // closes once
}

var _ domain.Store = (*Store)(nil)

// writer is the one connection that changes the file, with what belongs to it.
type writer struct {
	*conn
	polls    pollCache
	users    userCache
	terms    knownTerms
	interact interactStatements
	hourly   hourlyStatements
	scratch  batchScratch
	pages    int64 // estimate of those that the open transaction changes
}

// Open locks the folder of the file, migrates when asked to and opens the
// Store. The caller closes it. Errors: [ErrLocked]; a file that a newer version
// of the program made; a file system without write-ahead logs.
func Open(ctx context.Context, o Options) (*Store, error) {
	lock, err := lockFolder(o.Path)
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, o)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock = lock
	return s, nil
}

func open(ctx context.Context, o Options) (*Store, error) {
	if o.Clock == nil {
		o.Clock = domain.SystemClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Readers <= 0 {
		o.Readers = defaultReaders
	}
	outdated, err := prepareSchema(ctx, o)
	if err != nil {
		return nil, err
	}
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", o.Path, err)
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Store{
		path: path, clock: o.Clock, log: o.Logger, outdated: outdated,
		writer: make(chan *writer, 1), readers: make(chan *conn, o.Readers), count: o.Readers,
		leases: leases{until: map[int64]time.Time{}},
		stop:   stop, done: make(chan struct{}), closing: make(chan struct{}),
	}
	s.close = sync.OnceValue(s.closeAll)
	var checkpointer *conn
	opened, err := openConns(path, o.Readers+2)
	if err == nil {
		s.writer <- &writer{
			conn: opened[0], polls: newPollCache(maxCachedPolls), users: newUserCache(maxCachedUsers), terms: knownTerms{terms: map[string]struct{}{}},
		}
		checkpointer = opened[1]
		for _, c := range opened[2:] {
			s.readers <- c
		}
		err = errors.Join(
			opened[0].pragma("cache_size", fmt.Sprintf("-%d", writerCache>>10)),
			opened[0].assert("secure_delete", "FAST", "2"),
		)
	}
	if err == nil && !outdated {
		var mark int64
		mark, err = opened[0].mark()
		s.traces.Store(mark)
	}
	if err == nil {
		s.metrics, err = newMetrics(o.Registerer, path)
	}
	if err != nil {
		stop()
		for _, c := range opened {
			err = errors.Join(err, c.Close())
		}
		return nil, err
	}
	go s.checkpoints(background, checkpointer)
	return s, nil
}

// prepareSchema migrates when asked to and reports whether migrations are
// missing.
func prepareSchema(ctx context.Context, o Options) (outdated bool, err error) {
	m, err := newMigrator(o.Path)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	applied, known, err := m.versions(ctx)
	if err != nil {
		return false, err
	}
	if applied > known {
		return false, fmt.Errorf("open %s: made by a newer version: schema %d, this program knows %d",
			o.Path, applied, known)
	}
	if applied < known && o.AutoMigrate {
		return false, m.Up(ctx)
	}
	return applied < known, nil
}

// openConns opens n connections; on an error it returns those opened so far.
func openConns(path string, n int) ([]*conn, error) {
	var conns []*conn
	for range n {
		c, err := openConn(path)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

func openConn(path string) (*conn, error) {
	name, err := uri(path)
	if err != nil {
		return nil, err
	}
	raw, err := sqlite.OpenConn(name, sqlite.OpenReadWrite, sqlite.OpenURI)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	raw.SetBusyTimeout(busyTimeout)
	c := &conn{raw}
	err = errors.Join(
		c.assert("journal_mode", "WAL", "wal"),
		c.assert("synchronous", "FULL", "2"),
		c.assert("foreign_keys", "ON", "1"),
		c.assert("wal_autocheckpoint", "0", "0"),
		c.assert("journal_size_limit", fmt.Sprint(logBytes), fmt.Sprint(logBytes)),
		c.pragma("cache_size", fmt.Sprintf("-%d", readerCache>>10)),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), raw.Close())
	}
	return c, nil
}

// Ready implements [domain.Store]. Migrations are never applied under an open
// Store, so a Store that is outdated stays so until it is opened again.
func (s *Store) Ready(ctx context.Context) error {
	if s.outdated {
		return domain.E(domain.CodeSchemaOutdated, "The database schema is outdated: run migrate up.")
	}
	return s.read(ctx, opReady, func(c *conn) error {
		return c.row(`SELECT position FROM publication`, func(*sqlite.Stmt) error { return nil })
	})
}

// Close waits for running calls, writes the log back into the file and frees
// the folder. Calls that begin later end with CodeUnavailable.
func (s *Store) Close() error { return s.close() }

func (s *Store) closeAll() error {
	close(s.closing)
	s.stop()
	<-s.done
	var err error
	for range s.count {
		err = errors.Join(err, (<-s.readers).Close())
	}
	w := <-s.writer
	if s.traces.Load() > 0 {
		err = errors.Join(err, s.wipeNow(w))
	}
	err = errors.Join(err, w.Close()) // the last connection checkpoints
	s.metrics.unregister()
	if err = errors.Join(err, s.lock.Close()); err != nil {
		return fmt.Errorf("close %s: %w", s.path, err)
	}
	return nil
}

// now is the time of a transaction, as precise as it is stored.
func (s *Store) now() time.Time { return s.clock.Now().UTC().Truncate(time.Millisecond) }

// read runs f on a reader. Everything f reads is one snapshot only if f uses one
// statement or [conn.snapshot].
func (s *Store) read(ctx context.Context, op operation, f func(*conn) error) (err error) {
	if err := s.usable(ctx); err != nil {
		return err
	}
	start := time.Now()
	var c *conn
	select {
	case c = <-s.readers:
	case <-ctx.Done():
		return domain.Fault(domain.CodeUnavailable, ctx.Err())
	case <-s.closing:
		return domain.Fault(domain.CodeUnavailable, errClosed)
	}
	defer func() {
		s.readers <- c
		s.metrics.observe(op, start)
	}()
	return s.fault(op, f(c))
}

// readLong is read for what may take long: the end of ctx interrupts it.
func (s *Store) readLong(ctx context.Context, op operation, f func(*conn) error) error {
	return s.read(ctx, op, func(c *conn) error {
		c.SetInterrupt(ctx.Done())
		defer c.SetInterrupt(nil)
		err := f(c)
		if ctx.Err() != nil && sqlite.ErrCode(err) == sqlite.ResultInterrupt {
			return domain.Fault(domain.CodeUnavailable, ctx.Err())
		}
		return err
	})
}

// write runs f in one transaction. f must not look at ctx.
func (s *Store) write(ctx context.Context, op operation, f func(*writer) error) (err error) {
	if err := s.usable(ctx); err != nil {
		return err
	}
	start := time.Now()
	var w *writer
	select {
	case w = <-s.writer:
	case <-ctx.Done():
		return domain.Fault(domain.CodeUnavailable, ctx.Err())
	case <-s.closing:
		return domain.Fault(domain.CodeUnavailable, errClosed)
	}
	// Also when f panics: the caller may recover, and the next one must find
	// no transaction open.
	committed := false
	defer func() {
		if !committed {
			err = errors.Join(err, w.rollback())
			w.polls.undo()
			w.users.undo()
			w.terms.undo()
		}
		s.writer <- w
		s.metrics.observe(op, start)
	}()
	if err := w.run(`BEGIN IMMEDIATE`); err != nil {
		return s.fault(op, err)
	}
	w.pages = 0
	if err := f(w); err != nil {
		return s.fault(op, err)
	}
	if err := w.run(`COMMIT`); err != nil {
		return s.commitFault(op, err)
	}
	committed = true
	w.polls.keep()
	w.users.keep()
	w.terms.keep()
	s.written.Add(pagesPerCommit + w.pages)
	return nil
}

var errClosed = errors.New("the store is closed")

func (s *Store) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return domain.Fault(domain.CodeUnavailable, err)
	}
	if s.outdated {
		return domain.Fault(domain.CodeUnavailable, domain.E(domain.CodeSchemaOutdated, ""))
	}
	return nil
}

// fault turns an error of the driver into one of the domain. A domain error
// passes.
func (s *Store) fault(op operation, err error) error {
	var known *domain.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	err = fmt.Errorf("sqlite: %s: %w", op, err)
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultBusy, sqlite.ResultLocked:
		s.metrics.busy.Inc()
		if op == opInteract || op == opPublish {
			return domain.Fault(domain.CodeConflict, err)
		}
		return domain.Fault(domain.CodeUnavailable, err)
	case sqlite.ResultIOErr, sqlite.ResultFull, sqlite.ResultReadOnly, sqlite.ResultCantOpen,
		sqlite.ResultNoMem, sqlite.ResultProtocol, sqlite.ResultPerm, sqlite.ResultInterrupt:
		return domain.Fault(domain.CodeUnavailable, err)
	default:
		return err
	}
}

// commitFault is fault for a failed COMMIT. SQLite then leaves the transaction
// open or has rolled it back; either way this process sees it undone, and the
// next transaction overwrites its frames in the log. But SQLite syncs the log
// after it wrote the frame that marks the commit: when that sync fails, the
// frame may be on the disk, and a process that dies before the next commit will
// find the transaction done. So an I/O error is unknown. A full disk is not: it
// is reported for a write, and the mark is in the last frame written, so it is
// not there.
func (s *Store) commitFault(op operation, err error) error {
	if sqlite.ErrCode(err).ToPrimary() == sqlite.ResultIOErr {
		return domain.Fault(domain.CodeOutcomeUnknown, fmt.Errorf("sqlite: %s: commit: %w", op, err))
	}
	return s.fault(op, err)
}

// size returns the size of a file in bytes, 0 when it is not there.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
