package migrate_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// grouped runs a plan over tenants that may share transactions, six at a time. A busy
// machine makes no group fall apart.
func grouped(t *testing.T, f *fleettest.Fleet, plan *migrate.Plan, tenants []registry.Tenant,
	o migrate.RunOptions) *migrate.Report {
	t.Helper()
	o.Canary.Count, o.Group, o.Fleet.Concurrency = 1, 6, 2
	o.GroupLimit = cmp.Or(o.GroupLimit, time.Minute)
	return run(t, f, plan, tenants, o)
}

// transactions counts those that have written the registry's rows of tenants at a version.
func transactions(t *testing.T, f *fleettest.Fleet, version int) int64 {
	t.Helper()
	return f.Int(t, "select count(distinct xmin::text) from public.tenants where schema_version = $1", version)
}

// locking makes an observer safe for all workers at once.
func locking(observe func(migrate.Event)) func(migrate.Event) {
	var mu sync.Mutex
	return func(e migrate.Event) {
		mu.Lock()
		defer mu.Unlock()
		observe(e)
	}
}

// holdLock takes a lock until the test ends.
func holdLock(t *testing.T, f *fleettest.Fleet, sql string) {
	t.Helper()
	conn := f.Connect(t)
	for _, sql := range []string{"begin", sql} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

// wantAt checks that tenants are at a version, in their schemas and in the registry.
func wantAt(t *testing.T, f *fleettest.Fleet, tenants []registry.Tenant, version int64) {
	t.Helper()
	for _, tenant := range tenants {
		in := f.Int(t, "select max(version_id) from "+tenant.Schema.Quoted()+".goose_db_version where is_applied")
		at := f.Int(t, "select schema_version from public.tenants where id = $1", tenant.ID)
		if in != version || at != version {
			t.Errorf("%s: version %d in the schema, %d in the registry, want %d", tenant.Slug, in, at, version)
		}
	}
}

func TestTenantsShareATransaction(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second})
	tenants := f.Create(t, old, fleettest.Names(31)...)
	started := map[string]int{}
	report := grouped(t, f, plan, tenants, migrate.RunOptions{Observe: locking(func(e migrate.Event) {
		if s, ok := e.(migrate.TenantStarted); ok {
			started[s.Tenant.Slug]++
		}
	})})
	if n := report.Count(migrate.Migrated); n != 31 {
		t.Fatalf("%d migrated: %+v", n, report.Outcomes[0])
	}
	for _, o := range report.Outcomes {
		if o.From != 1 || o.To != 2 || o.Attempts != 1 || o.Duration <= 0 || started[o.Tenant.Slug] != 1 {
			t.Errorf("outcome %+v, started %d times", o, started[o.Tenant.Slug])
		}
	}
	if n := transactions(t, f, 2); n > 12 {
		t.Errorf("%d transactions for 31 tenants", n)
	}
	if n := f.Int(t, `select count(*) from public.migration_run_tenants where run_id = $1 and state = 'migrated'
		and from_version = 1 and to_version = 2 and attempts = 1`, report.RunID); n != 31 {
		t.Errorf("%d rows in the ledger", n)
	}
	wantAt(t, f, tenants, 2)
	if n := f.Int(t, "select count(*) from pg_class where relname = 'idx_a_y' and relnamespace <> "+
		"'public'::regnamespace"); n != 31 {
		t.Errorf("%d indexes", n)
	}
}

// TestSomeTenantsStayAlone: what may take long for one tenant, or reach the next, shares
// no transaction.
func TestSomeTenantsStayAlone(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"rows":      "update a set x = 1;",
		"a setting": "set lock_timeout = '1s';\nalter table a add y int;",
		"a setting, hidden": "create function leak() returns int language sql volatile as\n" +
			"'select length(set_config(''work_mem'', ''123kB'', true))';\nalter table a add y int default leak();",
		"alone": second,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": file})
			tenants := f.Create(t, old, fleettest.Names(13)...)
			f.Exec(t, "insert into "+tenants[0].Schema.Quoted()+".a values (1)")
			o := migrate.RunOptions{}
			o.Canary.Count, o.Group = 1, 6
			if name == "alone" {
				o.Group = 1
			}
			report := run(t, f, plan, tenants, o)
			if report.Count(migrate.Migrated) != 13 {
				t.Fatalf("outcomes %+v", report.Outcomes)
			}
			if n := transactions(t, f, 2); n != 13 {
				t.Errorf("%d transactions for 13 tenants", n)
			}
		})
	}
}

