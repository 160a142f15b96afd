package replay

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"vote/internal/ops/command"
	"vote/internal/ops/progress"
)

// Command returns the replay subcommand.
func Command() *cobra.Command {
	o := Options{}
	var sources string
	var asJSON bool
	c := &cobra.Command{
		Use:   "replay DIR...",
		Short: "Play recorded conversations against a running server and compare the results",
		Long: `Plays recorded conversations through the public HTTP API of a running server and
compares what the server then says with a tally counted from the files.

DIR holds comments.csv and votes.csv as the Polis software exports them, or
folders that do. Each statement becomes a poll (agree, disagree) of its author,
each person an account, a pass a skip. Names are new in every run, so a replay
can be repeated against the same server.

Rate limits are respected by waiting as the server tells. Votes beyond the daily
limit are refused and counted; all votes of a run fall on the server's today.

A server limits requests and registrations per client address. When it runs on
this machine, people therefore come from many addresses of the loopback network,
as people at home do (see --source-addresses). From one address, the default of
100 registrations an hour lets only 100 people in.

With several addresses, of instances over the same database, each request goes to
the next of them, as behind a load balancer.

The answer is no when some results differ.`,
		Args:          cobra.MinimumNArgs(1),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	f := c.Flags()
	f.StringSliceVar(&o.Servers, "server", []string{"http://localhost:8080"}, "address of the server; of each instance, by commas or repeated, when there are several")
	f.IntVar(&o.Concurrency, "concurrency", 64, "requests under way at once")
	f.StringVar(&sources, "source-addresses", "auto", "addresses that people come from: a network of this machine, none, or auto (127.0.1.0/24 when the server is on this machine, on Linux)")
	f.IntVar(&o.Answers, "answers", 0, "only the first so many answers of a conversation; 0 for all")
	f.IntVar(&o.People, "people", 0, "of these, only the answers of the first so many people; 0 for all")
	f.IntVar(&o.DailyLimit, "daily-limit", -1, "daily limit of votes in force, 0 for none; -1 asks the server")
	f.IntVar(&o.Walks, "walks", 20, "people whose feeds are walked at the end")
	f.DurationVar(&o.MaxWait, "max-wait", 5*time.Minute, "longest that one request waits as the server tells")
	f.DurationVar(&o.Timeout, "timeout", 30*time.Second, "longest that one try of a request takes")
	f.BoolVar(&asJSON, "json", false, "print the report as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		var err error
		if o.Sources, err = Sources(sources, o.Servers); err != nil {
			return err
		}
		if o.Folders, err = Conversations(args); err != nil {
			return err
		}
		o.Progress = progress.Terminal(os.Stderr)
		report, err := Run(c.Context(), o)
		write := report.WriteTable
		if asJSON {
			write = func(w io.Writer) error { return command.WriteJSON(w, report) }
		}
		if len(report.Conversations) > 0 {
			if err := write(c.OutOrStdout()); err != nil {
				return fmt.Errorf("%w: %w", command.ErrUnfinished, err)
			}
		}
		if err != nil {
			return err
		}
		return report.verdict()
	}
	return c
}

// verdict returns nil when every result is equal.
func (r Report) verdict() error {
	inconclusive := false
	for _, c := range r.Conversations {
		switch {
		case c.Inconclusive():
			inconclusive = true
		case len(c.Differences) > 0:
			return ErrDifferent
		}
	}
	if inconclusive {
		return fmt.Errorf("%w: midnight passed during the run", command.ErrUnfinished)
	}
	return nil
}
