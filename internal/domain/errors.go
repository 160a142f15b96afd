package domain

import (
	"errors"
	"time"
)

// Code is a stable, machine-readable name of what went wrong. It is part of
// the public contract: clients branch on it.
type Code string

// The codes of every refusal and fault that may reach a client.
const (
	CodeMalformed           Code = "malformed"             // cannot be parsed
	CodeInvalidCursor       Code = "invalid_cursor"        // a cursor that this server never issued
	CodeCursorExpired       Code = "cursor_expired"        // the stored ranking that the cursor walks is gone
	CodeUnauthorized        Code = "unauthorized"          // no valid token
	CodeInvalidCredentials  Code = "invalid_credentials"   // login refused
	CodeInvalidRefreshToken Code = "invalid_refresh_token" // unknown, expired or ended
	CodeRefreshReused       Code = "refresh_token_reused"  // the session was ended because of it
	CodeForbidden           Code = "forbidden"             // acting for somebody else
	CodeWrongPassword       Code = "wrong_password"        // who is signed in gave another password than the account's
	CodeBanned              Code = "banned"                // the account was closed by the operator
	CodeNotFound            Code = "not_found"
	CodeMethodNotAllowed    Code = "method_not_allowed"
	CodeTooLarge            Code = "body_too_large"
	CodeUnsupportedMedia    Code = "unsupported_media_type"
	CodeInvalid             Code = "invalid" // parsed, but breaks rules; Fields names them
	CodeInvalidOption       Code = "invalid_option"
	CodeIdempotencyMismatch Code = "idempotency_mismatch"
	CodeIdempotencyBusy     Code = "idempotency_in_progress"
	CodeEmailTaken          Code = "email_taken"
	CodeUsernameTaken       Code = "username_taken"
	CodeAlreadyVoted        Code = "already_voted"
	CodePollClosed          Code = "poll_closed"
	CodeHasVotes            Code = "has_votes"
	CodeRateLimited         Code = "rate_limited"
	CodeTooManyStreams      Code = "too_many_streams"
	CodeDailyVoteLimit      Code = "daily_vote_limit"
	CodeDailyPollLimit      Code = "daily_poll_limit"
	CodeOverloaded          Code = "overloaded"      // a bounded queue is full
	CodeUnavailable         Code = "unavailable"     // storage cannot be reached; nothing happened
	CodeOutcomeUnknown      Code = "outcome_unknown" // happened once or not at all; repeating is safe
	CodeStarting            Code = "starting"        // the feed index is loading
	CodeDraining            Code = "draining"        // the server shuts down
	CodeSchemaOutdated      Code = "schema_outdated" // migrations are missing
	CodeTimeout             Code = "request_timeout" // the client sent its body too slowly
	CodeConflict            Code = "conflict"        // others were in the way; repeated inside, never shown
	CodeNotImplemented      Code = "not_implemented" // a format that a standard knows and this server does not
	CodeInternal            Code = "internal"
)

// FieldError says what is wrong with one field of an input. Message never
// contains the rejected value.
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Error is a refusal or fault with a stable [Code]. Its text is safe to show
// to a client; an underlying cause, which is not, is wrapped.
type Error struct {
	Code   Code
	Detail string
	// Fields lists every fault of an invalid input at once.
	Fields []FieldError
	// Option is the option that was counted, for CodeAlreadyVoted.
	Option int
	// RetryAfter is how long to wait before repeating makes sense; 0 when the
	// code alone does not tell.
	RetryAfter time.Duration
	// Cause is the unexpected error behind it. It is logged, never shown.
	Cause error
}

// E returns an [Error] with a code and a detail that a client may read.
func E(code Code, detail string) *Error { return &Error{Code: code, Detail: detail} }

// Fault wraps an unexpected cause under a code.
func Fault(code Code, cause error) *Error { return &Error{Code: code, Cause: cause} }

// Invalid returns a [CodeInvalid] error for the faults, or nil when there is none.
func Invalid(faults []FieldError) error {
	if len(faults) == 0 {
		return nil
	}
	return &Error{Code: CodeInvalid, Detail: "The input breaks one or more rules.", Fields: faults}
}

func (e *Error) Error() string {
	s := string(e.Code)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is reports whether target is an [Error] of the same code, so that
// errors.Is(err, domain.E(domain.CodeNotFound, "")) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// CodeOf returns the code of err: empty for nil, [CodeInternal] for an error
// that carries none.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}
