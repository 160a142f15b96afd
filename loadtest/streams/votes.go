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

// seed makes accounts and two polls straight in the store.
func seed(ctx context.Context, data string, users int) (_ []domain.UserID, _ []domain.PollID, err error) {
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
	batch := make([]domain.NewPoll, 2)
	for i := range batch {
		batch[i] = domain.NewPoll{Author: ids[0], Title: "Which of these?", Options: []string{"The first one", "The second one", "Neither of them"}, Tags: []string{"streams"}}
	}
	published, err := store.Publish(ctx, batch, func(f []domain.PublicationFact) []domain.PublicationVerdict {
		return domain.Rules{}.JudgePublications(batch, f)
	})
	if err != nil {
		return nil, nil, err
	}
	return ids, []domain.PollID{published[0].Poll.ID, published[1].Poll.ID}, nil
}

func tokenFor(user domain.UserID) (string, error) {
	id, now := strconv.FormatInt(int64(user), 10), time.Now()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "vote", "aud": "vote", "sub": id, "sid": "streams", "jti": "streams" + id, "iat": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Hour).Unix(),
	}).SignedString([]byte(secret))
}

// ballot is the voting on one poll, by each user once.
type ballot struct {
	server       *process.Process
	poll         domain.PollID
	users        []domain.UserID
	next         atomic.Int64
	acknowledged func(version int64) // told of every answer, when it is set
}

// closedLoop votes as fast as the callers get answers and returns how many votes a
// second that were.
func (b *ballot) closedLoop(ctx context.Context, callers int, d time.Duration) (float64, error) {
	until := time.Now().Add(d)
	return b.all(ctx, callers, func() bool { return time.Now().Before(until) })
}

// openLoop votes at a rate, as far as the callers get answers.
func (b *ballot) openLoop(ctx context.Context, callers, rate int, d time.Duration) (float64, error) {
	start, due := time.Now(), atomic.Int64{}
	return b.all(ctx, callers, func() bool {
		at := start.Add(time.Duration(due.Add(1)) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(at))
		return at.Before(start.Add(d))
	})
}

// all has callers vote while more says so.
func (b *ballot) all(ctx context.Context, callers int, more func() bool) (float64, error) {
	var voting sync.WaitGroup
	var votes atomic.Int64
	faults := make(chan error, callers)
	start := time.Now()
	for range callers {
		voting.Go(func() {
			n, err := b.caller(ctx, more)
			votes.Add(int64(n))
			if err != nil {
				faults <- err
			}
		})
	}
	voting.Wait()
	select {
	case err := <-faults:
		return 0, err
	default:
		return float64(votes.Load()) / time.Since(start).Seconds(), nil
	}
}

func (b *ballot) caller(ctx context.Context, more func() bool) (votes int, err error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", b.server.Address)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	for more() && ctx.Err() == nil {
		i := b.next.Add(1) - 1
		if i >= int64(len(b.users)) {
			return votes, errors.New("there are no voters left")
		}
		token, err := tokenFor(b.users[i])
		if err != nil {
			return votes, err
		}
		if _, err := fmt.Fprintf(c, "POST /api/polls/%d/vote HTTP/1.1\r\nHost: vote\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"optionIndex\":%d}", b.poll, token, i%3); err != nil {
			return votes, err
		}
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			return votes, err
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil {
			return votes, err
		}
		if answer.StatusCode != http.StatusOK {
			return votes, fmt.Errorf("answer %d: %s", answer.StatusCode, body)
		}
		votes++
		if b.acknowledged == nil {
			continue
		}
		_, version, _ := bytes.Cut(body, []byte(`"version":`))
		version, _, _ = bytes.Cut(version, []byte(","))
		n, err := strconv.ParseInt(string(version), 10, 64)
		if err != nil {
			return votes, err
		}
		b.acknowledged(n)
	}
	return votes, nil
}
