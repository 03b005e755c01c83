package staging

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/dropping"
	"github.com/crmctl/crmctl/internal/registry"
)

// row is a schema under construction, whose lock was to be had.
type row struct {
	ID     string
	Same   bool // the schema is the one that was made for it
	Tenant bool // it is a tenant's
}

// drops reports whether the schema goes with the row.
func (r row) drops() bool { return r.Same && !r.Tenant }

// Clear drops a schema whose builder is dead, along with its row. It reports false where
// there is no such row; the error is ErrBuilding where its builder is at work.
func Clear(ctx context.Context, conn *pgx.Conn, reg registry.Registry, schema db.Schema,
	wait time.Duration) (bool, error) {
	return clearID(ctx, conn, reg, schema, "", wait)
}

// clearID clears the row of an id, any for "". A schema that does not fit into the
// server's lock table is emptied before, in several transactions, none of which ends the
// row.
func clearID(ctx context.Context, conn *pgx.Conn, reg registry.Registry, schema db.Schema, id string,
	wait time.Duration) (cleared bool, _ error) {
	whole := func(p *db.Pipeline, found row) {
		if found.drops() {
			p.Exec("drop schema " + schema.Quoted() + " cascade")
		}
		reg.QueueClearBuild(p, found.ID)
	}
	cleared, err := owned(ctx, conn, reg, schema, id, wait, whole)
	if db.SQLState(err) != db.CodeOutOfMemory {
		return cleared, err
	}
	err = dropping.InBatches(ctx, conn, schema, nil, func(batch []dropping.Object) error {
		dropped := false
		_, err := owned(ctx, conn, reg, schema, id, wait, func(p *db.Pipeline, found row) {
			if dropped = found.drops(); dropped {
				dropping.Queue(p, batch)
			}
		})
		if err == nil && !dropped {
			err = errCleared
		}
		return err
	})
	if err != nil && !errors.Is(err, errCleared) {
		return false, fmt.Errorf("drop the tables of schema %s: %w", schema, err)
	}
	return owned(ctx, conn, reg, schema, id, wait, whole)
}

// owned calls queue in a transaction that holds the row of a builder who is dead. It
// reports false where there is no such row; the error is ErrBuilding where the builder is
// at work.
func owned(ctx context.Context, conn *pgx.Conn, reg registry.Registry, schema db.Schema, id string, wait time.Duration,
	queue func(p *db.Pipeline, found row),
) (is bool, _ error) {
	err := db.InTx(ctx, conn, db.Locals{LockTimeout: wait, Follow: true}, func(ctx context.Context, q db.Querier) error {
		var rows []row
		there := false
		var p db.Pipeline
		p.Query(func(found pgx.Rows) (err error) {
			rows, err = pgx.CollectRows(found, pgx.RowToStructByName[row])
			return err
		}, `select b.id::text,
				exists (select from pg_namespace n where n.nspname = b.schema_name::name and n.oid = b.schema_oid) as same,
				exists (select from `+reg.Tenants()+` t where t.schema_name = b.schema_name) as tenant
			from `+reg.Builds()+` b where b.schema_name = $1 and ($2 = '' or b.id::text = $2) for update of b skip locked`,
			schema.String(), id)
		p.QueryRow([]any{&there}, `select exists (select from `+reg.Builds()+
			` where schema_name = $1 and ($2 = '' or id::text = $2))`, schema.String(), id)
		if err := p.Run(ctx, q); err != nil {
			return db.Plain(err)
		}
		if len(rows) == 0 {
			if there {
				return fmt.Errorf("schema %s: %w", schema, ErrBuilding)
			}
			return nil
		}
		is = true
		p = db.Pipeline{}
		queue(&p, rows[0])
		return db.Plain(p.Run(ctx, q))
	})
	return is && err == nil, err
}

// sweep clears away what others have left who are dead for sure.
func sweep(ctx context.Context, conn *pgx.Conn, reg registry.Registry, wait time.Duration) error {
	old, err := dead(ctx, conn, reg, young)
	if err != nil {
		return err
	}
	for _, schema := range old {
		// The next one tries again.
		if _, err := Clear(ctx, conn, reg, schema, wait); err != nil && !db.Retryable(err) {
			return fmt.Errorf("clear away schema %s, which a killed run has left: %w", schema, err)
		}
	}
	return nil
}

// dead returns the schemas of builders that are dead, begun that long ago.
func dead(ctx context.Context, conn *pgx.Conn, reg registry.Registry, ago time.Duration) (out []db.Schema, _ error) {
	names, err := db.Select(ctx, conn, pgx.RowTo[string],
		`select schema_name from `+reg.Builds()+` where started_at < now() - $1 * interval '1 second' for update skip locked`,
		ago.Seconds())
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if schema, err := db.RegisteredSchema(name); err == nil {
			out = append(out, schema)
		}
	}
	return out, nil
}

// Left is a schema that stands under construction.
type Left struct {
	Schema  string
	Slug    string
	Actor   string
	Started time.Time
	// Dead tells that its builder is; Unknown that this session may not find out.
	Dead, Unknown bool
}

// List returns the schemas under construction, of a registry that has none for an older
// one.
func List(ctx context.Context, conn *pgx.Conn, reg registry.Registry) ([]Left, error) {
	type state struct{ There, Able bool }
	found, err := db.Select(ctx, conn, pgx.RowToStructByName[state],
		`select c is not null as there, coalesce(pg_catalog.has_table_privilege(c, 'update'), false)
			and not pg_catalog.pg_is_in_recovery() and pg_catalog.current_setting('transaction_read_only') = 'off' as able
		from (select pg_catalog.to_regclass($1)::oid as c) t`, reg.Builds())
	if err != nil || !found[0].There {
		return nil, err
	}
	able := found[0].Able
	list, err := db.Select(ctx, conn, pgx.RowToStructByName[Left],
		`select schema_name as schema, slug, actor, started_at as started, false as dead, false as unknown from `+
			reg.Builds()+` order by started_at`)
	if err != nil || len(list) == 0 {
		return list, err
	}
	var free []db.Schema
	if able {
		if free, err = dead(ctx, conn, reg, 0); err != nil {
			return nil, err
		}
	}
	for i := range list {
		list[i].Unknown = !able
		for _, s := range free {
			list[i].Dead = list[i].Dead || s.String() == list[i].Schema
		}
	}
	return list, nil
}
