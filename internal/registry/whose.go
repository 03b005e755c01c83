package registry

import (
	"context"
	"fmt"

	"github.com/crmctl/crmctl/internal/db"
)

// Named are names by which tenants may be known. Each list may be empty.
type Named struct{ Schemas, Slugs, Roles []string }

// ByNames returns the tenants that have one of the names, in one round trip, without
// rows that are not valid, and without settings.
func (r Registry) ByNames(ctx context.Context, q db.Querier, names Named) ([]Tenant, error) {
	if len(names.Schemas)+len(names.Slugs)+len(names.Roles) == 0 {
		return nil, nil
	}
	f := Filter{}
	rows, err := db.Select(ctx, q, r.scan, `select `+f.columns("")+` from `+r.Tenants()+`
		where schema_name = any ($1::text[]) or slug = any ($2::text[]) or role_name = any ($3::text[])
		order by slug collate "C"`, nonNil(names.Schemas), nonNil(names.Slugs), nonNil(names.Roles))
	if err != nil {
		return nil, fmt.Errorf("read the registry: %w", r.explain(err))
	}
	tenants, _ := split(rows)
	f.forget(tenants)
	return tenants, nil
}
