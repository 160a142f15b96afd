package api

import (
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"vote/internal/domain"
)

// Samples that the examples are made of.
const (
	exampleRequest = "4f2a9c0e6b1d4c3f8a7e5d2c1b0a9f8e"
	exampleID      = 116114440929280

	exampleUser    = `{"id":17,"username":"mira","email":"mira@example.org","createdAt":"2025-11-17T08:30:00Z"}`
	exampleSession = `{"user":` + exampleUser + `,"token":"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2ln","refreshToken":"oXf0bXc3Zk1hN3dR","expiresAt":"2025-11-18T08:30:00Z"}`
	exampleProfile = `{"id":17,"username":"mira","email":"mira@example.org","createdAt":"2025-11-17T08:30:00Z","votesToday":27,"votesRemainingToday":73,"totals":{"votes":1204,"skips":310,"polls":3}}`
	examplePoll    = `{"id":116114440929280,"title":"Should the old tram line come back?","options":["Yes, all of it","Only the centre","No"],"tags":["city","transport"],"createdAt":"2025-11-17T09:00:00Z","author":{"id":17,"username":"mira"},"totalVotes":4}`
	exampleViewed  = `{"id":116114440929280,"title":"Should the old tram line come back?","options":["Yes, all of it","Only the centre","No"],"tags":["city","transport"],"createdAt":"2025-11-17T09:00:00Z","author":{"id":17,"username":"mira"},"totalVotes":4,"viewer":{"voted":true,"optionIndex":1,"skipped":false}}`
	exampleMade    = `{"id":116114440929280,"title":"Should the old tram line come back?","options":["Yes, all of it","Only the centre","No"],"tags":["city","transport"],"createdAt":"2025-11-17T09:00:00Z","author":{"id":17,"username":"mira"},"totalVotes":0}`
	exampleStats   = `{"pollId":116114440929280,"version":6,"totalVotes":4,"totalSkips":2,"votes":[{"optionIndex":0,"option":"Yes, all of it","count":2,"percentage":50.0},{"optionIndex":1,"option":"Only the centre","count":1,"percentage":25.0},{"optionIndex":2,"option":"No","count":1,"percentage":25.0}],"updatedAt":"2025-11-17T09:12:31.118Z"}`
	exampleCSV     = "pollId,version,totalVotes,totalSkips,optionIndex,option,count,percentage,updatedAt\r\n116114440929280,6,4,2,0,\"Yes, all of it\",2,50.0,2025-11-17T09:12:31.118Z\r\n"
)

// webClient is the parameter by which the web page asks for the cookie form.
var webClient = &huma.Param{
	Name: "X-Vote-Client", In: "header",
	Description: "web: the refresh token travels only in the cookie vote_refresh (HttpOnly, SameSite=Strict, Path=/api/auth, Secure except on localhost), set by register, login and refresh, cleared by logout, erasure and a refused refresh.",
	Schema:      &huma.Schema{Type: huma.TypeString},
}

var exampleRegistration = map[string]string{"ordinary": `{"username":"mira","email":"mira@example.org","password":"correct horse battery"}`}

