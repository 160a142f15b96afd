//go:build integration && linux

package app_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vote/internal/app"
	"vote/internal/domain"
)

var (
	instanceRounds = flag.Int("app.rounds", 3, "how often TestInstances races the daily limit")
	instanceVotes  = flag.Int("app.votes", 500, "how many votes TestInstances follows by a feed of another instance")
)

const instances = 3

// trio is three instances, each of which can be asked by itself.
type trio struct {
	*fleet
	at [instances]*ledger
}

func startTrio(t *testing.T, environment ...string) *trio {
	t.Helper()
	return startTrioOver(t, sharedBackends(t), environment...)
}

func startTrioOver(t *testing.T, b backends, environment ...string) *trio {
	t.Helper()
	s := &trio{fleet: startFleet(t, b, instances, environment...)}
	for i := range s.at {
		s.at[i] = newLedger(1, func() string { return *s.instances[i].url.Load() })
		s.at[i].client = s.client
	}
	return s
}

// ask asks an instance, which must answer.
func (s *trio) ask(t *testing.T, instance int, method, path, token string, body any, header ...string) (int, map[string]any) {
	t.Helper()
	status, answer, err := s.at[instance%instances].call(method, path, token, body, header...)
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
	}
	return status, answer
}

// must asks an instance for something that it must do.
func (s *trio) must(t *testing.T, instance, want int, method, path, token string, body any) map[string]any {
	t.Helper()
	status, answer := s.ask(t, instance, method, path, token, body)
	if status != want {
		t.Fatalf("%s %s: %d %v, want %d", method, path, status, answer, want)
	}
	return answer
}

// join makes an account at an instance and returns what it was told.
func (s *trio) join(t *testing.T, instance int) map[string]any {
	t.Helper()
	s.names++
	name := fmt.Sprintf("person%d", s.names)
	return s.must(t, instance, http.StatusCreated, "POST", "/api/auth/register", "",
		map[string]any{"username": name, "email": name + "@example.org", "password": "correct horse"})
}

func token(session map[string]any) string { return fmt.Sprint(session["token"]) }

// publish makes polls, each at another instance, and returns their ids.
func (s *trio) publish(t *testing.T, token string, n int) []int64 {
	t.Helper()
	ids := make([]int64, n)
	for i := range ids {
		made := s.must(t, i, http.StatusCreated, "POST", "/api/polls", token,
			map[string]any{"title": "Which?", "options": []string{"this", "that"}, "tags": []string{"trio"}})
		ids[i] = int64(made["id"].(float64))
	}
	return ids
}

// shown returns the ids of a page of a feed.
func (s *trio) shown(t *testing.T, instance int, token string) []int64 {
	t.Helper()
	page := s.must(t, instance, http.StatusOK, "GET", "/api/polls?limit=100", token, nil)
	var ids []int64
	for _, entry := range page["polls"].([]any) {
		ids = append(ids, int64(entry.(map[string]any)["id"].(float64)))
	}
	return ids
}

// atOnce sends n requests at the same time, in turn to each instance, and counts
// what came: "ok", or the code of the refusal.
func (s *trio) atOnce(t *testing.T, n int, send func(i int) (status int, answer map[string]any)) map[string]int {
	t.Helper()
	var mu sync.Mutex
	came := make(map[string]int)
	var sending sync.WaitGroup
	for i := range n {
		sending.Go(func() {
			status, answer := send(i)
			what := fmt.Sprint(answer["code"])
			if status < http.StatusMultipleChoices {
				what = "ok"
			}
			mu.Lock()
			defer mu.Unlock()
			came[what]++
		})
	}
	sending.Wait()
	return came
}

// soon waits for something that other instances learn of, and returns how long
// that took.
func soon(t *testing.T, what string, come func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !come() {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%s did not come in 20 s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began).Round(time.Millisecond)
}

