package stats

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// estimated is a query for the estimated size of every selected tenant: id, slug,
// status, whether the schema is there, bytes of tables and indexes, contacts.
//
// It reads pg_class twice and asks no function about a relation, which would
// open each one. A TOAST table stands in another schema and belongs to the table
// that names it. Its index is computed, since neither vacuum nor analyze keep its
// pages in pg_class: the one page that every b-tree begins with, a root, and a
// leaf for the 366 chunks, four a page, that 91 pages hold. A partitioned table
// has no pages of its own (but -1 of them).
func estimated(reg registry.Registry) string {
	return `
	select t.id::text, t.slug, t.status, t.schema_name, n.oid is not null as known,
		(coalesce(s.table_pages, 0) * b.bytes)::bigint as table_bytes,
		(coalesce(s.index_pages, 0) * b.bytes)::bigint as index_bytes, s.contacts
	from ` + reg.Tenants() + ` t
	cross join (select pg_catalog.current_setting('block_size')::bigint as bytes) b
	left join pg_catalog.pg_namespace n on n.nspname = t.schema_name
	left join (
		select c.relnamespace,
			sum(case when c.relkind in ('r', 'm', 'S') then c.relpages else 0 end
				+ case when c.reltoastrelid <> 0 then coalesce(toast.relpages + toast.relpages / 91 + 2, 1) else 0 end
			) as table_pages,
			sum(c.relpages) filter (where c.relkind = 'i') as index_pages,
			(max(c.reltuples) filter (where c.relname = 'contacts' and c.relkind in ('r', 'p')))::bigint as contacts
		from pg_catalog.pg_class c
		left join pg_catalog.pg_class toast
			on toast.oid = c.reltoastrelid and toast.relkind = 't' and toast.relpages > 0
		where c.relkind in ('r', 'm', 'S', 'i', 'p')
		group by c.relnamespace
	) s on s.relnamespace = n.oid
	where ` + selected + `
`
}

// estimate returns the tenants with their estimated sizes, in no order.
func estimate(ctx context.Context, q db.Querier, o SizeOptions) (at time.Time, tenants []TenantSize, err error) {
	err = glance(ctx, q, func(p *db.Pipeline) {
		bound(p, o.Timeout)
		p.QueryRow([]any{&at}, "select pg_catalog.now()")
		p.Query(func(rows pgx.Rows) (err error) {
			tenants, err = pgx.CollectRows(rows, scanEstimate)
			return err
		}, estimated(o.Registry), o.args()...)
	})
	if err != nil {
		return at, nil, fmt.Errorf("estimate sizes: %w", err)
	}
	return at, tenants, nil
}

func scanEstimate(row pgx.CollectableRow) (TenantSize, error) {
	var s TenantSize
	var contacts *int64
	err := row.Scan(&s.ID, &s.Slug, &s.Status, &s.schema, &s.Known, &s.TableBytes, &s.IndexBytes, &contacts)
	s.Contacts = countOrNil(contacts)
	return s, err
}

// countOrNil takes -1, a table that was never analyzed, for unknown.
func countOrNil(n *int64) *int64 {
	if n == nil || *n < 0 {
		return nil
	}
	return n
}
