package main

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

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

func newMigrateRetryCmd(f *factory, runF func(context.Context, *factory, *migrateRetryOptions) error) *cobra.Command {
	opts := &migrateRetryOptions{}
	if runF == nil {
		runF = runMigrateRetry
	}
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
			return runF(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(cmd.Flags())
	opts.register(cmd)
	addDryRunFlag(cmd.Flags(), &opts.dryRun)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitStopped, cli.ExitUnreachable)
	return cmd
}

func runMigrateRetry(ctx context.Context, f *factory, opts *migrateRetryOptions) error {
	p, conn, err := f.openToChange(ctx, opts.dryRun)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	run, tenants, err := runToRetry(ctx, f, conn, opts.id)
	if err != nil {
		return err
	}
	plan, err := f.tenantPlanTo(ctx, asVersion(run.Selection["to"]))
	if err != nil {
		return err
	}
	if plan, err = f.useExtensions(ctx, conn, plan, opts.dryRun); err != nil {
		return err
	}
	left, err := leftOf(ctx, f, conn, run, tenants)
	if err != nil {
		return err
	}
	route := migrate.Route{Kind: run.Kind, To: run.Target}
	if run.Kind == migrate.Up {
		route = migrate.Route{Kind: migrate.Up}
	}
	pending := behind(plan, route, left)
	if opts.dryRun && run.Kind == migrate.Up {
		return printPlan(ctx, f, p, conn, plan, pending, false)
	}
	if opts.dryRun {
		return printRollback(p, plan, route, pending)
	}
	f.Note("retry     run %d, %s left", run.ID, cli.Plural(len(left), "tenant"))
	job := fleetRun{plan: plan, route: route, chosen: len(left), pending: pending, policy: &opts.runPolicy, selection: run.Selection}
	for _, t := range tenants {
		if t.State == migrate.Failed {
			job.failed = append(job.failed, t.ID)
		}
	}
	return job.run(ctx, f, p, conn)
}

// asVersion reads a version as JSON keeps it.
func asVersion(v any) int64 {
	n, _ := v.(float64)
	return int64(n)
}

// runToRetry returns the run of a number or, for 0, the latest with something
// left to do.
func runToRetry(ctx context.Context, f *factory, conn *pgx.Conn, id int64) (migrate.RunRecord, []migrate.RunTenant, error) {
	if id == 0 {
		const recent = 100
		runs, err := migrate.Runs(ctx, conn, recent)
		if err != nil {
			return migrate.RunRecord{}, nil, f.placed(err)
		}
		for _, r := range runs {
			if r.State != "running" && r.Target >= 0 && r.Failed+r.NotStarted > 0 {
				id = r.ID
				break
			}
		}
		if id == 0 {
			return migrate.RunRecord{}, nil, cli.WithHint(errors.New("no run has anything left to do"), "see", "crmctl migrate runs")
		}
	}
	run, tenants, err := getRun(ctx, f, conn, id)
	switch {
	case err != nil:
		return run, nil, err
	case run.State == "running":
		return run, nil, cli.WithCode(errors.New("this run is still going on"), cli.ExitLocked)
	case run.Target < 0:
		return run, nil, cli.Usagef("run %d took each tenant to a version of its own: say which with migrate rollback --to, or migrate redo", id)
	}
	return run, tenants, nil
}

// leftOf returns the tenants that a run was for and that did not end well in it.
func leftOf(ctx context.Context, f *factory, conn *pgx.Conn, run migrate.RunRecord, outcomes []migrate.RunTenant) ([]registry.Tenant, error) {
	s := selection{tenants: asStrings(run.Selection["tenants"]), exclude: asStrings(run.Selection["exclude"])}
	m, err := s.matcher(f)
	if err != nil {
		return nil, err
	}
	m.lenient = true // purged since
	chosen, err := m.list(ctx, f, conn, registry.Active, registry.Suspended)
	if err != nil {
		return nil, err
	}
	done, open := migrate.Unfinished(outcomes)
	var left []registry.Tenant
	for _, t := range chosen {
		// A run that was killed did not come to name what it left.
		if open[t.ID] || run.State == "killed" && !done[t.ID] && t.CreatedAt.Before(run.StartedAt) {
			left = append(left, t)
		}
	}
	return left, nil
}

func asStrings(v any) []string {
	var out []string
	items, _ := v.([]any)
	for _, item := range items {
		if s, ok := item.(string); ok {
			out = append(out, s)
		}
	}
	return out
}
