package enginetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"vote/internal/domain"
)

func testPolls(run func(string, func(*world))) {
	run("polls: publishing", func(w *world) {
		u := w.user()
		w.drainOutbox()
		now := w.clock.Now()
		batch := []domain.NewPoll{
			{Author: u.ID, Title: `First "quoted" <b> 東京`, Options: []string{"a\\b", "ça va", "日本"}, Tags: []string{"x", "東京", "a_b-c"}},
			{Author: u.ID, Title: "Second", Options: []string{"1", "2"}, Tags: []string{"y"}},
		}
		for i, p := range w.publish(batch...) {
			n := i + 1
			wantPoll := domain.Poll{
				ID: p.Poll.ID, Position: domain.Position(n), Author: u.ID, AuthorName: u.Username, Title: batch[i].Title,
				Options: batch[i].Options, Tags: batch[i].Tags, CreatedAt: now,
			}
			want := domain.Publication{
				Verdict: domain.PublicationVerdict{RepeatsIndex: -1},
				Poll:    wantPoll,
				Entry: domain.Entry{
					Position: wantPoll.Position, Poll: p.Poll.ID, Revision: p.Entry.Revision, Tags: batch[i].Tags,
				},
				At: now,
			}
			w.equal("publication", p, want)
			if id := domain.PollIDAt(now) + domain.PollID(i); p.Poll.ID != id {
				w.t.Fatalf("id %d, want %d", p.Poll.ID, id)
			}
			got, err := w.Poll(w.ctx, p.Poll.ID)
			w.must(err)
			w.equal("by id", got, wantPoll)
			w.equal("counts", w.counts(p.Poll.ID), domain.Counts{
				Poll: p.Poll.ID, Votes: make([]int64, len(batch[i].Options)), UpdatedAt: now,
			})
			w.equal("catalogue", w.catalogue()[i], want.Entry)
		}
		at, err := w.PollsAt(w.ctx, []domain.Position{2, 7, 1, 0})
		w.must(err)
		if len(at) != 2 {
			w.t.Fatalf("%d polls at two positions that exist", len(at))
		}
		_, err = w.Poll(w.ctx, at[0].ID+1000)
		w.wantCode(err, domain.CodeNotFound)
		totals, err := w.UserTotals(w.ctx, u.ID)
		w.must(err)
		w.equal("totals", totals, domain.UserTotals{Polls: 2})
		entries := w.catalogue()
		w.equal("outbox", w.drainOutbox(), []domain.Changes{{At: now, Published: []domain.PollPublished{
			{PollID: entries[0].Poll, Position: 1}, {PollID: entries[1].Poll, Position: 2},
		}}})

		published, err := w.Publish(w.ctx, nil, func(f []domain.PublicationFact) []domain.PublicationVerdict {
			return make([]domain.PublicationVerdict, len(f))
		})
		w.must(err)
		if len(published) != 0 {
			w.t.Fatalf("an empty batch published %+v", published)
		}
	})
	run("polls: ids rise whatever the clock does", func(w *world) {
		u := w.user().ID
		last := w.poll(u)
		for _, d := range []time.Duration{0, time.Millisecond, -time.Hour, -24 * time.Hour, 2 * time.Hour, 48 * time.Hour} {
			w.clock.advance(d)
			p := w.poll(u)
			if p.ID <= last.ID || p.Position != last.Position+1 {
				w.t.Fatalf("poll %d at %d after poll %d at %d", p.ID, p.Position, last.ID, last.Position)
			}
			if !p.CreatedAt.Equal(w.clock.Now()) {
				w.t.Fatalf("created %v at %v", p.CreatedAt, w.clock.Now())
			}
			last = p
		}
	})
	run("polls: authors that do not exist", func(w *world) {
		u := w.user().ID
		good, bad := w.newPoll(u), w.newPoll(u+1000)
		published, err := w.publishOn(w.Store, bad, good, bad)
		w.must(err)
		for i, want := range []domain.Code{domain.CodeUnauthorized, "", domain.CodeUnauthorized} {
			if got := published[i].Verdict.Code; got != want {
				w.t.Fatalf("poll %d: code %q, want %q", i, got, want)
			}
		}
		if entries := w.catalogue(); len(entries) != 1 || entries[0].Poll != published[1].Poll.ID {
			w.t.Fatalf("catalogue %+v", entries)
		}
	})
	run("polls: the daily limit of polls", func(w *world) {
		w.rules.DailyPolls = 2
		u, v := w.user().ID, w.user().ID
		codes := func(want ...domain.Code) {
			w.t.Helper()
			published, err := w.publishOn(w.Store, w.newPoll(u), w.newPoll(v), w.newPoll(u), w.newPoll(u))
			w.must(err)
			for i, p := range published {
				if p.Verdict.Code != want[i] {
					w.t.Fatalf("poll %d: %q, want %q", i, p.Verdict.Code, want[i])
				}
			}
		}
		const limit = domain.CodeDailyPollLimit
		codes("", "", "", limit)
		codes(limit, "", limit, limit)
		entries := w.catalogue()
		_, err := w.DeletePoll(w.ctx, u, entries[0].Poll) // frees nothing
		w.must(err)
		codes(limit, limit, limit, limit)
		w.clock.advance(12 * time.Hour)
		codes("", "", "", limit)
	})
	run("polls: idempotency keys", func(w *world) {
		u, v := w.user().ID, w.user().ID
		keyed := func(author domain.UserID, key, body string) domain.NewPoll {
			p := w.newPoll(author)
			p.IdempotencyKey, p.Fingerprint = key, sha256.Sum256([]byte(body))
			return p
		}
		first := w.publish(keyed(u, "k", "body"))[0]
		if first.Verdict.Repeats != 0 {
			w.t.Fatalf("first verdict %+v", first.Verdict)
		}
		w.drainOutbox()
		w.clock.advance(time.Hour)
		published, err := w.publishOn(w.Store,
			keyed(u, "k", "body"), keyed(u, "k", "another"), keyed(v, "k", "body"),
			keyed(u, "n", "1"), keyed(u, "n", "1"), keyed(u, "n", "2"), keyed(u, "", "1"), keyed(u, "", "1"))
		w.must(err)
		verdict := func(i int) domain.PublicationVerdict { return published[i].Verdict }
		if got := verdict(0).Repeats; got != first.Poll.ID {
			w.t.Fatalf("repeats %d, want %d", got, first.Poll.ID)
		}
		w.equal("the repeated poll", published[0].Poll, first.Poll)
		w.equal("the repeated entry", published[0].Entry, first.Entry)
		for i, want := range map[int]domain.Code{
			1: domain.CodeIdempotencyMismatch, 2: "", 3: "", 4: "", 5: domain.CodeIdempotencyMismatch, 6: "", 7: "",
		} {
			if got := verdict(i).Code; got != want {
				w.t.Fatalf("member %d: %q, want %q", i, got, want)
			}
		}
		if verdict(4).RepeatsIndex != 3 || verdict(3).RepeatsIndex != -1 {
			w.t.Fatalf("verdicts %+v and %+v", verdict(3), verdict(4))
		}
		w.equal("the poll of the same batch", published[4].Poll, published[3].Poll)
		ids := map[domain.PollID]bool{first.Poll.ID: true}
		for _, i := range []int{2, 3, 6, 7} {
			ids[published[i].Poll.ID] = true
		}
		if len(ids) != 5 || len(w.catalogue()) != 5 {
			w.t.Fatalf("%d different polls, %d stored, want 5", len(ids), len(w.catalogue()))
		}
		if changes := w.drainOutbox(); len(changes) != 1 || len(changes[0].Published) != 4 {
			w.t.Fatalf("outbox %+v", changes)
		}

		// A repetition alone changes nothing, and tells how the poll is now.
		w.interact(vote(v, first.Poll.ID, 1))
		w.drainOutbox()
		_, err = w.SetPollState(w.ctx, first.Poll.ID, domain.PollClosed)
		w.must(err)
		again := w.publish(keyed(u, "k", "body"))[0]
		if again.Poll.State != domain.PollClosed || again.Entry.Votes != 1 {
			w.t.Fatalf("repeated %+v, %+v", again.Poll, again.Entry)
		}
		w.equal("outbox of a repetition", w.drainOutbox(), []domain.Changes{})

		// Of a deleted poll little is left.
		deleted := published[3].Poll
		entry, err := w.DeletePoll(w.ctx, u, deleted.ID)
		w.must(err)
		again = w.publish(keyed(u, "n", "1"))[0]
		w.equal("a deleted poll", again.Poll, domain.Poll{
			ID: deleted.ID, CreatedAt: deleted.CreatedAt, State: domain.PollDeleted,
		})
		w.equal("a deleted entry", again.Entry, entry)

		// After its life a key is free again.
		w.clock.advance(domain.IdempotencyLife - time.Hour - time.Millisecond)
		if again := w.publish(keyed(u, "k", "body"))[0]; again.Verdict.Repeats != first.Poll.ID {
			w.t.Fatalf("shortly before its end: %+v", again.Verdict)
		}
		w.clock.advance(time.Millisecond)
		other := w.publish(keyed(u, "k", "another"))[0]
		if other.Verdict.Repeats != 0 || other.Poll.ID == first.Poll.ID {
			w.t.Fatalf("after its end: %+v", other.Verdict)
		}
		if again := w.publish(keyed(u, "k", "another"))[0]; again.Verdict.Repeats != other.Poll.ID {
			w.t.Fatalf("the key used again: %+v", again.Verdict)
		}

		n, err := w.PruneIdempotencyKeys(w.ctx, w.clock.Now())
		w.must(err)
		if n != 2 { // of u and v, made an hour after the first
			w.t.Fatalf("pruned %d keys", n)
		}
		n, err = w.PruneIdempotencyKeys(w.ctx, w.clock.Now().Add(time.Millisecond))
		w.must(err)
		if n != 1 {
			w.t.Fatalf("pruned %d keys", n)
		}
		if again := w.publish(keyed(u, "k", "another"))[0]; again.Verdict.Repeats != 0 {
			w.t.Fatal("a pruned key is remembered")
		}
	})
	run("polls: deleting", func(w *world) {
		author, other := w.user().ID, w.user().ID
		p := w.publish(w.newPoll(author), w.newPoll(author), w.newPoll(author), w.newPoll(author))
		id := func(i int) domain.PollID { return p[i].Poll.ID }
		w.interact(vote(other, id(1), 0), skip(other, id(0)))
		_, err := w.SetPollState(w.ctx, id(2), domain.PollHidden)
		w.must(err)
		for _, test := range []struct {
			by   domain.UserID
			poll domain.PollID
			want domain.Code
		}{
			{author, id(3) + 1000, domain.CodeNotFound},
			{author, id(2), domain.CodeNotFound},
			{other, id(2), domain.CodeNotFound},
			{other, id(0), domain.CodeForbidden},
			{0, id(0), domain.CodeForbidden},
			{other, id(1), domain.CodeForbidden},
			{author, id(1), domain.CodeHasVotes},
		} {
			_, err := w.DeletePoll(w.ctx, test.by, test.poll)
			w.wantCode(err, test.want)
		}
		before := w.catalogue()
		w.clock.advance(time.Minute)
		entry, err := w.DeletePoll(w.ctx, author, id(0)) // skipped, but not voted on
		w.must(err)
		w.equal("entry", entry, domain.Entry{
			Position: 1, Poll: id(0), Revision: before[2].Revision + 1, State: domain.PollDeleted, Skips: 1,
		})
		w.equal("catalogue", w.catalogue()[0], entry)
		w.equal("the others", w.catalogue()[1:], before[1:])
		_, err = w.DeletePoll(w.ctx, author, id(0))
		w.wantCode(err, domain.CodeNotFound)
		_, err = w.Poll(w.ctx, id(0))
		w.wantCode(err, domain.CodeNotFound)
		at, err := w.PollsAt(w.ctx, []domain.Position{1, 2})
		w.must(err)
		if len(at) != 1 || at[0].ID != id(1) {
			w.t.Fatalf("polls %+v", at)
		}
		counts, err := w.Counts(w.ctx, []domain.PollID{id(0), id(1)})
		w.must(err)
		if len(counts) != 1 || counts[0].Poll != id(1) {
			w.t.Fatalf("counts %+v", counts)
		}
		_, err = w.SetPollState(w.ctx, id(3), domain.PollClosed)
		w.must(err)
		_, err = w.DeletePoll(w.ctx, author, id(3))
		w.must(err)
		totals, err := w.UserTotals(w.ctx, author)
		w.must(err)
		if totals.Polls != 2 {
			w.t.Fatalf("%d polls left, want 2", totals.Polls)
		}
		if next := w.poll(author); next.Position != 5 {
			w.t.Fatalf("position %d after a deletion", next.Position)
		}
	})
	run("polls: states", func(w *world) {
		author := w.user().ID
		p := w.publish(w.newPoll(author), w.newPoll(author))
		id := p[0].Poll.ID
		for _, s := range []domain.PollState{domain.PollOpen, domain.PollClosed, domain.PollHidden, domain.PollDeleted, 9} {
			_, err := w.SetPollState(w.ctx, id+1000, s)
			w.wantCode(err, domain.CodeNotFound)
		}
		_, err := w.SetPollState(w.ctx, id, domain.PollDeleted)
		w.wantCode(err, domain.CodeNotFound)
		last := p[1].Entry.Revision
		states := []domain.PollState{domain.PollOpen, domain.PollClosed, domain.PollHidden}
		for _, from := range states {
			for _, to := range states {
				for _, s := range []domain.PollState{from, to} {
					before := w.catalogue()[0].State
					entry, err := w.SetPollState(w.ctx, id, s)
					w.must(err)
					if before != s && entry.Revision <= last {
						w.t.Fatalf("%d to %d: revision %d after %d", before, s, entry.Revision, last)
					}
					last = max(last, entry.Revision)
					want := p[0].Entry
					want.State, want.Revision = s, entry.Revision
					w.equal("entry", entry, want)
					w.equal("catalogue", w.catalogue()[0], want)
					poll, err := w.Poll(w.ctx, id)
					w.must(err)
					wantPoll := p[0].Poll
					wantPoll.State = s
					w.equal("poll", poll, wantPoll)
					at, err := w.PollsAt(w.ctx, []domain.Position{1})
					w.must(err)
					w.equal("poll at its position", at, []domain.Poll{wantPoll})
					counts, err := w.Counts(w.ctx, []domain.PollID{id})
					w.must(err)
					if (len(counts) == 1) != (s != domain.PollHidden) {
						w.t.Fatalf("state %d: %d counts", s, len(counts))
					}
				}
			}
		}
		_, err = w.DeletePoll(w.ctx, author, p[1].Poll.ID)
		w.must(err)
		for _, s := range states {
			_, err = w.SetPollState(w.ctx, p[1].Poll.ID, s)
			w.wantCode(err, domain.CodeNotFound)
		}
	})
}

