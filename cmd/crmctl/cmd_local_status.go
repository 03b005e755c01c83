package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/localpg"
)

// localStatusOptions are the options of `crmctl local status`.
type localStatusOptions struct {
	localOptions

	one bool // --name was given
}

func newLocalStatusCmd(f *factory, runF func(context.Context, *factory, *localStatusOptions) error) *cobra.Command {
	opts := &localStatusOptions{}
	if runF == nil {
		runF = runLocalStatus
	}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "how it is: state, version, size, address",
		Long: `Show every instance of the private PostgreSQL, or with --name all about one. With --name the
exit code is 4 unless it runs.`,
		Example: `crmctl local status
crmctl local status --name default -o json`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.one = cmd.Flags().Changed("name")
			return runF(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(cmd.Flags())
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitPending)
	return cmd
}

func runLocalStatus(ctx context.Context, f *factory, opts *localStatusOptions) error {
	p, err := f.printer()
	if err != nil {
		return err
	}
	if opts.one {
		s, err := opts.local(f).Inspect(ctx)
		if err != nil {
			return localError(err)
		}
		if err := cli.PrintObject(p, localObject(s)); err != nil {
			return err
		}
		if s.State != localpg.Running {
			return &cli.Error{
				Code: cli.ExitPending, Told: fmt.Sprintf("the local PostgreSQL %q is %s", opts.name, s.State),
				Hints: []cli.Hint{{Label: "start it", Command: "crmctl local start --name " + cli.ShellWords([]string{opts.name})}},
			}
		}
		return nil
	}
	instances, err := localpg.List(ctx, "")
	if err != nil {
		return localError(err)
	}
	return cli.PrintList(p, localList(), instances)
}

// localList shows several instances.
func localList() cli.List[localpg.Status] {
	type status = localpg.Status
	return cli.List[status]{
		Plural: "instances",
		Empty:  "no local PostgreSQL; crmctl local start makes one",
		Name:   func(s status) string { return s.Name },
		Columns: []cli.Column[status]{
			{Name: "name", Value: func(s status) any { return s.Name }},
			{Name: "state", Value: func(s status) any {
				return cli.Styled{Value: string(s.State), Color: colorOfState(s.State)}
			}},
			{Name: "server_version", Title: "VERSION", Value: func(s status) any { return s.Version }},
			{Name: "size_bytes", Title: "SIZE", Right: true, Value: func(s status) any { return cli.ByteSize(s.Bytes) }},
			{Name: "started_at", Title: "STARTED", Value: func(s status) any { return s.StartedAt }},
			{Name: "profile", Value: func(s status) any { return app.LocalProfile(s.Name) }},
			{Name: "pid", Right: true, Wide: true, Optional: true, Value: func(s status) any {
				return cli.Either{Human: cli.ID(s.PID), Machine: s.PID}
			}},
			{Name: "account", Wide: true, Value: func(s status) any { return s.Account }},
			{Name: "url", Wide: true, Value: func(s status) any { return s.DSN }},
			{Name: "data_dir", Wide: true, Value: func(s status) any { return s.DataDir }},
			{Name: "log_file", Document: true, Optional: true, Value: func(s status) any { return s.LogFile }},
			{Name: "bin_dir", Document: true, Optional: true, Value: func(s status) any { return s.BinDir }},
		},
	}
}
