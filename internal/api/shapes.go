package api

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"vote/internal/account"
	"vote/internal/domain"
)

// The shapes of requests and answers. The OpenAPI document is made from these
// types; a test holds what the readers take, and what the server answers, to it.

// anyID is an id in a body: a number, or its digits as a string.
type anyID int64

// Schema implements [huma.SchemaProvider].
func (anyID) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		OneOf: []*huma.Schema{
			{Type: huma.TypeInteger, Minimum: new(1.0), Maximum: new(float64(domain.MaxID - 1))},
			{Type: huma.TypeString, Pattern: "^[1-9][0-9]{0,15}$"},
		},
		Examples: []any{17, "17"},
	}
}

type registration struct {
	Username string `json:"username" doc:"Unique without case. Letters, marks, digits, '.', '_', '-'." minLength:"3" maxLength:"50" example:"mira"`
	Email    string `json:"email" doc:"Unique without case." maxLength:"254" example:"mira@example.org"`
	Password string `json:"password" minLength:"8" maxLength:"128" example:"correct horse battery"`
}

func readRegistration(in *input) registration {
	o := in.object(0, bodyField, "", []string{"username", "email", "password"})
	r := registration{o.text("username"), o.text("email"), o.text("password")}
	if o.ok {
		_, _, fault := domain.NormalizeUsername(r.Username)
		in.check("username", fault)
		_, _, fault = domain.NormalizeEmail(r.Email)
		in.check("email", fault)
		_, fault = domain.NormalizePassword(r.Password)
		in.check("password", fault)
	}
	return r
}

type credentials struct {
	Email    string `json:"email" minLength:"1" example:"mira@example.org"`
	Password string `json:"password" minLength:"1" example:"correct horse battery"`
}

func readCredentials(in *input) credentials {
	o := in.object(0, bodyField, "", []string{"email", "password"})
	r := credentials{o.text("email"), o.text("password")}
	if o.ok && r.Email == "" {
		in.check("email", "must not be empty")
	}
	if o.ok && r.Password == "" {
		in.check("password", "must not be empty")
	}
	return r
}

type refreshRequest struct {
	RefreshToken string `json:"refreshToken" minLength:"1" example:"oXf0…"`
}

func readRefresh(in *input) refreshRequest {
	o := in.object(0, bodyField, "", []string{"refreshToken"})
	r := refreshRequest{o.text("refreshToken")}
	if o.ok && r.RefreshToken == "" {
		in.check("refreshToken", "must not be empty")
	}
	return r
}

type logoutRequest struct {
	RefreshToken string `json:"refreshToken,omitempty" doc:"Ends the session of this token instead of the one of the access token." minLength:"1" example:"oXf0…"`
}

func readLogout(in *input) logoutRequest {
	o := in.object(0, bodyField, "", []string{"refreshToken"})
	r := logoutRequest{o.optionalText("refreshToken")}
	if o.member("refreshToken") != 0 && r.RefreshToken == "" {
		in.check("refreshToken", "must not be empty")
	}
	return r
}

type updateRequest struct {
	Username        *string `json:"username,omitempty" doc:"As for registration." minLength:"3" maxLength:"50" example:"mira.k"`
	Email           *string `json:"email,omitempty" doc:"Needs currentPassword." maxLength:"254" example:"mira@example.net"`
	Password        *string `json:"password,omitempty" doc:"Needs currentPassword; ends the other sessions." minLength:"8" maxLength:"128" example:"battery correct horse"`
	CurrentPassword *string `json:"currentPassword,omitempty" doc:"Checked whenever it is given." example:"correct horse battery"`
}

func readUpdate(in *input) updateRequest {
	o := in.object(0, bodyField, "", []string{"username", "email", "password", "currentPassword"})
	r := updateRequest{o.maybeText("username"), o.maybeText("email"), o.maybeText("password"), o.maybeText("currentPassword")}
	if !o.ok {
		return r
	}
	// A member of a wrong type has its fault already, and is there.
	u := r.update()
	for name, field := range map[string]**string{"username": &u.Username, "email": &u.Email, "password": &u.Password} {
		if in.faulty(name) {
			*field = new("")
		}
	}
	in.merge(u.Check(r.CurrentPassword != nil || in.faulty("currentPassword")))
	return r
}

