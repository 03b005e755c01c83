package tenant_test

import (
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

func TestListReadsOnlyTheSettingsThatAreWanted(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex", "initech")
	conn := f.Connect(t)
	f.Exec(t, `update public.tenants set settings = '{"retention": "90d", "large": "xxx"}' where slug = 'acme'`)
	f.Exec(t, `update public.tenants set settings = '{"large": "xxx"}' where slug = 'globex'`)
	f.Exec(t, `alter table public.tenants drop constraint tenants_settings_object`)
	f.Exec(t, `update public.tenants set settings = '[]' where slug = 'initech'`)

	tests := map[string]struct {
		filter       registry.Filter
		acme, globex string
	}{
		"none": {},
		"one":  {filter: registry.Filter{Settings: []string{"retention"}}, acme: `{"retention": "90d"}`, globex: `{}`},
		"all": {filter: registry.Filter{AllSettings: true}, acme: `{"large": "xxx", "retention": "90d"}`,
			globex: `{"large": "xxx"}`},
	}
	for name, test := range tests {
		tenants, invalid, err := registry.Default().ListAll(t.Context(), conn, test.filter)
		if err != nil || len(tenants) != 2 || len(invalid) != 1 || invalid[0].Slug != "initech" {
			t.Fatalf("%s: %v, %v, %v", name, tenants, invalid, err)
		}
		if acme, globex := string(tenants[0].Settings), string(tenants[1].Settings); acme != test.acme ||
			globex != test.globex {
			t.Errorf("%s: settings %q and %q, want %q and %q", name, acme, globex, test.acme, test.globex)
		}
	}

	f.Exec(t, `update public.tenants set status = 'deleted', deleted_at = now() - interval '9 days',
		purge_after = now() - interval '1 day' where slug = 'acme'`)
	plan, err := tenant.PlanPurge(t.Context(), conn, tenant.PurgeFilter{}, time.Now())
	if err != nil || len(plan.Due) != 1 || plan.Due[0].Settings != nil {
		t.Errorf("purge plan %+v, %v", plan, err)
	}
	some, err := registry.Default().Settings(t.Context(), conn, []string{plan.Due[0].ID,
		"00000000-0000-0000-0000-000000000000"})
	if err != nil || len(some) != 1 || string(some[plan.Due[0].ID]) != `{"large": "xxx", "retention": "90d"}` {
		t.Errorf("settings %s, %v", some, err)
	}
}
