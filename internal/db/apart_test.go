package db_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// TestApart: statements on a tenant's table do the same in a block and as they are, where the
// role may not use PL/pgSQL or the server's log is to have them; errors have the statement.
func TestApart(t *testing.T) {
	t.Parallel()
	for _, without := range []string{"", "revoke usage on language plpgsql from public",
		"do $$ begin execute format('alter database %I set log_statement = ddl', current_database()); end $$"} {
		blocks := without == ""
		dsn := pgtest.Empty(t)
		conn := connect(t, dsn)
		exec(t, conn, `create schema tenant_a`, `create table tenant_a.t (name text)`, `create sequence tenant_a.s`)
		if !blocks {
			exec(t, conn, without)
			conn = connect(t, dsn)
		}
		answer := value(t, conn, "select "+db.EngineSQL)
		if err := db.Recognize(t.Context(), conn, answer); err != nil {
			t.Fatal(err)
		}
		if e := db.EngineOf(conn); e.Blocks() != blocks || e.Distributed() || e.String() != "PostgreSQL" {
			t.Fatalf("engine %+v of %q, blocks %t", e, answer, blocks)
		}
		sent := map[string]bool{}
		pgtest.Observe(t, dsn, func(_ *pgx.Conn, statements []db.Sent) {
			for _, s := range statements {
				sent[s.SQL] = true
			}
		})
		var names, none []string
		var p db.Pipeline
		p.Begin(db.Locals{})
		p.Apart(`insert into tenant_a.t values ('it''s'), ('\'), ('$crmctl$')`)
		p.LockToRead("tenant_a.t", "only tenant_a.t")
		read := func(into *[]string) func(pgx.Rows) error {
			return func(rows pgx.Rows) (err error) {
				*into, err = pgx.CollectRows(rows, pgx.RowTo[string])
				return err
			}
		}
		p.Ask(read(&names), `select name from tenant_a.t where name operator(pg_catalog.=) any ($1::pg_catalog.text[])
			or name operator(pg_catalog.=) any ($2::pg_catalog.text[]) order by name collate "C"`, []string{"it's", `\`},
			[]string{"$crmctl$"})
		p.Ask(read(&none), "select name from tenant_a.t where name operator(pg_catalog.=) ''")
		p.Script([]db.Statement{{SQL: `insert into tenant_a.t values ('\x''y')`, Apart: true}})
		var changed, unchanged int64
		p.Change(&changed, `delete from tenant_a.t where name operator(pg_catalog.=) any ($1::pg_catalog.text[])
			or name operator(pg_catalog.=) any ($2::pg_catalog.text[])`, []string{"it's"}, []string{`\`, "none"})
		p.Change(&unchanged, "delete from tenant_a.t where name operator(pg_catalog.=) ''")
		if err := p.Run(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		if changed != 2 || unchanged != 0 {
			t.Errorf("blocks %t: %d and %d rows are changed", blocks, changed, unchanged)
		}
		if !slices.Equal(names, []string{"$crmctl$", `\`, "it's"}) || len(none) > 0 {
			t.Errorf("blocks %t: %q, %q", blocks, names, none)
		}
		if n := value(t, conn, `select count(*)::text from tenant_a.t where name = '\x''y'`); n != "1" {
			t.Errorf("blocks %t: %s rows of a script", blocks, n)
		}
		if err := db.Commit(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		if !sent["lock table tenant_a.t, only tenant_a.t in access share mode"] {
			t.Errorf("blocks %t: the tracer is not shown what runs: %q", blocks, slices.Sorted(maps.Keys(sent)))
		}
		p = db.Pipeline{}
		p.Begin(db.Locals{})
		p.Apart("delete from tenant_a.nothing")
		err := p.Run(t.Context(), conn)
		s, ok := errors.AsType[*db.StatementError](err)
		if !ok || s.Statement.SQL != "delete from tenant_a.nothing" || db.SQLState(err) != db.CodeUndefinedTable {
			t.Errorf("blocks %t: %v", blocks, err)
		}
		if err := db.Rollback(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFound: a name alone leads to the tenant's table, whatever else has it, or is not used.
func TestFound(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.Empty(t))
	exec(t, conn, "create schema tenant_a", "create schema tenant_b",
		"create table tenant_a.t (x text)", "create table public.t (x text)", "create temp table t (x text)",
		`create table tenant_a."we""ird.T" (x text)`, "create table tenant_a.pg_class (x text)",
		"create table tenant_b.elsewhere (x text)", "create table public.elsewhere (x text)",
		"create temp table temporary (x text)")
	ask := func(path string, tables ...string) string {
		found := map[string]bool{}
		var p db.Pipeline
		p.Begin(db.Locals{})
		p.Bare(schema(t, "a"))
		if path != "" {
			p.Exec("select pg_catalog.set_config('search_path', $1, true)", path)
		}
		p.Found(found, schema(t, "a"), tables)
		p.Exec("rollback")
		if err := p.Run(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		return strings.Join(slices.Sorted(maps.Keys(found)), " ")
	}
	if got := ask("", "t", `we"ird.T`, "pg_class", "elsewhere", "temporary", "missing"); got != `t we"ird.T` {
		t.Errorf("found %q", got)
	}
	for _, path := range []string{"public, tenant_a, pg_temp", "tenant_a", "tenant_b, pg_temp, public"} {
		if got := ask(path, "t"); got != "" {
			t.Errorf("%s: found %q", path, got)
		}
	}
}
