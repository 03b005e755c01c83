package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

// statsSizesOptions are the options of `crmctl stats sizes`.
type statsSizesOptions struct {
	selection

	top      int
	exact    bool
	estimate bool
	record   bool
	dryRun   bool
	by       string
	history  bool
	capacity string
}

func (o *statsSizesOptions) validate() error {
	if o.top < 0 {
		return cli.Usagef("--top %d: want 0 (all) or more", o.top)
	}
	switch {
	case o.by != "" && !slices.Contains(sizesBy(), o.by):
		return cli.Usagef("--by %s: want tenant, table or tablespace", o.by)
	case o.by != "" && o.by != "tenant" && (o.record || o.history || o.capacity != ""):
		return cli.Usagef("--by %s is without --record, --history and --capacity", o.by)
	}
	_, err := parseSize("--capacity", o.capacity)
	return err
}

// sizesBy returns what there may be a line for.
func sizesBy() []string { return []string{"tenant", "table", "tablespace"} }

func (o *statsSizesOptions) mode() stats.Mode {
	switch {
	case o.exact:
		return stats.Exact
	case o.estimate:
		return stats.Estimate
	}
	return stats.Auto
}

func newStatsSizesCmd(f *factory, runF func(context.Context, *factory, *statsSizesOptions) error) *cobra.Command {
	opts := &statsSizesOptions{}
	if runF == nil {
		runF = runStatsSizes
	}
	cmd := &cobra.Command{
		Use:   "sizes",
		Short: "the space each tenant takes, and how fast it grows",
		Long: `Show what each tenant takes in the database: tables, indexes and both, the largest first. A small
fleet is measured, a large one estimated from what the server noted when it last vacuumed,
analyzed or indexed each table. The number of contacts is always an estimate. A ? is unknown.

With --record the sizes are kept, so that later runs show the growth over 30 days, with
--history a small curve of the last samples, and with --capacity the days until all tenants
together take so much, if they go on growing like that; a tenant without a sample is new.

--by table adds up the tables of one name over the tenants. DEAD is the room that dead rows
take, estimated from the server's counts of dead and live rows; a vacuum frees it. --by tablespace
adds up what stands in each tablespace: crmctl tenant relocate moves a tenant's tables there.

What it costs: one query of the catalogs for estimates; measuring opens every table for a
moment, about a millisecond a tenant, and waits for no lock longer than half a second.`,
		Example: `crmctl stats sizes --top 10
crmctl stats sizes --by table
crmctl stats sizes --history --capacity 500GB
crmctl stats sizes --exact --tenant 'acme*'
crmctl stats sizes --record -q`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.validate(); err != nil {
				return err
			}
			return runF(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(f, cmd)
	fs := cmd.Flags()
	fs.IntVar(&opts.top, "top", 0, "only the `N` largest, and a sum of the rest; 0 for all")
	fs.BoolVar(&opts.exact, "exact", false, "measure, whatever the number of tenants")
	fs.BoolVar(&opts.estimate, "estimate", false, "estimate, whatever the number of tenants")
	fs.BoolVar(&opts.record, "record", false, "keep the sizes, to compare with later")
	fs.StringVar(&opts.by, "by", "", "a line for each `WHAT`: tenant, table or tablespace")
	fs.BoolVar(&opts.history, "history", false, "a curve of the last recorded sizes")
	fs.StringVar(&opts.capacity, "capacity", "", "say when the tenants will take `SIZE`, such as 500GB")
	addDryRunFlag(fs, &opts.dryRun)
	cli.RegisterCompletion(cmd, "by", cobra.FixedCompletions(sizesBy(),
		cobra.ShellCompDirectiveNoFileComp))
	cmd.MarkFlagsMutuallyExclusive("exact", "estimate")
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runStatsSizes(ctx context.Context, f *factory, opts *statsSizesOptions) error {
	m, err := opts.read(f)
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	f.Reads.Store(true)
	switch opts.by {
	case "table":
		return runTableSizes(ctx, f, p, opts, m)
	case "tablespace":
		return runTablespaceSizes(ctx, f, p, opts, m)
	}
	measured, end := f.watchMeasuring()
	found, failed := a.Sizes(ctx, app.SizesOptions{Selection: m, Mode: opts.mode(), Record: opts.record,
		DryRun: opts.dryRun, Measured: measured, History: opts.history, Top: opts.top})
	end()
	f.skipInvalid(found.Invalid)
	if found.Report == nil {
		return failed
	}
	s := newSizesScreen(p, *found.Report, opts.top)
	s.history = found.History
	s.capacity, _ = parseSize("--capacity", opts.capacity)
	if err := cli.PrintList(p, s.list(), s.rows()); err != nil {
		return err
	}
	if !p.Terminal || !p.IsTable() {
		for _, line := range s.gaps() {
			f.Note("%s", line)
		}
	}
	switch {
	case failed != nil || !opts.record:
		return failed
	case opts.dryRun:
		f.Note("would record  %s", cli.Plural(len(found.Report.Tenants), "tenant"))
		return nil
	}
	f.Note("recorded  %s", cli.Plural(int(found.Recorded), "tenant"))
	return nil
}

// watchMeasuring shows how far it is when there is much to measure.
func (f *factory) watchMeasuring() (measured func(done, total int), end func()) {
	const many = 1000
	var bar *cli.Progress
	measured = func(done, total int) {
		if bar == nil && total > many {
			bar = f.NewProgress(cli.ProgressOptions{Verb: "measure", Total: int64(total)})
		}
		if bar != nil {
			bar.Set(int64(done))
		}
	}
	return measured, func() {
		if bar != nil {
			bar.Finish()
		}
	}
}
