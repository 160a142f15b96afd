package domain

import "time"

// Import is a batch of rows that did not come through the product, such as made
// up ones. Times are those at which they are to have happened.
type Import struct {
	Users        []ImportUser
	Polls        []ImportPoll
	Interactions []ImportInteraction
}

// ImportUser is an account without a session.
type ImportUser struct {
	NewUser
	CreatedAt time.Time
}

// ImportPoll is an open poll, with normalised content, see [NormalizePoll].
type ImportPoll struct {
	Author  UserID
	Title   string
	Options []string
	Tags    []string
	At      time.Time
}

// ImportInteraction is a vote or skip.
type ImportInteraction struct {
	Interaction
	At time.Time
}

// Imported are the ids of what was imported, in the order of the batch.
type Imported struct {
	Users []UserID
	Polls []PollID
}