func testCatalogue(run func(string, func(*world))) {
	run("catalogue: an empty one", func(w *world) {
		w.equal("entries", w.catalogue(), []domain.Entry{})
		since, err := w.CatalogueSince(w.ctx, 0, 10)
		w.must(err)
		w.equal("since", since, []domain.Entry{})
	})
	run("catalogue: loading and following", func(w *world) {
		u, v := w.user().ID, w.user().ID
		var batch []domain.NewPoll
		for i := range 30 {
			p := w.newPoll(u)
			p.Tags = []string{fmt.Sprintf("tag%d", i%3), fmt.Sprintf("rare%d", i), "東京"}[:1+i%3]
			batch = append(batch, p)
		}
		published := w.publish(batch...)
		w.interact(vote(u, published[3].Poll.ID, 0), vote(v, published[3].Poll.ID, 1), skip(v, published[29].Poll.ID))
		_, err := w.SetPollState(w.ctx, published[5].Poll.ID, domain.PollHidden)
		w.must(err)
		_, err = w.DeletePoll(w.ctx, u, published[0].Poll.ID)
		w.must(err)
		entries := w.catalogue()
		if len(entries) != 30 {
			w.t.Fatalf("%d entries", len(entries))
		}
		for i, e := range entries {
			if i != 0 {
				w.equal("tags", e.Tags, batch[i].Tags)
			}
			if i > 1 && i != 5 && e.Revision <= entries[1].Revision {
				w.t.Fatalf("entry %d has revision %d", i, e.Revision)
			}
		}
		if e := entries[3]; e.Votes != 2 || e.Skips != 0 {
			w.t.Fatalf("entry %+v", e)
		}
		if e := entries[29]; e.Votes != 0 || e.Skips != 1 {
			w.t.Fatalf("entry %+v", e)
		}
		byRevision := slices.Clone(entries)
		slices.SortFunc(byRevision, func(a, b domain.Entry) int { return int(a.Revision - b.Revision) })
		for _, step := range []int{1, 7, 100} {
			var got []domain.Entry
			for revision := int64(0); ; {
				since, err := w.CatalogueSince(w.ctx, revision, step)
				w.must(err)
				if len(since) > step {
					w.t.Fatalf("%d entries, limit %d", len(since), step)
				}
				if len(since) == 0 {
					break
				}
				got = append(got, since...)
				revision = since[len(since)-1].Revision
			}
			w.equal(fmt.Sprintf("followed in steps of %d", step), got, byRevision)
		}
		visited := 0
		_, err = w.LoadCatalogue(w.ctx, func(domain.Entry) error {
			if visited++; visited == 3 {
				return errStop
			}
			return nil
		})
		if !errors.Is(err, errStop) || visited != 3 {
			w.t.Fatalf("error %v after %d visits", err, visited)
		}
		w.equal("after a walk that was ended", w.catalogue(), entries)
	})
}

