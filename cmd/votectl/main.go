// Command votectl looks after a Vote: it replays recorded conversations against
// a running server and checks a database.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"vote/internal/ops/check"
	"vote/internal/ops/replay"
)

func main() {
	c := &cobra.Command{Use: "votectl", Short: "Look after a Vote", SilenceErrors: true, SilenceUsage: true}
	c.AddCommand(replay.Command(), check.Command(), versionCommand())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := c.ExecuteContext(ctx)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "votectl:", err)
	}
	os.Exit(exitCode(err))
}

// exitCode is part of what scripts count on; the commands' help tells it.
func exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, replay.ErrDifferent), errors.Is(err, check.ErrBroken):
		return 1
	case errors.Is(err, replay.ErrUnfinished), errors.Is(err, check.ErrUnfinished):
		return 3
	}
	return 2
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
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
			_, err := fmt.Fprintf(c.OutOrStdout(), "vote %s, revision %s, %s\n", version, revision, runtime.Version())
			return err
		},
	}
}
