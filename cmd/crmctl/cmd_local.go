package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/localpg"
)

func newLocalCmd(f *factory) *cobra.Command {
	cmd := cli.NewGroup("local", "a private PostgreSQL of your own, for trials, demos and tests",
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

func (o *localOptions) instance() localpg.Options {
	return localpg.Options{Name: o.name, BinDir: o.pgBin}
}

// profile returns the name of the profile that leads to the instance.
func (o *localOptions) profile() string { return localProfile(o.name) }

func localProfile(name string) string {
	if name == "" || name == localpg.DefaultName {
		return "local"
	}
	return "local-" + name
}

// localError gives the errors of localpg their exit codes.
func localError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, localpg.ErrName):
		return cli.WithCode(err, cli.ExitUsage)
	}
	return err
}

// localRecord is an instance in JSON and YAML.
type localRecord struct {
	Name      string     `json:"name"`
	State     string     `json:"state"`
	Profile   string     `json:"profile"`
	PID       int        `json:"pid,omitempty"`
	Version   string     `json:"version,omitempty"`
	URL       string     `json:"url,omitempty"`
	Bytes     int64      `json:"bytes"`
	StartedAt *time.Time `json:"started_at,omitempty"`
	Account   string     `json:"account,omitempty"`
	DataDir   string     `json:"data_dir,omitempty"`
	LogFile   string     `json:"log_file,omitempty"`
	BinDir    string     `json:"bin_dir,omitempty"`
}

func newLocalRecord(s localpg.Status) localRecord {
	r := localRecord{
		Name: s.Name, State: string(s.State), Profile: localProfile(s.Name), PID: s.PID, Version: s.Version,
		URL: s.DSN, Bytes: s.Bytes, Account: s.Account, DataDir: s.DataDir, LogFile: s.LogFile, BinDir: s.BinDir,
	}
	if !s.StartedAt.IsZero() {
		started := s.StartedAt.UTC()
		r.StartedAt = &started
	}
	return r
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
	r := newLocalRecord(s)
	return cli.Object{
		Kind:   "instance",
		Name:   s.Name,
		Record: r,
		Fields: []cli.Field{
			{Name: "name", Value: s.Name},
			{Name: "state", Value: cli.Styled{Value: string(s.State), Color: colorOfState(s.State)}},
			{Name: "version", Value: s.Version},
			{Name: "profile", Value: r.Profile},
			{Name: "url", Value: s.DSN},
			{Name: "size", Value: cli.ByteSize(s.Bytes)},
			{Name: "started", Value: s.StartedAt},
			{Name: "pid", Value: cli.Either{Human: cli.ID(s.PID), Machine: cli.ID(s.PID)}},
			{Name: "data", Value: s.DataDir},
			{Name: "log", Value: s.LogFile},
			{Name: "account", Value: s.Account, Wide: true},
			{Name: "binaries", Value: s.BinDir, Wide: true},
		},
	}
}
