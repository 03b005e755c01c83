package sqltext

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestJudgeRefuses(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]Rule{
		"begin":                           RuleTransaction,
		"/* x */ COMMIT":                  RuleTransaction,
		"prepare transaction 'x'":         RuleTransaction,
		"rollback":                        RuleTransaction,
		"set search_path = x":             RuleSearchPath,
		`SET SESSION "search_path" TO x`:  RuleSearchPath,
		"set local search_path to public": RuleSearchPath,
		"select pg_catalog.set_config('search_path', '', false)": RuleSearchPath,
		"set role postgres":                              RuleSession,
		"set session authorization postgres":             RuleSession,
		"select set_config('role', 'x', true)":           RuleSession,
		"set statement_timeout = 0":                      RuleSession,
		"reset all":                                      RuleSession,
		"discard temp":                                   RuleSession,
		"copy t from stdin":                              RuleCopy,
		"create schema if not exists shop":               RuleOtherSchema,
		"alter schema a rename to b":                     RuleOtherSchema,
		"drop schema a cascade":                          RuleOtherSchema,
		"create table if not exists shop.goods (id int)": RuleOtherSchema,
		`create unlogged table "Shop".goods (id int)`:    RuleOtherSchema,
		"create unique index concurrently if not exists i on only public.t (x)":                       RuleOtherSchema,
		"create trigger x before insert or update of a on public.t for each row execute function f()": RuleOtherSchema,
		"create policy p on public.t":                                                  RuleOtherSchema,
		"create rule r as on insert to public.t do nothing":                            RuleOtherSchema,
		"create or replace function public.f() returns int language sql as 'select 1'": RuleOtherSchema,
		"create type public.mood as enum ()":                                           RuleOtherSchema,
		"create materialized view a.b as select 1":                                     RuleOtherSchema,
		"alter table if exists only public.t add x int":                                RuleOtherSchema,
		"alter table t set schema other":                                               RuleOtherSchema,
		"alter default privileges in schema public grant select on tables to x":        RuleOtherSchema,
		"drop table a, if_b, public.c":                                                 RuleOtherSchema,
		"drop function f(a.b, int), public.g()":                                        RuleOtherSchema,
		"drop trigger x on public.t":                                                   RuleOtherSchema,
		"insert into public.settings values (1)":                                       RuleOtherSchema,
		"with x as (delete from public.t returning *) select * from x":                 RuleOtherSchema,
		"update only public.t as u set x = 1":                                          RuleOtherSchema,
		"merge into public.t using s on true when matched then delete":                 RuleOtherSchema,
		"truncate public.t":                                                            RuleOtherSchema,
		"truncate table only crm.public.t":                                             RuleOtherSchema,
		"copy public.t from '/x'":                                                      RuleOtherSchema,
		"comment on table public.t is 'x'":                                             RuleOtherSchema,
		"comment on column public.t.c is 'x'":                                          RuleOtherSchema,
		"grant select on all tables in schema public to x":                             RuleOtherSchema,
		"refresh materialized view concurrently public.v":                              RuleOtherSchema,
		"create role app":                                                              RuleCluster,
		"create user app":                                                              RuleCluster,
		"create database x":                                                            RuleCluster,
		"create event trigger e on ddl_command_end execute function f()":               RuleCluster,
		"alter system set work_mem = 1":                                                RuleCluster,
		"drop owned by x":                                                              RuleCluster,
		"create foreign data wrapper w":                                                RuleCluster,
		"drop extension if exists citext":                                              RuleExtension,
		"alter extension citext update":                                                RuleExtension,
		"do $$ begin if not exists (select from pg_indexes where indexname = 'i') then create index i on t (x); end if; end $$":          RuleCatalogGuard,
		"do $$ begin if not exists (select 1 from pg_catalog.pg_type where typname = 'x') then create type x as enum (); end if; end $$": RuleCatalogGuard,
		"do 'begin if exists (select from information_schema.columns where column_name = ''x'') then null; end if; end'":                 RuleCatalogGuard,
	} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			got := Judge(sql, true)
			if got.Refusal == nil || got.Refusal.Rule != want {
				t.Errorf("got %+v, want %s", got.Refusal, want)
			}
		})
	}
}