func testSearch(run func(string, func(*world))) {
	run("search: words, prefixes, scripts", func(w *world) {
		u := w.user().ID
		texts := []struct {
			title, option string
			tags          []string
		}{
			{"Who wins the World Cup?", "Brazil", []string{"sports", "football"}},              // 1
			{"Best café in Zürich", "Sprüngli", []string{"food"}},                              // 2
			{"東京都で一番好きな場所は？", "渋谷", []string{"日本"}},                                            // 3
			{"서울에서 가장 좋은 음식", "김치찌개", []string{"korea"}},                                       // 4
			{"你喜歡北京嗎", "是", []string{"中文"}},                                                    // 5
			{"STRASSE or Straße", "ﬁne ligature", []string{"deutsch"}},                         // 6
			{"किताब पढ़ना", "हाँ", []string{"हिन्दी"}},                                         // 7
			{"World politics and world news", "Ａ fullwidth", []string{"news", "football-usa"}}, // 8
			{"wonderful worldwide words", "AND OR NOT", []string{"misc"}},                      // 9
		}
		var batch []domain.NewPoll
		for _, x := range texts {
			batch = append(batch, domain.NewPoll{Author: u, Title: x.title, Options: []string{x.option, "other"}, Tags: x.tags})
		}
		published := w.publish(batch...)
		find := func(text string) []domain.Position {
			w.t.Helper()
			found, err := w.Search(w.ctx, domain.SearchTerms(text), 1<<32-1, 100)
			if err != nil {
				w.t.Fatalf("search for %q: %v", text, err)
			}
			return found
		}
		for text, want := range map[string][]domain.Position{
			"world":        {9, 8, 1},
			"WORLD ":       {9, 8, 1}, // the last word is a prefix whatever follows
			"world cup":    {1},
			"cup world":    {1},
			"wor":          {9, 8, 1},
			"w":            {9, 8, 1},
			"wo wins":      nil, // only the last word is a prefix
			"wins wo":      {1},
			"brazil":       {1},
			"football":     {8, 1},
			"usa":          {8},
			"cafe":         nil, // marks count
			"café":         {2},
			"cafe\u0301":   {2},
			"zürich CAFÉ":  {2},
			"東京":           {3},
			"京都":           {3},
			"東京都で":         {3},
			"好":            {3},
			"は":            {3},
			"渋谷":           {3},
			"北京":           {5},
			"北":            {5},
			"喜歡北":          {5},
			"嗎":            {5},
			"東北":           nil,
			"서울":           {4},
			"김치":           {4},
			"음식":           {4},
			"좋":            {4},
			"strasse":      {6},
			"straß":        {6},
			"fine":         {6},
			"किताब":        {7},
			"कित":          {7},
			"हिन्दी":       {7},
			"a":            {9, 8},
			"and":          {9, 8},
			"and or not":   {9},
			"other":        {9, 8, 7, 6, 5, 4, 3, 2, 1},
			"nothing else": nil,
			`"`:            nil,
			"world*":       {9, 8, 1},
			`wor" OR "cup`: nil,
			"?!":           nil,
			"":             nil,
		} {
			w.equal("search for "+text, find(text), want)
		}

		// Only open polls are found.
		id := func(n int) domain.PollID { return published[n-1].Poll.ID }
		_, err := w.SetPollState(w.ctx, id(8), domain.PollClosed)
		w.must(err)
		_, err = w.SetPollState(w.ctx, id(9), domain.PollHidden)
		w.must(err)
		_, err = w.DeletePoll(w.ctx, u, id(2))
		w.must(err)
		w.equal("without closed and hidden", find("world"), []domain.Position{1})
		w.equal("without deleted", find("zürich"), []domain.Position(nil))
		w.equal("without any", find("other"), []domain.Position{7, 6, 5, 4, 3, 1})
		_, err = w.SetPollState(w.ctx, id(8), domain.PollHidden)
		w.must(err)
		w.equal("from closed to hidden", find("world"), []domain.Position{1})
		_, err = w.SetPollState(w.ctx, id(8), domain.PollOpen)
		w.must(err)
		_, err = w.SetPollState(w.ctx, id(9), domain.PollOpen)
		w.must(err)
		w.equal("open again", find("world"), []domain.Position{9, 8, 1})
	})
	run("search: pages", func(w *world) {
		u := w.user().ID
		batch := make([]domain.NewPoll, 300)
		for i := range batch {
			batch[i] = w.newPoll(u)
			batch[i].Title = fmt.Sprintf("common number%d %s", i, []string{"even", "odd"}[i%2])
		}
		w.publish(batch...)
		walk := func(text string, limit int) []domain.Position {
			w.t.Helper()
			var all []domain.Position
			before := domain.Position(1<<32 - 1)
			for {
				found, err := w.Search(w.ctx, domain.SearchTerms(text), before, limit)
				w.must(err)
				if len(found) > limit || (len(found) > 0 && found[0] >= before) {
					w.t.Fatalf("%d found from %v below %d, limit %d", len(found), found[:1], before, limit)
				}
				if len(found) == 0 {
					return all
				}
				all = append(all, found...)
				before = found[len(found)-1]
			}
		}
		var want []domain.Position
		for i := 300; i > 0; i -= 2 {
			want = append(want, domain.Position(i))
		}
		for _, limit := range []int{1, 7, 1000} {
			w.equal("odd ones", walk("common odd", limit), want)
		}
		// A prefix of some tokens, and of more than anyone would list.
		if got := len(walk("number12", 50)); got != 11 {
			w.t.Fatalf("%d found of 11", got)
		}
		if got := len(walk("numb", 50)); got != 300 {
			w.t.Fatalf("%d found of 300", got)
		}
		for _, test := range []struct {
			before domain.Position
			limit  int
		}{{1, 10}, {0, 10}, {100, 0}} {
			found, err := w.Search(w.ctx, domain.SearchTerms("common"), test.before, test.limit)
			w.must(err)
			w.equal("nothing", found, []domain.Position(nil))
		}
		found, err := w.Search(w.ctx, domain.SearchTerms("common"), 5, 2)
		w.must(err)
		w.equal("below 5", found, []domain.Position{4, 3})
	})
}

