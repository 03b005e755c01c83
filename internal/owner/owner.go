// Package owner finds out as which role the work in a tenant's schema is to be done.
//
// Where the tables of an application belong to a role of its own, a table that a
// migration makes as another role is one that the application cannot use. So the work
// is done as the owner of what is there, where the session is a member of that role and
// may take it. That keeps nobody's code out: what runs as the owner can go back to the
// session's role, so planted code is looked for all the same, and before.
package owner

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Role says as whom the work in a schema is done.
type Role struct {
	Work     string // "" for the session's own role
	Versions string // for goose_db_version, which may be another's
	// Inherits tells that the session's own role may do what Work may.
	Inherits bool
}

// Reads returns as whom the tables are read, "" for the session's own role: that is left
// where it has not the rights.
func (r Role) Reads() string {
	if r.Inherits {
		return ""
	}
	return r.Work
}

// Roles are those of many schemas, by name. The zero Roles are the session's own
// everywhere. They may be read by several goroutines.
type Roles map[string]Role

// Of returns the role for a schema.
func (r Roles) Of(s db.Schema) Role { return r[s.String()] }

// rolesSQL returns the schemas of $1 in which the work is another role's: that of all
// relations there, if they have one owner and it may create in the schema, else that of
// the schema. Where that could not change what others own there, and the session's role
// can, the work stays with the session's.
const rolesSQL = `
	with me as materialized (
		select r.oid from pg_roles r where r.rolname = current_user
	), wanted as materialized (
		select n.oid, n.nspname, n.nspowner from pg_namespace n where n.nspname = any ($1::text[]::name[])
	), foreign_one as materialized (
		select w.* from wanted w where w.nspowner <> (select m.oid from me m) or w.oid in (
			select c.relnamespace from pg_class c where c.relowner <> (select m.oid from me m))
	), object as materialized (
		select f.oid as nsp, c.relowner as owner, c.relkind in ('r', 'p') as is_table from foreign_one f
		join pg_depend d on d.refclassid = 'pg_namespace'::regclass and d.refobjid = f.oid
			and d.classid = 'pg_class'::regclass
		join pg_class c on c.oid = d.objid and c.relname not in ('goose_db_version', 'goose_db_version_id_seq')
			and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
		union all
		select f.oid, p.proowner, false from foreign_one f
		join pg_depend d on d.refclassid = 'pg_namespace'::regclass and d.refobjid = f.oid and d.classid = 'pg_proc'::regclass
		join pg_proc p on p.oid = d.objid
		union all
		select f.oid, t.typowner, false from foreign_one f
		join pg_depend d on d.refclassid = 'pg_namespace'::regclass and d.refobjid = f.oid and d.classid = 'pg_type'::regclass
		join pg_type t on t.oid = d.objid and t.typrelid = 0 and t.typelem = 0
	), choice as (
		select f.*, coalesce((select min(o.owner) from object o where o.nsp = f.oid and o.is_table
			having min(o.owner) = max(o.owner) and has_schema_privilege(min(o.owner), f.oid, 'create')), f.nspowner) as role
		from foreign_one f
	)
	select c.nspname::text, pg_get_userbyid(c.role)::text, coalesce((
			select has_table_privilege(c.role, v.oid, 'insert') and (has_table_privilege(c.role, v.oid, 'delete')
				or not has_table_privilege(v.oid, 'delete')) from pg_class v
			where v.relnamespace = c.oid and v.relname = 'goose_db_version'), true),
		pg_has_role(c.role, 'usage')
	from choice c
	where c.role <> (select m.oid from me m) and pg_has_role(session_user, c.role, ` + memberSQL + `)
		and not (pg_has_role(c.role, 'usage') and exists (
			select from object o where o.nsp = c.oid and not pg_has_role(c.role, o.owner, 'usage')))`

// Read returns the roles for schemas, in one round trip. Most fleets belong to the
// session's role, and the statement looks no further than at who owns what.
func Read(ctx context.Context, q db.Querier, schemas []db.Schema) (Roles, error) {
	names := make([]string, len(schemas))
	for i, s := range schemas {
		names[i] = s.String()
	}
	type row struct {
		Schema, Role       string
		Versions, Inherits bool
	}
	rows, err := db.Select(ctx, q, pgx.RowToStructByPos[row], rolesSQL, names)
	if err != nil {
		return nil, fmt.Errorf("read who owns the schemas: %w", err)
	}
	out := make(Roles, len(rows))
	for _, r := range rows {
		role := Role{Work: r.Role, Inherits: r.Inherits}
		if r.Versions {
			role.Versions = r.Role
		}
		out[r.Schema] = role
	}
	return out, nil
}

// Standing is how the session stands to a role.
type Standing struct {
	Me     string // the session's own role
	Exists bool   // there is such a role
	Takes  bool   // the session may take it
}

// Stand returns how the session stands to a role.
func Stand(ctx context.Context, q db.Querier, role string) (Standing, error) {
	found, err := db.Select(ctx, q, pgx.RowToStructByPos[Standing], `select current_user::text,
		exists (select from pg_roles r where r.rolname = $1::text::name),
		coalesce((select pg_has_role(session_user, r.oid, `+memberSQL+`) from pg_roles r
			where r.rolname = $1::text::name), false)`, role)
	if err != nil {
		return Standing{}, fmt.Errorf("look at role %q: %w", role, err)
	}
	return found[0], nil
}

// QueueRights adds to a transaction that what follows, until Return, is done as the owner of
// a schema, where the session's role has not the rights of that role, and may take it: a
// membership need not bring them along. Elsewhere it adds nothing but the question.
func QueueRights(p *db.Pipeline, s db.Schema) {
	p.Exec(`select pg_catalog.set_config('role', r.rolname::pg_catalog.text, true)
		from pg_catalog.pg_namespace n join pg_catalog.pg_roles r on r.oid operator(pg_catalog.=) n.nspowner
		where n.nspname operator(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name
			and not pg_catalog.pg_has_role(n.nspowner, 'usage') and pg_catalog.pg_has_role(session_user, n.nspowner,
				`+memberSQL+`)`, s.String())
}
