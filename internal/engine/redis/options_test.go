package redis_test

import (
	"strings"
	"testing"

	"vote/internal/engine/redis"
)

func TestOpenRefusesContradictions(t *testing.T) {
	t.Parallel()
	addresses := []string{"localhost:1"}
	for _, c := range []struct {
		options redis.Options
		want    string
	}{
		{redis.Options{}, "redis.host"},
		{redis.Options{Address: "localhost:1", SentinelMaster: "main"}, "redis.sentinel_master"},
		{redis.Options{SentinelAddresses: addresses}, "redis.sentinel_master"},
		{redis.Options{SentinelMaster: "main", SentinelAddresses: addresses, ClusterAddresses: addresses}, "redis.cluster_addresses"},
		{redis.Options{ClusterAddresses: addresses, DB: 1}, "redis.db"},
		{redis.Options{Address: "localhost:1", PoolSize: 2, MinIdleConns: 3}, "redis.min_idle_conns"},
		{redis.Options{Address: "localhost:1", PoolSize: -1}, "redis.pool_size"},
	} {
		if _, err := redis.Open(t.Context(), c.options); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want an error that names %s", c.options, err, c.want)
		}
	}
}
