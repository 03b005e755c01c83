package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

const deleteAll = `update public.tenants set status = 'deleted', deleted_at = now() - interval '1 day',
	purge_after = now() - interval '1 hour'`

func due(t *testing.T, f *fleettest.Fleet) []registry.Tenant {
	t.Helper()
	plan, err := tenant.PlanPurge(t.Context(), f.Connect(t), tenant.PurgeFilter{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return plan.Due
}

func purgeOptions() tenant.PurgeOptions {
	return tenant.PurgeOptions{MoveOptions: tenant.MoveOptions{Actor: "cron@db1", Program: "crmctl test",
		LockTimeout: 5 * time.Second}}
}

// fill adds tables to a tenant's schema, a thousand in a transaction.
func fill(t *testing.T, f *fleettest.Fleet, schema string, tables int) {
	t.Helper()
	const most = 1000
	for from := 1; from <= tables; from += most {
		f.Exec(t, fmt.Sprintf(`do $$ begin for i in %d..%d loop
			execute format('create table %s.big%%s (id int primary key)', i); end loop; end $$`,
			from, min(tables, from+most-1), schema))
	}
}

// TestPurgeOfManyTables: a tenant with 5,000 tables does not fit into
// the lock table of a server with the default settings.
func TestPurgeOfManyTables(t *testing.T) {
	t.Parallel()
	const tables = 5000
	server, _ := pgtest.Instance(t, map[string]string{"max_locks_per_transaction": "64", "max_connections": "100",
		"fsync": "off"})
	f := &fleettest.Fleet{DSN: server.DSN}
	f.Registry(t)
	made := f.Create(t, fleettest.TenantPlan(t, 0), "big", "small")
	fill(t, f, "tenant_big", tables)
	f.Exec(t, deleteAll)
	conn := f.Connect(t)
	if _, err := conn.Exec(t.Context(), "drop schema tenant_big cascade"); db.SQLState(err) != db.CodeOutOfMemory {
		t.Fatalf("the schema can be dropped at once (%v): the test shows nothing", err)
	}
	purged, results, _ := tenant.PurgeMany(t.Context(), f.Dial, due(t, f), purgeOptions(), fleet.Options{Concurrency: 2})
	for i, r := range results {
		if r.Err != nil {
			t.Errorf("%s: %v", purged[i].Tenant.Slug, r.Err)
		}
		if few := purged[i].Transactions < 4; purged[i].Tenant.ID == made[0].ID && few || purged[i].Tenant.ID == made[1].ID &&
			purged[i].Transactions != 1 {
			t.Errorf("%s: %d transactions", purged[i].Tenant.Slug, purged[i].Transactions)
		}
		t.Logf("%s: %d transactions in %s", purged[i].Tenant.Slug, purged[i].Transactions, r.Duration)
	}
	if n := f.Int(t, "select (select count(*) from public.tenants) + (select count(*) from pg_namespace where nspname "+
		"like 'tenant\\_%')"); n != 0 {
		t.Errorf("%d things stayed", n)
	}
	if n := f.Int(t, "select count(*) from public.tenant_events where slug = 'big' and action in ('purging', "+
		"'purge')"); n != 2 {
		t.Errorf("%d rows in the audit", n)
	}
}

// TestDrainPoolOfManyTables: a schema of the pool that does not fit into the lock table is
// dropped in several transactions too.
func TestDrainPoolOfManyTables(t *testing.T) {
	t.Parallel()
	server, _ := pgtest.Instance(t, map[string]string{"max_locks_per_transaction": "64", "max_connections": "100",
		"fsync": "off"})
	f := &fleettest.Fleet{DSN: server.DSN}
	f.Registry(t)
	o := poolOptions(t, f, fleettest.TenantPlan(t, 0))
	fillPool(t, f, 2, o)
	var big string
	f.Scan(t, []any{&big}, "select min(schema_name) from public.tenant_pool")
	fill(t, f, big, 5000)
	change, err := tenant.DrainPool(t.Context(), f.Dial, 0, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range change.Results {
		if r.Err != nil {
			t.Error(r.Err)
		}
	}
	if change.Dropped != 2 {
		t.Errorf("%d schemas were dropped, want 2", change.Dropped)
	}
	checkPool(t, f)
	if n := f.Int(t, "select count(*) from pg_namespace where nspname like 'crmctl\\_%'"); n != 0 {
		t.Errorf("%d schemas stayed", n)
	}
}

// TestPurgeStoppedHalfWay: a half-purged tenant is
// seen as such, cannot come back, and the next purge ends it.
func TestPurgeStoppedHalfWay(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	fill(t, f, "tenant_acme", 40)
	f.Exec(t, `create view tenant_acme.a_view as select * from tenant_acme.big1`,
		`create function tenant_acme.f(int, text) returns int language sql as 'select $1'`,
		`create sequence tenant_acme.a_sequence`, `create type tenant_acme.mood as enum ('good')`,
		`create materialized view tenant_acme.a_matview as select 1 as x`,
		`create table tenant_acme.parent (x int) partition by list (x)`,
		`create table tenant_acme.child partition of tenant_acme.parent default`)
	f.Exec(t, deleteAll+" where slug = 'acme'")
	// The last table but a few is held, so that the purge stops before the end.
	holder := f.Connect(t)
	conn := f.Connect(t)
	err := db.InTx(t.Context(), holder, db.Locals{}, func(ctx context.Context, q db.Querier) error {
		if _, err := q.Exec(ctx, "lock table tenant_acme.messages in access share mode"); err != nil {
			return err
		}
		o := purgeOptions()
		o.Locks, o.LockTimeout = 30, 50*time.Millisecond
		purged, results, _ := tenant.PurgeMany(ctx, f.Dial, due(t, f), o, fleet.Options{Attempts: 2,
			Backoff: func(int) time.Duration {
				return 0
			}})
		if db.SQLState(results[0].Err) != db.CodeLockNotAvailable || purged[0].Transactions == 0 {
			t.Errorf("%d transactions, %v", purged[0].Transactions, results[0].Err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := registry.Default().Get(t.Context(), conn, "acme")
	if err != nil || got.State() != registry.Purging || got.Status != registry.Deleted {
		t.Errorf("half-purged: %s, %v", got.State(), err)
	}
	var state *registry.StateError
	if _, err := tenant.Undelete(t.Context(), conn, "acme", tenant.MoveOptions{}); !errors.As(err, &state) ||
		state.State != registry.Purging {
		t.Errorf("undelete: %v", err)
	}
	if _, err := tenant.Delete(t.Context(), conn, "acme", 0, tenant.MoveOptions{}); !errors.As(err, &state) ||
		state.State != registry.Purging {
		t.Errorf("delete: %v", err)
	}
	var exists *registry.ExistsError
	if _, err := tenant.Create(t.Context(), conn, tenant.Spec{Slug: "acme"}, options(t)); !errors.As(err, &exists) ||
		exists.Status != registry.Purging {
		t.Errorf("create: %v", err)
	}
	// However young it is: what has begun goes on. And it is not saved again.
	plan, err := tenant.PlanPurge(t.Context(), conn, tenant.PurgeFilter{OlderThan: 90 * 24 * time.Hour}, time.Now())
	if err != nil || len(plan.Due) != 1 {
		t.Fatalf("%+v, %v", plan, err)
	}
	o := purgeOptions()
	o.Locks = 30
	o.Before = func(context.Context, registry.Tenant) error { return errors.New("half of it would be saved") }
	if _, results, _ := tenant.PurgeMany(t.Context(), f.Dial, plan.Due, o, fleet.Options{}); results[0].Err != nil {
		t.Error(results[0].Err)
	}
	if n := f.Int(t, "select count(*) from pg_namespace where nspname like 'tenant\\_%'"); n != 1 {
		t.Errorf("%d schemas", n)
	}
}

func TestPurgeSavesFirst(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 1), "acme", "globex")
	f.Exec(t, deleteAll)
	o := purgeOptions()
	full := errors.New("the disk is full")
	var seen sync.Map
	o.Before = func(_ context.Context, tn registry.Tenant) error {
		seen.Store(tn.Slug, f.Int(t, "select count(*) from pg_tables where schemaname = $1 and tablename = 'contacts'",
			tn.Schema.String()))
		if tn.Slug == "globex" {
			return full
		}
		return nil
	}
	purged, results, _ := tenant.PurgeMany(t.Context(), f.Dial, due(t, f), o, fleet.Options{})
	for i, r := range results {
		if tables, ok := seen.Load(purged[i].Tenant.Slug); !ok || tables != int64(1) {
			t.Errorf("%s: saved with %v tables", purged[i].Tenant.Slug, tables)
		}
		if failed := errors.Is(r.Err, full); failed != (purged[i].Tenant.Slug == "globex") {
			t.Errorf("%s: %v", purged[i].Tenant.Slug, r.Err)
		}
	}
	if got, err := registry.Default().Get(t.Context(), f.Connect(t), "globex"); err != nil ||
		got.State() != registry.Deleted {
		t.Errorf("globex: %s, %v", got.State(), err)
	}
}

func TestTwoPurgesAtOnce(t *testing.T) {
	t.Parallel()
	const tenants = 6
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 1), fleettest.Names(tenants)...)
	f.Exec(t, deleteAll)
	all := due(t, f)
	var saved atomic.Int64
	o := purgeOptions()
	o.Before = func(context.Context, registry.Tenant) error {
		saved.Add(1)
		time.Sleep(20 * time.Millisecond)
		return nil
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			_, results, _ := tenant.PurgeMany(t.Context(), f.Dial, all, o, fleet.Options{Concurrency: 2, Attempts: 8})
			for i, r := range results {
				if r.Err != nil {
					t.Errorf("%s: %v", all[i].Slug, r.Err)
				}
			}
		})
	}
	wg.Wait()
	if saved.Load() != tenants {
		t.Errorf("%d backups of %d tenants", saved.Load(), tenants)
	}
	if n := f.Int(t, "select count(*) from public.tenant_events where action = 'purge'"); n != tenants {
		t.Errorf("%d rows in the audit", n)
	}
	if n := f.Int(t, "select (select count(*) from public.tenants) + (select count(*) from pg_namespace where nspname "+
		"like 'tenant\\_%')"); n != 0 {
		t.Errorf("%d things stayed", n)
	}
}

func TestPurgeEndsAtTheBorder(t *testing.T) {
	t.Parallel()
	for name, statements := range map[string][]string{
		"view":        {`create view public.report as select name from tenant_acme.contacts`},
		"foreign key": {`create table public.note (contact uuid references tenant_acme.contacts (id))`},
		"inheritance": {`create table public.archive () inherits (tenant_acme.contacts)`},
		"type":        {`create type tenant_acme.mood as enum ('good')`, `create table public.diary (mood tenant_acme.mood)`},
		"server": {`create extension postgres_fdw schema tenant_acme`,
			`create server far foreign data wrapper postgres_fdw`},
		"event trigger": {`create function tenant_acme.log() returns event_trigger language plpgsql as 'begin end'`,
			`create event trigger logs on ddl_command_end execute function tenant_acme.log()`,
			`alter event trigger logs disable`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			f.Create(t, fleettest.TenantPlan(t, 1), "acme")
			f.Exec(t, append(statements, deleteAll)...)
			_, results, _ := tenant.PurgeMany(t.Context(), f.Dial, due(t, f), purgeOptions(), fleet.Options{})
			var outside *tenant.OutsideError
			if !errors.As(results[0].Err, &outside) || len(outside.Objects) != 1 ||
				!strings.Contains(results[0].Err.Error(), "public") && !strings.ContainsAny(outside.Objects[0], " ") {
				t.Errorf("got %v", results[0].Err)
			}
			if n := f.Int(t, "select count(*) from pg_tables where schemaname = 'tenant_acme' and tablename = "+
				"'contacts'"); n != 1 {
				t.Error("the tenant is gone")
			}
		})
	}
}

