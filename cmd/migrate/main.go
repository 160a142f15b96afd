// Command migrate changes the schema of Vote's storage, and how its users are spread.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"vote/config"
	"vote/internal/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var path string
	// migrate runs do on the configured storage and then says where it stands.
	migrate := func(c *cobra.Command, do func(app.Migrator) error) (err error) {
		settings, err := config.Load(path, os.Environ())
		if err != nil {
			return err
		}
		m, err := app.OpenMigrator(settings)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, m.Close()) }()
		if err := do(m); err != nil {
			return err
		}
		return status(c.Context(), c.OutOrStdout(), m)
	}
	// shard runs do on the configured storage's buckets.
	shard := func(do func(app.Sharder) error) (err error) {
		settings, err := config.Load(path, os.Environ())
		if err != nil {
			return err
		}
		m, err := app.OpenSharder(settings)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, m.Close()) }()
		return do(m)
	}
	up := func(c *cobra.Command, _ []string) error {
		return migrate(c, func(m app.Migrator) error { return m.Up(c.Context()) })
	}
	root := &cobra.Command{
		Use:          "migrate",
		Short:        "Change the schema of Vote's storage, or how its users are spread; without a command: up",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         up,
	}
	root.PersistentFlags().StringVar(&path, "config", config.DefaultPath, "configuration file")
	root.AddCommand(
		&cobra.Command{Use: "up", Short: "Apply every migration that is missing", Args: cobra.NoArgs, RunE: up},
		&cobra.Command{Use: "down", Short: "Take back the newest migration", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
			return migrate(c, func(m app.Migrator) error { return m.Down(c.Context()) })
		}},
		&cobra.Command{Use: "status", Short: "List the migrations", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
			return migrate(c, func(app.Migrator) error { return nil })
		}},
		&cobra.Command{Use: "to N", Short: "Go up or down to migration N; 0 takes back all", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, args []string) error {
			n, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || n < 0 {
				return fmt.Errorf("%q is not the number of a migration", args[0])
			}
			return migrate(c, func(m app.Migrator) error { return m.To(c.Context(), n) })
		}},
		&cobra.Command{Use: "rebucket N", Short: "Spread the users over N buckets (PostgreSQL)", Long: rebucketHelp, Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 1 || n > app.MaxBuckets {
				return fmt.Errorf("%q is not a number of buckets: there can be 1 to %d", args[0], app.MaxBuckets)
			}
			return shard(func(s app.Sharder) error { return rebucket(c.Context(), c.OutOrStdout(), s, n) })
		}},
		&cobra.Command{Use: "distribute", Short: "Distribute the tables over the servers of a Citus cluster, by bucket", Long: distributeHelp, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
			return shard(func(s app.Sharder) error { return distribute(c.Context(), c.OutOrStdout(), s) })
		}},
	)
	return root
}

const rebucketHelp = `Spread the users, with all that is theirs, over N buckets, 1 to 1024: the user's
id modulo N. Afterwards storage.buckets must be N in every server's configuration.

Stop every server first: with one connected the command refuses, and changes
nothing. All is one transaction, so a command that was ended, at whatever moment,
has changed nothing either, and is begun again. It writes every row anew that gets
another bucket, and needs as much free room.

Rows of archived months change with the others as long as their tables are in
this database. Tables that are distributed cannot change their buckets.`

const distributeHelp = `Distribute the tables over the servers of a Citus cluster: those of users and the
counts by bucket, a bucket on one server; users and polls as a copy on each.

The database, by the coordinator, needs the extension citus and more than one
bucket; many more than servers, so that they spread evenly: see migrate rebucket.
Stop every server first. All is one transaction. A table that is distributed
already stays as it is, so the command can be repeated, and is after a migration
that makes a table.`

func rebucket(ctx context.Context, w io.Writer, s app.Sharder, n int) error {
	before, err := s.Rebucket(ctx, n)
	if err != nil {
		return err
	}
	if before == n {
		_, err = fmt.Fprintf(w, "storage.buckets is %d already: nothing was changed\n", n)
	} else {
		_, err = fmt.Fprintf(w, "storage.buckets was %d and is %d now: set it in the configuration of every server\n", before, n)
	}
	return err
}

func distribute(ctx context.Context, w io.Writer, s app.Sharder) error {
	spread, err := s.Distribute(ctx)
	if err != nil {
		return err
	}
	if len(spread) == 0 {
		_, err = fmt.Fprintln(w, "every table is distributed already: nothing was changed")
	} else {
		_, err = fmt.Fprintf(w, "distributed: %s\n", strings.Join(spread, ", "))
	}
	return err
}

func status(ctx context.Context, w io.Writer, m app.Migrator) error {
	all, err := m.Status(ctx)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, one := range all {
		applied := "missing"
		if one.Applied {
			applied = one.AppliedAt.UTC().Format(time.RFC3339)
		}
		_, _ = fmt.Fprintf(t, "%d\t%s\t%s\n", one.Version, one.Name, applied) // an error shows at Flush
	}
	return t.Flush()
}
