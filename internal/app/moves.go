package app

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
	"github.com/crmctl/crmctl/internal/tenant"
)

// MoveOptions say which tenant is moved from one state to another.
type MoveOptions struct {
	Tenant      string // its name
	LockTimeout time.Duration
	DryRun      bool // look whether it can be, and return what it would be
}

// moveTenant does one move of a tenant on a connection of its own.
func (a *App) moveTenant(ctx context.Context, o MoveOptions, apply func(ctx context.Context, conn *pgx.Conn,
	slug string, move tenant.MoveOptions) (registry.Tenant, error)) (registry.Tenant, error) {
	slug, err := registry.Slug(o.Tenant)
	if err != nil {
		return registry.Tenant{}, err
	}
	conn, err := a.change(ctx, o.DryRun)
	if err != nil {
		return registry.Tenant{}, err
	}
	defer closeConn(ctx, conn)
	move := a.move(o.LockTimeout)
	move.DryRun = o.DryRun
	return apply(ctx, conn, slug, move)
}

// SuspendTenant shuts a tenant for a while.
func (a *App) SuspendTenant(ctx context.Context, o MoveOptions) (registry.Tenant, error) {
	return a.moveTenant(ctx, o, tenant.Suspend)
}

// ActivateTenant opens a suspended tenant again.
func (a *App) ActivateTenant(ctx context.Context, o MoveOptions) (registry.Tenant, error) {
	return a.moveTenant(ctx, o, tenant.Activate)
}

// UndeleteTenant brings a deleted tenant back. newest is the version of the migrations
// that it could be at, 0 where they cannot be read or nothing was done.
func (a *App) UndeleteTenant(ctx context.Context, o MoveOptions) (t registry.Tenant, newest int64, err error) {
	t, err = a.moveTenant(ctx, o, tenant.Undelete)
	if err != nil || o.DryRun {
		return t, 0, err
	}
	if plan, err := a.TenantPlan(ctx, 0); err == nil {
		newest = plan.Head()
	}
	return t, newest, nil
}

// SetTenant changes settings of a tenant; the value nil takes one away.
func (a *App) SetTenant(ctx context.Context, o MoveOptions, values map[string]any) (registry.Tenant, error) {
	return a.moveTenant(ctx, o, func(ctx context.Context, conn *pgx.Conn, slug string,
		move tenant.MoveOptions) (registry.Tenant, error) {
		return tenant.Set(ctx, conn, slug, values, move)
	})
}

// RenameOptions say what is renamed of a tenant.
type RenameOptions struct {
	MoveOptions

	To            string // the new name, "" where that stays
	DisplayName   string // the new one, "" where that stays
	Schema        bool   // name schema and role after the tenant
	LeaveMentions bool   // although the old schema's name stands elsewhere
}

// Renamed is a tenant before and after.
type Renamed struct{ Before, After registry.Tenant }

// Changed reports whether anything has another name.
func (r Renamed) Changed() bool {
	return r.Before.Slug != r.After.Slug || r.Before.DisplayName != r.After.DisplayName ||
		r.Before.Schema != r.After.Schema
}

// RenameTenant gives a tenant another name. Errors are those of tenant.Rename.
func (a *App) RenameTenant(ctx context.Context, o RenameOptions) (Renamed, error) {
	slug, err := registry.Slug(o.Tenant)
	if err != nil {
		return Renamed{}, err
	}
	to := tenant.Renaming{
		DisplayName: o.DisplayName, Schema: o.Schema, LeaveMentions: o.LeaveMentions,
		Shape: func(ctx context.Context, q db.Querier, t registry.Tenant) (string, error) {
			shape, err := catalog.Read(ctx, q, catalog.Target{Schema: t.Schema, Role: t.Role, Tablespace: t.Tablespace},
				catalog.Options{Registry: a.Registry, LockTimeout: o.LockTimeout, OwnRole: true})
			if err != nil {
				return "", err
			}
			is := shape.Fingerprint()
			return string(is[:]), nil
		},
	}
	if o.To != "" {
		if to.Slug, err = registry.Slug(o.To); err != nil {
			return Renamed{}, err
		}
	}
	conn, err := a.changeSchemas(ctx, o.DryRun)
	if err != nil {
		return Renamed{}, err
	}
	defer closeConn(ctx, conn)
	if err := a.refuseRename(ctx, conn, slug); err != nil {
		return Renamed{}, err
	}
	rename := tenant.Rename
	if o.DryRun {
		rename = tenant.PlanRename
	}
	var out Renamed
	out.Before, out.After, err = rename(ctx, conn, slug, to, a.move(o.LockTimeout))
	return out, err
}

