package app

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

// LoadOptions say whose load is wanted, and how long to look.
type LoadOptions struct {
	Selection *Selection
	Interval  time.Duration // between two samples
	Watch     bool          // go on until the context ends or Show fails
	// Skip is told the selected rows of the registry that are not valid; Show gets the load
	// of each interval.
	Skip func([]registry.InvalidRow)
	Show func(stats.Load) error
}

// Load shows what the tenants do between two samples, or between each and the next. The
// error is registry.ErrNoRegistry where there is no registry.
func (a *App) Load(ctx context.Context, o LoadOptions) error {
	conn, selected, err := a.looking(ctx, o.Selection, o.Skip)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	earlier, err := stats.SampleLoad(ctx, conn, selected)
	if err != nil {
		return a.noRegistry(err)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(o.Interval):
		}
		later, err := stats.SampleLoad(ctx, conn, selected)
		if err != nil {
			return a.noRegistry(err)
		}
		if err := o.Show(stats.LoadBetween(earlier, later)); err != nil || !o.Watch {
			return err
		}
		earlier = later
	}
}

// looking opens a connection for statistics of the selected tenants.
func (a *App) looking(ctx context.Context, s *Selection, skip func([]registry.InvalidRow)) (*pgx.Conn,
	stats.Selected, error) {
	selected := stats.Selected{Registry: a.Registry}
	conn, err := a.Connect(ctx)
	if err != nil {
		return nil, selected, err
	}
	slugs, invalid, err := a.slugsOf(ctx, conn, s)
	skip(invalid)
	if err != nil {
		closeConn(ctx, conn)
		return nil, selected, a.noRegistry(err)
	}
	selected.Slugs = slugs
	return conn, selected, nil
}

// noRegistry returns registry.ErrNoRegistry in place of the server's error that says so.
func (a *App) noRegistry(err error) error {
	if a.Registry.Missing(err) {
		return registry.ErrNoRegistry
	}
	return err
}
