package registry

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// DirtyMark is a file without a transaction that a tenant is in the middle of.
type DirtyMark struct {
	Version    int64
	File       string
	Checksum   string
	Down       bool
	Statements int
}

// MarkDirty records that a file is begun on a tenant.
func (r Registry) MarkDirty(ctx context.Context, q db.Querier, tenantID string, m DirtyMark) error {
	_, err := db.Exec(ctx, q, `insert into `+r.Dirty()+
		` (tenant_id, version, file, checksum, down, statements) values ($1, $2, $3, $4, $5, $6)`,
		tenantID, m.Version, m.File, m.Checksum, m.Down, m.Statements)
	return err
}

// DirtyProgress records that the first statements of the file are done, and whether the
// next one runs.
func (r Registry) DirtyProgress(ctx context.Context, q db.Querier, tenantID string, done int, running bool) error {
	_, err := db.Exec(ctx, q, "update "+r.Dirty()+
		" set done = $2, running = $3, sqlstate = null, message = null where tenant_id = $1", tenantID, done, running)
	return err
}

// DirtyStopped records that no statement of the file runs.
func (r Registry) DirtyStopped(ctx context.Context, q db.Querier, tenantID string) error {
	_, err := db.Exec(ctx, q, "update "+r.Dirty()+" set running = false where tenant_id = $1", tenantID)
	return err
}

// ExplainDirty records what went wrong with the file.
func (r Registry) ExplainDirty(ctx context.Context, q db.Querier, tenantID, code, message string) error {
	_, err := db.Exec(ctx, q, "update "+r.Dirty()+
		" set sqlstate = $2, message = $3 where tenant_id = $1", tenantID, code, message)
	return err
}

// ClearDirty takes the mark of a tenant away.
func (r Registry) ClearDirty(ctx context.Context, q db.Querier, tenantID string) error {
	_, err := db.Exec(ctx, q, "delete from "+r.Dirty()+" where tenant_id = $1", tenantID)
	return err
}

// QueueClearDirty is ClearDirty in a pipeline.
func (r Registry) QueueClearDirty(p *db.Pipeline, tenantID string) {
	p.Exec("delete from "+r.Dirty()+" where tenant_id operator(pg_catalog.=) $1", tenantID)
}

// QueueRepairDirty says how many statements are done of a file that was looked at, and
// what the file is now.
func (r Registry) QueueRepairDirty(p *db.Pipeline, tenantID string, done int, checksum string) {
	p.Exec(`update `+r.Dirty()+` set done = $2, running = false, checksum = $3 where tenant_id = $1`, tenantID, done,
		checksum)
}

// QueueClearBuild takes away the row of a schema under construction.
func (r Registry) QueueClearBuild(p *db.Pipeline, id string) {
	p.Exec(`delete from `+r.Builds()+` where id = $1::uuid`, id)
}

// LockTenants keeps everybody from changing the list of tenants, to the end of the
// transaction.
func (r Registry) LockTenants(ctx context.Context, q db.Querier) error {
	_, err := q.Exec(ctx, r.lockTenants())
	return err
}

// QueueLockTenants is LockTenants in a pipeline.
func (r Registry) QueueLockTenants(p *db.Pipeline) { p.Exec(r.lockTenants()) }

func (r Registry) lockTenants() string {
	return "lock table " + r.Tenants() + " in share row exclusive mode"
}

// QueueReached writes the version that a tenant has reached. The statement divides by
// zero where the transaction stands in another schema than the tenant's, or the tenant may
// not be migrated: the shortest way to an error in plain SQL. checked tells that where it stands was
// looked at before. read gets the answer.
func (r Registry) QueueReached(p *db.Pipeline, t Tenant, version int64, checked bool,
	read func(pgx.Rows) error) {
	p.Query(read, `update `+r.Tenants()+` set schema_version = $2::pg_catalog.int8 operator(pg_catalog./) (
			($4 or pg_catalog.current_schema() operator(pg_catalog.=) $3::pg_catalog.text)
			and `+MayMigrate("status")+`)::pg_catalog.int4,
			updated_at = pg_catalog.now() where id operator(pg_catalog.=) $1`, t.ID, version, t.Schema.String(), checked)
}

// WithoutRole returns the statement that takes the role out of a tenant's row, for people
// to run.
func (r Registry) WithoutRole(tenantID string) string {
	return "update " + r.Tenants() + " set role_name = null where id = " + db.Literal(tenantID)
}
