package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/placement"
)

func newPlacementCmd(f *factory) *cobra.Command {
	return cli.NewGroup("placement", "which tenant lives on which server", newPlacementExportCmd(f))
}

// placementOptions are the options of `crmctl placement export`.
type placementOptions struct {
	profiles  []string
	to        string
	format    string
	name      string
	addresses []string
	dryRun    bool
}

func newPlacementExportCmd(f *factory) *cobra.Command {
	opts := &placementOptions{}
	cmd := &cobra.Command{
		Use:   "export [PROFILE...]",
		Short: "which tenant lives where, for a router or an application",
		Long: `Write which tenant lives in which database, over the databases of the named profiles, of all profiles
where none is named, or the one database where there are none. A tenant that was transferred is
at its new place from the commit on that says so, and nowhere twice; deleted ones are left out. Where
two registries both have a tenant, as a copy for tests does, that is an error: name the profiles.

--format json and csv are for an application: tenant, id, status, schema, version, role, and the
profile, host, port and database. --format pgdog is the part of a pgdog.toml that PgDog routes by:
[[databases]], a shard for each in the order of the profiles, and [[sharded_schemas]]. Users and
passwords are never written. --address is what the router calls a server that crmctl reaches another
way.

A file appears once it is whole; where a registry cannot be read nothing is written.

What it costs: one query of each registry, or two.`,
		Example: `crmctl placement export --format pgdog --to placement.toml
crmctl placement export eu us --format csv
crmctl placement export --format pgdog --name crm --address eu=10.0.0.5:5432`,
		ValidArgsFunction: completeProfiles(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.profiles = args
			return runPlacementExport(cmd.Context(), f, opts)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&opts.to, "to", "-", "write to `FILE`; - for stdout")
	fs.Var(cli.NewEnum(&opts.format, string(placement.JSON), textsOf(placement.Formats())), "format",
		"`FORMAT`: "+strings.Join(textsOf(placement.Formats()), ", "))
	fs.StringVar(&opts.name, "name", "", "with pgdog, the `NAME` by which clients know the database (default: that of "+
		"the first)")
	fs.StringArrayVar(&opts.addresses, "address", nil,
		"the address of a server for the router, `PROFILE=HOST:PORT`; may be given more than once")
	addDryRunFlag(fs, &opts.dryRun)
	cli.RegisterCompletion(cmd, "format", cli.CompleteWords(textsOf(placement.Formats())...))
	cli.DocumentExits(cmd, cli.ExitUnreachable)
	return cmd
}

// apps returns the applications of the profiles that are meant.
func (o *placementOptions) apps(f *factory) ([]*app.App, error) {
	names := o.profiles
	if len(names) == 0 {
		cfg, err := f.config()
		if err != nil {
			return nil, err
		}
		for _, name := range cfg.Profiles() {
			// One that says nothing of a database cannot be meant.
			if other, err := f.onProfile(name).config(); other == nil || err == nil || other.DatabaseFromProfile() {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		a, err := f.app()
		return []*app.App{a}, err
	}
	out := make([]*app.App, len(names))
	for i, name := range names {
		var err error
		if out[i], err = f.onProfile(name).app(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// reach gives the databases the addresses of --address.
func (o *placementOptions) reach(p *placement.Placement) error {
	for _, text := range o.addresses {
		profile, address, _ := strings.Cut(text, "=")
		host, port, err := net.SplitHostPort(address)
		number, portErr := strconv.ParseUint(port, 10, 16)
		if err != nil || portErr != nil || host == "" || number == 0 || profile == "" {
			return cli.Usagef("--address %s: want PROFILE=HOST:PORT", text)
		}
		if !p.ReachBy(profile, host, int(number)) {
			return cli.Usagef("--address %s: no database of the profile %s is written", text, profile)
		}
	}
	return nil
}

func runPlacementExport(ctx context.Context, f *factory, opts *placementOptions) error {
	if opts.to == "" {
		return cli.Usagef("--to: want the name of a file, or - for stdout")
	}
	apps, err := opts.apps(f)
	if err != nil {
		return err
	}
	f.Reads.Store(true)
	p, away, err := app.Placement(ctx, apps)
	if err != nil {
		return placementHint(err)
	}
	if err := opts.reach(&p); err != nil {
		return err
	}
	name := opts.name
	if name == "" {
		name = p.Databases[0].Database
	}
	var text bytes.Buffer
	if err := placement.Write(&text, p, placement.Format(opts.format), name); err != nil {
		return placementHint(err)
	}
	for _, a := range away {
		f.Note("crmctl: warning: %s has gone to %s, which is none of these: it is left out", cli.Visible(a.Slug),
			cli.Visible(placement.Name(a.To)))
	}
	write := func(w io.Writer) error {
		_, err := w.Write(text.Bytes())
		return err
	}
	switch {
	case opts.dryRun:
	case opts.to == "-":
		return write(f.IO.Out)
	default:
		if err := app.WriteFile(opts.to, 0o644, write); err != nil {
			return err
		}
	}
	did := "wrote"
	if opts.dryRun {
		did = "would write"
	}
	f.Note("%s  %s in %s", did, cli.Plural(len(p.Tenants), "tenant"), cli.Plural(len(p.Databases), "database"))
	return nil
}

// placementHint says what leads on.
func placementHint(err error) error {
	twice, isTwice := errors.AsType[*placement.TwiceError](err)
	socket, isSocket := errors.AsType[*placement.SocketError](err)
	switch {
	case isTwice && twice.Where[0].Profile != "":
		return cli.WithHint(err, "name those that belong together", "crmctl placement export PROFILE...")
	case isSocket && socket.Side.Profile != "":
		return cli.WithHint(err, "say how it is reached", "--address "+cli.Visible(socket.Side.Profile)+"=HOST:PORT")
	}
	return err
}
