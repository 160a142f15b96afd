// Package poll shows single polls, and hides, closes and opens them, while no
// server uses the database.
package poll

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"vote/config"
	"vote/internal/domain"
	"vote/internal/ops/command"
)

// Change is what became of one poll.
type Change struct {
	Poll string `json:"pollId"` // as it was given
	// State is the one that the poll has now, empty when there is no such poll.
	State string `json:"state,omitempty"`
	// Changed says that it was another one before.
	Changed bool `json:"changed"`
	// Refused is why the poll was left as it is.
	Refused string `json:"refused,omitempty"`
}

// Shown is a poll as an operator sees it.
type Shown struct {
	ID       domain.PollID   `json:"id"`
	Position domain.Position `json:"position"`
	State    string          `json:"state"`
	Title    string          `json:"title"`
	Tags     []string        `json:"tags"`
	Author   string          `json:"author,omitempty"` // empty when erased
	AuthorID domain.UserID   `json:"authorId,omitempty"`
	Created  time.Time       `json:"createdAt"`
	Options  []Option        `json:"options"`
	// Votes and Skips are null while the poll is hidden: nobody reads its counts then.
	Votes *int64 `json:"votes"`
	Skips *int64 `json:"skips"`
}

// Option is an option with its votes, which are null while the poll is hidden.
type Option struct {
	Text  string `json:"text"`
	Votes *int64 `json:"votes"`
}

// states are the words for states of polls.
var states = map[domain.PollState]string{
	domain.PollOpen: "open", domain.PollClosed: "closed", domain.PollHidden: "hidden", domain.PollDeleted: "deleted",
}

// verbs are the changes that can be asked for.
var verbs = []struct {
	name, short string
	to          domain.PollState
	// from are the states from which it is done; from others it is refused.
	from []domain.PollState
}{
	{"hide", "Make polls as if they did not exist", domain.PollHidden, []domain.PollState{domain.PollOpen, domain.PollClosed}},
	{"unhide", "Open hidden polls again; those of an archived month are closed", domain.PollOpen, []domain.PollState{domain.PollHidden}},
	{"close", "Take polls out of feeds and end their voting; results stay", domain.PollClosed, []domain.PollState{domain.PollOpen}},
	{"open", "Open closed polls again", domain.PollOpen, []domain.PollState{domain.PollClosed}},
}

// Command returns the poll subcommand.
func Command() *cobra.Command {
	var flags command.Flags
	c := &cobra.Command{
		Use:           "poll",
		Short:         "Show, hide, close and open polls",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	flags.Register(c)
	for _, v := range verbs {
		c.AddCommand(&cobra.Command{
			Use:   v.name + " ID...",
			Short: v.short,
			Long: v.short + `.

A poll that has that state already is left as it is. The answer is no when there
is no such poll, or it is in a state from which this cannot be done; the others
are changed all the same.`,
			Args: cobra.MinimumNArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				return flags.Store(c.Context(), func(store domain.Store, _ config.Config) error {
					var done []Change
					for _, arg := range args {
						change, err := set(c.Context(), store, arg, v.to, v.from)
						if err != nil {
							return err
						}
						done = append(done, change)
					}
					return answer(c.OutOrStdout(), done, flags.JSON)
				})
			},
		})
	}
	c.AddCommand(&cobra.Command{
		Use:   "show ID",
		Short: "Show a poll, whatever its state",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return flags.Store(c.Context(), func(store domain.Store, _ config.Config) error {
				shown, err := show(c.Context(), store, args[0])
				if err != nil {
					return err
				}
				if flags.JSON {
					return command.WriteJSON(c.OutOrStdout(), shown)
				}
				return shown.write(c.OutOrStdout())
			})
		},
	})
	return c
}

const noSuchPoll = "there is no such poll"

// find returns the poll with the id that was given. Errors: CodeNotFound.
func find(ctx context.Context, store domain.Store, arg string) (domain.Poll, error) {
	id, ok := domain.ParseID(arg)
	if !ok {
		return domain.Poll{}, domain.E(domain.CodeNotFound, "")
	}
	return store.Poll(ctx, domain.PollID(id))
}

