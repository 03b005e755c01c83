package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/localpg"
)

// localResetOptions are the options of `crmctl local reset`.
type localResetOptions struct {
	localOptions

	confirm string
	dryRun  bool
}

func newLocalResetCmd(f *factory, runF func(context.Context, *factory, *localResetOptions) error) *cobra.Command {
	opts := &localResetOptions{}
	if runF == nil {
		runF = runLocalReset
	}
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "stop it and destroy all its data",
		Long: `Stop the private PostgreSQL and destroy it with all its data, and remove its profile. The
instance's name has to be typed, or given by --confirm.`,
		Example: "crmctl local reset\ncrmctl local reset --name trial --confirm trial",
		Args:    cli.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runF(cmd.Context(), f, opts) },
	}
	opts.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&opts.confirm, "confirm", "", "`NAME` of the instance, instead of typing it")
	addDryRunFlag(cmd.Flags(), &opts.dryRun)
	cli.DocumentExits(cmd)
	return cmd
}

func runLocalReset(ctx context.Context, f *factory, opts *localResetOptions) error {
	p, err := f.printer()
	if err != nil {
		return err
	}
	s, err := opts.local(f).Inspect(ctx)
	if err != nil {
		return localError(err)
	}
	if s.State == localpg.Absent {
		f.Note("there is no local PostgreSQL %q", s.Name)
		return nil
	}
	impact := fmt.Sprintf("The local PostgreSQL %s in %s (%s, %s) will be destroyed now, with all its tenants.",
		s.Name, s.Dir, cli.HumanSize(s.Bytes), s.State)
	if opts.dryRun {
		f.Note("%s", cli.Lines(impact))
		return nil
	}
	err = f.ConfirmName(ctx, cli.Confirmation{Impact: impact, Name: s.Name, Given: opts.confirm, Flag: "--confirm",
		What: "the instance's name"})
	if err != nil {
		return err
	}
	if err := opts.local(f).Reset(ctx); err != nil {
		return localError(err)
	}
	return cli.PrintList(p, cli.List[localpg.Status]{
		Plural: "instances", NoHeader: true,
		Name: func(s localpg.Status) string { return s.Name },
		Columns: []cli.Column[localpg.Status]{
			{Name: "result", Value: func(localpg.Status) any { return "destroyed" }},
			{Name: "name", Value: func(s localpg.Status) any { return s.Name }},
			{Name: "data_dir", Document: true, Value: func(s localpg.Status) any { return s.DataDir }},
		},
	}, []localpg.Status{s})
}
