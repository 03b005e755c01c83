package migrate_test

import (
	"testing"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
)

// traces fails in a session in which somebody has left something.
const traces = `do $$ begin
	if exists (select from pg_catalog.pg_class where relnamespace = pg_catalog.pg_my_temp_schema()) then raise exception
		'met a temporary table'; end if;
	if exists (select from pg_catalog.pg_proc where pronamespace = pg_catalog.pg_my_temp_schema()) then raise exception
		'met a temporary function'; end if;
	if exists (select from pg_catalog.pg_prepared_statements
		where name = 'kept') then raise exception 'met a prepared statement'; end if;
	if exists (select from pg_catalog.pg_cursors where name = 'kept') then raise exception 'met a cursor'; end if;
	if pg_catalog.current_setting('timezone') = 'Asia/Tokyo' then raise exception 'met a setting'; end if;
	if pg_catalog.current_setting('app.tenant', true) <> '' then raise exception 'met a setting of an application'; end if;
	if exists (select from pg_catalog.pg_listening_channels()) then raise exception 'met a channel'; end if;
	if exists (select from pg_catalog.pg_locks where locktype = 'advisory' and objid = 4711
		and pid = pg_catalog.pg_backend_pid()) then raise exception 'met a lock'; end if;
end $$`

// leftovers are statements that leave something in a session.
var leftovers = map[string]string{
	"table":      "create temp table stash (x int);",
	"function":   "create function pg_temp.f() returns int language sql as 'select 1';",
	"prepared":   "prepare kept as select 1;",
	"cursor":     "declare kept cursor with hold for select 1;",
	"set_config": "select set_config('timezone', 'Asia/Tokyo', false);",
	"custom":     "select set_config('app.tenant', 'x', false);",
	"DO":         "do $$ begin set timezone = 'Asia/Tokyo'; end $$;",
	"listen":     "listen x;",
	"lock":       "select pg_advisory_lock(4711);",
	"in function": "create function f() returns trigger language plpgsql as $$ begin perform set_config('timezone', " +
		"'Asia/Tokyo', false); return new; end $$;\ncreate trigger f before insert on t for each row execute function " +
		"f();\ninsert into t values (1);",
	"dynamic": "do $$ begin execute 'create ' || 'temp table stash (x int)'; end $$;",
}

// TestNothingReachesTheNextTenant leaves each kind of thing in the session that runs the
// migrations, and looks for it in the session that is used afterwards: the same one,
// where a pooler keeps one.
func TestNothingReachesTheNextTenant(t *testing.T) {
	t.Parallel()
	for name, sql := range leftovers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			table := "create table t (id int);"
			files := map[string]string{"1_a.sql": table, "2_b.sql": "-- +goose StatementBegin\n" + traces +
				";\n-- +goose StatementEnd\n" + sql}
			old := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": table}))
			tenants := f.Create(t, old, fleettest.Names(6)...)
			plan := fleettest.Plan(t, fleettest.Files(files))
			pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
			one := migrate.RunOptions{Fleet: fleet.Options{Concurrency: 1}}
			outcomes := run(t, f, plan, tenants[:3], one).Outcomes
			outcomes = append(outcomes, run(t, pooled, plan, tenants[3:], one).Outcomes...)
			for _, out := range outcomes {
				if out.State != migrate.Migrated {
					t.Errorf("%s: %s: %v", out.Tenant.Slug, out.State, out.Err)
				}
			}
		})
	}
}

