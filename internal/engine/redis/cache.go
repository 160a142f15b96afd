package redis

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// Cache is a [domain.Cache] in Redis. Safe for concurrent use. It may be lost
// at any moment: then it misses.
type Cache struct{ redis *Redis }

// NewCache returns the cache of a Redis.
func NewCache(r *Redis) *Cache { return &Cache{redis: r} }

// Get returns the value of a key, while it lives and Redis answers.
func (c *Cache) Get(_ context.Context, key string) ([]byte, bool) {
	answer, ok := c.redis.do(commandGet, key, func(ctx context.Context, client rueidis.Client) rueidis.RedisResult {
		return client.Do(ctx, client.B().Get().Key(key).Build())
	})
	if !ok {
		c.redis.metrics.unanswered.Inc()
		return nil, false
	}
	value, err := answer.AsBytes()
	if err != nil {
		c.redis.metrics.misses.Inc()
		return nil, false
	}
	c.redis.metrics.hits.Inc()
	return value, true
}

// Set keeps a value for at most life; without life, none.
func (c *Cache) Set(ctx context.Context, key string, value []byte, life time.Duration) {
	if life <= 0 {
		c.Delete(ctx, key)
		return
	}
	c.redis.do(commandSet, key, func(ctx context.Context, client rueidis.Client) rueidis.RedisResult {
		return client.Do(ctx, client.B().Set().Key(key).Value(rueidis.BinaryString(value)).PxMilliseconds(milliseconds(life)).Build())
	})
}

// setNewer sets KEYS[1] to ARGV[1] for ARGV[2] milliseconds, unless it has a
// value of a higher version. Versions are the first 8 bytes, below 2^53, which
// Lua's numbers hold exactly.
var setNewer = rueidis.NewLuaScript(`
local old = redis.call('GETRANGE', KEYS[1], 0, 7)
if #old == 8 and struct.unpack('>I8', old) > struct.unpack('>I8', ARGV[1]) then
	return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
`)

// SetNewer keeps a value unless there is one of a higher version.
func (c *Cache) SetNewer(_ context.Context, key string, value []byte, life time.Duration) {
	if life <= 0 || len(value) < 8 {
		return
	}
	c.redis.do(commandSetNewer, key, func(ctx context.Context, client rueidis.Client) rueidis.RedisResult {
		return setNewer.Exec(ctx, client, []string{key}, []string{rueidis.BinaryString(value), strconv.FormatInt(milliseconds(life), 10)})
	})
}

// Delete forgets keys.
func (c *Cache) Delete(_ context.Context, keys ...string) {
	for _, key := range keys {
		c.redis.do(commandDelete, key, func(ctx context.Context, client rueidis.Client) rueidis.RedisResult {
			return client.Do(ctx, client.B().Unlink().Key(key).Build())
		})
	}
}

// milliseconds rounds up, so that nothing has no life.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
