package tenant_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// dropChecks takes away what keeps rows of the registry in order.
func dropChecks(t *testing.T, f *fleettest.Fleet) {
	t.Helper()
	f.Exec(t, `do $$ declare c record; begin
		for c in select conname from pg_constraint where conrelid = 'public.tenants'::regclass and contype in ('c', 'u') loop
			execute format('alter table public.tenants drop constraint %I', c.conname);
		end loop;
		for c in select attname from pg_attribute where attrelid = 'public.tenants'::regclass and attnum > 0 and attnotnull and attname <> 'id' loop
			execute format('alter table public.tenants alter column %I drop not null', c.attname);
		end loop; end $$`)
}

// A row that this program would not have written is named and never acted on, and the
// others are read as ever.
func TestInvalidRowsBlindNobody(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ set, why string }{
		"system schema":     {"schema_name = 'pg_catalog'", "does not hold a tenant"},
		"public":            {"schema_name = 'public'", "does not hold a tenant"},
		"schema of pool":    {"schema_name = 'crmctl_pool_0123456789abcdef'", "one of the pool"},
		"schema with cr":    {"schema_name = E'a\\nb'", "control characters"},
		"schema too long":   {"schema_name = repeat('x', 64)", "64 bytes"},
		"no schema":         {"schema_name = null", "schema_name is null"},
		"other's schema":    {"schema_name = 'tenant_c'", "same schema"},
		"garbage status":    {"status = 'garbage'", `status is "garbage"`},
		"no status":         {"status = null", "status is null"},
		"deleted, no dates": {"status = 'deleted'", "without the dates"},
		"odd way back": {"status = 'deleted', deleted_at = now(), purge_after = now(), deleted_from = 'x'",
			"deleted_from"},
		"settings array":   {"settings = '[1]'", "not an object"},
		"settings null":    {"settings = 'null'", "not an object"},
		"no settings":      {"settings = null", "settings is null"},
		"slug with escape": {"slug = E'b\\x1b[31m'", "not shown"},
		"slug upper case":  {"slug = 'B'", "not as a tenant's is written"},
		"slug taken":       {"slug = 'c'", "same name"},
		"no slug":          {"slug = null", "slug is null"},
		"version -1":       {"schema_version = -1", "schema_version is -1"},
		"no version":       {"schema_version = null", "schema_version is null"},
		"infinite date":    {"created_at = 'infinity'", "dates"},
		"before Christ":    {"updated_at = '0044-03-15 BC'", "dates"},
		"far future":       {"purge_after = '20000-01-01'", "dates"},
		"no date":          {"created_at = null", "dates"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			made := f.Create(t, fleettest.TenantPlan(t, 0), "a", "b", "c")
			dropChecks(t, f)
			f.Exec(t, "update public.tenants set "+c.set+" where id = '"+made[1].ID+"'")
			conn := f.Connect(t)
			valid, invalid, err := registry.Default().ListAll(t.Context(), conn,
				registry.Filter{Statuses: []registry.Status{registry.Active}})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(valid, func(v registry.Tenant) bool { return v.ID == made[0].ID }) ||
				slices.ContainsFunc(valid, func(v registry.Tenant) bool {
					return v.ID == made[1].ID
				}) {
				t.Errorf("valid: %v", valid)
			}
			if !slices.ContainsFunc(invalid, func(r registry.InvalidRow) bool {
				return r.ID == made[1].ID && strings.Contains(r.Why, c.why)
			}) {
				t.Errorf("invalid: %+v", invalid)
			}
			if _, err := registry.Default().Get(t.Context(), conn, "a"); err != nil {
				t.Error(err)
			}
			if _, err := registry.Default().Slugs(t.Context(), conn, "", 10); err != nil && name != "no slug" {
				t.Error(err)
			}
			o := tenant.MoveOptions{LockTimeout: time.Second}
			if _, err := tenant.Suspend(t.Context(), conn, "b", o); err == nil && !strings.HasPrefix(name, "other") {
				t.Error("a tenant whose row is not valid was suspended")
			}
			f.Exec(t, "update public.tenants set purge_after = '-infinity' where status = 'deleted' and purge_after is not null")
			plan, err := tenant.PlanPurge(t.Context(), conn, tenant.PurgeFilter{}, time.Now())
			if err != nil || len(plan.Due) != 0 {
				t.Errorf("to be purged: %v, %v", plan.Due, err)
			}
			if _, err := tenant.Suspend(t.Context(), conn, "a", o); err != nil {
				t.Errorf("another tenant: %v", err)
			}
		})
	}
}

// foreign makes a role that is no tenant's.
func foreign(t *testing.T, f *fleettest.Fleet, name, options string) string {
	t.Helper()
	f.Exec(t, "create role "+pgx.Identifier{name}.Sanitize()+" "+options)
	t.Cleanup(func() {
		f.Exec(t, "drop owned by "+pgx.Identifier{name}.Sanitize(), "drop role "+pgx.Identifier{name}.Sanitize())
	})
	return name
}

