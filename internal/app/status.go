package app

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// StatusOptions say whose versions are read, and from where.
type StatusOptions struct {
	Selection *Selection
	// Verify reads the versions from the tenants' own schemas. Without it they are the
	// registry's and, where other programs may have gone on, what these have left.
	Verify bool
	Alone  bool // ask the registry alone
	// LockTimeout is how long a schema that somebody holds is waited for.
	LockTimeout time.Duration
}

// TenantVersion is the version that a tenant stands at.
type TenantVersion struct {
	registry.Tenant

	Pending    []*migrate.Migration
	Late       []*migrate.Migration // older than the version, and never applied
	Registered int64                // the version that the registry has
	Err        error                // what is wrong with the tenant, or why it could not be read
}

// Wrong reports whether the tenant is not what the registry says.
func (v *TenantVersion) Wrong() bool {
	return v.Err != nil || len(v.Late) > 0 || v.Version != v.Registered
}

// Status is which tenants are behind, and by what.
type Status struct {
	Plan    *migrate.Plan
	Tenants []TenantVersion
	Behind  int
	Wrong   int
	Newer   int // beyond the newest file, as far as the registry knows
}

// Status reads which tenants are behind.
func (a *App) Status(ctx context.Context, o StatusOptions) (*Status, error) {
	plan, err := a.TenantPlan(ctx, 0)
	if err != nil {
		return nil, err
	}
	conn, err := a.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	tenants, invalid, err := a.Tenants(ctx, conn, o.Selection, registry.Active, registry.Suspended)
	if err != nil {
		return nil, err
	}
	if len(invalid) > 0 {
		a.Notify(InvalidRows{invalid})
	}
	out := &Status{Plan: plan}
	if out.Tenants, err = a.versions(ctx, conn, plan, tenants, o); err != nil {
		return nil, err
	}
	for i := range out.Tenants {
		if len(out.Tenants[i].Pending) > 0 {
			out.Behind++
		}
		if out.Tenants[i].Wrong() {
			out.Wrong++
		}
	}
	out.Newer = NewerThan(plan, tenants)
	return out, nil
}

// versions takes the versions from the registry or the schemas.
func (a *App) versions(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, tenants []registry.Tenant,
	o StatusOptions) ([]TenantVersion, error) {
	var wrong map[string]error
	if !o.Verify && !o.Alone {
		var err error
		if wrong, err = a.Standing(ctx, conn, plan, tenants, o.LockTimeout); err != nil {
			return nil, err
		}
	}
	out := make([]TenantVersion, len(tenants))
	for i, t := range tenants {
		out[i] = TenantVersion{Tenant: t, Pending: plan.After(t.Version), Registered: t.Version, Err: wrong[t.ID]}
	}
	if !o.Verify {
		return out, nil
	}
	actual, err := plan.Verify(ctx, conn, tenants, o.LockTimeout)
	if err != nil {
		return nil, err
	}
	for i, found := range actual {
		v := &out[i]
		if found.Err != nil {
			v.Err, v.Pending = found.Err, nil
			continue
		}
		v.Version, v.Late, v.Pending = found.Version, found.Late, plan.After(found.Version)
	}
	return out, nil
}
