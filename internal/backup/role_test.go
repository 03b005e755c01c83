package backup_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// roled makes a tenant with a role. Roles belong to the cluster, which all tests
// share, so the names are the test's own, and the roles of everything whose name
// begins so go with the test.
func roled(t *testing.T, f *fleettest.Fleet, plan *migrate.Plan) registry.Tenant {
	t.Helper()
	script, err := plan.Build()
	if err != nil {
		t.Fatal(err)
	}
	slug := "r" + strings.ToLower(rand.Text()[:10])
	t.Cleanup(func() { f.DropRoles(t, "tenant_"+slug) })
	made, err := tenant.Create(t.Context(), f.Connect(t), tenant.Spec{Slug: slug, Role: true}, tenant.CreateOptions{
		Template: tenant.Template{Script: script, Version: plan.Head()}, Actor: "test", LockTimeout: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// refused returns the SQLSTATE of a statement that the role runs, "" where it may.
func refused(t *testing.T, f *fleettest.Fleet, role, sql string) string {
	t.Helper()
	conn, err := f.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), "set role "+pgx.Identifier{role}.Sanitize()); err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(t.Context(), sql)
	return db.SQLState(err)
}

// A tenant made out of one with a role gets a role too, with the same rights on
// what is there and what will be, and none anywhere else.
func TestMadeTenantsHaveRoles(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.Plan(t, everything())
	src := roled(t, f, plan)
	in(t, f, src.Schema, rows...)
	of := backup.Source{ID: src.ID, Slug: src.Slug, Schema: src.Schema}
	file, _ := write(t, f, of)
	f.Exec(t, "update public.tenants set status = 'suspended' where slug = '"+src.Slug+"'")
	shut, _ := write(t, f, of)
	f.Exec(t, "update public.tenants set status = 'active' where slug = '"+src.Slug+"'")
	plainSource := f.Create(t, plan, "plain")[0]
	restore := func(file []byte) func(as string, n backup.NewTenant) (*backup.Made, error) {
		return func(as string, n backup.NewTenant) (*backup.Made, error) {
			return backup.Restore(t.Context(), f.Connect(t), bytes.NewReader(file), backup.RestoreOptions{NewTenant: n, As: as})
		}
	}
	cloneOf := func(of backup.Source) func(as string, n backup.NewTenant) (*backup.Made, error) {
		return func(as string, n backup.NewTenant) (*backup.Made, error) {
			return backup.Clone(t.Context(), f.Connect(t), f.Connect(t), of, backup.CloneOptions{NewTenant: n, Slug: as})
		}
	}
	for _, c := range []struct {
		name   string
		role   backup.RoleChoice
		make   func(as string, n backup.NewTenant) (*backup.Made, error)
		has    bool
		opened bool
	}{
		{"restored", backup.RoleAsSource, restore(file), true, true},
		{"suspended", backup.RoleAsSource, restore(shut), true, false},
		{"cloned", backup.RoleAsSource, cloneOf(of), true, true},
		{"without", backup.RoleNever, restore(file), false, false},
		{"cloned-without", backup.RoleNever, cloneOf(of), false, false},
		{"plain", backup.RoleAsSource, cloneOf(source(plainSource)), false, false},
		{"given", backup.RoleAlways, cloneOf(source(plainSource)), true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newTenant(plan, "restore")
			n.Role = c.role
			made, err := c.make(src.Slug+"-"+c.name, n)
			if err != nil {
				t.Fatal(err)
			}
			schema, role := made.Tenant.Schema, made.Tenant.Role
			if !c.has {
				if role != "" || f.Int(t, "select count(*) from public.tenants where slug = $1 and role_name is null",
					made.Tenant.Slug) != 1 ||
					f.Int(t, "select count(*) from pg_roles where rolname = $1", schema) != 0 {
					t.Errorf("made with a role: %+v", made.Tenant)
				}
				return
			}
			if role != schema || f.Int(t, "select count(*) from public.tenants where slug = $1 and role_name = $2",
				made.Tenant.Slug, schema) != 1 {
				t.Fatalf("made %+v", made.Tenant)
			}
			if n := f.Int(t, "select count(*) from pg_roles where rolname = $1 and not rolcanlogin and not rolsuper",
				role); n != 1 {
				t.Error("the role may log in, or is not there")
			}
			if n := f.Int(t, "select count(*) from public.tenant_events where slug = $1 and after ->> 'role' = $2",
				made.Tenant.Slug, role); n != 1 {
				t.Error("the audit does not tell of the role")
			}
			home := pgx.Identifier{schema}.Sanitize()
			f.Exec(t, "create table "+home+".later (id bigserial, x int)")
			for sql, may := range map[string]bool{
				"insert into " + home + ".settings values ('new', 'x')":        c.opened,
				"insert into " + home + ".log (what) values ('x')":             c.opened, // its sequence
				"select * from " + home + ".event_counts":                      c.opened,
				"insert into " + home + ".later (x) values (1)":                c.opened, // default privileges, both
				"select version_id from " + home + ".goose_db_version limit 1": c.opened,
				"update " + home + ".goose_db_version set version_id = 99":     false,
				"select * from " + src.Schema.Quoted() + ".zoo":                false,
				"select * from public.tenants":                                 false,
				"create table " + home + ".own (x int)":                        false,
			} {
				want := ""
				if !may {
					want = db.CodeInsufficientPrivilege
				}
				if got := refused(t, f, role, sql); got != want {
					t.Errorf("%s: SQLSTATE %q, want %q", sql, got, want)
				}
			}
			if c.opened {
				return
			}
			if _, err := tenant.Activate(t.Context(), f.Connect(t), made.Tenant.Slug,
				tenant.MoveOptions{LockTimeout: time.Second}); err != nil {
				t.Fatal(err)
			}
			if got := refused(t, f, role, "select * from "+home+".zoo"); got != "" {
				t.Errorf("activated, the role is still refused: %s", got)
			}
		})
	}
}

