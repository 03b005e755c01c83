package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleettest"
)

// TestKilledPurgeHasSavedWhatIsGone: kill -9 while some tenants are being saved and others
// are being dropped leaves no tenant gone without a whole backup, and none that is half
// there; the next purge goes on.
func TestKilledPurgeHasSavedWhatIsGone(t *testing.T) {
	t.Parallel()
	const tenants, kills = 24, 4
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), fleettest.Names(tenants)...)
	f.Exec(t, `update public.tenants set status = 'deleted', deleted_at = now() - interval '1 day',
		purge_after = now() - interval '1 hour'`)
	dir := t.TempDir()
	purge := []string{"tenant", "purge", "--backup-dir", dir, "--yes", "--concurrency", "4"}
	tables := f.Int(t, "select count(*) from pg_tables where schemaname = 'tenant_t0001'")
	left := func() int64 { return f.Int(t, "select count(*) from public.tenants") }
	saved := func() {
		t.Helper()
		for _, name := range fleettest.Names(tenants) {
			there := f.Int(t, "select count(*) from pg_tables where schemaname = $1", "tenant_"+name)
			registered := f.Int(t, "select count(*) from public.tenants where slug = $1", name)
			files, err := filepath.Glob(filepath.Join(dir, name+"*.crmctl"))
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case registered == 1 && there != tables:
				t.Errorf("%s is registered and has %d of %d tables", name, there, tables)
			case registered == 0 && there != 0:
				t.Errorf("%s is gone and has %d tables", name, there)
			case registered == 0 && len(files) == 0:
				t.Errorf("%s is gone and was not saved", name)
			}
		}
	}
	middle := 0
	for i := range kills {
		before := left()
		cmd := program(t, f, purge...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); left() == before && time.Now().Before(deadline); {
			time.Sleep(2 * time.Millisecond)
		}
		time.Sleep(time.Duration(i*17) * time.Millisecond)
		_ = cmd.Process.Kill() // it may have ended already
		_ = cmd.Wait()
		cut(t, f)
		settle(t, f)
		saved()
		if n := left(); n > 0 && n < before {
			middle++
		}
	}
	if middle == 0 {
		t.Error("no purge was killed half way: the test shows nothing")
	}
	if out, err := program(t, f, purge...).CombinedOutput(); err != nil {
		t.Errorf("the next purge: %v\n%s", err, out)
	}
	saved()
	if n := left(); n != 0 {
		t.Errorf("%d tenants are left", n)
	}
	if n := f.Int(t, "select count(distinct slug) from public.tenant_events where action = 'purge'"); n != tenants {
		t.Errorf("%d tombstones, want %d", n, tenants)
	}
	out, err := program(t, f, "backup", "verify", "--restore=false", dir).CombinedOutput()
	if err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
}