// descriptions say what each call does, by method and path.
var descriptions = map[string]description{
	"POST /api/auth/register": {
		id: "register", group: groupAccounts, summary: "Make an account and sign in",
		text:   "The username is unique without regard to case, the e-mail address too. Besides the request window, registrations are limited per address.",
		params: []*huma.Param{webClient},
		body:   registration{}, bodyExamples: exampleRegistration,
		answers: []answer{{status: 201, text: "The account and its first session.", shape: sessionShape{}, example: exampleSession}},
		codes:   []domain.Code{domain.CodeEmailTaken, domain.CodeUsernameTaken, domain.CodeOverloaded, domain.CodeOutcomeUnknown},
	},
	"POST /api/auth/login": {
		id: "login", group: groupAccounts, summary: "Sign in",
		text:   "The answer is the same, and takes the same time, for an unknown address and a wrong password. Besides the request window, logins are limited per account and per address.",
		params: []*huma.Param{webClient},
		body:   credentials{}, bodyExamples: map[string]string{"ordinary": `{"email":"mira@example.org","password":"correct horse battery"}`},
		answers: []answer{{status: 200, text: "A new session.", shape: sessionShape{}, example: exampleSession}},
		codes:   []domain.Code{domain.CodeInvalidCredentials, domain.CodeBanned, domain.CodeOverloaded, domain.CodeOutcomeUnknown},
	},
	"POST /api/auth/refresh": {
		id: "refresh", group: groupAccounts, summary: "Trade a refresh token for a new pair",
		text:   "The old refresh token dies. Using it again ends the whole session, so do not repeat this call after a lost answer: log in. With X-Vote-Client: web and no body the token is read from the cookie, for requests of the same origin only (Sec-Fetch-Site, Origin).",
		params: []*huma.Param{webClient},
		body:   refreshRequest{}, bodyExamples: map[string]string{"ordinary": `{"refreshToken":"oXf0bXc3Zk1hN3dR"}`},
		answers: []answer{{status: 200, text: "A new pair of tokens of the same session.", shape: sessionShape{}, example: exampleSession}},
		codes:   []domain.Code{domain.CodeInvalidRefreshToken, domain.CodeRefreshReused, domain.CodeBanned, domain.CodeForbidden, domain.CodeOutcomeUnknown},
	},
	"POST /api/auth/logout": {
		id: "logout", group: groupAccounts, summary: "End a session",
		text:   "The one of the access token, or that of the refresh token in the body. Its access tokens stop working within five seconds, here at once. With X-Vote-Client: web and no body the session of the cookie is ended, for requests of the same origin only.",
		params: []*huma.Param{webClient},
		body:   logoutRequest{}, bodyExamples: map[string]string{"other session": `{"refreshToken":"oXf0bXc3Zk1hN3dR"}`},
		answers: []answer{{status: 204, text: "The session has ended."}},
		codes:   []domain.Code{domain.CodeInvalidRefreshToken, domain.CodeOutcomeUnknown},
	},
	"GET /api/users/me": {
		id: "me", group: groupAccounts, summary: "Your own profile",
		answers: []answer{{
			status: 200, text: "The profile, with the votes of today.", shape: profileShape{},
			example: exampleProfile,
		}},
	},
	"PATCH /api/users/me": {
		id: "updateMe", group: groupAccounts, summary: "Change your account",
		text: "What is not given stays. E-mail address and password need currentPassword. A new password ends the other sessions. The call also counts like a login, per account and per address.",
		body: updateRequest{}, bodyExamples: map[string]string{
			"username": `{"username":"mira.k"}`, "password": `{"password":"battery correct horse","currentPassword":"correct horse battery"}`,
		},
		answers: []answer{{status: 200, text: "The profile as it is now.", shape: profileShape{}, example: exampleProfile}},
		codes: []domain.Code{
			domain.CodeWrongPassword, domain.CodeEmailTaken, domain.CodeUsernameTaken, domain.CodeOverloaded, domain.CodeOutcomeUnknown,
		},
	},
	"DELETE /api/users/me": {
		id: "eraseMe", group: groupAccounts, summary: "Erase your account",
		text: "For good. Name and e-mail address are free again at once. Sessions end. Your votes and skips stay counted, without your name; your polls stay without an author. The call also counts like a login, per account and per address.",
		body: erasureRequest{}, bodyExamples: map[string]string{"ordinary": `{"password":"correct horse battery"}`},
		answers: []answer{{status: 204, text: "The account is gone."}},
		codes:   []domain.Code{domain.CodeWrongPassword, domain.CodeOverloaded, domain.CodeOutcomeUnknown},
	},
	"GET /api/users/me/sessions": {
		id: "listSessions", group: groupAccounts, summary: "Where you are signed in",
		params: []*huma.Param{
			queryParam("limit", "Sessions of one page.", wholeSchema(maxLimit, defaultSessions), 50),
			queryParam("cursor", "nextCursor of the page before.", &huma.Schema{Type: huma.TypeString}, nil),
		},
		answers: []answer{{
			status: 200, text: "Live sessions, newest first.", shape: sessionListShape{},
			example: `{"items":[{"id":"mT0b3y0Xk2yq8mC1V1m7Qw","createdAt":"2025-11-17T08:30:00Z","current":true}],"nextCursor":null}`,
		}},
		codes: []domain.Code{domain.CodeInvalidCursor},
	},
	"DELETE /api/users/me/sessions/{sid}": {
		id: "endSession", group: groupAccounts, summary: "End one of your sessions",
		text: "Its access tokens stop working within five seconds, here at once. Ending a session that ended is no error.",
		params: []*huma.Param{{
			Name: "sid", In: "path", Required: true, Description: "The session's id.", Schema: &huma.Schema{Type: huma.TypeString}, Example: "mT0b3y0Xk2yq8mC1V1m7Qw",
		}},
		answers: []answer{{status: 204, text: "The session has ended."}},
		codes:   []domain.Code{domain.CodeNotFound, domain.CodeOutcomeUnknown},
	},
	"GET /api/users/me/export": {
		id: "exportMe", group: groupAccounts, summary: "Everything stored about you",
		text: "One JSON file, written as it is read; what happens meanwhile may be in it or not.",
		answers: []answer{{
			status: 200, text: "The file.", shape: exportShape{}, headers: []string{"Content-Disposition", "Cache-Control"},
			example: `{"exportedAt":"2025-11-17T10:00:00Z","profile":{"id":17,"username":"mira","email":"mira@example.org","createdAt":"2025-11-17T08:30:00Z","votesToday":1},"sessions":[{"id":"mT0b3y0Xk2yq8mC1V1m7Qw","createdAt":"2025-11-17T08:30:00Z","expiresAt":"2025-12-17T08:30:00Z"}],"votes":[{"pollId":116114440929280,"title":"Should the old tram line come back?","options":["Yes, all of it","Only the centre","No"],"optionIndex":1,"option":"Only the centre","createdAt":"2025-11-17T09:12:31.118Z"}],"skips":[],"polls":[{"id":116114440929280,"title":"Should the old tram line come back?","options":["Yes, all of it","Only the centre","No"],"tags":["city","transport"],"createdAt":"2025-11-17T09:00:00Z","state":"open","votes":[2,1,1],"totalVotes":4,"totalSkips":2}],"notifications":[{"type":"milestone","pollId":116114440929280,"title":"Should the old tram line come back?","votes":100,"createdAt":"2025-11-17T09:12:31.118Z"}]}`,
		}},
		codes: []domain.Code{domain.CodeOverloaded},
	},
	"GET /api/users/me/votes": listDescription("pastVotes", "Your votes",
		"In the order in which they were counted. A poll that was hidden or deleted since stays in the list, without its texts.",
		pastVotesShape{}, `{"items":[{"pollId":116114440929280,"title":"Should the old tram line come back?","optionIndex":1,"option":"Only the centre","createdAt":"2025-11-17T09:12:31.118Z"}],"nextCursor":null}`),
	"GET /api/users/me/skips": listDescription("pastSkips", "Your skips",
		"In the order in which they were counted; a poll that you voted on later is here too. A poll that was hidden or deleted since stays in the list, without its title.",
		pastSkipsShape{}, `{"items":[{"pollId":116114440929280,"title":"Should the old tram line come back?","createdAt":"2025-11-17T09:12:31.118Z"}],"nextCursor":null}`),
	"GET /api/users/me/polls": listDescription("ownPolls", "Your polls", "Hidden ones too; deleted ones not.",
		ownPollsShape{}, `{"items":[`+strings.TrimSuffix(examplePoll, "}")+`,"state":"open"}],"nextCursor":null}`),
	"GET /api/users/me/notifications": listDescription("notifications", "What you are told",
		"That a poll of yours has reached 10, 100, 1,000, ... votes; once each. The newest 1,000 are kept.",
		notificationsShape{}, `{"items":[{"id":5,"type":"milestone","pollId":116114440929280,"title":"Should the old tram line come back?","votes":100,"createdAt":"2025-11-17T09:12:31.118Z"}],"nextCursor":null}`),
	"POST /api/polls": {
		id: "createPoll", group: groupPolls, summary: "Publish a poll",
		text: "Text is normalised (NFC) and trimmed, tags are folded to lower case and lose duplicates. A poll cannot be edited. It is in the feeds of the answering instance at once, of every other within a second. With an Idempotency-Key the same body gets the same answer for 24 hours, however often it is sent.",
		params: []*huma.Param{{
			Name: "Idempotency-Key", In: "header", Description: "1 to 255 printable ASCII characters, per user.",
			Schema: &huma.Schema{Type: huma.TypeString, MinLength: new(1), MaxLength: new(255)}, Example: "2b6f0cc9-0a51-4d3c-9a6e-8f7c",
		}},
		body: newPoll{}, bodyExamples: map[string]string{
			"ordinary": `{"title":"Should the old tram line come back?","options":["Yes, all of it","Only the centre","No"],"tags":["city","transport"]}`,
		},
		answers: []answer{{status: 201, text: "The poll.", shape: pollShape{}, example: exampleMade, headers: []string{"Location"}}},
		codes: []domain.Code{
			domain.CodeIdempotencyMismatch, domain.CodeIdempotencyBusy, domain.CodeDailyPollLimit,
			domain.CodeOverloaded, domain.CodeDraining, domain.CodeOutcomeUnknown,
		},
	},
	"GET /api/polls": {
		id: "listPolls", group: groupPolls, summary: "The feed",
		text: "Polls that you have neither voted on nor skipped. Walk on with nextCursor: it stays right while polls are added and seen. An empty tag, q or cursor counts as not given.",
		params: []*huma.Param{
			{
				Name: "tag", In: "query", Explode: &exploded, Example: []string{"city"},
				Description: "Polls with this tag; repeated: with any of them. Folded as stored tags are.", Schema: listSchema(textSchema(domain.MaxTag), maxTagParams),
			},
			queryParam("q", "Words that must all be in title, options or tags, the last as a prefix.", textSchema(domain.MaxSearchText), "tram"),
			queryParam("sort", "new: newest first. hot: by the stored ranking of the popular polls.", wordSchema("new", "hot"), "new"),
			queryParam("limit", "Polls of one page.", wholeSchema(maxLimit, defaultLimit), 10),
			queryParam("cursor", "nextCursor of the page before. Not together with page.", &huma.Schema{Type: huma.TypeString}, nil),
			queryParam("page", "A page of what is unseen now. Not together with cursor.", wholeSchema(maxPage, 0), nil),
		},
		answers: []answer{{
			status: 200, text: "A page.", shape: feedShape{}, headers: []string{"Cache-Control"},
			example: `{"polls":[` + examplePoll + `],"nextCursor":null,"page":1,"limit":10}`,
		}},
		codes: []domain.Code{domain.CodeInvalidCursor, domain.CodeCursorExpired, domain.CodeOverloaded},
	},
	"GET /api/polls/popular": {
		id: "popularPolls", group: groupPolls, summary: "The hottest polls",
		text:   "The same for everybody: votes and, for a fifth, skips, halved for each day of age; ranked once a minute.",
		params: []*huma.Param{queryParam("limit", "How many.", wholeSchema(maxLimit, defaultLimit), 10)},
		answers: []answer{{
			status: 200, text: "Hottest first.", shape: popularShape{}, headers: []string{"Cache-Control"}, example: `{"polls":[` + examplePoll + `]}`,
		}},
		codes: []domain.Code{domain.CodeInvalid, domain.CodeStarting, domain.CodeOverloaded},
	},
	"GET /api/polls/{id}": {
		id: "getPoll", group: groupPolls, summary: "One poll",
		answers: []answer{{
			status: 200, text: "The poll; with a valid token also what you did with it.", shape: pollShape{}, example: exampleViewed, headers: []string{"Cache-Control"},
		}},
		codes: []domain.Code{domain.CodeNotFound, domain.CodeStarting, domain.CodeOverloaded},
	},
	"DELETE /api/polls/{id}": {
		id: "deletePoll", group: groupPolls, summary: "Delete your own poll",
		text:    "As long as it has no votes.",
		answers: []answer{{status: 204, text: "The poll is gone."}},
		codes:   []domain.Code{domain.CodeNotFound, domain.CodeHasVotes, domain.CodeOutcomeUnknown, domain.CodeOverloaded},
	},
	"GET /api/tags": {
		id: "listTags", group: groupPolls, summary: "Tags in use",
		params: []*huma.Param{
			queryParam("prefix", "How the tag begins; folded as stored tags are.", textSchema(domain.MaxTag), "ci"),
			queryParam("limit", "How many.", wholeSchema(maxLimit, defaultLimit), 10),
		},
		answers: []answer{{status: 200, text: "Most used first.", shape: tagListShape{}, example: `{"items":[{"tag":"city","polls":812},{"tag":"cinema","polls":77}]}`}},
		codes:   []domain.Code{domain.CodeInvalid, domain.CodeStarting},
	},
	"POST /api/polls/{id}/vote": {
		id: "vote", group: groupVotes, summary: "Vote",
		text: "One option, once, for good. Charged to the votes window only. After a lost answer repeat the call: already_voted names the option that was counted.",
		body: voteRequest{}, bodyExamples: map[string]string{"ordinary": `{"optionIndex":1}`, "older client": `{"optionIndex":1,"userId":"17"}`},
		answers: []answer{{
			status: 200, text: "The vote is counted and durable.", shape: voteAnswer{},
			example: `{"pollId":116114440929280,"optionIndex":1,"votesRemainingToday":72,"stats":` + exampleStats + `}`,
		}},
		codes: []domain.Code{
			domain.CodeNotFound, domain.CodeAlreadyVoted, domain.CodePollClosed, domain.CodeInvalidOption,
			domain.CodeDailyVoteLimit, domain.CodeOverloaded, domain.CodeDraining, domain.CodeOutcomeUnknown,
		},
	},
	"POST /api/polls/{id}/skip": {
		id: "skip", group: groupVotes, summary: "Skip",
		text: "The poll leaves your feed. Skipping again changes nothing; voting later is possible.",
		body: skipRequest{}, bodyExamples: map[string]string{"older client": `{"userId":17}`},
		answers: []answer{{status: 200, text: "The poll is skipped.", shape: skipAnswer{}, example: `{"pollId":116114440929280,"skipped":true}`}},
		codes: []domain.Code{
			domain.CodeNotFound, domain.CodeAlreadyVoted, domain.CodeOverloaded, domain.CodeDraining, domain.CodeOutcomeUnknown,
		},
	},
	"POST /api/interactions": {
		id: "interact", group: groupVotes, summary: "Many votes and skips at once",
		text: "For fast swipers and queues that were filled offline. Items are judged in order, each for itself. The call is one request; each vote also counts in the votes window, and items beyond it get 429.",
		body: []interaction{}, bodyExamples: map[string]string{"ordinary": `[{"pollId":116114440929280,"optionIndex":1},{"pollId":"116114440929281","skip":true}]`},
		answers: []answer{{
			status: 200, text: "A verdict for each item, in order.", shape: []verdictShape{},
			example: `[{"pollId":116114440929280,"status":200,"optionIndex":1,"votesRemainingToday":72},{"pollId":116114440929281,"status":409,"code":"already_voted","detail":"You have voted on this poll; a vote is final.","optionIndex":0}]`,
		}},
		codes: []domain.Code{domain.CodeOverloaded, domain.CodeDraining, domain.CodeOutcomeUnknown},
	},
	"GET /api/polls/{id}/stats": {
		id: "stats", group: groupResults, summary: "The counts of a poll",
		text: "At most a second old. Send the ETag back in If-None-Match to get 304 while nothing changed.",
		params: []*huma.Param{
			queryParam("format", "", wordSchema("json", "csv"), "json"),
			{Name: "If-None-Match", In: "header", Description: "Entity tags, or *.", Schema: &huma.Schema{Type: huma.TypeString}},
		},
		answers: []answer{
			{status: 200, text: "The counts. In CSV, a text that a spreadsheet would take for a formula has an apostrophe before it.", shape: statsShape{}, example: exampleStats, headers: []string{"ETag", "Cache-Control"}},
			{status: 304, text: "Nothing changed.", headers: []string{"ETag", "Cache-Control"}},
		},
		codes: []domain.Code{domain.CodeNotFound, domain.CodeInvalid, domain.CodeOverloaded},
	},
	"GET /api/polls/{id}/analytics": {
		id: "pollAnalytics", group: groupResults, summary: "A poll over time",
		text: "Votes, skips and showings by hour or day, UTC; some seconds behind the counts. Buckets begin at full hours or days: from is moved back to the beginning of its bucket, and a bucket that begins at to or later is left out. Without to the range ends with the current bucket; without from it is 24 hours long, or 30 days. At most 31 days of hours or 366 days.",
		params: []*huma.Param{
			queryParam("bucket", "", wordSchema("hour", "day"), "hour"),
			queryParam("from", "RFC 3339.", timeSchema(), "2025-11-17T09:00:00Z"),
			queryParam("to", "RFC 3339; after from.", timeSchema(), "2025-11-17T10:00:00Z"),
		},
		answers: []answer{{
			status: 200, text: "The series.", shape: analyticsShape{}, headers: []string{"Cache-Control"},
			example: `{"pollId":116114440929280,"bucket":"hour","buckets":[{"start":"2025-11-17T09:00:00Z","votes":[2,1,1],"skips":2,"shown":8,"answerRate":0.5,"skipRate":0.25}],"totals":{"votes":[2,1,1],"skips":2,"shown":8}}`,
		}},
		codes: []domain.Code{domain.CodeNotFound, domain.CodeInvalid, domain.CodeStarting, domain.CodeOverloaded},
	},
	"GET /api/stats": {
		id: "manyStats", group: groupResults, summary: "The counts of several polls",
		params: []*huma.Param{{
			Name: "polls", In: "query", Required: true, Explode: &joined, Example: []int{exampleID},
			Description: "Poll ids, separated by commas.", Schema: listSchema(idSchema(), maxPolls),
		}},
		answers: []answer{{
			status: 200, text: "In the order asked; unknown polls are left out.", shape: statsListShape{}, headers: []string{"Cache-Control"},
			example: `{"items":[` + exampleStats + `]}`,
		}},
		codes: []domain.Code{domain.CodeInvalid, domain.CodeOverloaded},
	},
	"GET /api/polls/{id}/stats/stream": {
		id: "statsStream", group: groupResults, summary: "The counts of a poll, live",
		text:    "Server-sent events. The current state comes at once, then each change, at most every 250 ms however many votes arrive: the newest state wins, and nothing queues for a slow client. An event is a whole state, stats with the document of GET /api/polls/{id}/stats; its id is the version, which only rises. A comment comes at least every 15 seconds. When the poll is hidden or deleted, the event gone with its pollId is the last. When the server ends, retry tells the client a time of its own after which to connect again. HEAD tells the headers alone. A stream counts as one request.",
		params:  []*huma.Param{lastEventParam("The version that the client has: when it is the current one, the stream begins with the next change.")},
		answers: []answer{{status: 200, text: "Events, without end.", media: "text/event-stream", example: exampleStream}},
		codes:   []domain.Code{domain.CodeNotFound, domain.CodeTooManyStreams, domain.CodeStarting, domain.CodeOverloaded, domain.CodeDraining},
	},
	"GET /api/stream": {
		id: "statsStreams", group: groupResults, summary: "The counts of several polls, live",
		text: "As the stream of one poll, for up to 100: events of all of them, each with an id of the form pollId:version. Unknown polls are left out; when none is left the stream ends. To watch other polls, connect anew.",
		params: []*huma.Param{
			{
				Name: "polls", In: "query", Required: true, Explode: &joined, Example: []int{exampleID},
				Description: "Poll ids, separated by commas.", Schema: listSchema(idSchema(), maxPolls),
			},
			lastEventParam("The id of the last event, pollId:version. It tells of that poll alone: the current states of all others come at once, and that poll's when it has changed since."),
		},
		answers: []answer{{status: 200, text: "Events, without end.", media: "text/event-stream", example: exampleStreams}},
		codes:   []domain.Code{domain.CodeInvalid, domain.CodeTooManyStreams, domain.CodeStarting, domain.CodeOverloaded, domain.CodeDraining},
	},
	"GET /healthz": {
		id: "alive", group: groupServer, summary: "Whether the process is alive",
		answers: []answer{{status: 200, text: "It is.", shape: aliveShape{}, example: `{"status":"ok"}`}},
	},
	"GET /readyz":       readyDescription("ready"),
	"GET /health":       readyDescription("health"),
	"GET /version":      {id: "version", group: groupServer, summary: "What was built", answers: []answer{{status: 200, text: "The build.", shape: versionShape{}, example: `{"version":"(devel)","revision":"","modified":false,"go":"go1.26.0"}`}}},
	"GET /openapi.json": {id: "openapi", group: groupServer, summary: "This document", answers: fileAnswers("The document.", "application/json")},
	"GET /docs":         {id: "docs", group: groupServer, summary: "This document for people", answers: fileAnswers("A page.", "text/html")},
	"GET " + errorPage:  {id: "errorCodes", group: groupServer, summary: "Every error code", answers: fileAnswers("A page with an anchor for each code.", "text/html")},
	"GET /":             appPage("home", "The feed"),
	"GET /create":       appPage("createView", "Publishing a poll"),
	"GET /sign-in":      appPage("signInView", "Signing in"),
	"GET /sign-up":      appPage("signUpView", "Registering"),
	"GET /me":           appPage("meView", "One's own account"),
	"GET /me/{view}": {
		id: "ownView", group: groupPages, summary: "One's own things",
		params: []*huma.Param{{
			Name: "view", In: "path", Required: true, Description: "Which of them.", Example: "votes",
			Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"votes", "skips", "polls", "notifications", "settings"}},
		}},
		answers: fileAnswers("A page of the web app.", "text/html"),
		codes:   []domain.Code{domain.CodeNotFound},
	},
	"GET " + pollPath: {
		id: "pollPage", group: groupPages, summary: "A poll's page",
		text:    "What a link to a poll leads to: readable without signing in and without scripts, with what other sites need for a preview.",
		answers: fileAnswers("A page.", "text/html"), codes: pollPageCodes,
	},
	"GET " + pollPath + "/image.png": {
		id: "shareImage", group: groupPages, summary: "A poll's share image",
		text:    "1200 by 630, with the counts of the moment. Parameters are ignored, so that links may name a version.",
		answers: fileAnswers("A picture.", "image/png"), codes: pollPageCodes,
	},
	"GET " + embedPath: {
		id: "embedPage", group: groupPages, summary: "A poll for a frame",
		text:    "The live results alone. Any site may frame it.",
		answers: fileAnswers("A page.", "text/html"), codes: pollPageCodes,
	},
	"GET /oembed": {
		id: "oembed", group: groupPages, summary: "How to show a poll on another site",
		text: "oEmbed 1.0. The pages of polls link here.",
		params: []*huma.Param{
			{Name: "url", In: "query", Required: true, Description: "Address of a poll's page on this server.", Schema: &huma.Schema{Type: huma.TypeString}, Example: "https://vote.example.org/p/116114440929280"},
			queryParam("format", "Anything but json is answered with 501.", &huma.Schema{Type: huma.TypeString, Default: "json"}, "json"),
			queryParam("maxwidth", "In pixels.", wholeSchema(maxEmbedAllowed, 0), 480),
			queryParam("maxheight", "In pixels.", wholeSchema(maxEmbedAllowed, 0), nil),
		},
		answers: []answer{{status: 200, text: "A frame.", shape: oEmbedShape{}, example: exampleOEmbed, headers: []string{"Cache-Control"}}},
		codes:   append([]domain.Code{domain.CodeInvalid, domain.CodeNotImplemented}, pollPageCodes...),
	},
	"GET /sw.js":                {id: "worker", group: groupPages, summary: "The service worker", answers: fileAnswers("A script.", "text/javascript")},
	"GET /manifest.webmanifest": {id: "manifest", group: groupPages, summary: "The web app manifest", answers: fileAnswers("A manifest.", typeManifest)},
	"GET /assets/{file}": {
		id: "asset", group: groupPages, summary: "A file of the pages",
		params:  []*huma.Param{{Name: "file", In: "path", Required: true, Description: "May be in folders.", Schema: &huma.Schema{Type: huma.TypeString}}},
		answers: fileAnswers("The file; its name changes with its content. Style sheets are one kind of many.", "text/css"),
		codes:   []domain.Code{domain.CodeNotFound},
	},
}

