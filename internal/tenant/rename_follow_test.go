package tenant_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// renameSchema gives tenant a, and its schema, the name b.
func renameSchema(t *testing.T, f *fleettest.Fleet, to tenant.Renaming) (registry.Tenant, error) {
	t.Helper()
	to.Slug, to.Schema = "b", true
	_, after, err := tenant.Rename(t.Context(), f.Connect(t), "a", to, tenant.MoveOptions{LockTimeout: time.Second})
	return after, err
}

// A function with a fixed search_path writes into its own tenant after a rename, not
// into the next one of the old name.
func TestRenameMendsPaths(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "a")
	f.Exec(t, `create table tenant_a.log (who text)`,
		`create function tenant_a.one(text) returns void language sql security definer set search_path = tenant_a as
			'insert into log values ($1)'`,
		`create function tenant_a.two(t text, int default 1) returns void language plpgsql set search_path = 'pg_catalog',
			"tenant_a", 'Weird Name', '', pg_temp set work_mem = '1MB' as 'begin insert into log values (t); end'`,
		`create procedure tenant_a."Three()"(inout text) language plpgsql set search_path = TENANT_A as
			'begin insert into log values ($1); end'`,
		`create function tenant_a.other() returns int language sql set search_path = pg_catalog as 'select 1'`)
	if _, err := renameSchema(t, f, tenant.Renaming{}); err != nil {
		t.Fatal(err)
	}
	f.Create(t, fleettest.TenantPlan(t, 0), "a")
	f.Exec(t, `create table tenant_a.log (who text)`, `select tenant_b.one('x')`, `select tenant_b.two('x')`,
		`call tenant_b."Three()"('x')`)
	if a, b := f.Int(t, "select count(*) from tenant_a.log"), f.Int(t,
		"select count(*) from tenant_b.log"); a != 0 || b != 3 {
		t.Errorf("%d rows in the other tenant, %d in its own", a, b)
	}
	var path string
	f.Scan(t, []any{&path}, `select array_to_string(proconfig, ';') from pg_proc where proname = 'two'`)
	if want := `search_path=pg_catalog, tenant_b, "Weird Name", "", pg_temp;work_mem=1MB`; path != want {
		t.Errorf("got %s, want %s", path, want)
	}
}

func TestRenameRefusesWhatWouldStayBehind(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "a", "c")
	f.Exec(t, `create function public.sums() returns bigint language sql as 'select count(*) from tenant_a.contacts'`,
		`create function tenant_c.borrow() returns void language plpgsql set search_path = tenant_a as 'begin end'`,
		`alter table tenant_a.contacts add constraint c check (name <> 'tenant_a.x')`)
	_, err := renameSchema(t, f, tenant.Renaming{})
	var left *tenant.MentionsError
	if !errors.As(err, &left) || len(left.Mentions) != 3 {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"function public.sums() (its text)", "function tenant_c.borrow() (its settings)",
		"constraint c on table tenant_b.contacts"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
	if n := f.Int(t, "select count(*) from public.tenants where slug = 'a' and schema_name = 'tenant_a'"); n != 1 {
		t.Error("the tenant was renamed")
	}
	if _, err := renameSchema(t, f, tenant.Renaming{LeaveMentions: true}); err != nil {
		t.Fatal(err)
	}
	if n := f.Int(t, "select jsonb_array_length(detail -> 'left_behind') from public.tenant_events where action = "+
		"'rename'"); n != 3 {
		t.Errorf("%d mentions in the audit", n)
	}
}

func TestRenameThatChangesTheShapeIsNotDone(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "a")
	_, err := renameSchema(t, f, tenant.Renaming{Shape: func(_ context.Context, _ db.Querier,
		t registry.Tenant) (string, error) {
		return t.Schema.String(), nil
	}})
	if err == nil || !strings.Contains(err.Error(), "would not be the same") {
		t.Errorf("got %v", err)
	}
	if n := f.Int(t, "select count(*) from pg_namespace where nspname = 'tenant_a'"); n != 1 {
		t.Error("the schema was renamed")
	}
}

// A function that belongs to somebody else cannot be made to follow.
func TestRenameWithAFunctionOfAnother(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "a")
	f.Exec(t, `create function tenant_a.one() returns void language plpgsql set search_path = tenant_a as 'begin end'`)
	mover := foreign(t, f, unique("mover"), "login")
	f.Exec(t, "alter schema tenant_a owner to "+mover, "grant all on all tables in schema public to "+mover,
		"grant all on all sequences in schema public to "+mover,
		"do $$ begin execute format('grant create on database %I to "+mover+"', current_database()); end $$")
	t.Cleanup(func() { f.Exec(t, "alter schema tenant_a owner to current_user") })
	cfg, err := db.ParseConfig(f.DSN)
	if err != nil {
		t.Fatal(err)
	}
	cfg.User = mover
	conn, err := db.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	_, _, err = tenant.Rename(t.Context(), conn, "a", tenant.Renaming{Slug: "b", Schema: true},
		tenant.MoveOptions{LockTimeout: time.Second})
	if db.SQLState(err) != db.CodeInsufficientPrivilege || !strings.Contains(err.Error(), "one") {
		t.Errorf("got %v", err)
	}
	if n := f.Int(t, "select count(*) from public.tenants where schema_name = 'tenant_a'"); n != 1 {
		t.Error("the tenant was renamed")
	}
}
