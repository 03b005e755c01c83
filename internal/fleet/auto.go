package fleet

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

const (
	autoMost      = 16 // beyond it a server of ordinary size gets slower, not faster
	itemsToOpen   = 4  // a connection is not worth opening for fewer items
	shareOfUnused = 2  // of the server's free connections, one in so many
)

// AutoConcurrency returns how many connections a run over n items does best with:
// two for each core of this machine, as far as the server has connections that
// nobody uses, of which it leaves half to others, and as the items are worth them.
func AutoConcurrency(ctx context.Context, q db.Querier, cores, n int) (int, error) {
	return AutoConcurrencyOf(ctx, q, cores, n, 1)
}

// AutoConcurrencyOf is AutoConcurrency for items that take several connections each.
func AutoConcurrencyOf(ctx context.Context, q db.Querier, cores, n, connections int) (int, error) {
	free, err := db.Select(ctx, q, pgx.RowTo[int], `
		select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
			- (select count(*)::int from pg_stat_activity where backend_type = 'client backend')`)
	if err != nil {
		return 0, fmt.Errorf("count free connections: %w", err)
	}
	return autoConcurrency(cores, free[0]/connections, n), nil
}

func autoConcurrency(cores, free, n int) int {
	return max(1, min(2*cores, autoMost, free/shareOfUnused, (n+itemsToOpen-1)/itemsToOpen))
}
