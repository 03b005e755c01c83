package migrate_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// log keeps the events of a run.
type log struct {
	mu     sync.Mutex
	events []migrate.Event
}

func (l *log) observe(e migrate.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

// finished returns the slugs in the order in which they ended.
func (l *log) finished() (slugs []string) {
	for _, e := range l.events {
		if f, ok := e.(migrate.TenantFinished); ok {
			slugs = append(slugs, f.Outcome.Tenant.Slug)
		}
	}
	return slugs
}

func TestFailedCanaryStopsTheRun(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second})
	tenants := f.Create(t, old, fleettest.Names(6)...)
	f.Exec(t, "alter table tenant_t0003.a add y text")
	var l log
	report := run(t, f, plan, tenants, migrate.RunOptions{Canary: migrate.Canary{Count: 1, Names: []string{"t0003"}},
		Observe: l.observe})
	if !errors.Is(report.Stopped, migrate.ErrCanary) || report.Outcomes[2].State != migrate.Failed {
		t.Errorf("stopped %v, canary %+v", report.Stopped, report.Outcomes[2])
	}
	if n := report.Count(migrate.NotStarted); n != 4 {
		t.Errorf("%d not started, want all but the two canaries", n)
	}
	if n := f.Int(t, "select count(*) from public.migration_runs where state = 'stopped' and not_started = 4 and failed = 1"); n != 1 {
		t.Error("the ledger tells otherwise")
	}
}

func TestCanaryGoesFirstAndIsChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, check string
		want        string // in the error; "" passes
	}{
		{"true", "select count(*) = 1 from pg_class where relname = 'idx_a_y' and relnamespace = " +
			"current_schema()::regnamespace", ""},
		{"false", "select false", "did not return true"},
		{"null", "select null::boolean", "did not return true"},
		{"no row", "select true where false", "want one row"},
		{"writes", "with i as (insert into a values (1) returning true) select true from i", "25006"},
		{"wrong", "select nonsense", "42703"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second})
			tenants := f.Create(t, old, fleettest.Names(5)...)
			var l log
			report := run(t, f, plan, tenants, migrate.RunOptions{
				Canary: migrate.Canary{Percent: 1, Names: []string{"t0004"}, Check: c.check}, Observe: l.observe,
			})
			first := strings.Join(l.finished()[:2], " ")
			if first != "t0001 t0004" && first != "t0004 t0001" {
				t.Errorf("first %s", first)
			}
			if c.want == "" {
				if report.Stopped != nil || report.Count(migrate.Migrated) != 5 {
					t.Errorf("stopped %v", report.Stopped)
				}
				return
			}
			if !errors.Is(report.Stopped, migrate.ErrCanary) || !strings.Contains(report.Stopped.Error(), c.want) {
				t.Errorf("stopped %v, want %q", report.Stopped, c.want)
			}
			if report.Count(migrate.Migrated) != 2 || report.Count(migrate.NotStarted) != 3 {
				t.Errorf("%d migrated, %d not started", report.Count(migrate.Migrated), report.Count(migrate.NotStarted))
			}
		})
	}
}

func TestPauseAfterTheCanaryCanBeCutShort(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second})
	tenants := f.Create(t, old, fleettest.Names(3)...)
	drain := make(chan struct{})
	report := run(t, f, plan, tenants, migrate.RunOptions{
		Canary: migrate.Canary{Count: 1, Pause: time.Hour}, Fleet: fleet.Options{Drain: drain},
		Observe: func(e migrate.Event) {
			if _, ok := e.(migrate.CanaryPassed); ok {
				close(drain)
			}
		},
	})
	if !errors.Is(report.Stopped, fleet.ErrDrained) || report.Count(migrate.Migrated) != 1 ||
		report.Count(migrate.NotStarted) != 2 {
		t.Errorf("stopped %v, %d migrated", report.Stopped, report.Count(migrate.Migrated))
	}
	report = run(t, f, plan, report.Tenants(), migrate.RunOptions{
		Canary: migrate.Canary{Count: 1, Pause: time.Hour}, Fleet: fleet.Options{Deadline: time.Now().Add(time.Second)},
	})
	if !errors.Is(report.Stopped, fleet.ErrDeadline) {
		t.Errorf("stopped %v", report.Stopped)
	}
}

