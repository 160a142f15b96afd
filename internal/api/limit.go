package api

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
	"time"

	"vote/internal/domain"
)

// Limits are how much is accepted in sliding windows; zero switches one off.
type Limits struct {
	RequestsPerMinute int // per user, or per address without a valid token
	VotesPerMinute    int // per user
	BurstPerSecond    int // per address
	// DailyVotes is only told in answers; the rule itself is the domain's.
	DailyVotes                     int
	LoginPerAccountPerMinute       int
	LoginPerAddressPerMinute       int
	RegistrationsPerAddressPerHour int
	// SignInsPerAddress is how many calls of one address may hash a password, or
	// wait for it, at once: a small part of those who may wait in all, so that a
	// flood from one address leaves room for everybody else's logins.
	SignInsPerAddress int
	// StreamsPerAddress is how many live streams may be open to one address, and
	// to one user whatever the addresses.
	StreamsPerAddress int
}

// charge says which windows a request of an endpoint is charged to, besides the
// burst window of its address.
type charge uint8

const (
	free     charge = iota // not limited at all
	requests               // the requests window
	votes                  // the votes window of a user; requests when there is none
	pages                  // no more: what browsers and other sites show
)

// admit charges the request to its windows and returns the refusal of the first
// that is full.
func (c *call) admit() *domain.Error {
	l := &c.s.limits
	if l.BurstPerSecond > 0 {
		if err := c.take("rate:addr:"+c.address()+":burst", l.BurstPerSecond, time.Second, true); err != nil {
			return err
		}
	}
	if c.route.charge == pages {
		return nil
	}
	limit, suffix := l.RequestsPerMinute, ":api"
	if c.route.charge == votes && c.token == tokenValid {
		limit, suffix = l.VotesPerMinute, ":votes"
	}
	if limit == 0 {
		return nil
	}
	return c.take(c.windowKey(suffix), limit, time.Minute, true)
}

// windowKey names a window of the caller: of the user, or of the address when
// there is no valid token.
func (c *call) windowKey(suffix string) string {
	if c.token == tokenValid {
		return "rate:user:" + strconv.FormatInt(int64(c.who.User), 10) + suffix
	}
	return "rate:addr:" + c.address() + suffix
}

// take charges one unit to a window. When it is full, everything the request
// was charged before is given back, since a refused request is not counted. The
// answer's headers tell of the window when told is set, or when it refused.
func (c *call) take(key string, limit int, window time.Duration, told bool) *domain.Error {
	if limit == 0 {
		return nil
	}
	g := c.s.limiter.Take(c.context(), key, limit, window, 1)
	if g.Allowed == 1 {
		c.charged[c.charges] = key
		c.charges++
		if told {
			c.window, c.windowed = g, true
		}
		return nil
	}
	c.refund()
	c.window, c.windowed = g, true
	return &domain.Error{Code: domain.CodeRateLimited, RetryAfter: max(g.RetryAfter, time.Millisecond)}
}

// refund gives back what the request was charged.
func (c *call) refund() {
	for _, key := range c.charged[:c.charges] {
		c.s.limiter.Refund(c.context(), key, 1)
	}
	c.charges = 0
}

// takeVotes asks the votes window for n votes of a batch and returns how many
// fit, and how long until one more will.
func (c *call) takeVotes(n int) (fit int, wait time.Duration) {
	limit := c.s.limits.VotesPerMinute
	if n == 0 || limit == 0 {
		return n, 0
	}
	g := c.s.limiter.Take(c.context(), c.windowKey(":votes"), limit, time.Minute, n)
	return g.Allowed, g.RetryAfter
}

// admitLogin charges a login to its address and to the account it is for,
// whether or not that exists.
func (c *call) admitLogin(email string) error {
	l := &c.s.limits
	if err := c.take("rate:login:addr:"+c.address(), l.LoginPerAddressPerMinute, time.Minute, false); err != nil {
		return err
	}
	_, key, fault := domain.NormalizeEmail(email)
	if fault != "" {
		key = strings.ToLower(strings.TrimSpace(email))
	}
	// Hashed: a limiter's keys may be seen by operators, addresses need not.
	sum := sha256.Sum256([]byte(key))
	if err := c.take("rate:login:account:"+hex.EncodeToString(sum[:16]), l.LoginPerAccountPerMinute, time.Minute, false); err != nil {
		return err
	}
	return nil
}

// admitChange charges a change of the account of who is signed in like a login:
// who holds a stolen token shall not find the password by guessing. The account
// has a window of its own for it, so that others, who may guess at the login,
// cannot keep its owner from changing the password.
func (c *call) admitChange() error {
	l := &c.s.limits
	if err := c.take("rate:login:addr:"+c.address(), l.LoginPerAddressPerMinute, time.Minute, false); err != nil {
		return err
	}
	if err := c.take(c.windowKey(":account"), l.LoginPerAccountPerMinute, time.Minute, false); err != nil {
		return err
	}
	return nil
}

// admitRegistration charges a registration to its address.
func (c *call) admitRegistration() error {
	if err := c.take("rate:register:addr:"+c.address(), c.s.limits.RegistrationsPerAddressPerHour, time.Hour, false); err != nil {
		return err
	}
	return nil
}

// hashing counts the calls under way that hash a password, by address.
type hashing struct {
	mu sync.Mutex
	by map[string]int
}

// enterHashing takes one of the address's places, which done gives back. Errors:
// CodeRateLimited when they are taken; then the request is not counted.
func (c *call) enterHashing() (done func(), err error) {
	limit := c.s.limits.SignInsPerAddress
	if limit == 0 {
		return func() {}, nil
	}
	h, address := &c.s.hashing, c.address()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.by[address] >= limit {
		if c.refund(); c.windowed {
			c.window.Remaining++
		}
		return nil, &domain.Error{
			Code: domain.CodeRateLimited, Detail: "Too many people sign in or change their accounts from this address at this moment.", RetryAfter: time.Second,
		}
	}
	if h.by == nil {
		h.by = make(map[string]int)
	}
	h.by[address]++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.by[address]--; h.by[address] == 0 {
			delete(h.by, address)
		}
	}, nil
}
