package app

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/shape"
	"github.com/crmctl/crmctl/internal/tenant"
)

// Pool is the pool of ready schemas and what they are made of.
type Pool struct {
	Schemas []registry.PoolSchema // the oldest first

	conn    *pgx.Conn
	plan    *migrate.Plan
	history shape.History
	key     registry.ShapeKey
}

// Ready counts the schemas that a tenant can take.
func (p *Pool) Ready() int {
	ready := 0
	for _, s := range p.Schemas {
		if s.Ready {
			ready++
		}
	}
	return ready
}

// ReadPool reads the pool on a connection.
func (a *App) ReadPool(ctx context.Context, conn *pgx.Conn) (*Pool, error) {
	plan, err := a.TenantPlan(ctx, 0)
	if err != nil {
		return nil, err
	}
	if plan, err = a.UseExtensions(ctx, conn, plan, true); err != nil {
		return nil, err
	}
	return a.readPool(ctx, conn, plan)
}

// readPool reads the pool of a plan. Unlike a template it insists on a registry that
// knows of it.
func (a *App) readPool(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan) (*Pool, error) {
	pool := &Pool{conn: conn, plan: plan}
	var err error
	if pool.history, err = a.history(plan); err != nil {
		return nil, err
	}
	pool.key, err = shape.ReadKey(ctx, conn, a.Registry, pool.history)
	if err == nil {
		pool.Schemas, err = a.Registry.ListPool(ctx, conn, pool.key.String())
	}
	if errors.Is(err, registry.ErrOldRegistry) {
		if lacks := a.Registry.Lacking(ctx, conn); lacks != nil {
			err = lacks // there is none at all
		}
	}
	return pool, err
}

// PoolOptions say how the pool is changed.
type PoolOptions struct {
	Drain       bool // down to Count; otherwise it is filled up to it
	Count       int
	Concurrency int // 0 goes by the machine and the server
	LockTimeout time.Duration
	DryRun      bool
}

// PoolChange is what became of the pool, or would by a dry run.
type PoolChange struct {
	tenant.PoolChange

	Before  int  // schemas that were there, ready or not
	Changed bool // it came to the point where something could be
	Elapsed time.Duration
}

// ChangePool fills or drains the pool.
func (a *App) ChangePool(ctx context.Context, o PoolOptions) (PoolChange, error) {
	plan, err := a.TenantPlan(ctx, 0)
	if err != nil {
		return PoolChange{}, err
	}
	conn, err := a.changeSchemas(ctx, o.DryRun)
	if err != nil {
		return PoolChange{}, err
	}
	defer closeConn(ctx, conn)
	if plan, err = a.UseExtensions(ctx, conn, plan, o.DryRun); err != nil {
		return PoolChange{}, err
	}
	pool, err := a.readPool(ctx, conn, plan)
	if err != nil {
		return PoolChange{}, err
	}
	return a.changePool(ctx, pool, o)
}

func (a *App) changePool(ctx context.Context, pool *Pool, o PoolOptions) (PoolChange, error) {
	ready := pool.Ready()
	out := PoolChange{Before: len(pool.Schemas), PoolChange: tenant.PoolChange{Ready: ready,
		Dropped: len(pool.Schemas) - min(ready, o.Count), Made: max(0, o.Count-ready)}}
	change, template := tenant.FillPool, tenant.Template{Key: pool.key.String()}
	if o.Drain {
		change, out.Made, out.Dropped = tenant.DrainPool, 0, max(0, len(pool.Schemas)-o.Count)
	}
	if o.DryRun {
		return out, nil
	}
	if !o.Drain {
		var why ByHistory
		var err error
		if template, why, err = a.poolTemplate(ctx, pool, o.LockTimeout); err != nil {
			return PoolChange{}, err
		}
		a.byHistory(why)
	}
	begun := a.Now()
	names := make([]string, out.Made+out.Dropped)
	for i := range names {
		names[i] = "a schema"
	}
	run := fleet.Options{Concurrency: o.Concurrency, Drain: a.Drain()}
	observer, end := a.Watch("pool", names)
	run.Observer = observer
	done, err := change(ctx, fleet.Reuse(pool.conn, a.Connect), o.Count, tenant.PoolOptions{
		Registry: a.Registry,
		Template: template, Actor: a.Actor, Program: a.Program, LockTimeout: o.LockTimeout, Fleet: run, Direct: a.Direct,
	})
	end()
	return PoolChange{PoolChange: done, Before: out.Before, Changed: len(done.Results) > 0 || err == nil,
		Elapsed: a.Now().Sub(begun)}, err
}

// RefreshPool makes schemas of the pool anew that are not what the plan makes any more.
// fresh is true where there are none, or where the registry knows no pool, and also where the
// connection is gone: a pool that is out of date is not used, and the run has said what befell
// the server.
func (a *App) RefreshPool(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, o PoolOptions) (done PoolChange,
	fresh bool, err error) {
	if conn.IsClosed() {
		return PoolChange{}, true, nil
	}
	// Most fleets have none: to find out what its key would be takes longer than to ask.
	if there, err := a.Registry.ListPool(ctx, conn, ""); err == nil && len(there) == 0 {
		return PoolChange{}, true, nil
	}
	pool, err := a.readPool(ctx, conn, plan)
	switch {
	case errors.Is(err, registry.ErrOldRegistry):
		return PoolChange{}, true, nil
	case err != nil:
		return PoolChange{}, false, err
	case pool.Ready() == len(pool.Schemas):
		return PoolChange{}, true, nil
	}
	o.Count = len(pool.Schemas)
	done, err = a.changePool(ctx, pool, o)
	return done, false, err
}
