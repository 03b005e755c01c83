package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// grantGap is what a tenant's role lacks, or has too much.
type grantGap struct {
	Slug        string
	NoRole      bool
	NoUsage     bool     // an active tenant's role cannot enter the schema
	Open        bool     // a suspended or deleted one's can
	Tables      []string // without all of select, insert, update and delete
	Sequences   []string // without usage, select and update
	NoTables    bool     // default privileges for tables that will be made
	NoSequences bool     // the same for sequences
	Owner       string   // of the schema
}

const (
	tableRights    = "select, insert, update, delete"
	sequenceRights = "usage, select, update"
)

func checkGrants(ctx context.Context, x *examination) ([]Finding, error) {
	gaps, err := db.Select(ctx, x.conn, pgx.RowToStructByName[grantGap], x.fleet.grantGaps()+`
		select * from gaps where no_role or no_usage or open or no_tables or no_sequences
			or cardinality(tables) + cardinality(sequences) > 0 order by slug`)
	var out []Finding
	for _, g := range gaps {
		t := x.tenantNamed(g.Slug)
		if t.Role == "" {
			continue // the role is somebody else's
		}
		f := Finding{Severity: Error, Subject: g.Slug, Tenant: g.Slug, What: g.text(t), Command: "crmctl doctor --fix " +
			string(Grants)}
		if g.NoRole {
			f.Command = "create role " + db.Quoted(t.Role) + " nologin; comment on role " + db.Quoted(t.Role) + " is " +
				db.Literal(db.RoleMark+t.ID) + ", then crmctl doctor --fix " + string(Grants)
		} else {
			f.fix = grant(t, x.fleet.grantGaps())
		}
		out = append(out, f)
	}
	for _, t := range x.fleet.Tenants {
		if t.ForeignRole != "" {
			out = append(out, Finding{Severity: Warning, Subject: t.Slug, Tenant: t.Slug,
				What: fmt.Sprintf("the registry names role %s, which was not made for this tenant: nothing is done with it",
					t.ForeignRole),
				Command: x.fleet.Registry.WithoutRole(t.ID)})
		}
	}
	return out, err
}

// grantGaps asks for the rights as the server would check them, so that a role
// that has them by another way lacks nothing.
func (f Fleet) grantGaps() string {
	return `
	with owned as (
		select s.*, r.oid as role from ` + f.tenantSchemas() + ` s left join pg_roles r on r.rolname = s.role_name::name
		where s.role_name is not null
	), relations as (
		select t.oid as schema,
			array_agg(c.relname::text order by c.relname) filter (where c.relkind <> 'S' and not (
				has_table_privilege(t.role, c.oid, 'select') and (c.relname = 'goose_db_version'
					or has_table_privilege(t.role, c.oid, 'insert')
				and has_table_privilege(t.role, c.oid, 'update') and has_table_privilege(t.role, c.oid, 'delete')))) as tables,
			array_agg(c.relname::text order by c.relname) filter (where c.relkind = 'S' and not (
				has_sequence_privilege(t.role, c.oid, 'usage') and has_sequence_privilege(t.role, c.oid, 'select')
					and has_sequence_privilege(t.role, c.oid, 'update'))) as sequences
		from owned t join pg_class c on c.relnamespace = t.oid and c.relkind in ('r', 'p', 'S')
			and c.relname <> '` + db.UndoTable + `'
		where t.role is not null and t.status <> 'deleted'
		group by t.oid
	), defaults as (
		select d.defaclnamespace as schema, d.defaclobjtype as kind, a.grantee, array_agg(lower(a.privilege_type)) as rights
		from pg_default_acl d join owned t on t.oid = d.defaclnamespace
			and d.defaclrole = t.nspowner, aclexplode(d.defaclacl) a
		group by 1, 2, 3
	), gaps as (
		select t.slug, t.role is null as no_role,
			t.role is not null and t.status = 'active' and not has_schema_privilege(t.role, t.oid, 'usage') as no_usage,
			t.role is not null and t.status <> 'active' and has_schema_privilege(t.role, t.oid, 'usage') as open,
			coalesce(l.tables, '{}') as tables, coalesce(l.sequences, '{}') as sequences,
			t.role is not null and t.status not in ('deleted', 'gone', 'leaving', 'incoming', 'moved') and not exists (
				select from defaults d where d.schema = t.oid and d.grantee = t.role and d.kind = 'r'
				and d.rights @> '{select,insert,update,delete}') as no_tables,
			t.role is not null and t.status not in ('deleted', 'gone', 'leaving', 'incoming', 'moved') and not exists (
				select from defaults d where d.schema = t.oid and d.grantee = t.role and d.kind = 'S'
				and d.rights @> '{usage,select,update}') as no_sequences,
			pg_get_userbyid(t.nspowner)::text as owner
		from owned t left join relations l on l.schema = t.oid
	)`
}

// text says what is missing.
func (g grantGap) text(t Tenant) string {
	if g.NoRole {
		return fmt.Sprintf("its role %s is gone", t.Role)
	}
	var parts []string
	add := func(is bool, format string, args ...any) {
		if is {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(g.NoUsage, "usage on the schema")
	add(len(g.Tables) > 0, "rights on %s", some(g.Tables))
	add(len(g.Sequences) > 0, "rights on %s", some(g.Sequences))
	add(g.NoTables, "default privileges on tables to come")
	add(g.NoSequences, "default privileges on sequences to come")
	var text []string
	if len(parts) > 0 {
		text = append(text, fmt.Sprintf("its role %s lacks %s", t.Role, strings.Join(parts, ", ")))
	}
	if g.Open {
		text = append(text, fmt.Sprintf("it is %s, and its role %s may still enter the schema", t.Status, t.Role))
	}
	return strings.Join(text, "; ")
}

// statements returns what mends the gap.
func (g grantGap) statements(t Tenant) []string {
	schema, role := t.Schema.Quoted(), db.Quoted(t.Role)
	var out []string
	if g.NoUsage {
		out = append(out, "grant usage on schema "+schema+" to "+role)
	}
	if g.Open {
		out = append(out, "revoke usage on schema "+schema+" from "+role)
	}
	for _, name := range g.Tables {
		rights := tableRights
		if name == "goose_db_version" {
			rights = "select"
		}
		out = append(out, "grant "+rights+" on table "+db.Quoted(t.Schema.String(), name)+" to "+role)
	}
	for _, name := range g.Sequences {
		out = append(out, "grant "+sequenceRights+" on sequence "+db.Quoted(t.Schema.String(), name)+" to "+role)
	}
	defaults := "alter default privileges for role " + db.Quoted(g.Owner) + " in schema " + schema + " grant "
	if g.NoTables {
		out = append(out, defaults+tableRights+" on tables to "+role)
	}
	if g.NoSequences {
		out = append(out, defaults+sequenceRights+" on sequences to "+role)
	}
	return out
}
