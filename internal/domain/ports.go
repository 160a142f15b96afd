package domain

import (
	"context"
	"time"
)

// Clock tells the time. Engines and services take one, so that tests can set it.
type Clock interface {
	Now() time.Time
}

// SystemClock is the machine's clock, in UTC.
type SystemClock struct{}

// Now returns the current time, UTC.
func (SystemClock) Now() time.Time { return time.Now().UTC() }

// User is an account.
type User struct {
	ID           UserID
	Username     string
	Email        string
	PasswordHash string
	CreatedAt    time.Time
	// BannedAt is when the operator closed the account; zero when it is open.
	BannedAt time.Time
}

// NewUser is an account to be made. The keys are what is unique, see
// [NormalizeUsername] and [NormalizeEmail].
type NewUser struct {
	Username     string
	UsernameKey  string
	Email        string
	EmailKey     string
	PasswordHash string
}

// UserUpdate is what is to change of an account. What is empty stays as it is.
type UserUpdate struct {
	Username    string
	UsernameKey string
	Email       string
	EmailKey    string
	// PasswordHash ends every session but Keep.
	PasswordHash string
	Keep         string
	// IfPasswordHash is the hash that the account must still have.
	IfPasswordHash string
}

// AccountChange is what a change of an account brought about beyond itself.
type AccountChange struct {
	User User
	// Ended are the sessions that ended with it.
	Ended []string
	// Authored are the positions of the user's polls when these now name their
	// author otherwise.
	Authored []Position
}

// TokenHash is the SHA-256 of a refresh token; the token itself is not stored.
type TokenHash [32]byte

// Session is one sign-in: a family of refresh tokens of which the newest is valid.
type Session struct {
	ID        string
	User      UserID
	CreatedAt time.Time
	ExpiresAt time.Time // of the newest refresh token
}

// EndedSession tells that the access tokens of a session are no longer good.
type EndedSession struct {
	ID      string
	EndedAt time.Time
}

// SessionMark is a place in a user's list of sessions: right behind the session
// with this id and time.
type SessionMark struct {
	CreatedAt time.Time
	ID        string
}

// UserTotals are the numbers of a profile.
type UserTotals struct {
	VotesToday int
	Votes      int64
	Skips      int64
	Polls      int64
}

// RecentPositions is how many of a user's newest seen positions a store keeps at
// most beside the user's version. One that many processes share keeps that many;
// where there is only one process, nobody lacks any.
const RecentPositions = 64

// UserState says how much a user has seen. Each accepted interaction that
// changed something raises Version by one and appends its position to Recent,
// so the last (Version - v) entries of Recent are what somebody who knows
// version v lacks, when it has as many.
type UserState struct {
	User    UserID
	Version int64
	Recent  []Position // oldest first, at most RecentPositions
}

// SeenSet is everything a user has seen, in one snapshot.
type SeenSet struct {
	Version   int64
	Positions []Position // in no order, without duplicates
}

// UserChange is what a batch changed for one user.
type UserChange struct {
	User UserID
	// Version is the user's version after the batch.
	Version int64
	// Positions are those the batch added, in order; Version grew by their number.
	Positions []Position
}

// PastVote is a vote together with what was voted on.
type PastVote struct {
	Poll      PollID
	Option    int
	CreatedAt time.Time
	// Title and Options are empty when the poll is hidden.
	Title   string
	Options []string
}

// PastSkip is a skip together with what was skipped.
type PastSkip struct {
	Poll      PollID
	CreatedAt time.Time
	Title     string // empty when the poll is hidden or deleted
}

// CountedPoll is a poll with its counts.
type CountedPoll struct {
	Poll   Poll
	Counts Counts
}

// Outcome is what a committed batch of interactions did.
type Outcome struct {
	// Verdicts has one entry per interaction, in order.
	Verdicts []Verdict
	// Counts are those of each poll that a vote or new skip of the batch
	// changed, after the batch, ordered by poll.
	Counts []Counts
	// Users has one entry per user for whom something changed, ordered by user.
	Users []UserChange
	// At is the time of the batch by the store's clock; its day is the day of
	// every vote in it.
	At time.Time
}

