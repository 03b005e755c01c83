package main

import (
	"context"

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
	a, err := f.app()
	if err != nil {
		return err
	}
	f.Reads.Store(true)
	measured, end := f.watchMeasuring()
	found, failed := a.Sizes(ctx, app.SizesOptions{Selection: m, Mode: opts.mode(), Record: opts.record,
		DryRun: opts.dryRun, Measured: measured})
	end()
	f.skipInvalid(found.Invalid)
	if found.Report == nil {
		return failed
	}
	s := newSizesScreen(p, *found.Report, opts.top)
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
