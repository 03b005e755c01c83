package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
	"github.com/crmctl/crmctl/internal/tenant"
)

// tenantDeleteOptions are the options of `crmctl tenant delete`.
type tenantDeleteOptions struct {
	name        string
	confirm     string
	retention   time.Duration
	given       bool // --retention was, which wins over the tenant's own
	lockTimeout time.Duration
	ifExists    bool
	dryRun      bool
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
	addLockTimeoutFlag(fs, &opts.lockTimeout)
	addDryRunFlag(fs, &opts.dryRun)
	addExpectDatabaseFlag(fs)
	cli.DocumentExits(cmd, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func runTenantDelete(ctx context.Context, f *factory, opts *tenantDeleteOptions) error {
	slug, err := registry.Slug(opts.name)
	if err != nil {
		return err
	}
	p, conn, err := f.openToChange(ctx, opts.dryRun)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	t, err := f.registry().Get(ctx, conn, slug)
	switch {
	case err != nil && opts.ifExists && errors.Is(err, registry.ErrNotFound):
		f.Verbose("no tenant %q: nothing to delete", slug)
		return nil
	case err != nil:
		return err
	case t.Status == registry.Deleted && opts.ifExists:
		return nil
	case t.Status == registry.Deleted:
		return &registry.StateError{Slug: slug, State: t.State(), Already: t.PurgeStartedAt == nil}
	}
	retention, err := retentionOf(t, opts)
	if err != nil {
		return err
	}
	impact, err := impactOf(ctx, f, conn, t, retention, p.Show)
	if err != nil {
		return err
	}
	if opts.dryRun {
		f.Note("%s", cli.Lines(impact))
		return cli.PrintObject(p, tenantObject(t, t.Version, nil))
	}
	if err := f.ConfirmName(ctx, cli.Confirmation{Impact: impact, Name: slug, Given: opts.confirm, Flag: "--confirm",
		What: "the tenant's name"}); err != nil {
		return err
	}
	t, err = tenant.Delete(ctx, conn, slug, retention, f.moveOptions(opts.lockTimeout))
	if err != nil {
		return err
	}
	f.warnRole(t)
	return cli.PrintList(p, movedList("deleted", p.Show), []registry.Tenant{t})
}

// retentionOf returns how long the tenant is kept: the flag wins over its own
// setting, and that over the configuration.
func retentionOf(t registry.Tenant, opts *tenantDeleteOptions) (time.Duration, error) {
	if opts.given {
		return opts.retention, nil
	}
	d, err := app.Retention(t, opts.retention)
	return d, cli.WithHint(err, "mend it", "crmctl tenant set "+t.Slug+" "+app.SettingRetention+"=30d")
}

// impactOf says what a tenant holds before it is closed.
func impactOf(ctx context.Context, f *factory, conn *pgx.Conn, t registry.Tenant, retention time.Duration,
	show cli.Presentation) (string, error) {
	target, err := f.target()
	if err != nil {
		return "", err
	}
	holds, err := holdingsOf(ctx, f.registry(), conn, t.Slug)
	if err != nil {
		return "", err
	}
	until := f.Now().Add(retention)
	return fmt.Sprintf("%s on %s holds %s.\nIt will be closed now and may be destroyed after %s (%s).\nUntil then: "+
		"crmctl tenant undelete %s",
		cli.Visible(t.Slug), cli.Visible(target.Place()), holds, humanRetention(retention), show.Human(cli.Day(until)),
		cli.Visible(t.Slug)), nil
}

// holdingsOf says how much data tenants hold: "about 200 contacts, 672 kB".
func holdingsOf(ctx context.Context, reg registry.Registry, conn *pgx.Conn, slugs ...string) (string, error) {
	report, err := stats.Sizes(ctx, conn, stats.SizeOptions{Registry: reg, Slugs: slugs})
	if err != nil {
		return "", err
	}
	var bytes, contacts int64
	counted := true
	for _, s := range report.Tenants {
		if !s.Known {
			return "an unknown amount of data", nil
		}
		bytes += s.TotalBytes()
		if counted = counted && s.Contacts != nil; counted {
			contacts += *s.Contacts
		}
	}
	switch {
	case len(report.Tenants) < len(slugs):
		return "an unknown amount of data", nil
	case !counted:
		return cli.HumanSize(bytes), nil
	}
	return fmt.Sprintf("about %s, %s", cli.Plural(int(contacts), "contact"), cli.HumanSize(bytes)), nil
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
