package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"vote/internal/domain"
	"vote/internal/ops/progress"
)

// Bounds of repeating a request after a 503 or a lost connection.
const (
	maxTries     = 10
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = 5 * time.Second
)

// player sends requests as people do: it bounds how many are under way, waits
// where the server says so, and repeats what may be repeated.
type player struct {
	wires   []*wire // of each instance
	slots   chan struct{}
	maxWait time.Duration

	next    atomic.Int64 // counts tries, to take the wires in turn
	waiting atomic.Int64 // requests that wait as told
	waits   atomic.Int64 // waits as told, by a rate limit or a full server
	waited  atomic.Int64 // ns, over all people
	repeats atomic.Int64
}

// outcome is an answer that stands.
type outcome struct {
	reply
	took time.Duration // of the last try
	code domain.Code   // of a refusal
	// uncertain says that an earlier try may have been handled.
	uncertain bool
}

// problem is what a refusal's body says.
type problem struct {
	Code        domain.Code `json:"code"`
	Detail      string      `json:"detail"`
	OptionIndex *int        `json:"optionIndex"`
}

// call sends a request until it has an answer that stands. The error says that
// there is none: ctx ended, too many tries failed, or the wait told is too long.
func (p *player) call(ctx context.Context, q request) (outcome, error) {
	var o outcome
	tries, waited := 0, time.Duration(0)
	backoff := firstBackoff
	for {
		a, err := p.try(ctx, q, &o)
		switch {
		case ctx.Err() != nil:
			return o, ctx.Err()
		case err != nil:
			o.uncertain = true
		case a.status < 400:
			return o, nil
		case a.status == http.StatusTooManyRequests && o.code == domain.CodeRateLimited,
			a.status == http.StatusServiceUnavailable && o.code == domain.CodeOverloaded:
			// Nothing happened, and the server says when to come back.
			told := max(a.retryAfter, time.Second)
			if waited += told; waited > p.maxWait {
				return o, fmt.Errorf("%s %s: the server (%s) asks to wait %v (%v in all), beyond --max-wait %v",
					q.method, q.path, o.code, told, waited, p.maxWait)
			}
			p.waits.Add(1)
			p.waited.Add(int64(told))
			p.waiting.Add(1)
			err := sleep(ctx, told+stagger(q, told))
			p.waiting.Add(-1)
			if err != nil {
				return o, err
			}
			continue
		case a.status == http.StatusServiceUnavailable:
			o.uncertain = o.uncertain || o.code == domain.CodeOutcomeUnknown
		default:
			return o, nil
		}
		if tries++; tries == maxTries {
			if err == nil {
				err = fmt.Errorf("answer %d %s", a.status, o.code)
			}
			return o, fmt.Errorf("%s %s: failed %d times: %w", q.method, q.path, tries, err)
		}
		p.repeats.Add(1)
		wait := max(a.retryAfter, backoff)
		if err := sleep(ctx, wait+stagger(q, wait)); err != nil {
			return o, err
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// stagger adds to a wait by who waits, so that those refused together do not
// come back together. It is at most half a second.
func stagger(q request, wait time.Duration) time.Duration {
	return min(wait, time.Second) * time.Duration(q.source%8) / 16
}

// try sends a request once, in a slot, and notes the answer in o.
func (p *player) try(ctx context.Context, q request, o *outcome) (reply, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
	defer func() { <-p.slots }()
	start := time.Now()
	a, err := p.wires[int(p.next.Add(1)%int64(len(p.wires)))].do(ctx, q)
	o.took = time.Since(start)
	o.reply, o.code = a, ""
	o.uncertain = o.uncertain || a.repeated
	if err == nil && a.status >= 400 {
		o.code = o.problem().Code
	}
	return a, err
}

// problem returns what a refusal says; an answer that is no problem document
// has the code "http_" and its status.
func (o outcome) problem() problem {
	var p problem
	if err := json.Unmarshal(o.body, &p); err != nil || p.Code == "" {
		p.Code = domain.Code("http_" + strconv.Itoa(o.status))
	}
	return p
}

// want decodes the body of an answer that must have the given status.
func (o outcome) want(status int, v any) error {
	if o.status != status {
		p := o.problem()
		return fmt.Errorf("answer %d %s (%s), want %d", o.status, p.Code, p.Detail, status)
	}
	if err := json.Unmarshal(o.body, v); err != nil {
		return fmt.Errorf("answer %d is not what was expected: %w", o.status, err)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// person is an account that plays a participant.
type person struct {
	participant
	number   int // of the run; also its source address
	username string
	email    string
	token    string

	// What was acknowledged, by statement.
	voted   map[int]choice
	skipped map[int]bool
	tally   deeds
}

// deeds counts what became of a person's answers.
type deeds struct {
	votes, skips, skipsAgain int
	refused                  map[domain.Code]int
	voteTimes, skipTimes     []time.Duration
}

// request returns a call by the person.
func (p *person) request(method, path string, body []byte) request {
	return request{method: method, path: path, token: p.token, body: body, source: p.number}
}

// register makes the person's account; after an answer that was lost, it logs
// in to the account that the lost try made.
func (p *person) register(ctx context.Context, player *player, password string) error {
	var signed struct {
		Token string `json:"token"`
	}
	body, err := json.Marshal(map[string]string{"username": p.username, "email": p.email, "password": password})
	if err != nil {
		return err
	}
	o, err := player.call(ctx, p.request(http.MethodPost, "/api/auth/register", body))
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if o.uncertain && (o.code == domain.CodeEmailTaken || o.code == domain.CodeUsernameTaken) {
		if body, err = json.Marshal(map[string]string{"email": p.email, "password": password}); err != nil {
			return err
		}
		if o, err = player.call(ctx, p.request(http.MethodPost, "/api/auth/login", body)); err != nil {
			return err
		}
		status = http.StatusOK
	}
	if err := o.want(status, &signed); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	p.token = signed.Token
	return nil
}

// publish makes a poll of a statement and returns its id.
func (p *person) publish(ctx context.Context, player *player, s statement, tags []string, key string) (int64, error) {
	var poll struct {
		ID int64 `json:"id"`
	}
	body, err := json.Marshal(map[string]any{"title": s.title, "options": optionTexts, "tags": tags})
	if err != nil {
		return 0, err
	}
	q := p.request(http.MethodPost, "/api/polls", body)
	q.key = key
	o, err := player.call(ctx, q)
	if err != nil {
		return 0, err
	}
	if err := o.want(http.StatusCreated, &poll); err != nil {
		return 0, fmt.Errorf("publish statement %s: %w", s.id, err)
	}
	if poll.ID == 0 {
		return 0, errors.New("publish: the answer has no id")
	}
	return poll.ID, nil
}

var optionTexts = []string{agree: "Agree", disagree: "Disagree"}

// play sends the person's answers, one after the other.
func (p *person) play(ctx context.Context, player *player, polls []int64, done *progress.Stage) error {
	p.voted, p.skipped = make(map[int]choice), make(map[int]bool)
	p.tally.refused = make(map[domain.Code]int)
	var path []byte
	for _, a := range p.answers {
		path = append(path[:0], "/api/polls/"...)
		path = strconv.AppendInt(path, polls[a.statement], 10)
		var err error
		if a.choice == pass {
			err = p.skip(ctx, player, string(append(path, "/skip"...)), a.statement)
		} else {
			err = p.vote(ctx, player, string(append(path, "/vote"...)), a.statement, a.choice)
		}
		if err != nil {
			return err
		}
		done.Add(1)
	}
	return nil
}

var voteBodies = [][]byte{agree: []byte(`{"optionIndex":0}`), disagree: []byte(`{"optionIndex":1}`)}

func (p *person) vote(ctx context.Context, player *player, path string, statement int, c choice) error {
	o, err := player.call(ctx, p.request(http.MethodPost, path, voteBodies[c]))
	if err != nil {
		return err
	}
	p.tally.voteTimes = append(p.tally.voteTimes, o.took)
	_, before := p.voted[statement]
	counted := o.status == http.StatusOK
	if o.code == domain.CodeAlreadyVoted && o.uncertain && !before {
		option := o.problem().OptionIndex
		counted = option != nil && *option == int(c)
	}
	if !counted {
		p.tally.refused[refusal(o)]++
		return nil
	}
	p.voted[statement] = c
	p.tally.votes++
	return nil
}

func (p *person) skip(ctx context.Context, player *player, path string, statement int) error {
	o, err := player.call(ctx, p.request(http.MethodPost, path, nil))
	if err != nil {
		return err
	}
	p.tally.skipTimes = append(p.tally.skipTimes, o.took)
	switch {
	case o.status != http.StatusOK:
		p.tally.refused[refusal(o)]++
	case p.skipped[statement]:
		p.tally.skipsAgain++
	default:
		p.skipped[statement] = true
		p.tally.skips++
	}
	return nil
}

// refusal returns the code of an answer that did not take the interaction.
func refusal(o outcome) domain.Code {
	if o.code == "" {
		return domain.Code("http_" + strconv.Itoa(o.status))
	}
	return o.code
}
