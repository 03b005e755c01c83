package tenant_test

import (
	"testing"

	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/tenant"
)

// TestCreateLeavesNothingInTheSession makes tenants whose files leave things behind, one
// after the other over a pooler that has few sessions: the second would fail, or would
// have other values than the first.
func TestCreateLeavesNothingInTheSession(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": `create function pg_temp.twice(n int) returns
		int language sql as 'select 2 * n';
create temp table stash (x int);
prepare put as insert into stash values (1);
execute put;
create table t as select pg_temp.twice(2) as n, count(*) as stashed, current_setting('timezone') as zone from stash;
select set_config('timezone', 'Asia/Tokyo', false);`}))
	script, err := plan.Build()
	if err != nil {
		t.Fatal(err)
	}
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
	var specs []tenant.Spec
	for _, slug := range fleettest.Names(6) {
		specs = append(specs, tenant.Spec{Slug: slug})
	}
	o := tenant.CreateOptions{Template: tenant.Template{Script: script, Version: 1}, Actor: "test"}
	for part, fleetOf := range [][]tenant.Spec{specs[:3], specs[3:]} {
		dial := f.Dial
		if part == 1 {
			dial = pooled.Dial
		}
		_, results, err := tenant.CreateMany(t.Context(), dial, fleetOf, o, false, fleet.Options{Concurrency: 1})
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if r.State != fleet.Done {
				t.Errorf("%s: %v", fleetOf[i].Slug, r.Err)
				continue
			}
			schema := "tenant_" + fleetOf[i].Slug
			if n := f.Int(t, "select n from "+schema+".t where stashed = 1 and zone <> 'Asia/Tokyo'"); n != 4 {
				t.Errorf("%s: %d", schema, n)
			}
		}
	}
}