func (r updateRequest) update() account.Update {
	return account.Update{Username: r.Username, Email: r.Email, Password: r.Password}
}

type erasureRequest struct {
	Password string `json:"password" minLength:"1" example:"correct horse battery"`
}

// readErasure returns the password, empty when there is none.
func readErasure(in *input) string {
	o := in.object(0, bodyField, "", []string{"password"})
	password := o.text("password")
	if o.ok && password == "" {
		in.check("password", "must not be empty")
	}
	return password
}

type sessionItemShape struct {
	ID        string    `json:"id" example:"mT0b3y0Xk2yq8mC1V1m7Qw"`
	CreatedAt time.Time `json:"createdAt"`
	Current   bool      `json:"current" doc:"The session of the access token."`
}

type sessionListShape struct {
	Items      []sessionItemShape `json:"items" maxItems:"100"`
	NextCursor *string            `json:"nextCursor" doc:"For the next call; null at the end."`
}

// The shapes of an export, which account writes.
type exportShape struct {
	ExportedAt time.Time            `json:"exportedAt"`
	Profile    exportProfileShape   `json:"profile"`
	Sessions   []exportSessionShape `json:"sessions" doc:"Live ones, newest first."`
	Votes      []exportVoteShape    `json:"votes" doc:"By poll id."`
	Skips      []exportSkipShape    `json:"skips" doc:"By poll id."`
	Polls      []exportOwnPollShape `json:"polls" doc:"Your own, by id."`

	Notifications []exportNotificationShape `json:"notifications" doc:"Newest first."`
}

type exportProfileShape struct {
	ID         domain.UserID `json:"id" minimum:"1"`
	Username   string        `json:"username"`
	Email      string        `json:"email"`
	CreatedAt  time.Time     `json:"createdAt"`
	VotesToday int           `json:"votesToday" minimum:"0"`
}

