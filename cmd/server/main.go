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
	if command().Execute() != nil {
		os.Exit(1)
	}
}

func command() *cobra.Command {
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
	c.PersistentFlags().StringVar(&path, "config", config.DefaultPath, "configuration file")
	c.Flags().BoolVar(&printConfig, "print-config", false, "print the configuration in force, without secrets, and exit")
	c.AddCommand(&cobra.Command{
		Use:   "ready",
		Short: "Ask the server that runs here whether it takes requests",
		Long: `Asks the server that runs on this machine with the same configuration whether it
takes requests: exit code 0 if so, else 1 with the reason. It is the health check
of the container image, which has no other program that could ask.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := config.Load(path, os.Environ())
			if err != nil {
				return err
			}
			return app.Probe(c.Context(), settings)
		},
	})
	return c
}
