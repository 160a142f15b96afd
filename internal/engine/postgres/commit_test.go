//go:build integration

package postgres

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"vote/internal/domain"
	"vote/internal/testservers"
)

// A commit whose answer is lost has happened, so nobody may be told that it has
// not.
func TestTheAnswerToACommitIsLost(t *testing.T) {
	t.Parallel()
	for name, statements := range map[string]Statements{"prepared": Prepared, "unprepared": Unprepared} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct := testservers.Database(t)
			at, err := url.Parse(direct)
			if err != nil {
				t.Fatal(err)
			}
			proxy := testservers.StartProxy(t, at.Host)
			at.Host = proxy.Address()
			s, err := Open(t.Context(), Options{DSN: at.String(), DirectDSN: direct, AutoMigrate: true, Statements: statements})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			for n := range 20 {
				key := fmt.Sprintf("%s%d", name, n)
				proxy.CutOn(testservers.ToServer, []byte(commitQuery), 1)
				_, err := s.CreateUser(t.Context(), domain.NewUser{
					Username: key, UsernameKey: key, Email: key + "@example.org", EmailKey: key + "@example.org", PasswordHash: "h",
				}, domain.Session{ID: key, CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}, domain.TokenHash{byte(n), byte(statements)})
				if domain.CodeOf(err) != domain.CodeOutcomeUnknown {
					t.Errorf("the answer is lost: %v", err)
				}
				// The server may still be at it.
				for limit := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
					if _, err := s.UserByEmail(t.Context(), key+"@example.org"); err == nil {
						break
					} else if time.Now().After(limit) {
						t.Fatalf("what was committed: %v", err)
					}
				}
			}
		})
	}
}
