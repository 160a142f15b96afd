package postgres

import (
	"cmp"
	"slices"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

// chunkSize is how many entries a row of table history has.
const chunkSize = domain.RecentPositions

// maxPosition is the highest position that there can be: entries have a sign.
const maxPosition = 1<<31 - 1

// entry returns what a user's history holds of a vote or skip.
func entry(p domain.Position, skip bool) int32 {
	if skip {
		return -int32(p) //nolint:gosec // at most maxPosition
	}
	return int32(p) //nolint:gosec // at most maxPosition
}

// readEntry is the reverse of entry.
func readEntry(e int32) (p domain.Position, skip bool) {
	if e < 0 {
		return domain.Position(-e), true
	}
	return domain.Position(e), false
}

// userChange is what is added to a user's history.
type userChange struct {
	user domain.UserID
	// version is the user's version before.
	version int64
	entries []int32
}

const sealHistory = `/* seal_history */ INSERT INTO history (bucket, user_id, chunk, entries)
	SELECT s.bucket, s.user_id, u.chunk, (s.recent || ($6::integer[])[u.lo:u.hi])[u.start:u.start + 63]
	FROM unnest($1::integer[], $2::bigint[], $3::integer[], $4::integer[], $5::integer[], $7::integer[])
		AS u (bucket, user_id, chunk, lo, hi, start)
	JOIN user_state s ON s.bucket = u.bucket AND s.user_id = u.user_id`

const addRecent = `/* add_recent */ UPDATE user_state s SET version = s.version + u.hi - u.lo + 1,
	recent = (s.recent || ($5::integer[])[u.lo:u.hi])[u.start:]
	FROM unnest($1::integer[], $2::bigint[], $3::integer[], $4::integer[], $6::integer[])
		AS u (bucket, user_id, lo, hi, start)
	WHERE s.bucket = u.bucket AND s.user_id = u.user_id`

// queueUserChanges queues what adds to the histories of users whose rows in
// user_state the transaction has locked, and raises their versions. Each user is
// there once.
func (s *Store) queueUserChanges(b *pgx.Batch, changes []userChange) {
	changes = slices.DeleteFunc(slices.Clone(changes), func(c userChange) bool { return len(c.entries) == 0 })
	if len(changes) == 0 {
		return
	}
	slices.SortFunc(changes, func(x, y userChange) int {
		return cmp.Or(cmp.Compare(s.bucket(x.user), s.bucket(y.user)), cmp.Compare(x.user, y.user))
	})
	var all []int32
	n := len(changes)
	buckets, users := make([]int32, n), make([]int64, n)
	lo, hi, start := make([]int32, n), make([]int32, n), make([]int32, n)
	var sealed struct {
		buckets, chunks, lo, hi, start []int32
		users                          []int64
	}
	for i, c := range changes {
		had := int32(min(c.version, domain.RecentPositions)) //nolint:gosec // small; of entries in recent
		buckets[i], users[i] = s.bucket(c.user), int64(c.user)
		lo[i] = int32(len(all)) + 1 //nolint:gosec // bounded by a batch
		all = append(all, c.entries...)
		hi[i] = int32(len(all)) //nolint:gosec // bounded by a batch
		start[i] = max(1, had+hi[i]-lo[i]+1-domain.RecentPositions+1)
		before, after := c.version/chunkSize, (c.version+int64(len(c.entries)))/chunkSize
		for chunk := before + 1; chunk <= after; chunk++ {
			sealed.buckets, sealed.users = append(sealed.buckets, buckets[i]), append(sealed.users, users[i])
			sealed.chunks = append(sealed.chunks, int32(chunk)) //nolint:gosec // versions are far below
			sealed.lo, sealed.hi = append(sealed.lo, lo[i]), append(sealed.hi, hi[i])
			// The first entry of recent has the number version - had + 1.
			sealed.start = append(sealed.start, int32((chunk-1)*chunkSize-(c.version-int64(had)))+1) //nolint:gosec // small
		}
	}
	if len(sealed.users) > 0 {
		b.Queue(sealHistory, sealed.buckets, sealed.users, sealed.chunks, sealed.lo, sealed.hi, all, sealed.start)
	}
	b.Queue(addRecent, buckets, users, lo, hi, all, start)
}
