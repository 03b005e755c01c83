package lint_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/lint"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// What lint says of rewritten tables is what PostgreSQL does: a table that was
// written anew has another file.
func TestRewritesOnAServer(t *testing.T) {
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, pgtest.Empty(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	// With the time zone UTC a timestamp would become a timestamptz as it is, which
	// no file can know.
	if _, err := conn.Exec(ctx, "set timezone to 'Europe/Berlin'"); err != nil {
		t.Fatal(err)
	}
	change := func(from, to string) [2]string {
		return [2]string{"create table t (c " + from + ");", "alter table t alter column c type " + to +
			" using c::" + to + ";"}
	}
	add := func(column string) [2]string {
		return [2]string{"create table t (a int);", "alter table t add column c " + column + ";"}
	}
	tests := [][2]string{
		change("varchar(10)", "varchar(20)"), change("varchar(10)", "varchar(5)"), change("varchar(10)", "varchar"),
		change("varchar", "varchar(5)"),
		change("varchar(10)", "text"), change("text", "varchar"), change("text", "varchar(10)"), change("char(5)", "text"),
		change("text", "char(5)"),
		change("int", "bigint"), change("bigint", "int"), change("smallint", "int"), change("int", "text"),
		change("real", "double precision"),
		change("numeric(10,2)", "numeric(12,2)"), change("numeric(10,2)", "numeric(9,2)"),
		change("numeric(10,2)", "numeric(12,3)"),
		change("numeric(10,2)", "numeric"), change("numeric", "numeric(10,2)"), change("numeric(10)", "numeric(12)"),
		change("timestamp(3)", "timestamp(6)"), change("timestamp(3)", "timestamp"), change("timestamp(6)", "timestamp(3)"),
		change("timestamptz(0)", "timestamptz(3)"),
		change("timestamp", "timestamptz"), change("time(0)", "time(3)"), change("interval(0)", "interval"),
		change("varbit(5)", "varbit(9)"), change("bit(5)", "bit(9)"),
		change("cidr", "inet"), change("inet", "cidr"), change("json", "jsonb"), change("text", "jsonb"),
		change("int[]", "bigint[]"), change("uuid", "text"),
		add("int"), add("int not null default 1"), add("timestamptz not null default now()"),
		add("uuid default gen_random_uuid()"),
		add("timestamptz default clock_timestamp()"), add("serial"), add("bigint generated always as identity"),
		add("int generated always as (a + 1) stored"), add("text default current_setting('work_mem')"),
		add("double precision default random()"),
	}
	for _, tt := range tests {
		findings := check(t, lint.Options{}, file("1_a.sql", up(tt[0])), file("2_b.sql", up(tt[1])))
		says := slices.ContainsFunc(findings, func(f lint.Finding) bool {
			return f.Rule == "type-change" || f.Rule == "volatile-default"
		})
		var before, after uint32
		steps := []func() error{
			func() error { _, err := conn.Exec(ctx, tt[0]); return err },
			func() error { return conn.QueryRow(ctx, "select pg_relation_filenode('t')").Scan(&before) },
			func() error { _, err := conn.Exec(ctx, tt[1]); return err },
			func() error { return conn.QueryRow(ctx, "select pg_relation_filenode('t')").Scan(&after) },
			func() error { _, err := conn.Exec(ctx, "drop table t"); return err },
		}
		for i, step := range steps {
			if err := step(); err != nil {
				t.Fatal(fmt.Errorf("%v, step %d: %w", tt, i, err))
			}
		}
		if rebuilt := before != after; says != rebuilt {
			t.Errorf("%s %s\n  rewritten: %t, lint says %t", tt[0], tt[1], rebuilt, says)
		}
	}
}
