package live

import (
	"slices"
	"testing"
	"time"

	"vote/internal/domain"
)

func TestCountsDecodeOnlyAsEncoded(t *testing.T) {
	t.Parallel()
	c := domain.Counts{Votes: []int64{3, 0, 1 << 40}, Skips: 200, UpdatedAt: time.UnixMicro(1_700_000_000_123_456).UTC()}
	b := encodeCounts(c)
	got, err := decodeCounts(b)
	if err != nil || got.Skips != c.Skips || !got.UpdatedAt.Equal(c.UpdatedAt) || !slices.Equal(got.Votes, c.Votes) {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range b {
		if _, err := decodeCounts(b[:i]); err == nil {
			t.Errorf("the first %d bytes were accepted", i)
		}
	}
	if _, err := decodeCounts(append(slices.Clone(b), 0)); err == nil {
		t.Error("a byte too many was accepted")
	}
	b[7]++
	if _, err := decodeCounts(b); err == nil {
		t.Error("a version that is not the sum was accepted")
	}
}
