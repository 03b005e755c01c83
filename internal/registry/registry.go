package registry

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/jackc/pgx/v5"
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

// Place returns the name of the schema as SQL wants it.
func (r Registry) Place() string {
	if r.schema.IsZero() {
		return "public"
	}
	return r.schema.Quoted()
}

// table returns the qualified name of a table.
func (r Registry) table(name string) string { return r.Place() + "." + name }

// The names of the tables.
const (
	tenants     = "tenants"
	events      = "tenant_events"
	runs        = "migration_runs"
	runTenants  = "migration_run_tenants"
	files       = "migration_files"
	dirty       = "tenant_dirty"
	samples     = "tenant_size_samples"
	shapes      = "tenant_shapes"
	pool        = "tenant_pool"
	builds      = "tenant_builds"
	imports     = "tenant_imports"
	sources     = "migration_sources"
	importParts = "tenant_import_parts"
	accepted    = "tenant_accepted"
	catalogs    = "tenant_catalog_samples"
	erasures    = "tenant_erasures"
	transfers   = "tenant_transfers"
)

// Tables returns the bare names of the tables, in the order in which the migrations make
// them: one that refers to another comes behind it.
func Tables() []string {
	return []string{tenants, events, runs, runTenants, samples, files, dirty, shapes, pool, builds, sources, imports,
		importParts, accepted, catalogs, erasures, transfers}
}

// SavedTables returns those of Tables that a backup of the registry holds. What can be made
// again at any time, the schemas of the pool, or under construction, that only this database
// has, and the size of its catalogs stay out; so do the imports, which go with the backup of
// each tenant, since only beside its data they can be taken back. A final shape is SQL, which no file
// may bring.
func SavedTables() []string {
	return []string{tenants, events, runs, runTenants, samples, files, dirty, sources, accepted, erasures, transfers}
}

// EventsTable is the bare name of the audit's table.
const EventsTable = events

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

// Sources are the other programs that migrated tenants before.
func (r Registry) Sources() string { return r.table(sources) }

// Imports are the files that were imported, ImportParts the transactions of each.
func (r Registry) Imports() string { return r.table(imports) }

// ImportParts is described at Imports.
func (r Registry) ImportParts() string { return r.table(importParts) }

// Accepted are differences of tenants from their migrations that are wanted.
func (r Registry) Accepted() string { return r.table(accepted) }

// CatalogSamples are what the tenants took of the system catalogs over time.
func (r Registry) CatalogSamples() string { return r.table(catalogs) }

// Erasures are the persons whose data was erased.
func (r Registry) Erasures() string { return r.table(erasures) }

// Transfers are the last moves of tenants to other registries, and from there.
func (r Registry) Transfers() string { return r.table(transfers) }

// Row returns the row of a tenant, by its id: its lock is the tenant's.
func (r Registry) Row(id string) db.Row { return db.Row{Table: r.Tenants(), ID: id} }

// Missing reports whether err says that a table of the registry is not there: a
// statement of this program named it. A relation that a migration misses, or a function
// of the tenant's, is no such thing.
func (r Registry) Missing(err error) bool {
	for _, name := range Tables() {
		if r.missing(err, name) {
			return true
		}
	}
	return false
}

// RefusesPool reports whether the server refused something about the table of the pool:
// it is not there, or this role may not use it.
func (r Registry) RefusesPool(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == db.CodeInsufficientPrivilege && strings.Contains(pgErr.Message, pool) ||
		r.missing(err, pool)
}

// Taken reports whether err says that another tenant has a name, a schema, a role or an
// id already.
func (r Registry) Taken(err error) bool { return r.taken(err, tenants) }

// TakenPooled reports whether err says that the pool has a schema already.
func (r Registry) TakenPooled(err error) bool { return r.taken(err, pool) }

func (r Registry) taken(err error, table string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == db.CodeUniqueViolation && pgErr.TableName == table &&
		pgErr.SchemaName == r.Schema().String()
}

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

// NoSchema reports whether the schema of the registry is to be made first. The schema
// public is the database's.
func (r Registry) NoSchema(ctx context.Context, q db.Querier) (bool, error) {
	if r.schema.IsZero() {
		return false, nil
	}
	missing, err := db.Select(ctx, q, pgx.RowTo[bool], `select to_regnamespace($1) is null`, r.Place())
	if err != nil {
		return false, fmt.Errorf("look for schema %s: %w", r.Place(), err)
	}
	return missing[0], nil
}

// QueueSchema makes the schema of the registry, with the rights that the schema public
// has: everybody may name what is in it, and nobody but its owner create there.
func (r Registry) QueueSchema(p *db.Pipeline) {
	p.Exec("create schema " + r.Place())
	p.Exec("grant usage on schema " + r.Place() + " to public")
	p.Exec("comment on schema " + r.Place() + " is 'The registry of crmctl.'")
}

// RunLock returns the first half of the advisory lock that a fleet run of this registry
// holds while it lives; its id is the second. In the schema public it is "crmc" in ASCII.
// Several registries of a database have runs of the same ids.
func (r Registry) RunLock() int32 {
	const crmc = 0x63726d63
	if r.schema.IsZero() {
		return crmc
	}
	return int32(uint64(r.Key("runs")) & math.MaxInt32) // 31 bits
}
