package migrate_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/adopt"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/planted"
)

// hostile makes a role that may create in the schema of a tenant, and returns a
// function that runs statements as it.
func hostile(t *testing.T, f *fleettest.Fleet, schema string) (role string, as func(...string)) {
	t.Helper()
	var name string
	f.Scan(t, []any{&name}, "select current_database()::text")
	role = "mallory_" + strings.TrimPrefix(name, "crmctl_test_")
	f.Exec(t, "create role "+role, "grant usage, create on schema "+schema+" to "+role,
		"grant all on all tables in schema "+schema+" to "+role)
	t.Cleanup(func() { f.DropRoles(t, role) })
	return role, func(statements ...string) {
		t.Helper()
		conn := f.Connect(t)
		for _, sql := range append([]string{"set role " + role}, statements...) {
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
	}
}

// witness is a function that says as whom it ran; nothing of ours may call it.
const witness = `create function tenant_t0001.witness() returns trigger language plpgsql as
	'begin raise exception ''planted code runs as %'', current_user; return new; end'`

func refused(t *testing.T, err error, what string) {
	t.Helper()
	found, ok := errors.AsType[*planted.Error](err)
	if !ok || !strings.Contains(found.Error(), what) {
		t.Errorf("%v, and not refused for %s", err, what)
	}
}

// TestPlantedTrigger: a run passes by the tenant where it would run another's code,
// names it, and goes on with the others.
func TestPlantedTrigger(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	tenants := f.Create(t, fleettest.TenantPlan(t, 2), fleettest.Names(3)...)
	role, as := hostile(t, f, "tenant_t0001")
	as(witness, "create trigger log before insert or delete on tenant_t0001.goose_db_version for each row execute "+
		"function tenant_t0001.witness()")
	plan, conn := fleettest.TenantPlan(t, 0), f.Connect(t)
	report, err := plan.Run(t.Context(), conn, f.Dial, tenants, migrate.RunOptions{Fleet: fleet.Options{}})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, report.Outcomes[0].Err, "trigger log of goose_db_version calls tenant_t0001.witness() of role "+role)
	if report.Count(migrate.Migrated) != 2 || report.Count(migrate.Failed) != 1 {
		t.Errorf("%+v", report.Outcomes)
	}
	_, err = plan.Apply(t.Context(), conn, tenants[0], migrate.Route{}, migrate.ApplyOptions{})
	refused(t, err, "trigger log")
	_, err = plan.Apply(t.Context(), conn, tenants[0], migrate.Route{Kind: migrate.Redo}, migrate.ApplyOptions{})
	refused(t, err, "trigger log")
	direct := f.Connect(t)
	_, err = plan.ApplyDirect(t.Context(), direct, f.Connect(t), tenants[0], migrate.Route{}, migrate.ApplyOptions{})
	refused(t, err, "trigger log")
	_ = direct.Close(t.Context()) // with the tenant's lock
	// A role that the user trusts may.
	report, err = plan.Run(t.Context(), conn, f.Dial, tenants[:1], migrate.RunOptions{Fleet: fleet.Options{},
		Trusted: []string{role}})
	if err != nil || report.Outcomes[0].Err == nil || !strings.Contains(report.Outcomes[0].Err.Error(),
		"planted code runs as") {
		t.Errorf("%v, %+v", err, report.Outcomes)
	}
}

// TestPlantedDuringRun: what is planted after the run has looked is seen by the
// tenant's own transaction.
func TestPlantedDuringRun(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	tenants := f.Create(t, fleettest.TenantPlan(t, 2), fleettest.Names(2)...)
	_, as := hostile(t, f, "tenant_t0001")
	plan, conn := fleettest.TenantPlan(t, 0), f.Connect(t)
	guard := &planted.Guard{}
	if err := guard.Prepare(t.Context(), conn, []db.Schema{tenants[0].Schema, tenants[1].Schema}); err != nil {
		t.Fatal(err)
	}
	as(witness, "create trigger log before insert on tenant_t0001.goose_db_version for each row execute function "+
		"tenant_t0001.witness()")
	_, err := plan.Apply(t.Context(), conn, tenants[0], migrate.Route{}, migrate.ApplyOptions{Guard: guard})
	refused(t, err, "trigger log")
	if _, err := plan.Apply(t.Context(), conn, tenants[1], migrate.Route{},
		migrate.ApplyOptions{Guard: guard}); err != nil {
		t.Error(err)
	}
}

