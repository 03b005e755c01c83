package shape

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// detailsSQL reads more of a schema than a fingerprint holds: what decides how the next
// migration behaves, but is no difference for readers of a shape. (The columns of an index go by number: their
// names are those of the table's when it was made.) Each line begins with what it is about. The
// schema is on the search path, so that no definition names it, and every name is
// written out in full. (attoptions that begin with pg_attver= are the server's
// own notes, since the minor releases of November 2026.)
const detailsSQL = `
with rel as (
	select c.oid, c.relname, c.relkind, c.relpersistence, c.relispopulated, c.relrowsecurity, c.relforcerowsecurity,
		c.relreplident,
		c.relispartition, c.reloftype, c.reloptions, c.reltablespace, c.relam, c.relacl, c.relowner
	from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) c.relnamespace
	where n.nspname operator(pg_catalog.=) $1
)
select pg_catalog.concat_ws(' ', 'relation', r.relname, '|', r.relkind, r.relpersistence, r.relispopulated,
	r.relrowsecurity,
	r.relforcerowsecurity, r.relreplident, r.relispartition, (select t.typname from pg_catalog.pg_type t
		where t.oid operator(pg_catalog.=) r.reloftype),
	(select pg_catalog.string_agg(o, ',' order by o) from pg_catalog.unnest(r.reloptions) o), r.reltablespace, r.relam,
	(select pg_catalog.string_agg(p.relname, ',' order by h.inhseqno) from pg_catalog.pg_inherits h
		join pg_catalog.pg_class p on p.oid operator(pg_catalog.=) h.inhparent where h.inhrelid operator(pg_catalog.=) r.oid),
	(select pg_catalog.concat_ws(' ', i.indisunique, i.indisprimary, i.indimmediate, i.indisclustered, i.indisvalid,
		i.indisreplident, i.indnkeyatts)
		from pg_catalog.pg_index i where i.indexrelid operator(pg_catalog.=) r.oid),
	case when r.relname operator(pg_catalog.=) 'goose_db_version' then coalesce(r.relacl, pg_catalog.acldefault('r',
		r.relowner))::pg_catalog.text end)
from rel r
union all
select pg_catalog.concat_ws(' ', 'column', case when r.relkind operator(pg_catalog.=) any (array['i',
	'I']::pg_catalog."char"[]) then a.attnum::pg_catalog.text else a.attname::pg_catalog.text end, 'of', r.relname, '|',
	case when not r.relkind operator(pg_catalog.=) any (array['i',
		'I']::pg_catalog."char"[]) then pg_catalog.row_number() over (partition by r.oid order by a.attnum) end,
	t.typname, a.atttypmod, a.attnotnull, a.atthasdef, a.attidentity, a.attgenerated, a.attislocal, a.attinhcount,
		a.attstorage,
	a.attcompression, case when a.attstattarget operator(pg_catalog.>=) 0 then a.attstattarget end,
	(select pg_catalog.string_agg(o, ',' order by o) from pg_catalog.unnest(a.attoptions) o
		where not pg_catalog.starts_with(o, 'pg_attver=')), (select c.collname from pg_catalog.pg_collation c
			where c.oid operator(pg_catalog.=) a.attcollation))
from rel r join pg_catalog.pg_attribute a on a.attrelid operator(pg_catalog.=) r.oid
	join pg_catalog.pg_type t on t.oid operator(pg_catalog.=) a.atttypid
where a.attnum operator(pg_catalog.>) 0 and not a.attisdropped
union all
select pg_catalog.concat_ws(' ', 'constraint', k.conname, 'of', r.relname, '|', k.contype, k.condeferrable,
	k.condeferred, k.convalidated,
	k.conislocal, k.coninhcount, k.connoinherit, (select p.conname from pg_catalog.pg_constraint p
		where p.oid operator(pg_catalog.=) k.conparentid),
	(select i.relname from pg_catalog.pg_class i where i.oid operator(pg_catalog.=) k.conindid))
from rel r join pg_catalog.pg_constraint k on k.conrelid operator(pg_catalog.=) r.oid
union all
select pg_catalog.concat_ws(' ', 'trigger', case when g.tgisinternal then 'of a key' else g.tgname
	end, 'of', r.relname, '|',
	g.tgtype, g.tgenabled, g.tgparentid operator(pg_catalog.<>) 0)
from rel r join pg_catalog.pg_trigger g on g.tgrelid operator(pg_catalog.=) r.oid
union all
select pg_catalog.concat_ws(' ', 'sequence', r.relname, '|', d.deptype, o.relname, a.attname)
from rel r
join pg_catalog.pg_depend d on d.classid operator(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
	and d.objid operator(pg_catalog.=) r.oid and d.deptype operator(pg_catalog.=) any (array['a',
		'i']::pg_catalog."char"[])
	and d.refclassid operator(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
join pg_catalog.pg_class o on o.oid operator(pg_catalog.=) d.refobjid
left join pg_catalog.pg_attribute a on a.attrelid operator(pg_catalog.=) d.refobjid
	and a.attnum operator(pg_catalog.=) d.refobjsubid
where r.relkind operator(pg_catalog.=) 'S'
union all
select pg_catalog.concat_ws(' ', 'type', t.typname, '|', t.typtype, t.typnotnull,
	pg_catalog.pg_get_expr(t.typdefaultbin, 0))
from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) t.typnamespace
where n.nspname operator(pg_catalog.=) $1 and t.typelem operator(pg_catalog.=) 0
union all
select pg_catalog.concat_ws(' ', 'schema', '|', coalesce(n.nspacl, pg_catalog.acldefault('n',
	n.nspowner))::pg_catalog.text, pg_catalog.obj_description(n.oid, 'pg_namespace'))
from pg_catalog.pg_namespace n where n.nspname operator(pg_catalog.=) $1`

// readDetails reads them. Constraints that only say NOT NULL have a name since
// PostgreSQL 18.
func (r *result) readDetails(ctx context.Context, conn *pgx.Conn) error {
	var p db.Pipeline
	p.StandIn(r.schema, db.Path{})
	p.Query(func(rows pgx.Rows) (err error) {
		r.lines, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	}, detailsSQL, r.schema.String())
	if err := p.Run(ctx, conn); err != nil {
		return fmt.Errorf("read the details of the schema: %w", err)
	}
	slices.Sort(r.lines)
	return nil
}

// firstDifferingLine names the first object in which two readings differ.
func firstDifferingLine(a, b []string) string {
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a):
			return subject(b[i])
		case i >= len(b) || a[i] < b[i]:
			return subject(a[i])
		case a[i] > b[i]:
			return subject(b[i])
		}
	}
	return ""
}

func subject(line string) string {
	about, _, _ := strings.Cut(line, " |")
	return about
}
