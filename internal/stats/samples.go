package stats

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// baselines is a query for the sample that each selected tenant is compared with:
// the newest of those that are 30 days old, but not 60, or else the oldest that is
// more than a day old. A measure is compared with a measure ($4), an estimate with
// an estimate: the difference between the two is not growth.
func baselines(reg registry.Registry) string {
	return `
	select t.id::text, b.total_bytes, b.sampled_at
	from ` + reg.Tenants() + ` t
	cross join lateral (
		(select s.total_bytes, s.sampled_at
		from ` + reg.Samples() + ` s
		where s.tenant_id = t.id and s.exact = $4
			and s.sampled_at > pg_catalog.now() - interval '60 days'
			and s.sampled_at <= pg_catalog.now() - interval '30 days'
		order by s.sampled_at desc
		limit 1)
		union all
		(select s.total_bytes, s.sampled_at
		from ` + reg.Samples() + ` s
		where s.tenant_id = t.id and s.exact = $4
			and s.sampled_at > pg_catalog.now() - interval '30 days'
			and s.sampled_at <= pg_catalog.now() - interval '1 day'
		order by s.sampled_at
		limit 1)
		order by sampled_at
		limit 1
	) b
	where exists (select from ` + reg.Samples() + `) and ` + selected
}

type baseline struct {
	bytes int64
	at    time.Time
}

// addGrowth compares the tenants with their samples.
func (r *Report) addGrowth(ctx context.Context, q db.Querier, o SizeOptions) error {
	exact := r.Mode == Exact
	byID := map[string]baseline{}
	err := glance(ctx, q, func(p *db.Pipeline) {
		p.Query(func(rows pgx.Rows) error {
			var id string
			var b baseline
			_, err := pgx.ForEachRow(rows, []any{&id, &b.bytes, &b.at}, func() error {
				byID[id] = b
				return nil
			})
			return err
		}, baselines(o.Registry), append(o.args(), exact)...)
	})
	if err != nil {
		return fmt.Errorf("read the size samples: %w", err)
	}
	for i := range r.Tenants {
		t := &r.Tenants[i]
		if b, ok := byID[t.ID]; ok && t.Known && t.Exact == exact {
			t.Growth = &Growth{Bytes: t.TotalBytes() - b.bytes, Since: b.at}
			r.History = true
		}
	}
	return nil
}

// Record keeps the known sizes of a report as samples, for later reports to
// compare with, and returns how many they are. A tenant that was purged meanwhile
// is left out.
func Record(ctx context.Context, q db.Querier, reg registry.Registry, r Report) (int64, error) {
	var samples []registry.Sample
	for _, t := range r.Tenants {
		if t.Known {
			samples = append(samples, registry.Sample{TenantID: t.ID, TableBytes: t.TableBytes, IndexBytes: t.IndexBytes,
				Contacts: t.Contacts, Exact: t.Exact})
		}
	}
	return reg.RecordSizes(ctx, q, r.At, samples)
}
