package tenantsql_test

import (
	"fmt"
	"iter"
	"runtime"
	"testing"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/tenantsql"
)

// BenchmarkRun asks 1,000 tenants for a row and for a thousand, and reports the heap at
// its highest.
func BenchmarkRun(b *testing.B) {
	f := schemas(b, 1000)
	for _, rows := range []int{1, 1000} {
		b.Run(fmt.Sprintf("%d_rows", rows), func(b *testing.B) {
			text := fmt.Sprintf("select g, repeat('x', 100) from generate_series(1, %d) g", rows)
			var most uint64
			for b.Loop() {
				n := 0
				_, err := tenantsql.Run(b.Context(), f.Dial, f.tenants, []db.Statement{{SQL: text}},
					tenantsql.Options{Fleet: fleet.Options{Concurrency: 4}},
					func(_ []tenantsql.Column, all iter.Seq2[tenantsql.Row, error]) error {
						for _, err := range all {
							if err != nil {
								return err
							}
							if n++; n%10_000 == 1 {
								var m runtime.MemStats
								runtime.ReadMemStats(&m)
								most = max(most, m.HeapAlloc)
							}
						}
						return nil
					})
				if err != nil || n != rows*len(f.tenants) {
					b.Fatalf("%d rows: %v", n, err)
				}
			}
			b.ReportMetric(float64(len(f.tenants))*float64(b.N)/b.Elapsed().Seconds(), "tenants/s")
			b.ReportMetric(float64(most)/1e6, "heap-MB")
		})
	}
}
