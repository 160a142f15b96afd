package sqlite

import "vote/internal/domain"

// maxCachedUsers bounds the writer's memory of users: some 400 bytes each.
const maxCachedUsers = 1 << 15

// cachedUser is what a batch needs to know about a user, as of a day.
type cachedUser struct {
	day     domain.Day
	today   int // votes of the day
	version int64
	recent  []domain.Position
}

// userCache remembers users between batches. It cannot be stale, for the reasons
// given at [pollCache]: it belongs to the writer, is changed with what the
// writer's transaction writes, and is cleared when one that changed it does not
// commit. A transaction that ends a user forgets it. Users that do not exist are
// not remembered.
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

// get returns what is known of a user on a day, nil when that is not all.
func (c *userCache) get(id domain.UserID, day domain.Day) *cachedUser {
	if u := c.users[id]; u != nil && u.day == day {
		return u
	}
	return nil
}

// put remembers what the open transaction wrote of a user, forgetting any other
// when there are too many.
func (c *userCache) put(id domain.UserID, day domain.Day, today int, version int64, recent []domain.Position) {
	c.dirty = true
	u := c.users[id]
	if u == nil {
		for other := range c.users {
			if len(c.users) < c.limit {
				break
			}
			delete(c.users, other)
		}
		u = &cachedUser{}
		c.users[id] = u
	}
	u.day, u.today, u.version = day, today, version
	u.recent = append(u.recent[:0], recent...)
}
