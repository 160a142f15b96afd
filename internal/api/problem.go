package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"vote/internal/domain"
)

// refusal says how a code is told over HTTP.
type refusal struct {
	status int
	title  string
	// retry is when repeating may succeed, for errors that do not know better.
	retry time.Duration
	// about explains the code, in the documentation and as the detail of an
	// error that has none.
	about string
}

// refusals is the one table of every code that may reach a client.
var refusals = map[domain.Code]refusal{
	domain.CodeMalformed:           {400, "Malformed request", 0, "The request cannot be parsed: its JSON, its UTF-8 or its query."},
	domain.CodeInvalidCursor:       {400, "Invalid cursor", 0, "The cursor was not issued by this server. Begin without one."},
	domain.CodeCursorExpired:       {400, "Cursor expired", 0, "The ranking that the cursor walks is no longer kept. Begin without a cursor."},
	domain.CodeUnauthorized:        {401, "Unauthorized", 0, "The call needs a valid access token: Authorization: Bearer <token>."},
	domain.CodeInvalidCredentials:  {401, "Invalid credentials", 0, "The e-mail address or the password is wrong."},
	domain.CodeInvalidRefreshToken: {401, "Invalid refresh token", 0, "The refresh token is unknown, has expired, or its session was ended. Log in again."},
	domain.CodeRefreshReused:       {401, "Refresh token reused", 0, "The refresh token was used before, so its session was ended. Log in again."},
	domain.CodeForbidden:           {403, "Forbidden", 0, "The token does not permit this: a userId must be the token's user, and only its author may delete a poll."},
	domain.CodeWrongPassword:       {403, "Wrong password", 0, "The password given is not that of the account."},
	domain.CodeBanned:              {403, "Banned", 0, "The account was closed by the operator."},
	domain.CodeNotFound:            {404, "Not found", 0, "There is no such path, or no such poll."},
	domain.CodeMethodNotAllowed:    {405, "Method not allowed", 0, "The path exists, but not with this method; the Allow header lists those it has."},
	domain.CodeTimeout:             {408, "Request timeout", 0, "The body did not arrive in time."},
	domain.CodeEmailTaken:          {409, "E-mail taken", 0, "There is an account with this e-mail address."},
	domain.CodeUsernameTaken:       {409, "Username taken", 0, "There is an account with this username."},
	domain.CodeAlreadyVoted:        {409, "Already voted", 0, "You have voted on this poll; a vote is final. optionIndex is the option that was counted."},
	domain.CodePollClosed:          {409, "Poll closed", 0, "The poll is closed."},
	domain.CodeHasVotes:            {409, "Poll has votes", 0, "A poll that has votes cannot be deleted."},
	domain.CodeIdempotencyBusy:     {409, "Request in progress", time.Second, "The first request with this Idempotency-Key is still under way. Repeat in a moment."},
	domain.CodeTooLarge:            {413, "Body too large", 0, "A body may have at most 64 KiB."},
	domain.CodeUnsupportedMedia:    {415, "Unsupported media type", 0, "A body must be application/json in UTF-8, without content encoding."},
	domain.CodeInvalid:             {422, "Invalid input", 0, "The input breaks one or more rules; errors lists each of them."},
	domain.CodeInvalidOption:       {422, "Invalid option", 0, "The poll has no option with this index."},
	domain.CodeIdempotencyMismatch: {422, "Idempotency mismatch", 0, "The Idempotency-Key was used with another body."},
	domain.CodeRateLimited:         {429, "Too many requests", time.Second, "A rate limit is reached. Retry-After says when one more request will be accepted."},
	domain.CodeTooManyStreams:      {429, "Too many streams", 5 * time.Second, "Too many live streams are open to this address or user. Close one."},
	domain.CodeDailyVoteLimit:      {429, "Daily vote limit", 0, "All votes of today are cast; the next day begins at midnight UTC. Skipping is still possible."},
	domain.CodeDailyPollLimit:      {429, "Daily poll limit", 0, "All polls of today are published; the next day begins at midnight UTC."},
	domain.CodeInternal:            {500, "Internal error", 0, "Something went wrong here. It was logged under the request id."},
	domain.CodeNotImplemented:      {501, "Not implemented", 0, "The answer is not available in this format."},
	domain.CodeOverloaded:          {503, "Overloaded", time.Second, "Too much is waiting already; nothing happened. Repeat in a moment."},
	domain.CodeUnavailable:         {503, "Unavailable", 2 * time.Second, "Storage cannot be reached; nothing happened. Repeat in a moment."},
	domain.CodeConflict:            {503, "Conflict", time.Second, "Others were in the way; nothing happened. Repeat in a moment."},
	domain.CodeOutcomeUnknown:      {503, "Outcome unknown", time.Second, "It happened once or not at all. Repeating is safe."},
	domain.CodeStarting:            {503, "Starting", time.Second, "The server is starting."},
	domain.CodeDraining:            {503, "Draining", 5 * time.Second, "The server is shutting down; nothing happened. Repeat in a moment."},
	domain.CodeSchemaOutdated:      {503, "Schema outdated", 30 * time.Second, "The database lacks migrations."},
}

// errorPage is where the codes are explained; a problem's type points into it.
const errorPage = "/docs/errors"

const problemType = "application/problem+json"

