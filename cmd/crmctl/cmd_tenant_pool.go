package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/shape"
	"github.com/crmctl/crmctl/internal/tenant"
)

func newTenantPoolCmd(f *factory) *cobra.Command {
	return newGroup("pool", "schemas made ready for new tenants, so that these take milliseconds",
		newTenantPoolFillCmd(f, nil),
		newTenantPoolListCmd(f, nil),
		newTenantPoolDrainCmd(f, nil),
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
	documentExits(cmd, exitPartial, exitUnreachable, exitLocked)
}

func newTenantPoolFillCmd(f *factory, runF func(context.Context, *factory, *poolChangeOptions) error) *cobra.Command {
	opts := &poolChangeOptions{}
	if runF == nil {
		runF = runTenantPoolFill
	}
	cmd := &cobra.Command{
		Use:   "fill",
		Short: "make schemas ready, up to a number",
		Long: `Bring the pool to a number of ready schemas. Those that are there count; those that are out of
date, since migrations have come or gone, are dropped and made anew. "tenant create" takes from
the pool as long as it has some, and "migrate all-tenants" keeps it up to date; nothing refills
it by itself, so a cron job does.`,
		Example: `crmctl tenant pool fill --count 20
crmctl tenant pool fill --count 20 --quiet --expect-database crm_prod`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.count < 1 {
				return usagef("--count %d: want the number of schemas that are to be ready, at least 1 (tenant pool drain empties the pool)", opts.count)
			}
			return runF(cmd.Context(), f, opts)
		},
	}
	cmd.Flags().IntVar(&opts.count, "count", 20, "so many ready schemas, `N`")
	opts.addFlags(cmd)
	return cmd
}

func newTenantPoolDrainCmd(f *factory, runF func(context.Context, *factory, *poolChangeOptions) error) *cobra.Command {
	opts := &poolChangeOptions{}
	if runF == nil {
		runF = runTenantPoolDrain
	}
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "drop the schemas that no tenant has taken",
		Long:  "Drop the schemas of the pool, those that are out of date first. They are empty: nothing is lost.",
		Example: `crmctl tenant pool drain
crmctl tenant pool drain --keep 5`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.count < 0 {
				return usagef("--keep %d: want the number of schemas that are to stay, 0 or more", opts.count)
			}
			return runF(cmd.Context(), f, opts)
		},
	}
	cmd.Flags().IntVar(&opts.count, "keep", 0, "keep `N` of them")
	opts.addFlags(cmd)
	return cmd
}

func newTenantPoolListCmd(f *factory, runF func(context.Context, *factory) error) *cobra.Command {
	if runF == nil {
		runF = runTenantPoolList
	}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "the schemas that wait for a tenant",
		Long: `List the schemas of the pool, the oldest first. One that is stale was made from other migrations,
by another role, or before something changed that migrations depend on: it is not used.`,
		Example: `crmctl tenant pool list`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runF(cmd.Context(), f)
		},
	}
	readOnly(cmd)
	documentExits(cmd, exitUnreachable)
	return cmd
}

// openedPool is the pool and what its schemas are made of.
type openedPool struct {
	conn    *pgx.Conn
	plan    *migrate.Plan
	history shape.History
	key     shape.Key
	list    []registry.PoolSchema
}

