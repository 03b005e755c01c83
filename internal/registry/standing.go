package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// versionsTable is the bare name of the table that says which migrations of the registry
// were applied.
const versionsTable = "crmctl_db_version"

// marks are the columns by which each table of the registry is recognised: those that it
// has had from its first version on, and that no other table of the name has all of.
func marks() map[string][]string {
	return map[string][]string{
		versionsTable: {"version_id", "is_applied", "tstamp"},
		tenants:       {"id", "slug", "display_name", "schema_name", "status", "schema_version", "settings", "purge_after"},
		events:        {"tenant_id", "slug", "action", "actor", "db_role", "detail", "occurred_at"},
		runs:          {"id", "kind", "actor", "target_version", "succeeded", "not_started", "finished_at"},
		runTenants:    {"run_id", "tenant_id", "slug", "from_version", "to_version", "state", "attempts"},
		files:         {"version", "file", "checksum", "recorded_at"},
		dirty:         {"tenant_id", "version", "file", "checksum", "statements", "since"},
		samples:       {"tenant_id", "sampled_at", "table_bytes", "index_bytes", "total_bytes"},
		shapes:        {"plan_checksum", "server_major", "environment", "version", "script"},
		pool:          {"schema_name", "key", "version", "made_at"},
		builds:        {"schema_name", "schema_oid", "id", "slug", "started_at"},
		sources:       {"program", "versions_table", "files", "exact"},
		imports:       {"id", "tenant_id", "key", "file", "bytes", "sha256", "options", "counts", "state", "done"},
		importParts:   {"import_id", "part", "first_id", "last_id", "xid", "loaded_at"},
		accepted:      {"tenant_id", "change", "kind", "name", "found", "reason", "accepted_at"},
		catalogs:      {"sampled_at", "tenants", "relations", "catalog_bytes"},
		erasures:      {"tenant_id", "key_id", "hash", "erased_at"},
		transfers:     {"tenant_id", "attempt", "was", "registry", "moved_at"},
	}
}

// indexes are the names of indexes that the migrations give, which nothing else in the
// schema may have when they are made.
func indexes() []string {
	return []string{
		"tenants_slug_key", "tenants_schema_name_key", "tenants_role_name_key", "idx_tenants_purge_after",
		"idx_tenant_events_tenant", "idx_tenant_events_occurred_at", "idx_tenant_events_seq", "idx_tenant_events_slug",
		"idx_migration_run_tenants_tenant", "tenant_shapes_pkey", "tenant_pool_pkey", "tenant_builds_pkey",
		"migration_sources_pkey",
		"tenant_imports_pkey", "idx_tenant_imports_tenant", "tenant_import_parts_pkey",
		"tenant_accepted_pkey", "tenant_catalog_samples_pkey", "tenant_erasures_pkey",
		"tenant_transfers_pkey",
	}
}

// Standing is what stands in the registry's schema under names of the registry's.
type Standing struct {
	Registry Registry
	Made     bool            // the registry is there, recognised by its marks
	Others   []ForeignObject // belong to another role than the session's
	Strange  []ForeignObject // are not the registry's
}

// TakenError says that something which is not the registry's has names of the registry's,
// in the schema where it stands or would stand.
type TakenError struct {
	Registry Registry
	Made     bool // the registry stands there all the same, and lacks what has these names
	Objects  []ForeignObject
}

// Error names the first few.
func (e *TakenError) Error() string {
	if e.Made {
		return "the registry in schema " + e.Registry.Place() + " has no room for what is new: " + someObjects(e.Objects) +
			"; nothing was changed"
	}
	return "schema " + e.Registry.Place() + " has no registry, and no room for one: " + someObjects(e.Objects) +
		"; nothing was changed"
}

// Refusal returns why nothing of the registry may be read or made here, nil where it may:
// a *TakenError or a *ForeignError.
func (s Standing) Refusal() error {
	untrusted := func(o ForeignObject) bool { return !o.own && !o.Trusted }
	if len(s.Strange) > 0 && (!s.Made || slices.ContainsFunc(s.Strange, untrusted)) {
		return s.Taken()
	}
	var foreign []ForeignObject
	for _, o := range s.Others {
		if untrusted(o) {
			foreign = append(foreign, o)
		}
	}
	if len(foreign) > 0 {
		return &ForeignError{Objects: foreign}
	}
	return nil
}

// Taken returns a *TakenError where something is not the registry's, and otherwise nil.
func (s Standing) Taken() error {
	if len(s.Strange) == 0 {
		return nil
	}
	return &TakenError{Registry: s.Registry, Made: s.Made, Objects: s.Strange}
}