// What the registry says of a role proves nothing: a role that was not made for the
// tenant stays what it is, whatever is done with the tenant.
func TestForeignRoleIsNeverChanged(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(t *testing.T, f *fleettest.Fleet, slug string) string{
		"superuser": func(*testing.T, *fleettest.Fleet, string) string { return "pg_read_all_data" },
		"application's": func(t *testing.T, f *fleettest.Fleet, _ string) string {
			return foreign(t, f, unique("app"), "login")
		},
		"hostile name": func(t *testing.T, f *fleettest.Fleet, _ string) string {
			return foreign(t, f, unique(`x"; drop role y; --'\`), "nologin")
		},
		"63 bytes": func(t *testing.T, f *fleettest.Fleet, _ string) string {
			return foreign(t, f, unique(strings.Repeat("x", 53)), "nologin")
		},
		"of a powerful one of that name": func(t *testing.T, f *fleettest.Fleet, slug string) string {
			return foreign(t, f, "tenant_"+slug, "superuser")
		},
		"another tenant's": func(t *testing.T, f *fleettest.Fleet, slug string) string {
			name := foreign(t, f, "tenant_"+slug, "nologin")
			f.Exec(t, "comment on role "+name+" is 'crmctl: role of tenant 01900000-0000-7000-8000-000000000000'")
			return name
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			slug := unique("r")
			conn, o := f.Connect(t), tenant.MoveOptions{LockTimeout: time.Second}
			made, err := tenant.Create(t.Context(), conn, tenant.Spec{Slug: slug}, options(t))
			if err != nil {
				t.Fatal(err)
			}
			role := make(t, f, slug)
			f.Exec(t, "grant usage on schema "+made.Schema.Quoted()+" to "+pgx.Identifier{role}.Sanitize())
			if _, err := conn.Exec(t.Context(), "update public.tenants set role_name = $1", role); err != nil {
				t.Fatal(err)
			}
			now, err := registry.Default().Get(t.Context(), conn, slug)
			if err != nil || now.Role != "" || now.ForeignRole != role {
				t.Fatalf("%+v, %v", now, err)
			}
			usage := func() bool {
				return f.Int(t, "select has_schema_privilege($1, $2, 'usage')::int", role, made.Schema.String()) == 1
			}
			if _, err := tenant.Suspend(t.Context(), conn, slug, o); err != nil || !usage() {
				t.Errorf("suspend: %v", err)
			}
			f.Exec(t, "revoke usage on schema "+made.Schema.Quoted()+" from "+pgx.Identifier{role}.Sanitize())
			if _, err := tenant.Activate(t.Context(), conn, slug, o); err != nil || usage() &&
				name != "of a powerful one of that name" && name != "superuser" {
				t.Errorf("activate: %v", err)
			}
			if _, after, err := tenant.Rename(t.Context(), conn, slug, tenant.Renaming{Slug: slug + "-two", Schema: true},
				o); err != nil || after.ForeignRole != role {
				t.Errorf("rename: %v", err)
			}
			made.Slug = slug + "-two"
			if kept := purgeKeeping(t, f, made, tenant.PurgeOptions{MoveOptions: o}); !strings.Contains(kept,
				"not made for this tenant") {
				t.Errorf("kept: %q", kept)
			}
			if n := f.Int(t, "select count(*) from pg_roles where rolname = $1", role); n != 1 {
				t.Error("the role is gone")
			}
			if n := f.Int(t, "select count(*) from public.tenant_events where action = 'purge' and before ->> 'role' = $1 and "+
				"detail ->> 'role_kept' <> ''", role); n != 1 {
				t.Error("the audit does not tell of the role")
			}
		})
	}
}

// Older releases did not mark the roles they made; the audit has them.
func TestRoleOfAnOlderRelease(t *testing.T) {
	t.Parallel()
	o := tenant.PurgeOptions{MoveOptions: tenant.MoveOptions{LockTimeout: time.Second}}
	t.Run("made for it", func(t *testing.T) {
		t.Parallel()
		f := fleettest.New(t)
		made := roled(t, f)
		f.Exec(t, "comment on role "+made.Role+" is null", "alter role "+made.Role+" login")
		if _, err := tenant.Suspend(t.Context(), f.Connect(t), made.Slug, o.MoveOptions); err != nil {
			t.Fatal(err)
		}
		if can(t, f, made.Role, "select * from "+made.Schema.Quoted()+".contacts") {
			t.Error("it still gets in")
		}
		if kept := purgeKeeping(t, f, made, o); kept != "" || f.Int(t, "select count(*) from pg_roles where rolname = $1",
			made.Role) != 0 {
			t.Errorf("kept: %q", kept)
		}
	})
	t.Run("named like it", func(t *testing.T) {
		t.Parallel()
		f := fleettest.New(t)
		made, err := tenant.Create(t.Context(), f.Connect(t), tenant.Spec{Slug: unique("r")}, options(t))
		if err != nil {
			t.Fatal(err)
		}
		role := foreign(t, f, made.Schema.String(), "nologin")
		f.Exec(t, "update public.tenants set role_name = schema_name")
		if kept := purgeKeeping(t, f, made, o); !strings.Contains(kept, "nothing tells that it was made for this tenant") {
			t.Errorf("kept: %q", kept)
		}
		if n := f.Int(t, "select count(*) from pg_roles where rolname = $1", role); n != 1 {
			t.Error("the role is gone")
		}
	})
}

// The mark holds the tenant's id, so a rename keeps it, and the role goes with the tenant.
func TestMarkSurvivesARename(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	made := roled(t, f)
	o := tenant.MoveOptions{LockTimeout: time.Second}
	_, after, err := tenant.Rename(t.Context(), f.Connect(t), made.Slug, tenant.Renaming{Slug: made.Slug + "-two",
		Schema: true}, o)
	if err != nil {
		t.Fatal(err)
	}
	dropAtEnd(t, f, after.Role)
	if n := f.Int(t, "select count(*) from pg_roles where rolname = $1 and shobj_description(oid, 'pg_authid') = $2",
		after.Role, fmt.Sprintf("crmctl: role of tenant %s", made.ID)); n != 1 {
		t.Error("no mark")
	}
	if kept := purgeKeeping(t, f, after, tenant.PurgeOptions{MoveOptions: o}); kept != "" ||
		f.Int(t, "select count(*) from pg_roles where rolname = $1", after.Role) != 0 {
		t.Errorf("kept: %q", kept)
	}
}
