package feed

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/bits"
	"strconv"

	"vote/internal/domain"
)

// seenKey is where the cache keeps what a user has seen, votes and skips in one:
// a page leaves out both, so it reads one value. What is there may be old. It is
// used only when the user's version, read from the store after the page was asked
// for, is at most as far ahead as there are positions that came with it, which
// are then added; and only when its newest poll is where this database has it.
func seenKey(user domain.UserID) string {
	return "poll:feed:user:" + strconv.FormatInt(int64(user), 10) + ":voted"
}

// The value of a seen key, all numbers as unsigned varints:
//
//	1                     the format
//	version               the user's version that the set is complete up to
//	newest, its poll id   by which a value of another database is told apart
//	words                 how many words follow, ascending
//	per word: distance to the word before (the first: to word -1) minus 1,
//	          shifted left by 1; its lowest bit says that one position follows
//	          as a byte (0 to 63), else the 64 bits follow, little endian
//	CRC-32 (IEEE) of everything before, 4 bytes, little endian
const seenFormat = 1

var errSeenFormat = errors.New("malformed seen set")

func encodeSeen(s *wordSet, version int64, newestID domain.PollID) []byte {
	b := make([]byte, 0, 64+5*len(s.words))
	b = append(b, seenFormat)
	b = binary.AppendUvarint(b, uint64(version)) //nolint:gosec // versions are positive
	b = binary.AppendUvarint(b, uint64(s.max()))
	b = binary.AppendUvarint(b, uint64(newestID)) //nolint:gosec // ids are positive
	b = binary.AppendUvarint(b, uint64(len(s.words)))
	last := int64(-1)
	for i, w := range s.words {
		step := uint64(int64(w)-last-1) << 1 //nolint:gosec // words ascend
		last = int64(w)
		if m := s.masks[i]; m&(m-1) == 0 {
			b = binary.AppendUvarint(b, step|1)
			b = append(b, byte(bits.TrailingZeros64(m))) //nolint:gosec // 0 to 63
		} else {
			b = binary.AppendUvarint(b, step)
			b = binary.LittleEndian.AppendUint64(b, m)
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// decodeSeen reads what encodeSeen wrote and refuses anything else.
func decodeSeen(b []byte) (s wordSet, version int64, newestID domain.PollID, err error) {
	fail := func() (wordSet, int64, domain.PollID, error) { return wordSet{}, 0, 0, errSeenFormat }
	if len(b) < 5 || b[0] != seenFormat {
		return fail()
	}
	b, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(b) != sum {
		return fail()
	}
	b = b[1:]
	ok := true
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > 1<<63-1 {
			ok = false
			return 0
		}
		b = b[n:]
		return v
	}
	version = int64(number())          //nolint:gosec // checked by number
	newest := number()                 // compared below
	newestID = domain.PollID(number()) //nolint:gosec // checked by number
	words := number()
	if !ok || words > uint64(len(b))/2 { // a word takes two bytes or more
		return fail()
	}
	s.words, s.masks = make([]uint32, 0, words), make([]uint64, 0, words)
	word := int64(-1)
	for range words {
		v := number()
		if !ok || v>>1 >= 1<<26 {
			return fail()
		}
		word += int64(v>>1) + 1
		var mask uint64
		switch {
		case v&1 == 1 && len(b) >= 1 && b[0] < 64:
			mask, b = 1<<b[0], b[1:]
		case v&1 == 0 && len(b) >= 8:
			mask, b = binary.LittleEndian.Uint64(b), b[8:]
		}
		if mask == 0 || word >= 1<<26 {
			return fail()
		}
		s.words, s.masks = append(s.words, uint32(word)), append(s.masks, mask)
		s.n += bits.OnesCount64(mask)
	}
	if len(b) != 0 || uint64(s.max()) != newest {
		return fail()
	}
	return s, version, newestID, nil
}
