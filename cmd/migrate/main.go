// Command migrate changes the schema of Vote's storage.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
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
	up := func(c *cobra.Command, _ []string) error {
		return migrate(c, func(m app.Migrator) error { return m.Up(c.Context()) })
	}
	root := &cobra.Command{
		Use:          "migrate",
		Short:        "Change the schema of Vote's storage; without a command: up",
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
	)
	return root
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
