package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/localpg"
)

// localStartOptions are the options of `crmctl local start`.
type localStartOptions struct {
	localOptions

	wait   time.Duration
	dryRun bool
}

func newLocalStartCmd(f *factory, runF func(context.Context, *factory, *localStartOptions) error) *cobra.Command {
	opts := &localStartOptions{}
	if runF == nil {
		runF = runLocalStart
	}
	cmd := &cobra.Command{
		Use:   "start",
		Short: "start it, and create it the first time",
		Long: `Start the private PostgreSQL, and create it the first time. It runs until crmctl local stop,
on a Unix socket and no network address; its data stays when it stops. Started by root, it
runs as an unprivileged account. Writes the profile "local" ("local-NAME" with --name).`,
		Example: `crmctl local start
crmctl local start --name trial --pg-bin /usr/lib/postgresql/15/bin`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runF(cmd.Context(), f, opts) },
	}
	opts.addFlags(cmd.Flags())
	opts.addBinFlag(cmd.Flags())
	cmd.Flags().Var(newDuration(&opts.wait, config.FormatDuration(localpg.DefaultStartTimeout)), "wait",
		"wait this `DURATION` for the server to accept connections")
	addDryRunFlag(cmd.Flags(), &opts.dryRun)
	cli.DocumentExits(cmd)
	return cmd
}

func runLocalStart(ctx context.Context, f *factory, opts *localStartOptions) error {
	p, err := f.printer()
	if err != nil {
		return err
	}
	if opts.dryRun {
		return dryLocalStart(ctx, f, opts)
	}
	local := opts.local(f)
	server, err := local.Start(ctx, localpg.Options{StartTimeout: opts.wait,
		Observe: func(s localpg.Step) { f.Note("%s ...", string(s)) }})
	if err != nil {
		return localError(err)
	}
	if err := cli.PrintObject(p, localObject(server.Status)); err != nil {
		return err
	}
	if server.AlreadyRunning {
		f.Note("\nit was running already")
	}
	if server.Shadowed != "" {
		f.Note("\ncrmctl: warning: the profile %s leads to another database (%s); rename that one", local.Profile(),
			cli.Visible(server.Shadowed))
		return nil
	}
	f.Note("\nnext: export CRMCTL_PROFILE=%s\n      crmctl migrate public", local.Profile())
	return nil
}

// dryLocalStart says what would happen: it looks for the instance and the programs.
func dryLocalStart(ctx context.Context, f *factory, opts *localStartOptions) error {
	local := opts.local(f)
	s, dir, version, err := local.WouldStart(ctx)
	if err != nil {
		return localError(err)
	}
	if app.Runs(s.State) {
		f.Note("the local PostgreSQL %s is %s already; the profile %s would be written", s.Name, s.State, local.Profile())
		return nil
	}
	verb := "started"
	if s.State == localpg.Absent {
		verb = "created and started"
	}
	f.Note("the local PostgreSQL %s would be %s (PostgreSQL %s of %s), and the profile %s written", s.Name, verb, version,
		cli.Visible(dir), local.Profile())
	return nil
}
