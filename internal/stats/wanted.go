package stats

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// WantedKind says why an index is wanted.
type WantedKind string

// Kinds of WantedIndex.
const (
	// ForeignKey is one whose columns no index begins with: deleting a row that it may
	// point to reads the whole table.
	ForeignKey WantedKind = "foreign_key"
	// SequentialScans are those of large tables that read far into them.
	SequentialScans WantedKind = "sequential_scans"
)

const (
	// largeTable is the number of rows above which reading a whole table is worth a word.
	largeTable = 10_000
	// deepScan is the number of rows that sequential scans read on average; those of a
	// query with a small LIMIT read fewer.
	deepScan = 1000
)

// WantedIndex is an index that the fleet lacks, on tables of one name.
type WantedIndex struct {
	Kind       WantedKind
	Table      string
	Columns    []string // of the foreign key; none for SequentialScans
	References string   // the table that the foreign key points to
	Tenants    int      // that lack it
	Rows       int64    // in their tables, estimated
	Deleted    float64  // rows deleted from the table that the foreign key points to
	Scans      float64  // sequential scans of the table
	RowsRead   float64  // by them
	IndexScans float64  // of the table
	Statement  string   // makes the index; "" where it is not known on which columns
}

// WantedIndexes are the indexes that a fleet lacks.
type WantedIndexes struct {
	At      time.Time
	Since   *time.Time    // when the counters of the database were last reset; nil for never
	Indexes []WantedIndex // those of the most rows first
}

// wantedKeys is a query for the foreign keys without an index. An index serves one where
// its first columns are those of the key in any order.
func wantedKeys(reg registry.Registry) string {
	return `
	with has as materialized (
		select n.oid as namespace
		from ` + reg.Tenants() + ` t
		join pg_catalog.pg_namespace n on n.nspname = t.schema_name
		where ` + selected + `
	), lacking as materialized (
		select k.oid, c.relname as tab, p.relname as parent, k.conrelid, k.confrelid, k.conkey,
			greatest(c.reltuples, 0) as tuples
		from pg_catalog.pg_constraint k
		join pg_catalog.pg_class c on c.oid = k.conrelid
		join pg_catalog.pg_class p on p.oid = k.confrelid
		join has on has.namespace = c.relnamespace
		where k.contype = 'f' and k.conparentid = 0 and not exists (
			select from pg_catalog.pg_index i
			join pg_catalog.pg_class x on x.oid = i.indexrelid
			join pg_catalog.pg_am m on m.oid = x.relam and m.amname in ('btree', 'hash')
			where i.indrelid = k.conrelid and i.indisvalid and i.indpred is null
				and (i.indkey::int2[])[0:pg_catalog.cardinality(k.conkey) - 1] @> k.conkey)
	)
	select l.tab::text, a.columns, l.parent::text, pg_catalog.count(*), sum(l.tuples)::bigint,
		sum(pg_catalog.pg_stat_get_tuples_deleted(l.confrelid)::float8),
		pg_catalog.format('create index on %I (%s)', l.tab, a.list)
	from lacking l
	cross join lateral (
		select array_agg(a.attname::text order by o.n) as columns,
			string_agg(pg_catalog.quote_ident(a.attname), ', ' order by o.n) as list
		from pg_catalog.unnest(l.conkey) with ordinality o (attnum, n)
		join pg_catalog.pg_attribute a on a.attrelid = l.conrelid and a.attnum = o.attnum
	) a
	group by l.tab, a.columns, a.list, l.parent
	order by 5 desc, 1, 2`
}

// wantedScans is a query for large tables that are read from end to end.
func wantedScans(reg registry.Registry) string {
	return `
	select s.tab::text, pg_catalog.count(*), sum(s.tuples)::bigint, sum(s.scans), sum(s.read), sum(coalesce(i.scans, 0))
	from (
		select c.oid, c.relname as tab, c.reltuples as tuples, pg_catalog.pg_stat_get_numscans(c.oid)::float8 as scans,
			pg_catalog.pg_stat_get_tuples_returned(c.oid)::float8 as read
		from ` + reg.Tenants() + ` t
		join pg_catalog.pg_namespace n on n.nspname = t.schema_name
		join pg_catalog.pg_class c on c.relnamespace = n.oid
		where ` + selected + ` and c.relkind in ('r', 'm') and c.reltuples >= $4::float8
	) s
	left join lateral (
		select sum(pg_catalog.pg_stat_get_numscans(i.indexrelid)::float8) as scans
		from pg_catalog.pg_index i where i.indrelid = s.oid
	) i on true
	where s.read >= $5::float8 * s.scans and s.scans > 0
	group by s.tab
	order by 5 desc, 1`
}

// FindWanted returns the indexes that the selected tenants lack, as far as catalogs and
// counters tell. It locks nothing of a tenant's. q must not be in a transaction.
func FindWanted(ctx context.Context, q db.Querier, o Selected) (WantedIndexes, error) {
	var r WantedIndexes
	err := glance(ctx, q, func(p *db.Pipeline) {
		counterTime(p, &r.At, &r.Since)
		p.Query(func(rows pgx.Rows) error {
			w := WantedIndex{Kind: ForeignKey}
			_, err := pgx.ForEachRow(rows, []any{&w.Table, &w.Columns, &w.References, &w.Tenants, &w.Rows, &w.Deleted,
				&w.Statement}, func() error {
				r.Indexes = append(r.Indexes, w)
				w.Columns = nil
				return nil
			})
			return err
		}, wantedKeys(o.Registry), o.args()...)
		p.Query(func(rows pgx.Rows) error {
			w := WantedIndex{Kind: SequentialScans, Columns: []string{}}
			_, err := pgx.ForEachRow(rows, []any{&w.Table, &w.Tenants, &w.Rows, &w.Scans, &w.RowsRead, &w.IndexScans},
				func() error {
					r.Indexes = append(r.Indexes, w)
					return nil
				})
			return err
		}, wantedScans(o.Registry), append(o.args(), largeTable, deepScan)...)
	})
	if err != nil {
		return r, fmt.Errorf("look for indexes that the tenants lack: %w", err)
	}
	return r, nil
}
