// Package memory holds the engines that live inside one process: [Cache],
// [Limiter] and [Bus].
//
// Invariants.
//
// Cache: a value is returned only while less than its life has passed. When no
// Set is under way, the keys, values and bookkeeping of all entries together
// weigh at most the bound; while some are, at most their entries more. The
// cache runs no goroutine.
//
// Limiter: a key lives in exactly one shard, and everything about it is read
// and written under that shard's lock, the clock included. So the times in a
// ring never fall, and a ring holds exactly the units granted in the last
// window, minus what was refunded. A key leaves its shard only when its window
// is empty or when the shard is full, which is counted. The limiter runs no
// goroutine; the shards are cleaned a little with each call.
//
// Bus: an event that a queue takes is, at every moment, in exactly one of the
// queue's channel, its worker's hands and its list of retries, until it was
// handled, was kept as a dead letter, could not be kept as one, or the bus
// ended; in each case every Publish that waits for it is told which. What a
// queue remembers of handled events belongs to its worker alone.
package memory