func testRank(run func(string, func(*world))) {
	run("rank: order", func(w *world) {
		w.rules.DailyVotes = 0
		users := w.users(12)
		polls := w.polls(users[0], 3) // positions 1 to 3, two days old in the end
		w.clock.advance(24 * time.Hour)
		polls = append(polls, w.polls(users[0], 3)...) // 4 to 6, one day old
		w.clock.advance(24 * time.Hour)
		polls = append(polls, w.polls(users[0], 7)...) // 7 to 13
		act := func(position, votes, skips int) {
			var batch []domain.Interaction
			for i := range votes {
				batch = append(batch, vote(users[i], polls[position-1].ID, 0))
			}
			for i := range skips {
				batch = append(batch, skip(users[votes+i], polls[position-1].ID))
			}
			w.interact(batch...)
		}
		act(1, 12, 0) // 12 / 4 = 3
		act(2, 4, 0)  // 1
		act(4, 4, 0)  // 2
		act(5, 2, 0)  // 1, newer than 2
		act(6, 0, 10) // 1, newer than 5
		act(7, 1, 0)  // 1, newest of the equals
		act(8, 1, 1)  // 1.2
		act(9, 11, 0) // closed below
		act(10, 0, 1) // 0.2
		_, err := w.SetPollState(w.ctx, polls[8].ID, domain.PollClosed)
		w.must(err)
		_, err = w.SetPollState(w.ctx, polls[10].ID, domain.PollHidden)
		w.must(err)
		// 3, 12 and 13 have neither votes nor skips.
		want := []domain.Position{1, 4, 8, 7, 6, 5, 2, 10, 13, 12, 3}
		for n := range len(want) + 3 {
			r, err := w.Rank(w.ctx, n, 0, time.Hour)
			w.must(err)
			w.equal(fmt.Sprintf("the first %d", n), r.Positions, want[:min(n, len(want))])
			if !r.At.Equal(w.clock.Now()) {
				w.t.Fatalf("made at %v, now is %v", r.At, w.clock.Now())
			}
		}
	})
	run("rank: keeping", func(w *world) {
		u := w.user().ID
		_, err := w.RankingByID(w.ctx, 0)
		w.wantCode(err, domain.CodeCursorExpired)
		first, err := w.Rank(w.ctx, 10, time.Minute, time.Hour)
		w.must(err)
		w.equal("without polls", first.Positions, []domain.Position(nil))
		w.polls(u, 2)
		w.clock.advance(time.Minute - time.Millisecond)
		again, err := w.Rank(w.ctx, 10, time.Minute, time.Hour)
		w.must(err)
		w.equal("still young", again, first)
		w.clock.advance(time.Millisecond)
		second, err := w.Rank(w.ctx, 10, time.Minute, time.Hour)
		w.must(err)
		w.equal("made anew", second.Positions, []domain.Position{2, 1})
		if second.ID <= first.ID {
			w.t.Fatalf("id %d after %d", second.ID, first.ID)
		}
		for id, want := range map[int64]domain.Ranking{0: second, first.ID: first, second.ID: second} {
			got, err := w.RankingByID(w.ctx, id)
			w.must(err)
			w.equal("by id", got, want)
		}
		_, err = w.RankingByID(w.ctx, second.ID+1)
		w.wantCode(err, domain.CodeCursorExpired)
		w.clock.advance(time.Hour)
		third, err := w.Rank(w.ctx, 10, time.Minute, time.Hour)
		w.must(err)
		_, err = w.RankingByID(w.ctx, first.ID)
		w.wantCode(err, domain.CodeCursorExpired)
		got, err := w.RankingByID(w.ctx, second.ID) // as old as it may be
		w.must(err)
		w.equal("kept", got, second)
		w.clock.advance(3 * time.Hour)
		fourth, err := w.Rank(w.ctx, 10, time.Minute, 0)
		w.must(err)
		_, err = w.RankingByID(w.ctx, third.ID)
		w.wantCode(err, domain.CodeCursorExpired)
		got, err = w.RankingByID(w.ctx, fourth.ID)
		w.must(err)
		w.equal("the newest is kept", got, fourth)
	})
	run("rank: at once", func(w *world) {
		w.polls(w.user().ID, 3)
		made := make([]domain.Ranking, 8)
		errs := make([]error, len(made))
		w.race(len(made), func(i int, s domain.Store) {
			made[i], errs[i] = s.Rank(w.ctx, 10, time.Minute, time.Hour)
		})
		for i, r := range made {
			w.must(errs[i])
			w.equal("positions", r.Positions, []domain.Position{3, 2, 1})
		}
	})
}
