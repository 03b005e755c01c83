package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Errors of applying a plan to a tenant.
var (
	// ErrNotManaged says that a schema has no goose_db_version table, so nobody
	// can tell what was applied to it.
	ErrNotManaged = errors.New("schema has no goose_db_version table")
	// ErrGone says that the registry no longer has the tenant, or has it as
	// deleted.
	ErrGone = errors.New("tenant was deleted meanwhile")
)

// Tenant is what a run needs to know of one: its key in the registry, its
// schema, and the version the registry has cached.
type Tenant struct {
	ID      string // uuid
	Slug    string
	Schema  db.Schema
	Version int64
}

// Change is what a migration did to one schema.
type Change struct {
	From, To int64
	Applied  []*Migration
}

// ApplyOptions are the limits of one tenant's transaction.
type ApplyOptions struct {
	LockTimeout      time.Duration // wait for each lock
	StatementTimeout time.Duration // run of each statement, 0 = the server's
	AsyncCommit      bool          // the caller flushes later
}

// Apply brings a tenant's schema to the head of the plan in one transaction of
// two round trips: begin, lock and read the versions; then every pending
// statement, the version rows, the registry's cache and the commit.
//
// The advisory lock of the schema is tried, never waited for: db.ErrBusy is
// worth another try, as is every error that db.Retryable knows. After an error
// nothing of the tenant has changed, unless the connection was lost during the
// commit; another Apply then finds out.
func (p *Plan) Apply(ctx context.Context, conn *pgx.Conn, t Tenant, o ApplyOptions) (Change, error) {
	applied, err := p.open(ctx, conn, t, o)
	if err != nil {
		return Change{}, errors.Join(err, db.Rollback(ctx, conn))
	}
	change, err := p.change(applied)
	if err != nil {
		return Change{}, errors.Join(err, db.Rollback(ctx, conn))
	}
	if len(change.Applied) == 0 && change.To == t.Version {
		return change, db.Rollback(ctx, conn)
	}
	var run db.Pipeline
	tenantVersions.queue(&run, t.Schema, change.Applied)
	run.Exec(`update public.tenants set schema_version = $2, updated_at = pg_catalog.now() where id = $1`, t.ID, change.To)
	run.Exec("commit")
	if err := run.Run(ctx, conn); err != nil {
		return Change{}, errors.Join(err, db.Rollback(ctx, conn))
	}
	return change, nil
}

// open begins the tenant's transaction, takes its lock and reads, in a statement
// that begins after the lock is held, which versions it has.
func (p *Plan) open(ctx context.Context, conn *pgx.Conn, t Tenant, o ApplyOptions) ([]int64, error) {
	var (
		applied []int64
		current *string
		alive   bool
		open    db.Pipeline
	)
	open.Begin(db.Locals{
		Schema: t.Schema, Lock: true, LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout, AsyncCommit: o.AsyncCommit,
	})
	open.QueryRow([]any{&current, &alive, &applied}, `select pg_catalog.current_schema()::text,
		exists (select from public.tenants where id = $1 and schema_name = $2 and status <> 'deleted'),
		array(`+tenantVersions.selectApplied()+`)`, t.ID, t.Schema.String())
	err := open.Run(ctx, conn)
	switch {
	case db.SQLState(err) == db.CodeUndefinedTable:
		return nil, errors.Join(db.Rollback(ctx, conn), p.explainMissing(ctx, conn, t))
	case err != nil:
		return nil, err
	case !alive:
		return nil, ErrGone
	case current == nil || *current != t.Schema.String():
		return nil, fmt.Errorf("%w: %s", db.ErrWrongSchema, t.Schema)
	}
	return applied, nil
}

// explainMissing says why there was no version table to read: the tenant is
// gone, its schema is, or the schema was never managed.
func (p *Plan) explainMissing(ctx context.Context, conn *pgx.Conn, t Tenant) error {
	type state struct{ Alive, Schema bool }
	found, err := db.Select(ctx, conn, pgx.RowToStructByPos[state], `select
		exists (select from public.tenants where id = $1 and status <> 'deleted'),
		exists (select from pg_catalog.pg_namespace where nspname = $2)`, t.ID, t.Schema.String())
	switch {
	case err != nil:
		return err
	case !found[0].Alive:
		return ErrGone
	case !found[0].Schema:
		return fmt.Errorf("%w: %s", db.ErrWrongSchema, t.Schema)
	}
	return fmt.Errorf("%w: %s", ErrNotManaged, t.Schema)
}

// queue adds migrations and their version rows. The rows assert, on the server
// and before the commit, that no statement has left the schema: dividing by zero
// is the shortest way to an error in plain SQL.
func (v versionTable) queue(p *db.Pipeline, schema db.Schema, migrations []*Migration) {
	for _, m := range migrations {
		p.Script(m.Up)
	}
	for _, m := range migrations {
		p.Query(func(rows pgx.Rows) error {
			rows.Close()
			switch db.SQLState(rows.Err()) {
			case db.CodeDivisionByZero, db.CodeUndefinedTable:
				return fmt.Errorf("%w: a migration left %s", db.ErrWrongSchema, schema)
			}
			return rows.Err()
		}, `insert into `+string(v)+` (version_id, is_applied)
			values ($1::pg_catalog.int8 operator(pg_catalog./) (pg_catalog.current_schema()::pg_catalog.text operator(pg_catalog.=) $2)::pg_catalog.int4, true)`,
			m.Version, schema.String())
	}
}

// change says what a schema with the given applied versions lacks.
func (p *Plan) change(applied []int64) (Change, error) {
	current := int64(0)
	for _, v := range applied {
		current = max(current, v)
	}
	if current > p.Head() {
		return Change{From: current, To: current}, nil
	}
	pending, err := p.Pending(applied)
	if err != nil {
		return Change{}, err
	}
	for _, m := range pending {
		if !m.Transactional {
			return Change{}, &NoTransactionError{Migration: m}
		}
	}
	c := Change{From: current, To: current, Applied: pending}
	if len(pending) > 0 {
		c.To = pending[len(pending)-1].Version
	}
	return c, nil
}
