package stats_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

func tables(t testing.TB, f *fleettest.Fleet, o stats.SizeOptions) map[string]stats.TableSize {
	t.Helper()
	found, err := stats.TablesByName(t.Context(), f.Connect(t), o)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]stats.TableSize{}
	for i, table := range found.Tables {
		if i > 0 && table.TotalBytes() > found.Tables[i-1].TotalBytes() {
			t.Errorf("%s stands behind a smaller one", table.Name)
		}
		out[table.Name] = table
	}
	return out
}

// The parts of the tables of one name are, over all tenants, what the server says.
func TestTablesByName(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex", "initech")
	f.Exec(t, "create table tenant_acme.only_here (i int)", "create schema other",
		"create table other.contacts as select generate_series(1, 100000) i",
		"alter table tenant_globex.contacts set (autovacuum_enabled = false)")
	fill(t, f, "tenant_globex", 4000)
	f.Exec(t, `insert into tenant_acme.contacts (name) select string_agg(md5(i::text || j), '')
		from generate_series(1, 3000) i, generate_series(1, 5) j group by j`, "vacuum analyze")
	server := func(size string) int64 {
		return f.Int(t, `select sum(`+size+`)::bigint from pg_class c where c.relname = 'contacts'
			and c.relnamespace in (select schema_name::regnamespace from public.tenants)`)
	}
	exact := tables(t, f, stats.SizeOptions{})
	c := exact["contacts"]
	if c.Tenants != 3 || c.Largest != "globex" || c.Rows == nil || *c.Rows != 4005 || c.DeadBytes != 0 {
		t.Errorf("%+v", c)
	}
	for what, pair := range map[string][2]int64{
		"all":     {c.TotalBytes(), server("pg_total_relation_size(c.oid)")},
		"indexes": {c.IndexBytes, server("pg_indexes_size(c.oid)")},
		"toast":   {c.ToastBytes, server("pg_total_relation_size(c.reltoastrelid)")},
	} {
		if pair[0] != pair[1] || pair[0] == 0 {
			t.Errorf("%s: %d, the server says %d", what, pair[0], pair[1])
		}
	}
	if exact["only_here"].Tenants != 1 {
		t.Errorf("%+v", exact["only_here"])
	}
	// The estimate leaves out the maps of free and visible pages, some pages a relation.
	e := tables(t, f, stats.SizeOptions{Mode: stats.Estimate})["contacts"]
	if off := c.TotalBytes() - e.TotalBytes(); off < 0 || off > 3*2*5*8192 || e.Tenants != 3 {
		t.Errorf("estimated %d, is %d", e.TotalBytes(), c.TotalBytes())
	}
	work(t, f, "delete from tenant_globex.contacts where id in (select id from tenant_globex.contacts limit 2000)")
	c = tables(t, f, stats.SizeOptions{Slugs: []string{"globex"}})["contacts"]
	if c.Tenants != 1 || c.DeadBytes < c.HeapBytes*45/100 || c.DeadBytes > c.HeapBytes*55/100 {
		t.Errorf("half of the rows are dead: %+v", c)
	}
}

