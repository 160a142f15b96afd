package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"vote/internal/domain"
)

//go:embed migrations/*.sql
var migrations embed.FS

// A Migrator changes the schema of a database, and how it is spread. One that
// changes something keeps the others waiting. It is for one goroutine.
type Migrator struct {
	db       *sql.DB
	provider *goose.Provider
}

// NewMigrator returns the migrator of a database, which must be reached without a
// pooler in between. The caller closes it.
func NewMigrator(dsn string) (*Migrator, error) {
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "vote migrate"
	}
	c.BuildContextWatcherHandler = cancelling
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, err
	}
	db := stdlib.OpenDB(*c)
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithDisableGlobalRegistry(true), goose.WithSessionLocker(locker))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("postgres: migrations: %w", err), db.Close())
	}
	return &Migrator{db: db, provider: provider}, nil
}

// migrateUp applies every migration that is missing.
func migrateUp(ctx context.Context, dsn string) (err error) {
	m, err := NewMigrator(dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	applied, known, err := m.provider.GetVersions(ctx)
	if err != nil {
		return domain.Fault(domain.CodeUnavailable, m.wrap("status", err))
	}
	if applied >= known {
		return nil
	}
	return m.Up(ctx)
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
	_, last, err := m.provider.GetVersions(ctx)
	if err != nil {
		return m.wrap("status", err)
	}
	if version < 0 || version > last {
		return fmt.Errorf("postgres: migrate to %d: there are versions 0 to %d", version, last)
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

func (m *Migrator) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("postgres: migrate %s: %w", what, err)
}

// Close closes the connection.
func (m *Migrator) Close() error { return m.wrap("close", m.provider.Close()) }

// knownVersion returns the version of the newest migration that the program has.
func knownVersion() (int64, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(names) == 0 {
		return 0, fmt.Errorf("postgres: no migrations: %w", err)
	}
	return goose.NumericComponent(names[len(names)-1])
}

// checkSchema notes whether migrations are missing. Errors: a schema that a newer
// version of the program made.
func (s *Store) checkSchema(ctx context.Context) error {
	known, err := knownVersion()
	if err != nil {
		return err
	}
	var applied int64
	err = s.pool.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&applied)
	if err != nil && serverCode(err) != codeUndefined {
		return s.fault(opReady, err)
	}
	if applied > known {
		return fmt.Errorf("postgres: the database was made by a newer version: schema %d, this program knows %d", applied, known)
	}
	s.outdated.Store(applied < known)
	return nil
}
