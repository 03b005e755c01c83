package owner

import "github.com/crmctl/crmctl/internal/db"

// withPath adds statements of ours that do not name everything in full to a transaction
// that stands in a tenant's schema.
func withPath(p *db.Pipeline, add func()) {
	p.Exec(`select pg_catalog.set_config('crmctl.kept_path', pg_catalog.current_setting('search_path'), true)`)
	p.Exec(`select pg_catalog.set_config('search_path', '` + db.OwnPath + `', true)`)
	add()
	p.Exec(`select pg_catalog.set_config('search_path', pg_catalog.current_setting('crmctl.kept_path'), true)`)
}

// QueueFind asks, within a transaction that has begun, as which role the work in a schema is
// done, "" for the session's own: what Read says, in the same round trip. Take takes it. The
// work may want temporary tables: a role that may make none is taken only where there is no
// other way.
func QueueFind(p *db.Pipeline, s db.Schema, role *string) {
	withPath(p, func() {
		p.QueryRow([]any{role}, `select set_config('crmctl.owner', coalesce((
			select r.role from (`+rolesSQL+`) r (schema, role, versions, inherits)
			where not r.inherits or has_database_privilege(r.role::name, current_database(), 'temporary')), ''), true)`,
			[]string{s.String()})
	})
}

// QueueTake adds that what follows is done as the role that QueueFind has found, until
// Return.
func QueueTake(p *db.Pipeline) {
	p.Exec(`select pg_catalog.set_config('role', pg_catalog.current_setting('crmctl.owner'), true)
		where pg_catalog.current_setting('crmctl.owner') operator(pg_catalog.<>) ''`)
}

// Entering returns what to do before a transaction looks whether it stands in a schema: it
// finds the role, and takes it.
func Entering(s db.Schema, role *string) func(p *db.Pipeline) {
	return func(p *db.Pipeline) {
		QueueFind(p, s, role)
		QueueTake(p)
	}
}

// Reader returns an expression: the role as which a table is read, "" for the session's own,
// where that may read it or may not take its owner's. table, tableOwner and schema are
// expressions of the catalog's, of which table may be null.
func Reader(table, tableOwner, schema string) string {
	return `case when ` + table + ` is null or pg_catalog.has_schema_privilege(` + schema + `, 'usage')
			and pg_catalog.has_table_privilege(` + table + `, 'select')
			or not pg_catalog.pg_has_role(session_user, ` + tableOwner + `, ` + memberSQL + `)
		then '' else pg_catalog.pg_get_userbyid(` + tableOwner + `)::pg_catalog.text end`
}

// memberSQL is how a session can take a role, for any path: a membership may exclude it
// since 16.
const memberSQL = `(case when pg_catalog.current_setting('server_version_num')::pg_catalog.int4
	operator(pg_catalog.>=) 160000 then 'set' else 'member' end)`

// QueueSight adds that what follows is done as a role that sees the schemas of these names,
// where the session's own role does not and may take their owner's: the server prints a
// definition by what can be seen. Only catalogs are to be read meanwhile. It fails with
// SQLSTATE 22012 where no one role sees them all; QueueBack ends it.
func QueueSight(p *db.Pipeline, schemas []string) {
	withPath(p, func() {
		p.Exec(`select set_config('crmctl.kept_role', current_setting('role'), true)`)
		p.Exec(`with wanted as materialized (
				select n.oid, n.nspowner from pg_namespace n where n.nspname = any ($1::text[]::name[])
			), unseen as materialized (
				select distinct w.nspowner from wanted w where not has_schema_privilege(w.oid, 'usage')
					and pg_has_role(session_user, w.nspowner, `+memberSQL+`)
			)
			select set_config('role', pg_get_userbyid(u.nspowner), true),
				1 / (not exists (select from wanted w where w.nspowner <> u.nspowner
					and not has_schema_privilege(u.nspowner, w.oid, 'usage')
					and (has_schema_privilege(w.oid, 'usage') or pg_has_role(session_user, w.nspowner, `+memberSQL+`))))::int4
			from unseen u`, schemas)
	})
}

// QueueBack ends QueueSight.
func QueueBack(p *db.Pipeline) {
	p.Exec(`select pg_catalog.set_config('role', pg_catalog.current_setting('crmctl.kept_role'), true)`)
}
