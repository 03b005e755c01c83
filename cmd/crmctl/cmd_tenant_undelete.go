package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// tenantUndeleteOptions are the options of `crmctl tenant undelete`.
type tenantUndeleteOptions struct {
	name        string
	lockTimeout time.Duration
	dryRun      bool
}

func newTenantUndeleteCmd(f *factory) *cobra.Command {
	opts := &tenantUndeleteOptions{}
	cmd := &cobra.Command{
		Use:   "undelete TENANT",
		Short: "bring a deleted tenant back",
		Long: `Bring a deleted tenant back as it was, active or suspended, as long as no purge has begun to
destroy it.`,
		Example:           "crmctl tenant undelete acme-corp",
		Args:              cli.ExactArgs("TENANT"),
		ValidArgsFunction: completeOne(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.name = args[0]
			return runTenantUndelete(cmd.Context(), f, opts)
		},
	}
	addLockTimeoutFlag(cmd.Flags(), &opts.lockTimeout)
	addDryRunFlag(cmd.Flags(), &opts.dryRun)
	addExpectDatabaseFlag(cmd.Flags())
	cli.DocumentExits(cmd, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func runTenantUndelete(ctx context.Context, f *factory, opts *tenantUndeleteOptions) error {
	slug, err := registry.Slug(opts.name)
	if err != nil {
		return err
	}
	p, conn, err := f.openToChange(ctx, opts.dryRun)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	o := f.moveOptions(opts.lockTimeout)
	o.DryRun = opts.dryRun
	t, err := tenant.Undelete(ctx, conn, slug, o)
	switch {
	case err != nil:
		return err
	case opts.dryRun:
		return cli.PrintList(p, movedList("would be restored", p.Show), []registry.Tenant{t})
	}
	plan, err := f.tenantPlan(ctx)
	if err == nil && isBehind(t, plan.Head()) {
		f.Note("%s is at version %d, the newest is %d: crmctl migrate tenant %s", cli.Visible(t.Slug), t.Version, plan.Head(),
			cli.Visible(t.Slug))
	}
	if t.Status == registry.Suspended {
		f.Note("%s is suspended, as it was: crmctl tenant activate %s", cli.Visible(t.Slug), cli.Visible(t.Slug))
	}
	f.warnRole(t)
	return cli.PrintList(p, movedList("restored", p.Show), []registry.Tenant{t})
}
