package lint_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/lint"
	"github.com/crmctl/crmctl/migrations"
)

// The tests of this package take turns: each parser that works at the same time
// as another takes seconds to be made.

func file(path, text string) lint.File { return lint.File{Path: path, Text: text} }

func up(body string) string {
	return "-- +goose Up\n" + body + "\n-- +goose Down\nselect 1;\n"
}

func noTx(body string) string {
	return "-- +goose NO TRANSACTION\n" + up(body)
}

func check(t *testing.T, opts lint.Options, files ...lint.File) []lint.Finding {
	t.Helper()
	findings, err := lint.Check(t.Context(), files, opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		assertInside(t, files, f)
	}
	return findings
}

// assertInside wants a finding to point into its file, and to be complete.
func assertInside(t *testing.T, files []lint.File, f lint.Finding) {
	t.Helper()
	i := slices.IndexFunc(files, func(x lint.File) bool { return x.Path == f.File })
	if i < 0 {
		t.Fatalf("a finding in a file that was not given: %+v", f)
	}
	lines := strings.Split(strings.TrimSuffix(files[i].Text, "\n"), "\n")
	if f.Line < 1 || f.Line > len(lines) || f.Column < 1 || f.Column > len([]rune(lines[f.Line-1]))+2 {
		t.Errorf("finding outside its file of %d lines: %+v", len(lines), f)
	}
	if f.Rule == "" || f.Message == "" || f.Why == "" || f.Fix == "" || f.Severity == "" {
		t.Errorf("incomplete finding: %+v", f)
	}
}

func rules(findings []lint.Finding) string {
	var names []string
	for _, f := range findings {
		names = append(names, f.Rule)
	}
	return strings.Join(names, " ")
}

// before is what a table looked like.
const before = `create table t (id uuid primary key, a int, v varchar(10), n numeric(10,2), s text, ts timestamp(3));
create table other (id uuid primary key);`

