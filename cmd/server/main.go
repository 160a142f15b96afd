// Command server runs Vote.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"vote/config"
	"vote/internal/app"
)

func main() {
	var path string
	var printConfig bool
	c := &cobra.Command{
		Use:   "server",
		Short: "Run Vote",
		Long: `Runs Vote as the configuration file and the environment say; without either, on
the embedded engines, with its data in data/. SIGINT and SIGTERM drain it: what
is under way is finished, then it ends.`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := config.Load(path, os.Environ())
			if err != nil {
				return err
			}
			if printConfig {
				return settings.Print(c.OutOrStdout())
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			a, err := app.New(ctx, settings, app.Options{Logger: app.NewLogger(settings.Logging, os.Stderr)})
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(c.OutOrStdout(), "Vote listens on", a.URL()); err != nil {
				return err
			}
			return a.Run(ctx)
		},
	}
	c.Flags().StringVar(&path, "config", config.DefaultPath, "configuration file")
	c.Flags().BoolVar(&printConfig, "print-config", false, "print the configuration in force, without secrets, and exit")
	if c.Execute() != nil {
		os.Exit(1)
	}
}
