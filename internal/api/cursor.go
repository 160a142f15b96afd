package api

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"

	"vote/internal/domain"
)

// ownList names a list of a user's own things. A cursor of one is none of another.
type ownList byte

const (
	listVotes ownList = iota + 1
	listSkips
	listPolls
	listNotifications
)

var cursorEncoding = base64.RawURLEncoding.Strict()

// cursor returns the cursor below which a list goes on after an item. In a URL
// it is base64url of: the list, the item's number or id as an unsigned varint,
// and two bytes of a checksum, so that a string that was not issued is told from
// one that was.
func (l ownList) cursor(last int64) string {
	b := binary.AppendUvarint([]byte{byte(l)}, uint64(last)) //nolint:gosec // positive
	return cursorEncoding.EncodeToString(binary.BigEndian.AppendUint16(b, cursorSum(b)))
}

func cursorSum(b []byte) uint16 { return uint16(crc32.ChecksumIEEE(b)) } //nolint:gosec // the low half

var errCursor = domain.E(domain.CodeInvalidCursor, "The cursor is not one that this list gave out.")

// parse reads a cursor of the list. An empty one is 0. Errors: invalid_cursor.
func (l ownList) parse(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	if len(s) > 32 {
		return 0, errCursor
	}
	b, err := cursorEncoding.DecodeString(s)
	if err != nil || len(b) < 4 {
		return 0, errCursor
	}
	last, n := binary.Uvarint(b[1:])
	// What else stands there, and longer forms of the number, are found by
	// making the cursor again.
	if n <= 0 || last == 0 || last >= domain.MaxID || l.cursor(int64(last)) != s {
		return 0, errCursor
	}
	return int64(last), nil
}

// checkList returns what refuses cursors that the list did not give out.
func checkList(l ownList) func(*call) error {
	return func(c *call) error {
		s, _ := c.param("cursor")
		_, err := l.parse(s)
		return err
	}
}
