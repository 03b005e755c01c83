package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

const (
	first  = "create table a (x int);"
	second = "alter table a add y int;\ncreate index idx_a_y on a (y);"
	broken = "create table b (x int);\nalter table a\n  add x int;"
)

func run(t *testing.T, f *fleettest.Fleet, plan *migrate.Plan, tenants []registry.Tenant,
	o migrate.RunOptions) *migrate.Report {
	t.Helper()
	if o.LockTimeout == 0 {
		o.LockTimeout = 2 * time.Second
	}
	report, err := plan.Run(t.Context(), f.Connect(t), f.Dial, tenants, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestRunMigratesEveryTenant(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first}))
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first, "2_b.sql": second}))
	tenants := f.Create(t, old, fleettest.Names(20)...)

	report := run(t, f, plan, tenants, migrate.RunOptions{Actor: "me"})
	if got := report.Count(migrate.Migrated); got != 20 {
		t.Fatalf("migrated %d of 20: %+v", got, report.Outcomes[0])
	}
	if n := f.Int(t, "select count(*) from pg_class where relname = 'idx_a_y'"); n != 20 {
		t.Errorf("%d indexes", n)
	}
	if n := f.Int(t, "select count(*) from public.tenants where schema_version = 2"); n != 20 {
		t.Errorf("%d cached versions", n)
	}
	if n := f.Int(t, `select count(*) from public.migration_run_tenants where run_id = $1 and state = 'migrated'
		and from_version = 1 and to_version = 2 and attempts = 1`, report.RunID); n != 20 {
		t.Errorf("%d rows in the ledger", n)
	}
	if n := f.Int(t, `select count(*) from public.migration_runs where id = $1 and finished_at is not null
		and succeeded = 20 and failed = 0 and actor = 'me'`, report.RunID); n != 1 {
		t.Error("the run is not in the ledger as it went")
	}

	// The registry's cache is stale for the second run; the schemas know.
	again := run(t, f, plan, tenants, migrate.RunOptions{})
	if got := again.Count(migrate.Current); got != 20 {
		t.Errorf("second run: %d current", got)
	}
	if n := f.Int(t, "select count(*) from "+tenants[3].Schema.Quoted()+".goose_db_version"); n != 3 {
		t.Errorf("%d version rows, want 0, 1 and 2", n)
	}
}

func TestBrokenTenantLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first}))
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first, "2_b.sql": second}))
	tenants := f.Create(t, old, fleettest.Names(10)...)
	f.Exec(t, "alter table "+tenants[4].Schema.Quoted()+".a add y text")

	report := run(t, f, plan, tenants, migrate.RunOptions{})
	if report.Count(migrate.Migrated) != 9 || report.Count(migrate.Failed) != 1 {
		t.Fatalf("%d migrated, %d failed", report.Count(migrate.Migrated), report.Count(migrate.Failed))
	}
	out := report.Outcomes[4]
	var statement *db.StatementError
	if !errors.As(out.Err, &statement) || db.SQLState(out.Err) != "42701" || statement.Place() != "2_b.sql:2" {
		t.Errorf("error %v", out.Err)
	}
	if out.From != 1 || out.To != 1 || out.Attempts != 1 {
		t.Errorf("outcome %+v", out)
	}
	if n := f.Int(t, "select count(*) from public.migration_run_tenants where state = 'failed' and sqlstate = '42701' "+
		"and place = '2_b.sql:2'"); n != 1 {
		t.Error("the ledger does not say why")
	}
}

func TestTenantIsAtOneVersion(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first}))
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first, "2_b.sql": second, "3_c.sql": broken}))
	tenants := f.Create(t, old, "acme")

	report := run(t, f, plan, tenants, migrate.RunOptions{})
	var statement *db.StatementError
	if !errors.As(report.Outcomes[0].Err, &statement) {
		t.Fatalf("outcome %+v", report.Outcomes[0])
	}
	if got := statement.Place(); got != "3_c.sql:3" {
		t.Errorf("place %s", got)
	}
	if n := f.Int(t, "select max(version_id) from tenant_acme.goose_db_version"); n != 1 {
		t.Errorf("version %d after a failed run", n)
	}
	if n := f.Int(t, "select count(*) from pg_class where relname = 'idx_a_y'"); n != 0 {
		t.Error("migration 2 stayed although 3 failed")
	}
}

