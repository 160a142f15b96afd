package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vote/internal/domain"
)

// childEnv makes the test binary a process of its own that opens the named
// database and does what the other variable says.
const (
	childEnv  = "VOTE_SQLITE_CHILD"
	childTask = "VOTE_SQLITE_TASK"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		if err := child(path, os.Getenv(childTask)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// child is the other process: it only opens the store, or votes and skips for
// ever and prints what was acknowledged.
func child(path, task string) error {
	ctx := context.Background()
	s, err := Open(ctx, Options{Path: path})
	if err != nil {
		return err
	}
	if task == "open" {
		return s.Close()
	}
	var users []domain.UserID
	var polls []domain.PollID
	for i := range 8 {
		u, err := s.UserByEmail(ctx, fmt.Sprintf("user%d", i))
		if err != nil {
			return err
		}
		users = append(users, u.ID)
	}
	if _, err := s.LoadCatalogue(ctx, func(e domain.Entry) error { polls = append(polls, e.Poll); return nil }); err != nil {
		return err
	}
	for i, poll := range polls {
		batch := make([]domain.Interaction, len(users))
		for j, u := range users {
			batch[j] = domain.Interaction{User: u, Poll: poll, Option: (i + j) % 2, Skip: (i+j)%5 == 0}
		}
		if _, err := s.Interact(ctx, batch, func(f []domain.Fact) []domain.Verdict {
			return domain.Rules{}.Judge(batch, f)
		}); err != nil {
			return err
		}
		for _, in := range batch {
			fmt.Println(in.User, in.Poll, in.Option, in.Skip)
		}
	}
	select {} // wait to be killed
}

func startChild(t *testing.T, path, task string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childEnv+"="+path, childTask+"="+task)
	return cmd
}

// handClock is a clock that moves only when told.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func newHandClock() *handClock {
	return &handClock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// failing is what tests and checks of properties have in common.
type failing interface {
	Helper()
	Fatal(args ...any)
}

func must(t failing, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code domain.Code) {
	t.Helper()
	if got := domain.CodeOf(err); got != code {
		t.Fatalf("error %v, want code %q", err, code)
	}
}

// openStore opens a store in a folder of its own, or at the path, and closes it
// with the test.
func openStore(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "data", "vote.db")
	}
	o.AutoMigrate = true
	s, err := Open(context.Background(), o)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// addUsers makes accounts with the e-mail keys user0, user1, ...
func addUsers(t testing.TB, s *Store, n int) []domain.UserID {
	t.Helper()
	var users []domain.UserID
	for i := range n {
		key := fmt.Sprintf("user%d", i)
		u, err := s.CreateUser(context.Background(),
			domain.NewUser{Username: key, UsernameKey: key, Email: key, EmailKey: key, PasswordHash: "x"},
			domain.Session{ID: "session-" + key, ExpiresAt: time.Now().Add(time.Hour)}, domain.TokenHash{byte(i), 1})
		must(t, err)
		users = append(users, u.ID)
	}
	return users
}

func addPolls(t testing.TB, s *Store, author domain.UserID, n int) []domain.PollID {
	t.Helper()
	batch := make([]domain.NewPoll, n)
	for i := range batch {
		batch[i] = domain.NewPoll{
			Author: author, Title: fmt.Sprintf("Question number%d", i), Options: []string{"yes", "no"}, Tags: []string{"general"},
		}
	}
	var polls []domain.PollID
	for _, p := range publish(t, s, batch) {
		polls = append(polls, p.Poll.ID)
	}
	return polls
}

// wantClean fails unless the check finds nothing.
func wantClean(t testing.TB, s *Store) {
	t.Helper()
	report, err := s.Check(context.Background(), domain.Rules{})
	must(t, err)
	for _, v := range report.Violations {
		t.Errorf("Check: %s: %d, such as %q", v.Rule, v.Count, v.Examples)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "the folder", "vote.db")
	s, err := Open(t.Context(), Options{Path: path, AutoMigrate: true})
	must(t, err)
	for name, open := range map[string]func() error{
		"another store": func() error {
			_, err := Open(t.Context(), Options{Path: path, AutoMigrate: true})
			return err
		},
		"a store on another file of the folder": func() error {
			_, err := Open(t.Context(), Options{Path: filepath.Join(filepath.Dir(path), "other.db"), AutoMigrate: true})
			return err
		},
		"a migrator": func() error {
			_, err := NewMigrator(path)
			return err
		},
	} {
		err := open()
		if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), filepath.Dir(path)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	out, err := startChild(t, path, "open").CombinedOutput()
	if err == nil || !strings.Contains(string(out), filepath.Dir(path)) || !strings.Contains(string(out), "another process") ||
		!strings.Contains(string(out), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("another process: %v: %s", err, out)
	}
	must(t, s.Close())
	if out, err := startChild(t, path, "open").CombinedOutput(); err != nil {
		t.Errorf("another process, after Close: %v: %s", err, out)
	}
}

// TestKilled kills a process that writes, and looks for all it acknowledged.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, after := range []int{1, 100, 1000} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "vote.db")
			s, err := Open(t.Context(), Options{Path: path, AutoMigrate: true})
			must(t, err)
			addPolls(t, s, addUsers(t, s, 8)[0], 400)
			must(t, s.Close())

			cmd := startChild(t, path, "vote")
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			var acknowledged []domain.Interaction
			for lines := bufio.NewScanner(out); lines.Scan(); {
				var in domain.Interaction
				if _, err := fmt.Sscan(lines.Text(), &in.User, &in.Poll, &in.Option, &in.Skip); err != nil {
					continue // cut off by the kill
				}
				if acknowledged = append(acknowledged, in); len(acknowledged) == after {
					must(t, cmd.Process.Kill())
				}
			}
			if err := cmd.Wait(); err == nil || len(acknowledged) < after {
				t.Fatalf("the other process ended with %v after %d acknowledgements", err, len(acknowledged))
			}

			s = openStore(t, Options{Path: path})
			for _, in := range acknowledged {
				p, err := s.Prior(t.Context(), in.User, in.Poll)
				must(t, err)
				want := domain.Prior{Voted: true, Option: in.Option}
				if in.Skip {
					want = domain.Prior{Skipped: true}
				}
				if p != want {
					t.Fatalf("%+v was acknowledged, stored is %+v", in, p)
				}
			}
			wantClean(t, s)
		})
	}
}
