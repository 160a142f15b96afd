// Package archive moves the votes of past months out of the live tables, while
// no server uses the database.
package archive

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"vote/config"
	"vote/internal/domain"
	"vote/internal/ops/command"
	"vote/internal/ops/progress"
)

// Report is what became of a month.
type Report struct {
	Month    string    `json:"month"`
	ClosedAt time.Time `json:"closedAt"`
	Polls    int64     `json:"polls"`
	Votes    int64     `json:"votes"`
	Skips    int64     `json:"skips"`
	Place    string    `json:"place"`
}

// Command returns the archive subcommand.
func Command() *cobra.Command {
	var flags command.Flags
	days := int(domain.MinArchiveAge / (24 * time.Hour))
	c := &cobra.Command{
		Use:   "archive YYYY-MM",
		Short: "Close the polls of a past month and move their votes out of the live tables",
		Long: fmt.Sprintf(`Closes the polls that were published in a month for good, and moves their votes
and skips out of the live tables: on the embedded storage, into a database file
beside the data. Results stay readable, in feeds the polls are no more, and they
cannot be opened again. Whether a certain person voted on one of them, only the
archive tells. The month has to be over for %d days.

It may be interrupted or killed at any moment: run it again, and it goes on.
Nothing is lost or there twice. A month that is archived already is left as it is.

The answer is no when the month is too young, or when a file of the archive's
name holds something else.`, days),
		Args:          cobra.ExactArgs(1),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags.Register(c)
	flags.RegisterYes(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		month, err := domain.ParseMonth(args[0])
		if err != nil {
			return err
		}
		if err := flags.Confirm(c, fmt.Sprintf("Close every poll of %s for good and archive their votes?", month)); err != nil {
			return err
		}
		return flags.Store(c.Context(), func(store domain.Store, _ config.Config) error {
			bar := progress.Start(progress.Terminal(os.Stderr), "archive", nil)
			bar.Enter(month.String(), 0)
			done, err := store.ArchiveMonth(c.Context(), month)
			bar.Stop()
			if err != nil {
				return err
			}
			report := Report{
				Month: done.Month.String(), ClosedAt: done.ClosedAt, Polls: done.Polls, Votes: done.Votes, Skips: done.Skips, Place: done.Place,
			}
			if flags.JSON {
				return command.WriteJSON(c.OutOrStdout(), report)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: %d polls closed on %s, %d votes and %d skips archived in\n%s\n",
				report.Month, report.Polls, report.ClosedAt.Format(time.RFC3339), report.Votes, report.Skips, report.Place)
			return err
		})
	}
	return c
}