const (
	exampleStream  = "retry: 1840\n\nevent: stats\ndata: " + exampleStats + "\nid: 6\n\n:\n\n"
	exampleOEmbed  = `{"type":"rich","version":"1.0","title":"Should the old tram line come back?","author_name":"mira","provider_name":"Vote","provider_url":"https://vote.example.org/","cache_age":3600,"html":"<iframe src=\"https://vote.example.org/embed/116114440929280\" width=\"480\" height=\"406\" title=\"Should the old tram line come back?\" loading=\"lazy\" style=\"border:0;max-width:100%\" sandbox=\"allow-scripts allow-same-origin allow-popups allow-popups-to-escape-sandbox\"></iframe>","width":480,"height":406}`
	exampleStreams = "retry: 1840\n\nevent: stats\ndata: " + exampleStats + "\nid: 116114440929280:6\n\n"
)

// pollPageCodes are why a poll cannot be shown.
var pollPageCodes = []domain.Code{domain.CodeNotFound, domain.CodeStarting, domain.CodeOverloaded}

// appPage describes a page of the web app.
func appPage(id, summary string) description {
	return description{id: id, group: groupPages, summary: summary, answers: fileAnswers("A page of the web app.", "text/html")}
}

func lastEventParam(text string) *huma.Param {
	return &huma.Param{Name: "Last-Event-ID", In: "header", Description: text, Schema: &huma.Schema{Type: huma.TypeString}}
}

