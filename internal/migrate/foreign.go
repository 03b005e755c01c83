package migrate

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// ForeignError says that the schema public has things named like the registry's which
// somebody else owns. Whoever owns one of them can have everybody who reads or writes
// it run what he likes.
type ForeignError struct {
	Objects []string // "table public.tenants, owned by app"
}

// Error names the first few.
func (e *ForeignError) Error() string {
	const most = 3
	shown := strings.Join(e.Objects[:min(most, len(e.Objects))], "; ")
	if n := len(e.Objects) - most; n > 0 {
		shown += fmt.Sprintf("; and %d more", n)
	}
	return "somebody else owns what is named like the registry: " + shown + "; nothing was changed"
}

// registryObject finds the names of what the registry's migrations make.
var registryObject = regexp.MustCompile(`(?i)\bcreate\s+(?:table|function)\s+(\w+)`)

// registryNames are the names of the registry's tables and functions.
func (p *Plan) registryNames() []string {
	out := []string{string(publicVersions)}
	for _, m := range p.Migrations {
		for _, s := range m.Up {
			for _, found := range registryObject.FindAllStringSubmatch(s.SQL, -1) {
				out = append(out, strings.ToLower(found[1]))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// foreignSQL finds the objects in public of the names $1 whose owner is neither this
// role nor a superuser, the database's owner, or one who may create schemas in it, as
// the role that migrates the tenants must.
const foreignSQL = `
	select pg_catalog.format('%s %I.%I, owned by %I', o.kind, n.nspname, o.name, r.rolname)
	from (
		select case c.relkind when 'r' then 'table' when 'p' then 'table' when 'v' then 'view' when 'm' then 'materialized view'
				when 'f' then 'foreign table' when 'S' then 'sequence' else 'relation' end as kind,
			c.relname as name, c.relnamespace as nsp, c.relowner as owner
		from pg_class c where c.relname = any ($1::text[])
		union all
		select 'type', t.typname, t.typnamespace, t.typowner from pg_type t where t.typname = any ($1::text[]) and t.typrelid = 0
		union all
		select 'function', p.proname, p.pronamespace, p.proowner from pg_proc p where p.proname = any ($1::text[])
	) o
	join pg_namespace n on n.oid = o.nsp and n.nspname = 'public'
	join pg_roles r on r.oid = o.owner
	where r.rolname <> current_user and not r.rolsuper
	  and not exists (select from pg_database d where d.datname = current_database()
		and (d.datdba = r.oid or has_database_privilege(r.oid, d.oid, 'create')))
	order by 1`

// refuseForeign fails with a *ForeignError where public holds what somebody else has
// put there under one of the names.
func refuseForeign(ctx context.Context, q db.Querier, names []string) error {
	found, err := db.Select(ctx, q, pgx.RowTo[string], foreignSQL, names)
	switch {
	case err != nil:
		return fmt.Errorf("look for the registry: %w", err)
	case len(found) > 0:
		return &ForeignError{Objects: found}
	}
	return nil
}
