package main

import (
	"context"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
)

// acceptDrift keeps what tenants differ in as wanted, and prints what that is.
func (f *factory) acceptDrift(ctx context.Context, a *app.App, m *app.Selection, ignore []catalog.Kind,
	opts *migrateDriftOptions) error {
	drift, done, invalid, err := a.AcceptDrift(ctx, app.AcceptOptions{
		DriftOptions: app.DriftOptions{Selection: m, Ignore: ignore, Concurrency: opts.concurrency, Begin: f.watchDrift},
		Reason:       opts.reason, LockTimeout: opts.lockTimeout, DryRun: opts.dryRun,
	})
	if err != nil {
		return err
	}
	f.skipInvalid(invalid)
	p, err := f.printer()
	if err != nil {
		return err
	}
	type row struct{ tenant, change, object string }
	var rows []row
	for _, t := range done {
		for _, d := range t.Differences {
			rows = append(rows, row{t.Slug, string(d.Change), d.Subject()})
		}
	}
	err = cli.PrintList(p, cli.List[row]{
		Plural: "accepted",
		Columns: []cli.Column[row]{
			{Name: "tenant", Value: func(r row) any { return r.tenant }},
			{Name: "change", Value: func(r row) any { return r.change }},
			{Name: "object", Text: true, Value: func(r row) any { return r.object }},
		},
		Name:  func(r row) string { return r.tenant },
		Empty: "nothing differs that is not accepted",
	}, rows)
	if err != nil {
		return err
	}
	if len(done) > 0 {
		verb := "accepted"
		if opts.dryRun {
			verb = "would be accepted"
		}
		f.Note("%s of %s %s", cli.Plural(len(rows), "difference"), cli.Plural(len(done), "tenant"), verb)
	}
	if left := len(drift.Missing) + len(drift.Unread); left > 0 {
		return cli.ExitTold(cli.ExitPartial, "%s missing, %s not read: nothing of them was accepted",
			cli.Plural(len(drift.Missing), "schema"), cli.Plural(len(drift.Unread), "tenant"))
	}
	return nil
}

// printUnaccepted tells what is no longer kept as wanted.
func (f *factory) printUnaccepted(list []registry.Accepted, dryRun bool) error {
	tenants := map[string]bool{}
	for _, x := range list {
		tenants[x.TenantID] = true
	}
	verb := "is"
	if dryRun {
		verb = "would be"
	}
	f.Note("%s of %s %s accepted no more", cli.Plural(len(list), "object"), cli.Plural(len(tenants), "tenant"), verb)
	return nil
}

func acceptedList() cli.List[registry.Accepted] {
	return cli.List[registry.Accepted]{
		Plural: "accepted",
		Columns: []cli.Column[registry.Accepted]{
			{Name: "tenant", Value: func(a registry.Accepted) any { return a.Slug }},
			{Name: "change", Value: func(a registry.Accepted) any { return a.Change }},
			{Name: "object", Text: true, Value: func(a registry.Accepted) any { return acceptedObject(a).Subject() }},
			{Name: "reason", Text: true, Value: func(a registry.Accepted) any { return a.Reason }},
			{Name: "actor", Wide: true, Value: func(a registry.Accepted) any { return a.Actor }},
			{Name: "accepted_at", Value: func(a registry.Accepted) any { return a.At }},
			{Name: "found", Document: true, Value: func(a registry.Accepted) any { return a.Found }},
		},
		Name:  func(a registry.Accepted) string { return a.Slug },
		Empty: "nothing is accepted",
	}
}

func acceptedObject(a registry.Accepted) catalog.Object {
	return catalog.Object{Kind: catalog.Kind(a.Kind), Parent: a.Parent, Name: a.Name}
}
