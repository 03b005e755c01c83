//go:build unix

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// TestPoolIsNobodys: what tenant pool fill has made is in order for doctor, and no
// tenant for migrate adopt; what a killed drain could leave is found, and mended by
// what doctor says.
func TestPoolIsNobodys(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Exec(t, "revoke create on schema public from public")
	ok(t, f, "tenant", "create", "acme", "-q")
	ok(t, f, "tenant", "pool", "fill", "--count", "3")
	skip := []string{"doctor", "--skip", "connections,locks,autovacuum"}
	if out := ok(t, f, skip...); !strings.Contains(out, "nothing is wrong") {
		t.Error(out)
	}
	var first, second string
	f.Scan(t, []any{&first, &second}, "select min(schema_name), max(schema_name) from public.tenant_pool")
	if out := ok(t, f, "migrate", "adopt", "--schema", "*", "--exclude", "tenant_acme"); strings.Contains(out, first) {
		t.Error(out)
	}
	if code, out := crmctl(t, f, "migrate", "adopt", "--schema", first); code != cli.ExitFailure ||
		!strings.Contains(out, "belongs to the pool of schemas for new tenants") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	f.Exec(t, "delete from public.tenant_pool where schema_name = '"+first+"'", "drop schema "+second+" cascade")
	code, out := crmctl(t, f, "doctor", "--check", "pool,orphan-schema,ghost-row")
	if code != cli.ExitPending || !strings.Contains(out, "error\tpool\t"+second) ||
		!strings.Contains(out, "warning\tpool\t"+first) || !strings.Contains(out, "1 error, 1 warning") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if code, out := crmctl(t, f, "doctor", "--fix", "pool", "--yes"); code != cli.ExitPending ||
		!strings.Contains(out, "renamed to quarantine_"+first) || !strings.Contains(out,
		"by hand: crmctl tenant pool drain, then crmctl tenant pool fill") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	ok(t, f, "tenant", "pool", "drain")
	ok(t, f, "tenant", "pool", "fill", "--count", "1")
	if out := ok(t, f, skip...); !strings.Contains(out, "1 thing to know") { // the quarantine
		t.Error(out)
	}
	ok(t, f, "tenant", "create", "globex", "-q")
	if n := f.Int(t, "select (select count(*) from public.tenants) + (select count(*) from public.tenant_pool)"); n != 2 {
		t.Errorf("%d tenants and schemas of the pool, want two and none", n)
	}
}

// TestDoctorClosesAKilledRun: a run that was killed is found in the ledger, closed, and
// not found again.
func TestDoctorClosesAKilledRun(t *testing.T) {
	t.Parallel()
	dir := migrationDir(t, 2, 500*time.Millisecond)
	f := fleetOf(t, 3, dir)
	f.Exec(t, "revoke create on schema public from public")
	cmd := program(t, f, "migrate", "all-tenants", "--migrations-dir", dir, "--concurrency", "1", "--canary", "0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return f.Int(t, "select count(*) from public.migration_runs") == 1 })
	check := []string{"doctor", "--check", "open-run", "--migrations-dir", dir}
	ok(t, f, check...) // one that is at work is in order
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if cmd.Wait() == nil {
		t.Fatal("the run was at its end already")
	}
	cut(t, f)
	settle(t, f)
	if code, out := crmctl(t, f, check...); code != cli.ExitPending || !strings.Contains(out,
		"warning\topen-run\trun 1\tkilled, and open in the ledger") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if out := ok(t, f, "doctor", "--fix", "open-run", "--yes", "--migrations-dir", dir); !strings.Contains(out,
		"closed run 1 as killed") {
		t.Error(out)
	}
	ok(t, f, check...)
	if n := f.Int(t, "select count(*) from public.migration_runs where state = 'killed'"); n != 1 {
		t.Errorf("%d runs are closed as killed", n)
	}
	ok(t, f, "migrate", "retry", "1", "--migrations-dir", dir)
}

// TestDoctorKeepsTheRetention: a row whose schema is gone is kept as long as tenant
// delete would keep it.
func TestDoctorKeepsTheRetention(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		settings string
		args     []string
		days     int64
	}{
		{"{}", nil, 30},
		{`{"retention": "400d"}`, nil, 400},
		{`{"retention": "400d"}`, []string{"--retention", "7d"}, 7},
		{`{"retention": "long"}`, nil, 30},
	} {
		f := fleettest.New(t)
		ok(t, f, "tenant", "create", "acme", "-q")
		f.Exec(t, "update public.tenants set settings = '"+c.settings+"'", "drop schema tenant_acme cascade")
		ok(t, f, append([]string{"doctor", "--fix", "ghost-row", "--yes"}, c.args...)...)
		if n := f.Int(t, "select extract(day from purge_after - deleted_at)::int from public.tenants where status = "+
			"'deleted'"); n != c.days {
			t.Errorf("%s %v: kept %d days, want %d", c.settings, c.args, n, c.days)
		}
	}
}
