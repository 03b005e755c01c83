package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/localpg"
)

// localStartOptions are the options of `crmctl local start`.
type localStartOptions struct {
	localOptions

	wait time.Duration
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
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runF(cmd.Context(), f, opts) },
	}
	opts.addFlags(cmd.Flags())
	opts.addBinFlag(cmd.Flags())
	cmd.Flags().Var(newDuration(&opts.wait, config.FormatDuration(localpg.DefaultStartTimeout)), "wait", "wait this `DURATION` for the server to accept connections")
	documentExits(cmd)
	return cmd
}

func runLocalStart(ctx context.Context, f *factory, opts *localStartOptions) error {
	p, err := f.printer()
	if err != nil {
		return err
	}
	instance := opts.instance()
	instance.StartTimeout = opts.wait
	instance.Observe = func(s localpg.Step) { f.note("%s ...", string(s)) }
	server, err := localpg.Start(ctx, instance)
	if err != nil {
		return localError(err)
	}
	if _, err := config.WriteProfile(f.io.Env, opts.profile(), config.DSN(server.DSN)); err != nil {
		return err
	}
	if err := printObject(p, localObject(server.Status)); err != nil {
		return err
	}
	if server.AlreadyRunning {
		f.note("\nit was running already")
	}
	f.note("\nnext: crmctl --profile %s tenant list        or: export CRMCTL_PROFILE=%s", opts.profile(), opts.profile())
	return nil
}