// Publication is what became of one new poll.
type Publication struct {
	Verdict PublicationVerdict
	// Poll is the poll as published, or as it was published earlier under the
	// same idempotency key; meaningless when the verdict has a code. Of a poll
	// that was deleted since, only ID, CreatedAt and State are set.
	Poll Poll
	// Entry is the poll's catalogue entry.
	Entry Entry
	// At is the time of the batch by the store's clock.
	At time.Time
}

// Entry is a poll as the feed index needs it.
type Entry struct {
	Position Position
	Poll     PollID
	// Revision orders all changes to the catalogue: it is handed out under the
	// same lock as positions, so whoever follows revisions upward misses none.
	Revision int64
	State    PollState
	Tags     []string
	Votes    int64
	Skips    int64
}

// Ranking is a stored order of the hottest polls, hottest first.
type Ranking struct {
	ID        int64 // grows with time
	At        time.Time
	Positions []Position
}

// OutboxRow is one committed batch that was not yet published.
type OutboxRow struct {
	ID      int64
	At      time.Time
	Changes []byte // see [Changes]
}

// PastInteraction is one vote or skip of a user's history.
type PastInteraction struct {
	// Number grows in the order in which the user's votes and skips were
	// accepted, with gaps. It never changes.
	Number int64
	Poll   PollID
	// State is the poll's. Of a hidden or deleted poll, Title and Text are empty.
	State  PollState
	Title  string
	Option int    // of a vote
	Text   string // of that option
	At     time.Time
}

// OwnPoll is a poll as its author sees it.
type OwnPoll struct {
	Poll
	Votes int64
}

// Milestone tells how many votes a poll has reached, for [Store.AddMilestones].
type Milestone struct {
	Poll  PollID
	Votes int64
}

// MaxNotifications is how many notifications are kept of one user, the newest.
const MaxNotifications = 1000

// NotificationMilestone is the type of the notification that a poll has reached
// a number of votes.
const NotificationMilestone = "milestone"

// Notification tells a user something.
type Notification struct {
	ID   int64 // grows with time
	Type string
	Poll PollID
	// Title is the poll's; empty when it is hidden or deleted.
	Title string
	Votes int64 // the milestone
	At    time.Time
}

// Processed is one vote or skip as the analytics count it.
type Processed struct {
	ID     EventID
	Poll   PollID
	Option int
	Skip   bool
	At     time.Time
}

// Shown tells how often a poll was contained in answers of the feed in an hour.
type Shown struct {
	Poll  PollID
	Hour  Hour
	Times int64
}

// HourlyCounts are what happened to one poll in one hour.
type HourlyCounts struct {
	Hour  Hour
	Votes []int64 // by option index, as long as the poll has options
	Skips int64
	Shown int64
}

// DeadLetter is an event that a consumer could not handle.
type DeadLetter struct {
	ID     int64
	Queue  string
	Event  Event
	Reason string
	At     time.Time
}

// Violation is a broken invariant that [Store.Check] found.
type Violation struct {
	Invariant int    // its number in the list of invariants, see docs/design.md
	Rule      string // what must hold
	Count     int64
	Examples  []string // a few, without personal data
}

// CheckReport is what [Store.Check] looked at and found.
type CheckReport struct {
	Users, Polls, Votes, Skips, OutboxRows, DeadLetters int64
	// Rules names every rule that was checked, so that a check that looked at
	// nothing can be told from a clean one.
	Rules      []string
	Violations []Violation
}