func TestRules(t *testing.T) {
	tests := []struct {
		rule string // what is wanted, "" for nothing; several with blanks
		sql  string
	}{
		{"", "alter table t add column x int;"},
		{"syntax", "alter table t ad column x int;"},
		{"syntax", "select 'open;"},
		{"syntax", "select 'caf\xe9';"},
		{"syntax", "create table x (a int,);"},

		{"other-schema", "alter table public.t add column x int;"},
		{"other-schema", "create table tenant_acme.x (id int);"},
		{"other-schema", "create function public.f() returns int language sql as 'select 1';"},
		{"other-schema", "create type public.mood as enum ('a');"},
		{"other-schema", "comment on table public.t is 'x';"},
		{"other-schema", "comment on column public.t.a is 'x';"},
		{"other-schema", "drop view public.v;"},
		{"other-schema", "drop schema tenant_acme cascade;"},
		{"other-schema", "grant select on all tables in schema public to x;"},
		{"other-schema", "create schema x;"},
		{"other-schema", "alter table t set schema x;"},
		{"cluster-object", "create role x;"},
		{"cluster-object", "drop database x;"},

		{"", "create table x (id int, constraint x_fk foreign key (id) references public.y (id));"},
		{"schema-name", "create table x (id int, constraint x_fk foreign key (id) references public.t (id));"},
		{"schema-name", "create table x (id int, constraint x_fk foreign key (id) references crm.y (id));"},
		{"", "insert into x select * from public.y;"},
		{"schema-name", "insert into x select * from tenant_acme.y;"},
		{"schema-name", "create table x (a int default nextval('public.x_seq'::regclass));"},
		{"", "select 'public.x'::regclass, public.f(), null::public.mood;"},
		{"", "comment on column t.a is 'x';"},
		{"", "select pg_catalog.now(), x.a from t x, information_schema.tables;"},
		{"", "create table x (a public.citext default public.f());"},
		{"", "create table x (a text); create index i on x using gin (a extensions.gin_trgm_ops);"},
		{"shared-object", "create table x (a shop.money);"},
		{"shared-object", "create table x (a text default shop.f());"},
		{"shared-object", "create table x (a text); create index i on x using gin (a shop.gin_trgm_ops);"},
		{"", "drop trigger x on t; drop policy x on t; drop rule x on t;"},
		{"", "alter trigger x on t rename to y;"},

		{"", "create extension if not exists citext;"},
		{"extension", "drop extension if exists citext;"},
		{"extension", "alter extension citext update;"},
		{"search-path", "set search_path to x;"},
		{"search-path", "set local search_path to x;"},
		{"search-path", "select pg_catalog.set_config('search_path', '', false);"},
		{"", "set work_mem = '1GB';\nreset work_mem;"},
		{"", "SET statement_timeout = 0;\nSET client_encoding = 'UTF8';\nSET default_tablespace = '';"},
		{"session-setting", "set client_encoding = 'LATIN1';"},
		{"", "set local work_mem = '1GB';"},
		{"session-setting", "set role x;"},
		{"session-setting", "reset all;"},
		{"session-setting", "discard all;"},
		{"", "select set_config('work_mem', '1GB', false);"},
		{"", "select set_config('work_mem', '1GB', true);"},
		{"pg-dump", "\\restrict abc'def"},
		{"pg-dump pg-dump", "copy t (a) from stdin;\n1\tit's\n\\.\n\\unrestrict x"},
		{"", "select '\\restrict';"},
		{"schema-guard", "-- +goose StatementBegin\ndo $$ begin if not exists (select from pg_indexes where schemaname = " +
			"'public' and indexname = 'i') then create index i on t (a); end if; end $$;\n-- +goose StatementEnd"},
		{"catalog-guard", "-- +goose StatementBegin\ndo $$ begin if exists (select from pg_indexes where schemaname = " +
			"'public' and indexname = 'i') then drop index i; end if; end $$;\n-- +goose StatementEnd"},
		{"catalog-guard", "-- +goose StatementBegin\ndo $$ begin if not exists (select from pg_indexes where indexname = " +
			"'i') then create index i on t (a); end if; end $$;\n-- +goose StatementEnd"},
		{"", "-- +goose StatementBegin\ndo $$ begin if to_regclass('i') is null then create index i on t (a); end if; end " +
			"$$;\n-- +goose StatementEnd"},
		{"temporary-object", "create temp table x (a int);"},
		{"temporary-object", "prepare p as select 1;"},
		{"temporary-object", "select pg_advisory_lock(1);"},
		{"enum-value", "alter type mood add value 'new'; update t set s = 'new' where a = 1;"},
		{"", "alter type mood add value 'new'; update t set s = 'old' where a = 1;"},
		{"", "create type other as enum ('new'); alter type mood add value 'new'; update t set s = 'new' where a = 1;"},
		{"", "-- +goose StatementBegin\ndo $$ begin execute 'create table x (a int)'; end $$;\n-- +goose StatementEnd"},
		{"temporary-object", "-- +goose StatementBegin\ndo $$ begin create temp table x (a int); end $$;\n-- +goose " +
			"StatementEnd"},
		{"owner", "alter table t owner to x;"},
		{"owner", "alter function f() owner to x;"},
		{"transaction", "commit;"},
		{"", "savepoint x;"},

		{"needs-no-transaction", "create index concurrently i on t (a);"},
		{"needs-no-transaction", "drop index concurrently i;"},
		{"needs-no-transaction", "reindex index concurrently i;"},
		{"needs-no-transaction", "vacuum t;"},
		{"", "analyze t;"},
		{"index-blocks", "create index i on t (a);"},
		{"", "create table x (a int); create index i on x (a);"},
		{"index-blocks", "alter table t add constraint u unique (a);"},
		{"", "alter table t add constraint u unique using index i;"},
		{"index-blocks", "alter table t add constraint p primary key (a);"},
		{"not-null", "alter table t alter column a set not null;"},
		{"", "alter table t alter column id set not null;"},
		{"not-null", "alter table t add column x int not null;"},
		{"", "alter table t add column x int not null default 0;"},
		{"", "create table x (a int); alter table x add column b int not null; alter table x alter a set not null;"},
		{"not-null", "alter table t add constraint nn not null a;"},
		{"", "alter table t add constraint nn not null a not valid;"},
		{"type-change", "alter table t alter column a type bigint;"},
		{"type-change", "alter table t alter column v type varchar(5);"},
		{"type-change", "alter table t alter column v type varchar(20) using lower(v);"},
		{"type-change", "alter table t alter column n type numeric(12,4);"},
		{"type-change", "alter table t alter column s type varchar(5);"},
		{"type-change", "alter table t alter column unknown type text;"},
		{"type-change", "alter table t alter column v type text collate \"C\";"},
		{"", "alter table t alter column v type varchar(20);"},
		{"", "alter table t alter column v type varchar;"},
		{"", "alter table t alter column v type text using v::text;"},
		{"", "alter table t alter column n type numeric(12,2);"},
		{"", "alter table t alter column n type numeric;"},
		{"", "alter table t alter column ts type timestamp(6);"},
		{"volatile-default", "alter table t add column x uuid default gen_random_uuid();"},
		{"volatile-default", "alter table t add column x timestamptz default clock_timestamp();"},
		{"", "alter table t add column x timestamptz default now();"},
		{"volatile-default", "create function f() returns int language sql as 'select 1'; alter table t add column x int " +
			"default f();"},
		{"", "create function f() returns int language sql immutable as 'select 1'; alter table t add column x int default f();"},
		{"volatile-default", "alter table t add column x bigserial;"},
		{"volatile-default", "alter table t add column x int generated always as identity;"},
		{"volatile-default", "alter table t add column x int generated always as (a + 1) stored;"},
		{"", "alter table t add column x int generated always as (a + 1) virtual;"},
		{"constraint-not-valid", "alter table t add constraint c check (a > 0);"},
		{"", "alter table t add constraint c check (a > 0) not valid;"},
		{"", "alter table t add constraint c check (a > 0) not enforced;"},
		{"constraint-not-valid", "alter table t add constraint f foreign key (id) references other (id);"},
		{"", "alter table t add constraint f foreign key (id) references other (id) not valid;"},
		{"constraint-not-valid", "alter table t add column x uuid constraint f references other (id);"},
		{"validate-same-file", "alter table t add constraint c check (a > 0) not valid; alter table t validate constraint c;"},
		{"", "alter table t validate constraint c;"},
		{"lock-table", "lock table t in share mode;"},
		{"update-all", "alter table t add column x int; update t set x = 1;"},
		{"update-all", "update t set a = 1; alter table t add column x int;"},
		{"", "update t set a = 1;"},
		{"", "alter table t add column x int; update t set x = 1 where a = 2;"},

		{"drop-table", "drop table t;"},
		{"", "create table x (a int); drop table x;"},
		{"drop-table drop-cascade", "drop table t cascade;"},
		{"drop-column", "alter table t drop column a;"},
		{"truncate", "truncate t;"},
		{"delete-all", "delete from t;"},
		{"", "delete from t where a = 1;"},
		{"rename", "alter table t rename to u;"},
		{"rename", "alter table t rename column a to b;"},
		{"", "alter index t_pkey rename to p;"},

		{"name-length", "alter table t add column " + strings.Repeat("x", 64) + " int;"},
		{"name-length", "alter table t add column \"" + strings.Repeat("é", 32) + "\" int;"},
		{"", "alter table t add column " + strings.Repeat("x", 63) + " int;"},
		{"derived-name-length", "create table " + strings.Repeat("x", 60) + " (a int primary key);"},
		{"derived-name-length", "create table " + strings.Repeat("x", 60) + " (a int); create index on " +
			strings.Repeat("x", 60) + " (a);"},
		{"unnamed-constraint", "create table x (a int check (a > 0));"},
		{"unnamed-constraint", "create table x (a int, unique (a));"},
		{"unnamed-constraint", "create table x (a uuid references other);"},
		{"", "create table x (a int primary key, b int constraint c check (b > 0), constraint u unique (a));"},

		{"goose", "create function f() returns int language plpgsql as $$\nbegin\n  return 1;\nend $$;"},
		{"", "-- +goose StatementBegin\ncreate function f() returns int language plpgsql as $$\nbegin\n  return 1;\nend " +
			"$$;\n-- +goose StatementEnd"},
		{"", "create function f() returns int language plpgsql as\n-- +goose StatementBegin\n$$\nbegin\n  return 1;\nend " +
			"$$;\n-- +goose StatementEnd"},
		{"goose", "create function f() returns int language plpgsql as $$ begin\n return 1;\n-- +goose StatementBegin\nend " +
			"$$;\n-- +goose StatementEnd"},
		{"", "create rule r as on insert to t do also (insert into other values (new.id); insert into other values " +
			"(new.id));"},
		{"", "-- +goose StatementBegin\ncreate rule r as on insert to t do also (\ninsert into other values " +
			"(new.id);\ninsert into other values (new.id));\ncreate procedure p() begin atomic select 1;\nselect 2; end;\n-- " +
			"+goose StatementEnd"},
		{"", "-- +goose StatementBegin\ncreate function f() returns int begin atomic select case when true then 1 end; " +
			"end;\n-- +goose StatementEnd"},
		{"goose", "select 1"},
		{"goose", "select 1; select 2 /* no end */; /* c */"},
		{"goose", "-- +goose Upp\nselect 1;"},
		{"goose", "-- +goose StatementBegin\nselect 1;"},
		{"", "-- +goose ENVSUB ON\nselect ${A}, ${B:-c};"},
		{"unchecked", "select " + strings.Repeat("1+", 300) + "1;"},
		{"", "select " + strings.Repeat("1+", 100) + "1, " + strings.Repeat("1+", 100) + "1," +
			strings.Repeat("1+", 100) + "1;"},

		{"", "create trigger x before update on t execute function f();"},
	}
	for _, tt := range tests {
		findings := check(t, lint.Options{}, file("1_before.sql", up(before)), file("2_x.sql", up(tt.sql)))
		if got := rules(findings); got != tt.rule {
			t.Errorf("%s\n  got  %q\n  want %q", tt.sql, got, tt.rule)
			for _, f := range findings {
				t.Logf("  %s:%d:%d %s", f.File, f.Line, f.Column, f.Message)
			}
		}
		for _, f := range findings {
			if f.File != "2_x.sql" {
				t.Errorf("%s: a finding in the file before: %+v", tt.sql, f)
			}
		}
	}
}

