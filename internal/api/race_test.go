package api_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vote/internal/api"
	"vote/internal/domain"
)

var seenCount = flag.Int("api.seen", 2000, "how many acknowledged votes and skips TestSeenIsNeverShown follows by a feed request")

// visitor is a client over TCP with connections of its own.
type visitor struct {
	client *http.Client
	base   string
}

func newVisitor(t *testing.T, address string) *visitor {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 300}
	t.Cleanup(transport.CloseIdleConnections)
	return &visitor{client: &http.Client{Transport: transport, Timeout: time.Minute}, base: "http://" + address}
}

func (v *visitor) do(token, method, path, body string) (reply, error) {
	r, err := http.NewRequestWithContext(context.Background(), method, v.base+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+token)
	got, err := v.client.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	return reply{got.StatusCode, got.Header, string(text)}, err
}

// TestDailyLimitUnderRace sends 200 concurrent votes of one user on 130 polls:
// exactly 100 are accepted.
func TestDailyLimitUnderRace(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *api.Config) { c.Limits.DailyVotes = 100 })
	s.join("mira")
	polls := s.many("mira", 130)
	v := newVisitor(t, s.listen(time.Minute))
	var accepted, already, limited atomic.Int64
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			got, err := v.do(s.names["mira.token"], "POST", fmt.Sprintf("/api/polls/%d/vote", polls[i%130]), `{"optionIndex":0}`)
			switch {
			case err != nil:
				t.Error(err)
			case got.status == http.StatusOK:
				accepted.Add(1)
			case got.code() == "already_voted":
				already.Add(1)
			case got.code() == "daily_vote_limit":
				limited.Add(1)
			default:
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
	wg.Wait()
	if accepted.Load() != 100 || already.Load()+limited.Load() != 100 {
		t.Errorf("%d accepted, %d already voted, %d limited", accepted.Load(), already.Load(), limited.Load())
	}
	s.checkClean(100)
}

