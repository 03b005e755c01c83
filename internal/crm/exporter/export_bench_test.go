package exporter_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/crm/exporter"
	"github.com/crmctl/crmctl/internal/db"
)

// BenchmarkExport writes a million contacts in every format, and beside it what psql's
// \copy to asks the server for, in turns: copy-ratio is how many times as fast an export is.
func BenchmarkExport(b *testing.B) {
	conn, schema := crmtest.Tenant(b)
	const rows = 1_000_000
	crmtest.Exec(b, conn, schema, fmt.Sprintf(`insert into contacts (email, phone, name, company, metadata) select
		'user' || i || '@example.com', '+4917' || (10000000 + i), 'First Last ' || i, 'Company ' || (i %% 1000),
		jsonb_build_object('city', 'Berlin', 'score', i %% 100, 'tags', jsonb_build_array('vip'))
		from generate_series(1, %d) i`, rows))
	source := exporter.Source{Slug: "acme", Schema: schema}
	for _, format := range exporter.Formats(exporter.Contacts) {
		b.Run(string(format), func(b *testing.B) {
			var own, copied time.Duration
			for b.Loop() {
				begun := time.Now()
				_, err := db.CopyTo(context.Background(), conn, io.Discard, "copy "+schema.Quoted()+".contacts to stdout (format csv)")
				copied += time.Since(begun)
				if err != nil {
					b.Fatal(err)
				}
				begun = time.Now()
				e, err := exporter.New(b.Context(), conn, io.Discard, []exporter.Source{source}, exporter.Options{
					Table: exporter.Contacts, Format: format})
				if err == nil && format == exporter.XLSX {
					_, err = e.Measure(b.Context(), conn, source)
				}
				if err == nil {
					_, err = e.Tenant(b.Context(), conn, source)
				}
				if err == nil {
					err = e.End()
				}
				if err != nil {
					b.Fatal(err)
				}
				own += time.Since(begun)
			}
			b.ReportMetric(copied.Seconds()/own.Seconds(), "copy-ratio")
			b.ReportMetric(rows*float64(b.N)/own.Seconds(), "rows/s")
		})
	}
}
