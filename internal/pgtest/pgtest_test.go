package pgtest_test

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/localpg"
	"github.com/crmctl/crmctl/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestEmpty(t *testing.T) {
	t.Parallel()
	var names []string
	for range 2 {
		conn := connect(t, pgtest.Empty(t))
		var name string
		var tables int
		const query = `select current_database(), (select count(*) from pg_catalog.pg_class
			where relnamespace = 'public'::regnamespace)`
		if err := conn.QueryRow(t.Context(), query).Scan(&name, &tables); err != nil {
			t.Fatal(err)
		}
		if tables != 0 {
			t.Errorf("%s holds %d relations, want none", name, tables)
		}
		names = append(names, name)
	}
	if names[0] == names[1] {
		t.Errorf("two calls gave the same database %s", names[0])
	}
}

func TestDatabasesAreDropped(t *testing.T) {
	t.Parallel()
	var dsn string
	t.Run("test", func(t *testing.T) {
		dsn = pgtest.Empty(t)
		leaveOpen(t, dsn)
	})
	if conn, err := pgx.Connect(t.Context(), dsn); err == nil {
		conn.Close(t.Context())
		t.Error("the database of a test that ended still takes connections")
	}
}

func TestFromTemplate(t *testing.T) {
	t.Parallel()
	var builds atomic.Int32
	build := func(ctx context.Context, conn *pgx.Conn) error {
		builds.Add(1)
		_, err := conn.Exec(ctx, `create table public.built as select 1 as n`)
		return err
	}
	key := t.Name() + t.TempDir() // new in every run, also on a server that stays
	t.Run("group", func(t *testing.T) {
		for range 8 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				conn := connect(t, pgtest.FromTemplate(t, key, build))
				var n int
				if err := conn.QueryRow(t.Context(), `update public.built set n = n + 1 returning n`).Scan(&n); err != nil {
					t.Fatal(err)
				}
				if n != 2 {
					t.Errorf("n = %d: another test wrote into this database", n)
				}
			})
		}
	})
	if n := builds.Load(); n != 1 {
		t.Errorf("the template was built %d times, want once", n)
	}
}

func TestHalfMadeTemplateIsBuiltAgain(t *testing.T) {
	t.Parallel()
	key := t.Name() + t.TempDir()
	broken := errors.New("broken")
	spy := &fatalSpy{TB: t}
	spy.run(func() {
		pgtest.FromTemplate(spy, key, func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, `create table public.half ()`)
			return errors.Join(err, broken)
		})
	})
	if !spy.failed.Load() {
		t.Fatal("a template whose build fails was handed out")
	}
	conn := connect(t, pgtest.FromTemplate(t, key, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `create table public.whole ()`)
		return err
	}))
	var half, whole bool
	const query = `select pg_catalog.to_regclass('public.half') is not null,
		pg_catalog.to_regclass('public.whole') is not null`
	if err := conn.QueryRow(t.Context(), query).Scan(&half, &whole); err != nil {
		t.Fatal(err)
	}
	if half || !whole {
		t.Errorf("half = %t, whole = %t, want only whole", half, whole)
	}
}

func TestInstance(t *testing.T) {
	t.Parallel()
	var o localpg.Options
	t.Run("test", func(t *testing.T) {
		var s *localpg.Server
		s, o = pgtest.Instance(t, nil)
		conn := connect(t, s.DSN)
		if _, err := conn.Exec(t.Context(), `create table public.kept ()`); err != nil {
			t.Fatal(err)
		}
		if err := localpg.Stop(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		s, err := localpg.Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := connect(t, s.DSN).Exec(t.Context(), `select from public.kept`); err != nil {
			t.Error(err)
		}
	})
	if _, err := os.Stat(o.Root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there after the test: %v", o.Root, err)
	}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// leaveOpen connects and does not close, as a test that fails might.
func leaveOpen(t *testing.T, dsn string) {
	t.Helper()
	if _, err := pgx.Connect(context.Background(), dsn); err != nil {
		t.Fatal(err)
	}
}

// fatalSpy is a test of which only the failure is kept.
type fatalSpy struct {
	testing.TB
	failed atomic.Bool
}

func (s *fatalSpy) Fatalf(string, ...any) {
	s.failed.Store(true)
	panic(s)
}

func (s *fatalSpy) run(do func()) {
	defer func() {
		if r := recover(); r != nil && r != any(s) {
			panic(r)
		}
	}()
	do()
}
