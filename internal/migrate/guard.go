package migrate

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/planted"
)

// precautions are what a run has to know of its tenants before it works on the first: who has
// planted code there, and who owns them. It is found out on the connection of the first
// worker, while the ledger is opened.
type precautions struct {
	done   chan struct{} // closed when the rest is there
	conn   *pgx.Conn     // nil where none could be had
	guard  *planted.Guard
	owners owner.Roles
	err    error
}

// guardBeside begins to find it out. It waits for nothing.
func (r *run) guardBeside(ctx context.Context) *precautions {
	g := &precautions{done: make(chan struct{})}
	go func() {
		defer close(g.done)
		if g.conn, g.err = r.connect(ctx); g.err == nil {
			g.err = r.guard(ctx, g.conn, g)
		}
	}()
	return g
}

// guard looks for planted code in all tenants of the run, and who owns them.
func (r *run) guard(ctx context.Context, q db.Querier, g *precautions) error {
	schemas := make([]db.Schema, len(r.report.Outcomes))
	for i := range r.report.Outcomes {
		schemas[i] = r.report.Outcomes[i].Tenant.Schema
	}
	g.guard = &planted.Guard{Trusted: r.opt.Trusted}
	err := g.guard.Prepare(ctx, q, schemas)
	if err == nil && !r.opt.OwnRole {
		g.owners, err = owner.Read(ctx, q, schemas)
	}
	return err
}

// useGuard waits for what was begun, and gives its connection to the first worker. What
// came to nothing there, perhaps for want of a connection, is tried again on q.
func (r *run) useGuard(ctx context.Context, q db.Querier, g *precautions) error {
	<-g.done
	if g.err != nil {
		g.close(ctx)
		if g.err = r.guard(ctx, q, g); g.err != nil {
			return g.err
		}
	}
	r.limits.Guard, r.limits.Owners = g.guard, g.owners
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