func TestMissingSchemaNeverBuildsInPublic(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first}))
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first, "2_b.sql": "create table c (x int);"}))
	tenants := f.Create(t, old, "acme", "globex")
	f.Exec(t, "drop schema tenant_acme cascade")

	report := run(t, f, plan, tenants, migrate.RunOptions{})
	if !errors.Is(report.Outcomes[0].Err, db.ErrWrongSchema) || report.Outcomes[1].State != migrate.Migrated {
		t.Errorf("outcomes %+v", report.Outcomes)
	}
	if n := f.Int(t, "select count(*) from pg_class where relname = 'c' and relnamespace = "+
		"'public'::regnamespace"); n != 0 {
		t.Error("a table landed in public")
	}
}

func TestMigrationThatLeavesTheSchemaFails(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first}))
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{
		"1_a.sql": first, "2_b.sql": "do $$ begin perform set_config('search_' || 'path', 'public', true); end $$;\ncreate " +
			"table escaped (x int);",
	}))
	tenants := f.Create(t, old, "acme")
	report := run(t, f, plan, tenants, migrate.RunOptions{})
	if !errors.Is(report.Outcomes[0].Err, db.ErrWrongSchema) {
		t.Errorf("error %v", report.Outcomes[0].Err)
	}
	if n := f.Int(t, "select count(*) from pg_class where relname = 'escaped'"); n != 0 {
		t.Error("the escaped table was committed")
	}
}

func TestLockedTenantIsRequeued(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first}))
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first, "2_b.sql": second}))
	tenants := f.Create(t, old, fleettest.Names(5)...)
	holder := f.Connect(t)
	for _, sql := range []string{"begin", "lock table " + tenants[0].Schema.Quoted() + ".a in access share mode"} {
		if _, err := holder.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	release := &releaseAfter{slug: tenants[0].Slug, attempts: 2, release: func() {
		if _, err := holder.Exec(context.Background(), "rollback"); err != nil {
			t.Error(err)
		}
	}}
	report := run(t, f, plan, tenants, migrate.RunOptions{
		LockTimeout: 50 * time.Millisecond, Observe: release.observe, Fleet: fleet.Options{Concurrency: 1},
	})
	if report.Count(migrate.Migrated) != 5 {
		t.Fatalf("outcomes %+v", report.Outcomes)
	}
	if report.Outcomes[0].Attempts != 3 {
		t.Errorf("attempts %d, want 3", report.Outcomes[0].Attempts)
	}
	if release.order[len(release.order)-1] != tenants[0].Slug {
		t.Errorf("order %v: the busy tenant held up the others", release.order)
	}
}

// releaseAfter lets go of a lock when a tenant was tried often enough.
type releaseAfter struct {
	slug     string
	attempts int
	release  func()

	mu    sync.Mutex
	order []string
}

func (r *releaseAfter) observe(e migrate.Event) {
	switch e := e.(type) {
	case migrate.TenantRetrying:
		if e.Tenant.Slug == r.slug && e.Attempt == r.attempts {
			r.release()
		}
	case migrate.TenantFinished:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.order = append(r.order, e.Outcome.Tenant.Slug)
	}
}

// A tenant that is deleted, or goes to another registry, between the plan of a run and its turn
// is left as it is.
func TestTenantThatIsGoneMeanwhileIsSkipped(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first}))
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first, "2_b.sql": second}))
	tenants := f.Create(t, old, "deleted", "leaving", "incoming", "moved")
	f.Exec(t, "update public.tenants set status = slug where slug <> 'deleted'",
		"update public.tenants set status = slug, deleted_at = now(), purge_after = now() where slug = 'deleted'")
	for _, o := range run(t, f, plan, tenants, migrate.RunOptions{}).Outcomes {
		if o.State != migrate.Skipped {
			t.Errorf("%s: %+v", o.Tenant.Slug, o)
		}
	}
	if n := f.Int(t, "select count(*) from public.tenants where schema_version = 1"); n != 4 {
		t.Errorf("%d tenants are as they were", n)
	}
}

