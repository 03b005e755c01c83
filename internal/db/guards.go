package db

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"
)

// Guards are connections that hold locks while others do the work: a transaction
// that is open for long and does nothing else. They are kept for the next that needs
// one.
type Guards struct {
	Connect func(context.Context) (*pgx.Conn, error)

	mu   sync.Mutex
	idle []*pgx.Conn
}

// Take returns a connection that no other holder has.
func (g *Guards) Take(ctx context.Context) (*pgx.Conn, error) {
	g.mu.Lock()
	for n := len(g.idle); n > 0; n = len(g.idle) {
		conn := g.idle[n-1]
		g.idle = g.idle[:n-1]
		if !conn.IsClosed() {
			g.mu.Unlock()
			return conn, nil
		}
	}
	g.mu.Unlock()
	return g.Connect(ctx)
}

// Give takes a connection back, whose transaction is over.
func (g *Guards) Give(conn *pgx.Conn) {
	if conn.IsClosed() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.idle = append(g.idle, conn)
}

// Close closes the connections that were given back.
func (g *Guards) Close(ctx context.Context) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, conn := range g.idle {
		_ = conn.Close(context.WithoutCancel(ctx))
	}
	g.idle = nil
}

// Rest adds the end of what a transaction does before it is idle for as long as it
// takes, holding locks: it keeps no snapshot, so that no index build elsewhere waits
// for it.
func (p *Pipeline) Rest() {
	// The result of a query would keep its snapshot until the next statement. This
	// statement has none.
	p.Exec(`set local idle_in_transaction_session_timeout = 0`)
}
