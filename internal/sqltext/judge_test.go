package sqltext_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crmctl/crmctl/internal/sqltext"
	"github.com/crmctl/crmctl/internal/sqltext/sqltexttest"
)

func TestJudgeRefuses(t *testing.T) {
	t.Parallel()
	for sql, want := range sqltexttest.Refused {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			got := sqltext.Judge(sql, true)
			if got.Refusal == nil || got.Refusal.Rule != want {
				t.Errorf("got %+v, want %s", got.Refusal, want)
			}
		})
	}
}

func TestJudgeTakes(t *testing.T) {
	t.Parallel()
	for _, sql := range sqltexttest.Taken {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			if got := sqltext.Judge(sql, true); got.Refusal != nil {
				t.Errorf("refused: %s: %s", got.Refusal.Rule, got.Refusal.Reason)
			}
		})
	}
}

func TestJudgeNeeds(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]sqltext.Needs{
		"create table t (a int, b text default now())":              {},
		"create index t_a on t (lower(a))":                          {},
		"alter table t add column company text not null default ''": {},
		"insert into t (a) values (1)":                              {Writes: true},
		"alter type mood add value if not exists 'x' before 'y'": {Values: []sqltext.Value{{Type: "mood",
			Label: "x"}}},
		"alter type mood add value e'\\u0078'":                               {Apart: true},
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
		"do $$ begin set timezone = 'x'; end $$":                             {Session: true, Apart: true, Writes: true},
		"SET SESSION statement_timeout = 0":                                  {Setting: "statement_timeout"},
		"set time zone local":                                                {Setting: "timezone"},
		"set xml option document":                                            {Setting: "xmloption"},
		"set names utf8":                                                     {Setting: "client_encoding"},
		"set App.\"Tenant\" to 'x', 'y'":                                     {Setting: "app.tenant"},
		"set seed = 0.5":                                                     {Session: true},
		"reset time zone":                                                    {Setting: "timezone"},
		"do $$ begin execute 'create table x ()'; end $$":                    {Session: true, Writes: true},
		"do $$ begin create temp table if not exists s (x int); end $$":      {Session: true, Writes: true},
		"call fill()":                                                        {Session: true, Writes: true},
		"create table u (r int references r deferrable initially deferred)":  {Deferred: true},
		"alter table u alter constraint u_r deferrable initially deferred":   {Deferred: true},
		"create extension if not exists \"uuid-ossp\" with schema public": {OfDatabase: true,
			Extension: sqltext.Extension{Name: "uuid-ossp", Schema: "public"}},
		"create extension hstore version '1.8' cascade": {OfDatabase: true,
			Extension: sqltext.Extension{Name: "hstore", Version: "1.8", Cascade: true}},
		"do $$ begin alter type mood add value 'x'; end $$": {Values: []sqltext.Value{{Type: "mood",
			Label: "x"}}, Writes: true},
		"do $$ begin execute 'alter type mood add value ''x'''; end $$": {Apart: true, Session: true, Writes: true},
		"do $$ begin create extension if not exists citext; end $$": {Writes: true,
			Extension: sqltext.Extension{Name: "citext"}},
		"select a into temp x from t":        {Session: true, Writes: true},
		"comment on extension hstore is 'x'": {OfDatabase: true},
		"create function f() returns trigger language plpgsql as $$ begin update t set x = 1; new.at = now(); return new; " +
			"end $$": {},
		"create function f() returns trigger language plpgsql as $$ begin perform set_config('a.b', 'c', false); return " +
			"new; end $$": {Leaves: true},
		"create procedure p() language plpgsql as 'begin execute ''x''; end'":                     {Leaves: true},
		"create function f() returns int language plpython3u as 'return 1'":                       {Leaves: true},
		"create function f() returns int language sql set search_path from current as 'select 1'": {},
		"create trigger t after insert on t for each row execute function f()":                    {},
	} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(want, sqltext.Judge(sql, true)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestJudgeOutsideOfTransactions(t *testing.T) {
	t.Parallel()
	got := sqltext.Judge("set lock_timeout = '5s'", false)
	if got.Refusal != nil || !got.Session {
		t.Errorf("got %+v", got)
	}
	if got := sqltext.Judge("reset lock_timeout", false); got.Refusal != nil || !got.Session {
		t.Errorf("RESET: %+v", got)
	}
	for _, sql := range []string{"set search_path = x", "reset search_path", "reset all", "reset role",
		"reset session authorization", "set role x", "discard all"} {
		if got := sqltext.Judge(sql, false); got.Refusal == nil {
			t.Errorf("%s is taken outside of transactions", sql)
		}
	}
}

func TestLocalSetting(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"SET statement_timeout = 0":           "SET LOCAL statement_timeout = 0",
		"/* a */ set /* b */ x to 'y'":        "/* a */ set LOCAL /* b */ x to 'y'",
		"set session /* b */ app.x = default": "set LOCAL /* b */ app.x = default",
		"SET TIME ZONE 'UTC'":                 "SET LOCAL TIME ZONE 'UTC'",
		"reset app.x":                         "SET LOCAL app.x TO DEFAULT",
		"reset time zone":                     "SET LOCAL timezone TO DEFAULT",
		`reset "work_mem"`:                    `SET LOCAL "work_mem" TO DEFAULT`,
	} {
		if got := sqltext.LocalSetting(sql); got != want {
			t.Errorf("%s: got %s, want %s", sql, got, want)
		}
	}
}

