package domain

import (
	"fmt"
	"strconv"
	"time"
)

// Limits of a poll's content, in Unicode code points after NFC and trimming.
const (
	MaxTitle      = 300
	MinOptions    = 2
	MaxOptions    = 20
	MaxOption     = 200
	MinTags       = 1
	MaxTags       = 10
	MaxTag        = 50
	MaxSearchText = 200
)

// MaxID is the exclusive upper bound of ids: they are JSON numbers that every
// client can hold exactly.
const MaxID = 1 << 53

// UserID identifies a user.
type UserID int64

// PollID identifies a poll. Ids are ordered by time of publication: the upper
// bits are milliseconds since [Epoch], the lower [PollIDSequenceBits] a sequence.
type PollID int64

// PollIDSequenceBits is how many low bits of a [PollID] are a sequence.
const PollIDSequenceBits = 12

// Epoch is where the time in a [PollID] starts.
var Epoch = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// PollIDAt returns the smallest poll id of the millisecond of t.
func PollIDAt(t time.Time) PollID {
	return PollID(t.Sub(Epoch).Milliseconds() << PollIDSequenceBits)
}

// NextPollID returns the id that follows last for a poll published at now.
// It never falls, also when the clock does, and spills into the next
// millisecond when one is full.
func NextPollID(last PollID, now time.Time) PollID { return max(last+1, PollIDAt(now)) }

// Time returns when the poll was published, to the millisecond.
func (id PollID) Time() time.Time {
	return Epoch.Add(time.Duration(int64(id)>>PollIDSequenceBits) * time.Millisecond)
}

// ParseID reads a decimal id in [1, MaxID). Signs, leading zeros and anything
// else that a canonical id does not have are refused.
func ParseID(s string) (int64, bool) {
	if s == "" || len(s) > 16 || s[0] < '1' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n >= MaxID {
		return 0, false
	}
	return n, true
}

// Position is a poll's place in the order of publication: dense, from 1, handed
// out under a lock, so that whoever follows positions upward misses none.
type Position uint32

// PollState says who may see a poll and act on it.
type PollState uint8

// The states of a poll.
const (
	PollOpen    PollState = iota // in feeds, may be voted on
	PollClosed                   // out of feeds, readable, voting refused
	PollHidden                   // as if it did not exist
	PollDeleted                  // as if it did not exist; its content is gone
)

// Poll is a question with its options. Content never changes after publication.
type Poll struct {
	ID       PollID
	Position Position
	// Author is 0 when the author erased the account.
	Author     UserID
	AuthorName string
	Title      string
	Options    []string
	Tags       []string
	CreatedAt  time.Time
	State      PollState
}

// NewPoll is the content of a poll that is to be published.
type NewPoll struct {
	Author  UserID
	Title   string
	Options []string
	Tags    []string
	// IdempotencyKey, when set, makes a repetition within [IdempotencyLife]
	// answer with the first poll instead of publishing another.
	IdempotencyKey string
	// Fingerprint tells a repetition from another body under the same key.
	Fingerprint [32]byte
}

// IdempotencyLife is how long an idempotency key is remembered.
const IdempotencyLife = 24 * time.Hour

// NormalizePoll returns the content as it is stored (NFC, trimmed, tags folded
// and without duplicates) and every fault it has. Field names are those of the
// HTTP API. The poll is usable only when there is no fault.
func NormalizePoll(p NewPoll) (NewPoll, []FieldError) {
	var faults []FieldError
	fault := func(field, format string, args ...any) {
		faults = append(faults, FieldError{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	var msg string
	if p.Title, msg = normalizeText(p.Title, 1, MaxTitle); msg != "" {
		fault("title", "%s", msg)
	}
	if n := len(p.Options); n < MinOptions || n > MaxOptions {
		fault("options", "must have %d to %d entries", MinOptions, MaxOptions)
	}
	options := make([]string, 0, min(len(p.Options), MaxOptions))
	first := make(map[string]int, len(p.Options))
	for i, o := range p.Options {
		if i == MaxOptions {
			break
		}
		o, msg := normalizeText(o, 1, MaxOption)
		field := fmt.Sprintf("options[%d]", i)
		if msg != "" {
			fault(field, "%s", msg)
		} else if j, dup := first[o]; dup {
			fault(field, "is the same as options[%d]", j)
		} else {
			first[o] = i
		}
		options = append(options, o)
	}
	p.Options = options
	tags := make([]string, 0, min(len(p.Tags), MaxTags))
	have := make(map[string]bool, len(p.Tags))
	for i, t := range p.Tags {
		if i == 2*MaxTags {
			break // far beyond the limit: one fault says enough
		}
		tag, msg := NormalizeTag(t)
		if msg != "" {
			fault(fmt.Sprintf("tags[%d]", i), "%s", msg)
		} else if !have[tag] {
			have[tag] = true
			tags = append(tags, tag)
		}
	}
	if len(p.Tags) < MinTags || len(p.Tags) > 2*MaxTags || len(tags) > MaxTags {
		fault("tags", "must have %d to %d different entries", MinTags, MaxTags)
	}
	p.Tags = tags
	return p, faults
}
