package sqltext_test

import (
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/sqltext"
)

func TestUsesOfValues(t *testing.T) {
	t.Parallel()
	types := []string{"mood", "feeling"}
	for sql, want := range map[string]bool{
		"insert into t values ('glad')":                                              true,
		"insert into t values ('gladly')":                                            false,
		"insert into t values ('{sad,glad}')":                                        true,
		"insert into t values ('Glad')":                                              false,
		"insert into t values (e'gl\\x61d')":                                         true,
		"insert into t select 'sad'":                                                 false,
		"insert into t select x::mood from u":                                        true,
		"insert into t select cast(x as Feeling) from u":                             true,
		"alter table t alter column m set default 'glad'":                            true,
		"alter table t alter column m type mood using m::text::mood":                 true,
		"alter table t alter m type mood":                                            true,
		"alter table t add column m mood default 'sad'":                              false,
		"create table u (m mood not null default 'sad')":                             false,
		"create table u as select 'sad'::mood as m":                                  true,
		"create index on t (m) where m = 'glad'":                                     true,
		"create index on t (m)":                                                      false,
		"create view v as select m::mood from t":                                     false,
		"create materialized view v as select x::mood from t":                        true,
		"select enum_range(null::mood)":                                              true,
		"insert into t select * from jsonb_populate_record(null::t, '{}')":           true,
		"alter type mood rename value 'glad' to 'gay'":                               true,
		"alter type mood rename value 'sad' to 'blue'":                               false,
		"alter type mood add value 'merry' after 'glad'":                             false,
		"comment on type mood is 'sad or glad'":                                      false,
		"create function f(m mood) returns int language plpgsql as 'begin end'":      false,
		"create function f() returns mood language sql as $$ select 'glad'::mood $$": true,
		"do $$ begin perform 1; end $$":                                              true,
		"call p()":                                                                   true,
		"grant usage on type mood to x":                                              false,
		"drop type mood":                                                             false,
	} {
		if got := sqltext.NewUsage(sql).Uses("glad", types, false); got != want {
			t.Errorf("%s: %t", sql, got)
		}
	}
	if !sqltext.NewUsage("insert into t values (1)").Uses("glad", types, true) {
		t.Error("a row that a trigger may look at")
	}
	for sql, want := range map[string]bool{
		"create function f() returns trigger language plpgsql as $$ begin new.m := 'glad'; return new; end $$": true,
		"create function f() returns trigger language plpgsql as $$ begin new.at := now(); return new; end $$": false,
		"create function f(x text) returns mood language plpgsql as $$ begin return x; end $$":                 true,
		"create function f(x text) returns void language plpgsql as $$ begin execute x; end $$":                true,
		"create table t (x text default 'glad')":                                                               false,
	} {
		if got := sqltext.NewUsage(sql).Carries("glad", types); got != want {
			t.Errorf("%s: carries %t", sql, got)
		}
	}
	for sql, want := range map[string]string{
		"create domain d as mood": "d", "create type pair as (a mood, b int)": "pair",
		"alter type mood rename to humour;": "humour",
		"create domain d as text":           "", "create table t (m mood)": "", "alter type mood rename value 'a' to 'b'": "",
	} {
		if got := sqltext.NewUsage(sql).Alias(types); got != want {
			t.Errorf("%s: alias %q, want %q", sql, got, want)
		}
	}
}

// A value that stands in one of many rows is seen, and the rows cost little more than a
// look at their text.
func TestUsesOfValuesInManyRows(t *testing.T) {
	rows := strings.Repeat("(1, 'a row of constants'), ", 20000)
	types := []string{"mood"}
	for row, want := range map[string]bool{
		"(2, 'glad'), ": true, "(2, '{sad,glad}'), ": true, "(2, 'gladly'), ": false, "(2, 'the mood'), ": false,
		"(2, e'gl\\x61d'), ": true,
	} {
		if got := sqltext.NewUsage("insert into t values "+rows+row+rows+"(3, 'b')").Uses("glad", types, false); got != want {
			t.Errorf("%s among many: %t", row, got)
		}
	}
	long := "insert into t values " + rows + "(2, 'it''s'), (3, 'b')"
	if !sqltext.NewUsage(long).Uses("it's", types, false) {
		t.Error("a value with a quote in it among many rows is not seen")
	}
	if n := testing.AllocsPerRun(1, func() { sqltext.NewUsage(long); sqltext.Touches(long); sqltext.Names(long) }); n > 1000 {
		t.Errorf("%.0f allocations for 20000 rows", n)
	}
}
