package feed

import (
	"context"
	"slices"
	"testing"
	"time"

	"vote/internal/domain"
	"vote/internal/engine/memory"
)

func TestRankingReachesReadersThroughTheCache(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := newWorld(t, 1)
	w.cache = memory.NewCache(memory.CacheOptions{Bytes: 1 << 20, Clock: w.clock})
	ids := w.publishMany(3, "x")
	w.interact(domain.Interaction{User: w.users[0], Poll: ids[0]})
	ranker := w.startFor(t, Config{Ranker: true})
	made := ranker.rankings.latest()
	reader := w.startFor(t, Config{})
	shared, ok := reader.rankings.shared(ctx)
	if !ok || shared.ID != made.id || !shared.At.Equal(made.at) || !slices.Equal(shared.Positions, made.positions) {
		t.Fatalf("shared %+v, %v; made %+v", shared, ok, made)
	}
	if got := getPage(t, reader, Query{Sort: SortHot}).ids(); got[0] != ids[0] {
		t.Errorf("the reader's hottest is %d, want %d", got[0], ids[0])
	}

	// An older one, brought late, replaces nothing.
	older := shared
	older.ID--
	ranker.rankings.share(ctx, older)
	if again, ok := reader.rankings.shared(ctx); !ok || again.ID != made.id {
		t.Errorf("after an older one: %+v, %v", again, ok)
	}
	// One whose successor did not arrive is passed over when that must be there.
	w.clock.advance(rankEvery - time.Millisecond)
	if _, ok := reader.rankings.shared(ctx); !ok {
		t.Error("passed over although no newer one can be due")
	}
	w.clock.advance(time.Millisecond)
	if _, ok := reader.rankings.shared(ctx); ok {
		t.Error("an outdated ranking was taken")
	}
	// So is one of another database.
	other := shared
	other.ID, other.At = shared.ID+1, w.clock.Now()
	w.cache.SetNewer(ctx, hotKey, encodeRanking(other, 12345), hotLife)
	if _, ok := reader.rankings.shared(ctx); ok {
		t.Error("a ranking of another database was taken")
	}
	w.cache.SetNewer(ctx, hotKey, encodeRanking(other, ids[0]), hotLife)
	if _, ok := reader.rankings.shared(ctx); !ok {
		t.Error("the same ranking of this database was not taken")
	}
}

func TestRankingDecodesOnlyWhatWasEncoded(t *testing.T) {
	t.Parallel()
	r := domain.Ranking{ID: 7, At: time.UnixMicro(1_700_000_000_123_456).UTC(), Positions: []domain.Position{300, 1, 2}}
	b := encodeRanking(r, 99)
	got, hottest, err := decodeRanking(b)
	if err != nil || hottest != 99 || got.ID != r.ID || !got.At.Equal(r.At) || !slices.Equal(got.Positions, r.Positions) {
		t.Fatalf("%+v, %d, %v", got, hottest, err)
	}
	for i := range b {
		if _, _, err := decodeRanking(b[:i]); err == nil {
			t.Errorf("the first %d bytes were accepted", i)
		}
		changed := slices.Clone(b)
		changed[i] ^= 1
		if _, _, err := decodeRanking(changed); err == nil {
			t.Errorf("a change of byte %d was accepted", i)
		}
	}
	if _, _, err := decodeRanking(encodeRanking(domain.Ranking{ID: 1}, 99)); err == nil {
		t.Error("a ranking of nothing was accepted")
	}
}
