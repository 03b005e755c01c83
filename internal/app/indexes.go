package app

import (
	"context"

	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

// LookOptions say whose statistics are wanted.
type LookOptions struct {
	Selection *Selection
	// Skip is told the selected rows of the registry that are not valid.
	Skip func([]registry.InvalidRow)
}

// Indexes finds what the tenants' indexes take and do.
func (a *App) Indexes(ctx context.Context, o LookOptions) (stats.Indexes, error) {
	conn, selected, err := a.looking(ctx, o.Selection, o.Skip)
	if err != nil {
		return stats.Indexes{}, err
	}
	defer closeConn(ctx, conn)
	found, err := stats.IndexesByName(ctx, conn, selected)
	return found, a.noRegistry(err)
}

// WantedIndexes finds the indexes that the tenants lack.
func (a *App) WantedIndexes(ctx context.Context, o LookOptions) (stats.WantedIndexes, error) {
	conn, selected, err := a.looking(ctx, o.Selection, o.Skip)
	if err != nil {
		return stats.WantedIndexes{}, err
	}
	defer closeConn(ctx, conn)
	found, err := stats.FindWanted(ctx, conn, selected)
	return found, a.noRegistry(err)
}
