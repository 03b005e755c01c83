package registry

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Objects returns the names of the tables, sequences and functions that the registry's
// migrations make, of all versions, and of the table that says which were applied.
func Objects() []string {
	return []string{
		"crmctl_db_version",
		"migration_files",
		"migration_run_tenants",
		"migration_runs",
		"migration_runs_id_seq",
		"tenant_builds",
		"tenant_dirty",
		"tenant_events",
		"tenant_events_append_only",
		"tenant_events_seq_seq",
		"tenant_pool",
		"tenant_shapes",
		"tenant_size_samples",
		"tenants",
	}
}

// ForeignObject is something in the registry's schema that has a name of the registry's
// and belongs to another role.
type ForeignObject struct {
	Kind  string // "table", "view", "function" ...
	Name  string // "public.tenants", quoted where it must be
	Owner string
	// Trusted reports that the owner may make the registry: a superuser, the database's
	// owner, a role that may create schemas in it, or one that the user trusts by name.
	Trusted bool
}

// String returns "table public.tenants, owned by app".
func (o ForeignObject) String() string {
	return fmt.Sprintf("%s %s, owned by %s", o.Kind, o.Name, o.Owner)
}

// ForeignError says that the registry's schema has things named like the registry's which
// belong to a role that is not trusted. Whoever owns one of them can have everybody who
// reads or writes it run what he likes.
type ForeignError struct {
	Objects []ForeignObject
}

// Error names the first few.
func (e *ForeignError) Error() string {
	const most = 3
	shown := make([]string, 0, most)
	for _, o := range e.Objects[:min(most, len(e.Objects))] {
		shown = append(shown, o.String())
	}
	text := strings.Join(shown, "; ")
	if n := len(e.Objects) - most; n > 0 {
		text += fmt.Sprintf("; and %d more", n)
	}
	return "somebody else owns what is named like the registry: " + text + "; nothing was read or changed"
}

// foreignSQL finds the objects in the schema $3 of the names $1 that belong to another role.
// The role that migrates the tenants must be able to create schemas, so that whoever can
// is taken for it; $2 are the roles trusted by name.
const foreignSQL = `
	select o.kind, pg_catalog.format('%I.%I', n.nspname, o.name), r.rolname::text,
		r.rolsuper or r.rolname = any ($2::text[]::name[]) or exists (select from pg_database d where d.datname = current_database()
			and (d.datdba = r.oid or has_database_privilege(r.oid, d.oid, 'create')))
	from pg_namespace n
	cross join lateral (
		select case c.relkind when 'r' then 'table' when 'p' then 'table' when 'v' then 'view' when 'm' then 'materialized view'
				when 'f' then 'foreign table' when 'S' then 'sequence' else 'relation' end as kind,
			c.relname as name, c.relowner as owner
		from pg_class c where c.relname = any ($1::text[]::name[]) and c.relnamespace = n.oid
		union all
		select 'type', t.typname, t.typowner from pg_type t where t.typname = any ($1::text[]::name[]) and t.typrelid = 0 and t.typnamespace = n.oid
		union all
		select 'function', p.proname, p.proowner from pg_proc p where p.proname = any ($1::text[]::name[]) and p.pronamespace = n.oid
	) o
	join pg_roles r on r.oid = o.owner
	where n.nspname = $3::text::name and r.rolname <> current_user
	order by 4, 1, 2`

// othersSQL asks whether anything of the names $1 in the schema $2 is another role's. It
// is asked by every command, and planned each time, so it joins nothing.
const othersSQL = `
	select exists (select from pg_class c where c.relname = any ($1::text[]::name[])
			and c.relnamespace = to_regnamespace($2::text) and pg_get_userbyid(c.relowner) <> current_user)
		or exists (select from pg_type t where t.typname = any ($1::text[]::name[])
			and t.typnamespace = to_regnamespace($2::text) and pg_get_userbyid(t.typowner) <> current_user)
		or exists (select from pg_proc p where p.proname = any ($1::text[]::name[])
			and p.pronamespace = to_regnamespace($2::text) and pg_get_userbyid(p.proowner) <> current_user)`

// Foreign returns what has a name of the registry's in its schema and belongs to another
// role than the session's; those that are not trusted come first. It reads
// nothing but PostgreSQL's own catalog, in one round trip where everything is the role's own.
func (r Registry) Foreign(ctx context.Context, q db.Querier, trusted []string) ([]ForeignObject, error) {
	others, err := db.Select(ctx, q, pgx.RowTo[bool], othersSQL, Objects(), r.Schema().Quoted())
	if err != nil {
		return nil, fmt.Errorf("look for the registry: %w", err)
	}
	if !others[0] {
		return nil, nil
	}
	if trusted == nil {
		trusted = []string{}
	}
	found, err := db.Select(ctx, q, pgx.RowToStructByPos[ForeignObject], foreignSQL, Objects(), trusted, r.Schema().String())
	if err != nil {
		return nil, fmt.Errorf("look for the registry: %w", err)
	}
	return found, nil
}

// RefuseForeign fails with a *ForeignError where the registry's schema holds what a role that is not
// trusted has put there under a name of the registry's. It comes before anything of the
// registry is read or made.
func (r Registry) RefuseForeign(ctx context.Context, q db.Querier, trusted []string) error {
	found, err := r.Foreign(ctx, q, trusted)
	if err != nil {
		return err
	}
	var foreign []ForeignObject
	for _, o := range found {
		if !o.Trusted {
			foreign = append(foreign, o)
		}
	}
	if len(foreign) > 0 {
		return &ForeignError{Objects: foreign}
	}
	return nil
}