// Store is durable storage. Every method that changes something is one
// transaction: when it returns nil, the change is committed and survives the
// death of the process. All methods are safe for concurrent use.
//
// Besides the errors named at each method, every method may return
// [CodeUnavailable] (storage cannot be reached or ctx ended; nothing happened),
// and changing methods [CodeOutcomeUnknown] (the commit was sent and its answer
// lost; it happened once or not at all). Any other error means that nothing
// happened and that repeating the same call would fail again.
type Store interface {
	// CreateUser makes an account with its first session and refresh token.
	// Errors: CodeEmailTaken, CodeUsernameTaken.
	CreateUser(ctx context.Context, u NewUser, s Session, refresh TokenHash) (User, error)
	// UserByID returns an account. Errors: CodeNotFound, also when erased.
	UserByID(ctx context.Context, id UserID) (User, error)
	// UserByEmail returns the account with that e-mail key. Errors: CodeNotFound.
	UserByEmail(ctx context.Context, emailKey string) (User, error)
	// UserByUsername returns the account with that username key. Errors:
	// CodeNotFound.
	UserByUsername(ctx context.Context, usernameKey string) (User, error)
	// Users returns at most limit accounts with an id above after, by id;
	// erased ones are left out.
	Users(ctx context.Context, after UserID, limit int) ([]User, error)
	// UserTotals returns the numbers of a profile. Errors: CodeNotFound.
	UserTotals(ctx context.Context, id UserID) (UserTotals, error)
	// UpdateUser changes an account. Another username renews the revisions of
	// the user's polls, so that whoever follows the catalogue learns of it.
	// Errors: CodeNotFound, also when erased; CodeWrongPassword when the
	// password hash is not the expected one; CodeEmailTaken, CodeUsernameTaken.
	UpdateUser(ctx context.Context, id UserID, u UserUpdate) (AccountChange, error)
	// EraseUser makes the account a tombstone: id and times stay. Name and
	// address are free again. Sessions, tokens, keys, notifications, the history
	// and the user's state are gone; ended sessions are still told by
	// EndedSessions. Polls lose their author and get new revisions; votes and
	// skips keep the number, so counts stay. Soon after, and at the latest when the store was closed, no byte of
	// name or address is left in the engine's files. Errors: CodeNotFound, also
	// when erased before; CodeWrongPassword when passwordHash is not empty and
	// not that of the account.
	EraseUser(ctx context.Context, id UserID, passwordHash string) (AccountChange, error)
	// SetBanned closes an account or opens it again. Closing ends every
	// session. A banned user has no new session, and for Interact and Publish
	// does not exist. Errors: CodeNotFound, also when erased.
	SetBanned(ctx context.Context, id UserID, banned bool) (AccountChange, error)

	// ExportVotes, ExportSkips and ExportPolls return at most limit of what a
	// user cast, skipped or published (deleted polls left out), by ascending
	// poll id above after: for reading everything in pieces. An unknown or
	// erased user has nothing.
	ExportVotes(ctx context.Context, user UserID, after PollID, limit int) ([]PastVote, error)
	// ExportSkips: see ExportVotes.
	ExportSkips(ctx context.Context, user UserID, after PollID, limit int) ([]PastSkip, error)
	// ExportPolls: see ExportVotes.
	ExportPolls(ctx context.Context, user UserID, after PollID, limit int) ([]CountedPoll, error)

	// CreateSession adds a session for who gave the password of passwordHash.
	// Errors: CodeNotFound when the user is gone; CodeWrongPassword when the
	// account has another hash by now; CodeBanned.
	CreateSession(ctx context.Context, s Session, refresh TokenHash, passwordHash string) error
	// Sessions returns at most limit live sessions of a user, newest first,
	// ties by descending id: those behind the mark, or from the first when it
	// is zero.
	Sessions(ctx context.Context, user UserID, behind SessionMark, limit int) ([]Session, error)
	// RotateRefresh replaces a refresh token by next, valid until expires, and
	// returns its session. Errors: CodeInvalidRefreshToken for a token that is
	// unknown, expired or of an ended session; CodeRefreshReused for one that
	// was rotated before: the session was ended; CodeBanned for any token of a
	// banned user.
	RotateRefresh(ctx context.Context, old, next TokenHash, expires time.Time) (Session, error)
	// SessionByRefresh returns the live session that a current refresh token
	// belongs to. Errors: CodeInvalidRefreshToken.
	SessionByRefresh(ctx context.Context, refresh TokenHash) (Session, error)
	// EndSession ends a session of a user; ending an ended one is no error.
	// Errors: CodeNotFound when the user has no such session.
	EndSession(ctx context.Context, user UserID, id string) error
	// EndedSessions returns the sessions ended at or after since, by time, those
	// of erased users included.
	EndedSessions(ctx context.Context, since time.Time) ([]EndedSession, error)
	// PruneSessions forgets sessions that ended, or whose last refresh token
	// expired, before the given time, and returns how many.
	PruneSessions(ctx context.Context, before time.Time) (int64, error)

	// Interact judges and applies a batch of votes and skips in one
	// transaction: lock the users in order, read the facts, judge, write what
	// was accepted, one outbox row. judge may be called more than once, when
	// the transaction is repeated. An empty batch is no error.
	// Errors: CodeConflict when others were in the way (busy, deadlock, lock
	// time-out): nothing happened, repeating may succeed.
	Interact(ctx context.Context, batch []Interaction, judge func([]Fact) []Verdict) (Outcome, error)
	// UserStates returns the states of the users, in the order asked; an
	// unknown user's has version 0.
	UserStates(ctx context.Context, users []UserID) ([]UserState, error)
	// Seen returns everything the user has seen, in one snapshot.
	Seen(ctx context.Context, user UserID) (SeenSet, error)
	// Prior returns what the user did with a poll; zero when nothing.
	Prior(ctx context.Context, user UserID, poll PollID) (Prior, error)

	// PastInteractions returns at most limit votes, or skips, of a user that come
	// before the one with the number before (0: the newest), newest first. Those
	// that were archived are left out. An unknown or erased user has none, and
	// nothing comes before a number that none of them has.
	PastInteractions(ctx context.Context, user UserID, skips bool, before int64, limit int) ([]PastInteraction, error)

	// Publish judges and publishes a batch of polls in one transaction,
	// assigning positions, ids and revisions under one lock taken last.
	// Errors: CodeConflict as for Interact.
	Publish(ctx context.Context, batch []NewPoll, judge func([]PublicationFact) []PublicationVerdict) ([]Publication, error)
	// DeletePoll deletes an author's poll that has no votes, and returns its
	// entry. Errors: CodeNotFound (none, deleted or hidden), CodeForbidden (not
	// the author), CodeHasVotes.
	DeletePoll(ctx context.Context, author UserID, id PollID) (Entry, error)
	// SetPollState opens, closes or hides a poll and returns its entry.
	// Errors: CodeNotFound, also for a deleted poll and for PollDeleted;
	// CodePollClosed for opening a poll of an archived month.
	SetPollState(ctx context.Context, id PollID, state PollState) (Entry, error)
	// PollsAt returns the polls at the positions that exist, in no order,
	// deleted ones left out.
	PollsAt(ctx context.Context, positions []Position) ([]Poll, error)
	// Poll returns one poll, whatever its state. Errors: CodeNotFound when it
	// never existed or is deleted.
	Poll(ctx context.Context, id PollID) (Poll, error)
	// PollsBy returns at most limit polls of an author with an id below before
	// (0: the newest), newest first: hidden ones too, deleted ones not.
	PollsBy(ctx context.Context, author UserID, before PollID, limit int) ([]OwnPoll, error)
	// PruneIdempotencyKeys forgets keys made before the given time.
	PruneIdempotencyKeys(ctx context.Context, before time.Time) (int64, error)

	// LoadCatalogue calls visit for every poll in order of position, in one
	// snapshot, and returns the newest revision in it. The entry and its tags
	// are reused between calls: visit copies what it keeps. An error of visit
	// ends the walk and is returned.
	LoadCatalogue(ctx context.Context, visit func(Entry) error) (revision int64, err error)
	// CatalogueSince returns at most limit entries with a revision above the
	// given one, by revision.
	CatalogueSince(ctx context.Context, revision int64, limit int) ([]Entry, error)
	// Counts returns the counts of those polls that are open or closed, in no order.
	Counts(ctx context.Context, ids []PollID) ([]Counts, error)
	// Search returns at most limit positions below before, newest first, of
	// open polls that match all terms. No terms match nothing.
	Search(ctx context.Context, terms []Term, before Position, limit int) ([]Position, error)

	// Rank returns the stored ranking when it is younger than every, and else
	// makes and stores one of at most n open polls by
	// (votes + 0.2 skips) * 2^(-age/24h), newest first among equals, forgetting
	// rankings older than keep.
	Rank(ctx context.Context, n int, every, keep time.Duration) (Ranking, error)
	// RankingByID returns a stored ranking; 0 is the newest. Errors:
	// CodeCursorExpired when it is gone or was never made.
	RankingByID(ctx context.Context, id int64) (Ranking, error)

	// ClaimOutbox returns at most limit rows, oldest first, that no other
	// caller holds, and holds them for lease.
	ClaimOutbox(ctx context.Context, limit int, lease time.Duration) ([]OutboxRow, error)
	// DeleteOutbox deletes rows that were published.
	DeleteOutbox(ctx context.Context, ids []int64) error
	// OutboxLag returns how many rows wait and since when the oldest does;
	// the zero time when none.
	OutboxLag(ctx context.Context) (rows int64, oldest time.Time, err error)
	// AddDeadLetter keeps an event that could not be handled. Keeping the same
	// event of the same queue again changes nothing.
	AddDeadLetter(ctx context.Context, d DeadLetter) error
	// DeadLetters returns at most limit dead letters with an id above after,
	// of one queue or, when it is empty, of all.
	DeadLetters(ctx context.Context, queue string, after int64, limit int) ([]DeadLetter, error)
	// ReplayDeadLetters moves dead letters back into the outbox, and returns
	// how many. Their events keep their ids and go to every queue that takes
	// them: those that have handled them drop them. An id that is gone is no
	// error, so repeating is safe. Errors: CodeInvalid when a letter is a row
	// that could not be read ([EventMalformedRow]), which no queue takes.
	ReplayDeadLetters(ctx context.Context, ids []int64) (int64, error)
	// DropDeadLetters deletes dead letters, and returns how many. An id that is
	// gone is no error.
	DropDeadLetters(ctx context.Context, ids []int64) (int64, error)

	// Import adds rows in bulk as if each had happened at its time, and returns
	// their ids. Counts, daily counters, hourly totals, users' versions and
	// histories, positions and the search follow; no event is made, and the daily limit is the caller's to
	// keep. It may be called for batch after batch. Interactions may name only
	// users and polls that are stored before the call. Errors: CodeEmailTaken,
	// CodeUsernameTaken; CodeInvalid when the author of a poll does not exist, a
	// poll is older than the newest one stored or of an archived month, an
	// interaction would not have been accepted and changed something, the poll
	// being open, or is older than its poll, or anything is to have happened
	// in the future.
	Import(ctx context.Context, batch Import) (Imported, error)
	// ArchiveMonth closes the polls that were published in a month for good,
	// and moves their votes and skips out of the live tables. Their counts and
	// hours, and people's versions and totals, stay; in what people did they are
	// missing: Seen, Prior, PastInteractions. It is not one transaction: when it was interrupted,
	// wherever, it is to be called again and goes on. Nothing is lost or there
	// twice at any moment. A month that is archived already is returned as it
	// is. Errors: CodeInvalid when the month is not over for MinArchiveAge;
	// CodeConflict when the place for the rows holds something else.
	ArchiveMonth(ctx context.Context, month Month) (ArchivedMonth, error)

	// CountHourly adds votes and skips to the totals of their poll and hour, in
	// one transaction, and remembers their event ids: what was counted before
	// changes nothing, however the events come again. Those of a poll that was
	// never published, or for an option that it does not have, make it fail.
	CountHourly(ctx context.Context, processed []Processed) error
	// PruneCounted forgets event ids that were counted before the given time,
	// some at a time, oldest first, and returns how many outbox rows they were
	// of; 0 when none is left. It keeps the ids from that of the oldest dead
	// letter on, which may be replayed to who has counted it.
	PruneCounted(ctx context.Context, before time.Time) (int64, error)
	// AddShown adds to the numbers of times that polls were shown. Polls that
	// were never published, or are deleted, may be left out.
	AddShown(ctx context.Context, shown []Shown) error
	// Hourly returns the hours in [from, to) in which something happened to a
	// poll that is open or closed, by hour. Errors: CodeNotFound.
	Hourly(ctx context.Context, poll PollID, from, to Hour) ([]HourlyCounts, error)

	// AddMilestones notifies the authors of polls, once each, of every milestone
	// (see [Milestones]) that their poll has reached. A hidden or deleted poll
	// and one without author are left out. Of a user, the newest
	// [MaxNotifications] notifications are kept.
	AddMilestones(ctx context.Context, reached []Milestone) error
	// Notifications returns at most limit notifications of a user with an id
	// below before (0: the newest), newest first.
	Notifications(ctx context.Context, user UserID, before int64, limit int) ([]Notification, error)

	// Check verifies every invariant that the database alone can show, in one
	// snapshot, under the given rules.
	Check(ctx context.Context, rules Rules) (CheckReport, error)
	// Ready returns nil when the store can serve. Errors: CodeUnavailable,
	// CodeSchemaOutdated.
	Ready(ctx context.Context) error
	// Close releases everything. No other method may be called afterwards.
	Close() error
}

