package sqlite

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"vote/internal/domain"
)

func TestValuesRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		texts := validTexts(rapid.SliceOfN(rapid.String(), 0, 10).Draw(t, "texts"))
		encoded, err := encodeJSON(texts)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeTexts(encoded); err != nil || !slices.Equal(got, texts) {
			t.Fatalf("texts %q came back as %q, %v", texts, got, err)
		}
		counts := rapid.SliceOfN(rapid.Int64Min(0), 1, 20).Draw(t, "counts")
		if got, err := parseCounts(string(appendCounts(nil, counts))); err != nil || !slices.Equal(got, counts) {
			t.Fatalf("counts %v came back as %v, %v", counts, got, err)
		}
		var positions []domain.Position
		for _, p := range rapid.SliceOf(rapid.Uint32Min(1)).Draw(t, "positions") {
			positions = append(positions, domain.Position(p))
		}
		if got := decodePositions(appendPositions(nil, positions)); !slices.Equal(got, positions) {
			t.Fatalf("positions %v came back as %v", positions, got)
		}
	})
}

// FuzzValues reads any bytes as each kind of stored value: it must not panic,
// and what is read must be what would be written.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"", "[]", `["a"]`, `["a","b\n"]`, `["a",]`, `[,]`, `"a"`, "[1,2]", "[-1]", "[1,]", "\x80"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if texts, err := decodeTexts(string(data)); err == nil {
			encoded, err := encodeJSON(texts)
			must(t, err)
			if again, err := decodeTexts(encoded); err != nil || (len(texts) > 0 && !slices.Equal(validTexts(texts), again)) {
				t.Fatalf("%q: texts %q, then %q, %v", data, texts, again, err)
			}
		}
		if counts, err := parseCounts(string(data)); err == nil {
			if again, err := parseCounts(string(appendCounts(nil, counts))); err != nil || !slices.Equal(counts, again) {
				t.Fatalf("%q: counts %v, then %v, %v", data, counts, again, err)
			}
		}
		decodePositions(data)
	})
}

// validTexts returns the texts with U+FFFD for what is not UTF-8, as JSON has them.
func validTexts(texts []string) []string {
	valid := make([]string, len(texts))
	for i, s := range texts {
		valid[i] = string([]rune(s))
	}
	return valid
}
