// Package deadletters lists, replays and drops events that a consumer could not
// handle, while no server uses the database.
package deadletters

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"vote/config"
	"vote/internal/domain"
	"vote/internal/ops/command"
)

// pageSize is how many dead letters are read, replayed or dropped at once.
const pageSize = 500

// Letter is a dead letter as it is listed.
type Letter struct {
	ID     int64        `json:"id"`
	Queue  string       `json:"queue"`
	At     time.Time    `json:"at"`
	Reason string       `json:"reason"`
	Event  domain.Event `json:"event"`
}

// Report is what was done with dead letters.
type Report struct {
	// Done is how many were replayed or dropped.
	Done int64 `json:"done"`
	// Kept is how many were left as they are, because no queue takes them.
	Kept int `json:"kept"`
}

// filter says which dead letters are meant; without anything, all.
type filter struct {
	queue string
	ids   []int64
}

func (f *filter) register(c *cobra.Command) {
	c.Flags().StringVar(&f.queue, "queue", "", "only those of this queue")
	c.Flags().Int64SliceVar(&f.ids, "id", nil, "only those with these ids")
}

// each calls visit with the dead letters that are meant, by pages. Errors:
// [command.ErrNo] when one that was named by its id is not there.
func (f *filter) each(ctx context.Context, store domain.Store, visit func([]domain.DeadLetter) error) error {
	if len(f.ids) > 0 {
		var named []domain.DeadLetter
		for _, id := range f.ids {
			found, err := store.DeadLetters(ctx, f.queue, id-1, 1)
			if err != nil {
				return err
			}
			if len(found) == 0 || found[0].ID != id {
				return fmt.Errorf("%w: there is no dead letter %d", command.ErrNo, id)
			}
			named = append(named, found[0])
		}
		return visit(named)
	}
	for after := int64(0); ; {
		page, err := store.DeadLetters(ctx, f.queue, after, pageSize)
		if err != nil || len(page) == 0 {
			return err
		}
		after = page[len(page)-1].ID
		if err := visit(page); err != nil {
			return err
		}
	}
}

// Command returns the dead-letters subcommand.
func Command() *cobra.Command {
	var flags command.Flags
	c := &cobra.Command{
		Use:           "dead-letters",
		Short:         "List, replay and drop events that could not be handled",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	flags.Register(c)
	c.AddCommand(listCommand(&flags), replayCommand(&flags), dropCommand(&flags))
	return c
}

func listCommand(flags *command.Flags) *cobra.Command {
	var f filter
	c := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, oldest first",
		Long:  "Lists dead letters, oldest first. As JSON, each with its event.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return flags.Store(c.Context(), func(store domain.Store, _ config.Config) error {
				letters := []Letter{}
				err := f.each(c.Context(), store, func(page []domain.DeadLetter) error {
					for _, d := range page {
						letters = append(letters, letterOf(d))
					}
					return nil
				})
				if err != nil {
					return err
				}
				if flags.JSON {
					return command.WriteJSON(c.OutOrStdout(), letters)
				}
				return write(c.OutOrStdout(), letters)
			})
		},
	}
	f.register(c)
	return c
}

func letterOf(d domain.DeadLetter) Letter {
	return Letter{ID: d.ID, Queue: d.Queue, At: d.At, Reason: d.Reason, Event: d.Event}
}

func write(w io.Writer, letters []Letter) error {
	if len(letters) == 0 {
		_, err := fmt.Fprintln(w, "no dead letters")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "id\tqueue\tat\tevent\ttype\tsubject\treason") // an error shows at Flush
	for _, l := range letters {
		_, _ = fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n",
			l.ID, l.Queue, l.At.Format(time.RFC3339), l.Event.ID, l.Event.Type, l.Event.Subject, l.Reason)
	}
	return t.Flush()
}

func replayCommand(flags *command.Flags) *cobra.Command {
	return changeCommand(flags, "replay", "Have dead letters handled again", `Puts the events of dead letters back into the outbox, so that the server handles
them when it runs next, and takes the letters away, in one transaction. An event
keeps its id and goes to every queue that takes it: those that have handled it
drop it. What fails again is a dead letter again. A row of the outbox that could
not be read is in no queue's interest and is kept: drop it.`,
		"Replay", func(ctx context.Context, store domain.Store, page []domain.DeadLetter) (done int64, kept int, err error) {
			var ids []int64
			for _, d := range page {
				if d.Event.Type == domain.EventMalformedRow {
					kept++
				} else {
					ids = append(ids, d.ID)
				}
			}
			done, err = store.ReplayDeadLetters(ctx, ids)
			return done, kept, err
		})
}

func dropCommand(flags *command.Flags) *cobra.Command {
	return changeCommand(flags, "drop", "Delete dead letters", "Deletes dead letters. Their events are not handled by the queue that failed.",
		"Delete", func(ctx context.Context, store domain.Store, page []domain.DeadLetter) (done int64, kept int, err error) {
			var ids []int64
			for _, d := range page {
				ids = append(ids, d.ID)
			}
			done, err = store.DropDeadLetters(ctx, ids)
			return done, 0, err
		})
}

// changeCommand makes a command that asks, and then changes the dead letters
// that are meant, page by page.
func changeCommand(
	flags *command.Flags, name, short, long, verb string,
	change func(context.Context, domain.Store, []domain.DeadLetter) (done int64, kept int, err error),
) *cobra.Command {
	var f filter
	c := &cobra.Command{
		Use:   name,
		Short: short,
		Long: long + `

Without --queue and --id, all dead letters are meant. The answer is no when one
that was named is not there; then nothing was done.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return flags.Store(c.Context(), func(store domain.Store, _ config.Config) error {
				n := 0
				count := func(page []domain.DeadLetter) error { n += len(page); return nil }
				if err := f.each(c.Context(), store, count); err != nil {
					return err
				}
				if n > 0 {
					if err := flags.Confirm(c, fmt.Sprintf("%s %d dead letters?", verb, n)); err != nil {
						return err
					}
				}
				var report Report
				err := f.each(c.Context(), store, func(page []domain.DeadLetter) error {
					done, kept, err := change(c.Context(), store, page)
					report.Done += done
					report.Kept += kept
					return err
				})
				if err != nil {
					return err
				}
				if flags.JSON {
					return command.WriteJSON(c.OutOrStdout(), report)
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "%d done, %d kept\n", report.Done, report.Kept)
				return err
			})
		},
	}
	f.register(c)
	flags.RegisterYes(c)
	return c
}
