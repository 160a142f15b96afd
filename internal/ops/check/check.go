// Package check verifies the invariants of a database while no server uses it.
package check

import (
	"encoding/json"
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
	"vote/internal/app"
	"vote/internal/domain"
)

// ErrBroken says that an invariant is broken.
var ErrBroken = errors.New("an invariant is broken")

// ErrUnfinished says that the check could not be carried out, so that nothing
// is known about the invariants.
var ErrUnfinished = errors.New("the check is not finished")

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

// Command returns the check subcommand. Its error wraps [ErrBroken] or
// [ErrUnfinished]; any other is wrong use.
func Command() *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Verify every invariant that the database alone can show",
		Long: `Verifies every invariant that the database alone can show, in one snapshot, under
the configured limits. A server that uses the data folder has to be stopped
before. Nothing is changed. Votes that were cast under a higher daily limit than
the one in force now count as broken.

Exit code: 0 all hold, 1 one is broken, 2 wrong use or configuration, 3 the
check could not be carried out.`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	c.Flags().StringVar(&path, "config", config.DefaultPath, "configuration file")
	c.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		settings, err := config.Load(path, os.Environ())
		if err != nil {
			return err
		}
		report, err := inspect(c, settings)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnfinished, err)
		}
		write := report.WriteTable
		if asJSON {
			write = report.WriteJSON
		}
		if err := write(c.OutOrStdout()); err != nil {
			return fmt.Errorf("%w: %w", ErrUnfinished, err)
		}
		if report.Broken() {
			return ErrBroken
		}
		return nil
	}
	return c
}

func inspect(c *cobra.Command, settings config.Config) (_ Report, err error) {
	// Looking must not make a database or change its schema.
	settings.Storage.AutoMigrate = false
	if settings.Storage.Engine == config.SQLite {
		if _, err := os.Stat(settings.Storage.Path); err != nil {
			return Report{}, fmt.Errorf("no database: %w", err)
		}
	}
	store, err := app.OpenStore(c.Context(), settings, app.Options{})
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	found, err := store.Check(c.Context(), domain.Rules{DailyVotes: settings.Limits.DailyVotes, DailyPolls: settings.Limits.PollsPerDay})
	if err != nil {
		return Report{}, err
	}
	if len(found.Rules) == 0 {
		return Report{}, errors.New("no rule was checked")
	}
	return reportOf(found), nil
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

// WriteJSON writes the report as JSON.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
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
