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

// What somebody would type into psql. The estimate has to count TOAST too, which
// stands in a schema of its own.
const (
	plainExact = `select t.slug, sum(pg_total_relation_size(c.oid))::bigint
		from public.tenants t
		join pg_namespace n on n.nspname = t.schema_name
		join pg_class c on c.relnamespace = n.oid
		where c.relkind in ('r', 'm') group by t.slug`
	plainEstimate = `select t.slug, sum(c.relpages + coalesce(toast.relpages, 0) + coalesce(x.relpages, 0))::bigint * 8192
		from public.tenants t
		join pg_namespace n on n.nspname = t.schema_name
		join pg_class c on c.relnamespace = n.oid
		left join pg_class toast on toast.oid = c.reltoastrelid
		left join pg_index i on i.indrelid = toast.oid
		left join pg_class x on x.oid = i.indexrelid
		where c.relkind in ('r', 'm', 'i') group by t.slug`
	plainWithoutToast = `select t.slug, sum(c.relpages)::bigint * 8192
		from public.tenants t
		join pg_namespace n on n.nspname = t.schema_name
		join pg_class c on c.relnamespace = n.oid
		where c.relkind in ('r', 'm', 'i') group by t.slug`
)

// way is a way to find the sizes; it returns how many it found.
type way struct {
	name string
	find func(ctx context.Context, conn *pgx.Conn) (int, error)
}

func plain(name, sql string) way {
	return way{name, func(ctx context.Context, conn *pgx.Conn) (int, error) {
		rows, _ := conn.Query(ctx, sql)
		sizes := map[string]int64{}
		var slug string
		var n int64
		_, err := pgx.ForEachRow(rows, []any{&slug, &n}, func() error { sizes[slug] = n; return nil })
		return len(sizes), err
	}}
}

func ours(name string, mode stats.Mode) way {
	return way{name, func(ctx context.Context, conn *pgx.Conn) (int, error) {
		r, err := stats.Sizes(ctx, conn, stats.SizeOptions{Mode: mode})
		return len(r.Tenants), err
	}}
}

// BenchmarkSizes compares Sizes and TotalBytes with plain SQL, over 300 tenants.
// The ways take turns, so that a machine that changes its speed treats them alike;
// "x" is the median of the ratios to the first. Each turn has a connection of its
// own, opened beforehand: what a server process has looked at once it finds faster
// the second time.
func BenchmarkSizes(b *testing.B) {
	const tenants = 300
	f := fleettest.New(b)
	f.Create(b, fleettest.TenantPlan(b, 0), fleettest.Names(tenants)...)
	f.Exec(b, "vacuum analyze")
	totals := way{"totals", func(ctx context.Context, conn *pgx.Conn) (int, error) {
		found, err := stats.TotalBytes(ctx, conn, registry.Default(), nil)
		return len(found), err
	}}
	for _, c := range []struct {
		name string
		ways []way
	}{
		{"exact", []way{plain("plain", plainExact), ours("sizes", stats.Exact)}},
		{"estimate", []way{
			plain("plain", plainEstimate), plain("plain-without-toast", plainWithoutToast),
			ours("sizes", stats.Estimate), totals,
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			times := make([][]float64, len(c.ways))
			for range b.N {
				for i, w := range c.ways {
					times[i] = append(times[i], turn(b, f, w, tenants))
				}
			}
			for i, w := range c.ways {
				b.ReportMetric(median(times[i])*1000, w.name+"-ms")
				if i > 0 {
					ratios := make([]float64, b.N)
					for n := range ratios {
						ratios[n] = times[i][n] / times[0][n]
					}
					b.ReportMetric(median(ratios), w.name+"-x")
				}
			}
		})
	}
}

// turn returns how many seconds a way takes.
func turn(b *testing.B, f *fleettest.Fleet, w way, tenants int) float64 {
	b.Helper()
	conn, err := f.Dial(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close(b.Context()) }()
	if _, err := conn.Exec(b.Context(), "select from public.tenants limit 1"); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	n, err := w.find(b.Context(), conn)
	if err != nil || n != tenants {
		b.Fatalf("%s: %d tenants, %v", w.name, n, err)
	}
	return time.Since(start).Seconds()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
