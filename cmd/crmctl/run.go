package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
)

// run is the whole program: it reads args, does the work and returns the exit
// code.
func run(ctx context.Context, args []string, s *cli.Streams) int {
	ctx, in := cli.WatchInterrupts(ctx)
	defer in.Stop()
	f := newFactory(s, in)
	return f.execute(ctx, newRootCmd(f), args)
}

// execute runs a command tree and reports its error.
func (f *factory) execute(ctx context.Context, root *cobra.Command, args []string) int {
	// Without an explicit slice cobra would read os.Args.
	root.SetArgs(append([]string{}, args...))
	f.args = args
	f.markStart(root)
	cmd, err := root.ExecuteContextC(ctx)
	if f.release != nil {
		f.release()
	}
	if err == nil {
		err = f.help.Usage
	}
	if err != nil && !f.started {
		err = usageOf(err)
	}
	if err == nil {
		err = f.help.Failed
	}
	err = f.withTarget(err)
	if f.Interrupts.Seen.Load() && (err != nil || !f.Serves.Load()) {
		return f.interrupted(err)
	}
	// Whatever was cut short by --timeout, that is the reason.
	if cause := context.Cause(cmd.Context()); errors.Is(cause, cli.ErrTimedOut) &&
		errors.Is(err, context.DeadlineExceeded) {
		err = cli.WithCode(cause, cli.ExitFailure)
	}
	f.report(err)
	if code := exitCode(err); code != cli.ExitOK || f.skippedRows == 0 {
		return code
	}
	return cli.ExitPartial
}

// usageOf makes an error that came up before a command started one of usage,
// unless it says otherwise itself.
func usageOf(err error) error {
	if code := exitCode(err); code != cli.ExitFailure {
		return err
	}
	return cli.WithCode(err, cli.ExitUsage)
}

// markStart lets execute tell errors of usage from errors of the work.
func (f *factory) markStart(cmd *cobra.Command) {
	if runE := cmd.RunE; runE != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			f.started = true
			return runE(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		f.markStart(sub)
	}
}

// prepare runs before every command: configuration, warnings, the deadline.
func (f *factory) prepare(cmd *cobra.Command) error {
	f.cmd = cmd
	if cmd.Name() == cobra.ShellCompRequestCmd || cmd.Name() == cobra.ShellCompNoDescRequestCmd {
		return nil // stays silent whatever is wrong
	}
	if err := config.CheckFlagDSN(f.flags.databaseURL); err != nil {
		return err
	}
	if cmd.Annotations[cli.AnnotationNoConfig] != "" {
		return nil
	}
	cfg, err := f.config()
	if err != nil && cmd.Annotations[cli.AnnotationApart] != "" {
		f.useFlagsAlone()
		cfg, err = f.config()
	}
	if err != nil {
		return err
	}
	if err := refuseDryRun(cmd, cfg); err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		f.Note("crmctl: warning: %s", w)
	}
	if err := f.fillFlags(cmd, cfg); err != nil {
		return err
	}
	if cfg.Timeout > 0 {
		cause := fmt.Errorf("%w after %s", cli.ErrTimedOut, config.FormatDuration(cfg.Timeout))
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), cfg.Timeout, cause)
		f.release = cancel
		f.SetDeadline(ctx.Done(), cause)
		cmd.SetContext(ctx)
	}
	return nil
}
