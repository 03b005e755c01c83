package app

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/crm"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// ReadCRM is CRM.Read, once.
func (a *App) ReadCRM(ctx context.Context, tenant string, fn func(ctx context.Context, r *crm.Reader) error) error {
	c := a.OpenCRM(CRMOptions{Connections: 1})
	defer c.Close(ctx)
	return c.Read(ctx, tenant, fn)
}

// ReadWholeCRM is ReadCRM for what looks at every row: it may take as long as it does, unless
// the configuration bounds it.
func (a *App) ReadWholeCRM(ctx context.Context, tenant string,
	fn func(ctx context.Context, r *crm.Reader) error) error {
	c := a.OpenCRM(CRMOptions{Connections: 1, Unbounded: true})
	defer c.Close(ctx)
	return c.Read(ctx, tenant, fn)
}

// CRMWrite is a change of a tenant's contacts, conversations or messages.
type CRMWrite struct {
	Tenant string // its name
	DryRun bool   // everything is done, and rolled back
	Do     func(ctx context.Context, w *crm.Writer) error
	// Confirm, if not nil, is asked before anything is kept: Do was run and rolled back
	// before, and is run again.
	Confirm func() error
}

// errRolledBack ends a transaction of which nothing is kept.
var errRolledBack = errors.New("nothing is kept")

// WriteCRM is CRM.Write, once.
func (a *App) WriteCRM(ctx context.Context, o CRMWrite) error {
	c := a.OpenCRM(CRMOptions{Connections: 1})
	defer c.Close(ctx)
	return c.Write(ctx, o)
}

// onCRM connects to change something of a tenant, which must be active.
func (a *App) onCRM(ctx context.Context, tenant string, dryRun bool,
	fn func(conn *pgx.Conn, known *crmTenant) error) error {
	if err := a.Changing(ctx, dryRun); err != nil {
		return err
	}
	c := a.OpenCRM(CRMOptions{Connections: 1})
	defer c.Close(ctx)
	return c.with(ctx, tenant, []registry.Status{registry.Active},
		func(conn *pgx.Conn, known *crmTenant, begun func()) error {
			begun()
			return fn(conn, known)
		})
}

// writeCRM does a write in a tenant that is opened.
func writeCRM(ctx context.Context, conn *pgx.Conn, t *crm.Tenant, o CRMWrite) error {
	if o.DryRun || o.Confirm != nil {
		err := t.Write(ctx, conn, func(ctx context.Context, w *crm.Writer) error {
			if err := o.Do(ctx, w); err != nil {
				return err
			}
			return errRolledBack
		})
		if !errors.Is(err, errRolledBack) {
			return err
		}
		if o.DryRun {
			return nil
		}
		if err := o.Confirm(); err != nil {
			return err
		}
	}
	return t.Write(ctx, conn, o.Do)
}

// openCRM looks up a tenant and opens its tables. With unbounded only the configuration says
// how long a statement may read.
func (a *App) openCRM(ctx context.Context, conn *pgx.Conn, slug string, unbounded bool) (*crmTenant, error) {
	t, err := a.Registry.Get(ctx, conn, slug)
	if err != nil {
		return nil, err
	}
	known := &crmTenant{tenant: t}
	if !slices.Contains(readStates(), t.Status) {
		return known, nil
	}
	path, err := a.TenantPath(ctx, conn, nil)
	if err != nil {
		return nil, err
	}
	region, err := regionOf("", t)
	if err != nil {
		return nil, err
	}
	reads := a.Config.StatementTimeout
	if !unbounded && a.Config.Setting(config.KeyStatementTimeout).Origin == "default" {
		reads = readTimeout
	}
	known.opened, err = crm.Open(ctx, conn, crm.Options{
		Schema: t.Schema, Path: path, Tablespace: t.Tablespace, Region: region, Trusted: a.Config.TrustedOwners,
		OwnRole:     a.ownRole(),
		LockTimeout: a.Config.LockTimeout, StatementTimeout: a.Config.StatementTimeout, ReadTimeout: reads,
		Look: func(p *db.Pipeline) { a.Registry.QueueStill(p, t, readStates()...) },
		Hold: func(ctx context.Context, q db.Querier) error { return a.Registry.HoldNamed(ctx, q, t) },
		Record: func(ctx context.Context, q db.Querier, role string, done []crm.Change) error {
			return a.recordCRM(ctx, q, t, role, done)
		},
	})
	return known, err
}

// readStates are the states in which a tenant is read.
func readStates() []registry.Status { return []registry.Status{registry.Active, registry.Suspended} }

// recordCRM writes the audit of what was changed: what it is, and not whom it is about.
func (a *App) recordCRM(ctx context.Context, q db.Querier, t registry.Tenant, role string, done []crm.Change) error {
	var p db.Pipeline
	for _, c := range done {
		if err := a.Registry.QueueEvent(&p, registry.Event{
			TenantID: t.ID, Slug: t.Slug, Action: registry.ActionEdit, Actor: a.Actor, Program: a.Program, Role: role,
			Detail: map[string]any{"table": c.Table, "did": c.Did, "id": c.ID},
		}); err != nil {
			return err
		}
	}
	return p.Run(ctx, q)
}
