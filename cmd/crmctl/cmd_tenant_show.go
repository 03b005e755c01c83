package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/stats"
	"github.com/crmctl/crmctl/internal/tenant"
)

// tenantShowOptions are the options of `crmctl tenant show`.
type tenantShowOptions struct{ name string }

func newTenantShowCmd(f *factory, runF func(context.Context, *factory, *tenantShowOptions) error) *cobra.Command {
	opts := &tenantShowOptions{}
	if runF == nil {
		runF = runTenantShow
	}
	cmd := &cobra.Command{
		Use:               "show TENANT",
		Short:             "everything the registry knows of one tenant",
		Example:           "crmctl tenant show acme-corp\ncrmctl tenant show acme-corp -o json",
		Args:              exactArgs("TENANT"),
		ValidArgsFunction: completeOne(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.name = args[0]
			return runF(cmd.Context(), f, opts)
		},
	}
	readOnly(cmd)
	documentExits(cmd, exitUnreachable, exitNoTenant)
	return cmd
}

func runTenantShow(ctx context.Context, f *factory, opts *tenantShowOptions) error {
	slug, err := tenant.Slug(opts.name)
	if err != nil {
		return err
	}
	plan, err := f.tenantPlan(ctx)
	if err != nil {
		return err
	}
	p, conn, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	t, err := tenant.Get(ctx, conn, slug)
	if err != nil {
		return f.placed(err)
	}
	sizes, err := stats.TotalBytes(ctx, conn, []string{slug})
	if err != nil {
		return err
	}
	var size *int64
	if n, ok := sizes[slug]; ok {
		size = &n
	}
	return printObject(p, tenantObject(t, plan.Head(), size))
}

func tenantObject(t tenant.Tenant, head int64, size *int64) object {
	version := any(t.Version)
	if isBehind(t, head) {
		version = styled{either{fmt.Sprintf("%d, the newest is %d", t.Version, head), t.Version}, yellow}
	}
	return object{
		kind: "tenant",
		name: t.Slug,
		fields: []field{
			{name: "tenant", value: t.Slug},
			{name: "display_name", value: t.DisplayName},
			{name: "status", value: statusCell(t.State())},
			{name: "schema", value: t.Schema.String()},
			{name: "version", value: version},
			{name: "size", value: sizeCell(size)},
			{name: "role", value: t.Role, optional: true},
			{name: "id", value: t.ID},
			{name: "settings", value: string(t.Settings)},
			{name: "created", value: t.CreatedAt},
			{name: "updated", value: t.UpdatedAt},
			{name: "deleted", value: t.DeletedAt, optional: true},
			{name: "purge_after", value: t.PurgeAfter, optional: true},
			{name: "purge_started", value: t.PurgeStartedAt, wide: true},
		},
		record: recordOf(t, head, size),
	}
}

// completeOne completes the name of a single tenant.
func completeOne(f *factory) cobra.CompletionFunc {
	several := completeTenants(f)
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return several(cmd, args, prefix)
	}
}
