package redis

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"vote/internal/domain"
)

// Limiter is a [domain.Limiter] whose windows all processes share. Safe for
// concurrent use.
//
// A key's value is a row of slots of 12 bytes, each a number of 8 and one of 4,
// big-endian. The first two are a head: the length of the window in microseconds
// and 0; by how much the key's time is ahead of the server's and how many units
// had been granted before those that follow. Then, oldest first, a slot for each
// moment at which units were granted: when, in microseconds since 1970, and how
// many had been granted by then, modulo 2^32. So a hundred votes take 1.2 KB,
// units of the same moment are still counted apart, and two binary searches find
// what a script needs to know. The value lives as long as its newest unit.
//
// With a limit above 1024 moments are rounded up to 1024 in a window: then the
// value stays below 13 KB whatever the limit, no window is ever granted more,
// and a unit leaves its window later by up to a thousandth of it.
//
// Time is the server's. When its clock is set back, as a failover does where
// clocks differ, time stands still for a key and goes on from there: windows may
// last longer but never less.
//
// Each unit granted is charged to the windows of the process's own limiter too,
// and that is asked first. It holds a part of what Redis holds, so what it
// refuses Redis would refuse, and a flood through one process stops there. When
// Redis goes, was flushed, or lost a key, these windows are there and full: in no
// window does one process grant more than the limit, whatever happens to Redis.
// So the slack of an outage is that each process grants up to the limit for
// itself. A unit whose command got no answer may have been charged in Redis as
// well as here, which grants it once.
type Limiter struct {
	redis *Redis
	local domain.Limiter
}

// NewLimiter returns the limiter of a Redis. local is that of the process alone,
// which nobody else uses.
func NewLimiter(r *Redis, local domain.Limiter) *Limiter { return &Limiter{redis: r, local: local} }

// readWindow begins both scripts. It reads the slots of KEYS[1] and leaves the
// first one whose units are in the window, or that behind the last when there is
// none. A value of anything else counts as none.
const readWindow = `
local value = redis.call('GET', KEYS[1])
if not value or #value < 36 or #value % 12 > 0 then
	value = struct.pack('>I8I4I8I4', length or 0, 0, 0, 0)
end
length = length or struct.unpack('>I8', value)
local function moment(i) return (struct.unpack('>I8', value, 12 * i + 1)) end
local function granted(i) return (struct.unpack('>I4', value, 12 * i + 9)) end
local first, last = 2, #value / 12 - 1
local clock = redis.call('TIME')
local wall = clock[1] * 1000000 + clock[2]
local ahead = moment(1)
if last >= first then
	-- Rounding puts a moment that much into the future.
	ahead = math.max(ahead, moment(last) - math.ceil(length / 1024) - wall)
end
local now = wall + ahead
local function search(found)
	local low, high = first, last + 1
	while low < high do
		local middle = math.floor((low + high) / 2)
		if found(middle) then high = middle else low = middle + 1 end
	end
	return low
end
first = search(function(i) return now - moment(i) < length end)
local base = granted(first - 1)
local function units(i) return (granted(i) - base) % 4294967296 end
local count = units(last)
local function head() return struct.pack('>I8I4I8I4', length, 0, ahead, base) end
local function keep(slots)
	value = slots
	first, last = 2, #value / 12 - 1
	redis.call('SET', KEYS[1], value, 'PX', math.ceil((moment(last) + length - now) / 1000) + 10)
end
`

// take: ARGV are the length of the window in microseconds, the limit and the
// units wanted. It answers with the units granted, those in the window, the
// time, how long until the window is empty and until one more would be granted.
var take = rueidis.NewLuaScript(`
local length, limit, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
` + readWindow + `
local allowed = math.max(math.min(wanted, limit - count), 0)
if allowed > 0 then
	local at = now
	if limit > 1024 then
		local step = math.ceil(length / 1024)
		at = math.ceil(now / step) * step
	end
	local rest = string.sub(value, 12 * first + 1)
	if first <= last then
		at = math.max(at, moment(last))
		if at == moment(last) then rest = string.sub(rest, 1, -13) end
	end
	count = count + allowed
	keep(head() .. rest .. struct.pack('>I8I4', at, (base + count) % 4294967296))
end
local empty, more = 0, 0
if count > 0 then
	empty = moment(last) + length - now
	if count >= limit then
		more = moment(search(function(i) return units(i) > count - limit end)) + length - now
	end
end
return {allowed, count, wall, empty, more}
`)

// refund: ARGV is the number of units to give back.
var refund = rueidis.NewLuaScript(`
local length = nil
` + readWindow + `
local left = count - tonumber(ARGV[1])
if count == 0 then
	return 0
elseif left <= 0 then
	return redis.call('DEL', KEYS[1])
end
local i = search(function(i) return units(i) >= left end)
keep(head() .. string.sub(value, 12 * first + 1, 12 * i) .. struct.pack('>I8I4', moment(i), (base + left) % 4294967296))
return 1
`)

// Take grants as many of n units of key as fit into the window that ends now.
// With n of 0 or less it only looks.
func (l *Limiter) Take(ctx context.Context, key string, limit int, window time.Duration, n int) domain.Grant {
	own := l.local.Take(ctx, key, limit, window, n)
	if limit <= 0 || window <= 0 || n > 0 && own.Allowed == 0 {
		return own
	}
	answer, ok := l.redis.do(commandTake, key, func(ctx context.Context, client rueidis.Client) rueidis.RedisResult {
		return take.Exec(ctx, client, []string{key}, []string{
			strconv.FormatInt(window.Microseconds(), 10), strconv.Itoa(limit), strconv.Itoa(own.Allowed),
		})
	})
	numbers, err := answer.AsIntSlice()
	if !ok || err != nil || len(numbers) != 5 {
		l.redis.metrics.local.Inc()
		return own
	}
	allowed, wall := int(numbers[0]), time.UnixMicro(numbers[2]).UTC()
	if allowed < own.Allowed {
		l.local.Refund(ctx, key, own.Allowed-allowed)
	}
	g := domain.Grant{
		Allowed: allowed, Limit: limit, Remaining: max(limit-int(numbers[1]), 0),
		Reset:      wall.Add(time.Duration(numbers[3]) * time.Microsecond),
		RetryAfter: time.Duration(numbers[4]) * time.Microsecond,
	}
	// Redis may have lost units that this process knows of.
	if own.Remaining == 0 && g.Remaining > 0 {
		g.Remaining, g.RetryAfter = 0, own.RetryAfter
	}
	return g
}

// Refund gives back the n newest units of key, as far as it has any.
func (l *Limiter) Refund(ctx context.Context, key string, n int) {
	if n <= 0 {
		return
	}
	l.local.Refund(ctx, key, n)
	l.redis.do(commandRefund, key, func(ctx context.Context, client rueidis.Client) rueidis.RedisResult {
		return refund.Exec(ctx, client, []string{key}, []string{strconv.Itoa(n)})
	})
}
