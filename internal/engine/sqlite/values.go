package sqlite

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
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

// errStored says that a stored value is not what this package writes.
var errStored = errors.New("stored value is malformed")

// parseCounts reads what appendCounts wrote.
func parseCounts(text string) ([]int64, error) {
	list, ok := trimBrackets(text)
	if !ok || list == "" {
		return nil, fmt.Errorf("counts: %w", errStored)
	}
	counts := make([]int64, 0, 1+strings.Count(list, ","))
	for item := range strings.SplitSeq(list, ",") {
		n, err := strconv.ParseInt(item, 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("counts: %w", errStored)
		}
		counts = append(counts, n)
	}
	return counts, nil
}

func trimBrackets(text string) (string, bool) {
	text, opened := strings.CutPrefix(text, "[")
	text, closed := strings.CutSuffix(text, "]")
	return text, opened && closed
}

// encodeJSON returns v as JSON, texts as they are.
func encodeJSON(v any) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// decodeTexts reads what encodeJSON wrote of texts.
func decodeTexts(text string) ([]string, error) {
	if strings.IndexByte(text, '\\') >= 0 {
		var texts []string
		if err := json.Unmarshal([]byte(text), &texts); err != nil {
			return nil, fmt.Errorf("texts: %w: %w", errStored, err)
		}
		return texts, nil
	}
	return splitTexts(make([]string, 0, strings.Count(text, `"`)/2), text)
}

// splitTexts appends the texts of a JSON array without escapes: they are what
// stands between the quotes. They share the memory of text.
func splitTexts(texts []string, text string) ([]string, error) {
	rest, ok := trimBrackets(text)
	for ok && rest != "" {
		var opened, closed bool
		var t string
		rest, opened = strings.CutPrefix(rest, `"`)
		t, rest, closed = strings.Cut(rest, `"`)
		texts = append(texts, t)
		ok = opened && closed
		if rest != "" {
			var more bool
			rest, more = strings.CutPrefix(rest, ",")
			ok = ok && more && rest != ""
		}
	}
	if !ok {
		return nil, fmt.Errorf("texts: %w", errStored)
	}
	return texts, nil
}

func appendPositions(b []byte, positions []domain.Position) []byte {
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
