//go:build integration

package postgres

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

// fixedClock always tells the same time.
type fixedClock time.Time

func (c fixedClock) Now() time.Time { return time.Time(c) }

// archiveWorld makes a store with votes and skips on polls of two past months.
func archiveWorld(t *testing.T) (s *Store, month domain.Month) {
	t.Helper()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	month = domain.MonthOf(now) - 4
	s = openStore(t, Options{Clock: fixedClock(now)})
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
			at := now.Add(-time.Duration(i) * time.Hour) // of today and days before
			batch.Interactions = append(batch.Interactions, domain.ImportInteraction{
				Interaction: domain.Interaction{User: u, Poll: p, Option: (i + j) % 2, Skip: (i+j)%5 == 0}, At: at,
			})
		}
	}
	_, err = s.Import(t.Context(), batch)
	must(t, err)
	return s, month
}

// everyRow returns every vote and skip of the month, wherever it is: live, or in
// the archive when the store counts it as moved.
func everyRow(t *testing.T, s *Store, month domain.Month) map[string]int {
	t.Helper()
	rows := make(map[string]int)
	a := s.archiving(month)
	must(t, s.read(t.Context(), opCheck, func(ctx context.Context, c *conn) error {
		moved, err := c.exists(ctx, `SELECT 1 FROM archived_months WHERE month = $1 AND moved_at IS NOT NULL`, month.String())
		if err != nil {
			return err
		}
		tables := []string{"votes", "skips"}
		if moved {
			tables = append(tables, archiveSchema+"."+partition("votes", month), archiveSchema+"."+partition("skips", month))
		}
		for i, table := range tables {
			option := "option_index"
			if i%2 == 1 {
				option = "-1"
			}
			err := c.rows(ctx, fmt.Sprintf(`SELECT concat_ws(' ', user_id, poll_id, created_at, %s) FROM %s
				WHERE poll_id >= $1 AND poll_id < $2`, option, table), func(r pgx.Rows) error {
				var row string
				err := r.Scan(&row)
				rows[row]++
				return err
			}, int64(a.first), int64(a.end))
			if err != nil {
				return err
			}
		}
		return nil
	}))
	return rows
}

// TestArchiveDiesBetweenSteps stops after each step, and with another process that
// archives the same month at the same time.
func TestArchiveDiesBetweenSteps(t *testing.T) {
	t.Parallel()
	for done := range len((&archiving{}).steps()) + 1 {
		t.Run(fmt.Sprint(done), func(t *testing.T) {
			t.Parallel()
			s, month := archiveWorld(t)
			want := everyRow(t, s, month)
			if len(want) < 50 {
				t.Fatalf("only %d rows", len(want))
			}
			for _, step := range s.archiving(month).steps()[:done] {
				must(t, step(t.Context()))
			}
			wantClean(t, s)
			if diff := cmp.Diff(want, everyRow(t, s, month)); diff != "" {
				t.Fatalf("after the death (-want +got):\n%s", diff)
			}
			var both sync.WaitGroup
			var got [2]domain.ArchivedMonth
			for i := range got {
				both.Go(func() {
					var err error
					if got[i], err = s.ArchiveMonth(context.Background(), month); err != nil {
						t.Error(err)
					}
				})
			}
			both.Wait()
			if got[0] != got[1] || got[0].Polls != 20 || int(got[0].Votes+got[0].Skips) != len(want) {
				t.Errorf("archived %+v and %+v, want %d rows", got[0], got[1], len(want))
			}
			wantClean(t, s)
			if diff := cmp.Diff(want, everyRow(t, s, month)); diff != "" {
				t.Fatalf("when done (-want +got):\n%s", diff)
			}
			var left int
			must(t, s.pool.QueryRow(t.Context(), `SELECT count(*) FROM votes WHERE poll_id < $1`, int64(s.archiving(month).end)).Scan(&left))
			if left != 0 {
				t.Errorf("%d votes are left", left)
			}
		})
	}
}

// TestArchiveRefusesAForeignTable finds something else under the archive's name.
func TestArchiveRefusesAForeignTable(t *testing.T) {
	t.Parallel()
	s, month := archiveWorld(t)
	want := everyRow(t, s, month)
	foreign := archiveSchema + "." + partition("skips", month)
	_, err := s.pool.Exec(t.Context(), `CREATE TABLE `+foreign+` (x integer)`)
	must(t, err)
	if _, err := s.ArchiveMonth(t.Context(), month); domain.CodeOf(err) != domain.CodeConflict {
		t.Fatalf("error %v, want a conflict", err)
	}
	if diff := cmp.Diff(want, everyRow(t, s, month)); diff != "" {
		t.Fatalf("rows (-want +got):\n%s", diff)
	}
	wantClean(t, s)
	_, err = s.pool.Exec(t.Context(), `DROP TABLE `+foreign)
	must(t, err)
	_, err = s.ArchiveMonth(t.Context(), month)
	must(t, err)
	if diff := cmp.Diff(want, everyRow(t, s, month)); diff != "" {
		t.Fatalf("rows (-want +got):\n%s", diff)
	}
}

// TestArchiveBesideVotes closes a month's polls while everybody votes on them.
func TestArchiveBesideVotes(t *testing.T) {
	t.Parallel()
	s, month := archiveWorld(t)
	users := make([]domain.ImportUser, 40)
	for i := range users {
		key := fmt.Sprint("voter", i)
		users[i].NewUser = domain.NewUser{Username: key, UsernameKey: key, Email: key, EmailKey: key, PasswordHash: "x"}
	}
	made, err := s.Import(t.Context(), domain.Import{Users: users})
	must(t, err)
	var polls []domain.PollID
	_, err = s.LoadCatalogue(t.Context(), func(e domain.Entry) error { polls = append(polls, e.Poll); return nil })
	must(t, err)
	var voters sync.WaitGroup
	for _, u := range made.Users {
		voters.Go(func() {
			for _, p := range polls {
				batch := []domain.Interaction{{User: u, Poll: p}}
				_, err := s.Interact(context.Background(), batch, func(f []domain.Fact) []domain.Verdict {
					return domain.Rules{}.Judge(batch, f)
				})
				if code := domain.CodeOf(err); code != "" && code != domain.CodeConflict {
					t.Error(err)
				}
			}
		})
	}
	_, err = s.ArchiveMonth(t.Context(), month)
	voters.Wait()
	if domain.CodeOf(err) == domain.CodeUnavailable { // votes were in the way of it
		_, err = s.ArchiveMonth(t.Context(), month)
	}
	must(t, err)
	wantClean(t, s)
}
