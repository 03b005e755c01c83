package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

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
	instance := opts.instance()
	instance.StartTimeout = opts.wait
	instance.Observe = func(s localpg.Step) { f.Note("%s ...", string(s)) }
	server, err := localpg.Start(ctx, instance)
	if err != nil {
		return localError(err)
	}
	if _, err := config.WriteProfile(f.IO.Env, opts.profile(), config.DSN(server.DSN)); err != nil {
		return err
	}
	if err := cli.PrintObject(p, localObject(server.Status)); err != nil {
		return err
	}
	if server.AlreadyRunning {
		f.Note("\nit was running already")
	}
	if origin := f.shadowed(opts.profile(), config.DSN(server.DSN)); origin != "" {
		f.Note("\ncrmctl: warning: the profile %s leads to another database (%s); rename that one", opts.profile(),
			cli.Visible(origin))
		return nil
	}
	f.Note("\nnext: export CRMCTL_PROFILE=%s\n      crmctl migrate public", opts.profile())
	return nil
}

// dryLocalStart says what would happen: it looks for the instance and the programs.
func dryLocalStart(ctx context.Context, f *factory, opts *localStartOptions) error {
	s, err := localpg.Inspect(ctx, opts.instance())
	if err != nil {
		return localError(err)
	}
	switch s.State {
	case localpg.Running, localpg.Starting:
		f.Note("the local PostgreSQL %s is %s already; the profile %s would be written", s.Name, s.State, opts.profile())
		return nil
	}
	dir, version, err := localpg.FindBinaries(ctx, opts.pgBin)
	if err != nil {
		return localError(err)
	}
	verb := "started"
	if s.State == localpg.Absent {
		verb = "created and started"
	}
	f.Note("the local PostgreSQL %s would be %s (PostgreSQL %s of %s), and the profile %s written", s.Name, verb, version,
		cli.Visible(dir), opts.profile())
	return nil
}

// shadowed returns where another profile of that name comes from that wins over the
// one which was written for a local server, "" when there is none: "crmctl --profile
// local" would work on somebody's real database.
func (f *factory) shadowed(profile string, dsn config.DSN) string {
	cfg, err := config.Load(config.Sources{
		Env: f.IO.Env, Dir: f.IO.Dir, SystemDir: f.IO.SystemDir,
		Flag: func(name string) (string, bool) { return profile, name == config.KeyProfile },
	})
	if err != nil || cfg.DatabaseURL == dsn {
		return ""
	}
	return cfg.Setting(config.KeyDatabaseURL).Origin
}
