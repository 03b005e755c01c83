package tenant

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/staging"
)

// errPoolEmpty says that the transaction has to end before the schema can be built.
var errPoolEmpty = errors.New("the pool has no schema that fits")

// createStaged makes a tenant whose template is several transactions. The last one makes
// the schema a tenant's.
func (m *maker) createStaged(ctx context.Context, conn *pgx.Conn, t registry.Tenant) error {
	site, err := staging.Open(ctx, conn, staging.Options{
		Registry: m.Registry,
		Schema:   t.Schema, Slug: t.Slug, Actor: m.Actor, LockTimeout: m.LockTimeout, Direct: m.Direct,
		Tablespace: t.Tablespace,
	})
	if err != nil {
		return m.explain(ctx, conn, t, err)
	}
	err = site.Run(ctx, m.Template.Script)
	if err == nil {
		err = m.register(ctx, conn, site, t)
	}
	if err != nil {
		err = errors.Join(err, db.Rollback(ctx, conn))
	}
	if err = errors.Join(err, site.Clear(ctx)); err != nil {
		return m.explain(ctx, conn, t, err)
	}
	return nil
}

// register makes a built schema a tenant's. Its role comes last, since roles belong to
// the cluster and nobody would clear one away.
func (m *maker) register(ctx context.Context, conn *pgx.Conn, site *staging.Site, t registry.Tenant) error {
	var p db.Pipeline
	p.Begin(m.locals(t))
	site.Claim(&p)
	m.Registry.QueueInsert(&p, t)
	if t.Role != "" {
		queueRole(&p, t)
		queueRoleTables(&p, t)
		queueRoleLimits(&p, t)
	}
	if err := m.Registry.QueueEvent(&p, createEvent(t, "", m.CreateOptions)); err != nil {
		return err
	}
	p.CheckSchema(t.Schema)
	owner.QueueGive(&p, t.Schema, m.Owner)
	if err := p.Run(ctx, conn); err != nil {
		return err
	}
	if err := site.Finish(ctx); err != nil {
		return err
	}
	return db.Commit(ctx, conn)
}

// stagePooled makes a schema of the pool whose template is several transactions.
func stagePooled(ctx context.Context, conn *pgx.Conn, schema db.Schema, o PoolOptions) error {
	site, err := staging.Open(ctx, conn, staging.Options{Registry: o.Registry, Schema: schema, Actor: o.Actor,
		LockTimeout: o.LockTimeout, Direct: o.Direct})
	if err != nil {
		return o.Registry.ExplainPool(err)
	}
	err = site.Run(ctx, o.Template.Script)
	if err == nil {
		err = listPooled(ctx, conn, site, o)
	}
	if err != nil {
		err = errors.Join(err, db.Rollback(ctx, conn))
	}
	return o.Registry.ExplainPool(errors.Join(err, site.Clear(ctx)))
}

// listPooled makes a built schema one of the pool.
func listPooled(ctx context.Context, conn *pgx.Conn, site *staging.Site, o PoolOptions) error {
	var p db.Pipeline
	p.Begin(db.Locals{Schema: site.Schema, LockTimeout: o.LockTimeout, AsConfigured: true, Follow: true})
	site.Claim(&p)
	if err := queuePooled(&p, site.Schema, o); err != nil {
		return err
	}
	p.CheckSchema(site.Schema)
	if err := p.Run(ctx, conn); err != nil {
		return err
	}
	if err := site.Finish(ctx); err != nil {
		return err
	}
	return db.Commit(ctx, conn)
}