// What cannot have its role is refused, and nothing is left of it.
func TestRoleThatCannotBeMade(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.TenantPlan(t, 0)
	src := roled(t, f, plan)
	of := backup.Source{ID: src.ID, Slug: src.Slug, Schema: src.Schema}
	file, _ := write(t, f, of)
	poor := src.Schema.String() + "_poor"
	var database string
	f.Scan(t, []any{&database}, "select current_database()")
	f.Exec(t, "create role "+poor+" login nocreaterole", "grant create on database "+database+" to "+poor,
		"grant usage on schema public to "+poor,
		"grant select, insert, update, delete on all tables in schema public to "+poor,
		"grant usage on schema "+src.Schema.Quoted()+" to "+poor, "grant select on all tables in schema "+
			src.Schema.Quoted()+" to "+poor)
	u, err := url.Parse(f.DSN)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(poor)
	mine := &fleettest.Fleet{DSN: u.String()}
	// A role of that name is there: perhaps that of a tenant in another database.
	taken := src.Schema.String() + "_taken"
	f.Exec(t, "create role "+taken+" nologin")

	for _, c := range []struct {
		name string
		f    *fleettest.Fleet
		as   string
		want func(error) bool
	}{
		{"without the right", mine, "poor2", func(err error) bool {
			return errors.Is(err, tenant.ErrRoleRight) && db.SQLState(err) == db.CodeInsufficientPrivilege
		}},
		{"taken", f, "taken", func(err error) bool {
			_, ok := errors.AsType[*tenant.RoleExistsError](err)
			return ok
		}},
	} {
		for what, do := range map[string]func(n backup.NewTenant) error{
			"restore": func(n backup.NewTenant) error {
				_, err := backup.Restore(t.Context(), c.f.Connect(t), bytes.NewReader(file),
					backup.RestoreOptions{NewTenant: n, As: src.Slug + "-" + c.as})
				return err
			},
			"clone": func(n backup.NewTenant) error {
				_, err := backup.Clone(t.Context(), c.f.Connect(t), c.f.Connect(t), of,
					backup.CloneOptions{NewTenant: n, Slug: src.Slug + "-" + c.as})
				return err
			},
		} {
			n := newTenant(plan, what)
			if err := do(n); !c.want(err) {
				t.Errorf("%s %s: %v", what, c.name, err)
			}
			if n := f.Int(t, `select (select count(*) from public.tenants) + (select count(*) from public.tenant_events
				where action <> 'create')
				+ (select count(*) from pg_namespace where nspname like 'tenant\_r%')`); n != 2 {
				t.Errorf("%s %s: something is left", what, c.name)
			}
			if c.f != mine {
				continue
			}
			// Without a role it works.
			n.Role = backup.RoleNever
			if err := do(n); err != nil {
				t.Errorf("%s without a role: %v", what, err)
			}
			f.Exec(t, "delete from public.tenants where slug <> '"+src.Slug+"'", "drop schema "+src.Schema.String()+
				"_poor2 cascade",
				"alter table public.tenant_events disable trigger tenant_events_append_only",
				"delete from public.tenant_events where action <> 'create'",
				"alter table public.tenant_events enable always trigger tenant_events_append_only")
		}
	}
}
