package main

import (
	"context"
	"os"
	"os/user"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleet"
)

// makeApp returns the application, as this command line has set it up.
func (f *factory) makeApp() (*app.App, error) {
	cfg, err := f.config()
	if err != nil {
		return nil, err
	}
	name := f.IO.Getenv("USER")
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return app.New(app.App{
		Config: cfg, Registry: f.registry(),
		Connect: func(ctx context.Context) (*pgx.Conn, error) { return f.connect(ctx) }, Direct: f.connectDirect,
		Unchecked: f.dialUnchecked, Now: f.Now,
		Actor: f.actor(), User: name, Program: programName(), Build: buildName(),
		Changing: f.beforeChange, Drain: f.Drain, Notify: f.notice, Open: f.OpenInput,
		Watch: f.watch, Bytes: f.watchBytes,
	}), nil
}

// notice says what the application found worth a word.
func (f *factory) notice(n app.Notice) {
	switch n := n.(type) {
	case app.ExtensionMade:
		if n.DryRun {
			f.Note("crmctl: note: extension %q would be made in schema %q", cli.Visible(n.Name), cli.Visible(n.Schema))
			return
		}
		f.Note("crmctl: note: made extension %q in schema %q, once for the database", cli.Visible(n.Name),
			cli.Visible(n.Schema))
	case app.InvalidRows:
		f.skipInvalid(n.Rows)
	case app.SameFile:
		f.Note("note: %s", sameFileText(f.show(), n.Import))
	case app.GoesOn:
		f.Note("note: going on with import %d of %s, behind %s", n.Import.ID, f.show().Minute(n.Import.StartedAt),
			cli.Plural(int(n.Import.Done), "record"))
	case app.OtherRegistry:
		f.Note("crmctl: note: another registry stands in schema %s, with tenants of its own",
			cli.Visible(n.Registry.Schema().String()))
	case app.OtherFiles:
		f.Verbose("%s: not migrations: %s", cli.Visible(n.Dir), cli.Visible(strings.Join(n.Files, ", ")))
	case app.NoExtensions:
		f.Verbose("the extensions of the migrations are not on the path: %s", cli.Visible(textOf(n.Err)))
	case app.LeftOut:
		f.Verbose("not on the path, since there may be more than extensions: %s", cli.Visible(strings.Join(n.Schemas, ", ")))
	case app.ByHistory:
		if n.Known {
			f.Verbose("the migrations are run one by one: %s", cli.Visible(n.Reason))
			return
		}
		f.Note("crmctl: note: the migrations are run one by one: %s", cli.Visible(n.Reason))
	case app.Saved:
		f.Verbose("saved %s", cli.Visible(n.Path))
		noteStructure(f, n.Manifest)
	case app.LostBackup:
		f.Note("crmctl: warning: %s is the checksum of a file that is not there", cli.Visible(n.Path))
	case app.NothingRestored:
		f.Note("crmctl: warning: nothing is restored: %s", cli.Visible(textOf(n.Err)))
	case app.LeftAlone:
		f.Note("%s there already and left alone: %s", map[bool]string{true: "1 tenant is",
			false: cli.Plural(len(n.Tenants), "tenant") + " are"}[len(n.Tenants) == 1], firstNames(n.Tenants))
	case app.PassedBy:
		why := "pg_restore reads it"
		if n.Err != nil {
			why = textOf(n.Err)
		}
		f.Note("crmctl: warning: %s is passed by: %s", cli.Visible(n.Path), cli.Visible(why))
	case app.ServerAway:
		f.Note("waiting   %s", cli.Visible(n.Err.Error()))
	case app.NoSchemas, app.ForeignRoles, app.Moved, app.Mapped, app.Differ:
		f.noticeAdopted(n)
	case app.Relocating:
		noteRelocating(f, n)
	case app.TookIn, app.Differing, app.SourceUnread, app.OddWords, app.LeftGone:
		f.noticeSource(n)
	case app.PersonsErased:
		f.Note("note: %s", erasedText(n))
	case app.PgDumpFound:
		f.Verbose("pg_dump is %s", n.Program)
	case app.Swept:
		for _, name := range n.Files {
			f.Verbose("removed %s, which a run that was killed had left", cli.Visible(name))
		}
	}
}

// noticeAdopted says what was found about tenants that other programs have made.
func (f *factory) noticeAdopted(n app.Notice) {
	switch n := n.(type) {
	case app.NoSchemas:
		f.Note("crmctl: warning: no schema to adopt")
	case app.ForeignRoles:
		noteForeignRoles(f, n.Roles)
	case app.Moved:
		noteMoved(f, n)
	case app.Mapped:
		noteMap(f, n.Plan, n.Map)
	case app.Differ:
		noteDiffering(f, n)
	}
}

// show returns how values are presented.
func (f *factory) show() cli.Presentation {
	p, err := f.printer()
	if err != nil {
		return cli.Presentation{}
	}
	return p.Show
}

// watch shows the progress of a run over many items; a few need none.
func (f *factory) watch(verb string, names []string) (fleet.Observer, func()) {
	if len(names) <= manyTenants {
		return nil, func() {}
	}
	p := f.newFleetProgress(verb, names)
	return p, p.bar.Finish
}

// watchBytes shows the progress of work whose length is not known.
func (f *factory) watchBytes(verb string) (func(int64), func()) {
	bar := f.NewProgress(cli.ProgressOptions{Verb: verb, Bytes: true})
	return bar.Add, bar.Finish
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
