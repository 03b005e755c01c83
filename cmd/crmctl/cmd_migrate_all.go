package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/tenant"
)

// migrateOptions are the options of `crmctl migrate all-tenants` and of `crmctl
// migrate tenant`.
type migrateOptions struct {
	selection

	to               int64
	concurrency      int
	attempts         int
	lockTimeout      time.Duration
	statementTimeout time.Duration
	syncCommit       bool
	dryRun           bool
	showSQL          bool
}

func (o *migrateOptions) addRunFlags(fs *pflag.FlagSet) {
	fs.Int64Var(&o.to, "to", 0, "migrate up to `VERSION` instead of the newest")
	addConcurrencyFlag(fs, &o.concurrency)
	fs.IntVar(&o.attempts, "attempts", fleet.DefaultAttempts, "try a busy tenant `N` times in all")
	addLockTimeoutFlag(fs, &o.lockTimeout)
	addStatementTimeoutFlag(fs, &o.statementTimeout)
	fs.BoolVar(&o.syncCommit, "sync-commit", false, "wait for the disk after every tenant, not once before the report")
	addDryRunFlag(fs, &o.dryRun)
	fs.BoolVar(&o.showSQL, "show-sql", false, "with --dry-run, print the statements too")
	addExpectDatabaseFlag(fs)
}

func (o *migrateOptions) validate() error {
	switch {
	case o.attempts < 1:
		return usagef("--attempts %d: want 1 or more", o.attempts)
	case o.to < 0:
		return usagef("--to %d: want a version", o.to)
	case o.showSQL && !o.dryRun:
		return usagef("--show-sql goes with --dry-run")
	}
	return nil
}