// openPool reads the pool, for a command that changes it.
func (f *factory) openPool(ctx context.Context, dryRun bool) (*openedPool, error) {
	plan, err := f.tenantPlan(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.beforeChange(ctx, dryRun); err != nil {
		return nil, err
	}
	conn, err := f.connect(ctx)
	if err != nil {
		return nil, err
	}
	plan, err = f.useExtensions(ctx, conn, plan, dryRun)
	if err != nil {
		closeConn(ctx, conn)
		return nil, err
	}
	pool, err := f.readPool(ctx, conn, plan)
	if err != nil {
		closeConn(ctx, conn)
		return nil, err
	}
	return pool, nil
}

// readPool reads the pool on a connection. Unlike a template it insists on a registry
// that knows of it.
func (f *factory) readPool(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan) (*openedPool, error) {
	pool := &openedPool{conn: conn, plan: plan}
	var err error
	if pool.history, err = historyOf(plan); err != nil {
		return nil, err
	}
	pool.key, err = shape.ReadKey(ctx, conn, pool.history)
	if errors.Is(err, shape.ErrOldRegistry) {
		err = registry.ErrOldRegistry
	}
	if err == nil {
		pool.list, err = f.registry().ListPool(ctx, conn, pool.key.String())
	}
	return pool, f.placed(err)
}

func runTenantPoolFill(ctx context.Context, f *factory, opts *poolChangeOptions) error {
	pool, err := f.openPool(ctx, opts.dryRun)
	if err != nil {
		return err
	}
	defer closeConn(ctx, pool.conn)
	ready := readyOf(pool.list)
	missing, over := max(0, opts.count-ready), len(pool.list)-min(ready, opts.count)
	if opts.dryRun {
		f.note("pool      %s ready; %d would be made, %d dropped", cli.Plural(ready, "schema"), missing, over)
		return nil
	}
	template, why, err := f.poolTemplate(ctx, pool, opts.lockTimeout)
	if err != nil {
		return err
	}
	if missing > 0 {
		f.noteHistory(why)
	}
	return f.changePool(ctx, pool.conn, template, opts, missing+over, tenant.FillPool)
}

func runTenantPoolDrain(ctx context.Context, f *factory, opts *poolChangeOptions) error {
	pool, err := f.openPool(ctx, opts.dryRun)
	if err != nil {
		return err
	}
	defer closeConn(ctx, pool.conn)
	over := max(0, len(pool.list)-opts.count)
	if opts.dryRun {
		f.note("pool      %s; %d would be dropped", cli.Plural(len(pool.list), "schema"), over)
		return nil
	}
	return f.changePool(ctx, pool.conn, tenant.Template{Key: pool.key.String()}, opts, over, tenant.DrainPool)
}

// changePool fills or drains the pool, which is about so much work, and says what came
// of it.
func (f *factory) changePool(ctx context.Context, conn *pgx.Conn, template tenant.Template, opts *poolChangeOptions, work int,
	change func(context.Context, func(context.Context) (*pgx.Conn, error), int, tenant.PoolOptions) (tenant.PoolChange, error),
) error {
	begun := f.now()
	run := fleet.Options{Concurrency: opts.concurrency, Drain: f.drain()}
	var bar *progress
	if work > manyTenants {
		bar = f.newProgress(progressOptions{verb: "pool", total: int64(work)})
		run.Observer = fleetProgress{bar: bar, name: func(int) string { return "a schema" }}
	}
	done, err := change(ctx, fleet.Reuse(conn, f.connect), opts.count, tenant.PoolOptions{
		Registry: f.registry(),
		Template: template, Actor: f.actor(), Program: programName(), LockTimeout: opts.lockTimeout, Fleet: run, Direct: f.connectDirect,
	})
	if bar != nil {
		bar.finish()
	}
	if len(done.Results) == 0 && err != nil {
		return f.placed(err)
	}
	f.note("pool      %s ready; %d made, %d dropped in %s", cli.Plural(done.Ready, "schema"), done.Made, done.Dropped, cli.HumanDuration(f.now().Sub(begun)))
	var first error
	for _, r := range done.Results {
		first = cmpErr(first, r.Err)
	}
	switch {
	case f.wasInterrupted():
		return f.stopped(fmt.Sprintf("%s ready; %d made, %d dropped", cli.Plural(done.Ready, "schema"), done.Made, done.Dropped))
	case errors.Is(err, fleet.ErrDrained), ctx.Err() != nil:
		return exitWith(exitInterrupted)
	case first == nil:
		return f.placed(err)
	case done.Made+done.Dropped == 0 || len(done.Results) == 1:
		return f.placed(first)
	}
	f.say("crmctl: %s", cli.Visible(f.placed(first).Error()))
	return exitWith(partial(done.Results))
}

func runTenantPoolList(ctx context.Context, f *factory) error {
	p, conn, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	plan, err := f.tenantPlan(ctx)
	if err != nil {
		return err
	}
	if plan, err = f.useExtensions(ctx, conn, plan, true); err != nil {
		return err
	}
	pool, err := f.readPool(ctx, conn, plan)
	if err != nil {
		return err
	}
	return cli.PrintList(p, poolList(), pool.list)
}

func readyOf(pool []registry.PoolSchema) int {
	ready := 0
	for _, s := range pool {
		if s.Ready {
			ready++
		}
	}
	return ready
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
			{Name: "version", Right: true, Value: func(s registry.PoolSchema) any { return s.Version }},
			{Name: "state", Value: func(s registry.PoolSchema) any {
				return cli.Styled{Value: poolState(s), Color: map[bool]cli.Color{true: cli.Green, false: cli.Yellow}[s.Ready]}
			}},
			{Name: "made", Value: func(s registry.PoolSchema) any { return s.MadeAt }},
		},
		Name: func(s registry.PoolSchema) string { return s.Schema.String() },
		Record: func(s registry.PoolSchema) any {
			return struct {
				Schema  string    `json:"schema"`
				Version int64     `json:"version"`
				State   string    `json:"state"`
				MadeAt  time.Time `json:"made_at"`
			}{s.Schema.String(), s.Version, poolState(s), s.MadeAt}
		},
		Empty: "the pool is empty; fill it: crmctl tenant pool fill",
	}
}

// refreshPool makes schemas of the pool anew that are out of date. A pool that
// cannot be refreshed is not used: that is worth a word, but no failure.
func (f *factory) refreshPool(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, opts *poolChangeOptions) {
	err := func() error {
		pool, err := f.readPool(ctx, conn, plan)
		if err != nil || readyOf(pool.list) == len(pool.list) {
			return err
		}
		template, _, err := f.poolTemplate(ctx, pool, opts.lockTimeout)
		if err != nil {
			return err
		}
		opts.count = len(pool.list)
		return f.changePool(ctx, conn, template, opts, 2*(len(pool.list)-readyOf(pool.list)), tenant.FillPool)
	}()
	var said *commandError
	if errors.As(err, &said) && said.err == nil || errors.Is(err, registry.ErrOldRegistry) {
		return
	}
	if err != nil {
		f.note("crmctl: warning: the pool of ready schemas is out of date: %s", cli.Visible(fmt.Sprint(err)))
	}
}