// Migration is one numbered step of a store's schema.
type Migration struct {
	Version int64
	Name    string
	Applied bool
	// AppliedAt is zero when the migration is not applied.
	AppliedAt time.Time
}

// Migrator changes the schema of a store, on a connection of its own. One that
// changes something keeps others from it. It is for one goroutine.
type Migrator interface {
	// Up applies every migration that is missing.
	Up(ctx context.Context) error
	// Down takes back the newest applied migration; without one it does nothing.
	Down(ctx context.Context) error
	// To migrates up or down until version is the newest applied; 0 is an empty
	// database.
	To(ctx context.Context, version int64) error
	// Status lists every migration, oldest first.
	Status(ctx context.Context) ([]Migration, error)
	// Close releases everything.
	Close() error
}

// MaxBuckets is how many buckets a store may have at most.
const MaxBuckets = 1024

// Sharder changes how a store spreads its users, with all that is theirs, over
// buckets, and those over servers. Each change is made wholly or not at all, and
// refused while anybody uses the store. It is for one goroutine. The embedded
// store has no buckets.
type Sharder interface {
	// Rebucket makes it a store of 1 to [MaxBuckets] buckets and returns how many
	// there were before. When they were as many, it changes nothing.
	Rebucket(ctx context.Context, buckets int) (before int, err error)
	// Distribute spreads the tables over the servers of a cluster, by bucket, and
	// returns which ones. Those that are spread already stay as they are.
	Distribute(ctx context.Context) ([]string, error)
	// Close releases everything.
	Close() error
}

