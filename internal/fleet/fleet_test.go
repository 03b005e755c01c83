package fleet_test

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/pgtest"
)

func dialer(dsn string) func(context.Context) (*pgx.Conn, error) {
	return func(ctx context.Context) (*pgx.Conn, error) {
		cfg, err := db.ParseConfig(dsn)
		if err != nil {
			return nil, err
		}
		return db.Connect(ctx, cfg)
	}
}

func soon(int) time.Duration { return time.Millisecond }

func states(results []fleet.Result) map[fleet.State]int {
	counts := map[fleet.State]int{}
	for _, r := range results {
		counts[r.State]++
	}
	return counts
}

func TestRunServesEveryItemOnce(t *testing.T) {
	t.Parallel()
	const n = 200
	var served [n]atomic.Int32
	pids := sync.Map{}
	results, _ := fleet.Run(t.Context(), dialer(pgtest.Empty(t)), n, fleet.Options{Concurrency: 4, RecycleAfter: 10},
		func(_ context.Context, conn *pgx.Conn, i int) error {
			served[i].Add(1)
			pids.Store(conn.PgConn().PID(), true)
			return nil
		})
	for i := range served {
		if got := served[i].Load(); got != 1 {
			t.Errorf("item %d was served %d times", i, got)
		}
	}
	if states(results)[fleet.Done] != n {
		t.Errorf("states %v", states(results))
	}
	connections := 0
	pids.Range(func(any, any) bool { connections++; return true })
	if connections < n/10 {
		t.Errorf("%d connections for %d items: they are not replaced", connections, n)
	}
}

func TestLostConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	var attempts atomic.Int32
	results, _ := fleet.Run(t.Context(), dialer(pgtest.Empty(t)), 3, fleet.Options{Concurrency: 1, Backoff: soon},
		func(ctx context.Context, conn *pgx.Conn, i int) error {
			if i == 1 && attempts.Add(1) == 1 {
				_, err := conn.Exec(ctx, "select pg_terminate_backend(pg_backend_pid())")
				return err
			}
			_, err := conn.Exec(ctx, "select 1")
			return err
		})
	if states(results)[fleet.Done] != 3 || results[1].Attempts != 2 || results[2].Attempts != 1 {
		t.Errorf("results %+v", results)
	}
}

func TestFailureIsNotRetried(t *testing.T) {
	t.Parallel()
	results, _ := fleet.Run(t.Context(), dialer(pgtest.Empty(t)), 2, fleet.Options{Backoff: soon},
		func(ctx context.Context, conn *pgx.Conn, i int) error {
			if i == 0 {
				_, err := conn.Exec(ctx, "select 1 / 0")
				return err
			}
			return db.ErrBusy
		})
	if r := results[0]; r.State != fleet.Failed || r.Attempts != 1 || db.SQLState(r.Err) != "22012" {
		t.Errorf("an error of the work: %+v", r)
	}
	if r := results[1]; r.State != fleet.Failed || r.Attempts != fleet.DefaultAttempts || !errors.Is(r.Err, db.ErrBusy) {
		t.Errorf("a tenant that stays busy: %+v", r)
	}
}

// TestPatience: what another run of ours has is tried for longer than attempts say, and
// what others have is not.
func TestPatience(t *testing.T) {
	t.Parallel()
	ours, others := &db.BusyError{Blockers: []db.Blocker{{PID: 1, Ours: true}}},
		&db.BusyError{Blockers: []db.Blocker{{PID: 1}}}
	var tries [4]atomic.Int32
	o := fleet.Options{Attempts: 2, Backoff: soon, Patience: 200 * time.Millisecond}
	work := func(_ context.Context, _ *pgx.Conn, i int) error {
		n := tries[i].Add(1)
		switch {
		case i == 0 && n < 10:
			return ours
		case i == 1 && n < 6:
			return &db.BusyError{} // whoever had it is gone
		case i == 2:
			return others
		case i == 3:
			return ours // for ever
		}
		return nil
	}
	results, _ := fleet.Run(t.Context(), dialer(pgtest.Empty(t)), 4, o, work)
	if results[0].State != fleet.Done || results[0].Attempts != 10 || results[1].State != fleet.Done {
		t.Errorf("work of ours: %+v", results[:2])
	}
	if results[2].State != fleet.Failed || results[2].Attempts != 2 {
		t.Errorf("work of others: %+v", results[2])
	}
	if results[3].State != fleet.Failed || results[3].Attempts < 3 || !errors.Is(results[3].Err, db.ErrBusy) {
		t.Errorf("work of ours that does not end: %+v", results[3])
	}
}

