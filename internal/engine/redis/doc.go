// Package redis holds the engines that several processes share through Redis:
// [Cache] and [Limiter], over one [Redis], which is one server, a master that
// Sentinels watch, or a Cluster.
//
// Invariants.
//
// Breaker: Redis is used while there is a link. The first command that runs out
// of time, or that Redis cannot serve, takes the link away, and with it ends
// the wait of every other command under way: so an outage costs each caller
// [commandLimit] at most, and callers that come later nothing. [Redis.Run]
// alone makes a new link, always by connecting anew and after a probe, a write
// to the shard of the key that failed, has succeeded in [commandLimit]. No
// request waits for a probe.
//
// Nothing here returns an error: without a link a cache misses and forgets, and
// a limiter goes on by the windows of its own process.
//
// At most [maxInFlight] commands are under way, which is fewer than the queue of
// one connection takes; so no caller ever waits for room in that queue, which a
// server that has stopped answering would not give.
//
// Limiter: all that is known of a key is in the key's own value, which one
// script reads and writes. See [Limiter] for what holds across an outage.
//
// Callers' contexts do not reach Redis: a request that is given up must not look
// like a fault of the server, and commandLimit bounds what it costs.
//
// Client-side caching is off: what is kept here is either written as often as it
// is read, or kept by the services in their own memory as well, so the 128 MiB
// that each connection would take, and the messages about every key that
// changed, would buy nothing.
package redis
