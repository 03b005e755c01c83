package db

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"
)

// Guards are connections beside those that do the work, kept for the next that needs one.
// Most hold locks meanwhile: a transaction that is open for long and does nothing else.
type Guards struct {
	Connect func(context.Context) (*pgx.Conn, error)
	// RecycleAfter is how often one is handed out at the most, 0 = without an end: a server
	// process keeps the catalog entries of each schema that it has visited.
	RecycleAfter int

	mu     sync.Mutex
	idle   []*pgx.Conn
	served map[*pgx.Conn]int
}

// Take returns a connection that no other holder has.
func (g *Guards) Take(ctx context.Context) (*pgx.Conn, error) {
	for {
		conn, served := g.pop()
		switch {
		case conn == nil:
			return g.Connect(ctx)
		case conn.IsClosed():
		case g.RecycleAfter > 0 && served >= g.RecycleAfter:
			_ = conn.Close(context.WithoutCancel(ctx)) // nothing is pending on it
		default:
			return conn, nil
		}
	}
}

// pop takes a connection out of those that are idle, nil for none, and says how often it
// was given back.
func (g *Guards) pop() (conn *pgx.Conn, served int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.idle)
	if n == 0 {
		return nil, 0
	}
	conn, g.idle = g.idle[n-1], g.idle[:n-1]
	served = g.served[conn]
	if conn.IsClosed() || g.RecycleAfter > 0 && served >= g.RecycleAfter {
		delete(g.served, conn)
	}
	return conn, served
}

// Give takes a connection back, whose transaction is over.
func (g *Guards) Give(conn *pgx.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if conn.IsClosed() {
		delete(g.served, conn)
		return
	}
	if g.served == nil {
		g.served = make(map[*pgx.Conn]int)
	}
	g.served[conn]++
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
