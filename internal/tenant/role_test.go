package tenant_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// roled makes a tenant with a role. Roles belong to the cluster, which all tests
// share, so the name is the test's own.
func roled(t *testing.T, f *fleettest.Fleet) registry.Tenant {
	t.Helper()
	made, err := tenant.Create(t.Context(), f.Connect(t), tenant.Spec{Slug: unique("r"), Role: true}, options(t))
	if err != nil {
		t.Fatal(err)
	}
	dropAtEnd(t, f, made.Role)
	return made
}

func unique(prefix string) string { return prefix + strings.ToLower(rand.Text()[:10]) }

// dropAtEnd drops a role when the test ends, whatever has become of it.
func dropAtEnd(t *testing.T, f *fleettest.Fleet, roles ...string) {
	t.Helper()
	t.Cleanup(func() { f.DropRoles(t, roles...) })
}

// can reports whether the role may run a statement in the tenant's schema.
func can(t *testing.T, f *fleettest.Fleet, role, sql string) bool {
	t.Helper()
	err := as(t, f, role, sql)
	if err != nil && db.SQLState(err) != db.CodeInsufficientPrivilege {
		t.Fatalf("%s: %v", sql, err)
	}
	return err == nil
}

func as(t *testing.T, f *fleettest.Fleet, role, sql string) error {
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
	return err
}

