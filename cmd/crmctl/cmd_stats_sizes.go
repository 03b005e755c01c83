package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
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
}

func (o *statsSizesOptions) validate() error {
	if o.top < 0 {
		return cli.Usagef("--top %d: want 0 (all) or more", o.top)
	}
	return nil
}

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

With --record the sizes are kept, so that later runs show the growth over 30 days.`,
		Example: `crmctl stats sizes --top 10
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
	addDryRunFlag(fs, &opts.dryRun)
	cmd.MarkFlagsMutuallyExclusive("exact", "estimate")
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runStatsSizes(ctx context.Context, f *factory, opts *statsSizesOptions) error {
	m, err := opts.read(f)
	if err != nil {
		return err
	}
	p, err := f.printer()
	if err != nil {
		return err
	}
	if opts.record {
		if err := f.beforeChange(ctx, opts.dryRun); err != nil {
			return err
		}
	}
	conn, err := f.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	f.Reads.Store(true)
	o := stats.SizeOptions{Registry: f.registry(), Mode: opts.mode(), Dial: f.connect}
	if o.Slugs, err = f.selectedSlugs(ctx, conn, m); err != nil {
		return err
	}
	report, err := f.measureSizes(ctx, conn, o)
	if err != nil {
		return err
	}
	s := newSizesScreen(p, report, opts.top)
	if err := cli.PrintList(p, s.list(), s.rows()); err != nil {
		return err
	}
	if !p.Terminal || !p.IsTable() {
		for _, line := range s.gaps() {
			f.Note("%s", line)
		}
	}
	switch {
	case !opts.record:
		return nil
	case opts.dryRun:
		f.Note("would record  %s", cli.Plural(len(report.Tenants), "tenant"))
		return nil
	}
	n, err := stats.Record(ctx, conn, f.registry(), report)
	if err == nil {
		f.Note("recorded  %s", cli.Plural(int(n), "tenant"))
	}
	return err
}

// selectedSlugs returns the slugs of the selected tenants, or nil for all.
func (f *factory) selectedSlugs(ctx context.Context, q db.Querier, s *app.Selection) ([]string, error) {
	if s.Everything() {
		// All of them, unless there is one that is not to be looked at.
		invalid, err := f.registry().Invalid(ctx, q)
		if err != nil || len(invalid) == 0 {
			return nil, err
		}
	}
	tenants, err := f.tenants(ctx, q, s)
	if err != nil {
		return nil, err
	}
	slugs := make([]string, len(tenants))
	for i, t := range tenants {
		slugs[i] = t.Slug
	}
	return slugs, nil
}

// measureSizes shows how far it is when there is much to measure.
func (f *factory) measureSizes(ctx context.Context, q db.Querier, o stats.SizeOptions) (stats.Report, error) {
	const many = 1000
	var bar *cli.Progress
	o.Measured = func(done, total int) {
		if bar == nil && total > many {
			bar = f.NewProgress(cli.ProgressOptions{Verb: "measure", Total: int64(total)})
		}
		if bar != nil {
			bar.Set(int64(done))
		}
	}
	report, err := stats.Sizes(ctx, q, o)
	if bar != nil {
		bar.Finish()
	}
	if f.registry().Missing(err) {
		err = registry.ErrNoRegistry
	}
	return report, err
}
