package backup_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/fleettest"
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
	if _, err := backup.RestoreRegistry(t.Context(), f.Connect(t), bytes.NewReader(file.Bytes()), backup.Limits{}, nil); !errors.Is(err, backup.ErrExists) {
		t.Errorf("error %v, want ErrExists", err)
	}
	// A tenant's backup is none of the registry, nor the other way round.
	if _, err := backup.Restore(t.Context(), f.Connect(t), bytes.NewReader(file.Bytes()), backup.RestoreOptions{}); !errors.Is(err, backup.ErrOtherKind) {
		t.Errorf("error %v, want ErrOtherKind", err)
	}

	other := fleettest.New(t)
	// Cut anywhere, it leaves nothing.
	if _, err := backup.RestoreRegistry(t.Context(), other.Connect(t), bytes.NewReader(file.Bytes()[:file.Len()-5]), backup.Limits{}, nil); !errors.Is(err, backup.ErrCorrupt) {
		t.Errorf("error %v, want ErrCorrupt", err)
	}
	if n := other.Int(t, "select count(*) from public.tenants"); n != 0 {
		t.Errorf("%d tenants", n)
	}
	if _, err := backup.RestoreRegistry(t.Context(), other.Connect(t), bytes.NewReader(file.Bytes()), backup.Limits{}, nil); err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		sql := "select count(*) || ' ' || coalesce(md5(string_agg(r::text, '|' order by r::text)), '') from public." + table + " r"
		var want, got string
		f.Scan(t, []any{&want}, sql)
		other.Scan(t, []any{&got}, sql)
		if want != got {
			t.Errorf("%s: %s, want %s", table, got, want)
		}
	}
	if n := other.Int(t, `insert into public.migration_runs (actor, target_version) values ('test', 4) returning id`); n != 8 {
		t.Errorf("the next run has number %d, want 8", n)
	}
}
