package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/tenant"
)

// tenantPurgeOptions are the options of `crmctl tenant purge`.
type tenantPurgeOptions struct {
	names       []string
	olderThan   time.Duration
	limit       int
	confirm     string
	concurrency int
	lockTimeout time.Duration
	dryRun      bool
}

func newTenantPurgeCmd(f *factory, runF func(context.Context, *factory, *tenantPurgeOptions) error) *cobra.Command {
	opts := &tenantPurgeOptions{}
	if runF == nil {
		runF = runTenantPurge
	}
	cmd := &cobra.Command{
		Use:   "purge [TENANT...]",
		Short: "destroy deleted tenants whose retention is over",
		Long: `Destroy deleted tenants for good: schema, data and registry row. Only a tenant that the
registry calls deleted, and whose retention is over, is ever destroyed; the flags and names
narrow that further. Each is looked at again under a lock, dropped in a transaction of its
own, and leaves a row in the audit. Nothing due is no error.`,
		Example: `crmctl tenant purge --dry-run
crmctl tenant purge --older-than 30d --limit 20 --yes --expect-database crm_prod`,
		ValidArgsFunction: completeTenants(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.names = args
			if opts.limit < 0 {
				return usagef("--limit %d: want 0 (all that are due) or more", opts.limit)
			}
			return runF(cmd.Context(), f, opts)
		},
	}
	fs := cmd.Flags()
	fs.Var(newDuration(&opts.olderThan, "0"), "older-than", "only tenants deleted at least this `DURATION` ago")
	fs.IntVar(&opts.limit, "limit", 0, "at most `N` tenants, those deleted first come first; 0 for all that are due")
	fs.StringVar(&opts.confirm, "confirm", "", "the `NAME` of the single tenant to destroy, instead of typing it")
	addConcurrencyFlag(fs, &opts.concurrency)
	addLockTimeoutFlag(fs, &opts.lockTimeout)
	addDryRunFlag(fs, &opts.dryRun)
	addExpectDatabaseFlag(fs)
	documentExits(cmd, exitPartial, exitUnreachable, exitLocked, exitNoTenant)
	return cmd
}

func runTenantPurge(ctx context.Context, f *factory, opts *tenantPurgeOptions) error {
	wanted, err := slugs(opts.names)
	if err != nil {
		return err
	}
	p, err := f.printer()
	if err != nil {
		return err
	}
	conn, err := f.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	due, err := tenant.PurgeDue(ctx, conn, tenant.PurgeFilter{OlderThan: opts.olderThan, Limit: opts.limit, Slugs: wanted}, f.now())
	if err != nil {
		return f.placed(err)
	}
	for _, slug := range wanted {
		if err := checkDue(ctx, f, conn, slug, due, opts); err != nil {
			return err
		}
	}
	if len(due) == 0 {
		f.verbose("no tenant is due for purge")
		return printList(p, movedList("purged", p.show), nil)
	}
	if opts.dryRun {
		return printList(p, movedList("would purge", p.show), due)
	}
	if err := f.beforeChange(ctx, false); err != nil {
		return err
	}
	if err := confirmPurge(ctx, f, due, opts); err != nil {
		return err
	}
	run := fleet.Options{Concurrency: opts.concurrency, Drain: f.drain()}
	var bar *progress
	if len(due) > manyTenants {
		bar = f.newProgress(progressOptions{verb: "purge", total: int64(len(due))})
		run.Observer = fleetProgress{bar: bar, name: func(i int) string { return due[i].Slug }}
	}
	results := tenant.PurgeMany(ctx, f.connect, due, tenant.RemoveOptions{Actor: f.actor(), LockTimeout: opts.lockTimeout, Now: f.now}, run)
	if bar != nil {
		bar.finish()
	}
	return reportPurged(f, p, due, results)
}

func confirmPurge(ctx context.Context, f *factory, due []tenant.Tenant, opts *tenantPurgeOptions) error {
	target, err := f.target()
	if err != nil {
		return err
	}
	if len(due) == 1 && !f.flags.yes {
		return f.confirmName(ctx, confirmation{
			stakes: fmt.Sprintf("%s on %s will be destroyed for good: schema %s and all its data.",
				visible(due[0].Slug), visible(target.Place()), visible(due[0].Schema.String())),
			name: due[0].Slug, given: opts.confirm, flag: "--confirm", what: "the tenant's name",
		})
	}
	return f.confirmYes(ctx, fmt.Sprintf("Destroy %s in %s for good?", plural(len(due), "deleted tenant"), visible(target.Place())))
}

func reportPurged(f *factory, p *printer, due []tenant.Tenant, results []fleet.Result) error {
	var purged []tenant.Tenant
	var first error
	for i, r := range results {
		if r.State == fleet.Done {
			purged = append(purged, due[i])
			continue
		}
		if r.Err == nil {
			continue
		}
		first = cmpErr(first, r.Err)
		if len(results) > 1 {
			f.say("crmctl: tenant %s: %s", visible(due[i].Slug), visible(r.Err.Error()))
		}
	}
	if err := printList(p, movedList("purged", p.show), purged); err != nil {
		return err
	}
	switch {
	case len(results) == 1:
		return first
	case len(purged) < len(results) && first == nil:
		return exitWith(exitInterrupted)
	}
	return exitWith(partial(results))
}

// checkDue explains why a tenant that was named is not due.
func checkDue(ctx context.Context, f *factory, conn *pgx.Conn, slug string, due []tenant.Tenant, opts *tenantPurgeOptions) error {
	if slices.ContainsFunc(due, func(t tenant.Tenant) bool { return t.Slug == slug }) {
		return nil
	}
	t, err := tenant.Get(ctx, conn, slug)
	switch {
	case err != nil:
		return f.placed(err)
	case t.Status != tenant.Deleted:
		return withHint(fmt.Errorf("tenant %q is %s; only a deleted tenant can be purged", slug, t.Status), "first", "crmctl tenant delete "+slug)
	case t.PurgeAfter.After(f.now()):
		return fmt.Errorf("tenant %q is kept until %s; it cannot be purged before", slug, t.PurgeAfter.Local().Format("2006-01-02 15:04"))
	case opts.olderThan > 0:
		return fmt.Errorf("tenant %q was deleted less than %s ago (--older-than)", slug, humanRetention(opts.olderThan))
	}
	return nil // beyond --limit
}
