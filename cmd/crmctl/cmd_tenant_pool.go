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
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

func newTenantPoolCmd(f *factory) *cobra.Command {
	return cli.NewGroup("pool", "schemas made ready for new tenants, so that these take milliseconds",
		newTenantPoolFillCmd(f),
		newTenantPoolListCmd(f),
		newTenantPoolDrainCmd(f),
	)
}

// poolChangeOptions are the options of `crmctl tenant pool fill` and `drain`.
type poolChangeOptions struct {
	count       int // schemas that are to be there afterwards
	concurrency int
	lockTimeout time.Duration
	dryRun      bool
}

func (o *poolChangeOptions) addFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	addConcurrencyFlag(fs, &o.concurrency)
	addLockTimeoutFlag(fs, &o.lockTimeout)
	addDryRunFlag(fs, &o.dryRun)
	addExpectDatabaseFlag(fs)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, cli.ExitLocked)
}

func newTenantPoolFillCmd(f *factory) *cobra.Command {
	opts := &poolChangeOptions{}
	cmd := &cobra.Command{
		Use:   "fill",
		Short: "make schemas ready, up to a number",
		Long: `Bring the pool to a number of ready schemas. Those that are there count; those that are out of
date, since migrations have come or gone, are dropped and made anew. "tenant create" takes from
the pool as long as it has some, and "migrate all-tenants" keeps it up to date; nothing refills
it by itself, so a cron job does.`,
		Example: `crmctl tenant pool fill --count 20
crmctl tenant pool fill --count 20 --quiet --expect-database crm_prod`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.count < 1 {
				return cli.Usagef("--count %d: want the number of schemas that are to be ready, at least 1 (tenant pool drain "+
					"empties the pool)", opts.count)
			}
			return runTenantPoolFill(cmd.Context(), f, opts)
		},
	}
	cmd.Flags().IntVar(&opts.count, "count", 20, "so many ready schemas, `N`")
	opts.addFlags(cmd)
	return cmd
}

func newTenantPoolDrainCmd(f *factory) *cobra.Command {
	opts := &poolChangeOptions{}
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "drop the schemas that no tenant has taken",
		Long:  "Drop the schemas of the pool, those that are out of date first. They are empty: nothing is lost.",
		Example: `crmctl tenant pool drain
crmctl tenant pool drain --keep 5`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.count < 0 {
				return cli.Usagef("--keep %d: want the number of schemas that are to stay, 0 or more", opts.count)
			}
			return runTenantPoolDrain(cmd.Context(), f, opts)
		},
	}
	cmd.Flags().IntVar(&opts.count, "keep", 0, "keep `N` of them")
	opts.addFlags(cmd)
	return cmd
}

func newTenantPoolListCmd(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "the schemas that wait for a tenant",
		Long: `List the schemas of the pool, the oldest first. One that is stale was made from other migrations,
by another role, or before something changed that migrations depend on: it is not used.`,
		Example: `crmctl tenant pool list`,
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runTenantPoolList(cmd.Context(), f)
		},
	}
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitUnreachable)
	return cmd
}

func runTenantPoolFill(ctx context.Context, f *factory, opts *poolChangeOptions) error {
	return changePool(ctx, f, opts, false)
}

func runTenantPoolDrain(ctx context.Context, f *factory, opts *poolChangeOptions) error {
	return changePool(ctx, f, opts, true)
}

