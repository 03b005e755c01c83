package stats_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

// BenchmarkLarge takes the statistics of a fleet of 1,000 tenants, or CRM_BENCH_TENANTS, against
// one pass over pg_class in the same run, as BenchmarkSizes does.
func BenchmarkLarge(b *testing.B) {
	tenants := 1000
	if n, err := strconv.Atoi(os.Getenv("CRM_BENCH_TENANTS")); err == nil && n > 0 {
		tenants = n
	}
	f := fleettest.New(b)
	f.Crowd(b, tenants, "contacts", "conversations", "messages")
	f.Exec(b, "vacuum analyze pg_catalog.pg_class", "vacuum analyze pg_catalog.pg_namespace", "analyze public.tenants")
	all := stats.Selected{Registry: registry.Default()}
	is := func(name string, read func(ctx context.Context, conn *pgx.Conn) error) way {
		return way{name, func(ctx context.Context, conn *pgx.Conn) (int, error) { return tenants, read(ctx, conn) }}
	}
	ways := []way{
		plain("plain", plainEstimate), ours("estimate", stats.Estimate), plain("plain-exact", plainExact),
		ours("exact", stats.Exact),
		is("sessions", func(ctx context.Context, conn *pgx.Conn) error {
			_, err := stats.ReadSessions(ctx, conn, registry.Default())
			return err
		}),
		is("catalog", func(ctx context.Context, conn *pgx.Conn) error {
			_, err := stats.ReadCatalog(ctx, conn, all)
			return err
		}),
		is("due", func(ctx context.Context, conn *pgx.Conn) error {
			_, err := stats.ReadUpkeep(ctx, conn, stats.UpkeepOptions{Selected: all, Due: true})
			return err
		}),
	}
	times := make([][]float64, len(ways))
	for range b.N {
		for i, w := range ways {
			times[i] = append(times[i], turn(b, f, w, tenants))
		}
	}
	for i, w := range ways {
		b.ReportMetric(median(times[i])*1000, fmt.Sprintf("%s-ms", w.name))
	}
}
