// Package users looks after accounts in the store, while no server uses it: it
// lists and shows them, resets a password, bans and unbans, and exports what is
// stored about somebody. It never prints a password hash.
package users

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"vote/config"
	"vote/internal/app"
	"vote/internal/domain"
	"vote/internal/ops/command"
)

// errNoUser says that there is no such user.
var errNoUser = fmt.Errorf("%w: there is no such user", command.ErrNo)

// pageSize is how many users are read at once.
const pageSize = 500

const whichUser = `

USER is a number, an e-mail address or a username; @NAME is the username NAME
also when that is a number.`

// User is an account as it is printed.
type User struct {
	ID        domain.UserID `json:"id"`
	Username  string        `json:"username"`
	Email     string        `json:"email"`
	CreatedAt time.Time     `json:"createdAt"`
	BannedAt  *time.Time    `json:"bannedAt"`
	// Totals are there when one user is shown.
	Totals *Totals `json:"totals,omitempty"`
}

// Totals are the numbers of one user.
type Totals struct {
	VotesToday int   `json:"votesToday"`
	Votes      int64 `json:"votes"`
	Skips      int64 `json:"skips"`
	Polls      int64 `json:"polls"`
}

// Reset is what became of a reset password, as it is printed.
type Reset struct {
	User     User   `json:"user"`
	Password string `json:"password"`
}

// tool is one call of a command.
type tool struct {
	flags command.Flags
	limit int
	after int64
	out   io.Writer
	store domain.Store
	*cobra.Command
}

// Command returns the user subcommand.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use: "user", Short: "Look after accounts", Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	list := &tool{}
	listed := list.command("list", "List accounts by number",
		"Lists accounts by number, at most as many as --limit says.", cobra.NoArgs, (*tool).list)
	listed.Flags().IntVar(&list.limit, "limit", 100, "how many at most")
	listed.Flags().Int64Var(&list.after, "after", 0, "only numbers above this one")
	c.AddCommand(
		listed,
		(&tool{}).command("show USER", "Show one account", "Shows one account with its numbers."+whichUser, cobra.ExactArgs(1), (*tool).show),
		(&tool{}).command("reset-password USER", "Give a user a new random password",
			"Gives a user a new random password, prints it this one time, and ends all\nsessions of the user."+whichUser, cobra.ExactArgs(1), (*tool).reset),
		(&tool{}).command("ban USER", "Close an account",
			"Closes an account: its sessions end, it can neither log in nor vote nor publish.\nIts polls and votes stay."+whichUser, cobra.ExactArgs(1), ban(true)),
		(&tool{}).command("unban USER", "Open a closed account again", "Opens a closed account again."+whichUser, cobra.ExactArgs(1), ban(false)),
	)
	return c
}

// ExportCommand returns the export subcommand.
func ExportCommand() *cobra.Command {
	t := &tool{}
	c := t.command("export USER", "Write everything that is stored about a user",
		"Writes everything that is stored about a user as one JSON file to the output, as\nthe user gets it from the API."+whichUser, cobra.ExactArgs(1), (*tool).export)
	c.PersistentFlags().Lookup("json").Usage = "the output is always JSON"
	return c
}

func (t *tool) command(
	use, short, long string, args cobra.PositionalArgs, run func(t *tool, args []string) error,
) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: long, Args: args, SilenceErrors: true, SilenceUsage: true,
	}
	t.Command = c
	t.flags.Register(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if t.limit < 0 || t.after < 0 {
			return errors.New("--limit and --after must not be negative")
		}
		t.out = c.OutOrStdout()
		return t.flags.Store(c.Context(), func(store domain.Store, _ config.Config) error {
			t.store = store
			err := run(t, args)
			if domain.CodeOf(err) == domain.CodeNotFound {
				return errNoUser
			}
			return err
		})
	}
	return c
}

// find returns the user that an argument means.
func (t *tool) find(which string) (domain.User, error) {
	name, named := strings.CutPrefix(which, "@")
	if id, ok := domain.ParseID(which); ok {
		return found(t.store.UserByID(t.Context(), domain.UserID(id)))
	}
	if _, key, fault := domain.NormalizeEmail(which); fault == "" && !named {
		return found(t.store.UserByEmail(t.Context(), key))
	}
	_, key, fault := domain.NormalizeUsername(name)
	if fault != "" {
		return domain.User{}, errNoUser
	}
	return found(t.store.UserByUsername(t.Context(), key))
}

func found(u domain.User, err error) (domain.User, error) {
	if domain.CodeOf(err) == domain.CodeNotFound {
		err = errNoUser
	}
	return u, err
}

func printed(u domain.User) User {
	p := User{ID: u.ID, Username: u.Username, Email: u.Email, CreatedAt: u.CreatedAt.UTC()}
	if !u.BannedAt.IsZero() {
		at := u.BannedAt.UTC()
		p.BannedAt = &at
	}
	return p
}

func (t *tool) list([]string) error {
	list := []User{}
	for after := domain.UserID(t.after); len(list) < t.limit; {
		page, err := t.store.Users(t.Context(), after, min(pageSize, t.limit-len(list)))
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, u := range page {
			list, after = append(list, printed(u)), u.ID
		}
	}
	return t.print(list, list)
}

func (t *tool) show(args []string) error {
	u, err := t.find(args[0])
	if err != nil {
		return err
	}
	n, err := t.store.UserTotals(t.Context(), u.ID)
	if err != nil {
		return err
	}
	p := printed(u)
	p.Totals = &Totals{VotesToday: n.VotesToday, Votes: n.Votes, Skips: n.Skips, Polls: n.Polls}
	return t.print(p, []User{p})
}

func (t *tool) reset(args []string) error {
	u, err := t.find(args[0])
	if err != nil {
		return err
	}
	password, err := app.ResetPassword(t.Context(), t.store, u.ID)
	if err != nil {
		return err
	}
	if t.flags.JSON {
		return command.WriteJSON(t.out, Reset{User: printed(u), Password: password})
	}
	_, err = fmt.Fprintf(t.out, "The new password of %s (%d) is: %s\n", u.Username, u.ID, password)
	return err
}

func ban(banned bool) func(*tool, []string) error {
	return func(t *tool, args []string) error {
		u, err := t.find(args[0])
		if err != nil {
			return err
		}
		change, err := t.store.SetBanned(t.Context(), u.ID, banned)
		if err != nil {
			return err
		}
		p := printed(change.User)
		return t.print(p, []User{p})
	}
}

func (t *tool) export(args []string) error {
	u, err := t.find(args[0])
	if err != nil {
		return err
	}
	return app.ExportUser(t.Context(), t.store, u.ID, t.out)
}

// print writes the value as JSON, or the users as a table.
func (t *tool) print(value any, users []User) error {
	if t.flags.JSON {
		return command.WriteJSON(t.out, value)
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "id\tusername\te-mail\tcreated\tbanned\tvotes, today\tskips\tpolls") // an error shows at Flush
	for _, u := range users {
		banned, totals := "-", "-\t-\t-"
		if u.BannedAt != nil {
			banned = u.BannedAt.Format(time.RFC3339)
		}
		if n := u.Totals; n != nil {
			totals = fmt.Sprintf("%d, %d\t%d\t%d", n.Votes, n.VotesToday, n.Skips, n.Polls)
		}
		_, _ = fmt.Fprintln(w, strings.Join([]string{
			strconv.FormatInt(int64(u.ID), 10), u.Username, u.Email, u.CreatedAt.Format(time.RFC3339), banned, totals,
		}, "\t"))
	}
	return w.Flush()
}
