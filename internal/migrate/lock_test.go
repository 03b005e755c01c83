package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
)

// A canary that is locked is no failure: another takes its place, and it takes its turn
// with the others.
func TestBusyCanaryIsReplaced(t *testing.T) {
	t.Parallel()
	for name, hold := range map[string]string{
		"its row":   "select from public.tenants where slug = 'a' for no key update",
		"its table": "lock table tenant_a.a in access share mode",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": "alter table a add y int;"})
			tenants := f.Create(t, old, "a", "b", "c", "d")
			holder := f.Connect(t)
			for _, sql := range []string{"begin", hold} {
				if _, err := holder.Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			var passed []string
			report := run(t, f, plan, tenants, migrate.RunOptions{
				LockTimeout: 50 * time.Millisecond, Canary: migrate.Canary{Count: 1},
				Observe: func(e migrate.Event) {
					if p, ok := e.(migrate.CanaryPassed); ok {
						passed = p.Tenants
						_, _ = holder.Exec(context.Background(), "rollback")
					}
				},
			})
			if report.Stopped != nil || report.Count(migrate.Migrated) != 4 || !slices.Equal(passed, []string{"b"}) {
				t.Errorf("stopped %v, passed %v, %+v", report.Stopped, passed, report.Outcomes[0])
			}
		})
	}
}

