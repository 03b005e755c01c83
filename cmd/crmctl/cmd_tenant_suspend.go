package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
)

// tenantMoveOptions are the options of the commands that move one tenant from one
// state to another.
type tenantMoveOptions struct {
	name        string
	lockTimeout time.Duration
	dryRun      bool
}

func (o *tenantMoveOptions) addFlags(fs *pflag.FlagSet) {
	addLockTimeoutFlag(fs, &o.lockTimeout)
	addDryRunFlag(fs, &o.dryRun)
	addExpectDatabaseFlag(fs)
}

// move returns the application's options.
func (o *tenantMoveOptions) move() app.MoveOptions {
	return app.MoveOptions{Tenant: o.name, LockTimeout: o.lockTimeout, DryRun: o.dryRun}
}

// result returns what became of the tenant, or would.
func (o *tenantMoveOptions) result(done string) string {
	if o.dryRun {
		return "would be " + done
	}
	return done
}

// tenantMove is what such a command does.
type tenantMove struct {
	result string // "suspended"
	apply  func(*app.App, context.Context, app.MoveOptions) (registry.Tenant, error)
}

func newTenantSuspendCmd(f *factory) *cobra.Command {
	return newTenantMoveCmd(f, tenantMove{"suspended", (*app.App).SuspendTenant}, &cobra.Command{
		Use:   "suspend TENANT",
		Short: "shut a tenant for a while, its data untouched",
		Long: `Shut a tenant. Its role, where it has one, loses the schema at once, in sessions that are open
too; crmctl's own commands refuse to write to it. Migrations still reach it, so that it is up to
date when it comes back. A tenant without a role of its own is only marked in the registry: the
application has to look there.`,
		Example: "crmctl tenant suspend acme-corp",
	})
}

func newTenantActivateCmd(f *factory) *cobra.Command {
	return newTenantMoveCmd(f, tenantMove{"activated", (*app.App).ActivateTenant}, &cobra.Command{
		Use:     "activate TENANT",
		Short:   "open a suspended tenant again",
		Long:    "Open a suspended tenant again. Its role, where it has one, gets the schema back.",
		Example: "crmctl tenant activate acme-corp",
	})
}

func newTenantMoveCmd(f *factory, move tenantMove, cmd *cobra.Command) *cobra.Command {
	opts := &tenantMoveOptions{}
	cmd.Args = cli.ExactArgs("TENANT")
	cmd.ValidArgsFunction = completeOne(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opts.name = args[0]
		return runTenantMove(cmd.Context(), f, opts, move)
	}
	opts.addFlags(cmd.Flags())
	cli.DocumentExits(cmd, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func runTenantMove(ctx context.Context, f *factory, opts *tenantMoveOptions, move tenantMove) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	t, err := move.apply(a, ctx, opts.move())
	if err != nil {
		return err
	}
	f.warnRole(t)
	return cli.PrintList(p, movedList(opts.result(move.result), p.Show), []registry.Tenant{t})
}
