package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vote/internal/domain"
	"vote/internal/engine/sqlite"
	"vote/loadtest/process"
)

const secret = "only-for-measuring-0123456789abcdef" // signs the voters' tokens

// raised are the server's limits, out of the way.
var raised = []string{
	"JWT_SECRET_KEY=" + secret, "LIMITS_CONNECTIONS=18000", "LIMITS_CONNECTIONS_PER_ADDRESS=0", "LIMITS_STREAMS_PER_ADDRESS=0",
	"LIMITS_REQUESTS_PER_MINUTE=0", "LIMITS_VOTES_PER_MINUTE=0", "LIMITS_BURST_PER_SECOND=0", "LIMITS_DAILY_VOTES=0",
}

// seed makes accounts and polls straight in the store.
func seed(ctx context.Context, data string, users, polls int) (_ []domain.UserID, _ []domain.PollID, err error) {
	store, err := sqlite.Open(ctx, sqlite.Options{Path: data, Clock: domain.SystemClock{}, AutoMigrate: true})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	const size = 5000
	at := time.Now().Add(-time.Minute)
	var ids []domain.UserID
	for len(ids) < users {
		batch := domain.Import{Users: make([]domain.ImportUser, size)}
		for i := range batch.Users {
			name := "voter" + strconv.Itoa(len(ids)+i)
			batch.Users[i] = domain.ImportUser{CreatedAt: at, NewUser: domain.NewUser{
				Username: name, UsernameKey: name, Email: name + "@streams.invalid", EmailKey: name + "@streams.invalid", PasswordHash: "none",
			}}
		}
		imported, err := store.Import(ctx, batch)
		if err != nil {
			return nil, nil, err
		}
		ids = append(ids, imported.Users...)
	}
	batch := make([]domain.NewPoll, polls)
	for i := range batch {
		batch[i] = domain.NewPoll{Author: ids[0], Title: "Which of these?", Options: []string{"The first one", "The second one", "Neither of them"}, Tags: []string{"streams"}}
	}
	published, err := store.Publish(ctx, batch, func(f []domain.PublicationFact) []domain.PublicationVerdict {
		return domain.Rules{}.JudgePublications(batch, f)
	})
	if err != nil {
		return nil, nil, err
	}
	made := make([]domain.PollID, polls)
	for i, p := range published {
		made[i] = p.Poll.ID
	}
	return ids, made, nil
}

func tokenFor(user domain.UserID) (string, error) {
	id, now := strconv.FormatInt(int64(user), 10), time.Now()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "vote", "aud": "vote", "sub": id, "sid": "streams", "jti": "streams" + id, "iat": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Hour).Unix(),
	}).SignedString([]byte(secret))
}

// ballot is the voting on one poll, by each user once.
type ballot struct {
	server   *process.Process
	poll     domain.PollID
	users    []domain.UserID
	next     atomic.Int64
	answered func(version int64, due time.Time) // told of every answer, when it is set

	mu   sync.Mutex
	took times // from when each vote was due to its answer
}

// closedLoop votes as fast as the callers get answers, until the time is over or
// all have voted, and returns how many votes a second that were.
func (b *ballot) closedLoop(ctx context.Context, callers int, d time.Duration) (float64, error) {
	until := time.Now().Add(d)
	return b.all(ctx, callers, func() (due time.Time, more bool) {
		now := time.Now()
		return now, now.Before(until)
	})
}

// openLoop votes at a rate, as far as the callers get answers.
func (b *ballot) openLoop(ctx context.Context, callers, rate int, d time.Duration) (float64, error) {
	start, turn := time.Now(), atomic.Int64{}
	return b.all(ctx, callers, func() (due time.Time, more bool) {
		due = start.Add(time.Duration(turn.Add(1)) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(due))
		return due, due.Before(start.Add(d))
	})
}

// all has callers vote when next says that a vote is due.
func (b *ballot) all(ctx context.Context, callers int, next func() (due time.Time, more bool)) (float64, error) {
	var voting sync.WaitGroup
	faults := make(chan error, callers)
	start := time.Now()
	for range callers {
		voting.Go(func() {
			if err := b.caller(ctx, next); err != nil {
				faults <- err
			}
		})
	}
	voting.Wait()
	elapsed := time.Since(start)
	b.took.sort()
	select {
	case err := <-faults:
		return 0, err
	default:
		return float64(len(b.took)) / elapsed.Seconds(), nil
	}
}

func (b *ballot) caller(ctx context.Context, next func() (due time.Time, more bool)) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", b.server.Address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	var took times
	for ctx.Err() == nil {
		due, more := next()
		i := b.next.Add(1) - 1
		if !more || i >= int64(len(b.users)) {
			break
		}
		version, err := b.vote(c, r, b.users[i], int(i%3))
		if err != nil {
			return err
		}
		took = append(took, time.Since(due))
		if b.answered != nil {
			b.answered(version, due)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.took = append(b.took, took...)
	return ctx.Err()
}

// vote votes and returns the version that the answer has.
func (b *ballot) vote(c io.Writer, r *bufio.Reader, user domain.UserID, option int) (int64, error) {
	token, err := tokenFor(user)
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Fprintf(c, "POST /api/polls/%d/vote HTTP/1.1\r\nHost: vote\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"optionIndex\":%d}", b.poll, token, option); err != nil {
		return 0, err
	}
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, err
	}
	body, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil {
		return 0, err
	}
	if answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("answer %d: %s", answer.StatusCode, body)
	}
	_, version, _ := bytes.Cut(body, []byte(`"version":`))
	version, _, _ = bytes.Cut(version, []byte(","))
	return strconv.ParseInt(string(version), 10, 64)
}
