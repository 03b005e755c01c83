package tenant_test

import (
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// TestHostilePublic: functions and operators in public that shadow those
// of PostgreSQL are never called by the life of a tenant.
func TestHostilePublic(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Exec(t, `create table public.trap (name text)`)
	for _, function := range []string{
		"now()", "set_config(text, text, boolean)", "pg_try_advisory_xact_lock(bigint)", "current_setting(text)",
		"host(inet)",
		"jsonb_build_object(text, text, text, text)", "starts_with(text, text)", "pg_describe_object(oid, oid, int)",
		"current_database()", "current_schema()", "pg_get_function_identity_arguments(oid)",
		"has_schema_privilege(text, text, text)",
	} {
		f.Exec(t, `create function public.`+function+
			` returns text language plpgsql as $$ begin insert into public.trap values ('`+function+`'); return null; end $$`)
	}
	f.Exec(t, `create function public.same(text, text) returns boolean language plpgsql as $$ begin
		insert into public.trap values ('='); return true; end $$`,
		`create operator public.= (leftarg = text, rightarg = text, function = public.same)`,
		`create operator public.<> (leftarg = text, rightarg = text, function = public.same)`,
		// What everybody sets first: public before pg_catalog.
		`do $$ begin execute format('alter database %I set search_path = public, pg_catalog', current_database()); end $$`)
	f.Exec(t, "select now()")
	if f.Int(t, "select pg_catalog.count(*) from public.trap") == 0 {
		t.Fatal("the trap does not work")
	}
	f.Exec(t, "truncate public.trap")
	made := roled(t, f)
	dropAtEnd(t, f, made.Role+"_two")
	conn, o := f.Connect(t), tenant.MoveOptions{LockTimeout: time.Second}
	slug := made.Slug
	for name, step := range []func() error{
		func() error { _, err := tenant.Suspend(t.Context(), conn, slug, o); return err },
		func() error { _, err := tenant.Activate(t.Context(), conn, slug, o); return err },
		func() error {
			_, _, err := tenant.Rename(t.Context(), conn, slug, tenant.Renaming{Slug: slug + "-two", Schema: true}, o)
			return err
		},
		func() error {
			_, err := tenant.Set(t.Context(), conn, slug+"-two", map[string]any{"a": 1}, o)
			return err
		},
	} {
		if err := step(); err != nil {
			t.Errorf("step %d: %v", name, err)
		}
	}
	for _, err := range registry.Default().Audit(t.Context(), conn, registry.AuditFilter{}) {
		if err != nil {
			t.Error(err)
		}
	}
	for _, err := range registry.Default().History(t.Context(), conn, slug, 0) {
		if err != nil {
			t.Error(err)
		}
	}
	purgeNow(t, f, slug+"-two")
	if n := f.Int(t, "select pg_catalog.count(*) from public.trap"); n != 0 {
		var which string
		f.Scan(t, []any{&which}, "select pg_catalog.string_agg(distinct name, ' ') from public.trap")
		t.Errorf("%d calls of what was planted in public: %s", n, which)
	}
}
