package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// tenantMoveOptions are the options of the commands that move one tenant from one
// state to another.
type tenantMoveOptions struct {
	name        string
	lockTimeout time.Duration
	dryRun      bool
}

// tenantMove is what such a command does.
type tenantMove struct {
	result string // "suspended"
	apply  func(context.Context, *pgx.Conn, string, tenant.MoveOptions) (registry.Tenant, error)
}

func newTenantSuspendCmd(f *factory, runF func(context.Context, *factory, *tenantMoveOptions) error) *cobra.Command {
	return newTenantMoveCmd(f, runF, tenantMove{"suspended", tenant.Suspend}, &cobra.Command{
		Use:   "suspend TENANT",
		Short: "shut a tenant for a while, its data untouched",
		Long: `Shut a tenant. Its role, where it has one, loses the schema at once, in sessions that are open
too; crmctl's own commands refuse to write to it. Migrations still reach it, so that it is up to
date when it comes back. A tenant without a role of its own is only marked in the registry: the
application has to look there.`,
		Example: "crmctl tenant suspend acme-corp",
	})
}

func newTenantActivateCmd(f *factory, runF func(context.Context, *factory, *tenantMoveOptions) error) *cobra.Command {
	return newTenantMoveCmd(f, runF, tenantMove{"activated", tenant.Activate}, &cobra.Command{
		Use:     "activate TENANT",
		Short:   "open a suspended tenant again",
		Long:    "Open a suspended tenant again. Its role, where it has one, gets the schema back.",
		Example: "crmctl tenant activate acme-corp",
	})
}

func newTenantMoveCmd(f *factory, runF func(context.Context, *factory, *tenantMoveOptions) error, move tenantMove,
	cmd *cobra.Command) *cobra.Command {
	opts := &tenantMoveOptions{}
	if runF == nil {
		runF = func(ctx context.Context, f *factory, opts *tenantMoveOptions) error {
			return runTenantMove(ctx, f, opts, move)
		}
	}
	cmd.Args = cli.ExactArgs("TENANT")
	cmd.ValidArgsFunction = completeOne(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opts.name = args[0]
		return runF(cmd.Context(), f, opts)
	}
	addLockTimeoutFlag(cmd.Flags(), &opts.lockTimeout)
	addDryRunFlag(cmd.Flags(), &opts.dryRun)
	addExpectDatabaseFlag(cmd.Flags())
	cli.DocumentExits(cmd, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func runTenantMove(ctx context.Context, f *factory, opts *tenantMoveOptions, move tenantMove) error {
	slug, err := registry.Slug(opts.name)
	if err != nil {
		return err
	}
	p, conn, err := f.openToChange(ctx, opts.dryRun)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	o, result := f.moveOptions(opts.lockTimeout), move.result
	if opts.dryRun {
		o.DryRun, result = true, "would be "+move.result
	}
	t, err := move.apply(ctx, conn, slug, o)
	if err != nil {
		return err
	}
	f.warnRole(t)
	return cli.PrintList(p, movedList(result, p.Show), []registry.Tenant{t})
}
