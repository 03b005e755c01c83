package db_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// impatient connects with little patience for a silent server.
func impatient(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	cfg, err := db.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.Impatient(cfg)
	conn, err := db.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// A server that takes everything and answers nobody is given up: a query of ours, a
// statement that may take as long as it likes, a COPY, a commit. Nothing is left behind.
func TestSilentServerIsGivenUp(t *testing.T) {
	t.Parallel()
	row := pgx.CopyFromRows([][]any{{1}})
	for name, work := range map[string]func(ctx context.Context, conn *pgx.Conn, silence func()) error{
		"query": func(ctx context.Context, conn *pgx.Conn, silence func()) error {
			silence()
			_, err := db.Select(ctx, conn, pgx.RowTo[int], "select 1")
			return err
		},
		"statement under way": func(ctx context.Context, conn *pgx.Conn, silence func()) error {
			time.AfterFunc(100*time.Millisecond, silence)
			_, err := conn.Exec(ctx, "select pg_sleep(0.2)")
			return err
		},
		"copy": func(ctx context.Context, conn *pgx.Conn, silence func()) error {
			silence()
			_, err := conn.CopyFrom(ctx, pgx.Identifier{"public", "t"}, []string{"x"}, row)
			return err
		},
		"commit": func(ctx context.Context, conn *pgx.Conn, silence func()) error {
			return db.InTx(ctx, conn, db.Locals{}, func(context.Context, db.Querier) error {
				silence()
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Empty(t)
			exec(t, connect(t, dsn), "create table public.t (x int)")
			proxy := pgtest.NewProxy(t, dsn, 0)
			conn := impatient(t, proxy.DSN)
			begun := time.Now()
			err := work(t.Context(), conn, proxy.Swallow)
			if !db.ConnectionLost(err) || !errors.Is(err, db.ErrUnreachable) {
				t.Errorf("got %v, want a server that is not reachable", err)
			}
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
			select {
			case <-conn.PgConn().CleanupDone():
			case <-time.After(20 * time.Second):
				t.Error("the connection is still being closed")
			}
		})
	}
}

// The server's limit of a statement holds on this side too, where it answers others.
func TestStatementLimitHoldsHere(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	proxy := pgtest.NewProxy(t, dsn, 0)
	for name, statement := range map[string]func(ctx context.Context, q db.Querier) error{
		"alone": func(ctx context.Context, q db.Querier) error {
			_, err := q.Exec(ctx, "select 1")
			return err
		},
		"pipeline": func(ctx context.Context, q db.Querier) error {
			var p db.Pipeline
			p.Exec("select 1")
			p.Exec("select 2")
			return p.Run(ctx, q)
		},
	} {
		conn := impatient(t, proxy.DSN)
		begun := time.Now()
		err := db.InTx(t.Context(), conn, db.Locals{StatementTimeout: 200 * time.Millisecond},
			func(ctx context.Context, q db.Querier) error {
				proxy.Stall()
				return statement(ctx, q)
			})
		if took := time.Since(begun); !db.ConnectionLost(err) || errors.Is(err, db.ErrUnreachable) || took > 3*time.Second {
			t.Errorf("%s: got %v after %s", name, err, took)
		}
	}
}

// What takes its time is not cut, where the server answers others.
func TestPatienceWithWork(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	for name, work := range map[string]func(ctx context.Context, conn *pgx.Conn) error{
		"a statement without a limit": func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "select pg_sleep(2)")
			return err
		},
		"our own query after a transaction with a limit": func(ctx context.Context, conn *pgx.Conn) error {
			if err := db.InTx(ctx, conn, db.Locals{StatementTimeout: 200 * time.Millisecond},
				func(context.Context, db.Querier) error {
					return nil
				}); err != nil {
				return err
			}
			_, err := db.Select(ctx, conn, pgx.RowTo[string], "select pg_catalog.pg_sleep(2)::text")
			return err
		},
		"many statements within their limits": func(ctx context.Context, conn *pgx.Conn) error {
			var p db.Pipeline
			p.Begin(db.Locals{StatementTimeout: 500 * time.Millisecond})
			for range 6 {
				p.Exec("select pg_catalog.pg_sleep(0.4)")
			}
			p.Exec("commit")
			return p.Run(ctx, conn)
		},
		"a file that lifts the limit": func(ctx context.Context, conn *pgx.Conn) error {
			return db.InTx(ctx, conn, db.Locals{StatementTimeout: 200 * time.Millisecond},
				func(ctx context.Context, q db.Querier) error {
					var p db.Pipeline
					p.Script([]db.Statement{{SQL: "SET LOCAL Statement_Timeout = 0", File: "1.sql", Line: 1},
						{SQL: "select pg_catalog.pg_sleep(2)", File: "1.sql", Line: 2}})
					return p.Run(ctx, q)
				})
		},
		"nothing at all for a while": func(ctx context.Context, conn *pgx.Conn) error {
			time.Sleep(2 * time.Second)
			_, err := conn.Exec(ctx, "select 1")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := impatient(t, dsn)
			if err := work(t.Context(), conn); err != nil {
				t.Error(err)
			}
		})
	}
}
