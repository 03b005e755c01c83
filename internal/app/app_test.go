package app_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// told collects notices.
type told struct {
	mu  sync.Mutex
	all []app.Notice
}

func (n *told) notify(notice app.Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, notice)
}

// open returns an application over a database, with migrations of a directory, "" for
// the built-in ones.
func open(t *testing.T, f *fleettest.Fleet, dir string) (*app.App, *told) {
	t.Helper()
	cfg, err := config.Load(config.Sources{Apart: true, Flag: func(name string) (string, bool) {
		return dir, name == "migrations-dir" && dir != ""
	}})
	if err != nil {
		t.Fatal(err)
	}
	n := &told{}
	return app.New(app.App{Config: cfg, Registry: registry.Default(), Connect: f.Dial, Actor: "test", Program: "test",
		Build: "test", Notify: n.notify}), n
}

func specs(slugs ...string) []tenant.Spec {
	out := make([]tenant.Spec, len(slugs))
	for i, s := range slugs {
		out[i] = tenant.Spec{Slug: s, DisplayName: s}
	}
	return out
}

// files writes migration files into a directory.
func files(t *testing.T, texts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("-- +goose Up\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func done(t *testing.T, results []fleet.Result) {
	t.Helper()
	for i, r := range results {
		if r.State != fleet.Done {
			t.Fatalf("item %d: %+v", i, r)
		}
	}
}

// TestLifeOfATenant goes from create to purge without a command line.
func TestLifeOfATenant(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	a, n := open(t, f, "")
	ctx, limit := t.Context(), 5*time.Second

	would, err := a.CreateTenants(ctx, app.CreateOptions{Specs: specs("acme"), DryRun: true, LockTimeout: limit})
	if err != nil || len(would.Created) != 1 || would.Created[0].Existed ||
		would.Created[0].Tenant.Schema.String() != "tenant_acme" {
		t.Fatalf("dry run: %+v, %v", would, err)
	}
	made, err := a.CreateTenants(ctx, app.CreateOptions{Specs: specs("acme", "globex"), LockTimeout: limit})
	if err != nil {
		t.Fatal(err)
	}
	done(t, made.Results)

	copied, err := a.CloneTenant(ctx, app.CloneOptions{From: "acme", To: "acme-test", LockTimeout: limit})
	if err != nil || copied.Made.Tenant.Slug != "acme-test" || copied.Source.Slug != "acme" {
		t.Fatalf("clone: %+v, %v", copied, err)
	}
	if _, err := a.CloneTenant(ctx, app.CloneOptions{From: "acme", To: "globex", DryRun: true}); !errors.Is(err,
		registry.ErrExists) {
		t.Errorf("a clone over a tenant: %v", err)
	}

	dir := t.TempDir()
	saved := saveAll(t, a, dir, "acme")
	restored := restoreAs(t, a, filepath.Join(dir, saved), "acme-again")
	if restored.Made.Tenant.Slug != "acme-again" || restored.Version != restored.Newest {
		t.Errorf("restore: %+v", restored)
	}

	conn := f.Connect(t)
	// Deleted so long ago that it is due.
	long := func() time.Time { return time.Now().AddDate(0, 0, -90) }
	if _, err := tenant.Delete(ctx, conn, "globex", time.Hour, tenant.MoveOptions{Actor: "test", LockTimeout: limit,
		Now: long}); err != nil {
		t.Fatal(err)
	}
	plan, err := tenant.PlanPurge(ctx, conn, tenant.PurgeFilter{}, time.Now())
	if err != nil || len(plan.Due) != 1 {
		t.Fatalf("due: %+v, %v", plan, err)
	}
	purged, err := a.PurgeTenants(ctx, plan.Due, app.PurgeOptions{BackupDir: dir, LockTimeout: limit})
	if err != nil {
		t.Fatal(err)
	}
	done(t, purged.Results)
	kept := slices.ContainsFunc(n.all, func(notice app.Notice) bool {
		s, is := notice.(app.Saved)
		return is && s.Manifest.Tenant.Slug == "globex"
	})
	if !kept {
		t.Errorf("nothing tells of the backup of what was destroyed: %+v", n.all)
	}
	if _, err := registry.Default().Get(ctx, conn, "globex"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("the purged tenant: %v", err)
	}
}

func saveAll(t *testing.T, a *app.App, path string, slugs ...string) (file string) {
	t.Helper()
	dir, err := a.OpenBackups(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	conn, err := a.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, err := app.Select(slugs, nil)
	if err != nil {
		t.Fatal(err)
	}
	tenants, _, err := a.Tenants(t.Context(), conn, s)
	if err != nil {
		t.Fatal(err)
	}
	written, results, err := a.SaveTenants(t.Context(), conn, dir, tenants, app.SaveOptions{LockTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	done(t, results)
	return written[0].File
}

func restoreAs(t *testing.T, a *app.App, path, slug string) *app.RestoreResult {
	t.Helper()
	in, err := backup.OpenFile(path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	conn, err := a.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	made, err := a.RestoreTenant(t.Context(), conn, in, app.RestoreOptions{As: slug, LockTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestFleetRun plans and carries out runs up, down and again.
func TestFleetRun(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	dir := files(t, map[string]string{
		"1_a.sql": "create table a (id int);\n-- +goose Down\ndrop table a;",
		"2_b.sql": "create table b (id int check (id <> 7));\n-- +goose Down\ndrop table b;",
		"3_c.sql": "insert into b select id from a;\n-- +goose Down\nselect 1;",
	})
	a, _ := open(t, f, dir)
	ctx := t.Context()
	made, err := a.CreateTenants(ctx, app.CreateOptions{Specs: specs("one", "two", "three"), To: 1,
		LockTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	done(t, made.Results)
	f.Exec(t, "insert into tenant_two.a values (7)")

	all, err := app.Select(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	run := func(r *app.FleetRun, err error) *migrate.Report {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close(ctx)
		report, err := r.Carry(ctx, app.Policy{Attempts: 1, Order: migrate.OrderName, LockTimeout: time.Second,
			BuildTimeout: time.Second}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	counts := func(r *migrate.Report) [3]int {
		return [3]int{r.Count(migrate.Migrated), r.Count(migrate.Failed), r.Count(migrate.NotStarted)}
	}
	if got := counts(run(a.PlanUp(ctx, app.UpOptions{Selection: all}))); got != [3]int{2, 1, 0} {
		t.Errorf("up: migrated, failed, not started are %v", got)
	}
	f.Exec(t, "delete from tenant_two.a")
	if got := counts(run(a.PlanRetry(ctx, 0, false))); got != [3]int{1, 0, 0} {
		t.Errorf("retry: %v", got)
	}
	some, err := app.Select([]string{"t*"}, []string{"three"})
	if err != nil {
		t.Fatal(err)
	}
	if got := counts(run(a.PlanDown(ctx, migrate.Route{Kind: migrate.Down, To: 1}, some, false))); got != [3]int{1, 0, 0} {
		t.Errorf("down: %v", got)
	}
	if got := counts(run(a.PlanUp(ctx, app.UpOptions{Selection: all, Verify: true,
		LockTimeout: time.Second}))); got != [3]int{1, 0, 0} {
		t.Errorf("up again: %v", got)
	}
	again, err := a.PlanRetry(ctx, 0, true)
	if err != nil || len(again.Pending) != 0 {
		t.Fatalf("what was mended is retried: %+v, %v", again, err)
	}
	again.Close(ctx)
}

// TestErrorsAreTyped: whoever calls can tell what went wrong without reading texts.
func TestErrorsAreTyped(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	ctx := t.Context()
	a, _ := open(t, f, t.TempDir())
	var noFiles *app.FilesError
	if _, err := a.TenantPlan(ctx, 0); !errors.As(err, &noFiles) || noFiles.Err != nil {
		t.Errorf("an empty directory: %v", err)
	}
	a, _ = open(t, f, "")
	var noVersion *app.VersionError
	if _, err := a.TenantPlan(ctx, 99999); !errors.As(err, &noVersion) || noVersion.Version != 99999 || noVersion.Data {
		t.Errorf("a version without a file: %v", err)
	}
	var pattern *app.PatternError
	if _, err := app.Select(nil, []string{"[a"}); !errors.As(err, &pattern) || !pattern.Exclude {
		t.Errorf("no pattern: %v", err)
	}
	s, err := app.Select([]string{"nobody"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Tenants(ctx, f.Connect(t), s); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("a tenant that is not there: %v", err)
	}
}

// connectAs has an app connect to a fleet's database as another role.
func connectAs(a *app.App, f *fleettest.Fleet, role string) {
	a.Connect = func(ctx context.Context) (*pgx.Conn, error) {
		cfg, err := db.ParseConfig(f.DSN)
		if err != nil {
			return nil, err
		}
		cfg.User = role
		return db.Connect(ctx, cfg)
	}
	a.Direct, a.Unchecked = a.Connect, a.Connect
}
