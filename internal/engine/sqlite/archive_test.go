package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"zombiezen.com/go/sqlite"

	"vote/internal/domain"
)

// archiveWorld makes a store with votes and skips on polls of two past months.
func archiveWorld(t *testing.T) (path string, clock *handClock, month domain.Month) {
	t.Helper()
	path, clock = filepath.Join(t.TempDir(), "vote.db"), newHandClock()
	month = domain.MonthOf(clock.Now()) - 4
	s, err := Open(t.Context(), Options{Path: path, AutoMigrate: true, Clock: clock})
	must(t, err)
	users := addUsers(t, s, 3)
	batch := domain.Import{}
	for i := range 40 {
		batch.Polls = append(batch.Polls, domain.ImportPoll{
			Author: users[0], Title: fmt.Sprintf("Poll %d", i), Options: []string{"a", "b"}, Tags: []string{"x"},
			At: month.Start().Add(time.Duration(i) * 36 * time.Hour), // the last ones in the next month
		})
	}
	made, err := s.Import(t.Context(), batch)
	must(t, err)
	batch = domain.Import{}
	for i, p := range made.Polls {
		for j, u := range users {
			at := clock.Now().Add(-time.Duration(i) * time.Hour) // of today and days before
			batch.Interactions = append(batch.Interactions, domain.ImportInteraction{
				Interaction: domain.Interaction{User: u, Poll: p, Option: (i + j) % 2, Skip: (i+j)%5 == 0}, At: at,
			})
		}
	}
	_, err = s.Import(t.Context(), batch)
	must(t, err)
	must(t, s.Close())
	return path, clock, month
}

// everyRow returns every vote and skip of the month, wherever it is: live, or in
// the archive when the store counts it as moved.
func everyRow(t *testing.T, s *Store, month domain.Month) map[string]int {
	t.Helper()
	rows := make(map[string]int)
	count := func(r *sqlite.Stmt) error { //nolint:unparam // as visitors are
		rows[r.ColumnText(0)]++
		return nil
	}
	a := s.archiving(month)
	const query = `SELECT 'vote ' || user_id || ' ' || poll_id || ' ' || option_index || ' ' || position || ' ' || created_at FROM %[1]s.votes
			WHERE poll_id >= ?1 AND poll_id < ?2
		UNION ALL SELECT 'skip ' || user_id || ' ' || poll_id || ' ' || position || ' ' || created_at FROM %[1]s.skips
			WHERE poll_id >= ?1 AND poll_id < ?2`
	must(t, s.read(t.Context(), opCheck, func(c *conn) error {
		return c.rows(fmt.Sprintf(query, "main"), count, int64(a.first), int64(a.end))
	}))
	if _, moved, err := a.state(t.Context()); err == nil && moved {
		must(t, a.attached(t.Context(), a.file, func(c *conn) error {
			return c.rows(fmt.Sprintf(query, "archive"), count, int64(a.first), int64(a.end))
		}))
	}
	return rows
}

