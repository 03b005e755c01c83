package main

import (
	"context"
	"iter"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
)

// tenantHistoryOptions are the options of `crmctl tenant history`.
type tenantHistoryOptions struct {
	name  string
	limit int
}

func newTenantHistoryCmd(f *factory) *cobra.Command {
	opts := &tenantHistoryOptions{}
	cmd := &cobra.Command{
		Use:   "history TENANT",
		Short: "what happened to a tenant, the newest last",
		Long: `Show what happened to a tenant: the audit under all its names, and its part in fleet runs. A
purged tenant has a history too. Where a name was used again, both tenants are shown.`,
		Example:           "crmctl tenant history acme-corp\ncrmctl tenant history acme-corp -o json",
		Args:              cli.ExactArgs("TENANT"),
		ValidArgsFunction: completeOne(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.name = args[0]
			if opts.limit < 0 {
				return cli.Usagef("--limit %d: want 0 (all) or more", opts.limit)
			}
			return runTenantHistory(cmd.Context(), f, opts)
		},
	}
	cmd.Flags().IntVar(&opts.limit, "limit", 0, "only the newest `N`; 0 for all")
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runTenantHistory(ctx context.Context, f *factory, opts *tenantHistoryOptions) error {
	slug, err := registry.Slug(opts.name)
	if err != nil {
		return err
	}
	conn, err := f.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	next, stop := iter.Pull2(f.registry().History(ctx, conn, slug, opts.limit))
	defer stop()
	first, err, some := next()
	switch {
	case err != nil:
		return err
	case !some:
		// Nobody ever had that name, or the registry's row was written by hand.
		if _, err := f.registry().Get(ctx, conn, slug); err != nil {
			return err
		}
	}
	return f.printEntries(func(yield func(registry.Entry, error) bool) {
		for e, err, more := first, error(nil), some; more; e, err, more = next() {
			if !yield(e, err) {
				return
			}
		}
	}, "nothing is known of it")
}