func TestRoleFollowsTheTenant(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	made, other := roled(t, f), roled(t, f)
	conn, home := f.Connect(t), made.Schema.Quoted()
	use := "insert into " + home + ".contacts (name) values ('x')"
	if made.Role != made.Schema.String() || !can(t, f, made.Role, use) {
		t.Errorf("role %q cannot write", made.Role)
	}
	if n := f.Int(t, "select count(*) from pg_roles where rolname = $1 and not rolcanlogin and not rolsuper",
		made.Role); n != 1 {
		t.Error("the role may log in")
	}
	f.Exec(t, "create table "+home+".later (id int generated always as identity, x int)")
	for sql, want := range map[string]bool{
		"insert into " + home + ".later (x) values (1)":                true, // default privileges
		"select * from " + other.Schema.Quoted() + ".contacts":         false,
		"select * from public.tenants":                                 false,
		"update " + home + ".goose_db_version set version_id = 99":     false,
		"create table " + home + ".own (x int)":                        false,
		"drop table " + home + ".later":                                false,
		"select version_id from " + home + ".goose_db_version limit 1": true,
	} {
		if got := can(t, f, made.Role, sql); got != want {
			t.Errorf("%s: %v, want %v", sql, got, want)
		}
	}
	move := func(name string, open bool, do func() (registry.Tenant, error)) {
		t.Helper()
		if _, err := do(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if can(t, f, made.Role, use) != open {
			t.Errorf("after %s the role's access is %v", name, !open)
		}
	}
	o := tenant.MoveOptions{Actor: "bob@desk", LockTimeout: time.Second}
	move("suspend", false, func() (registry.Tenant, error) { return tenant.Suspend(t.Context(), conn, made.Slug, o) })
	move("delete", false, func() (registry.Tenant, error) { return tenant.Delete(t.Context(), conn, made.Slug, 0, o) })
	move("undelete", false, func() (registry.Tenant, error) { return tenant.Undelete(t.Context(), conn, made.Slug, o) })
	move("activate", true, func() (registry.Tenant, error) { return tenant.Activate(t.Context(), conn, made.Slug, o) })
	move("delete", false, func() (registry.Tenant, error) { return tenant.Delete(t.Context(), conn, made.Slug, 0, o) })
	move("undelete", true, func() (registry.Tenant, error) { return tenant.Undelete(t.Context(), conn, made.Slug, o) })
	purgeNow(t, f, made.Slug)
	if n := f.Int(t, "select count(*) from pg_roles where rolname = $1", made.Role); n != 0 {
		t.Error("the role outlived the tenant")
	}
	if !can(t, f, other.Role, "select * from "+other.Schema.Quoted()+".contacts") {
		t.Error("another tenant's role lost its access")
	}
}

// A session that is open, with a prepared statement, is shut out too.
func TestSuspendReachesOpenSessions(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	made := roled(t, f)
	session, err := pgx.Connect(t.Context(), f.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close(context.Background()) }()
	if _, err := session.Exec(t.Context(), "set role "+made.Role); err != nil {
		t.Fatal(err)
	}
	if _, err := session.Prepare(t.Context(), "q", "select count(*) from "+made.Schema.Quoted()+".contacts"); err != nil {
		t.Fatal(err)
	}
	var n int
	for range 8 { // until the plan is a generic one
		if err := session.QueryRow(t.Context(), "q").Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tenant.Suspend(t.Context(), f.Connect(t), made.Slug, tenant.MoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := session.QueryRow(t.Context(), "q").Scan(&n); db.SQLState(err) != db.CodeInsufficientPrivilege {
		t.Errorf("a prepared statement of an open session: %v", err)
	}
}

func TestRoleThatExistsIsNotTaken(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	slug := unique("r")
	f.Exec(t, "create role tenant_"+slug+" login superuser")
	dropAtEnd(t, f, "tenant_"+slug)
	_, err := tenant.Create(t.Context(), f.Connect(t), tenant.Spec{Slug: slug, Role: true}, options(t))
	var exists *tenant.RoleExistsError
	if !errors.As(err, &exists) || !errors.Is(err, registry.ErrExists) {
		t.Errorf("got %v", err)
	}
	if n := f.Int(t, "select (select count(*) from public.tenants) + (select count(*) from pg_namespace where nspname = $1)", "tenant_"+slug); n != 0 {
		t.Error("something stayed")
	}
}

func TestPurgeLeavesARoleThatIsUsed(t *testing.T) {
	t.Parallel()
	o := tenant.PurgeOptions{MoveOptions: tenant.MoveOptions{LockTimeout: time.Second}}
	t.Run("in another database", func(t *testing.T) {
		t.Parallel()
		f := fleettest.New(t)
		made := roled(t, f)
		elsewhere := &fleettest.Fleet{DSN: pgtest.Empty(t)}
		elsewhere.Exec(t, "create table x ()", "grant select on x to "+made.Role)
		kept := purgeKeeping(t, f, made, o)
		if !strings.Contains(kept, "is used in crmctl_test_") {
			t.Errorf("kept: %q", kept)
		}
		elsewhere.Exec(t, "drop owned by "+made.Role)
	})
	t.Run("owns something", func(t *testing.T) {
		t.Parallel()
		f := fleettest.New(t)
		made := roled(t, f)
		f.Exec(t, "create table public.precious (x int)", "alter table public.precious owner to "+made.Role)
		if kept := purgeKeeping(t, f, made, o); !strings.Contains(kept, "owns table precious") &&
			!strings.Contains(kept, "owns table public.precious") {
			t.Errorf("kept: %q", kept)
		}
		if n := f.Int(t, "select count(*) from pg_tables where tablename = 'precious'"); n != 1 {
			t.Error("a table outside of the tenant was lost")
		}
	})
	t.Run("has rights here", func(t *testing.T) {
		t.Parallel()
		f := fleettest.New(t)
		made := roled(t, f)
		f.Exec(t, "create table public.shared (x int)", "grant select on public.shared to "+made.Role)
		if kept := purgeKeeping(t, f, made, o); kept != "" {
			t.Errorf("kept: %q", kept)
		}
		if n := f.Int(t, "select count(*) from pg_roles where rolname = $1", made.Role); n != 0 {
			t.Error("the role stayed")
		}
	})
}

// purgeKeeping deletes and purges a tenant and returns why its role stayed.
func purgeKeeping(t *testing.T, f *fleettest.Fleet, made registry.Tenant, o tenant.PurgeOptions) string {
	t.Helper()
	deleted, err := tenant.Delete(t.Context(), f.Connect(t), made.Slug, 0, o.MoveOptions)
	if err != nil {
		t.Fatal(err)
	}
	purged, results, _ := tenant.PurgeMany(t.Context(), f.Dial, []registry.Tenant{deleted}, o, fleet.Options{})
	if results[0].Err != nil {
		t.Fatal(results[0].Err)
	}
	if n := f.Int(t, "select count(*) from public.tenants"); n != 0 {
		t.Error("the tenant stayed")
	}
	return purged[0].RoleKept
}

// A role or a schema that somebody dropped by hand does not keep a tenant from being
// shut; opening it says what is missing.
func TestMovesOfADamagedTenant(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	made := roled(t, f)
	conn, o := f.Connect(t), tenant.MoveOptions{LockTimeout: time.Second}
	f.Exec(t, "drop owned by "+made.Role, "drop role "+made.Role)
	if _, err := tenant.Suspend(t.Context(), conn, made.Slug, o); err != nil {
		t.Error(err)
	}
	if _, err := tenant.Activate(t.Context(), conn, made.Slug, o); db.SQLState(err) != db.CodeUndefinedObject ||
		!strings.Contains(err.Error(), made.Slug) {
		t.Errorf("activate without the role: %v", err)
	}
	f.Exec(t, "drop schema "+made.Schema.Quoted()+" cascade")
	if _, err := tenant.Delete(t.Context(), conn, made.Slug, 0, o); err != nil {
		t.Error(err)
	}
	purgeDue(t, f, made.Slug)
}

// TestPoorRole: a session without superuser, which may create schemas
// and write the registry, does everything but roles, and 42501 says what is missing.
func TestPoorRole(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	name, maker := unique("poor"), unique("maker")
	f.Exec(t, "create role "+name+" login nocreaterole", "create role "+maker+" login createrole")
	dropAtEnd(t, f, name, maker)
	var database string
	f.Scan(t, []any{&database}, "select current_database()")
	for _, role := range []string{name, maker} {
		f.Exec(t, "grant create on database "+database+" to "+role,
			"grant usage on schema public to "+role,
			"grant select, insert, update, delete on all tables in schema public to "+role,
			"grant usage on all sequences in schema public to "+role)
	}
	login := func(role string) func(context.Context) (*pgx.Conn, error) {
		return func(ctx context.Context) (*pgx.Conn, error) {
			cfg, err := db.ParseConfig(f.DSN)
			if err != nil {
				return nil, err
			}
			cfg.User = role
			return db.Connect(ctx, cfg)
		}
	}
	o := tenant.MoveOptions{LockTimeout: time.Second}
	for _, c := range []struct {
		role  string
		roles bool
	}{{name, false}, {maker, true}} {
		conn, err := login(c.role)(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		if !c.roles {
			_, err := tenant.Create(t.Context(), conn, tenant.Spec{Slug: unique("r"), Role: true}, options(t))
			if !errors.Is(err, tenant.ErrRoleRight) || db.SQLState(err) != db.CodeInsufficientPrivilege {
				t.Errorf("a role without the right to make one: %v", err)
			}
		}
		slug := unique("r")
		dropAtEnd(t, f, "tenant_"+slug, "tenant_"+slug+"_two")
		life := []func() error{
			func() error {
				_, err := tenant.Create(t.Context(), conn, tenant.Spec{Slug: slug, Role: c.roles}, options(t))
				return err
			},
			func() error { _, err := tenant.Suspend(t.Context(), conn, slug, o); return err },
			func() error { _, err := tenant.Activate(t.Context(), conn, slug, o); return err },
			func() error {
				_, _, err := tenant.Rename(t.Context(), conn, slug, tenant.Renaming{Slug: slug + "-two", Schema: true}, o)
				return err
			},
			func() error {
				deleted, err := tenant.Delete(t.Context(), conn, slug+"-two", 0, o)
				if err != nil {
					return err
				}
				purged, results, _ := tenant.PurgeMany(t.Context(), login(c.role), []registry.Tenant{deleted},
					tenant.PurgeOptions{MoveOptions: o}, fleet.Options{})
				if purged[0].RoleKept != "" {
					return errors.New(purged[0].RoleKept)
				}
				return results[0].Err
			},
		}
		for i, step := range life {
			if err := step(); err != nil {
				t.Errorf("%s, step %d: %v", c.role, i, err)
			}
		}
	}
	f.Exec(t, "revoke create on database "+database+" from "+name)
	conn, err := login(name)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = tenant.Create(t.Context(), conn, tenant.Spec{Slug: "x"}, options(t))
	if db.SQLState(err) != db.CodeInsufficientPrivilege || errors.Is(err, tenant.ErrRoleRight) {
		t.Errorf("without the right to make schemas: %v", err)
	}
	if n := f.Int(t, "select count(*) from public.tenants"); n != 0 {
		t.Error(fmt.Sprint(n), "tenants stayed")
	}
}