// TestAGroupFallsApart: what befalls one tenant of a group is its own, and the others are
// migrated.
func TestAGroupFallsApart(t *testing.T) {
	t.Parallel()
	type want struct {
		state migrate.State
		err   string // SQLSTATE
		tries int
	}
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, f *fleettest.Fleet, victim registry.Tenant)
		file  string
		want  want
	}{
		"an error": {func(t *testing.T, f *fleettest.Fleet, v registry.Tenant) {
			f.Exec(t, "alter table "+v.Schema.Quoted()+".a add y text")
		}, second, want{migrate.Failed, "42701", 1}},
		"no schema": {func(t *testing.T, f *fleettest.Fleet, v registry.Tenant) {
			f.Exec(t, "drop schema "+v.Schema.Quoted()+" cascade")
		}, second, want{migrate.Failed, "", 1}},
		"deleted": {func(t *testing.T, f *fleettest.Fleet, v registry.Tenant) {
			f.Exec(t, "update public.tenants set status = 'deleted', deleted_at = now(), purge_after = now() where id = '"+v.ID+"'")
		}, second, want{migrate.Skipped, "", 1}},
		"transferred": {func(t *testing.T, f *fleettest.Fleet, v registry.Tenant) {
			f.Exec(t, "update public.tenants set status = 'moved' where id = '"+v.ID+"'")
		}, second, want{migrate.Skipped, "", 1}},
		"moved on": {func(t *testing.T, f *fleettest.Fleet, v registry.Tenant) {
			f.Exec(t, "insert into "+v.Schema.Quoted()+".goose_db_version (version_id, is_applied) values (2, true)")
		}, second, want{migrate.Current, "", 1}},
		"a locked row": {func(t *testing.T, f *fleettest.Fleet, v registry.Tenant) {
			holdLock(t, f, "select from public.tenants where id = '"+v.ID+"' for update")
		}, second, want{migrate.Failed, "", 2}},
		"a locked table": {func(t *testing.T, f *fleettest.Fleet, v registry.Tenant) {
			holdLock(t, f, "lock table "+v.Schema.Quoted()+".a")
		}, second, want{migrate.Failed, "55P03", 2}},
		"a lost connection": {func(t *testing.T, f *fleettest.Fleet, v registry.Tenant) {
			f.Exec(t, `create function `+v.Schema.Quoted()+`.slow() returns int language plpgsql as
				'begin perform pg_terminate_backend(pg_backend_pid()); return 1; end'`)
		}, "alter table a add y int default slow();", want{migrate.Failed, "57P01", 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			base := first
			if tt.file != second {
				base += "\ncreate function slow() returns int language sql as 'select 1';\ninsert into a values (1);"
			}
			old, plan := plans(t, map[string]string{"1_a.sql": base, "2_b.sql": tt.file})
			tenants := f.Create(t, old, fleettest.Names(13)...)
			victim := tenants[8]
			if name == "a lost connection" {
				f.Exec(t, "drop function "+victim.Schema.Quoted()+".slow()")
			}
			tt.spoil(t, f, victim)
			patience := time.Millisecond
			if name == "a lost connection" { // whose server process holds the group's tenants until it has ended
				patience = 10 * time.Second
			}
			report := grouped(t, f, plan, tenants, migrate.RunOptions{LockTimeout: 200 * time.Millisecond,
				Fleet: fleet.Options{Attempts: 2, Patience: patience, Backoff: func(int) time.Duration {
					return time.Millisecond
				}}})
			for i, o := range report.Outcomes {
				if i != 8 && (o.State != migrate.Migrated || o.To != 2) {
					t.Errorf("another: %+v", o)
				}
			}
			o := report.Outcomes[8]
			if o.State != tt.want.state || db.SQLState(o.Err) != tt.want.err || o.Attempts < tt.want.tries ||
				o.Attempts > tt.want.tries && patience == time.Millisecond {
				t.Errorf("outcome %+v", o)
			}
			others := append(append([]registry.Tenant{}, tenants[:8]...), tenants[9:]...)
			wantAt(t, f, others, 2)
		})
	}
}

// TestAGroupTakesNoLongTime: a tenant that takes long holds the locks of its group no
// longer than a moment.
func TestAGroupTakesNoLongTime(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{
		"1_a.sql": first + "\ncreate function slow() returns int language sql as 'select 1';\ninsert into a values (1);",
		"2_b.sql": "alter table a add y int default slow();",
	})
	tenants := f.Create(t, old, fleettest.Names(7)...)
	f.Exec(t, "create or replace function "+tenants[6].Schema.Quoted()+`.slow() returns int language sql as
		'select 2 from pg_sleep(0.5)'`)
	report := grouped(t, f, plan, tenants, migrate.RunOptions{GroupLimit: 100 * time.Millisecond})
	if report.Count(migrate.Migrated) != 7 {
		t.Fatalf("outcomes %+v", report.Outcomes)
	}
	wantAt(t, f, tenants, 2)
	// Had the others waited for it in one transaction they would share its xmin.
	if n := f.Int(t, `select count(*) from public.tenants where xmin = (select xmin from public.tenants
		where id = $1)`, tenants[6].ID); n != 1 {
		t.Errorf("%d tenants share the transaction of the slow one", n)
	}
}