// Cache holds values that can be lost at any time without any consequence but
// time spent. All methods are safe for concurrent use; a fault of the cache is
// a miss, never an error.
type Cache interface {
	// Get returns the value of a key. The caller must not change it.
	Get(ctx context.Context, key string) ([]byte, bool)
	// Set keeps a value for at most life. The cache keeps the slice; the
	// caller must not change it afterwards.
	Set(ctx context.Context, key string, value []byte, life time.Duration)
	// SetNewer is Set, unless the key has a value of a higher version: then it
	// changes nothing. The version of a value is its first 8 bytes, big-endian
	// and below 2^53; a value that is shorter is not kept.
	SetNewer(ctx context.Context, key string, value []byte, life time.Duration)
	// Delete forgets keys.
	Delete(ctx context.Context, keys ...string)
}

// Grant is a limiter's answer.
type Grant struct {
	// Allowed is how many of the asked units were granted: they are charged,
	// the others are not.
	Allowed int
	Limit   int
	// Remaining is how many more would be granted now.
	Remaining int
	// Reset is when the window will be empty if nothing more is charged.
	Reset time.Time
	// RetryAfter is how long until one more unit would be granted; 0 when it
	// would be now.
	RetryAfter time.Duration
}

// Limiter counts units per key in exact sliding windows: in no window of the
// given length are more than limit units granted. Safe for concurrent use.
type Limiter interface {
	// Take asks for n units of key, and grants as many as fit. A limit of 0
	// grants everything and charges nothing. A key is always used with the
	// same window. A fault of the limiter never refuses.
	Take(ctx context.Context, key string, limit int, window time.Duration, n int) Grant
	// Refund gives back n of the units granted newest, for a request that
	// another window refused.
	Refund(ctx context.Context, key string, n int)
}

// Handler handles some events at once, as many as wait. Either it handles all
// of them or none. It must tolerate the same event again, and events in any
// order.
//
// An error with the code unavailable, conflict or outcome_unknown says nothing
// about the events, and they are delivered again until it passes. After any
// other error, the events are delivered again in smaller slices, until the one
// at fault is alone.
type Handler func(ctx context.Context, events []Event) error

// MaxDeliveries is how often an event is tried alone before it becomes a dead
// letter.
const MaxDeliveries = 3

// Bus carries events from the outbox relay to the consumers, at least once.
type Bus interface {
	// Subscribe binds a handler to a queue that receives the given event
	// types, each event once per queue. It must be called before Run.
	Subscribe(queue string, types []string, h Handler)
	// Publish returns nil once the bus has taken responsibility for all the
	// events: each will reach every queue that takes its type, or become a
	// dead letter with the reason, after MaxDeliveries tries with growing delay.
	// A handler may publish what its queue does not take.
	Publish(ctx context.Context, events []Event) error
	// Run delivers until ctx ends.
	Run(ctx context.Context) error
}
