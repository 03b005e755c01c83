package backup_test

import (
	"bytes"
	"testing"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// TestHostilePublic: functions and operators in public that shadow those of
// PostgreSQL are never called by a backup, a restore or a clone.
func TestHostilePublic(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.Plan(t, everything())
	src := f.Create(t, plan, "acme")[0]
	in(t, f, src.Schema, rows...)
	want := hashes(t, f, src.Schema)
	f.Exec(t, `create table public.trap (name text)`)
	for _, function := range []string{
		"now()", "set_config(text, text, boolean)", "pg_try_advisory_xact_lock(bigint)", "current_setting(text)",
		"current_database()",
		"pg_is_in_recovery()", "pg_current_wal_lsn()", "format_type(oid, int)", "pg_relation_filenode(regclass)",
		"pg_relation_filenode(oid)",
		"setval(regclass, bigint, boolean)", "current_schema()", "md5(text)", "inet_client_addr()", "gen_random_uuid()",
	} {
		f.Exec(t, `create function public.`+function+
			` returns text language plpgsql as $$ begin insert into public.trap values ('`+function+`'); return null; end $$`)
	}
	for _, types := range []string{"text, text", "name, text", "uuid, text"} {
		f.Exec(t, `create function public.same(`+types+
			`) returns boolean language plpgsql as $$ begin insert into public.trap values ('= `+types+`'); return true; end $$`)
	}
	f.Exec(t, `create operator public.= (leftarg = text, rightarg = text, function = public.same)`,
		`create operator public.<> (leftarg = text, rightarg = text, function = public.same)`,
		`create operator public.= (leftarg = name, rightarg = text, function = public.same)`,
		`create operator public.= (leftarg = uuid, rightarg = text, function = public.same)`,
		// What everybody sets first: public before pg_catalog.
		`do $$ begin execute format('alter database %I set search_path = public, pg_catalog', current_database()); end $$`)
	f.Exec(t, "select now()")
	if f.Int(t, "select pg_catalog.count(*) from public.trap") == 0 {
		t.Fatal("the trap does not work")
	}
	f.Exec(t, "truncate public.trap")

	file, _ := write(t, f, source(src))
	n := newTenant(plan, "restore")
	if _, err := backup.Restore(t.Context(), f.Connect(t), bytes.NewReader(file),
		backup.RestoreOptions{NewTenant: n, As: "copy"}); err != nil {
		t.Fatal(err)
	}
	cloned, err := clone(t, f, plan, src, backup.CloneOptions{Slug: "third"})
	if err != nil {
		t.Fatal(err)
	}
	registry := saveRegistry(t, f, 6)
	dir, err := backup.OpenDir(t.TempDir(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	if _, err := dir.Create(t.Context(), f.Connect(t), source(src),
		backup.CreateOptions{Audit: audit("backup")}); err != nil {
		t.Fatal(err)
	}
	f.Exec(t, "set search_path = pg_catalog; drop schema tenant_acme cascade")
	if _, err := backup.Restore(t.Context(), f.Connect(t), bytes.NewReader(file),
		backup.RestoreOptions{NewTenant: n}); err != nil {
		t.Fatal(err)
	}
	f.Exec(t, "set search_path = pg_catalog; delete from public.tenants; alter table public.tenant_events disable "+
		"trigger tenant_events_append_only; delete from public.tenant_events")
	if err := restoreRegistry(t, f, registry); err != nil {
		t.Fatal(err)
	}
	if n := f.Int(t, "select pg_catalog.count(*) from public.trap"); n != 0 {
		var which string
		f.Scan(t, []any{&which}, "select pg_catalog.string_agg(distinct name, ' ') from public.trap")
		t.Errorf("%d calls of what was planted in public: %s", n, which)
	}
	f.Exec(t, `do $$ begin execute pg_catalog.format('alter database %I reset search_path', pg_catalog.current_database()); end $$`)
	wantEqual(t, want, hashes(t, f, cloned))
	wantEqual(t, want, hashes(t, f, src.Schema))
}
