package app

import (
	"context"

	"github.com/crmctl/crmctl/internal/stats"
)

// Queries reads what the server has counted for statements: for those of the selected
// tenants, or for all, whoever's they are.
func (a *App) Queries(ctx context.Context, o LookOptions) (stats.Queries, error) {
	conn, err := a.Connect(ctx)
	if err != nil {
		return stats.Queries{}, err
	}
	defer closeConn(ctx, conn)
	want := stats.QueryOptions{Registry: a.Registry}
	if !o.Selection.Everything() {
		_, invalid, err := a.Tenants(ctx, conn, o.Selection)
		o.Skip(invalid)
		if err != nil { // one that is not there
			return stats.Queries{}, a.noRegistry(err)
		}
		want.Tenant = o.Selection.Selects
	}
	found, err := stats.ReadQueries(ctx, conn, want)
	return found, a.noRegistry(err)
}
