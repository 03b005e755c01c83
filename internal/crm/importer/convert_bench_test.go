package importer

import (
	"errors"
	"io"
	"testing"
)

// BenchmarkConvert reads and converts contacts, and sends them nowhere.
func BenchmarkConvert(b *testing.B) {
	const rows = 200_000
	for b.Loop() {
		p, err := openFile(&generated{rows: rows}, Options{})
		if err != nil {
			b.Fatal(err)
		}
		c := newConverter(p.mapping, Options{})
		for {
			rec, err := p.file.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			if _, rejected := c.convert(rec); rejected != nil {
				b.Fatal(rejected)
			}
		}
	}
	b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
}
