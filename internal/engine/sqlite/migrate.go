package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // goose speaks database/sql; the Store does not
	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

//go:embed migrations/*.sql
var migrations embed.FS

// A Migrator changes the schema of a database file. It holds the lock of the
// data folder until [Migrator.Close], so it excludes a running Store. It is for
// one goroutine.
type Migrator struct {
	path     string
	lock     *flock.Flock // nil when the Store holds it
	db       *sql.DB
	provider *goose.Provider
}

// NewMigrator locks the data folder and opens the database file, making both
// when they are missing. Errors: [ErrLocked].
func NewMigrator(path string) (*Migrator, error) {
	lock, err := lockFolder(path)
	if err != nil {
		return nil, err
	}
	m, err := newMigrator(path)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	m.lock = lock
	return m, nil
}

// newMigrator is NewMigrator for a caller that holds the lock.
func newMigrator(path string) (*Migrator, error) {
	if err := createFile(path); err != nil {
		return nil, err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", migratorDSN(path))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return &Migrator{path: path, db: db, provider: provider}, nil
}

func migratorDSN(path string) string {
	q := url.Values{"_pragma": {
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)",
	}}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

// pageSize is the size of the file's pages in bytes. A commit writes every page
// it touched, and most rows of a batch lie in pages of their own, so pages of
// half the usual size make half the bytes to sync.
const pageSize = "2048"

// createFile makes the database file when it is missing, readable by its owner
// only; SQLite gives its log the same mode.
func createFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600) //nolint:gosec // the configured path
	if err != nil {
		return fmt.Errorf("database file: %w", err)
	}
	info, err := f.Stat()
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("database file: %w", err)
	}
	if info.Size() > 0 {
		return nil
	}
	// Only a file that nothing was written to takes another page size, and
	// nothing may be set before it.
	raw, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return fmt.Errorf("database file: %w", err)
	}
	c := &conn{raw}
	if err := errors.Join(c.assert("page_size", pageSize, pageSize), c.pragma("journal_mode", "WAL"), c.Close()); err != nil {
		return fmt.Errorf("database file: %w", err)
	}
	return nil
}

// Up applies every migration that is missing.
func (m *Migrator) Up(ctx context.Context) error {
	_, err := m.provider.Up(ctx)
	return m.wrap("up", err)
}

// Down takes back the newest applied migration; without one it does nothing.
func (m *Migrator) Down(ctx context.Context) error {
	_, err := m.provider.Down(ctx)
	if errors.Is(err, goose.ErrNoNextVersion) {
		return nil
	}
	return m.wrap("down", err)
}

// To migrates up or down until version is the newest applied; 0 is an empty
// database.
func (m *Migrator) To(ctx context.Context, version int64) error {
	_, last, err := m.versions(ctx)
	if err != nil {
		return err
	}
	if version < 0 || version > last {
		return fmt.Errorf("migrate %s to %d: there are versions 0 to %d", m.path, version, last)
	}
	if _, err = m.provider.DownTo(ctx, version); err == nil && version > 0 {
		_, err = m.provider.UpTo(ctx, version)
	}
	return m.wrap(fmt.Sprintf("to %d", version), err)
}

// Status lists every migration, oldest first.
func (m *Migrator) Status(ctx context.Context) ([]domain.Migration, error) {
	states, err := m.provider.Status(ctx)
	if err != nil {
		return nil, m.wrap("status", err)
	}
	list := make([]domain.Migration, len(states))
	for i, s := range states {
		list[i] = domain.Migration{
			Version: s.Source.Version, Name: filepath.Base(s.Source.Path),
			Applied: s.State == goose.StateApplied, AppliedAt: s.AppliedAt,
		}
	}
	return list, nil
}

// versions returns the newest applied version and the newest known one.
func (m *Migrator) versions(ctx context.Context) (applied, known int64, err error) {
	applied, known, err = m.provider.GetVersions(ctx)
	return applied, known, m.wrap("status", err)
}

func (m *Migrator) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("migrate %s %s: %w", m.path, what, err)
}

// Close closes the file and frees the lock.
func (m *Migrator) Close() error {
	err := m.provider.Close()
	if m.lock != nil {
		err = errors.Join(err, m.lock.Close())
	}
	return m.wrap("close", err)
}