func TestJudgeTakes(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"",
		"rollback to savepoint a",
		"savepoint a",
		"create table t (a int default nextval('public.s'), b public.citext, c int references public.countries (id) on delete cascade on update set null)",
		"create index t_a on t using gin (a public.gin_trgm_ops)",
		"create trigger x after update on t for each row execute function public.touch()",
		"create foreign table f (x int) server s",
		"insert into t select * from public.defaults on conflict (id) do update set a = excluded.a",
		"update t set a = p.a from public.p p where p.id = t.id",
		"select a.b from t a for update of a",
		"delete from t using public.p where p.id = t.id",
		"comment on column t.c is 'x'",
		"comment on extension citext is 'x'",
		"comment on trigger x on t is 'y'",
		"grant select, update on t to app",
		"alter type mood rename to temper",
		"alter table t add constraint fk foreign key (a) references public.x (id)",
		"alter default privileges grant select on tables to x",
		"drop trigger stamp on t",
		"drop function f(public.citext, int)",
		"create rule r as on delete to t do instead nothing",
		"do $$ begin if not exists (select from pg_indexes where schemaname = current_schema() and indexname = 'i') then create index i on t (x); end if; end $$",
		"do $$ begin if to_regclass('t') is null then create table t (x int); end if; end $$",
		"do $$ begin create type mood as enum ('a'); exception when duplicate_object then null; end $$",
	} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			if got := Judge(sql, true); got.Refusal != nil {
				t.Errorf("refused: %s: %s", got.Refusal.Rule, got.Refusal.Reason)
			}
		})
	}
}

func TestJudgeNeeds(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]Needs{
		"create table t (a int, b text default now())":                       {},
		"create index t_a on t (lower(a))":                                   {},
		"alter table t add column company text not null default ''":          {},
		"insert into t (a) values (1)":                                       {Writes: true},
		"alter type mood add value if not exists 'x' before 'y'":             {Apart: true},
		"set local timezone = 'UTC'":                                         {Apart: true},
		"set constraints all deferred":                                       {Apart: true},
		"set transaction isolation level serializable":                       {Apart: true},
		"create temp table s (x int)":                                        {Session: true},
		"create temporary table s on commit drop as select 1":                {Session: true, Apart: true, Writes: true},
		"create function pg_temp.f() returns int language sql as 'select 1'": {Session: true},
		"select pg_temp.f(1)":                                                {Session: true, Writes: true},
		"prepare p as select 1":                                              {Session: true},
		"execute p":                                                          {Session: true, Writes: true},
		"listen x":                                                           {Session: true, Writes: true},
		"declare c cursor with hold for select 1":                            {Session: true},
		"declare c cursor for select 1":                                      {},
		"select set_config('timezone', 'Asia/Tokyo', false)":                 {Session: true, Apart: true, Writes: true},
		"select pg_advisory_lock(1)":                                         {Session: true, Writes: true},
		"select pg_advisory_xact_lock(1)":                                    {Writes: true},
		"insert into t values (lastval())":                                   {Session: true, Writes: true},
		"do $$ begin update t set a = 1; end $$":                             {Writes: true},
		"do $$ begin set timezone = 'x'; end $$":                             {Session: true, Writes: true},
		"do $$ begin execute 'create table x ()'; end $$":                    {Session: true, Writes: true},
		"do $$ begin create temp table if not exists s (x int); end $$":      {Session: true, Writes: true},
		"call fill()": {Session: true, Writes: true},
		"create table u (r int references r deferrable initially deferred)":                                                          {Deferred: true},
		"alter table u alter constraint u_r deferrable initially deferred":                                                           {Deferred: true},
		"create extension if not exists \"uuid-ossp\" with schema public":                                                            {OfDatabase: true, Extension: Extension{Name: "uuid-ossp", Schema: "public"}},
		"create extension hstore version '1.8' cascade":                                                                              {OfDatabase: true, Extension: Extension{Name: "hstore", Version: "1.8", Cascade: true}},
		"comment on extension hstore is 'x'":                                                                                         {OfDatabase: true},
		"create function f() returns trigger language plpgsql as $$ begin update t set x = 1; new.at = now(); return new; end $$":    {},
		"create function f() returns trigger language plpgsql as $$ begin perform set_config('a.b', 'c', false); return new; end $$": {Leaves: true},
		"create procedure p() language plpgsql as 'begin execute ''x''; end'":                                                        {Leaves: true},
		"create function f() returns int language plpython3u as 'return 1'":                                                          {Leaves: true},
		"create function f() returns int language sql set search_path from current as 'select 1'":                                    {},
		"create trigger t after insert on t for each row execute function f()":                                                       {},
	} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(want, Judge(sql, true)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestJudgeOutsideOfTransactions(t *testing.T) {
	t.Parallel()
	got := Judge("set lock_timeout = '5s'", false)
	if got.Refusal != nil || !got.Session {
		t.Errorf("got %+v", got)
	}
	if got := Judge("set search_path = x", false); got.Refusal == nil {
		t.Error("SET search_path is taken outside of transactions")
	}
}