// markedSQL is the condition that the table of an expression for its oid has the marks
// that a parameter has for a name.
func markedSQL(oid, name, param string) string {
	param += "::jsonb"
	return `(` + param + ` ? ` + name + ` and (select count(*) from pg_attribute m where m.attrelid = ` + oid +
		` and not m.attisdropped
		and (` + param + ` -> ` + name + `) ? m.attname::text) = jsonb_array_length(` + param + ` -> ` + name + `))`
}

// madeSQL is the condition that the registry stands in the schema with the oid of an
// expression; a parameter has the marks.
func madeSQL(schema, param string) string {
	return `(select count(*) from pg_class v where v.relnamespace = ` + schema + ` and v.relname in ('` + versionsTable +
		`', '` + tenants + `')
		and v.relkind = 'r' and ` + markedSQL("v.oid", "v.relname::text", param) + `) = 2`
}

// lookSQL asks whether the registry is there, whether anything of the names $1 is in the
// schema $2, and whether any of it is another role's. It is asked by every command, and
// planned each time.
func lookSQL() string {
	return `
	select ` + madeSQL("to_regnamespace($2::text)", "$3") + ` as made, count(*) > 0 as any,
		coalesce(bool_or(pg_get_userbyid(o.owner) <> current_user), false) as others, ` + db.EngineSQL + ` as engine
	from (
		select c.relowner from pg_class c where c.relname = any ($1::text[]::name[])
			and c.relnamespace = to_regnamespace($2::text)
		union all
		select t.typowner from pg_type t where t.typname = any ($1::text[]::name[])
			and t.typnamespace = to_regnamespace($2::text)
		union all
		select p.proowner from pg_proc p where p.proname = any ($1::text[]::name[])
			and p.pronamespace = to_regnamespace($2::text)
	) o (owner)`
}

// objectsSQL finds the objects in the schema $2 of the names $1, those of roles that are not trusted
// first. The role that migrates the tenants must be able to create schemas, so that whoever
// can is taken for it; $4 are the roles trusted by name. An index or a sequence is its table's.
func objectsSQL() string {
	return `
	select o.kind, pg_catalog.format('%I.%I', n.nspname, o.name), r.rolname::text,
		r.rolsuper or r.rolname = any ($4::text[]::name[]) or exists (select from pg_database d
			where d.datname = current_database()
			and (d.datdba = r.oid or has_database_privilege(r.oid, d.oid, 'create'))), o.ours, r.rolname = current_user
	from pg_namespace n
	cross join lateral (
		select case c.relkind when 'r' then 'table' when 'p' then 'table' when 'v' then 'view' when 'm' then
			'materialized view'
				when 'f' then 'foreign table' when 'S' then 'sequence' when 'i' then 'index' else 'relation' end as kind,
			c.relname as name, c.relowner as owner,
			case c.relkind when 'r' then ` + markedSQL("c.oid", "c.relname::text", "$3") + `
				when 'i' then exists (select from pg_index i join pg_class p on p.oid = i.indrelid
					where i.indexrelid = c.oid and $3::jsonb ? p.relname::text)
				when 'S' then exists (select from pg_depend d join pg_class p on p.oid = d.refobjid
					where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.refclassid = 'pg_class'::regclass
					and d.deptype in ('a', 'i') and $3::jsonb ? p.relname::text)
				else false end as ours
		from pg_class c where c.relname = any ($1::text[]::name[]) and c.relnamespace = n.oid
		union all
		select 'type', t.typname, t.typowner, false from pg_type t where t.typname = any ($1::text[]::name[])
			and t.typrelid = 0 and t.typnamespace = n.oid
		union all
		select 'function', p.proname, p.proowner, p.prorettype = 'trigger'::regtype
			and strpos(p.prosrc, 'is append-only: % is refused') > 0
		from pg_proc p where p.proname = any ($1::text[]::name[]) and p.pronargs = 0 and p.pronamespace = n.oid
	) o
	join pg_roles r on r.oid = o.owner
	where n.nspname = $2::text::name
	order by 4, 1, 2`
}

