package app

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/adopt"
	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/tablespace"
)

// mostNamed is how many differences the reason of a refusal names.
const mostNamed = 3

// proveBaseline compares the schemas that are to be taken for a version with what the
// files up to it make, and refuses those that differ unless they are trusted.
func (a *App) proveBaseline(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, survey *adopt.Survey,
	o AdoptOptions) error {
	at := make(map[string]int)
	for i, claim := range survey.Adoptions {
		if claim.History != nil && (claim.State == adopt.Adopted || claim.State == adopt.Corrected) {
			at[claim.Schema] = i
		}
	}
	drift, err := a.compareClaims(ctx, conn, plan, survey, at, o.Concurrency)
	if err != nil {
		return err
	}
	if len(drift.Groups) > 0 {
		a.Notify(Differ{Groups: drift.Groups, Trusted: o.Trust})
	}
	for _, u := range drift.Unread {
		survey.Refuse(at[u.Schema.String()], fmt.Errorf("compare with the files: %w", u.Err))
	}
	if o.Trust {
		return nil
	}
	for _, g := range drift.Groups {
		refuseGroup(survey, at, g)
	}
	return nil
}

// refuseGroup refuses schemas that are not what the files make.
func refuseGroup(survey *adopt.Survey, at map[string]int, g catalog.Group) {
	for _, t := range g.Tenants {
		survey.Refuse(at[t.Schema.String()], fmt.Errorf("%w: it is not what the files up to version %d make: %s",
			adopt.ErrHistory, g.Version, strings.Join(catalog.Subjects(g.Differences, mostNamed), ", ")))
	}
}

// compareClaims compares schemas with what the files up to their version make, what is
// another program's left out. at has the places of those that are meant, by name.
func (a *App) compareClaims(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, survey *adopt.Survey,
	at map[string]int, concurrency int) (catalog.Drift, error) {
	plan, err := a.UseExtensions(ctx, conn, plan, true)
	if err != nil {
		return catalog.Drift{}, err
	}
	names := make([]string, 0, len(at))
	for name := range at {
		names = append(names, name)
	}
	places, err := tablespace.Common(ctx, conn, names)
	if err != nil {
		return catalog.Drift{}, err
	}
	var list []catalog.Tenant
	for _, claim := range survey.Adoptions {
		if _, meant := at[claim.Schema]; !meant {
			continue
		}
		schema, err := db.RegisteredSchema(claim.Schema)
		if err != nil {
			return catalog.Drift{}, err
		}
		list = append(list, catalog.Tenant{Slug: claim.Slug, Version: claim.Version,
			Target: catalog.Target{Schema: schema, Tablespace: places[claim.Schema]}})
	}
	drift, err := catalog.Compare(ctx, list, catalog.DriftOptions{
		Options: catalog.Options{Registry: a.Registry, Direct: a.Direct, Ignore: []catalog.Kind{catalog.KindOwner,
			catalog.KindGrant, catalog.KindDefaultPrivileges, catalog.KindColumnOrder}},
		Dial: a.Connect, Concurrency: concurrency, Others: adopt.Tables(),
		Expect: expected(plan),
	})
	return withoutVersions(drift), err
}

// withoutVersions leaves out that a schema has no version table yet.
func withoutVersions(d catalog.Drift) catalog.Drift {
	groups := d.Groups[:0]
	for _, g := range d.Groups {
		var rest []catalog.Difference
		for _, diff := range g.Differences {
			if diff.Object.Name != migrate.VersionTable && diff.Object.Parent != migrate.VersionTable {
				rest = append(rest, diff)
			}
		}
		if g.Differences = rest; len(rest) == 0 {
			d.Clean += len(g.Tenants)
			continue
		}
		groups = append(groups, g)
	}
	d.Groups = groups
	return d
}
