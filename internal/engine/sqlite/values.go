package sqlite

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"vote/internal/domain"
)

func millis(t time.Time) int64 { return t.UnixMilli() }

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// appendCounts appends counts as a JSON array.
func appendCounts(b []byte, counts []int64) []byte {
	b = append(b, '[')
	for i, n := range counts {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return append(b, ']')
}

// parseCounts reads what appendCounts wrote.
func parseCounts(text string) ([]int64, error) {
	var counts []int64
	if err := json.Unmarshal([]byte(text), &counts); err != nil {
		return nil, fmt.Errorf("stored counts: %w", err)
	}
	return counts, nil
}

func encodeTexts(texts []string) (string, error) {
	b, err := json.Marshal(texts)
	return string(b), err
}

func decodeTexts(text string) ([]string, error) {
	var texts []string
	if err := json.Unmarshal([]byte(text), &texts); err != nil {
		return nil, fmt.Errorf("stored texts: %w", err)
	}
	return texts, nil
}

// errRecent says that the recent positions of a user cannot be read.
var errRecent = errors.New("stored recent positions are malformed")

// appendRecent appends positions as signed varints: the first one, then
// differences. Neighbours in the feed take one byte each, so that the rows of
// many users share a page.
func appendRecent(b []byte, positions []domain.Position) []byte {
	last := int64(0)
	for _, p := range positions {
		b = binary.AppendVarint(b, int64(p)-last)
		last = int64(p)
	}
	return b
}

// parseRecent appends to positions what appendRecent wrote.
func parseRecent(positions []domain.Position, b []byte) ([]domain.Position, error) {
	last := int64(0)
	for len(b) > 0 {
		d, n := binary.Varint(b)
		last += d
		if n <= 0 || last < 0 || last > int64(^domain.Position(0)) {
			return nil, errRecent
		}
		positions = append(positions, domain.Position(last))
		b = b[n:]
	}
	return positions, nil
}

func encodePositions(positions []domain.Position) []byte {
	b := make([]byte, 0, 4*len(positions))
	for _, p := range positions {
		b = binary.LittleEndian.AppendUint32(b, uint32(p))
	}
	return b
}

func decodePositions(b []byte) []domain.Position {
	positions := make([]domain.Position, 0, len(b)/4)
	for ; len(b) >= 4; b = b[4:] {
		positions = append(positions, domain.Position(binary.LittleEndian.Uint32(b)))
	}
	return positions
}