// Where every tenant is locked nothing is known of the migration, and the session in the
// way is named, in the ledger too.
func TestEveryCanaryIsBusy(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": "alter table a add y int;"})
	tenants := f.Create(t, old, "a", "b", "c")
	holder := f.Connect(t)
	for _, sql := range []string{"set application_name = 'report'", "begin",
		"select from public.tenants for no key update"} {
		if _, err := holder.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	report := run(t, f, plan, tenants, migrate.RunOptions{Canary: migrate.Canary{Count: 1},
		Fleet: fleet.Options{Attempts: 2, Backoff: soon}})
	if !errors.Is(report.Stopped, migrate.ErrCanaryBusy) || errors.Is(report.Stopped, migrate.ErrCanary) ||
		report.Count(migrate.Migrated) != 0 {
		t.Errorf("stopped %v, %+v", report.Stopped, report.Outcomes)
	}
	_, recorded, err := registry.Default().GetRun(t.Context(), f.Connect(t), report.RunID)
	if err != nil || !strings.Contains(recorded[0].Message, fmt.Sprintf("pid %d (role ", holder.PgConn().PID())) {
		t.Errorf("%v, the ledger has %+v", err, recorded)
	}
}

// The holder of any lock is named with a lock timeout shorter than anybody can watch, and
// kept in the ledger.
func TestBlockerIsKept(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": "alter table a add y int;"})
	tenants := f.Create(t, old, "a")
	holder := f.Connect(t)
	for _, sql := range []string{"begin", "select * from tenant_a.a"} {
		if _, err := holder.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	report := run(t, f, plan, tenants, migrate.RunOptions{LockTimeout: 10 * time.Millisecond,
		Fleet: fleet.Options{Attempts: 1}})
	if o := report.Outcomes[0]; len(o.Blockers) != 1 || o.Blockers[0].PID != int32(holder.PgConn().PID()) ||
		db.SQLState(o.Err) != db.CodeLockNotAvailable {
		t.Errorf("%+v", o)
	}
	_, recorded, err := registry.Default().GetRun(t.Context(), f.Connect(t), report.RunID)
	if err != nil || !strings.Contains(recorded[0].Message, fmt.Sprintf("pid %d (role ", holder.PgConn().PID())) {
		t.Errorf("%v, the ledger has %+v", err, recorded)
	}
}

// Several runs over the same tenants share the work: each file is applied once to each
// tenant, and nobody fails.
func TestRunsShareTheWork(t *testing.T) {
	t.Parallel()
	const runs, n = 3, 6
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{
		"1_a.sql": first, "2_b.sql": "create table once (x int);\ninsert into once values (1);\nselect pg_sleep(0.4);",
		"3_c.sql": noTx + "create index concurrently idx_once on once (x);",
	})
	tenants := f.Create(t, old, fleettest.Names(n)...)
	reports := make([]*migrate.Report, runs)
	var wg sync.WaitGroup
	for i := range runs {
		ledger := f.Connect(t)
		wg.Go(func() {
			var err error
			reports[i], err = plan.Run(t.Context(), ledger, f.Dial, tenants, migrate.RunOptions{
				LockTimeout: 2 * time.Second, Canary: migrate.Canary{Count: 1}, Fleet: fleet.Options{Concurrency: 2, Attempts: 2},
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, r := range reports {
		if r.Stopped != nil || r.Count(migrate.Migrated)+r.Count(migrate.Current) != n {
			t.Errorf("run %d: stopped %v, %+v", i, r.Stopped, r.Outcomes)
		}
	}
	for _, tenant := range tenants {
		if rows := f.Int(t, "select count(*) from "+tenant.Schema.Quoted()+".once"); rows != 1 {
			t.Errorf("%s: applied %d times", tenant.Slug, rows)
		}
	}
	if rows := f.Int(t, "select count(*) from public.tenants where schema_version = 3"); rows != n {
		t.Errorf("%d tenants at the end", rows)
	}
}

// A file that cannot run in a transaction has the tenant's lock meanwhile, held through
// a pooler; keys that others hold do not matter to it, nor does anybody's build wait for
// the lock.
func TestDirectHoldsTheTenant(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": noTx +
		"create index concurrently idx_a_x on a (x);\nselect pg_sleep(1);"})
	tenants := f.Create(t, old, "acme", "globex")
	keys := f.Connect(t)
	for _, what := range []string{"tenant_acme", "tenant_globex", "public", "pool"} {
		if _, err := keys.Exec(t.Context(), fmt.Sprintf("select pg_advisory_lock(%d)", db.Key(what))); err != nil {
			t.Fatal(err)
		}
	}
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
	other := f.Connect(t)
	done := make(chan *migrate.Report, 1)
	ledger := f.Connect(t)
	go func() {
		report, err := plan.Run(context.WithoutCancel(t.Context()), ledger, pooled.Dial, tenants, migrate.RunOptions{
			Direct: f.Dial, DirectConcurrency: 2, LockTimeout: 2 * time.Second, BuildTimeout: 5 * time.Second,
		})
		if err != nil {
			t.Error(err)
		}
		done <- report
	}()
	half := "" // the id of a tenant in the middle of the file
	for deadline := time.Now().Add(time.Minute); half == ""; time.Sleep(10 * time.Millisecond) {
		if err := other.QueryRow(t.Context(), "select coalesce(min(tenant_id::text), '') from public.tenant_dirty where "+
			"done = 1").Scan(&half); err != nil || time.Now().After(deadline) {
			t.Fatalf("no tenant is in the middle of the file: %v", err)
		}
	}
	err := db.InTx(t.Context(), other, db.Locals{Tenant: registry.Default().Row(half)},
		func(context.Context, db.Querier) error {
			return nil
		})
	busy, ok := errors.AsType[*db.BusyError](err)
	if !ok || len(busy.Blockers) != 1 || busy.Blockers[0].State != "idle in transaction" {
		t.Errorf("the tenant is not locked: %v", err)
	}
	// One that is between two statements may have one for a moment.
	kept := int64(1)
	for deadline := time.Now().Add(2 * time.Second); kept != 0 &&
		time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		kept = f.Int(t, "select count(*) from pg_stat_activity where state = 'idle in transaction' and datname = "+
			"current_database() and backend_xmin is not null")
	}
	if kept != 0 {
		t.Errorf("%d waiting sessions keep a snapshot", kept)
	}
	if report := <-done; report.Count(migrate.Migrated) != 2 {
		t.Errorf("%+v", report.Outcomes)
	}
}
