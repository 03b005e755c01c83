package migrate_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
)

// TestCanaryThatLeavesItsSchema does what no reading of the statements sees, and is
// refused before it commits.
func TestCanaryThatLeavesItsSchema(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want string }{
		"a table":   {"create table public.more (n int)", "public.more"},
		"a column":  {"alter table public.elsewhere add m int", "public.elsewhere"},
		"rows":      {"insert into public.elsewhere values (1)", "change rows of public.elsewhere"},
		"registry":  {"update public.tenants set display_name = display_name", "change rows of public.tenants"},
		"function":  {"create function public.more() returns int language sql as ''select 1''", "function public.more"},
		"a schema":  {"create schema other", "schema other"},
		"a type":    {"create type public.more as enum ()", "type public.more"},
		"a role":    {"alter role current_user set work_mem to default", ""},
		"reading":   {"select count(*) from public.elsewhere", ""},
		"a key":     {"alter table t add foreign key (id) references public.elsewhere (n)", ""},
		"its own":   {"create table more (n int); insert into more values (1)", ""},
		"a default": {"alter default privileges grant select on tables to public", "default privileges"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			f.Exec(t, "create table public.elsewhere (n int primary key)")
			first := map[string]string{"1_a.sql": "create table t (id int);"}
			tenants := f.Create(t, fleettest.Plan(t, fleettest.Files(first)), fleettest.Names(3)...)
			first["2_b.sql"] = "-- +goose StatementBegin\ndo $$ begin execute '" + c.sql + "'; end $$;\n-- +goose StatementEnd"
			plan := fleettest.Plan(t, fleettest.Files(first))
			report := run(t, f, plan, tenants, migrate.RunOptions{Canary: migrate.Canary{Count: 1}})
			if c.want == "" {
				if report.Stopped != nil || report.Count(migrate.Migrated) != 3 {
					t.Errorf("%v, %+v", report.Stopped, report.Outcomes)
				}
				return
			}
			err, ok := errors.AsType[*migrate.OutsideError](report.Outcomes[0].Err)
			if !errors.Is(report.Stopped, migrate.ErrCanary) || !ok || !strings.Contains(err.What, c.want) {
				t.Errorf("%v, %v, want %s", report.Stopped, report.Outcomes[0].Err, c.want)
			}
			if n := f.Int(t, "select count(*) from public.tenants where schema_version > 1") +
				f.Int(t, "select count(*) from public.elsewhere"); n != 0 {
				t.Errorf("%d changes were committed", n)
			}
		})
	}
}

// TestSmallFleetIsLookedAt has every tenant be one of the first.
func TestSmallFleetIsLookedAt(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{"executed": "do $$ begin execute 'create table public.more (n int)'; end $$",
		"by a trigger": "insert into t values (1)"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			f.Exec(t, "create function public.spill() returns trigger language plpgsql as $f$ begin create table public.more "+
				"(n int); return new; end $f$")
			files := map[string]string{"1_a.sql": "create table t (id int);\ncreate trigger a before insert on t for each row " +
				"execute function public.spill();"}
			tenants := f.Create(t, fleettest.Plan(t, fleettest.Files(files)), "acme")
			files["2_b.sql"] = "-- +goose StatementBegin\n" + sql + ";\n-- +goose StatementEnd"
			report := run(t, f, fleettest.Plan(t, fleettest.Files(files)), tenants,
				migrate.RunOptions{Canary: migrate.Canary{Count: 1}})
			if err, ok := errors.AsType[*migrate.OutsideError](report.Outcomes[0].Err); !ok ||
				!strings.Contains(err.What, "public.more") {
				t.Errorf("%+v", report.Outcomes[0])
			}
			if n := f.Int(t, "select count(*) from pg_class where relname = 'more'"); n != 0 {
				t.Error("it was made")
			}
		})
	}
}

// TestCanaryThatLeavesTraces has code that is not in the files leave something in the
// session. Nothing of it reaches the second tenant, nor the third.
func TestCanaryThatLeavesTraces(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"a table": "create temp table stash (x int)", "a setting": "set timezone to ''Asia/Tokyo''",
		"a lock":      "select pg_catalog.pg_advisory_lock(4711)",
		"a statement": "prepare kept as select 1", "a channel": "listen news",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			f.Exec(t, "create function public.stash() returns trigger language plpgsql as $f$ begin execute '"+sql+
				"'; return new; end $f$",
				"create function public.met() returns trigger language plpgsql as $f$ begin "+
					traces[len("do $$ begin"):len(traces)-len("end $$")]+" return new; end $f$")
			first := map[string]string{"1_a.sql": "create table t (id int);\ncreate trigger a before insert on t for each row " +
				"execute function public.met();\n" +
				"create trigger b before insert on t for each row execute function public.stash();"}
			tenants := f.Create(t, fleettest.Plan(t, fleettest.Files(first)), fleettest.Names(4)...)
			first["2_b.sql"] = "insert into t values (1);"
			plan := fleettest.Plan(t, fleettest.Files(first))
			if plan.Session() {
				t.Fatal("it is known without a look")
			}
			report := run(t, f, plan, tenants, migrate.RunOptions{Canary: migrate.Canary{Count: 1},
				Fleet: fleet.Options{Concurrency: 1}})
			for _, out := range report.Outcomes {
				if out.State != migrate.Migrated {
					t.Errorf("%s: %s: %v", out.Tenant.Slug, out.State, out.Err)
				}
			}
		})
	}
}
