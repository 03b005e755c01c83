package app

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/adopt"
	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// DriftOptions say which tenants are compared with what their migrations make.
type DriftOptions struct {
	Selection   *Selection
	Ignore      []catalog.Kind // of objects, left out
	Concurrency int            // 0 goes by the machine and the server
	// Begin is told how many tenants are compared. It returns who counts them, nil for
	// nobody, and what ends it; nil for nobody.
	Begin func(tenants int) (compared func(int), end func())
}

// expected returns what gives the statements of a plan's files up to a version.
func expected(plan *migrate.Plan) func(version int64) ([]db.Statement, error) {
	return func(version int64) ([]db.Statement, error) {
		to, err := plan.To(version)
		if err != nil {
			return nil, err
		}
		return to.Build()
	}
}

// Drift compares tenants with what their migrations make, and returns the rows of the
// registry, of those selected, that are not valid.
func (a *App) Drift(ctx context.Context, o DriftOptions) (catalog.Drift, []registry.InvalidRow, error) {
	plan, err := a.TenantPlan(ctx, 0)
	if err != nil {
		return catalog.Drift{}, nil, err
	}
	conn, err := a.Connect(ctx)
	if err != nil {
		return catalog.Drift{}, nil, err
	}
	defer closeConn(ctx, conn)
	drift, _, invalid, err := a.drift(ctx, conn, plan, o)
	return drift, invalid, err
}

// drift is Drift on a connection. It returns the tenants that were selected too.
func (a *App) drift(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, o DriftOptions) (catalog.Drift,
	[]registry.Tenant, []registry.InvalidRow, error) {
	plan, err := a.UseExtensions(ctx, conn, plan, true)
	if err != nil {
		return catalog.Drift{}, nil, nil, err
	}
	tenants, invalid, err := a.Tenants(ctx, conn, o.Selection, registry.Active, registry.Suspended)
	if err != nil {
		return catalog.Drift{}, nil, nil, err
	}
	accepted, err := a.Registry.ListAccepted(ctx, conn, nil)
	if err != nil {
		return catalog.Drift{}, nil, nil, err
	}
	if _, err := a.Standing(ctx, conn, plan, tenants, a.Config.LockTimeout); err != nil {
		return catalog.Drift{}, nil, nil, err
	}
	kept, err := a.Registry.ListSources(ctx, conn)
	if err != nil {
		return catalog.Drift{}, nil, nil, err
	}
	c := catalog.DriftOptions{
		Options: catalog.Options{Registry: a.Registry, Ignore: o.Ignore, Direct: a.Direct}, Dial: a.Connect,
		Concurrency: o.Concurrency, Others: adopt.TablesOf(kept), Accepted: bySlug(accepted),
		Expect: expected(plan),
		Versions: func(ctx context.Context, slugs []string) (map[string]int64, error) {
			now, err := a.Registry.List(ctx, conn, registry.Filter{Slugs: slugs})
			if err == nil {
				_, err = a.Standing(ctx, conn, plan, now, a.Config.LockTimeout)
			}
			versions := make(map[string]int64, len(now))
			for _, t := range now {
				versions[t.Slug] = t.Version
			}
			return versions, err
		},
	}
	if o.Begin != nil {
		compared, end := o.Begin(len(tenants))
		defer end()
		c.Compared = compared
	}
	list := make([]catalog.Tenant, len(tenants))
	for i, t := range tenants {
		list[i] = catalog.Tenant{Slug: t.Slug, Version: t.Version,
			Target: catalog.Target{Schema: t.Schema, Role: t.Role, Tablespace: t.Tablespace}}
	}
	drift, err := catalog.Compare(ctx, list, c)
	return drift, tenants, invalid, err
}
