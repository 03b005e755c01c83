package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// migrateRollbackOptions are the options of `crmctl migrate rollback`.
type migrateRollbackOptions struct {
	selection
	runPolicy

	all    bool
	to     int64
	toSet  bool
	steps  int
	dryRun bool
}

func newMigrateRollbackCmd(f *factory) *cobra.Command {
	opts := &migrateRollbackOptions{}
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "take tenants back to an older version",
		Long: `Take tenants back with the Down statements of the files, by the same engine and with the same
policy as migrate all-tenants: all steps of a tenant are one transaction, and the first tenant
is the canary. Where a file has no Down statements the tenant is refused and stays as it is.

Down statements most often drop what Up made, with the data in it. That is why the tenants
have to be named, or --all-tenants given.`,
		Example: `crmctl migrate rollback --steps 1 --tenant acme-corp
crmctl migrate rollback --to 4 --all-tenants --dry-run
crmctl migrate rollback --to 4 --all-tenants --yes`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.toSet = cmd.Flags().Changed("to")
			if err := opts.validate(); err != nil {
				return err
			}
			return runMigrateRollback(cmd.Context(), f, opts)
		},
	}
	opts.selection.addFlags(f, cmd)
	fs := cmd.Flags()
	fs.BoolVar(&opts.all, "all-tenants", false, "every tenant, but those of --exclude")
	fs.Int64Var(&opts.to, "to", 0, "end at `VERSION`; 0 takes everything back")
	fs.IntVar(&opts.steps, "steps", 0, "take back the newest `N` versions")
	opts.runPolicy.addFlags(fs)
	opts.register(cmd)
	addDryRunFlag(fs, &opts.dryRun)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitStopped, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func (o *migrateRollbackOptions) validate() error {
	named := len(o.tenants) > 0 || o.from != ""
	switch {
	case o.toSet == (o.steps != 0):
		return cli.Usagef("say how far: --to VERSION or --steps N")
	case o.steps < 0 || o.to < 0:
		return cli.Usagef("--steps and --to want a number that is not negative")
	case named == o.all:
		return cli.Usagef("say which tenants: --tenant NAMES, --tenants-from FILE or --all-tenants")
	}
	return o.runPolicy.validate()
}

func (o *migrateRollbackOptions) route() migrate.Route {
	return migrate.Route{Kind: migrate.Down, To: o.to, Steps: o.steps}
}

func runMigrateRollback(ctx context.Context, f *factory, opts *migrateRollbackOptions) error {
	chosen, err := opts.read(f)
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	down, err := a.PlanDown(ctx, opts.route(), chosen, opts.dryRun)
	if err != nil {
		return err
	}
	defer down.Close(ctx)
	if opts.dryRun {
		f.skipInvalid(down.Invalid)
		f.skipForked(down.Forked)
		return f.printRollback(p, down.Plan, down.Route, down.Pending)
	}
	run := fleetRun{FleetRun: down, f: f, p: p, policy: &opts.runPolicy}
	if len(run.Pending) > 0 {
		question := fmt.Sprintf("%s of %s will be taken back; what their Down statements drop is gone.", run.files(),
			cli.Plural(len(run.Pending), "tenant"))
		if err := f.ConfirmYes(ctx, question); err != nil {
			return err
		}
	}
	return run.carry(ctx)
}

// rollbackRow is a tenant of a dry run.
type rollbackRow struct {
	tenant registry.Tenant
	steps  []migrate.Step
	err    error
}