// listDescription describes a list of one's own things.
func listDescription(id, summary, text string, shape any, example string) description {
	return description{
		id: id, group: groupAccounts, summary: summary,
		text: text + " Newest first. nextCursor stays right while entries are added. An empty cursor counts as not given.",
		params: []*huma.Param{
			queryParam("limit", "Entries of one page.", wholeSchema(maxLimit, defaultLimit), 10),
			queryParam("cursor", "nextCursor of the page before.", &huma.Schema{Type: huma.TypeString}, nil),
		},
		answers: []answer{{status: 200, text: "A page.", shape: shape, example: example, headers: []string{"Cache-Control"}}},
		codes:   []domain.Code{domain.CodeInvalidCursor},
	}
}

var metricsDescription = description{
	id: "metrics", group: groupServer, summary: "Prometheus metrics",
	answers: []answer{{status: 200, text: "Metrics in the text format.", media: "text/plain"}},
}

func readyDescription(id string) description {
	return description{
		id: id, group: groupServer, summary: "Whether the server takes requests",
		answers: []answer{{
			status: 200, text: "It does.", shape: readyShape{},
			example: `{"status":"ready","checks":{"database":{"status":"ok"},"feed":{"status":"ok"},"server":{"status":"ok"}}}`,
		}},
		codes: []domain.Code{domain.CodeStarting, domain.CodeDraining, domain.CodeUnavailable, domain.CodeSchemaOutdated},
	}
}

func fileAnswers(text, media string) []answer {
	return []answer{
		{status: http.StatusOK, text: text, media: media, headers: []string{"ETag"}},
		{status: http.StatusNotModified, text: "Nothing changed.", headers: []string{"ETag"}},
	}
}
