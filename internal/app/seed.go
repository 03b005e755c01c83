package app

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// ErrHasContacts says that a tenant is not filled, so that sample data does not mix with
// somebody's own.
var ErrHasContacts = errors.New("the tenant has contacts already; nothing was done")

// SeedOptions say which tenant is filled with sample data, and with how much.
type SeedOptions struct {
	Tenant   string // its name, which is made where it is not there
	Contacts int
	RandSeed uint64 // the same data comes of the same
	DryRun   bool
}

// SeedResult is what became of the tenant, or would by a dry run.
type SeedResult struct {
	crm.SeedResult

	Slug   string
	There  bool // the tenant is there now, even where the error says that it was not filled
	Create bool // a dry run would create it
}

// SeedTenant fills a tenant with sample data, and makes it first where it is not there. The
// error is ErrHasContacts where it has some.
func (a *App) SeedTenant(ctx context.Context, o SeedOptions) (SeedResult, error) {
	slug, err := registry.Slug(o.Tenant)
	if err != nil {
		return SeedResult{}, err
	}
	out := SeedResult{Slug: slug}
	conn, err := a.changeSchemas(ctx, o.DryRun)
	if err != nil {
		return out, err
	}
	defer closeConn(ctx, conn)
	spec := tenant.Spec{Slug: slug, DisplayName: o.Tenant, Role: a.Config.TenantRoles}
	if err := a.EnsureTenant(ctx, conn, spec, o.DryRun); err != nil {
		return out, err
	}
	t, err := a.Registry.Get(ctx, conn, slug)
	if o.DryRun && errors.Is(err, registry.ErrNotFound) {
		out.Create = true
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out.There = true
	if o.DryRun {
		return out, a.wouldSeed(ctx, conn, t)
	}
	out.SeedResult, err = a.seed(ctx, conn, t, o)
	return out, err
}

// wouldSeed looks whether a tenant could be filled. Nothing is written, not even to be
// rolled back.
func (a *App) wouldSeed(ctx context.Context, conn *pgx.Conn, t registry.Tenant) error {
	if t.Status != registry.Active {
		return &registry.StateError{Slug: t.Slug, State: t.State()}
	}
	role := ""
	locals := db.Locals{Schema: t.Schema, Enter: a.entering(t.Schema, &role)}
	return db.InTx(ctx, conn, locals, func(ctx context.Context, q db.Querier) error {
		return a.refuseFilled(ctx, q, t, role)
	})
}

// refuseFilled fails with ErrHasContacts where a tenant has some. Code of others in its
// schema is looked for first; what follows is done as the role.
func (a *App) refuseFilled(ctx context.Context, q db.Querier, t registry.Tenant, role string) error {
	if err := (&planted.Guard{Trusted: a.Config.TrustedOwners}).Check(ctx, q, t.Schema); err != nil {
		return err
	}
	filled := false
	var p db.Pipeline
	p.Become(role)
	p.QueryRow([]any{&filled}, `select exists (select from `+t.Schema.Quoted()+`.contacts)`)
	err := p.Run(ctx, q)
	if err == nil && filled {
		err = ErrHasContacts
	}
	return err
}

func (a *App) seed(ctx context.Context, conn *pgx.Conn, t registry.Tenant, o SeedOptions) (crm.SeedResult, error) {
	path, err := a.TenantPath(ctx, conn, nil)
	if err != nil {
		return crm.SeedResult{}, err
	}
	var result crm.SeedResult
	role := ""
	locals := db.Locals{Schema: t.Schema, Path: path, EveryRow: true, Tenant: a.Registry.Row(t.ID), Wait: true,
		LockTimeout: a.Config.LockTimeout, StatementTimeout: a.Config.StatementTimeout, Follow: true,
		Enter: a.entering(t.Schema, &role)}
	err = db.InTx(ctx, conn, locals, func(ctx context.Context, q db.Querier) error {
		if err := a.Registry.HoldOpen(ctx, q, t); err != nil {
			return err
		}
		var lock db.Pipeline
		in := t.Schema.Quoted() + "."
		lock.Become(role)
		lock.Exec("lock table " + in + "contacts, " + in + "conversations, " + in + "messages in row exclusive mode")
		if role != "" {
			lock.Return()
		}
		if err := lock.Run(ctx, q); err != nil {
			return err
		}
		if err := a.refuseFilled(ctx, q, t, role); err != nil {
			return err
		}
		var err error
		if result, err = crm.Seed(ctx, q, crm.SeedOptions{Schema: t.Schema, Contacts: o.Contacts, RandSeed: o.RandSeed,
			Now: a.Now}); err != nil {
			return err
		}
		var p db.Pipeline
		// What asks the statistics next, the sizes say, shall not see nothing.
		p.Exec("analyze " + t.Schema.Quoted() + ".contacts")
		if role != "" {
			p.Return()
		}
		if err := a.Registry.QueueEvent(&p, registry.Event{
			TenantID: t.ID, Slug: t.Slug, Action: registry.ActionSeed, Actor: a.Actor, Program: a.Program,
			Detail: map[string]any{"contacts": result.Contacts, "seed": o.RandSeed}, Role: role,
		}); err != nil {
			return err
		}
		return p.Run(ctx, q)
	})
	return result, err
}
