package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// migrateRetryOptions are the options of `crmctl migrate retry`.
type migrateRetryOptions struct {
	runPolicy

	id     int64 // 0 = the latest with something left
	dryRun bool
}

func newMigrateRetryCmd(f *factory) *cobra.Command {
	opts := &migrateRetryOptions{}
	cmd := &cobra.Command{
		Use:   "retry [RUN]",
		Short: "do again what failed or was not started in a run",
		Long: `Take up again the tenants of a run that failed or were not started; of the latest run that has
any when none is named. What each of them needs is planned afresh: one that was mended or
migrated since is left alone. One that failed is never the canary, which would stop the others
again.`,
		Example: "crmctl migrate retry\ncrmctl migrate retry 42 --lock-timeout 10s",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if len(args) > 0 {
				if opts.id, err = runID(args[0]); err != nil {
					return err
				}
			}
			if err := opts.validate(); err != nil {
				return err
			}
			return runMigrateRetry(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(cmd.Flags())
	opts.addGroupFlag(cmd.Flags())
	opts.register(cmd)
	addDryRunFlag(cmd.Flags(), &opts.dryRun)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitStopped, cli.ExitUnreachable)
	return cmd
}

func runMigrateRetry(ctx context.Context, f *factory, opts *migrateRetryOptions) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	run, err := a.PlanRetry(ctx, opts.id, opts.dryRun)
	if err != nil {
		return retryHint(err)
	}
	defer run.Close(ctx)
	if opts.dryRun {
		f.skipForked(run.Forked)
	}
	if opts.dryRun && run.Route.Kind == migrate.Up {
		return printPlan(ctx, f, p, run.Conn(), run.Plan, run.Pending, false)
	}
	if opts.dryRun {
		return f.printRollback(p, run.Plan, run.Route, run.Pending)
	}
	f.Note("retry     run %d, %s left", run.Retried.ID, cli.Plural(len(run.Chosen), "tenant"))
	return (&fleetRun{FleetRun: run, f: f, p: p, policy: &opts.runPolicy}).carry(ctx)
}

// retryHint adds the next step where nothing can be taken up again.
func retryHint(err error) error {
	_, own := errors.AsType[*app.OwnTargetsError](err)
	switch {
	case own:
		return cli.Usagef("%w: say which with migrate rollback --to, or migrate redo", err)
	case errors.Is(err, app.ErrNothingLeft), errors.Is(err, registry.ErrNoRun):
		return cli.WithHint(err, "see", "crmctl migrate runs")
	case errors.Is(err, app.ErrRunGoesOn):
		return cli.WithCode(err, cli.ExitLocked)
	}
	return err
}
