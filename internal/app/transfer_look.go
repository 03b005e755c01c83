package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// look finds out, before anything is changed, whether the tenant can go there.
func (w *transfer) look(ctx context.Context) (err error) {
	if err := w.a.RefuseSourced("transfer", registry.Tenant{}); err != nil {
		return err
	}
	if err := w.To.RefuseSourced("transfer", registry.Tenant{}); err != nil {
		return w.otherSide(err)
	}
	if err := w.To.Registry.RefuseWithoutTransfers(ctx, w.to); err != nil {
		return w.otherSide(err)
	}
	w.here, w.there = w.a.side(w.from), w.To.side(w.to)
	if w.t, err = w.a.Registry.Get(ctx, w.from, w.Tenant); err != nil {
		return err
	}
	if err := w.refuseSameDatabase(ctx); err != nil || w.Abort {
		return err
	}
	if w.t.Status != registry.Moved {
		return w.lookThere(ctx)
	}
	return nil
}

// lookThere looks at what the other side can take.
func (w *transfer) lookThere(ctx context.Context) (err error) {
	limits := backup.Limits{LockTimeout: w.LockTimeout, StatementTimeout: w.StatementTimeout}
	if w.copy, w.plan, err = w.To.newTenant(ctx, w.to, registry.ActionTransfer, limits, w.Role); err != nil {
		return w.otherSide(err)
	}
	if w.copy.Owner, err = w.To.newOwner(ctx, w.to); err != nil {
		return w.otherSide(err)
	}
	w.copy.TrustCode, w.copy.Tablespace = w.TrustCode, chosenPlace(w.Tablespace)
	if w.plan.Head() < w.t.Version {
		return w.otherSide(fmt.Errorf("tenant %q is at version %d, and the migrations there end at %d: %w", w.t.Slug,
			w.t.Version, w.plan.Head(), backup.ErrMismatch))
	}
	_, err = w.copyThere(ctx, registry.Transfer{}, false)
	if err != nil {
		return err
	}
	if err := lookAtPlace(ctx, w.to, w.Tablespace, w.t.Tablespace, w.copy.Owner); err != nil {
		return w.otherSide(err)
	}
	role := w.copy.Role == backup.RoleAlways || w.copy.Role == backup.RoleAsSource && w.t.Role != ""
	return w.otherSide(w.refuseRights(ctx, role))
}

// refuseRights makes sure that the session there may make a schema, and a role where that
// is wanted.
func (w *transfer) refuseRights(ctx context.Context, role bool) error {
	type row struct {
		Me                         string
		Creates, MakesRoles, Taken bool
	}
	found, err := db.Select(ctx, w.to, pgx.RowToStructByName[row], `select current_user::text as me,
			has_database_privilege(current_database(), 'create') as creates, r.rolsuper or r.rolcreaterole as makes_roles,
			exists (select from pg_roles o where o.rolname = $1::text::name) and not exists (
				select from pg_namespace n where n.nspname = $1::text::name) as taken
		from pg_roles r where r.rolname = current_user`, w.t.Schema.String())
	switch {
	case err != nil:
		return err
	case !found[0].Creates:
		return fmt.Errorf("role %q may not create schemas: grant create on database %s to %s", found[0].Me,
			db.Quoted(w.there.Database), db.Quoted(found[0].Me))
	case role && found[0].Taken:
		return &tenant.RoleExistsError{Role: w.t.Schema.String()}
	case role && !found[0].MakesRoles:
		return fmt.Errorf("role %q may not make the role of the tenant: it needs CREATEROLE", found[0].Me)
	}
	return nil
}

// refuseSameDatabase makes sure that there are two databases.
func (w *transfer) refuseSameDatabase(ctx context.Context) error {
	var is [2]string
	for i, conn := range []*pgx.Conn{w.from, w.to} {
		var err error
		if is[i], err = databaseOf(ctx, conn); err != nil {
			return err
		}
	}
	if is[0] == is[1] {
		return w.otherSide(fmt.Errorf("it is the same database, %q: a tenant goes to another", w.there.Database))
	}
	return nil
}

// copyThere returns the copy that a transfer has made there, nil for none. What another transfer
// of the same tenant has left, which never owned it, is destroyed with clean.
func (w *transfer) copyThere(ctx context.Context, x registry.Transfer, clean bool) (*registry.Tenant, error) {
	found, err := w.To.Registry.Get(ctx, w.to, w.Tenant)
	if errors.Is(err, registry.ErrNotFound) {
		return nil, nil //nolint:nilnil // as documented
	}
	if err != nil {
		return nil, w.otherSide(err)
	}
	all, err := w.To.Registry.ListTransfers(ctx, w.to, []string{found.ID})
	if err != nil {
		return nil, w.otherSide(err)
	}
	by, known := all[found.ID]
	left := found.Status == registry.Incoming || found.Status == registry.Deleted && by.MovedAt == nil
	switch {
	case found.ID != w.t.ID || !known || !left:
		return nil, w.otherSide(&registry.ExistsError{Slug: w.Tenant, Registered: true, Status: found.State()})
	case found.Status == registry.Incoming && by.ID == x.ID:
		return &found, nil
	case clean:
		return nil, w.otherSide(w.discard(ctx, found, by))
	}
	return nil, nil //nolint:nilnil // as documented
}

func (w *transfer) discard(ctx context.Context, t registry.Tenant, x registry.Transfer) error {
	return tenant.Discard(ctx, w.To.Connect, w.to, t, x, w.To.move(w.LockTimeout))
}
