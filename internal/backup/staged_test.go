package backup_test

import (
	"bytes"
	"maps"
	"testing"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// TestStagedHistory clones and restores a tenant whose migrations need more than one
// transaction: under another name, and where the registry has it without its schema.
func TestStagedHistory(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{
		"1_a.sql": "create type st as enum ('open');\ncreate table deals (id int primary key, s st not null, up int " +
			"references deals deferrable initially deferred);",
		"2_b.sql": "alter type st add value 'won';",
		"3_c.sql": "insert into deals values (1, 'won', 1);",
		"4_d.sql": "alter table deals add column n text;",
		"5_e.sql": "-- +goose NO TRANSACTION\n-- +goose Up\n-- +goose StatementBegin\ncreate procedure fill() language " +
			"plpgsql as $$ begin insert into deals (id, s) values (2, 'won'); commit; end $$;\n-- +goose StatementEnd\ncall " +
			"fill();\ndrop procedure fill;",
	}))
	src := f.Create(t, plan, "acme")[0]
	in(t, f, src.Schema, "insert into deals values (7, 'won', 2, 'x')", "delete from deals where id = 1")
	want := hashes(t, f, src.Schema)
	schema, err := clone(t, f, plan, src, backup.CloneOptions{Slug: "copy"})
	if err != nil {
		t.Fatal(err)
	}
	if got := hashes(t, f, schema); !maps.Equal(got, want) {
		t.Errorf("the clone has %v, want %v", got, want)
	}
	file, _ := write(t, f, source(src))
	if _, err := backup.Try(t.Context(), f.Connect(t), bytes.NewReader(file), newTenant(plan, "restore")); err != nil {
		t.Errorf("tried: %v", err)
	}
	f.Exec(t, "drop schema tenant_acme cascade")
	for _, as := range []string{"", "back"} {
		made, err := backup.Restore(t.Context(), f.Connect(t), bytes.NewReader(file),
			backup.RestoreOptions{NewTenant: newTenant(plan, "restore"), As: as})
		if err != nil {
			t.Fatal(err)
		}
		if made.Rows != 8 {
			t.Errorf("%d rows", made.Rows)
		}
	}
	if got := hashes(t, f, src.Schema); !maps.Equal(got, want) {
		t.Errorf("restored: %v, want %v", got, want)
	}
	if n := f.Int(t, `select (select count(*) from public.tenants) + 10 * (select count(*) from public.tenant_builds)
		+ 100 * (select count(*) from pg_catalog.pg_namespace where nspname ~ '^(tenant|crmctl)_')`); n != 303 {
		t.Errorf("tenants, builds and schemas: %d", n)
	}
	// What does not restore leaves nothing.
	if _, err := backup.Restore(t.Context(), f.Connect(t), bytes.NewReader(file[:len(file)-10]),
		backup.RestoreOptions{NewTenant: newTenant(plan, "restore"), As: "cut"}); err == nil {
		t.Error("a file that is cut off was restored")
	}
	if n := f.Int(t, `select (select count(*) from public.tenant_builds) + (select count(*) from pg_catalog.pg_namespace
		where nspname = 'tenant_cut')`); n != 0 {
		t.Errorf("%d things are left", n)
	}
}
