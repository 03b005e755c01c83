package stats

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// PerDay is how fast the tenants of a report grow together, in bytes a day. A tenant that
// there is no sample of, while there is one of others, is taken for new: all of it has grown
// since the oldest sample. false means that there is no sample at all.
func (r Report) PerDay() (bytes float64, known bool) {
	const day = 24 * float64(time.Hour)
	days := func(since time.Time) float64 { return float64(r.At.Sub(since)) / day }
	var longest float64
	var made int64 // bytes of tenants without a sample
	for _, t := range r.Tenants {
		switch {
		case t.Growth != nil && days(t.Growth.Since) > 0:
			bytes += float64(t.Growth.Bytes) / days(t.Growth.Since)
			longest = max(longest, days(t.Growth.Since))
		case t.Growth == nil && t.Known && t.Exact == (r.Mode == Exact):
			made += t.TotalBytes()
		}
	}
	if longest == 0 {
		return 0, false
	}
	return bytes + float64(made)/longest, true
}

// DaysUntil is how many days the tenants take to fill a capacity as they have grown so far:
// 0 when they do already; false when they do not grow, or nothing is known about it.
func (r Report) DaysUntil(capacity int64) (days float64, known bool) {
	left := capacity - Sum(r.Tenants).TotalBytes()
	if left <= 0 {
		return 0, true
	}
	perDay, known := r.PerDay()
	if !known || perDay <= 0 {
		return 0, false
	}
	return float64(left) / perDay, true
}

// Past is a tenant's size at an earlier time.
type Past struct {
	At    time.Time
	Bytes int64
}

// HistoryLength is how many samples History returns of a tenant.
const HistoryLength = 12

// past is a query for the latest samples of some tenants, the oldest first.
func past(reg registry.Registry) string {
	return `
	select u.id, s.sampled_at, s.total_bytes
	from unnest($1::text[]) as u (id)
	cross join lateral (
		select s.sampled_at, s.total_bytes
		from ` + reg.Samples() + ` s
		where s.tenant_id = u.id::uuid and s.exact = $2
		order by s.sampled_at desc
		limit $3
	) s
	order by u.id, s.sampled_at`
}

// History returns the latest samples of tenants that were found in the way of mode, by id.
func History(ctx context.Context, q db.Querier, reg registry.Registry, mode Mode,
	tenants []TenantSize) (map[string][]Past, error) {
	ids := make([]string, len(tenants))
	for i, t := range tenants {
		ids[i] = t.ID
	}
	out := map[string][]Past{}
	err := glance(ctx, q, func(p *db.Pipeline) {
		p.Query(func(rows pgx.Rows) error {
			var id string
			var one Past
			_, err := pgx.ForEachRow(rows, []any{&id, &one.At, &one.Bytes}, func() error {
				out[id] = append(out[id], one)
				return nil
			})
			return err
		}, past(reg), ids, mode == Exact, HistoryLength)
	})
	if err != nil {
		return nil, fmt.Errorf("read the size samples: %w", err)
	}
	return out, nil
}

// whole is a query for what all tenants took together at the times when sizes were recorded,
// the latest first. Times when only some tenants were recorded are left out.
func whole(reg registry.Registry) string {
	return `
	select s.sampled_at as at, sum(s.total_bytes)::bigint as bytes
	from ` + reg.Samples() + ` s
	where s.exact = $1 and s.sampled_at > pg_catalog.now() - interval '1 year'
	group by s.sampled_at
	having count(*) * 10 >= 9 * (select count(*) from ` + reg.Tenants() + ` t
		where t.created_at <= s.sampled_at and t.status <> 'deleted')
	order by s.sampled_at desc
	limit $2`
}

// TotalHistory returns what all tenants took together at the latest times, at most so many,
// when their sizes were recorded in the way of mode: the oldest first.
func TotalHistory(ctx context.Context, q db.Querier, reg registry.Registry, mode Mode, most int) ([]Past, error) {
	found, err := db.Select(ctx, q, pgx.RowToStructByName[Past], whole(reg), mode == Exact, most)
	if err != nil {
		return nil, fmt.Errorf("read the size samples: %w", err)
	}
	slices.Reverse(found)
	return found, nil
}
