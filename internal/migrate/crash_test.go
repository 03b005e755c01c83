package migrate_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// TestServerCrashAfterTheLastTenant: nobody is at work when the server is killed, so that
// only the ledger meets a lost connection. What the crash has undone is done again, or not
// reported as done.
func TestServerCrashAfterTheLastTenant(t *testing.T) {
	t.Parallel()
	server, options := pgtest.Instance(t, map[string]string{"fsync": "on", "wal_writer_delay": "10s"})
	f := &fleettest.Fleet{DSN: server.DSN}
	f.Registry(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second})
	tenants := f.Create(t, old, fleettest.Names(20)...)
	var finished atomic.Int32
	undone := int64(0)
	report, err := plan.Run(t.Context(), f.Connect(t), f.Dial, tenants, migrate.RunOptions{
		LockTimeout: 2 * time.Second, Group: 1, Fleet: fleet.Options{Concurrency: 1, Attempts: 12},
		Observe: func(e migrate.Event) {
			if _, ok := e.(migrate.TenantFinished); ok && finished.Add(1) == 20 {
				pgtest.Restart(t, server, options)
				undone = f.Int(t, "select count(*) from public.tenants where schema_version = 1")
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if undone == 0 {
		t.Error("the crash has undone nothing: the test shows nothing")
	}
	checkReported(t, f, report)
	if n := report.Count(migrate.Migrated); n != 20 {
		t.Errorf("%d tenants migrated, want 20; %d were undone", n, undone)
	}
}

// TestServerAwayLongerThanWorkers: the workers give up before the server is back, and the
// ledger does not. It must not record what the crash has undone.
func TestServerAwayLongerThanWorkers(t *testing.T) {
	t.Parallel()
	server, options := pgtest.Instance(t, map[string]string{"fsync": "on", "wal_writer_delay": "10s"})
	f := &fleettest.Fleet{DSN: server.DSN}
	f.Registry(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second})
	tenants := f.Create(t, old, fleettest.Names(40)...)
	var finished atomic.Int32
	var restart sync.WaitGroup
	report, err := plan.Run(t.Context(), f.Connect(t), f.Dial, tenants, migrate.RunOptions{
		LockTimeout: 2 * time.Second, Group: 1, Fleet: fleet.Options{Concurrency: 1, Attempts: 1, Backoff: soon},
		Observe: func(e migrate.Event) {
			if _, ok := e.(migrate.TenantFinished); ok && finished.Add(1) == 15 {
				restart.Go(func() { pgtest.Restart(t, server, options) })
				time.Sleep(100 * time.Millisecond) // the server is gone then
			}
		},
	})
	restart.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if report.Count(migrate.Migrated) == 40 {
		t.Error("the workers did not give up: the test shows nothing")
	}
	checkReported(t, f, report)
}

// checkReported checks that as many tenants are at version 2 as the report and the ledger
// have for migrated.
func checkReported(t *testing.T, f *fleettest.Fleet, report *migrate.Report) {
	t.Helper()
	reported := int64(report.Count(migrate.Migrated) + report.Count(migrate.Current))
	if n := f.Int(t, "select count(*) from public.tenants where schema_version = 2"); n != reported {
		t.Errorf("%d tenants at version 2, reported %d", n, reported)
	}
	if n := f.Int(t, "select count(*) from pg_indexes where indexname = 'idx_a_y'"); n != reported {
		t.Errorf("%d indexes, reported %d", n, reported)
	}
	if n := f.Int(t, "select count(*) from public.migration_run_tenants where run_id = $1 and state in ('migrated', "+
		"'current')", report.RunID); n != reported {
		t.Errorf("%d tenants migrated in the ledger, reported %d", n, reported)
	}
}
