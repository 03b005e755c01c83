package doctor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/owner"
)

// some names the first few of many.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// tenantNamed returns the registry's row of a slug.
func (x *examination) tenantNamed(slug string) Tenant {
	i, ok := slices.BinarySearchFunc(x.bySlug(), slug, func(t Tenant, s string) int { return cmp.Compare(t.Slug, s) })
	if !ok {
		return Tenant{}
	}
	return x.fleet.Tenants[i]
}

// bySlug returns the tenants in the order of their slugs.
func (x *examination) bySlug() []Tenant {
	order := func(a, b Tenant) int { return cmp.Compare(a.Slug, b.Slug) }
	if !slices.IsSortedFunc(x.fleet.Tenants, order) {
		x.fleet.Tenants = slices.SortedFunc(slices.Values(x.fleet.Tenants), order)
	}
	return x.fleet.Tenants
}

// checkInvalidIndexes leaves out those that are being built this moment.
func checkInvalidIndexes(ctx context.Context, x *examination) ([]Finding, error) {
	type row struct {
		Slug, Schema, Index, Table string
		Constraint                 bool
	}
	rows, err := db.Select(ctx, x.conn, pgx.RowToStructByName[row], `
		select s.slug, s.nspname::text as schema, i.relname::text as index, c.relname::text as table,
			exists (select from pg_constraint k where k.conindid = i.oid) as constraint
		from pg_index x
		join pg_class i on i.oid = x.indexrelid and i.relkind = 'i'
		join pg_class c on c.oid = x.indrelid
		join `+x.fleet.tenantSchemas()+` s on s.oid = c.relnamespace
		where not (x.indisvalid and x.indisready)
		  and not exists (select from pg_stat_progress_create_index p where p.index_relid = i.oid
		  	and p.datname = current_database())
		order by s.slug, i.relname`)
	var out []Finding
	for _, r := range rows {
		f := Finding{Severity: Error, Subject: r.Slug, Tenant: r.Slug, What: fmt.Sprintf("index %s of %s is invalid",
			r.Index, r.Table),
			Command: "crmctl doctor --fix " + string(InvalidIndex) + ", then crmctl migrate drift --tenant " + r.Slug,
			fix:     dropInvalid(x.tenantNamed(r.Slug), r.Index)}
		if r.Constraint {
			f.Command, f.fix = "reindex index concurrently "+db.Quoted(r.Schema, r.Index), nil
		}
		out = append(out, f)
	}
	return out, err
}

// indexSet is a set of indexes, as "table.index", and the tenants of one version that have
// exactly these. The server groups them: in most fleets one set is that of all tenants.
type indexSet struct {
	Version int64
	Indexes []string
	Slugs   []string
}

// checkMissingIndexes compares each tenant with what most tenants of its version have.
func checkMissingIndexes(ctx context.Context, x *examination) ([]Finding, error) {
	sets, err := db.Select(ctx, x.conn, pgx.RowToStructByName[indexSet], `
		select t.version, t.indexes, array_agg(t.slug) as slugs
		from (
			select s.slug, s.schema_version as version, coalesce(array_agg(c.relname || '.' || i.relname
				order by c.relname, i.relname) filter (where i.oid is not null), '{}')::text[] as indexes
			from `+x.fleet.tenantSchemas()+` s
			left join pg_class c on c.relnamespace = s.oid and c.relkind in ('r', 'p')
			left join pg_index x on x.indrelid = c.oid
			left join pg_class i on i.oid = x.indexrelid
			where s.status not in ('deleted', 'gone', 'leaving', 'incoming', 'moved')
			group by s.slug, s.schema_version
		) t
		group by t.version, t.indexes`)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for slug, lost := range missing(sets) {
		out = append(out, Finding{Severity: Warning, Subject: slug, Tenant: slug, What: "lacks " + some(lost) +
			", which most tenants of its version have",
			Command: "crmctl migrate drift --tenant " + slug + " --fix-sql"})
	}
	return out, nil
}

// missing returns by slug which indexes a tenant lacks that more than half of the
// tenants of its version have.
func missing(sets []indexSet) map[string][]string {
	type key struct {
		version int64
		index   string
	}
	tenants, having := map[int64]int{}, map[key]int{}
	for _, s := range sets {
		tenants[s.Version] += len(s.Slugs)
		for _, index := range s.Indexes {
			having[key{s.Version, index}] += len(s.Slugs)
		}
	}
	common := map[int64][]string{}
	for k, n := range having {
		if n*2 > tenants[k.version] {
			common[k.version] = append(common[k.version], k.index)
		}
	}
	for _, indexes := range common {
		slices.Sort(indexes)
	}
	out := map[string][]string{}
	for _, s := range sets {
		has := make(map[string]bool, len(s.Indexes))
		for _, index := range s.Indexes {
			has[index] = true
		}
		lost := slices.DeleteFunc(slices.Clone(common[s.Version]), func(index string) bool { return has[index] })
		if len(lost) == 0 {
			continue
		}
		for _, slug := range s.Slugs {
			out[slug] = lost
		}
	}
	return out
}