// TestArchiveDiesBetweenSteps ends the process, as far as the files can tell,
// after each step, and with leavings of one.
func TestArchiveDiesBetweenSteps(t *testing.T) {
	t.Parallel()
	steps := len((&archiving{}).steps())
	for done := range steps + 1 {
		for _, leavings := range []bool{false, true} {
			t.Run(fmt.Sprint(done, leavings), func(t *testing.T) {
				t.Parallel()
				path, clock, month := archiveWorld(t)
				s, err := Open(t.Context(), Options{Path: path, Clock: clock})
				must(t, err)
				want := everyRow(t, s, month)
				if len(want) < 50 {
					t.Fatalf("only %d rows", len(want))
				}
				a := s.archiving(month)
				for _, step := range a.steps()[:done] {
					must(t, step(t.Context()))
				}
				must(t, s.Close())
				if leavings {
					must(t, os.WriteFile(a.file+".partial", []byte("half"), 0o600))
					must(t, os.WriteFile(a.file+".partial-journal", []byte("half"), 0o600))
				}

				s = openStore(t, Options{Path: path, Clock: clock})
				wantClean(t, s)
				if diff := cmp.Diff(want, everyRow(t, s, month)); diff != "" {
					t.Fatalf("after the death (-want +got):\n%s", diff)
				}
				got, err := s.ArchiveMonth(t.Context(), month)
				must(t, err)
				if got.Polls != 20 || int(got.Votes+got.Skips) != len(want) || got.Place != a.file {
					t.Errorf("archived %+v, want %d rows", got, len(want))
				}
				wantClean(t, s)
				if diff := cmp.Diff(want, everyRow(t, s, month)); diff != "" {
					t.Fatalf("when done (-want +got):\n%s", diff)
				}
				var left int64
				s.withWriter(func(w *writer) {
					must(t, w.row(`SELECT count(*) FROM votes WHERE poll_id < ?`, func(r *sqlite.Stmt) error {
						left = r.ColumnInt64(0)
						return nil
					}, int64(a.end)))
				})
				if info, err := os.Stat(a.file); left != 0 || err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%d votes are left; the file: %v, %v", left, info, err)
				}
			})
		}
	}
}

// TestArchiveRefusesAForeignFile finds something else under the archive's name.
func TestArchiveRefusesAForeignFile(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, a *archiving){
		"no database": func(t *testing.T, a *archiving) {
			must(t, os.WriteFile(a.file, []byte("something else entirely, and long enough to be read as a header of a file"), 0o600))
		},
		"empty": func(t *testing.T, a *archiving) { must(t, os.WriteFile(a.file, nil, 0o600)) },
		"a vote is missing": func(t *testing.T, a *archiving) {
			must(t, a.copy(t.Context()))
			must(t, a.attached(t.Context(), a.file, func(c *conn) error {
				return c.run(`DELETE FROM archive.votes WHERE poll_id = (SELECT max(poll_id) FROM archive.votes)`)
			}))
		},
		"a vote is another": func(t *testing.T, a *archiving) {
			must(t, a.copy(t.Context()))
			must(t, a.attached(t.Context(), a.file, func(c *conn) error {
				return c.run(`UPDATE archive.votes SET option_index = 1 - option_index WHERE user_id = 1`)
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, clock, month := archiveWorld(t)
			s := openStore(t, Options{Path: path, Clock: clock})
			want := everyRow(t, s, month)
			a := s.archiving(month)
			must(t, a.close(t.Context()))
			spoil(t, a)
			_, err := s.ArchiveMonth(t.Context(), month)
			wantCode(t, err, domain.CodeConflict)
			if diff := cmp.Diff(want, everyRow(t, s, month)); diff != "" {
				t.Fatalf("rows (-want +got):\n%s", diff)
			}
			wantClean(t, s)
			must(t, os.Remove(a.file))
			_, err = s.ArchiveMonth(t.Context(), month)
			must(t, err)
			if diff := cmp.Diff(want, everyRow(t, s, month)); diff != "" {
				t.Fatalf("rows (-want +got):\n%s", diff)
			}
		})
	}
}

// TestArchiveInterrupted ends the context in every step.
func TestArchiveInterrupted(t *testing.T) {
	t.Parallel()
	path, clock, month := archiveWorld(t)
	s := openStore(t, Options{Path: path, Clock: clock})
	want := everyRow(t, s, month)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for i, step := range s.archiving(month).steps() {
		if err := step(gone); domain.CodeOf(err) != domain.CodeUnavailable {
			t.Errorf("step %d: %v", i, err)
		}
		must(t, step(t.Context()))
		wantClean(t, s)
	}
	if diff := cmp.Diff(want, everyRow(t, s, month)); diff != "" {
		t.Fatalf("rows (-want +got):\n%s", diff)
	}
}