func TestRulesOfCitus(t *testing.T) {
	tests := []struct{ rule, sql string }{
		{"citus-trigger", "create trigger x before update on t execute function f();"},
		{"citus-identity", "alter table fresh add column x serial;"},
		{"citus-identity", "alter table fresh add column x int generated always as identity;"},
		{"", "alter table fresh add column x int;"},
		{"unnamed-constraint citus-unnamed-check", "alter table fresh add column x int check (x > 0);"},
		{"citus-drop-add", "alter table fresh drop constraint c, add constraint d unique (a);"},
		{"", "alter table fresh drop constraint c; alter table fresh add constraint d unique (a);"},
		{"other-schema citus-schema-elements", "create schema x create table y (a int);"},
		{"citus-merge", "merge into other using fresh on true when not matched then insert values (1);"},
		{"", "merge into other using fresh on true when matched then delete;"},
		{"", "merge into fresh using t on true when not matched then insert values (1);"},
		{"citus-foreign-key", "create table x (a int constraint f references public.y (a));"},
		{"", "create table x (a int constraint f references y (a));"},
		{"citus-rename-constraint", "alter table fresh rename constraint a to b;"},
		{"citus-inherits", "create table x () inherits (fresh);"},
		{"citus-inherits", "create table x (a int); alter table x inherit fresh;"},
		{"", "create table x (a int) partition by range (a); create table y partition of x default;"},
		{"citus-drop-add", "alter table fresh add column x int, add constraint c unique (x);"},
		{"citus-sequence", "alter sequence s restart with 5;"},
		{"citus-sequence", "select setval('s', 5);"},
		{"citus-do-table", "do $$ begin create table x (a int); end $$;"},
		{"", "do $$ begin alter table fresh add column x int; end $$;"},
		{"citus-on-conflict", "insert into fresh (a) values (1) on conflict (a) do update set t = now();"},
		{"citus-on-conflict", "insert into fresh (a) values (1) on conflict (a) do update set t = current_timestamp;"},
		{"", "insert into fresh (a) values (1) on conflict (a) do update set t = excluded.t;"},
		{"citus-update", "update fresh set t = clock_timestamp() where a = 1;"},
		{"", "update fresh set t = now() where a = 1;"},
		{"citus-insert-select", "create table two (a int, t timestamptz default now()); insert into two (a) select a " +
			"from fresh;"},
		{"", "create table two (a int, t timestamptz); insert into two (a, t) select a, now() from fresh;"},
		{"", "create table two (a int, t int); with x as materialized (select a from fresh) insert into two (a) " +
			"select a from x;"},
		{"", "create table two (a int, t int default 1); insert into two (a) values (1);"},
		{"temporary-object citus-local-join", "create temporary table tmp (a int); delete from fresh where not exists (select from tmp " +
			"where tmp.a = fresh.a);"},
		{"temporary-object citus-local-join", "create temporary table tmp as select 1 as a; select 1 from fresh left join tmp using (a);"},
		{"temporary-object", "create temporary table tmp (a int); update fresh set a = tmp.a from tmp where tmp.a = fresh.a;"},
		{"", "select 1 from fresh where a in (select 1 from fresh);"},
		{"citus-current-schema", "update fresh set t = current_schema() where a = 1;"},
		{"", "select current_schema();"},
		{"citus-set-config", "select set_config('lock_timeout', '1s', true);"},
		{"session-setting citus-role", "set local role app;"},
	}
	for _, tt := range tests {
		sql := "create table fresh (a int);\n" + tt.sql
		findings := check(t, lint.Options{Target: lint.Citus}, file("2_x.sql", up(sql)))
		if got := rules(findings); got != tt.rule {
			t.Errorf("%s: got %q, want %q", tt.sql, got, tt.rule)
		}
		for _, f := range check(t, lint.Options{}, file("2_x.sql", up(sql))) {
			if strings.HasPrefix(f.Rule, "citus") {
				t.Errorf("%s: %s without the target", tt.sql, f.Rule)
			}
		}
	}
	if _, err := lint.Check(t.Context(), nil, lint.Options{Target: "oracle"}); err == nil {
		t.Error("an unknown target is no error")
	}
}

