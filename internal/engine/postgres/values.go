package postgres

import (
	"encoding/json"
	"strings"
	"time"

	"vote/internal/domain"
)

// date returns a day as the value of a date column.
func date(d domain.Day) time.Time { return d.Start() }

// optional returns a time as a value, NULL when it is zero.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// encodeJSON returns v as JSON, texts as they are.
func encodeJSON(v any) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// int64s returns ids as plain numbers, which every way of sending arguments can
// encode.
func int64s[T ~int64](ids []T) []int64 {
	plain := make([]int64, len(ids))
	for i, id := range ids {
		plain[i] = int64(id)
	}
	return plain
}

// bucket returns the shard of a user, the first column of the keys of all that
// belongs to users.
func (s *Store) bucket(user domain.UserID) int32 {
	n := int64(s.buckets)
	return int32((int64(user)%n + n) % n) //nolint:gosec // below the number of buckets
}

// bucketsOf returns the shard of each user.
func (s *Store) bucketsOf(users []domain.UserID) []int32 {
	buckets := make([]int32, len(users))
	for i, u := range users {
		buckets[i] = s.bucket(u)
	}
	return buckets
}
