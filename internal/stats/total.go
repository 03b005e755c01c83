package stats

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// measureTotalsUpTo is the size of a fleet for whose exact sizes nobody waits.
const measureTotalsUpTo = 200

// few is a condition that the server checks before it does anything else: up to $4
// tenants are selected.
func few(reg registry.Registry) string {
	return `(select count(*) from ` + reg.Tenants() + ` t where ` + selected + `) <= $4`
}

func measuredTotals(reg registry.Registry) string {
	return `
	select t.slug, coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::bigint
	from ` + reg.Tenants() + ` t
	join pg_catalog.pg_namespace n on n.nspname = t.schema_name
	left join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'm', 'S')
	where ` + selected + ` and ` + few(reg) + `
	group by t.slug`
}

func estimatedTotals(reg registry.Registry) string {
	return `
	select e.slug, e.table_bytes + e.index_bytes
	from (` + estimated(reg) + `) e
	where e.known and not ` + few(reg)
}

// TotalBytes returns what each tenant takes, by slug, in one round trip: measured
// for a small fleet, estimated for a larger one. Nil slugs mean every tenant. A
// tenant whose schema is gone is not in the map. q must not be in a transaction.
func TotalBytes(ctx context.Context, q db.Querier, reg registry.Registry, slugs []string) (map[string]int64, error) {
	if db.EngineOf(q).Distributed() {
		return totalsOnNodes(ctx, q, reg, slugs)
	}
	totals, err := totalBytes(ctx, q, reg, slugs, measureTotalsUpTo)
	if db.SQLState(err) == db.CodeLockNotAvailable {
		totals, err = totalBytes(ctx, q, reg, slugs, -1)
	}
	if err != nil {
		return nil, fmt.Errorf("read sizes: %w", err)
	}
	return totals, nil
}

// totalsOnNodes is TotalBytes where the tenants stand on nodes of a cluster. One whose node
// does not answer is not in the map.
func totalsOnNodes(ctx context.Context, q db.Querier, reg registry.Registry, slugs []string) (map[string]int64, error) {
	r, err := Sizes(ctx, q, SizeOptions{Registry: reg, Slugs: slugs})
	totals := make(map[string]int64, len(r.Tenants))
	for _, t := range r.Tenants {
		if t.Known {
			totals[t.Slug] = t.TotalBytes()
		}
	}
	return totals, err
}

// totalBytes measures up to limit tenants, and estimates more of them.
func totalBytes(ctx context.Context, q db.Querier, reg registry.Registry, slugs []string,
	limit int64) (map[string]int64, error) {
	totals := map[string]int64{}
	read := func(rows pgx.Rows) error {
		var slug string
		var n int64
		_, err := pgx.ForEachRow(rows, []any{&slug, &n}, func() error {
			totals[slug] = n
			return nil
		})
		return err
	}
	args := append(SizeOptions{Slugs: slugs}.args(), limit)
	err := glance(ctx, q, func(p *db.Pipeline) {
		p.Query(read, measuredTotals(reg), args...)
		p.Query(read, estimatedTotals(reg), args...)
	})
	return totals, err
}
