package backup_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/migrations"
)

// A backup of the registry fills an empty one, its numbers going on where they were.
func TestRestoreRegistry(t *testing.T) {
	t.Parallel()
	tables := []string{"tenants", "tenant_events", "migration_runs", "migration_run_tenants"}
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	f.Exec(t, `insert into public.migration_runs (actor, target_version) select 'test', 4 from generate_series(1, 7)`,
		`update public.tenants set settings = '{"tier": 2}' where slug = 'acme'`)
	var file bytes.Buffer
	m, err := backup.WriteRegistry(t.Context(), f.Connect(t), tables, 6, &file, backup.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Kind != backup.KindRegistry || m.Tenant != nil || len(m.Tables) != len(tables) {
		t.Errorf("manifest %+v", m)
	}

	// Not over tenants that are there.
	if _, err := backup.RestoreRegistry(t.Context(), f.Connect(t), bytes.NewReader(file.Bytes()),
		backup.RegistryOptions{Tables: saved}); !errors.Is(err, registry.ErrExists) {
		t.Errorf("error %v, want ErrExists", err)
	}
	// A tenant's backup is none of the registry, nor the other way round.
	if _, err := backup.Restore(t.Context(), f.Connect(t), bytes.NewReader(file.Bytes()),
		backup.RestoreOptions{}); !errors.Is(err, backup.ErrOtherKind) {
		t.Errorf("error %v, want ErrOtherKind", err)
	}

	other := fleettest.New(t)
	// Cut anywhere, it leaves nothing.
	if _, err := backup.RestoreRegistry(t.Context(), other.Connect(t), bytes.NewReader(file.Bytes()[:file.Len()-5]),
		backup.RegistryOptions{Tables: saved}); !errors.Is(err, backup.ErrCorrupt) {
		t.Errorf("error %v, want ErrCorrupt", err)
	}
	if n := other.Int(t, "select count(*) from public.tenants"); n != 0 {
		t.Errorf("%d tenants", n)
	}
	if _, err := backup.RestoreRegistry(t.Context(), other.Connect(t), bytes.NewReader(file.Bytes()),
		backup.RegistryOptions{Tables: saved}); err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		sql := "select count(*) || ' ' || coalesce(md5(string_agg(r::text, '|' order by r::text)), '') from " +
			"public." + table + " r"
		var want, got string
		f.Scan(t, []any{&want}, sql)
		other.Scan(t, []any{&got}, sql)
		if want != got {
			t.Errorf("%s: %s, want %s", table, got, want)
		}
	}
	if n := other.Int(t, `insert into public.migration_runs (actor, target_version)
		values ('test', 4) returning id`); n != 8 {
		t.Errorf("the next run has number %d, want 8", n)
	}
}

