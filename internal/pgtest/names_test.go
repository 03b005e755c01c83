package pgtest

import (
	"strings"
	"testing"
)

func TestUnqualified(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ sql, want string }{
		{"select pg_catalog.count(*) from public.tenants t where t.id operator(pg_catalog.=) $1::pg_catalog.uuid order by 1", ""},
		{"select count(*)", "function count"},
		{"select 1 where $1 = 2", "operator ="},
		{"select 1 where a.b in (1, 2)", "operator ="},
		{"select 1 where a.b not in (1, 2)", "operator <>"},
		{"select 1 where a.b in (select 1)", "operator of a subquery"},
		{"select 1 where a.b = any (select 1)", "operator = of a subquery"},
		{"select 1 where a.b operator(pg_catalog.=) any (select 1)", ""},
		{"select 1 where a.b = any ($1)", "operator ="},
		{"select 1 where a.b between 1 and 2", "operator BETWEEN"},
		{"select 1 where a.b like 'x'", "operator ~~"},
		{"select 1 where a.b is distinct from 1", "operator ="},
		{"select nullif(1, 2)", "operator ="},
		{"select case 1 when 2 then 3 end", "operator = of CASE x WHEN"},
		{"select case when true then greatest(1, coalesce(2, 3)) end, extract(epoch from now_.x) from public.now_", ""},
		{"select 1 from a.b join c.d using (x)", "operator = of USING or NATURAL"},
		{"select 1 from a.b natural join c.d", "operator = of USING or NATURAL"},
		{"select 1 order by 1 using <", "operator <"},
		{"select a.b::text from public.a", "type text"},
		{"select a.b::int, cast(1 as boolean), interval '1 day' from public.a", ""},
		{"select date '2020-01-01'", "type date"},
		{"select a.b collate \"C\" from public.a", "collation C"},
		{"select 1 from tenants", "relation tenants"},
		{"with x as (select 1 from public.y) select 1 from x", ""},
		{"select 1 from public.y for update of y", ""},
		{"update tenants set a = 1", "relation tenants"},
		{"delete from tenants", "relation tenants"},
		{"insert into tenants values (1)", "relation tenants"},
		{"copy tenants from stdin", "relation tenants"},
		{"analyze tenants", "relation tenants"},
		{"lock table only tenants in access share mode", "relation tenants"},
		{"alter table tenants add column a int", "relation tenants"},
		{"create index i on tenants (a)", "relation tenants"},
		{"create index i on public.tenants (a text_ops)", "operator class text_ops"},
		{"create table public.x (a text)", "type text"},
		{"create table x (a int)", "relation x"},
		{"create temporary table x (a int)", ""},
		{"drop index i", "object i"},
		{"drop table a.i; drop schema s; drop role r", ""},
		{"select 'tenants'::pg_catalog.regclass", "text read as a name tenants"},
		{"select pg_catalog.to_regclass('tenants')", "text read as a name tenants"},
		{"select pg_catalog.to_regclass('public.tenants')", ""},
		{"do $$ begin end $$", ""},
		{"do $$ declare a pg_catalog.text := current_setting('x'); begin end $$", "function current_setting"},
		{"do $$ begin if pg_catalog.now() = null then raise division_by_zero; end if; end $$", "operator ="},
		{"do $$ begin perform pg_catalog.set_config('x', 'y', true); end $$", ""},
		{"do $$ begin perform set_config('x', 'y', true); end $$", "function set_config"},
		{"do $$ begin execute pg_catalog.format('delete from %1$I.t where x operator(pg_catalog.=) $1', 'a') using 1; end $$", ""},
		{"do $$ begin execute pg_catalog.format('delete from %1$I.t where x = $1', 'a') using 1; end $$", "operator ="},
		{"do $$ begin execute pg_catalog.format('insert into t values (1)', 'a'); end $$", "relation t"},
		{"do $$ begin insert into t values (1); end $$", "relation t"},
		{"refresh materialized view v", "relation v"},
		{"truncate a.b, c", "relation c"},
		{"grant usage on schema s to r", ""},
		{"set constraints all deferred", ""},
		{"this is no statement", "cannot be read"},
	} {
		if got := offence(c.sql, false); got != c.want && (c.want == "" || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%s\n got %q\nwant %q", c.sql, got, c.want)
		}
	}
}
