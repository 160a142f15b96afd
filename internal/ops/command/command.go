// Package command is what the operator's commands have in common: how they are
// configured, how they reach storage, how they ask and answer, and how they end.
package command

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"vote/config"
	"vote/internal/app"
	"vote/internal/domain"
	"vote/internal/ops/progress"
)

// How a command ends. An error that wraps neither is wrong use or configuration.
var (
	// ErrNo says that the command was carried out, and that its answer is no:
	// something is broken, different, missing or refused.
	ErrNo = errors.New("no")
	// ErrUnfinished says that the command could not be carried out.
	ErrUnfinished = errors.New("not finished")
)

// Exit codes, a part of what scripts count on.
const (
	ExitDone       = 0
	ExitNo         = 1
	ExitWrongUse   = 2
	ExitUnfinished = 3
)

// ExitCodes is the table of exit codes for people.
const ExitCodes = `0  done, and the answer is yes
1  done, and the answer is no: something is broken, different, missing or refused
2  wrong use or configuration; nothing was done
3  it could not be carried out, or not to its end`

// ExitCode returns the exit code for a command's error.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return ExitDone
	case errors.Is(err, ErrUnfinished):
		return ExitUnfinished
	case errors.Is(err, ErrNo):
		return ExitNo
	}
	return ExitWrongUse
}

// Flags are those of every command that works on storage.
type Flags struct {
	path string
	// JSON asks for an answer that programs read.
	JSON bool
	// Yes keeps a command from asking before it changes something.
	Yes bool
}

// Register adds the flags to a command and its subcommands.
func (f *Flags) Register(c *cobra.Command) {
	c.PersistentFlags().StringVar(&f.path, "config", config.DefaultPath, "configuration file")
	c.PersistentFlags().BoolVar(&f.JSON, "json", false, "answer as JSON")
}

// RegisterYes adds the flag of commands that ask first.
func (f *Flags) RegisterYes(c *cobra.Command) {
	c.PersistentFlags().BoolVarP(&f.Yes, "yes", "y", false, "do not ask, also on a terminal")
}

// Config returns the configuration.
func (f *Flags) Config() (config.Config, error) { return config.Load(f.path, os.Environ()) }

// Store runs do on the configured storage, which has to exist and to have the
// newest schema; nothing is made or migrated. Errors of storage wrap
// [ErrUnfinished], refusals of the domain [ErrNo].
func (f *Flags) Store(ctx context.Context, do func(domain.Store, config.Config) error) error {
	settings, err := f.Config()
	if err != nil {
		return err
	}
	settings.Storage.AutoMigrate = false
	if settings.Storage.Engine == config.SQLite {
		if _, err := os.Stat(settings.Storage.Path); err != nil {
			return fmt.Errorf("%w: no database: %w", ErrUnfinished, err)
		}
	}
	return open(ctx, settings, do)
}

// NewStore is [Flags.Store] for a command that may begin with nothing: where the
// server would, it makes the storage and applies migrations.
func (f *Flags) NewStore(ctx context.Context, do func(domain.Store, config.Config) error) error {
	settings, err := f.Config()
	if err != nil {
		return err
	}
	return open(ctx, settings, do)
}

func open(ctx context.Context, settings config.Config, do func(domain.Store, config.Config) error) error {
	store, err := app.OpenStore(ctx, settings, app.Options{})
	if errors.Is(err, app.ErrInUse) {
		return fmt.Errorf("%w: stop the server first: %w", ErrUnfinished, err)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	err = store.Ready(ctx)
	if err == nil {
		err = do(store, settings)
	}
	if closed := store.Close(); closed != nil {
		err = errors.Join(err, fmt.Errorf("%w: %w", ErrUnfinished, closed))
	}
	return classify(err)
}

// classify tells refusals of the domain from faults of storage.
func classify(err error) error {
	if err == nil || errors.Is(err, ErrNo) || errors.Is(err, ErrUnfinished) || errors.Is(err, ErrWrongUse) {
		return err
	}
	switch domain.CodeOf(err) {
	case domain.CodeNotFound, domain.CodeInvalid, domain.CodePollClosed, domain.CodeConflict,
		domain.CodeEmailTaken, domain.CodeUsernameTaken:
		return fmt.Errorf("%w: %w", ErrNo, err)
	}
	return fmt.Errorf("%w: %w", ErrUnfinished, err)
}

// ErrWrongUse says that flags ask for what cannot be, where that shows late.
var ErrWrongUse = errors.New("wrong use")

// WriteJSON writes v for programs.
func WriteJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// Confirm asks before something is changed, when a person at a terminal can
// answer and --yes was not given. Errors: [ErrNo] when the answer is not yes.
func (f *Flags) Confirm(c *cobra.Command, question string) error {
	file, ok := c.InOrStdin().(*os.File)
	if f.Yes || !ok || progress.Terminal(file) == nil {
		return nil
	}
	return ask(c.ErrOrStderr(), file, question)
}

func ask(out io.Writer, in io.Reader, question string) error {
	if _, err := fmt.Fprintf(out, "%s [y/N] ", question); err != nil {
		return fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return fmt.Errorf("%w: nothing was changed", ErrNo)
}
