package fleet

import (
	"context"
	"runtime"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

const (
	autoMost      = 16 // beyond it a server of ordinary size gets slower, not faster
	itemsToOpen   = 4  // a connection is not worth opening for fewer items
	shareOfUnused = 2  // of the server's free connections, one in so many
)

// Auto returns how many of n items, each of which takes so many connections, are best
// worked on at once: two for each core of this machine, as far as the server has
// connections that nobody uses, of which it leaves half to others, and as the items are
// worth them. Where the server does not tell it is DefaultConcurrency.
func Auto(ctx context.Context, q db.Querier, n, connections int) int {
	free, err := db.Select(ctx, q, pgx.RowTo[int], `
		select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
			- (select count(*)::int from pg_stat_activity where backend_type = 'client backend')`)
	if err != nil {
		return autoConcurrency(runtime.NumCPU(), shareOfUnused*DefaultConcurrency, n)
	}
	return autoConcurrency(runtime.NumCPU(), free[0]/max(1, connections), n)
}

// choose decides the concurrency of a run that leaves it to Auto. It returns the
// connect function that hands out the connection on which it asked, and what closes that
// where nobody has taken it. A server that cannot be reached is left to the workers, who
// have patience with it.
func (o *Options) choose(ctx context.Context, connect func(context.Context) (*pgx.Conn, error), n int) (
	first func(context.Context) (*pgx.Conn, error), end func(),
) {
	if o.Concurrency > 0 {
		return connect, func() {}
	}
	work := n * max(1, o.Weight)
	o.Concurrency = autoConcurrency(runtime.NumCPU(), shareOfUnused*DefaultConcurrency, work)
	if n < 2 || o.Concurrency == 1 {
		return connect, func() {}
	}
	conn, err := connect(ctx)
	if err != nil {
		return connect, func() {}
	}
	o.Concurrency = Auto(ctx, conn, work, o.Connections)
	return Reuse(conn, connect), func() { closeConn(ctx, conn) } // a second time does nothing
}

func autoConcurrency(cores, free, n int) int {
	return max(1, min(2*cores, autoMost, free/shareOfUnused, (n+itemsToOpen-1)/itemsToOpen))
}
