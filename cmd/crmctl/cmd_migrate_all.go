package main

import (
	"context"
	"fmt"
	"strings"

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
	alone       bool // --verify=false
	dryRun      bool
	showSQL     bool
	pool        bool // keep the pool up to date too
}

func (o *migrateOptions) addRunFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	o.runPolicy.addFlags(fs)
	o.addGroupFlag(fs)
	o.register(cmd)
	fs.Int64Var(&o.to, "to", 0, "migrate up to `VERSION` instead of the newest")
	fs.BoolVar(&o.outOfOrder, "out-of-order", false, "apply files older than the newest applied one too")
	fs.Var(cli.NewEnum(&o.transaction, "tenant", []string{"tenant", "file"}), "transaction",
		"commit by `UNIT`: tenant (its pending files together, where that is possible) or file")
	fs.BoolVar(&o.verify, "verify", false, "read the versions from the tenants' own schemas first, not from "+
		"the registry; where tenants were adopted that is done, unless --verify=false")
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

func newMigrateAllCmd(f *factory) *cobra.Command {
	opts := &migrateOptions{pool: true}
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
waits for it four times a second and before it reports (--sync-commit waits each time).

Where the canary shows a migration to be short, and it changes no rows, up to twenty tenants share
a transaction. Such a group waits for no lock and is given up after a tenth of a second; its
tenants then take their turns alone, as with --group 1.`,
		Example: `crmctl migrate all-tenants
crmctl migrate all-tenants --dry-run --show-sql
crmctl migrate all-tenants --canary acme-corp,5% --canary-pause 10m
crmctl migrate all-tenants --check-sql 'select count(*) > 0 from contacts'
crmctl migrate all-tenants --max-failures 1% --deadline 45m --report junit.xml
crmctl migrate all-tenants -o ndjson`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.alone = cmd.Flags().Changed("verify") && !opts.verify
			if err := opts.validate(); err != nil {
				return err
			}
			return runMigrate(cmd.Context(), f, opts)
		},
	}
	opts.selection.addFlags(f, cmd)
	opts.addRunFlags(cmd)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitPending, cli.ExitStopped, cli.ExitUnreachable, cli.ExitLocked,
		exitNoTenant)
	return cmd
}

func newMigrateTenantCmd(f *factory) *cobra.Command {
	opts := &migrateOptions{}
	cmd := &cobra.Command{
		Use:               "tenant TENANT...",
		Short:             "bring the named tenants to the newest version",
		Example:           "crmctl migrate tenant acme-corp\ncrmctl migrate tenant acme-corp globex --dry-run",
		Args:              cli.MinArgs("TENANT"),
		ValidArgsFunction: completeTenants(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.tenants = args
			opts.alone = cmd.Flags().Changed("verify") && !opts.verify
			if err := opts.validate(); err != nil {
				return err
			}
			return runMigrate(cmd.Context(), f, opts)
		},
	}
	opts.addRunFlags(cmd)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitPending, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runMigrate(ctx context.Context, f *factory, opts *migrateOptions) error {
	chosen, err := opts.read(f)
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	run, err := a.PlanUp(ctx, app.UpOptions{
		Selection: chosen, To: opts.to, OutOfOrder: opts.outOfOrder, EachApart: opts.transaction == "file",
		Verify: opts.verify, Alone: opts.alone, LockTimeout: opts.lockTimeout, DryRun: opts.dryRun,
		AllowChanged: opts.allowChanged,
	})
	if err != nil {
		return err
	}
	defer run.Close(ctx)
	done := &fleetRun{FleetRun: run, f: f, p: p, policy: &opts.runPolicy}
	if opts.dryRun {
		f.skipInvalid(run.Invalid)
		f.skipForked(run.Forked)
		if err := done.checkCanary(ctx); err != nil {
			return err
		}
		return printPlan(ctx, f, p, run.Conn(), run.Plan, run.Pending, opts.showSQL)
	}
	if err = done.carry(ctx); err == nil {
		err = f.refuseNewer(run.Newer, run.Plan)
	}
	if opts.pool && opts.to == 0 && (err == nil || done.partial) {
		f.refreshPool(ctx, run.Conn(), run.Plan, app.PoolOptions{Concurrency: opts.concurrency,
			LockTimeout: opts.lockTimeout})
	}
	return err
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
	told := fmt.Sprintf("%s %s newer than these files, which end at version %d: an older copy, or the wrong directory?",
		cli.Plural(n, "tenant"), verb, plan.Head())
	f.Note("%s", told)
	return cli.ExitTold(cli.ExitPending, "%s", told)
}

func lowest(tenants []registry.Tenant) int64 {
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
