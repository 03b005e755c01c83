package catalog_test

import (
	"cmp"
	"context"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// plainPass is what somebody would type into psql: columns with their defaults,
// constraints and indexes, as the server prints them, for the whole fleet.
const plainPass = `
	select n.nspname, md5(string_agg(o.line, chr(10) order by o.line))
	from public.tenants t
	join pg_namespace n on n.nspname = t.schema_name
	join (
		select c.relnamespace, concat_ws('|', 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
			a.attnotnull, pg_get_expr(d.adbin, d.adrelid)) as line
		from pg_class c
		join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
		left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
		where c.relkind = 'r'
		union all
		select connamespace, concat_ws('|', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid))
		from pg_constraint
		union all
		select c.relnamespace, concat_ws('|', 'index', pg_get_indexdef(i.indexrelid))
		from pg_index i join pg_class c on c.oid = i.indexrelid
	) o on o.relnamespace = n.oid
	group by n.nspname`

// BenchmarkFingerprints compares a fleet's fingerprints with one pass over the
// catalog by plain SQL, over 1,000 tenants. The two take turns, each on a new
// connection, so that a machine that changes its speed treats them alike; "x" is
// the median of the ratios.
func BenchmarkFingerprints(b *testing.B) {
	const tenants = 1000
	f := fleettest.New(b)
	fleet := targets(f.Create(b, fleettest.TenantPlan(b, 0), fleettest.Names(tenants)...))
	f.Exec(b, "vacuum analyze")
	plain := func(ctx context.Context, conn *pgx.Conn) (int, error) {
		rows, _ := conn.Query(ctx, plainPass)
		n := 0
		var schema, hash string
		_, err := pgx.ForEachRow(rows, []any{&schema, &hash}, func() error { n++; return nil })
		return n, err
	}
	ours := func(ctx context.Context, conn *pgx.Conn) (int, error) {
		readings, err := catalog.Fingerprints(ctx, conn, fleet, catalog.Options{})
		n := 0
		for _, r := range readings {
			if r.Err == nil && r == readings[0] {
				n++
			}
		}
		return n, err
	}
	var plainTimes, ourTimes, ratios []float64
	for b.Loop() {
		p, o := turn(b, f, plain, tenants), turn(b, f, ours, tenants)
		plainTimes, ourTimes, ratios = append(plainTimes, p), append(ourTimes, o), append(ratios, o/p)
	}
	b.ReportMetric(median(plainTimes)*1000, "plain-ms")
	b.ReportMetric(median(ourTimes)*1000, "ours-ms")
	b.ReportMetric(median(ratios), "x")
}

// turn returns how many seconds a way takes.
func turn(b *testing.B, f *fleettest.Fleet, way func(context.Context, *pgx.Conn) (int, error), want int) float64 {
	b.Helper()
	conn, err := f.Dial(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close(b.Context()) }()
	start := time.Now()
	n, err := way(b.Context(), conn)
	if err != nil || n != want {
		b.Fatalf("%d of %d tenants, %v", n, want, err)
	}
	return time.Since(start).Seconds()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// BenchmarkCompare compares a whole fleet, of which every tenth tenant lacks an
// index. CRM_BENCH_TENANTS says how many there are, 1,000 if it is not set.
func BenchmarkCompare(b *testing.B) {
	n, _ := strconv.Atoi(cmp.Or(os.Getenv("CRM_BENCH_TENANTS"), "1000"))
	f := fleettest.New(b)
	plan := fleettest.TenantPlan(b, 0)
	tenants := f.Create(b, plan, fleettest.Names(n)...)
	for i := 0; i < n; i += 10 {
		f.Exec(b, "drop index "+tenants[i].Schema.Quoted()+".idx_contacts_phone")
	}
	f.Exec(b, "vacuum analyze")
	var most atomic.Uint64
	o := catalog.DriftOptions{Dial: f.Dial, Expect: script(plan), Compared: func(int) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most.Store(max(most.Load(), m.Sys))
	}}
	for b.Loop() {
		d, err := catalog.Compare(b.Context(), listed(tenants), o)
		if err != nil || d.Differing() != (n+9)/10 || d.Clean != n-d.Differing() || len(d.Groups) != 1 {
			b.Fatalf("%d of %d tenants differ in %d ways, %v", d.Differing(), n, len(d.Groups), err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "tenants/s")
	b.ReportMetric(float64(most.Load())/1e6, "client-MB")
}
