package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
)

// directory restores the newest whole backup of each chosen tenant of a directory.
func (j *restoreJob) directory(ctx context.Context) error {
	chosen, err := selectTenants(j.opts.tenants, nil)
	if err != nil {
		return err
	}
	dir, err := backup.OpenDir(j.opts.file, false)
	if err != nil {
		return cli.WithCode(err, cli.ExitUsage)
	}
	defer func() { _ = dir.Close() }()
	all, err := dir.List(nil)
	if err != nil {
		return err
	}
	tenants, ofRegistry := byTenant(all, chosen)
	for _, slug := range chosen.Names() {
		if len(tenants[slug]) == 0 {
			return cli.WithCode(fmt.Errorf("no backup of tenant %q in %s", slug, cli.Visible(j.opts.file)), exitNoTenant)
		}
	}
	switch {
	case len(tenants) == 0 && ofRegistry == "":
		return fmt.Errorf("no backups of tenants in %s", cli.Visible(j.opts.file))
	case len(tenants) == 0:
		return cli.WithHint(fmt.Errorf("only the registry is saved in %s", cli.Visible(j.opts.file)), "restore it",
			restoreCommand(dir.Path(ofRegistry)))
	case len(tenants) > 1 && j.as != "":
		return cli.Usagef("--as names one tenant, and there are %d in %s: add --tenant NAME", len(tenants),
			cli.Visible(j.opts.file))
	}
	if j.p, j.conn, err = j.f.openToChange(ctx, j.opts.dryRun); err != nil {
		return err
	}
	defer closeConn(ctx, j.conn)
	if len(tenants) > 1 {
		if err := j.leaveAlone(ctx, tenants, chosen.All(), ofRegistry, dir); err != nil {
			return err
		}
	}
	return j.each(ctx, dir, tenants)
}

// restoreCommand returns the command that restores a file, to be pasted.
func restoreCommand(path string) string {
	return "crmctl backup restore " + cli.Visible(cli.ShellWords([]string{path}))
}

// byTenant returns the backups of the chosen tenants, the newest first, and the file of
// the newest backup of the registry.
func byTenant(all []backup.Entry, chosen *app.Selection) (tenants map[string][]*backup.Entry, ofRegistry string) {
	tenants = map[string][]*backup.Entry{}
	for i := range all {
		e := &all[i]
		switch {
		case e.Name.Slug != "" && chosen.Selects(e.Name.Slug):
			tenants[e.Name.Slug] = append(tenants[e.Name.Slug], e)
		case e.Name.Slug == "" && e.Err == nil && ofRegistry == "":
			ofRegistry = e.File
		}
	}
	return tenants, ofRegistry
}

// leaveAlone takes out the tenants whose schemas are there, and asks about the others. Where
// the registry is empty it is restored first: it takes no backup when it has a tenant.
func (j *restoreJob) leaveAlone(ctx context.Context, tenants map[string][]*backup.Entry, all bool, ofRegistry string,
	dir *backup.Dir) error {
	there, err := j.f.registry().List(ctx, j.conn, registry.Filter{})
	if err != nil {
		return err
	}
	if len(there) == 0 && all && ofRegistry != "" {
		return cli.WithHint(errors.New("the registry has no tenants, and a backup of it is there, which has to come first"),
			"then again", restoreCommand(dir.Path(ofRegistry)))
	}
	ghosts, err := j.f.registry().Ghosts(ctx, j.conn)
	if err != nil {
		return err
	}
	var left []registry.Tenant
	for _, t := range there {
		if len(tenants[t.Slug]) > 0 && !slices.Contains(ghosts, t.Slug) {
			left = append(left, t)
			delete(tenants, t.Slug)
		}
	}
	if len(left) > 0 {
		j.f.Note("%s there already and left alone: %s", map[bool]string{true: "1 tenant is",
			false: cli.Plural(len(left), "tenant") + " are"}[len(left) == 1], firstNames(left))
	}
	if j.opts.dryRun || len(tenants) == 0 {
		return nil
	}
	var names []registry.Tenant
	for _, slug := range slices.Sorted(maps.Keys(tenants)) {
		names = append(names, registry.Tenant{Slug: slug})
	}
	return j.f.ConfirmYes(ctx, fmt.Sprintf("Restore %s: %s?", cli.Plural(len(names), "tenant"), firstNames(names)))
}

