package stats

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// TableSize is what the tables of one name take in all tenants.
type TableSize struct {
	Name       string
	Tenants    int   // that have such a table
	HeapBytes  int64 // the rows themselves
	ToastBytes int64 // values stored out of line, with their index
	IndexBytes int64
	Rows       *int64 // estimated; nil where no tenant's table was ever analyzed
	// DeadBytes estimates the part of HeapBytes that dead rows take: their share of all
	// rows, as the server counts both. Room that a vacuum has made free already is not in it.
	DeadBytes    int64
	Largest      string // slug of the tenant whose table is the largest
	LargestBytes int64
}

// TotalBytes is the sum of all parts.
func (t TableSize) TotalBytes() int64 { return t.HeapBytes + t.ToastBytes + t.IndexBytes }

// Tables are the sizes of a fleet's tables.
type Tables struct {
	At     time.Time
	Mode   Mode        // Exact or Estimate
	Tables []TableSize // the largest first
}

// tablesOf is a query for the tables of the selected tenants, by name. exact asks for the
// sizes of the files, which opens one relation after another; otherwise the pages that
// pg_class has noted are added up. Where nodes have told of tables, $4 is what they say.
func tablesOf(reg registry.Registry, exact, onNodes bool) string {
	heap, toast, indexes := `c.relpages * b.bytes`,
		`case when c.reltoastrelid <> 0 then coalesce(x.relpages + x.relpages / 91 + 2, 1) * b.bytes else 0 end`,
		`coalesce(i.pages, 0) * b.bytes`
	if exact {
		heap = `pg_catalog.pg_table_size(c.oid) - case when c.reltoastrelid <> 0
			then pg_catalog.pg_total_relation_size(c.reltoastrelid) else 0 end`
		toast = `case when c.reltoastrelid <> 0 then pg_catalog.pg_total_relation_size(c.reltoastrelid) else 0 end`
		indexes = `pg_catalog.pg_indexes_size(c.oid)`
	}
	here, there := ``, ``
	if onNodes {
		here = ` and not exists (select 1 from pg_catalog.pg_dist_partition d where d.logicalrelid = c.oid)`
		there = `
		union all
		select t.slug, o.name, o.tuples, o.heap, o.toast, o.indexes, o.live, o.dead
		from ` + reg.Tenants() + ` t
		join pg_catalog.json_to_recordset($4::json) o (schema text, name text, tuples float8, heap int8, toast int8,
			indexes int8, live float8, dead float8) on o.schema = t.schema_name
		where ` + selected
	}
	return `
	select s.name::text, pg_catalog.count(*), sum(s.heap)::bigint, sum(s.toast)::bigint, sum(s.indexes)::bigint,
		(sum(s.tuples) filter (where s.tuples >= 0))::bigint,
		sum(case when s.dead > 0 then s.heap * (s.dead / (s.live + s.dead)) else 0 end)::bigint,
		(array_agg(s.slug order by s.heap + s.toast + s.indexes desc))[1],
		max(s.heap + s.toast + s.indexes)::bigint
	from (
		select t.slug, c.relname as name, c.reltuples as tuples,
			coalesce(` + heap + `, 0) as heap, coalesce(` + toast + `, 0) as toast, coalesce(` + indexes + `, 0) as indexes,
			pg_catalog.pg_stat_get_live_tuples(c.oid)::float8 as live,
			pg_catalog.pg_stat_get_dead_tuples(c.oid)::float8 as dead
		from ` + reg.Tenants() + ` t
		join pg_catalog.pg_namespace n on n.nspname = t.schema_name
		join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'm')
		cross join (select pg_catalog.current_setting('block_size')::bigint as bytes) b
		left join pg_catalog.pg_class x on x.oid = c.reltoastrelid and x.relpages > 0
		left join (
			select i.indrelid, sum(ic.relpages) as pages
			from pg_catalog.pg_index i
			join pg_catalog.pg_class ic on ic.oid = i.indexrelid
			group by i.indrelid
		) i on i.indrelid = c.oid
		where ` + selected + here + there + `
	) s
	group by s.name`
}

// TablesByName returns what the tables of each name take over the selected tenants. Up to
// exactUpTo tenants are measured and more are estimated; o.Mode Exact or Estimate says it in
// advance. Tenants are measured in statements of at most chunkSize each, and those of a
// statement that a locked table stands in the way of are estimated. q must not be in a
// transaction. On a cluster the nodes measure all of them, and the error is a
// *cluster.LostError where one does not answer.
func TablesByName(ctx context.Context, q db.Querier, o SizeOptions) (Tables, error) {
	told, err := cluster.Tables(ctx, q)
	if err != nil {
		return Tables{}, err
	}
	t := tally[TableSize]{sql: func(reg registry.Registry, exact bool) string {
		return tablesOf(reg, exact, told != "")
	}, onNodes: told, to: func(row pgx.CollectableRow) (t TableSize, err error) {
		err = row.Scan(&t.Name, &t.Tenants, &t.HeapBytes, &t.ToastBytes, &t.IndexBytes, &t.Rows, &t.DeadBytes, &t.Largest,
			&t.LargestBytes)
		return t, err
	}, add: (*TableSize).add}
	err = t.run(ctx, q, o)
	r := Tables{At: t.at, Mode: t.mode, Tables: t.found}
	if err != nil {
		return r, fmt.Errorf("read the sizes of tables: %w", err)
	}
	slices.SortFunc(r.Tables, func(a, b TableSize) int {
		return cmp.Or(cmp.Compare(b.TotalBytes(), a.TotalBytes()), cmp.Compare(a.Name, b.Name))
	})
	return r, nil
}

// add adds the tables of the same name in other tenants, and reports whether they are.
func (t *TableSize) add(o TableSize) bool {
	if t.Name != o.Name {
		return false
	}
	t.Tenants += o.Tenants
	t.HeapBytes += o.HeapBytes
	t.ToastBytes += o.ToastBytes
	t.IndexBytes += o.IndexBytes
	t.DeadBytes += o.DeadBytes
	switch {
	case t.Rows == nil:
		t.Rows = o.Rows
	case o.Rows != nil:
		*t.Rows += *o.Rows
	}
	if o.LargestBytes > t.LargestBytes {
		t.Largest, t.LargestBytes = o.Largest, o.LargestBytes
	}
	return true
}
