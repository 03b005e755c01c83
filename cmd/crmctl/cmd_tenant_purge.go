package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// tenantPurgeOptions are the options of `crmctl tenant purge`.
type tenantPurgeOptions struct {
	names       []string
	olderThan   time.Duration
	most        int
	percent     float64
	warn        time.Duration
	backup      purgeBackupOptions
	confirm     string
	concurrency int
	lockTimeout time.Duration
	dryRun      bool
}

func (o *tenantPurgeOptions) addFlags(fs *pflag.FlagSet) {
	fs.Var(newDuration(&o.olderThan, "0"), "older-than", "only tenants deleted at least this `DURATION` ago")
	fs.IntVar(&o.most, "max", 0, "at most `N` tenants, those deleted first come first; 0 for all that are due")
	fs.Float64Var(&o.percent, "max-percent", 0, "at most this `SHARE` of all tenants, rounded down but at least one; 0 "+
		"for all that are due")
	fs.Var(newDuration(&o.warn, "0"), "warn", "also list what falls due within this `DURATION`")
	o.backup.addFlags(fs)
	fs.StringVar(&o.confirm, "confirm", "", "the `NAME` of the single tenant to destroy, instead of typing it")
	addConcurrencyFlag(fs, &o.concurrency)
	addLockTimeoutFlag(fs, &o.lockTimeout)
	addDryRunFlag(fs, &o.dryRun)
	addExpectDatabaseFlag(fs)
}

func (o *tenantPurgeOptions) validate() error {
	switch {
	case o.most < 0:
		return cli.Usagef("--max %d: want 0 (all that are due) or more", o.most)
	case o.percent < 0 || o.percent > 100:
		return cli.Usagef("--max-percent %v: want a share from 0 (all that are due) to 100", o.percent)
	case o.lockTimeout <= 0:
		return cli.Usagef("--lock-timeout 0: a purge never waits for a lock without an end")
	case o.dryRun:
		return nil
	}
	return o.backup.validate()
}