func TestTouches(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]sqltext.Touched{
		"create table if not exists t (id int references public.u)": {Makes: []string{"t"}},
		"create view v as select * from u":                          {Makes: []string{"v"}},
		"create index on t (a)":                                     {Changes: []string{"t"}},
		"create unique index if not exists i on only t (a)": {Changes: []string{"t"},
			Makes: []string{"i"}},
		`create index concurrently "I" on t (a)`: {Changes: []string{"t"},
			Makes: []string{"I"}},
		"create table t (a int constraint c check (a > 0), constraint k unique (a))": {Makes: []string{"t", "k"}},
		"alter table t add constraint p primary key (a)": {Changes: []string{"t"},
			Makes: []string{"p"}},
		"drop index i": {Changes: []string{"i"}, Drops: []string{"i"}},
		"create trigger x before update on t execute function f()": {Changes: []string{"t"}},
		"alter table if exists t rename to u": {Changes: []string{"t"}, Drops: []string{"t"},
			Makes: []string{"u"}},
		"alter trigger x on t rename to y":                      {Changes: []string{"t"}, Makes: []string{"y"}},
		"alter table t rename column a to b":                    {Changes: []string{"t"}},
		"drop table if exists t, u cascade":                     {Changes: []string{"t", "u"}, Drops: []string{"t", "u"}},
		"drop function f(int)":                                  {Changes: []string{"f"}, Drops: []string{"f"}},
		"insert into t select * from u":                         {Changes: []string{"t"}},
		"with x as (delete from t returning *) select * from x": {Changes: []string{"t"}},
		"truncate t, u":                                         {Changes: []string{"t", "u"}},
		"select * into t from u":                                {Makes: []string{"t"}},
		"grant select on t to app":                              {Changes: []string{"t"}},
		"comment on table t is 'x'":                             {Changes: []string{"t"}},
		"select setval('t_id_seq', 5)":                          {Changes: []string{"t_id_seq"}},
		"select * from t join u using (id)":                     {},
		"select a from t for update":                            {},
		"insert into public.t values (1)":                       {},
		"set work_mem = '1MB'":                                  {},
	} {
		if diff := cmp.Diff(want, sqltext.Touches(sql)); diff != "" {
			t.Errorf("%s: %s", sql, diff)
		}
	}
}
