package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
)

// localStopOptions are the options of `crmctl local stop`.
type localStopOptions struct {
	localOptions

	all    bool
	dryRun bool
}

func newLocalStopCmd(f *factory, runF func(context.Context, *factory, *localStopOptions) error) *cobra.Command {
	opts := &localStopOptions{}
	if runF == nil {
		runF = runLocalStop
	}
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "stop it; the data stays",
		Long: `Stop the private PostgreSQL. Its data stays, and crmctl local start goes on with it. One
that does not run is left alone.`,
		Example: "crmctl local stop\ncrmctl local stop --all",
		Args:    cli.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runF(cmd.Context(), f, opts) },
	}
	opts.addFlags(cmd.Flags())
	cmd.Flags().BoolVar(&opts.all, "all", false, "stop every instance")
	addDryRunFlag(cmd.Flags(), &opts.dryRun)
	cmd.MarkFlagsMutuallyExclusive("name", "all")
	cli.DocumentExits(cmd)
	return cmd
}

func runLocalStop(ctx context.Context, f *factory, opts *localStopOptions) error {
	p, err := f.printer()
	if err != nil {
		return err
	}
	instances, err := opts.local(f).Stop(ctx, opts.all, opts.dryRun)
	if err != nil {
		return localError(err)
	}
	for _, s := range instances {
		if opts.dryRun && app.Runs(s.State) {
			f.Note("would stop the local PostgreSQL %s", s.Name)
		}
	}
	return cli.PrintList(p, localList(), instances)
}
