package main

import (
	"context"

	"github.com/spf13/cobra"

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
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.one = cmd.Flags().Changed("name")
			return runF(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(cmd.Flags())
	readOnly(cmd)
	documentExits(cmd, exitPending)
	return cmd
}

func runLocalStatus(ctx context.Context, f *factory, opts *localStatusOptions) error {
	p, err := f.printer()
	if err != nil {
		return err
	}
	if opts.one {
		s, err := localpg.Inspect(ctx, opts.instance())
		if err != nil {
			return localError(err)
		}
		if err := printObject(p, localObject(s)); err != nil {
			return err
		}
		if s.State != localpg.Running {
			return exitWith(exitPending)
		}
		return nil
	}
	instances, err := localpg.List(ctx, "")
	if err != nil {
		return localError(err)
	}
	return printList(p, localList(), instances)
}

// localList shows several instances.
func localList() list[localpg.Status] {
	type status = localpg.Status
	return list[status]{
		plural: "instances",
		empty:  "no local PostgreSQL; crmctl local start makes one",
		name:   func(s status) string { return s.Name },
		record: func(s status) any { return newLocalRecord(s) },
		columns: []column[status]{
			{name: "name", value: func(s status) any { return s.Name }},
			{name: "state", value: func(s status) any { return styled{string(s.State), colorOfState(s.State)} }},
			{name: "version", value: func(s status) any { return s.Version }},
			{name: "size", right: true, value: func(s status) any { return byteSize(s.Bytes) }},
			{name: "started", value: func(s status) any { return s.StartedAt }},
			{name: "profile", value: func(s status) any { return localProfile(s.Name) }},
			{name: "pid", right: true, wide: true, value: func(s status) any { return itoa(s.PID) }},
			{name: "account", wide: true, value: func(s status) any { return s.Account }},
			{name: "url", wide: true, value: func(s status) any { return s.DSN }},
			{name: "data_dir", wide: true, value: func(s status) any { return s.DataDir }},
		},
	}
}
