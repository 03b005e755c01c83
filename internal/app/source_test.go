package app_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/source"
)

// Two runs at once take in the same tenants: each is there once, and both end well.
func TestSyncAtOnce(t *testing.T) {
	t.Parallel()
	const n = 20
	f := fleettest.New(t)
	f.Exec(t, "create schema app", "create table app.t (slug text, schema text)",
		fmt.Sprintf(`do $$ begin for i in 1..%d loop
		execute format('create schema s%%s', i);
		execute format('create table s%%s.goose_db_version (id int, version_id bigint, is_applied boolean)', i);
		execute format('insert into s%%s.goose_db_version values (1, 1, true)', i);
		execute format('insert into app.t values (%%L, %%L)', 'n' || i, 's' || i);
		end loop; end $$`, n))
	dir := files(t, map[string]string{"1_a.sql": "create table a (x int);"})
	both := func() {
		t.Helper()
		var all sync.WaitGroup
		for range 2 {
			a, _ := open(t, f, dir)
			a.Config.TenantsQuery = "select slug, schema from app.t"
			all.Go(func() {
				if _, err := a.Sync(t.Context(), app.SyncOptions{LockTimeout: 5e9}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	both()
	if got := f.Int(t, "select count(*) from public.tenants where status = 'active' and schema_version = 1"); got != n {
		t.Errorf("%d tenants, want %d", got, n)
	}
	f.Exec(t, "update app.t set slug = 'x' || slug", "delete from app.t where schema = 's1'")
	both()
	if got := f.Int(t, "select count(*) from public.tenants where slug like 'xn%' and status = 'active'"); got != n-1 {
		t.Errorf("%d tenants have their new names, want %d", got, n-1)
	}
	if got := f.Int(t, "select count(*) from public.tenant_events where action = 'sync'"); got != n {
		t.Errorf("the audit has %d changes, want %d", got, n)
	}
	a, _ := open(t, f, dir)
	a.Config.TenantsQuery = "select slug, schema from app.t"
	left, err := a.Sync(t.Context(), app.SyncOptions{})
	if err != nil || len(left.Tenants) != 0 {
		t.Errorf("%v: %d differ still", err, len(left.Tenants))
	}
	if may := source.MayLose(n); may != 1 {
		t.Errorf("%d may be gone at once", may)
	}
}
