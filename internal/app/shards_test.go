package app

import "testing"

// A shard has users of one bucket only, and no fewer shards than wanted are made.
func TestShardsDoNotSpanBuckets(t *testing.T) {
	t.Parallel()
	for buckets, want := range map[int]int{1: 2, 2: 2, 3: 3, 4: 4, 1024: 1024} {
		n := shards(buckets)
		if n != want {
			t.Errorf("%d buckets: %d shards, want %d", buckets, n, want)
		}
		bucket := make(map[int]int) // by shard
		for user := range 5000 {
			if b, known := bucket[user%n]; known && b != user%buckets {
				t.Fatalf("%d buckets: shard %d has users of buckets %d and %d", buckets, user%n, b, user%buckets)
			}
			bucket[user%n] = user % buckets
		}
	}
}
