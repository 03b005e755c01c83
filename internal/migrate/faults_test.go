package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/tenant"
)

func soon(int) time.Duration { return 5 * time.Millisecond }

// plans returns the plan of the first file and that of all.
func plans(t *testing.T, files map[string]string) (old, all *migrate.Plan) {
	t.Helper()
	all = fleettest.Plan(t, fleettest.Files(files))
	old, err := all.To(1)
	if err != nil {
		t.Fatal(err)
	}
	return old, all
}

// TestLostAnswerToCommit: the connection is cut after the commit was
// sent, and another attempt finds out that it had been carried out.
func TestLostAnswerToCommit(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first,
		"2_b.sql": "create table once (x int);\ninsert into once values (1);"})
	tenants := f.Create(t, old, fleettest.Names(6)...)
	proxy := pgtest.NewProxy(t, f.DSN, 0)
	through := &fleettest.Fleet{DSN: proxy.DSN}
	proxy.CutAfter("create table once", 2)
	report, err := plan.Run(t.Context(), f.Connect(t), through.Dial, tenants, migrate.RunOptions{
		LockTimeout: 2 * time.Second, Fleet: fleet.Options{Concurrency: 2, Backoff: soon},
	})
	if err != nil {
		t.Fatal(err)
	}
	if proxy.Cuts() != 0 {
		t.Fatal("nothing was cut: the test shows nothing")
	}
	retried := 0
	for _, o := range report.Outcomes {
		if o.State != migrate.Migrated || o.From != 1 || o.To != 2 {
			t.Errorf("%s: %+v", o.Tenant.Slug, o)
		}
		if o.Attempts == 2 && o.Answer == migrate.AnswerRecovered {
			retried++
		}
		if n := f.Int(t, "select count(*) from "+o.Tenant.Schema.Quoted()+".once"); n != 1 {
			t.Errorf("%s: the migration left %d rows", o.Tenant.Slug, n)
		}
	}
	if retried != 2 {
		t.Errorf("%d tenants were tried twice, want 2", retried)
	}
}

// TestRollbackIsNotRepeated: in a rollback, counting the steps again
// after a lost answer would take back more than was asked for.
func TestRollbackIsNotRepeated(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	_, plan := plans(t, map[string]string{
		"1_a.sql": first, "2_b.sql": "-- +goose Up\ncreate table b (x int);\n-- +goose Down\ndrop table b;",
		"3_c.sql": "-- +goose Up\ncreate table c (x int);\n-- +goose Down\ndrop table c;",
	})
	tenants := f.Create(t, plan, "acme")
	proxy := pgtest.NewProxy(t, f.DSN, 0)
	proxy.CutAfter("drop table c", 1)
	report, err := plan.Run(t.Context(), f.Connect(t), (&fleettest.Fleet{DSN: proxy.DSN}).Dial, tenants,
		migrate.RunOptions{
			Route: migrate.Route{Kind: migrate.Down, Steps: 1}, LockTimeout: time.Second, Fleet: fleet.Options{Backoff: soon},
		})
	if err != nil || proxy.Cuts() != 0 {
		t.Fatalf("%v, %d cuts left", err, proxy.Cuts())
	}
	if o := report.Outcomes[0]; o.To != 2 || o.Attempts != 2 {
		t.Errorf("outcome %+v", o)
	}
	if n := f.Int(t, "select max(version_id) from tenant_acme.goose_db_version"); n != 2 {
		t.Errorf("version %d, want 2", n)
	}
}

