package enginetest

import (
	"sync"
	"time"

	"vote/internal/domain"
)

func (w *world) told(user domain.UserID) []domain.Notification {
	w.t.Helper()
	list, err := w.Notifications(w.ctx, user, 0, 10_000)
	w.must(err)
	return list
}

// reach makes n others vote on a poll.
func (w *world) reach(poll domain.PollID, n int) {
	w.t.Helper()
	var batch []domain.Interaction
	for _, u := range w.users(n) {
		batch = append(batch, vote(u, poll, 0))
	}
	w.interact(batch...)
}

func testNotifications(run func(string, func(*world))) {
	run("notifications: each milestone once, those jumped over too", func(w *world) {
		author, other := w.user().ID, w.user().ID
		p := w.poll(author)
		told := func(votes ...int64) []domain.Notification {
			w.t.Helper()
			list := w.told(author)
			if len(list) != len(votes) {
				w.t.Fatalf("told %+v, want %v", list, votes)
			}
			for i, n := range list {
				if n.Votes != votes[i] || n.Type != domain.NotificationMilestone || n.Poll != p.ID || n.Title != p.Title ||
					i > 0 && n.ID >= list[i-1].ID {
					w.t.Fatalf("told %+v, want %v", list, votes)
				}
			}
			return list
		}
		w.must(w.AddMilestones(w.ctx, []domain.Milestone{{Poll: p.ID, Votes: 9}}))
		told()
		w.reach(p.ID, 120)
		for range 3 {
			w.must(w.AddMilestones(w.ctx, []domain.Milestone{{Poll: p.ID, Votes: 12}, {Poll: p.ID, Votes: 11}, {Poll: 7, Votes: 1000}}))
			told(10)
		}
		at := w.clock.Now()
		w.clock.advance(time.Hour)
		w.restart()
		w.must(w.AddMilestones(w.ctx, []domain.Milestone{{Poll: p.ID, Votes: 120}}))
		w.must(w.AddMilestones(w.ctx, []domain.Milestone{{Poll: p.ID, Votes: 10}})) // late
		list := told(100, 10)
		if !list[1].At.Equal(at) || !list[0].At.Equal(w.clock.Now()) {
			w.t.Fatalf("times of %+v", list)
		}
		jumped := w.poll(other)
		w.reach(jumped.ID, 130)
		w.must(w.AddMilestones(w.ctx, []domain.Milestone{{Poll: jumped.ID, Votes: 130}}))
		if list := w.told(other); len(list) != 2 || list[0].Votes != 100 || list[1].Votes != 10 {
			w.t.Fatalf("told %+v", list)
		}
		page, err := w.Notifications(w.ctx, author, list[0].ID, 5)
		w.must(err)
		w.equal("a page", page, list[1:])
		page, err = w.Notifications(w.ctx, author, 0, 1)
		w.must(err)
		w.equal("the newest", page, list[:1])
		page, err = w.Notifications(w.ctx, author, 0, 0)
		w.must(err)
		w.equal("none", page, []domain.Notification{})
	})
	run("notifications: none of what is hidden or deleted", func(w *world) {
		author := w.user().ID
		p := w.polls(author, 3)
		w.reach(p[0].ID, 10)
		w.reach(p[1].ID, 10)
		reached := []domain.Milestone{{Poll: p[0].ID, Votes: 10}, {Poll: p[1].ID, Votes: 10}, {Poll: p[2].ID, Votes: 10}}
		_, err := w.SetPollState(w.ctx, p[0].ID, domain.PollHidden)
		w.must(err)
		_, err = w.SetPollState(w.ctx, p[1].ID, domain.PollClosed)
		w.must(err)
		_, err = w.DeletePoll(w.ctx, author, p[2].ID)
		w.must(err)
		w.must(w.AddMilestones(w.ctx, reached))
		if list := w.told(author); len(list) != 1 || list[0].Poll != p[1].ID {
			w.t.Fatalf("told %+v", list)
		}
		// Seen again, it is told of; hidden afterwards, its title is not.
		_, err = w.SetPollState(w.ctx, p[0].ID, domain.PollOpen)
		w.must(err)
		w.must(w.AddMilestones(w.ctx, reached[:1]))
		_, err = w.SetPollState(w.ctx, p[0].ID, domain.PollHidden)
		w.must(err)
		if list := w.told(author); len(list) != 2 || list[0].Poll != p[0].ID || list[0].Title != "" || list[1].Title == "" {
			w.t.Fatalf("told %+v", list)
		}
	})
	run("notifications: consumers that race tell once", func(w *world) {
		author := w.user().ID
		p := w.poll(author)
		w.reach(p.ID, 100)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for n := int64(1); n <= 100; n++ {
					if err := w.instance(i).AddMilestones(w.ctx, []domain.Milestone{{Poll: p.ID, Votes: n}}); err != nil {
						w.t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if list := w.told(author); len(list) != 2 {
			w.t.Fatalf("told %+v", list)
		}
	})
	run("notifications: the newest are kept, and what was told is not told again", func(w *world) {
		author := w.user().ID
		voters := w.users(10)
		w.rules.DailyVotes = 0
		var reached []domain.Milestone
		var batch []domain.Interaction
		for _, p := range w.polls(author, domain.MaxNotifications+20) {
			reached = append(reached, domain.Milestone{Poll: p.ID, Votes: 10})
			for _, v := range voters {
				batch = append(batch, vote(v, p.ID, 0))
			}
		}
		w.interact(batch...)
		w.must(w.AddMilestones(w.ctx, reached[:900]))
		w.must(w.AddMilestones(w.ctx, reached))
		w.must(w.AddMilestones(w.ctx, reached))
		list := w.told(author)
		if len(list) != domain.MaxNotifications || list[0].Poll != reached[len(reached)-1].Poll || list[len(list)-1].Poll != reached[20].Poll {
			w.t.Fatalf("%d kept", len(list))
		}
	})
}