// checkRoles tells of the owners as which the work cannot be done, once each. To a role
// that may not write the registry, which does none, it says nothing.
func checkRoles(ctx context.Context, x *examination) ([]Finding, error) {
	works, err := db.Select(ctx, x.conn, pgx.RowTo[bool],
		"select has_table_privilege("+db.Literal(x.fleet.Registry.Tenants())+", 'update')")
	if err != nil || !works[0] {
		return nil, err
	}
	schemas, _ := x.living()
	names := make([]string, len(schemas))
	for i, s := range schemas {
		names[i] = s.String()
	}
	others, me, version, err := owner.Others(ctx, x.conn, names)
	var out []Finding
	for _, o := range others {
		f := Finding{Severity: Error, Subject: o.Role, Command: o.Grant(me, version), What: fmt.Sprintf(
			"owns %s of %s, and %s may not change them", plural(int(o.Tables), "table"), plural(int(o.Schemas), "tenant"), me)}
		switch {
		case o.Takes:
			continue
		case o.Uses:
			f.Severity, f.What = Warning, fmt.Sprintf("owns %s of %s, and %s may not take the role: what it makes there "+
				"is its own", plural(int(o.Tables), "table"), plural(int(o.Schemas), "tenant"), me)
		}
		out = append(out, f)
	}
	return out, err
}

func checkOwners(ctx context.Context, x *examination) ([]Finding, error) {
	out, err := checkRoles(ctx, x)
	if err != nil {
		return nil, err
	}
	type row struct{ Slug, Kind, Name, Owner, Should string }
	rows, err := db.Select(ctx, x.conn, pgx.RowToStructByName[row], `
		with objects as (
			select c.relnamespace as schema, case c.relkind when 'S' then 'sequence' when 'v' then 'view' when 'm' then
				'materialized view' when 'f' then 'foreign table' else 'table' end as kind,
				quote_ident(s.nspname) || '.' || quote_ident(c.relname) as name, c.relowner as owner, s.nspowner as should, s.slug
			from pg_class c join `+x.fleet.tenantSchemas()+` s on s.oid = c.relnamespace
			where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and c.relowner <> s.nspowner
			union all
			select p.pronamespace, case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end,
				p.oid::regprocedure::text, p.proowner, s.nspowner, s.slug
			from pg_proc p join `+x.fleet.tenantSchemas()+` s on s.oid = p.pronamespace
			where p.proowner <> s.nspowner and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass
				and d.objid = p.oid and d.deptype = 'e')
			union all
			select y.typnamespace, 'type', y.oid::regtype::text, y.typowner, s.nspowner, s.slug
			from pg_type y join `+x.fleet.tenantSchemas()+` s on s.oid = y.typnamespace
			where y.typowner <> s.nspowner and y.typtype in ('e', 'd', 'r')
			  and not exists (select from pg_depend d where d.classid = 'pg_type'::regclass and d.objid = y.oid
			    and d.deptype = 'e'))
		select slug, kind, name, pg_get_userbyid(owner)::text as owner, pg_get_userbyid(should)::text as should
			from objects order by slug, kind, name`)
	if err != nil {
		return nil, err
	}
	byTenant := map[string][]row{}
	for _, r := range rows {
		byTenant[r.Slug] = append(byTenant[r.Slug], r)
	}
	for _, slug := range slices.Sorted(maps.Keys(byTenant)) {
		first, more := byTenant[slug][0], len(byTenant[slug])-1
		what := fmt.Sprintf("%s %s belongs to %s, the schema to %s", first.Kind, first.Name, first.Owner, first.Should)
		if more > 0 {
			what += fmt.Sprintf("; and %d more", more)
		}
		out = append(out, Finding{Severity: Warning, Subject: slug, Tenant: slug, What: what,
			Command: fmt.Sprintf("alter %s %s owner to %s", first.Kind, first.Name, db.Quoted(first.Should))})
	}
	return out, nil
}

