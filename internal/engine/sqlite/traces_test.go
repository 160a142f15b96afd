package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

// person has names that occur nowhere else, and keys unlike them.
func person(i, generation int) domain.NewUser {
	name := fmt.Sprintf("Zq%dPerson%dgen%d", i*7919%1000, i, generation)
	if i%10 == 0 {
		name += strings.Repeat("long", 100) // with overflow pages
	}
	email := fmt.Sprintf("Zq%dMail%dgen%d@example.org", i*104729%1000, i, generation)
	return domain.NewUser{
		Username: name, UsernameKey: strings.ToLower(name), Email: email, EmailKey: strings.ToLower(email), PasswordHash: "hash",
	}
}

// readable returns the people and files in which a name or address of a person
// among the given can be read.
func readable(t *testing.T, path string, people []domain.NewUser) []string {
	t.Helper()
	var found []string
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	must(t, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		must(t, err)
		data = bytes.ToLower(data)
		for _, p := range people {
			// A part is a trace as well as the whole.
			for _, s := range []string{p.UsernameKey[3:], p.EmailKey[3:]} {
				if bytes.Contains(data, []byte(s[:min(len(s), 14)])) {
					found = append(found, p.Username+" in "+filepath.Base(file))
				}
			}
		}
	}
	return found
}

// crowd makes people, whose names are moved about: half of them change theirs.
// It returns the erased, with every name they had, and the others.
func crowd(t *testing.T, s *Store, n int) (erased, others []domain.NewUser) {
	t.Helper()
	ctx := context.Background()
	ids := make([]domain.UserID, n)
	for i := range ids {
		u, err := s.CreateUser(ctx, person(i, 0), domain.Session{ID: fmt.Sprint("s", i), ExpiresAt: time.Now().Add(time.Hour)}, domain.TokenHash{2, byte(i), byte(i >> 8)})
		must(t, err)
		ids[i] = u.ID
	}
	for i := 0; i < n; i += 2 {
		p := person(i, 1)
		p.Username += strings.Repeat("x", i%200)
		_, err := s.UpdateUser(ctx, ids[i], domain.UserUpdate{Username: p.Username, UsernameKey: p.UsernameKey, Email: p.Email, EmailKey: p.EmailKey})
		must(t, err)
	}
	for i := range ids {
		if i%3 != 0 {
			others = append(others, person(i, (i+1)%2))
			continue
		}
		_, err := s.EraseUser(ctx, ids[i], "")
		must(t, err)
		erased = append(erased, person(i, 0), person(i, 1))
	}
	return erased, others
}

func TestErasedLeaveNoTraceAfterClose(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vote.db")
	s, err := Open(t.Context(), Options{Path: path, AutoMigrate: true})
	must(t, err)
	erased, others := crowd(t, s, 300)
	if len(readable(t, path, erased)) == 0 {
		t.Fatal("nothing is readable before the wipe: this test cannot see")
	}
	must(t, s.Close())
	if found := readable(t, path, erased); len(found) > 0 {
		t.Errorf("readable: %d, such as %.10q", len(found), found)
	}
	if found := readable(t, path, others); len(found) < 2*len(others) {
		t.Errorf("of the %d others %d traces are left", len(others), len(found))
	}
	s = openStore(t, Options{Path: path})
	wantClean(t, s)
	s.withWriter(func(w *writer) {
		mark, err := w.mark()
		must(t, err)
		if mark != 0 || s.traces.Load() != 0 {
			t.Errorf("mark %d, %d traces after a wipe", mark, s.traces.Load())
		}
	})
}

