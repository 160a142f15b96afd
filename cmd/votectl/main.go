// Command votectl looks after a Vote: it fills, checks and tidies a database, looks
// after its accounts, and replays recorded conversations against a running server.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"vote/internal/ops/archive"
	"vote/internal/ops/check"
	"vote/internal/ops/command"
	"vote/internal/ops/deadletters"
	"vote/internal/ops/poll"
	"vote/internal/ops/replay"
	"vote/internal/ops/seed"
	"vote/internal/ops/users"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "votectl:", err)
	}
	os.Exit(command.ExitCode(err))
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "votectl",
		Short: "Look after a Vote",
		Long: `Looks after a Vote. On the embedded storage, every command but replay works on
the data while the server is stopped.

Exit codes of every command:
` + command.ExitCodes,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	c.AddCommand(
		archive.Command(), check.Command(), deadletters.Command(), poll.Command(), replay.Command(), seed.Command(),
		users.Command(), users.ExportCommand(), versionCommand(),
	)
	return c
}

func versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print which build this is",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			version, revision := "unknown", "unknown"
			if info, ok := debug.ReadBuildInfo(); ok {
				version = info.Main.Version
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						revision = s.Value
					}
				}
			}
			if asJSON {
				return command.WriteJSON(c.OutOrStdout(), map[string]string{"version": version, "revision": revision, "go": runtime.Version()})
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "vote %s, revision %s, %s\n", version, revision, runtime.Version())
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "answer as JSON")
	return c
}