func TestTooManyFailuresStopTheRun(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second})
	tenants := f.Create(t, old, fleettest.Names(10)...)
	for _, slug := range []string{"t0002", "t0003", "t0005", "t0009"} {
		f.Exec(t, "alter table tenant_"+slug+".a add y text")
	}
	report := run(t, f, plan, tenants, migrate.RunOptions{Fleet: fleet.Options{Concurrency: 1, StopAfter: 3}})
	if !errors.Is(report.Stopped, fleet.ErrTooManyFailures) || report.Count(migrate.Failed) != 3 ||
		report.Count(migrate.Migrated) != 2 {
		t.Errorf("stopped %v: %d failed, %d migrated", report.Stopped, report.Count(migrate.Failed),
			report.Count(migrate.Migrated))
	}
}

func TestRateAndDeadline(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second})
	tenants := f.Create(t, old, fleettest.Names(30)...)
	report := run(t, f, plan, tenants, migrate.RunOptions{
		Fleet: fleet.Options{Concurrency: 4, Rate: 5, Deadline: time.Now().Add(2 * time.Second)},
	})
	if !errors.Is(report.Stopped, fleet.ErrDeadline) {
		t.Errorf("stopped %v", report.Stopped)
	}
	// One at once and five a second from then on: never more than 12 in two
	// seconds, and on the slowest machine still a few.
	if n := report.Count(migrate.Migrated); n < 2 || n > 12 {
		t.Errorf("%d migrated in 2 s at 5 a second", n)
	}
}

func TestArrange(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second})
	tenants := append(f.Create(t, plan, "middle"), f.Create(t, old, "big", "small", "tiny")...)
	f.Exec(t, "insert into tenant_big.a select generate_series(1, 200000)", "analyze tenant_big.a",
		"insert into tenant_middle.a select generate_series(1, 100000)", "analyze tenant_middle.a")
	for order, want := range map[migrate.Order]string{
		migrate.OrderName: "big middle small tiny", migrate.OrderSize: "small tiny middle big",
		migrate.OrderLargest: "big middle small tiny", migrate.OrderVersion: "big small tiny middle",
	} {
		if err := migrate.Arrange(t.Context(), f.Connect(t), tenants, order); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, tn := range tenants {
			got = append(got, tn.Slug)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", order, got, want)
		}
	}
}

func TestRollback(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	_, plan := plans(t, map[string]string{
		"1_a.sql": first, "2_b.sql": "-- +goose Up\ncreate table b (x int);\n-- +goose Down\ndrop table b;",
		"3_c.sql": "-- +goose NO TRANSACTION\n-- +goose Up\ncreate index concurrently i on b (x);\n-- +goose Down\ndrop " +
			"index concurrently i;",
		"4_d.sql": "-- +goose Up\ncreate table d (x int);\n-- +goose Down\ndrop table d;",
	})
	tenants := f.Create(t, plan, "acme", "globex")
	report := run(t, f, plan, tenants, migrate.RunOptions{Route: migrate.Route{Kind: migrate.Down, Steps: 2}})
	for _, o := range report.Outcomes {
		if o.State != migrate.Migrated || o.From != 4 || o.To != 2 {
			t.Errorf("outcome %+v", o)
		}
	}
	if n := f.Int(t, "select count(*) from pg_class where relname in ('d', 'i')"); n != 0 {
		t.Errorf("%d relations are left", n)
	}
	// Version 1 has no Down: refused, and 2 stays too.
	report = run(t, f, plan, report.Tenants(), migrate.RunOptions{Route: migrate.Route{Kind: migrate.Down, To: 0}})
	var missing *migrate.MissingDownError
	if !errors.As(report.Outcomes[0].Err, &missing) || missing.Migration.Version != 1 {
		t.Errorf("outcome %+v", report.Outcomes[0])
	}
	if n := f.Int(t, "select count(*) from pg_class where relname = 'b'"); n != 2 {
		t.Errorf("%d tables b, want 2", n)
	}
	// A version that no file has cannot be counted back from.
	short, err := plan.To(1)
	if err != nil {
		t.Fatal(err)
	}
	report = run(t, f, short, report.Tenants(), migrate.RunOptions{Route: migrate.Route{Kind: migrate.Down, Steps: 1}})
	var unknown *migrate.UnknownVersionError
	if !errors.As(report.Outcomes[0].Err, &unknown) || unknown.Version != 2 {
		t.Errorf("outcome %+v", report.Outcomes[0])
	}
}

