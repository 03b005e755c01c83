package migrate_test

import (
	"testing"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/staging"
)

// TestGrownEnums: a plan is cut only where a value that it adds is used.
func TestGrownEnums(t *testing.T) {
	t.Parallel()
	const table = "create type mood as enum ('sad');\ncreate table t (m mood default 'sad', x text);\ninsert into t " +
		"values ('sad', 'glad');"
	const add = "alter type mood add value 'glad';"
	trigger := "-- +goose StatementBegin\ncreate function f() returns trigger language plpgsql as $$ begin new.m := " +
		"lower(new.x); return new; end $$;\n-- +goose StatementEnd\n" +
		"create trigger f before insert on t for each row execute function f();"
	for name, c := range map[string]struct {
		files map[string]string
		cut   bool
	}{
		"unused": {map[string]string{"2_b.sql": add,
			"3_c.sql": "alter table t add y int;\ninsert into t (m) values ('sad');\ncreate table u (m mood default " +
				"'sad');"}, false},
		"several": {map[string]string{"2_b.sql": add,
			"3_c.sql": "alter type mood add value 'merry' after 'glad';"}, false},
		"used": {map[string]string{"2_b.sql": add, "3_c.sql": "insert into t (m) values ('glad');"}, true},
		"used as a default": {map[string]string{"2_b.sql": add,
			"3_c.sql": "alter table t alter m set default 'glad';"}, true},
		"used after another": {map[string]string{"2_b.sql": add, "3_c.sql": "create table u (x int);",
			"4_d.sql": "insert into t (m) values ('glad');"}, true},
		"converted": {map[string]string{"2_b.sql": add,
			"3_c.sql": "alter table t add n mood;\nupdate t set n = x::mood;"}, true},
		"by another name": {map[string]string{"2_b.sql": add, "3_c.sql": "create domain feeling as mood;",
			"4_d.sql": "alter table t alter x type feeling using x::feeling;"}, true},
		"renamed": {map[string]string{"2_b.sql": add,
			"3_c.sql": "alter type mood rename value 'glad' to 'merry';",
			"4_d.sql": "insert into t (m) values ('merry');"}, true},
		"all of them": {map[string]string{"2_b.sql": add,
			"3_c.sql": "create table u as select unnest(enum_range(null::mood)) as m;"}, true},
		"by a trigger": {map[string]string{"2_b.sql": trigger, "3_c.sql": add,
			"4_d.sql": "create index on t (m);"}, false},
		"in a block": {map[string]string{"2_b.sql": "-- +goose StatementBegin\ndo $$ begin " + add +
			" end $$;\n-- +goose StatementEnd", "3_c.sql": "insert into t (m) values ('glad');"}, true},
		"executed": {map[string]string{"2_b.sql": "-- +goose StatementBegin\ndo $$ begin execute 'alter type " +
			"mood add value ''glad'''; end $$;\n-- +goose StatementEnd", "3_c.sql": "insert into t (m) values ('glad');"}, true},
		"not in a transaction": {map[string]string{"2_b.sql": noTx + add,
			"3_c.sql": "insert into t (m) values ('glad');"}, true},
		"alone": {map[string]string{"2_b.sql": noTx + add, "3_c.sql": "create index on t (m);"}, false},
		"alone and used": {map[string]string{"2_b.sql": noTx + add + "\ninsert into t (m) values ('glad');",
			"3_c.sql": "create index on t (m);"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			c.files["1_a.sql"] = table
			old, plan := plans(t, c.files)
			report := run(t, f, plan, f.Create(t, old, "acme"), migrate.RunOptions{})
			if out := report.Outcomes[0]; out.State != migrate.Migrated || out.To != plan.Head() {
				t.Errorf("%s: %v", out.State, out.Err)
			}
			script, err := plan.Build()
			if err != nil {
				t.Fatal(err)
			}
			if got := staging.Several(script); got != c.cut {
				t.Errorf("several transactions: %t", got)
			}
			f.Create(t, plan, "fresh")
			if n := f.Int(t, "select count(distinct a) from (select array_agg(m::text || coalesce(x::text, '') order by m) as "+
				"a from tenant_acme.t union all select array_agg(m::text || coalesce(x::text, '') order by m) from "+
				"tenant_fresh.t) s"); n != 1 {
				t.Error("the new tenant is another")
			}
		})
	}
	t.Run("by a routine", func(t *testing.T) {
		t.Parallel()
		f := fleettest.New(t)
		old, plan := plans(t, map[string]string{"1_a.sql": table,
			"2_b.sql": "-- +goose StatementBegin\ncreate function f() returns trigger language plpgsql as $$ begin new.m := " +
				"'glad'; return new; end $$;\n-- +goose StatementEnd\n" +
				"create trigger f before insert on t for each row execute function f();", "3_c.sql": add,
			"4_d.sql": "insert into t (x) values ('y');"})
		report := run(t, f, plan, f.Create(t, old, "acme"), migrate.RunOptions{})
		if out := report.Outcomes[0]; out.State != migrate.Migrated || out.To != 4 {
			t.Errorf("%s: %v", out.State, out.Err)
		}
	})
}
