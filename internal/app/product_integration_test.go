//go:build integration && linux

package app_test

import (
	"testing"

	"vote/internal/testservers"
)

// TestProductOnProduction is TestProduct of several instances over real servers,
// as clients behind a balancer meet them.
func TestProductOnProduction(t *testing.T) {
	t.Parallel()
	cache := testservers.StartRedis(t)
	holdProduct(t, instances, func(string) []string {
		cache.Flush()
		return backends{postgres: testservers.Database(t), redis: cache.Address(), rabbitmq: testservers.RabbitMQ(t)}.environment(t)
	})
}