func TestRedo(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	_, plan := plans(t, map[string]string{"1_a.sql": first,
		"2_b.sql": "-- +goose Up\ncreate table b (x int);\n-- +goose Down\ndrop table b;"})
	tenants := f.Create(t, plan, "acme")
	f.Exec(t, "insert into tenant_acme.b values (1)")
	report := run(t, f, plan, tenants, migrate.RunOptions{Route: migrate.Route{Kind: migrate.Redo}})
	if o := report.Outcomes[0]; o.State != migrate.Migrated || o.To != 2 {
		t.Errorf("outcome %+v", o)
	}
	if n := f.Int(t, "select count(*) from tenant_acme.b"); n != 0 {
		t.Error("the table was not made anew")
	}
	if n := f.Int(t, "select count(*) from tenant_acme.goose_db_version where version_id = 2"); n != 1 {
		t.Errorf("%d version rows", n)
	}
}

// TestChangedAndLateFiles: what to do about files that were changed after they had been
// applied, or that come below the newest version, is for the caller to say.
func TestChangedAndLateFiles(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "3_c.sql": "create table c (x int);"})
	tenants := f.Create(t, old, "acme", "globex")
	again := func(files map[string]string, o migrate.RunOptions) (*migrate.Report, error) {
		_, plan := plans(t, files)
		o.LockTimeout = time.Second
		return plan.Run(t.Context(), f.Connect(t), f.Dial, tenants, o)
	}
	if report := run(t, f, plan, tenants, migrate.RunOptions{}); report.Count(migrate.Migrated) != 2 {
		t.Fatalf("%+v", report.Outcomes)
	}
	changedFiles := map[string]string{"1_a.sql": first, "3_c.sql": "create table c (x bigint);",
		"4_d.sql": "create table d (x int);"}
	_, err := again(changedFiles, migrate.RunOptions{})
	var changed *migrate.ChangedFilesError
	if !errors.As(err, &changed) || len(changed.Files) != 1 || changed.Files[0].File != "3_c.sql" {
		t.Errorf("a changed file: %v", err)
	}
	if report, err := again(changedFiles, migrate.RunOptions{AllowChanged: true}); err != nil ||
		report.Count(migrate.Migrated) != 2 {
		t.Errorf("a changed file, allowed: %v", err)
	}
	if _, err = again(changedFiles, migrate.RunOptions{}); err != nil {
		t.Errorf("once allowed: %v", err)
	}
	lateFiles := map[string]string{"1_a.sql": first, "2_b.sql": "create table b (x int);",
		"3_c.sql": changedFiles["3_c.sql"], "4_d.sql": changedFiles["4_d.sql"]}
	_, err = again(lateFiles, migrate.RunOptions{})
	var late *migrate.LateFilesError
	if !errors.As(err, &late) || late.Files[0].File != "2_b.sql" || late.Newest != 4 {
		t.Errorf("a late file: %v", err)
	}
	if n := f.Int(t, "select count(*) from pg_class where relname = 'b'"); n != 0 {
		t.Error("a refused file was applied")
	}
	report, err := again(lateFiles, migrate.RunOptions{Route: migrate.Route{OutOfOrder: true}})
	if err != nil || report.Count(migrate.Migrated) != 2 {
		t.Errorf("a late file, allowed: %v, %+v", err, report.Outcomes)
	}
	// A comment is no change.
	commented := map[string]string{"1_a.sql": "-- +goose Up\n-- a note\n" + first, "2_b.sql": lateFiles["2_b.sql"],
		"3_c.sql": lateFiles["3_c.sql"], "4_d.sql": lateFiles["4_d.sql"]}
	if _, err := again(commented, migrate.RunOptions{}); err != nil {
		t.Errorf("a comment: %v", err)
	}
}

