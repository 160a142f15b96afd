// Package check verifies the invariants of a database while no server uses it.
package check

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"vote/config"
	"vote/internal/domain"
	"vote/internal/ops/command"
	"vote/internal/ops/progress"
)

// ErrBroken says that an invariant is broken.
var ErrBroken = fmt.Errorf("%w: an invariant is broken", command.ErrNo)

// Report is what a check found, in the order in which rules were checked.
type Report struct {
	Users       int64    `json:"users"`
	Polls       int64    `json:"polls"`
	Votes       int64    `json:"votes"`
	Skips       int64    `json:"skips"`
	OutboxRows  int64    `json:"outboxRows"`
	DeadLetters int64    `json:"deadLetters"`
	Rules       []Result `json:"rules"`
}

// Result is what became of one rule.
type Result struct {
	Rule string `json:"rule"`
	// Invariant is the number of a broken rule's invariant in docs/design.md.
	Invariant int      `json:"invariant,omitempty"`
	Broken    int64    `json:"broken"` // how often
	Examples  []string `json:"examples,omitempty"`
}

// Command returns the check subcommand.
func Command() *cobra.Command {
	var flags command.Flags
	c := &cobra.Command{
		Use:   "check",
		Short: "Verify every invariant that the database alone can show",
		Long: `Verifies every invariant that the database alone can show, in one snapshot, under
the configured limits. A server that uses the data folder has to be stopped
before. Nothing is changed. Votes that were cast under a higher daily limit than
the one in force now count as broken.

The answer is no when an invariant is broken.`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags.Register(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return flags.Store(c.Context(), func(store domain.Store, settings config.Config) error {
			bar := progress.Start(progress.Terminal(os.Stderr), "check", nil)
			bar.Enter("looking", 0)
			found, err := store.Check(c.Context(), domain.Rules{DailyVotes: settings.Limits.DailyVotes, DailyPolls: settings.Limits.PollsPerDay})
			bar.Stop()
			if err != nil {
				return err
			}
			if len(found.Rules) == 0 {
				return errors.New("no rule was checked")
			}
			report := reportOf(found)
			write := report.WriteTable
			if flags.JSON {
				write = func(w io.Writer) error { return command.WriteJSON(w, report) }
			}
			if err := write(c.OutOrStdout()); err != nil {
				return err
			}
			if report.Broken() {
				return ErrBroken
			}
			return nil
		})
	}
	return c
}

// reportOf joins the rules that were checked with what was found. A violation
// of a rule that is not among them is kept, as one more.
func reportOf(found domain.CheckReport) Report {
	r := Report{
		Users: found.Users, Polls: found.Polls, Votes: found.Votes, Skips: found.Skips,
		OutboxRows: found.OutboxRows, DeadLetters: found.DeadLetters,
	}
	for _, rule := range found.Rules {
		r.Rules = append(r.Rules, Result{Rule: rule})
	}
	for _, v := range found.Violations {
		i := slices.IndexFunc(r.Rules, func(x Result) bool { return x.Rule == v.Rule })
		if i < 0 {
			i = len(r.Rules)
			r.Rules = append(r.Rules, Result{Rule: v.Rule})
		}
		r.Rules[i].Invariant = v.Invariant
		r.Rules[i].Broken += v.Count
		r.Rules[i].Examples = append(r.Rules[i].Examples, v.Examples...)
	}
	return r
}

// Broken reports whether any rule is broken.
func (r Report) Broken() bool {
	return slices.ContainsFunc(r.Rules, func(x Result) bool { return x.Broken > 0 })
}

// WriteTable writes the report for people to read.
func (r Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "rule\tresult") // an error shows at Flush
	for _, x := range r.Rules {
		result := "holds"
		if x.Broken > 0 {
			result = "BROKEN " + strconv.FormatInt(x.Broken, 10) + " times"
			if x.Invariant > 0 {
				result += " (invariant " + strconv.Itoa(x.Invariant) + ")"
			}
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\n", x.Rule, strings.TrimSpace(result+"  "+strings.Join(x.Examples, "; ")))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d users, %d polls, %d votes, %d skips, %d outbox rows, %d dead letters\n",
		r.Users, r.Polls, r.Votes, r.Skips, r.OutboxRows, r.DeadLetters)
	return err
}
