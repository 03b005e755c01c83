//go:build unix

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// slowFleet is a fleet of four tenants at version 1; the second file takes a moment, and
// fails in the second tenant.
func slowFleet(t *testing.T, f *fleettest.Fleet) (dir string) {
	t.Helper()
	dir = writeFiles(t, map[string]string{"00001_a.sql": "create table a (x int);",
		"00002_b.sql": "select pg_sleep(0.6);\ncreate table b (x int);"})
	one, err := fleettest.Plan(t, os.DirFS(dir)).To(1)
	if err != nil {
		t.Fatal(err)
	}
	f.Create(t, one, fleettest.Names(4)...)
	f.Exec(t, "create table tenant_t0002.b ()")
	return dir
}

// A run whose ledger cannot be written any more says all the same what became of the
// tenants, which failed and why, what goes on, and ends with the exit code for it.
func TestReportSurvivesItsLedger(t *testing.T) {
	t.Parallel()
	// The ledger's session is cut, and the next one may only read.
	const readOnly = `do $$ begin
		execute pg_catalog.format('alter database %I set default_transaction_read_only = on', pg_catalog.current_database());
		perform pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity
			where datname = pg_catalog.current_database() and application_name = 'crmctl' and state = 'idle' and pid <> pg_catalog.pg_backend_pid();
	end $$`
	for name, c := range map[string]struct {
		breaks string
		why    string
	}{
		"a table of it is gone": {"alter table public.migration_run_tenants rename to elsewhere", "42P01"},
		"its end is refused": {"alter table public.migration_runs add constraint open check (finished_at is null) not " +
			"valid", "23514"},
		"the server is read only": {readOnly, "25006"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			dir := slowFleet(t, f)
			out, cmd := startRun(t, f, dir)
			f.Exec(t, c.breaks)
			_ = cmd.Wait() // the exit code is looked at below
			checkUnrecorded(t, out.String(), cmd.ProcessState.ExitCode(), cli.ExitPartial, []string{
				"migrated  3 of 4 tenants", "t0002", "42P07", "could not be recorded", c.why,
				"next: crmctl migrate all-tenants --migrations-dir " + dir,
			})
		})
	}
}

// startRun starts a run over the fleet, and returns when the first tenant is under way.
func startRun(t *testing.T, f *fleettest.Fleet, dir string) (*bytes.Buffer, *exec.Cmd) {
	t.Helper()
	cmd := program(t, f, "migrate", "all-tenants", "--migrations-dir", dir, "--concurrency", "1", "--canary", "0")
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		return f.Int(t, `select count(*) from pg_stat_activity where datname = current_database()
			and query like '%pg_sleep(0.6)%' and state = 'active' and pid <> pg_backend_pid()`) > 0
	})
	return out, cmd
}

func checkUnrecorded(t *testing.T, out string, code, want int, says []string) {
	t.Helper()
	if code != want {
		t.Errorf("exit code %d, want %d", code, want)
	}
	for _, text := range says {
		if !strings.Contains(out, text) {
			t.Errorf("it does not say %q", text)
		}
	}
	if strings.Contains(out, "migrate retry") || strings.Contains(out, "runs show") {
		t.Error("it names a run that the ledger does not know")
	}
	if t.Failed() {
		t.Log(out)
	}
}

// The same when the server itself is gone.
func TestReportSurvivesItsServer(t *testing.T) {
	t.Parallel()
	server, _ := pgtest.Instance(t, nil)
	f := &fleettest.Fleet{DSN: server.DSN}
	f.Registry(t)
	dir := slowFleet(t, f)
	out, cmd := startRun(t, f, dir)
	conn, err := pgx.Connect(t.Context(), f.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	// The first tenant is done, and the second has failed.
	waitFor(t, func() bool {
		var n int
		err := conn.QueryRow(t.Context(), `select count(*) from pg_stat_activity a join pg_locks l on l.pid = a.pid
			join pg_class c on c.oid = l.relation
			join pg_namespace n on n.oid = c.relnamespace where n.nspname in ('tenant_t0003', 'tenant_t0004')`).Scan(&n)
		return err == nil && n > 0
	})
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the exit code is looked at below
	checkUnrecorded(t, out.String(), cmd.ProcessState.ExitCode(), cli.ExitPartial, []string{
		"migrated  1 of 4 tenants", "t0002", "42P07", "could not be recorded", "waiting   database unreachable",
		"not done  2, since database unreachable",
		"next: crmctl migrate all-tenants --migrations-dir " + dir,
	})
}
