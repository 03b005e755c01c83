package stats

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// TablespaceSize is what tenants take in one tablespace.
type TablespaceSize struct {
	Name         string
	Tenants      int // that have something there
	TableBytes   int64
	IndexBytes   int64
	Largest      string // slug of the tenant that takes most there
	LargestBytes int64
}

// TotalBytes is the sum of both.
func (t TablespaceSize) TotalBytes() int64 { return t.TableBytes + t.IndexBytes }

// Tablespaces are the sizes of a fleet by tablespace.
type Tablespaces struct {
	At          time.Time
	Mode        Mode             // Exact or Estimate
	Tablespaces []TablespaceSize // the fullest first
}

// tablespacesOf is a query for what the selected tenants take, by tablespace. exact is as
// tablesOf has it.
func tablespacesOf(reg registry.Registry, exact bool) string {
	table := `c.relpages * b.bytes + case when c.reltoastrelid <> 0
		then coalesce(x.relpages + x.relpages / 91 + 2, 1) * b.bytes else 0 end`
	index := `c.relpages * b.bytes`
	if exact {
		table, index = `pg_catalog.pg_table_size(c.oid)`, `pg_catalog.pg_relation_size(c.oid)`
	}
	return `
	select (select s.spcname::text from pg_catalog.pg_tablespace s where s.oid = case p.place when 0
			then (select d.dattablespace from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
			else p.place end),
		count(*), sum(p.tables)::bigint, sum(p.indexes)::bigint,
		(array_agg(p.slug order by p.tables + p.indexes desc, p.slug))[1], max(p.tables + p.indexes)::bigint
	from (
		select t.slug, c.reltablespace as place,
			coalesce(sum(case when c.relkind <> 'i' then ` + table + ` end), 0) as tables,
			coalesce(sum(case when c.relkind = 'i' then ` + index + ` end), 0) as indexes
		from ` + reg.Tenants() + ` t
		join pg_catalog.pg_namespace n on n.nspname = t.schema_name
		join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'm', 'i')
		cross join (select pg_catalog.current_setting('block_size')::bigint as bytes) b
		left join pg_catalog.pg_class x on x.oid = c.reltoastrelid and x.relpages > 0
		where ` + selected + `
		group by t.slug, c.reltablespace
	) p
	group by p.place`
}

// add adds what other tenants have there.
func (t *TablespaceSize) add(o TablespaceSize) bool {
	if t.Name != o.Name {
		return false
	}
	t.Tenants += o.Tenants
	t.TableBytes += o.TableBytes
	t.IndexBytes += o.IndexBytes
	if o.LargestBytes > t.LargestBytes {
		t.Largest, t.LargestBytes = o.Largest, o.LargestBytes
	}
	return true
}

// ByTablespace returns what the selected tenants take in each tablespace, measured or estimated
// as TablesByName does. q must not be in a transaction.
func ByTablespace(ctx context.Context, q db.Querier, o SizeOptions) (Tablespaces, error) {
	t := tally[TablespaceSize]{sql: tablespacesOf, to: pgx.RowToStructByPos[TablespaceSize], add: (*TablespaceSize).add}
	err := t.run(ctx, q, o)
	r := Tablespaces{At: t.at, Mode: t.mode, Tablespaces: t.found}
	if err != nil {
		return r, fmt.Errorf("read the sizes by tablespace: %w", err)
	}
	slices.SortFunc(r.Tablespaces, func(a, b TablespaceSize) int {
		return cmp.Or(cmp.Compare(b.TotalBytes(), a.TotalBytes()), cmp.Compare(a.Name, b.Name))
	})
	return r, nil
}