// oldRegistry makes a registry as it was before the audit became append-only.
func oldRegistry(t *testing.T) *fleettest.Fleet {
	t.Helper()
	f := &fleettest.Fleet{DSN: pgtest.Empty(t)}
	plan, err := fleettest.Plan(t, migrations.Public()).To(5)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plan.ApplyPublic(t.Context(), f.Connect(t), migrate.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	return f
}

// A registry that comes back knows which programs migrated its tenants, also out of a file
// of before there was a list of them; what no run could follow is refused.
func TestRestoreOfSources(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme")
	f.Exec(t, `insert into public.migration_sources (program, versions_table, files, exact)
		values ('knex', 'changes', '{"init": [1, 2], "seed": []}', true)`,
		`insert into public.tenant_events (tenant_id, slug, action, actor, detail)
			select id, slug, 'adopt', 'test', '{"from": "goose"}' from public.tenants`)
	take := func(tables []string) []byte {
		t.Helper()
		var file bytes.Buffer
		if _, err := backup.WriteRegistry(t.Context(), f.Connect(t), tables, 9, &file, backup.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		return file.Bytes()
	}
	older := slices.DeleteFunc(registry.SavedTables(), func(name string) bool { return name == "migration_sources" })
	for name, tt := range map[string]struct {
		tables []string
		want   string
	}{
		"a file with them":   {registry.SavedTables(), `(knex,changes,"{""init"": [1, 2], ""seed"": []}",t)`},
		"a file of before":   {older, "(goose,goose_db_version,{},f)"},
		"and into one of it": {older, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other := fleettest.New(t)
			if tt.want == "" {
				other.Exec(t, "drop table public.migration_sources")
			}
			if _, err := backup.RestoreRegistry(t.Context(), other.Connect(t), bytes.NewReader(take(tt.tables)),
				backup.RegistryOptions{Tables: registry.SavedTables()}); err != nil {
				t.Fatal(err)
			}
			if tt.want == "" {
				return
			}
			var got string
			other.Scan(t, []any{&got}, "select string_agg(s::text, '|') from public.migration_sources s")
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	no := errors.New("no")
	other := fleettest.New(t)
	_, err := backup.RestoreRegistry(t.Context(), other.Connect(t), bytes.NewReader(take(registry.SavedTables())),
		backup.RegistryOptions{Tables: registry.SavedTables(), JudgeSource: func(s registry.Source) error {
			if s.Program == "knex" && s.Table == "changes" && s.Exact && len(s.Files) == 2 {
				return no
			}
			return nil
		}})
	if !errors.Is(err, no) || !errors.Is(err, backup.ErrRefused) {
		t.Errorf("error %v, want the judge's", err)
	}
	if n := other.Int(t, "select (select count(*) from public.tenants) + (select count(*) from "+
		"public.migration_sources)"); n != 0 {
		t.Errorf("%d rows are there", n)
	}
}

// saved are the registry's tables that these tests save.
var saved = []string{"tenants", "tenant_events", "migration_runs", "migration_run_tenants"}

func saveRegistry(t *testing.T, f *fleettest.Fleet, version int64) []byte {
	t.Helper()
	var file bytes.Buffer
	if _, err := backup.WriteRegistry(t.Context(), f.Connect(t), saved[:2], version, &file,
		backup.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func restoreRegistry(t *testing.T, f *fleettest.Fleet, file []byte) error {
	t.Helper()
	_, err := backup.RestoreRegistry(t.Context(), f.Connect(t), bytes.NewReader(file),
		backup.RegistryOptions{Tables: saved})
	return err
}

// An audit that is append-only comes back as it was, goes on behind its last
// number, and is append-only again. It is never emptied for another.
func TestRestoreOfAnAppendOnlyAudit(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	f.Exec(t, `insert into public.tenant_events (tenant_id, slug, action, actor, os_user, host, client_addr, program,
		before, after)
		select id, slug, 'set', 'ada@desk', 'ada', 'desk', '10.1.2.3', 'crmctl 1.0', '{"a": 1}', '{"a": 2}'
			from public.tenants`)
	file := saveRegistry(t, f, 6)
	events := func(f *fleettest.Fleet) (text string) {
		f.Scan(t, []any{&text}, "select string_agg(e::text, '|' order by seq) from public.tenant_events e")
		return text
	}
	want := events(f)
	other := fleettest.New(t)
	if err := restoreRegistry(t, other, file); err != nil {
		t.Fatal(err)
	}
	if got := events(other); got != want {
		t.Errorf("the audit is\n%s\nwant\n%s", got, want)
	}
	if n := other.Int(t, "insert into public.tenant_events (tenant_id, slug, action, actor) select id, slug, 'set', 'x' "+
		"from public.tenants limit 1 returning seq"); n != 5 {
		t.Errorf("the next event has number %d, want 5", n)
	}
	for _, sql := range []string{"delete from public.tenant_events", "update public.tenant_events set actor = 'eve'",
		"truncate public.tenant_events"} {
		if _, err := other.Connect(t).Exec(t.Context(), sql); db.SQLState(err) != "55000" {
			t.Errorf("%s: %v", sql, err)
		}
	}

	// A registry whose tenants were all purged has an audit still.
	other.Exec(t, "delete from public.tenants")
	before := events(other)
	if err := restoreRegistry(t, other, file); !errors.Is(err, registry.ErrExists) ||
		!strings.Contains(err.Error(), "never emptied") {
		t.Errorf("over an audit: %v", err)
	}
	if n := other.Int(t, "select count(*) from public.tenants"); n != 0 || events(other) != before {
		t.Errorf("%d tenants, or another audit", n)
	}
}

// A registry goes into one that is newer, not into one that is older.
func TestRestoreRegistryAcrossVersions(t *testing.T) {
	t.Parallel()
	old := oldRegistry(t)
	old.Exec(t, `insert into public.tenants (id, slug, display_name, schema_name, status, schema_version)
		values (gen_random_uuid(), 'acme', 'Acme', 'tenant_acme', 'active', 4)`,
		`insert into public.tenant_events (tenant_id, slug, action, actor, db_role)
			select id, slug, 'create', 'ada@desk', 'migrator' from public.tenants`,
		`insert into public.tenant_events (tenant_id, slug, action, actor, db_role)
			select id, slug, 'delete', 'bob@desk', 'migrator' from public.tenants`)
	file := saveRegistry(t, old, 5)
	f, here := fleettest.New(t), fleettest.New(t)
	// Stands for the address that a session over TCP has.
	here.Exec(t, "alter table public.tenant_events alter column client_addr set default '10.0.0.1'")
	if err := restoreRegistry(t, f, file); err != nil {
		t.Fatal(err)
	}
	if err := restoreRegistry(t, here, file); err != nil {
		t.Fatal(err)
	}
	if n := f.Int(t, "select count(*) from public.tenant_events where db_role = 'migrator' and seq = case action when "+
		"'create' then 1 else 2 end"); n != 2 {
		t.Errorf("%d events", n)
	}
	if n := here.Int(t, "select count(*) from public.tenant_events where client_addr is not null"); n != 0 {
		t.Errorf("%d old events have the address of whoever restored them", n)
	}
	if n := here.Int(t, `select count(*) from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid
		and a.attnum = d.adnum
		where a.attrelid = 'public.tenant_events'::regclass and a.attname = 'client_addr'
			and pg_get_expr(d.adbin, d.adrelid) = 'inet_client_addr()'`); n != 1 {
		t.Error("the default of client_addr is gone")
	}

	empty := oldRegistry(t)
	if err := restoreRegistry(t, empty, saveRegistry(t, f, 6)); !errors.Is(err, backup.ErrMismatch) {
		t.Errorf("into an older registry: %v, want ErrMismatch", err)
	}
	if n := empty.Int(t, "select (select count(*) from public.tenants) + (select count(*) from "+
		"public.tenant_events)"); n != 0 {
		t.Errorf("%d rows in the older registry", n)
	}
}

// After a disaster: the registry first, then each tenant, whose row is there by then.
func TestRestoreOfAGhost(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.TenantPlan(t, 0)
	tenants := f.Create(t, plan, "acme", "globex", "gone")
	in(t, f, tenants[0].Schema, `insert into contacts (email) values ('ada@example.com')`)
	files := make([][]byte, len(tenants))
	for i, src := range tenants {
		files[i], _ = write(t, f, source(src))
	}
	want := hashes(t, f, tenants[0].Schema)
	f.Exec(t, `update public.tenants set settings = '{"newer": true}', status = 'suspended', schema_version = 3
		where slug = 'acme'`,
		`update public.tenants set status = 'deleted', deleted_at = now(), purge_after = now() where slug = 'gone'`)
	savedRegistry := saveRegistry(t, f, 6)

	other := fleettest.New(t)
	if err := restoreRegistry(t, other, savedRegistry); err != nil {
		t.Fatal(err)
	}
	restore := func(file []byte) (*backup.Made, error) {
		return backup.Restore(t.Context(), other.Connect(t), bytes.NewReader(file),
			backup.RestoreOptions{NewTenant: newTenant(plan, "restore")})
	}
	made, err := restore(files[0])
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, want, hashes(t, other, tenants[0].Schema))
	if n := other.Int(t, `select count(*) from public.tenants where id = $1 and slug = 'acme' and status = 'suspended'
		and settings = '{"newer": true}' and schema_version = 4`, tenants[0].ID); n != 1 ||
		made.Tenant.Status != "suspended" {
		t.Errorf("the registry's row is not what it was: %+v", made.Tenant)
	}
	if n := other.Int(t, "select count(*) from public.tenant_events where tenant_id = $1", tenants[0].ID); n != 2 {
		t.Errorf("%d events, want the old one and the restore", n)
	}
	// Not twice, not over a schema that is there, not in place of one that is deleted.
	other.Exec(t, "create schema "+tenants[1].Schema.Quoted())
	for i, what := range []string{"a tenant that is there", "a schema that is there", "a deleted tenant"} {
		if _, err := restore(files[i]); !errors.Is(err, registry.ErrExists) {
			t.Errorf("over %s: %v", what, err)
		}
	}
	if n := other.Int(t, "select count(*) from pg_namespace where nspname like 'tenant\\_%'"); n != 2 {
		t.Errorf("%d schemas, want 2", n)
	}
}