func TestWholeFiles(t *testing.T) {
	tests := []struct{ name, rule, text string }{
		{"1_x.sql", "missing-down", "-- +goose Up\nselect 1;\n"},
		{"1_x.sql", "missing-down", "-- +goose Up\nselect 1;\n-- +goose Down\n-- nothing\n"},
		{"1_x.sql", "", "-- crmctl:allow missing-down the rows cannot be told apart any more\n-- +goose Up\nselect 1;\n"},
		{"1_x.sql", "empty-file", "-- +goose Up\n-- to do\n-- +goose Down\n"},
		{"1_x.sql", "goose", ""},
		{"1_x.sql", "goose", "select 1;\n"},
		{"1_x.sql", "goose", "select 1"},
		{"1_x.sql", "goose missing-down", "select 1;\n-- +goose Up\nselect 1;\n"},
		{"1_x.sql", "goose", "-- +goose Up\nselect 1;\n-- +goose Down\nselect 1;\n-- +goose Down\nselect 2;\n"},
		{"x.sql", "file-name", up("select 1;")},
		{"0_x.sql", "file-name", up("select 1;")},
		{"00001-init.sql", "file-name", up("select 1;")},
		{"00002_in_go.go", "file-name", "package migrations"},
		{"dir/0001_x.SQL", "file-name", up("select 1;")},
		{"1_x.sql", "one-statement", noTx("analyze;\ncreate index concurrently i on t (a);\ncreate index concurrently j on " +
			"t (a);\ndrop index concurrently k;")},
		{"1_x.sql", "", noTx("set lock_timeout = '5s';\nset work_mem = '1GB';\ncreate index concurrently i on t " +
			"(a);\nreset lock_timeout;")},
		{"1_x.sql", "", noTx("alter table t add constraint c check (a > 0) not valid;\nalter table t validate constraint c;")},
		{"1_x.sql", "search-path", noTx("set search_path = x;")},
		{"1_x.sql", "call-no-transaction", noTx("call fill();")},
		{"1_x.sql", "", up("call fill();")},
		{"1_x.sql", "", noTx("create index concurrently i on t (a);")},
		{"1_x.sql", "index-if-not-exists", noTx("create index concurrently if not exists i on t (a);")},
		{"1_x.sql", "search-path", "-- +goose Up\ncreate table x (a int);\n-- +goose Down\ndrop table x;\nset search_path " +
			"= x;\n"},
		{"1_x.sql", "", "-- +goose Up\r\ncreate table x (a int);\r\n-- +goose Down\r\ndrop table x;\r\n"},
	}
	for _, tt := range tests {
		if got := rules(check(t, lint.Options{}, file(tt.name, tt.text))); got != tt.rule {
			t.Errorf("%s %q: got %q, want %q", tt.name, tt.text, got, tt.rule)
		}
	}
}