func (f *factory) printRollback(p *cli.Printer, plan *migrate.Plan, route migrate.Route,
	tenants []registry.Tenant) error {
	rows := make([]rollbackRow, len(tenants))
	refused := false
	for i, t := range tenants {
		steps, err := plan.Preview(route, t.Version)
		rows[i] = rollbackRow{t, steps, err}
		refused = refused || err != nil
	}
	files := func(r rollbackRow) (out []string) {
		for _, s := range r.steps {
			if s.Down {
				out = append(out, s.Name())
			}
		}
		return out
	}
	alike := alikeTenants(func(r rollbackRow) registry.Tenant { return r.tenant })
	alike.Each = f.sameWide
	err := cli.PrintList(p, cli.List[rollbackRow]{
		Plural: "tenants",
		Columns: []cli.Column[rollbackRow]{
			{Name: "tenant", Value: func(r rollbackRow) any { return r.tenant.Slug }},
			{Name: "from_version", Title: "VERSION", Value: func(r rollbackRow) any { return cli.Serial(r.tenant.Version) }},
			{Name: "takes_back", Title: "TAKES BACK", Text: true, Value: func(r rollbackRow) any {
				if r.err != nil {
					return cli.Styled{Value: cli.Either{Human: textOf(r.err), Machine: textOf(r.err), Document: files(r)},
						Color: cli.Red}
				}
				return cli.Either{Human: cli.FirstNames(files(r)), Machine: cli.FirstNames(files(r)), Document: files(r)}
			}},
			{Name: "error", Document: true, Optional: true, Value: func(r rollbackRow) any { return errorText(r.err) }},
		},
		Name:  func(r rollbackRow) string { return r.tenant.Slug },
		Alike: alike,
		Empty: "nothing to take back",
		Footer: func() string {
			return cli.Plural(len(rows), "tenant") + " would be taken back" +
				map[bool]string{true: ", and applied again"}[route.Kind == migrate.Redo]
		},
	}, rows)
	if err == nil && refused {
		return f.sayRefused(rows)
	}
	return err
}

// migrateRedoOptions are the options of `crmctl migrate redo`.
type migrateRedoOptions struct {
	tenant string
	dryRun bool
	policy runPolicy
}

func newMigrateRedoCmd(f *factory) *cobra.Command {
	opts := &migrateRedoOptions{}
	cmd := &cobra.Command{
		Use:   "redo TENANT",
		Short: "take back one tenant's newest version and apply it again",
		Long: `Take back the newest version of one tenant and apply it again, both in one transaction: for
trying out a file while it is written. What its Down statements drop is gone.`,
		Example:           "crmctl migrate redo acme-corp",
		Args:              cli.ExactArgs("TENANT"),
		ValidArgsFunction: completeTenants(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.tenant = args[0]
			return runMigrateRedo(cmd.Context(), f, opts)
		},
	}
	fs := cmd.Flags()
	addLockTimeoutFlag(fs, &opts.policy.lockTimeout)
	addStatementTimeoutFlag(fs, &opts.policy.statementTimeout)
	addDryRunFlag(fs, &opts.dryRun)
	addExpectDatabaseFlag(fs)
	cli.DocumentExits(cmd, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runMigrateRedo(ctx context.Context, f *factory, opts *migrateRedoOptions) error {
	chosen, err := selectTenants([]string{opts.tenant}, nil)
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	redo, err := a.PlanDown(ctx, migrate.Route{Kind: migrate.Redo}, chosen, opts.dryRun)
	if err != nil {
		return err
	}
	defer redo.Close(ctx)
	if opts.dryRun {
		return f.printRollback(p, redo.Plan, redo.Route, redo.Pending)
	}
	question := "the newest version of " + opts.tenant +
		" will be taken back and applied again; what its Down statements drop is gone."
	if err := f.ConfirmYes(ctx, question); err != nil {
		return err
	}
	// The file is being worked on, so it may well differ from what was applied.
	policy := opts.policy
	policy.canary, policy.concurrency, policy.concurrencyDirect, policy.order, policy.allowChanged = "0", 1, 1,
		string(migrate.OrderName), true
	return (&fleetRun{FleetRun: redo, f: f, p: p, policy: &policy}).carry(ctx)
}

// sayRefused tells programs which tenants a rollback would refuse.
func (f *factory) sayRefused(rows []rollbackRow) error {
	if f.structured() {
		for _, r := range rows {
			if r.err != nil {
				f.sayTenant(r.tenant.Slug, r.err)
			}
		}
	}
	return cli.ExitWith(cli.ExitPartial)
}