// changePool fills or drains the pool, and says what came of it.
func changePool(ctx context.Context, f *factory, opts *poolChangeOptions, drain bool) error {
	a, err := f.app()
	if err != nil {
		return err
	}
	done, err := a.ChangePool(ctx, app.PoolOptions{
		Drain: drain, Count: opts.count, Concurrency: opts.concurrency, LockTimeout: opts.lockTimeout, DryRun: opts.dryRun,
	})
	p, printErr := f.printer()
	switch {
	case printErr != nil:
		return printErr
	case err != nil && !done.Changed:
		return err
	case !p.IsTable():
		if printErr := cli.PrintObject(p, poolObject(done, opts.dryRun)); printErr != nil {
			return printErr
		}
	case opts.dryRun && drain:
		f.Note("pool      %s; %d would be dropped", cli.Plural(done.Before, "schema"), done.Dropped)
	case opts.dryRun:
		f.Note("pool      %s ready; %d would be made, %d dropped", cli.Plural(done.Ready, "schema"), done.Made, done.Dropped)
	default:
		notePool(f, done)
	}
	return poolError(f, done, err)
}

func notePool(f *factory, done app.PoolChange) {
	f.Note("pool      %s ready; %d made, %d dropped in %s", cli.Plural(done.Ready, "schema"), done.Made, done.Dropped,
		cli.HumanDuration(done.Elapsed))
}

// poolObject is what became of the pool, for programs.
func poolObject(done app.PoolChange, dryRun bool) cli.Object {
	return cli.Object{Kind: "pool", Fields: []cli.Field{
		{Name: "ready", Value: done.Ready}, {Name: "made", Value: done.Made}, {Name: "dropped", Value: done.Dropped},
		{Name: "seconds", Value: done.Elapsed}, {Name: "dry_run", Value: dryRun},
	}}
}

// poolError returns the error of a change of the pool, with its exit code.
func poolError(f *factory, done app.PoolChange, err error) error {
	return f.end(runEnd{
		Summary: fleet.Summarize(done.Results, err), unsaid: true,
		left: func() error {
			return f.stopped(fmt.Sprintf("%s ready; %d made, %d dropped", cli.Plural(done.Ready, "schema"), done.Made,
				done.Dropped))
		},
	})
}

func runTenantPoolList(ctx context.Context, f *factory) error {
	p, conn, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	a, err := f.app()
	if err != nil {
		return err
	}
	pool, err := a.ReadPool(ctx, conn)
	if err != nil {
		return err
	}
	return cli.PrintList(p, poolList(), pool.Schemas)
}

func poolState(s registry.PoolSchema) string {
	if s.Ready {
		return "ready"
	}
	return "stale"
}

func poolList() cli.List[registry.PoolSchema] {
	return cli.List[registry.PoolSchema]{
		Plural: "schemas",
		Columns: []cli.Column[registry.PoolSchema]{
			{Name: "schema", Value: func(s registry.PoolSchema) any { return s.Schema.String() }},
			{Name: "schema_version", Title: "VERSION", Right: true, Value: func(s registry.PoolSchema) any {
				return cli.Serial(s.Version)
			}},
			{Name: "state", Value: func(s registry.PoolSchema) any {
				return cli.Styled{Value: poolState(s), Color: map[bool]cli.Color{true: cli.Green, false: cli.Yellow}[s.Ready]}
			}},
			{Name: "created_at", Title: "MADE", Value: func(s registry.PoolSchema) any { return s.MadeAt }},
		},
		Name:  func(s registry.PoolSchema) string { return s.Schema.String() },
		Empty: "the pool is empty; fill it: crmctl tenant pool fill",
	}
}

// refreshPool makes schemas of the pool anew that are out of date. A pool that
// cannot be refreshed is not used: that is worth a word, but no failure.
func (f *factory) refreshPool(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, o app.PoolOptions) {
	a, err := f.app()
	if err == nil {
		var done app.PoolChange
		var fresh bool
		if done, fresh, err = a.RefreshPool(ctx, conn, plan, o); fresh {
			return
		}
		if done.Changed {
			notePool(f, done)
			err = poolError(f, done, err)
		}
	}
	var said *cli.Error
	if errors.As(err, &said) && said.Err == nil {
		return
	}
	if err != nil {
		f.Note("crmctl: warning: the pool of ready schemas is out of date: %s", cli.Visible(fmt.Sprint(err)))
	}
}