func checkPublicObjects(ctx context.Context, x *examination) ([]Finding, error) {
	usual, err := x.usualTables(ctx)
	if err != nil {
		return nil, err
	}
	type row struct{ Schema, Name string }
	rows, err := db.Select(ctx, x.conn, pgx.RowToStructByName[row], `
		select n.nspname::text as schema, c.relname::text as name from pg_class c
			join pg_namespace n on n.oid = c.relnamespace
		where (n.nspname = 'public' or n.nspname = any ($2::name[])) and c.relkind in ('r', 'p')
			and c.relname = any ($1::name[])
		order by n.nspname <> 'public', 1, 2`, usual, x.o.Shared)
	var out []Finding
	for _, r := range rows {
		out = append(out, Finding{Severity: Warning, Subject: r.Schema + "." + r.Name,
			What:    "a table of the tenants' that stands in " + r.Schema,
			Command: "look whose rows they are, then: alter table " + db.Quoted(r.Schema, r.Name) + " set schema ..."})
	}
	return out, err
}

// checkSharedNames finds tenants that lack a table which most have and which would be
// found in a shared schema instead.
func checkSharedNames(ctx context.Context, x *examination) ([]Finding, error) {
	if len(x.o.Shared) == 0 {
		return nil, nil
	}
	usual, err := x.usualTables(ctx)
	if err != nil {
		return nil, err
	}
	type row struct{ Slug, Schema, Name string }
	rows, err := db.Select(ctx, x.conn, pgx.RowToStructByName[row], `
		select s.slug, n.nspname::text as schema, c.relname::text as name
		from pg_class c join pg_namespace n on n.oid = c.relnamespace, `+x.fleet.tenantSchemas()+` s
		where n.nspname = any ($2::name[]) and c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relname = any ($1::name[])
			and s.status not in ('deleted', 'gone', 'leaving', 'incoming', 'moved')
		  and not exists (select from pg_class own where own.relnamespace = s.oid and own.relname = c.relname)
		order by 1, 3, 2`, usual, x.o.Shared)
	var out []Finding
	for _, r := range rows {
		out = append(out, Finding{Severity: Error, Subject: r.Slug, Tenant: r.Slug,
			What:    fmt.Sprintf("has no table %s: its statements reach %s.%s, of all tenants", r.Name, r.Schema, r.Name),
			Command: "crmctl migrate drift --tenant " + r.Slug})
	}
	return out, err
}

// checkPublicWritable warns where somebody has opened the schema. Before PostgreSQL 15
// every new database is open, which is worth knowing, but nobody's doing.
func checkPublicWritable(ctx context.Context, x *examination) ([]Finding, error) {
	const everybody = `select from pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
		where n.nspname = 'public' and a.grantee = 0 and a.privilege_type = 'CREATE'`
	type row struct{ Open, FromTheStart bool }
	found, err := db.Select(ctx, x.conn, pgx.RowToStructByName[row], `
		select exists (`+everybody+`) as open, current_setting('server_version_num')::int4 < 150000 as from_the_start`)
	if err != nil || !found[0].Open {
		return nil, err
	}
	severity := Warning
	if found[0].FromTheStart {
		severity = Info
	}
	return []Finding{{Severity: severity, Subject: "public", What: "everybody may create in schema public",
		Command: "revoke create on schema public from public"}}, nil
}

// checkShadowing leaves out what extensions add to PostgreSQL's own functions, unless it
// is the very same signature.
func checkShadowing(ctx context.Context, x *examination) ([]Finding, error) {
	type row struct{ Kind, Name string }
	rows, err := db.Select(ctx, x.conn, pgx.RowToStructByName[row], `
		select 'function' as kind,
			'public.' || quote_ident(p.proname) || '(' || pg_get_function_identity_arguments(p.oid) || ')' as name
			from pg_proc p
		where p.pronamespace = 'public'::regnamespace
		  and exists (select from pg_proc b where b.pronamespace = 'pg_catalog'::regnamespace and b.proname = p.proname
			and (b.proargtypes = p.proargtypes or not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass
				and d.objid = p.oid and d.deptype = 'e')))
		union all
		select 'operator', 'public.' || o.oprname || ' (' || format_type(nullif(o.oprleft, 0),
			null) || ', ' || format_type(o.oprright, null) || ')' from pg_operator o
		where o.oprnamespace = 'public'::regnamespace
		  and exists (select from pg_operator b where b.oprnamespace = 'pg_catalog'::regnamespace and b.oprname = o.oprname
			and (b.oprleft = o.oprleft and b.oprright = o.oprright or not exists (select from pg_depend d
				where d.classid = 'pg_operator'::regclass and d.objid = o.oid and d.deptype = 'e')))
		order by 1, 2`)
	var out []Finding
	for _, r := range rows {
		out = append(out, Finding{Severity: Warning, Subject: r.Name, What: map[string]string{"function": "a function",
			"operator": "an operator"}[r.Kind] + " named as one of PostgreSQL's own", Command: "look who made it, then: drop " +
			r.Kind + " " + r.Name})
	}
	return out, err
}
