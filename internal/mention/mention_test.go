package mention_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/mention"
	"github.com/crmctl/crmctl/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// find makes things in a database with a schema of the given name, renames that, and
// returns what is found of the old name.
func find(t *testing.T, name string, statements ...string) []string {
	t.Helper()
	cfg, err := db.ParseConfig(pgtest.Empty(t))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	now, err := db.RegisteredSchema("renamed")
	if err != nil {
		t.Fatal(err)
	}
	quoted := pgx.Identifier{name}.Sanitize()
	statements = append([]string{"create schema " + quoted, "set search_path = " + quoted + ", pg_temp",
		"create table t (id int primary key, name text, at date)"}, statements...)
	for _, sql := range append(statements, "alter schema "+quoted+" rename to renamed") {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	found, err := mention.Find(t.Context(), conn, name, now)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, len(found))
	for i, m := range found {
		out[i] = m.String()
	}
	return out
}

func TestFind(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql  []string
		want string // the only one, as it begins; "" for none
	}{
		"plpgsql": {[]string{`create function f() returns int language plpgsql as $$ begin return (select count(*)
			from tenant_a.t); end $$`}, "function renamed.f() (its text)"},
		"sql": {[]string{`create procedure f() language sql as $$ delete from "tenant_a".t $$`},
			"function renamed.f() (its text)"},
		"capitals": {[]string{`create function public.f() returns void language plpgsql as $$ begin delete
			from Tenant_A.t; end $$`}, "function public.f() (its text)"},
		"execute format": {[]string{`create function f() returns void language plpgsql as $$ begin
			execute format('delete from %I.t', 'tenant_a'); end $$`}, "function renamed.f() (its text)"},
		"set_config": {[]string{`create function f() returns void language sql as $$
			select set_config('search_path', 'x,tenant_a', true) $$`}, "function renamed.f() (its text)"},
		"path": {[]string{`create function public.f() returns void language sql set search_path = tenant_a,
			public as 'select'`}, "function public.f() (its settings)"},
		"argument": {[]string{`create function f(s text default 'tenant_a.t') returns void language sql as 'select'`},
			"function renamed.f(text) (a constant in it)"},
		"atomic text": {[]string{`create function f() returns bigint language sql begin atomic
			select nextval('tenant_a.s'::text::regclass); end`}, "function renamed.f() (a constant in it)"},
		"atomic": {[]string{`create function f() returns bigint language sql begin atomic select count(*)
			from tenant_a.t; end`}, ""},
		"view": {[]string{`create view v as select to_regclass('tenant_a.t') as x`},
			"rule _RETURN on view renamed.v (a constant in it)"},
		"other's view": {[]string{`create schema z`,
			`create view z.v as select current_setting('search_path') = 'tenant_a' as x`},
			"rule _RETURN on view z.v (a constant in it)"},
		"matview": {[]string{`create materialized view v as select 'in tenant_a' as x`},
			"rule _RETURN on materialized view renamed.v (a constant in it)"},
		"view by oid": {[]string{`create view v as select * from tenant_a.t`}, ""},
		"rule": {[]string{`create rule r as on delete to t do also notify tenant_x`,
			`create rule r2 as on insert to t do also update t set name = 'tenant_a'`},
			"rule r2 on table renamed.t (a constant in it)"},
		"default": {[]string{`create sequence s`, `alter table t add n bigint default nextval('tenant_a.s'::text)`},
			"default value for column n of table renamed.t (a constant in it)"},
		"default by oid": {[]string{`create sequence s`, `alter table t add n bigint default nextval('tenant_a.s')`}, ""},
		"check": {[]string{`alter table t add constraint c check (name <> 'tenant_a.x')`},
			"constraint c on table renamed.t (a constant in it)"},
		"domain": {[]string{`create domain d as text constraint c check (value like 'tenant_a%')`},
			"constraint c on type renamed.d (a constant in it)"},
		"domain default": {[]string{`create domain d as text default 'tenant_a'`}, "type renamed.d (its default)"},
		"policy": {[]string{`create policy p on t using (current_user = 'tenant_a')`},
			"policy p on table renamed.t (a constant in it)"},
		"policy, write": {[]string{`create policy p on t with check (current_setting('search_path') = 'tenant_a')`},
			"policy p on table renamed.t (a constant in it)"},
		"index": {[]string{`create index i on t ((name || 'tenant_a'))`}, "index renamed.i (a constant in it)"},
		"partial index": {[]string{`create index i on t (id) where name = 'tenant_a'`},
			"index renamed.i (a constant in it)"},
		"trigger": {[]string{`create function f() returns trigger language plpgsql as 'begin return null; end'`,
			`create trigger g after insert on t for each row execute function f('x', 'tenant_a')`},
			"trigger g on table renamed.t (a constant in it)"},
		"trigger when": {[]string{`create function f() returns trigger language plpgsql as 'begin return null; end'`,
			`create trigger g after insert on t for each row when (new.name = 'tenant_a') execute function f()`},
			"trigger g on table renamed.t (a constant in it)"},
		"partition": {[]string{`create table p (n text) partition by list (n)`,
			`create table p1 partition of p for values in ('tenant_a')`}, "table renamed.p1 (its partition bound)"},
		"partition key": {[]string{`create table p (n text) partition by list ((n || 'tenant_a'))`},
			"table renamed.p (its partition key)"},
		"statistics": {[]string{`create statistics s on (name || 'tenant_a'), id from t`},
			"statistics object renamed.s (a constant in it)"},
		"foreign table": {[]string{`create foreign data wrapper w`, `create server s foreign data wrapper w`,
			`create foreign table f (id int) server s options (schema_name 'tenant_a', table_name 't')`},
			"foreign table renamed.f (its options)"},
		"server": {[]string{`create foreign data wrapper w`,
			`create server s foreign data wrapper w options (options '-c search_path=tenant_a')`}, "server s (its options)"},
		"publication": {[]string{`create publication p for table t`},
			"publication of table renamed.t in publication p (its subscribers"},
		"all tables": {[]string{`create publication p for all tables`}, ""},
		"longer": {[]string{`create function f() returns void language sql as $$
			select 'my_tenant_a, tenant_ab, tenant_a1' $$`, `alter table t alter name set default 'xtenant_a tenant_a_b'`}, ""},
		"comment": {[]string{`comment on table t is 'of tenant_a'`}, ""},
		"foreign keys": {[]string{`create table u (id int references tenant_a.t)`,
			`create table public.v (id int references tenant_a.t)`}, ""},
		"array": {[]string{`alter table t add x text[] default array['a', 'tenant_a']`},
			"default value for column x of table renamed.t (a constant in it)"},
		"json": {[]string{`alter table t add x jsonb default '{"schema": "tenant_a"}'`},
			"default value for column x of table renamed.t (a constant in it)"},
		"database": {[]string{`do $$ begin execute format('alter database %I set search_path = tenant_a',
			current_database()); end $$`}, "database crmctl_test_"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := slices.DeleteFunc(find(t, "tenant_a", c.sql...), func(m string) bool {
				return strings.HasPrefix(m, "role mention_") // of the cluster, and of the test below
			})
			if c.want == "" && len(got) != 0 || c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], c.want)) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// Names that need quotes, or characters of more than a byte, are found as well.
func TestFindOddNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{`Weird Name`, `we"ird`, `o'hara`, `a.b*c`, `información`, `日本`, `x$y`, `_`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := find(t, name,
				"create function f() returns void language plpgsql as "+db.Literal("begin delete from "+
					pgx.Identifier{name}.Sanitize()+".t; end"),
				"create function g() returns void language plpgsql as "+db.Literal("begin execute format('delete from %I.t', "+
					db.Literal(name)+"); end"),
				"alter table t alter name set default "+db.Literal("in "+name+", say"),
				"alter function f() set search_path from current")
			if len(got) != 4 {
				t.Errorf("got %q", got)
			}
		})
	}
}

// What is set for roles counts, in this database and in all, but not in another.
func TestFindSettingsOfRoles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sql  string
		want int
	}{
		{"alter role %I set search_path = public, tenant_a", 1},
		{"alter role %I in database %I set search_path = tenant_a", 1},
		{"alter role %I in database postgres set search_path = tenant_a", 0},
	} {
		role := "mention_" + strings.ToLower(strings.NewReplacer(" ", "", "%", "", "=", "", ",", "").Replace(c.sql)[10:24])
		got := find(t, "tenant_a", "create role "+role, `do $$ begin execute format('`+c.sql+`', '`+role+
			`', current_database()); end $$`, "comment on role "+role+" is 'tenant_a'")
		dropRole(t, role)
		if len(got) != c.want || c.want == 1 && !strings.HasPrefix(got[0], "role "+role) {
			t.Errorf("%s: %q", c.sql, got)
		}
	}
}

func dropRole(t *testing.T, role string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), pgtest.Empty(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), "drop role "+role); err != nil {
		t.Error(err)
	}
}
