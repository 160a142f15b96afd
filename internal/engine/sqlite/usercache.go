package sqlite

import "vote/internal/domain"

const (
	// maxCachedUsers bounds the writer's memory of users: some 150 bytes each,
	// and at most 1 KiB for what they have seen.
	maxCachedUsers = 1 << 15
	// maxCachedSeen is how many positions are remembered of a user.
	maxCachedSeen = 256
)

// cachedUser is what a batch needs to know about a user, as of a day.
type cachedUser struct {
	day     domain.Day
	today   int // votes of the day
	days    countedDays
	version int64
	last    lastEntries
	// seen is everything the user has seen, when whole: that is so for whom the
	// cache has known from the first vote on, and who has not seen too much.
	seen  []domain.Position
	whole bool
}

// userCache remembers users between batches. It cannot be stale, for the reasons
// given at [pollCache]: it belongs to the writer, is changed with what the
// writer's transaction writes, and is cleared when one that changed it does not
// commit. A transaction that erases or bans a user forgets it. Users that do not
// exist are not remembered.
type userCache struct {
	users map[domain.UserID]*cachedUser
	limit int
	dirty bool // changed by the open transaction
}

func newUserCache(limit int) userCache {
	return userCache{users: make(map[domain.UserID]*cachedUser), limit: limit}
}

// keep is called after a commit, undo after a rollback.
func (c *userCache) keep() { c.dirty = false }

func (c *userCache) undo() {
	if c.dirty {
		clear(c.users)
		c.dirty = false
	}
}

// clear is called by a transaction that changes users other than by put, forget
// by one that ends a user.
func (c *userCache) clear() { clear(c.users) }

func (c *userCache) forget(id domain.UserID) { delete(c.users, id) }

// get returns what is known of a user, as of the day it says; nil when nothing.
func (c *userCache) get(id domain.UserID) *cachedUser { return c.users[id] }

// put remembers what the open transaction wrote of a user, forgetting any other
// when there are too many.
func (c *userCache) put(f *userFacts, day domain.Day) {
	c.dirty = true
	u := c.users[f.id]
	if u == nil {
		for other := range c.users {
			if len(c.users) < c.limit {
				break
			}
			delete(c.users, other)
		}
		u = &cachedUser{}
		c.users[f.id] = u
	}
	u.day, u.today, u.days, u.version, u.last = day, f.today, f.days, f.version, f.last
	if u.whole = f.whole && len(f.seen)+len(f.added) <= maxCachedSeen; u.whole {
		u.seen = append(f.seen, f.added...)
	} else {
		u.seen = nil
	}
}