// each restores the tenants one after the other, and goes on after one that fails.
func (j *restoreJob) each(ctx context.Context, dir *backup.Dir, tenants map[string][]*backup.Entry) error {
	var made []madeRow
	var dry []backupRecord
	var s fleet.Summary
	stop := j.f.Drain()
	slugs := slices.Sorted(maps.Keys(tenants))
	for _, slug := range slugs {
		select {
		case <-stop:
			s.Stopped = fleet.ErrDrained
		case <-ctx.Done():
			s.Stopped = context.Cause(ctx)
		default:
		}
		if s.Stopped != nil {
			s.Add(fleet.NotStarted, nil)
			continue
		}
		row, would, err := j.newest(ctx, dir, slug, tenants[slug])
		switch {
		case row != nil:
			made = append(made, *row)
		case would != nil:
			dry = append(dry, *would)
		}
		switch {
		case err == nil:
			s.Add(fleet.Done, nil)
		case row == nil && ctx.Err() != nil && j.f.cutShort(err):
			s.Stopped = context.Cause(ctx)
			s.Add(fleet.NotStarted, s.Stopped) // undone
		default:
			s.Add(fleet.Failed, err)
			if len(slugs) > 1 {
				j.f.sayTenant(slug, err)
			}
		}
	}
	if s.Items == 1 && s.Failed == 1 && len(made) == 0 && !j.f.WasInterrupted() {
		return s.First()
	}
	if err := j.report(made, dry); err != nil {
		return err
	}
	return j.f.end(runEnd{Summary: s, did: "restored"})
}

func (j *restoreJob) report(made []madeRow, dry []backupRecord) error {
	if j.opts.dryRun {
		return cli.PrintList(j.p, backupList("no tenant to restore"), dry)
	}
	list := madeList()
	list.Empty = "no tenant to restore"
	if err := cli.PrintList(j.p, list, made); err != nil {
		return err
	}
	for _, row := range made {
		j.notes(row)
	}
	return nil
}

// newest restores the newest of a tenant's backups that is whole. Those that are not
// are named.
func (j *restoreJob) newest(ctx context.Context, dir *backup.Dir, slug string, entries []*backup.Entry) (*madeRow,
	*backupRecord, error) {
	bar := j.f.NewProgress(cli.ProgressOptions{Verb: "restore", Bytes: true})
	defer bar.Finish()
	for _, e := range entries {
		if e.Name.Format == backup.FormatPgDump {
			j.f.Note("crmctl: warning: %s is passed by: pg_restore reads it", cli.Visible(dir.Path(e.File)))
			continue
		}
		if e.Err == nil {
			if err := dir.Prove(ctx, []*backup.Entry{e}, backup.ProveOptions{Identities: j.keys,
				Progress: bar.Add}); err != nil {
				return nil, nil, err
			}
		}
		if e.Err != nil {
			j.f.Note("crmctl: warning: %s is passed by: %s", cli.Visible(dir.Path(e.File)), cli.Visible(e.Err.Error()))
			continue
		}
		j.file = dir.Path(e.File)
		return j.restoreFile(ctx)
	}
	return nil, nil, fmt.Errorf("no whole backup of tenant %q in %s", slug, cli.Visible(j.opts.file))
}

// restoreFile restores the file that was found, or looks whether it could be.
func (j *restoreJob) restoreFile(ctx context.Context) (*madeRow, *backupRecord, error) {
	in, err := openBackup(ctx, j.file, j.keys, nil)
	if err != nil {
		return nil, nil, backupHint(fmt.Errorf("%s: %w", j.file, err))
	}
	defer func() { _ = in.Close() }()
	if !j.opts.dryRun {
		row, err := j.make(ctx, in)
		return row, nil, err
	}
	row, err := j.dry(ctx, in)
	if err != nil {
		return nil, nil, j.explain(err)
	}
	return nil, &row, nil
}
