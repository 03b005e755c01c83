package tenant_test

import (
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
	"github.com/crmctl/crmctl/migrations"
)

// TestRoundTrips counts how often a tenant waits for a network on which that takes 5 ms:
// by what 40 tenants more cost, so that neither connecting nor what is asked once counts.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	const oneWay, few, more = 2500 * time.Microsecond, 12, 40
	f := fleettest.New(t)
	names := fleettest.Names(few + few + more)
	alone := fleet.Options{Concurrency: 1}
	// each has work done for some tenants, and for others that are 40 more.
	each := func(work func(through *fleettest.Fleet, from, to int)) float64 {
		count := func(from, to int) int {
			proxy := pgtest.NewProxy(t, f.DSN, oneWay)
			work(&fleettest.Fleet{DSN: proxy.DSN}, from, to)
			return proxy.Trips()
		}
		small := count(0, few)
		return float64(count(few, len(names))-small) / more
	}
	wantMost := func(what string, most float64, got float64) {
		t.Helper()
		t.Logf("%s: %.2f round trips a tenant", what, got)
		if got > most || got <= 0 {
			t.Errorf("%s: %.2f round trips a tenant, want at most %.2f", what, got, most)
		}
	}

	tenants := make([]registry.Tenant, len(names))
	wantMost("create", 2.5, each(func(through *fleettest.Fleet, from, to int) {
		specs := make([]tenant.Spec, to-from)
		for i := range specs {
			specs[i].Slug = names[from+i]
		}
		created, results, err := tenant.CreateMany(t.Context(), through.Dial, specs, options(t), false, alone)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			tenants[from+i] = created[i].Tenant
		}
	}))

	version := fleettest.TenantPlan(t, 0).Head()
	files := map[string]string{}
	shipped, err := fs.Glob(migrations.Tenant(), "*.sql")
	for _, name := range shipped {
		text, err := fs.ReadFile(migrations.Tenant(), name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	migrated := func(group int) float64 {
		version++
		files[fmt.Sprintf("%05d_more.sql", version)] = fmt.Sprintf("alter table contacts add more%d text;\n"+
			"create index on contacts (more%d);", version, version)
		plan := fleettest.Plan(t, fleettest.Files(files))
		return each(func(through *fleettest.Fleet, from, to int) {
			o := migrate.RunOptions{LockTimeout: 2 * time.Second, Group: group, GroupLimit: time.Minute,
				Fleet: alone, Canary: migrate.Canary{Count: 1}}
			report, err := plan.Run(t.Context(), f.Connect(t), through.Dial, tenants[from:to], o)
			if err != nil || report.Count(migrate.Migrated) != to-from {
				t.Fatalf("%v, %d migrated: %+v", err, report.Count(migrate.Migrated), report.Outcomes[0])
			}
			copy(tenants[from:to], report.Tenants())
		})
	}
	wantMost("migrate, each alone", 1.5, migrated(1))
	wantMost("migrate, in groups", 0.5, migrated(10))

	f.Exec(t, deleteAll)
	all := due(t, f)
	next := 0
	wantMost("purge", 4, each(func(through *fleettest.Fleet, from, to int) {
		some := all[next : next+to-from]
		next += len(some)
		_, results, err := tenant.PurgeMany(t.Context(), through.Dial, some, purgeOptions(), alone)
		for _, r := range results {
			if r.Err != nil || err != nil {
				t.Fatal(r.Err, err)
			}
		}
	}))
}
