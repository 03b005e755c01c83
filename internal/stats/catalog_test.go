package stats_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

func readCatalog(t testing.TB, conn *pgx.Conn, o stats.Selected) stats.Catalog {
	t.Helper()
	c, err := stats.ReadCatalog(t.Context(), conn, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What a tenant takes of the lock table and of a session's memory is what a drop and a
// session that looks at it do take.
func TestCatalogKnowsWhatATenantTakes(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), fleettest.Names(60)...)
	f.Exec(t, "create schema archive", "vacuum analyze pg_catalog.pg_class")
	c := readCatalog(t, f.Connect(t), stats.Selected{})
	relations := f.Int(t, `select count(*) from pg_class c where c.relnamespace in
		(select n.oid from pg_namespace n where n.nspname like 'tenant\_%')`)
	toast := f.Int(t, `select count(*) * 2 from pg_class c where c.reltoastrelid <> 0 and c.relnamespace in
		(select n.oid from pg_namespace n where n.nspname like 'tenant\_%')`)
	if c.Tenants != 60 || c.Schemas != 62 || c.Relations != relations+toast {
		t.Errorf("%d schemas, %d tenants, %d relations; want 62, 60, %d", c.Schemas, c.Tenants, c.Relations, relations+toast)
	}
	if size := f.Int(t, "select pg_total_relation_size('pg_class')"); !slices.ContainsFunc(c.Tables,
		func(s stats.SystemTable) bool { return s.Name == "pg_class" && s.Bytes <= size && s.Bytes > size/2 }) ||
		!slices.IsSortedFunc(c.Tables, func(a, b stats.SystemTable) int { return int(b.Bytes - a.Bytes) }) {
		t.Errorf("pg_class takes %d: %+v", size, c.Tables)
	}
	conn := f.Connect(t)
	locks := func() (n float64) {
		if err := conn.QueryRow(t.Context(), "select count(*) from pg_locks where not fastpath and pid = pg_backend_pid()").
			Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, sql := range []string{"begin", "set local client_min_messages = error", "drop schema tenant_t0001 cascade",
		"drop schema tenant_t0002 cascade"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if taken := locks() / 2; c.Locks.PerTenant < taken || c.Locks.PerTenant > 2*taken {
		t.Errorf("a drop takes %.1f locks, told are %.1f", taken, c.Locks.PerTenant)
	}
	if want := int(float64(c.Locks.Slots-c.Locks.Used) / c.Locks.PerTenant); c.Locks.Drops() != want || want < 10 {
		t.Errorf("%d at once, want %d", c.Locks.Drops(), want)
	}
	if _, err := conn.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	var before, after float64
	conn = f.Connect(t)
	const used = "select sum(used_bytes) from pg_backend_memory_contexts"
	for _, step := range []struct {
		to  *float64
		sql string
	}{{&before, used}, {new(float64), `select sum(pg_total_relation_size(c.oid)) from pg_class c
		join pg_namespace n on n.oid = c.relnamespace where n.nspname like 'tenant\_%' and c.relkind in ('r', 'S')`},
		{&after, used}} {
		if err := conn.QueryRow(t.Context(), step.sql).Scan(step.to); err != nil {
			t.Fatal(err)
		}
	}
	if took := (after - before) / 60; !c.Memory.Measured || math.Abs(float64(c.Memory.PerTenant)/took-1) > 0.2 {
		t.Errorf("a session took %.0f bytes a tenant, told are %+v", took, c.Memory)
	}
}

// A table that somebody has locked, a tenant whose schema is gone and a role that sees
// little leave the rest as it is.
func TestCatalogOfAFleetInTrouble(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Crowd(t, 30, "contacts")
	f.Exec(t, "drop schema tenant_30 cascade")
	keeper := role(t, f, "keeper")
	f.Exec(t, "grant usage on schema public to "+keeper, "grant select on all tables in schema public to "+keeper)
	locker := f.Connect(t)
	if _, err := locker.Exec(t.Context(), "begin"); err != nil {
		t.Fatal(err)
	}
	for i := range 29 {
		if _, err := locker.Exec(t.Context(), fmt.Sprintf("lock table tenant_%d.contacts", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	conn := f.Connect(t)
	if _, err := conn.Exec(t.Context(), "set session authorization "+keeper); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	c := readCatalog(t, conn, stats.Selected{})
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it waited %s", took)
	}
	if c.Tenants != 29 || c.Memory.Measured || c.Memory.PerTenant < 8<<10 || c.Memory.PerTenant > 64<<10 {
		t.Errorf("%d tenants, %+v", c.Tenants, c.Memory)
	}
	if none := readCatalog(t, f.Connect(t), stats.Selected{Slugs: []string{}}); none.Tenants != 0 ||
		none.Memory.PerTenant != 0 || none.Locks.Drops() != 0 {
		t.Errorf("without tenants: %+v", none)
	}
}

func TestMeasuresHaveLimits(t *testing.T) {
	t.Parallel()
	c := stats.Catalog{Schemas: 101, Tenants: 100, Server: stats.Server{Locks: stats.LockTable{Slots: 1000, Used: 500},
		OldestCluster: stats.Aging{XIDs: 1_600_000_000}, Database: stats.Aging{XIDs: 5}}}
	level := func(name string, warn, crit stats.Limits) stats.Level {
		list := c.Measures(warn, crit)
		return list[slices.IndexFunc(list, func(m stats.Measure) bool { return m.Name == name })].Level()
	}
	for _, try := range []struct {
		name       string
		warn, crit stats.Limits
		want       stats.Level
	}{
		{stats.MeasureSchemas, nil, nil, stats.LevelNone},
		{stats.MeasureSchemas, stats.Limits{"schemas": {Value: 102}}, nil, stats.LevelOK},
		{stats.MeasureSchemas, stats.Limits{"schemas": {Value: 101}}, nil, stats.LevelWarn},
		{stats.MeasureSchemas, stats.Limits{"schemas": {Value: 50}}, stats.Limits{"schemas": {Value: 101}}, stats.LevelCrit},
		{stats.MeasureLocks, nil, nil, stats.LevelWarn},
		{stats.MeasureLocks, stats.Limits{"locks": {Value: 60, Percent: true}}, nil, stats.LevelOK},
		{stats.MeasureLocks, nil, stats.Limits{"locks": {Value: 500}}, stats.LevelCrit},
		{stats.MeasureLocks, stats.Limits{"locks": {None: true}}, stats.Limits{"locks": {None: true}}, stats.LevelNone},
		{stats.MeasureXIDs, nil, nil, stats.LevelCrit}, // that of another database stops this one too
	} {
		if got := level(try.name, try.warn, try.crit); got != try.want {
			t.Errorf("%s with %v and %v: %q, want %q", try.name, try.warn, try.crit, got, try.want)
		}
	}
}

func TestOutlook(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
	c := stats.Catalog{At: at, Tenants: 1000, Memory: stats.Memory{PerTenant: 1000},
		Server: stats.Server{Tables: []stats.SystemTable{{Bytes: 5000}}}}
	then := &registry.CatalogSample{At: at.AddDate(0, 0, -20), Tenants: 800}
	o := c.Outlook(then, 5000)
	if o == nil || o.PerDay != 10 || o.Days != 400 || o.CatalogBytes != 25_000 || o.SessionBytes != 5_000_000 {
		t.Errorf("%+v", o)
	}
	if o = c.Outlook(then, 900); o.Days != 0 {
		t.Errorf("more than that are there: %+v", o)
	}
	if o = c.Outlook(&registry.CatalogSample{At: then.At, Tenants: 1100}, 5000); o.PerDay != -5 || o.Days != -1 {
		t.Errorf("it shrinks: %+v", o)
	}
	if c.Outlook(nil, 5000) != nil {
		t.Error("an outlook without a sample")
	}
	for n, want := range map[int]int{0: 10, 9: 10, 10: 20, 99: 100, 100: 200, 4999: 5000, 5000: 10000} {
		if got := stats.Ahead(n); got != want {
			t.Errorf("ahead of %d: %d, want %d", n, got, want)
		}
	}
}

// The sample to compare with is the one nearest to 30 days ago, and a registry that is older
// than the table has none.
func TestCatalogSamples(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn, reg := f.Connect(t), registry.Default()
	then := func() *registry.CatalogSample {
		s, err := reg.CatalogThen(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	now := time.Now().UTC().Truncate(time.Second)
	for _, step := range []struct{ days, want int }{{0, 0}, {70, 0}, {2, 2}, {5, 5}, {58, 5}, {40, 40}, {29, 29}} {
		s := registry.CatalogSample{At: now.AddDate(0, 0, -step.days), Tenants: step.days, Relations: 1, CatalogBytes: 2}
		if err := reg.RecordCatalog(t.Context(), conn, s); err != nil {
			t.Fatal(err)
		}
		got := then()
		if step.want == 0 && got != nil || step.want > 0 && (got == nil || got.Tenants != step.want || got.CatalogBytes != 2) {
			t.Errorf("after one of %d days ago: %+v, want that of %d", step.days, got, step.want)
		}
	}
	f.Exec(t, "drop table public.tenant_catalog_samples")
	if s := then(); s != nil {
		t.Errorf("%+v", s)
	}
	if err := reg.RecordCatalog(t.Context(), conn, registry.CatalogSample{At: now}); err == nil {
		t.Error("recorded where there is no table")
	}
}