func TestSeveralFiles(t *testing.T) {
	one := up("select 1;")
	got := check(t, lint.Options{}, file("3_c.sql", one), file("0003_b.sql", one), file("x", one), file("1_a.sql", one),
		file("y", one))
	if want := "file-name file-name duplicate-version"; rules(got) != want {
		t.Errorf("got %q, want %q", rules(got), want)
	}

	// A check that an earlier file validated makes SET NOT NULL harmless.
	steps := []lint.File{
		file("1_a.sql", up(before)),
		file("2_b.sql", up("alter table t add constraint nn check (a is not null) not valid;")),
		file("3_c.sql", noTx("alter table t validate constraint nn;")),
		file("4_d.sql", up("alter table t alter column a set not null;")),
	}
	if got := check(t, lint.Options{}, steps...); len(got) > 0 {
		t.Errorf("the safe way: %+v", got)
	}
	if got := rules(check(t, lint.Options{}, steps[0], steps[1], steps[3])); got != "not-null" {
		t.Errorf("without the validation: %q", got)
	}

	// What a file leaves to later ones is told once there is a later one.
	kept := []lint.File{
		file("1_a.sql", up("set local timezone = 'UTC';\nset local lock_timeout = '5s';\nselect 1;")),
		file("2_b.sql", up("alter type mood add value 'sad';\nalter type mood add value 'glad';")),
		file("3_c.sql", up("create function f() returns text language sql as $$ select 'glad' $$;\nupdate t set mood = "+
			"'sad' where id = 1;")),
		file("4_d.sql", up("update t set mood = 'sad' where id = 2;")),
	}
	got = check(t, lint.Options{}, kept...)
	if rules(got) != "setting-of-file enum-value" || got[0].File != "1_a.sql" || got[1].File != "3_c.sql" ||
		got[1].Line != 3 {
		t.Errorf("left to later files: %+v", got)
	}
	if got := check(t, lint.Options{Since: 2}, kept...); len(got) > 0 {
		t.Errorf("of files that were applied: %+v", got)
	}

	bad := up("drop table t;")
	since := check(t, lint.Options{Since: 1}, file("1_a.sql", bad), file("2_b.sql", bad))
	if len(since) != 1 || since[0].File != "2_b.sql" {
		t.Errorf("since 1: %+v", since)
	}

	changed := []lint.File{{Path: "1_a.sql", Text: one, Checksum: "new"}, {Path: "2_b.sql", Text: one, Checksum: "same"}}
	got = check(t, lint.Options{Applied: map[int64]string{1: "old", 2: "same", 9: "gone"}}, changed...)
	if rules(got) != "changed-file" || got[0].File != "1_a.sql" {
		t.Errorf("applied: %+v", got)
	}
}

