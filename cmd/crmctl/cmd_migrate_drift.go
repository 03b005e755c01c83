package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/adopt"
	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/suggest"
)

// migrateDriftOptions are the options of `crmctl migrate drift`.
type migrateDriftOptions struct {
	selection

	concurrency int
	ignore      []string
	fixSQL      bool
}

// kinds reads --ignore, where a hyphen may stand for a space.
func (o *migrateDriftOptions) kinds() ([]catalog.Kind, error) {
	known := make([]string, 0, len(catalog.Kinds()))
	for _, k := range catalog.Kinds() {
		known = append(known, strings.ReplaceAll(string(k), " ", "-"))
	}
	var out []catalog.Kind
	for _, name := range o.ignore {
		i := slices.Index(known, strings.ReplaceAll(strings.ToLower(name), " ", "-"))
		if i < 0 {
			if similar := suggest.Nearest(name, known); similar != "" {
				return nil, cli.Usagef("--ignore %s: no such kind of object; did you mean %q?", name, similar)
			}
			return nil, cli.Usagef("--ignore %s: no such kind of object; there are %s", name, strings.Join(known, ", "))
		}
		out = append(out, catalog.Kinds()[i])
	}
	return out, nil
}

func newMigrateDriftCmd(f *factory, runF func(context.Context, *factory, *migrateDriftOptions) error) *cobra.Command {
	opts := &migrateDriftOptions{}
	if runF == nil {
		runF = runMigrateDrift
	}
	cmd := &cobra.Command{
		Use:   "drift",
		Short: "which schemas are not what the migrations make",
		Long: `Compare every tenant's schema with what the migrations up to its version make: tables, columns,
constraints, indexes, triggers, policies, views, sequences, functions, types, comments, rights and
owners. Tenants that differ in the same way are shown together. What the migrations make is found
by running them in a transaction that is rolled back, or in a schema that is dropped where that
takes several, so this wants the primary and the right to create a schema. No tenant is changed.

The rights of a tenant's own role are left out, and so is the form of goose_db_version. A table
that somebody holds locked is not waited for: its tenant counts as not read.

--fix-sql prints the statements that add what is missing, tenant by tenant. They never drop or
replace anything; what they do not mend is named in comments.`,
		Example: `crmctl migrate drift
crmctl migrate drift --tenant 'acme*' -o json
crmctl migrate drift --ignore column-order,comment -q
crmctl migrate drift --fix-sql > fix.sql`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := opts.kinds(); err != nil {
				return err
			}
			return runF(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(f, cmd)
	addConcurrencyFlag(cmd.Flags(), &opts.concurrency)
	cmd.Flags().StringSliceVar(&opts.ignore, "ignore", nil, "leave out these `KINDS` of objects, such as comment or column-order")
	cmd.Flags().BoolVar(&opts.fixSQL, "fix-sql", false, "print the SQL that mends what can be mended, whatever --output says")
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitPending, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runMigrateDrift(ctx context.Context, f *factory, opts *migrateDriftOptions) error {
	m, err := opts.read(f)
	if err != nil {
		return err
	}
	p, err := f.printer()
	if err != nil {
		return err
	}
	ignore, err := opts.kinds()
	if err != nil {
		return err
	}
	drift, err := f.compare(ctx, m, catalog.DriftOptions{
		Options: catalog.Options{Registry: f.registry(), Ignore: ignore, Direct: f.connectDirect}, Dial: f.connect, Concurrency: opts.concurrency, Others: adopt.Tables(),
	})
	if err != nil {
		return err
	}
	if opts.fixSQL {
		err = f.printFix(p, drift)
	} else {
		err = f.printDrift(p, drift)
	}
	if err != nil {
		return err
	}
	return cli.ExitWith(driftCode(drift))
}

// driftCode returns 4 when something differs, whatever else happened: it is sure.
func driftCode(d catalog.Drift) int {
	switch {
	case len(d.Groups)+len(d.Missing) > 0:
		return cli.ExitPending
	case len(d.Unread) == 0:
		return cli.ExitOK
	case d.Clean == 0:
		return cli.ExitFailure
	}
	return cli.ExitPartial
}

// compare compares the selected tenants, and shows how far it is when there are
// many.
func (f *factory) compare(ctx context.Context, m *app.Selection, o catalog.DriftOptions) (catalog.Drift, error) {
	plan, err := f.tenantPlan(ctx)
	if err != nil {
		return catalog.Drift{}, err
	}
	conn, err := f.connect(ctx)
	if err != nil {
		return catalog.Drift{}, err
	}
	defer closeConn(ctx, conn)
	f.Reads.Store(true)
	if plan, err = f.useExtensions(ctx, conn, plan, true); err != nil {
		return catalog.Drift{}, err
	}
	tenants, err := f.tenants(ctx, conn, m, registry.Active, registry.Suspended)
	if err != nil {
		return catalog.Drift{}, err
	}
	o.Expect = func(version int64) ([]db.Statement, error) {
		to, err := plan.To(version)
		if err != nil {
			return nil, err
		}
		return to.Build()
	}
	o.Versions = func(ctx context.Context, slugs []string) (map[string]int64, error) {
		now, err := f.registry().List(ctx, conn, registry.Filter{Slugs: slugs})
		versions := make(map[string]int64, len(now))
		for _, t := range now {
			versions[t.Slug] = t.Version
		}
		return versions, err
	}
	const many = 1000
	if len(tenants) > many {
		bar := f.NewProgress(cli.ProgressOptions{Verb: "compare", Total: int64(len(tenants))})
		defer bar.Finish()
		o.Compared = func(n int) { bar.Add(int64(n)) }
	}
	list := make([]catalog.Tenant, len(tenants))
	for i, t := range tenants {
		list[i] = catalog.Tenant{Slug: t.Slug, Target: catalog.Target{Schema: t.Schema, Role: t.Role}, Version: t.Version}
	}
	drift, err := catalog.Compare(ctx, list, o)
	return drift, f.placed(err)
}
