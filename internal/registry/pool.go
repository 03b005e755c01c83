package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// PoolSchema is a schema that is ready for a new tenant, or was.
type PoolSchema struct {
	Schema  db.Schema
	Version int64
	MadeAt  time.Time
	// Ready tells that it is what a new tenant would be made of now. Otherwise the
	// migrations, or what they depend on, have changed since, or it is gone.
	Ready bool
}

// ListPool returns the schemas of the pool, the oldest first. key is that of what a new
// tenant would be made of.
func (r Registry) ListPool(ctx context.Context, q db.Querier, key string) ([]PoolSchema, error) {
	found, err := db.Select(ctx, q, func(row pgx.CollectableRow) (s PoolSchema, err error) {
		var name string
		if err := row.Scan(&name, &s.Version, &s.MadeAt, &s.Ready); err != nil {
			return s, err
		}
		s.Schema, err = db.RegisteredSchema(name)
		return s, err
	}, `select schema_name, version, made_at,
			key = $1 and exists (select from pg_namespace where nspname = schema_name)
		from `+r.Pool()+` order by made_at, schema_name collate "C"`, key)
	if err != nil {
		return nil, fmt.Errorf("read the pool: %w", r.ExplainPool(err))
	}
	return found, nil
}

// ExplainPool returns ErrOldRegistry where the registry has no pool yet, and otherwise
// err.
func (r Registry) ExplainPool(err error) error {
	if r.Missing(err) {
		return ErrOldRegistry
	}
	return err
}

// QueuePooled adds the row of a schema of the pool.
func (r Registry) QueuePooled(p *db.Pipeline, schema db.Schema, key string, version int64) {
	p.Exec(`insert into `+r.Pool()+` (schema_name, key, version) values ($1, $2, $3)`, schema.String(), key, version)
}

// DropPooled takes a schema out of the pool, within the caller's transaction, unless
// somebody else is taking it or has done so; it reports whether that was done.
func (r Registry) DropPooled(ctx context.Context, q db.Querier, schema db.Schema) (bool, error) {
	rows, err := db.Select(ctx, q, pgx.RowTo[string], `delete from `+r.Pool()+` where schema_name = (
		select schema_name from `+r.Pool()+` where schema_name = $1 for update skip locked) returning schema_name`,
		schema.String())
	return len(rows) > 0, err
}

// SpoilPooled sees to it that nobody takes a schema from the pool, where it is still
// there, within the caller's transaction: it counts as out of date from then on. It
// reports false where somebody else has it.
func (r Registry) SpoilPooled(ctx context.Context, q db.Querier, schema db.Schema) (bool, error) {
	rows, err := db.Select(ctx, q, pgx.RowTo[string], `update `+r.Pool()+` set key = '' where schema_name = (
		select schema_name from `+r.Pool()+` where schema_name = $1 for update skip locked) returning schema_name`,
		schema.String())
	return len(rows) > 0, err
}

// QueueTakePooled adds the end of a schema's time in the pool, within the caller's
// transaction, and puts the schema's name into name. "" means that there is none.
func (r Registry) QueueTakePooled(p *db.Pipeline, key string, name *string) {
	p.Query(func(rows pgx.Rows) error {
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if len(names) > 0 {
			*name = names[0]
		}
		return err
	}, `delete from `+r.Pool()+` where schema_name operator(pg_catalog.=) (
			select schema_name from `+r.Pool()+`
			where key operator(pg_catalog.=) $1 and exists (select from pg_catalog.pg_namespace
				where nspname operator(pg_catalog.=) schema_name)
			order by made_at limit 1 for update skip locked)
		returning schema_name`, key)
}
