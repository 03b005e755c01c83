package sqltext_test

import (
	"slices"
	"testing"

	"github.com/crmctl/crmctl/internal/sqltext"
)

func TestLasts(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]sqltext.Lasting{
		"set lock_timeout = '5s';":             {Again: true},
		"set local lock_timeout = '5s'":        {},
		"reset timezone":                       {Again: true},
		"prepare p as select 1":                {Again: true},
		"listen c":                             {Again: true},
		"execute p":                            {},
		"select set_config('a.b', 'c', false)": {Again: true},
		"select pg_catalog.set_config('a.b', current_setting('x'), f)": {Again: true},
		"select set_config('a.b', max(x), false) from t":               {Gone: "a setting"},
		"select set_config('a.b', f(1), false)":                        {Gone: "a setting"},
		"select f(1)":                                                  {},
		"select 1 as x into temp s":                                    {Gone: "a temporary object", Name: "s"},
		"create temporary table if not exists s (x int)":               {Gone: "a temporary object", Name: "s"},
		"create function pg_temp.f() returns int return 1":             {Gone: "a temporary object", Name: "f"},
		"create table t as select 1 as temp":                           {},
		"create index concurrently i on t (x)":                         {},
		"declare c cursor with hold for select 1":                      {Gone: "a cursor", Name: "c"},
		"do $$ begin set timezone to 'UTC'; end $$":                    {Gone: "a setting"},
		"do $$ begin update t set x = 1; end $$":                       {},
		"do $$ begin execute 'create index i on t (x)'; end $$":        {},
		"do $$ begin perform set_config('a.b', f(1), true); end $$":    {},
		"do $$ begin perform set_config('a.b', f(1), false); end $$":   {Gone: "a setting"},
		"call p()":      {},
		"vacuum t":      {},
		"-- nothing\n;": {},
	} {
		if got := sqltext.Lasts(sql); got != want {
			t.Errorf("%s: %+v, want %+v", sql, got, want)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string][]string{
		"SET Lock_Timeout = '5s'":                               {"lock_timeout"},
		"set session \"App\".Tenant to 'x'":                     {"app.tenant"},
		"set time zone 'UTC'":                                   {"timezone"},
		"reset statement_timeout":                               {"statement_timeout"},
		"set local work_mem = '8MB'":                            nil,
		"set session characteristics as transaction deferrable": nil,
		"do $$ begin if true then set a.b = 1; end if; perform set_config('C.D', '1', false); end $$": {"a.b", "c.d"},
		"update t set x = 1": nil,
	} {
		if got := sqltext.Settings(sql); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
	for sql, want := range map[string]bool{"reset x;": true, "set x to default;": true, "set x = 'default'": false,
		"select 1": false} {
		if got := sqltext.Default(sql); got != want {
			t.Errorf("%s: %t", sql, got)
		}
	}
}