// TestFleetContract is the contract of the runner: several runs over the same
// tenants apply each migration exactly once, and every run ends well.
func TestFleetContract(t *testing.T) {
	t.Parallel()
	const runs, n, versions = 4, 30, 3
	f := fleettest.New(t)
	files := map[string]string{"1_a.sql": "create table log (version int);"}
	old := fleettest.Plan(t, fleettest.Files(files))
	for v := 2; v <= 1+versions; v++ {
		files[fmt.Sprintf("%d_x.sql", v)] = fmt.Sprintf("insert into log values (%d);\nselect pg_sleep(0.005);", v)
	}
	plan := fleettest.Plan(t, fleettest.Files(files))
	tenants := f.Create(t, old, fleettest.Names(n)...)

	reports := make([]*migrate.Report, runs)
	var wg sync.WaitGroup
	start := make(chan struct{}) // all at once, or they would not meet
	for i := range runs {
		conn, err := f.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			<-start
			defer func() { _ = conn.Close(context.Background()) }()
			var err error
			reports[i], err = plan.Run(t.Context(), conn, f.Dial, tenants, migrate.RunOptions{
				LockTimeout: time.Second, Fleet: fleet.Options{Concurrency: 3, Attempts: 20},
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	wg.Wait()
	migrated := 0
	for _, r := range reports {
		if r.Count(migrate.Failed)+r.Count(migrate.NotStarted) > 0 {
			t.Errorf("run %d: %d failed, %d not started", r.RunID, r.Count(migrate.Failed), r.Count(migrate.NotStarted))
		}
		migrated += r.Count(migrate.Migrated)
	}
	if migrated != n {
		t.Errorf("%d tenants migrated in all, want each once: %d", migrated, n)
	}
	for _, tn := range tenants {
		if got := f.Int(t, "select count(*) from "+tn.Schema.Quoted()+".log"); got != versions {
			t.Errorf("%s: %d migrations applied, want %d", tn.Slug, got, versions)
		}
	}
}

func TestDrainLeavesTheRest(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first}))
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first, "2_b.sql": second}))
	tenants := f.Create(t, old, fleettest.Names(10)...)
	drain := make(chan struct{})
	report := run(t, f, plan, tenants, migrate.RunOptions{
		Fleet: fleet.Options{Concurrency: 1, Drain: drain}, Observe: (&drainAfter{n: 3, drain: drain}).observe,
	})
	if report.Count(migrate.Migrated) != 3 || report.Count(migrate.NotStarted) != 7 {
		t.Errorf("%d migrated, %d not started", report.Count(migrate.Migrated), report.Count(migrate.NotStarted))
	}
	if n := f.Int(t, "select not_started from public.migration_runs where id = $1", report.RunID); n != 7 {
		t.Errorf("the ledger says %d", n)
	}
}

type drainAfter struct {
	n     int
	drain chan struct{}
}

func (d *drainAfter) observe(e migrate.Event) {
	if _, ok := e.(migrate.TenantFinished); !ok {
		return
	}
	if d.n--; d.n == 0 {
		close(d.drain)
	}
}

// TestRegistryIsNotBelieved: a schema whose versions are as many as the registry
// says, but others, is read before anything runs in it.
func TestRegistryIsNotBelieved(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": "create table b (x int);",
		"3_c.sql": "create table if not exists c (x int);"})
	tenants := f.Create(t, old, "acme")
	f.Exec(t, "insert into tenant_acme.goose_db_version (version_id, is_applied) values (3, true)",
		"update public.tenants set schema_version = 2")
	tenants[0].Version = 2
	report := run(t, f, plan, tenants, migrate.RunOptions{})
	var late *migrate.OutOfOrderError
	if o := report.Outcomes[0]; !errors.As(o.Err, &late) || late.Missing[0].Version != 2 {
		t.Errorf("outcome %+v", o)
	}
	if n := f.Int(t, "select count(*) from pg_class where relname = 'c'"); n != 0 {
		t.Error("a migration ran in a schema that is not what the registry says")
	}
}
