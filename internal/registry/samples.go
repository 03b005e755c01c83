package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Sample is the size of a tenant at some time, in bytes.
type Sample struct {
	TenantID               string // uuid
	TableBytes, IndexBytes int64
	Contacts               *int64 // estimated, nil when unknown
	Exact                  bool   // measured; false for an estimate
}

// RecordSizes keeps samples and returns how many they are. A tenant that was purged
// meanwhile is left out.
func (r Registry) RecordSizes(ctx context.Context, q db.Querier, at time.Time, list []Sample) (int64, error) {
	n := len(list)
	ids, exact, contacts := make([]string, n), make([]bool, n), make([]*int64, n)
	tables, indexes := make([]int64, n), make([]int64, n)
	for i, s := range list {
		ids[i], exact[i], contacts[i] = s.TenantID, s.Exact, s.Contacts
		tables[i], indexes[i] = s.TableBytes, s.IndexBytes
	}
	var recorded int64
	var p db.Pipeline
	p.OwnTransaction()
	p.Query(func(rows pgx.Rows) error {
		rows.Close()
		recorded = rows.CommandTag().RowsAffected()
		return rows.Err()
	}, `
		insert into `+r.Samples()+`
			(tenant_id, sampled_at, table_bytes, index_bytes, total_bytes, contacts, exact)
		select t.id, $1::timestamptz, s.tables, s.indexes, s.tables + s.indexes, s.contacts, s.exact
		from unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bool[])
			as s (id, tables, indexes, contacts, exact)
		join `+r.Tenants()+` t on t.id = s.id
		on conflict (tenant_id, sampled_at) do nothing`,
		at, ids, tables, indexes, contacts, exact)
	if err := p.Run(ctx, q); err != nil {
		return 0, fmt.Errorf("record the sizes: %w", err)
	}
	return recorded, nil
}
