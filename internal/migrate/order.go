package migrate

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// Order is the order in which a run takes its tenants up.
type Order string

// The orders of a run.
const (
	OrderSize    Order = "size"    // smallest first, so that trouble shows early
	OrderLargest Order = "largest" // largest first, which ends soonest
	OrderName    Order = "name"
	OrderVersion Order = "version" // those most behind first
)

// Orders returns every order, the default first.
func Orders() []Order { return []Order{OrderSize, OrderLargest, OrderName, OrderVersion} }

// smallPages is the size in pages from which a table counts. A fleet's many small
// tenants are then all alike, and the query that tells them apart reads no more
// than one pass over pg_class.
const smallPages = 128

// arrange sorts tenants for a run, by name where the order leaves it open. Sizes
// are those that the server keeps from the last vacuum or analyze. The order "" leaves them
// as they are.
func arrange(ctx context.Context, q db.Querier, tenants []registry.Tenant, order Order) error {
	if order == "" {
		return nil
	}
	slices.SortFunc(tenants, func(a, b registry.Tenant) int { return cmp.Compare(a.Slug, b.Slug) })
	switch order {
	case OrderVersion:
		slices.SortStableFunc(tenants, func(a, b registry.Tenant) int { return cmp.Compare(a.Version, b.Version) })
	case OrderSize, OrderLargest:
		pages, err := pagesOf(ctx, q)
		if err != nil {
			return err
		}
		sign := 1
		if order == OrderLargest {
			sign = -1
		}
		slices.SortStableFunc(tenants, func(a, b registry.Tenant) int {
			return sign * cmp.Compare(pages[a.Schema.String()], pages[b.Schema.String()])
		})
	case OrderName:
	}
	return nil
}

// pagesOf returns the pages of the tables that are not small, by schema.
func pagesOf(ctx context.Context, q db.Querier) (map[string]int64, error) {
	type row struct {
		Schema string
		Pages  int64
	}
	rows, err := db.Select(ctx, q, pgx.RowToStructByName[row], `
		select n.nspname::text as schema, c.pages
		from (select relnamespace, sum(relpages)::bigint as pages from pg_class
			where relpages > $1 and relkind in ('r', 'm', 't') group by relnamespace) c
		join pg_namespace n on n.oid = c.relnamespace`, smallPages)
	if err != nil {
		return nil, fmt.Errorf("read the sizes: %w", err)
	}
	out := make(map[string]int64, len(rows))
	for _, r := range rows {
		out[r.Schema] = r.Pages
	}
	return out, nil
}
