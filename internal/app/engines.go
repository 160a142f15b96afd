package app

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"vote/config"
	"vote/internal/account"
	"vote/internal/domain"
	"vote/internal/engine/memory"
	"vote/internal/engine/sqlite"
)

const (
	cacheBytes  = 64 << 20
	limiterKeys = 1 << 20
)

// engines are the ports with something behind them.
type engines struct {
	store   domain.Store
	cache   domain.Cache
	limiter domain.Limiter
	bus     domain.Bus
	// exclusive says that no other process changes the store.
	exclusive bool
	// shards is how many batches of votes the store takes at once.
	shards int
}

func openEngines(ctx context.Context, c config.Config, o Options, r prometheus.Registerer) (engines, error) {
	if err := available(c); err != nil {
		return engines{}, err
	}
	store, err := openStore(ctx, c, o, r)
	if err != nil {
		return engines{}, err
	}
	return engines{
		store:   store,
		cache:   memory.NewCache(memory.CacheOptions{Bytes: cacheBytes, Clock: o.Clock, Registerer: r}),
		limiter: memory.NewLimiter(memory.LimiterOptions{MaxKeys: limiterKeys, Clock: o.Clock, Registerer: r}),
		bus: memory.NewBus(memory.BusOptions{
			DeadLetter: store.AddDeadLetter, Clock: o.Clock, Logger: o.Logger, Registerer: r,
		}),
		exclusive: true,
		shards:    1,
	}, nil
}

// available refuses what the configuration knows and this program does not
// have, so that no key is silently without effect.
func available(c config.Config) error {
	var errs []error
	lacks := func(key, value string) {
		errs = append(errs, fmt.Errorf("%s: %s is not available in this version", key, value))
	}
	if c.Storage.Engine != config.SQLite {
		lacks("storage.engine", c.Storage.Engine)
	}
	if c.Cache.Engine != config.Memory {
		lacks("cache.engine", c.Cache.Engine)
	}
	if c.Events.Engine != config.Memory {
		lacks("events.engine", c.Events.Engine)
	}
	if c.Tracing.Endpoint != "" {
		lacks("tracing.endpoint", "tracing")
	}
	return errors.Join(errs...)
}

func openStore(ctx context.Context, c config.Config, o Options, r prometheus.Registerer) (domain.Store, error) {
	return sqlite.Open(ctx, sqlite.Options{
		Path: c.Storage.Path, Clock: o.Clock, Logger: o.Logger, Registerer: r, AutoMigrate: c.Storage.AutoMigrate,
	})
}

// ErrInUse says that another process has the data folder open.
var ErrInUse = sqlite.ErrLocked

// OpenStore opens the configured storage alone, for tools. The caller closes it.
func OpenStore(ctx context.Context, c config.Config, o Options) (domain.Store, error) {
	if err := available(c); err != nil {
		return nil, err
	}
	if o.Clock == nil {
		o.Clock = domain.SystemClock{}
	}
	return openStore(ctx, c, o, nil)
}

// signingSecret returns the key of access tokens. In development on embedded
// storage an unset one is made once and kept beside the data, so that tokens
// survive a restart without anybody having to set anything.
func signingSecret(c config.Config) ([]byte, error) {
	if !c.HasDefaultSecret() {
		return []byte(c.JWT.SecretKey), nil
	}
	path := filepath.Join(filepath.Dir(c.Storage.Path), "jwt.secret")
	switch b, err := os.ReadFile(path); { //nolint:gosec // the operator's own data folder
	case err == nil && len(b) >= config.MinProductionSecret:
		return b, nil
	case err == nil:
		return nil, fmt.Errorf("%s is damaged: remove it to have another made; everybody has to log in again", path)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	raw := make([]byte, 48)
	if _, err := rand.Read(raw); err != nil {
		return nil, err
	}
	secret := []byte(base64.StdEncoding.EncodeToString(raw))
	return secret, writeDurably(path, secret)
}

// writeDurably makes a file that is either whole or not there after a crash.
func writeDurably(path string, content []byte) (err error) {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".jwt-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = temporary.Write(content)
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}

// Migrator changes the schema of the configured storage, on a connection of its
// own. No server may run over it meanwhile.
type Migrator = sqlite.Migrator

// OpenMigrator returns the migrator of the configured storage. The caller closes it.
func OpenMigrator(c config.Config) (*Migrator, error) {
	if err := available(c); err != nil {
		return nil, err
	}
	return sqlite.NewMigrator(c.Storage.Path)
}

// HashPassword returns the hash under which a password can be stored, for tools
// that make accounts.
func HashPassword(password string) (string, error) { return account.HashPassword(password) }