func newTenantPurgeCmd(f *factory) *cobra.Command {
	opts := &tenantPurgeOptions{}
	cmd := &cobra.Command{
		Use:   "purge [TENANT...]",
		Short: "destroy deleted tenants whose retention is over",
		Long: `Destroy deleted tenants for good: schema, data, role and registry row. Only a tenant that is
deleted in the registry and whose retention is over can be destroyed; the flags and names
choose among these. Each is saved first (--backup-dir) unless --no-backup is given, checked
again under a lock, and recorded in the audit. If no tenant is due, the command prints nothing
and succeeds.

A tenant whose tables do not fit into the server's lock table is dropped in several
transactions. After the first of these it is "purging" and cannot be undeleted; if the purge
is killed, the next one finishes it. Two purges can run at once: each skips the tenants that
the other works on. A tenant is not purged while other schemas depend on its tables. Without
a backup, small tenants that have no role share transactions; whatever stands in the way of
one of them, the others go.`,
		Example: `crmctl tenant purge --dry-run --warn 7d
crmctl tenant purge --max 20 --yes --expect-database crm --backup-dir backups
crmctl tenant purge globex --no-backup --confirm globex`,
		ValidArgsFunction: completeTenants(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.names = args
			if err := opts.validate(); err != nil {
				return err
			}
			return runTenantPurge(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(cmd.Flags())
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func runTenantPurge(ctx context.Context, f *factory, opts *tenantPurgeOptions) error {
	wanted, err := slugs(opts.names)
	if err != nil {
		return err
	}
	p, conn, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	plan, err := tenant.PlanPurge(ctx, conn, tenant.PurgeFilter{
		Registry:  f.registry(),
		OlderThan: opts.olderThan, Max: opts.most, MaxPercent: opts.percent, Slugs: wanted, Warn: opts.warn,
	}, f.Now())
	if err != nil {
		return err
	}
	f.skipInvalid(plan.Invalid)
	if plan.Due, err = f.keepNamed(ctx, conn, plan.Due); err != nil {
		return err
	}
	for _, slug := range wanted {
		if err := explainNotDue(ctx, f, conn, slug, plan, opts, p.Show); err != nil {
			return err
		}
	}
	if len(plan.Due) == 0 || opts.dryRun {
		f.Verbose("%s due for purge", cli.Plural(len(plan.Due), "tenant"))
		return reportPurge(f, p, plan, purgeRows("would purge", plan.Due), opts)
	}
	if err := f.beforeChange(ctx, false); err != nil {
		return err
	}
	if err := confirmPurge(ctx, f, conn, plan.Due, opts); err != nil {
		return err
	}
	return purgeTenants(ctx, f, p, plan, opts)
}

func purgeTenants(ctx context.Context, f *factory, p *cli.Printer, plan tenant.PurgePlan,
	opts *tenantPurgeOptions) error {
	due := plan.Due
	recipients, err := recipientsOf(opts.backup.encryptTo)
	if err != nil {
		return err
	}
	a, err := f.app()
	if err != nil {
		return err
	}
	done, err := a.PurgeTenants(ctx, due, app.PurgeOptions{
		BackupDir: opts.backup.dir, EncryptTo: recipients, Concurrency: opts.concurrency, LockTimeout: opts.lockTimeout,
	})
	if err != nil {
		return err
	}
	f.sayFailures(done.Results, func(i int) string { return due[i].Slug }, backupHint)
	var rows []purgeRow
	for i, r := range done.Results {
		if r.State != fleet.Done {
			continue
		}
		purged := done.Purged[i]
		row := purgeRow{"purged", purged.Tenant, purged.RoleKept}
		if purged.Elsewhere {
			row.result = "purged elsewhere"
		}
		if row.note != "" {
			f.Note("crmctl: warning: tenant %s: %s", cli.Visible(row.tenant.Slug), cli.Visible(row.note))
		}
		rows = append(rows, row)
	}
	if err := reportPurge(f, p, plan, rows, opts); err != nil {
		return err
	}
	return f.end(runEnd{Summary: done.Summary(), did: "purged", alone: backupHint, exclusive: true})
}

// confirmPurge says what will be lost and asks: for the name of a single tenant, and
// for a yes where there are several.
func confirmPurge(ctx context.Context, f *factory, conn *pgx.Conn, due []registry.Tenant,
	opts *tenantPurgeOptions) error {
	if f.flags.Yes {
		return nil
	}
	target, err := f.target()
	if err != nil {
		return err
	}
	impact := ""
	if f.CanAsk() {
		names := make([]string, len(due))
		for i, t := range due {
			names[i] = t.Slug
		}
		a, err := f.app()
		if err != nil {
			return err
		}
		holds, err := a.HoldingsOf(ctx, conn, names)
		if err != nil {
			return err
		}
		impact = fmt.Sprintf("%s will be destroyed for good: %s.", firstNames(due), holdingsText(holds))
		if opts.backup.none {
			impact += "\nThere will be no backup."
		}
	}
	if len(due) == 1 {
		return f.ConfirmName(ctx, cli.Confirmation{Impact: impact, Name: due[0].Slug, Given: opts.confirm, Flag: "--confirm",
			What: "the tenant's name"})
	}
	if impact != "" {
		fmt.Fprintln(f.IO.Err, f.Fit(cli.VisibleLines(impact)))
	}
	return f.ConfirmYes(ctx, fmt.Sprintf("Destroy %s of %s?", cli.Plural(len(due), "deleted tenant"),
		cli.Visible(target.Place())))
}

// firstNames names tenants, three of them where there are more.
func firstNames(tenants []registry.Tenant) string {
	const most = 3
	var names []string
	for _, t := range tenants[:min(most, len(tenants))] {
		names = append(names, cli.Visible(t.Slug))
	}
	if left := len(tenants) - most; left > 0 {
		names = append(names, fmt.Sprintf("%d more", left))
	}
	return strings.Join(names, ", ")
}

// purgeRow is what became, or will become, of one tenant.
type purgeRow struct {
	result string
	tenant registry.Tenant
	note   string // why the role stayed
}

func purgeRows(result string, tenants []registry.Tenant) []purgeRow {
	rows := make([]purgeRow, len(tenants))
	for i, t := range tenants {
		rows[i] = purgeRow{result: result, tenant: t}
	}
	return rows
}

// resultSoon marks a tenant that --warn is about.
const resultSoon = "due soon"

// reportPurge prints what was done, then what falls due soon, and says what the caps
// have left over.
func reportPurge(f *factory, p *cli.Printer, plan tenant.PurgePlan, rows []purgeRow, opts *tenantPurgeOptions) error {
	if err := cli.PrintList(p, purgeList(p.Show, plan, opts.olderThan), append(rows,
		purgeRows(resultSoon, plan.Soon)...)); err != nil {
		return err
	}
	if len(plan.Kept) > 0 {
		f.Note("%s more due, beyond %s: %s", cli.Plural(len(plan.Kept), "tenant"), opts.limitFlags(), firstNames(plan.Kept))
	}
	return nil
}

// limitFlags names the limits that were given.
func (o *tenantPurgeOptions) limitFlags() string {
	var flags []string
	if o.most > 0 {
		flags = append(flags, fmt.Sprintf("--max %d", o.most))
	}
	if o.percent > 0 {
		flags = append(flags, fmt.Sprintf("--max-percent %v", o.percent))
	}
	return strings.Join(flags, " and ")
}

func purgeList(show cli.Presentation, plan tenant.PurgePlan, olderThan time.Duration) cli.List[purgeRow] {
	return cli.List[purgeRow]{
		Plural: "tenants",
		Columns: documented([]cli.Column[purgeRow]{
			{Name: "result", Value: func(r purgeRow) any { return cli.Styled{Value: r.result, Color: resultColor(r.result)} }},
			{Name: "tenant", Value: func(r purgeRow) any { return r.tenant.Slug }},
			{Name: "schema", Value: func(r purgeRow) any { return r.tenant.Schema.String() }},
			{Name: "purge_after", Value: func(r purgeRow) any {
				if r.result != resultSoon {
					return cli.Either{Human: "", Machine: r.tenant.PurgeAfter}
				}
				due := tenant.PurgeFilter{OlderThan: olderThan}.DueAt(r.tenant)
				return cli.Either{Human: "on " + show.Human(cli.Day(due)), Machine: due}
			}},
			{Name: "note", Document: true, Optional: true, Value: func(r purgeRow) any { return r.note }},
		}, func(r purgeRow) registry.Tenant { return r.tenant }),
		Name: func(r purgeRow) string { return r.tenant.Slug },
		Summary: func() any {
			return map[string]any{"tenants": plan.Tenants, "due": len(plan.Due) + len(plan.Kept), "left": len(plan.Kept),
				"soon": len(plan.Soon)}
		},
		NoHeader: true,
	}
}

// explainNotDue explains why a tenant that was named is not due.
func explainNotDue(ctx context.Context, f *factory, conn *pgx.Conn, slug string, plan tenant.PurgePlan,
	opts *tenantPurgeOptions, show cli.Presentation) error {
	is := func(t registry.Tenant) bool { return t.Slug == slug }
	if slices.ContainsFunc(plan.Due, is) || slices.ContainsFunc(plan.Kept, is) {
		return nil
	}
	t, err := f.registry().Get(ctx, conn, slug)
	var invalid *registry.InvalidRowError
	switch {
	case errors.As(err, &invalid):
		if !slices.Contains(plan.Invalid, invalid.Row) {
			f.skipInvalid([]registry.InvalidRow{invalid.Row})
		}
		return nil
	case err != nil:
		return err
	case t.Status != registry.Deleted:
		return cli.WithHint(fmt.Errorf("tenant %q is %s; only a deleted tenant can be purged", slug, t.Status), "first",
			"crmctl tenant delete "+slug)
	case t.PurgeAfter.After(f.Now()):
		return fmt.Errorf("tenant %q is kept until %s; it cannot be purged before", slug, show.Minute(*t.PurgeAfter))
	case opts.olderThan > 0:
		return fmt.Errorf("tenant %q was deleted less than %s ago (--older-than)", slug, humanRetention(opts.olderThan))
	}
	return nil // deleted in between
}