// TestTwoGroupedRuns: of two runs at once each tenant is migrated by one.
func TestTwoGroupedRuns(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second})
	tenants := f.Create(t, old, fleettest.Names(40)...)
	reports := make(chan *migrate.Report, 2)
	for range 2 {
		go func() {
			o := migrate.RunOptions{LockTimeout: time.Second, Group: 6}
			o.Canary.Count = 1
			report, err := plan.Run(context.WithoutCancel(t.Context()), f.Connect(t), f.Dial, tenants, o)
			if err != nil {
				t.Error(err)
			}
			reports <- report
		}()
	}
	migrated := 0
	for range 2 {
		r := <-reports
		if r.Stopped != nil || r.Count(migrate.Failed)+r.Count(migrate.NotStarted) > 0 {
			t.Errorf("stopped %v, %d failed, %d not started", r.Stopped, r.Count(migrate.Failed), r.Count(migrate.NotStarted))
		}
		migrated += r.Count(migrate.Migrated)
	}
	if migrated != 40 {
		t.Errorf("%d migrated", migrated)
	}
	wantAt(t, f, tenants, 2)
	if n := f.Int(t, `select count(*) from pg_class where relname = 'idx_a_y'`); n != 40 {
		t.Errorf("%d indexes", n)
	}
}

// TestCancelledGroup: a cancelled run leaves whole tenants only.
func TestCancelledGroup(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second})
	tenants := f.Create(t, old, fleettest.Names(60)...)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	done := 0
	o := migrate.RunOptions{LockTimeout: time.Second, Group: 6, Observe: locking(func(e migrate.Event) {
		if _, ok := e.(migrate.TenantFinished); ok {
			if done++; done == 10 {
				cancel(why)
			}
		}
	})}
	o.Canary.Count = 1
	report, err := plan.Run(ctx, f.Connect(t), f.Dial, tenants, o)
	if err != nil || !errors.Is(report.Stopped, why) {
		t.Fatalf("error %v, stopped %v", err, report.Stopped)
	}
	if n := report.Count(migrate.Migrated) + report.Count(migrate.NotStarted); n != 60 {
		t.Errorf("%d of 60 are migrated or not started: %s", n, fmt.Sprint(report.Outcomes))
	}
	for _, out := range report.Outcomes {
		want := int64(1)
		if out.State == migrate.Migrated {
			want = 2
		}
		wantAt(t, f, []registry.Tenant{out.Tenant}, want)
	}
}

// TestRunsLeaveFewEntries: pg_stat_statements, which keeps 5,000 entries unless told
// otherwise, is not filled with one for each tenant.
func TestRunsLeaveFewEntries(t *testing.T) {
	t.Parallel()
	f := fleettest.Counted(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second, "3_c.sql": "update a set x = 2;\n" +
		"-- +goose Down\nselect 1;"})
	tenants := f.Create(t, old, fleettest.Names(60)...)
	to2, err := plan.To(2)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name  string
		plan  *migrate.Plan
		route migrate.Route
	}{
		{"together", to2, migrate.Route{}},
		{"alone", plan, migrate.Route{}},
		{"back", plan, migrate.Route{Kind: migrate.Down, To: 2}},
	} {
		f.Exec(t, "select pg_stat_statements_reset()")
		o := migrate.RunOptions{Route: step.route}
		o.Canary.Count = 1
		report := run(t, f, step.plan, tenants, o)
		if n := report.Count(migrate.Migrated); n != 60 {
			t.Fatalf("%s: %d migrated: %v", step.name, n, report.Outcomes[1].Err)
		}
		tenants = report.Tenants()
		// One relation of the tenant's own is named by the file that changes rows.
		if n := f.Int(t, `select count(*) from pg_stat_statements
			where query !~ '^update a set'`); n > 60 {
			t.Errorf("%s: %d entries after a run over 60 tenants", step.name, n)
		}
		if n := f.Int(t, `select count(*) from pg_stat_statements where query ~ 'goose_db_version'`); n > 10 {
			t.Errorf("%s: %d entries about the tables of versions", step.name, n)
		}
	}
}