// asError returns err as the error that is told: itself when it carries a code
// of the table, else internal.
func asError(err error) *domain.Error {
	if e, ok := errors.AsType[*domain.Error](err); ok {
		if _, ok := refusals[e.Code]; ok {
			return e
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return domain.Fault(domain.CodeUnavailable, err)
	}
	return domain.Fault(domain.CodeInternal, err)
}

// retryAfter returns the seconds of the Retry-After header; 0 when the answer
// has none.
func retryAfter(e *domain.Error, r refusal, now time.Time) int64 {
	wait := e.RetryAfter
	if wait <= 0 && (e.Code == domain.CodeDailyVoteLimit || e.Code == domain.CodeDailyPollLimit) {
		wait = (domain.DayOf(now) + 1).Start().Sub(now)
	}
	if wait <= 0 {
		wait = r.retry
	}
	return int64((wait + time.Second - 1) / time.Second)
}

// appendProblem appends the problem document of an error. id is the request's;
// without one the member is left out. extra, when not empty, is one more
// member, ready to be appended.
func appendProblem(b []byte, e *domain.Error, id, extra string) []byte {
	r := refusals[e.Code]
	b = append(b, `{"type":"`+errorPage+`#`...)
	b = append(b, e.Code...)
	b = append(b, `","title":`...)
	b = appendString(b, r.title)
	b = append(b, `,"status":`...)
	b = appendInt(b, int64(r.status))
	b = append(b, `,"detail":`...)
	detail := e.Detail
	if detail == "" {
		detail = r.about
	}
	b = appendString(b, detail)
	b = append(b, `,"code":"`...)
	b = append(b, e.Code...)
	b = append(b, '"')
	if id != "" {
		b = append(b, `,"requestId":`...)
		b = appendString(b, id)
	}
	if len(e.Fields) > 0 {
		b = append(b, `,"errors":[`...)
		for i, f := range e.Fields {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"field":`...)
			b = appendString(b, f.Field)
			b = append(b, `,"message":`...)
			b = appendString(b, f.Message)
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	if e.Code == domain.CodeAlreadyVoted {
		b = append(b, `,"optionIndex":`...)
		b = appendInt(b, int64(e.Option))
	}
	if extra != "" {
		b = append(b, ',')
		b = append(b, extra...)
	}
	return append(b, '}')
}

// refuse answers with the problem document of err, logs what was not expected,
// and counts it.
func (s *server) refuse(c *call, err error, extra string) {
	e := asError(err)
	r := refusals[e.Code]
	s.metrics.refused(e.Code)
	s.logFault(c, e)
	h := c.header()
	if r.status == http.StatusTooManyRequests || r.status == http.StatusServiceUnavailable || e.Code == domain.CodeIdempotencyBusy {
		h["Retry-After"] = []string{strconv.FormatInt(max(retryAfter(e, r, s.clock.Now()), 1), 10)}
	}
	switch r.status {
	case http.StatusUnauthorized:
		h["Www-Authenticate"] = headerBearer
		if c.token == tokenInvalid {
			h["Www-Authenticate"] = headerBearerInvalid
		}
	case http.StatusRequestTimeout, http.StatusRequestEntityTooLarge:
		h["Connection"] = headerClose // what is left of the body is not read
	}
	h["Cache-Control"] = headerNoStore
	if c.wantsPage() {
		if body, err := s.site.NoticePage(c.notice(e, r)); err == nil {
			h["Vary"] = append(slices.Clone(h["Vary"]), "Accept")
			h["Content-Security-Policy"] = headerOwnFiles
			if c.route.path == embedPath {
				h["Content-Security-Policy"] = headerNotice
			}
			c.send(r.status, headerHTML, body)
			return
		}
	}
	c.out = appendProblem(c.out[:0], e, c.id, extra)
	c.send(r.status, headerProblem, c.out)
}

// logFault logs what was not expected: an error with a cause that no code
// explains, and a cause of unavailability at a lower level.
func (s *server) logFault(c *call, e *domain.Error) {
	if e.Cause == nil || (c.context().Err() != nil && errors.Is(e.Cause, context.Canceled)) {
		return // without a cause all is said; or the client went away
	}
	level := slog.LevelWarn
	if e.Code == domain.CodeInternal {
		level = slog.LevelError
	}
	s.logger.Log(c.context(), level, "request failed",
		"requestId", c.id, "route", c.route.path, "code", string(e.Code), "error", e.Cause)
}

// Header values that never change are shared; nobody may append to them.
var (
	headerProblem       = []string{problemType}
	headerJSON          = []string{"application/json"}
	headerCSV           = []string{"text/csv; charset=utf-8; header=present"}
	headerHTML          = []string{"text/html; charset=utf-8"}
	headerNoStore       = []string{"no-store"}
	headerPrivate       = []string{"private, no-store"}
	headerPublic        = []string{"public, max-age=1, stale-while-revalidate=5"}
	headerBearer        = []string{"Bearer"}
	headerBearerInvalid = []string{`Bearer error="invalid_token"`}
	headerClose         = []string{"close"}
	headerNoSniff       = []string{"nosniff"}
	headerNothing       = []string{"default-src 'none'; frame-ancestors 'none'"}
	headerNoReferrer    = []string{"no-referrer"}
	headerVaryToken     = []string{"Authorization"}
	headerVaryOrigin    = []string{"Authorization, Origin"}
)
