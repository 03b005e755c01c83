package registry

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// CatalogSample is what the tenants took of the system catalogs at some time.
type CatalogSample struct {
	At           time.Time
	Tenants      int
	Relations    int64
	CatalogBytes int64
}

// RecordCatalog keeps a sample. The error is ErrOldRegistry where there is no table for it.
func (r Registry) RecordCatalog(ctx context.Context, q db.Querier, s CatalogSample) error {
	var p db.Pipeline
	p.OwnTransaction()
	p.Exec(`insert into `+r.CatalogSamples()+` (sampled_at, tenants, relations, catalog_bytes) values ($1, $2, $3, $4)
		on conflict (sampled_at) do nothing`, s.At, s.Tenants, s.Relations, s.CatalogBytes)
	return r.ExplainTable(ctx, q, "record the size of the catalogs", p.Run(ctx, q))
}

// CatalogThen returns the sample that the present is compared with: the one that is
// nearest to 30 days old, of those that are more than a day and not 60; nil for none, as
// where there is no table for it.
func (r Registry) CatalogThen(ctx context.Context, q db.Querier) (*CatalogSample, error) {
	found, err := db.Select(ctx, q, pgx.RowToAddrOfStructByName[CatalogSample], `
		select s.sampled_at as at, s.tenants, s.relations, s.catalog_bytes
		from `+r.CatalogSamples()+` s
		where s.sampled_at > pg_catalog.now() - interval '60 days' and s.sampled_at <= pg_catalog.now() - interval '1 day'
		order by abs(extract(epoch from s.sampled_at - (pg_catalog.now() - interval '30 days')))
		limit 1`)
	switch {
	case r.missing(err, catalogs):
		return nil, nil //nolint:nilnil // as documented
	case err != nil:
		return nil, r.explain(err)
	case len(found) == 0:
		return nil, nil //nolint:nilnil // as documented
	}
	return found[0], nil
}
