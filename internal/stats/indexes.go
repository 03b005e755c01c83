package stats

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// IndexUse is an index over the fleet: what the tenants' indexes of one name, on tables of
// one name, take and do together.
type IndexUse struct {
	Table       string
	Name        string
	Constraint  bool // it holds a primary key or another constraint, or is unique
	Tenants     int  // that have it
	Missing     int  // tenants that have the table, but no index of this name
	Unused      int  // tenants in which no scan was counted
	Invalid     int  // tenants in which it is not valid: CREATE INDEX CONCURRENTLY did not end well
	Duplicate   int  // tenants in which another index of the table has the same definition
	DuplicateOf string
	Bytes       int64 // estimated from pg_class
	Scans       float64
}

// Indexes are the indexes of a fleet.
type Indexes struct {
	At      time.Time
	Since   *time.Time // when the counters of the database were last reset; nil for never
	Indexes []IndexUse // the largest first
}

// indexUses is a query for the indexes of the selected tenants, by the names of table and
// index. Two indexes are duplicates where all but their names is the same; of them the one
// that holds a constraint, or else the first by name, is not counted as one. Where nodes have
// told of indexes, $4 is what they say.
func indexUses(reg registry.Registry, onNodes bool) string {
	pages, valid, scans, told := `x.relpages`, `i.indisvalid`, `pg_catalog.pg_stat_get_numscans(x.oid)`, ``
	if onNodes {
		pages, valid = `coalesce(o.pages, x.relpages)`, `coalesce(o.valid, i.indisvalid)`
		scans = `coalesce(o.scans, ` + scans + `)`
		told = `
		left join pg_catalog.json_to_recordset($4::json) o (schema text, tab text, name text, pages int4, valid bool,
			scans int8) on o.schema = has.name and o.tab = c.relname and o.name = x.relname`
	}
	return `
	with has as materialized (
		select n.oid as namespace, n.nspname as name
		from ` + reg.Tenants() + ` t
		join pg_catalog.pg_namespace n on n.nspname = t.schema_name
		where ` + selected + `
	), found as materialized (
		select c.relnamespace as namespace, c.relname as tab, x.relname as name, ` + pages + ` as relpages,
			` + valid + ` as indisvalid, i.indisunique or i.indisexclusion as holds, ` + scans + `::float8 as scans,
			first_value(x.relname) over w as first
		from pg_catalog.pg_index i
		join pg_catalog.pg_class x on x.oid = i.indexrelid
		join pg_catalog.pg_class c on c.oid = i.indrelid
		join has on has.namespace = c.relnamespace` + told + `
		window w as (
			partition by i.indrelid, x.relam, i.indkey::text, i.indclass::text, i.indcollation::text, i.indoption::text,
				i.indnkeyatts, i.indexprs::text, i.indpred::text
			order by ` + valid + ` desc, i.indisunique or i.indisexclusion desc, x.relname
		)
	)
	select f.tab::text, f.name::text, bool_or(f.holds), pg_catalog.count(*),
		greatest(min(h.tenants) - pg_catalog.count(*), 0),
		pg_catalog.count(*) filter (where f.scans = 0), pg_catalog.count(*) filter (where not f.indisvalid),
		pg_catalog.count(*) filter (where f.first <> f.name),
		coalesce((max(f.first::text) filter (where f.first <> f.name)), ''),
		sum(f.relpages::bigint)::bigint * pg_catalog.current_setting('block_size')::bigint, sum(f.scans)
	from found f
	join (
		select c.relname as tab, pg_catalog.count(*) as tenants
		from pg_catalog.pg_class c
		join has on has.namespace = c.relnamespace
		where c.relkind in ('r', 'm', 'p')
		group by c.relname
	) h on h.tab = f.tab
	group by f.tab, f.name
	order by 10 desc, 1, 2`
}

// IndexesByName returns the indexes of the selected tenants, by name. It reads the
// catalogs alone and locks nothing of a tenant's. q must not be in a transaction. On a cluster
// the nodes are asked, and the error is a *cluster.LostError where one does not answer.
func IndexesByName(ctx context.Context, q db.Querier, o Selected) (Indexes, error) {
	var r Indexes
	told, since, err := cluster.Indexes(ctx, q)
	if err != nil {
		return r, err
	}
	args := o.args()
	if told != "" {
		args = append(args, told)
	}
	err = glance(ctx, q, func(p *db.Pipeline) {
		counterTime(p, &r.At, &r.Since)
		p.Query(func(rows pgx.Rows) (err error) {
			r.Indexes, err = pgx.CollectRows(rows, pgx.RowToStructByPos[IndexUse])
			return err
		}, indexUses(o.Registry, told != ""), args...)
	})
	if err != nil {
		return r, fmt.Errorf("read the indexes of the tenants: %w", err)
	}
	if since != nil && (r.Since == nil || since.After(*r.Since)) {
		r.Since = since
	}
	return r, nil
}
