//go:build integration && linux

package api_test

import (
	"context"
	"crypto/rand"
	"net/url"
	"testing"
	"time"

	"vote/internal/domain"
	"vote/internal/engine/memory"
	"vote/internal/engine/postgres"
	"vote/internal/engine/rabbitmq"
	"vote/internal/engine/redis"
	"vote/internal/events"
	"vote/internal/testservers"
)

// everyEngines are those over which the tests of this package run.
var everyEngines = []engines{embedded, production}

var production = engines{
	name: "PostgreSQL, Redis and RabbitMQ",
	open: func(ctx context.Context, s *site) error {
		store, err := postgres.Open(ctx, postgres.Options{DSN: testservers.Database(s.t), MaxConns: 8, Clock: s.clock, AutoMigrate: true})
		if err != nil {
			return err
		}
		client, err := redis.Open(ctx, redis.Options{
			Address: testservers.Redis(s.t), PoolSize: 8, MaxRetries: 3,
			DialTimeout: time.Second, ReadTimeout: 3 * time.Second, WriteTimeout: 3 * time.Second,
		})
		if err != nil {
			return err
		}
		s.store, s.shards = store, 4
		s.cache = ownKeys{redis.NewCache(client), "api:" + rand.Text() + ":"}
		s.running = append(s.running, store.Run, client.Run)
		return nil
	},
	bus: func(s *site, o memory.BusOptions) domain.Bus {
		if s.broker == "" {
			s.broker = testservers.RabbitMQ(s.t)
		}
		bus, err := rabbitmq.NewBus(rabbitmq.Options{
			URL: s.broker, Queues: events.Topology(), DeadLetter: o.DeadLetter, Clock: o.Clock, ReconnectInterval: time.Second,
		})
		if err != nil {
			s.t.Fatal(err)
		}
		return bus
	},
	environment: func(t testing.TB) []string {
		store, broker := parsed(t, testservers.Database(t)), parsed(t, testservers.RabbitMQ(t))
		cache := parsed(t, "redis://"+testservers.StartRedis(t).Address())
		secret, _ := store.User.Password()
		password, _ := broker.User.Password()
		return []string{
			"STORAGE_ENGINE=postgres", "POSTGRES_HOST=" + store.Hostname(), "POSTGRES_PORT=" + store.Port(), "POSTGRES_USER=" + store.User.Username(),
			"POSTGRES_PASSWORD=" + secret, "POSTGRES_DBNAME=" + store.Path[1:], "POSTGRES_SSLMODE=disable",
			"CACHE_ENGINE=redis", "REDIS_HOST=" + cache.Hostname(), "REDIS_PORT=" + cache.Port(),
			"EVENTS_ENGINE=rabbitmq", "RABBITMQ_HOST=" + broker.Hostname(), "RABBITMQ_PORT=" + broker.Port(), "RABBITMQ_USER=" + broker.User.Username(),
			"RABBITMQ_PASSWORD=" + password, "RABBITMQ_VHOST=" + broker.Path[1:], "JWT_SECRET_KEY=a secret of this test, long enough",
		}
	},
}

func parsed(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// ownKeys gives a site keys of its own in the Redis of all.
type ownKeys struct {
	domain.Cache
	prefix string
}

func (c ownKeys) Get(ctx context.Context, key string) ([]byte, bool) {
	return c.Cache.Get(ctx, c.prefix+key)
}

func (c ownKeys) Set(ctx context.Context, key string, value []byte, life time.Duration) {
	c.Cache.Set(ctx, c.prefix+key, value, life)
}

func (c ownKeys) SetNewer(ctx context.Context, key string, value []byte, life time.Duration) {
	c.Cache.SetNewer(ctx, c.prefix+key, value, life)
}

func (c ownKeys) Delete(ctx context.Context, keys ...string) {
	own := make([]string, len(keys))
	for i, key := range keys {
		own[i] = c.prefix + key
	}
	c.Cache.Delete(ctx, own...)
}