// TestYield: an item that is not worth waiting for ends as if it had never begun, and is
// no failure.
func TestYield(t *testing.T) {
	t.Parallel()
	o := fleet.Options{StopAfter: 1, Backoff: soon, Yield: func(err error) bool { return errors.Is(err, db.ErrBusy) }}
	results, err := fleet.Run(t.Context(), dialer(pgtest.Empty(t)), 3, o,
		func(_ context.Context, _ *pgx.Conn, i int) error {
			if i == 0 {
				return db.ErrBusy
			}
			return nil
		})
	if err != nil || states(results)[fleet.Done] != 2 || results[0].State != fleet.NotStarted ||
		results[0].Attempts != 1 || !errors.Is(results[0].Err, db.ErrBusy) {
		t.Errorf("%v, %+v", err, results)
	}
}

// TestFewerSlotsThanWorkers: where the server has no slot left, the
// run goes on with the workers that have one.
func TestFewerSlotsThanWorkers(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	admin, err := dialer(dsn)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = admin.Exec(context.Background(), "drop role crmctl_fleet_limited")
		_ = admin.Close(context.Background())
	})
	if _, err := admin.Exec(t.Context(), "create role crmctl_fleet_limited login connection limit 2"); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("crmctl_fleet_limited")
	var refused atomic.Int32
	connect := func(ctx context.Context) (*pgx.Conn, error) {
		conn, err := dialer(u.String())(ctx)
		if db.SQLState(err) == db.CodeTooManyConnections {
			refused.Add(1)
		}
		return conn, err
	}
	results, _ := fleet.Run(t.Context(), connect, 40, fleet.Options{Concurrency: 8, Backoff: soon},
		func(ctx context.Context, conn *pgx.Conn, _ int) error {
			_, err := conn.Exec(ctx, "select pg_sleep(0.01)")
			return err
		})
	if states(results)[fleet.Done] != 40 {
		t.Errorf("states %v, first error %v", states(results), results[0].Err)
	}
	if refused.Load() == 0 {
		t.Error("no connection was refused: the test shows nothing")
	}
}

// TestFewerAtATimeWhereTheLockTableIsFull has items that need a good part of the lock
// table each, and one that needs more than there is.
func TestFewerAtATimeWhereTheLockTableIsFull(t *testing.T) {
	t.Parallel()
	server, _ := pgtest.Instance(t, map[string]string{"max_connections": "20", "max_locks_per_transaction": "10"})
	var refused atomic.Int32
	locks := func(ctx context.Context, conn *pgx.Conn, item int) error {
		n := 400
		if item == 7 {
			n = 100_000
		}
		_, err := conn.Exec(ctx, `select count(pg_advisory_xact_lock($1, g)), pg_sleep(0.05)
			from generate_series(1, $2::int) g`, item, n)
		if db.SQLState(err) == db.CodeOutOfMemory {
			refused.Add(1)
		}
		return err
	}
	results, _ := fleet.Run(t.Context(), dialer(server.DSN), 12, fleet.Options{Concurrency: 6, Backoff: soon}, locks)
	if got := states(results); got[fleet.Done] != 11 || results[7].State != fleet.Failed ||
		db.SQLState(results[7].Err) != db.CodeOutOfMemory {
		t.Errorf("states %v, item 7: %+v", got, results[7])
	}
	if refused.Load() < 3 {
		t.Errorf("refused %d times: the test shows nothing", refused.Load())
	}
}

func TestNoServerLeavesAllNotStarted(t *testing.T) {
	t.Parallel()
	results, _ := fleet.Run(t.Context(), dialer("postgres://x@127.0.0.1:1/x?connect_timeout=1"), 5,
		fleet.Options{Attempts: 2, Backoff: soon},
		func(context.Context, *pgx.Conn, int) error { return nil })
	if states(results)[fleet.NotStarted] != 5 || !errors.Is(results[4].Err, db.ErrUnreachable) {
		t.Errorf("results %+v", results)
	}
}

func TestCancelRollsBackWhatIsInFlight(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	begun := make(chan struct{}, 10)
	go func() {
		<-begun
		cancel()
	}()
	started := time.Now()
	results, _ := fleet.Run(ctx, dialer(pgtest.Empty(t)), 5, fleet.Options{Concurrency: 1},
		func(ctx context.Context, conn *pgx.Conn, _ int) error {
			begun <- struct{}{}
			_, err := conn.Exec(ctx, "select pg_sleep(60)")
			return err
		})
	if time.Since(started) > 30*time.Second {
		t.Error("the statement in flight was waited for")
	}
	if states(results)[fleet.NotStarted] != 5 {
		t.Errorf("states %v: %v", states(results), results[0].Err)
	}
}