func TestAllow(t *testing.T) {
	tests := []struct{ rule, text string }{
		{"", up("-- crmctl:allow truncate a cache\ntruncate t;")},
		{"truncate", up("select 1;\n-- crmctl:allow truncate a cache\ntruncate t;\ntruncate t;")},
		{"", up("select 1;\ntruncate t; -- crmctl:allow truncate a cache")},
		{"", up("select 1;\ntruncate -- crmctl:allow truncate a cache\n t;")},
		{"", "-- crmctl:allow truncate all of it is a cache\n" + up("truncate t;\ntruncate t;")},
		{"allow truncate", up("-- crmctl:allow truncate\ntruncate t;")},
		{"allow", up("-- crmctl:allow trunkate a cache\nselect 1;")},
		{"unused-allow", up("-- crmctl:allow truncate a cache\nselect 1;")},
		{"unused-allow truncate", up("select 1;\n-- crmctl:allow truncate a cache\nselect 1;\ntruncate t;")},
		{"unused-allow", up("select 1;") + "-- crmctl:allow truncate a cache\n"},
		{"", up("-- crmctl:allow citus-trigger not on Citus\nselect 1;")},
		{"", up("select '-- crmctl:allow nonsense';")},
		{"unused-allow search-path", up("-- crmctl:allow search-path we know\nset search_path = x;")},
		{"unused-allow", up("-- crmctl:allow extension it is there\ncreate extension citext;")},
		{"unused-allow", up("-- crmctl:allow drop-schema it is empty\nselect 1;")},
		{"", up("-- crmctl:allow catalog-guard the tables of all tenants are counted\ninsert into t select 1 where exists " +
			"(select from pg_tables where tablename = 'x');")},
		{"catalog-guard", up("insert into t select 1 where exists (select from pg_tables where tablename = 'x');")},
		{"", up("-- crmctl:allow truncate one\n-- crmctl:allow delete-all two\ntruncate t;\ndelete from t;")},
	}
	for _, tt := range tests {
		if got := rules(check(t, lint.Options{}, file("1_x.sql", tt.text))); got != tt.rule {
			t.Errorf("%q: got %q, want %q", tt.text, got, tt.rule)
		}
	}
}

