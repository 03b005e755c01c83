package migrate

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// applyRead reads what the schema has, and takes the steps that follow from it.
func (p *Plan) applyRead(ctx context.Context, conn *pgx.Conn, t registry.Tenant, r Route,
	o ApplyOptions) (Change, error) {
	applied, cached, dirty, err := p.open(ctx, conn, t, o)
	if err != nil {
		return Change{}, err
	}
	change, err := p.change(r, applied)
	if err != nil {
		return Change{}, err
	}
	change.recorded = cached == change.To
	if dirty && len(change.Applied) > 0 {
		return Change{}, errors.Join(db.Rollback(ctx, conn), dirtyError(ctx, conn, o.Registry, t))
	}
	if len(change.Applied) == 0 && change.To == t.Version {
		return change, db.Rollback(ctx, conn)
	}
	var run db.Pipeline
	as := o.Owners.Of(t.Schema)
	run.Become(as.Versions)
	for _, s := range change.Applied {
		if o.blocks {
			run.Exec(tenantVersions.stepBlock(s))
			continue
		}
		tenantVersions.queueRow(&run, t.Schema, s)
	}
	if as.Work != as.Versions {
		run.Become(as.Work)
	}
	if o.inspection == nil {
		p.queueScripts(&run, change.Applied)
	} else {
		if err := run.Run(ctx, conn); err != nil {
			return Change{}, err
		}
		if err := p.runInspected(ctx, conn, t, change.Applied, o); err != nil {
			return Change{}, err
		}
		run = db.Pipeline{}
	}
	queueCache(&run, o.Registry, t, change.To, as.Work != "")
	if o.inspection != nil && o.inspection.traces.Load() && !leavesTraces(change.Applied) {
		run.Cleanse()
	}
	queueEnd(&run, change.Applied)
	return change, run.Run(ctx, conn)
}

// open begins the tenant's transaction, takes its lock and reads, in a statement
// that begins after the lock is held, which versions it has, and which of them the registry
// has for the newest.
func (p *Plan) open(ctx context.Context, conn *pgx.Conn, t registry.Tenant, o ApplyOptions) (applied []int64,
	cached int64, dirty bool, _ error) {
	var (
		current *string
		alive   bool
		open    db.Pipeline
	)
	open.Begin(o.locals(t))
	o.queueGuard(&open, t.Schema)
	open.QueryRow([]any{&alive, &cached, &dirty}, `select `+isAlive(o.Registry)+`, `+cachedVersion(o.Registry)+`,
		exists (select from `+o.Registry.Dirty()+` where tenant_id operator(pg_catalog.=) $1)`, t.ID, t.Schema.String())
	queueApplied(&open, t.Schema, o, &current, &applied)
	err := gone(open.Run(ctx, conn))
	switch {
	case db.SQLState(err) == db.CodeUndefinedTable:
		return nil, 0, false, errors.Join(db.Rollback(ctx, conn), explainMissing(ctx, conn, o.Registry, t))
	case err != nil:
		return nil, 0, false, err
	case !alive:
		return nil, 0, false, ErrGone
	case current == nil || *current != t.Schema.String():
		return nil, 0, false, fmt.Errorf("%w: %s", db.ErrWrongSchema, t.Schema)
	}
	return applied, cached, dirty, nil
}

// queueApplied adds a look at the schema that the transaction stands in, and at the
// versions that a tenant's schema has.
func queueApplied(p *db.Pipeline, s db.Schema, o ApplyOptions, current **string, applied *[]int64) {
	as := o.Owners.Of(s).Versions
	p.Become(as)
	versions := `array(` + tenantVersions.selectApplied(s) + `)`
	if o.blocks {
		p.Exec(tenantVersions.readBlock())
		versions = `pg_catalog.current_setting('crmctl.applied')::pg_catalog.int8[]`
	}
	p.QueryRow([]any{current, applied}, `select pg_catalog.current_schema()::pg_catalog.text, `+versions)
	if as != "" {
		p.Return()
	}
}

// explainMissing says why there was no version table to read: the tenant is
// gone, its schema is, or the schema was never managed.
func explainMissing(ctx context.Context, conn *pgx.Conn, reg registry.Registry, t registry.Tenant) error {
	type state struct{ Alive, Schema, Dirty bool }
	found, err := db.Select(ctx, conn, pgx.RowToStructByName[state], `select
		exists (select from `+reg.Tenants()+` where id = $1 and `+registry.MayMigrate("status")+`) as alive,
		exists (select from pg_catalog.pg_namespace where nspname = $2) as schema,
		pg_catalog.to_regclass($3) is not null as dirty`, t.ID, t.Schema.String(), reg.Dirty())
	switch {
	case reg.Missing(err), err == nil && !found[0].Dirty:
		return registry.ErrOldRegistry
	case err != nil:
		return err
	case !found[0].Alive:
		return ErrGone
	case !found[0].Schema:
		return fmt.Errorf("%w: %s", db.ErrWrongSchema, t.Schema)
	}
	return fmt.Errorf("%w: %s", ErrNotManaged, t.Schema)
}

// isAlive reports whether the registry has a tenant, $1, in a schema, $2, that may be migrated.
func isAlive(reg registry.Registry) string {
	return `exists (select from ` + reg.Tenants() + ` where id operator(pg_catalog.=) $1
			and schema_name operator(pg_catalog.=) $2 and ` + registry.MayMigrate("status") + `)`
}

// cachedVersion is the version that the registry has of a tenant, $1.
func cachedVersion(reg registry.Registry) string {
	return `coalesce((select schema_version from ` + reg.Tenants() + ` where id operator(pg_catalog.=) $1), 0)`
}