func TestBackoffGrowsWithJitter(t *testing.T) {
	t.Parallel()
	for attempt, most := range map[int]time.Duration{2: 100 * time.Millisecond, 3: 200 * time.Millisecond,
		7: 3200 * time.Millisecond, 50: 5 * time.Second} {
		for range 100 {
			if d := fleet.Backoff(attempt); d < most/2 || d > most {
				t.Fatalf("attempt %d waits %s, want %s to %s", attempt, d, most/2, most)
			}
		}
	}
}

// TestRunChoosesItsConcurrency: a run that is not told how many items it may work on at once
// goes by the machine and the server, on the connection that the first worker has.
func TestRunChoosesItsConcurrency(t *testing.T) {
	t.Parallel()
	connect := dialer(pgtest.Empty(t))
	asker, err := connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = asker.Close(context.Background()) })
	const n = 64
	for _, o := range []fleet.Options{{}, {Weight: 100}, {Connections: 1000}, {Concurrency: 3, Connections: 1000}} {
		want := o.Concurrency
		if want == 0 {
			want = fleet.Auto(t.Context(), asker, n*max(1, o.Weight), o.Connections)
		}
		var opened, inside, most atomic.Int32
		count := func(ctx context.Context) (*pgx.Conn, error) {
			opened.Add(1)
			return connect(ctx)
		}
		results, err := fleet.Run(t.Context(), count, n, o, func(context.Context, *pgx.Conn, int) error {
			for now := inside.Add(1); ; {
				if was := most.Load(); now <= was || most.CompareAndSwap(was, now) {
					break
				}
			}
			time.Sleep(5 * time.Millisecond)
			inside.Add(-1)
			return nil
		})
		if err != nil || states(results)[fleet.Done] != n {
			t.Fatalf("%+v: %v, %v", o, err, states(results))
		}
		if int(opened.Load()) != want || int(most.Load()) > want {
			t.Errorf("%+v: %d connections, %d items at once; want %d", o, opened.Load(), most.Load(), want)
		}
	}
}

// TestNoConnectionIsLeft: a run that is asked to stop before it begins closes the
// connection on which it found out how many items to work on at once.
func TestNoConnectionIsLeft(t *testing.T) {
	t.Parallel()
	connect := dialer(pgtest.Empty(t))
	var opened []*pgx.Conn
	var mu sync.Mutex
	count := func(ctx context.Context) (*pgx.Conn, error) {
		conn, err := connect(ctx)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			opened = append(opened, conn)
		}
		return conn, err
	}
	drain := make(chan struct{})
	close(drain)
	_, err := fleet.Run(t.Context(), count, 64, fleet.Options{Drain: drain}, func(context.Context, *pgx.Conn, int) error {
		return nil
	})
	if !errors.Is(err, fleet.ErrDrained) {
		t.Fatalf("the run ended with %v", err)
	}
	for _, conn := range opened {
		if !conn.IsClosed() {
			t.Error("a connection is left open")
		}
	}
	if len(opened) == 0 {
		t.Error("no connection was opened: the test shows nothing")
	}
}

// TestAhead: connections that are opened ahead are handed out once each, in place of those
// that could not be opened others are, and none is left open.
func TestAhead(t *testing.T) {
	t.Parallel()
	dial := dialer(pgtest.Empty(t))
	var opened atomic.Int64
	var conns []*pgx.Conn
	var mu sync.Mutex
	connect := func(ctx context.Context) (*pgx.Conn, error) {
		if opened.Add(1) == 2 {
			return nil, errors.New("no slot")
		}
		conn, err := dial(ctx)
		if err == nil { // it is not one that the end has called off
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, conn)
		}
		return conn, err
	}
	handOut, end := fleet.Ahead(t.Context(), 4, connect)
	seen := map[*pgx.Conn]bool{}
	for range 2 {
		conn, err := handOut(t.Context())
		if err != nil || seen[conn] {
			t.Fatal(conn, err)
		}
		seen[conn] = true
		if err := conn.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	end()
	for _, conn := range conns {
		if conn.IsClosed() == seen[conn] {
			t.Errorf("closed %t, handed out %t", conn.IsClosed(), seen[conn])
		}
	}
	conn, err := handOut(t.Context())
	if err != nil || seen[conn] || conn.IsClosed() {
		t.Errorf("after the end: %v", err)
	}
	seen[conn] = true
	for conn := range seen {
		_ = conn.Close(t.Context())
	}
}