// TestOneVoteUnderRace sends 200 identical votes: exactly one is accepted, and
// every refusal names its option.
func TestOneVoteUnderRace(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	s.publish("mira", "one")
	v := newVisitor(t, s.listen(time.Minute))
	var accepted, already atomic.Int64
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			got, err := v.do(s.names["mira.token"], "POST", s.named("/api/polls/{one}/vote"), `{"optionIndex":2}`)
			switch {
			case err != nil:
				t.Error(err)
			case got.status == http.StatusOK:
				accepted.Add(1)
			case got.code() == "already_voted" && strings.Contains(got.body, `"optionIndex":2`):
				already.Add(1)
			default:
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
	wg.Wait()
	if accepted.Load() != 1 || already.Load() != 199 {
		t.Errorf("%d accepted, %d already voted", accepted.Load(), already.Load())
	}
	s.checkClean(1)
}

// TestOnePollUnderRace sends one poll 50 times under one key: one is made, and
// everybody who is answered gets the same.
func TestOnePollUnderRace(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	var mu sync.Mutex
	answers := make(map[string]int)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			got := s.do("mira", "POST", "/api/polls", `{"title":"a","options":["a","b"],"tags":["a"]}`, "Idempotency-Key", "k")
			if got.status != http.StatusCreated && got.code() != "idempotency_in_progress" {
				t.Errorf("%d %s", got.status, got.body)
			}
			if got.status == http.StatusCreated {
				mu.Lock()
				answers[got.body]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(answers) != 1 || len(s.events()) != 1 {
		t.Errorf("%d different answers: %v", len(answers), answers)
	}
}

// TestSeenIsNeverShown follows each acknowledged vote or skip by a feed request
// of the same user, several users and several requests of a user at once.
func TestSeenIsNeverShown(t *testing.T) {
	t.Parallel()
	const users, atOnce = 8, 2
	s := newSite(t, nil)
	names := make([]string, users)
	for i := range names {
		names[i] = fmt.Sprintf("user%d", i)
	}
	s.join(names...)
	each := *seenCount / (users * atOnce)
	polls := s.many(names[0], each*atOnce+50)
	v := newVisitor(t, s.listen(time.Minute))
	var followed, shown atomic.Int64
	var wg sync.WaitGroup
	for u, name := range names {
		var mu sync.Mutex
		acknowledged := make(map[domain.PollID]int) // poll -> how many were before it
		for part := range atOnce {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(u), uint64(part)))
				// From the newest on, where the feed is, so that a mistake would show.
				for i := range each {
					poll := polls[len(polls)-1-(i*atOnce+part)]
					call, body := "/vote", fmt.Sprintf(`{"optionIndex":%d}`, random.IntN(2))
					if random.IntN(2) == 0 {
						call, body = "/skip", ""
					}
					got, err := v.do(s.names[name+".token"], "POST", fmt.Sprintf("/api/polls/%d%s", poll, call), body)
					if err != nil || got.status != http.StatusOK {
						t.Errorf("%s: %v %d %s", name, err, got.status, got.body)
						return
					}
					mu.Lock()
					acknowledged[poll] = len(acknowledged)
					known := len(acknowledged)
					mu.Unlock()
					page, err := v.do(s.names[name+".token"], "GET", "/api/polls?limit=30", "")
					if err != nil || page.status != http.StatusOK {
						t.Errorf("%s: %v %d %s", name, err, page.status, page.body)
						return
					}
					var feed struct {
						Polls []struct {
							ID domain.PollID `json:"id"`
						} `json:"polls"`
					}
					if err := json.Unmarshal([]byte(page.body), &feed); err != nil {
						t.Error(err)
						return
					}
					if len(feed.Polls) == 0 {
						t.Errorf("%s: an empty feed after %d polls", name, known)
					}
					followed.Add(1)
					mu.Lock()
					for _, p := range feed.Polls {
						shown.Add(1)
						if before, ok := acknowledged[p.ID]; ok && before < known {
							t.Errorf("%s: poll %d is shown after it was acknowledged", name, p.ID)
						}
					}
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	if want := int64(each * users * atOnce); followed.Load() != want || shown.Load() < followed.Load() {
		t.Errorf("%d requests followed, %d polls shown: too little to have shown anything", followed.Load(), shown.Load())
	}
	t.Logf("%d acknowledged votes and skips followed, %d polls shown", followed.Load(), shown.Load())
}

// many publishes n polls, past the API, and returns their ids.
func (s *site) many(author string, n int) []domain.PollID {
	s.t.Helper()
	var user int64
	if _, err := fmt.Sscan(s.names[author], &user); err != nil {
		s.t.Fatal(err)
	}
	ids := make([]domain.PollID, n)
	for from := 0; from < n; from += 500 {
		batch := make([]domain.NewPoll, min(500, n-from))
		for i := range batch {
			batch[i] = domain.NewPoll{Author: domain.UserID(user), Title: fmt.Sprint("poll ", from+i), Options: []string{"A", "B"}, Tags: []string{"many"}}
		}
		made, err := s.store.Publish(context.Background(), batch, func(facts []domain.PublicationFact) []domain.PublicationVerdict {
			return domain.Rules{}.JudgePublications(batch, facts)
		})
		if err != nil {
			s.t.Fatal(err)
		}
		s.feed.Published(made)
		for i, p := range made {
			ids[from+i] = p.Poll.ID
		}
	}
	return ids
}

// checkClean verifies storage and its number of votes.
func (s *site) checkClean(votes int64) {
	s.t.Helper()
	report, err := s.store.Check(context.Background(), domain.Rules{DailyVotes: 100})
	if err != nil {
		s.t.Fatal(err)
	}
	if report.Votes != votes || len(report.Violations) > 0 || len(report.Rules) == 0 {
		s.t.Errorf("%d votes, want %d; violations %+v", report.Votes, votes, report.Violations)
	}
}
