package db_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// newPool returns a pool over a database of the test's own, and what counts its connections.
func newPool(t *testing.T, limits db.PoolLimits) (*db.Pool, *atomic.Int64) {
	t.Helper()
	dsn, opened := pgtest.Empty(t), new(atomic.Int64)
	cfg, err := db.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := db.NewPool(func(ctx context.Context) (*pgx.Conn, error) {
		opened.Add(1)
		return db.Connect(ctx, cfg)
	}, limits)
	t.Cleanup(func() { p.Close(context.Background()) })
	return p, opened
}

func take(t *testing.T, p *db.Pool, purpose string) *db.Lent {
	t.Helper()
	l, err := p.Take(t.Context(), purpose)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Conn.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

// busy returns why a connection cannot be had at once.
func busy(t *testing.T, p *db.Pool, purpose string) *db.WaitError {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	l, err := p.Take(ctx, purpose)
	var wait *db.WaitError
	if l != nil || !errors.As(err, &wait) || !errors.Is(err, why) {
		t.Fatalf("%v, %v", l, err)
	}
	return wait
}

// One purpose has its share and no more, whoever waits for it keeps nothing from others, and
// the context ends the wait.
func TestPoolShares(t *testing.T) {
	t.Parallel()
	p, _ := newPool(t, db.PoolLimits{Size: 3, Share: 2, IdleFor: time.Hour, RecycleAfter: 100})
	one, two := take(t, p, "a"), take(t, p, "a")
	if e := busy(t, p, "a"); !e.Share || e.Limit != 2 || e.Purpose != "a" {
		t.Errorf("%+v", e)
	}
	got := make(chan *db.Lent)
	for range 5 { // they wait, and take no room from b
		go func() {
			l, err := p.Take(t.Context(), "a")
			if err != nil {
				t.Error(err)
			}
			got <- l
		}()
	}
	other := take(t, p, "b")
	if e := busy(t, p, "b"); e.Share || e.Limit != 3 {
		t.Errorf("%+v", e)
	}
	one.Give(t.Context())
	for range 5 {
		l := <-got
		if l.Conn == two.Conn || l.Conn == other.Conn {
			t.Error("two have the same connection")
		}
		l.Give(t.Context())
	}
	two.Give(t.Context())
	other.Give(t.Context())
}

// A connection comes back to the same purpose as it was, to another without what it was left
// with, and not at all where it is in a transaction, closed, or was lent often enough.
func TestPoolKeeps(t *testing.T) {
	t.Parallel()
	p, opened := newPool(t, db.PoolLimits{Size: 2, Share: 2, IdleFor: time.Hour, RecycleAfter: 4})
	ctx := t.Context()
	left := func(l *db.Lent) (value string, tables, locks int) {
		t.Helper()
		err := l.Conn.QueryRow(ctx, `select coalesce(pg_catalog.current_setting('some.thing', true), ''),
			(select count(*) from pg_catalog.pg_class where relname = 'left_over'),
			(select count(*) from pg_catalog.pg_locks where locktype = 'advisory' and pid = pg_catalog.pg_backend_pid())`).
			Scan(&value, &tables, &locks)
		if err != nil {
			t.Fatal(err)
		}
		return value, tables, locks
	}
	l := take(t, p, "a")
	if l.Kept {
		t.Error("kept from nobody")
	}
	first := l.Conn
	for _, sql := range []string{"select pg_catalog.set_config('some.thing', 'x', false)",
		"create temporary table left_over ()", "select pg_catalog.pg_advisory_lock(1)"} {
		if _, err := l.Conn.Exec(db.AsWritten(ctx), sql); err != nil {
			t.Fatal(err)
		}
	}
	l.Give(ctx)
	l = take(t, p, "a")
	if value, tables, locks := left(l); l.Conn != first || !l.Kept || value != "x" || tables != 1 || locks != 1 {
		t.Errorf("the same purpose: kept %t, %q, %d, %d", l.Kept, value, tables, locks)
	}
	l.Give(ctx)
	l = take(t, p, "b")
	if value, tables, locks := left(l); l.Conn != first || !l.Kept || value != "" || tables != 0 || locks != 0 {
		t.Errorf("another: kept %t, %q, %d, %d", l.Kept, value, tables, locks)
	}
	l.Give(ctx)
	take(t, p, "b").Give(ctx)
	if l = take(t, p, "b"); l.Conn == first || !first.IsClosed() || opened.Load() != 2 {
		t.Errorf("lent for the fifth time, %d were opened", opened.Load())
	}
	if _, err := l.Conn.Exec(ctx, "begin"); err != nil {
		t.Fatal(err)
	}
	second := l.Conn
	l.Give(ctx)
	if l = take(t, p, "b"); l.Conn == second || !second.IsClosed() {
		t.Error("lent in a transaction")
	}
	// One that died while it was idle is found out where it is cleansed, otherwise by who uses it.
	l.Give(ctx)
	kill(t, l.Conn)
	if other := take(t, p, "c"); other.Conn == l.Conn || other.Kept {
		t.Error("a dead connection was lent to another")
	} else {
		p.Close(ctx)
		other.Give(ctx)
		if !other.Conn.IsClosed() {
			t.Error("given back to a closed pool, it is open still")
		}
	}
	if _, err := p.Take(ctx, "a"); !errors.Is(err, db.ErrPoolClosed) {
		t.Errorf("%v", err)
	}
}

// kill ends the server process of a connection.
func kill(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	other := connect(t, conn.Config().ConnString())
	if _, err := other.Exec(t.Context(), "select pg_catalog.pg_terminate_backend($1, 10000)",
		int32(conn.PgConn().PID())); err != nil {
		t.Fatal(err)
	}
}

// A connection that nobody wants is closed.
func TestPoolCloses(t *testing.T) {
	t.Parallel()
	p, _ := newPool(t, db.PoolLimits{Size: 3, Share: 3, IdleFor: time.Millisecond, RecycleAfter: 100})
	watch := take(t, p, "watch")
	idle := []*db.Lent{take(t, p, "a"), take(t, p, "a")}
	for _, l := range idle {
		l.Give(t.Context())
	}
	for there := 2; there > 0; {
		if err := watch.Conn.QueryRow(t.Context(), `select count(*) from pg_catalog.pg_stat_activity
			where datname = pg_catalog.current_database() and pid <> pg_catalog.pg_backend_pid()
				and backend_type = 'client backend'`).Scan(&there); err != nil {
			t.Fatal(err) // when the test's time is over
		}
	}
	watch.Give(t.Context())
}

// Whatever comes together, no more are lent than may be, and none twice.
func TestPoolTogether(t *testing.T) {
	t.Parallel()
	limits := db.PoolLimits{Size: 4, Share: 2, IdleFor: 2 * time.Millisecond, RecycleAfter: 7}
	p, _ := newPool(t, limits)
	var mu sync.Mutex
	lent, purposes := map[*pgx.Conn]bool{}, map[string]int{}
	note := func(l *db.Lent, purpose string, by int) {
		mu.Lock()
		defer mu.Unlock()
		if by > 0 && lent[l.Conn] {
			t.Error("lent twice")
		}
		lent[l.Conn] = by > 0
		if !lent[l.Conn] {
			delete(lent, l.Conn)
		}
		if purposes[purpose] += by; purposes[purpose] > limits.Share || len(lent) > limits.Size {
			t.Errorf("%d lent, %v", len(lent), purposes)
		}
	}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 30 {
				purpose := []string{"a", "a", "a", "b", "c"}[rand.N(5)]
				ctx, cancel := t.Context(), func() {}
				hurried := rand.N(4) == 0
				if hurried {
					ctx, cancel = context.WithTimeout(ctx, rand.N(time.Millisecond))
				}
				l, err := p.Take(ctx, purpose)
				if err != nil && !hurried {
					t.Error(err)
				}
				if l != nil {
					note(l, purpose, 1)
					if _, err := l.Conn.Exec(t.Context(), "select 1"); err != nil && !l.Kept {
						t.Error(err)
					}
					note(l, purpose, -1)
					l.Give(t.Context())
				}
				cancel()
			}
		})
	}
	all.Wait()
	// All that was lent is free again.
	held := []*db.Lent{take(t, p, "x"), take(t, p, "x"), take(t, p, "y"), take(t, p, "y")}
	if e := busy(t, p, "z"); e.Share {
		t.Errorf("%+v", e)
	}
	for _, l := range slices.Backward(held) {
		l.Give(t.Context())
	}
}
