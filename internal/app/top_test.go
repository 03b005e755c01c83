package app_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
)

// A look tells of every tenant, of what happened since the one before, of sessions, and of
// the run that is under way. It goes on after the connection was cut.
func TestTopLooks(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	a := app.New(app.App{Connect: f.Dial, Registry: registry.Default()})
	all, err := app.Select(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	top, err := a.OpenTop(t.Context(), all, func([]registry.InvalidRow) {})
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close(t.Context())
	look := func() app.TopLook {
		t.Helper()
		l, err := top.Look(t.Context())
		if err != nil || len(l.Tenants) != 2 || l.Tenants[0].Slug != "acme" || !l.Tenants[0].Size.Known {
			t.Fatalf("%+v: %v", l, err)
		}
		return l
	}
	if first := look(); !first.Tenants[0].LoadIsUnknown || first.Run != nil || first.RunErr != nil {
		t.Errorf("the first look: %+v", first)
	}
	conn := f.Connect(t)
	var pid uint32
	run := registry.Run{Kind: "migrate", Actor: "test", Target: 5, Tenants: 7}
	var p db.Pipeline
	if err := registry.Default().QueueRun(&p, &run, &pid); err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	var q db.Pipeline
	registry.Default().QueueRunTenants(&q, run.ID, []registry.RunTenant{
		{ID: "00000000-0000-0000-0000-000000000001", Slug: "acme", State: "migrated", Attempts: 1},
		{ID: "00000000-0000-0000-0000-000000000002", Slug: "globex", State: "failed", Attempts: 1, Message: "why"},
		{ID: "00000000-0000-0000-0000-000000000003", Slug: "hooli", State: "current", Attempts: 1},
	})
	if err := q.Run(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	f.Exec(t, "insert into tenant_acme.contacts (name) values ('a')", "select pg_sleep(1.2)")
	f.Exec(t, "begin; lock table tenant_globex.contacts; select pg_terminate_backend(pid) from pg_stat_activity "+
		"where pid <> pg_backend_pid() and datname = current_database() and pid <> "+strconv.Itoa(int(pid))+"; commit")
	if _, err := top.Look(t.Context()); err == nil {
		t.Fatal("no error although the connection is cut")
	}
	later := look()
	if later.Tenants[0].Load.Written <= 0 || later.Tenants[0].LoadIsUnknown || later.Seconds < 1 {
		t.Errorf("what acme wrote: %+v", later.Tenants[0])
	}
	r := later.Run
	if r == nil || r.ID != run.ID || r.Done() != 3 || r.Failed != 1 || r.Tenants != 7 || len(r.Failures) != 1 ||
		r.Failures[0].Message != "why" || r.Seconds < 1 {
		t.Errorf("the run: %+v", r)
	}
	if time.Since(later.SizedAt) > time.Minute || later.SizesErr != nil {
		t.Errorf("sizes of %s: %v", later.SizedAt, later.SizesErr)
	}
}