// Look says what stands in the registry's schema. It reads nothing but PostgreSQL's own
// catalog, and which engine this is, in one round trip where the registry is there and everything is the role's own, or
// where nothing is there: it does not look for what is in the way of an upgrade then.
func (r Registry) Look(ctx context.Context, q db.Querier, trusted []string) (Standing, error) {
	type answer struct {
		Made, Any, Others bool
		Engine            string
	}
	found, err := db.Select(ctx, q, pgx.RowToStructByName[answer], lookSQL(), Objects(), r.Place(), marksJSON())
	if err != nil {
		return Standing{}, fmt.Errorf("look for the registry: %w", err)
	}
	if err := db.Recognize(ctx, q, found[0].Engine); err != nil {
		return Standing{}, err
	}
	s := Standing{Registry: r, Made: found[0].Made}
	if !found[0].Any || s.Made && !found[0].Others {
		return s, nil
	}
	return r.examine(ctx, q, trusted, s.Made, Objects())
}

// LookToMake is Look for whoever makes or upgrades the registry: whatever is in the way
// of any of its names is found.
func (r Registry) LookToMake(ctx context.Context, q db.Querier, trusted []string) (Standing, error) {
	s, err := r.Look(ctx, q, trusted)
	if err != nil {
		return s, err
	}
	return r.examine(ctx, q, trusted, s.Made, append(Objects(), indexes()...))
}

func (r Registry) examine(ctx context.Context, q db.Querier, trusted []string, made bool,
	names []string) (Standing, error) {
	s := Standing{Registry: r, Made: made}
	found, err := db.Select(ctx, q, func(row pgx.CollectableRow) (o ForeignObject, err error) {
		err = row.Scan(&o.Kind, &o.Name, &o.Owner, &o.Trusted, &o.Ours, &o.own)
		return o, err
	}, objectsSQL(), names, r.Schema().String(), marksJSON(), nonNil(trusted))
	if err != nil {
		return s, fmt.Errorf("look for the registry: %w", err)
	}
	for _, o := range found {
		if !o.own {
			s.Others = append(s.Others, o)
		}
		if !o.Ours {
			s.Strange = append(s.Strange, o)
		}
	}
	return s, nil
}

func marksJSON() string {
	text, err := json.Marshal(marks())
	if err != nil {
		panic(err) // names alone
	}
	return string(text)
}

// Registries returns the registries that stand in the database, recognised by their
// marks, in the order of their schemas' names.
func Registries(ctx context.Context, q db.Querier) ([]Registry, error) {
	names, err := db.Select(ctx, q, pgx.RowTo[string],
		`select n.nspname::text from pg_class v join pg_namespace n on n.oid = v.relnamespace
		where v.relname = '`+versionsTable+`' and `+madeSQL("n.oid", "$1")+`
		order by n.nspname::text collate "C"`, marksJSON())
	if err != nil {
		return nil, fmt.Errorf("look for registries: %w", err)
	}
	var out []Registry
	for _, name := range names {
		schema, err := db.RegisteredSchema(name)
		if name == db.Public.String() {
			schema, err = db.Public, nil
		}
		if err == nil {
			out = append(out, In(schema))
		}
	}
	return out, nil
}

// Free is a schema where a registry could be made.
type Free struct {
	Registry Registry
	// Makeable reports that the schema is there and the session's role may create in it, or that
	// the role may make it.
	Makeable bool
}

// FreePlace returns a schema that is not there, or holds nothing of the registry's names.
func FreePlace(ctx context.Context, q db.Querier) (Free, error) {
	const most = 100
	for n := 1; n <= most; n++ {
		name := "crmctl"
		if n > 1 {
			name = fmt.Sprintf("crmctl_%d", n)
		}
		schema, err := db.RegisteredSchema(name)
		if err != nil {
			return Free{}, err
		}
		type answer struct{ There, Any, May bool }
		found, err := db.Select(ctx, q, pgx.RowToStructByName[answer], `
			select n.oid is not null as there,
				exists (select from pg_class c where c.relname = any ($2::text[]::name[]) and c.relnamespace = n.oid)
				or exists (select from pg_type t where t.typname = any ($2::text[]::name[]) and t.typnamespace = n.oid)
				or exists (select from pg_proc p where p.proname = any ($2::text[]::name[]) and p.pronamespace = n.oid) as any,
				case when n.oid is null then has_database_privilege(current_database(), 'create')
					else has_schema_privilege(n.oid, 'create') and has_schema_privilege(n.oid, 'usage') end as may
			from (select) one left join pg_namespace n on n.nspname = $1::text::name`, name, append(Objects(), indexes()...))
		if err != nil {
			return Free{}, fmt.Errorf("look for a place for the registry: %w", err)
		}
		if a := found[0]; !a.Any && (!a.There || a.May) {
			return Free{Registry: In(schema), Makeable: a.May}, nil
		}
	}
	return Free{}, fmt.Errorf("no schema from crmctl to crmctl_%d is free", most)
}