// TestServerRestartInARun: the server is killed without a checkpoint
// and started again; every tenant is at a whole version in the end, and none that
// was reported as migrated has lost it.
func TestServerRestartInARun(t *testing.T) {
	t.Parallel()
	server, options := pgtest.Instance(t, map[string]string{"fsync": "on", "wal_writer_delay": "10s"})
	f := &fleettest.Fleet{DSN: server.DSN}
	f.Registry(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second + "\nselect pg_sleep(0.02);"})
	tenants := f.Create(t, old, fleettest.Names(40)...)
	var once sync.Once
	var finished atomic.Int32
	report, err := plan.Run(t.Context(), f.Connect(t), f.Dial, tenants, migrate.RunOptions{
		LockTimeout: 2 * time.Second, Fleet: fleet.Options{Concurrency: 3, Attempts: 12},
		Observe: func(e migrate.Event) {
			if _, ok := e.(migrate.TenantFinished); ok && finished.Add(1) == 15 {
				once.Do(func() { pgtest.Restart(t, server, options) })
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for _, o := range report.Outcomes {
		if o.State != migrate.Migrated && o.State != migrate.Current {
			t.Errorf("%s: %s, %v", o.Tenant.Slug, o.State, o.Err)
		}
		if o.Attempts > 1 {
			lost++
		}
	}
	if lost == 0 {
		t.Error("no tenant met the restart: the test shows nothing")
	}
	if n := f.Int(t, "select count(*) from public.tenants where schema_version = 2"); n != 40 {
		t.Errorf("%d tenants at version 2, reported 40", n)
	}
	if n := f.Int(t, "select count(*) from pg_indexes where indexname = 'idx_a_y'"); n != 40 {
		t.Errorf("%d indexes", n)
	}
	if n := f.Int(t, "select count(*) from public.migration_run_tenants where run_id = $1", report.RunID); n != 40 {
		t.Errorf("%d tenants in the ledger", n)
	}
}

// TestSerializationFailureIsRetried makes a real 40001: a sequence, which no
// rollback takes back, counts the attempts.
func TestSerializationFailureIsRetried(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Exec(t, "create sequence public.tries")
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": `-- +goose Up
-- +goose StatementBegin
do $$ begin
	if nextval('public.tries') < 3 then raise exception 'could not serialize' using errcode = '40001'; end if;
end $$;
-- +goose StatementEnd`})
	tenants := f.Create(t, old, "acme")
	report := run(t, f, plan, tenants, migrate.RunOptions{Fleet: fleet.Options{Backoff: soon}})
	if o := report.Outcomes[0]; o.State != migrate.Migrated || o.Attempts != 3 {
		t.Errorf("outcome %+v", o)
	}
}

// TestDeadlockIsRetried makes a real 40P01: the migration
// takes two tables in the order opposite to another session.
func TestDeadlockIsRetried(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{
		"1_a.sql": first + "\ncreate table z (x int);",
		"2_b.sql": "lock table a in exclusive mode;\nselect pg_sleep(0.4);\nlock table z in exclusive mode;",
	})
	tenants := f.Create(t, old, "acme")
	other := f.Connect(t)
	// The other session gives up long after the migration's deadlock_timeout.
	for _, sql := range []string{"set deadlock_timeout = '60s'", "begin", "lock table tenant_acme.z in exclusive mode"} {
		if _, err := other.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	waited := make(chan error, 1)
	var once sync.Once
	report := run(t, f, plan, tenants, migrate.RunOptions{
		LockTimeout: 20 * time.Second, Fleet: fleet.Options{Backoff: soon},
		Observe: func(e migrate.Event) {
			switch e := e.(type) {
			case migrate.TenantStarted:
				once.Do(func() {
					go func() {
						time.Sleep(200 * time.Millisecond)
						_, err := other.Exec(context.Background(), "lock table tenant_acme.a in exclusive mode; commit")
						waited <- err
					}()
				})
			case migrate.TenantRetrying:
				if db.SQLState(e.Err) != db.CodeDeadlockDetected {
					t.Errorf("retried for %v", e.Err)
				}
			}
		},
	})
	if o := report.Outcomes[0]; o.State != migrate.Migrated || o.Attempts < 2 {
		t.Errorf("outcome %+v", o)
	}
	if err := <-waited; err != nil {
		t.Errorf("the other session: %v", err)
	}
}

// TestDiskFullStopsTheFleet: what every other tenant would meet too ends
// the run at once. The disk is not really full; the server's word is the same.
func TestDiskFullStopsTheFleet(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": `-- +goose Up
-- +goose StatementBegin
do $$ begin
	raise exception 'could not extend file: No space left on device' using errcode = '53100';
end $$;
-- +goose StatementEnd`})
	tenants := f.Create(t, old, fleettest.Names(10)...)
	report := run(t, f, plan, tenants, migrate.RunOptions{Fleet: fleet.Options{Concurrency: 1}})
	if !errors.Is(report.Stopped, fleet.ErrServer) || db.SQLState(report.Outcomes[0].Err) != db.CodeDiskFull {
		t.Errorf("stopped %v, first %+v", report.Stopped, report.Outcomes[0])
	}
	if report.Count(migrate.Failed) != 1 || report.Count(migrate.NotStarted) != 9 {
		t.Errorf("%d failed, %d not started", report.Count(migrate.Failed), report.Count(migrate.NotStarted))
	}
	if n := f.Int(t, "select count(*) from public.migration_runs where id = $1 and state = 'stopped' and reason like "+
		"'%No space left%'", report.RunID); n != 1 {
		t.Error("the ledger does not say why")
	}
}

// TestBusyTenantDoesNotHurtTheApplication: while a migration wants a
// lock that an idle transaction holds, other queries of that tenant wait no
// longer than the lock timeout; and the report names the session in the way.
func TestBusyTenantDoesNotHurtTheApplication(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second})
	tenants := f.Create(t, old, "acme")
	idle := f.Connect(t)
	for _, sql := range []string{"set application_name = 'report'", "begin", "select * from tenant_acme.a"} {
		if _, err := idle.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	const limit = 1500 * time.Millisecond
	stop := make(chan struct{})
	longest := make(chan time.Duration, 1)
	app := f.Connect(t)
	go func() {
		worst := time.Duration(0)
		for {
			select {
			case <-stop:
				longest <- worst
				return
			default:
			}
			begun := time.Now()
			if _, err := app.Exec(context.Background(), "select count(*) from tenant_acme.a"); err != nil {
				t.Error(err)
			}
			worst = max(worst, time.Since(begun))
		}
	}()
	report := run(t, f, plan, tenants, migrate.RunOptions{LockTimeout: limit,
		Fleet: fleet.Options{Attempts: 2, Backoff: soon}})
	close(stop)
	worst := <-longest
	if worst > 2*limit || worst < limit/2 {
		t.Errorf("the application waited %s at the most; want about %s, as the migration does", worst, limit)
	}
	o := report.Outcomes[0]
	if o.State != migrate.Failed || db.SQLState(o.Err) != db.CodeLockNotAvailable || o.Attempts != 2 {
		t.Fatalf("outcome %+v", o)
	}
	if len(o.Blockers) != 1 || o.Blockers[0].Application != "report" || o.Blockers[0].State != "idle in transaction" {
		t.Errorf("blockers %+v", o.Blockers)
	}
}

// TestDeleteMeetsMigration: whoever comes second waits for its time and
// is refused, and nothing is half done.
func TestDeleteMeetsMigration(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second + "\nselect pg_sleep(0.7);"})
	tenants := f.Create(t, old, "acme")
	var deleteErr error
	var wg sync.WaitGroup
	report := run(t, f, plan, tenants, migrate.RunOptions{Observe: func(e migrate.Event) {
		if _, ok := e.(migrate.TenantStarted); !ok {
			return
		}
		conn := f.Connect(t)
		wg.Go(func() {
			time.Sleep(300 * time.Millisecond)
			_, deleteErr = tenant.Delete(context.Background(), conn, "acme", time.Hour,
				tenant.MoveOptions{Actor: "x", LockTimeout: 100 * time.Millisecond})
		})
	}})
	wg.Wait()
	if !errors.Is(deleteErr, db.ErrBusy) {
		t.Errorf("delete during the migration: %v", deleteErr)
	}
	if report.Outcomes[0].State != migrate.Migrated {
		t.Errorf("outcome %+v", report.Outcomes[0])
	}
	if n := f.Int(t, "select count(*) from public.tenants where status = 'active' and schema_version = 2"); n != 1 {
		t.Error("the tenant is not as the migration left it")
	}
}

// TestDelayedNetwork counts round trips: with 2 ms each way a tenant takes a few of
// them, however many statements its migration has.
func TestDelayedNetwork(t *testing.T) {
	t.Parallel()
	const oneWay, n, statements = 20 * time.Millisecond, 12, 30
	f := fleettest.New(t)
	text := ""
	for i := range statements {
		text += fmt.Sprintf("insert into a values (%d);\n", i)
	}
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": text})
	tenants := f.Create(t, old, fleettest.Names(n)...)
	proxy := pgtest.NewProxy(t, f.DSN, oneWay)
	report, err := plan.Run(t.Context(), f.Connect(t), (&fleettest.Fleet{DSN: proxy.DSN}).Dial, tenants,
		migrate.RunOptions{
			LockTimeout: 2 * time.Second, Fleet: fleet.Options{Concurrency: 1},
		})
	if err != nil || report.Count(migrate.Migrated) != n {
		t.Fatalf("%v, %d migrated", err, report.Count(migrate.Migrated))
	}
	// The quickest tenant says it best: a busy machine only adds.
	quickest := time.Hour
	for _, o := range report.Outcomes {
		quickest = min(quickest, o.Duration)
	}
	trips := float64(quickest) / float64(2*oneWay)
	if trips < 1 || trips > 2.5 {
		t.Errorf("%.1f round trips for a tenant (%s), want 1 or 2", trips, quickest)
	}
}
