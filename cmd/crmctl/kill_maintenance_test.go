package main

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/fleettest"
)

// TestKilledMaintenanceIsTakenUp: after kill -9 the ledger tells at once that the run is no more,
// and --resume does what is left, however often that is killed too: no tenant is done twice.
func TestKilledMaintenanceIsTakenUp(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), fleettest.Names(6)...)
	locked := map[string]*pgx.Conn{}
	for _, tenant := range []string{"t0003", "t0004", "t0005"} {
		conn := f.Connect(t)
		for _, sql := range []string{"set application_name = 'somebody'", "begin",
			"lock table tenant_" + tenant + ".contacts in share mode"} {
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		locked[tenant] = conn
	}
	free := func(tenants ...string) {
		for _, tenant := range tenants {
			_ = locked[tenant].Close(t.Context())
		}
	}
	const done = "select count(*) from migration_run_tenants where state = 'done'"
	killed := func(want int64, args ...string) {
		t.Helper()
		cmd := program(t, f, append([]string{"maintenance", "reindex", "--lock-timeout", "100ms", "--retries", "1000"},
			args...)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); f.Int(t, done) < want && time.Now().Before(deadline); {
			time.Sleep(20 * time.Millisecond)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		cut(t, f)
		settle(t, f)
		if n := f.Int(t, done); n != want {
			t.Errorf("%d tenants are done, want %d", n, want)
		}
	}
	killed(3)
	free("t0003")
	killed(4, "--resume")
	free("t0004", "t0005")
	out, err := program(t, f, "maintenance", "reindex", "--resume").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "run 2, which has done 4 tenants") {
		t.Errorf("resume: %v\n%s", err, out)
	}
	if n, once := f.Int(t, done), f.Int(t, strings.Replace(done, "*", "distinct tenant_id", 1)); n != 6 || once != 6 {
		t.Errorf("%d tenants were done, %d of them once", n, once)
	}
	if n := f.Int(t, "select count(*) from migration_runs where state = 'killed' and not_started > 0"); n != 2 {
		t.Errorf("%d runs were killed", n)
	}
	if n := f.Int(t, "select count(*) from pg_index where not indisvalid"); n != 0 {
		t.Errorf("%d invalid indexes", n)
	}
	out, err = program(t, f, "maintenance", "reindex", "--resume").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no such run was cut short") {
		t.Errorf("once more: %v\n%s", err, out)
	}
}