// DeleteOptions say how a tenant is closed.
type DeleteOptions struct {
	MoveOptions

	// Retention is how long it is kept; its own setting wins, unless Given.
	Retention time.Duration
	Given     bool
	IfExists  bool // none of that name, or a deleted one, is no error
	// Confirm is asked before it is closed; nil for nobody.
	Confirm func(context.Context, Closing) error
}

// Closing is what closing a tenant means.
type Closing struct {
	Tenant    registry.Tenant
	Retention time.Duration
	Until     time.Time // it is kept at least
	Holds     Holdings
}

// DeleteResult is what became of the tenant.
type DeleteResult struct {
	Slug    string
	Tenant  registry.Tenant // as it is now
	Closing *Closing        // nil where there was nothing to do
	Missing bool            // there is none of that name
}

// DeleteTenant closes a tenant; its data stays until the retention is over.
func (a *App) DeleteTenant(ctx context.Context, o DeleteOptions) (DeleteResult, error) {
	slug, err := registry.Slug(o.Tenant)
	if err != nil {
		return DeleteResult{}, err
	}
	out := DeleteResult{Slug: slug}
	conn, err := a.change(ctx, o.DryRun)
	if err != nil {
		return out, err
	}
	defer closeConn(ctx, conn)
	t, err := a.Registry.Get(ctx, conn, slug)
	switch {
	case err != nil && o.IfExists && errors.Is(err, registry.ErrNotFound):
		out.Missing = true
		return out, nil
	case err != nil:
		return out, err
	case t.Status == registry.Deleted && o.IfExists:
		out.Tenant = t
		return out, nil
	case t.Status == registry.Deleted:
		return out, &registry.StateError{Slug: slug, State: t.State(), Already: t.PurgeStartedAt == nil}
	}
	if err := a.RefuseSourced("delete", t); err != nil {
		return out, err
	}
	closing := &Closing{Tenant: t, Retention: o.Retention}
	if !o.Given {
		if closing.Retention, err = Retention(t, o.Retention); err != nil {
			return out, err
		}
	}
	closing.Until = a.Now().Add(closing.Retention)
	if closing.Holds, err = a.HoldingsOf(ctx, conn, []string{slug}); err != nil {
		return out, err
	}
	out.Tenant, out.Closing = t, closing
	if o.DryRun {
		return out, nil
	}
	if o.Confirm != nil {
		if err := o.Confirm(ctx, *closing); err != nil {
			return out, err
		}
	}
	out.Tenant, err = tenant.Delete(ctx, conn, slug, closing.Retention, a.move(o.LockTimeout))
	return out, err
}

// Holdings is how much data tenants hold.
type Holdings struct {
	Known    bool
	Bytes    int64
	Contacts *int64 // nil where nobody counted them
}

// HoldingsOf looks how much data the tenants of these slugs hold.
func (a *App) HoldingsOf(ctx context.Context, conn *pgx.Conn, slugs []string) (Holdings, error) {
	report, err := stats.Sizes(ctx, conn, stats.SizeOptions{Registry: a.Registry, Slugs: slugs})
	if err != nil || len(report.Tenants) < len(slugs) {
		return Holdings{}, err
	}
	var contacts int64
	out := Holdings{Known: true, Contacts: &contacts}
	for _, s := range report.Tenants {
		if !s.Known {
			return Holdings{}, nil
		}
		out.Bytes += s.TotalBytes()
		if s.Contacts == nil {
			out.Contacts = nil
		} else {
			contacts += *s.Contacts
		}
	}
	return out, nil
}
