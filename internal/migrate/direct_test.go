package migrate_test

import (
	"context"
	"errors"
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

const noTx = "-- +goose NO TRANSACTION\n-- +goose Up\n"

// indexes counts the valid indexes of a name in all schemas.
func indexes(t *testing.T, f *fleettest.Fleet, name string, valid bool) int64 {
	t.Helper()
	return f.Int(t, `select count(*) from pg_index i join pg_class c on c.oid = i.indexrelid where c.relname = $1
		and i.indisvalid = $2`, name, valid)
}

func dirty(t *testing.T, f *fleettest.Fleet) []*migrate.DirtyError {
	t.Helper()
	d, err := migrate.Dirty(t.Context(), f.Connect(t), registry.Default())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFilesWithoutTransactionComeInTurns(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{
		"1_a.sql": first, "2_b.sql": "alter table a add y int;",
		"3_c.sql": noTx + "create index concurrently idx_a_y on a (y);",
		"4_d.sql": "alter table a add z int;", "5_e.sql": noTx + "create index concurrently idx_a_z on a (z);",
	})
	tenants := f.Create(t, old, fleettest.Names(8)...)
	var phases []string
	report := run(t, f, plan, tenants, migrate.RunOptions{Observe: func(e migrate.Event) {
		if p, ok := e.(migrate.PhaseStarted); ok {
			phases = append(phases, p.Name)
		}
	}})
	if report.Count(migrate.Migrated) != 8 {
		t.Fatalf("outcomes %+v", report.Outcomes[0])
	}
	if got := strings.Join(phases, ","); got != "fleet,no transaction,fleet,no transaction" {
		t.Errorf("phases %s", got)
	}
	for _, o := range report.Outcomes {
		if o.From != 1 || o.To != 5 || o.Attempts != 4 {
			t.Errorf("outcome %+v", o)
		}
	}
	if n := indexes(t, f, "idx_a_z", true); n != 8 {
		t.Errorf("%d indexes", n)
	}
	if n := f.Int(t, "select count(*) from public.tenants where schema_version = 5"); n != 8 {
		t.Errorf("%d tenants at version 5 in the registry", n)
	}
	if len(dirty(t, f)) != 0 {
		t.Error("a tenant is dirty")
	}
	// A new tenant gets the same from the same files.
	f.Create(t, plan, "fresh")
	if n := indexes(t, f, "idx_a_y", true); n != 9 {
		t.Errorf("%d indexes with the new tenant", n)
	}
}

// TestInvalidIndexIsRebuilt: what an index build that was cut off has
// left is found, dropped and built again.
func TestInvalidIndexIsRebuilt(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": noTx +
		"create index concurrently idx_a_x on a (x);"})
	tenants := f.Create(t, old, "acme", "globex")
	holder := f.Connect(t)
	// The build waits for this snapshot, and is cancelled while it does.
	for _, sql := range []string{"begin isolation level repeatable read", "select * from tenant_globex.a"} {
		if _, err := holder.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	report := run(t, f, plan, tenants[:1], migrate.RunOptions{
		StatementTimeout: 300 * time.Millisecond, Fleet: fleet.Options{Attempts: 1},
	})
	if o := report.Outcomes[0]; o.State != migrate.Failed || db.SQLState(o.Err) != db.CodeQueryCanceled {
		t.Fatalf("outcome %+v", o)
	}
	// Cleaned up at once, and nothing is left half done.
	if indexes(t, f, "idx_a_x", false) != 0 || len(dirty(t, f)) != 0 {
		t.Errorf("%d invalid indexes, %d dirty tenants", indexes(t, f, "idx_a_x", false), len(dirty(t, f)))
	}
	// Killed, the session cannot clean up; the next run does.
	var once sync.Once
	report = run(t, f, plan, tenants[:1], migrate.RunOptions{
		Fleet: fleet.Options{Attempts: 1},
		Observe: func(e migrate.Event) {
			if _, ok := e.(migrate.TenantStarted); ok {
				once.Do(func() { go killBuild(t, f) })
			}
		},
	})
	if o := report.Outcomes[0]; o.State != migrate.Failed || indexes(t, f, "idx_a_x", false) != 1 {
		t.Fatalf("outcome %+v, %d invalid indexes: the test shows nothing", o, indexes(t, f, "idx_a_x", false))
	}
	if d := dirty(t, f); len(d) != 1 || !d[0].Running || d[0].Done != 0 {
		t.Fatalf("dirty %+v", d)
	}
	if _, err := holder.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	report = run(t, f, plan, tenants, migrate.RunOptions{})
	if report.Count(migrate.Migrated) != 2 || indexes(t, f, "idx_a_x", true) != 2 ||
		indexes(t, f, "idx_a_x", false) != 0 || len(dirty(t, f)) != 0 {
		t.Errorf("%d migrated, %d valid, %d invalid, %d dirty", report.Count(migrate.Migrated),
			indexes(t, f, "idx_a_x", true), indexes(t, f, "idx_a_x", false), len(dirty(t, f)))
	}
}

