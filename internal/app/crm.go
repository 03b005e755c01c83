package app

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/crm"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// ReadCRM runs fn over the contacts, conversations and messages of a tenant, in a
// transaction that only reads. A suspended tenant is read too.
func (a *App) ReadCRM(ctx context.Context, tenant string, fn func(ctx context.Context, r *crm.Reader) error) error {
	slug, err := registry.Slug(tenant)
	if err != nil {
		return err
	}
	conn, err := a.Connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	t, err := a.Registry.Get(ctx, conn, slug)
	if err != nil {
		return err
	}
	if t.Status != registry.Active && t.Status != registry.Suspended {
		return &registry.StateError{Slug: slug, State: t.State()}
	}
	timeout := a.Config.StatementTimeout
	if a.Config.Setting(config.KeyStatementTimeout).Origin == "default" {
		timeout = readTimeout
	}
	opened, err := a.openCRM(ctx, conn, t, timeout, nil)
	if err != nil {
		return err
	}
	return opened.Read(ctx, conn, fn)
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

// WriteCRM changes a tenant's contacts, conversations or messages, with a row of the audit
// for each.
func (a *App) WriteCRM(ctx context.Context, o CRMWrite) error {
	return a.onCRM(ctx, o.Tenant, o.DryRun, func(conn *pgx.Conn, t registry.Tenant) error {
		return a.writeCRM(ctx, conn, t, o, func(ctx context.Context, q db.Querier, role string, done []crm.Change) error {
			return a.recordCRM(ctx, q, t, role, done)
		})
	})
}

// onCRM connects to change something of a tenant, which must be active.
func (a *App) onCRM(ctx context.Context, tenant string, dryRun bool,
	fn func(conn *pgx.Conn, t registry.Tenant) error) error {
	slug, err := registry.Slug(tenant)
	if err != nil {
		return err
	}
	conn, err := a.change(ctx, dryRun)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	t, err := a.Registry.Get(ctx, conn, slug)
	if err != nil {
		return err
	}
	if t.Status != registry.Active {
		return &registry.StateError{Slug: slug, State: t.State()}
	}
	return fn(conn, t)
}

// recordFunc writes into the registry what was done, in its own transaction.
type recordFunc = func(ctx context.Context, q db.Querier, role string, done []crm.Change) error

func (a *App) writeCRM(ctx context.Context, conn *pgx.Conn, t registry.Tenant, o CRMWrite, record recordFunc) error {
	opened, err := a.openCRM(ctx, conn, t, a.Config.StatementTimeout, record)
	if err != nil {
		return err
	}
	if o.DryRun || o.Confirm != nil {
		err := opened.Write(ctx, conn, func(ctx context.Context, w *crm.Writer) error {
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
	return opened.Write(ctx, conn, o.Do)
}

// openCRM opens a tenant's tables. record is told of what is written.
func (a *App) openCRM(ctx context.Context, conn *pgx.Conn, t registry.Tenant, timeout time.Duration,
	record recordFunc) (*crm.Tenant, error) {
	path, err := a.TenantPath(ctx, conn, nil)
	if err != nil {
		return nil, err
	}
	region, err := regionOf("", t)
	if err != nil {
		return nil, err
	}
	return crm.Open(ctx, conn, crm.Options{
		Schema: t.Schema, Path: path, Tablespace: t.Tablespace, Region: region, Trusted: a.Config.TrustedOwners,
		OwnRole:     a.ownRole(),
		LockTimeout: a.Config.LockTimeout, StatementTimeout: timeout,
		Hold:   func(ctx context.Context, q db.Querier) error { return a.Registry.HoldOpen(ctx, q, t) },
		Record: record,
	})
}

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
