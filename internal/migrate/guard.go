package migrate

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/registry"
)

// precautions are what a run has to know of its tenants before it works on the first: who has
// planted code there. It is found out on the connection of the first worker, while the ledger
// is opened.
type precautions struct {
	schemas []db.Schema
	trusted []string

	done  chan struct{} // closed when the rest is there
	conn  *pgx.Conn     // nil where none could be had
	guard *planted.Guard
	err   error
}

// guardBeside begins to find it out. It waits for nothing.
func guardBeside(ctx context.Context, connect Connect, tenants []registry.Tenant, o RunOptions) *precautions {
	g := &precautions{done: make(chan struct{}), schemas: make([]db.Schema, len(tenants)), trusted: o.Trusted}
	for i, t := range tenants {
		g.schemas[i] = t.Schema
	}
	go func() {
		defer close(g.done)
		if g.conn, g.err = connect(ctx); g.err == nil {
			g.err = g.read(ctx, g.conn)
		}
	}()
	return g
}

// read looks for planted code in all tenants of the run.
func (g *precautions) read(ctx context.Context, q db.Querier) error {
	g.guard = &planted.Guard{Trusted: g.trusted}
	return g.guard.Prepare(ctx, q, g.schemas)
}

// useGuard waits for what was begun, and gives its connection to the first worker. What
// came to nothing there, perhaps for want of a connection, is tried again on q.
func (r *run) useGuard(ctx context.Context, q db.Querier, g *precautions) error {
	<-g.done
	if g.err != nil {
		g.close(ctx)
		if g.err = g.read(ctx, q); g.err != nil {
			return g.err
		}
	}
	r.limits.Guard = g.guard
	if g.conn != nil {
		r.connect = fleet.Reuse(g.conn, r.connect)
	}
	return nil
}

// close closes the connection, if nobody has done so.
func (g *precautions) close(ctx context.Context) {
	<-g.done
	if g.conn != nil {
		_ = g.conn.Close(context.WithoutCancel(ctx))
	}
}
