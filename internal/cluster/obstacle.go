package cluster

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// ObstaclesError says that a schema has what no distributed one may have.
type ObstaclesError struct {
	Schema string
	What   []string // "trigger touch on orders"
}

// Error names the first few.
func (e *ObstaclesError) Error() string {
	const most = 3
	what, more := e.What, ""
	if len(what) > most {
		what, more = what[:most], fmt.Sprintf(" and %d more", len(e.What)-most)
	}
	return fmt.Sprintf("schema %s cannot go to a node: %s%s", e.Schema, strings.Join(what, ", "), more)
}

// Obstacles returns what keeps local schemas from going to a node, by their names: Citus
// refuses one of them with its first obstacle, in the middle of the conversion.
func Obstacles(ctx context.Context, q db.Querier, schemas []string) (map[string]*ObstaclesError, error) {
	out := map[string]*ObstaclesError{}
	_, err := db.Select(ctx, q, func(row pgx.CollectableRow) (none struct{}, _ error) {
		var schema, what string
		err := row.Scan(&schema, &what)
		if out[schema] == nil {
			out[schema] = &ObstaclesError{Schema: schema}
		}
		out[schema].What = append(out[schema].What, what)
		return none, err
	}, `
		with tables as (
			select c.oid, c.relname, c.relkind, n.oid as home, n.nspname from pg_class c
			join pg_namespace n on n.oid = c.relnamespace
			where n.nspname = any ($1::name[]) and c.relkind in ('r', 'p', 'f')
		)
		select t.nspname::text, 'trigger ' || quote_ident(g.tgname) || ' on ' || quote_ident(t.relname)
		from tables t join pg_trigger g on g.tgrelid = t.oid and not g.tgisinternal
		union all
		select t.nspname::text, 'foreign key ' || quote_ident(k.conname) || ' of ' || quote_ident(t.relname) || ' to ' ||
			k.confrelid::regclass
		from tables t join pg_constraint k on k.conrelid = t.oid and k.contype = 'f'
		join pg_class o on o.oid = k.confrelid and o.relnamespace <> t.home
		where not exists (select 1 from pg_dist_partition p where p.logicalrelid = o.oid and p.partmethod = 'n'
			and p.repmodel = 't')
		union all
		select t.nspname::text, 'foreign key ' || quote_ident(k.conname) || ' of ' || k.conrelid::regclass || ' to ' ||
			quote_ident(t.relname)
		from tables t join pg_constraint k on k.confrelid = t.oid and k.contype = 'f'
		join pg_class o on o.oid = k.conrelid and o.relnamespace <> t.home
		union all
		select t.nspname::text, 'table ' || quote_ident(t.relname) || ' inherits from ' || i.inhparent::regclass
		from tables t join pg_inherits i on i.inhrelid = t.oid
		join pg_class o on o.oid = i.inhparent and (o.relkind <> 'p' or o.relnamespace <> t.home)
		union all
		select t.nspname::text, 'identity column ' || quote_ident(a.attname) || ' of ' || quote_ident(t.relname) ||
			', which is no bigint'
		from tables t join pg_attribute a on a.attrelid = t.oid and a.attidentity <> '' and not a.attisdropped
			and a.atttypid <> 'int8'::regtype
		union all
		select t.nspname::text, 'foreign table ' || quote_ident(t.relname) from tables t where t.relkind = 'f'
		union all
		select t.nspname::text, 'table ' || quote_ident(t.relname) || ' of extension ' || quote_ident(e.extname)
		from tables t join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = t.oid and d.deptype = 'e'
		join pg_extension e on e.oid = d.refobjid
		order by 1, 2`, schemas)
	if err != nil {
		return nil, fmt.Errorf("look what keeps schemas from going to a node: %w", err)
	}
	return out, nil
}
