package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
)

// clusterRebalanceOptions are the options of `crmctl cluster rebalance`.
type clusterRebalanceOptions struct {
	watch  bool
	dryRun bool
}

func (o *clusterRebalanceOptions) addFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.watch, "watch", false, "wait until all is moved; a rebalancing that is under way is watched")
	addDryRunFlag(fs, &o.dryRun)
	addExpectDatabaseFlag(fs)
}

func newClusterRebalanceCmd(f *factory) *cobra.Command {
	opts := &clusterRebalanceOptions{}
	cmd := &cobra.Command{
		Use:   "rebalance",
		Short: "move tenants until the nodes have equal shares",
		Long: `Have the cluster move tenants between its nodes until each has its share of what they take on disk. The
tenants are named first (with --dry-run nothing more is done). The cluster moves one after another in
its background, while they are in use, and goes on when crmctl is gone; --watch waits for it.
Migrations of a tenant wait while it is on its way.

It takes a role that owns the tenants' tables, or a superuser. "select citus_rebalance_stop()" ends it.`,
		Example: `crmctl cluster rebalance --dry-run
crmctl cluster rebalance --watch`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runClusterRebalance(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(cmd.Flags())
	cli.DocumentExits(cmd, cli.ExitUnreachable, cli.ExitLocked)
	return cmd
}

func runClusterRebalance(ctx context.Context, f *factory, opts *clusterRebalanceOptions) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	done, err := a.Rebalance(ctx, app.RebalanceOptions{DryRun: opts.dryRun, Watch: opts.watch})
	const watch = "crmctl cluster rebalance --watch"
	if going, is := errors.AsType[*app.RebalancingError](err); is {
		return cli.WithCode(cli.WithHint(going, "watch it", watch), cli.ExitLocked)
	}
	if err != nil && done.Job.ID == 0 {
		return err
	}
	result := "moving"
	switch {
	case opts.dryRun:
		result = "would be moved"
	case err == nil && opts.watch:
		result = "moved"
	}
	if !done.Going {
		if err := cli.PrintList(p, stepList(result), done.Steps); err != nil {
			return err
		}
	}
	switch {
	case err != nil && ctx.Err() != nil:
		f.Note("the cluster goes on moving: %s", watch)
		return err
	case err != nil:
		return cli.WithHint(err, "what the nodes have", "crmctl cluster nodes")
	case len(done.Steps) == 0 && !done.Going:
		f.Note("the nodes have equal shares")
	case opts.dryRun:
	case opts.watch:
		f.Note("%s done", cli.Plural(done.Job.Moves, "move"))
	default:
		f.Note("the cluster moves them, one after another: %s", watch)
	}
	return nil
}

func stepList(result string) cli.List[app.RebalanceStep] {
	return cli.List[app.RebalanceStep]{
		Plural: "moves",
		Columns: []cli.Column[app.RebalanceStep]{
			{Name: "result", Value: func(app.RebalanceStep) any { return result }},
			{Name: "tenant", Value: func(s app.RebalanceStep) any { return s.Slug }},
			{Name: "schema", Wide: true, Value: func(s app.RebalanceStep) any { return s.Schema }},
			{Name: "from_node", Title: "FROM", Value: func(s app.RebalanceStep) any { return s.From }},
			{Name: "node", Value: func(s app.RebalanceStep) any { return s.To }},
		},
		Name: func(s app.RebalanceStep) string { return s.Slug },
	}
}
