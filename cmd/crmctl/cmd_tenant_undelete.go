package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
)

func newTenantUndeleteCmd(f *factory) *cobra.Command {
	opts := &tenantMoveOptions{}
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
	opts.addFlags(cmd.Flags())
	cli.DocumentExits(cmd, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func runTenantUndelete(ctx context.Context, f *factory, opts *tenantMoveOptions) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	t, newest, err := a.UndeleteTenant(ctx, opts.move())
	if err != nil {
		return err
	}
	list := movedList(opts.result("restored"), p.Show)
	if opts.dryRun {
		return cli.PrintList(p, list, []registry.Tenant{t})
	}
	if isBehind(t, newest) {
		f.Note("%s is at version %d, the newest is %d: crmctl migrate tenant %s", cli.Visible(t.Slug), t.Version, newest,
			cli.Visible(t.Slug))
	}
	if t.Status == registry.Suspended {
		f.Note("%s is suspended, as it was: crmctl tenant activate %s", cli.Visible(t.Slug), cli.Visible(t.Slug))
	}
	f.warnRole(t)
	return cli.PrintList(p, list, []registry.Tenant{t})
}
