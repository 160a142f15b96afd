package seed

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"vote/config"
	"vote/internal/app"
	"vote/internal/domain"
	"vote/internal/ops/command"
	"vote/internal/ops/progress"
)

// noPassword is no hash, so that nobody can log in.
const noPassword = "none"

// Command returns the seed subcommand.
func Command() *cobra.Command {
	var flags command.Flags
	var o Options
	var until, password string
	c := &cobra.Command{
		Use:   "seed",
		Short: "Fill a new database with made-up people, polls, votes and skips",
		Long: `Fills a new database with made-up people, polls in several languages and scripts,
votes and skips, spread over the past days under the limits in force. A few tags
and polls are popular and many are not. The same flags make the same rows; where
that matters give --until, too.

The database must be without polls; where the server would make it, so does this.
When it is interrupted, delete the database and begin again. The people are
seed0@seed.example, seed1@seed.example, ... Nobody can log in as one of them
unless --password gives all of them one.

The answer is no when there are polls already.`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags.Register(c)
	f := c.Flags()
	f.IntVar(&o.Users, "users", 1000, "people")
	f.IntVar(&o.Polls, "polls", 10_000, "polls")
	f.IntVar(&o.Votes, "votes", 100_000, "votes")
	f.IntVar(&o.Skips, "skips", 30_000, "skips")
	f.IntVar(&o.Tags, "tags", 5000, "different tags")
	f.IntVar(&o.Days, "days", 90, "days over which it happened")
	f.StringVar(&until, "until", "", "the day before which it happened, like 2026-03-01; today when empty")
	f.Uint64Var(&o.Seed, "seed", 1, "another number makes other rows")
	f.StringVar(&password, "password", "", "everybody's password; nobody can log in when empty")
	c.RunE = func(c *cobra.Command, _ []string) error {
		now := domain.SystemClock{}.Now()
		o.Until = domain.DayOf(now).Start()
		if until != "" {
			day, err := time.Parse(time.DateOnly, until)
			if err != nil || day.After(now) {
				return fmt.Errorf("--until is a day of the past like 2026-03-01")
			}
			o.Until = day
		}
		o.PasswordHash = noPassword
		if password != "" {
			var err error
			if o.PasswordHash, err = app.HashPassword(password); err != nil {
				return err
			}
		}
		o.Progress = progress.Terminal(os.Stderr)
		return flags.NewStore(c.Context(), func(store domain.Store, settings config.Config) error {
			o.Limits = domain.Rules{DailyVotes: settings.Limits.DailyVotes, DailyPolls: settings.Limits.PollsPerDay}
			report, err := Run(c.Context(), store, o)
			if err != nil {
				return err
			}
			if flags.JSON {
				return command.WriteJSON(c.OutOrStdout(), report)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%d users, %d polls, %d votes, %d skips in %s, %.0f rows/s\n",
				report.Users, report.Polls, report.Votes, report.Skips,
				(time.Duration(report.TookMs) * time.Millisecond).Round(100*time.Millisecond), report.PerSec)
			return err
		})
	}
	return c
}
