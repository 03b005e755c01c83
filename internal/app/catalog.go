package app

import (
	"context"

	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

// CatalogOptions say whose catalogs are looked at, and whether that is kept.
type CatalogOptions struct {
	LookOptions

	Record bool
	DryRun bool // of Record
}

// CatalogResult is what was found.
type CatalogResult struct {
	stats.Catalog

	Then *registry.CatalogSample // to compare with; nil for none, and where some tenants are left out
}

// Catalog looks at what the number of schemas does to the database. The error is
// registry.ErrNoRegistry where there is no registry. Where it comes with a catalog whose time
// is set, that could not be recorded.
func (a *App) Catalog(ctx context.Context, o CatalogOptions) (CatalogResult, error) {
	var out CatalogResult
	if o.Record {
		if err := a.Changing(ctx, o.DryRun); err != nil {
			return out, err
		}
	}
	conn, selected, err := a.looking(ctx, o.Selection, o.Skip)
	if err != nil {
		return out, err
	}
	defer closeConn(ctx, conn)
	found, err := stats.ReadCatalog(ctx, conn, selected)
	if err != nil {
		return out, a.noRegistry(err)
	}
	if o.Selection.Everything() {
		if out.Then, err = a.Registry.CatalogThen(ctx, conn); err != nil {
			return out, err
		}
	}
	out.Catalog = found
	if o.Record && !o.DryRun {
		err = a.Registry.RecordCatalog(ctx, conn, found.Sample())
	}
	return out, err
}