// killBuild ends the session that builds an index, once it has begun.
func killBuild(t *testing.T, f *fleettest.Fleet) {
	conn, err := f.Dial(context.Background())
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for range 200 {
		var n int
		err := conn.QueryRow(context.Background(), `select count(pg_terminate_backend(a.pid)) from pg_stat_activity a
			where a.datname = current_database() and a.query like 'create index concurrently%'
			and exists (select from pg_class where relname = 'idx_a_x')`).Scan(&n)
		if err != nil || n > 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("no index build was met")
}

// TestFileFailsHalfWay: the tenant is dirty, the error says what to do,
// and once the cause is mended the next run goes on behind what is done.
func TestFileFailsHalfWay(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": noTx +
		"insert into a values (7);\ncreate unique index concurrently idx_a_x on a (x);\ninsert into a values (8);"})
	tenants := f.Create(t, old, "acme", "globex")
	f.Exec(t, "insert into tenant_acme.a values (7)")
	report := run(t, f, plan, tenants, migrate.RunOptions{})
	if report.Outcomes[1].State != migrate.Migrated {
		t.Errorf("the other tenant: %+v", report.Outcomes[1])
	}
	var half *migrate.HalfDoneError
	if err := report.Outcomes[0].Err; !errors.As(err, &half) || half.Done != 1 ||
		db.SQLState(err) != db.CodeUniqueViolation ||
		half.Slug != "acme" || !strings.Contains(err.Error(), "2_b.sql:4") {
		t.Fatalf("error %v", err)
	}
	if d := dirty(t, f); len(d) != 1 || d[0].Slug != "acme" || d[0].Done != 1 || d[0].Statements != 3 || d[0].Running ||
		d[0].SQLState != db.CodeUniqueViolation {
		t.Errorf("dirty %+v", d)
	}
	if n := f.Int(t, "select schema_version from public.tenants where slug = 'acme'"); n != 1 {
		t.Errorf("version %d", n)
	}
	f.Exec(t, "delete from tenant_acme.a where ctid = (select min(ctid) from tenant_acme.a)")
	report = run(t, f, plan, tenants, migrate.RunOptions{})
	if report.Outcomes[0].State != migrate.Migrated || len(dirty(t, f)) != 0 {
		t.Errorf("outcome %+v", report.Outcomes[0])
	}
	if n := f.Int(t, "select count(*) from tenant_acme.a where x = 7"); n != 1 {
		t.Errorf("%d rows: the first statement ran again", n)
	}
}

// TestInterruptedStatementWaitsForRepair: where a statement leaves no trace to tell
// by, the tenant is refused until somebody has looked.
func TestInterruptedStatementWaitsForRepair(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mark     migrate.Mark
		state    migrate.State
		rows     int64 // of the two statements, afterwards
		versions int64
	}{
		{migrate.MarkDone, migrate.Migrated, 1, 2},
		{migrate.MarkNotDone, migrate.Migrated, 2, 2},
		{migrate.MarkApplied, migrate.Current, 0, 2},
		{migrate.MarkReverted, migrate.Migrated, 2, 2},
	} {
		t.Run(string(c.mark), func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": noTx +
				"insert into a values (1);\ninsert into a values (2);"})
			tenants := f.Create(t, old, "acme")
			m := plan.Migrations[1]
			// As a process that was killed in the first statement leaves it.
			f.Exec(t, `insert into public.tenant_dirty (tenant_id, version, file, checksum, statements)
				select id, 2, '`+m.File+`', '`+m.Checksum+`', 2 from public.tenants`)
			report := run(t, f, plan, tenants, migrate.RunOptions{})
			var d *migrate.DirtyError
			if !errors.As(report.Outcomes[0].Err, &d) || !strings.Contains(d.Error(), "statement 1 of 2 was cut off") {
				t.Fatalf("outcome %+v", report.Outcomes[0])
			}
			if _, err := plan.Repair(t.Context(), f.Connect(t), tenants[0], c.mark, migrate.ApplyOptions{}); err != nil {
				t.Fatal(err)
			}
			report = run(t, f, plan, tenants, migrate.RunOptions{})
			if o := report.Outcomes[0]; o.State != c.state || o.To != 2 {
				t.Errorf("outcome %+v", o)
			}
			if n := f.Int(t, "select count(*) from tenant_acme.a"); n != c.rows {
				t.Errorf("%d rows, want %d", n, c.rows)
			}
			if _, err := plan.Repair(t.Context(), f.Connect(t), tenants[0], c.mark, migrate.ApplyOptions{}); !errors.Is(err,
				migrate.ErrNotDirty) {
				t.Errorf("repair of a clean tenant: %v", err)
			}
		})
	}
}

