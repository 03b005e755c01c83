package backup_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
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

// TestHostileNames: COPY leads to the tenant's own table, whatever it is called and whatever
// else has the name: one of PostgreSQL's, of public, of a role that the session is not, or a
// temporary one.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": `create table "pg_class" (name text);
create table "pg_tables" (name text);
create table "a""b.C d" (name text);
create table "select" ("from" text, "x, y" text);
create table notes (name text);
create table which (of regclass);`}))
	src := f.Create(t, plan, "acme")[0]
	f.Exec(t, "create table public.notes (name text)", "insert into public.notes values ('of public')",
		`insert into tenant_acme."pg_class" values ('own')`, `insert into tenant_acme."pg_tables" values ('own'), ('too')`,
		`insert into tenant_acme."a""b.C d" values ('own')`, `insert into tenant_acme."select" values ('own', '1')`,
		`insert into tenant_acme.notes values ('own')`, "insert into tenant_acme.which values ('tenant_acme.notes'), "+
			"('public.notes'), ('tenant_acme.pg_class'), ('pg_catalog.pg_class')")
	var file bytes.Buffer
	conn := f.Connect(t)
	if _, err := conn.Exec(t.Context(), "create temp table notes as select 'temporary' as name"); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Write(t.Context(), conn, source(src), &file, backup.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	// A name leads to the copy's own table.
	refers := `select string_agg(of::text, ' ' order by of::text) from %s.which`
	want := hashes(t, f, src.Schema)
	delete(want, "which")
	if _, err := backup.Restore(t.Context(), conn, bytes.NewReader(file.Bytes()),
		backup.RestoreOptions{NewTenant: newTenant(plan, "restore"), As: "copy"}); err != nil {
		t.Fatal(err)
	}
	cloned, err := clone(t, f, plan, src, backup.CloneOptions{Slug: "third"})
	if err != nil {
		t.Fatal(err)
	}
	for _, schema := range []string{"tenant_copy", cloned.String()} {
		made, err := db.RegisteredSchema(schema)
		if err != nil {
			t.Fatal(err)
		}
		got := hashes(t, f, made)
		delete(got, "which")
		wantEqual(t, want, got)
		var which string
		f.Scan(t, []any{&which}, strings.Replace(refers, "%s", schema, 1))
		if want := "notes pg_class tenant_acme.pg_class " + schema + ".notes"; which != want {
			t.Errorf("%s: names of tables lead to %q, want %q", schema, which, want)
		}
	}
}