// A large fleet is measured in parts, on one connection after another, and added up; of a part
// whose table is locked the pages are counted.
func TestTablesByNameInParts(t *testing.T) {
	t.Parallel()
	const tenants = 450
	f := fleettest.New(t)
	f.Crowd(t, tenants, "contacts", "notes")
	f.Exec(t, "insert into tenant_333.contacts select i, md5(i::text) from generate_series(1, 1000) i",
		"insert into tenant_7.notes values (1, 'x')", "analyze tenant_333.contacts", "analyze tenant_7.notes")
	var dialed int
	var told []int
	o := stats.SizeOptions{Mode: stats.Exact, Measured: func(done, _ int) { told = append(told, done) },
		Dial: func(ctx context.Context) (*pgx.Conn, error) {
			dialed++
			return f.Dial(ctx)
		}}
	got := tables(t, f, o)
	want := f.Int(t, "select sum(pg_total_relation_size(c.oid))::bigint from pg_class c where c.relname = 'contacts'")
	c := got["contacts"]
	if c.Tenants != tenants || c.TotalBytes() != want || c.Largest != "t333" || c.Rows == nil || *c.Rows < 1000 {
		t.Errorf("%+v, want %d bytes", c, want)
	}
	if n := got["notes"]; n.Tenants != tenants || n.Largest != "t7" {
		t.Errorf("%+v", n)
	}
	if !slices.Equal(told, []int{100, 200, 300, 400, 450}) || dialed != 1 {
		t.Errorf("told %v, %d more connections", told, dialed)
	}
	other := f.Connect(t)
	for _, sql := range []string{"begin", "lock table tenant_5.notes in access exclusive mode"} {
		if _, err := other.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	found, err := stats.TablesByName(t.Context(), f.Connect(t), o)
	if err != nil || found.Mode != stats.Estimate || len(found.Tables) != 2 || found.Tables[0].Tenants != tenants {
		t.Errorf("with a lock: mode %d, %d tables, %v", found.Mode, len(found.Tables), err)
	}
}

func TestTablesByNameWaitForNobody(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	other := f.Connect(t)
	for _, sql := range []string{"begin", "lock table tenant_acme.contacts in access exclusive mode"} {
		if _, err := other.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	found, err := stats.TablesByName(t.Context(), f.Connect(t), stats.SizeOptions{})
	if err != nil || found.Mode != stats.Estimate || len(found.Tables) == 0 {
		t.Errorf("mode %d, %d tables, %v", found.Mode, len(found.Tables), err)
	}
}

func TestDaysUntil(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
	tenant := func(bytes, growth int64, days int) stats.TenantSize {
		s := stats.TenantSize{Known: true, Exact: true, TableBytes: bytes}
		if days > 0 {
			s.Growth = &stats.Growth{Bytes: growth, Since: now.AddDate(0, 0, -days)}
		}
		return s
	}
	for name, c := range map[string]struct {
		tenants []stats.TenantSize
		days    float64
		known   bool
	}{
		"nothing known": {[]stats.TenantSize{tenant(500, 0, 0)}, 0, false},
		"they shrink":   {[]stats.TenantSize{tenant(500, -30, 30)}, 0, false},
		"full":          {[]stats.TenantSize{tenant(1000, 0, 0)}, 0, true},
		"two":           {[]stats.TenantSize{tenant(300, 60, 30), tenant(200, 30, 10)}, 100, true},
		"one is new":    {[]stats.TenantSize{tenant(300, 60, 30), tenant(90, 0, 0)}, 122, true},
	} {
		r := stats.Report{At: now, Mode: stats.Exact, Tenants: c.tenants}
		if days, known := r.DaysUntil(1000); days != c.days || known != c.known {
			t.Errorf("%s: %v, %t; want %v, %t", name, days, known, c.days, c.known)
		}
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	f.Exec(t, `insert into public.tenant_size_samples
		(tenant_id, sampled_at, table_bytes, index_bytes, total_bytes, exact)
		select t.id, now() - n * interval '1 day', 0, 0, 100 - n, n <> 3 from public.tenants t, generate_series(1, 20) n
		where t.slug = 'acme'`)
	conn := f.Connect(t)
	r := report(t, f, stats.SizeOptions{Mode: stats.Exact})
	past, err := stats.History(t.Context(), conn, registry.Default(), stats.Exact, r.Tenants)
	if err != nil || len(past) != 1 {
		t.Fatalf("%d tenants, %v", len(past), err)
	}
	for _, points := range past {
		var bytes []int64
		for _, p := range points {
			bytes = append(bytes, p.Bytes)
		}
		// The third day was an estimate.
		if len(bytes) != stats.HistoryLength || bytes[0] != 87 || bytes[10] != 98 || bytes[11] != 99 {
			t.Errorf("%v", bytes)
		}
	}
}
