package adopt

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Owner is a role that owns schemas of a fleet or tables in them, and is not the role of
// the session.
type Owner struct {
	Role    string
	Schemas int64 // in which it owns something
	Tables  int64
	// Ours tells that the session's role may do what the owner may, so that it can change
	// the tables.
	Ours bool
}

// Owners returns who owns the schemas and the tables in them, beside the session's role.
func Owners(ctx context.Context, q db.Querier, schemas []string) ([]Owner, error) {
	owners, err := db.Select(ctx, q, pgx.RowToStructByName[Owner], `
		select pg_get_userbyid(o.owner)::text as role, count(distinct o.nsp)::int8 as schemas, sum(o.tables)::int8 as tables,
			pg_has_role(o.owner, 'usage') as ours
		from (
			select n.nspowner, n.oid, 0 from pg_namespace n where n.nspname::text = any ($1::text[])
			union all
			select c.relowner, n.oid, count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
			where n.nspname::text = any ($1::text[]) and c.relkind in ('r', 'p', 'v', 'm', 'f') group by 1, 2
		) o (owner, nsp, tables)
		where o.owner <> (select r.oid from pg_roles r where r.rolname = current_user)
		group by o.owner order by 2 desc, 1`, schemas)
	if err != nil {
		return nil, fmt.Errorf("read who owns the schemas: %w", err)
	}
	return owners, nil
}

// Twins returns the tables of public that have the name of a table in one of the schemas:
// a statement with the wrong search_path finds them instead of failing.
func Twins(ctx context.Context, q db.Querier, schemas []string) ([]string, error) {
	names, err := db.Select(ctx, q, pgx.RowTo[string], `
		select p.relname::text from pg_class p join pg_namespace public on public.oid = p.relnamespace
			and public.nspname = 'public'
		where p.relkind in ('r', 'p', 'v', 'm', 'f') and exists (
			select from pg_class c join pg_namespace n on n.oid = c.relnamespace
			where c.relname = p.relname and n.nspname::text = any ($1::text[]) and c.relkind in ('r', 'p', 'v', 'm', 'f'))
		order by p.relname::text collate "C"`, schemas)
	if err != nil {
		return nil, fmt.Errorf("look for tables of public: %w", err)
	}
	return names, nil
}
