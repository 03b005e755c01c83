package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/shape"
	"github.com/crmctl/crmctl/internal/tenant"
)

// poolOptions are those of a pool for a plan.
func poolOptions(t *testing.T, f *fleettest.Fleet, plan *migrate.Plan) tenant.PoolOptions {
	t.Helper()
	script, err := plan.Build()
	if err != nil {
		t.Fatal(err)
	}
	key, err := shape.ReadKey(t.Context(), f.Connect(t), registry.Default(), shape.History{Checksum: plan.Checksum()})
	if err != nil {
		t.Fatal(err)
	}
	return tenant.PoolOptions{
		Template: tenant.Template{Script: script, Version: plan.Head(), Key: key.String()},
		Actor:    "alice@desk", Program: "crmctl test", LockTimeout: 2 * time.Second, Fleet: fleet.Options{Concurrency: 2},
	}
}

// fromPool are the options of a tenant that may take a schema from the pool.
func fromPool(o tenant.PoolOptions) tenant.CreateOptions {
	return tenant.CreateOptions{Template: o.Template, Actor: o.Actor, LockTimeout: o.LockTimeout, Pool: true}
}

func fillPool(t *testing.T, f *fleettest.Fleet, count int, o tenant.PoolOptions) tenant.PoolChange {
	t.Helper()
	change, err := tenant.FillPool(t.Context(), f.Dial, count, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range change.Results {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	checkPool(t, f)
	return change
}

// checkPool holds the pool against the schemas that are there.
func checkPool(t *testing.T, f *fleettest.Fleet) {
	t.Helper()
	if n := f.Int(t, `select count(*) from public.tenant_pool p full join (select nspname from pg_namespace
		where nspname like 'crmctl\_%') n
		on n.nspname = p.schema_name where n.nspname is null or p.schema_name is null`); n != 0 {
		t.Errorf("%d rows of the pool without a schema, or the other way round", n)
	}
}

// TestPooledTenantIsLikeAnyOther makes a tenant from the pool and one without, and
// compares all that can be seen of them.
func TestPooledTenantIsLikeAnyOther(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	o := poolOptions(t, f, fleettest.TenantPlan(t, 0))
	if c := fillPool(t, f, 1, o); c.Made != 1 || c.Ready != 1 {
		t.Errorf("%+v", c)
	}
	specs := []tenant.Spec{{Slug: unique("pooled"), Role: true}, {Slug: unique("plain"), Role: true}}
	created, results, err := tenant.CreateMany(t.Context(), f.Dial, specs, fromPool(o), false,
		fleet.Options{Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	shapes := make([]*catalog.Shape, len(specs))
	for i, r := range results {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		made := created[i].Tenant
		dropAtEnd(t, f, made.Role)
		if created[i].Pooled != (i == 0) {
			t.Errorf("%s: pooled %t", made.Slug, created[i].Pooled)
		}
		shapes[i], err = catalog.Read(t.Context(), f.Connect(t), catalog.Target{Schema: made.Schema, Role: made.Role},
			catalog.Options{OwnRole: true})
		if err != nil {
			t.Fatal(err)
		}
		for sql, allowed := range map[string]bool{
			"insert into %s.contacts (name) values ('x')":             true,
			"select * from %s.messages":                               true,
			"insert into %s.goose_db_version (version_id) values (1)": false,
			"create table %s.more (n integer)":                        false,
		} {
			if can(t, f, made.Role, fmt.Sprintf(sql, made.Schema.Quoted())) != allowed {
				t.Errorf("%s: %s: allowed is not %t", made.Slug, sql, allowed)
			}
		}
		// What a later migration makes is the role's too.
		f.Exec(t, "create table "+made.Schema.Quoted()+".later (n integer)")
		if !can(t, f, made.Role, "insert into "+made.Schema.Quoted()+".later values (1)") {
			t.Errorf("%s: a later table is not open to the role", made.Slug)
		}
	}
	if shapes[0].Fingerprint() != shapes[1].Fingerprint() {
		t.Errorf("they differ: %v", catalog.Diff(shapes[1], shapes[0]))
	}
	if n := f.Int(t, `select count(distinct schema_version) + count(*) from public.tenants`); n != 3 {
		t.Error("the registry does not have two tenants of one version")
	}
	if n := f.Int(t, `select count(*) from public.tenant_events where action = 'create'
		and detail ->> 'built_from' = 'pool' and slug = $1`, specs[0].Slug); n != 1 {
		t.Error("the audit does not tell that it came from the pool")
	}
	checkPool(t, f)
}

// TestPoolIsTakenOnce lets more tenants than schemas begin at the same moment, in
// the rush of several workers and two programs.
func TestPoolIsTakenOnce(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	o := poolOptions(t, f, fleettest.TenantPlan(t, 0))
	const pool, each = 10, 12
	fillPool(t, f, pool, o)
	var results [2][]tenant.Created
	done := make(chan error, 2)
	for i := range results {
		specs := make([]tenant.Spec, each)
		for j := range specs {
			specs[j].Slug = fmt.Sprintf("p%d-%d", i, j)
		}
		go func() {
			created, outcomes, err := tenant.CreateMany(context.Background(), f.Dial, specs, fromPool(o), false,
				fleet.Options{Concurrency: 4})
			for _, r := range outcomes {
				err = errors.Join(err, r.Err)
			}
			results[i] = created
			done <- err
		}()
	}
	for range results {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	taken := 0
	for _, c := range slices.Concat(results[0], results[1]) {
		if c.Pooled {
			taken++
		}
	}
	// Rows that somebody else is about to take are passed over, so one may stay.
	if left := int(f.Int(t, `select count(*) from public.tenant_pool`)); taken+left != pool || taken == 0 {
		t.Errorf("%d taken and %d left of %d", taken, left, pool)
	}
	if n := f.Int(t, `select count(*) from pg_namespace n join public.tenants t on t.schema_name = n.nspname`); n != 2*each {
		t.Errorf("%d tenants have a schema, want %d", n, 2*each)
	}
	checkPool(t, f)
}

// TestPoolFollowsTheMigrations has a pool that a new migration makes stale.
func TestPoolFollowsTheMigrations(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, now := poolOptions(t, f, fleettest.TenantPlan(t, 3)), poolOptions(t, f, fleettest.TenantPlan(t, 0))
	fillPool(t, f, 3, old)
	made, err := tenant.Create(t.Context(), f.Connect(t), tenant.Spec{Slug: "acme"}, fromPool(now))
	if err != nil {
		t.Fatal(err)
	}
	if made.Version != now.Template.Version || f.Int(t, `select count(*) from public.tenant_pool`) != 3 {
		t.Errorf("version %d: a stale schema was taken", made.Version)
	}
	pool, err := registry.Default().ListPool(t.Context(), f.Connect(t), now.Template.Key)
	if err != nil || len(pool) != 3 || pool[0].Ready {
		t.Errorf("%+v, %v", pool, err)
	}
	if c := fillPool(t, f, -1, now); c.Made != 3 || c.Dropped != 3 || c.Ready != 3 {
		t.Errorf("refreshed: %+v", c)
	}
	if c := fillPool(t, f, -1, now); c.Made != 0 || c.Dropped != 0 || c.Ready != 3 {
		t.Errorf("refreshed again: %+v", c)
	}
	if c := fillPool(t, f, 2, now); c.Dropped != 1 || c.Ready != 2 {
		t.Errorf("fewer: %+v", c)
	}
	fillPool(t, f, 1, old) // drops the newer ones
	fillPool(t, f, 1, now)
	fillPool(t, f, 3, now)
	change, err := tenant.DrainPool(t.Context(), f.Dial, 1, now)
	if err != nil || change.Dropped != 2 || change.Ready != 1 {
		t.Errorf("drained: %+v, %v", change, err)
	}
	change, err = tenant.DrainPool(t.Context(), f.Dial, 0, now)
	if err != nil || change.Dropped != 1 || change.Ready != 0 {
		t.Errorf("drained: %+v, %v", change, err)
	}
	checkPool(t, f)
	made2, dropped := f.Int(t, `select count(*) from public.tenant_events where action = 'pool'`),
		f.Int(t, `select count(*) from public.tenant_events where action = 'unpool'`)
	if made2 != dropped || made2 != 3+3+1+1+2 {
		t.Errorf("the audit has %d made and %d dropped", made2, dropped)
	}
	pool, err = registry.Default().ListPool(t.Context(), f.Connect(t), now.Template.Key)
	if err != nil || len(pool) != 0 {
		t.Errorf("%+v, %v", pool, err)
	}
}

// TestPoolIsFilledByOne fills the pool while somebody else does.
func TestPoolIsFilledByOne(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	o := poolOptions(t, f, fleettest.TenantPlan(t, 0))
	fillPool(t, f, 1, o)
	inside := false
	again := func(ctx context.Context) error {
		_, err := tenant.FillPool(ctx, f.Dial, 2, o)
		return err
	}
	o.Fleet.Observer = observer(func() {
		inside = true
		if err := again(t.Context()); !errors.Is(err, db.ErrBusy) {
			t.Errorf("at the same time: %v", err)
		}
		// Whoever takes from the pool waits for nobody.
		if _, err := tenant.Create(t.Context(), f.Connect(t), tenant.Spec{Slug: "acme"}, fromPool(o)); err != nil {
			t.Error(err)
		}
	})
	if _, err := tenant.FillPool(t.Context(), f.Dial, 2, o); err != nil {
		t.Fatal(err)
	}
	o.Fleet.Observer = nil
	if !inside {
		t.Fatal("nothing happened at the same time")
	}
	if err := again(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	checkPool(t, f)
}

// observer calls a function when the first item is done.
type observer func()

func (o observer) Started(int)                             {}
func (o observer) Retrying(int, int, error, time.Duration) {}
func (o observer) Finished(int, fleet.Result)              { o() }

// TestTakenSchemaInTheWay is a new tenant whose schema is there already: the pool
// keeps its own.
func TestTakenSchemaInTheWay(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	o := poolOptions(t, f, fleettest.TenantPlan(t, 0))
	fillPool(t, f, 1, o)
	f.Exec(t, `create schema tenant_acme`)
	_, err := tenant.Create(t.Context(), f.Connect(t), tenant.Spec{Slug: "acme"}, fromPool(o))
	var exists *registry.ExistsError
	if !errors.As(err, &exists) || exists.Status != "" {
		t.Errorf("error %v", err)
	}
	if f.Int(t, `select count(*) from public.tenant_pool`) != 1 || f.Int(t, `select count(*) from public.tenants`) != 0 {
		t.Error("something was taken all the same")
	}
	checkPool(t, f)
}

// TestLostSchemaOfThePool has rows of the pool whose schema somebody has dropped by
// hand, and a session without rights on the pool: tenants are made all the same.
func TestLostSchemaOfThePool(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	o := poolOptions(t, f, fleettest.TenantPlan(t, 0))
	fillPool(t, f, 3, o)
	pool, err := registry.Default().ListPool(t.Context(), f.Connect(t), o.Template.Key)
	if err != nil {
		t.Fatal(err)
	}
	f.Exec(t, "drop schema "+pool[0].Schema.Quoted()+" cascade")
	specs := []tenant.Spec{{Slug: "a"}, {Slug: "b"}, {Slug: "c"}}
	created, results, err := tenant.CreateMany(t.Context(), f.Dial, specs, fromPool(o), false,
		fleet.Options{Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Err != nil || created[i].Pooled != (i < 2) {
			t.Errorf("%s: pooled %t, %v", specs[i].Slug, created[i].Pooled, r.Err)
		}
	}
	if pool, err = registry.Default().ListPool(t.Context(), f.Connect(t), o.Template.Key); err != nil || len(pool) != 1 ||
		pool[0].Ready {
		t.Errorf("left: %+v, %v", pool, err)
	}
	if c := fillPool(t, f, 1, o); c.Dropped != 1 || c.Made != 1 {
		t.Errorf("filled: %+v", c)
	}
	role := unique("creator_")
	f.Exec(t, "create role "+role, "do $$ begin execute format('grant create on database %I to "+role+
		"', current_database()); end $$",
		"grant select, insert on public.tenants, public.tenant_events to "+role,
		"grant select on public.tenant_pool to "+role)
	dropAtEnd(t, f, role)
	conn := f.Connect(t)
	if _, err := conn.Exec(t.Context(), "set role "+role); err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.Create(t.Context(), conn, tenant.Spec{Slug: "d"}, fromPool(o)); err != nil {
		t.Errorf("without rights on the pool: %v", err)
	}
	checkPool(t, f)
}

// TestPoolThroughAPooler fills and takes behind PgBouncer in transaction mode.
func TestPoolThroughAPooler(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
	o := poolOptions(t, f, fleettest.TenantPlan(t, 0))
	fillPool(t, pooled, 2, o)
	created, results, err := tenant.CreateMany(t.Context(), pooled.Dial, []tenant.Spec{{Slug: "a"}, {Slug: "b"},
		{Slug: "c"}}, fromPool(o), false, fleet.Options{Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"a": true, "b": true, "c": false}
	got := map[string]bool{}
	for i, c := range created {
		if results[i].Err != nil {
			t.Fatal(results[i].Err)
		}
		got[c.Tenant.Slug] = c.Pooled
	}
	if !maps.Equal(got, want) {
		t.Errorf("pooled: %v", got)
	}
	checkPool(t, f)
}
