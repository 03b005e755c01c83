package app

import (
	"context"
	"time"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// AcceptOptions say whose differences from the migrations are wanted, and why.
type AcceptOptions struct {
	DriftOptions

	Reason      string
	LockTimeout time.Duration
	DryRun      bool
}

// AcceptedDrift is what was accepted of one tenant, or would be by a dry run.
type AcceptedDrift struct {
	Slug        string
	Differences []catalog.Difference
}

// bySlug returns what was accepted as a comparison takes it.
func bySlug(list []registry.Accepted) map[string][]catalog.Acceptance {
	out := make(map[string][]catalog.Acceptance)
	for _, a := range list {
		out[a.Slug] = append(out[a.Slug], catalog.Acceptance{Change: catalog.Change(a.Change), Kind: catalog.Kind(a.Kind),
			Parent: a.Parent, Name: a.Name, Found: a.Found})
	}
	return out
}

// AcceptDrift keeps what tenants differ in from their migrations as wanted: object by object
// with its definition, so that a further change is drift again. The drift returned is that
// before. Tenants that could not be compared are left alone.
func (a *App) AcceptDrift(ctx context.Context, o AcceptOptions) (catalog.Drift, []AcceptedDrift, []registry.InvalidRow,
	error) {
	plan, err := a.TenantPlan(ctx, 0)
	if err != nil {
		return catalog.Drift{}, nil, nil, err
	}
	conn, err := a.change(ctx, o.DryRun)
	if err != nil {
		return catalog.Drift{}, nil, nil, err
	}
	defer closeConn(ctx, conn)
	drift, tenants, invalid, err := a.drift(ctx, conn, plan, o.DriftOptions)
	if err != nil {
		return drift, nil, invalid, err
	}
	ids := make(map[string]string, len(tenants))
	for _, t := range tenants {
		ids[t.Slug] = t.ID
	}
	var done []AcceptedDrift
	for _, g := range drift.Groups {
		for _, t := range g.Tenants {
			if !o.DryRun {
				err := db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Tenant: a.Registry.Row(ids[t.Slug]), Wait: true,
					Follow: true}, func(ctx context.Context, q db.Querier) error {
					return a.accept(ctx, q, ids[t.Slug], t.Slug, g, o.Reason)
				})
				if a.Registry.Missing(err) {
					err = registry.ErrOldRegistry
				}
				if err != nil {
					return drift, done, invalid, err
				}
			}
			done = append(done, AcceptedDrift{t.Slug, g.Differences})
		}
	}
	return drift, done, invalid, nil
}

// accept writes what a group has in common for one of its tenants.
func (a *App) accept(ctx context.Context, q db.Querier, id, slug string, g catalog.Group, reason string) error {
	list := make([]registry.Accepted, len(g.All))
	objects := make([]string, 0, len(g.Differences))
	for i, d := range g.All {
		c := catalog.Accepts(d)
		list[i] = registry.Accepted{TenantID: id, Change: string(c.Change), Kind: string(c.Kind), Parent: c.Parent,
			Name: c.Name, Found: c.Found, Reason: reason, Actor: a.Actor}
	}
	for _, d := range g.Differences {
		objects = append(objects, string(d.Change)+" "+d.Subject())
	}
	var p db.Pipeline
	a.Registry.QueueAccept(&p, list)
	if err := a.Registry.QueueEvent(&p, registry.Event{TenantID: id, Slug: slug, Action: registry.ActionAccept,
		Actor: a.Actor, Program: a.Program, Detail: map[string]any{"reason": reason, "objects": objects}}); err != nil {
		return err
	}
	return p.Run(ctx, q)
}

// ListAccepted returns what was accepted of the selected tenants.
func (a *App) ListAccepted(ctx context.Context, selection *Selection) ([]registry.Accepted, error) {
	conn, err := a.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	tenants, _, err := a.Tenants(ctx, conn, selection, registry.Active, registry.Suspended)
	if err != nil {
		return nil, err
	}
	return a.Registry.ListAccepted(ctx, conn, idsOf(tenants))
}

func idsOf(tenants []registry.Tenant) []string {
	ids := make([]string, len(tenants))
	for i, t := range tenants {
		ids[i] = t.ID
	}
	return ids
}

// UnacceptDrift takes back what was accepted of the selected tenants, and returns what that
// was.
func (a *App) UnacceptDrift(ctx context.Context, selection *Selection, lockTimeout time.Duration,
	dryRun bool) ([]registry.Accepted, error) {
	conn, err := a.change(ctx, dryRun)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	tenants, _, err := a.Tenants(ctx, conn, selection, registry.Active, registry.Suspended)
	if err != nil {
		return nil, err
	}
	list, err := a.Registry.ListAccepted(ctx, conn, idsOf(tenants))
	if err != nil || dryRun {
		return list, err
	}
	for i, x := range list {
		if i > 0 && list[i-1].TenantID == x.TenantID {
			continue
		}
		err := db.InTx(ctx, conn, db.Locals{LockTimeout: lockTimeout, Tenant: a.Registry.Row(x.TenantID), Wait: true,
			Follow: true}, func(ctx context.Context, q db.Querier) error {
			var p db.Pipeline
			a.Registry.QueueUnaccept(&p, x.TenantID)
			if err := a.Registry.QueueEvent(&p, registry.Event{TenantID: x.TenantID, Slug: x.Slug,
				Action: registry.ActionUnaccept, Actor: a.Actor, Program: a.Program}); err != nil {
				return err
			}
			return p.Run(ctx, q)
		})
		if err != nil {
			return list, err
		}
	}
	return list, nil
}
