package app_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// Whatever is kept of goose, its one table is looked at: two rows left nothing to follow.
func TestFollowsGooseOnce(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	first := "create table a (x int);"
	tenants := f.Create(t, fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first})), "acme")
	f.Exec(t, "insert into public.migration_sources (program, versions_table) values ('goose', 'goose_db_version'), "+
		"('goose', 'other')", "insert into tenant_acme.goose_db_version (version_id, is_applied) values (2, true)")
	a, _ := open(t, f, files(t, map[string]string{"1_a.sql": first, "2_b.sql": "create table b (x int);"}))
	plan, err := a.TenantPlan(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Standing(t.Context(), f.Connect(t), plan, tenants, time.Second); err != nil {
		t.Fatal(err)
	}
	if got := tenants[0].Version; got != 2 {
		t.Errorf("acme stands at version %d, want 2", got)
	}
}

// A tenant whose schema is not there yet is told of, and with it whatever else is to be said.
func TestSyncBesideOneThatWaits(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	first := "create table a (x int);"
	f.Create(t, fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first})), "acme", "globex")
	f.Exec(t, "create schema app", "create table app.t (slug text, schema text)",
		"insert into app.t values ('acme', 'tenant_acme'), ('globex', 'tenant_globex'), ('soon', 'soon_1')")
	for _, c := range []struct{ change, want string }{
		{"select 1", "waiting soon"},
		{"insert into app.t values ('Later', 'later_1')", "waiting later waiting soon"},
		{"update app.t set slug = 'Acme' where schema = 'later_1'", "refused acme refused acme waiting soon"},
		{"update app.t set slug = '-x' where schema = 'later_1'", "refused  waiting soon"},
		{"delete from app.t where slug = '-x'", "waiting soon"},
		{"create schema soon_1", "refused soon"}, // which no program has migrated
	} {
		f.Exec(t, c.change)
		a, _ := open(t, f, files(t, map[string]string{"1_a.sql": first}))
		a.Config.TenantsQuery = "select slug, schema from app.t order by 1"
		result, err := a.Sync(t.Context(), app.SyncOptions{LockTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range result.Tenants {
			got = append(got, string(s.Kind)+" "+s.To.Slug)
		}
		slices.Sort(got)
		if all := strings.Join(got, " "); all != c.want {
			t.Errorf("%s: %q, want %q", c.change, all, c.want)
		}
	}
}