func newMigrateAllCmd(f *factory, runF func(context.Context, *factory, *migrateOptions) error) *cobra.Command {
	opts := &migrateOptions{}
	if runF == nil {
		runF = runMigrate
	}
	cmd := &cobra.Command{
		Use:   "all-tenants",
		Short: "bring every tenant to the newest version",
		Long: `Bring every tenant that is not deleted to the newest version. All pending migrations of a
tenant, its version rows and the registry's copy of its version are one transaction: a tenant
is never in between. A tenant that is busy goes to the back of the queue and is tried again;
one that fails leaves the others alone.

The first Ctrl-C lets the tenants under way finish, the second rolls them back. Either way the
same command goes on from there. Tenants commit without waiting for the disk each; the run
waits for it before it reports (--sync-commit waits each time).`,
		Example: `crmctl migrate all-tenants
crmctl migrate all-tenants --dry-run --show-sql
crmctl migrate all-tenants --concurrency 8 --exclude 'big-*' --lock-timeout 500ms
crmctl migrate all-tenants -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.validate(); err != nil {
				return err
			}
			return runF(cmd.Context(), f, opts)
		},
	}
	opts.selection.addFlags(f, cmd)
	opts.addRunFlags(cmd.Flags())
	documentExits(cmd, exitPartial, exitUnreachable, exitNoTenant)
	return cmd
}

func newMigrateTenantCmd(f *factory, runF func(context.Context, *factory, *migrateOptions) error) *cobra.Command {
	opts := &migrateOptions{}
	if runF == nil {
		runF = runMigrate
	}
	cmd := &cobra.Command{
		Use:               "tenant TENANT...",
		Short:             "bring the named tenants to the newest version",
		Example:           "crmctl migrate tenant acme-corp\ncrmctl migrate tenant acme-corp globex --dry-run",
		Args:              minArgs("TENANT"),
		ValidArgsFunction: completeTenants(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.tenants = args
			if err := opts.validate(); err != nil {
				return err
			}
			return runF(cmd.Context(), f, opts)
		},
	}
	opts.addRunFlags(cmd.Flags())
	documentExits(cmd, exitPartial, exitUnreachable, exitNoTenant)
	return cmd
}

func runMigrate(ctx context.Context, f *factory, opts *migrateOptions) error {
	m, err := opts.matcher(f.io.In)
	if err != nil {
		return err
	}
	p, err := f.printer()
	if err != nil {
		return err
	}
	plan, err := f.tenantPlan(ctx)
	if err != nil {
		return err
	}
	if opts.to != 0 {
		if plan, err = plan.To(opts.to); err != nil {
			return withCode(err, exitUsage)
		}
	}
	if err := f.beforeChange(ctx, opts.dryRun); err != nil {
		return err
	}
	conn, err := f.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	chosen, err := m.list(ctx, f, conn, tenant.Active, tenant.Suspended)
	if err != nil {
		return err
	}
	var pending []migrate.Tenant
	for _, t := range chosen {
		if t.Version < plan.Head() {
			pending = append(pending, migrate.Tenant{ID: t.ID, Slug: t.Slug, Schema: t.Schema, Version: t.Version})
		}
	}
	if len(chosen) == 0 {
		f.note("crmctl: warning: no tenant to migrate")
	}
	if opts.dryRun {
		return printPlan(p, plan, pending, opts.showSQL)
	}
	if len(pending) == 0 {
		return printReport(f, p, &migrate.Report{Target: plan.Head()}, len(chosen))
	}
	f.note("pending   %s    for %s of %s", names(plan.After(lowest(pending))), humanCount(int64(len(pending))), plural(len(chosen), "tenant"))
	watch := newRunWatch(f, len(pending))
	report, err := plan.Run(ctx, conn, f.connect, pending, migrate.RunOptions{
		Fleet:       fleet.Options{Concurrency: opts.concurrency, Attempts: opts.attempts, Drain: f.drain()},
		LockTimeout: opts.lockTimeout, StatementTimeout: opts.statementTimeout, SyncCommit: opts.syncCommit,
		Actor: f.actor(), Observer: watch,
	})
	watch.bar.finish()
	if err != nil {
		return err
	}
	return printReport(f, p, report, len(chosen))
}

func lowest(tenants []migrate.Tenant) int64 {
	v := tenants[0].Version
	for _, t := range tenants {
		v = min(v, t.Version)
	}
	return v
}

// names lists migrations, at most a few of them.
func names(ms []*migrate.Migration) string {
	const most = 3
	var out []string
	for i, m := range ms {
		if i == most && len(ms) > most+1 {
			out = append(out, fmt.Sprintf("%d more", len(ms)-most))
			break
		}
		out = append(out, m.Name())
	}
	return strings.Join(out, ", ")
}

// planRow is a tenant of a dry run.
type planRow struct {
	tenant  migrate.Tenant
	pending []*migrate.Migration
}

func printPlan(p *printer, plan *migrate.Plan, tenants []migrate.Tenant, showSQL bool) error {
	rows := make([]planRow, len(tenants))
	for i, t := range tenants {
		rows[i] = planRow{t, plan.After(t.Version)}
	}
	err := printList(p, list[planRow]{
		plural: "tenants",
		columns: []column[planRow]{
			{name: "tenant", value: func(r planRow) any { return r.tenant.Slug }},
			{name: "version", value: func(r planRow) any { return r.tenant.Version }},
			{name: "to_version", title: "TO", value: func(planRow) any { return plan.Head() }},
			{name: "pending", value: func(r planRow) any { return names(r.pending) }},
		},
		name: func(r planRow) string { return r.tenant.Slug },
		record: func(r planRow) any {
			var files []string
			for _, m := range r.pending {
				files = append(files, m.Name())
			}
			record := map[string]any{
				"tenant": r.tenant.Slug, "schema": r.tenant.Schema.String(),
				"from_version": r.tenant.Version, "to_version": plan.Head(), "pending": files,
			}
			if showSQL {
				record["sql"] = sqlText(r.pending)
			}
			return record
		},
		empty: "nothing pending",
		footer: func() string {
			return plural(len(rows), "tenant") + " would be migrated"
		},
	}, rows)
	if err != nil || !showSQL || len(tenants) == 0 || !p.isTable() {
		return err
	}
	_, err = fmt.Fprintf(p.out, "\n%s\n", sqlText(plan.After(lowest(tenants))))
	return err
}

// sqlText returns the statements of migrations as one script to read.
func sqlText(ms []*migrate.Migration) string {
	var b strings.Builder
	for _, m := range ms {
		fmt.Fprintf(&b, "-- %s\n", m.File)
		for _, s := range m.Up {
			b.WriteString(s.SQL + "\n")
		}
		b.WriteString("\n")
	}
	return strings.TrimRight(b.String(), "\n")
}