// TestRollbackForgetsFiles: a file may be written anew when no tenant has it any more, and not
// as long as one has it, also one that is deleted and may come back.
func TestRollbackForgetsFiles(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first,
		"2_b.sql": "create table b (x int);\n-- +goose Down\ndrop table b;"})
	tenants := f.Create(t, old, "acme", "globex")
	up := run(t, f, plan, tenants, migrate.RunOptions{})
	down := migrate.RunOptions{Route: migrate.Route{Kind: migrate.Down, To: 1}}
	_, edited := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": "create table b (x bigint);"})
	again := func(tenants []registry.Tenant) error {
		_, err := edited.Run(t.Context(), f.Connect(t), f.Dial, tenants, migrate.RunOptions{LockTimeout: time.Second})
		return err
	}
	run(t, f, plan, up.Tenants()[:1], down)
	f.Exec(t, "update tenants set status = 'deleted', deleted_at = now(), purge_after = now() where slug = 'globex'")
	var changed *migrate.ChangedFilesError
	if err := again(tenants[:1]); !errors.As(err, &changed) {
		t.Errorf("while a deleted tenant has the file: %v", err)
	}
	f.Exec(t, "update tenants set status = 'active', deleted_at = null, purge_after = null where slug = 'globex'")
	run(t, f, plan, up.Tenants()[1:], down)
	if err := again(tenants); err != nil {
		t.Errorf("when nobody has the file: %v", err)
	}
	if n := f.Int(t, "select count(*) from pg_attribute a join pg_class c on c.oid = a.attrelid "+
		"where c.relname = 'b' and a.attname = 'x' and a.atttypid = 'bigint'::regtype"); n != 2 {
		t.Errorf("%d tenants have the new file", n)
	}
}

// TestKilledRunIsClosedByTheNext: a run whose session is gone is closed with what
// the ledger has of it; one that lives is left alone.
func TestKilledRunIsClosedByTheNext(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second + "\nselect pg_sleep(0.3);"})
	tenants := f.Create(t, old, fleettest.Names(30)...)
	ledger := f.Connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	var l log
	over := make(chan struct{})
	defer func() {
		cancel()
		<-over
	}()
	go func() {
		defer close(over)
		_, _ = plan.Run(ctx, ledger, f.Dial, tenants, migrate.RunOptions{LockTimeout: time.Second,
			Fleet: fleet.Options{Concurrency: 2}, Observe: l.observe})
	}()
	for f.Int(t, "select count(*) from public.migration_run_tenants") < 2 {
		time.Sleep(20 * time.Millisecond)
	}
	runs, err := registry.Default().ListRuns(t.Context(), f.Connect(t), 5)
	if err != nil || len(runs) != 1 || runs[0].State != "running" {
		t.Fatalf("a run that lives: %+v, %v", runs, err)
	}
	// As kill -9 does: the sessions end, nobody says goodbye.
	f.Exec(t, `select pg_terminate_backend(pid, 10000) from pg_stat_activity where pid <> pg_backend_pid()
		and datname = current_database()
		and pid = `+strconv.Itoa(int(ledger.PgConn().PID())))
	runs, err = registry.Default().ListRuns(t.Context(), f.Connect(t), 5)
	if err != nil || runs[0].State != "killed" || runs[0].FinishedAt == nil {
		t.Fatalf("a run that was killed: %+v, %v", runs, err)
	}
	if r := runs[0]; r.Succeeded < 2 || r.Succeeded+r.Failed+r.NotStarted != 30 {
		t.Errorf("sums %+v", r)
	}
}