type exportSessionShape struct {
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"createdAt"`
	ExpiresAt time.Time `json:"expiresAt"`
}

type exportVoteShape struct {
	PollID      domain.PollID `json:"pollId" minimum:"1"`
	Title       string        `json:"title" doc:"Empty, like options, when the poll is hidden."`
	Options     []string      `json:"options" maxItems:"20"`
	OptionIndex int           `json:"optionIndex" minimum:"0" maximum:"19"`
	Option      string        `json:"option"`
	CreatedAt   time.Time     `json:"createdAt"`
}

type exportSkipShape struct {
	PollID    domain.PollID `json:"pollId" minimum:"1"`
	Title     string        `json:"title" doc:"Empty when the poll is hidden or deleted."`
	CreatedAt time.Time     `json:"createdAt"`
}

type exportNotificationShape struct {
	Type      string        `json:"type" enum:"milestone"`
	PollID    domain.PollID `json:"pollId" minimum:"1"`
	Title     string        `json:"title" doc:"Empty when the poll is hidden."`
	Votes     int64         `json:"votes" minimum:"1"`
	CreatedAt time.Time     `json:"createdAt"`
}

type exportOwnPollShape struct {
	ID         domain.PollID `json:"id" minimum:"1"`
	Title      string        `json:"title"`
	Options    []string      `json:"options" minItems:"2" maxItems:"20"`
	Tags       []string      `json:"tags" minItems:"1" maxItems:"10"`
	CreatedAt  time.Time     `json:"createdAt"`
	State      string        `json:"state" enum:"open,closed,hidden"`
	Votes      []int64       `json:"votes" doc:"By option." minItems:"2" maxItems:"20" minimum:"0"`
	TotalVotes int64         `json:"totalVotes" minimum:"0"`
	TotalSkips int64         `json:"totalSkips" minimum:"0"`
}

type userShape struct {
	ID        domain.UserID `json:"id" minimum:"1" example:"17"`
	Username  string        `json:"username" example:"mira"`
	Email     string        `json:"email" example:"mira@example.org"`
	CreatedAt time.Time     `json:"createdAt"`
}

type sessionShape struct {
	User         userShape `json:"user"`
	Token        string    `json:"token" doc:"The access token: Authorization: Bearer <token>." example:"eyJhbGciOi…"`
	RefreshToken string    `json:"refreshToken,omitempty" doc:"Good for one call of refresh. Absent with X-Vote-Client: web, which gets it in a cookie." example:"oXf0…"`
	ExpiresAt    time.Time `json:"expiresAt" doc:"When the access token expires."`
}

type totalsShape struct {
	Votes int64 `json:"votes" minimum:"0"`
	Skips int64 `json:"skips" minimum:"0"`
	Polls int64 `json:"polls" minimum:"0"`
}

type profileShape struct {
	ID                  domain.UserID `json:"id" minimum:"1" example:"17"`
	Username            string        `json:"username" example:"mira"`
	Email               string        `json:"email" example:"mira@example.org"`
	CreatedAt           time.Time     `json:"createdAt"`
	VotesToday          int           `json:"votesToday" doc:"Votes on this UTC day." minimum:"0"`
	VotesRemainingToday *int          `json:"votesRemainingToday" doc:"Null when there is no daily limit." minimum:"0"`
	Totals              totalsShape   `json:"totals"`
}

type newPoll struct {
	Title   string   `json:"title" minLength:"1" maxLength:"300" example:"Should the old tram line come back?"`
	Options []string `json:"options" doc:"Distinct; the order is kept." minItems:"2" maxItems:"20" minLength:"1" maxLength:"200" example:"[\"Yes, all of it\",\"Only the centre\",\"No\"]"`
	Tags    []string `json:"tags" doc:"Letters, marks, digits, '-', '_'; folded to lower case; duplicates are dropped." minItems:"1" maxItems:"20" minLength:"1" maxLength:"50" example:"[\"city\",\"transport\"]"`
	UserID  anyID    `json:"userId,omitempty" doc:"For older clients: absent, or the token's user."`
}

// readNewPoll returns the poll as it will be stored.
func readNewPoll(in *input) (domain.NewPoll, int64) {
	o := in.object(0, bodyField, "", []string{"title", "options", "tags", "userId"})
	p := domain.NewPoll{Title: o.text("title"), Options: o.texts("options"), Tags: o.texts("tags")}
	user := o.id("userId")
	if o.ok {
		var faults []domain.FieldError
		p, faults = domain.NormalizePoll(p)
		in.merge(faults)
	}
	return p, user
}

// fingerprint identifies a poll's content, as it will be stored.
func fingerprint(p domain.NewPoll) [32]byte {
	h := sha256.New()
	put := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	put(p.Title)
	for _, list := range [][]string{p.Options, p.Tags} {
		put(strconv.Itoa(len(list)))
		for _, s := range list {
			put(s)
		}
	}
	return [32]byte(h.Sum(nil))
}

type authorShape struct {
	ID       domain.UserID `json:"id" minimum:"1" example:"17"`
	Username string        `json:"username" example:"mira"`
}

type pollShape struct {
	ID         domain.PollID `json:"id" minimum:"1" example:"116114440929280"`
	Title      string        `json:"title" example:"Should the old tram line come back?"`
	Options    []string      `json:"options" minItems:"2" maxItems:"20"`
	Tags       []string      `json:"tags" minItems:"1" maxItems:"10"`
	CreatedAt  time.Time     `json:"createdAt"`
	Author     *authorShape  `json:"author" doc:"Null when the author erased the account."`
	TotalVotes int64         `json:"totalVotes" minimum:"0"`
	Closed     bool          `json:"closed,omitempty" doc:"True when votes are no longer taken; absent otherwise. Only when one poll is asked for: feeds hold no closed ones."`
	Viewer     *viewerShape  `json:"viewer,omitempty" doc:"What the token's user did with the poll; only when one poll is asked for with a valid token."`
}

// TransformSchema implements [huma.SchemaTransformer]: author may be null.
func (pollShape) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	orNull(s, "author")
	return s
}

// orNull lets a property that refers to another schema also be null.
func orNull(s *huma.Schema, name string) {
	p := s.Properties[name]
	s.Properties[name] = &huma.Schema{
		Description: p.Description,
		AnyOf:       []*huma.Schema{{Ref: p.Ref}, {Type: "null"}},
	}
}

type viewerShape struct {
	Voted       bool `json:"voted"`
	OptionIndex *int `json:"optionIndex" doc:"The option that was counted; null without a vote." minimum:"0" maximum:"19"`
	Skipped     bool `json:"skipped"`
}

type feedShape struct {
	Polls      []pollShape `json:"polls" maxItems:"100"`
	NextCursor *string     `json:"nextCursor" doc:"For the next call; null at the end."`
	Page       int         `json:"page" doc:"The page asked for; 1 when a cursor was given." minimum:"1"`
	Limit      int         `json:"limit" minimum:"1" maximum:"100"`
}

type pastVoteShape struct {
	PollID      domain.PollID `json:"pollId" minimum:"1"`
	Title       *string       `json:"title" doc:"Null when the poll was hidden or deleted since."`
	OptionIndex int           `json:"optionIndex" minimum:"0" maximum:"19"`
	Option      *string       `json:"option" doc:"The text of the option; null when the poll was hidden or deleted since."`
	CreatedAt   time.Time     `json:"createdAt" doc:"When the vote was counted."`
}

type pastSkipShape struct {
	PollID    domain.PollID `json:"pollId" minimum:"1"`
	Title     *string       `json:"title" doc:"Null when the poll was hidden or deleted since."`
	CreatedAt time.Time     `json:"createdAt" doc:"When it was skipped first."`
}

type ownPollShape struct {
	ID         domain.PollID `json:"id" minimum:"1" example:"116114440929280"`
	Title      string        `json:"title" example:"Should the old tram line come back?"`
	Options    []string      `json:"options" minItems:"2" maxItems:"20"`
	Tags       []string      `json:"tags" minItems:"1" maxItems:"10"`
	CreatedAt  time.Time     `json:"createdAt"`
	Author     authorShape   `json:"author"`
	TotalVotes int64         `json:"totalVotes" minimum:"0"`
	State      string        `json:"state" doc:"closed: readable, but out of feeds. hidden: nobody else sees it." enum:"open,closed,hidden"`
}

type notificationShape struct {
	ID        int64         `json:"id" minimum:"1"`
	Type      string        `json:"type" doc:"milestone: your poll has reached that many votes." enum:"milestone"`
	PollID    domain.PollID `json:"pollId" minimum:"1"`
	Title     *string       `json:"title" doc:"Null when the poll was hidden since."`
	Votes     int64         `json:"votes" doc:"10, 100, 1000, ..." minimum:"10"`
	CreatedAt time.Time     `json:"createdAt"`
}

// listShape is a page of one's own things.
type listShape[T any] struct {
	Items      []T     `json:"items" maxItems:"100"`
	NextCursor *string `json:"nextCursor" doc:"For the next call; null at the end."`
}

type (
	pastVotesShape     listShape[pastVoteShape]
	pastSkipsShape     listShape[pastSkipShape]
	ownPollsShape      listShape[ownPollShape]
	notificationsShape listShape[notificationShape]
)

type popularShape struct {
	Polls []pollShape `json:"polls" maxItems:"100"`
}

type voteRequest struct {
	OptionIndex int   `json:"optionIndex" minimum:"0" maximum:"19" example:"1"`
	UserID      anyID `json:"userId,omitempty" doc:"For older clients: absent, or the token's user."`
}

func readVote(in *input) (option int, user int64) {
	o := in.object(0, bodyField, "", []string{"optionIndex", "userId"})
	o.required("optionIndex")
	return int(o.whole("optionIndex")), o.id("userId")
}

type skipRequest struct {
	UserID anyID `json:"userId,omitempty" doc:"For older clients: absent, or the token's user."`
}

func readSkip(in *input) (user int64) {
	return in.object(0, bodyField, "", []string{"userId"}).id("userId")
}

type optionShape struct {
	OptionIndex int     `json:"optionIndex" minimum:"0" maximum:"19"`
	Option      string  `json:"option"`
	Count       int64   `json:"count" minimum:"0"`
	Percentage  float64 `json:"percentage" doc:"With one decimal; each is rounded by itself." minimum:"0" maximum:"100"`
}

type statsShape struct {
	PollID     domain.PollID `json:"pollId" minimum:"1"`
	Version    int64         `json:"version" doc:"Votes and skips counted; a higher one is newer." minimum:"0"`
	TotalVotes int64         `json:"totalVotes" minimum:"0"`
	TotalSkips int64         `json:"totalSkips" minimum:"0"`
	Votes      []optionShape `json:"votes" minItems:"2" maxItems:"20"`
	UpdatedAt  time.Time     `json:"updatedAt"`
}

// oEmbedShape has the names of its standard.
type oEmbedShape struct {
	Type         string `json:"type" enum:"rich"`
	Version      string `json:"version" enum:"1.0"`
	Title        string `json:"title"`
	AuthorName   string `json:"author_name,omitempty"`
	ProviderName string `json:"provider_name"`
	ProviderURL  string `json:"provider_url"`
	CacheAge     int    `json:"cache_age" doc:"Seconds."`
	HTML         string `json:"html" doc:"An iframe."`
	Width        int    `json:"width" minimum:"1"`
	Height       int    `json:"height" minimum:"1"`
}

type statsListShape struct {
	Items []statsShape `json:"items" maxItems:"100"`
}

type bucketShape struct {
	Start      time.Time `json:"start"`
	Votes      []int64   `json:"votes" doc:"By option index." minItems:"2" maxItems:"20" minimum:"0"`
	Skips      int64     `json:"skips" minimum:"0"`
	Shown      int64     `json:"shown" doc:"How often the poll was contained in an answer of the feed; approximate." minimum:"0"`
	AnswerRate *float64  `json:"answerRate" doc:"Votes / shown, to four decimals; null when the poll was not shown. Over 1 when more voted by the poll's link." minimum:"0"`
	SkipRate   *float64  `json:"skipRate" doc:"Skips / shown, likewise." minimum:"0"`
}

type bucketTotalsShape struct {
	Votes []int64 `json:"votes" doc:"By option index." minItems:"2" maxItems:"20" minimum:"0"`
	Skips int64   `json:"skips" minimum:"0"`
	Shown int64   `json:"shown" minimum:"0"`
}

type analyticsShape struct {
	PollID  domain.PollID     `json:"pollId" minimum:"1"`
	Bucket  string            `json:"bucket" enum:"hour,day"`
	Buckets []bucketShape     `json:"buckets" doc:"Every bucket of the range, by time, those in which nothing happened too." minItems:"1" maxItems:"744"`
	Totals  bucketTotalsShape `json:"totals" doc:"Sums over the buckets."`
}

type voteAnswer struct {
	PollID              domain.PollID `json:"pollId" minimum:"1"`
	OptionIndex         int           `json:"optionIndex" minimum:"0" maximum:"19"`
	VotesRemainingToday *int          `json:"votesRemainingToday" doc:"Null when there is no daily limit." minimum:"0"`
	Stats               statsShape    `json:"stats" doc:"The counts, this vote included."`
}

type skipAnswer struct {
	PollID  domain.PollID `json:"pollId" minimum:"1"`
	Skipped bool          `json:"skipped" enum:"true"`
}

type interaction struct {
	PollID      anyID `json:"pollId"`
	OptionIndex *int  `json:"optionIndex,omitempty" doc:"The choice; not together with skip." minimum:"0" maximum:"19"`
	Skip        bool  `json:"skip,omitempty" doc:"True for a skip."`
}

// maxInteractions bounds a batch.
const maxInteractions = 100

// readInteractions returns the batch, without its user.
func readInteractions(in *input) []domain.Interaction {
	root := &in.nodes[0]
	if root.kind != kindList {
		in.fault(bodyField, notList)
		return nil
	}
	names := []string{"pollId", "optionIndex", "skip"}
	var batch []domain.Interaction
	n := 0
	for i := root.first; i != 0; i = in.nodes[i].next {
		if n++; n > maxInteractions {
			continue
		}
		field := "[" + strconv.Itoa(n-1) + "]"
		o := in.object(i, field, field+".", names)
		o.required("pollId")
		x := domain.Interaction{Poll: domain.PollID(o.id("pollId")), Skip: o.boolean("skip")}
		switch given := o.member("optionIndex") != 0; {
		case given && x.Skip:
			in.fault(field+".skip", "must not be given together with optionIndex")
		case o.ok && !given && !x.Skip:
			in.check(field+".optionIndex", missing)
		}
		x.Option = int(o.whole("optionIndex"))
		batch = append(batch, x)
	}
	if n == 0 || n > maxInteractions {
		in.fault(bodyField, "must have 1 to "+strconv.Itoa(maxInteractions)+" entries")
	}
	return batch
}

type verdictShape struct {
	PollID              domain.PollID `json:"pollId" minimum:"1"`
	Status              int           `json:"status" doc:"The status that the single call would have answered." enum:"200,401,404,409,422,429,503"`
	Code                string        `json:"code,omitempty" doc:"Why it was refused."`
	Detail              string        `json:"detail,omitempty"`
	OptionIndex         *int          `json:"optionIndex,omitempty" doc:"The option that is counted." minimum:"0" maximum:"19"`
	Skipped             bool          `json:"skipped,omitempty"`
	VotesRemainingToday *int          `json:"votesRemainingToday,omitempty" nullable:"true" minimum:"0"`
	RetryAfter          int64         `json:"retryAfter,omitempty" doc:"Seconds, for 429 and 503." minimum:"1"`
}

type tagShape struct {
	Tag   string `json:"tag" example:"city"`
	Polls int64  `json:"polls" minimum:"0"`
}

type tagListShape struct {
	Items []tagShape `json:"items" maxItems:"100"`
}

type fieldErrorShape struct {
	Field   string `json:"field" doc:"Path of the field, 'body' for the whole, or the name of a query parameter or header." example:"options[2]"`
	Message string `json:"message" example:"must have 1 to 200 characters"`
}

type checkShape struct {
	Status string `json:"status" doc:"degraded: it is away, and the server does without." enum:"ok,failed,degraded"`
	Code   string `json:"code,omitempty" doc:"Why it failed."`
}

type problemShape struct {
	Type        string                `json:"type" doc:"Where the code is explained." format:"uri-reference" example:"/docs/errors#already_voted"`
	Title       string                `json:"title" example:"Already voted"`
	Status      int                   `json:"status" minimum:"400" maximum:"599" example:"409"`
	Detail      string                `json:"detail" example:"You have voted on this poll; a vote is final."`
	Code        string                `json:"code" doc:"Stable; branch on this." example:"already_voted"`
	RequestID   string                `json:"requestId,omitempty" doc:"As in X-Request-Id. Absent when the request was not even HTTP." example:"4f2a9c0e6b1d4c3f8a7e5d2c1b0a9f8e"`
	Errors      []fieldErrorShape     `json:"errors,omitempty" doc:"Every fault of an invalid input."`
	OptionIndex *int                  `json:"optionIndex,omitempty" doc:"For already_voted: the option that was counted." minimum:"0" maximum:"19"`
	Checks      map[string]checkShape `json:"checks,omitempty" doc:"For readiness: what was looked at."`
}

type readyShape struct {
	Status string                `json:"status" doc:"degraded: something that can be done without is away." enum:"ready,degraded"`
	Checks map[string]checkShape `json:"checks"`
}

type aliveShape struct {
	Status string `json:"status" enum:"ok"`
}

type versionShape struct {
	Version  string `json:"version" doc:"Version of the module; (devel) for a build from a working tree." example:"(devel)"`
	Revision string `json:"revision" doc:"Commit it was built from; empty when unknown."`
	Modified bool   `json:"modified" doc:"Built with changes that were not committed."`
	Go       string `json:"go" example:"go1.26.0"`
}