func TestChangedFileOfADirtyTenantIsRefused(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	text := noTx + "insert into a values (1);\nselect 1 / (select count(*) - 1 from a);"
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": text})
	tenants := f.Create(t, old, "acme")
	if o := run(t, f, plan, tenants, migrate.RunOptions{}).Outcomes[0]; o.State != migrate.Failed {
		t.Fatalf("outcome %+v", o)
	}
	_, changed := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": noTx + "insert into a values (5);\nselect 1;"})
	var d *migrate.DirtyError
	if o := run(t, f, changed, tenants, migrate.RunOptions{}).Outcomes[0]; !errors.As(o.Err, &d) {
		t.Errorf("outcome %+v", o)
	}
	// Who repairs has seen the new file: it is taken from then on.
	if _, err := changed.Repair(t.Context(), f.Connect(t), tenants[0], migrate.MarkNotDone,
		migrate.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if o := run(t, f, changed, tenants, migrate.RunOptions{}).Outcomes[0]; o.State != migrate.Migrated {
		t.Errorf("outcome %+v", o)
	}
}

func TestPoolerIsRefusedForDirectWork(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": "alter table a add y int;", "3_c.sql": noTx +
		"create index concurrently i on a (y);"})
	tenants := f.Create(t, old, "acme")
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
	o := migrate.RunOptions{LockTimeout: time.Second}
	report, err := plan.Run(t.Context(), pooled.Connect(t), pooled.Dial, tenants, o)
	if err != nil {
		t.Fatal(err)
	}
	if out := report.Outcomes[0]; !errors.Is(out.Err, migrate.ErrPooled) || out.To != 2 {
		t.Errorf("outcome %+v", out)
	}
	o.Direct = f.Dial
	if report, err = plan.Run(t.Context(), pooled.Connect(t), pooled.Dial, report.Tenants(), o); err != nil ||
		report.Outcomes[0].State != migrate.Migrated {
		t.Errorf("%v, outcome %+v", err, report.Outcomes[0])
	}
}

// TestIndexBuildsOfTwoRuns: index builds wait for old transactions of the
// whole database, so two runs must not wait for each other in one.
func TestIndexBuildsOfTwoRuns(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{
		"1_a.sql": first, "2_b.sql": noTx + "create index concurrently idx_a_x on a ((x + 1)) where x > 0;",
		"3_c.sql": "alter table a add y int;",
	})
	tenants := f.Create(t, old, fleettest.Names(10)...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range 3 {
		conn := f.Connect(t)
		wg.Go(func() {
			report, err := plan.Run(ctx, conn, f.Dial, tenants, migrate.RunOptions{
				LockTimeout: time.Second, DirectConcurrency: 2, Fleet: fleet.Options{Attempts: 60,
					Backoff: func(int) time.Duration {
						return 50 * time.Millisecond
					}},
			})
			if err != nil {
				t.Error(err)
				return
			}
			if report.Count(migrate.Failed)+report.Count(migrate.NotStarted) > 0 {
				t.Errorf("run %d: %+v", report.RunID, report.Outcomes)
			}
		})
	}
	wg.Wait()
	if n := indexes(t, f, "idx_a_x", true); n != 10 {
		t.Errorf("%d indexes", n)
	}
	if n := f.Int(t, "select count(*) from public.tenants where schema_version = 3"); n != 10 {
		t.Errorf("%d tenants at version 3", n)
	}
}

// TestStoppedBetweenPhases: a tenant that has come half way along its route is not
// reported as migrated.
func TestStoppedBetweenPhases(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": "alter table a add y int;", "3_c.sql": noTx +
		"create index concurrently i on a (y);"})
	tenants := f.Create(t, old, fleettest.Names(4)...)
	drain := make(chan struct{})
	report := run(t, f, plan, tenants, migrate.RunOptions{
		Fleet: fleet.Options{Drain: drain},
		Observe: func(e migrate.Event) {
			if p, ok := e.(migrate.PhaseStarted); ok && p.Name == "no transaction" {
				close(drain)
			}
		},
	})
	for _, o := range report.Outcomes {
		if o.State != migrate.NotStarted || o.From != 1 || o.To != 2 {
			t.Errorf("outcome %+v", o)
		}
	}
	if n := f.Int(t, "select count(*) from public.migration_run_tenants where state = 'not started' and to_version = 2"); n != 4 {
		t.Errorf("the ledger has %d of them", n)
	}
	report = run(t, f, plan, report.Tenants(), migrate.RunOptions{})
	if report.Count(migrate.Migrated) != 4 {
		t.Errorf("the next run: %+v", report.Outcomes[0])
	}
}