func TestPurgeCaps(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 1), fleettest.Names(12)...)
	f.Exec(t, `update public.tenants set status = 'deleted', deleted_at = now() - interval '1 day' * right(slug, 2)::int,
		purge_after = now() - interval '1 hour'
		where slug <= 't0008'`,
		`update public.tenants set status = 'deleted', deleted_at = now(), purge_after = now() + interval '3 days'
			where slug = 't0009'`,
		`update public.tenants set status = 'deleted', deleted_at = now(), purge_after = now() + interval '30 days'
			where slug = 't0010'`)
	conn := f.Connect(t)
	const day = 24 * time.Hour
	for i, c := range []struct {
		filter          tenant.PurgeFilter
		due, kept, soon int
	}{
		{tenant.PurgeFilter{}, 8, 0, 0},
		{tenant.PurgeFilter{Max: 5}, 5, 3, 0},
		{tenant.PurgeFilter{MaxPercent: 1}, 1, 7, 0},                     // of 12: less than one, so one
		{tenant.PurgeFilter{MaxPercent: 30}, 3, 5, 0},                    // 3.6
		{tenant.PurgeFilter{MaxPercent: 30, Max: 2}, 2, 6, 0},            // the smaller one
		{tenant.PurgeFilter{OlderThan: 4 * day}, 5, 0, 0},                // 4 to 8 days ago
		{tenant.PurgeFilter{Warn: 7 * day}, 8, 0, 1},                     // t0009
		{tenant.PurgeFilter{Warn: 40 * day, Max: 1}, 1, 7, 2},            // and t0010
		{tenant.PurgeFilter{Warn: 2 * day, OlderThan: 4 * day}, 5, 0, 2}, // deleted 2 and 3 days ago; t0009 in 4 days
		{tenant.PurgeFilter{Warn: 40 * day, OlderThan: 9 * day}, 0, 0, 10},
		{tenant.PurgeFilter{Slugs: []string{"t0001"}}, 1, 0, 0}, //
		{tenant.PurgeFilter{Slugs: []string{"t0011"}}, 0, 0, 0}, // active
	} {
		plan, err := tenant.PlanPurge(t.Context(), conn, c.filter, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if len(plan.Due) != c.due || len(plan.Kept) != c.kept || len(plan.Soon) != c.soon || plan.Tenants != 12 {
			t.Errorf("case %d: %d due, %d kept, %d soon of %d; want %+v", i, len(plan.Due), len(plan.Kept), len(plan.Soon),
				plan.Tenants, c)
		}
		if c.due > 1 && plan.Due[0].Slug != "t0008" {
			t.Errorf("case %d: %s comes first", i, plan.Due[0].Slug)
		}
	}
}
