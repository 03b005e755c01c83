package app

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
	"github.com/crmctl/crmctl/internal/tablespace"
)

// SizesOptions say whose sizes are wanted, and how they are found.
type SizesOptions struct {
	Selection *Selection
	Mode      stats.Mode
	Record    bool // keep them, to compare with later
	DryRun    bool // of Record
	History   bool // of the Top largest, of all where that is 0
	Top       int
	Measured  func(done, total int) // is told how far it is; nil for nobody
}

// SizesResult is what was found.
type SizesResult struct {
	Report   *stats.Report           // nil where an error came before it; otherwise the error is one of recording it
	Invalid  []registry.InvalidRow   // selected rows that are not valid, and left alone
	Recorded int64                   // tenants
	History  map[string][]stats.Past // by the tenant's id; nil unless it is wanted
}

// Sizes finds what tenants take. The error is registry.ErrNoRegistry where there is none.
func (a *App) Sizes(ctx context.Context, o SizesOptions) (SizesResult, error) {
	var (
		out  SizesResult
		conn *pgx.Conn
		err  error
	)
	if o.Record {
		conn, err = a.change(ctx, o.DryRun)
	} else {
		conn, err = a.Connect(ctx)
	}
	if err != nil {
		return out, err
	}
	defer closeConn(ctx, conn)
	s := stats.SizeOptions{Registry: a.Registry, Mode: o.Mode, Dial: a.Connect, Measured: o.Measured}
	if s.Slugs, out.Invalid, err = a.slugsOf(ctx, conn, o.Selection); err != nil {
		return out, err
	}
	report, err := stats.Sizes(ctx, conn, s)
	if a.Registry.Missing(err) {
		err = registry.ErrNoRegistry
	}
	if err != nil {
		return out, err
	}
	if o.History {
		top, _ := report.Top(o.Top)
		if out.History, err = stats.History(ctx, conn, a.Registry, report.Mode, top); err != nil {
			return out, err
		}
	}
	out.Report = &report
	if o.Record && !o.DryRun {
		out.Recorded, err = stats.Record(ctx, conn, a.Registry, report)
	}
	return out, err
}

// slugsOf returns the slugs of the selected tenants, or nil for all, and the selected
// rows that are not valid.
func (a *App) slugsOf(ctx context.Context, q db.Querier, s *Selection) ([]string, []registry.InvalidRow, error) {
	if s.Everything() {
		// All of them, unless there is one that is not to be looked at.
		invalid, err := a.Registry.Invalid(ctx, q)
		if err != nil || len(invalid) == 0 {
			return nil, nil, err
		}
	}
	tenants, invalid, err := a.Tenants(ctx, q, s)
	if err != nil {
		return nil, invalid, err
	}
	slugs := make([]string, len(tenants))
	for i, t := range tenants {
		slugs[i] = t.Slug
	}
	return slugs, invalid, nil
}

// TableSizes finds what the tables of each name take over the selected tenants.
func (a *App) TableSizes(ctx context.Context, o SizesOptions) (t stats.Tables, invalid []registry.InvalidRow,
	err error) {
	conn, selected, err := a.looking(ctx, o.Selection, func(rows []registry.InvalidRow) { invalid = rows })
	if err != nil {
		return t, invalid, err
	}
	defer closeConn(ctx, conn)
	t, err = stats.TablesByName(ctx, conn, stats.SizeOptions{Registry: a.Registry, Mode: o.Mode, Slugs: selected.Slugs,
		Dial: a.Connect, Measured: o.Measured})
	return t, invalid, a.noRegistry(err)
}

// TablespaceSizes finds what the selected tenants take in each tablespace.
func (a *App) TablespaceSizes(ctx context.Context, o SizesOptions) (t stats.Tablespaces, invalid []registry.InvalidRow,
	err error) {
	conn, selected, err := a.looking(ctx, o.Selection, func(rows []registry.InvalidRow) { invalid = rows })
	if err != nil {
		return t, invalid, err
	}
	defer closeConn(ctx, conn)
	if db.EngineOf(conn).Distributed() {
		return t, invalid, tablespace.ErrCluster
	}
	t, err = stats.ByTablespace(ctx, conn, stats.SizeOptions{Registry: a.Registry, Mode: o.Mode, Slugs: selected.Slugs,
		Dial: a.Connect, Measured: o.Measured})
	return t, invalid, a.noRegistry(err)
}
