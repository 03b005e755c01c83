package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/adopt"
	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/planted"
)

// noteForeignRoles names the roles whose code in the adopted schemas would run as
// crmctl's: that is usual where the application has made the tables, and worth a
// decision.
func noteForeignRoles(f *factory, roles []planted.Power) {
	for _, p := range roles {
		can := "may create"
		if p.Tables > 0 {
			can = "owns " + cli.Plural(int(p.Tables), "table")
		}
		f.Note("crmctl: warning: role %s %s in %s; crmctl will refuse tenants where it has code", cli.Visible(p.Role), can,
			cli.Plural(len(p.Schemas), "schema"))
	}
	f.Note("next: crmctl doctor --check planted,creators; or trust it: CRMCTL_TRUSTED_OWNERS=%s",
		cli.Visible(roles[0].Role))
}

// noteMap says what was taken for what, to be looked at before it counts.
func noteMap(f *factory, plan *migrate.Plan, m adopt.Map) {
	files := make(map[int64]string)
	for _, file := range plan.Migrations {
		files[file.Version] = file.Name()
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		var parts []string
		for _, v := range m[name] {
			parts = append(parts, files[v])
		}
		if len(parts) == 0 {
			parts = []string{"nothing"}
		}
		f.Note("%s -> %s", cli.Visible(name), strings.Join(parts, ", "))
	}
}

// noteDiffering says how schemas differ from what the files make, a line for each way.
func noteDiffering(f *factory, n app.Differ) {
	const most = 5
	for i, g := range n.Groups {
		if i == most {
			f.Note("crmctl: warning: and in %s more", cli.Plural(len(n.Groups)-most, "way"))
			break
		}
		f.Note("crmctl: warning: %s: not what the files up to version %d make: %s",
			cli.Visible(whichSchemas(g.Tenants)), g.Version,
			cli.Visible(strings.Join(catalog.Subjects(g.Differences, most), ", ")))
	}
	if !n.Trusted {
		f.Note("next: bring them in line with the files, or adopt them as they are with --trust")
	}
}

// noteMoved names tenants that another program has moved since crmctl knew them.
func noteMoved(f *factory, n app.Moved) {
	const most = 5
	by := ""
	if n.Program != adopt.Goose {
		by = " by " + n.Program + " or by hand"
	}
	for i, a := range n.Adoptions {
		if i == most {
			f.Note("moved     %s more", cli.Plural(len(n.Adoptions)-most, "tenant"))
			break
		}
		f.Note("moved     %s%s: version %d, the registry had %d", cli.Visible(a.Slug), by, a.Version, a.Cached)
	}
}

// whichSchemas returns "tenant_acme" or "tenant_acme and 11 more schemas".
func whichSchemas(tenants []catalog.Tenant) string {
	first := tenants[0].Schema.String()
	if more := len(tenants) - 1; more > 0 {
		return first + " and " + cli.Plural(more, "more schema")
	}
	return first
}
