package feed

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"

	"vote/internal/domain"
)

// Sort is the order of a feed.
type Sort uint8

// The orders of a feed.
const (
	SortNew Sort = iota // newest first
	SortHot             // by the stored ranking
)

// cursor is where a walk goes on. In a URL it is base64url of: the order plus
// cursorFormat, then as unsigned varints the number of the page and either the
// position below which it goes on, or the ranking and the rank; and two bytes of
// a checksum, so that a string that was not issued is told from one that was.
type cursor struct {
	sort    Sort
	page    int // the number of the page that it leads to
	below   domain.Position
	ranking int64
	rank    int
}

const (
	cursorFormat = 0x10
	maxPage      = 1 << 31
)

var cursorEncoding = base64.RawURLEncoding.Strict()

func (c cursor) append(dst []byte) []byte {
	b := make([]byte, 0, 32)
	b = append(b, cursorFormat+byte(c.sort))
	b = binary.AppendUvarint(b, uint64(c.page)) //nolint:gosec // positive
	if c.sort == SortHot {
		b = binary.AppendUvarint(b, uint64(c.ranking)) //nolint:gosec // positive
		b = binary.AppendUvarint(b, uint64(c.rank))    //nolint:gosec // positive
	} else {
		b = binary.AppendUvarint(b, uint64(c.below))
	}
	b = binary.BigEndian.AppendUint16(b, cursorSum(b))
	return cursorEncoding.AppendEncode(dst, b)
}

func cursorSum(b []byte) uint16 { return uint16(crc32.ChecksumIEEE(b)) } //nolint:gosec // the low half

var errCursor = domain.E(domain.CodeInvalidCursor, "The cursor is not one that this feed gave out.")

// parseCursor reads a cursor of the given order. Errors: invalid_cursor.
func parseCursor(s string, sort Sort) (cursor, error) {
	if len(s) > 64 {
		return cursor{}, errCursor
	}
	b, err := cursorEncoding.DecodeString(s)
	if err != nil || len(b) < 5 || b[0] != cursorFormat+byte(sort) {
		return cursor{}, errCursor
	}
	b, sum := b[:len(b)-2], binary.BigEndian.Uint16(b[len(b)-2:])
	if cursorSum(b) != sum {
		return cursor{}, errCursor
	}
	b = b[1:]
	ok := true
	number := func(limit uint64) uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 || v >= limit {
			ok = false
			return 0
		}
		b = b[n:]
		return v
	}
	c := cursor{sort: sort, page: int(number(maxPage))} //nolint:gosec // bounded
	if sort == SortHot {
		c.ranking = int64(number(1 << 63)) //nolint:gosec // bounded
		c.rank = int(number(1 << 32))      //nolint:gosec // bounded
		ok = ok && c.ranking > 0
	} else {
		c.below = domain.Position(number(1 << 32)) //nolint:gosec // bounded
		ok = ok && c.below > 0
	}
	// Varints have longer forms, which are not given out.
	if !ok || len(b) != 0 || c.page < 2 || string(c.append(nil)) != s {
		return cursor{}, errCursor
	}
	return c, nil
}

// CheckCursor refuses what is not a cursor of the given order, before anything
// else is known of a request. Errors: invalid_cursor.
func CheckCursor(s string, sort Sort) error {
	_, err := parseCursor(s, sort)
	return err
}
