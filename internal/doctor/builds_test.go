package doctor_test

import (
	"errors"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/doctor"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/staging"
)

// TestHalfBuilt leaves a schema that is being built alone, and clears it away when its
// builder is dead.
func TestHalfBuilt(t *testing.T) {
	t.Parallel()
	p := healthy(t, 1)
	schema, err := db.SchemaForSlug("acme")
	if err != nil {
		t.Fatal(err)
	}
	only := doctor.Options{Only: []doctor.Class{doctor.HalfBuilt, doctor.OrphanSchema, doctor.Pool, doctor.GhostRow}}
	worker := p.Connect(t)
	site, err := staging.Open(t.Context(), worker, staging.Options{Schema: schema, Slug: "acme", LockTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := site.Clear(t.Context()); err != nil { // nothing is left of it
			t.Error(err)
		}
	}()
	p.Exec(t, "create table tenant_acme.contacts (n int)")
	want(t, p.examine(t, only))
	conn := p.Connect(t)
	if _, err := staging.Clear(t.Context(), conn, registry.Default(), schema, time.Second); !errors.Is(err,
		staging.ErrBuilding) {
		t.Errorf("cleared under its builder: %v", err)
	}
	p.Exec(t, `select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity
		where datname = pg_catalog.current_database() and state = 'idle in transaction'`)
	for end := time.Now().Add(10 * time.Second); p.Int(t, `select count(*) from pg_catalog.pg_stat_activity
		where datname = pg_catalog.current_database() and state = 'idle in transaction'`) > 0 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	report := p.examine(t, only)
	want(t, report, "warning half-built tenant_acme: was begun at")
	done := doctor.Fix(t.Context(), conn, report.Findings, doctor.FixOptions{LockTimeout: time.Second})
	if len(done) != 1 || done[0].Err != nil {
		t.Errorf("%+v", done)
	}
	want(t, p.examine(t, only))
	if n := p.Int(t, "select count(*) from pg_catalog.pg_namespace where nspname = 'tenant_acme'"); n != 0 {
		t.Error("the schema is still there")
	}
	if done = doctor.Fix(t.Context(), conn, report.Findings,
		doctor.FixOptions{LockTimeout: time.Second}); !errors.Is(done[0].Err, doctor.ErrMended) {
		t.Errorf("a second time: %+v", done)
	}
	// An older registry has no such table, nor anything to clear.
	p.Exec(t, "drop table public.tenant_builds")
	want(t, p.examine(t, only))
}