// The same beside running reads and writes, without a close.
func TestErasedLeaveNoTraceBesideTraffic(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vote.db")
	s := openStore(t, Options{Path: path})
	polls := addPolls(t, s, addUsers(t, s, 1)[0], 50)
	c, err := openConn(path)
	must(t, err)
	defer func() { must(t, c.Close()) }()
	erased, _ := crowd(t, s, 300)
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			n := person(100_000+i, 2)
			u, err := s.CreateUser(context.Background(), n, domain.Session{ID: n.UsernameKey, ExpiresAt: time.Now().Add(time.Hour)}, domain.TokenHash{3, byte(i), byte(i >> 8)})
			if err == nil {
				_, err = s.Interact(context.Background(), []domain.Interaction{{User: u.ID, Poll: polls[i%50]}}, func(f []domain.Fact) []domain.Verdict {
					return domain.Rules{}.Judge([]domain.Interaction{{User: u.ID, Poll: polls[i%50]}}, f)
				})
			}
			if err != nil {
				stopped <- err
				return
			}
		}
	}()
	for tries := 0; s.traces.Load() > 0; tries++ {
		must(t, s.wipeBeside(t.Context(), c))
		if tries > 1000 {
			t.Fatal("no wipe succeeds")
		}
	}
	close(stop)
	must(t, <-stopped)
	if found := readable(t, path, erased); len(found) > 0 {
		t.Errorf("readable: %d, such as %.10q", len(found), found)
	}
	wantClean(t, s)
}

// What a process that died has left is wiped by the next one.
func TestTracesOutliveTheProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vote.db")
	s := openStore(t, Options{Path: path})
	erased, _ := crowd(t, s, 300)
	// A copy of the files is what a kill leaves.
	again := filepath.Join(t.TempDir(), "vote.db")
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(path + suffix)
		must(t, err)
		must(t, os.WriteFile(again+suffix, data, 0o600))
	}
	next, err := Open(t.Context(), Options{Path: again, AutoMigrate: true})
	must(t, err)
	if next.traces.Load() == 0 {
		t.Error("the next process knows of no traces")
	}
	if len(readable(t, again, erased)) == 0 {
		t.Fatal("nothing is readable before the wipe: this test cannot see")
	}
	must(t, next.Close())
	if found := readable(t, again, erased); len(found) > 0 {
		t.Errorf("readable: %.10q", found)
	}
}

// A reader of an old state keeps the log from being cut: then it is tried again.
func TestWipeWaitsForReaders(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vote.db")
	s := openStore(t, Options{Path: path})
	var conns [2]*conn
	for i := range conns {
		c, err := openConn(path)
		must(t, err)
		defer func() { must(t, c.Close()) }()
		conns[i] = c
	}
	erased, _ := crowd(t, s, 30)
	must(t, conns[0].snapshot(func() error {
		_, err := conns[0].exists(`SELECT 1 FROM users`)
		must(t, err)
		must(t, s.wipeBeside(t.Context(), conns[1]))
		if s.traces.Load() == 0 {
			t.Error("a wipe beside a reader of an old state claims to be done")
		}
		return nil
	}))
	must(t, s.wipeBeside(t.Context(), conns[1]))
	if s.traces.Load() != 0 || len(readable(t, path, erased)) > 0 {
		t.Errorf("%d traces after the reader left: %.10q", s.traces.Load(), readable(t, path, erased))
	}
}

func FuzzClearGap(f *testing.F) {
	path := filepath.Join(f.TempDir(), "vote.db")
	s, err := Open(f.Context(), Options{Path: path, AutoMigrate: true})
	must(f, err)
	addUsers(f, s, 60)
	s.withWriter(func(w *writer) {
		must(f, w.rows(`SELECT data FROM sqlite_dbpage WHERE pgno > 1 LIMIT 20`, func(r *sqlite.Stmt) error {
			f.Add(blob(r, 0))
			return nil
		}))
	})
	must(f, s.Close())
	f.Fuzz(func(t *testing.T, page []byte) {
		header := bytes.Clone(page[:min(len(page), 8)])
		changed := clearGap(page)
		if !bytes.Equal(header, page[:len(header)]) {
			t.Error("the header changed")
		}
		if again := clearGap(page); again {
			t.Errorf("changed %t, and again", changed)
		}
	})
}