// TestInstances holds three instances to what one promises.
func TestInstances(t *testing.T) {
	const daily = 100
	s := startTrio(t, fmt.Sprint("LIMITS_DAILY_VOTES=", daily))
	author := token(s.join(t, 0))
	votes := int64(0)

	t.Run("the daily limit holds", func(t *testing.T) {
		polls := s.publish(t, author, 130)
		for round := range *instanceRounds {
			voter := token(s.join(t, round))
			came := s.atOnce(t, 200, func(i int) (int, map[string]any) {
				return s.ask(t, i, "POST", fmt.Sprintf("/api/polls/%d/vote", polls[i%len(polls)]), voter, map[string]any{"optionIndex": i % 2})
			})
			if came["ok"] != daily || came["already_voted"]+came["daily_vote_limit"] != 200-daily {
				t.Errorf("round %d: %v", round, came)
			}
			votes += daily
		}
	})
	t.Run("of many equal votes one counts", func(t *testing.T) {
		poll, voter := s.publish(t, author, 1)[0], token(s.join(t, 1))
		came := s.atOnce(t, 200, func(i int) (int, map[string]any) {
			return s.ask(t, i, "POST", fmt.Sprintf("/api/polls/%d/vote", poll), voter, map[string]any{"optionIndex": 1})
		})
		if came["ok"] != 1 || came["already_voted"] != 199 {
			t.Errorf("%v", came)
		}
		votes++
	})
	t.Run("what was voted on is in no feed", func(t *testing.T) {
		const people, each = 8, 90
		polls := s.publish(t, author, each)
		var stale, followed, seen atomic.Int64
		for left := *instanceVotes; left > 0; left -= people * each {
			var voting sync.WaitGroup
			for p := range people {
				voter := token(s.join(t, p))
				own := min(each, max(0, left-p*each))
				votes += int64(own)
				voting.Go(func() {
					for i := range own {
						poll := polls[len(polls)-1-i] // where the feed is, so that a mistake would show
						at := rand.IntN(instances)
						status, answer := s.ask(t, at, "POST", fmt.Sprintf("/api/polls/%d/vote", poll), voter, map[string]any{"optionIndex": i % 2})
						if status != http.StatusOK {
							t.Errorf("vote: %d %v", status, answer)
							return
						}
						status, answer = s.ask(t, at+1+rand.IntN(instances-1), "GET", "/api/polls?limit=50", voter, nil)
						list, _ := answer["polls"].([]any)
						if status != http.StatusOK || len(list) == 0 {
							t.Errorf("feed: %d %v", status, answer)
							return
						}
						followed.Add(1)
						for _, entry := range list {
							seen.Add(1)
							id := int64(entry.(map[string]any)["id"].(float64))
							if at := slices.Index(polls, id); at >= len(polls)-1-i {
								stale.Add(1)
							}
						}
					}
				})
			}
			voting.Wait()
		}
		t.Logf("%d votes followed by a feed of another instance, %d polls shown, %d stale", followed.Load(), seen.Load(), stale.Load())
		if stale.Load() > 0 || followed.Load() < int64(*instanceVotes) {
			t.Errorf("%d of %d stale", stale.Load(), followed.Load())
		}
	})
	t.Run("a key makes one poll", func(t *testing.T) {
		var mu sync.Mutex
		made := make(map[string]int)
		came := s.atOnce(t, 60, func(i int) (int, map[string]any) {
			status, answer := s.ask(t, i, "POST", "/api/polls", author,
				map[string]any{"title": "Once?", "options": []string{"this", "that"}, "tags": []string{"trio"}}, "Idempotency-Key", "once")
			if status == http.StatusCreated {
				mu.Lock()
				defer mu.Unlock()
				made[fmt.Sprint(answer["id"])]++
			}
			return status, answer
		})
		if len(made) != 1 || came["ok"]+came["idempotency_in_progress"] != 60 {
			t.Errorf("%d polls, %v", len(made), came)
		}
	})
	t.Run("a new poll is in the feeds of all", func(t *testing.T) {
		reader := token(s.join(t, 2))
		var slowest time.Duration
		for i := range 10 {
			poll := s.publish(t, author, 1)[0]
			for other := range instances {
				slowest = max(slowest, soon(t, "the poll", func() bool { return slices.Contains(s.shown(t, i+other, reader), poll) }))
			}
		}
		t.Logf("within %v", slowest)
	})
	t.Run("a refresh token used twice ends its family", func(t *testing.T) {
		first := s.join(t, 0)
		refresh := func(at int, token any) (int, map[string]any) {
			return s.ask(t, at, "POST", "/api/auth/refresh", "", map[string]any{"refreshToken": token})
		}
		status, second := refresh(1, first["refreshToken"])
		if status != http.StatusOK {
			t.Fatalf("%d %v", status, second)
		}
		if status, answer := refresh(2, first["refreshToken"]); status != http.StatusUnauthorized {
			t.Errorf("the second use: %d %v", status, answer)
		}
		for at := range instances {
			if status, answer := refresh(at, second["refreshToken"]); status != http.StatusUnauthorized {
				t.Errorf("its successor at instance %d: %d %v", at, status, answer)
			}
			for _, access := range []string{token(first), token(second)} {
				t.Logf("instance %d knows after %v", at, soon(t, "the end of the session", func() bool {
					status, _ := s.ask(t, at, "GET", "/api/users/me", access, nil)
					return status == http.StatusUnauthorized
				}))
			}
		}
		// Of one token used everywhere at once, one use goes on.
		racer := s.join(t, 1)
		came := s.atOnce(t, 30, func(i int) (int, map[string]any) { return refresh(i, racer["refreshToken"]) })
		if came["ok"] > 1 || came["ok"]+came["refresh_token_reused"]+came["invalid_refresh_token"] != 30 {
			t.Errorf("one token at once: %v", came)
		}
	})
	t.Run("a token ends everywhere", func(t *testing.T) {
		access := token(s.join(t, 0))
		for at := range instances {
			s.must(t, at, http.StatusOK, "GET", "/api/users/me", access, nil)
		}
		s.must(t, 0, http.StatusNoContent, "POST", "/api/auth/logout", access, nil)
		for at := range instances {
			t.Logf("instance %d knows after %v", at, soon(t, "the end of the session", func() bool {
				status, _ := s.ask(t, at, "GET", "/api/users/me", access, nil)
				return status == http.StatusUnauthorized
			}))
		}
	})

	ctx := context.WithoutCancel(t.Context())
	store, err := app.OpenStore(ctx, load(t, postgresEnvironment(t, s.backends.direct)...), app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	s.drain(ctx, store)
	report, err := store.Check(ctx, domain.Rules{DailyVotes: daily})
	if err != nil || report.Votes != votes || len(report.Violations) > 0 || len(report.Rules) == 0 {
		t.Errorf("%d votes are stored, %d were acknowledged; %+v, %v", report.Votes, votes, report.Violations, err)
	}
}

// TestInstancesShareLimits holds three instances to one window.
func TestInstancesShareLimits(t *testing.T) {
	t.Parallel()
	const limit = 100
	s := startTrio(t, fmt.Sprint("LIMITS_REQUESTS_PER_MINUTE=", limit), fmt.Sprint("LIMITS_VOTES_PER_MINUTE=", limit))
	for i, call := range []struct{ method, path string }{{"GET", "/api/polls"}, {"POST", "/api/polls/1/vote"}} {
		caller := token(s.join(t, i))
		var body any
		if call.method == "POST" {
			body = map[string]any{"optionIndex": 0}
		}
		came := s.atOnce(t, 2*limit, func(i int) (int, map[string]any) { return s.ask(t, i, call.method, call.path, caller, body) })
		if limited := came["rate_limited"]; limited != limit {
			t.Errorf("%s %s: %v, want %d refused", call.method, call.path, came, limit)
		}
	}
}
