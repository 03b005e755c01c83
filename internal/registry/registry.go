package registry

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
)

// Registry says where crmctl's own tables stand: in a schema. The zero Registry stands
// in the schema public.
type Registry struct {
	schema db.Schema
}

// In returns the registry that stands in a schema.
func In(schema db.Schema) Registry {
	if schema == db.Public {
		return Registry{}
	}
	return Registry{schema: schema}
}

// Default returns the registry that stands in the schema public.
func Default() Registry { return Registry{} }

// Schema returns where the registry stands.
func (r Registry) Schema() db.Schema {
	if r.schema.IsZero() {
		return db.Public
	}
	return r.schema
}

// table returns the qualified name of a table.
func (r Registry) table(name string) string {
	if r.schema.IsZero() {
		return "public." + name
	}
	return r.schema.Quoted() + "." + name
}

// The names of the tables.
const (
	tenants    = "tenants"
	events     = "tenant_events"
	runs       = "migration_runs"
	runTenants = "migration_run_tenants"
	files      = "migration_files"
	dirty      = "tenant_dirty"
	samples    = "tenant_size_samples"
	shapes     = "tenant_shapes"
	pool       = "tenant_pool"
	builds     = "tenant_builds"
)

// Tenants returns the name of the table of the tenants, qualified and quoted as SQL
// wants it; so do the others.
func (r Registry) Tenants() string { return r.table(tenants) }

// Events is the audit.
func (r Registry) Events() string { return r.table(events) }

// Runs is the ledger of fleet runs, RunTenants what became of each tenant of one.
func (r Registry) Runs() string { return r.table(runs) }

// RunTenants is described at Runs.
func (r Registry) RunTenants() string { return r.table(runTenants) }

// Files are the tenant migrations that were applied, as they were then.
func (r Registry) Files() string { return r.table(files) }

// Dirty are the tenants in the middle of a migration without a transaction.
func (r Registry) Dirty() string { return r.table(dirty) }

// Samples are the sizes of tenants over time.
func (r Registry) Samples() string { return r.table(samples) }

// Shapes are the scripts that make the final shape of a history.
func (r Registry) Shapes() string { return r.table(shapes) }

// Pool are the schemas that are ready for new tenants.
func (r Registry) Pool() string { return r.table(pool) }

// Builds are the schemas under construction.
func (r Registry) Builds() string { return r.table(builds) }

// Row returns the row of a tenant, by its id: its lock is the tenant's.
func (r Registry) Row(id string) db.Row { return db.Row{Table: r.Tenants(), ID: id} }

// Missing reports whether err says that a table of the registry is not there: a
// statement of this program named it. A relation that a migration misses, or a function
// of the tenant's, is no such thing.
func (r Registry) Missing(err error) bool {
	for _, name := range []string{tenants, events, runs, runTenants, files, dirty, samples, shapes, pool} {
		if r.missing(err, name) {
			return true
		}
	}
	return false
}

// MissingPool reports whether err says that the table of the pool is not there.
func (r Registry) MissingPool(err error) bool { return r.missing(err, pool) }

func (r Registry) missing(err error, table string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pgErr.Code != db.CodeUndefinedTable || pgErr.Where != "" {
		return false
	}
	if statement, ok := errors.AsType[*db.StatementError](err); ok && statement.Statement.File != "" {
		return false
	}
	// The text is translated; the name in it is not.
	return strings.Contains(pgErr.Message, r.Schema().String()+"."+table)
}
