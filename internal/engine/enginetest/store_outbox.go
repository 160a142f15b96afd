package enginetest

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"vote/internal/domain"
)

func testOutbox(run func(string, func(*world))) {
	run("outbox: claims, leases, deletion", func(w *world) {
		u := w.user().ID
		polls := w.polls(u, 5)
		start := w.clock.Now()
		for _, p := range polls {
			w.clock.advance(time.Second)
			w.interact(skip(u, p.ID))
		}
		lag := func(rows int64, oldest time.Time) {
			w.t.Helper()
			n, since, err := w.OutboxLag(w.ctx)
			w.must(err)
			if n != rows || !since.Equal(oldest) {
				w.t.Fatalf("lag %d since %v, want %d since %v", n, since, rows, oldest)
			}
		}
		claim := func(limit int, lease time.Duration, want int) []domain.OutboxRow {
			w.t.Helper()
			rows, err := w.ClaimOutbox(w.ctx, limit, lease)
			w.must(err)
			if len(rows) != want {
				w.t.Fatalf("claimed %d rows, want %d", len(rows), want)
			}
			for i := 1; i < len(rows); i++ {
				if rows[i].ID <= rows[i-1].ID {
					w.t.Fatalf("row %d after %d", rows[i].ID, rows[i-1].ID)
				}
			}
			return rows
		}
		lag(6, start)
		claim(0, time.Minute, 0)
		first := claim(2, time.Minute, 2)
		if !first[0].At.Equal(start) || !first[1].At.Equal(start.Add(time.Second)) {
			w.t.Fatalf("claimed %v and %v, not the oldest", first[0].At, first[1].At)
		}
		second := claim(100, 2*time.Minute, 4)
		claim(100, time.Minute, 0)
		lag(6, start)

		w.must(w.DeleteOutbox(w.ctx, []int64{first[0].ID}))
		lag(5, start.Add(time.Second))
		w.clock.advance(time.Minute - time.Millisecond)
		claim(100, time.Minute, 0)
		w.clock.advance(time.Millisecond) // the first leases end
		again := claim(100, time.Minute, 1)
		w.equal("claimed again", again[0], first[1])
		w.clock.advance(time.Minute) // all leases end
		rest := claim(100, time.Minute, 5)
		w.equal("claimed again", rest, append(again, second...))
		var ids []int64
		for _, r := range append(first, second...) {
			w.must(w.CountHourly(w.ctx, w.processed(r)))
			ids = append(ids, r.ID)
		}
		w.must(w.DeleteOutbox(w.ctx, ids))
		w.must(w.DeleteOutbox(w.ctx, ids)) // gone already
		w.must(w.DeleteOutbox(w.ctx, nil))
		lag(0, time.Time{})
		w.clock.advance(time.Hour)
		claim(100, time.Minute, 0)
		// An id is never used twice, or an event would be taken for a duplicate.
		w.restart()
		w.poll(u)
		if next := claim(100, time.Minute, 1); next[0].ID <= ids[len(ids)-1] {
			w.t.Fatalf("row %d after row %d", next[0].ID, ids[len(ids)-1])
		}
	})
	run("outbox: what was claimed when the process died is handed out again", func(w *world) {
		w.poll(w.user().ID)
		rows, err := w.ClaimOutbox(w.ctx, 10, time.Minute)
		w.must(err)
		w.restart()
		w.clock.advance(time.Minute)
		again, err := w.ClaimOutbox(w.ctx, 10, time.Minute)
		w.must(err)
		w.equal("claimed", again, rows)
	})
	run("outbox: claimers beside writers", func(w *world) {
		const writers, batches = 6, 30
		u := w.user().ID
		users := w.users(writers)
		polls := w.polls(u, batches)
		w.drainOutbox()
		var mu sync.Mutex
		held := map[int64]bool{}        // by a claimer whose lease lasts
		told := map[domain.UserID]int{} // seen events by user
		ctx, stop := context.WithCancel(w.ctx)
		var claimers, writing sync.WaitGroup
		for i := range 4 {
			claimers.Go(func() {
				for last := false; ; {
					rows, err := w.instance(i).ClaimOutbox(w.ctx, 3, time.Hour)
					if err != nil {
						w.t.Error(err)
						return
					}
					if w.t.Failed() || (len(rows) == 0 && last) {
						return
					}
					// Rows may be left when the writers have ended: look once more.
					last = ctx.Err() != nil
					ids := make([]int64, 0, len(rows))
					mu.Lock()
					for _, r := range rows {
						if err := w.instance(i).CountHourly(w.ctx, w.processed(r)); err != nil {
							w.t.Error(err)
						}
						if held[r.ID] {
							w.t.Errorf("row %d is held twice", r.ID)
						}
						held[r.ID] = true
						ids = append(ids, r.ID)
						var c domain.Changes
						if err := c.UnmarshalBinary(r.Changes); err != nil {
							w.t.Error(err)
						}
						for _, s := range c.Seen {
							told[s.UserID] += len(s.Positions)
						}
					}
					mu.Unlock()
					if err := w.instance(i).DeleteOutbox(w.ctx, ids); err != nil {
						w.t.Error(err)
						return
					}
				}
			})
		}
		for i, user := range users {
			writing.Go(func() {
				for _, p := range polls {
					if _, err := w.interactOn(w.instance(i), skip(user, p.ID)); err != nil {
						w.t.Error(err)
						return
					}
				}
			})
		}
		writing.Wait()
		stop()
		claimers.Wait()
		for _, user := range users {
			if told[user] != batches {
				w.t.Errorf("user %d: %d changes came out, want %d", user, told[user], batches)
			}
		}
		if n, _, err := w.OutboxLag(w.ctx); err != nil || n != 0 {
			w.t.Errorf("%d rows are left, %v", n, err)
		}
	})
	run("dead letters", func(w *world) {
		letter := func(queue, id string) domain.DeadLetter {
			return domain.DeadLetter{
				Queue: queue, Reason: "broken \"things\"", At: w.clock.Now(),
				Event: domain.Event{
					SpecVersion: "1.0", ID: id, Source: domain.EventSource, Type: domain.EventVoteCast, Time: w.clock.Now(),
					Subject: "poll/7", DataContentType: "application/json", Data: json.RawMessage(`{"pollId":7,"text":"é<>"}`),
				},
			}
		}
		want := []domain.DeadLetter{letter("a", "1-0"), letter("b", "1-0"), letter("a", "1-1")}
		for _, d := range want {
			w.must(w.AddDeadLetter(w.ctx, d))
		}
		other := letter("a", "1-0")
		other.Reason = "another"
		w.must(w.AddDeadLetter(w.ctx, other)) // the same event of the same queue
		get := func(queue string, after int64, limit int) []domain.DeadLetter {
			w.t.Helper()
			got, err := w.DeadLetters(w.ctx, queue, after, limit)
			w.must(err)
			return got
		}
		got := get("", 0, 10)
		if len(got) != len(want) {
			w.t.Fatalf("%d dead letters, want %d", len(got), len(want))
		}
		for i := range got {
			if i > 0 && got[i].ID <= got[i-1].ID {
				w.t.Fatalf("id %d after %d", got[i].ID, got[i-1].ID)
			}
			want[i].ID = got[i].ID
		}
		w.equal("all", got, want)
		w.equal("one queue", get("a", 0, 10), []domain.DeadLetter{want[0], want[2]})
		w.equal("a page", get("", 0, 2), want[:2])
		w.equal("the next", get("", want[1].ID, 2), want[2:])
		w.equal("no such queue", get("c", 0, 10), []domain.DeadLetter(nil))
		w.equal("none", get("", 0, 0), []domain.DeadLetter(nil))
		report, err := w.Check(w.ctx, w.rules)
		w.must(err)
		if report.DeadLetters != 3 {
			w.t.Fatalf("the check counted %d dead letters", report.DeadLetters)
		}
	})
}
