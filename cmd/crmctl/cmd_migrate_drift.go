package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/suggest"
)

// migrateDriftOptions are the options of `crmctl migrate drift`.
type migrateDriftOptions struct {
	selection

	concurrency int
	ignore      []string
	fixSQL      bool
	accept      bool
	accepted    bool
	unaccept    bool
	reason      string
	lockTimeout time.Duration
	dryRun      bool
}

// check refuses flags that do not go together.
func (o *migrateDriftOptions) check() error {
	ways := 0
	for _, way := range []bool{o.accept, o.accepted, o.unaccept, o.fixSQL} {
		if way {
			ways++
		}
	}
	switch {
	case ways > 1:
		return cli.Usagef("--accept, --accepted, --unaccept and --fix-sql do not go together")
	case o.accept && strings.TrimSpace(o.reason) == "":
		return cli.Usagef("--accept wants --reason TEXT: whoever meets the difference later reads it")
	case !o.accept && o.reason != "":
		return cli.Usagef("--reason goes with --accept")
	}
	_, err := o.kinds()
	return err
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
replace anything; what they do not mend is named in comments.

--accept keeps what tenants differ in as wanted, with a reason: object by object with its
definition, so that a further change is drift again. Such a tenant counts apart and is no reason
for exit code 4; a clone of it takes that over. --accepted lists what is kept, --unaccept takes it
back.`,
		Example: `crmctl migrate drift
crmctl migrate drift --accept --tenant acme-corp --reason 'their own report'
crmctl migrate drift --tenant 'acme*' -o json
crmctl migrate drift --ignore column-order,comment -q
crmctl migrate drift --fix-sql > fix.sql`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.check(); err != nil {
				return err
			}
			return runF(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(f, cmd)
	addConcurrencyFlag(cmd.Flags(), &opts.concurrency)
	cmd.Flags().StringSliceVar(&opts.ignore, "ignore", nil,
		"leave out these `KINDS` of objects, such as comment or column-order")
	cmd.Flags().BoolVar(&opts.fixSQL, "fix-sql", false,
		"print the SQL that mends what can be mended, whatever --output says")
	fs := cmd.Flags()
	fs.BoolVar(&opts.accept, "accept", false, "keep what tenants differ in as wanted")
	fs.StringVar(&opts.reason, "reason", "", "why, as `TEXT` for whoever asks later")
	fs.BoolVar(&opts.accepted, "accepted", false, "list what is kept as wanted")
	fs.BoolVar(&opts.unaccept, "unaccept", false, "keep nothing of these tenants as wanted any more")
	addLockTimeoutFlag(fs, &opts.lockTimeout)
	addDryRunFlag(fs, &opts.dryRun)
	addExpectDatabaseFlag(fs)
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
	a, err := f.app()
	if err != nil {
		return err
	}
	switch {
	case opts.accept:
		return f.acceptDrift(ctx, a, m, ignore, opts)
	case opts.unaccept:
		list, err := a.UnacceptDrift(ctx, m, opts.lockTimeout, opts.dryRun)
		if err != nil {
			return err
		}
		return f.printUnaccepted(list, opts.dryRun)
	}
	f.Reads.Store(true)
	if opts.accepted {
		list, err := a.ListAccepted(ctx, m)
		if err != nil {
			return err
		}
		return cli.PrintList(p, acceptedList(), list)
	}
	drift, invalid, err := a.Drift(ctx, app.DriftOptions{Selection: m, Ignore: ignore, Concurrency: opts.concurrency,
		Begin: f.watchDrift})
	if err != nil {
		return err
	}
	f.skipInvalid(invalid)
	if opts.fixSQL {
		err = f.printFix(p, drift)
	} else {
		err = f.printDrift(p, drift)
	}
	if err != nil {
		return err
	}
	return cli.ExitTold(driftCode(drift), "%s", driftLine(drift))
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

// watchDrift shows how far a comparison is when there are many tenants.
func (f *factory) watchDrift(tenants int) (func(int), func()) {
	const many = 1000
	if tenants <= many {
		return nil, func() {}
	}
	bar := f.NewProgress(cli.ProgressOptions{Verb: "compare", Total: int64(tenants)})
	return func(n int) { bar.Add(int64(n)) }, bar.Finish
}
