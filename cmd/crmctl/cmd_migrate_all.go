package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// migrateOptions are the options of `crmctl migrate all-tenants` and of `crmctl
// migrate tenant`.
type migrateOptions struct {
	selection
	runPolicy

	to          int64
	outOfOrder  bool
	transaction string // "tenant" or "file"
	verify      bool
	dryRun      bool
	showSQL     bool
	pool        bool // keep the pool up to date too
}

func (o *migrateOptions) addRunFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	o.runPolicy.addFlags(fs)
	o.register(cmd)
	fs.Int64Var(&o.to, "to", 0, "migrate up to `VERSION` instead of the newest")
	fs.BoolVar(&o.outOfOrder, "out-of-order", false, "apply files older than the newest applied one too")
	fs.Var(cli.NewEnum(&o.transaction, "tenant", []string{"tenant", "file"}), "transaction", "commit the pending files of a tenant together where that is possible, or each file: tenant or file")
	fs.BoolVar(&o.verify, "verify", false, "read the versions from the tenants' own schemas first, not from the registry")
	addDryRunFlag(fs, &o.dryRun)
	fs.BoolVar(&o.showSQL, "show-sql", false, "with --dry-run, print the statements too")
}

func (o *migrateOptions) validate() error {
	switch {
	case o.to < 0:
		return cli.Usagef("--to %d: want a version", o.to)
	case o.showSQL && !o.dryRun:
		return cli.Usagef("--show-sql goes with --dry-run")
	}
	return o.runPolicy.validate()
}

func newMigrateAllCmd(f *factory, runF func(context.Context, *factory, *migrateOptions) error) *cobra.Command {
	opts := &migrateOptions{pool: true}
	if runF == nil {
		runF = runMigrate
	}
	cmd := &cobra.Command{
		Use:   "all-tenants",
		Short: "bring every tenant to the newest version",
		Long: `Bring every tenant that is not deleted to the newest version. All pending migrations of a
tenant, its version rows and the registry's copy of its version are one transaction where
PostgreSQL lets them: a tenant is always at a whole version. A tenant that is busy goes to
the back of the queue and is tried again; one that fails leaves the others alone. Files
marked NO TRANSACTION come afterwards, a tenant at a time.

The first tenant is the canary: when it fails, no other is begun (exit 5); when it is locked,
another takes its place. --canary takes
more of them or none, --check-sql asks each a question, --canary-pause gives you time to look.

The first Ctrl-C lets the tenants under way finish, the second rolls them back. Either way the
same command goes on from there. Tenants commit without waiting for the disk each; the run
waits for it every second and before it reports (--sync-commit waits each time).`,
		Example: `crmctl migrate all-tenants
crmctl migrate all-tenants --dry-run --show-sql
crmctl migrate all-tenants --canary acme-corp,5% --canary-pause 10m
crmctl migrate all-tenants --check-sql 'select count(*) > 0 from contacts'
crmctl migrate all-tenants --max-failures 1% --deadline 45m --report junit.xml
crmctl migrate all-tenants -o ndjson`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.validate(); err != nil {
				return err
			}
			return runF(cmd.Context(), f, opts)
		},
	}
	opts.selection.addFlags(f, cmd)
	opts.addRunFlags(cmd)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitPending, cli.ExitStopped, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
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
		Args:              cli.MinArgs("TENANT"),
		ValidArgsFunction: completeTenants(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.tenants = args
			if err := opts.validate(); err != nil {
				return err
			}
			return runF(cmd.Context(), f, opts)
		},
	}
	opts.addRunFlags(cmd)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitPending, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runMigrate(ctx context.Context, f *factory, opts *migrateOptions) error {
	m, err := opts.matcher(f)
	if err != nil {
		return err
	}
	plan, err := f.tenantPlanTo(ctx, opts.to)
	if err != nil {
		return err
	}
	if opts.transaction == "file" {
		plan = plan.EachApart()
	}
	p, conn, err := f.openToChange(ctx, opts.dryRun)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	m.report = !opts.dryRun
	if plan, err = f.useExtensions(ctx, conn, plan, opts.dryRun); err != nil {
		return err
	}
	chosen, err := m.list(ctx, f, conn, registry.Active, registry.Suspended)
	if err != nil {
		return err
	}
	if opts.verify {
		if err := trueVersions(ctx, conn, plan, chosen, opts.lockTimeout); err != nil {
			return f.placed(err)
		}
	}
	route := migrate.Route{Kind: migrate.Up, OutOfOrder: opts.outOfOrder}
	pending := behind(plan, route, chosen)
	if opts.dryRun {
		return printPlan(ctx, f, p, conn, plan, pending, opts.showSQL)
	}
	job := fleetRun{plan: plan, route: route, chosen: len(chosen), pending: pending, policy: &opts.runPolicy, selection: m.record(opts.to), invalid: m.invalid}
	if opts.to == 0 {
		job.newer = newerThan(plan, chosen)
	}
	if err = job.run(ctx, f, p, conn); err == nil {
		err = f.refuseNewer(job.newer, plan)
	}
	if opts.pool && opts.to == 0 && slices.Contains([]int{cli.ExitOK, cli.ExitPartial}, exitCode(err)) {
		f.refreshPool(ctx, conn, plan, app.PoolOptions{Concurrency: opts.concurrency, LockTimeout: opts.lockTimeout})
	}
	return err
}

// newerThan counts the tenants whose version is beyond the newest file.
func newerThan(plan *migrate.Plan, tenants []registry.Tenant) int {
	n := 0
	for _, t := range tenants {
		if t.Version > plan.Head() {
			n++
		}
	}
	return n
}

// refuseNewer says that tenants are beyond the newest file: these are not the files
// that they were migrated with, or an older copy of them.
func (f *factory) refuseNewer(n int, plan *migrate.Plan) error {
	if n == 0 {
		return nil
	}
	verb := "are"
	if n == 1 {
		verb = "is"
	}
	f.Note("%s %s newer than these files, which end at version %d: an older copy, or the wrong directory?", cli.Plural(n, "tenant"), verb, plan.Head())
	return cli.ExitWith(cli.ExitPending)
}

// trueVersions puts the versions of the schemas in place of the registry's. A
// schema that cannot be read counts as new: the run then meets it and says why.
func trueVersions(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, tenants []registry.Tenant, lockTimeout time.Duration) error {
	truths, err := plan.Verify(ctx, conn, asTargets(tenants), lockTimeout)
	if err != nil {
		return err
	}
	for i, truth := range truths {
		if truth.Err == nil {
			tenants[i].Version = truth.Version
		} else {
			tenants[i].Version = 0
		}
	}
	return nil
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
