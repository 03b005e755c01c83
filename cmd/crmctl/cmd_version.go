package main

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
)

// Set by the linker in releases: -X main.version=1.2.3 -X main.commit=… -X
// main.date=….
var version, commit, date string

// versionInfo is what `crmctl version` shows.
type versionInfo struct {
	Version    string
	Commit     string
	Date       string
	Modified   bool // built from a changed working tree
	Go         string
	Platform   string
	Migrations migrationHeads
}

// migrationHeads are the newest built-in migrations.
type migrationHeads struct {
	Public int64
	Tenant int64
}

func newVersionCmd(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "the version of crmctl and of its migrations",
		Example: "crmctl version\ncrmctl version -o json",
		Args:    cli.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runVersion(cmd.Context(), f) },
	}
	readOnly(cmd)
	cli.DocumentExits(cmd)
	return cmd
}

func runVersion(_ context.Context, f *factory) error {
	p, err := f.printer()
	if err != nil {
		return err
	}
	info := readVersion()
	return cli.PrintObject(p, cli.Object{
		Kind: "crmctl",
		Name: info.Version,
		Fields: []cli.Field{
			{Name: "version", Value: info.Version},
			{Name: "commit", Value: info.Commit, Optional: true},
			{Name: "date", Value: info.Date, Optional: true},
			{Name: "modified", Value: info.Modified, Document: true, Optional: true},
			{Name: "go", Value: info.Go},
			{Name: "platform", Value: info.Platform},
			{Name: "migrations_public", Value: cli.Serial(info.Migrations.Public)},
			{Name: "migrations_tenant", Value: cli.Serial(info.Migrations.Tenant)},
		},
	})
}

// readVersion takes what the linker was told first.
func readVersion() versionInfo {
	info := versionInfo{
		Version:    version,
		Commit:     commit,
		Date:       date,
		Go:         runtime.Version(),
		Platform:   runtime.GOOS + "/" + runtime.GOARCH,
		Migrations: builtInHeads(),
	}
	info.complete()
	if info.Version == "" {
		info.Version = "dev"
	}
	return info
}

// complete takes what is still missing from what the Go command wrote into the
// binary.
func (info *versionInfo) complete() {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	if info.Version == "" && build.Main.Version != "(devel)" {
		info.Version = build.Main.Version
	}
	for _, s := range build.Settings {
		switch {
		case s.Key == "vcs.revision" && info.Commit == "":
			info.Commit = s.Value
		case s.Key == "vcs.time" && info.Date == "":
			info.Date = s.Value
		case s.Key == "vcs.modified":
			info.Modified = s.Value == "true"
		}
	}
}

// buildVersion returns the version alone.
func buildVersion() string { return readVersion().Version }

// buildName tells this build from others: the version, and of one that is no release
// the commit too.
func buildName() string {
	info := readVersion()
	if info.Version == "dev" || info.Modified {
		return info.Version + " " + info.Commit
	}
	return info.Version
}
