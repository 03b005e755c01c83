package db_test

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/pgtest"
)

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	cfg, err := db.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

func value(t *testing.T, q db.Querier, sql string) string {
	t.Helper()
	var v string
	if err := q.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func schema(t *testing.T, slug string) db.Schema {
	t.Helper()
	s, err := db.SchemaForSlug(slug)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestInTxSetsAndForgets(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.Empty(t))
	exec(t, conn, "create schema tenant_acme", "create table tenant_acme.c (x int)", "create role crmctl_tx_test nologin")
	t.Cleanup(func() {
		_, _ = conn.Exec(context.Background(), "drop owned by crmctl_tx_test; drop role crmctl_tx_test")
	})
	// The server may have it off by itself.
	exec(t, conn, "set synchronous_commit = on")
	before := value(t, conn, "show search_path")
	locals := db.Locals{
		Schema: schema(t, "acme"), Role: "crmctl_tx_test", LockTimeout: 1500 * time.Millisecond,
		StatementTimeout: time.Minute, AsyncCommit: true,
	}
	exec(t, conn, "grant usage on schema tenant_acme to crmctl_tx_test", "grant select on tenant_acme.c to crmctl_tx_test")
	err := db.InTx(t.Context(), conn, locals, func(_ context.Context, q db.Querier) error {
		for setting, want := range map[string]string{
			"search_path": "tenant_acme, pg_temp", "lock_timeout": "1500ms", "statement_timeout": "1min",
			"synchronous_commit": "off", "role": "crmctl_tx_test",
		} {
			if got := value(t, q, "show "+setting); strings.ReplaceAll(got, `"`, "") != want {
				t.Errorf("%s = %s, want %s", setting, got, want)
			}
		}
		_, err := q.Exec(t.Context(), "select x from c")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for setting, want := range map[string]string{
		"search_path": before, "lock_timeout": "0", "statement_timeout": "0", "synchronous_commit": "on", "role": "none",
	} {
		if got := value(t, conn, "show "+setting); got != want {
			t.Errorf("afterwards %s = %s, want %s", setting, got, want)
		}
	}
}

func TestInTxRefusesAMissingSchema(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.Empty(t))
	err := db.InTx(t.Context(), conn, db.Locals{Schema: schema(t, "nobody")},
		func(ctx context.Context, q db.Querier) error {
			_, err := q.Exec(ctx, "create table leaked (x int)")
			return err
		})
	if !errors.Is(err, db.ErrWrongSchema) {
		t.Errorf("error %v", err)
	}
	if n := value(t, conn, "select count(*)::text from pg_class where relname = 'leaked'"); n != "0" {
		t.Error("a table was made elsewhere")
	}
}

func TestInTxRollsBack(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.Empty(t))
	exec(t, conn, "create schema tenant_acme")
	locals := db.Locals{Schema: schema(t, "acme")}
	boom := errors.New("boom")
	err := db.InTx(t.Context(), conn, locals, func(ctx context.Context, q db.Querier) error {
		if _, err := q.Exec(ctx, "create table c (x int)"); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Errorf("error %v", err)
	}
	// A cancelled context must not keep the rollback from happening.
	ctx, cancel := context.WithCancel(t.Context())
	err = db.InTx(ctx, conn, locals, func(ctx context.Context, q db.Querier) error {
		if _, err := q.Exec(ctx, "create table d (x int)"); err != nil {
			return err
		}
		cancel()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if n := value(t, conn, "select count(*)::text from pg_class where relname in ('c', 'd')"); n != "0" {
		t.Errorf("%s tables stayed", n)
	}
	// A failure that fn swallows turns COMMIT into ROLLBACK, which is an error.
	err = db.InTx(t.Context(), conn, locals, func(ctx context.Context, q db.Querier) error {
		_, _ = q.Exec(ctx, "select 1 / 0")
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "ROLLBACK") {
		t.Errorf("a swallowed failure: %v", err)
	}
}

func TestHostilePublicIsNeverCalled(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.Empty(t))
	exec(t, conn,
		"create table public.called (by text)",
		`create function public.trap(a text, b varchar) returns boolean language plpgsql as $$ begin
			insert into public.called values ('op'); return true; end $$`,
		// More specific than the text operator, so it would be preferred.
		`create operator public.= (leftarg = text, rightarg = varchar, function = public.trap)`,
	)
	if value(t, conn, `select ('a'::text = 'b'::varchar)::text`) != "true" {
		t.Fatal("the trap does not catch an unguarded query: the test shows nothing")
	}
	exec(t, conn, "truncate public.called")
	got, err := db.Select(t.Context(), conn, pgx.RowTo[bool], `select 'a'::text = 'b'::varchar`)
	if err != nil || got[0] {
		t.Errorf("select: %v, %v", got, err)
	}
	err = db.InTx(t.Context(), conn, db.Locals{}, func(ctx context.Context, q db.Querier) error {
		var equal bool
		if err := q.QueryRow(ctx, `select 'a'::text = 'b'::varchar`).Scan(&equal); err != nil || equal {
			t.Errorf("in a transaction: %v, %v", equal, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if n := value(t, conn, "select count(*)::text from public.called"); n != "0" {
		t.Errorf("something in public was called %s times", n)
	}
	if value(t, conn, "show search_path") == db.OwnPath || value(t, conn, "show row_security") != "on" {
		t.Error("a setting of Select outlived it")
	}
}

// A temporary table comes before PostgreSQL's own where pg_temp is not on the path.
func TestTemporaryTableDoesNotHideTheCatalog(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.Empty(t))
	exec(t, conn, "create temporary table pg_class (relname text)")
	const query = "select count(*) > 100 from pg_class"
	if got, err := db.Select(t.Context(), conn, pgx.RowTo[bool], query); err != nil || !got[0] {
		t.Errorf("select: %v, %v", got, err)
	}
	err := db.InTx(t.Context(), conn, db.Locals{}, func(ctx context.Context, q db.Querier) error {
		if value(t, q, "select ("+query+")::pg_catalog.text") != "true" {
			t.Error("in a transaction the temporary table is read")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Our own reads see every row or fail; statements of files see what policies let
// them see.
func TestRowPoliciesDoNotHideRows(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.Empty(t))
	role := "crmctl_rows_" + strings.ToLower(rand.Text()[:8])
	exec(t, conn, "create role "+role, "create schema tenant_acme", "grant usage on schema tenant_acme to "+role,
		"create table tenant_acme.c as select 1 as x", "grant select on tenant_acme.c to "+role,
		"alter table tenant_acme.c enable row level security")
	defer exec(t, conn, "rollback", "reset role", "drop owned by "+role, "drop role "+role)
	exec(t, conn, "set role "+role)
	const query = "select pg_catalog.count(*)::pg_catalog.text from tenant_acme.c"
	if got, err := db.Select(t.Context(), conn, pgx.RowTo[string],
		query); db.SQLState(err) != db.CodeInsufficientPrivilege {
		t.Errorf("select: %v, %v, want a refusal", got, err)
	}
	for _, c := range []struct {
		locals db.Locals
		code   string
	}{
		{db.Locals{}, db.CodeInsufficientPrivilege},
		{db.Locals{Schema: schema(t, "acme"), EveryRow: true}, db.CodeInsufficientPrivilege},
		{db.Locals{Schema: schema(t, "acme")}, ""},
	} {
		err := db.InTx(t.Context(), conn, c.locals, func(ctx context.Context, q db.Querier) error {
			_, err := q.Exec(ctx, query)
			return err
		})
		if db.SQLState(err) != c.code {
			t.Errorf("%+v: %v, want the code %q", c.locals, err, c.code)
		}
	}
}

func TestTemporaryTableDoesNotHideTheTenants(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.Empty(t))
	exec(t, conn, "create schema tenant_acme", "create table tenant_acme.c (x int)",
		"insert into tenant_acme.c values (1)",
		"create temporary table c (x int)")
	err := db.InTx(t.Context(), conn, db.Locals{Schema: schema(t, "acme")}, func(_ context.Context, q db.Querier) error {
		if got := value(t, q, "select count(*)::text from c"); got != "1" {
			t.Errorf("read %s rows, from the temporary table", got)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestStatementError(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.Empty(t))
	var p db.Pipeline
	p.Exec("select 1")
	p.Script([]db.Statement{{SQL: "select 'é',\n\tnowhere\nfrom pg_class", File: "dir/00007_x.sql", Line: 10}})
	p.Exec("create table never (x int)")
	err := p.Run(t.Context(), conn)
	var statement *db.StatementError
	if !errors.As(err, &statement) {
		t.Fatalf("error %v", err)
	}
	if got, want := err.Error(), `00007_x.sql:11: column "nowhere" does not exist (42703)`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := statement.Excerpt(), "\tnowhere\n\t^"; got != want {
		t.Errorf("excerpt %q, want %q", got, want)
	}
	if n := value(t, conn, "select count(*)::text from pg_class where relname = 'never'"); n != "0" {
		t.Error("a statement ran after the one that failed")
	}
}

func TestConnectErrors(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://u:geheim@127.0.0.1:1/x?connect_timeout=2",
		"host=/nowhere user=u password=geheim dbname=x",
		"postgres://u:geheim@no-such-host.invalid/x?connect_timeout=2",
	} {
		cfg, err := db.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.Connect(t.Context(), cfg)
		if !errors.Is(err, db.ErrUnreachable) || !db.ConnectionLost(err) {
			t.Errorf("%s: %v", dsn, err)
		}
		if strings.Contains(err.Error(), "geheim") || strings.Contains(err.Error(), "\n") {
			t.Errorf("error shows a secret or several lines: %q", err)
		}
	}
	cfg, err := db.ParseConfig(pgtest.Server(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Database = "no_such_database"
	if _, err := db.Connect(t.Context(), cfg); errors.Is(err, db.ErrUnreachable) || db.SQLState(err) != "3D000" {
		t.Errorf("an unknown database: %v", err)
	}
}