// TestForeignOwner: tables of another role without code of its own are migrated as
// any.
func TestForeignOwner(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	tenants := f.Create(t, fleettest.TenantPlan(t, 2), fleettest.Names(2)...)
	role, _ := hostile(t, f, "tenant_t0001")
	for _, table := range []string{"contacts", "conversations", "goose_db_version"} {
		f.Exec(t, "alter table tenant_t0001."+table+" owner to "+role)
	}
	plan, conn := fleettest.TenantPlan(t, 0), f.Connect(t)
	report, err := plan.Run(t.Context(), conn, f.Dial, tenants, migrate.RunOptions{Fleet: fleet.Options{}})
	if err != nil || report.Count(migrate.Migrated) != 2 {
		t.Errorf("%v, %+v", err, report.Outcomes)
	}
	actual, err := plan.Verify(t.Context(), conn, report.Tenants(), time.Second)
	if err != nil || actual[0].Err != nil || actual[0].Version != plan.Head() {
		t.Errorf("%v, %+v", err, actual)
	}
}

// TestPlantedVersions: what stands in the place of a table of versions, or in its
// indexes, is not run by reading it.
func TestPlantedVersions(t *testing.T) {
	t.Parallel()
	const fails = `create function tenant_t0001.fails(int8) returns int8 immutable language plpgsql as
		'begin raise exception ''planted code runs as %'', current_user; return 1; end'`
	for name, plant := range map[string][]string{
		"view": {"create view tenant_t0001.goose_db_version as select tenant_t0001.fails(1) as id, tenant_t0001.fails(2) " +
			"as version_id, true as is_applied, now() as tstamp"},
		"cast": {"create type tenant_t0001.yes as (n int)",
			`create function tenant_t0001.yes(tenant_t0001.yes) returns bool language plpgsql as
				'begin raise exception ''planted code runs as %'', current_user; end'`,
			"create cast (tenant_t0001.yes as bool) with function tenant_t0001.yes(tenant_t0001.yes) as implicit",
			"create table tenant_t0001.goose_db_version (id int8, version_id int8, is_applied tenant_t0001.yes, tstamp " +
				"timestamp default now())",
			"insert into tenant_t0001.goose_db_version values (1, 1, row(1))"},
		"index": {"create table tenant_t0001.goose_db_version (id int8, version_id int8, is_applied bool, tstamp timestamp " +
			"default now())",
			"create or replace function tenant_t0001.fails(int8) returns int8 immutable language sql as 'select 1::int8'",
			"create index on tenant_t0001.goose_db_version (tenant_t0001.fails(1))",
			`create or replace function tenant_t0001.fails(int8) returns int8 immutable language plpgsql as
				'begin raise exception ''planted code runs as %'', current_user; return 1; end'`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			tenants := f.Create(t, fleettest.TenantPlan(t, 2), fleettest.Names(2)...)
			role, as := hostile(t, f, "tenant_t0001")
			f.Exec(t, "alter schema tenant_t0001 owner to "+role, "drop table tenant_t0001.goose_db_version")
			as(append([]string{fails}, plant...)...)
			plan, conn := fleettest.TenantPlan(t, 0), f.Connect(t)
			actual, err := plan.Verify(t.Context(), conn, tenants, time.Second)
			if err != nil || actual[0].Err == nil || actual[1].Err != nil {
				t.Fatalf("%v, %+v", err, actual)
			}
			survey, err := adopt.Look(t.Context(), conn, plan, []adopt.Claim{{Schema: "tenant_t0001"}},
				adopt.Options{Slug: func(string) (string, error) {
					return "t0001", nil
				}})
			if err != nil || survey.Adoptions[0].Err == nil {
				t.Fatalf("%v, %+v", err, survey)
			}
			_, err = plan.Apply(t.Context(), conn, tenants[0], migrate.Route{}, migrate.ApplyOptions{})
			for _, err := range []error{actual[0].Err, survey.Adoptions[0].Err, err} {
				if err == nil || strings.Contains(err.Error(), "planted code runs") {
					t.Error(err)
				}
			}
		})
	}
}
