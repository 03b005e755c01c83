package tenant_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// purges counts the transactions that have destroyed tenants.
func purges(t *testing.T, f *fleettest.Fleet) int64 {
	t.Helper()
	return f.Int(t, "select count(distinct xmin::text) from public.tenant_events where action = 'purge'")
}

// left counts what is there of tenants and in the audit of their purges.
func left(t *testing.T, f *fleettest.Fleet) (rows, schemas, audit int64) {
	t.Helper()
	return f.Int(t, "select count(*) from public.tenants"),
		f.Int(t, "select count(*) from pg_namespace where nspname like 'tenant\\_%'"),
		f.Int(t, "select count(*) from public.tenant_events where action = 'purge'")
}

func TestTenantsArePurgedTogether(t *testing.T) {
	t.Parallel()
	const n = 41
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), fleettest.Names(n)...)
	f.Exec(t, deleteAll)
	purged, results, err := tenant.PurgeMany(t.Context(), f.Dial, due(t, f), purgeOptions(), fleet.Options{Concurrency: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.State != fleet.Done || r.Attempts != 1 || purged[i].Transactions != 1 || purged[i].Elsewhere {
			t.Errorf("%+v: %+v", purged[i], r)
		}
	}
	if rows, schemas, audit := left(t, f); rows+schemas != 0 || audit != n {
		t.Errorf("%d rows, %d schemas, %d in the audit", rows, schemas, audit)
	}
	if got := purges(t, f); got > n/2 {
		t.Errorf("%d transactions for %d tenants", got, n)
	}
	if bad := f.Int(t, `select count(*) from public.tenant_events where action = 'purge' and (actor <> 'cron@db1'
		or program <> 'crmctl test' or "before" ->> 'status' <> 'deleted' or detail ->> 'schema' <> 'tenant_' || slug
		or detail ->> 'version' <> '4')`); bad != 0 {
		t.Errorf("%d wrong rows in the audit", bad)
	}
}

// TestAPurgeFallsApart: what stands in the way of one tenant of a group is its own, and
// the others are purged.
func TestAPurgeFallsApart(t *testing.T) {
	t.Parallel()
	const n, victim = 24, "t0015"
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, f *fleettest.Fleet)
		stays bool
		is    func(error) bool
	}{
		"undeleted meanwhile": {func(t *testing.T, f *fleettest.Fleet) {
			f.Exec(t, `update public.tenants set status = 'active', deleted_at = null, purge_after = null,
				deleted_from = null where slug = 't0015'`)
		}, true, func(err error) bool { return errors.Is(err, registry.ErrState) }},
		"kept longer": {func(t *testing.T, f *fleettest.Fleet) {
			f.Exec(t, `update public.tenants set purge_after = now() + interval '1 day' where slug = 't0015'`)
		}, true, func(err error) bool { return errors.Is(err, registry.ErrState) }},
		"others depend on it": {func(t *testing.T, f *fleettest.Fleet) {
			f.Exec(t, `create view public.report as select name from tenant_t0015.contacts`)
		}, true, func(err error) bool { _, is := errors.AsType[*tenant.OutsideError](err); return is }},
		"a neighbour depends on it": {func(t *testing.T, f *fleettest.Fleet) {
			f.Exec(t, `create view tenant_t0016.report as select name from tenant_t0015.contacts`)
		}, true, func(err error) bool { _, is := errors.AsType[*tenant.OutsideError](err); return is || err == nil }},
		"a table is in use": {func(t *testing.T, f *fleettest.Fleet) {
			holdTable(t, f, "tenant_t0015.messages")
		}, true, func(err error) bool { return db.SQLState(err) == db.CodeLockNotAvailable }},
		"the tenant is locked": {func(t *testing.T, f *fleettest.Fleet) {
			holdTable(t, f, "public.tenants", "select from public.tenants where slug = 't0015' for no key update")
		}, true, func(err error) bool { return errors.Is(err, db.ErrBusy) }},
		"it refers to others": {func(t *testing.T, f *fleettest.Fleet) {
			f.Exec(t, `create table public.country (id int primary key)`,
				`alter table tenant_t0015.contacts add country int references public.country`)
		}, false, func(err error) bool { return err == nil }},
		"it has many tables": {func(t *testing.T, f *fleettest.Fleet) {
			fill(t, f, "tenant_t0015", 900)
		}, false, func(err error) bool { return err == nil }},
		"its schema is gone": {func(t *testing.T, f *fleettest.Fleet) {
			f.Exec(t, `drop schema tenant_t0015 cascade`)
		}, false, func(err error) bool { return err == nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			f.Create(t, fleettest.TenantPlan(t, 0), fleettest.Names(n)...)
			f.Exec(t, deleteAll)
			all := due(t, f)
			tt.spoil(t, f)
			o := purgeOptions()
			o.LockTimeout = 50 * time.Millisecond
			purged, results, _ := tenant.PurgeMany(t.Context(), f.Dial, all, o, fleet.Options{Concurrency: 1, Attempts: 2,
				Backoff: func(int) time.Duration { return time.Millisecond }})
			for i, r := range results {
				if purged[i].Tenant.Slug == victim {
					if !tt.is(r.Err) {
						t.Errorf("%v", r.Err)
					}
				} else if r.Err != nil {
					t.Errorf("%s: %v", purged[i].Tenant.Slug, r.Err)
				}
			}
			gone := f.Int(t, "select count(*) from public.tenants where slug = $1", victim) == 0
			if rows, schemas, _ := left(t, f); name != "a neighbour depends on it" && (gone == tt.stays || rows != schemas) {
				t.Errorf("gone: %t; %d rows, %d schemas", gone, rows, schemas)
			}
			if got := purges(t, f); got > n-4 {
				t.Errorf("%d transactions for %d tenants", got, n)
			}
		})
	}
}

// TestPurgesWithBackupsStayAlone: what is saved first is looked at again alone.
func TestPurgesWithBackupsStayAlone(t *testing.T) {
	t.Parallel()
	const n = 12
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 1), fleettest.Names(n)...)
	f.Exec(t, deleteAll)
	o := purgeOptions()
	var saved []string
	o.Before = func(_ context.Context, tn registry.Tenant) error {
		saved = append(saved, tn.Slug)
		return nil
	}
	if _, _, err := tenant.PurgeMany(t.Context(), f.Dial, due(t, f), o, fleet.Options{Concurrency: 1}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(saved)
	if len(slices.Compact(saved)) != n || purges(t, f) != n {
		t.Errorf("saved %v, %d transactions", saved, purges(t, f))
	}
}

// holdTable keeps a lock on a table, or what a statement locks, until the test ends.
func holdTable(t *testing.T, f *fleettest.Fleet, table string, instead ...string) {
	t.Helper()
	conn := f.Connect(t)
	sql := "lock table " + table + " in access share mode"
	if len(instead) > 0 {
		sql = instead[0]
	}
	for _, sql := range []string{"begin", sql} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}
