package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/registry"
)

// tenantDeleteOptions are the options of `crmctl tenant delete`.
type tenantDeleteOptions struct {
	tenantMoveOptions

	confirm   string
	retention time.Duration
	given     bool // --retention was, which wins over the tenant's own
	ifExists  bool
}

func newTenantDeleteCmd(f *factory) *cobra.Command {
	opts := &tenantDeleteOptions{}
	cmd := &cobra.Command{
		Use:   "delete TENANT",
		Short: "close a tenant; its data stays until the retention is over",
		Long: `Close a tenant. Nothing is destroyed yet: its data stays for the retention, and crmctl tenant
undelete brings it back. After that crmctl tenant purge may destroy it. The tenant's role,
where it has one, cannot enter its schema any more.

The retention is that of --retention, or the tenant's own (crmctl tenant set NAME
retention=90d), or that of the configuration.`,
		Example: `crmctl tenant delete acme-corp
crmctl tenant delete acme-corp --retention 90d --confirm acme-corp`,
		Args:              cli.ExactArgs("TENANT"),
		ValidArgsFunction: completeOne(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.name, opts.given = args[0], cmd.Flags().Changed("retention")
			return runTenantDelete(cmd.Context(), f, opts)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&opts.confirm, "confirm", "", "the tenant's `NAME`, instead of typing it")
	fs.BoolVar(&opts.ifExists, "if-exists", false, "no tenant of that name, or a deleted one, is no error")
	addRetentionFlag(fs, &opts.retention)
	opts.addFlags(fs)
	cli.DocumentExits(cmd, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func runTenantDelete(ctx context.Context, f *factory, opts *tenantDeleteOptions) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	done, err := a.DeleteTenant(ctx, app.DeleteOptions{
		MoveOptions: opts.move(), Retention: opts.retention, Given: opts.given, IfExists: opts.ifExists,
		Confirm: func(ctx context.Context, c app.Closing) error {
			impact, err := impactOf(f, c, p.Show)
			if err != nil {
				return err
			}
			return f.ConfirmName(ctx, cli.Confirmation{Impact: impact, Name: c.Tenant.Slug, Given: opts.confirm,
				Flag: "--confirm", What: "the tenant's name"})
		},
	})
	if bad, is := errors.AsType[*app.RetentionError](err); is {
		return cli.WithHint(err, "mend it", "crmctl tenant set "+bad.Slug+" "+app.SettingRetention+"=30d")
	}
	switch {
	case err != nil:
		return err
	case done.Missing:
		f.Verbose("no tenant %q: nothing to delete", done.Slug)
		return nil
	case done.Closing == nil:
		return nil
	case opts.dryRun:
		impact, err := impactOf(f, *done.Closing, p.Show)
		if err != nil {
			return err
		}
		f.Note("%s", cli.Lines(impact))
		return cli.PrintObject(p, tenantObject(done.Tenant, done.Tenant.Version, nil, cluster.Place{}))
	}
	f.warnRole(done.Tenant)
	return cli.PrintList(p, movedList("deleted", p.Show), []registry.Tenant{done.Tenant})
}

// impactOf says what a tenant holds before it is closed.
func impactOf(f *factory, c app.Closing, show cli.Presentation) (string, error) {
	target, err := f.target()
	if err != nil {
		return "", err
	}
	slug := cli.Visible(c.Tenant.Slug)
	return fmt.Sprintf("%s on %s holds %s.\nIt will be closed now and may be destroyed after %s (%s).\nUntil then: "+
		"crmctl tenant undelete %s", slug, cli.Visible(target.Place()), holdingsText(c.Holds), humanRetention(c.Retention),
		show.Human(cli.Day(c.Until)), slug), nil
}

// holdingsText says how much data tenants hold: "about 200 contacts, 672 kB".
func holdingsText(h app.Holdings) string {
	switch {
	case !h.Known:
		return "an unknown amount of data"
	case h.Contacts == nil:
		return cli.HumanSize(h.Bytes)
	}
	return fmt.Sprintf("about %s, %s", cli.Plural(int(*h.Contacts), "contact"), cli.HumanSize(h.Bytes))
}

// movedList shows tenants whose state changed.
func movedList(result string, show cli.Presentation) cli.List[registry.Tenant] {
	return cli.List[registry.Tenant]{
		Plural: "tenants",
		Columns: documented([]cli.Column[registry.Tenant]{
			{Name: "result", Value: func(registry.Tenant) any { return cli.Styled{Value: result, Color: resultColor(result)} }},
			{Name: "tenant", Value: func(t registry.Tenant) any { return t.Slug }},
			{Name: "schema", Value: func(t registry.Tenant) any { return t.Schema.String() }},
			{Name: "purge_after", Value: func(t registry.Tenant) any {
				if t.PurgeAfter == nil {
					return nil
				}
				return cli.Either{Human: "purged after " + show.Human(cli.Day(*t.PurgeAfter)), Machine: *t.PurgeAfter}
			}},
		}, func(t registry.Tenant) registry.Tenant { return t }),
		Name:     func(t registry.Tenant) string { return t.Slug },
		NoHeader: true,
	}
}
