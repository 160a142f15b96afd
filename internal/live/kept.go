package live

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"
	"sync"
	"time"

	"vote/internal/domain"
)

const (
	// keptLife is how long counts stay in the cache after they changed or were
	// last asked for; half of it is when those still asked for are kept anew.
	keptLife = time.Hour
	// saveEvery is how often what has changed is put there: a poll's counts once,
	// however many votes there were.
	saveEvery = 500 * time.Millisecond
	// maxUnsaved bounds the polls that wait for it. Those beyond are left out.
	maxUnsaved = 10_000
)

// kept are counts in the cache that all processes share. They answer readers
// while the store cannot.
//
// What is there is true, since counts are absolute and were committed before they
// came there, and never falls, since a value gives way to those of its version or
// a higher one only. But nothing tells how old it is: who wrote last may have
// been cut off from the cache since. So it never stands in for a store that
// answers, which is asked once per half a second and process however many read.
type kept struct {
	cache domain.Cache // nil: none

	mu      sync.Mutex
	unsaved map[domain.PollID]*domain.Counts // nil: to be deleted
}

func keptKey(id domain.PollID) string { return "poll:stats:" + strconv.FormatInt(int64(id), 10) }

// later has counts saved soon, nil to have the poll's deleted.
func (k *kept) later(id domain.PollID, c *domain.Counts) {
	if k.cache == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.unsaved == nil {
		k.unsaved = make(map[domain.PollID]*domain.Counts)
	}
	if _, waits := k.unsaved[id]; waits || len(k.unsaved) < maxUnsaved {
		k.unsaved[id] = c
	}
}

// run saves what has changed until ctx ends.
func (k *kept) run(ctx context.Context) {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			k.save(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (k *kept) save(ctx context.Context) {
	k.mu.Lock()
	unsaved := k.unsaved
	k.unsaved = nil
	k.mu.Unlock()
	for id, c := range unsaved {
		switch {
		case ctx.Err() != nil:
			return
		case c == nil:
			k.cache.Delete(ctx, keptKey(id))
		default:
			k.cache.SetNewer(ctx, keptKey(id), encodeCounts(*c), keptLife)
		}
	}
}

// get returns what is kept of a poll.
func (k *kept) get(ctx context.Context, id domain.PollID) (domain.Counts, bool) {
	if k.cache == nil {
		return domain.Counts{}, false
	}
	b, ok := k.cache.Get(ctx, keptKey(id))
	if !ok {
		return domain.Counts{}, false
	}
	c, err := decodeCounts(b)
	c.Poll = id
	return c, err == nil
}

// The value of a poll's key: its version in 8 bytes, big-endian, as
// [domain.Cache.SetNewer] wants it; when the newest was counted, in microseconds
// since 1970, likewise; skips, the number of options, and the votes of each as
// unsigned varints.
func encodeCounts(c domain.Counts) []byte {
	b := make([]byte, 0, 32+4*len(c.Votes))
	b = binary.BigEndian.AppendUint64(b, uint64(c.Version())) //nolint:gosec // counts are positive
	b = binary.BigEndian.AppendUint64(b, uint64(c.UpdatedAt.UnixMicro()))
	b = binary.AppendUvarint(b, uint64(c.Skips)) //nolint:gosec // counts are positive
	b = binary.AppendUvarint(b, uint64(len(c.Votes)))
	for _, n := range c.Votes {
		b = binary.AppendUvarint(b, uint64(n)) //nolint:gosec // counts are positive
	}
	return b
}

var errCountsFormat = errors.New("malformed counts")

// decodeCounts reads what encodeCounts wrote and refuses anything else.
func decodeCounts(b []byte) (domain.Counts, error) {
	if len(b) < 16 {
		return domain.Counts{}, errCountsFormat
	}
	version, at := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	b = b[16:]
	ok := true
	number := func() int64 {
		n, size := binary.Uvarint(b)
		if size <= 0 || n >= 1<<53 {
			ok, b = false, nil
			return 0
		}
		b = b[size:]
		return int64(n)
	}
	c := domain.Counts{Skips: number(), UpdatedAt: time.UnixMicro(int64(at)).UTC()} //nolint:gosec // back and forth
	options := number()
	if !ok || options > domain.MaxOptions {
		return domain.Counts{}, errCountsFormat
	}
	c.Votes = make([]int64, options)
	for i := range c.Votes {
		c.Votes[i] = number()
	}
	if !ok || len(b) != 0 || uint64(c.Version()) != version { //nolint:gosec // a sum of positive numbers
		return domain.Counts{}, errCountsFormat
	}
	return c, nil
}