func TestPositions(t *testing.T) {
	tests := []struct {
		text         string
		line, column int
	}{
		{up("select 'é', é create;"), 2, 15},
		{up("select 1;\n\n  -- note\n  truncate t;"), 5, 12},
		{up("alter table t\n\tadd constraint c check (a > 0);"), 3, 6},
		{up("select 1,\n  \"é\" 'é' from;"), 3, 15},
	}
	for _, tt := range tests {
		got := check(t, lint.Options{}, file("1_x.sql", tt.text))
		if len(got) != 1 || got[0].Line != tt.line || got[0].Column != tt.column {
			t.Errorf("%q: got %+v, want %d:%d", tt.text, got, tt.line, tt.column)
		}
	}
}

// Every rule is documented, and every documented rule can be found.
func TestTableOfRules(t *testing.T) {
	seen := map[string]bool{}
	elsewhere := []string{"shared-name"} // in shared_test.go
	for _, r := range lint.Rules() {
		if seen[r.Name] || r.Summary == "" || r.Why == "" || r.Fix == "" || r.Severity == "" {
			t.Errorf("rule %+v", r)
		}
		seen[r.Name] = true
	}
	text, err := os.ReadFile("lint_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for name := range seen {
		if !slices.Contains(elsewhere, name) && !strings.Contains(string(text), `"`+name) &&
			!strings.Contains(string(text), " "+name+`"`) {
			t.Errorf("no test wants %s", name)
		}
	}
}

// What crmctl ships passes its own rules, on Citus too.
func TestBuiltInMigrations(t *testing.T) {
	dir := "../../migrations/tenant"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var files []lint.File
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file(e.Name(), string(text)))
	}
	if embedded, err := migrations.Tenant().Open(files[0].Path); err != nil {
		t.Fatal(err)
	} else {
		_ = embedded.Close()
	}
	for _, target := range []string{"", lint.Citus} {
		for _, f := range check(t, lint.Options{Target: target}, files...) {
			t.Errorf("%s:%d:%d %s: %s", f.File, f.Line, f.Column, f.Rule, f.Message)
		}
	}
}

// Whatever a file holds, Check comes back, and points into it.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{
		"", "\x00", "\xff", "-- +goose Up", up("select 1;"), noTx("vacuum;"), up("create table x (a int);\r\n"),
		"\\restrict x\n" + up("copy t from stdin;\n\\.\n"),
		up("-- crmctl:allow x\n-- +goose StatementBegin\nselect $$;$$;"), "-- +goose ENVSUB ON\n" + up("select ${é:-x};"),
		up("alter table t add constraint c not null a not valid;"),
		up("create function f() begin atomic; case end"), up(strings.Repeat("(", 300)), "\n\n\n", up("select U&\"\\"),
		up("é"), "-- +goose Down\n\n-- +goose Up ",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		files := []lint.File{file("1_before.sql", up(before)), file("2_x.sql", text)}
		findings, err := lint.Check(t.Context(), files, lint.Options{Target: lint.Citus})
		if err != nil {
			t.Fatal(err)
		}
		for _, finding := range findings {
			assertInside(t, files, finding)
		}
	})
}