// TestFilesEndAsInGoose runs histories in which a file can only follow another after the
// end of a transaction.
func TestFilesEndAsInGoose(t *testing.T) {
	t.Parallel()
	const first = "create table t (id int primary key, at timestamp, up int references t deferrable initially " +
		"deferred); create type mood as enum ('a');"
	for name, c := range map[string]struct {
		files map[string]string
		check string // counts one for a tenant as it should be
	}{
		"enum": {
			map[string]string{"2_b.sql": "alter type mood add value 'b';",
				"3_c.sql": "create table m (mood mood default 'b');\ninsert into m default values;"},
			"select count(*) from tenant_acme.m where mood = 'b'",
		},
		"deferred key": {
			map[string]string{"2_b.sql": "insert into t (id, up) values (1, 2);\ninsert into t (id, up) values (2, 1);",
				"3_c.sql": "alter table t add column n text;"},
			"select count(n is null) / 2 from tenant_acme.t",
		},
		"local setting": {
			map[string]string{
				"2_b.sql": "set local timezone = 'Asia/Tokyo';\ninsert into t (id, at) values (1, '2024-01-01 00:00');",
				"3_c.sql": "alter table t alter column at type timestamptz;",
			},
			"select count(*) from tenant_acme.t where at = '2024-01-01 00:00'::timestamp at time zone " +
				"current_setting('timezone')",
		},
		"on commit drop": {
			map[string]string{"2_b.sql": "create temp table s on commit drop as select 1 as x;\ninsert into t (id) select x " +
				"from s;", "3_c.sql": "create table s (y int);\ninsert into s (y) values (1);"},
			"select count(*) from tenant_acme.s",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			old := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first}))
			tenants := f.Create(t, old, "acme")
			c.files["1_a.sql"] = first
			plan := fleettest.Plan(t, fleettest.Files(c.files))
			report := run(t, f, plan, tenants, migrate.RunOptions{})
			out := report.Outcomes[0]
			if out.State != migrate.Migrated || out.From != 1 || out.To != 3 {
				t.Errorf("%s from %d to %d: %v", out.State, out.From, out.To, out.Err)
			}
			if n := f.Int(t, c.check); n != 1 {
				t.Errorf("%s: %d", c.check, n)
			}
			if n := f.Int(t, "select schema_version from public.tenants"); n != 3 {
				t.Errorf("registry at version %d", n)
			}
		})
	}
}

// TestFailureBetweenCuts fails in the second of two transactions: the tenant stands at
// the first one's version, in the registry too, and the run says so.
func TestFailureBetweenCuts(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first}))
	tenants := f.Create(t, old, "acme")
	files := map[string]string{"1_a.sql": first, "2_b.sql": "set local work_mem = '8MB';\ncreate table b (x int);",
		"3_c.sql": "select 1 / 0;"}
	plan := fleettest.Plan(t, fleettest.Files(files))
	out := run(t, f, plan, tenants, migrate.RunOptions{}).Outcomes[0]
	if out.State != migrate.Failed || out.From != 1 || out.To != 2 {
		t.Errorf("%s from %d to %d: %v", out.State, out.From, out.To, out.Err)
	}
	if n := f.Int(t, "select schema_version from public.tenants"); n != 2 {
		t.Errorf("registry at version %d", n)
	}
	files["3_c.sql"] = "create table c (x int);"
	out = run(t, f, fleettest.Plan(t, fleettest.Files(files)), []registry.Tenant{out.Tenant},
		migrate.RunOptions{}).Outcomes[0]
	if out.State != migrate.Migrated || out.From != 2 || out.To != 3 {
		t.Errorf("%s from %d to %d: %v", out.State, out.From, out.To, out.Err)
	}
}

// TestEachFileApart commits every file by itself: the one before a failure stays.
func TestEachFileApart(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first}))
	tenants := f.Create(t, old, "acme", "globex")
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first, "2_b.sql": "create table b (x int);",
		"3_c.sql": "select 1 / 0;"}))
	for i, want := range []int64{1, 2} {
		if i == 1 {
			plan = plan.EachApart()
		}
		out := run(t, f, plan, tenants[i:i+1], migrate.RunOptions{}).Outcomes[0]
		if got := f.Int(t, "select schema_version from public.tenants where slug = $1", out.Tenant.Slug); got != want ||
			out.State != migrate.Failed {
			t.Errorf("%s: %s at version %d, want %d", out.Tenant.Slug, out.State, got, want)
		}
	}
}

// TestFailureLeavesNothing lets a statement fail behind each that leaves something: what
// is not rolled back must not stay in a session that a pooler keeps.
func TestFailureLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, sql := range leftovers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			table := "create table t (id int);"
			old := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": table}))
			tenants := f.Create(t, old, fleettest.Names(4)...)
			pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
			broken := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": table, "2_b.sql": sql + "\nselect 1 / 0;"}))
			one := migrate.RunOptions{Fleet: fleet.Options{Concurrency: 1}}
			for _, out := range run(t, pooled, broken, tenants[:2], one).Outcomes {
				if db.SQLState(out.Err) != db.CodeDivisionByZero {
					t.Errorf("%s: %v", out.Tenant.Slug, out.Err)
				}
			}
			check := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": table,
				"2_b.sql": "-- +goose StatementBegin\n" + traces + ";\n-- +goose StatementEnd\n"}))
			for _, out := range run(t, pooled, check, tenants, one).Outcomes {
				if out.State != migrate.Migrated {
					t.Errorf("%s: %s: %v", out.Tenant.Slug, out.State, out.Err)
				}
			}
		})
	}
}