func set(ctx context.Context, store domain.Store, arg string, to domain.PollState, from []domain.PollState) (Change, error) {
	change := Change{Poll: arg}
	p, err := find(ctx, store, arg)
	if domain.CodeOf(err) == domain.CodeNotFound {
		change.Refused = noSuchPoll
		return change, nil
	}
	if err != nil {
		return change, err
	}
	change.State = states[p.State]
	if p.State == to {
		return change, nil
	}
	allowed := false
	for _, s := range from {
		allowed = allowed || s == p.State
	}
	if !allowed {
		change.Refused = "it is " + states[p.State]
		return change, nil
	}
	entry, err := store.SetPollState(ctx, p.ID, to)
	if domain.CodeOf(err) == domain.CodePollClosed && p.State == domain.PollHidden {
		entry, err = store.SetPollState(ctx, p.ID, domain.PollClosed)
	}
	if refusal, ok := errors.AsType[*domain.Error](err); ok && refusal.Code == domain.CodePollClosed {
		change.Refused = "its votes are archived"
		return change, nil
	}
	if err != nil {
		return change, err
	}
	change.State, change.Changed = states[entry.State], true
	return change, nil
}

// answer tells what was done, and is [command.ErrNo] when something was refused.
func answer(w io.Writer, done []Change, asJSON bool) error {
	refused := 0
	for _, d := range done {
		if d.Refused != "" {
			refused++
		}
	}
	if asJSON {
		if err := command.WriteJSON(w, done); err != nil {
			return err
		}
	} else {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, d := range done {
			said := d.State
			switch {
			case d.Refused != "":
				said = "refused: " + d.Refused
			case !d.Changed:
				said += ", as before"
			}
			_, _ = fmt.Fprintf(t, "%s\t%s\n", d.Poll, said) // an error shows at Flush
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if refused > 0 {
		return fmt.Errorf("%w: %d of %d refused", command.ErrNo, refused, len(done))
	}
	return nil
}

func show(ctx context.Context, store domain.Store, arg string) (Shown, error) {
	p, err := find(ctx, store, arg)
	if domain.CodeOf(err) == domain.CodeNotFound {
		return Shown{}, fmt.Errorf("%w: %s", command.ErrNo, noSuchPoll)
	}
	if err != nil {
		return Shown{}, err
	}
	shown := Shown{
		ID: p.ID, Position: p.Position, State: states[p.State], Title: p.Title, Tags: p.Tags,
		Author: p.AuthorName, AuthorID: p.Author, Created: p.CreatedAt,
	}
	for _, text := range p.Options {
		shown.Options = append(shown.Options, Option{Text: text})
	}
	counts, err := store.Counts(ctx, []domain.PollID{p.ID})
	if err != nil || len(counts) == 0 {
		return shown, err
	}
	votes := counts[0].TotalVotes()
	shown.Votes, shown.Skips = &votes, &counts[0].Skips
	for i := range shown.Options {
		shown.Options[i].Votes = &counts[0].Votes[i]
	}
	return shown, nil
}

func (s Shown) write(w io.Writer) error {
	author := "erased"
	if s.Author != "" {
		author = fmt.Sprintf("%s (%d)", s.Author, s.AuthorID)
	}
	number := func(n *int64) string {
		if n == nil {
			return "-"
		}
		return fmt.Sprint(*n)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	// An error shows at Flush.
	_, _ = fmt.Fprintf(t, "id\t%d\nposition\t%d\nstate\t%s\ncreated\t%s\nauthor\t%s\ntitle\t%s\ntags\t%s\n",
		s.ID, s.Position, s.State, s.Created.Format(time.RFC3339), author, s.Title, strings.Join(s.Tags, ", "))
	for i, o := range s.Options {
		_, _ = fmt.Fprintf(t, "option %d\t%s  %s\n", i, number(o.Votes), o.Text)
	}
	_, _ = fmt.Fprintf(t, "votes\t%s\nskips\t%s\n", number(s.Votes), number(s.Skips))
	return t.Flush()
}
