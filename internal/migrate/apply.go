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
// two round trips and a commit: begin, check and read the versions; then every
// pending statement, the version rows and the registry's cache.
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

// open begins the tenant's transaction and reads which versions it has.
func (p *Plan) open(ctx context.Context, conn *pgx.Conn, t Tenant, o ApplyOptions) ([]int64, error) {
	var (
		applied []int64
		alive   bool
		open    db.Pipeline
	)
	open.Begin(db.Locals{Schema: t.Schema, LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout, AsyncCommit: o.AsyncCommit})
	open.CheckSchema(t.Schema)
	open.TryLock(t.Schema)
	open.QueryRow([]any{&alive}, `select exists (select from public.tenants where id = $1 and schema_name = $2 and status <> 'deleted')`,
		t.ID, t.Schema.String())
	open.Query(func(rows pgx.Rows) (err error) {
		applied, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	}, tenantVersions.selectApplied())
	err := open.Run(ctx, conn)
	switch {
	case db.SQLState(err) == db.CodeUndefinedTable && alive:
		return nil, fmt.Errorf("%w: %s", ErrNotManaged, t.Schema)
	case err != nil:
		return nil, err
	case !alive:
		return nil, ErrGone
	}
	return applied, nil
}

// queue adds migrations and their version rows. The server itself asserts
// between the two that no statement has left the schema: the rows would land in
// another one's table.
func (v versionTable) queue(p *db.Pipeline, schema db.Schema, migrations []*Migration) {
	for _, m := range migrations {
		p.Script(m.Up)
	}
	p.AssertSchema(schema)
	for _, m := range migrations {
		p.Script([]db.Statement{v.row(m.Version)})
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
