package db_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// A connection that was given back serves again, as often as it may, and no dead one does.
func TestGuards(t *testing.T) {
	t.Parallel()
	dsn, opened := pgtest.Empty(t), 0
	g := db.Guards{RecycleAfter: 2, Connect: func(ctx context.Context) (*pgx.Conn, error) {
		opened++
		return pgx.Connect(ctx, dsn)
	}}
	take := func() *pgx.Conn {
		t.Helper()
		conn, err := g.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	for range 5 { // the third and the fifth need another
		g.Give(take())
	}
	if opened != 3 {
		t.Errorf("%d connections for five uses of two each, want 3", opened)
	}
	one, other := take(), take()
	if one == other {
		t.Error("two have the same connection")
	}
	g.Give(other)
	if err := one.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.Give(one)
	if take() != other {
		t.Error("a closed connection was kept, or one that may serve once more was not")
	}
	g.Give(other)
	g.Close(t.Context())
	if !other.IsClosed() {
		t.Error("one that is idle is open still")
	}
}
