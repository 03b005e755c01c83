package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/localpg"
)

// localGroup is the name of what holds the local commands.
const localGroup = "local"

func newLocalCmd(f *factory) *cobra.Command {
	cmd := cli.NewGroup(localGroup, "a private PostgreSQL of your own, for trials, demos and tests",
		newLocalStartCmd(f, nil),
		newLocalStopCmd(f, nil),
		newLocalStatusCmd(f, nil),
		newLocalResetCmd(f, nil),
	)
	cmd.Long = `A private PostgreSQL for trials, demos and tests. It listens on a Unix socket in a directory
of its own and on no network address, and runs until crmctl local stop.

crmctl local start writes the profile "local", so that every command can use it.`
	cmd.Example = `crmctl local start
crmctl --profile local tenant list
crmctl local stop`
	return cmd
}

// localOptions are what the local commands share.
type localOptions struct {
	name  string
	pgBin string
}

func (o *localOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.name, "name", localpg.DefaultName, "`NAME` of the instance; there may be several")
}

func (o *localOptions) addBinFlag(fs *pflag.FlagSet) {
	fs.StringVar(&o.pgBin, "pg-bin", "", "`DIR` of initdb and postgres, instead of a search")
}

// local is the instance that the flags name.
func (o *localOptions) local(f *factory) app.Local {
	return app.Local{Name: o.name, BinDir: o.pgBin,
		Sources: config.Sources{Env: f.IO.Env, Dir: f.IO.Dir, SystemDir: f.IO.SystemDir}}
}

// localError gives the errors of localpg their exit codes.
func localError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, localpg.ErrName):
		return cli.WithCode(err, cli.ExitUsage)
	}
	if errors.As(err, new(*localpg.ForeignError)) {
		return cli.WithHint(err, "for one of your own", "XDG_DATA_HOME=DIRECTORY crmctl local start")
	}
	if v, is := errors.AsType[*localpg.VersionError](err); is {
		return &cli.Error{Err: err, Hints: localVersionHints(v)}
	}
	return err
}

// localVersionHints says how to go on with data of another major version.
func localVersionHints(e *localpg.VersionError) []cli.Hint {
	reset := "crmctl local reset"
	if e.Name != localpg.DefaultName {
		reset += " --name " + e.Name
	}
	return []cli.Hint{
		{Label: fmt.Sprintf("give the programs of PostgreSQL %d", e.Data), Command: "CRMCTL_PG_BIN=DIRECTORY"},
		{Label: "or remove the data", Command: reset},
	}
}

func colorOfState(s localpg.State) cli.Color {
	switch s {
	case localpg.Running:
		return cli.Green
	case localpg.Starting:
		return cli.Yellow
	case localpg.Crashed:
		return cli.Red
	case localpg.Absent, localpg.Stopped:
	}
	return cli.Plain
}

// localObject shows one instance.
func localObject(s localpg.Status) cli.Object {
	return cli.Object{
		Kind: "instance",
		Name: s.Name,
		Fields: []cli.Field{
			{Name: "name", Value: s.Name},
			{Name: "state", Value: cli.Styled{Value: string(s.State), Color: colorOfState(s.State)}},
			{Name: "server_version", Title: "version", Value: s.Version},
			{Name: "profile", Value: app.LocalProfile(s.Name)},
			{Name: "url", Value: s.DSN},
			{Name: "size_bytes", Title: "size", Value: cli.ByteSize(s.Bytes)},
			{Name: "started_at", Title: "started", Value: s.StartedAt},
			{Name: "pid", Value: cli.Either{Human: cli.ID(s.PID), Machine: s.PID}},
			{Name: "data_dir", Title: "data", Value: s.DataDir},
			{Name: "log_file", Title: "log", Value: s.LogFile},
			{Name: "account", Value: s.Account, Wide: true},
			{Name: "bin_dir", Title: "binaries", Value: s.BinDir, Wide: true},
		},
	}
}
