package account

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"time"

	"vote/internal/domain"
)

// exportPage is how many records an export reads at once: the longest are some
// 20 KiB, and everything else of an export is smaller.
const exportPage = 100

// The records of an export.
type (
	exportedProfile struct {
		ID         domain.UserID `json:"id"`
		Username   string        `json:"username"`
		Email      string        `json:"email"`
		CreatedAt  time.Time     `json:"createdAt"`
		VotesToday int           `json:"votesToday"`
	}
	exportedSession struct {
		ID        string    `json:"id"`
		CreatedAt time.Time `json:"createdAt"`
		ExpiresAt time.Time `json:"expiresAt"`
	}
	exportedVote struct {
		PollID      domain.PollID `json:"pollId"`
		Title       string        `json:"title"`
		Options     []string      `json:"options"`
		OptionIndex int           `json:"optionIndex"`
		Option      string        `json:"option"`
		CreatedAt   time.Time     `json:"createdAt"`
	}
	exportedSkip struct {
		PollID    domain.PollID `json:"pollId"`
		Title     string        `json:"title"`
		CreatedAt time.Time     `json:"createdAt"`
	}
	exportedPoll struct {
		ID         domain.PollID `json:"id"`
		Title      string        `json:"title"`
		Options    []string      `json:"options"`
		Tags       []string      `json:"tags"`
		CreatedAt  time.Time     `json:"createdAt"`
		State      string        `json:"state"`
		Votes      []int64       `json:"votes"`
		TotalVotes int64         `json:"totalVotes"`
		TotalSkips int64         `json:"totalSkips"`
	}
	exportedNotification struct {
		Type      string        `json:"type"`
		PollID    domain.PollID `json:"pollId"`
		Title     string        `json:"title"`
		Votes     int64         `json:"votes"`
		CreatedAt time.Time     `json:"createdAt"`
	}
)

// Export writes everything that is stored about a user as one JSON object. It
// reads in pages, so it needs little memory and holds up nobody however slowly
// w takes it; what happens meanwhile may be in it or not. Errors: CodeNotFound
// when there is no such user, or not any more; those of the store and of w.
// What was written before an error is no whole JSON.
func Export(ctx context.Context, store domain.Store, clock domain.Clock, user domain.UserID, w io.Writer) error {
	u, err := store.UserByID(ctx, user)
	if err != nil {
		return err
	}
	totals, err := store.UserTotals(ctx, user)
	if err != nil {
		return err
	}
	e := &exporter{w: bufio.NewWriterSize(w, 32<<10)}
	e.text(`{"exportedAt":`)
	e.value(clock.Now().UTC().Truncate(time.Millisecond))
	e.text(`,"profile":`)
	e.value(exportedProfile{u.ID, u.Username, u.Email, u.CreatedAt.UTC(), totals.VotesToday})
	// A table that comes to hold something of a user has its section here.
	for _, section := range []struct {
		name string
		page func(visit func(record any)) (more bool, err error)
	}{
		{"sessions", exportSessions(ctx, store, user)},
		{"votes", exportVotes(ctx, store, user)},
		{"skips", exportSkips(ctx, store, user)},
		{"polls", exportPolls(ctx, store, user)},
		{"notifications", exportNotifications(ctx, store, user)},
	} {
		e.text(`,"` + section.name + `":[`)
		first := true
		for more := true; more && e.err == nil; {
			more, err = section.page(func(record any) {
				if !first {
					e.text(",")
				}
				first = false
				e.value(record)
			})
			if err != nil {
				return err
			}
		}
		e.text("]")
	}
	// Of a user erased meanwhile pages are empty, which must not look whole.
	if _, err := store.UserByID(ctx, user); err != nil {
		return err
	}
	e.text("}\n")
	if e.err != nil {
		return e.err
	}
	return e.w.Flush()
}

// exporter writes until the first error.
type exporter struct {
	w   *bufio.Writer
	err error
}

func (e *exporter) text(s string) {
	if e.err == nil {
		_, e.err = e.w.WriteString(s)
	}
}

func (e *exporter) value(v any) {
	b, err := json.Marshal(v)
	if err != nil && e.err == nil {
		e.err = err
	}
	e.text(string(b))
}

func exportSessions(ctx context.Context, store domain.Store, user domain.UserID) func(func(any)) (bool, error) {
	var behind domain.SessionMark
	return func(visit func(any)) (bool, error) {
		page, err := store.Sessions(ctx, user, behind, exportPage)
		for _, s := range page {
			behind = domain.SessionMark{CreatedAt: s.CreatedAt, ID: s.ID}
			visit(exportedSession{s.ID, s.CreatedAt.UTC(), s.ExpiresAt.UTC()})
		}
		return len(page) == exportPage, err
	}
}

func exportVotes(ctx context.Context, store domain.Store, user domain.UserID) func(func(any)) (bool, error) {
	var after domain.PollID
	return func(visit func(any)) (bool, error) {
		page, err := store.ExportVotes(ctx, user, after, exportPage)
		for _, v := range page {
			after = v.Poll
			x := exportedVote{
				PollID: v.Poll, Title: v.Title, Options: v.Options, OptionIndex: v.Option, CreatedAt: v.CreatedAt.UTC(),
			}
			if v.Option < len(v.Options) {
				x.Option = v.Options[v.Option]
			}
			if x.Options == nil {
				x.Options = []string{}
			}
			visit(x)
		}
		return len(page) == exportPage, err
	}
}

func exportSkips(ctx context.Context, store domain.Store, user domain.UserID) func(func(any)) (bool, error) {
	var after domain.PollID
	return func(visit func(any)) (bool, error) {
		page, err := store.ExportSkips(ctx, user, after, exportPage)
		for _, s := range page {
			after = s.Poll
			visit(exportedSkip{s.Poll, s.Title, s.CreatedAt.UTC()})
		}
		return len(page) == exportPage, err
	}
}

func exportPolls(ctx context.Context, store domain.Store, user domain.UserID) func(func(any)) (bool, error) {
	var after domain.PollID
	return func(visit func(any)) (bool, error) {
		page, err := store.ExportPolls(ctx, user, after, exportPage)
		for _, p := range page {
			after = p.Poll.ID
			visit(exportedPoll{
				ID: p.Poll.ID, Title: p.Poll.Title, Options: p.Poll.Options, Tags: p.Poll.Tags,
				CreatedAt: p.Poll.CreatedAt.UTC(), State: stateNames[p.Poll.State],
				Votes: p.Counts.Votes, TotalVotes: p.Counts.TotalVotes(), TotalSkips: p.Counts.Skips,
			})
		}
		return len(page) == exportPage, err
	}
}

func exportNotifications(ctx context.Context, store domain.Store, user domain.UserID) func(func(any)) (bool, error) {
	var before int64
	return func(visit func(any)) (bool, error) {
		page, err := store.Notifications(ctx, user, before, exportPage)
		for _, n := range page {
			before = n.ID
			visit(exportedNotification{n.Type, n.Poll, n.Title, n.Votes, n.At.UTC()})
		}
		return len(page) == exportPage, err
	}
}

var stateNames = map[domain.PollState]string{domain.PollOpen: "open", domain.PollClosed: "closed", domain.PollHidden: "hidden"}
